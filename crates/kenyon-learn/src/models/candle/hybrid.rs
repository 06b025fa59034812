//! `hybrid` as a candle model: the code of local groups, which are fixed, and a readout that can be trained.

use super::{TokenBatch, TokenConfig, TokenModule, no_answers};
use crate::nn::layers::local_groups::LocalGroups;
use candle_core::{Module, Result, Tensor};
use candle_nn::{Init, VarBuilder};

/// The local groups, and how many answers there are.
#[derive(Clone, Debug)]
pub struct HybridConfig {
    pub(crate) groups: LocalGroups,
    /// Classes, or 1.
    pub outputs: usize,
}

impl TokenConfig for HybridConfig {
    fn build(&self, weights: VarBuilder<'_>) -> Result<Box<dyn TokenModule>> {
        Ok(Box::new(Hybrid::new(self, weights)?))
    }
}

/// A linear readout of the code.
///
/// Weights: `readout.weights` `[outputs * code width]` and `readout.bias`.
#[derive(Clone, Debug)]
pub struct Hybrid {
    config: HybridConfig,
    weights: Tensor,
    bias: Tensor,
}

impl Hybrid {
    /// The network with these weights.
    ///
    /// # Errors
    /// Weights that are missing or have another size.
    pub fn new(config: &HybridConfig, weights: VarBuilder<'_>) -> Result<Self> {
        let (outputs, width) = (config.outputs, config.groups.width());
        Ok(Self {
            weights: weights.get_with_hints(outputs * width, "readout.weights", Init::Const(0.0))?,
            bias: weights.get_with_hints(outputs, "readout.bias", Init::Const(0.0))?,
            config: config.clone(),
        })
    }

    /// The code of rows, `[rows, width]`: the input of the readout.
    pub fn code(&self, tokens: &TokenBatch) -> Result<Tensor> {
        let code = self.config.groups.code(tokens.batch(), 1);
        Tensor::from_vec(code, (tokens.rows(), self.config.groups.width()), tokens.device())?
            .to_dtype(self.weights.dtype())
    }
}

impl TokenModule for Hybrid {
    fn forward_tokens(&self, tokens: &TokenBatch, _train: bool) -> Result<Tensor> {
        if tokens.rows() == 0 {
            return no_answers(self.config.outputs, tokens);
        }
        let weights = self.weights.reshape((self.config.outputs, self.config.groups.width()))?;
        self.code(tokens)?.matmul(&weights.t()?)?.broadcast_add(&self.bias)
    }
}

impl Module for Hybrid {
    /// Dense rows, `[rows, features] -> [rows, outputs]`.
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.forward_tokens(&TokenBatch::from_dense(xs)?, false)
    }
}
