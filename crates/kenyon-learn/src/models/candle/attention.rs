//! `attention` as a candle model.

use super::training_pass::{TrainingPass, dropped};
use super::{CodedModule, TokenBatch, TokenConfig, TokenModule, matrix, no_answers};
use crate::data::Batch;
use crate::nn::layers::attention::{RowAttention, RowReads};
use crate::nn::layers::dense_linear::DenseLinear;
use crate::nn::layers::filter_branch::FilterBranch;
use crate::nn::layers::k_winners::KWinners;
use crate::nn::layers::rms_norm::RmsNorm;
use crate::nn::layers::sparse_embedding::{SparseEmbedding, SparseInput, has_kernel};
use candle_core::{Module, Result, Tensor, bail};
use candle_nn::{Init, VarBuilder};
use std::ops::Range;
use std::sync::Arc;

/// Sizes, and the fixed filters of series.
#[derive(Clone, Debug)]
pub struct Config {
    /// Feature indices of the encoder.
    pub features: usize,
    /// The features of each field of the encoder.
    pub fields: Vec<Range<usize>>,
    /// Positions within a field with an embedding of their own; later ones share the last.
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
    /// Soft reads at the end, besides one that takes the largest value of each unit.
    pub reads: usize,
    /// Classes, or 1.
    pub outputs: usize,
    /// The filters of series columns, where there are any.
    pub(crate) filters: Option<FilterBranch>,
}

impl TokenConfig for Config {
    fn build(&self, weights: VarBuilder<'_>) -> Result<Box<dyn TokenModule>> {
        Ok(Box::new(AttentionNet::new(self, weights)?))
    }
}

#[derive(Clone, Debug)]
struct Block {
    norm1: RmsNorm,
    qkv: DenseLinear,
    out: DenseLinear,
    norm2: RmsNorm,
    up: DenseLinear,
    down: DenseLinear,
}

/// Tokens that attend to each other, k-winners in the feed-forward part, and soft reads.
///
/// Weights: `tokens` `[features, width]`, `positions` and `fields`, `blocks.I.{norm1,qkv,out,norm2,up,up_bias,down,down_bias}`,
/// `norm`, `read.{queries,weight,bias}`, and `filters.{readout,bias}` where there are series.
#[derive(Clone, Debug)]
pub struct AttentionNet {
    config: Config,
    tokens: SparseEmbedding,
    positions: Tensor,
    fields: Tensor,
    blocks: Vec<Block>,
    norm: RmsNorm,
    queries: Tensor,
    readout: DenseLinear,
    filters: Option<(Tensor, Tensor)>,
    plain: bool,
}

impl AttentionNet {
    /// The network with these weights.
    ///
    /// # Errors
    /// Weights that are missing or have another size, and sizes that contradict each other.
    pub fn new(config: &Config, weights: VarBuilder<'_>) -> Result<Self> {
        let (d, h, outputs) = (config.width, config.hidden, config.outputs);
        if config.heads == 0 || !d.is_multiple_of(config.heads) {
            bail!("heads ({}) must divide width ({d})", config.heads);
        }
        let norm = |name: &str| -> Result<RmsNorm> {
            Ok(RmsNorm { gain: weights.get_with_hints(d, name, Init::Const(1.0))? })
        };
        let bias = |name: &str, width: usize| weights.get_with_hints(width, name, Init::Const(0.0));
        let linear = |inputs: usize, outputs: usize, name: &str, of_bias: &str| -> Result<DenseLinear> {
            let weight = matrix(&weights, inputs, outputs, name)?;
            Ok(DenseLinear { weight, bias: Some(bias(of_bias, outputs)?) })
        };
        let small =
            |rows: usize, name: &str| weights.get_with_hints((rows, d), name, Init::Randn { mean: 0.0, stdev: 0.2 });
        let block = |index: usize| -> Result<Block> {
            let name = |part: &str| format!("blocks.{index}.{part}");
            Ok(Block {
                norm1: norm(&name("norm1"))?,
                qkv: DenseLinear { weight: matrix(&weights, d, 3 * d, &name("qkv"))?, bias: None },
                out: DenseLinear { weight: matrix(&weights, d, d, &name("out"))?, bias: None },
                norm2: norm(&name("norm2"))?,
                up: linear(d, h, &name("up"), &name("up_bias"))?,
                down: linear(h, d, &name("down"), &name("down_bias"))?,
            })
        };
        let pooled = (config.reads + 1) * d;
        let filters = match &config.filters {
            Some(branch) => {
                let readout =
                    weights.get_with_hints((branch.plan.features, outputs), "filters.readout", Init::Const(0.0))?;
                Some((readout, bias("filters.bias", outputs)?))
            }
            None => None,
        };
        Ok(Self {
            tokens: SparseEmbedding { weight: small(config.features, "tokens")?, bias: None },
            positions: small(config.positions, "positions")?,
            fields: small(config.fields.len().max(1), "fields")?,
            blocks: (0..config.layers).map(block).collect::<Result<_>>()?,
            norm: norm("norm")?,
            queries: small(config.reads, "read.queries")?,
            readout: linear(pooled, outputs, "read.weight", "read.bias")?,
            filters,
            config: config.clone(),
            plain: false,
        })
    }

    /// The same in plain candle operations, without the kernels: what it is tested against.
    #[must_use]
    pub fn plain(self) -> Self {
        Self { plain: true, ..self }
    }

    /// The sum of the rows of the active inputs, of the position's and the field's, `[tokens, width]`.
    fn embed(&self, tokens: &TokenBatch) -> Result<Tensor> {
        let (batch, config) = (tokens.batch(), &self.config);
        let input = tokens.tokens(config.features)?;
        let x = if self.plain { self.tokens.expression(&input)? } else { self.tokens.forward(&input)? };
        let (places, fields) = places(batch, config.positions, config.fields.len());
        let of = |table: &Tensor, indices: Vec<u32>| {
            if self.plain || !has_kernel(table) {
                return table.index_select(&Tensor::from_vec(indices, batch.tokens(), tokens.device())?, 0);
            }
            let (rows, ones) = (table.dim(0)?, vec![1.0; indices.len()]);
            let input = SparseInput::new((0..=indices.len() as u32).collect(), indices, ones, rows)?;
            SparseEmbedding { weight: table.clone(), bias: None }.forward(&input)
        };
        ((x + of(&self.positions, places)?)? + of(&self.fields, fields)?)?.contiguous()
    }

    fn linear(&self, layer: &DenseLinear, x: &Tensor) -> Result<Tensor> {
        if self.plain { layer.expression(x) } else { layer.forward(x) }
    }

    fn normed(&self, norm: &RmsNorm, x: &Tensor) -> Result<Tensor> {
        if self.plain { norm.expression(x) } else { norm.forward(x) }
    }

    fn block(
        &self,
        block: &Block,
        offsets: &Arc<Vec<usize>>,
        x: &Tensor,
        pass: &mut Option<&mut TrainingPass>,
    ) -> Result<Tensor> {
        let attention = RowAttention { heads: self.config.heads, offsets: offsets.clone() };
        let qkv = self.linear(&block.qkv, &self.normed(&block.norm1, x)?)?;
        let mixed = if self.plain { attention.expression(&qkv)? } else { attention.forward(&qkv)? };
        let x = (x + dropped(pass, self.linear(&block.out, &mixed)?)?)?;
        let z = self.linear(&block.up, &self.normed(&block.norm2, &x)?)?;
        let winners = KWinners::new(self.config.hidden, self.config.winners, 0.0);
        let hidden = if self.plain { winners.reference(&z)? } else { winners.forward(&z)? };
        x + dropped(pass, self.linear(&block.down, &hidden)?)?
    }
}

/// The position within its field, and the field, of each token.
fn places(batch: &Batch, positions: usize, fields: usize) -> (Vec<u32>, Vec<u32>) {
    let (mut places, mut of) = (Vec::with_capacity(batch.tokens()), Vec::with_capacity(batch.tokens()));
    for row in 0..batch.rows() {
        let (mut last, mut position) = (u16::MAX, 0u32);
        for token in batch.row(row) {
            let field = batch.fields.get(token).copied().unwrap_or(0);
            position = if field == last { position + 1 } else { 0 };
            last = field;
            places.push(position.min(positions.saturating_sub(1) as u32));
            of.push(u32::from(field).min(fields.saturating_sub(1) as u32));
        }
    }
    (places, of)
}

impl AttentionNet {
    /// Answers, and what the readout of the tokens reads.
    fn answers(&self, tokens: &TokenBatch, mut pass: Option<&mut TrainingPass>) -> Result<(Tensor, Tensor)> {
        let offsets: Arc<Vec<usize>> = Arc::new(tokens.batch().row_offsets.iter().map(|&o| o as usize).collect());
        let mut x = self.embed(tokens)?;
        for block in &self.blocks {
            x = self.block(block, &offsets, &x, &mut pass)?;
        }
        let (reads, x) = (RowReads { offsets }, self.normed(&self.norm, &x)?);
        let pooled =
            if self.plain { reads.expression(&x, &self.queries)? } else { reads.forward(&x, &self.queries)? };
        let pooled = dropped(&mut pass, pooled)?;
        let answers = self.linear(&self.readout, &pooled)?;
        let (Some(branch), Some((readout, bias))) = (&self.config.filters, &self.filters) else {
            return Ok((answers, pooled));
        };
        // The filters are fixed: what they give is an input.
        let rows = tokens.rows();
        let filtered = branch.pooled(tokens.batch(), 0..rows, true);
        let filtered = Tensor::from_vec(filtered, (rows, branch.plan.features), tokens.device())?;
        let filtered = filtered.to_dtype(readout.dtype())?;
        let others = filtered.matmul(readout)?.broadcast_add(bias)?;
        let share = f64::from(branch.blocks_share());
        Ok((((answers * share)? + (others * (1.0 - share))?)?, pooled))
    }
}

impl TokenModule for AttentionNet {
    fn forward_tokens(&self, tokens: &TokenBatch, _train: bool) -> Result<Tensor> {
        if tokens.rows() == 0 {
            return no_answers(self.config.outputs, tokens);
        }
        Ok(self.answers(tokens, None)?.0)
    }

    fn forward_training(&self, tokens: &TokenBatch, pass: &mut TrainingPass) -> Result<Tensor> {
        Ok(self.answers(tokens, Some(pass))?.0)
    }

    fn coded(&self) -> std::result::Result<&dyn CodedModule, &'static str> {
        if self.config.filters.is_some() {
            return Err("filters of series are computed on the CPU");
        }
        Ok(self)
    }
}

impl CodedModule for AttentionNet {
    fn forward_coded(&self, tokens: &TokenBatch) -> Result<(Tensor, Tensor)> {
        self.answers(tokens, None)
    }
}

impl Module for AttentionNet {
    /// Dense rows, `[rows, features] -> [rows, outputs]`: a token a field.
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.forward_tokens(&TokenBatch::from_dense_fields(xs, &self.config.fields)?, false)
    }
}
