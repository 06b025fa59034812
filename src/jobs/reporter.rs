//! Progress of a running job: kept in memory, written to the database once a second by its worker.

use super::control::{Control, Stop};
use crate::Kind;
use crate::store::Store;
use crate::store::events::Report;
use crate::store::jobs::Claim;
use kenyon_learn::learning::{Monitor, Progress};
use serde_json::{Map, Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// Minimum time between updates: the training calls after every mini-batch.
const GRAIN_MS: u64 = 50;
/// Before the first checkpoint of an attempt: work should not be lost twice.
const FIRST_GAP: Duration = Duration::from_secs(1);
/// Checkpoints may take at most one part in this many of the time.
const COST_SHARE: u32 = 50;
/// Points of a curve at most; with more epochs, some are left out.
const MAX_POINTS: usize = 2000;
/// Lines kept between two writes.
const MAX_LINES: usize = 200;

/// The monitor of one attempt.
pub(super) struct Reporter {
    store: Store,
    claim: Claim,
    control: Arc<Control>,
    runtime: Handle,
    started: Instant,
    every: Duration,
    taken_ms: AtomicU64,
    state: Mutex<State>,
    checkpoints: Mutex<Checkpoints>,
}

#[derive(Default)]
struct State {
    pending: Report,
    metrics: Map<String, Value>,
    epochs_seen: usize,
}

struct Checkpoints {
    any: bool,
    last: Instant,
    cost: Duration,
}

impl Reporter {
    pub(super) fn new(store: Store, claim: Claim, control: Arc<Control>, runtime: Handle, every: Duration) -> Self {
        let now = Instant::now();
        let checkpoints = Checkpoints { any: false, last: now, cost: Duration::ZERO };
        Self {
            store,
            claim,
            control,
            runtime,
            started: now,
            every,
            taken_ms: AtomicU64::new(0),
            state: Mutex::default(),
            checkpoints: Mutex::new(checkpoints),
        }
    }

    /// What is new since the last call.
    pub(super) fn take(&self) -> Report {
        std::mem::take(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).pending)
    }

    /// Puts back what could not be written; newer values win.
    pub(super) fn put_back(&self, mut report: Report) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        report.progress = state.pending.progress.take().or(report.progress);
        report.metrics = state.pending.metrics.take().or(report.metrics);
        report.points.append(&mut state.pending.points);
        report.lines.append(&mut state.pending.lines);
        state.pending = report;
    }
}

impl Monitor for Reporter {
    fn progress(&self, progress: &Progress, epoch_ended: bool) {
        let now = self.started.elapsed().as_millis() as u64;
        let due = now >= self.taken_ms.load(Ordering::Relaxed) + GRAIN_MS;
        if !due && !epoch_ended {
            return;
        }
        self.taken_ms.store(now, Ordering::Relaxed);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pending.progress = Some(json!({
            "epoch": progress.epoch, "epochs": progress.epochs, "step": progress.step, "steps": progress.steps,
            "fraction": finite(progress.fraction), "rows_per_second": finite(progress.rows_per_second),
            "eta_seconds": finite(progress.eta_seconds), "device": progress.device,
        }));
        state.metrics.extend(progress.metrics.iter().map(|(k, v)| (k.clone(), v.clone())));
        state.pending.metrics = Some(Value::Object(state.metrics.clone()));
        if epoch_ended {
            let stride = progress.epochs.div_ceil(MAX_POINTS).max(1);
            if state.epochs_seen.is_multiple_of(stride) || progress.epoch >= progress.epochs {
                let mut point = Map::new();
                point.insert("epoch".to_owned(), progress.epoch.into());
                point.insert("step".to_owned(), progress.step.into());
                point.extend(progress.metrics.iter().map(|(k, v)| (k.clone(), v.clone())));
                state.pending.points.push(Value::Object(point));
            }
            state.epochs_seen += 1;
        }
    }

    fn log(&self, line: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.pending.lines.len() < MAX_LINES {
            state.pending.lines.push(line.chars().take(2000).collect());
        }
    }

    fn canceled(&self) -> bool {
        self.control.should_stop()
    }

    fn checkpoint_due(&self, _epoch_ended: bool) -> bool {
        if self.control.get() == Stop::Drain {
            return true;
        }
        let state = self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let gap = if state.any { self.every } else { FIRST_GAP.min(self.every) };
        state.last.elapsed() >= gap.max(state.cost * COST_SHARE)
    }

    fn checkpoint(&self, step: u64, bytes: Vec<u8>) -> kenyon_learn::Result<()> {
        let begun = Instant::now();
        let outcome = self.runtime.block_on(self.store.save_checkpoint(&self.claim, step, bytes));
        {
            let mut state = self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner);
            *state = Checkpoints { any: true, last: Instant::now(), cost: begun.elapsed() };
        }
        match outcome {
            Ok(()) => {
                self.control.checkpointed();
                Ok(())
            }
            Err(error) if error.code == "lease_lost" => {
                self.control.request_stop(Stop::Lost);
                Err(kenyon_learn::Error::new(kenyon_learn::Kind::Canceled, "lease_lost", "the job went on elsewhere"))
            }
            // The training itself is unaffected; the next checkpoint may succeed.
            Err(error) if error.kind == Kind::Unavailable => {
                self.log(&format!("no checkpoint at step {step}: {error}"));
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// JSON has no infinity; an unknown rate or time is null.
fn finite(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or(Value::Null, Value::Number)
}
