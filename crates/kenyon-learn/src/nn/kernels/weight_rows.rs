//! Kernels over whole lines: all units of one active input lie side by side, so one row alone reads
//! memory in order. For inference; training uses blocks of 16 units ([`super::forward`]), since a winner there
//! writes to one unit of many inputs.

use super::isa::dispatch;
use super::lane::{LANE, Lane, fused};
use super::rows::SparseRows;

/// Units of a [`Pair`].
pub(crate) const PAIR: usize = 2 * LANE;

/// Weights of 32 units in half the memory: the upper 16 bits of a single (bfloat16). Word `l` holds unit `l`
/// in its lower half and unit `l + 16` in its upper, so that a shift and a mask give both as singles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub(crate) struct Pair([u32; LANE]);

impl Pair {
    /// Packs 32 numbers; `None` unless each is a bfloat16 already, so that nothing is lost.
    pub(crate) fn exact(numbers: &[f32; PAIR]) -> Option<Self> {
        if numbers.iter().any(|n| n.to_bits() & 0xffff != 0) {
            return None;
        }
        Some(Self(std::array::from_fn(|l| numbers[l].to_bits() >> 16 | numbers[l + LANE].to_bits())))
    }

    /// The number of unit `unit` of the 32.
    pub(crate) fn get(&self, unit: usize) -> f32 {
        let word = self.0[unit % LANE];
        f32::from_bits(if unit < LANE { word << 16 } else { word & 0xffff_0000 })
    }
}

/// 32 weights side by side, as they are stored.
trait Line: Copy {
    /// Those of units 0 to 15 and of 16 to 31.
    fn halves(&self) -> [[f32; LANE]; 2];
}

impl Line for Pair {
    #[inline(always)]
    fn halves(&self) -> [[f32; LANE]; 2] {
        let mut halves = [[0.0; LANE]; 2];
        for l in 0..LANE {
            halves[0][l] = f32::from_bits(self.0[l] << 16);
            halves[1][l] = f32::from_bits(self.0[l] & 0xffff_0000);
        }
        halves
    }
}

impl Line for [Lane; 2] {
    #[inline(always)]
    fn halves(&self) -> [[f32; LANE]; 2] {
        [self[0].0, self[1].0]
    }
}

dispatch! {
    /// `out[r] = bias + Σ value · weights[index]` over the entries of row `r`, entry after entry.
    ///
    /// `weights` is `[inputs, width]`, `bias` `[width]` and `out` `[rows, width]`, where `width` counts 32 units.
    /// Indices from `inputs` on mean lines of `sums` (see [`super::BinSums`]) and are last in their row.
    pub(crate) fn forward_pairs(
        weights: &[Pair], sums: &[[Lane; 2]], bias: &[[Lane; 2]], rows: &SparseRows<'_>, out: &mut [[Lane; 2]],
    ) = pairs_body
}

#[inline(always)]
fn pairs_body<const FMA: bool>(
    weights: &[Pair],
    sums: &[[Lane; 2]],
    bias: &[[Lane; 2]],
    rows: &SparseRows<'_>,
    out: &mut [[Lane; 2]],
) {
    forward::<FMA, Pair>(weights, sums, bias, rows, out);
}

dispatch! {
    /// As [`forward_pairs`], from singles.
    pub(crate) fn forward_lines(
        weights: &[[Lane; 2]], sums: &[[Lane; 2]], bias: &[[Lane; 2]], rows: &SparseRows<'_>, out: &mut [[Lane; 2]],
    ) = lines_body
}

#[inline(always)]
fn lines_body<const FMA: bool>(
    weights: &[[Lane; 2]],
    sums: &[[Lane; 2]],
    bias: &[[Lane; 2]],
    rows: &SparseRows<'_>,
    out: &mut [[Lane; 2]],
) {
    forward::<FMA, [Lane; 2]>(weights, sums, bias, rows, out);
}

#[inline(always)]
fn forward<const FMA: bool, L: Line>(
    weights: &[L],
    sums: &[[Lane; 2]],
    bias: &[[Lane; 2]],
    rows: &SparseRows<'_>,
    out: &mut [[Lane; 2]],
) {
    let width = bias.len();
    let inputs = weights.len() / width.max(1);
    assert!(rows.bound() * width <= weights.len() + sums.len(), "a line for every input");
    for (r, out) in (0..rows.len()).zip(out.chunks_exact_mut(width.max(1))) {
        out.copy_from_slice(bias);
        let (indices, values) = rows.row(r);
        let own = if sums.is_empty() {
            indices.len()
        } else {
            indices.iter().rposition(|&index| (index as usize) < inputs).map_or(0, |last| last + 1)
        };
        add_all::<FMA, L>(weights, 0, (&indices[..own], &values[..own]), out);
        add_all::<FMA, [Lane; 2]>(sums, inputs, (&indices[own..], &values[own..]), out);
    }
}

/// Adds the lines of some entries; the first line has index `first`.
#[inline(always)]
fn add_all<const FMA: bool, L: Line>(
    lines: &[L],
    first: usize,
    (indices, values): (&[u32], &[f32]),
    out: &mut [[Lane; 2]],
) {
    let width = out.len();
    let line = |index: u32| &lines[(index as usize - first) * width..(index as usize - first + 1) * width];
    let (eights, rest) = indices.as_chunks::<8>();
    let (eight_values, rest_values) = values.as_chunks::<8>();
    for (eight, values) in eights.iter().zip(eight_values) {
        add::<FMA, L, 8>(std::array::from_fn(|i| line(eight[i])), values, out);
    }
    let (twos, last) = rest.as_chunks::<2>();
    let (two_values, last_value) = rest_values.as_chunks::<2>();
    for (two, values) in twos.iter().zip(two_values) {
        add::<FMA, L, 2>(std::array::from_fn(|i| line(two[i])), values, out);
    }
    for (&index, &value) in last.iter().zip(last_value) {
        add::<FMA, L, 1>([line(index)], &[value], out);
    }
}

/// Adds `N` lines at once, so that the sums are read and written once for all of them.
#[inline(always)]
fn add<const FMA: bool, L: Line, const N: usize>(lines: [&[L]; N], values: &[f32; N], out: &mut [[Lane; 2]]) {
    // Slices of one length let the compiler see that no access below can miss.
    let lines = lines.map(|line| &line[..out.len()]);
    for at in 0..out.len() {
        let [mut low, mut high] = [out[at][0].0, out[at][1].0];
        for n in 0..N {
            let halves = lines[n][at].halves();
            for l in 0..LANE {
                low[l] = fused::<FMA>(values[n], halves[0][l], low[l]);
                high[l] = fused::<FMA>(values[n], halves[1][l], high[l]);
            }
        }
        out[at] = [Lane(low), Lane(high)];
    }
}
