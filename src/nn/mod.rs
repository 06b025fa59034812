//! The blocks networks are built of, and their kernels. All candle custom ops live here.

pub mod adam;
pub mod attention;
pub mod cholesky;
pub mod discriminant;
pub mod episodic;
pub mod few_labels;
pub mod filter_branch;
pub mod filters;
pub mod hebbian;
pub mod k_winners;
pub mod kernels;
pub mod local_groups;
pub mod memory;
pub mod new_class;
pub mod parallel;
pub mod propagation;
pub mod recall;
pub mod reduction;
pub mod ridge;
pub mod sparse_embedding;
pub mod sparse_linear;
pub mod sparse_net;

pub use crate::random;

/// Named tensors: weights, or everything that decides a training's future.
pub type Tensors = std::collections::BTreeMap<String, candle_core::Tensor>;
