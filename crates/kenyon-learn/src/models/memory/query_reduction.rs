//! Query reduction over stories (see [`crate::nn::memory::query_reduction`]): each hop scans the slots in their order
//! and gates how much of each replaces the carried state.

use super::algorithm::{Algorithm, Chunk};
use super::stories::{ACTIVE, StoryFields, add_attention, layer};
use crate::data::Batch;
use crate::models::attention::loss_gradient;
use crate::models::candle::memory::{Config, StoryConfig};
use crate::models::{Activity, Explanation};
use crate::nn::memory::memory_network::PositionEncoding;
use crate::nn::memory::query_reduction::{QueryReductionLayout, QueryReductionShape, QueryReductionTape};
use crate::nn::parameters::Parameters;
use crate::random::Random;
use std::ops::Range;

/// The algorithm.
pub(super) struct QueryReduction {
    layout: QueryReductionLayout,
    encoding: PositionEncoding,
    fields: StoryFields,
}

impl QueryReduction {
    /// Of this shape.
    pub(super) fn new(shape: QueryReductionShape, fields: StoryFields) -> Self {
        let encoding = PositionEncoding::new(shape.width, 1);
        Self { layout: QueryReductionLayout::new(shape), encoding, fields }
    }
}

impl Algorithm for QueryReduction {
    type Prepared = ();

    fn parameters(&self) -> &Parameters {
        &self.layout.parameters
    }

    fn fresh(&self, seed: u64) -> Vec<f32> {
        self.layout.fresh(seed)
    }

    fn candle(&self) -> Config {
        let QueryReductionShape { words, width, hops, slots, outputs, wide_gates } = self.layout.shape;
        let sizes = StoryConfig { words, width, hops, slots, outputs, story_fields: self.fields.flags().to_vec() };
        Config::Ordered { sizes, wide_gates }
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
        let mut tape = QueryReductionTape::default();
        tape.forward(&self.layout, &self.encoding, weights, &stories, 0..rows.len(), None);
        answers.extend_from_slice(tape.logits());
        states.extend_from_slice(tape.states());
    }

    fn explain(&self, (weights, _): (&[f32], &()), batch: &Batch, row: usize, output: usize, out: &mut Explanation) {
        let first = batch.token_offsets[batch.row(row).start];
        let stories = self.fields.stories(batch, row..row + 1);
        let mut tape = QueryReductionTape::default();
        tape.forward(&self.layout, &self.encoding, weights, &stories, 0..1, None);
        let (bias, terms) = tape.terms(&self.layout, weights, output);
        out.bias = bias;
        out.attention = vec![0.0; batch.row(row).len()];
        for (slot, term, weight) in terms {
            let words = stories.slots[slot as usize] as usize..stories.slots[slot as usize + 1] as usize;
            if words.is_empty() {
                out.bias += term;
            }
            for word in words.clone() {
                out.entries[(stories.origin[word] - first) as usize] += term / words.len() as f32;
            }
            add_attention(&mut out.attention, batch, row, stories.tokens[slot as usize], weight);
        }
    }

    fn count(&self, (weights, _): (&[f32], &()), batch: &Batch, out: &mut Activity) {
        let QueryReductionShape { words, width, hops, outputs, .. } = self.layout.shape;
        let (rows, d, outputs) = (batch.rows().max(1) as f64, width as f64, outputs as f64);
        let (entries, slots) = (batch.indices.len() as f64 / rows, batch.tokens() as f64 / rows);
        let hop = slots * (2.0 * d * d + 4.0 * d);
        out.dense_macs = slots * words as f64 * d + hops as f64 * hop + d * outputs;
        out.effective_macs = entries * d + hops as f64 * hop + d * outputs;
        for hop in 0..hops {
            let mut duty = vec![0f32; width];
            let mut winners = 0.0;
            for row in 0..batch.rows() {
                let stories = self.fields.stories(batch, row..row + 1);
                let mut tape = QueryReductionTape::default();
                tape.forward(&self.layout, &self.encoding, weights, &stories, 0..1, None);
                for (duty, value) in duty.iter_mut().zip(tape.carried(hop)) {
                    if value.abs() > ACTIVE {
                        *duty += 1.0 / rows as f32;
                        winners += 1.0 / rows;
                    }
                }
            }
            out.layers.push(layer(format!("hops.{hop}"), duty, winners));
        }
    }

    fn layer(&self, (weights, _): (&[f32], &()), batch: &Batch, name: &str) -> Option<Vec<f32>> {
        let hop = (0..self.layout.shape.hops).find(|hop| format!("hops.{hop}") == name)?;
        let mut out = Vec::with_capacity(batch.rows() * self.layout.shape.width);
        let mut tape = QueryReductionTape::default();
        for row in 0..batch.rows() {
            let stories = self.fields.stories(batch, row..row + 1);
            tape.forward(&self.layout, &self.encoding, weights, &stories, 0..1, None);
            out.extend_from_slice(tape.carried(hop));
        }
        Some(out)
    }

    fn gradient(
        &self,
        (weights, _): (&[f32], &()),
        chunk: &Chunk<'_>,
        mut random: Random,
        gradient: &mut [f32],
        _prepared: &mut [f32],
    ) -> f32 {
        let stories = self.fields.stories(chunk.batch, chunk.rows.clone());
        let mut tape = QueryReductionTape::default();
        let dropout = (chunk.noise > 0.0).then_some((chunk.noise, &mut random));
        tape.forward(&self.layout, &self.encoding, weights, &stories, 0..chunk.rows.len(), dropout);
        let mut dlogits = tape.logits().to_vec();
        let outputs = self.layout.shape.outputs;
        let loss = loss_gradient(&mut dlogits, outputs, chunk.rows.clone(), chunk.targets, chunk.weights, 0.0);
        tape.backward(&self.layout, &self.encoding, weights, &stories, &dlogits, gradient);
        loss
    }
}
