//! The content of the files of a transformer: sizes, names of tensors, and their numbers.

use super::super::refused;
use super::super::weights::Weights;
use crate::Result;
use serde::Deserialize;

/// `config.json`, with DistilBERT's names beside the others'.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::encoders) struct Config {
    pub(in crate::encoders) model_type: String,
    #[serde(alias = "dim")]
    pub(in crate::encoders) hidden_size: usize,
    #[serde(alias = "n_layers")]
    num_hidden_layers: usize,
    #[serde(alias = "n_heads")]
    num_attention_heads: usize,
    #[serde(alias = "hidden_dim")]
    intermediate_size: usize,
    pub(in crate::encoders) vocab_size: usize,
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
        // Its positions begin after the mark for padding, whatever the configuration has.
        "mpnet" => (&MPNET, 2),
        other => return Err(refused(format!("the architecture {other:?} is not supported"))),
    })
}

/// Gain and bias of a layer normalisation.
pub(in crate::encoders) struct Norm {
    pub(in crate::encoders) gain: Vec<f32>,
    pub(in crate::encoders) bias: Vec<f32>,
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

    /// Units of the inner layer.
    pub(super) fn inner(&self) -> usize {
        self.intermediate_size
    }

    /// Tokens of the longest text that it reads.
    pub(in crate::encoders) fn longest(&self) -> Result<usize> {
        let (_, first) = architecture(self)?;
        Ok(self.max_position_embeddings.saturating_sub(first))
    }
}

/// A matrix `[outputs, inputs]` and its bias.
pub(super) type Linear = (Vec<f32>, Vec<f32>);

/// The numbers of a network but for those of its layers.
pub(super) struct Numbers {
    names: &'static Names,
    prefix: String,
    pub(super) layers: usize,
    pub(super) hidden: usize,
    pub(super) heads: usize,
    pub(super) inner: usize,
    pub(super) epsilon: f32,
    /// Whether the activation is the approximation by a hyperbolic tangent.
    pub(super) tanh: bool,
    /// `[vocabulary, hidden]`.
    pub(super) words: Vec<f32>,
    /// `[longest, hidden]`, the vector of the first segment added.
    pub(super) positions: Vec<f32>,
    pub(super) norm: Norm,
    /// Added to the scores by how far the key is from the query: `[heads][2 · longest − 1]`; empty without one.
    pub(super) distances: Vec<f32>,
}

/// The numbers of a layer.
pub(super) struct LayerNumbers {
    /// Query, scaled by the root of a head's size, key and value.
    pub(super) qkv: Linear,
    pub(super) output: Linear,
    pub(super) attention_norm: Norm,
    pub(super) up: Linear,
    pub(super) down: Linear,
    pub(super) output_norm: Norm,
}

impl Numbers {
    /// Reads what `config` describes, for texts of at most `longest` tokens.
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
        let heads = config.num_attention_heads;
        let distances = match config.relative_attention_num_buckets {
            buckets if config.model_type == "mpnet" => {
                let table = weights.take(&named("encoder.relative_attention_bias.weight"), &[buckets, heads])?;
                by_distance(&table, buckets, heads, longest)
            }
            _ => Vec::new(),
        };
        Ok(Self {
            names,
            layers: config.num_hidden_layers,
            hidden,
            heads,
            inner: config.intermediate_size,
            epsilon: config.layer_norm_eps,
            tanh: config.hidden_act != "gelu",
            words: weights.take(&named("embeddings.word_embeddings.weight"), &[config.vocab_size, hidden])?,
            positions,
            norm: Norm::open(weights, &named("embeddings.LayerNorm"), hidden)?,
            distances,
            prefix,
        })
    }

    /// Reads layer `at`.
    pub(super) fn layer(&self, config: &Config, at: usize, weights: &mut Weights) -> Result<LayerNumbers> {
        let (hidden, inner, names) = (self.hidden, self.inner, self.names);
        let at = format!("{}{}.{at}", self.prefix, names.layer);
        let mut linear = |name: &str, inputs: usize, outputs: usize| -> Result<Linear> {
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
        Ok(LayerNumbers {
            qkv: (matrix, bias),
            output: linear(names.output, hidden, hidden)?,
            up: linear(names.up, hidden, inner)?,
            down: linear(names.down, inner, hidden)?,
            attention_norm: Norm::open(weights, &format!("{at}.{}", names.attention_norm), hidden)?,
            output_norm: Norm::open(weights, &format!("{at}.{}", names.output_norm), hidden)?,
        })
    }
}

impl Norm {
    pub(in crate::encoders) fn open(weights: &mut Weights, name: &str, width: usize) -> Result<Self> {
        // Checkpoints converted from TensorFlow keep its names.
        let either = |weights: &mut Weights, new: &str, old: &str| {
            let name = [format!("{name}.{new}"), format!("{name}.{old}")];
            let found = name.iter().find(|name| weights.shape(name).is_some()).unwrap_or(&name[0]);
            weights.take(found, &[width])
        };
        Ok(Self { gain: either(weights, "weight", "gamma")?, bias: either(weights, "bias", "beta")? })
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
