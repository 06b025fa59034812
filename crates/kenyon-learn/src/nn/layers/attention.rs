//! The attention network on slices: an embedding that sums the rows of its active inputs, pre-norm
//! attention blocks whose feed-forward part keeps k winners, and an additive read at the end.
//! Rows stand one after the other without padding, so a row's answer cannot depend on its neighbours.
//!
//! Forward and backward are written out: at this size candle's overhead per operation would be
//! most of the time, and its fused normalisation and softmax cut gradients.

mod heads;
mod tape;

pub use tape::{Dropout, Gradients, Tape};

use crate::random::Random;
use std::ops::Range;

/// Sizes of the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Feature indices of the encoder.
    pub features: usize,
    /// Fields of the encoder.
    pub fields: usize,
    /// Positions within a field that are told apart; later ones share the last.
    pub positions: usize,
    /// Numbers a token.
    pub width: usize,
    /// Attention heads; divide `width`.
    pub heads: usize,
    /// Blocks.
    pub layers: usize,
    /// Feed-forward units.
    pub hidden: usize,
    /// Feed-forward units that stay active a token.
    pub winners: usize,
    /// Soft reads at the end, beside one that takes the largest value of each unit.
    pub reads: usize,
    /// Classes, or 1.
    pub outputs: usize,
}

/// One named part of the dense weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Its path, as in the saved file.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Where it lies.
    pub range: Range<usize>,
    /// Whether weight decay applies (matrices, not gains and biases).
    pub decays: bool,
}

/// Where the weights of one block lie.
#[derive(Clone, Debug, PartialEq)]
struct Block {
    norm1: Range<usize>,
    qkv: Range<usize>,
    out: Range<usize>,
    norm2: Range<usize>,
    up: Range<usize>,
    up_bias: Range<usize>,
    down: Range<usize>,
    down_bias: Range<usize>,
}

/// Where all dense weights lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The sizes it follows from.
    pub shape: Shape,
    /// All parts, in the order they lie.
    pub parts: Vec<Part>,
    fields: Range<usize>,
    blocks: Vec<Block>,
    norm: Range<usize>,
    queries: Range<usize>,
    readout: Range<usize>,
    bias: Range<usize>,
}

impl Plan {
    /// Lays the weights of `shape` out.
    pub fn new(shape: Shape) -> Self {
        let mut parts: Vec<Part> = Vec::new();
        let mut part = |name: String, shape: Vec<usize>, decays: bool| {
            let start = parts.last().map_or(0, |p| p.range.end);
            let range = start..start + shape.iter().product::<usize>();
            parts.push(Part { name, shape, range: range.clone(), decays });
            range
        };
        let (d, h) = (shape.width, shape.hidden);
        let fields = part("fields".into(), vec![shape.fields, d], false);
        let blocks = (0..shape.layers)
            .map(|i| Block {
                norm1: part(format!("blocks.{i}.norm1"), vec![d], false),
                qkv: part(format!("blocks.{i}.qkv"), vec![d, 3 * d], true),
                out: part(format!("blocks.{i}.out"), vec![d, d], true),
                norm2: part(format!("blocks.{i}.norm2"), vec![d], false),
                up: part(format!("blocks.{i}.up"), vec![d, h], true),
                up_bias: part(format!("blocks.{i}.up_bias"), vec![h], false),
                down: part(format!("blocks.{i}.down"), vec![h, d], true),
                down_bias: part(format!("blocks.{i}.down_bias"), vec![d], false),
            })
            .collect();
        let norm = part("norm".into(), vec![d], false);
        let queries = part("read.queries".into(), vec![shape.reads, d], false);
        let readout = part("read.weight".into(), vec![(shape.reads + 1) * d, shape.outputs], true);
        let bias = part("read.bias".into(), vec![shape.outputs], false);
        Self { shape, parts, fields, blocks, norm, queries, readout, bias }
    }

    /// How many dense weights there are.
    pub fn len(&self) -> usize {
        self.bias.end
    }

    /// Whether there are none; never so.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Width of the pooled state that the readout sees.
    pub fn pooled(&self) -> usize {
        (self.shape.reads + 1) * self.shape.width
    }
}

/// All weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// The parts of [`Plan`].
    pub dense: Vec<f32>,
    /// `[features, width]`, touched row by row.
    pub tokens: Vec<f32>,
    /// `[positions, width]`, touched row by row.
    pub positions: Vec<f32>,
}

impl Weights {
    /// Fresh weights. `fan_in[f]` is how many entries a token of feature `f`'s field has, so that
    /// a token starts with the same size whatever it is made of.
    pub fn new(plan: &Plan, fan_in: impl Fn(usize) -> f32, seed: u64) -> Self {
        let shape = &plan.shape;
        let d = shape.width;
        let mut dense = vec![0.0; plan.len()];
        let mut random = Random::stream(seed, "attention.dense", 0);
        let mut fill = |range: &Range<usize>, std: f32| {
            for w in &mut dense[range.clone()] {
                *w = random.normal() * std;
            }
        };
        let root = |n: usize| 1.0 / (n as f32).sqrt();
        fill(&plan.fields, 0.2);
        // Deeper residual branches start smaller, so that the sum keeps its size.
        let depth = root(2 * shape.layers.max(1));
        for block in &plan.blocks {
            fill(&block.qkv, root(d));
            fill(&block.out, root(d) * depth);
            fill(&block.up, root(d) * std::f32::consts::SQRT_2);
            fill(&block.down, root(shape.winners) * depth);
        }
        fill(&plan.queries, 0.02);
        fill(&plan.readout, 0.5 * root(plan.pooled()));
        for block in &plan.blocks {
            dense[block.norm1.clone()].fill(1.0);
            dense[block.norm2.clone()].fill(1.0);
        }
        dense[plan.norm.clone()].fill(1.0);
        let mut tokens = vec![0.0; shape.features * d];
        let mut random = Random::stream(seed, "attention.tokens", 0);
        for (feature, row) in tokens.chunks_exact_mut(d).enumerate() {
            let std = 0.5 / fan_in(feature).max(1.0).sqrt();
            row.fill_with(|| random.normal() * std);
        }
        // Sinusoids (Vaswani et al. 2017) to start from: near positions look alike before any training.
        let mut positions = vec![0.0; shape.positions * d];
        for (p, row) in positions.chunks_exact_mut(d).enumerate() {
            for (i, value) in row.iter_mut().enumerate() {
                let angle = p as f32 / 1000f32.powf((i / 2 * 2) as f32 / d as f32);
                *value = 0.3 * if i % 2 == 0 { angle.sin() } else { angle.cos() };
            }
        }
        Self { dense, tokens, positions }
    }
}
