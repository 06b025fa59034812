//! The trial of a dry run, on rows that have been read: a training on them for a moment, from which that on all rows is
//! estimated.

use crate::{Error, Result};
use kenyon_learn::data::encoder::DroppedColumn;
use kenyon_learn::data::plan::Resolved;
use kenyon_learn::data::profile::DataProfile;
use kenyon_learn::data::target::TargetEncoder;
use kenyon_learn::data::{Table, Warning, split};
use kenyon_learn::device::DeviceName;
use kenyon_learn::learning::{FitSpec, Monitor, Prepared, Progress, Validation, fit};
use kenyon_learn::models::Family;
use kenyon_learn::models::recipe::{self, Recipe};
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long it trains.
const PROBE: Duration = Duration::from_millis(1500);
/// Share of the planned passes that a training makes before early stopping ends it, about (benches, estimates).
const PASSES: f64 = 0.8;

/// Rows of the whole training.
#[derive(Clone, Copy, Debug)]
pub(super) struct AllRows {
    /// With those of the dataset that it is evaluated by.
    pub(super) rows: u64,
    /// How many of them it holds in memory, where those are not all.
    pub(super) sampled: Option<usize>,
}

/// What a trial has found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Probed {
    pub(super) family: Family,
    /// Why, where the request names none.
    pub(super) reason: Option<String>,
    pub(super) dropped: Vec<DroppedColumn>,
    /// Columns for which an encoder was looked for, with what was found.
    pub(super) choices: Vec<(String, String)>,
    pub(super) device: DeviceName,
    pub(super) warnings: Vec<Warning>,
    /// Rows that were read, those learned from, and those held out.
    pub(super) rows: usize,
    pub(super) training: usize,
    pub(super) held_out: usize,
    pub(super) folds: usize,
    /// Bytes of the rows and of the training.
    pub(super) bytes: u64,
    pub(super) training_bytes: u64,
    /// Seconds of reading the rows, and of training on them to the end.
    pub(super) reading: f64,
    pub(super) learning: f64,
}

/// Trains on `table` for a moment, by the recipe for `all` rows.
///
/// # Errors
/// As [`fit`](fit::fit); [`Canceled`](crate::Kind::Canceled) where `outer` is.
pub(super) fn probed(
    table: &Table,
    plan: &Resolved,
    spec: &FitSpec,
    all: AllRows,
    (threads, outer): (usize, &dyn Monitor),
) -> Result<Probed> {
    let (spec, reason) = of_all_rows(table, plan, spec, all)?;
    let monitor = Probe { outer, reported: Mutex::default() };
    let begun = Instant::now();
    let fitted = fit::fit(table, plan, &spec, threads, None, &monitor);
    let ended = begun.elapsed().as_secs_f64();
    let reported = monitor.reported.into_inner().unwrap_or_else(PoisonError::into_inner);
    let learning = match fitted {
        Ok(_) => ended,
        Err(error) if error.kind == kenyon_learn::Kind::Canceled && !outer.canceled() => reported.seconds(begun),
        Err(error) => return Err(error.into()),
    };
    let (_, found) = reported.prepared.ok_or_else(|| Error::internal("a training ended before it began"))?;
    Ok(Probed { rows: table.rows, reason: reason.or(found.reason), learning, ..found })
}

/// The options with the settings that the recipe gives for all rows: by those for the few of the trial it would make other
/// passes over another network. And why it is this family, where the request names none.
fn of_all_rows(
    table: &Table,
    plan: &Resolved,
    spec: &FitSpec,
    AllRows { rows, sampled }: AllRows,
) -> Result<(FitSpec, Option<String>)> {
    let unchanged = || Ok((spec.clone(), None));
    let Some(column) = table.column(&plan.target.name).filter(|_| rows > table.rows as u64) else {
        return unchanged();
    };
    let scale = rows as f64 / table.rows.max(1) as f64;
    let scaled = |rows: usize, share: f64| (rows as f64 * scale * share).round() as usize;
    let mut profile = DataProfile::new(table, plan);
    profile.rows = rows as usize;
    let (family, reason) = match (spec.family, Family::suited_to(&profile)) {
        (Some(family), _) => (family, None),
        (None, Some((family, reason))) => (family, Some(reason)),
        // The training refuses that, with the reason.
        (None, None) => return unchanged(),
    };
    let target = TargetEncoder::fit(&plan.target.name, column, plan.task, spec.task.is_some())?;
    let targets = target.encode(column)?;
    let profile = profile.of_rows(&split::labelled(&targets), &targets, target.outputs());
    let recipe = |share: f64| {
        let mut profile = profile.clone();
        profile.rows = scaled(profile.rows, share);
        profile.classes.iter_mut().for_each(|rows| *rows = scaled(*rows, share));
        Recipe::new(family, &profile, &spec.config).config
    };
    let mut config = recipe(1.0);
    let by_folds = spec.validation == Validation::Auto && sampled.is_none() && family.cross_fits(&config).is_some();
    if !by_folds {
        config = recipe(1.0 - held_out(spec, &profile, (rows, sampled), table.rows));
    }
    // Those of the rows of the trial would fill in what was left open for all.
    let without_rules = family.rules().iter().map(|rule| rule.name.to_owned()).collect();
    Ok((FitSpec { family: Some(family), config, without_rules, ..spec.clone() }, reason))
}

/// Share of the rows that is held out, where members do not leave rows out instead.
fn held_out(spec: &FitSpec, profile: &DataProfile, (rows, sampled): (u64, Option<usize>), read: usize) -> f64 {
    match (&spec.validation, sampled) {
        (Validation::Auto, Some(size)) => f64::from(fit::OF_SAMPLE) * size as f64 / rows as f64,
        (Validation::Auto, None) => f64::from(recipe::validation(profile, &[])),
        (Validation::Share(share) | Validation::Newest { share, .. } | Validation::Groups { share, .. }, _) => {
            f64::from(*share)
        }
        (Validation::From(row), _) => 1.0 - *row as f64 / read.max(1) as f64,
    }
}

/// A monitor that stops a training after a moment.
struct Probe<'a> {
    /// Of the dry run, which may have been given up.
    outer: &'a dyn Monitor,
    reported: Mutex<Reported>,
}

/// What the training reported.
#[derive(Default)]
struct Reported {
    /// When it began to learn, and from what.
    prepared: Option<(Instant, Probed)>,
    /// Share of the planned steps, and when it was reached.
    reached: Option<(f64, Instant)>,
}

impl Reported {
    /// How long the training would take, extrapolated from the steps it has made.
    fn seconds(&self, begun: Instant) -> f64 {
        let Some((prepared, _)) = self.prepared else { return 0.0 };
        let preparing = (prepared - begun).as_secs_f64();
        let steps = match self.reached {
            Some((fraction, at)) if fraction > 0.0 => (at - prepared).as_secs_f64() / fraction * PASSES,
            // Not even one step was made: it takes long.
            _ => PROBE.as_secs_f64() * 100.0,
        };
        preparing + steps
    }
}

impl Monitor for Probe<'_> {
    fn prepared(&self, prepared: &Prepared<'_>) {
        let found = Probed {
            family: prepared.family,
            reason: prepared.reason.map(str::to_owned),
            dropped: prepared.dropped.to_vec(),
            choices: Vec::new(),
            device: prepared.device,
            warnings: prepared.warnings.to_vec(),
            rows: 0,
            training: prepared.training,
            held_out: prepared.held_out,
            folds: prepared.folds,
            bytes: prepared.bytes,
            training_bytes: (prepared.training_bytes)(),
            reading: 0.0,
            learning: 0.0,
        };
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        reported.prepared = Some((Instant::now(), found));
    }

    fn progress(&self, progress: &Progress, _epoch_ended: bool) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        reported.reached = Some((progress.fraction, Instant::now()));
    }

    fn log(&self, _line: &str) {}

    fn canceled(&self) -> bool {
        let reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = reported.prepared.as_ref().is_some_and(|(prepared, _)| prepared.elapsed() > PROBE);
        ended || self.outer.canceled()
    }

    fn checkpoint_due(&self, _epoch_ended: bool) -> bool {
        false
    }

    fn checkpoint(&self, _step: u64, _bytes: Vec<u8>) -> kenyon_learn::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kenyon_learn::data::plan::ColumnPlan;
    use kenyon_learn::data::{Column, ColumnKind};
    use kenyon_learn::learning::fit::Silent;
    use kenyon_learn::models::Task;
    use serde_json::json;

    /// Rows of two classes that a number separates.
    fn rows() -> (Table, Resolved) {
        let numbers = (0..400).map(|i| f64::from(i % 2) * 2.0 + f64::from(i % 7) / 10.0).collect();
        let labels = (0..400).map(|i| Some(if i % 2 == 0 { "a" } else { "b" }.into())).collect();
        let columns = vec![("x".to_owned(), Column::Number(numbers)), ("y".to_owned(), Column::Category(labels))];
        let plan = Resolved {
            inputs: vec![ColumnPlan::new("x", ColumnKind::Number)],
            target: ColumnPlan::new("y", ColumnKind::Category),
            task: Task::Classification,
            ignored: Vec::new(),
        };
        (Table { rows: 400, columns }, plan)
    }

    #[test]
    fn settings_are_those_of_all_rows() {
        let (table, plan) = rows();
        let spec = FitSpec { target: "y".into(), ..FitSpec::default() };
        let (few, reason) = of_all_rows(&table, &plan, &spec, AllRows { rows: 400, sampled: None }).unwrap();
        assert!(few.config.is_empty() && few.family.is_none() && reason.is_none());
        let all = AllRows { rows: 500_000, sampled: Some(100_000) };
        let (many, reason) = of_all_rows(&table, &plan, &spec, all).unwrap();
        let family = many.family.unwrap();
        let mut profile = DataProfile::new(&table, &plan);
        (profile.rows, profile.classes) = (480_000, vec![240_000, 240_000]);
        assert_eq!(many.config, Recipe::new(family, &profile, &spec.config).config);
        assert!(!reason.unwrap().is_empty());
        // What the request names stays.
        let named = json!({ "epochs": 7 }).as_object().unwrap().clone();
        let spec = FitSpec { config: named, ..spec };
        assert_eq!(of_all_rows(&table, &plan, &spec, all).unwrap().0.config["epochs"], 7);
    }

    #[test]
    fn a_trial_by_settings_of_all_rows_is_a_training_and_says_why_its_family() {
        let (table, plan) = rows();
        let spec = FitSpec { target: "y".into(), ..FitSpec::default() };
        let all = AllRows { rows: 60_000, sampled: None };
        let found = probed(&table, &plan, &spec, all, (1, &Silent)).unwrap();
        assert!(found.reason.is_some() && found.folds == 0, "60,000 rows are not cross-fitted");
        assert!(found.learning > 0.0 && found.training_bytes > 0 && found.rows == 400);
        let few = probed(&table, &plan, &spec, AllRows { rows: 400, sampled: None }, (1, &Silent)).unwrap();
        assert!(few.reason.is_some() && few.folds > 0);
    }
}
