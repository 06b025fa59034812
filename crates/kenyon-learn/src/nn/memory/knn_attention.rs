//! Attention over stored rows: a row is embedded as the weighted sum of its entries' embeddings,
//! compared by cosine with the descriptions of stored rows, and their outcomes are averaged by a
//! softmax of the similarities, added to a linear readout. One softmax read over slots, where the
//! slots are examples (Goldberger et al. 2004, "Neighbourhood Components Analysis", learns the same
//! comparison; Vinyals et al. 2016, "Matching Networks").

use crate::nn::kernels::dense;
use crate::nn::kernels::reads::gather;
use crate::nn::parameters::Parameters;
use crate::random::Random;
use std::ops::Range;

/// Stored rows and their outcomes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Episodes {
    /// `[episodes + 1]`, in entries.
    pub(crate) offsets: Vec<u32>,
    /// Feature indices.
    pub(crate) indices: Vec<u32>,
    /// Their values.
    pub(crate) values: Vec<f32>,
    /// Class id, or the standardised value.
    pub(crate) outcomes: Vec<f32>,
    /// Identifies the row, to exclude it from its own prediction.
    pub(crate) hashes: Vec<u64>,
}

/// A number that equal rows share.
pub(crate) fn row_hash(indices: &[u32], values: &[f32]) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325u64;
    for (index, value) in indices.iter().zip(values) {
        for part in [*index, value.to_bits()] {
            state = (state ^ u64::from(part)).wrapping_mul(0x0100_0000_01b3);
            state ^= state >> 29;
        }
    }
    state
}

impl Episodes {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.outcomes.len()
    }

    /// Stores a row.
    pub(crate) fn push(&mut self, indices: &[u32], values: &[f32], outcome: f32) {
        if self.offsets.is_empty() {
            self.offsets.push(0);
        }
        self.indices.extend_from_slice(indices);
        self.values.extend_from_slice(values);
        self.offsets.push(self.indices.len() as u32);
        self.outcomes.push(outcome);
        self.hashes.push(row_hash(indices, values));
    }

    /// Features and values of a stored row.
    pub(crate) fn entries(&self, episode: usize) -> (&[u32], &[f32]) {
        let range = self.offsets[episode] as usize..self.offsets[episode + 1] as usize;
        (&self.indices[range.clone()], &self.values[range])
    }
}

/// Sizes of the network.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KnnShape {
    /// Feature indices.
    pub(crate) features: usize,
    /// Numbers a description has.
    pub(crate) width: usize,
    /// Classes, or 1.
    pub(crate) outputs: usize,
    /// Whether outcomes are numbers.
    pub(crate) regression: bool,
}

/// Names, shapes and places of all weights in one slice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KnnLayout {
    /// The sizes it follows from.
    pub(crate) shape: KnnShape,
    /// All parameters.
    pub(crate) parameters: Parameters,
    features: Range<usize>,
    readout: Range<usize>,
    bias: Range<usize>,
    trust: Range<usize>,
    sharpness: Range<usize>,
}

impl KnnLayout {
    /// Lays the weights out.
    pub(crate) fn new(shape: KnnShape) -> Self {
        let mut p = Parameters::default();
        let features = p.add("features", &[shape.features, shape.width]);
        let readout = p.add("readout", &[shape.outputs, shape.width]);
        let bias = p.add("bias", &[shape.outputs]);
        let trust = p.add("trust", &[1]);
        let sharpness = p.add("sharpness", &[1]);
        Self { shape, parameters: p, features, readout, bias, trust, sharpness }
    }

    /// Fresh weights: random directions, so that similarity starts as that of the rows themselves.
    pub(crate) fn fresh(&self, seed: u64) -> Vec<f32> {
        let mut w = vec![0.0; self.parameters.len()];
        let std = 1.0 / (self.shape.width as f32).sqrt();
        let mut random = Random::stream(seed, "recall", 0);
        w[self.features.clone()].fill_with(|| random.normal() * std);
        w[self.readout.clone()].fill_with(|| random.normal() * 0.1 * std);
        w[self.trust.start] = if self.shape.regression { 0.5 } else { 4.0 };
        w[self.sharpness.start] = 10.0;
        w
    }

    /// Descriptions of all episodes: raw and of length one.
    pub(crate) fn keys(&self, w: &[f32], episodes: &Episodes) -> Keys {
        let d = self.shape.width;
        let mut keys = Keys { raw: vec![0.0; episodes.len() * d], unit: Vec::new(), length: Vec::new() };
        for (episode, raw) in keys.raw.chunks_exact_mut(d).enumerate() {
            let (indices, values) = episodes.entries(episode);
            gather(raw, &w[self.features.clone()], indices, values);
        }
        keys.unit.clone_from(&keys.raw);
        for unit in keys.unit.chunks_exact_mut(d) {
            keys.length.push(normalise(unit));
        }
        keys
    }
}

/// Descriptions of the stored rows under the present weights.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys {
    raw: Vec<f32>,
    unit: Vec<f32>,
    length: Vec<f32>,
}

/// Scales to length one; returns the length before.
fn normalise(values: &mut [f32]) -> f32 {
    let length = dense::dot(values, values).sqrt().max(1e-6);
    for value in values {
        *value /= length;
    }
    length
}

/// One row's answer and what its backward pass needs.
#[derive(Debug, Default)]
pub(crate) struct KnnTape {
    raw: Vec<f32>,
    unit: Vec<f32>,
    length: f32,
    similarity: Vec<f32>,
    weights: Vec<f32>,
    votes: Vec<f32>,
    logits: Vec<f32>,
}

impl KnnTape {
    /// The answers.
    pub(crate) fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// The row's description.
    pub(crate) fn embedding(&self) -> &[f32] {
        &self.raw
    }

    /// Cosine of each episode's description and the row's.
    pub(crate) fn similarities(&self) -> &[f32] {
        &self.similarity
    }

    /// What retrieval adds to output `output`.
    pub(crate) fn recalled(&self, layout: &KnnLayout, w: &[f32], output: usize) -> f32 {
        w[layout.trust.start] * self.votes[output]
    }

    /// What the readout adds to answer `output` for `value` at feature `index`.
    pub(crate) fn linear(layout: &KnnLayout, w: &[f32], index: u32, value: f32, output: usize) -> f32 {
        let d = layout.shape.width;
        let (feature, readout) = (layout.features.start + index as usize * d, layout.readout.start + output * d);
        value * dense::dot(&w[feature..feature + d], &w[readout..readout + d])
    }

    /// Bias of answer `output`.
    pub(crate) fn bias(layout: &KnnLayout, w: &[f32], output: usize) -> f32 {
        w[layout.bias.start + output]
    }

    /// Predicts one row; an episode that is the row itself is excluded if `training`.
    pub(crate) fn forward(
        &mut self,
        layout: &KnnLayout,
        w: &[f32],
        episodes: &Episodes,
        keys: &Keys,
        row: (&[u32], &[f32]),
        training: bool,
    ) {
        let (d, outputs) = (layout.shape.width, layout.shape.outputs);
        self.raw.clear();
        self.raw.resize(d, 0.0);
        gather(&mut self.raw, &w[layout.features.clone()], row.0, row.1);
        self.unit.clone_from(&self.raw);
        self.length = normalise(&mut self.unit);
        self.similarity.clear();
        self.similarity.extend(keys.unit.chunks_exact(d).map(|key| dense::dot(key, &self.unit)));
        let own = if training { Some(row_hash(row.0, row.1)) } else { None };
        let sharpness = w[layout.sharpness.start];
        self.weights.clear();
        self.weights.extend(
            self.similarity.iter().zip(&episodes.hashes).map(
                |(s, row_hash)| {
                    if own == Some(*row_hash) { -1e9 } else { sharpness * s }
                },
            ),
        );
        let count = self.weights.len();
        if count > 0 {
            dense::softmax_rows(&mut self.weights, count);
        }
        self.votes.clear();
        self.votes.resize(outputs, 0.0);
        for (weight, outcome) in self.weights.iter().zip(&episodes.outcomes) {
            if layout.shape.regression {
                self.votes[0] += weight * outcome;
            } else if let Some(vote) = self.votes.get_mut(*outcome as usize) {
                *vote += weight;
            }
        }
        let trust = w[layout.trust.start];
        self.logits.clear();
        for (output, readout) in w[layout.readout.clone()].chunks_exact(d).enumerate() {
            let linear = dense::dot(readout, &self.raw);
            self.logits.push(w[layout.bias.start + output] + linear + trust * self.votes[output]);
        }
    }

    /// Adds the gradients for `dlogits` to `out`, those of the episodes' descriptions to `dkeys`.
    #[expect(clippy::too_many_arguments, reason = "what the forward pass read, and where gradients go")]
    pub(crate) fn backward(
        &mut self,
        layout: &KnnLayout,
        w: &[f32],
        episodes: &Episodes,
        keys: &Keys,
        row: (&[u32], &[f32]),
        dlogits: &[f32],
        out: &mut [f32],
        dkeys: &mut [f32],
    ) {
        let d = layout.shape.width;
        dense::add(&mut out[layout.bias.clone()], dlogits);
        let (trust, sharpness) = (w[layout.trust.start], w[layout.sharpness.start]);
        let mut draw = vec![0.0; d];
        for (output, g) in dlogits.iter().enumerate() {
            let at = layout.readout.start + output * d;
            dense::add_scaled(&mut draw, *g, &w[at..at + d]);
            dense::add_scaled(&mut out[at..at + d], *g, &self.raw);
            out[layout.trust.start] += g * self.votes[output];
        }
        let mut dweights: Vec<f32> = episodes
            .outcomes
            .iter()
            .map(|outcome| {
                if layout.shape.regression {
                    trust * dlogits[0] * outcome
                } else {
                    trust * dlogits.get(*outcome as usize).copied().unwrap_or(0.0)
                }
            })
            .collect();
        let count = dweights.len();
        if count > 0 {
            dense::softmax_rows_backward(&self.weights, &mut dweights, count, 1.0);
        }
        out[layout.sharpness.start] += dense::dot(&dweights, &self.similarity);
        let mut dunit = vec![0.0; d];
        for ((g, key), dkey) in dweights.iter().zip(keys.unit.chunks_exact(d)).zip(dkeys.chunks_exact_mut(d)) {
            dense::add_scaled(&mut dunit, g * sharpness, key);
            dense::add_scaled(dkey, g * sharpness, &self.unit);
        }
        unit_backward(&self.unit, self.length, &dunit, &mut draw);
        scatter(&mut out[layout.features.clone()], row.0, row.1, &draw);
    }
}

/// Adds what `dkeys` (gradients of the unit descriptions) mean for the embeddings to `out`.
pub(crate) fn keys_backward(layout: &KnnLayout, episodes: &Episodes, keys: &Keys, dkeys: &[f32], out: &mut [f32]) {
    let d = layout.shape.width;
    let mut draw = vec![0.0; d];
    for (episode, (unit, dunit)) in keys.unit.chunks_exact(d).zip(dkeys.chunks_exact(d)).enumerate() {
        draw.fill(0.0);
        unit_backward(unit, keys.length[episode], dunit, &mut draw);
        let (indices, values) = episodes.entries(episode);
        scatter(&mut out[layout.features.clone()], indices, values, &draw);
    }
}

fn unit_backward(unit: &[f32], length: f32, dunit: &[f32], draw: &mut [f32]) {
    let along = dense::dot(unit, dunit);
    for ((draw, u), g) in draw.iter_mut().zip(unit).zip(dunit) {
        *draw += (g - u * along) / length;
    }
}

fn scatter(table: &mut [f32], indices: &[u32], values: &[f32], gradient: &[f32]) {
    let d = gradient.len();
    for (index, value) in indices.iter().zip(values) {
        let at = *index as usize * d;
        dense::add_scaled(&mut table[at..at + d], *value, gradient);
    }
}
