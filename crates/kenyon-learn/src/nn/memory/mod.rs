//! Memories: episodes that are written at once, and networks that attend over slots.

pub mod episodic;
pub mod knn_attention;
pub mod network;
pub mod query_reduction;
