//! Kernels over one block of 16 units and all rows of a mini-batch.

use super::isa::dispatch;
use super::lane::{LANE, Lane, fused};
use super::rows::{SparseRows, Winners};
use super::vectors::tree_sum;

/// The line of input `index`. Kernels read and write many of these, in an order that the compiler cannot predict.
///
/// # Safety
/// `index` must be below `weights.len()`.
#[inline(always)]
unsafe fn line(weights: &[Lane], index: u32) -> &Lane {
    debug_assert!((index as usize) < weights.len());
    // SAFETY: the caller guarantees the bound.
    unsafe { weights.get_unchecked(index as usize) }
}

/// As [`line`], to write.
///
/// # Safety
/// `index` must be below `weights.len()`.
#[inline(always)]
unsafe fn line_mut(weights: &mut [Lane], index: u32) -> &mut Lane {
    debug_assert!((index as usize) < weights.len());
    // SAFETY: the caller guarantees the bound.
    unsafe { weights.get_unchecked_mut(index as usize) }
}

/// Checks what makes the unchecked lines above sound: `SparseRows` holds no index at or above its bound.
#[inline(always)]
fn covers(weights: &[Lane], rows: &SparseRows<'_>) {
    assert!(rows.bound() <= weights.len(), "the block has a line for every input");
}

/// Prefetches lines that are read soon into the second cache.
#[inline(always)]
fn prefetch(lines: &[Lane]) {
    for line in lines {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: every x86-64 has the instruction; it reads nothing, and the address is a reference's.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T1>(line.0.as_ptr().cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = line;
    }
}

/// The share of `lines` that is prefetched while row `row` of `rows` is processed.
#[inline(always)]
fn prefetch_share(lines: &[Lane], row: usize, rows: usize) -> &[Lane] {
    &lines[row * lines.len() / rows..(row + 1) * lines.len() / rows]
}

dispatch! {
    /// `out[r * stride] = bias + Σ value · weights[index]` over the entries of row `r`.
    ///
    /// `weights` is `[inputs]` lines; entries are summed in four interleaved partial sums. `next` are
    /// the lines that the call after this one reads: rows read theirs in no order that the processor
    /// could predict, and meanwhile these come from the third cache or from memory.
    pub fn forward(
        weights: &[Lane], bias: &Lane, rows: &SparseRows<'_>, out: &mut [Lane], stride: usize, next: &[Lane],
    ) = forward_body
}

#[inline(always)]
fn forward_body<const FMA: bool>(
    weights: &[Lane],
    bias: &Lane,
    rows: &SparseRows<'_>,
    out: &mut [Lane],
    stride: usize,
    next: &[Lane],
) {
    covers(weights, rows);
    for r in 0..rows.len() {
        prefetch(prefetch_share(next, r, rows.len()));
        let (indices, values) = rows.row(r);
        let mut sums = [bias.0, [0.0; LANE], [0.0; LANE], [0.0; LANE]];
        let (fours, rest) = indices.as_chunks::<4>();
        let (four_values, rest_values) = values.as_chunks::<4>();
        for (four, value) in fours.iter().zip(four_values) {
            for s in 0..4 {
                // SAFETY: `covers` holds, so every index of `rows` is inside `weights`.
                let line = unsafe { line(weights, four[s]) };
                for l in 0..LANE {
                    sums[s][l] = fused::<FMA>(value[s], line.0[l], sums[s][l]);
                }
            }
        }
        for (&index, &value) in rest.iter().zip(rest_values) {
            // SAFETY: as above.
            let line = unsafe { line(weights, index) };
            for l in 0..LANE {
                sums[0][l] = fused::<FMA>(value, line.0[l], sums[0][l]);
            }
        }
        let out = &mut out[r * stride].0;
        for l in 0..LANE {
            out[l] = (sums[0][l] + sums[1][l]) + (sums[2][l] + sums[3][l]);
        }
    }
}

dispatch! {
    /// `weights[index][unit] += value · delta` for every entry of a row and every winner of it in
    /// block `block`; `bias[unit] += delta`. Other weights are not touched. `next` as for [`forward`].
    pub fn update(
        weights: &mut [Lane], bias: &mut Lane, rows: &SparseRows<'_>, winners: &Winners<'_>, block: usize, next: &[Lane],
    ) = update_body
}

#[inline(always)]
fn update_body<const FMA: bool>(
    weights: &mut [Lane],
    bias: &mut Lane,
    rows: &SparseRows<'_>,
    winners: &Winners<'_>,
    block: usize,
    next: &[Lane],
) {
    covers(weights, rows);
    for r in 0..rows.len() {
        prefetch(prefetch_share(next, r, rows.len()));
        let (units, deltas) = winners.block(r, block);
        let (indices, values) = rows.row(r);
        for (&unit, &delta) in units.iter().zip(deltas) {
            bias.0[Winners::lane(unit)] += delta;
        }
        match units.len() {
            0 => {}
            1 => {
                let (lane, delta) = (Winners::lane(units[0]), deltas[0]);
                if delta != 0.0 {
                    for (&index, &value) in indices.iter().zip(values) {
                        // SAFETY: `covers` holds, so every index of `rows` is inside `weights`.
                        let weight = unsafe { &mut line_mut(weights, index).0[lane] };
                        *weight = fused::<FMA>(value, delta, *weight);
                    }
                }
            }
            _ => {
                // From two winners on, one pass over all sixteen lanes is cheaper than one each.
                let mut dense = [0.0; LANE];
                for (&unit, &delta) in units.iter().zip(deltas) {
                    dense[Winners::lane(unit)] = delta;
                }
                add_outer::<FMA>(weights, indices, values, &dense);
            }
        }
    }
}

/// `weights[index] += value · delta`; every index must be inside `weights` (see [`covers`]).
#[inline(always)]
fn add_outer<const FMA: bool>(weights: &mut [Lane], indices: &[u32], values: &[f32], delta: &[f32; LANE]) {
    for (&index, &value) in indices.iter().zip(values) {
        // SAFETY: both callers checked `covers` for the rows these indices are from.
        let line = unsafe { line_mut(weights, index) };
        for l in 0..LANE {
            line.0[l] = fused::<FMA>(value, delta[l], line.0[l]);
        }
    }
}

dispatch! {
    /// `weights[index] += value · deltas[r * stride]` and `bias += deltas[r * stride]`: the update of
    /// a layer all of whose outputs take part, such as a readout.
    pub(crate) fn update_dense(
        weights: &mut [Lane], bias: &mut Lane, rows: &SparseRows<'_>, deltas: &[Lane], stride: usize,
    ) = update_dense_body
}

#[inline(always)]
fn update_dense_body<const FMA: bool>(
    weights: &mut [Lane],
    bias: &mut Lane,
    rows: &SparseRows<'_>,
    deltas: &[Lane],
    stride: usize,
) {
    covers(weights, rows);
    for r in 0..rows.len() {
        let (indices, values) = rows.row(r);
        let delta = &deltas[r * stride].0;
        for l in 0..LANE {
            bias.0[l] += delta[l];
        }
        add_outer::<FMA>(weights, indices, values, delta);
    }
}

dispatch! {
    /// `out[e] += Σ weights[index_e][unit] · delta` over the winners of the row in block `block`:
    /// this block's share of the gradient of every active input. `out` has a value an entry.
    pub(crate) fn back_sparse(
        weights: &[Lane], rows: &SparseRows<'_>, winners: &Winners<'_>, block: usize, out: &mut [f32],
    ) = back_sparse_body
}

#[inline(always)]
fn back_sparse_body<const FMA: bool>(
    weights: &[Lane],
    rows: &SparseRows<'_>,
    winners: &Winners<'_>,
    block: usize,
    out: &mut [f32],
) {
    covers(weights, rows);
    for r in 0..rows.len() {
        let (units, deltas) = winners.block(r, block);
        let (indices, _) = rows.row(r);
        let out = &mut out[rows.range(r)];
        for (&unit, &delta) in units.iter().zip(deltas) {
            let lane = Winners::lane(unit);
            if delta != 0.0 {
                for (out, &index) in out.iter_mut().zip(indices) {
                    // SAFETY: `covers` holds, so every index of `rows` is inside `weights`.
                    let weight = unsafe { line(weights, index).0[lane] };
                    *out = fused::<FMA>(weight, delta, *out);
                }
            }
        }
    }
}

dispatch! {
    /// `out[e] += weights[index_e] · deltas[r * stride]` for every entry of every row.
    pub(crate) fn back_dense(
        weights: &[Lane], rows: &SparseRows<'_>, deltas: &[Lane], stride: usize, out: &mut [f32],
    ) = back_dense_body
}

#[inline(always)]
fn back_dense_body<const FMA: bool>(
    weights: &[Lane],
    rows: &SparseRows<'_>,
    deltas: &[Lane],
    stride: usize,
    out: &mut [f32],
) {
    covers(weights, rows);
    for r in 0..rows.len() {
        let (indices, _) = rows.row(r);
        let delta = &deltas[r * stride].0;
        for (out, &index) in out[rows.range(r)].iter_mut().zip(indices) {
            // SAFETY: `covers` holds, so every index of `rows` is inside `weights`.
            let line = unsafe { line(weights, index) };
            let mut products = [0.0; LANE];
            for l in 0..LANE {
                products[l] = line.0[l] * delta[l];
            }
            *out += tree_sum(products);
        }
    }
}
