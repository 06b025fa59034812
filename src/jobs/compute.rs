//! What a job computes from files alone: no database, no network, no async. It runs in a process of its own
//! ([`super::child`]), or on the job's thread in a program that has no such process.

use super::device_lock::DeviceLock;
use super::distiller::MADE_ENCODER;
use super::inputs::evaluation_columns;
use super::measured::{activity, evaluated_on, guarantee, held_out};
use super::memory;
use super::probe::{self, AllRows, Probed};
use super::search::{self, SearchRequest, Tried};
use super::train_request::TrainRequest;
use crate::store::Dataset;
use crate::{Error, Result};
use bytes::Bytes;
use kenyon_learn::data::encoder::DroppedColumn;
use kenyon_learn::data::formats::{Limits, RowFile};
use kenyon_learn::data::plan::{self, ColumnPlan, Resolved};
use kenyon_learn::data::schema::Summary;
use kenyon_learn::data::vectors::ColumnEncoder;
use kenyon_learn::data::{Column, ColumnKind, Table, Warning};
use kenyon_learn::device::DeviceName;
use kenyon_learn::encoders::{self, Pretrained};
use kenyon_learn::learning::bundle::Bundle;
use kenyon_learn::learning::evaluate;
use kenyon_learn::learning::fit::{EncoderChoice, Fitted, MoreRows};
use kenyon_learn::learning::verify::verified_files;
use kenyon_learn::learning::{FitSpec, Monitor, Progress, fit};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The file of rows that are learned from and not held in memory.
const ENCODED_ROWS: &str = "rows";

/// Rows whose texts an encoder is distilled by.
const TEXTS: u64 = 200_000;

/// A stored dataset whose parts are files of this machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Source {
    pub(super) dataset: Dataset,
    pub(super) parts: Vec<RowFile>,
}

/// The files of a pretrained encoder.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct EncoderFolder {
    pub(super) digest: String,
    pub(super) folder: PathBuf,
    /// Files with vectors that earlier jobs made.
    pub(super) vectors: Vec<PathBuf>,
}

impl EncoderFolder {
    /// The file in the task's folder that new vectors are written to.
    pub(super) fn fresh_vectors(&self, scratch: &Path) -> PathBuf {
        scratch.join(format!("vectors-{}", self.digest))
    }
}

/// Everything that is computed from, except the files in [`Given`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) what: TaskKind,
    pub(super) source: Source,
    pub(super) threads: usize,
    /// Where it trains.
    pub(super) device: DeviceName,
    /// Limits on files: bytes when decompressed, and columns.
    pub(super) decompressed: u64,
    pub(super) columns: usize,
    /// Encoders that columns are read with.
    pub(super) encoders: Vec<EncoderFolder>,
    /// A folder for files that are needed meanwhile.
    pub(super) scratch: PathBuf,
}

/// What is computed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TaskKind {
    /// A version.
    Train(Box<Training>),
    /// Figures of the version whose files are given.
    Evaluate {
        /// Its number.
        version: u64,
    },
    /// A static encoder from the texts of a column.
    Distill {
        /// The transformer.
        teacher: EncoderFolder,
        /// The column.
        column: String,
    },
    /// What a training would take.
    Probe { training: Box<Training>, rows: ProbeRows },
}

/// Rows of a trial.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct ProbeRows {
    /// Rows of the whole training, with those of the dataset that it is evaluated by.
    pub(super) all: u64,
    /// Rows that are read at most.
    pub(super) read: u64,
}

/// A training.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Training {
    pub(super) request: TrainRequest,
    pub(super) held_out: Option<Source>,
    /// How the inputs are read, with the encoders that were found.
    pub(super) inputs: Vec<ColumnPlan>,
    /// Encoders that are tried for texts where the request names none.
    #[serde(default)]
    pub(super) candidates: Vec<ColumnEncoder>,
}

/// Files that are computed from.
#[derive(Clone, Debug, Default)]
pub(super) struct Given {
    /// The last checkpoint.
    pub(super) resume: Option<Bytes>,
    /// Files of the version that is evaluated.
    pub(super) files: Vec<(String, Bytes)>,
}

/// What was computed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Computed {
    /// A model.
    Model {
        family: String,
        task: String,
        metrics: Map<String, Value>,
        info: Value,
        dropped: Vec<DroppedColumn>,
        /// Its files; between processes they are files.
        #[serde(skip)]
        files: Vec<(String, Vec<u8>)>,
    },
    /// Figures.
    Figures { metrics: Value, result: Value },
    /// An encoder, whose files are in the task's folder.
    Encoder { info: Value, metrics: Value },
    /// What a training would take.
    Probed(Box<Probed>),
}

impl Task {
    /// Does it.
    ///
    /// # Errors
    /// As [`kenyon_learn::learning::fit()`], and `not_enough_memory` where it would not fit.
    pub(super) fn run(&self, given: &Given, monitor: &dyn Monitor) -> Result<Computed> {
        match &self.what {
            TaskKind::Train(training) => self.train(training, given.resume.as_deref(), monitor),
            TaskKind::Evaluate { version } => self.evaluate(*version, &given.files),
            TaskKind::Distill { teacher, column } => distilled(self, &teacher.folder, column, monitor),
            TaskKind::Probe { training, rows } => self.probe(training, *rows, monitor),
        }
    }

    fn train(&self, training: &Training, resume: Option<&[u8]>, monitor: &dyn Monitor) -> Result<Computed> {
        let Training { request, held_out: other, .. } = training;
        let dataset = &self.source.dataset;
        let resolved = training.plan(&self.source.summary()?)?;
        let columns = training.columns(&self.source.summary()?)?;
        if let Some(size) = training.sample_size(&self.source)? {
            return self.train_sampled(training, &columns, size, resume, monitor);
        }
        let (mut table, mut warnings) = self.read(&self.source, &columns)?;
        if let Some(other) = other {
            let (held_out, more) = self.read(other, &columns)?;
            if !table.append(&held_out) {
                let other = &other.dataset.name;
                let detail = format!("the columns of dataset {other} do not fit those of {}", dataset.name);
                return Err(Error::unprocessable("bad_rows", detail));
            }
            warnings.extend(more);
        }
        let held_out = other.as_ref().map(|_| dataset.rows as usize);
        let spec = FitSpec { device: self.device, ..request.fit_spec(held_out) };
        let (resolved, choices) = training.choose_encoders(resolved, &table, &spec, self.threads)?;
        let rows = Rows { table: &table, more: None, plan: &resolved, choices: &choices };
        self.learn(request, &rows, &spec, warnings, resume, monitor)
    }

    /// Trains on more rows than are held in memory: some are sampled, all others are read again and encoded into a file.
    fn train_sampled(
        &self,
        training: &Training,
        columns: &[ColumnPlan],
        size: usize,
        resume: Option<&[u8]>,
        monitor: &dyn Monitor,
    ) -> Result<Computed> {
        let Source { dataset, parts } = &self.source;
        let plan = training.plan(&self.source.summary()?)?;
        let columns = plan::spelled_as(columns, &self.source.summary()?.columns);
        let limits = self.limits();
        let target = &plan.target.name;
        let (table, sampled, warnings) = plan::read_sample(parts, &columns, &limits, target, (size, dataset.rows))?;
        monitor.log(&format!(
            "scales and names, held-out rows and calibration are of a sample of {} rows; all rows are learned from",
            table.rows
        ));
        let read = |each: &mut dyn FnMut(&Table) -> kenyon_learn::Result<()>| {
            plan::read_others(parts, &columns, &limits, &sampled, each)
        };
        let cache = self.scratch.join(ENCODED_ROWS);
        let more = MoreRows { rows: sampled.others() as usize, read: &read, cache: &cache };
        let rows = Rows { table: &table, more: Some(&more), plan: &plan, choices: &[] };
        let spec = FitSpec { device: self.device, ..training.request.fit_spec(None) };
        self.learn(&training.request, &rows, &spec, warnings, resume, monitor)
    }

    fn learn(
        &self,
        request: &TrainRequest,
        rows: &Rows<'_>,
        spec: &FitSpec,
        mut warnings: Vec<Warning>,
        resume: Option<&[u8]>,
        monitor: &dyn Monitor,
    ) -> Result<Computed> {
        let (table, dataset) = (rows.table, &self.source.dataset);
        let chosen: Vec<&String> = rows.choices.iter().map(|choice| &choice.note).collect();
        chosen.iter().for_each(|note| monitor.log(note));
        warnings.iter().for_each(|warning| monitor.log(&warning.to_string()));
        let held = DeviceLock::of(self.device, monitor)?;
        let (fitted, tried) = match &request.search {
            None => (rows.fit(spec, self.threads, resume, monitor)?, None),
            Some(search) => {
                let (fitted, tried) = searched(search, rows, spec, (self.threads, resume), monitor)?;
                (fitted, Some(tried))
            }
        };
        drop(held);
        fitted.notes.iter().for_each(|note| monitor.log(note));
        let files = verified_files(&fitted, table)?.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
        let mut info = fitted.bundle.describe();
        info["notes"] = json!(chosen.into_iter().chain(&fitted.notes).collect::<Vec<_>>());
        warnings.extend(fitted.warnings.iter().cloned());
        info["warnings"] = json!(warnings);
        if let Some(tried) = tried {
            info["search"] = json!(tried);
        }
        info["dataset"] = json!({ "name": dataset.name, "revision": dataset.revision, "digest": dataset.digest });
        info["held_out"] = held_out(&fitted.held_out)?;
        info["intervals"] = json!(fitted.intervals);
        info["evaluated_on"] = evaluated_on(&fitted);
        info["guarantee"] = guarantee(&fitted.bundle.config).into();
        info["sparsity"] = activity(&fitted.bundle, table)?;
        Ok(Computed::Model {
            family: fitted.bundle.config.family.name().to_owned(),
            task: fit::task_name(fitted.bundle.config.task).to_owned(),
            dropped: fitted.bundle.encoder.dropped.clone(),
            metrics: fitted.metrics,
            info,
            files,
        })
    }

    fn evaluate(&self, version: u64, files: &[(String, Bytes)]) -> Result<Computed> {
        let bundle = Bundle::load(|name| files.iter().find(|(n, _)| n == name).map(|(_, bytes)| &**bytes))?;
        let (config, summary) = (&bundle.config, self.source.summary()?);
        let plans = evaluation_columns(&config.target, &bundle.encoder.inputs, config.weight.as_deref(), &summary)?;
        let (table, warnings) = self.read(&self.source, &plans)?;
        let evaluation = evaluate::evaluate(&bundle, &table)?;
        let metrics = Value::Object(evaluation.metrics.clone());
        let mut result = serde_json::to_value(&evaluation).map_err(Error::internal)?;
        result["version"] = json!(version);
        if !warnings.is_empty() {
            result["warnings"] = json!(warnings);
        }
        Ok(Computed::Figures { metrics, result })
    }

    fn probe(&self, training: &Training, rows: ProbeRows, monitor: &dyn Monitor) -> Result<Computed> {
        let begun = Instant::now();
        let summary = self.source.summary()?;
        let columns = training.columns(&summary)?;
        let other = training.held_out.as_ref().map_or(&[][..], |other| &other.parts);
        let (table, from) = plan::read_head(&self.source.parts, other, &columns, &self.limits(), rows.read)?;
        let reading = begun.elapsed().as_secs_f64();
        let from = training.held_out.as_ref().map(|_| from);
        let spec = FitSpec { device: self.device, ..training.request.fit_spec(from) };
        let all = AllRows { rows: rows.all, sampled: sample_size(&training.request, &columns, rows.all) };
        let (plan, choices) = training.choose_encoders(training.plan(&summary)?, &table, &spec, self.threads)?;
        let choices = choices.into_iter().map(|choice| (choice.column, choice.note)).collect();
        let found = probe::probed(&table, &plan, &spec, all, (self.threads, monitor))?;
        Ok(Computed::Probed(Box::new(Probed { reading, choices, ..found })))
    }

    /// The planned columns as the dataset spells them, and which cells did not fit and count as missing.
    fn read(&self, source: &Source, plans: &[ColumnPlan]) -> Result<(Table, Vec<Warning>)> {
        let plans = plan::spelled_as(plans, &source.summary()?.columns);
        Ok(plan::read_table_noting(&source.parts, &plans, &self.limits())?)
    }

    pub(super) fn limits(&self) -> Limits {
        Limits { decompressed: self.decompressed, columns: self.columns }
    }
}

impl Source {
    pub(super) fn summary(&self) -> Result<Summary> {
        super::inputs::summary(&self.dataset.columns)
    }
}

impl Training {
    /// The encoders that it uses or tries.
    pub(super) fn encoders(&self) -> Vec<ColumnEncoder> {
        let named = self.inputs.iter().filter_map(|plan| plan.encoder.clone());
        named.chain(self.candidates.iter().cloned()).collect()
    }

    /// What is learned from which columns.
    pub(super) fn plan(&self, summary: &Summary) -> Result<Resolved> {
        Ok(Resolved { inputs: self.inputs.clone(), ..self.request.plan(summary)?.resolved })
    }

    /// The plan with the encoders that help to read its texts, where the request leaves that open.
    pub(super) fn choose_encoders(
        &self,
        mut plan: Resolved,
        table: &Table,
        spec: &FitSpec,
        threads: usize,
    ) -> Result<(Resolved, Vec<EncoderChoice>)> {
        let columns = self.request.open_texts(&plan.inputs);
        let choices = fit::choose_encoders(table, &plan, (&columns, &self.candidates), spec, threads)?;
        for choice in &choices {
            let column = plan.inputs.iter_mut().find(|input| input.name == choice.column);
            column.into_iter().for_each(|input| input.encoder.clone_from(&choice.encoder));
        }
        Ok((plan, choices))
    }

    /// All columns that are read.
    fn columns(&self, summary: &Summary) -> Result<Vec<ColumnPlan>> {
        let mut plan = self.request.plan(summary)?;
        plan.resolved.inputs.clone_from(&self.inputs);
        Ok(plan.columns())
    }

    /// How many rows are held in memory, where those are not all. It depends on the request and the data alone, so that
    /// what is learned does not depend on the machine.
    fn sample_size(&self, source: &Source) -> Result<Option<usize>> {
        Ok(sample_size(&self.request, &self.columns(&source.summary()?)?, source.dataset.rows))
    }

    /// Refuses a training that will not fit into `limit` bytes.
    pub(super) fn check_memory(&self, source: &Source, limit: u64) -> Result<()> {
        let summary = source.summary()?;
        let rows = self.sample_size(source)?.map_or(summary.rows, |rows| rows as u64);
        memory::check(memory::estimate(&summary, &source.dataset, &self.plan(&summary)?, rows), limit)
    }
}

/// How many of `rows` rows a training on `columns` holds in memory, where those are not all.
pub(super) fn sample_size(request: &TrainRequest, columns: &[ColumnPlan], rows: u64) -> Option<usize> {
    let TrainRequest { validation, weight, family, config, .. } = request;
    // Those are the families for tables that learn from mini-batches alone; others store rows or answer by them.
    let by_steps = family.is_none_or(|family| family.reads_compact());
    let folds = config.get("cross_fit").and_then(Value::as_bool) == Some(true);
    if !by_steps || folds || validation.is_some() || weight.is_some() {
        return None;
    }
    plan::sample_size(columns, rows)
}

/// The rows of a training.
struct Rows<'a> {
    table: &'a Table,
    more: Option<&'a MoreRows<'a>>,
    plan: &'a Resolved,
    /// Which encoders read its texts, where that was left open.
    choices: &'a [EncoderChoice],
}

impl Rows<'_> {
    fn fit(
        &self,
        spec: &FitSpec,
        threads: usize,
        resume: Option<&[u8]>,
        monitor: &dyn Monitor,
    ) -> kenyon_learn::Result<Fitted> {
        fit::fit_more(self.table, self.more, self.plan, spec, threads, resume, monitor)
    }
}

/// Trains several configurations on the same rows and the same split.
fn searched(
    search: &SearchRequest,
    rows: &Rows<'_>,
    spec: &FitSpec,
    (threads, resume): (usize, Option<&[u8]>),
    monitor: &dyn Monitor,
) -> Result<(Fitted, Vec<Tried>)> {
    let (family, reason) = match spec.family {
        Some(family) => (family, None),
        None => {
            let (family, reason) = fit::default_family(rows.table, rows.plan)?;
            (family, Some(reason))
        }
    };
    let one = |config: &Map<String, Value>, resume: Option<&[u8]>, monitor: &dyn Monitor| {
        let spec = FitSpec { family: Some(family), config: config.clone(), ..spec.clone() };
        let fitted = rows.fit(&spec, threads, resume, monitor)?;
        // Not by the rows that the metrics are of, where others have chosen the weights: the best of many trials would seem
        // better than it is.
        let of_metrics = || ["log_loss", "rmse"].into_iter().find_map(|name| fitted.metrics.get(name)?.as_f64());
        Ok((fitted.stopping_loss.or_else(of_metrics).unwrap_or(f64::INFINITY), fitted))
    };
    let (mut fitted, tried) = search::run(search, family, &spec.config, spec.seed, resume, monitor, &one)?;
    fitted.bundle.config.family_reason = reason;
    Ok((fitted, tried))
}

/// What is learned of the texts in `column` of the task's dataset, written to the task's folder.
fn distilled(task: &Task, teacher: &Path, column: &str, monitor: &dyn Monitor) -> Result<Computed> {
    let texts = texts(&task.source, column, &task.limits())?;
    let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
    let folder = task.scratch.join(MADE_ENCODER);
    // An attempt before may have left a part.
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => std::fs::create_dir_all(&folder)?,
    }
    let begun = Instant::now();
    let progress = |fraction: f64| {
        let seconds = begun.elapsed().as_secs_f64();
        let eta_seconds = seconds * (1.0 - fraction) / fraction.max(1e-3);
        monitor.progress(&Progress { epochs: 1, fraction, eta_seconds, ..Progress::default() }, false);
        !monitor.canceled()
    };
    let found = encoders::distill(teacher, &texts, &folder, task.threads, &progress)?;
    let made = Pretrained::open(&folder, task.threads)?;
    let mut info = serde_json::to_value(made.info()).map_err(Error::internal)?;
    info["rows_per_second"] = made.rows_per_second()?.into();
    let metrics = json!({
        "tokens": found.tokens, "words": found.words, "texts": found.texts, "cosine": found.cosine,
        "cosine_unfitted": found.cosine_unfitted, "variance": found.variance, "rows_per_second": info["rows_per_second"],
    });
    Ok(Computed::Encoder { info, metrics })
}

fn texts(source: &Source, column: &str, limits: &Limits) -> Result<Vec<Box<str>>> {
    let plans = plan::spelled_as(&[ColumnPlan::new(column, ColumnKind::Text)], &source.summary()?.columns);
    let (table, _) = plan::read_head(&source.parts, &[], &plans, limits, TEXTS)?;
    match table.columns.into_iter().next() {
        Some((_, Column::Text(texts))) => Ok(texts.into_iter().flatten().collect()),
        _ => Err(Error::internal("a text was not read as one")),
    }
}
