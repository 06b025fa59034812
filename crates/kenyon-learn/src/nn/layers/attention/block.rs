//! One attention block, forward and backward: attention over a row's tokens, then a feed-forward branch with k winners,
//! both added to their input.

use super::heads::{attend, attend_backward};
use super::layout::{AttentionBlock, AttentionShape};
use crate::nn::kernels::dense::{self, reset};
use crate::nn::kernels::linear::{linear, linear_input_gradient, linear_weight_gradient};
use crate::random::Random;

/// What a block keeps of its forward pass for its backward pass, over the tokens of a chunk.
#[derive(Debug, Default)]
pub(super) struct SavedBlock {
    input: Vec<f32>,
    inverse1: Vec<f32>,
    normed1: Vec<f32>,
    qkv: Vec<f32>,
    weights: Vec<f32>,
    mixed: Vec<f32>,
    middle: Vec<f32>,
    inverse2: Vec<f32>,
    normed2: Vec<f32>,
    pub(super) hidden: Vec<f32>,
    drop1: Vec<f32>,
    drop2: Vec<f32>,
}

/// Draws which of `len` values are dropped; the others are scaled up.
pub(crate) fn drop_mask(mask: &mut Vec<f32>, len: usize, share: f32, random: &mut Random) {
    mask.clear();
    mask.reserve(len + 3);
    // Four 16-bit draws a random number.
    let (limit, scale) = ((share * 65536.0) as u64, 1.0 / (1.0 - share));
    while mask.len() < len {
        let mut bits = random.next_u64();
        for _ in 0..4 {
            mask.push(if bits & 0xffff < limit { 0.0 } else { scale });
            bits >>= 16;
        }
    }
    mask.truncate(len);
}

/// Replaces `x`, the block's input `[tokens, width]`, by its output. `random` is the share that is dropped, and where the
/// draws come from.
pub(super) fn block_forward(
    shape: &AttentionShape,
    block: &AttentionBlock,
    w: &[f32],
    offsets: &[usize],
    saved: &mut SavedBlock,
    x: &mut Vec<f32>,
    (scratch, select): (&mut Vec<f32>, &mut Vec<u32>),
    mut random: Option<&mut (f32, Random)>,
) {
    let d = shape.width;
    let n = x.len() / d;
    saved.input.clone_from(x);
    reset(&mut saved.inverse1, n);
    reset(&mut saved.normed1, n * d);
    dense::rms_norm(x, &w[block.norm1.clone()], &mut saved.normed1, &mut saved.inverse1);
    reset(&mut saved.qkv, n * 3 * d);
    linear(&saved.normed1, &w[block.qkv.clone()], &mut saved.qkv, (n, d, 3 * d), false);
    attend((d, shape.heads), offsets, &saved.qkv, &mut saved.weights, &mut saved.mixed);
    reset(scratch, n * d);
    linear(&saved.mixed, &w[block.out.clone()], scratch, (n, d, d), false);
    saved.drop1.clear();
    if let Some((share, random)) = &mut random {
        drop_mask(&mut saved.drop1, n * d, *share, random);
        dense::multiply(scratch, &saved.drop1);
    }
    dense::add(x, scratch);
    saved.middle.clone_from(x);
    reset(&mut saved.inverse2, n);
    reset(&mut saved.normed2, n * d);
    dense::rms_norm(x, &w[block.norm2.clone()], &mut saved.normed2, &mut saved.inverse2);
    reset(&mut saved.hidden, n * shape.hidden);
    linear(&saved.normed2, &w[block.up.clone()], &mut saved.hidden, (n, d, shape.hidden), false);
    dense::add_bias(&mut saved.hidden, &w[block.up_bias.clone()]);
    dense::winners_rows(&mut saved.hidden, shape.hidden, shape.winners, select);
    reset(scratch, n * d);
    linear(&saved.hidden, &w[block.down.clone()], scratch, (n, shape.hidden, d), false);
    dense::add_bias(scratch, &w[block.down_bias.clone()]);
    saved.drop2.clear();
    if let Some((share, random)) = &mut random {
        drop_mask(&mut saved.drop2, n * d, *share, random);
        dense::multiply(scratch, &saved.drop2);
    }
    dense::add(x, scratch);
}

/// Replaces `dx`, the gradient of the block's output, by that of its input, and adds the gradients of its weights to
/// `g`.
pub(super) fn block_backward(
    shape: &AttentionShape,
    block: &AttentionBlock,
    w: &[f32],
    offsets: &[usize],
    saved: &SavedBlock,
    dx: &mut Vec<f32>,
    g: &mut [f32],
    (branch, wide, dy): (&mut Vec<f32>, &mut Vec<f32>, &mut Vec<f32>),
) {
    let d = shape.width;
    let n = dx.len() / d;
    // The feed-forward branch.
    branch.clone_from(dx);
    if !saved.drop2.is_empty() {
        dense::multiply(branch, &saved.drop2);
    }
    dense::sum_rows(branch, &mut g[block.down_bias.clone()]);
    linear_weight_gradient(&saved.hidden, branch, &mut g[block.down.clone()], (n, shape.hidden, d));
    reset(wide, n * shape.hidden);
    linear_input_gradient(branch, &w[block.down.clone()], wide, (n, shape.hidden, d), false);
    dense::mask_losers(wide, &saved.hidden);
    dense::sum_rows(wide, &mut g[block.up_bias.clone()]);
    linear_weight_gradient(&saved.normed2, wide, &mut g[block.up.clone()], (n, d, shape.hidden));
    reset(dy, n * d);
    linear_input_gradient(wide, &w[block.up.clone()], dy, (n, d, shape.hidden), false);
    dense::rms_norm_backward(
        &saved.middle,
        &w[block.norm2.clone()],
        &saved.inverse2,
        dy,
        dx,
        &mut g[block.norm2.clone()],
    );
    // The attention branch.
    branch.clone_from(dx);
    if !saved.drop1.is_empty() {
        dense::multiply(branch, &saved.drop1);
    }
    linear_weight_gradient(&saved.mixed, branch, &mut g[block.out.clone()], (n, d, d));
    reset(dy, n * d);
    linear_input_gradient(branch, &w[block.out.clone()], dy, (n, d, d), false);
    reset(wide, n * 3 * d);
    attend_backward((d, shape.heads), offsets, &saved.qkv, &saved.weights, dy, wide, branch);
    linear_weight_gradient(&saved.normed1, wide, &mut g[block.qkv.clone()], (n, d, 3 * d));
    reset(dy, n * d);
    linear_input_gradient(wide, &w[block.qkv.clone()], dy, (n, d, 3 * d), false);
    dense::rms_norm_backward(
        &saved.input,
        &w[block.norm1.clone()],
        &saved.inverse1,
        dy,
        dx,
        &mut g[block.norm1.clone()],
    );
}
