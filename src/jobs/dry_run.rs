//! What a training would do: its data are read and encoded, and it trains for a moment, from which its time and
//! memory are estimated. That trial runs as a training does, in a process of its own and within its memory. Nothing is
//! stored.

use super::compute::{self, Computed, Given, ProbeRows, Source, TaskKind, Training, sample_size};
use super::memory;
use super::probe::Probed;
use super::train_request::{DivideBy, HeldOut, TrainRequest, TrainingPlan};
use super::trainer::{self, Trainer, candidates};
use crate::store::Store;
use crate::{Error, Kind, Result};
use kenyon_learn::data::encoder::DroppedColumn;
use kenyon_learn::data::plan;
use kenyon_learn::data::schema::{ColumnKind, Summary};
use kenyon_learn::data::warning::Warning;
use kenyon_learn::device::DeviceName;
use kenyon_learn::learning::{Monitor, Progress, fit};
use kenyon_learn::models::{Family, Task};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa::ToSchema;

/// Rows that are read; what takes time and memory is scaled from them to all.
const ROWS: u64 = 50_000;
/// The same where a pretrained encoder may read a column, which takes milliseconds a row.
const ENCODED_ROWS: u64 = 2_000;
/// Fewer rows than that are no estimate for all.
const FEWEST_ROWS: u64 = 200;
/// The part of the memory of a training that the rows take, by an estimate that is rather too low.
const MEMORY_SHARE: u64 = 8;
/// Seconds that every job takes besides training: claim, checkpoint, files, transaction.
const FIXED_SECONDS: f64 = 0.1;
/// Bytes that every training takes beside its rows and its network, about (benches, estimates).
const FIXED_BYTES: f64 = 36.0 * (1 << 20) as f64;
/// The peak of a training over the bytes of its rows: copies while it reads, encodes and calibrates.
const PEAK: f64 = 2.5;
/// Dry runs at a time. They do not wait for jobs, and each may take the memory of one.
const AT_ONCE: usize = 2;
/// Dry runs that run or wait.
const ADMITTED: usize = 16;

/// What a training would do.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct DryRun {
    /// The task.
    pub task: Task,
    /// The reason.
    pub task_reason: String,
    /// The family that would be trained.
    pub family: Family,
    /// The reason.
    pub reason: String,
    /// Every column of the data.
    pub columns: Vec<PlannedColumn>,
    /// Rows on both sides.
    pub split: PlannedSplit,
    /// Estimated seconds from start to end.
    pub estimated_seconds: f64,
    /// Estimated bytes of memory.
    pub estimated_bytes: u64,
    /// The device that it would be trained on: `cpu`, `cuda:N` or `metal`.
    #[schema(value_type = String)]
    pub device: DeviceName,
    /// Warnings about the data.
    pub warnings: Vec<Warning>,
}

/// A column and how it is used.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct PlannedColumn {
    /// Its name.
    pub name: String,
    /// How it is read.
    pub kind: ColumnKind,
    /// Whether it is an input of the model.
    pub used: bool,
    /// Why it is not used, or why it is read as this kind.
    pub reason: Option<String>,
}

/// Rows used for training and rows held out.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct PlannedSplit {
    /// `folds`, `share`, `time`, `group` or `dataset`.
    pub by: &'static str,
    /// Of `folds`, how many members there are; each learns from `training` rows and is evaluated on `validation` others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folds: Option<u64>,
    /// The column that defines the split.
    pub column: Option<String>,
    /// Training rows.
    pub training: u64,
    /// Rows held out.
    pub validation: u64,
}

/// The dry runs of a server: a few at a time, some more wait, others are refused.
#[derive(Clone, Debug)]
pub(super) struct DryRuns {
    admitted: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

/// The place of a dry run among them, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _admitted: OwnedSemaphorePermit,
    _running: OwnedSemaphorePermit,
}

impl Default for DryRuns {
    fn default() -> Self {
        Self { admitted: Arc::new(Semaphore::new(ADMITTED)), running: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl DryRuns {
    /// Waits for one's turn; 429 `queue_full` where too many do.
    pub(super) async fn turn(&self) -> Result<Turn> {
        let full = |_| {
            let error = Error::new(Kind::Overloaded, "queue_full", "too many dry runs are waiting");
            error.with_retry_after(5)
        };
        let admitted = Arc::clone(&self.admitted).try_acquire_owned().map_err(full)?;
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(Error::internal)?;
        Ok(Turn { _admitted: admitted, _running: running })
    }
}

/// Reads the data of `request` and trains on them for a moment, on some threads.
pub(super) async fn run(
    store: &Store,
    request: &TrainRequest,
    plan: TrainingPlan,
    (trainer, threads): (&Trainer, usize),
    turn: Turn,
) -> Result<DryRun> {
    let source = trainer::source(store, &store.dataset(&request.dataset).await?).await?;
    let held_out = match &request.validation {
        Some(HeldOut::Dataset(name)) => Some(trainer::source(store, &store.dataset(name).await?).await?),
        _ => None,
    };
    let summary = source.summary()?;
    let all = source.dataset.rows + held_out.as_ref().map_or(0, |other| other.dataset.rows);
    let inputs = plan.resolved.inputs.clone();
    let candidates = candidates(store, request, &inputs).await?;
    let training = Training { request: request.clone(), held_out, inputs, candidates };
    let read = rows_read(&training, &plan, (&source, &summary), trainer.limit());
    let scratch = store.scratch_folder()?;
    let what = TaskKind::Probe { training: Box::new(training.clone()), rows: ProbeRows { all, read } };
    let place = (threads, scratch.path());
    let task = trainer.task(store, what, source, &training.encoders(), place).await?;
    let probed = probed(trainer.clone(), task, (scratch, turn)).await?;
    Ok(Planned { training, plan, summary, rows: all, probed }.dry_run())
}

/// How many rows are read: of large ones so few that they take a small part of the memory that a training may.
fn rows_read(training: &Training, plan: &TrainingPlan, (source, summary): (&Source, &Summary), limit: u64) -> u64 {
    let most = if training.encoders().is_empty() { ROWS } else { ENCODED_ROWS };
    let estimated = memory::estimate(summary, &source.dataset, &plan.resolved, summary.rows);
    let bytes_a_row = estimated / summary.rows.max(1) + 1;
    let there = memory::available().map_or(limit, |there| there.min(limit)) / MEMORY_SHARE;
    (there / bytes_a_row).clamp(FEWEST_ROWS, most)
}

/// Has the trial made; `held` is dropped when it has ended, which it does soon when nobody waits for it any more.
async fn probed(trainer: Trainer, task: compute::Task, held: impl Send + 'static) -> Result<Probed> {
    let waiting = Waiting(Arc::default());
    let monitor = GivenUp(Arc::clone(&waiting.0));
    let work = move || {
        let _held = held;
        trainer.run_within(trainer.limit(), task, Given::default(), &monitor)
    };
    let computed = tokio::task::spawn_blocking(work).await.map_err(Error::internal)?;
    drop(waiting);
    match computed.map_err(ended)? {
        Computed::Probed(found) => Ok(*found),
        _ => Err(Error::internal("a trial made something")),
    }
}

/// Why there is no answer. That the process of a trial was ended is no error of the server, and is reported to the client.
fn ended(error: Error) -> Error {
    let kind = match (error.kind, error.code) {
        (Kind::Internal, "out_of_memory") => Kind::Unprocessable,
        (Kind::Internal, "killed") => Kind::Unavailable,
        _ => return error,
    };
    Error { kind, ..error }
}

/// A request that waits for a trial.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The monitor of a trial, canceled when its request is gone.
struct GivenUp(Arc<AtomicBool>);

impl Monitor for GivenUp {
    fn progress(&self, _progress: &Progress, _epoch_ended: bool) {}

    fn log(&self, _line: &str) {}

    fn canceled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn checkpoint_due(&self, _epoch_ended: bool) -> bool {
        false
    }

    fn checkpoint(&self, _step: u64, _bytes: Vec<u8>) -> kenyon_learn::Result<()> {
        Ok(())
    }
}

/// A training with what its trial has found.
struct Planned {
    training: Training,
    plan: TrainingPlan,
    summary: Summary,
    /// Rows of both datasets.
    rows: u64,
    probed: Probed,
}

impl Planned {
    fn dry_run(self) -> DryRun {
        let Probed { family, device, bytes, training_bytes, reading, learning, .. } = self.probed;
        let read = self.probed.rows.max(1) as f64;
        let scale = self.rows as f64 / read;
        let sample = sample_size(&self.training.request, &self.plan.columns(), self.rows);
        let held = sample.map_or(self.rows as f64, |rows| rows as f64) / read;
        let trainings = self.training.request.search.as_ref().map_or(1.0, super::search::trainings);
        DryRun {
            task: self.plan.resolved.task,
            task_reason: self.task_reason(),
            family,
            reason: self.probed.reason.clone().unwrap_or_else(|| "the request names it".to_owned()),
            columns: self.columns(&self.probed.dropped, &self.probed.choices),
            split: self.split(scale, sample),
            estimated_seconds: rounded(FIXED_SECONDS + (reading + learning * trainings) * scale),
            estimated_bytes: (FIXED_BYTES + PEAK * bytes as f64 * held + training_bytes as f64) as u64,
            device,
            warnings: self.probed.warnings,
        }
    }

    fn task_reason(&self) -> String {
        let target = &self.plan.resolved.target;
        if self.training.request.task.is_some() {
            return "set by the request".to_owned();
        }
        let distinct = self.summary.columns.iter().find(|c| c.name == target.name).map(|c| c.distinct);
        let values = distinct.map(|n| format!(" with {n} different values")).unwrap_or_default();
        match (target.kind, self.plan.resolved.task) {
            (ColumnKind::Number, Task::Regression) => format!("'{}' is a number{values}", target.name),
            (ColumnKind::Number, Task::Classification) => {
                format!("'{}' holds whole numbers{values}, which name classes", target.name)
            }
            (kind, _) => format!("'{}' is a {}{values}", target.name, kind.name()),
        }
    }

    fn columns(&self, dropped: &[DroppedColumn], choices: &[(String, String)]) -> Vec<PlannedColumn> {
        let resolved = &self.plan.resolved;
        let input = |input: &plan::ColumnPlan| {
            let reason = dropped.iter().find(|column| column.name == input.name).map(|column| column.reason.clone());
            let used = reason.is_none();
            let choice = choices.iter().find(|(column, _)| *column == input.name).map(|(_, note)| note.clone());
            PlannedColumn { name: input.name.clone(), kind: input.kind, used, reason: reason.or(choice) }
        };
        let ignored = |name: &String| {
            let divides = self.plan.divider.as_ref().is_some_and(|divider| divider.name == *name);
            let weighs = self.plan.weight.as_ref().is_some_and(|weight| weight.name == *name);
            let reason = match (*name == resolved.target.name, divides, weighs) {
                (true, ..) => "the target",
                (_, true, _) => "it divides the rows for validation",
                (_, _, true) => "it weighs the rows",
                _ => "the request ignores it",
            };
            let kind = self.summary.columns.iter().find(|column| column.name == *name).map(|column| column.kind);
            let kind = if *name == resolved.target.name { Some(resolved.target.kind) } else { kind };
            let (name, kind) = (name.clone(), kind.unwrap_or(ColumnKind::Number));
            PlannedColumn { name, kind, used: false, reason: Some(reason.to_owned()) }
        };
        resolved.inputs.iter().map(input).chain(resolved.ignored.iter().map(ignored)).collect()
    }

    fn split(&self, scale: f64, sample: Option<usize>) -> PlannedSplit {
        let reported = &self.probed;
        let (by, column) = match &self.training.request.validation {
            None if reported.folds > 0 => ("folds", None),
            None | Some(HeldOut::Share(_)) => ("share", None),
            Some(HeldOut::By { by: DivideBy::Time, column, .. }) => ("time", Some(column.clone())),
            Some(HeldOut::By { by: DivideBy::Group, column, .. }) => ("group", Some(column.clone())),
            Some(HeldOut::Dataset(_)) => ("dataset", None),
        };
        let scaled = |rows: usize| (rows as f64 * scale).round() as u64;
        let folds = (reported.folds > 0).then_some(reported.folds as u64);
        let (mut training, mut validation) = (scaled(reported.training), scaled(reported.held_out));
        if let Some(rows) = sample {
            validation = (rows as f64 * f64::from(fit::OF_SAMPLE)).round() as u64;
            training = self.rows.saturating_sub(validation);
        }
        PlannedSplit { by, folds, column, training, validation }
    }
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_few_run_some_wait_and_others_are_refused() {
        let runs = DryRuns::default();
        let mut running = Vec::new();
        for _ in 0..AT_ONCE {
            running.push(runs.turn().await.unwrap());
        }
        let mut waiting: Vec<_> = (AT_ONCE..ADMITTED).map(|_| Box::pin(runs.turn())).collect();
        for turn in &mut waiting {
            assert!(futures::poll!(turn).is_pending());
        }
        let refused = runs.turn().await.unwrap_err();
        assert_eq!((refused.kind, refused.code), (Kind::Overloaded, "queue_full"));
        running.pop();
        let next = waiting.remove(0).await;
        assert!(next.is_ok());
        let mut last = Box::pin(runs.turn());
        assert!(futures::poll!(&mut last).is_pending());
        assert!(runs.turn().await.is_err(), "all places are taken again");
        // A request that is dropped frees its place.
        waiting.pop();
        assert!(futures::poll!(Box::pin(runs.turn())).is_pending());
    }

    #[test]
    fn a_process_that_was_ended_is_no_failure_of_the_server() {
        let of = |code| ended(Error::new(Kind::Internal, code, "it")).kind;
        assert_eq!((of("out_of_memory"), of("killed")), (Kind::Unprocessable, Kind::Unavailable));
        assert_eq!(ended(Error::internal("an error")).kind, Kind::Internal);
    }
}
