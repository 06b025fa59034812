//! Products with the dense weights, and multi-head attention of each row over its own tokens.

use super::Shape;
use super::tape::{Saved, reset};
use crate::nn::kernels::dense::{self, View, product};

/// `y (+)= x w` for `x` `[n, input]`, `w` `[input, output]`.
pub(super) fn linear(x: &[f32], w: &[f32], y: &mut [f32], (n, input, output): (usize, usize, usize), keep: bool) {
    product((n, input, output), 1.0, x, View::rows(input), w, View::rows(output), keep, y, View::rows(output));
}

/// `dw += xᵀ dy`.
pub(super) fn linear_weight_grad(x: &[f32], dy: &[f32], dw: &mut [f32], (n, input, output): (usize, usize, usize)) {
    product((input, n, output), 1.0, x, View::transposed(input), dy, View::rows(output), true, dw, View::rows(output));
}

/// `dx (+)= dy wᵀ`.
pub(super) fn linear_input_grad(
    dy: &[f32],
    w: &[f32],
    dx: &mut [f32],
    (n, input, output): (usize, usize, usize),
    keep: bool,
) {
    product((n, output, input), 1.0, dy, View::rows(output), w, View::transposed(output), keep, dx, View::rows(input));
}

/// Multi-head attention of each row over its own tokens: fills `weights` and `mixed`.
pub(super) fn attend(shape: &Shape, offsets: &[usize], saved: &mut Saved) {
    let (d, heads) = (shape.width, shape.heads);
    let size = d / heads;
    let scale = 1.0 / (size as f32).sqrt();
    let total: usize = offsets.windows(2).map(|o| (o[1] - o[0]).pow(2) * heads).sum();
    reset(&mut saved.weights, total);
    reset(&mut saved.mixed, saved.normed1.len());
    let mut at = 0;
    for row in offsets.windows(2) {
        let (start, t) = (row[0], row[1] - row[0]);
        if t == 0 {
            continue;
        }
        let qkv = View::rows(3 * d).at(start * 3 * d);
        for head in 0..heads {
            let weights = &mut saved.weights[at + head * t * t..at + (head + 1) * t * t];
            let q = qkv.at(qkv.offset + head * size);
            let k = View { offset: qkv.offset + d + head * size, row: 1, column: 3 * d };
            product((t, size, t), scale, &saved.qkv, q, &saved.qkv, k, false, weights, View::rows(t));
        }
        dense::softmax_rows(&mut saved.weights[at..at + heads * t * t], t);
        for head in 0..heads {
            let weights = &saved.weights[at + head * t * t..at + (head + 1) * t * t];
            let v = qkv.at(qkv.offset + 2 * d + head * size);
            let mixed = View::rows(d).at(start * d + head * size);
            product((t, t, size), 1.0, weights, View::rows(t), &saved.qkv, v, false, &mut saved.mixed, mixed);
        }
        at += heads * t * t;
    }
}

/// Backward of [`attend`]: `dqkv` from the gradient of `mixed`.
pub(super) fn attend_backward(
    shape: &Shape,
    offsets: &[usize],
    saved: &Saved,
    dmixed: &[f32],
    dqkv: &mut [f32],
    scratch: &mut Vec<f32>,
) {
    let (d, heads) = (shape.width, shape.heads);
    let size = d / heads;
    let scale = 1.0 / (size as f32).sqrt();
    let mut at = 0;
    for row in offsets.windows(2) {
        let (start, t) = (row[0], row[1] - row[0]);
        if t == 0 {
            continue;
        }
        let qkv = View::rows(3 * d).at(start * 3 * d);
        let weights = &saved.weights[at..at + heads * t * t];
        reset(scratch, heads * t * t);
        for head in 0..heads {
            let (p, dp) = (&weights[head * t * t..(head + 1) * t * t], &mut scratch[head * t * t..(head + 1) * t * t]);
            let dm = View::rows(d).at(start * d + head * size);
            let v_transposed = View { offset: qkv.offset + 2 * d + head * size, row: 1, column: 3 * d };
            product((t, size, t), 1.0, dmixed, dm, &saved.qkv, v_transposed, false, dp, View::rows(t));
            let dv = qkv.at(qkv.offset + 2 * d + head * size);
            product((t, t, size), 1.0, p, View::transposed(t), dmixed, dm, false, dqkv, dv);
        }
        dense::softmax_rows_backward(weights, scratch, t, scale);
        for head in 0..heads {
            let ds = &scratch[head * t * t..(head + 1) * t * t];
            let (q, k) = (qkv.at(qkv.offset + head * size), qkv.at(qkv.offset + d + head * size));
            product((t, t, size), 1.0, ds, View::rows(t), &saved.qkv, k, false, dqkv, q);
            product((t, t, size), 1.0, ds, View::transposed(t), &saved.qkv, q, false, dqkv, k);
        }
        at += heads * t * t;
    }
}
