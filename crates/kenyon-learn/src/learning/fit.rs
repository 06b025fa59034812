//! Training: split, encode, mini-batches, early stopping, calibration. One function, any family.
//!
//! Everything random is a function of (seed, purpose, counter), and a checkpoint holds the learner's
//! state, the best weights, the position and the curves: a training resumed from it ends bit-identical.

mod data;
mod hold_out;
mod known;
mod rest;
mod run;
#[cfg(test)]
mod tests;
mod warnings;
mod weights;

use super::bundle::{Bundle, BundleConfig, FORMAT};
use super::calibrate::TargetSpan;
use super::evaluate::Evaluation;
use super::importance::Judge;
use super::{FitSpec, Monitor, Objective, Prepared, Progress, Validation};
use crate::data::encoder::{Encoder, pairs};
use crate::data::plan::Resolved;
use crate::data::profile::DataProfile;
use crate::data::split::{self, Folds, Split};
use crate::data::target::{Encoded, TargetEncoder};
use crate::data::warning::Warning;
use crate::data::{Column, Table};
use crate::models::recipe::{self, Recipe};
use crate::models::settings;
use crate::models::{Family, LearnerSpec, Task, UNLABELLED};
use crate::{Error, Result};
use data::{Data, Drawn};
use hold_out::hold_out;
use known::KnownRows;
use rest::Rest;
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
/// out by [`Validation::Auto`] alone, and have no weights of their own.
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
    let mut notes = Vec::new();
    let (family, family_reason) = match spec.family {
        Some(family) => (family, None),
        None => {
            let (family, reason) = default_family(table, plan)?;
            notes.push(format!("{}: {reason}", family.name()));
            (family, Some(reason))
        }
    };
    settings::complete(family, &spec.config)?;
    let column = table
        .column(&plan.target.name)
        .ok_or_else(|| Error::unprocessable("unknown_column", "the target is not in the data"))?;
    let mut target_encoder = TargetEncoder::fit(&plan.target.name, column, plan.task)?;
    let mut all_targets = target_encoder.encode(column)?;
    let outputs = target_encoder.outputs();
    let profile = DataProfile::new(table, plan);
    let (mut parts, folds) = divided(table, more.is_some(), &profile, &all_targets, (family, outputs), spec)?;
    let mut warnings = warnings::of_data(table, plan, spec.task.is_some(), &target_encoder, &all_targets, &parts);
    let dropped = keep_learnable(family, &all_targets, &mut parts);
    if dropped > 0 {
        warnings.push(warnings::of_rows_without_target(&plan.target.name, dropped));
        notes.push(format!("{dropped} rows have no {} and were left out", plan.target.name));
    }
    if let TargetEncoder::Number { mean, std } = &mut target_encoder {
        standardise(&mut all_targets, &parts.training, mean, std);
    }
    let mut profile = profile.of_rows(&parts.training, &all_targets, outputs);
    profile.rows += more.map_or(0, |more| more.rows);
    let Recipe { mut config, encoder: options } = recipe_of(family, &profile, spec);
    if let Some(cross_fit) = config.get_mut("cross_fit") {
        *cross_fit = folds.is_some().into();
    }
    // A pair is chosen by targets, which a member must not have seen of the rows that it is judged by.
    let pairs = match (options.bins, &folds) {
        (1.., None) => pairs::choose(table, &plan.inputs, &parts.training, &all_targets),
        _ => Vec::new(),
    };
    notes.extend(pairs.iter().map(|[a, b]| format!("{a} and {b} say more together: bins of both are learned")));
    let encoder =
        Encoder::fit_paired(table, &parts.training, &plan.inputs, family.layout(&plan.inputs), options, &pairs)?;
    notes.extend(encoder.dropped.iter().map(|l| format!("{}: {}", l.name, l.reason)));
    if encoder.width == 0 {
        return Err(Error::unprocessable("no_features", "no column is left to learn from")
            .with_details(encoder.dropped.iter().map(|l| crate::Detail::column(&l.name, &l.reason))));
    }
    let batch = family.encode(&encoder, table)?;
    let rest =
        more.map(|more| Rest::encode(more, family, &encoder, (&plan.target.name, &target_encoder))).transpose()?;
    let learner_spec = LearnerSpec {
        encoder: &encoder,
        task: plan.task,
        outputs,
        rows: parts.training.len() + rest.as_ref().map_or(0, Rest::rows),
        config: &config,
        seed: spec.seed,
        threads,
    };
    let row_weights = weights::of_rows(table, spec, &parts.training)?;
    if let (Some(column), Some(weights)) = (&spec.weight, &row_weights) {
        warnings.extend(warnings::of_weights(column, weights, &parts.training));
    }
    let drawn = row_weights.as_deref().map(|weights| weights::drawn(&parts.validation, weights, spec.seed));
    let drawn = drawn.as_ref().map(|(positions, rows)| Drawn { positions, rows: *rows });
    let (folds_of, rest) = (folds.as_ref(), rest.as_ref());
    let data = Data { batch: &batch, targets: &all_targets, split: &parts, folds: folds_of, outputs, drawn, rest };
    let class_weights = weights::of_classes(spec, &config, &target_encoder, || data.balanced_weights())?;
    let weights = weights::joined(row_weights.as_deref(), class_weights.as_deref(), &all_targets);
    // A class that weighs more is more probable already.
    let decision = match (spec.objective, data.class_sums(weights.as_deref(), class_weights.as_deref())) {
        (Objective::Balanced, Some(sums)) => data::inverse(&sums, 1e-6),
        _ => Vec::new(),
    };
    let learner = family.learner(&learner_spec)?;
    if (spec.weight.is_some() || spec.class_weights.is_some()) && !learner.weighs_rows() {
        let detail = format!("{} does not support row weights: use another family", family.name());
        return Err(Error::unprocessable("weights_unsupported", detail));
    }
    let weights = Weights { rows: weights.as_deref(), classes: class_weights.as_deref() };
    let mut run = Run::new(learner, data, weights, spec.seed, monitor);
    monitor.prepared(&Prepared {
        family,
        reason: family_reason.as_deref(),
        dropped: &encoder.dropped,
        warnings: &warnings,
        training: data.training_rows() - folds.as_ref().map_or(0, |folds| parts.training.len() / folds.count),
        held_out: parts.validation.len() / folds.as_ref().map_or(1, |folds| folds.count),
        folds: folds.as_ref().map_or(0, |folds| folds.count),
        bytes: table.bytes() + batch.bytes(),
        training_bytes: &|| run.bytes(),
    });
    if let Some(bytes) = resume {
        run.restore(bytes)?;
    }
    run.train()?;
    let (network, curve) = run.finish()?;

    let held_out = data.batch.select(&data.split.validation);
    let members: Vec<u8> =
        folds.iter().flat_map(|folds| parts.validation.iter().map(|&row| folds.of_row[row])).collect();
    let outputs_measured = match &folds {
        Some(_) => network.forward_members(&held_out, &members)?,
        None => network.forward(&held_out)?,
    };
    let known = KnownRows::new(&*network, table, &encoder, data, spec.seed)?;
    let mut judged = data.judge(&outputs_measured, &known.sketches, spec.seed);
    if let (Task::Regression, Column::Number(values) | Column::Timestamp(values)) = (plan.task, column) {
        judged.calibration.target = TargetSpan::of(parts.training.iter().map(|&row| values[row]));
    }
    let error_sizes = data.error_sizes(&judged, &known.sketches);
    let unit = if let TargetEncoder::Number { std, .. } = &target_encoder { *std } else { 1.0 };
    let judge = Judge {
        encoder: &encoder,
        network: &*network,
        folds: folds.as_ref(),
        temperature: judged.calibration.temperature,
        unit,
    };
    let importance = judge.importance(table, &all_targets, &parts.validation, spec.seed)?;
    let (novelty, background) = known.novelty(table, &encoder, data, &held_out, spec.seed);
    let mut figures = data.figures(&judged.answers, &target_encoder, &decision);
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
        calibration: judged.calibration,
        novelty_threshold: novelty.threshold,
        novelty: None,
        importance: Some(importance),
        metrics: figures.clone(),
        rows: data.training_rows(),
        folds: folds.as_ref().map(|folds| folds.of_row.clone()).unwrap_or_default(),
        decision,
        seed: spec.seed,
    };
    let bundle = Bundle::new(config, encoder, network, novelty).with_background(Some(background.into()));
    let held_out = data.held_out(&bundle, &judged.answers, &error_sizes);
    if let Encoded::Classes(ids) = &all_targets {
        let truths: Vec<u32> = parts.validation.iter().map(|&row| ids[row]).collect();
        let BundleConfig { target_encoder, decision, .. } = &bundle.config;
        warnings.extend(warnings::of_answers(plan, target_encoder, &truths, &judged.answers, decision));
    }
    let measured = Measured { rows: parts.validation.clone(), members, outputs: outputs_measured };
    Ok(Fitted { bundle, metrics: figures, held_out, warnings, measured, notes })
}

/// The family that is trained on a table where the request names none, and why.
///
/// # Errors
/// No family reads such data.
pub fn default_family(table: &Table, plan: &Resolved) -> Result<(Family, String)> {
    Family::suited_to(&DataProfile::new(table, plan))
        .ok_or_else(|| Error::unprocessable("no_family", "no family of networks learns from such columns"))
}

/// The rows that are learned from and held out; and, where the members of the ensemble leave rows out instead, which.
fn divided(
    table: &Table,
    sampled: bool,
    profile: &DataProfile,
    targets: &Encoded,
    (family, outputs): (Family, usize),
    spec: &FitSpec,
) -> Result<(Split, Option<Folds>)> {
    if sampled {
        return Ok((hold_out(table, targets, spec, OF_SAMPLE)?, None));
    }
    if spec.validation == Validation::Auto {
        let labelled = split::labelled(targets);
        let profile = profile.clone().of_rows(&labelled, targets, outputs);
        let config = recipe_of(family, &profile, spec).config;
        // Rows without a label are in no fold.
        let in_folds = !family.learns_unlabelled() || labelled.len() == table.rows;
        if let Some(count) = family.cross_fits(&config).filter(|_| in_folds) {
            let folds = split::folds(targets, count, spec.seed);
            return Ok((Split { training: (0..table.rows).collect(), validation: labelled }, Some(folds)));
        }
    }
    Ok((hold_out(table, targets, spec, recipe::validation(profile, &[]))?, None))
}

fn recipe_of(family: Family, profile: &DataProfile, spec: &FitSpec) -> Recipe {
    let without: Vec<&str> = spec.without_rules.iter().map(String::as_str).collect();
    Recipe::without(family, profile, &spec.config, &without)
}

/// Removes training rows without a target unless the family can use them; returns how many.
fn keep_learnable(family: Family, targets: &Encoded, parts: &mut Split) -> usize {
    let before = parts.training.len();
    match targets {
        Encoded::Classes(ids) if !family.learns_unlabelled() => parts.training.retain(|&row| ids[row] != UNLABELLED),
        Encoded::Values(values) => parts.training.retain(|&row| values[row].is_finite()),
        Encoded::Classes(_) => {}
    }
    before - parts.training.len()
}

/// Refits mean and deviation on the training rows, and standardises `targets` by them instead of the old ones.
fn standardise(targets: &mut Encoded, training: &[usize], mean: &mut f64, std: &mut f64) {
    let Encoded::Values(values) = targets else { return };
    let known: Vec<f64> = training.iter().map(|&row| f64::from(values[row])).collect();
    let count = known.len().max(1) as f64;
    let centre = known.iter().sum::<f64>() / count;
    let spread = (known.iter().map(|v| (v - centre).powi(2)).sum::<f64>() / count).sqrt();
    let spread = if spread > 0.0 { spread } else { 1.0 };
    *mean += centre * *std;
    *std *= spread;
    values.iter_mut().for_each(|value| *value = ((f64::from(*value) - centre) / spread) as f32);
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
