//! What a prediction answers, and its JSON, written once straight into the bytes that are sent.

use super::lane::Spent;
use std::sync::Arc;
use std::time::Duration;

/// Where the time of a request went; the headers `x-queue-time`, `x-inference-time`, `x-total-time`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// Waiting for the model.
    pub queue: Duration,
    /// In the network.
    pub compute: Duration,
    /// From the request's bytes to the answer's.
    pub total: Duration,
}

impl Timing {
    /// What a lane spent, and the whole.
    pub fn new(spent: Spent, total: Duration) -> Self {
        Self { queue: spent.queue, compute: spent.compute, total }
    }
}

/// Answers of some rows by one version.
#[derive(Debug)]
pub struct Answer {
    /// The model.
    pub model: Arc<str>,
    /// The version that answered.
    pub version: u64,
    /// Where the time went.
    pub timing: Timing,
}

/// An answer as the bytes to send.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The version that answered.
    pub version: u64,
    /// JSON, as API.md has it.
    pub body: Vec<u8>,
    /// Where the time went.
    pub timing: Timing,
}
