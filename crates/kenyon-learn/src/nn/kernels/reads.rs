//! Kernels of embeddings and reads: sums of rows by index or by weight, and their gradients.

use super::dense;
use super::isa::dispatch;

dispatch! {
    /// `x += Σ value · table[index]`, rows of `x.len()`.
    pub(crate) fn gather(x: &mut [f32], table: &[f32], indices: &[u32], values: &[f32]) {
        let d = x.len();
        for (index, value) in indices.iter().zip(values) {
            let at = *index as usize * d;
            dense::add_scaled(x, *value, &table[at..at + d]);
        }
    }
}

dispatch! {
    /// `out = Σ_i weights[i] values[i]`, rows of `out.len()`.
    pub(crate) fn weighted_sum(out: &mut [f32], weights: &[f32], values: &[f32]) {
        out.fill(0.0);
        for (weight, value) in weights.iter().zip(values.chunks_exact(out.len())) {
            dense::add_scaled(out, *weight, value);
        }
    }
}

dispatch! {
    /// The largest value of each column and the row (counted from `first`) that has it.
    pub(crate) fn largest(values: &[f32], peak: &mut [f32], token: &mut [u32], first: u32) {
        peak.fill(f32::NEG_INFINITY);
        for (i, row) in values.chunks_exact(peak.len()).enumerate() {
            for ((peak, token), value) in peak.iter_mut().zip(token.iter_mut()).zip(row) {
                let larger = *value > *peak;
                *peak = if larger { *value } else { *peak };
                *token = if larger { first + i as u32 } else { *token };
            }
        }
    }
}

dispatch! {
    /// Backward of one soft read of one row.
    pub(crate) fn read_backward(
        values: &[f32],
        weights: &[f32],
        dpooled: &[f32],
        query: &[f32],
        scale: f32,
        dvalues: &mut [f32],
        dweights: &mut [f32],
        dquery: &mut [f32],
    ) {
        let d = query.len();
        let mut mean = 0.0;
        for ((value, dweight), weight) in values.chunks_exact(d).zip(dweights.iter_mut()).zip(weights) {
            *dweight = dense::dot(value, dpooled);
            mean += *dweight * weight;
        }
        for (((value, dvalue), dweight), weight) in
            values.chunks_exact(d).zip(dvalues.chunks_exact_mut(d)).zip(dweights.iter()).zip(weights)
        {
            let dscore = weight * (dweight - mean) * scale;
            dense::add_scaled(dquery, dscore, value);
            for i in 0..d {
                dvalue[i] += weight * dpooled[i] + dscore * query[i];
            }
        }
    }
}

dispatch! {
    /// `out += value · row ⊙ mask`.
    pub(crate) fn slot_sum(out: &mut [f32], row: &[f32], mask: &[f32], value: f32) {
        for ((o, r), m) in out.iter_mut().zip(row).zip(mask) {
            *o += r * m * value;
        }
    }
}

dispatch! {
    /// `row += value · gradient ⊙ mask`: the backward pass of [`slot_sum`].
    pub(crate) fn add_masked(row: &mut [f32], gradient: &[f32], mask: &[f32], value: f32) {
        for ((r, g), m) in row.iter_mut().zip(gradient).zip(mask) {
            *r += g * m * value;
        }
    }
}
