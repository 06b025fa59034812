//! Dense vector helpers.

use super::isa::{Isa, dispatch};
use super::lane::fused;

dispatch! {
    /// The inner product, summed in 32 interleaved partial sums.
    pub(crate) fn dot(x: &[f32], y: &[f32]) -> f32 = dot_body
}

#[inline(always)]
pub(super) fn dot_body<const FMA: bool>(x: &[f32], y: &[f32]) -> f32 {
    assert!(x.len() == y.len(), "dot takes two vectors of one length");
    let mut sums = [0.0f32; 32];
    let (xs, x_rest) = x.as_chunks::<32>();
    let (ys, y_rest) = y.as_chunks::<32>();
    for (x, y) in xs.iter().zip(ys) {
        for l in 0..32 {
            sums[l] = fused::<FMA>(x[l], y[l], sums[l]);
        }
    }
    for l in 0..x_rest.len() {
        sums[l] = fused::<FMA>(x_rest[l], y_rest[l], sums[l]);
    }
    tree_sum(sums)
}

dispatch! {
    /// `out[r] = rows[r] · x` for rows that stand in blocks: number by number, 16 rows side by side. The sums are those of [`dot`], bit
    /// for bit, but none goes across a vector.
    pub(crate) fn block_products(blocks: &[[[f32; 16]; 64]], x: &[f32; 64], out: &mut [f32]) = block_products_body
}

#[inline(always)]
fn block_products_body<const FMA: bool>(blocks: &[[[f32; 16]; 64]], x: &[f32; 64], out: &mut [f32]) {
    for (out, block) in out.chunks_mut(16).zip(blocks) {
        let (even, odd) = (sum_of_32::<FMA>(block, x, 0), sum_of_32::<FMA>(block, x, 1));
        out.copy_from_slice(&added(even, odd)[..out.len()]);
    }
}

/// The products of numbers `l` and `l + 32`, summed.
#[inline(always)]
fn sum_of_2<const FMA: bool>(block: &[[f32; 16]; 64], x: &[f32; 64], l: usize) -> [f32; 16] {
    let mut sums = [0.0; 16];
    for lane in 0..16 {
        let first = fused::<FMA>(block[l][lane], x[l], 0.0);
        sums[lane] = fused::<FMA>(block[l + 32][lane], x[l + 32], first);
    }
    sums
}

#[inline(always)]
fn added(mut x: [f32; 16], y: [f32; 16]) -> [f32; 16] {
    for lane in 0..16 {
        x[lane] += y[lane];
    }
    x
}

/// A function that adds two sums of `$half` which begin `$step` numbers apart. Loops over numbers would be compiled for
/// AVX-512 so that vectors go across numbers, by gathering and scattering: 50 times slower.
macro_rules! twice {
    ($name:ident, $half:ident, $step:literal) => {
        #[inline(always)]
        fn $name<const FMA: bool>(block: &[[f32; 16]; 64], x: &[f32; 64], l: usize) -> [f32; 16] {
            added($half::<FMA>(block, x, l), $half::<FMA>(block, x, l + $step))
        }
    };
}
twice!(sum_of_4, sum_of_2, 16);
twice!(sum_of_8, sum_of_4, 8);
twice!(sum_of_16, sum_of_8, 4);
twice!(sum_of_32, sum_of_16, 2);

dispatch! {
    /// `out = (z − the least of z) · boosts`.
    pub(crate) fn boosted(z: &[f32], boosts: &[f32], out: &mut [f32]) {
        // Sixteen minima side by side; a comparison with no number is false, so that none of these is the least.
        let mut least = [f32::INFINITY; 16];
        let (chunks, rest) = z.as_chunks::<16>();
        for chunk in chunks {
            for l in 0..16 {
                least[l] = if chunk[l] < least[l] { chunk[l] } else { least[l] };
            }
        }
        let least = least.iter().chain(rest).fold(f32::INFINITY, |least, &z| least.min(z));
        for ((out, z), boost) in out.iter_mut().zip(z).zip(boosts) {
            *out = (z - least) * boost;
        }
    }
}

/// Sums a power of two of partial sums, halves onto each other, so that the order is the same for every
/// instruction set.
#[inline(always)]
pub(super) fn tree_sum<const N: usize>(mut sums: [f32; N]) -> f32 {
    let mut width = N / 2;
    while width > 0 {
        for l in 0..width {
            sums[l] += sums[l + width];
        }
        width /= 2;
    }
    sums[0]
}

/// The sum of squares.
pub(crate) fn squared_norm(isa: Isa, x: &[f32]) -> f32 {
    dot(isa, x, x)
}
