//! Element-wise and row-wise dense kernels on slices: softmax, normalisation, biases, winners. Nothing is fused
//! and sums keep one order, so results have the same bits on every machine.

use super::isa::dispatch;
use super::vectors::tree_sum;

/// Lanes of the sums below: the widest vector in f32.
const LANES: usize = 16;

/// Dot product in a fixed order. `a` and `b` are equally long.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let (heads_a, tail_a) = a.as_chunks::<LANES>();
    let (heads_b, tail_b) = b.as_chunks::<LANES>();
    for (x, y) in heads_a.iter().zip(heads_b) {
        for i in 0..LANES {
            lanes[i] += x[i] * y[i];
        }
    }
    let mut sum = tree_sum(lanes);
    for (x, y) in tail_a.iter().zip(tail_b) {
        sum += x * y;
    }
    sum
}

/// Resizes `buffer` to `len` zeros, reusing its memory.
pub(crate) fn reset(buffer: &mut Vec<f32>, len: usize) {
    buffer.clear();
    buffer.resize(len, 0.0);
}

/// `y += s x`.
#[inline(always)]
pub(crate) fn add_scaled(y: &mut [f32], s: f32, x: &[f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += s * x;
    }
}

dispatch! {
    /// `out = max(0, weights · input)`, `weights` `[units, inputs]`.
    pub(crate) fn rectified(input: &[f32], weights: &[f32], out: &mut [f32]) {
        for (out, weights) in out.iter_mut().zip(weights.chunks_exact(input.len().max(1))) {
            *out = dot(input, weights).max(0.0);
        }
    }
}

dispatch! {
    /// `sums += left ⊗ right`, `sums` `[left, right]`.
    pub(crate) fn add_outer(sums: &mut [f32], left: &[f32], right: &[f32]) {
        for (sums, &left) in sums.chunks_exact_mut(right.len().max(1)).zip(left) {
            if left != 0.0 {
                add_scaled(sums, left, right);
            }
        }
    }
}

/// e^x to about 2 units in the last place, in a form that compiles to vectors.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    // Adding and subtracting 1.5·2^23 rounds to the nearest whole number.
    let n = (x * std::f32::consts::LOG2_E + 12_582_912.0) - 12_582_912.0;
    let f = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * f + 1.398_199_9e-3;
    let p = p * f + 8.333_452e-3;
    let p = p * f + 4.166_579_6e-2;
    let p = p * f + 1.666_666_5e-1;
    let p = p * f + 5e-1;
    let e = p * f * f + f + 1.0;
    e * f32::from_bits(((n as i32 + 127) << 23) as u32)
}

dispatch! {
    /// Softmax of each row of `[rows, width]`, in place.
    pub(crate) fn softmax_rows(values: &mut [f32], width: usize) {
        for row in values.chunks_exact_mut(width) {
            softmax(row);
        }
    }
}

/// Softmax of one row in place.
#[inline(always)]
pub(crate) fn softmax(row: &mut [f32]) {
    let mut peak = [f32::NEG_INFINITY; LANES];
    let (heads, tail) = row.as_chunks::<LANES>();
    for chunk in heads {
        for i in 0..LANES {
            peak[i] = if chunk[i] > peak[i] { chunk[i] } else { peak[i] };
        }
    }
    let mut max = f32::NEG_INFINITY;
    for value in peak.iter().chain(tail) {
        max = max.max(*value);
    }
    let mut lanes = [0f32; LANES];
    let (heads, tail) = row.as_chunks_mut::<LANES>();
    for chunk in heads {
        for i in 0..LANES {
            chunk[i] = exp(chunk[i] - max);
            lanes[i] += chunk[i];
        }
    }
    let mut sum = tree_sum(lanes);
    for value in tail {
        *value = exp(*value - max);
        sum += *value;
    }
    let scale = 1.0 / sum;
    for value in row {
        *value *= scale;
    }
}

dispatch! {
    /// Backward of softmax rows: `grad` becomes `p (grad − Σ p grad) scale`.
    pub(crate) fn softmax_rows_backward(probabilities: &[f32], grad: &mut [f32], width: usize, scale: f32) {
        for (p, g) in probabilities.chunks_exact(width).zip(grad.chunks_exact_mut(width)) {
            let mean = dot(p, g);
            for (g, p) in g.iter_mut().zip(p) {
                *g = p * (*g - mean) * scale;
            }
        }
    }
}

/// Keeps the root of a row of zeros finite.
pub(crate) const EPSILON: f32 = 1e-6;

dispatch! {
    /// `y = gain x / rms(x)` for each row of `[rows, width]`; `inverse` `[rows]` keeps 1 / rms.
    pub(crate) fn rms_norm(x: &[f32], gain: &[f32], y: &mut [f32], inverse: &mut [f32]) {
        let width = gain.len();
        for ((x, y), inverse) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(inverse) {
            let r = 1.0 / (dot(x, x) / width as f32 + EPSILON).sqrt();
            *inverse = r;
            for i in 0..width {
                y[i] = x[i] * r * gain[i];
            }
        }
    }
}

dispatch! {
    /// Backward of [`rms_norm`]: adds to `dx` and `dgain`.
    pub(crate) fn rms_norm_backward(x: &[f32], gain: &[f32], inverse: &[f32], dy: &[f32], dx: &mut [f32], dgain: &mut [f32]) {
        let width = gain.len();
        for (((x, dy), dx), r) in x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(width)).zip(inverse) {
            let mut lanes = [0f32; LANES];
            let mut sum = 0.0;
            for i in 0..width {
                let term = gain[i] * dy[i] * x[i];
                if i < width - width % LANES { lanes[i % LANES] += term } else { sum += term }
                dgain[i] += dy[i] * x[i] * r;
            }
            let s = (tree_sum(lanes) + sum) * r * r * r / width as f32;
            for i in 0..width {
                dx[i] += r * gain[i] * dy[i] - s * x[i];
            }
        }
    }
}

dispatch! {
    /// Adds `bias` to each row.
    pub(crate) fn add_bias(y: &mut [f32], bias: &[f32]) {
        for row in y.chunks_exact_mut(bias.len()) {
            for (y, b) in row.iter_mut().zip(bias) {
                *y += b;
            }
        }
    }
}

dispatch! {
    /// Adds the rows of `dy` to `dbias`.
    pub(crate) fn sum_rows(dy: &[f32], dbias: &mut [f32]) {
        for row in dy.chunks_exact(dbias.len()) {
            for (d, y) in dbias.iter_mut().zip(row) {
                *d += y;
            }
        }
    }
}

dispatch! {
    /// `y += x`.
    pub(crate) fn add(y: &mut [f32], x: &[f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y += x;
        }
    }
}

dispatch! {
    /// `y −= s x`.
    pub(crate) fn subtract_scaled(y: &mut [f32], s: f32, x: &[f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y -= s * x;
        }
    }
}

dispatch! {
    /// `y = x ⊙ mask` where `keep` is the mask.
    pub(crate) fn multiply(y: &mut [f32], mask: &[f32]) {
        for (y, m) in y.iter_mut().zip(mask) {
            *y *= m;
        }
    }
}

dispatch! {
    /// Sum of squares in f64, in a fixed order.
    pub(crate) fn square_sum(x: &[f32]) -> f64 {
        x.chunks(1024).map(|part| f64::from(dot(part, part))).sum()
    }
}

dispatch! {
    /// Gradient of the k-winners: what flows back through units that did not win is dropped.
    pub(crate) fn mask_losers(grad: &mut [f32], activation: &[f32]) {
        for (g, a) in grad.iter_mut().zip(activation) {
            *g = if *a > 0.0 { *g } else { 0.0 };
        }
    }
}

/// Keeps the `k` largest positive values of each row of `width` and clears the rest; of equal
/// values the earlier wins. `scratch` is reused between calls.
pub(crate) fn winners_rows(z: &mut [f32], width: usize, k: usize, scratch: &mut Vec<u32>) {
    if k >= width {
        for value in z {
            *value = value.max(0.0);
        }
        return;
    }
    for row in z.chunks_exact_mut(width) {
        // Positive floats order as their bits do, so whole numbers are compared.
        scratch.clear();
        scratch.extend(row.iter().filter(|v| **v > 0.0).map(|v| v.to_bits()));
        let threshold = if scratch.len() <= k {
            0
        } else {
            let at = scratch.len() - k;
            *scratch.select_nth_unstable(at).1
        };
        let above = if threshold == 0 { 0 } else { scratch.iter().filter(|bits| **bits > threshold).count() };
        let mut ties = k - above;
        for value in row {
            let bits = if *value > 0.0 { value.to_bits() } else { 0 };
            let wins = bits > threshold || (bits == threshold && bits > 0 && ties > 0);
            if bits == threshold && wins {
                ties -= 1;
            }
            *value = if wins { *value } else { 0.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_everywhere() {
        for i in -8700..8800 {
            let x = i as f32 / 100.0;
            let (ours, exact) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((ours - exact).abs() <= 3e-7 * exact, "{x}: {ours} {exact}");
        }
    }

    #[test]
    fn winners_are_exactly_k_and_earlier_ties_win() {
        let mut z = vec![1.0, 2.0, 2.0, 2.0, -1.0, 0.0];
        winners_rows(&mut z, 6, 2, &mut Vec::new());
        assert_eq!(z, [0.0, 2.0, 2.0, 0.0, 0.0, 0.0]);
        let mut few = vec![-1.0, 3.0, -2.0, 0.0];
        winners_rows(&mut few, 4, 2, &mut Vec::new());
        assert_eq!(few, [0.0, 3.0, 0.0, 0.0]);
    }
}
