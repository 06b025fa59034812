//! Sizes, parameters and fresh weights of the attention network.

use crate::nn::parameters::Parameters;
use crate::random::Random;
use std::ops::Range;

/// Sizes of the network.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AttentionShape {
    /// Feature indices of the encoder.
    pub(crate) features: usize,
    /// Fields of the encoder.
    pub(crate) fields: usize,
    /// Positions within a field with an embedding of their own; later ones share the last.
    pub(crate) positions: usize,
    /// Numbers a token.
    pub(crate) width: usize,
    /// Attention heads; divide `width`.
    pub(crate) heads: usize,
    /// Blocks.
    pub(crate) layers: usize,
    /// Feed-forward units.
    pub(crate) hidden: usize,
    /// Feed-forward units that stay active a token.
    pub(crate) winners: usize,
    /// Soft reads at the end, besides one that takes the largest value of each unit.
    pub(crate) reads: usize,
    /// Classes, or 1.
    pub(crate) outputs: usize,
}

/// Ranges of the weights of one block.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct AttentionBlock {
    pub(super) norm1: Range<usize>,
    pub(super) qkv: Range<usize>,
    pub(super) out: Range<usize>,
    pub(super) norm2: Range<usize>,
    pub(super) up: Range<usize>,
    pub(super) up_bias: Range<usize>,
    pub(super) down: Range<usize>,
    pub(super) down_bias: Range<usize>,
}

/// Ranges of all dense weights.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AttentionLayout {
    /// The sizes it follows from.
    pub(crate) shape: AttentionShape,
    /// All dense parameters.
    pub(crate) parameters: Parameters,
    pub(super) fields: Range<usize>,
    pub(super) blocks: Vec<AttentionBlock>,
    pub(super) norm: Range<usize>,
    pub(super) queries: Range<usize>,
    pub(super) readout: Range<usize>,
    pub(super) bias: Range<usize>,
}

impl AttentionLayout {
    /// The layout of `shape`.
    pub(crate) fn new(shape: AttentionShape) -> Self {
        let mut p = Parameters::default();
        let (d, h) = (shape.width, shape.hidden);
        let fields = p.add("fields", &[shape.fields, d]);
        let blocks = (0..shape.layers)
            .map(|i| AttentionBlock {
                norm1: p.add(format!("blocks.{i}.norm1"), &[d]),
                qkv: p.add_decaying(format!("blocks.{i}.qkv"), &[d, 3 * d]),
                out: p.add_decaying(format!("blocks.{i}.out"), &[d, d]),
                norm2: p.add(format!("blocks.{i}.norm2"), &[d]),
                up: p.add_decaying(format!("blocks.{i}.up"), &[d, h]),
                up_bias: p.add(format!("blocks.{i}.up_bias"), &[h]),
                down: p.add_decaying(format!("blocks.{i}.down"), &[h, d]),
                down_bias: p.add(format!("blocks.{i}.down_bias"), &[d]),
            })
            .collect();
        let norm = p.add("norm", &[d]);
        let queries = p.add("read.queries", &[shape.reads, d]);
        let readout = p.add_decaying("read.weight", &[(shape.reads + 1) * d, shape.outputs]);
        let bias = p.add("read.bias", &[shape.outputs]);
        Self { shape, parameters: p, fields, blocks, norm, queries, readout, bias }
    }

    /// How many dense weights there are.
    pub(crate) fn len(&self) -> usize {
        self.parameters.len()
    }

    /// Width of the pooled state, the input of the readout.
    pub(crate) fn pooled(&self) -> usize {
        (self.shape.reads + 1) * self.shape.width
    }
}

/// All weights.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AttentionWeights {
    /// The parameters of [`AttentionLayout`].
    pub(crate) dense: Vec<f32>,
    /// `[features, width]`, touched row by row.
    pub(crate) tokens: Vec<f32>,
    /// `[positions, width]`, touched row by row.
    pub(crate) positions: Vec<f32>,
}

impl AttentionWeights {
    /// Fresh weights. `fan_in[f]` is how many entries a token of feature `f`'s field has, so that
    /// a token starts with the same size whatever it is made of.
    pub(crate) fn new(plan: &AttentionLayout, fan_in: impl Fn(usize) -> f32, seed: u64) -> Self {
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
        // Sinusoids (Vaswani et al. 2017) to start from: near positions are similar before any training.
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
