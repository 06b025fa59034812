//! The attention network on slices: an embedding that sums the rows of its active inputs, pre-norm
//! attention blocks (Vaswani et al. 2017; Xiong et al. 2020) whose feed-forward part keeps k winners, and an additive
//! readout. Rows are concatenated without padding, so a row's answer cannot depend on its neighbours.
//!
//! Forward and backward are written out: at this size candle's overhead per operation would be
//! most of the time, and its fused normalisation and softmax cut gradients. [`RowAttention`] is the attention of a row
//! over its tokens as a candle operation, [`RowReads`] the reads at the end.

mod block;
mod heads;
mod layout;
mod operation;
mod reads;
mod tape;

pub use operation::{RowAttention, masked_softmax};
pub use reads::RowReads;

pub(crate) use block::drop_mask;
pub(crate) use layout::{AttentionLayout, AttentionShape, AttentionWeights};
pub(crate) use tape::{AttentionTape, Dropout, Gradients};
