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
        let mut sums = [[0.0f32; 16]; 16];
        for l in 0..16 {
            for lane in 0..16 {
                let half = |l: usize| {
                    let first = fused::<FMA>(block[l][lane], x[l], 0.0);
                    fused::<FMA>(block[l + 32][lane], x[l + 32], first)
                };
                sums[l][lane] = half(l) + half(l + 16);
            }
        }
        for width in [8, 4, 2, 1] {
            for l in 0..width {
                for lane in 0..16 {
                    sums[l][lane] += sums[l + width][lane];
                }
            }
        }
        out.copy_from_slice(&sums[0][..out.len()]);
    }
}

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
