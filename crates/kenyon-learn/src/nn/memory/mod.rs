//! Memories: episodes that are written at once, and networks that attend over slots.

pub(crate) mod episodic;
pub(crate) mod knn_attention;
pub(crate) mod memory_network;
pub(crate) mod query_reduction;
