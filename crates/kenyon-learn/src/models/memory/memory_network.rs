//! A classic memory network over stories (see [`crate::nn::memory::memory_network`]): in each hop a softmax weighs all
//! slots at once. It starts without the softmax (linear start) until the validation loss stops improving, and is trained by plain
//! gradient steps as published.

use super::algorithm::{Algorithm, Chunk, MemoryStep};
use super::stories::{StoryFields, add_attention, state_layer};
use crate::Result;
use crate::data::Batch;
use crate::models::attention::loss_gradient;
use crate::models::autograd::Rule;
use crate::models::candle::memory::{Config, StoryConfig};
use crate::models::{Activity, Explanation, Position};
use crate::nn::Tensors;
use crate::nn::adam::clip;
use crate::nn::memory::memory_network::{MemoryNetworkLayout, MemoryNetworkShape, MemoryNetworkTape, PositionEncoding};
use crate::nn::parameters::{Parameters, read_into, tensor};
use crate::random::Random;
use std::ops::Range;

/// Norm that the gradient of the summed loss is clipped to.
const CLIP: f32 = 40.0;

/// The algorithm.
pub(super) struct MemoryNetwork {
    layout: MemoryNetworkLayout,
    encoding: PositionEncoding,
    fields: StoryFields,
    /// Whether reads are still without their softmax.
    linear: bool,
    /// Lowest validation loss of the linear start.
    linear_best: f32,
}

impl MemoryNetwork {
    /// Of this shape; `linear` begins without softmax.
    pub(super) fn new(shape: MemoryNetworkShape, fields: StoryFields, linear: bool) -> Self {
        let encoding = PositionEncoding::new(shape.width, shape.hops + 1);
        let layout = MemoryNetworkLayout::new(shape);
        Self { layout, encoding, fields, linear, linear_best: f32::INFINITY }
    }
}

impl Algorithm for MemoryNetwork {
    type Prepared = ();

    fn parameters(&self) -> &Parameters {
        &self.layout.parameters
    }

    fn fresh(&self, seed: u64) -> Vec<f32> {
        self.layout.fresh(seed)
    }

    fn candle(&self) -> Config {
        let MemoryNetworkShape { words, width, hops, slots, outputs } = self.layout.shape;
        let sizes = StoryConfig { words, width, hops, slots, outputs, story_fields: self.fields.flags().to_vec() };
        Config::Softmax { sizes, linear: self.linear }
    }

    fn width(&self) -> usize {
        self.layout.shape.width
    }

    fn outputs(&self) -> usize {
        self.layout.shape.outputs
    }

    fn prepare(&self, _weights: &[f32]) {}

    fn run(
        &self,
        (weights, _): (&[f32], &()),
        batch: &Batch,
        rows: Range<usize>,
        answers: &mut Vec<f32>,
        states: &mut Vec<f32>,
    ) {
        let stories = self.fields.stories(batch, rows.clone());
        let mut tape = MemoryNetworkTape::default();
        for row in 0..rows.len() {
            tape.forward(&self.layout, &self.encoding, weights, &stories, row, self.linear, None);
            answers.extend_from_slice(tape.logits());
            states.extend_from_slice(tape.state(&self.layout));
        }
    }

    fn explain(&self, (weights, _): (&[f32], &()), batch: &Batch, row: usize, output: usize, out: &mut Explanation) {
        let first = batch.token_offsets[batch.row(row).start];
        let stories = self.fields.stories(batch, row..row + 1);
        let mut tape = MemoryNetworkTape::default();
        tape.forward(&self.layout, &self.encoding, weights, &stories, 0, self.linear, None);
        let (bias, terms) = tape.terms(&self.layout, &self.encoding, weights, &stories, 0, output);
        out.bias = bias;
        out.attention = vec![0.0; batch.row(row).len()];
        for (origin, term) in terms {
            out.entries[(origin - first) as usize] += term;
        }
        for (slot, weight) in tape.seen().zip(tape.reads(self.layout.shape.hops - 1)) {
            add_attention(&mut out.attention, batch, row, stories.tokens[slot], *weight);
        }
    }

    fn count(&self, known: (&[f32], &()), batch: &Batch, out: &mut Activity) {
        let MemoryNetworkShape { words, width, hops, outputs, .. } = self.layout.shape;
        let (rows, d, hops, outputs) = (batch.rows().max(1) as f64, width as f64, hops as f64, outputs as f64);
        let (entries, slots) = (batch.indices.len() as f64 / rows, batch.tokens() as f64 / rows);
        let reads = hops * slots * 2.0 * d + d * outputs;
        out.dense_macs = slots * words as f64 * d * (hops + 1.0) + reads;
        out.effective_macs = entries * d * (hops + 1.0) + reads;
        let (mut answers, mut states) = (Vec::new(), Vec::new());
        self.run(known, batch, 0..batch.rows(), &mut answers, &mut states);
        out.layers.push(state_layer(&states, width));
    }

    fn save(&self, out: &mut Tensors) -> Result<()> {
        out.insert("linear".into(), tensor(&[f32::from(u8::from(self.linear))], &[1])?);
        Ok(())
    }

    fn load(&mut self, tensors: &Tensors) -> Result<()> {
        let mut linear = [0.0];
        read_into(tensors, "linear", &mut linear)?;
        self.linear = linear[0] != 0.0;
        Ok(())
    }

    fn gradient(
        &self,
        (weights, _): (&[f32], &()),
        chunk: &Chunk<'_>,
        mut random: Random,
        gradient: &mut [f32],
        _prepared: &mut [f32],
    ) -> f32 {
        let (layout, encoding) = (&self.layout, &self.encoding);
        let stories = self.fields.stories(chunk.batch, chunk.rows.clone());
        let mut tape = MemoryNetworkTape::default();
        let mut loss = 0.0;
        for (at, row) in chunk.rows.clone().enumerate() {
            let gaps = (chunk.noise > 0.0).then_some((chunk.noise, &mut random));
            tape.forward(layout, encoding, weights, &stories, at, self.linear, gaps);
            let mut dlogits = tape.logits().to_vec();
            loss += loss_gradient(&mut dlogits, layout.shape.outputs, row..row + 1, chunk.targets, chunk.weights, 0.0);
            tape.backward(layout, encoding, weights, &stories, at, self.linear, &dlogits, gradient);
        }
        loss
    }

    /// Plain steps on the summed loss, its norm clipped, the rate halved three times.
    fn rule(&self, step: &MemoryStep, squares: f64) -> Rule {
        let (sum, peak) = (step.rows as f32, step.rate.peak);
        let halvings = (4.0 * step.position.fraction()).min(3.0) as i32;
        let rate = if self.linear { 0.5 * peak } else { peak * 0.5f32.powi(halvings) };
        Rule::Plain(rate * sum * clip(squares * f64::from(sum * sum), CLIP))
    }

    fn end_epoch(&mut self, position: Position, validation_loss: f32) -> bool {
        if !self.linear {
            return false;
        }
        let stalled = validation_loss >= self.linear_best || validation_loss.is_nan();
        self.linear_best = self.linear_best.min(validation_loss);
        self.linear = !(stalled || position.fraction() > 0.25);
        !self.linear
    }

    fn save_training(&self, out: &mut Tensors) -> Result<()> {
        out.insert("linear_best".into(), tensor(&[self.linear_best], &[1])?);
        Ok(())
    }

    fn restore_training(&mut self, state: &Tensors) -> Result<()> {
        let mut best = [0.0];
        read_into(state, "linear_best", &mut best)?;
        self.linear_best = best[0];
        Ok(())
    }
}
