//! How the engine serves: limits, memory, deadlines.

use super::batch_queue::Limits;
use std::time::Duration;

/// How the engine serves.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Limits of each version's batch queue.
    pub limits: Limits,
    /// Bytes of loaded models that are kept; the least recently used are dropped first.
    pub cache_bytes: u64,
    /// How long a request may take when its caller names no deadline.
    pub deadline: Duration,
    /// Bytes of predicted rows that are kept for `feedback`.
    pub feedback_bytes: usize,
    /// How long a predicted row waits for its label.
    pub feedback_age: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            cache_bytes: 2 << 30,
            deadline: Duration::from_secs(30),
            feedback_bytes: 16 << 20,
            feedback_age: Duration::from_secs(24 * 3600),
        }
    }
}
