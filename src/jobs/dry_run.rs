//! What a training would do: its data are read and encoded, and it trains for a moment, from which its time and
//! memory are estimated. Nothing is stored.

use super::compute::{Training, sample_size};
use super::inputs::local_parts;
use super::inputs::summary;
use super::train_request::{DivideBy, HeldOut, TrainRequest, TrainingPlan};
use super::trainer::candidates;
use crate::store::Store;
use crate::{Error, Result};
use kenyon_learn::data::encoder::DroppedColumn;
use kenyon_learn::data::formats::{Limits, RowFile};
use kenyon_learn::data::plan;
use kenyon_learn::data::schema::{ColumnKind, Summary};
use kenyon_learn::data::warning::Warning;
use kenyon_learn::device::DeviceName;
use kenyon_learn::learning::fit::EncoderChoice;
use kenyon_learn::learning::{FitSpec, Monitor, Prepared, Progress, fit};
use kenyon_learn::models::{Family, Task};
use serde::Serialize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use utoipa::ToSchema;

/// Rows that are read; what takes time and memory is scaled from them to all.
const ROWS: u64 = 50_000;
/// The same where a pretrained encoder may read a column, which takes milliseconds a row.
const ENCODED_ROWS: u64 = 2_000;
/// How long it trains.
const PROBE: Duration = Duration::from_millis(1500);
/// Share of the planned passes that a training makes before early stopping ends it, about (benches, estimates).
const PASSES: f64 = 0.8;
/// Seconds that every job takes besides training: claim, checkpoint, files, transaction.
const FIXED_SECONDS: f64 = 0.1;
/// Bytes that every training takes beside its rows and its network, about (benches, estimates).
const FIXED_BYTES: f64 = 36.0 * (1 << 20) as f64;
/// The peak of a training over the bytes of its rows: copies while it reads, encodes and calibrates.
const PEAK: f64 = 2.5;

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

/// Reads the data of `request` and trains on them for a moment.
pub(super) async fn run(
    store: &Store,
    request: &TrainRequest,
    plan: TrainingPlan,
    limits: Limits,
    (threads, device): (usize, DeviceName),
) -> Result<DryRun> {
    let dataset = store.dataset(&request.dataset).await?;
    let summary = summary(&dataset.columns)?;
    let parts = local_parts(store, &dataset).await?;
    let held_out = match &request.validation {
        Some(HeldOut::Dataset(name)) => Some(store.dataset(name).await?),
        _ => None,
    };
    let other = match &held_out {
        Some(other) => local_parts(store, other).await?,
        None => Vec::new(),
    };
    let rows = dataset.rows + held_out.map_or(0, |other| other.rows);
    let inputs = plan.resolved.inputs.clone();
    let candidates = candidates(store, request, &inputs).await?;
    let training = Training { request: request.clone(), held_out: None, inputs, candidates };
    let work = move || Probing { training, plan, summary, parts, other, rows, limits, threads, device }.run();
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)?
}

struct Probing {
    training: Training,
    plan: TrainingPlan,
    summary: Summary,
    parts: Vec<RowFile>,
    other: Vec<RowFile>,
    /// Rows of both datasets.
    rows: u64,
    limits: Limits,
    threads: usize,
    device: DeviceName,
}

impl Probing {
    fn run(mut self) -> Result<DryRun> {
        let begun = Instant::now();
        let encodes = !self.training.candidates.is_empty() || self.training.inputs.iter().any(|i| i.encoder.is_some());
        let rows = if encodes { ENCODED_ROWS } else { ROWS };
        let (table, from) = plan::read_head(&self.parts, &self.other, &self.plan.columns(), &self.limits, rows)?;
        let reading = begun.elapsed().as_secs_f64();
        let from = (!self.other.is_empty()).then_some(from);
        let request = &self.training.request;
        let spec = FitSpec { device: self.device, ..request.fit_spec(from) };
        let scale = self.rows as f64 / table.rows.max(1) as f64;
        let sample = sample_size(request, &self.plan.columns(), self.rows);
        let held = sample.map_or(self.rows as f64, |rows| rows as f64) / table.rows.max(1) as f64;
        let planned = self.plan.resolved.clone();
        let (resolved, choices) = self.training.choose_encoders(planned, &table, &spec, self.threads)?;
        self.plan.resolved = resolved;
        let resolved = &self.plan.resolved;
        let monitor = Probe::default();
        let begun = Instant::now();
        let fitted = fit::fit(&table, resolved, &spec, self.threads, None, &monitor);
        let ended = begun.elapsed().as_secs_f64();
        let reported = monitor.reported.into_inner().unwrap_or_else(PoisonError::into_inner);
        let learning = match fitted {
            Ok(_) => ended,
            Err(error) if error.kind == kenyon_learn::Kind::Canceled => reported.seconds(begun),
            Err(error) => return Err(error.into()),
        };
        let trainings = self.training.request.search.as_ref().map_or(1.0, super::search::trainings);
        let family = reported.family.ok_or_else(|| Error::internal("a training ended before it began"))?;
        Ok(DryRun {
            task: resolved.task,
            task_reason: self.task_reason(),
            family,
            reason: reported.reason.clone().unwrap_or_else(|| "the request names it".to_owned()),
            columns: self.columns(&reported.dropped, &choices),
            split: self.split(&reported, scale, sample),
            estimated_seconds: rounded(FIXED_SECONDS + (reading + learning * trainings) * scale),
            estimated_bytes: (FIXED_BYTES + PEAK * reported.bytes as f64 * held + reported.training_bytes as f64)
                as u64,
            device: reported.device,
            warnings: reported.warnings,
        })
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

    fn columns(&self, dropped: &[DroppedColumn], choices: &[EncoderChoice]) -> Vec<PlannedColumn> {
        let resolved = &self.plan.resolved;
        let input = |input: &plan::ColumnPlan| {
            let reason = dropped.iter().find(|column| column.name == input.name).map(|column| column.reason.clone());
            let used = reason.is_none();
            let choice = choices.iter().find(|choice| choice.column == input.name).map(|choice| choice.note.clone());
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

    fn split(&self, reported: &Reported, scale: f64, sample: Option<usize>) -> PlannedSplit {
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

/// A monitor that stops a training after a moment.
#[derive(Default)]
struct Probe {
    reported: Mutex<Reported>,
}

/// What the training reported.
#[derive(Default)]
struct Reported {
    prepared: Option<Instant>,
    family: Option<Family>,
    reason: Option<String>,
    dropped: Vec<DroppedColumn>,
    device: DeviceName,
    warnings: Vec<Warning>,
    training: usize,
    held_out: usize,
    folds: usize,
    bytes: u64,
    training_bytes: u64,
    /// Share of the planned steps, and when it was reached.
    reached: Option<(f64, Instant)>,
}

impl Reported {
    /// How long the training would take, extrapolated from the steps it has made.
    fn seconds(&self, begun: Instant) -> f64 {
        let Some(prepared) = self.prepared else { return 0.0 };
        let preparing = (prepared - begun).as_secs_f64();
        let steps = match self.reached {
            Some((fraction, at)) if fraction > 0.0 => (at - prepared).as_secs_f64() / fraction * PASSES,
            // Not even one step was made: it takes long.
            _ => PROBE.as_secs_f64() * 100.0,
        };
        preparing + steps
    }
}

impl Monitor for Probe {
    fn prepared(&self, prepared: &Prepared<'_>) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        reported.family = Some(prepared.family);
        reported.reason = prepared.reason.map(str::to_owned);
        reported.dropped = prepared.dropped.to_vec();
        reported.warnings = prepared.warnings.to_vec();
        reported.device = prepared.device;
        (reported.training, reported.held_out, reported.folds) = (prepared.training, prepared.held_out, prepared.folds);
        (reported.bytes, reported.training_bytes) = (prepared.bytes, (prepared.training_bytes)());
        reported.prepared = Some(Instant::now());
    }

    fn progress(&self, progress: &Progress, _epoch_ended: bool) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        reported.reached = Some((progress.fraction, Instant::now()));
    }

    fn log(&self, _line: &str) {}

    fn canceled(&self) -> bool {
        let reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        reported.prepared.is_some_and(|prepared| prepared.elapsed() > PROBE)
    }

    fn checkpoint_due(&self, _epoch_ended: bool) -> bool {
        false
    }

    fn checkpoint(&self, _step: u64, _bytes: Vec<u8>) -> kenyon_learn::Result<()> {
        Ok(())
    }
}
