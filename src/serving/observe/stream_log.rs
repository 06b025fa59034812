//! A stream's log as its task and its consolidation read it.

use super::DriftIn;
use super::apply::{learn, operate};
use crate::store::{LogSnapshot, Model, Record, Store};
use crate::{Error, Kind, Result, telemetry};
use kenyon_learn::data::Table;
use kenyon_learn::data::rows::RowsReader;
use kenyon_learn::learning::bundle::Bundle;
use kenyon_learn::learning::stream::StreamModel;
use std::sync::Arc;

/// Records read at a time.
const PAGE: usize = 100;

/// The constant parts of a stream: the model, the version it began with, how its rows are read.
pub(super) struct StreamLog {
    pub(super) store: Store,
    pub(super) model: Model,
    /// The version its stream began with. Versions that consolidations make continue it.
    pub(super) root: u64,
    /// What it began with, where that was trained.
    pub(super) base: Option<Arc<Bundle>>,
    pub(super) reader: RowsReader,
    pub(super) target: String,
    pub(super) threads: usize,
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
    pub(super) async fn reload(&self, next: u64) -> Result<(StreamModel, u64)> {
        let kept = self.store.log_snapshot(self.model.id).await?;
        let Some(kept) = kept.filter(|s| s.seq > next && root_of_snapshot(s) == Some(self.root)) else {
            let detail = "another version has begun to learn; try again";
            return Err(Error::new(Kind::Unavailable, "stream_replaced", detail).with_retry_after(1));
        };
        let (base, threads) = (self.base.clone(), self.threads);
        super::blocking(move || {
            let mut online = StreamModel::restore(&kept.bytes, base)?;
            online.set_threads(threads);
            Ok((online, kept.seq))
        })
        .await
    }

    /// Applies to another state of this stream all records from `next` on, without notifications.
    pub(super) async fn follow(self: &Arc<Self>, mut online: StreamModel, mut next: u64) -> Result<(StreamModel, u64)> {
        loop {
            let records = match self.read(next).await? {
                Read::Records(records) => records,
                Read::UpToDate => return Ok((online, next)),
                Read::Compacted => {
                    // Rows were forgotten, or another replica took a snapshot: the copy is outdated.
                    let detail = "the log was compacted during the consolidation, which starts again";
                    return Err(Error::new(Kind::Unavailable, "stream_compacted", detail));
                }
            };
            let log = Arc::clone(self);
            (online, next) = super::blocking(move || {
                for record in &records {
                    match log.table(record) {
                        Some(table) => drop(learn(&mut online, &table, &record.payload)?),
                        None => operate(&mut online, record, &log.target)?,
                    }
                }
                Ok((online, records.last().map_or(next, |r| r.next)))
            })
            .await?;
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

    /// Logs and counts a change.
    pub(super) fn notice_drift(&self, of: DriftIn, row: u64, window: f64) {
        let model = self.model.name.as_str();
        tracing::warn!(model, row, of = of.name(), window, "a stream has changed");
        metrics::counter!(telemetry::DRIFT_DETECTED, "model" => telemetry::stream_label(model), "in" => of.name())
            .increment(1);
    }
}

/// The version that the stream of a snapshot began with.
pub(super) fn root_of_snapshot(snapshot: &LogSnapshot) -> Option<u64> {
    snapshot.info["root"].as_u64().or_else(|| snapshot.info["version"].as_u64())
}
