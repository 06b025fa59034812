//! The inner loops: sparse-input forward, winner-only backward and update, exact top-k, dense products, threads.
//! All `unsafe` of the crate is in this module. Networks are in [`super::layers`].
//!
//! Sparse weights are stored in blocks of 16 units ([`Lane`]): a block is a list of one 64-byte line an input, so
//! an active input of a block costs one cache line, and a whole mini-batch is processed while the block is in the
//! first or second cache.
//!
//! Every kernel is one safe body, compiled three times: for AVX-512, for AVX2 with FMA, and for any
//! machine. [`Isa`] is detected once and selects. The bodies sum in a fixed order, so the bits do
//! not depend on the number of threads; across instruction sets results differ by rounding only.
#![allow(unsafe_code)]

mod adam;
mod bin_sums;
pub(crate) mod convolution;
pub(crate) mod dense;
pub(crate) mod filters;
pub(crate) mod gated_scan;
pub(crate) mod gather;
mod input_set;
mod isa;
mod lane;
pub(crate) mod linear;
pub(crate) mod matrix;
pub(crate) mod packed;
pub(crate) mod parallel;
pub(crate) mod reads;
mod rows;
mod thread_pool;
mod top_k;
pub(crate) mod transformer;
mod unit_blocks;
mod vectors;
mod weight_rows;

pub use adam::AdamStep;
pub(crate) use adam::{adam, adam_lanes, adam_masked};
pub(crate) use bin_sums::{BinRun, BinSums, add_lines, spread_bins, spread_rows, sum_bins, summed_rows};
pub(crate) use input_set::{InputIndex, InputSet, NarrowedRows};
pub use isa::Isa;
pub use lane::{LANE, Lane};
pub use rows::{SparseRows, Winners};
pub(crate) use thread_pool::ThreadPool;
pub use top_k::{TopK, top_k};
pub(crate) use unit_blocks::{back_dense, back_sparse, update_dense};
pub use unit_blocks::{forward, update};
pub(crate) use vectors::{block_products, boosted, squared_norm};
pub(crate) use weight_rows::{PAIR, Pair, forward_lines, forward_pairs};

#[cfg(test)]
mod tests;
