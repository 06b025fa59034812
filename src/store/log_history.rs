//! What stays of a log behind its last snapshot: records and checkpoints, from which a state can be computed again without
//! some of its rows.
//!
//! Checkpoints are states at numbers of the log. Records are kept from the oldest checkpoint on. Each time half of
//! [`LogKeep::bytes`] has come since the newest one a snapshot becomes one, too, and the last two stay: so at least half of these
//! bytes can be applied again, or all there ever was. A stream's beginning is a checkpoint without a state.

use super::Store;
use super::db::{Tx, sql};
use super::log_records::{LogSnapshot, Record, from_row};
use super::model_rows::discard;
use crate::Result;
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// A line of a record's payload: the record's number and the line's position among the lines of its payload.
pub type LogLine = (u64, u32);

/// What is to stay of a log when a snapshot is saved.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogKeep {
    /// Which stream the log belongs to: checkpoints of another are removed.
    pub root: u64,
    /// The number with which this stream began.
    pub start: u64,
    /// Bytes of records to keep, at least half of them.
    pub bytes: u64,
    /// Whether the snapshot follows from the records that are kept, and may become a checkpoint.
    pub checkpoint: bool,
    /// Lines to erase from the records that are kept. Checkpoints after the first of them are removed.
    pub erase: Vec<LogLine>,
    /// Replaces the oldest checkpoint, whose state still contained erased rows.
    pub replace_oldest: Option<Bytes>,
}

impl Store {
    /// Records from number `from` on that are still kept, those that a snapshot contains among them: at most `limit` of
    /// them. Numbers may be missing in between.
    pub async fn read_log_history(&self, model: Uuid, from: u64, limit: usize) -> Result<Vec<Record>> {
        let list = "SELECT * FROM observations WHERE model_id = $1 AND seq >= $2 ORDER BY seq LIMIT $3";
        let rows = self.inner.db.all(sql(list).bind(model.to_string()).bind(from).bind(limit.min(1000))).await?;
        rows.iter().map(from_row).collect()
    }

    /// The oldest state of stream `root` that the records after it can be applied to; without bytes it is the stream's
    /// beginning. None before there is a snapshot: then nothing was removed.
    pub async fn log_checkpoint(&self, model: Uuid, root: u64) -> Result<Option<LogSnapshot>> {
        let list = "SELECT * FROM log_checkpoints WHERE model_id = $1 ORDER BY seq";
        for row in self.inner.db.all(sql(list).bind(model.to_string())).await? {
            let info = row.json("info")?;
            if info["root"] == root {
                let key: String = row.get("object_key")?;
                let bytes = if key.is_empty() { Bytes::new() } else { self.inner.objects.get(&key).await? };
                return Ok(Some(LogSnapshot { seq: row.u64("seq")?, bytes, info }));
            }
        }
        Ok(None)
    }

    /// Makes the last snapshot the oldest checkpoint, where an earlier version of the server has removed the records before
    /// it.
    pub async fn adopt_log_snapshot(&self, model: Uuid) -> Result<()> {
        let mut tx = self.inner.db.begin().await?;
        let adopt = "INSERT INTO log_checkpoints (model_id, seq, object_key, info)
            SELECT model_id, snapshot_seq, snapshot_key, snapshot_info FROM logs
            WHERE model_id = $1 AND snapshot_key IS NOT NULL ON CONFLICT (model_id, seq) DO NOTHING";
        tx.exec(sql(adopt).bind(model.to_string())).await?;
        tx.commit().await
    }
}

/// Brings checkpoints and records in line with a snapshot that was just saved under `key`.
pub(super) async fn settle(
    tx: &mut Tx,
    model: &str,
    snapshot: &LogSnapshot,
    (key, new_oldest): (&str, Option<String>),
    keep: &LogKeep,
) -> Result<()> {
    let mut erased: BTreeMap<u64, BTreeSet<u32>> = BTreeMap::new();
    for &(seq, line) in &keep.erase {
        erased.entry(seq).or_default().insert(line);
    }
    for (&seq, lines) in &erased {
        erase(tx, model, seq, lines).await?;
    }
    // They name what was forgotten.
    let forgets = "DELETE FROM observations WHERE model_id = $1 AND seq < $2 AND kind = 'forget'";
    tx.exec(sql(forgets).bind(model).bind(snapshot.seq)).await?;

    let list = "SELECT seq, object_key, info FROM log_checkpoints WHERE model_id = $1 ORDER BY seq";
    let mut kept: Vec<u64> = Vec::new();
    for row in tx.all(sql(list).bind(model)).await? {
        let (seq, object): (u64, String) = (row.u64("seq")?, row.get("object_key")?);
        let first_erased = erased.keys().next().is_some_and(|&first| seq > first);
        if row.json("info")?["root"] != keep.root || first_erased {
            remove(tx, model, seq, &object, key).await?;
        } else {
            if let (true, Some(new)) = (kept.is_empty(), &new_oldest) {
                let replace = "UPDATE log_checkpoints SET object_key = $3 WHERE model_id = $1 AND seq = $2";
                tx.exec(sql(replace).bind(model).bind(seq).bind(new)).await?;
                discard_unless(tx, &object, key).await?;
            }
            kept.push(seq);
        }
    }
    if kept.is_empty() {
        add(tx, model, keep.start, "", &json!({"root": keep.root, "rows": 0})).await?;
        kept.push(keep.start);
    }
    let newest = kept.last().copied().unwrap_or(keep.start);
    let since = "SELECT CAST(COALESCE(SUM(LENGTH(payload)), 0) AS BIGINT) AS bytes FROM observations
        WHERE model_id = $1 AND seq >= $2 AND seq < $3";
    let since = tx.opt(sql(since).bind(model).bind(newest).bind(snapshot.seq)).await?;
    let bytes = since.map_or(Ok(0), |row| row.u64("bytes"))?;
    if keep.checkpoint && newest < snapshot.seq && bytes >= keep.bytes / 2 {
        add(tx, model, snapshot.seq, key, &snapshot.info).await?;
        kept.push(snapshot.seq);
        let most = if keep.bytes == 0 { 1 } else { 2 };
        let old = kept.len().saturating_sub(most);
        for seq in kept.drain(..old) {
            let one = "SELECT object_key FROM log_checkpoints WHERE model_id = $1 AND seq = $2";
            if let Some(row) = tx.opt(sql(one).bind(model).bind(seq)).await? {
                remove(tx, model, seq, &row.get::<String>("object_key")?, key).await?;
            }
        }
    }
    let compact = "DELETE FROM observations WHERE model_id = $1 AND seq < $2";
    tx.exec(sql(compact).bind(model).bind(kept.first().copied().unwrap_or(snapshot.seq))).await.map(|_| ())
}

/// Whether an object is that of a checkpoint, too.
pub(super) async fn is_checkpoint(tx: &mut Tx, key: &str) -> Result<bool> {
    let one = "SELECT 1 AS one FROM log_checkpoints WHERE object_key = $1 LIMIT 1";
    Ok(tx.opt(sql(one).bind(key)).await?.is_some())
}

/// Marks the objects of a model's checkpoints as unreferenced.
pub(super) async fn discard_all(tx: &mut Tx, model: &str) -> Result<()> {
    let list = "SELECT object_key FROM log_checkpoints WHERE model_id = $1 AND object_key <> ''";
    for row in tx.all(sql(list).bind(model)).await? {
        discard(tx, &row.get::<String>("object_key")?).await?;
    }
    Ok(())
}

async fn add(tx: &mut Tx, model: &str, seq: u64, key: &str, info: &Value) -> Result<()> {
    let insert = "INSERT INTO log_checkpoints (model_id, seq, object_key, info) VALUES ($1, $2, $3, $4)
        ON CONFLICT (model_id, seq) DO NOTHING";
    tx.exec(sql(insert).bind(model).bind(seq).bind(key).bind(info)).await.map(|_| ())
}

async fn remove(tx: &mut Tx, model: &str, seq: u64, object: &str, snapshot: &str) -> Result<()> {
    let delete = "DELETE FROM log_checkpoints WHERE model_id = $1 AND seq = $2";
    tx.exec(sql(delete).bind(model).bind(seq)).await?;
    discard_unless(tx, object, snapshot).await
}

async fn discard_unless(tx: &mut Tx, object: &str, snapshot: &str) -> Result<()> {
    if object.is_empty() || object == snapshot {
        return Ok(());
    }
    discard(tx, object).await
}

/// Empties lines of a record's payload; the record keeps its number.
async fn erase(tx: &mut Tx, model: &str, seq: u64, lines: &BTreeSet<u32>) -> Result<()> {
    let one = "SELECT payload FROM observations WHERE model_id = $1 AND seq = $2";
    let Some(row) = tx.opt(sql(one).bind(model).bind(seq)).await? else { return Ok(()) };
    let payload: Vec<u8> = row.get("payload")?;
    let kept = payload.split(|byte| *byte == b'\n').zip(0..);
    let kept = kept.map(|(line, at)| if lines.contains(&at) { &b""[..] } else { line });
    let update = "UPDATE observations SET payload = $3 WHERE model_id = $1 AND seq = $2";
    let payload = kept.collect::<Vec<_>>().join(&b'\n');
    tx.exec(sql(update).bind(model).bind(seq).bind(payload)).await.map(|_| ())
}
