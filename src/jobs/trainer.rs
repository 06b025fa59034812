//! The runner of a real server: trains, and evaluates. It gathers what a job computes from, has it computed in a
//! process of its own, and checks what came of it against what is stored.

use super::comparer;
use super::compute::{Computed, EncoderFolder, Given, Source, Task, TaskKind, Training};
use super::distiller::{self, Distillation, MADE_ENCODER};
use super::inputs::local_parts;
use super::memory;
use super::predictor;
use super::runner::{Outcome, Runner, Work};
use super::schema_guard;
use super::supervise::{self, Place};
use super::train_request::TrainRequest;
use crate::config::Config;
use crate::store::{Dataset, JobInput, JobKind, NewVersion, Store};
use crate::{Error, Kind, Result};
use kenyon_learn::data::encoder::DroppedColumn;
use kenyon_learn::data::formats::Limits;
use kenyon_learn::data::plan::ColumnPlan;
use kenyon_learn::data::vectors::ColumnEncoder;
use kenyon_learn::device::DeviceName;
use kenyon_learn::learning::Monitor;
use kenyon_learn::learning::bundle::Bundle;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Bytes of a file of vectors that has none.
const NO_VECTORS: u64 = 16;

/// Trains and evaluates models on stored datasets.
#[derive(Clone, Debug, Default)]
pub struct Trainer {
    /// Limits on files, as at upload.
    pub limits: Limits,
    /// Bytes of memory that a training may take; a quarter of what there is when missing.
    pub memory: Option<u64>,
    /// The program that computes, as `PROGRAM job`; without one it happens on the job's thread.
    pub program: Option<PathBuf>,
    /// Where trainings run, and networks that answer whole datasets.
    pub device: DeviceName,
}

impl Runner for Trainer {
    fn run(&self, work: &Work, monitor: &dyn Monitor) -> Result<Outcome> {
        match work.job.kind {
            JobKind::Train => self.train(work, monitor),
            JobKind::Evaluate => self.evaluate(work, monitor),
            JobKind::Predict => predictor::run(work, monitor, self.limits, self.device),
            JobKind::Compare => comparer::run(work, monitor, self.limits, self.limit()),
            JobKind::Distill => self.distill(work, monitor),
            JobKind::Consolidate => {
                Err(Error::unprocessable("nothing_to_consolidate", "this model has nothing to consolidate"))
            }
        }
    }
}

impl Trainer {
    /// By the settings of a server.
    pub fn new(config: &Config) -> Self {
        Self {
            limits: Limits { decompressed: config.max_decompressed_bytes, columns: config.max_columns },
            memory: config.train_memory(),
            program: config.program.clone(),
            device: config.device,
        }
    }

    fn train(&self, work: &Work, monitor: &dyn Monitor) -> Result<Outcome> {
        let request: TrainRequest = serde_json::from_value(work.job.spec.clone()).map_err(Error::internal)?;
        let JobInput { dataset, held_out, .. } = input(work)?;
        let source = work.wait(source(&work.store, dataset))?;
        let held_out = held_out.as_ref().map(|other| work.wait(self::source(&work.store, other))).transpose()?;
        let mut inputs = request.plan(&source.summary()?)?.resolved.inputs;
        work.wait(work.store.find_encoders(&mut inputs))?;
        let candidates = work.wait(candidates(&work.store, &request, &inputs))?;
        let training = Training { request, held_out, inputs, candidates };
        let limit = self.limit();
        training.check_memory(&source, memory::available().map_or(limit, |there| there.min(limit)))?;
        let what = TaskKind::Train(Box::new(training.clone()));
        let scratch = work.store.scratch_folder()?;
        let place = (work.threads, scratch.path());
        let task = work.wait(self.task(&work.store, what, source.clone(), &training.encoders(), place))?;
        let given = Given { resume: work.resume.clone(), files: Vec::new() };
        let Computed::Model { family, task, metrics, info, dropped, files } =
            self.compute(work, task, given, monitor)?
        else {
            return Err(Error::internal("a training made no model"));
        };
        let withheld = withheld(work, &training, &source, &dropped)?;
        let metrics = metrics.into();
        Ok(Outcome::Version(NewVersion { family, task: Some(task), metrics, info, files, withheld }))
    }

    fn evaluate(&self, work: &Work, monitor: &dyn Monitor) -> Result<Outcome> {
        let store = &work.store;
        // Jobs of before the version was fixed when they were submitted have none.
        let version = match work.job.version {
            Some(version) => Some(version),
            None => work.wait(store.model(work.job.model()?))?.traffic.stable,
        };
        let missing = || Error::new(Kind::Unprocessable, "no_version", "the model has no version to evaluate");
        let version = work.wait(store.version(work.job.model()?, version.ok_or_else(missing)?))?;
        let files = work.wait(store.version_files(&version))?;
        let bundle = Bundle::load(|name| files.iter().find(|(n, _)| n == name).map(|(_, bytes)| &**bytes))?;
        let encoders: Vec<ColumnEncoder> =
            bundle.encoder.inputs.iter().filter_map(|plan| plan.encoder.clone()).collect();
        let what = TaskKind::Evaluate { version: version.version };
        let scratch = work.store.scratch_folder()?;
        let source = work.wait(source(store, &input(work)?.dataset))?;
        let task = work.wait(self.task(store, what, source, &encoders, (work.threads, scratch.path())))?;
        match self.compute(work, task, Given { resume: None, files }, monitor)? {
            Computed::Figures { metrics, result } => Ok(Outcome::Result { metrics, result }),
            Computed::Model { .. } | Computed::Encoder { .. } | Computed::Probed(_) => {
                Err(Error::internal("an evaluation made something"))
            }
        }
    }

    fn distill(&self, work: &Work, monitor: &dyn Monitor) -> Result<Outcome> {
        let Distillation { request, encoder, digest } =
            serde_json::from_value(work.job.spec.clone()).map_err(Error::internal)?;
        let store = &work.store;
        let folder = work.wait(store.encoder_folder(&digest))?.ok_or_else(|| distiller::gone(&encoder))?;
        let teacher = EncoderFolder { digest, folder: std::path::absolute(folder)?, vectors: Vec::new() };
        let what = TaskKind::Distill { teacher, column: request.column };
        let scratch = store.scratch_folder()?;
        let source = work.wait(source(store, &input(work)?.dataset))?;
        let task = work.wait(self.task(store, what, source, &[], (work.threads, scratch.path())))?;
        let Computed::Encoder { info, metrics } = self.compute(work, task, Given::default(), monitor)? else {
            return Err(Error::internal("a distillation made no encoder"));
        };
        // Nothing is stored of a job that was canceled meanwhile.
        if monitor.canceled() {
            return Err(Error::new(Kind::Canceled, "canceled", "the job was canceled"));
        }
        let made = scratch.path().join(MADE_ENCODER);
        let (stored, _) = work.wait(store.put_encoder(&request.into, &made, &info))?;
        let result = json!({ "encoder": stored.name, "digest": stored.digest });
        Ok(Outcome::Result { metrics, result })
    }

    /// A task on the files of `source`, with the encoders that it uses, on some threads and in a folder.
    pub(super) async fn task(
        &self,
        store: &Store,
        what: TaskKind,
        source: Source,
        used: &[ColumnEncoder],
        (threads, scratch): (usize, &Path),
    ) -> Result<Task> {
        let mut encoders = Vec::new();
        for encoder in used {
            if let Some(folder) = store.encoder_folder(&encoder.digest).await? {
                let vectors = store.vector_files(&encoder.digest).await?;
                encoders.push(EncoderFolder {
                    digest: encoder.digest.clone(),
                    folder: std::path::absolute(folder)?,
                    vectors: vectors.iter().map(std::path::absolute).collect::<std::io::Result<_>>()?,
                });
            }
        }
        Ok(Task {
            what,
            source,
            threads,
            device: self.device,
            decompressed: self.limits.decompressed,
            columns: self.limits.columns,
            encoders,
            scratch: scratch.to_owned(),
        })
    }

    fn compute(&self, work: &Work, task: Task, given: Given, monitor: &dyn Monitor) -> Result<Computed> {
        let (scratch, encoders) = (task.scratch.clone(), task.encoders.clone());
        // What the system has ended, for lack of memory mostly, tries again with half.
        let memory = self.limit() >> work.job.kills.min(8);
        let computed = self.run_within(memory, task, given, monitor);
        // Whatever became of the job, another one need not encode the same cells again.
        for encoder in &encoders {
            let fresh = encoder.fresh_vectors(&scratch);
            if std::fs::metadata(&fresh).is_ok_and(|file| file.len() > NO_VECTORS)
                && let Err(error) = work.wait(work.store.put_vectors(&encoder.digest, &fresh))
            {
                tracing::warn!(%error, cause = ?error.cause, "vectors could not be stored");
            }
        }
        computed
    }

    /// Has it computed in a process of its own within some bytes of memory; here, where no program is given.
    pub(super) fn run_within(&self, memory: u64, task: Task, given: Given, monitor: &dyn Monitor) -> Result<Computed> {
        let Some(program) = &self.program else { return task.run(&given, monitor) };
        let scratch = task.scratch.clone();
        supervise::run(&Place { program, scratch: &scratch, memory }, task, given, monitor)
    }

    /// Bytes of memory that a training may take.
    pub(super) fn limit(&self) -> u64 {
        self.memory.or_else(memory::quarter).unwrap_or(u64::MAX)
    }
}

/// The encoders that are tried for texts where `request` leaves that open.
pub(super) async fn candidates(
    store: &Store,
    request: &TrainRequest,
    inputs: &[ColumnPlan],
) -> Result<Vec<ColumnEncoder>> {
    if request.open_texts(inputs).is_empty() { Ok(Vec::new()) } else { store.text_encoders().await }
}

/// Why the version is not to be served, if it is not.
fn withheld(work: &Work, training: &Training, source: &Source, dropped: &[DroppedColumn]) -> Result<Option<String>> {
    if !training.request.promote {
        return Ok(Some("the request has \"promote\":false".to_owned()));
    }
    if training.request.schema_change {
        return Ok(None);
    }
    let plan = training.plan(&source.summary()?)?;
    let changes = work.wait(schema_guard::changes(&work.store, work.job.model()?, &plan, dropped))?;
    Ok(changes.map(|changes| changes.reason()))
}

fn input(work: &Work) -> Result<&JobInput> {
    work.input.as_ref().ok_or_else(|| Error::unprocessable("dataset_not_found", "the job's dataset was deleted"))
}

/// A stored dataset with the paths of its parts.
pub(super) async fn source(store: &Store, dataset: &Dataset) -> Result<Source> {
    let mut parts = local_parts(store, dataset).await?;
    for part in &mut parts {
        part.path = std::path::absolute(&part.path)?;
    }
    Ok(Source { dataset: dataset.clone(), parts })
}
