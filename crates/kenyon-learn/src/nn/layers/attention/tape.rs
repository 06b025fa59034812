//! One chunk's forward and backward pass, and what is kept between the two.

use super::block::{SavedBlock, block_backward, block_forward, drop_mask};
use super::layout::{AttentionLayout, AttentionWeights};
use crate::data::Batch;
use crate::nn::kernels::dense::{self, reset};
use crate::nn::kernels::linear::{linear, linear_input_gradient, linear_weight_gradient};
use crate::nn::kernels::matrix::{MatrixShape, product};
use crate::nn::kernels::reads::{gather, largest, read_backward, weighted_sum};
use crate::random::Random;
use std::ops::Range;

/// Everything computed for a chunk of rows; reused from chunk to chunk.
#[derive(Debug, Default)]
pub(crate) struct AttentionTape {
    tokens: Range<usize>,
    /// `[rows + 1]`, in tokens of the chunk.
    offsets: Vec<usize>,
    /// Position within its field of each token.
    position: Vec<u32>,
    x: Vec<f32>,
    saved: Vec<SavedBlock>,
    inverse: Vec<f32>,
    normed: Vec<f32>,
    /// Soft reads' weights, `[reads, tokens]`.
    reads: Vec<f32>,
    /// Token of the largest value, `[rows, width]`, in tokens of the chunk.
    largest: Vec<u32>,
    pooled: Vec<f32>,
    drop_pooled: Vec<f32>,
    logits: Vec<f32>,
    scratch: Vec<f32>,
    scratch2: Vec<f32>,
    select: Vec<u32>,
}

/// Gradients of a chunk.
#[derive(Debug, Default)]
pub(crate) struct Gradients {
    /// As [`AttentionWeights::dense`].
    pub(crate) dense: Vec<f32>,
    /// Of each token's embedded input, `[tokens of the chunk, width]`.
    pub(crate) inputs: Vec<f32>,
}

/// Random dropping while training.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dropout {
    /// Share of values that are dropped.
    pub(crate) share: f32,
    /// Seed of the training.
    pub(crate) seed: u64,
    /// Step of the training.
    pub(crate) step: u64,
}

impl AttentionTape {
    /// The answers of the chunk's rows, `[rows, outputs]`.
    pub(crate) fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// The pooled state of the chunk's rows, `[rows, (reads + 1) width]`.
    pub(crate) fn pooled(&self) -> &[f32] {
        &self.pooled
    }

    /// Tokens of the batch this chunk covers.
    pub(crate) fn tokens(&self) -> Range<usize> {
        self.tokens.clone()
    }

    /// Position within its field of each token of the chunk.
    pub(crate) fn positions(&self) -> &[u32] {
        &self.position
    }

    /// Activations of the feed-forward units of block `layer`, `[tokens, hidden]`.
    pub(crate) fn hidden(&self, layer: usize) -> &[f32] {
        &self.saved[layer].hidden
    }

    /// Sums the active inputs' rows, the position's and the field's for each token.
    fn embed(&mut self, layout: &AttentionLayout, weights: &AttentionWeights, batch: &Batch, rows: Range<usize>) {
        let d = layout.shape.width;
        self.tokens = batch.row_offsets[rows.start] as usize..batch.row_offsets[rows.end] as usize;
        self.offsets.clear();
        self.offsets.extend(batch.row_offsets[rows.start..=rows.end].iter().map(|o| *o as usize - self.tokens.start));
        self.position.clear();
        reset(&mut self.x, self.tokens.len() * d);
        for row in rows {
            let (mut last, mut position) = (u16::MAX, 0u32);
            for token in batch.row(row) {
                let field = batch.fields.get(token).copied().unwrap_or(0);
                position = if field == last { position + 1 } else { 0 };
                last = field;
                let place = (position as usize).min(layout.shape.positions - 1);
                self.position.push(place as u32);
                let at = (token - self.tokens.start) * d;
                let x = &mut self.x[at..at + d];
                x.copy_from_slice(&weights.positions[place * d..(place + 1) * d]);
                let field = usize::from(field).min(layout.shape.fields - 1);
                let part = layout.fields.start + field * d;
                dense::add(x, &weights.dense[part..part + d]);
                let (indices, values) = batch.token(token);
                gather(x, &weights.tokens, indices, values);
            }
        }
    }

    /// Answers rows `rows` of `batch`, keeping what [`AttentionTape::backward`] needs.
    pub(crate) fn forward(
        &mut self,
        layout: &AttentionLayout,
        weights: &AttentionWeights,
        batch: &Batch,
        rows: Range<usize>,
        dropout: Option<Dropout>,
    ) {
        let shape = &layout.shape;
        let (d, w) = (shape.width, &weights.dense[..]);
        let mut random = dropout
            .map(|o| (o.share, Random::stream(o.seed, "dropout", o.step.wrapping_mul(1 << 20) + rows.start as u64)));
        self.embed(layout, weights, batch, rows);
        let n = self.tokens.len();
        self.saved.resize_with(shape.layers, SavedBlock::default);
        for (block, saved) in layout.blocks.iter().zip(&mut self.saved) {
            let buffers = (&mut self.scratch, &mut self.select);
            block_forward(shape, block, w, &self.offsets, saved, &mut self.x, buffers, random.as_mut());
        }
        reset(&mut self.inverse, n);
        reset(&mut self.normed, n * d);
        dense::rms_norm(&self.x, &w[layout.norm.clone()], &mut self.normed, &mut self.inverse);
        self.read(layout, w);
        self.drop_pooled.clear();
        let rows = self.offsets.len() - 1;
        if let Some((share, random)) = &mut random {
            drop_mask(&mut self.drop_pooled, rows * layout.pooled(), *share, random);
            dense::multiply(&mut self.pooled, &self.drop_pooled);
        }
        reset(&mut self.logits, rows * shape.outputs);
        linear(
            &self.pooled,
            &w[layout.readout.clone()],
            &mut self.logits,
            (rows, layout.pooled(), shape.outputs),
            false,
        );
        dense::add_bias(&mut self.logits, &w[layout.bias.clone()]);
    }

    /// Pools the normed tokens of each row: `reads` softmax averages and the largest values.
    fn read(&mut self, layout: &AttentionLayout, w: &[f32]) {
        let shape = &layout.shape;
        let (d, n, rows) = (shape.width, self.tokens.len(), self.offsets.len() - 1);
        let scale = 1.0 / (d as f32).sqrt();
        reset(&mut self.reads, shape.reads * n);
        let queries = &w[layout.queries.clone()];
        product(
            (&mut self.reads, MatrixShape::new(shape.reads, n)),
            (queries, MatrixShape::new(shape.reads, d)),
            (&self.normed, MatrixShape::new(n, d).transposed()),
            None,
            scale,
        );
        reset(&mut self.pooled, rows * layout.pooled());
        self.largest.clear();
        self.largest.resize(rows * d, 0);
        for row in 0..rows {
            let tokens = self.offsets[row]..self.offsets[row + 1];
            if tokens.is_empty() {
                continue;
            }
            let pooled = &mut self.pooled[row * layout.pooled()..(row + 1) * layout.pooled()];
            let values = &self.normed[tokens.start * d..tokens.end * d];
            let (soft, peak) = pooled.split_at_mut(shape.reads * d);
            for (read, pooled) in soft.chunks_exact_mut(d).enumerate() {
                let weights = &mut self.reads[read * n + tokens.start..read * n + tokens.end];
                let len = weights.len();
                dense::softmax_rows(weights, len);
                weighted_sum(pooled, weights, values);
            }
            largest(values, peak, &mut self.largest[row * d..(row + 1) * d], tokens.start as u32);
        }
    }

    /// Adds the gradients for `dlogits` `[rows, outputs]` to `out`, whose `inputs` are replaced.
    pub(crate) fn backward(
        &mut self,
        layout: &AttentionLayout,
        weights: &AttentionWeights,
        dlogits: &[f32],
        out: &mut Gradients,
    ) {
        let shape = &layout.shape;
        let (d, n, rows, w) = (shape.width, self.tokens.len(), self.offsets.len() - 1, &weights.dense[..]);
        out.dense.resize(layout.len(), 0.0);
        let g = &mut out.dense;
        let pooled = layout.pooled();
        dense::sum_rows(dlogits, &mut g[layout.bias.clone()]);
        linear_weight_gradient(&self.pooled, dlogits, &mut g[layout.readout.clone()], (rows, pooled, shape.outputs));
        reset(&mut self.scratch, rows * pooled);
        linear_input_gradient(
            dlogits,
            &w[layout.readout.clone()],
            &mut self.scratch,
            (rows, pooled, shape.outputs),
            false,
        );
        if !self.drop_pooled.is_empty() {
            dense::multiply(&mut self.scratch, &self.drop_pooled);
        }
        let mut dy = std::mem::take(&mut self.scratch2);
        reset(&mut dy, n * d);
        self.reads_backward(layout, w, &mut dy, g);
        let dx = &mut out.inputs;
        reset(dx, n * d);
        dense::rms_norm_backward(&self.x, &w[layout.norm.clone()], &self.inverse, &dy, dx, &mut g[layout.norm.clone()]);
        let mut branch = std::mem::take(&mut self.scratch);
        let mut wide = Vec::new();
        for (block, saved) in layout.blocks.iter().zip(&self.saved).rev() {
            block_backward(shape, block, w, &self.offsets, saved, dx, g, (&mut branch, &mut wide, &mut dy));
        }
        self.scratch = branch;
        self.scratch2 = dy;
    }

    /// Adds the gradients through the reads, of what was pooled (in `scratch`): of the normed tokens to `dy`, of weights to `g`.
    fn reads_backward(&self, layout: &AttentionLayout, w: &[f32], dy: &mut [f32], g: &mut [f32]) {
        let shape = &layout.shape;
        let (d, n, pooled) = (shape.width, self.tokens.len(), layout.pooled());
        let scale = 1.0 / (d as f32).sqrt();
        let mut dweights = Vec::new();
        for row in 0..self.offsets.len() - 1 {
            let tokens = self.offsets[row]..self.offsets[row + 1];
            let dpooled = &self.scratch[row * pooled..(row + 1) * pooled];
            let values = &self.normed[tokens.start * d..tokens.end * d];
            let dvalues = &mut dy[tokens.start * d..tokens.end * d];
            for read in 0..shape.reads {
                let dpooled = &dpooled[read * d..(read + 1) * d];
                let weights = &self.reads[read * n + tokens.start..read * n + tokens.end];
                reset(&mut dweights, tokens.len());
                let query = layout.queries.start + read * d;
                read_backward(
                    values,
                    weights,
                    dpooled,
                    &w[query..query + d],
                    scale,
                    dvalues,
                    &mut dweights,
                    &mut g[query..query + d],
                );
            }
            if !tokens.is_empty() {
                for (unit, token) in self.largest[row * d..(row + 1) * d].iter().enumerate() {
                    dy[*token as usize * d + unit] += dpooled[shape.reads * d + unit];
                }
            }
        }
    }

    /// Adds the gradient of the field embedding, which the caller sums with the other tables.
    pub(crate) fn field_gradient(&self, layout: &AttentionLayout, batch: &Batch, out: &mut Gradients) {
        let d = layout.shape.width;
        for (token, dx) in self.tokens.clone().zip(out.inputs.chunks_exact(d)) {
            let field = usize::from(batch.fields.get(token).copied().unwrap_or(0)).min(layout.shape.fields - 1);
            let part = layout.fields.start + field * d;
            dense::add(&mut out.dense[part..part + d], dx);
        }
    }

    /// What each token of the chunk's only row adds to answer `output`: `bias + Σ terms` is the
    /// answer. Also the mean weight the soft reads give each token.
    pub(crate) fn terms(
        &self,
        layout: &AttentionLayout,
        weights: &AttentionWeights,
        output: usize,
    ) -> (f32, Vec<f32>, Vec<f32>) {
        let shape = &layout.shape;
        let (d, n, w) = (shape.width, self.tokens.len(), &weights.dense[..]);
        let column = |unit: usize| w[layout.readout.start + unit * shape.outputs + output];
        let mut terms = vec![0f32; n];
        let mut attention = vec![0f32; n];
        for read in 0..shape.reads {
            for token in 0..n {
                let weight = self.reads[read * n + token];
                let value: f32 = (0..d).map(|u| self.normed[token * d + u] * column(read * d + u)).sum();
                terms[token] += weight * value;
                attention[token] += weight / shape.reads as f32;
            }
        }
        if n > 0 {
            for unit in 0..d {
                let token = self.largest[unit] as usize;
                terms[token] += self.normed[token * d + unit] * column(shape.reads * d + unit);
            }
        }
        (w[layout.bias.start + output], terms, attention)
    }
}
