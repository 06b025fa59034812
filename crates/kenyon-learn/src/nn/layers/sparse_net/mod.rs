//! A network of sparse layers on the CPU: a sparse row in, k-winners after each hidden layer, a
//! dense readout, and a direct path from the row to the answers (skip). The weights are in [`SparseNet`], training is
//! in `train`, and a trained network is laid out for inference as an [`InferenceNet`].
//!
//! z = Wx + b; the k largest z win; a winner's output is max(z, 0); all others are 0. Work follows the
//! active units: a forward pass costs units × active inputs, a backward pass winners × active inputs, both
//! counting only inputs in a unit's receptive field ([`ReceptiveField`]).

mod ensemble;
mod forward;
mod inference;
mod layer;
mod net;
mod receptive_field;
mod saved;
mod shape;
mod slots;
pub(crate) mod train;

#[cfg(test)]
mod tests;

pub(crate) use ensemble::merge;
pub(crate) use forward::Code;
pub use forward::Scratch;
pub use inference::InferenceNet;
pub(crate) use layer::Layer;
pub use net::SparseNet;
pub use receptive_field::{Picture, ReceptiveField};
pub(crate) use saved::{save_winners, saved_winners};
pub(crate) use shape::hidden_name;
pub use shape::{Hidden, SparseNetShape};
