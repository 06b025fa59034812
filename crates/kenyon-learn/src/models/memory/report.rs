//! What a memory network tells of itself: terms of an answer, recalled rows, work done.

use super::{Kind, Memory};
use crate::data::Batch;
use crate::models::{Activity, Explanation, LayerActivity, RECALLED, Recalled, RecalledRow};
use crate::nn::memory::{knn_attention, network, query_reduction};

impl Memory {
    /// Terms of one answer, with the reads of the last hop as attention.
    pub(super) fn explanation(&self, batch: &Batch, row: usize, output: usize) -> Explanation {
        let first = batch.token_offsets[batch.row(row).start];
        let mut out = Explanation { entries: vec![0.0; batch.entries(row).0.len()], ..Explanation::default() };
        match &self.kind {
            Kind::Ordered(plan, places) => {
                let stories = self.stories(batch, row..row + 1);
                let mut tape = query_reduction::Tape::default();
                tape.forward(plan, places, &self.weights, &stories, 0..1, None);
                let (bias, terms) = tape.terms(plan, &self.weights, output);
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
                    attend(&mut out.attention, batch, row, stories.tokens[slot as usize], weight);
                }
            }
            Kind::Softmax(plan, places) => {
                let stories = self.stories(batch, row..row + 1);
                let mut tape = network::Tape::default();
                tape.forward(plan, places, &self.weights, &stories, 0, self.linear, None);
                let (bias, terms) = tape.terms(plan, places, &self.weights, &stories, 0, output);
                out.bias = bias;
                out.attention = vec![0.0; batch.row(row).len()];
                for (origin, term) in terms {
                    out.entries[(origin - first) as usize] += term;
                }
                for (slot, weight) in tape.seen().zip(tape.reads(plan.shape.hops - 1)) {
                    attend(&mut out.attention, batch, row, stories.tokens[slot], *weight);
                }
            }
            Kind::Recall(plan) => {
                let mut tape = knn_attention::Tape::default();
                let (indices, values) = batch.entries(row);
                tape.forward(plan, &self.weights, &self.episodes, &self.keys, (indices, values), false);
                out.bias = knn_attention::Tape::bias(plan, &self.weights, output);
                out.memories = self.nearest(&tape);
                let recalled = tape.recalled(plan, &self.weights, output);
                // Recall compares whole rows; its term is shared by the size of the values.
                let sum: f32 = values.iter().map(|v| v.abs()).sum();
                if sum == 0.0 {
                    out.bias += recalled;
                }
                for ((entry, index), value) in out.entries.iter_mut().zip(indices).zip(values) {
                    *entry = knn_attention::Tape::linear(plan, &self.weights, *index, *value, output);
                    if sum > 0.0 {
                        *entry += recalled * value.abs() / sum;
                    }
                }
            }
        }
        let total: f32 = out.attention.iter().sum();
        if total > 0.0 {
            out.attention.iter_mut().for_each(|weight| *weight /= total);
        }
        out
    }

    /// Work and states of the network, counted while it answers `batch`.
    pub(super) fn counted(&self, batch: &Batch) -> Activity {
        let (rows, d) = (batch.rows().max(1) as f64, self.width() as f64);
        let entries: f64 = batch.indices.len() as f64 / rows;
        let outputs = self.outputs() as f64;
        let mut out = Activity { bytes: 4 * self.weights.len() as u64, ..Activity::default() };
        match &self.kind {
            Kind::Ordered(plan, places) => {
                let slots = batch.tokens() as f64 / rows;
                let hop = slots * (2.0 * d * d + 4.0 * d);
                out.dense_macs = slots * plan.shape.words as f64 * d + plan.shape.hops as f64 * hop + d * outputs;
                out.effective_macs = entries * d + plan.shape.hops as f64 * hop + d * outputs;
                for hop in 0..plan.shape.hops {
                    let mut duty = vec![0f32; plan.shape.width];
                    let mut winners = 0.0;
                    for row in 0..batch.rows() {
                        let stories = self.stories(batch, row..row + 1);
                        let mut tape = query_reduction::Tape::default();
                        tape.forward(plan, places, &self.weights, &stories, 0..1, None);
                        for (duty, value) in duty.iter_mut().zip(tape.carried(hop)) {
                            // A number that says less than this changes no answer to speak of.
                            if value.abs() > 0.05 {
                                *duty += 1.0 / rows as f32;
                                winners += 1.0 / rows;
                            }
                        }
                    }
                    out.layers.push(layer(format!("hops.{hop}"), duty, winners));
                }
            }
            Kind::Softmax(plan, _) => {
                let (slots, hops) = (batch.tokens() as f64 / rows, plan.shape.hops as f64);
                out.dense_macs =
                    slots * plan.shape.words as f64 * d * (hops + 1.0) + hops * slots * 2.0 * d + d * outputs;
                out.effective_macs = entries * d * (hops + 1.0) + hops * slots * 2.0 * d + d * outputs;
                let states = self.run(batch, 1).1;
                out.layers.push(states_layer(&states, self.width()));
            }
            Kind::Recall(plan) => {
                out.dense_macs = plan.shape.features as f64 * d + d * outputs;
                out.effective_macs = entries * d + d * outputs;
                out.memory_macs = self.episodes.len() as f64 * d;
                out.bytes += 8 * self.episodes.indices.len() as u64 + 16 * self.episodes.len() as u64;
                let states = self.run(batch, 1).1;
                out.layers.push(states_layer(&states, self.width()));
            }
        }
        out
    }

    /// The episodes most like the row last answered.
    fn nearest(&self, tape: &knn_attention::Tape) -> Vec<Recalled> {
        let similarity = tape.similarities();
        let mut order: Vec<usize> = (0..similarity.len()).collect();
        order.sort_by(|&a, &b| similarity[b].total_cmp(&similarity[a]).then(a.cmp(&b)));
        let one = |&at: &usize| {
            let (indices, values) = self.episodes.entries(at);
            let entries = indices.iter().copied().zip(values.iter().copied()).collect();
            let (outcome, similarity) = (self.episodes.outcomes[at], similarity[at]);
            Recalled { id: at as u64, outcome, similarity, row: RecalledRow::Entries(entries) }
        };
        order.iter().take(RECALLED).map(one).collect()
    }
}

/// Adds `weight` to token `token` of the row; questions carry no weight of their own.
fn attend(attention: &mut [f32], batch: &Batch, row: usize, token: u32, weight: f32) {
    if token != u32::MAX {
        attention[token as usize - batch.row(row).start] += weight;
    }
}

fn layer(name: String, duty: Vec<f32>, winners: f64) -> LayerActivity {
    let units = duty.len();
    let dead_units = duty.iter().filter(|d| **d == 0.0).count();
    LayerActivity { name, units, winners, active_share: winners / units.max(1) as f64, dead_units, duty }
}

fn states_layer(states: &[f32], width: usize) -> LayerActivity {
    let rows = (states.len() / width.max(1)).max(1) as f32;
    let mut duty = vec![0f32; width];
    for state in states.chunks_exact(width.max(1)) {
        for (duty, value) in duty.iter_mut().zip(state) {
            *duty += f32::from(u8::from(value.abs() > 0.05)) / rows;
        }
    }
    let winners = duty.iter().map(|d| f64::from(*d)).sum();
    layer("state".into(), duty, winners)
}
