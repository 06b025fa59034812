//! A stream's state, and the effect of each record of its log on it.

use super::DriftIn;
use super::apply::{learn, operate};
use super::past::Past;
use super::stream_log::StreamLog;
use crate::store::{LogSnapshot, Record};
use crate::{Result, telemetry};
use jiff::Timestamp;
use kenyon_learn::data::Table;
use kenyon_learn::learning::bundle::Bundle;
use kenyon_learn::learning::stream::{StreamModel, StreamReport};
use serde_json::{Value, json};
use std::sync::Arc;

/// The state of one stream. Its task owns it.
pub(super) struct State {
    pub(super) online: StreamModel,
    /// The version it answers as.
    pub(super) version: u64,
    /// The first record that is not applied.
    pub(super) next: u64,
    /// Rows and bytes applied since the last snapshot.
    pub(super) since_snapshot: (u64, usize),
    /// The number of rows when a consolidation was last done or requested.
    pub(super) consolidated_at: u64,
    /// The number of rows when it was last checked whether this stream is idle.
    looked_at: u64,
    /// The error has changed since consolidations were last considered.
    pub(super) drift: bool,
    /// The log still holds rows that were forgotten.
    pub(super) to_compact: bool,
    pub(super) past: Past,
    /// Whether what is pending was seen when it was last checked.
    forgetting_seen: bool,
    /// The name of its metrics.
    name: String,
}

/// What readers get of a stream.
pub(super) struct Published {
    /// The version it answers as.
    pub(super) version: u64,
    pub(super) bundle: Arc<Bundle>,
    pub(super) report: StreamReport,
}

/// Alarms raised while applying a record, with the row and the window's figure.
#[derive(Debug, Default)]
pub(super) struct Applied {
    pub(super) drifts: Vec<(DriftIn, u64, f64)>,
}

impl AsRef<Arc<Bundle>> for Published {
    fn as_ref(&self) -> &Arc<Bundle> {
        &self.bundle
    }
}

impl State {
    pub(super) fn new(name: &str, version: u64, (online, past): (StreamModel, Past), next: u64) -> Self {
        Self {
            version,
            consolidated_at: online.consolidated_at(),
            looked_at: online.rows(),
            online,
            next,
            since_snapshot: (0, 0),
            drift: false,
            to_compact: false,
            past,
            forgetting_seen: false,
            name: name.to_owned(),
        }
    }

    /// A copy for readers.
    pub(super) fn publish(&self) -> Published {
        Published { version: self.version, bundle: Arc::new(self.online.publish()), report: self.online.report() }
    }

    /// Another state of the same stream, which has taken in every record below `next`.
    pub(super) fn replace(&mut self, (online, past): (StreamModel, Past), next: u64) {
        self.consolidated_at = online.consolidated_at();
        self.online = online;
        self.past = past;
        self.next = next;
        self.since_snapshot = (0, 0);
        self.to_compact = false;
    }

    /// Learns the rows of a record that `source` has sent, that was appended at `at` and ends before `next`.
    pub(super) fn learn(
        &mut self,
        table: &Table,
        payload: &[u8],
        (next, at, source): (u64, Timestamp, &str),
    ) -> Result<Applied> {
        self.online.set_time(at);
        self.online.set_source(source);
        let observed = learn(&mut self.online, table, payload)?;
        self.since_snapshot.0 += observed.rows;
        self.since_snapshot.1 += payload.len();
        self.drift |= observed.drift;
        self.next = next;
        let window = self.online.figures().window();
        let label = telemetry::stream_label(&self.name);
        metrics::gauge!(telemetry::PREQUENTIAL_WINDOW, "model" => label).set(window);
        let alarms = [(DriftIn::Error, observed.alarms), (DriftIn::Inputs, observed.input_alarms)];
        let drifts = alarms.into_iter().flat_map(|(of, rows)| rows.into_iter().map(move |row| (of, row, window)));
        Ok(Applied { drifts: drifts.collect() })
    }

    /// Applies a record of the log.
    pub(super) fn apply(&mut self, log: &StreamLog, record: &Record) -> Result<Applied> {
        if let Some(table) = log.table(record) {
            return self.learn(&table, &record.payload, (record.next, record.at, &record.source));
        }
        self.to_compact |= record.kind == "forget";
        operate(&mut self.online, &mut self.past, record, &log.target)?;
        self.consolidated_at = self.consolidated_at.max(self.online.consolidated_at());
        self.next = record.next;
        Ok(Applied::default())
    }

    /// The state as a snapshot of the log.
    pub(super) fn kept(&self, root: u64) -> Result<LogSnapshot> {
        let info = json!({"version": self.version, "root": root, "rows": self.online.rows(), "past": self.past});
        Ok(LogSnapshot { seq: self.next, bytes: self.online.snapshot()?.into(), info })
    }

    /// After a snapshot: the log holds none of the forgotten rows.
    pub(super) fn compacted(&mut self) {
        (self.since_snapshot, self.to_compact) = ((0, 0), false);
        self.past.erase.clear();
    }

    /// Why a consolidation is due: rows were forgotten, or nothing was learned since the last call.
    pub(super) fn is_due(&mut self) -> Option<&'static str> {
        // At the second check, so that several requests to forget need one consolidation.
        if !self.past.pending.is_empty() {
            return std::mem::replace(&mut self.forgetting_seen, true).then_some("forget");
        }
        self.forgetting_seen = false;
        let rows = self.online.rows();
        let idle = std::mem::replace(&mut self.looked_at, rows) == rows;
        let due = idle && rows.saturating_sub(self.consolidated_at) >= CONSOLIDATE_LEAST;
        if due {
            self.consolidated_at = rows;
        }
        due.then_some("idle")
    }
}

/// The answer to rows that were observed.
pub(super) fn answer(report: &StreamReport, version: u64, rows: u64) -> Value {
    json!({
        "observed": rows, "version": version,
        "prequential": report.figures().prequential(),
        "drift": report.figures().drift(),
        "memory": report.memory(),
    })
}

/// The least number of rows between two automatic consolidations.
pub(super) const CONSOLIDATE_LEAST: u64 = 1_000;
