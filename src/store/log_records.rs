//! What a log holds: records, and snapshots of the state that follows from them.

use super::db::Row;
use crate::Result;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

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
