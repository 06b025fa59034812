//! Layers that networks are built of.

pub mod attention;
pub mod filter_branch;
pub mod filters;
pub mod hebbian;
pub mod k_winners;
pub mod local_groups;
pub mod sparse_embedding;
pub mod sparse_linear;
pub mod sparse_net;
