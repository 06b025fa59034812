//! The blocks networks are built of, and their kernels. All candle custom ops live here.

pub use crate::random;
pub mod adam;
pub mod attention;
pub mod kernels;
pub mod parallel;
pub mod sparse_net;

/// Named tensors: weights, or everything that decides a training's future.
pub type Tensors = std::collections::BTreeMap<String, candle_core::Tensor>;
