//! Multi-head attention of each row over its own tokens (Vaswani et al. 2017), forward and backward.

use crate::nn::kernels::dense::{self, reset};
use crate::nn::kernels::matrix::{MatrixShape, product};

/// With `(width, heads)`, fills `weights` `[rows: heads, tokens, tokens]` and `mixed` `[tokens, width]` from `qkv` `[tokens, 3 width]`;
/// `offsets` `[rows + 1]` defines which tokens belong to a row.
pub(super) fn attend(
    (d, heads): (usize, usize),
    offsets: &[usize],
    qkv: &[f32],
    weights: &mut Vec<f32>,
    mixed: &mut Vec<f32>,
) {
    let size = d / heads;
    let scale = 1.0 / (size as f32).sqrt();
    let total: usize = offsets.windows(2).map(|o| (o[1] - o[0]).pow(2) * heads).sum();
    reset(weights, total);
    reset(mixed, qkv.len() / 3);
    let mut at = 0;
    for row in offsets.windows(2) {
        let (start, t) = (row[0], row[1] - row[0]);
        if t == 0 {
            continue;
        }
        let part = |which: usize, head: usize| {
            (&qkv[start * 3 * d + which * d + head * size..], MatrixShape::strided(t, size, 3 * d))
        };
        let square = MatrixShape::new(t, t);
        for head in 0..heads {
            let weights = &mut weights[at + head * t * t..at + (head + 1) * t * t];
            let (keys, shape) = part(1, head);
            product((weights, square), part(0, head), (keys, shape.transposed()), None, scale);
        }
        dense::softmax_rows(&mut weights[at..at + heads * t * t], t);
        for head in 0..heads {
            let weights = &weights[at + head * t * t..at + (head + 1) * t * t];
            let mixed = (&mut mixed[start * d + head * size..], MatrixShape::strided(t, size, d));
            product(mixed, (weights, square), part(2, head), None, 1.0);
        }
        at += heads * t * t;
    }
}

/// Backward of [`attend`]: `dqkv` from the gradient of `mixed`.
pub(super) fn attend_backward(
    (d, heads): (usize, usize),
    offsets: &[usize],
    qkv: &[f32],
    weights: &[f32],
    dmixed: &[f32],
    dqkv: &mut [f32],
    scratch: &mut Vec<f32>,
) {
    let size = d / heads;
    let scale = 1.0 / (size as f32).sqrt();
    let mut at = 0;
    for row in offsets.windows(2) {
        let (start, t) = (row[0], row[1] - row[0]);
        if t == 0 {
            continue;
        }
        let wide = MatrixShape::strided(t, size, 3 * d);
        let place = |which: usize, head: usize| start * 3 * d + which * d + head * size;
        let part = |which: usize, head: usize| (&qkv[place(which, head)..], wide);
        let square = MatrixShape::new(t, t);
        let weights = &weights[at..at + heads * t * t];
        reset(scratch, heads * t * t);
        for head in 0..heads {
            let (p, dp) = (&weights[head * t * t..(head + 1) * t * t], &mut scratch[head * t * t..(head + 1) * t * t]);
            let dmixed = (&dmixed[start * d + head * size..], MatrixShape::strided(t, size, d));
            product((dp, square), dmixed, (part(2, head).0, wide.transposed()), None, 1.0);
            product((&mut dqkv[place(2, head)..], wide), (p, square.transposed()), dmixed, None, 1.0);
        }
        dense::softmax_rows_backward(weights, scratch, t, scale);
        for head in 0..heads {
            let ds = &scratch[head * t * t..(head + 1) * t * t];
            product((&mut dqkv[place(0, head)..], wide), (ds, square), part(1, head), None, 1.0);
            product((&mut dqkv[place(1, head)..], wide), (ds, square.transposed()), part(0, head), None, 1.0);
        }
        at += heads * t * t;
    }
}
