//! Observing: rows are checked, made durable, applied, published.

use super::consolidate::CONSOLIDATE_LEAST;
use super::state::Learning;
use super::{Streams, blocking};
use crate::store::{IdempotencyKey, LogSnapshot, ModelName, NewRecord};
use crate::{Error, Kind, Result, telemetry};
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::{Stream as Flow, StreamExt};
use kenyon_learn::data::Table;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Rows of an endless body that are made durable and learned together.
const PART_ROWS: usize = 1_000;
/// Bytes of an endless body that are kept until they are.
const PART_BYTES: usize = 1 << 20;
/// A row may be this long.
const LONGEST_ROW: usize = 8 << 20;
/// Rows after which the state is kept and the log before it deleted.
const SNAPSHOT_ROWS: u64 = 50_000;
/// Bytes of records after which the same is done.
const SNAPSHOT_BYTES: usize = 64 << 20;
/// Rows after which a consolidation is due.
const CONSOLIDATE_ROWS: u64 = 20_000;
/// At least this long between two publications that nobody waits for.
const PUBLISH_EVERY: Duration = Duration::from_millis(20);

/// A record that this process has just appended.
pub(super) struct Own {
    pub(super) seq: u64,
    pub(super) next: u64,
    pub(super) table: Table,
    pub(super) payload: Vec<u8>,
}

/// The lines of a body that have arrived and are not cut off yet.
#[derive(Default)]
struct BodyRows {
    waiting: BytesMut,
    /// Bytes at the front that are whole lines, and how many of them hold something.
    scanned: usize,
    rows: usize,
}

impl BodyRows {
    /// Portions that are due: whole lines only, what is behind the last line end waits for its rest.
    fn cut(&mut self, ended: bool) -> Vec<(Vec<u8>, u64)> {
        if ended && !self.waiting.is_empty() && !self.waiting.ends_with(b"\n") {
            self.waiting.extend_from_slice(b"\n");
        }
        let mut parts = Vec::new();
        while let Some(at) = self.waiting[self.scanned..].iter().position(|&b| b == b'\n') {
            self.rows += usize::from(!self.waiting[self.scanned..self.scanned + at].trim_ascii().is_empty());
            self.scanned += at + 1;
            if self.rows >= PART_ROWS {
                parts.push(self.take());
            }
        }
        if self.rows > 0 && (ended || self.waiting.len() >= PART_BYTES) {
            parts.push(self.take());
        }
        parts
    }

    fn take(&mut self) -> (Vec<u8>, u64) {
        let part = self.waiting.split_to(std::mem::take(&mut self.scanned)).to_vec();
        (part, std::mem::take(&mut self.rows) as u64)
    }
}

impl Streams {
    /// Learns from the rows of a JSON array, `[{…},{…}]`; answers once they are durable and applied.
    /// A row without its target is learned from as far as that goes.
    pub async fn observe(&self, name: &ModelName, rows: &[u8], key: Option<IdempotencyKey>) -> Result<Value> {
        let learning = self.learning(name).await?;
        let rows: Vec<&RawValue> = serde_json::from_slice(rows)
            .map_err(|e| Error::malformed("invalid_json", format!("rows must be a list of objects: {e}")))?;
        let mut payload = Vec::with_capacity(rows.iter().map(|r| r.get().len() + 1).sum());
        for row in &rows {
            // A line is a row: line ends inside of it can only be white space between its parts.
            payload.extend(row.get().bytes().map(|b| if b == b'\n' || b == b'\r' { b' ' } else { b }));
            payload.push(b'\n');
        }
        self.learn(&learning, payload, rows.len() as u64, key).await
    }

    /// Learns from lines as they arrive, however many; `part` is told after each portion. While one
    /// portion is applied the next is read and made durable, and no more than that: whoever sends
    /// faster waits.
    pub async fn observe_lines<E: std::fmt::Display>(
        &self,
        name: &ModelName,
        mut body: impl Flow<Item = std::result::Result<Bytes, E>> + Unpin,
        key: Option<IdempotencyKey>,
        mut part: impl FnMut(&Value) -> BoxFuture<'static, Result<()>>,
    ) -> Result<Value> {
        let learning = self.learning(name).await?;
        let (mut lines, mut observed, mut number, mut ended) = (BodyRows::default(), 0, 0, false);
        let mut answer = None;
        let mut applying: Option<JoinHandle<Result<Value>>> = None;
        while !ended || applying.is_some() {
            let arrived = tokio::select! {
                // Told at once, for the sender may wait for it before it sends more.
                applied = joined(&mut applying), if applying.is_some() => {
                    let applied = applied?;
                    part(&applied).await?;
                    answer = Some(applied);
                    continue;
                }
                arrived = body.next(), if !ended => arrived,
            };
            match arrived {
                Some(Ok(bytes)) => lines.waiting.extend_from_slice(&bytes),
                Some(Err(error)) => {
                    return Err(Error::malformed("broken_body", format!("the body broke off: {error}")));
                }
                None => ended = true,
            }
            for (payload, rows) in lines.cut(ended) {
                let key = key.as_ref().map(|k| IdempotencyKey { key: format!("{}#{number}", k.key), ..k.clone() });
                number += 1;
                let appended = self.append(&learning, payload, rows, key).await;
                if applying.is_some() {
                    let applied = joined(&mut applying).await?;
                    part(&applied).await?;
                    answer = Some(applied);
                }
                let own = appended.map_err(|e| shifted(e, observed))?;
                observed += rows;
                let (streams, learning) = (self.clone(), Arc::clone(&learning));
                // A task of its own: rows that are durable are applied even if the sender goes.
                applying = Some(tokio::spawn(async move { streams.apply(&learning, own, rows).await }));
            }
            if lines.waiting.len() > LONGEST_ROW {
                return Err(Error::new(Kind::TooLarge, "row_too_large", "a row must not be longer than 8 MiB"));
            }
        }
        let mut answer = match answer {
            Some(answer) => answer,
            None => self.answer(&learning, 0),
        };
        answer["observed"] = observed.into();
        Ok(answer)
    }

    /// Learns the late label of a prediction.
    pub async fn feedback(&self, name: &ModelName, prediction: &str, target: &Value) -> Result<Value> {
        let missing =
            || Error::not_found("prediction_not_found", "that prediction is not known, or its row was let go");
        let (model, row) = self.inner.engine.recall(prediction).ok_or_else(missing)?;
        if model != name.as_str() {
            return Err(missing());
        }
        let learning = self.learning(name).await?;
        let mut row: Map<String, Value> = serde_json::from_slice(&row).map_err(Error::internal)?;
        row.insert(learning.target.clone(), target.clone());
        let mut payload = serde_json::to_vec(&row).map_err(Error::internal)?;
        payload.push(b'\n');
        self.learn(&learning, payload, 1, None).await
    }

    /// Checks rows, makes them durable, applies them.
    async fn learn(
        &self,
        learning: &Arc<Learning>,
        payload: Vec<u8>,
        rows: u64,
        key: Option<IdempotencyKey>,
    ) -> Result<Value> {
        if rows == 0 {
            return Ok(self.answer(learning, 0));
        }
        let own = self.append(learning, payload, rows, key).await?;
        self.apply(learning, own, rows).await
    }

    /// Checks rows and makes them durable; nothing comes back where an earlier try has done so.
    async fn append(
        &self,
        learning: &Arc<Learning>,
        payload: Vec<u8>,
        rows: u64,
        key: Option<IdempotencyKey>,
    ) -> Result<Option<Own>> {
        let reader = learning.reader.clone();
        let small = payload.len() < 16 << 10;
        let read = move |payload: Vec<u8>| -> Result<(Table, Vec<u8>)> { Ok((reader.from_ndjson(&payload)?, payload)) };
        // A few rows are read in less time than a thread takes to wake up.
        let (table, payload) = if small { read(payload)? } else { blocking(move || read(payload)).await? };
        learning.lock().online.check(&table)?;
        let record = NewRecord { kind: "rows".into(), rows, payload: payload.clone(), idempotency: key };
        let _appending = learning.appending.read().await;
        let appended =
            self.inner.store.append_observations(&learning.model.name, learning.model.id, vec![record]).await?;
        let Some(appended) = appended.first().copied() else { return Err(Error::internal("nothing was appended")) };
        if appended.replayed {
            return Ok(None);
        }
        metrics::counter!(telemetry::OBSERVED_ROWS, "model" => learning.model.name.as_str().to_owned()).increment(rows);
        Ok(Some(Own { seq: appended.seq, next: appended.next, table, payload }))
    }

    async fn apply(&self, learning: &Arc<Learning>, own: Option<Own>, rows: u64) -> Result<Value> {
        self.catch_up(learning, own).await?;
        let answer = self.answer(learning, rows);
        self.after_rows(learning).await?;
        Ok(answer)
    }

    /// Appends operations and applies them.
    pub(super) async fn operations(&self, learning: &Arc<Learning>, records: Vec<NewRecord>) -> Result<()> {
        {
            let _appending = learning.appending.read().await;
            self.inner.store.append_observations(&learning.model.name, learning.model.id, records).await?;
        }
        self.catch_up(learning, None).await?;
        self.publish(learning);
        Ok(())
    }

    /// Work that comes due with rows: publication, snapshot, consolidation.
    async fn after_rows(&self, learning: &Arc<Learning>) -> Result<()> {
        let (snapshot, consolidate, publish) = {
            let mut state = learning.lock();
            let rows = state.online.rows();
            let since = rows - state.consolidated_at.min(rows);
            let drifted = std::mem::take(&mut state.drift);
            let consolidate = match (since >= CONSOLIDATE_ROWS, drifted && since >= CONSOLIDATE_LEAST) {
                (_, true) => Some("drift"),
                (true, _) => Some("rows"),
                _ => None,
            };
            if consolidate.is_some() {
                state.consolidated_at = rows;
            }
            let kept = state.since_snapshot;
            let due = (kept.0 >= SNAPSHOT_ROWS || kept.1 >= SNAPSHOT_BYTES)
                && !learning.consolidating.load(Ordering::Acquire);
            let pause = PUBLISH_EVERY.max(state.publishing_took * 10);
            let publish = state.publishing_took < Duration::from_millis(1) || state.last_published.elapsed() >= pause;
            (due, consolidate, publish)
        };
        if publish {
            self.publish(learning);
        } else if !learning.stale.swap(true, Ordering::Relaxed) {
            let (streams, learning) = (self.clone(), Arc::clone(learning));
            tokio::spawn(async move {
                tokio::time::sleep(PUBLISH_EVERY).await;
                if learning.stale.load(Ordering::Relaxed) {
                    let _ = blocking(move || {
                        let _: () = streams.publish(&learning);
                        Ok(())
                    })
                    .await;
                }
            });
        }
        if let Some(because) = consolidate {
            self.queue_due(learning, because).await;
        }
        if snapshot {
            self.snapshot(learning).await?;
        }
        Ok(())
    }

    pub(super) fn answer(&self, learning: &Learning, rows: u64) -> Value {
        let state = learning.lock();
        json!({
            "observed": rows, "version": learning.version(),
            "prequential": state.online.figures().prequential(),
            "drift": state.online.figures().drift(),
            "memory": state.online.report().memory(),
        })
    }

    /// Applies what the log holds and the state does not. `own` is a record that was just appended
    /// here and need not be read again if it is the next.
    pub(super) async fn catch_up(&self, learning: &Arc<Learning>, mut own: Option<Own>) -> Result<()> {
        let _applying = learning.applying.lock().await;
        loop {
            let next = learning.lock().next;
            if let Some(ours) = own.take_if(|own| own.seq <= next) {
                if ours.seq == next {
                    let learning = Arc::clone(learning);
                    let small = ours.table.rows <= 8;
                    let work = move || learning.apply_own(&ours);
                    // Few rows take microseconds; a move to another thread would take longer.
                    if small { work()? } else { blocking(work).await? }
                }
                return Ok(());
            }
            let mut records = self.inner.store.read_observations(learning.model.id, next, 100).await?;
            if records.is_empty() {
                if self.inner.store.log_head(learning.model.id).await? == next {
                    return Ok(());
                }
                // Something was written since, or a snapshot has taken its place.
                records = self.inner.store.read_observations(learning.model.id, next, 100).await?;
            }
            if records.first().is_none_or(|first| first.seq > next) {
                // What is missing is in a snapshot that another replica, or a consolidation, has made.
                self.reload(learning).await?;
            } else {
                let applying = Arc::clone(learning);
                blocking(move || records.iter().try_for_each(|record| applying.apply(record))).await?;
            }
            learning.stale.store(true, Ordering::Relaxed);
            if own.is_none() {
                self.publish(learning);
            }
        }
    }

    /// Lets what was learned answer from now on.
    pub(super) fn publish(&self, learning: &Learning) {
        let bundle = learning.republish();
        if let Some(live) = self.inner.engine.loaded(learning.model.name.as_str(), Some(learning.version())) {
            live.publish(bundle);
        }
    }

    /// Keeps the state and deletes the log before it.
    pub(super) async fn snapshot(&self, learning: &Arc<Learning>) -> Result<()> {
        let taking = Arc::clone(learning);
        let taken = blocking(move || {
            let mut state = taking.lock();
            state.since_snapshot = (0, 0);
            state.to_compact = false;
            let info = json!({"version": taking.version(), "root": taking.root, "rows": state.online.rows()});
            Ok(LogSnapshot { seq: state.next, bytes: state.online.snapshot()?.into(), info })
        });
        let snapshot = taken.await?;
        self.inner.store.save_log_snapshot(&learning.model.name, learning.model.id, snapshot).await
    }
}

/// Waits for a portion that is being applied.
async fn joined(applying: &mut Option<JoinHandle<Result<Value>>>) -> Result<Value> {
    let Some(handle) = applying else { return std::future::pending().await };
    let ended = handle.await;
    *applying = None;
    ended.map_err(Error::internal)?
}

/// Rows of a later portion are counted from the start of the body.
fn shifted(mut error: Error, before: u64) -> Error {
    for detail in &mut error.details {
        detail.row = detail.row.map(|row| row + before);
    }
    error
}
