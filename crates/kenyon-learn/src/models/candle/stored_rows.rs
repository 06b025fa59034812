//! Rows compared with stored training rows (see `nn::memory::knn_attention`).

use super::TokenBatch;
use crate::nn::layers::attention::masked_softmax;
use crate::nn::layers::sparse_embedding::{SparseEmbedding, SparseInput};
use crate::nn::memory::knn_attention::{Episodes, row_hash};
use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};

/// Sizes and stored rows of a network that compares rows.
#[derive(Clone, Debug)]
pub struct RecallConfig {
    /// Feature indices.
    pub features: usize,
    /// Numbers a description has.
    pub width: usize,
    /// Classes, or 1.
    pub outputs: usize,
    /// Whether outcomes are numbers.
    pub regression: bool,
    pub(crate) episodes: Episodes,
}

/// The network.
#[derive(Clone, Debug)]
pub(super) struct RecallRows {
    pub(super) sizes: RecallConfig,
    features: SparseEmbedding,
    readout: Tensor,
    bias: Tensor,
    trust: Tensor,
    sharpness: Tensor,
    /// The stored rows.
    stored: SparseInput,
    /// What each stored row votes for, `[stored rows, outputs]`.
    votes: Tensor,
    plain: bool,
}

impl RecallRows {
    pub(super) fn new(sizes: RecallConfig, weights: &VarBuilder<'_>) -> Result<Self> {
        let (d, outputs, episodes) = (sizes.width, sizes.outputs, &sizes.episodes);
        let stdev = 1.0 / (d.max(1) as f64).sqrt();
        let normal = |stdev: f64| Init::Randn { mean: 0.0, stdev };
        let mut votes = vec![0f32; episodes.len() * outputs];
        for (votes, &outcome) in votes.chunks_exact_mut(outputs.max(1)).zip(&episodes.outcomes) {
            if sizes.regression {
                votes[0] = outcome;
            } else if let Some(vote) = votes.get_mut(outcome as usize) {
                *vote = 1.0;
            }
        }
        let offsets = if episodes.offsets.is_empty() { vec![0] } else { episodes.offsets.clone() };
        let trust = if sizes.regression { 0.5 } else { 4.0 };
        Ok(Self {
            features: SparseEmbedding {
                weight: weights.get_with_hints((sizes.features, d), "features", normal(stdev))?,
                bias: None,
            },
            readout: weights.get_with_hints((outputs, d), "readout", normal(0.1 * stdev))?,
            bias: weights.get_with_hints(outputs, "bias", Init::Const(0.0))?,
            trust: weights.get_with_hints(1, "trust", Init::Const(trust))?,
            sharpness: weights.get_with_hints(1, "sharpness", Init::Const(10.0))?,
            stored: SparseInput::new(offsets, episodes.indices.clone(), episodes.values.clone(), sizes.features)?,
            votes: Tensor::from_vec(votes, (episodes.len(), outputs), weights.device())?.to_dtype(weights.dtype())?,
            sizes,
            plain: false,
        })
    }

    pub(super) fn plain(self) -> Self {
        Self { plain: true, ..self }
    }

    /// Answers, and the description of each row.
    pub(super) fn forward(&self, tokens: &TokenBatch, train: bool) -> Result<(Tensor, Tensor)> {
        let described = self.described(&tokens.bags(self.sizes.features)?)?;
        let answers = described.matmul(&self.readout.t()?)?.broadcast_add(&self.bias)?;
        let count = self.sizes.episodes.len();
        if count == 0 {
            return Ok((answers, described));
        }
        let keys = unit(&self.described(&self.stored)?)?;
        let similarity = unit(&described)?.matmul(&keys.t()?)?;
        let others = self.others(tokens, train)?;
        let weights = masked_softmax(&similarity.broadcast_mul(&self.sharpness)?, &others)?;
        Ok(((answers + weights.matmul(&self.votes)?.broadcast_mul(&self.trust)?)?, described))
    }

    fn described(&self, rows: &SparseInput) -> Result<Tensor> {
        if self.plain { self.features.expression(rows) } else { self.features.forward(rows) }
    }

    /// 1 where a stored row may answer, `[rows, stored rows]`: in training not for the row itself, unless it is the only one.
    fn others(&self, tokens: &TokenBatch, train: bool) -> Result<Tensor> {
        let (batch, hashes) = (tokens.batch(), &self.sizes.episodes.hashes);
        let mut others = vec![1f32; tokens.rows() * hashes.len()];
        if train {
            for (row, others) in others.chunks_exact_mut(hashes.len()).enumerate() {
                let (indices, values) = batch.entries(row);
                let own = row_hash(indices, values);
                if hashes.iter().any(|&hash| hash != own) {
                    others.iter_mut().zip(hashes).for_each(|(other, &hash)| *other = f32::from(u8::from(hash != own)));
                }
            }
        }
        Tensor::from_vec(others, (tokens.rows(), hashes.len()), tokens.device())
    }
}

/// Rows of length one. The root of a row of zeros is kept away from 0, where it has no gradient.
fn unit(rows: &Tensor) -> Result<Tensor> {
    rows.broadcast_div(&(rows.sqr()?.sum_keepdim(1)? + 1e-12)?.sqrt()?)
}
