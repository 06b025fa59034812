//! A stream's log as its task and its consolidation read it.

use super::DriftIn;
use super::apply::{learn, operate};
use super::past::{Candidate, Past};
use crate::store::{LogKeep, LogSnapshot, Model, Record, Store};
use crate::{Error, Kind, Result, telemetry};
use kenyon_learn::data::Table;
use kenyon_learn::data::rows::RowsReader;
use kenyon_learn::learning::bundle::Bundle;
use kenyon_learn::learning::stream::{StreamModel, StreamSpec};
use std::sync::Arc;

/// Records read at a time.
pub(super) const PAGE: usize = 100;

/// The constant parts of a stream: the model, the version it began with, how its rows are read.
pub(super) struct StreamLog {
    pub(super) store: Store,
    pub(super) model: Model,
    /// The version its stream began with. Versions that consolidations make continue it.
    pub(super) root: u64,
    /// The files of that version.
    pub(super) origin: Arc<Bundle>,
    /// The same, where it was trained.
    pub(super) base: Option<Arc<Bundle>>,
    pub(super) reader: RowsReader,
    pub(super) target: String,
    pub(super) threads: usize,
    /// Bytes of records that are kept behind a snapshot.
    pub(super) history_bytes: u64,
}

/// The log from some record on.
pub(super) enum Read {
    /// Some records, starting with the requested one.
    Records(Vec<Record>),
    /// Nothing.
    UpToDate,
    /// The record is no longer there: a snapshot has taken its place.
    Compacted,
}

impl StreamLog {
    /// Records from `next` on.
    pub(super) async fn read(&self, next: u64) -> Result<Read> {
        let mut records = self.store.read_observations(self.model.id, next, PAGE).await?;
        if records.is_empty() {
            if self.store.log_head(self.model.id).await? == next {
                return Ok(Read::UpToDate);
            }
            // Something was written since, or a snapshot has taken its place.
            records = self.store.read_observations(self.model.id, next, PAGE).await?;
        }
        Ok(if records.first().is_none_or(|first| first.seq > next) { Read::Compacted } else { Read::Records(records) })
    }

    /// The state of the last snapshot, which is newer than `next`, and the first record that is not in it.
    pub(super) async fn reload(&self, next: u64) -> Result<((StreamModel, Past), u64)> {
        let kept = self.store.log_snapshot(self.model.id).await?;
        let Some(kept) = kept.filter(|s| s.seq > next && root_of_snapshot(s) == Some(self.root)) else {
            return Err(replaced());
        };
        let (base, threads) = (self.base.clone(), self.threads);
        super::blocking(move || {
            let mut online = StreamModel::restore(&kept.bytes, base)?;
            online.set_threads(threads);
            let past = Past::of(&kept).unwrap_or_else(|| Past::from(kept.seq));
            Ok(((online, past), kept.seq))
        })
        .await
    }

    /// Applies to another state of this stream all records from `next` on, without notifications.
    pub(super) async fn follow(self: &Arc<Self>, mut it: Box<Candidate>) -> Result<Box<Candidate>> {
        loop {
            let records = match self.read(it.next).await? {
                Read::Records(records) => records,
                Read::UpToDate => return Ok(it),
                Read::Compacted => {
                    // Rows were forgotten, or another replica took a snapshot: the copy is outdated.
                    let detail = "the log was compacted during the consolidation, which starts again";
                    return Err(Error::new(Kind::Unavailable, "stream_compacted", detail));
                }
            };
            let log = Arc::clone(self);
            it = super::blocking(move || {
                for record in &records {
                    it.online.set_time(record.at);
                    it.online.set_source(&record.source);
                    match log.table(record) {
                        Some(table) => drop(learn(&mut it.online, &table, &record.payload)?),
                        None => operate(&mut it.online, &mut it.past, record, &log.target)?,
                    }
                    it.next = record.next;
                }
                Ok(it)
            })
            .await?;
        }
    }

    /// The stream before its first row.
    pub(super) fn begin(&self) -> Result<StreamModel> {
        let mut online = match &self.base {
            Some(base) => StreamModel::over(Arc::clone(base)),
            None => StreamModel::new(&StreamSpec {
                task: self.origin.config.task,
                target: self.origin.config.target.clone(),
                classes: self.origin.classes().to_vec(),
                inputs: self.origin.encoder.inputs.clone(),
                config: self.origin.config.config.clone(),
                seed: self.origin.config.seed,
            })?,
        };
        online.set_threads(self.threads);
        Ok(online)
    }

    /// What stays of the log behind a snapshot of a state with this past.
    pub(super) fn keep(&self, past: &Past, oldest: Option<Vec<u8>>) -> LogKeep {
        LogKeep {
            root: self.root,
            start: past.start,
            bytes: self.history_bytes,
            checkpoint: past.pending.is_empty(),
            erase: past.erase.clone(),
            replace_oldest: oldest.map(Into::into),
        }
    }

    /// The rows of a record; none of an operation, or where they cannot be read.
    pub(super) fn table(&self, record: &Record) -> Option<Table> {
        if record.kind != "rows" {
            return None;
        }
        // Rows were checked before they were written; a version trained meanwhile may read other columns, and cannot
        // learn from these.
        let warn = |error: &kenyon_learn::Error| {
            tracing::warn!(seq = record.seq, %error, "rows of the log do not fit this version");
        };
        self.reader.from_ndjson(&record.payload).inspect_err(warn).ok()
    }

    /// Logs and counts an alarm.
    pub(super) fn notice_drift(&self, of: DriftIn, row: u64, window: f64) {
        let model = self.model.name.as_str();
        tracing::warn!(model, row, of = of.name(), window, "a stream has changed");
        metrics::counter!(telemetry::DRIFT_DETECTED, "model" => telemetry::stream_label(model), "in" => of.name())
            .increment(1);
    }
}

/// What was opened is not what learns now.
pub(super) fn replaced() -> Error {
    let detail = "another model or version has begun to learn; try again";
    Error::new(Kind::Unavailable, "stream_replaced", detail).with_retry_after(1)
}

/// The version that the stream of a snapshot began with.
pub(super) fn root_of_snapshot(snapshot: &LogSnapshot) -> Option<u64> {
    snapshot.info["root"].as_u64().or_else(|| snapshot.info["version"].as_u64())
}
