//! `memory` as a candle model: one of three algorithms.

use super::memory_network::ReadSlots;
use super::query_reduction::ReduceQuery;
use super::stored_rows::RecallRows;
use super::{CodedModule, TokenBatch, TokenConfig, TokenModule, TrainingPass, no_answers};
use candle_core::{Module, Result, Tensor, bail};
use candle_nn::VarBuilder;

pub use super::slots::StoryConfig;
pub use super::stored_rows::RecallConfig;

/// What a network of the family reads, and how.
#[derive(Clone, Debug)]
pub enum Config {
    /// Slots in their order, by query reduction; with a gate a number where `wide_gates`.
    Ordered {
        /// Its sizes.
        sizes: StoryConfig,
        /// Whether each number has its own gate instead of one a slot.
        wide_gates: bool,
    },
    /// All slots at once: a classic memory network; without softmax where `linear`.
    Softmax {
        /// Its sizes.
        sizes: StoryConfig,
        /// Whether reads are without their softmax.
        linear: bool,
    },
    /// Stored training rows.
    Rows(RecallConfig),
}

impl TokenConfig for Config {
    fn build(&self, weights: VarBuilder<'_>) -> Result<Box<dyn TokenModule>> {
        Ok(Box::new(MemoryNet::new(self, weights)?))
    }
}

/// A network of the family.
///
/// Weights of ordered reads: `words`, `hops.I.{slot,question,bias,update,update_bias,reset,reset_bias}`, `readout`, `bias`.
/// Of softmax reads: `words` and `time`, each `[_, hops + 1, width]`, `readout` `[outputs, width]`, `bias`. Of stored rows:
/// `features`, `readout` `[outputs, width]`, `bias`, `trust`, `sharpness`.
#[derive(Clone, Debug)]
pub struct MemoryNet(Algorithm);

#[derive(Clone, Debug)]
enum Algorithm {
    Ordered(ReduceQuery),
    Softmax(ReadSlots),
    Rows(RecallRows),
}

impl MemoryNet {
    /// The network with these weights.
    ///
    /// # Errors
    /// Weights that are missing or have another size.
    pub fn new(config: &Config, weights: VarBuilder<'_>) -> Result<Self> {
        Ok(Self(match config {
            Config::Ordered { sizes, wide_gates } => {
                Algorithm::Ordered(ReduceQuery::new(sizes.clone(), *wide_gates, &weights)?)
            }
            Config::Softmax { sizes, linear } => Algorithm::Softmax(ReadSlots::new(sizes.clone(), *linear, &weights)?),
            Config::Rows(sizes) => Algorithm::Rows(RecallRows::new(sizes.clone(), &weights)?),
        }))
    }

    fn outputs(&self) -> usize {
        match &self.0 {
            Algorithm::Ordered(net) => net.sizes.outputs,
            Algorithm::Softmax(net) => net.sizes.outputs,
            Algorithm::Rows(net) => net.sizes.outputs,
        }
    }

    /// The same in plain candle operations, without the kernels: what it is tested against.
    #[must_use]
    pub fn plain(self) -> Self {
        Self(match self.0 {
            Algorithm::Ordered(net) => Algorithm::Ordered(net.plain()),
            Algorithm::Rows(net) => Algorithm::Rows(net.plain()),
            softmax @ Algorithm::Softmax(_) => softmax,
        })
    }
}

impl MemoryNet {
    fn run(&self, tokens: &TokenBatch, train: bool, pass: Option<&mut TrainingPass>) -> Result<(Tensor, Tensor)> {
        match &self.0 {
            Algorithm::Ordered(net) => net.forward(tokens, pass),
            Algorithm::Softmax(net) => net.forward(tokens, pass),
            Algorithm::Rows(net) => net.forward(tokens, train),
        }
    }
}

impl TokenModule for MemoryNet {
    fn forward_tokens(&self, tokens: &TokenBatch, train: bool) -> Result<Tensor> {
        if tokens.rows() == 0 {
            return no_answers(self.outputs(), tokens);
        }
        Ok(self.run(tokens, train, None)?.0)
    }

    fn forward_training(&self, tokens: &TokenBatch, pass: &mut TrainingPass) -> Result<Tensor> {
        Ok(self.run(tokens, true, Some(pass))?.0)
    }

    fn coded(&self) -> std::result::Result<&dyn CodedModule, &'static str> {
        Ok(self)
    }
}

impl CodedModule for MemoryNet {
    fn forward_coded(&self, tokens: &TokenBatch) -> Result<(Tensor, Tensor)> {
        self.run(tokens, false, None)
    }
}

impl Module for MemoryNet {
    /// Dense rows, `[rows, features] -> [rows, outputs]`, of a network that compares rows.
    ///
    /// # Errors
    /// A network that reads stories.
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        match &self.0 {
            Algorithm::Rows(net) => Ok(net.forward(&TokenBatch::from_dense(xs)?, false)?.0),
            _ => bail!("a network over stories reads tokens, not dense rows"),
        }
    }
}
