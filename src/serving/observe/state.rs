//! One model that learns: its state, and what each record of its log does to it.

use super::learn::Own;
use super::{Drift, DriftIn};
use crate::store::{Model, Record};
use crate::{Error, Result, telemetry};
use kenyon_learn::data::Table;
use kenyon_learn::data::rows::RowsReader;
use kenyon_learn::learning::bundle::Bundle;
use kenyon_learn::learning::stream::{Consolidation, Observed, StreamModel};
use serde_json::{Map, Value};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::broadcast;

/// One model that learns.
pub(super) struct Learning {
    pub(super) model: Model,
    /// The version its stream began with. Versions that consolidations make go on from it.
    pub(super) root: u64,
    /// What it began with, where that was trained.
    pub(super) base: Option<Arc<Bundle>>,
    /// The version it answers as.
    version: AtomicU64,
    pub(super) reader: RowsReader,
    pub(super) target: String,
    state: Mutex<State>,
    /// Held by whoever applies records, so that they are applied in order.
    pub(super) applying: tokio::sync::Mutex<()>,
    /// Held for reading by whoever appends, for writing while a consolidated state takes over.
    pub(super) appending: tokio::sync::RwLock<()>,
    published: RwLock<Arc<Bundle>>,
    /// The state has changed since it was published.
    pub(super) stale: AtomicBool,
    /// Where changes are told; nothing yet while the log of the past is applied.
    pub(super) drifts: OnceLock<broadcast::Sender<Drift>>,
    /// A consolidation needs the log from where it began: no snapshot deletes it meanwhile.
    pub(super) consolidating: AtomicBool,
}

pub(super) struct State {
    pub(super) online: StreamModel,
    /// The first record that is not applied.
    pub(super) next: u64,
    /// Rows and bytes applied since the last snapshot.
    pub(super) since_snapshot: (u64, usize),
    /// The rows when a consolidation was last done or asked for.
    pub(super) consolidated_at: u64,
    /// The rows when this stream was last looked at by whoever waits for it to be idle.
    pub(super) looked_at: u64,
    pub(super) last_published: Instant,
    pub(super) publishing_took: Duration,
    /// The error has changed since this was last looked at.
    pub(super) drift: bool,
    /// The log still holds rows that were forgotten.
    pub(super) to_compact: bool,
}

impl Learning {
    pub(super) fn new(
        model: Model,
        version: u64,
        root: u64,
        base: Option<Arc<Bundle>>,
        online: StreamModel,
        next: u64,
    ) -> Self {
        let published = Arc::new(online.publish());
        Self {
            root,
            base,
            version: AtomicU64::new(version),
            reader: online.reader().clone(),
            target: published.config.target.name.clone(),
            published: RwLock::new(published),
            state: Mutex::new(State {
                consolidated_at: online.consolidated_at(),
                looked_at: online.rows(),
                online,
                next,
                since_snapshot: (0, 0),
                last_published: Instant::now(),
                publishing_took: Duration::ZERO,
                drift: false,
                to_compact: false,
            }),
            applying: tokio::sync::Mutex::default(),
            appending: tokio::sync::RwLock::default(),
            stale: AtomicBool::new(false),
            drifts: OnceLock::new(),
            consolidating: AtomicBool::new(false),
            model,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while learning leaves a state that may be half of two: better than none, and the
        // next start rebuilds it from the log.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(super) fn answer_as(&self, version: u64) {
        self.version.store(version, Ordering::Release);
    }

    pub(super) fn bundle(&self) -> Arc<Bundle> {
        Arc::clone(&self.published.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes a bundle of the state as it stands.
    pub(super) fn republish(&self) -> Arc<Bundle> {
        let mut state = self.lock();
        let started = Instant::now();
        self.stale.store(false, Ordering::Relaxed);
        let bundle = Arc::new(state.online.publish());
        state.publishing_took = started.elapsed();
        state.last_published = Instant::now();
        // Stored before the state is let go, so that an older bundle never replaces a newer one.
        *self.published.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&bundle);
        bundle
    }

    /// Another state of the same stream, which has taken in every record below `next`.
    pub(super) fn replace(&self, online: StreamModel, next: u64) {
        let mut state = self.lock();
        state.consolidated_at = online.consolidated_at();
        state.online = online;
        state.next = next;
        state.since_snapshot = (0, 0);
        state.to_compact = false;
    }

    /// Applies a record that was just written here.
    pub(super) fn apply_own(&self, own: &Own) -> Result<()> {
        let mut state = self.lock();
        let observed = learn(&mut state.online, &own.table, &own.payload)?;
        self.learned(&mut state, &observed, own.payload.len());
        state.next = own.next;
        Ok(())
    }

    /// Applies a record of the log.
    pub(super) fn apply(&self, record: &Record) -> Result<()> {
        // Parsed before the state is locked: answering about a stream need not wait for that.
        let table = if record.kind == "rows" { self.read(record) } else { None };
        let mut state = self.lock();
        match table {
            Some(table) => {
                let observed = learn(&mut state.online, &table, &record.payload)?;
                self.learned(&mut state, &observed, record.payload.len());
            }
            None => {
                state.to_compact |= record.kind == "forget";
                operate(&mut state.online, record, &self.target)?;
                state.consolidated_at = state.consolidated_at.max(state.online.consolidated_at());
            }
        }
        state.next = record.next;
        Ok(())
    }

    /// Applies a record to another state of this stream, of which nobody is told.
    pub(super) fn apply_to(&self, online: &mut StreamModel, record: &Record) -> Result<()> {
        match if record.kind == "rows" { self.read(record) } else { None } {
            Some(table) => learn(online, &table, &record.payload).map(|_| ()),
            None => operate(online, record, &self.target),
        }
    }

    fn read(&self, record: &Record) -> Option<Table> {
        match self.reader.from_ndjson(&record.payload) {
            Ok(table) => Some(table),
            // Rows were checked before they were written; a version trained meanwhile may read
            // other columns, and cannot learn from these.
            Err(error) => {
                tracing::warn!(seq = record.seq, %error, "rows of the log do not fit this version");
                None
            }
        }
    }

    fn learned(&self, state: &mut State, observed: &Observed, bytes: usize) {
        state.since_snapshot.0 += observed.rows;
        state.since_snapshot.1 += bytes;
        state.drift |= observed.drift;
        let model = self.model.name.as_str();
        for (changed, of) in [(observed.drift, DriftIn::Error), (observed.input_drift, DriftIn::Inputs)] {
            if changed {
                self.tell(of, state);
            }
        }
        metrics::gauge!("kenyon_prequential_window", "model" => model.to_owned()).set(state.online.figures().window());
    }

    fn tell(&self, of: DriftIn, state: &State) {
        let (model, row, window) = (&self.model.name, state.online.rows(), state.online.figures().window());
        tracing::warn!(model = model.as_str(), row, of = of.name(), "a stream has changed");
        metrics::counter!(telemetry::DRIFT_DETECTED, "model" => model.to_string(), "in" => of.name()).increment(1);
        let drift = Drift { model: model.clone(), model_id: self.model.id, version: self.version(), of, row, window };
        if let Some(drifts) = self.drifts.get() {
            // Nobody need listen.
            let _ = drifts.send(drift);
        }
    }
}

fn learn(online: &mut StreamModel, table: &Table, payload: &[u8]) -> Result<Observed> {
    let texts: Vec<&str> = lines(payload).collect();
    Ok(online.observe(table, &texts)?)
}

/// The rows of a record.
pub(super) fn lines(payload: &[u8]) -> impl Iterator<Item = &str> {
    let text = std::str::from_utf8(payload).unwrap_or_default();
    text.split('\n').map(str::trim).filter(|line| !line.is_empty())
}

/// What a record does that is not rows.
fn operate(online: &mut StreamModel, record: &Record, target: &str) -> Result<()> {
    match record.kind.as_str() {
        "rows" => {}
        "consolidated" => {
            online.record(serde_json::from_slice::<Consolidation>(&record.payload).map_err(Error::internal)?);
        }
        "forget" => {
            let what: Value = serde_json::from_slice(&record.payload).map_err(Error::internal)?;
            let (id, filter) = (what["id"].as_u64(), what["where"].as_object());
            let logged: Vec<&str> = what["rows"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let gone = |entry: Option<u64>, label: Option<&Value>, row: Option<&str>| {
                (id.is_some() && id == entry) || filter.is_some_and(|f| matches(f, label, row, target))
            };
            online.forget(gone, &logged)?;
        }
        other => tracing::warn!(kind = other, "a record of the log is of an unknown kind"),
    }
    Ok(())
}

/// Whether a row has all the values of a filter.
pub(super) fn matches(filter: &Map<String, Value>, label: Option<&Value>, row: Option<&str>, target: &str) -> bool {
    let row: Option<Map<String, Value>> = row.and_then(|r| serde_json::from_str(r).ok());
    filter.iter().all(|(column, wanted)| {
        let has = row.as_ref().and_then(|r| r.get(column)).or_else(|| label.filter(|_| column == target));
        has.is_some_and(|has| has == wanted || has.as_f64().is_some_and(|h| Some(h) == wanted.as_f64()))
    })
}
