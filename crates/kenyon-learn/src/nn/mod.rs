//! What networks are built of: kernels, layers, linear algebra, readouts and memories.

pub mod adam;
pub mod kernels;
pub mod layers;
pub mod linalg;
pub mod memory;
pub mod readouts;

/// Named tensors: weights, or everything that decides a training's future.
pub type Tensors = std::collections::BTreeMap<String, candle_core::Tensor>;
