//! What a log holds: records, as they are appended and as they are read, and snapshots of the state that follows from them.

use super::db::Row;
use super::idempotency_key::IdempotencyKey;
use crate::Result;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

/// A record to append.
#[derive(Clone, Debug, Default)]
pub struct NewRecord {
    /// What it is (`rows`, `forget` …), for the replay.
    pub kind: String,
    /// How many rows it counts; 0 for an operation, which takes up one number.
    pub rows: u64,
    /// The rows in the caller's encoding.
    pub payload: Vec<u8>,
    /// The request it belongs to: the same key never appends twice. A request of several records
    /// appends `#` and their index to the key (`abc#3`).
    pub idempotency: Option<IdempotencyKey>,
    /// The id of the key that sent it; empty without keys.
    pub source: String,
}

/// Where a record was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its number.
    pub seq: u64,
    /// The number after it.
    pub next: u64,
    /// Whether it was there already, from an earlier try of the same request.
    pub replayed: bool,
    /// When it was appended; of a replay, when it was requested again.
    pub at: Timestamp,
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its number.
    pub seq: u64,
    /// The number after it.
    pub next: u64,
    /// What it is.
    pub kind: String,
    /// How many rows it counts.
    pub rows: u64,
    /// The rows.
    pub payload: Vec<u8>,
    /// When it was appended.
    pub at: Timestamp,
    /// The id of the key that sent it; empty without keys.
    pub source: String,
}

/// A state that has taken in every record below `seq`.
#[derive(Clone, Debug, PartialEq)]
pub struct LogSnapshot {
    /// The first record that is not in it.
    pub seq: u64,
    /// The state.
    pub bytes: Bytes,
    /// The caller's description, readable without the state.
    pub info: Value,
}

/// The record of a row of the table.
pub(super) fn from_row(row: &Row) -> Result<Record> {
    let (seq, rows) = (row.u64("seq")?, row.u64("row_count")?);
    Ok(Record {
        seq,
        next: seq + rows.max(1),
        kind: row.get("kind")?,
        rows,
        payload: row.get("payload")?,
        at: row.time("created_at")?,
        source: row.get::<Option<String>>("key_id")?.unwrap_or_default(),
    })
}
