//! Attention over stored training rows (see [`crate::nn::memory::knn_attention`]), for rows without slots of
//! their own.

use super::algorithm::{Algorithm, Chunk};
use super::onnx::recall;
use super::stories::state_layer;
use crate::data::Batch;
use crate::models::attention::loss_gradient;
use crate::models::candle::memory::{Config, RecallConfig};
use crate::models::{Activity, Explanation, RECALLED, Recalled, RecalledRow, Targets, UNLABELLED};
use crate::nn::Tensors;
use crate::nn::memory::knn_attention::{Episodes, Keys, KnnLayout, KnnShape, KnnTape, keys_backward};
use crate::nn::parameters::{Parameters, read_into, tensor};
use crate::onnx::{Graph, Node};
use crate::random::Random;
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use std::ops::Range;

/// The algorithm with its stored rows.
pub(super) struct KnnAttention {
    layout: KnnLayout,
    episodes: Episodes,
    /// Rows that may still be stored of each class, or of all for numbers.
    quota: Vec<usize>,
}

impl KnnAttention {
    /// Of this shape; stores `capacity` rows, of each class about the same number.
    pub(super) fn new(shape: KnnShape, capacity: usize) -> Self {
        let quota = if shape.regression {
            vec![capacity]
        } else {
            vec![(capacity / shape.outputs.max(1)).max(1); shape.outputs]
        };
        Self { layout: KnnLayout::new(shape), episodes: Episodes::default(), quota }
    }

    /// The `k` stored rows that are most similar to the last predicted row.
    fn recalled(&self, tape: &KnnTape, k: usize) -> Vec<Recalled> {
        let similarity = tape.similarities();
        let mut order: Vec<usize> = (0..similarity.len()).collect();
        order.sort_by(|&a, &b| similarity[b].total_cmp(&similarity[a]).then(a.cmp(&b)));
        let one = |&at: &usize| {
            let (indices, values) = self.episodes.entries(at);
            let entries = indices.iter().copied().zip(values.iter().copied()).collect();
            let (outcome, similarity) = (self.episodes.outcomes[at], similarity[at]);
            Recalled { id: at as u64, outcome, similarity, row: RecalledRow::Entries(entries) }
        };
        order.iter().take(k).map(one).collect()
    }
}

impl Algorithm for KnnAttention {
    type Prepared = Keys;

    fn parameters(&self) -> &Parameters {
        &self.layout.parameters
    }

    fn fresh(&self, seed: u64) -> Vec<f32> {
        self.layout.fresh(seed)
    }

    fn candle(&self) -> Config {
        let KnnShape { features, width, outputs, regression } = self.layout.shape;
        Config::Rows(RecallConfig { features, width, outputs, regression, episodes: self.episodes.clone() })
    }

    fn width(&self) -> usize {
        self.layout.shape.width
    }

    fn outputs(&self) -> usize {
        self.layout.shape.outputs
    }

    fn prepare(&self, weights: &[f32]) -> Keys {
        self.layout.keys(weights, &self.episodes)
    }

    fn run(
        &self,
        (weights, keys): (&[f32], &Keys),
        batch: &Batch,
        rows: Range<usize>,
        answers: &mut Vec<f32>,
        states: &mut Vec<f32>,
    ) {
        let mut tape = KnnTape::default();
        for row in rows {
            tape.forward(&self.layout, weights, &self.episodes, keys, batch.entries(row), false);
            answers.extend_from_slice(tape.logits());
            states.extend_from_slice(tape.embedding());
        }
    }

    fn explain(
        &self,
        (weights, keys): (&[f32], &Keys),
        batch: &Batch,
        row: usize,
        output: usize,
        out: &mut Explanation,
    ) {
        let mut tape = KnnTape::default();
        let (indices, values) = batch.entries(row);
        tape.forward(&self.layout, weights, &self.episodes, keys, (indices, values), false);
        out.bias = KnnTape::bias(&self.layout, weights, output);
        out.memories = self.recalled(&tape, RECALLED);
        let recalled = tape.recalled(&self.layout, weights, output);
        // Whole rows are compared, so the term of the retrieved ones is divided by the size of the values.
        let sum: f32 = values.iter().map(|v| v.abs()).sum();
        if sum == 0.0 {
            out.bias += recalled;
        }
        for ((entry, index), value) in out.entries.iter_mut().zip(indices).zip(values) {
            *entry = KnnTape::linear(&self.layout, weights, *index, *value, output);
            if sum > 0.0 {
                *entry += recalled * value.abs() / sum;
            }
        }
    }

    fn nearest(&self, (weights, keys): (&[f32], &Keys), batch: &Batch, k: usize) -> Option<Vec<Vec<Recalled>>> {
        let mut tape = KnnTape::default();
        let of_row = |row: usize| {
            tape.forward(&self.layout, weights, &self.episodes, keys, batch.entries(row), false);
            self.recalled(&tape, k)
        };
        Some((0..batch.rows()).map(of_row).collect())
    }

    fn count(&self, known: (&[f32], &Keys), batch: &Batch, out: &mut Activity) {
        let KnnShape { features, width, outputs, .. } = self.layout.shape;
        let (d, outputs) = (width as f64, outputs as f64);
        let entries = batch.indices.len() as f64 / batch.rows().max(1) as f64;
        out.dense_macs = features as f64 * d + d * outputs;
        out.effective_macs = entries * d + d * outputs;
        out.memory_macs = self.episodes.len() as f64 * d;
        out.bytes += 8 * self.episodes.indices.len() as u64 + 16 * self.episodes.len() as u64;
        let (mut answers, mut states) = (Vec::new(), Vec::new());
        self.run(known, batch, 0..batch.rows(), &mut answers, &mut states);
        out.layers.push(state_layer(&states, width));
    }

    fn save(&self, out: &mut Tensors) -> Result<()> {
        let (e, cpu) = (&self.episodes, &Device::Cpu);
        out.insert("episodes.offsets".into(), Tensor::from_slice(&e.offsets, e.offsets.len(), cpu)?);
        out.insert("episodes.indices".into(), Tensor::from_slice(&e.indices, e.indices.len(), cpu)?);
        out.insert("episodes.values".into(), tensor(&e.values, &[e.values.len()])?);
        out.insert("episodes.outcomes".into(), tensor(&e.outcomes, &[e.outcomes.len()])?);
        Ok(())
    }

    fn onnx(&self, graph: &mut Graph, features: &Node, tensors: &Tensors) -> Result<Option<Node>> {
        let KnnShape { outputs, regression, .. } = self.layout.shape;
        recall(graph, features, tensors, outputs, regression).map(Some)
    }

    /// The stored rows are untrusted.
    fn load(&mut self, tensors: &Tensors) -> Result<()> {
        let broken = || Error::unprocessable("bad_weights", "the stored episodes do not fit together");
        let get = |name: &str| tensors.get(name).ok_or_else(broken);
        let offsets: Vec<u32> = get("episodes.offsets")?.to_vec1()?;
        let indices: Vec<u32> = get("episodes.indices")?.to_vec1()?;
        let values: Vec<f32> = get("episodes.values")?.to_vec1()?;
        let outcomes: Vec<f32> = get("episodes.outcomes")?.to_vec1()?;
        let whole = indices.len() == values.len()
            && offsets.len() == outcomes.len() + usize::from(!outcomes.is_empty())
            && offsets.windows(2).all(|o| o[0] <= o[1])
            && offsets.last().is_none_or(|last| *last as usize <= indices.len())
            && indices.iter().all(|i| (*i as usize) < self.layout.shape.features);
        if !whole {
            return Err(broken());
        }
        self.episodes = Episodes::default();
        for (at, outcome) in offsets.windows(2).zip(&outcomes) {
            let range = at[0] as usize..at[1] as usize;
            self.episodes.push(&indices[range.clone()], &values[range], *outcome);
        }
        Ok(())
    }

    /// Stores labelled rows until each class has its share.
    fn remember(&mut self, batch: &Batch, targets: Targets<'_>) {
        for row in 0..batch.rows() {
            let (class, outcome) = match targets {
                Targets::Classes(classes, _) if classes[row] != UNLABELLED => {
                    (classes[row] as usize, classes[row] as f32)
                }
                Targets::Values(values, _) if !values[row].is_nan() => (0, values[row]),
                _ => continue,
            };
            if let Some(left) = self.quota.get_mut(class)
                && *left > 0
            {
                *left -= 1;
                let (indices, values) = batch.entries(row);
                self.episodes.push(indices, values, outcome);
            }
        }
    }

    fn prepared_len(&self) -> usize {
        self.episodes.len() * self.layout.shape.width
    }

    fn gradient(
        &self,
        (weights, keys): (&[f32], &Keys),
        chunk: &Chunk<'_>,
        _random: Random,
        gradient: &mut [f32],
        dkeys: &mut [f32],
    ) -> f32 {
        let (layout, episodes) = (&self.layout, &self.episodes);
        let mut tape = KnnTape::default();
        let mut loss = 0.0;
        for row in chunk.rows.clone() {
            let entries = chunk.batch.entries(row);
            tape.forward(layout, weights, episodes, keys, entries, true);
            let mut dlogits = tape.logits().to_vec();
            loss += loss_gradient(&mut dlogits, layout.shape.outputs, row..row + 1, chunk.targets, chunk.weights, 0.0);
            tape.backward(layout, weights, episodes, keys, entries, &dlogits, gradient, dkeys);
        }
        loss
    }

    fn prepared_backward(&self, keys: &Keys, dkeys: &[f32], gradient: &mut [f32]) {
        keys_backward(&self.layout, &self.episodes, keys, dkeys, gradient);
    }

    fn save_training(&self, out: &mut Tensors) -> Result<()> {
        let quota: Vec<f32> = self.quota.iter().map(|left| *left as f32).collect();
        out.insert("quota".into(), tensor(&quota, &[quota.len()])?);
        Ok(())
    }

    fn restore_training(&mut self, state: &Tensors) -> Result<()> {
        let mut quota = vec![0.0; self.quota.len()];
        read_into(state, "quota", &mut quota)?;
        self.quota = quota.iter().map(|left| *left as usize).collect();
        Ok(())
    }
}
