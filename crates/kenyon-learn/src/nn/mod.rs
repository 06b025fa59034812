//! What networks are built of: kernels, layers, linear algebra, readouts and memories.

pub(crate) mod adam;
pub mod kernels;
pub mod layers;
pub(crate) mod linalg;
pub(crate) mod memory;
pub(crate) mod parameters;
pub(crate) mod probability;
pub(crate) mod readouts;

/// Named tensors: weights, or everything that decides a training's future.
pub type Tensors = std::collections::BTreeMap<String, candle_core::Tensor>;
