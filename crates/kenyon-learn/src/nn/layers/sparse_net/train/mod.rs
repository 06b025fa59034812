//! Training of a [`super::SparseNet`]: mini-batches in phases that threads share by units or by rows.
//!
//! A step: each hidden layer forward (threads own groups of units), its winners (threads own
//! rows), the answers, loss and gradients (rows), then from the last layer down the gradient of its
//! input and its update (units). Sums run in the order of rows and units whatever the number of
//! threads, so the weights come out bit for bit the same.

mod row_share;
mod state;
mod step;
mod trainer;
mod update;

pub(crate) use row_share::loss;
pub(crate) use step::{Labels, NO_LABEL, Optimiser, Step};
pub(crate) use trainer::{Trainer, annealed};
pub(crate) use update::{boosted_by, weight_of_rows};
