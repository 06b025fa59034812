//! The families as candle models: structures with a `Config` and `new(config, VarBuilder)` over tensors, whose weight
//! paths are the names in a bundle. A program that uses candle loads, inspects, extends and trains them with candle alone.
//!
//! [`crate::learning::Bundle::candle`] gives the configuration of a trained model. On the CPU the modules run on the
//! kernels of the served networks, as operations with a gradient (`nn::layers`); elsewhere on plain candle operations.
//! What is not learned by gradients (the features with a weight row, connections, stored rows, fixed filters)
//! is part of the configuration and not of the weights.

pub mod attention;
mod hybrid;
pub mod memory;
mod memory_network;
mod query_reduction;
mod slots;
pub mod sparse_mlp;
mod stored_rows;
mod token_batch;
mod training_pass;

pub use attention::AttentionNet;
pub use hybrid::{Hybrid, HybridConfig};
pub use memory::MemoryNet;
pub use sparse_mlp::SparseMlp;
pub use token_batch::TokenBatch;
pub use training_pass::TrainingPass;

pub(crate) use training_pass::Competition;

use candle_core::{DType, Result, Tensor};
use candle_nn::VarBuilder;
use std::any::Any;

/// A model over batches of sparse tokens.
pub trait TokenModule: Send + Sync {
    /// The answers, `[rows, outputs]`: logits, or standardised values. `train` matters to models that store training
    /// rows: a row that is stored is left out of its own answer.
    fn forward_tokens(&self, tokens: &TokenBatch, train: bool) -> Result<Tensor>;

    /// As [`Self::forward_tokens`] in a step of Kenyon's own training, with the noise of `pass`.
    ///
    /// # Errors
    /// As [`Self::forward_tokens`].
    fn forward_training(&self, tokens: &TokenBatch, _pass: &mut TrainingPass) -> Result<Tensor> {
        self.forward_tokens(tokens, true)
    }

    /// Itself as a model that can answer in place of the served network, or why a device does not help it.
    ///
    /// # Errors
    /// The reason, for a person.
    fn coded(&self) -> std::result::Result<&dyn CodedModule, &'static str> {
        Err("most of its work is on the CPU in any case")
    }
}

/// A model whose code, the input of its readout, is that of the served network, too: novelty is measured on it.
pub trait CodedModule {
    /// Answers as [`TokenModule::forward_tokens`] gives them for rows that are not learned, and codes `[rows, width]`. There is at
    /// least one row.
    ///
    /// # Errors
    /// As [`TokenModule::forward_tokens`].
    fn forward_coded(&self, tokens: &TokenBatch) -> Result<(Tensor, Tensor)>;
}

/// The configuration of a model of any family; as [`Any`] it can be turned into the family's own `Config`.
pub trait TokenConfig: Any + std::fmt::Debug + Send + Sync {
    /// The model with these weights.
    ///
    /// # Errors
    /// Weights that are missing or have another size.
    fn build(&self, weights: VarBuilder<'_>) -> Result<Box<dyn TokenModule>>;
}

/// The answers of no rows: not every operation takes a tensor without elements.
fn no_answers(outputs: usize, tokens: &TokenBatch) -> Result<Tensor> {
    Tensor::zeros((0, outputs), DType::F32, tokens.device())
}

/// The weight of matrix `name` `[inputs, outputs]`, small where it is new.
fn matrix(weights: &VarBuilder<'_>, inputs: usize, outputs: usize, name: &str) -> Result<Tensor> {
    let stdev = 1.0 / (inputs.max(1) as f64).sqrt();
    weights.get_with_hints((inputs, outputs), name, candle_nn::Init::Randn { mean: 0.0, stdev })
}
