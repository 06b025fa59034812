//! Training: split, encode, mini-batches, early stopping, calibration. One function, any family.
//!
//! Everything random is a function of (seed, purpose, counter), and a checkpoint holds the learner's
//! state, the best weights, the position and the curves: what continues from it ends bit-identical.

use super::bundle::{Bundle, BundleConfig, FORMAT, tensors_from_bytes, tensors_to_bytes};
use super::calibrate::{Calibration, Novelty, fit_temperature, log_loss};
use super::evaluate::{self, Evaluation};
use super::metrics::{self, argmax, softmax};
use super::{FitSpec, Monitor, Progress, choose, settings};
use crate::data::encoder::{Encoder, EncoderOptions};
use crate::data::plan::Resolved;
use crate::data::split::{Split, split};
use crate::data::target::{Encoded, TargetEncoder};
use crate::data::{Batch, Table};
use crate::models::{Family, Learner, LearnerSpec, Next, Position, Schedule, Targets, Task, UNLABELLED};
use crate::nn::Tensors;
use crate::nn::random::Random;
use crate::{Error, Kind, Result};
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::time::Instant;

/// A finished training.
#[derive(Debug)]
pub struct Fitted {
    /// The model.
    pub bundle: Bundle,
    /// Figures on the held-out rows, and the training loss.
    pub metrics: Map<String, Value>,
    /// The held-out rows in detail: confusion, recall of each class, calibration. Without coverage, since
    /// the sets were fitted on the same rows.
    pub held_out: Evaluation,
    /// Notes for the person who asked: the family's reason, columns left out, rows without a target.
    pub notes: Vec<String>,
}

/// Rows the network looks at in one go outside training.
const CHUNK: usize = 512;

/// Rows whose codes are kept as known when novelty is fitted.
const KNOWN_ROWS: usize = 1024;

/// Where a training was when a checkpoint was taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Course {
    step: u64,
    epoch: usize,
    epoch_loss: f64,
    epoch_steps: u64,
    best: Option<f64>,
    since_best: usize,
    metrics: Map<String, Value>,
}

/// Trains a model on `table` (read by `plan.all()`).
///
/// `threads` bounds the threads used; the result does not depend on it. `resume` is an earlier
/// checkpoint of the same call on the same rows.
///
/// # Errors
/// What does not fit in the request or the data ([`Kind::Malformed`], [`Kind::Unprocessable`]),
/// [`Kind::Canceled`], or a fault of a kernel ([`Kind::Internal`]).
pub fn fit(
    table: &Table,
    plan: &Resolved,
    spec: &FitSpec,
    threads: usize,
    resume: Option<&[u8]>,
    monitor: &dyn Monitor,
) -> Result<Fitted> {
    let mut notes = Vec::new();
    let (family, family_reason) = match spec.family {
        Some(family) => (family, None),
        None => {
            let (family, reason) = choose::family(plan, table.rows);
            notes.push(format!("{}: {reason}", family.name()));
            (family, Some(reason))
        }
    };
    let config = settings::complete(family, &spec.config)?;
    let column = table
        .column(&plan.target.name)
        .ok_or_else(|| Error::unprocessable("unknown_column", "the target is not in the data"))?;
    let mut target_encoder = TargetEncoder::fit(&plan.target.name, column, plan.task)?;
    let all_targets = target_encoder.encode(column)?;
    let mut parts = split(&all_targets, spec.validation, spec.seed)?;
    let dropped = keep_learnable(family, &config, &all_targets, &mut parts);
    if dropped > 0 {
        notes.push(format!("{dropped} rows have no {} and were left out", plan.target.name));
    }
    if let TargetEncoder::Number { mean, std } = &mut target_encoder {
        standardise(&all_targets, &parts.training, mean, std);
    }
    let all_targets = target_encoder.encode(column)?;
    let encoder = Encoder::fit_with(table, &parts.training, &plan.inputs, family.layout(), options(family))?;
    notes.extend(encoder.left_out.iter().map(|l| format!("{}: {}", l.name, l.reason)));
    if encoder.width == 0 {
        return Err(Error::unprocessable("no_features", "no column is left to learn from")
            .with_details(encoder.left_out.iter().map(|l| crate::Detail::column(&l.name, &l.reason))));
    }
    let batch = encoder.encode(table)?;
    let outputs = target_encoder.outputs();
    let learner_spec = LearnerSpec {
        encoder: &encoder,
        task: plan.task,
        outputs,
        rows: parts.training.len(),
        config: &config,
        seed: spec.seed,
        threads,
    };
    let data = Data { batch: &batch, targets: &all_targets, split: &parts, outputs };
    let weights = (config.get("class_weights").and_then(Value::as_str) == Some("balanced"))
        .then(|| data.balanced_weights())
        .flatten();
    let mut run = Run::new(family.learner(&learner_spec)?, data, weights, spec.seed, monitor);
    if let Some(bytes) = resume {
        run.restore(bytes)?;
    }
    run.train()?;
    let data = run.data;
    let (network, curve) = run.finish()?;

    let held_out = data.batch.select(&data.split.validation);
    let calibration_answers = network.forward(&held_out)?;
    let calibration = data.calibrate(&calibration_answers);
    let known: Vec<usize> = data.split.training.iter().copied().take(KNOWN_ROWS).collect();
    let novelty = Novelty::fit(
        &network.features(&data.batch.select(&known))?,
        &network.features(&data.batch.select(&data.split.validation[..data.split.validation.len().min(2048)]))?,
        network.feature_width(),
        spec.seed,
    );
    let mut figures = data.figures(&calibration_answers, &calibration, &target_encoder);
    for (name, value) in curve {
        figures.entry(name).or_insert(value);
    }
    let config = BundleConfig {
        format: FORMAT,
        family,
        family_reason,
        task: plan.task,
        target: plan.target.clone(),
        target_encoder,
        ignored: plan.ignored.clone(),
        config,
        calibration,
        novelty_threshold: novelty.threshold,
        metrics: figures.clone(),
        rows: parts.training.len(),
        seed: spec.seed,
    };
    let bundle = Bundle::new(config, encoder, network, novelty);
    let held_out = data.held_out(&bundle, &calibration_answers);
    Ok(Fitted { bundle, metrics: figures, held_out, notes })
}

/// How each family wants its columns encoded.
fn options(family: Family) -> EncoderOptions {
    let bins = if family == Family::SparseMlp { 16 } else { 0 };
    EncoderOptions { bins, ..EncoderOptions::default() }
}

/// Removes training rows without a target unless the family learns from them; returns how many.
fn keep_learnable(family: Family, config: &Map<String, Value>, targets: &Encoded, parts: &mut Split) -> usize {
    let plastic = family == Family::Hybrid || config.get("plasticity").and_then(Value::as_str) == Some("hebbian");
    let before = parts.training.len();
    match targets {
        Encoded::Classes(ids) if !plastic => parts.training.retain(|&row| ids[row] != UNLABELLED),
        Encoded::Values(values) => parts.training.retain(|&row| values[row].is_finite()),
        Encoded::Classes(_) => {}
    }
    before - parts.training.len()
}

/// Refits mean and deviation on the training rows: `values` are standardised by the old ones.
fn standardise(targets: &Encoded, training: &[usize], mean: &mut f64, std: &mut f64) {
    let Encoded::Values(values) = targets else { return };
    let known: Vec<f64> = training.iter().map(|&row| f64::from(values[row])).collect();
    let count = known.len().max(1) as f64;
    let centre = known.iter().sum::<f64>() / count;
    let spread = (known.iter().map(|v| (v - centre).powi(2)).sum::<f64>() / count).sqrt();
    *mean += centre * *std;
    if spread > 0.0 {
        *std *= spread;
    }
}

/// The encoded rows and their targets, split.
#[derive(Clone, Copy)]
struct Data<'a> {
    batch: &'a Batch,
    targets: &'a Encoded,
    split: &'a Split,
    outputs: usize,
}

impl Data<'_> {
    /// Inverse class frequencies over the training rows, 1 on average.
    fn balanced_weights(&self) -> Option<Vec<f32>> {
        let Encoded::Classes(ids) = self.targets else { return None };
        let mut counts = vec![0usize; self.outputs];
        for &row in &self.split.training {
            if let Some(count) = counts.get_mut(ids[row] as usize) {
                *count += 1;
            }
        }
        let total: usize = counts.iter().sum();
        Some(counts.iter().map(|&c| total as f32 / (self.outputs * c.max(1)) as f32).collect())
    }

    fn validation_classes(&self) -> Option<Vec<u32>> {
        let Encoded::Classes(ids) = self.targets else { return None };
        Some(self.split.validation.iter().map(|&row| ids[row]).collect())
    }

    fn validation_values(&self) -> Vec<f32> {
        let Encoded::Values(values) = self.targets else { return Vec::new() };
        self.split.validation.iter().map(|&row| values[row]).collect()
    }

    /// Loss on the held-out rows for choosing weights: log loss at the best temperature (the
    /// temperature is refitted at the end anyway), or mean squared error; and the accuracy.
    fn validate(&self, answers: &[f32]) -> (f64, Option<f64>) {
        match self.validation_classes() {
            Some(truths) => {
                let temperature = fit_temperature(answers, self.outputs, &truths);
                let right =
                    answers.chunks_exact(self.outputs).zip(&truths).filter(|(a, t)| argmax(a) == **t as usize).count();
                let accuracy = right as f64 / truths.len().max(1) as f64;
                (log_loss(answers, self.outputs, &truths, temperature), Some(accuracy))
            }
            None => {
                let truths = self.validation_values();
                let sum: f64 = answers.iter().zip(&truths).map(|(a, t)| f64::from(a - t).powi(2)).sum();
                (sum / truths.len().max(1) as f64, None)
            }
        }
    }

    fn calibrate(&self, answers: &[f32]) -> Calibration {
        match self.validation_classes() {
            Some(truths) => Calibration::classification(answers, self.outputs, &truths),
            None => Calibration::regression(answers, &self.validation_values()),
        }
    }

    fn held_out(&self, bundle: &Bundle, answers: &[f32]) -> Evaluation {
        let mut found = match (self.validation_classes(), &bundle.config.target_encoder) {
            (Some(truths), TargetEncoder::Classes(classes)) => {
                let mut probabilities = answers.to_vec();
                let temperature = bundle.config.calibration.temperature;
                probabilities.chunks_exact_mut(self.outputs).for_each(|row| softmax(row, temperature));
                evaluate::classified(bundle, classes, &probabilities, &truths, 0)
            }
            (_, TargetEncoder::Number { mean, std }) => {
                let scale = |v: &f32| f64::from(*v) * std + mean;
                let truths: Vec<f64> = self.validation_values().iter().map(scale).collect();
                evaluate::regressed(bundle, &answers.iter().map(scale).collect::<Vec<_>>(), &truths, 0)
            }
            (None, TargetEncoder::Classes(classes)) => evaluate::classified(bundle, classes, &[], &[], 0),
        };
        found.coverage.clear();
        found
    }

    fn figures(&self, answers: &[f32], calibration: &Calibration, target: &TargetEncoder) -> Map<String, Value> {
        match (self.validation_classes(), target) {
            (Some(truths), _) => {
                let mut probabilities = answers.to_vec();
                probabilities.chunks_exact_mut(self.outputs).for_each(|row| softmax(row, calibration.temperature));
                metrics::to_map(&metrics::classification(&probabilities, self.outputs, &truths))
            }
            (None, TargetEncoder::Number { mean, std }) => {
                let scale = |v: &f32| f64::from(*v) * std + mean;
                let truths: Vec<f64> = self.validation_values().iter().map(scale).collect();
                metrics::regression(&answers.iter().map(scale).collect::<Vec<_>>(), &truths)
            }
            (None, TargetEncoder::Classes(_)) => Map::new(),
        }
    }
}

/// A training under way.
struct Run<'a> {
    learner: Box<dyn Learner>,
    schedule: Schedule,
    data: Data<'a>,
    weights: Option<Vec<f32>>,
    seed: u64,
    monitor: &'a dyn Monitor,
    course: Course,
    best: Option<Tensors>,
    started: Instant,
    rows_done: u64,
}

impl<'a> Run<'a> {
    fn new(
        learner: Box<dyn Learner>,
        data: Data<'a>,
        weights: Option<Vec<f32>>,
        seed: u64,
        monitor: &'a dyn Monitor,
    ) -> Self {
        let schedule = learner.schedule();
        Self {
            learner,
            schedule,
            data,
            weights,
            seed,
            monitor,
            course: Course::default(),
            best: None,
            started: Instant::now(),
            rows_done: 0,
        }
    }

    fn steps_per_epoch(&self) -> u64 {
        self.data.split.training.len().div_ceil(self.schedule.batch_size).max(1) as u64
    }

    fn position(&self) -> Position {
        Position {
            epoch: self.course.epoch,
            epochs: self.schedule.epochs,
            step: self.course.step,
            steps: self.steps_per_epoch() * self.schedule.epochs as u64,
        }
    }

    fn train(&mut self) -> Result<()> {
        let mut mini = Batch::new();
        while self.course.epoch < self.schedule.epochs {
            let mut order = self.data.split.training.clone();
            Random::stream(self.seed, "order", self.course.epoch as u64).shuffle(&mut order);
            let first = self.course.step - self.steps_per_epoch() * self.course.epoch as u64;
            for rows in order.chunks(self.schedule.batch_size).skip(first as usize) {
                self.step(rows, &mut mini)?;
            }
            if self.end_epoch()? {
                break;
            }
        }
        Ok(())
    }

    fn step(&mut self, rows: &[usize], mini: &mut Batch) -> Result<()> {
        if self.monitor.canceled() {
            return Err(Error::new(Kind::Canceled, "canceled", "the job was canceled"));
        }
        mini.select_into(self.data.batch, rows);
        let position = self.position();
        let loss = match self.data.targets {
            Encoded::Classes(ids) => {
                let ids: Vec<u32> = rows.iter().map(|&row| ids[row]).collect();
                self.learner.step(mini, Targets::Classes(&ids, self.weights.as_deref()), position)?
            }
            Encoded::Values(values) => {
                let values: Vec<f32> = rows.iter().map(|&row| values[row]).collect();
                self.learner.step(mini, Targets::Values(&values), position)?
            }
        };
        if !loss.is_finite() {
            return Err(Error::unprocessable(
                "diverged",
                format!("training diverged at step {}: try a smaller learning_rate", self.course.step),
            ));
        }
        self.course.step += 1;
        self.course.epoch_steps += 1;
        self.course.epoch_loss += f64::from(loss);
        self.rows_done += rows.len() as u64;
        self.monitor.progress(&self.progress(), false);
        if self.monitor.checkpoint_due(false) {
            self.checkpoint()?;
        }
        Ok(())
    }

    /// Validates, keeps the best, tells the monitor; whether training ends here.
    fn end_epoch(&mut self) -> Result<bool> {
        let answers = self.validation_answers()?;
        let (loss, accuracy) = self.data.validate(&answers);
        let train_loss = self.course.epoch_loss / self.course.epoch_steps.max(1) as f64;
        self.course.metrics.insert("train_loss".into(), train_loss.into());
        self.course.metrics.insert("validation_loss".into(), loss.into());
        if let Some(accuracy) = accuracy {
            self.course.metrics.insert("validation_accuracy".into(), accuracy.into());
        }
        let next = self.learner.end_epoch(self.position(), train_loss as f32, loss as f32)?;
        if next == Next::Restart {
            self.course.best = None;
            self.course.since_best = 0;
        } else if self.course.best.is_none_or(|best| loss < best) {
            self.course.best = Some(loss);
            self.course.since_best = 0;
            self.best = Some(self.learner.weights()?);
        } else {
            self.course.since_best += 1;
        }
        self.course.epoch += 1;
        self.course.epoch_loss = 0.0;
        self.course.epoch_steps = 0;
        self.monitor.progress(&self.progress(), true);
        let patience = self.schedule.patience;
        let ended = next == Next::Stop || (patience > 0 && self.course.since_best >= patience);
        if !ended && self.monitor.checkpoint_due(true) {
            self.checkpoint()?;
        }
        Ok(ended)
    }

    fn validation_answers(&self) -> Result<Vec<f32>> {
        let mut answers = Vec::with_capacity(self.data.split.validation.len() * self.data.outputs);
        let mut chunk = Batch::new();
        for rows in self.data.split.validation.chunks(CHUNK) {
            chunk.select_into(self.data.batch, rows);
            answers.extend(self.learner.forward(&chunk)?);
        }
        Ok(answers)
    }

    fn progress(&self) -> Progress {
        let position = self.position();
        let seconds = self.started.elapsed().as_secs_f64().max(1e-9);
        let rate = self.rows_done as f64 / seconds;
        let left = position.steps.saturating_sub(position.step) as f64 * self.schedule.batch_size as f64;
        Progress {
            epoch: position.epoch,
            epochs: position.epochs,
            step: position.step,
            steps: position.steps,
            fraction: f64::from(position.fraction()),
            rows_per_second: rate,
            eta_seconds: if rate > 0.0 { left / rate } else { 0.0 },
            metrics: self.course.metrics.clone(),
        }
    }

    fn checkpoint(&self) -> Result<()> {
        let mut tensors: Tensors =
            self.learner.state()?.into_iter().map(|(name, t)| (format!("state.{name}"), t)).collect();
        for (name, tensor) in self.best.iter().flatten() {
            tensors.insert(format!("best.{name}"), tensor.clone());
        }
        let course = serde_json::to_vec(&self.course).map_err(Error::internal)?;
        let length = course.len();
        tensors.insert("course".into(), Tensor::from_vec(course, length, &Device::Cpu)?);
        self.monitor.checkpoint(self.course.step, tensors_to_bytes(&tensors)?)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<()> {
        let tensors = tensors_from_bytes(bytes)?;
        let course = tensors.get("course").ok_or_else(|| Error::internal("a checkpoint without its course"))?;
        self.course = serde_json::from_slice(&course.to_vec1::<u8>()?).map_err(Error::internal)?;
        let named = |prefix: &str| -> Tensors {
            tensors.iter().filter_map(|(n, t)| Some((n.strip_prefix(prefix)?.to_owned(), t.clone()))).collect()
        };
        self.learner.restore(&named("state."))?;
        let best = named("best.");
        self.best = (!best.is_empty()).then_some(best);
        self.monitor.log(&format!("continues from step {}", self.course.step));
        Ok(())
    }

    fn finish(self) -> Result<(Box<dyn crate::models::Network>, Map<String, Value>)> {
        Ok((self.learner.finish(self.best)?, self.course.metrics))
    }
}

/// Whether a task can be learned from a target of this many different values; used by callers that
/// must refuse a request before a job is made.
pub fn default_validation(rows: usize) -> f32 {
    if rows >= 20_000 { 0.1 } else { 0.2 }
}

/// A monitor that listens to nothing: for work on files alone and for tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Monitor for Silent {
    fn progress(&self, _progress: &Progress, _epoch_ended: bool) {}
    fn log(&self, _line: &str) {}
    fn canceled(&self) -> bool {
        false
    }
    fn checkpoint_due(&self, _epoch_ended: bool) -> bool {
        false
    }
    fn checkpoint(&self, _step: u64, _bytes: Vec<u8>) -> Result<()> {
        Ok(())
    }
}

/// Which task a request means, for the places that have not read the data yet.
pub fn task_name(task: Task) -> &'static str {
    match task {
        Task::Classification => "classification",
        Task::Regression => "regression",
    }
}
