//! What a stream's state needs, besides its model, to be computed again from the log.

use crate::store::{LogLine, LogSnapshot};
use kenyon_learn::learning::stream::StreamModel;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The past of a state. It is saved with each snapshot.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Past {
    /// The number of the log that the stream began with.
    pub(super) start: u64,
    /// Numbers at which the state was consolidated, with or without success.
    pub(super) consolidated: Vec<u64>,
    /// What was forgotten since the state was last computed from the log; its rows still have an effect.
    pub(super) pending: Vec<Value>,
    /// Rows of the log to erase with the next snapshot.
    #[serde(skip)]
    pub(super) erase: Vec<LogLine>,
}

impl Past {
    /// Of a stream that begins at this number of the log.
    pub(super) fn from(start: u64) -> Self {
        Self { start, ..Self::default() }
    }

    /// The past of a snapshot; none where an earlier version of the server has made it.
    pub(super) fn of(snapshot: &LogSnapshot) -> Option<Self> {
        serde_json::from_value(snapshot.info["past"].clone()).ok()
    }
}

/// A state of a stream on its own: the model, what it has come from, and the first record that is not in it.
pub(super) struct Candidate {
    pub(super) online: StreamModel,
    pub(super) past: Past,
    pub(super) next: u64,
    /// The oldest checkpoint without rows that it still contained.
    pub(super) oldest: Option<Vec<u8>>,
}
