//! `attention` as a candle model.

use super::training_pass::{TrainingPass, dropped};
use super::{TokenBatch, TokenConfig, TokenModule, matrix, no_answers};
use crate::data::Batch;
use crate::nn::layers::attention::{RowAttention, masked_softmax};
use crate::nn::layers::filter_branch::FilterBranch;
use crate::nn::layers::k_winners::KWinners;
use crate::nn::layers::padding::Padding;
use crate::nn::layers::rms_norm::RmsNorm;
use crate::nn::layers::sparse_embedding::SparseEmbedding;
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
    qkv: Tensor,
    out: Tensor,
    norm2: RmsNorm,
    up: (Tensor, Tensor),
    down: (Tensor, Tensor),
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
    readout: (Tensor, Tensor),
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
        let small =
            |rows: usize, name: &str| weights.get_with_hints((rows, d), name, Init::Randn { mean: 0.0, stdev: 0.2 });
        let block = |index: usize| -> Result<Block> {
            let name = |part: &str| format!("blocks.{index}.{part}");
            Ok(Block {
                norm1: norm(&name("norm1"))?,
                qkv: matrix(&weights, d, 3 * d, &name("qkv"))?,
                out: matrix(&weights, d, d, &name("out"))?,
                norm2: norm(&name("norm2"))?,
                up: (matrix(&weights, d, h, &name("up"))?, bias(&name("up_bias"), h)?),
                down: (matrix(&weights, h, d, &name("down"))?, bias(&name("down_bias"), d)?),
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
            readout: (matrix(&weights, pooled, outputs, "read.weight")?, bias("read.bias", outputs)?),
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
            table.index_select(&Tensor::from_vec(indices, batch.tokens(), tokens.device())?, 0)
        };
        ((x + of(&self.positions, places)?)? + of(&self.fields, fields)?)?.contiguous()
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
        let qkv = self.normed(&block.norm1, x)?.matmul(&block.qkv)?;
        let mixed = if self.plain { attention.expression(&qkv)? } else { attention.forward(&qkv)? };
        let x = (x + dropped(pass, mixed.matmul(&block.out)?)?)?;
        let z = self.normed(&block.norm2, &x)?.matmul(&block.up.0)?.broadcast_add(&block.up.1)?;
        let winners = KWinners::new(self.config.hidden, self.config.winners, 0.0);
        let hidden = if self.plain { winners.reference(&z)? } else { winners.forward(&z)? };
        x + dropped(pass, hidden.matmul(&block.down.0)?.broadcast_add(&block.down.1)?)?
    }

    /// Softmax averages of the tokens of each row, and the largest value of each unit, `[rows, (reads + 1) width]`.
    fn pooled(&self, offsets: &[usize], x: &Tensor) -> Result<Tensor> {
        let padding = Padding::new(offsets, x.device())?;
        let values = padding.pad(x)?;
        let (rows, longest, d) = values.dims3()?;
        let scores = values.reshape((rows * longest, d))?.matmul(&self.queries.t()?)?;
        let scores = (scores.reshape((rows, longest, self.config.reads))?.transpose(1, 2)? / (d as f64).sqrt())?;
        let weights = masked_softmax(&scores, &padding.mask().unsqueeze(1)?)?;
        let soft = weights.matmul(&values)?.reshape((rows, self.config.reads * d))?;
        let mask = padding.mask().to_dtype(values.dtype())?;
        let hidden = ((mask.unsqueeze(2)? - 1.0)? * 1e9)?;
        // A row without tokens has no largest value.
        let some = mask.narrow(1, 0, 1)?;
        let largest = values.broadcast_add(&hidden)?.max(1)?.broadcast_mul(&some)?;
        Tensor::cat(&[soft, largest], 1)
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
    fn answers(&self, tokens: &TokenBatch, mut pass: Option<&mut TrainingPass>) -> Result<Tensor> {
        if tokens.rows() == 0 {
            return no_answers(self.config.outputs, tokens);
        }
        let offsets: Arc<Vec<usize>> = Arc::new(tokens.batch().row_offsets.iter().map(|&o| o as usize).collect());
        let mut x = self.embed(tokens)?;
        for block in &self.blocks {
            x = self.block(block, &offsets, &x, &mut pass)?;
        }
        let pooled = dropped(&mut pass, self.pooled(&offsets, &self.normed(&self.norm, &x)?)?)?;
        let answers = pooled.matmul(&self.readout.0)?.broadcast_add(&self.readout.1)?;
        let (Some(branch), Some((readout, bias))) = (&self.config.filters, &self.filters) else { return Ok(answers) };
        // The filters are fixed: what they give is an input.
        let rows = tokens.rows();
        let filtered = branch.pooled(tokens.batch(), 0..rows, true);
        let filtered = Tensor::from_vec(filtered, (rows, branch.plan.features), tokens.device())?;
        let filtered = filtered.to_dtype(readout.dtype())?;
        let others = filtered.matmul(readout)?.broadcast_add(bias)?;
        let share = f64::from(branch.blocks_share());
        (answers * share)? + (others * (1.0 - share))?
    }
}

impl TokenModule for AttentionNet {
    fn forward_tokens(&self, tokens: &TokenBatch, _train: bool) -> Result<Tensor> {
        self.answers(tokens, None)
    }

    fn forward_training(&self, tokens: &TokenBatch, pass: &mut TrainingPass) -> Result<Tensor> {
        self.answers(tokens, Some(pass))
    }
}

impl Module for AttentionNet {
    /// Dense rows, `[rows, features] -> [rows, outputs]`: a token a field.
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.forward_tokens(&TokenBatch::from_dense_fields(xs, &self.config.fields)?, false)
    }
}
