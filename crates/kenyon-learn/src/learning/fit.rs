//! Training: split, encode, mini-batches, early stopping, calibration. One function, any family.
//!
//! Everything random is a function of (seed, purpose, counter), and a checkpoint holds the learner's
//! state, the best weights, the position and the curves: a training resumed from it ends bit-identical.

mod data;
#[cfg(test)]
mod encoded_tests;
mod encoder_choice;
mod hold_out;
mod known;
mod placement;
mod ready;
mod rest;
mod run;
#[cfg(test)]
mod tests;
mod warnings;
mod weights;

use super::bundle::{Bundle, BundleConfig, FORMAT};
use super::evaluate::Evaluation;
use super::{FitSpec, Monitor, Objective, Prepared, Progress};
use crate::data::Table;
use crate::data::plan::Resolved;
use crate::data::target::TargetEncoder;
use crate::data::warning::Warning;
use crate::device::DeviceName;
use crate::models::autograd::DEVICE_FAILED;
use crate::models::{LearnerSpec, Network, Task};
use crate::{Error, Result};
use data::{Data, Drawn};
pub use encoder_choice::{EncoderChoice, choose_encoders};
use known::KnownRows;
use placement::Placed;
use ready::Ready;
pub use ready::default_family;
pub use rest::{MoreRows, ReadRows};
use run::{Run, Weights};
use serde_json::{Map, Value};

/// A finished training.
#[derive(Debug)]
pub struct Fitted {
    /// The model.
    pub bundle: Bundle,
    /// Metrics on the held-out rows, and the training loss.
    pub metrics: Map<String, Value>,
    /// A 95 % interval `[lower, upper]` of each metric on the held-out rows.
    pub intervals: Map<String, Value>,
    /// The least loss (log loss, or root mean squared error in the target's unit) on the rows that chose the pass, to compare settings by;
    /// none where no rows did.
    pub stopping_loss: Option<f64>,
    /// The held-out rows in detail: confusion, recall of each class, calibration. Without coverage, since
    /// the sets were fitted on the same rows.
    pub held_out: Evaluation,
    /// Warnings about the data and the model.
    pub warnings: Vec<Warning>,
    /// The held-out rows and the network's outputs, for [`super::verify`].
    pub measured: Measured,
    /// Notes for the user: the family's reason, columns left out, rows without a target.
    pub notes: Vec<String>,
}

/// Measured outputs of the network for rows that it had not learned from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// Rows of the table.
    pub rows: Vec<usize>,
    /// The member that answered each, of a cross-fitted ensemble; else empty.
    pub members: Vec<u8>,
    /// Outputs before calibration, `[rows, outputs]`.
    pub outputs: Vec<f32>,
}

/// Share of the sample that [`fit_more`] holds out.
pub const OF_SAMPLE: f32 = 0.2;

/// Rows per forward pass outside training.
const CHUNK: usize = 512;

/// Trains a model on `table` (read by `plan.all()`).
///
/// `threads` bounds the threads used; the result does not depend on it. `resume` is an earlier
/// checkpoint of the same call on the same rows.
///
/// # Errors
/// What does not fit in the request or the data ([`Malformed`](crate::Kind::Malformed), [`Unprocessable`](crate::Kind::Unprocessable)),
/// [`Canceled`](crate::Kind::Canceled), or an error of a kernel ([`Internal`](crate::Kind::Internal)).
pub fn fit(
    table: &Table,
    plan: &Resolved,
    spec: &FitSpec,
    threads: usize,
    resume: Option<&[u8]>,
    monitor: &dyn Monitor,
) -> Result<Fitted> {
    fit_more(table, None, plan, spec, threads, resume, monitor)
}

/// As [`fit`](fn@fit), of a table that is a sample and of `more` rows. What is known about the data (columns' scales and
/// names, held-out rows, calibration, novelty) is that of the sample; the network learns from all rows. Rows are held
/// out by [`Validation::Auto`](super::Validation::Auto) alone, and have no weights of their own.
///
/// # Errors
/// As [`fit`](fn@fit), and files that cannot be written or read.
pub fn fit_more(
    table: &Table,
    more: Option<&MoreRows<'_>>,
    plan: &Resolved,
    spec: &FitSpec,
    threads: usize,
    resume: Option<&[u8]>,
    monitor: &dyn Monitor,
) -> Result<Fitted> {
    let mut ready = Ready::new(table, more, plan, spec)?;
    let mut warnings = std::mem::take(&mut ready.warnings);
    let draw = |rows: &[usize]| ready.row_weights.as_deref().map(|weights| weights::drawn(rows, weights, spec.seed));
    let drawn = draw(&ready.parts.validation).zip(draw(&ready.parts.stopping));
    let drawn = drawn.as_ref().zip(ready.row_weights.as_deref());
    let drawn =
        drawn.map(|(((positions, rows), (stopping, _)), weights)| Drawn { positions, stopping, rows: *rows, weights });
    let data = ready.data(drawn);
    let Trained { network, second_members, train_loss, stopping_loss, decision, fallback } =
        train(&ready, &warnings, data, spec, threads, resume, monitor)?;
    warnings.extend(fallback);

    let held_out = data.batch.select(&data.split.validation);
    let members = ready.members();
    let outputs = match &ready.folds {
        Some(_) => network.forward_members(&held_out, &members)?,
        None => network.forward(&held_out)?,
    };
    let known = KnownRows::new(&*network, table, &ready.encoder, data, spec.seed)?;
    let second = second_members.map(|members| network.forward_members(&held_out, &members)).transpose()?;
    let mut calibrated = data.calibrate(&outputs, second.as_deref(), &known.sketches, spec.seed);
    calibrated.calibration.target = ready.span(table, plan);
    let error_sizes = data.error_sizes(&calibrated, &known.sketches);
    let importance = ready.importance(&*network, calibrated.calibration.temperature, table, spec.seed)?;
    let (novelty, background) = known.novelty(table, &ready.encoder, data, &held_out, spec.seed);
    let (mut figures, mut intervals) = data.figures(&calibrated.answers, &ready.target, &decision, spec.seed);
    figures.insert("train_loss".into(), train_loss.into());
    if !data.can_evaluate() {
        figures.clear();
        intervals.clear();
        warnings.push(warnings::of_single_rows(data.training_rows()));
    }
    let config = BundleConfig {
        format: FORMAT,
        family: ready.family,
        family_reason: ready.reason.clone(),
        task: plan.task,
        target: plan.target.clone(),
        target_encoder: ready.target.clone(),
        ignored: plan.ignored.clone(),
        config: ready.config.clone(),
        calibration: calibrated.calibration,
        novelty_threshold: novelty.threshold,
        novelty: None,
        importance: Some(importance),
        metrics: figures.clone(),
        rows: data.training_rows(),
        folds: ready.folds.as_ref().map(|folds| folds.of_row.clone()).unwrap_or_default(),
        decision,
        weight: spec.weight.clone(),
        seed: spec.seed,
    };
    let bundle = Bundle::new(config, ready.encoder.clone(), network, novelty).with_background(Some(background.into()));
    let held_out = data.held_out(&bundle, &calibrated.answers, &error_sizes, &calibrated.out_of_fold);
    if let Some(truths) = data.held_out_classes().filter(|_| data.can_evaluate()) {
        let BundleConfig { target_encoder, decision, .. } = &bundle.config;
        warnings.extend(warnings::of_answers(plan, target_encoder, &truths, &calibrated.answers, decision));
    }
    let measured = Measured { rows: ready.parts.validation.clone(), members, outputs };
    let stopping_loss = stopping_loss.map(|loss| match ready.target {
        TargetEncoder::Number { std, .. } => loss.sqrt() * std,
        TargetEncoder::Classes(_) => loss,
    });
    Ok(Fitted { bundle, metrics: figures, intervals, stopping_loss, held_out, warnings, measured, notes: ready.notes })
}

/// A network that has learned.
struct Trained {
    network: Box<dyn Network>,
    /// The member besides the evaluating one that has not learned each held-out row, where there is one.
    second_members: Option<Vec<u8>>,
    /// Loss of the last pass.
    train_loss: f64,
    /// Of the weights that were kept, on the rows that chose them.
    stopping_loss: Option<f64>,
    /// The factor of each class in the decision; none where the likeliest is named.
    decision: Vec<f32>,
    /// Why it was not trained on the requested device, if it was not.
    fallback: Option<Warning>,
}

/// Learns from `data`, those of `ready`; `warnings` are about the data.
fn train(
    ready: &Ready,
    warnings: &[Warning],
    data: Data<'_>,
    spec: &FitSpec,
    threads: usize,
    resume: Option<&[u8]>,
    monitor: &dyn Monitor,
) -> Result<Trained> {
    let class_weights = weights::of_classes(spec, &ready.config, &ready.target, || data.balanced_weights())?;
    let weights = weights::joined(ready.row_weights.as_deref(), class_weights.as_deref(), &ready.targets);
    // A class that weighs more is more probable already.
    let decision = match (spec.objective, data.class_sums(weights.as_deref(), class_weights.as_deref())) {
        (Objective::Balanced, Some(sums)) => data::inverse(&sums, 1e-6),
        _ => Vec::new(),
    };
    let names = ready.target.names();
    let new = || {
        ready.family.learner(&LearnerSpec {
            names: &names,
            encoder: &ready.encoder,
            task: ready.task,
            outputs: data.outputs,
            rows: data.training_rows(),
            config: &ready.config,
            seed: spec.seed,
            threads,
        })
    };
    let Placed { learner, device, warning: fallback } =
        placement::placed(spec.device, &ready.config, new, |learner| {
            data.split.training.chunks(CHUNK).try_for_each(|rows| learner.meet(&data.batch.select(rows)))
        })?;
    if (spec.weight.is_some() || spec.class_weights.is_some()) && !learner.weighs_rows() {
        let detail = format!("{} does not support row weights: use another family", ready.family.name());
        return Err(Error::unprocessable("weights_unsupported", detail));
    }
    let weights = Weights { rows: weights.as_deref(), classes: class_weights.as_deref() };
    let begin = |learner, device| Run::new(learner, data, weights, spec.seed, (monitor, device));
    let run = begin(learner, device);
    let (stopping, held_out) = (ready.parts.stopping.len(), ready.parts.validation.len());
    let folds = ready.folds.as_ref().map_or(0, |folds| folds.count);
    monitor.prepared(&Prepared {
        family: ready.family,
        reason: ready.reason.as_deref(),
        dropped: &ready.encoder.dropped,
        warnings,
        training: data.training_rows() + stopping - ready.parts.training.len().checked_div(folds).unwrap_or(0),
        held_out: held_out / folds.max(1),
        folds,
        bytes: ready.table_bytes + ready.batch.bytes(),
        training_bytes: &|| run.bytes(),
        device,
    });
    match &fallback {
        Some(warning) => monitor.log(&warning.to_string()),
        None if device != DeviceName::Cpu => monitor.log(&format!("trains on {device}")),
        None => {}
    }
    let (run, failed) = run_to_end(run, || Ok(begin(new()?, DeviceName::Cpu)), resume, monitor)?;
    let fallback = fallback.or(failed);
    let second_members = run.second_members();
    let stopping_loss = run.stopping_loss();
    let (network, train_loss) = run.finish()?;
    Ok(Trained { network, second_members, train_loss, stopping_loss, decision, fallback })
}

/// Trains; where the device fails, from the same point once more by what `again` makes, on the CPU. The reason is the
/// warning.
fn run_to_end<'a>(
    mut run: Run<'a>,
    again: impl FnOnce() -> Result<Run<'a>>,
    resume: Option<&[u8]>,
    monitor: &dyn Monitor,
) -> Result<(Run<'a>, Option<Warning>)> {
    let train = |run: &mut Run<'a>| {
        if let Some(bytes) = resume {
            run.restore(bytes)?;
        }
        run.train()
    };
    match train(&mut run) {
        Err(error) if error.code == DEVICE_FAILED => {
            let cause = error.cause.map_or(error.detail, |cause| cause.to_string());
            let warning = placement::fallback(run.device(), &cause);
            monitor.log(&warning.to_string());
            // What it has on the device goes before it begins again.
            drop(run);
            let mut run = again()?;
            train(&mut run)?;
            Ok((run, Some(warning)))
        }
        ended => ended.map(|()| (run, None)),
    }
}

/// A monitor that ignores everything: for work on files alone and for tests.
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

/// The task of a request, where the data are not read yet.
pub fn task_name(task: Task) -> &'static str {
    match task {
        Task::Classification => "classification",
        Task::Regression => "regression",
    }
}
