//! A model's observation log: what was observed, in one order that is the same on every replica.
//!
//! A record is one batch of rows (or another operation, such as forgetting) in the caller's
//! encoding. Records are numbered by rows: a record of 10 rows at 5 is followed by one at 15.
//! State = last snapshot + the records from its number on; how many older ones stay is in `log_history`,
//! and how records are appended in `log_writer`.

use super::change::Change;
use super::db::{Row, sql};
use super::log_history::{self, LogKeep};
use super::log_records::{Appended, LogSnapshot, NewRecord, Record, from_row};
use super::log_writer::{BATCH_BYTES, Head, gone, lock};
use super::model_rows::discard;
use super::{ModelName, Store};
use crate::{Error, Result};
use uuid::Uuid;

impl Store {
    /// Appends records to a model's log, all or none, and returns once they are durable.
    /// `model` is [`super::Model::id`].
    pub async fn append_observations(
        &self,
        name: &ModelName,
        model: Uuid,
        records: Vec<NewRecord>,
    ) -> Result<Vec<Appended>> {
        self.inner.log.append(name, model, records).await
    }

    /// Records from number `from` on that are not in the last snapshot: at most `limit` of them and, past the first,
    /// 16 MiB.
    pub async fn read_observations(&self, model: Uuid, from: u64, limit: usize) -> Result<Vec<Record>> {
        let list = "SELECT * FROM observations WHERE model_id = $1 AND seq >= $2
            AND seq >= COALESCE((SELECT snapshot_seq FROM logs WHERE model_id = $1), 0) ORDER BY seq LIMIT $3";
        let rows = self.inner.db.all(sql(list).bind(model.to_string()).bind(from).bind(limit.min(1000))).await?;
        let mut records = Vec::with_capacity(rows.len());
        let mut bytes = 0;
        for row in rows {
            let record = from_row(&row)?;
            bytes += record.payload.len();
            records.push(record);
            if bytes > BATCH_BYTES {
                break;
            }
        }
        Ok(records)
    }

    /// Models that answer and have observed something, with their ids.
    pub async fn streams(&self) -> Result<Vec<(ModelName, Uuid)>> {
        let list = "SELECT m.name, m.id FROM models m JOIN logs l ON l.model_id = m.id
            WHERE l.next_seq > 0 AND m.stable IS NOT NULL ORDER BY m.name";
        let rows = self.inner.db.all(sql(list)).await?;
        let one = |row: &Row| -> Result<(ModelName, Uuid)> {
            Ok((row.parse("name")?, row.get::<String>("id")?.parse().map_err(Error::internal)?))
        };
        rows.iter().map(one).collect()
    }

    /// The number the next record gets; 0 for an empty log.
    pub async fn log_head(&self, model: Uuid) -> Result<u64> {
        let one = "SELECT next_seq FROM logs WHERE model_id = $1";
        let row = self.inner.db.opt(sql(one).bind(model.to_string())).await?;
        row.ok_or_else(gone)?.u64("next_seq")
    }

    /// Keeps a state, and of the records that are in it what `keep` selects. A state older than the one that is kept changes
    /// nothing.
    pub async fn save_log_snapshot(
        &self,
        name: &ModelName,
        model: Uuid,
        snapshot: LogSnapshot,
        keep: &LogKeep,
    ) -> Result<()> {
        let seq = snapshot.seq;
        let fits = |head: &Head| head.snapshot_seq.is_none_or(|kept| kept <= seq);
        self.keep_log_snapshot(name, model, (snapshot, keep), seq, fits).await.map(|_| ())
    }

    /// Replaces everything below `snapshot.seq`, which must be the log's head, by a state that does not follow
    /// from the log; returns whether it was still the head. The state takes up one number, so that
    /// a replica that applies the log finds that number missing and reads the snapshot.
    pub async fn take_over_log(
        &self,
        name: &ModelName,
        model: Uuid,
        snapshot: LogSnapshot,
        keep: &LogKeep,
    ) -> Result<bool> {
        let seq = snapshot.seq;
        let snapshot = LogSnapshot { seq: seq + 1, ..snapshot };
        self.keep_log_snapshot(name, model, (snapshot, keep), seq + 1, |head: &Head| head.next == seq).await
    }

    async fn keep_log_snapshot(
        &self,
        name: &ModelName,
        model: Uuid,
        (snapshot, keep): (LogSnapshot, &LogKeep),
        next: u64,
        fits: impl Fn(&Head) -> bool,
    ) -> Result<bool> {
        let new_key = || format!("logs/{model}/{}-{}", snapshot.seq, Uuid::now_v7().simple());
        let key = new_key();
        self.inner.objects.put(&key, snapshot.bytes.clone()).await?;
        let mut oldest = None;
        if let Some(bytes) = &keep.replace_oldest {
            let key = new_key();
            self.inner.objects.put(&key, bytes.clone()).await?;
            oldest = Some(key);
        }
        let mut tx = self.inner.db.begin().await?;
        let old = match lock(&mut tx, model).await {
            Ok(row) if fits(&row) => row,
            refused => {
                drop(tx);
                for key in [Some(key), oldest].iter().flatten() {
                    self.inner.objects.delete(key).await?;
                }
                return refused.map(|_| false);
            }
        };
        let update = "UPDATE logs SET snapshot_seq = $2, snapshot_key = $3, snapshot_info = $4, next_seq = $5
            WHERE model_id = $1";
        let id = model.to_string();
        let update = sql(update).bind(&id).bind(snapshot.seq).bind(&key).bind(&snapshot.info);
        tx.exec(update.bind(old.next.max(next))).await?;
        log_history::settle(&mut tx, &id, &snapshot, (&key, oldest), keep).await?;
        if let Some(old) = old.snapshot_key
            && !log_history::is_checkpoint(&mut tx, &old).await?
        {
            discard(&mut tx, &old).await?;
        }
        tx.notify(Change::Log(name.clone()));
        tx.commit().await?;
        self.sweep().await.map(|_| true)
    }

    /// The state that is kept, if any.
    pub async fn log_snapshot(&self, model: Uuid) -> Result<Option<LogSnapshot>> {
        // Another replica may replace it between the two reads; then there is a newer one to read.
        for _ in 0..3 {
            let one = "SELECT * FROM logs WHERE model_id = $1";
            let row = self.inner.db.opt(sql(one).bind(model.to_string())).await?.ok_or_else(gone)?;
            let (Some(seq), Some(key)) = (row.opt_u64("snapshot_seq")?, row.get::<Option<String>>("snapshot_key")?)
            else {
                return Ok(None);
            };
            match self.inner.objects.get(&key).await {
                Ok(bytes) => return Ok(Some(LogSnapshot { seq, bytes, info: row.json("snapshot_info")? })),
                Err(error) if error.code == "object_not_found" => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::internal(format!("the log snapshot of model {model} is missing")))
    }
}
