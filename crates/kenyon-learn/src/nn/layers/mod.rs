//! Layers that networks are built of.

pub mod activation;
pub mod attention;
pub(crate) mod competing;
pub mod dense_linear;
pub(crate) mod descent;
pub(crate) mod filter_branch;
pub(crate) mod filters;
pub mod gated_scan;
pub(crate) mod hebbian;
pub mod k_winners;
pub(crate) mod local_groups;
pub mod padding;
pub mod rms_norm;
pub(crate) mod series_features;
pub mod sparse_embedding;
pub mod sparse_linear;
pub mod sparse_net;
pub mod word_sums;
