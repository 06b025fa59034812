//! BERT, RoBERTa, XLM-RoBERTa, DistilBERT and MPNet: one forward pass for all, since they differ in the names of
//! their tensors, in how positions count and in a bias by distance.
//!
//! Texts are passed side by side without padding, so nothing is masked and a text has the same bits alone and in a
//! batch. Query, key and value are one product; weights are packed once.

use super::refused;
use super::weights::Weights;
use crate::Result;
use crate::nn::kernels::dense::softmax_rows;
use crate::nn::kernels::packed::{PackedMatrix, Stride};
use crate::nn::kernels::transformer::{add_layer_norm, gelu, gelu_tanh};
use serde::Deserialize;

/// `config.json`, with DistilBERT's names beside the others'.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Config {
    pub(super) model_type: String,
    #[serde(alias = "dim")]
    pub(super) hidden_size: usize,
    #[serde(alias = "n_layers")]
    num_hidden_layers: usize,
    #[serde(alias = "n_heads")]
    num_attention_heads: usize,
    #[serde(alias = "hidden_dim")]
    intermediate_size: usize,
    pub(super) vocab_size: usize,
    max_position_embeddings: usize,
    #[serde(default)]
    type_vocab_size: usize,
    #[serde(default)]
    pad_token_id: usize,
    #[serde(alias = "activation", default = "gelu_name")]
    hidden_act: String,
    #[serde(default = "epsilon")]
    layer_norm_eps: f32,
    #[serde(default)]
    position_embedding_type: Option<String>,
    #[serde(default = "buckets")]
    relative_attention_num_buckets: usize,
}

fn gelu_name() -> String {
    "gelu".to_owned()
}

fn buckets() -> usize {
    32
}

fn epsilon() -> f32 {
    1e-12
}

/// Where the tensors of an architecture are.
struct Names {
    layer: &'static str,
    query: &'static str,
    key: &'static str,
    value: &'static str,
    output: &'static str,
    attention_norm: &'static str,
    up: &'static str,
    down: &'static str,
    output_norm: &'static str,
}

const BERT: Names = Names {
    layer: "encoder.layer",
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    output_norm: "output.LayerNorm",
};

const DISTILBERT: Names = Names {
    layer: "transformer.layer",
    query: "attention.q_lin",
    key: "attention.k_lin",
    value: "attention.v_lin",
    output: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    up: "ffn.lin1",
    down: "ffn.lin2",
    output_norm: "output_layer_norm",
};

const MPNET: Names = Names {
    query: "attention.attn.q",
    key: "attention.attn.k",
    value: "attention.attn.v",
    output: "attention.attn.o",
    attention_norm: "attention.LayerNorm",
    ..BERT
};

/// Names of architectures, as `config.json` has them, with their tensors and the position of a text's first token.
fn architecture(config: &Config) -> Result<(&'static Names, usize)> {
    Ok(match config.model_type.as_str() {
        "bert" => (&BERT, 0),
        "distilbert" => (&DISTILBERT, 0),
        "roberta" | "xlm-roberta" | "camembert" => (&BERT, config.pad_token_id + 1),
        // Its positions begin after the mark for padding, whatever the configuration says.
        "mpnet" => (&MPNET, 2),
        other => return Err(refused(format!("the architecture {other:?} is not supported"))),
    })
}

/// Gain and bias of a layer normalisation.
pub(super) struct Norm {
    pub(super) gain: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

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

impl Config {
    /// Whether its sizes are those of any encoder that could be served.
    fn check(&self) -> Result<()> {
        let sizes = [
            ("hidden_size", self.hidden_size, 8192),
            ("num_hidden_layers", self.num_hidden_layers, 128),
            ("num_attention_heads", self.num_attention_heads, 256),
            ("intermediate_size", self.intermediate_size, 1 << 16),
            ("vocab_size", self.vocab_size, 1 << 21),
            ("max_position_embeddings", self.max_position_embeddings, 1 << 16),
        ];
        if let Some((name, size, most)) = sizes.into_iter().find(|(_, size, most)| *size == 0 || size > most) {
            return Err(refused(format!("config.json: {name} is {size}, it must be in 1..={most}")));
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return Err(refused("config.json: hidden_size is no multiple of num_attention_heads"));
        }
        if self.position_embedding_type.as_deref().is_some_and(|kind| kind != "absolute") {
            return Err(refused("config.json: positions that are not absolute are not supported"));
        }
        if !["gelu", "gelu_new", "gelu_pytorch_tanh"].contains(&self.hidden_act.as_str()) {
            return Err(refused(format!("config.json: the activation {:?} is not supported", self.hidden_act)));
        }
        Ok(())
    }

    /// Tokens of the longest text that it reads.
    pub(super) fn longest(&self) -> Result<usize> {
        let (_, first) = architecture(self)?;
        Ok(self.max_position_embeddings.saturating_sub(first))
    }
}

impl Transformer {
    /// Reads the network that `config` describes, for texts of at most `longest` tokens.
    pub(super) fn open(config: &Config, weights: &mut Weights, longest: usize) -> Result<Self> {
        config.check()?;
        let (names, first) = architecture(config)?;
        let hidden = config.hidden_size;
        let Some(prefix) = weights.prefix_of("embeddings.word_embeddings.weight") else {
            return Err(refused("the weights have no embeddings.word_embeddings.weight"));
        };
        let named = |name: &str| format!("{prefix}{name}");
        let table = "embeddings.position_embeddings.weight";
        let all = weights.take(&named(table), &[config.max_position_embeddings, hidden])?;
        let mut positions = all.get(first * hidden..(first + longest) * hidden).unwrap_or_default().to_vec();
        if config.type_vocab_size > 0 && names.layer == BERT.layer && names.query == BERT.query {
            let table = named("embeddings.token_type_embeddings.weight");
            let types = weights.take(&table, &[config.type_vocab_size, hidden])?;
            for row in positions.chunks_exact_mut(hidden) {
                row.iter_mut().zip(&types).for_each(|(p, t)| *p += t);
            }
        }
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for at in 0..config.num_hidden_layers {
            layers.push(Layer::open(config, names, &format!("{prefix}{}.{at}", names.layer), weights)?);
        }
        let heads = config.num_attention_heads;
        let distances = match config.relative_attention_num_buckets {
            buckets if config.model_type == "mpnet" => {
                let table = weights.take(&named("encoder.relative_attention_bias.weight"), &[buckets, heads])?;
                by_distance(&table, buckets, heads, longest)
            }
            _ => Vec::new(),
        };
        Ok(Self {
            hidden,
            heads,
            inner: config.intermediate_size,
            epsilon: config.layer_norm_eps,
            tanh: config.hidden_act != "gelu",
            words: weights.take(&named("embeddings.word_embeddings.weight"), &[config.vocab_size, hidden])?,
            positions,
            norm: Norm::open(weights, &named("embeddings.LayerNorm"), hidden)?,
            layers,
            distances,
        })
    }

    /// Length of a token's vector.
    pub(super) fn hidden(&self) -> usize {
        self.hidden
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

impl Norm {
    pub(super) fn open(weights: &mut Weights, name: &str, width: usize) -> Result<Self> {
        // Checkpoints converted from TensorFlow keep its names.
        let either = |weights: &mut Weights, new: &str, old: &str| {
            let name = [format!("{name}.{new}"), format!("{name}.{old}")];
            let found = name.iter().find(|name| weights.shape(name).is_some()).unwrap_or(&name[0]);
            weights.take(found, &[width])
        };
        Ok(Self { gain: either(weights, "weight", "gamma")?, bias: either(weights, "bias", "beta")? })
    }
}

impl Layer {
    fn open(config: &Config, names: &Names, at: &str, weights: &mut Weights) -> Result<Self> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let mut linear = |name: &str, inputs: usize, outputs: usize| -> Result<(Vec<f32>, Vec<f32>)> {
            let matrix = weights.take(&format!("{at}.{name}.weight"), &[outputs, inputs])?;
            Ok((matrix, weights.take(&format!("{at}.{name}.bias"), &[outputs])?))
        };
        let (mut matrix, mut bias) = linear(names.query, hidden, hidden)?;
        let scale = 1.0 / ((hidden / config.num_attention_heads) as f32).sqrt();
        matrix.iter_mut().chain(&mut bias).for_each(|x| *x *= scale);
        for name in [names.key, names.value] {
            let (more, other) = linear(name, hidden, hidden)?;
            matrix.extend(more);
            bias.extend(other);
        }
        let qkv = PackedMatrix::new(&matrix, &bias, hidden);
        drop(matrix);
        let mut packed = |name: &str, inputs: usize, outputs: usize| -> Result<PackedMatrix> {
            let (matrix, bias) = linear(name, inputs, outputs)?;
            Ok(PackedMatrix::new(&matrix, &bias, inputs))
        };
        let output = packed(names.output, hidden, hidden)?;
        let up = packed(names.up, hidden, inner)?;
        let down = packed(names.down, inner, hidden)?;
        let attention_norm = Norm::open(weights, &format!("{at}.{}", names.attention_norm), hidden)?;
        let output_norm = Norm::open(weights, &format!("{at}.{}", names.output_norm), hidden)?;
        Ok(Self { qkv, output, attention_norm, up, down, output_norm })
    }
}

/// The bias of every distance from `1 − longest` to `longest − 1` and every head, `[heads][2 · longest − 1]`: near
/// distances have a bucket each, farther ones share buckets that grow with their logarithm (Raffel et al. 2020).
fn by_distance(table: &[f32], buckets: usize, heads: usize, longest: usize) -> Vec<f32> {
    const FARTHEST: f32 = 128.0;
    let half = buckets / 2;
    let exact = (half / 2).max(1);
    let bucket = |distance: isize| {
        let side = if distance > 0 { half } else { 0 };
        let far = distance.unsigned_abs();
        if far < exact {
            return side + far;
        }
        let grown = (far as f32 / exact as f32).ln() / (FARTHEST / exact as f32).ln() * (half - exact) as f32;
        side + (exact + grown as usize).min(half - 1)
    };
    let most = longest as isize - 1;
    let distances = |head: usize| (-most..=most).map(move |d| table[bucket(d).min(buckets - 1) * heads + head]);
    (0..heads).flat_map(distances).collect()
}
