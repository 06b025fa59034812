//! BERT, RoBERTa, XLM-RoBERTa, DistilBERT and MPNet: one forward pass for all, since they differ in the names of
//! their tensors, in how positions count and in a bias by distance.
//!
//! Texts are passed side by side without padding, so nothing is masked and a text has the same bits alone and in a
//! batch. Query, key and value are one product; weights are packed once.

mod numbers;
mod on_device;

pub(super) use numbers::{Config, Norm};
pub(super) use on_device::DeviceTransformer;

use super::weights::Weights;
use crate::Result;
use crate::nn::kernels::dense::softmax_rows;
use crate::nn::kernels::packed::{PackedMatrix, Stride};
use crate::nn::kernels::transformer::{add_layer_norm, gelu, gelu_tanh};
use numbers::{LayerNumbers, Linear, Numbers};

struct Layer {
    qkv: PackedMatrix,
    output: PackedMatrix,
    attention_norm: Norm,
    up: PackedMatrix,
    down: PackedMatrix,
    output_norm: Norm,
}

/// A transformer that only predicts.
pub(super) struct Transformer {
    hidden: usize,
    heads: usize,
    inner: usize,
    epsilon: f32,
    tanh: bool,
    /// `[vocabulary, hidden]`.
    words: Vec<f32>,
    /// `[longest, hidden]`, the vector of the first segment added.
    positions: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
    /// Added to the scores by how far the key is from the query: `[heads][2 · longest − 1]`; empty without one.
    distances: Vec<f32>,
}

/// Memory of a pass, reused.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) x: Vec<f32>,
    pub(super) qkv: Vec<f32>,
    pub(super) context: Vec<f32>,
    pub(super) mixed: Vec<f32>,
    pub(super) inner: Vec<f32>,
    scores: Vec<f32>,
    keys: PackedMatrix,
    values: PackedMatrix,
}

impl Transformer {
    /// Reads the network that `config` describes, for texts of at most `longest` tokens.
    pub(super) fn open(config: &Config, weights: &mut Weights, longest: usize) -> Result<Self> {
        let numbers = Numbers::open(config, weights, longest)?;
        let mut layers = Vec::with_capacity(numbers.layers);
        for at in 0..numbers.layers {
            layers.push(Layer::new(numbers.layer(config, at, weights)?, config));
        }
        let Numbers { hidden, heads, inner, epsilon, tanh, words, positions, norm, distances, .. } = numbers;
        Ok(Self { hidden, heads, inner, epsilon, tanh, words, positions, norm, layers, distances })
    }

    /// Tokens of the longest text that it reads.
    pub(super) fn longest(&self) -> usize {
        self.positions.len() / self.hidden
    }

    /// Bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        let layer = |l: &Layer| l.qkv.bytes() + l.output.bytes() + l.up.bytes() + l.down.bytes();
        (self.words.len() + self.positions.len() + self.distances.len()) * 4
            + self.layers.iter().map(layer).sum::<usize>()
    }

    /// The vectors of all tokens of some texts, text after text, `[tokens, hidden]`.
    pub(super) fn forward<'s>(&self, texts: &[&[u32]], scratch: &'s mut Scratch) -> &'s [f32] {
        let hidden = self.hidden;
        scratch.x.clear();
        for text in texts {
            for (&id, position) in text.iter().zip(self.positions.chunks_exact(hidden)) {
                let word = &self.words[id as usize * hidden..][..hidden];
                scratch.x.extend(word.iter().zip(position).map(|(w, p)| w + p));
            }
        }
        add_layer_norm(&mut scratch.x, &[], &self.norm.gain, &self.norm.bias, self.epsilon);
        for layer in &self.layers {
            self.layer(layer, texts, scratch);
        }
        &scratch.x
    }

    fn layer(&self, layer: &Layer, texts: &[&[u32]], scratch: &mut Scratch) {
        let (hidden, inner) = (self.hidden, self.inner);
        let rows = scratch.x.len() / hidden;
        let dense = Stride::dense;
        scratch.qkv.resize(rows * 3 * hidden, 0.0);
        scratch.context.resize(rows * hidden, 0.0);
        scratch.mixed.resize(rows * hidden, 0.0);
        scratch.inner.resize(rows * inner, 0.0);
        layer.qkv.product(rows, (&scratch.x, dense(hidden)), (&mut scratch.qkv, dense(3 * hidden)));
        let mut first = 0;
        for text in texts {
            attend(Heads { hidden, heads: self.heads }, first, text.len(), scratch, |head, scores| {
                self.add_distances(head, text.len(), scores);
            });
            first += text.len();
        }
        layer.output.product(rows, (&scratch.context, dense(hidden)), (&mut scratch.mixed, dense(hidden)));
        let norm = &layer.attention_norm;
        add_layer_norm(&mut scratch.x, &scratch.mixed, &norm.gain, &norm.bias, self.epsilon);
        layer.up.product(rows, (&scratch.x, dense(hidden)), (&mut scratch.inner, dense(inner)));
        if self.tanh {
            gelu_tanh(&mut scratch.inner)
        } else {
            gelu(&mut scratch.inner)
        }
        layer.down.product(rows, (&scratch.inner, dense(inner)), (&mut scratch.mixed, dense(hidden)));
        let norm = &layer.output_norm;
        add_layer_norm(&mut scratch.x, &scratch.mixed, &norm.gain, &norm.bias, self.epsilon);
    }

    /// Adds the bias by distance of a head to the scores of a text, where the architecture has one.
    fn add_distances(&self, head: usize, length: usize, scores: &mut [f32]) {
        if !self.distances.is_empty() {
            let longest = self.positions.len() / self.hidden;
            let table = &self.distances[head * (2 * longest - 1)..][..2 * longest - 1];
            for (query, row) in scores.chunks_exact_mut(length).enumerate() {
                let bias = &table[longest - 1 - query..];
                row.iter_mut().zip(bias).for_each(|(score, bias)| *score += bias);
            }
        }
    }
}

/// Sizes of an attention.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    pub(super) hidden: usize,
    pub(super) heads: usize,
}

/// Attention among `length` tokens from row `first` on, of `scratch.qkv` to `scratch.context`. Queries are scaled already;
/// `adjust` is given a head's number and its scores `[length, length]`.
pub(super) fn attend(
    Heads { hidden, heads }: Heads,
    first: usize,
    length: usize,
    scratch: &mut Scratch,
    adjust: impl Fn(usize, &mut [f32]),
) {
    let (size, step) = (hidden / heads, 3 * hidden);
    scratch.scores.resize(length * length, 0.0);
    for head in 0..heads {
        let part = |which: usize| Stride { first: first * step + which * hidden + head * size, step };
        scratch.keys.pack(&scratch.qkv, part(1), size, length);
        scratch.values.pack_columns(&scratch.qkv, part(2), length, size);
        let scores = (&mut scratch.scores[..], Stride::dense(length));
        scratch.keys.product(length, (&scratch.qkv, part(0)), scores);
        adjust(head, &mut scratch.scores);
        softmax_rows(&mut scratch.scores, length);
        let context = Stride { first: first * hidden + head * size, step: hidden };
        let scores = (&scratch.scores[..], Stride::dense(length));
        scratch.values.product(length, scores, (&mut scratch.context, context));
    }
}

impl Layer {
    fn new(numbers: LayerNumbers, config: &Config) -> Self {
        let packed = |(matrix, bias): &Linear, inputs: usize| PackedMatrix::new(matrix, bias, inputs);
        let (hidden, inner) = (config.hidden_size, config.inner());
        Self {
            qkv: packed(&numbers.qkv, hidden),
            output: packed(&numbers.output, hidden),
            up: packed(&numbers.up, hidden),
            down: packed(&numbers.down, inner),
            attention_norm: numbers.attention_norm,
            output_norm: numbers.output_norm,
        }
    }
}
