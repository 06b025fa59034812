#![allow(clippy::unwrap_used)]

mod devices;
mod pictures;

use super::*;
use crate::data::Column;
use crate::data::plan::ColumnPlan;
use crate::data::schema::ColumnKind;
use crate::data::split::{self, NO_FOLD, Split};
use crate::data::target::Encoded;
use crate::data::warning::WarningCode;
use crate::learning::calibrate::SetOptions;
use crate::learning::verify::verified_files;
use crate::learning::{Validation, evaluate};
use crate::models::Family;
use crate::random::Random;
use serde_json::json;
use std::sync::Mutex;

/// A table of numbers `x0`, `x1` … and classes or numbers `y`.
struct Sample {
    table: Table,
    plan: Resolved,
}

fn sample(target: Column, inputs: Vec<Column>) -> Sample {
    let rows = target.len();
    let task = if matches!(target, Column::Number(_)) { Task::Regression } else { Task::Classification };
    let kind = if task == Task::Regression { ColumnKind::Number } else { ColumnKind::Category };
    let names = (0..inputs.len()).map(|i| format!("x{i}"));
    let mut columns: Vec<(String, Column)> = names.zip(inputs).collect();
    let inputs = columns.iter().map(|(name, _)| ColumnPlan::new(name, ColumnKind::Number)).collect();
    columns.push(("y".to_owned(), target));
    let plan = Resolved { target: ColumnPlan::new("y", kind), task, inputs, ignored: Vec::new() };
    Sample { table: Table { rows, columns }, plan }
}

fn words(rows: usize, word: impl Fn(usize) -> Option<&'static str>) -> Column {
    Column::Category((0..rows).map(|row| word(row).map(Box::from)).collect())
}

fn numbers(rows: usize, seed: u64) -> Vec<f64> {
    let mut random = Random::new(seed);
    (0..rows).map(|_| f64::from(random.uniform()) * 2.0 - 1.0).collect()
}

/// Two overlapping classes of `rows` rows, of which the last has none.
fn overlapping(rows: usize) -> Sample {
    let (x, z, noise) = (numbers(rows, 1), numbers(rows, 2), numbers(rows, 3));
    let first = |row: usize| x[row] + 0.5 * noise[row] > 0.0;
    let target = words(rows, |row| (row + 1 < rows).then(|| if first(row) { "a" } else { "b" }));
    sample(target, vec![Column::Number(x.clone()), Column::Number(z)])
}

fn spec(config: Value) -> FitSpec {
    let config = config.as_object().unwrap().clone();
    FitSpec { target: "y".into(), family: Family::named("sparse_mlp"), seed: 5, config, ..FitSpec::default() }
}

fn small(early_stopping: usize) -> FitSpec {
    spec(json!({ "members": 4, "cross_fit": true, "hidden": [16], "epochs": 6, "early_stopping": early_stopping }))
}

fn trained(sample: &Sample, spec: &FitSpec) -> Fitted {
    fit(&sample.table, &sample.plan, spec, 1, None, &Silent).unwrap()
}

/// 64 rows whose targets have mean 0 and are small whole numbers, so that sums over them are exact in any order; the
/// targets of two rows are swapped. Folds and scales of targets are then the same.
fn swapped(rows: (usize, usize)) -> Sample {
    let half = numbers(32, 6);
    let x: Vec<f64> = half.iter().copied().chain(half.iter().map(|x| -x)).collect();
    let mut y: Vec<f64> = x.iter().map(|x| (x * 4.0).round()).collect();
    (y[0], y[32]) = (4.0, -4.0);
    y.swap(rows.0, rows.1);
    sample(Column::Number(y), vec![Column::Number(x), Column::Number(numbers(64, 7))])
}

#[test]
fn every_row_is_evaluated_by_a_member_that_has_not_learned_it() {
    for early_stopping in [0, 2] {
        let spec = small(early_stopping);
        let before = trained(&swapped((0, 0)), &spec);
        let folds = &before.bundle.config.folds;
        assert_eq!((&before.measured.members, before.measured.rows.len()), (folds, 64));
        let Column::Number(y) = swapped((0, 0)).table.columns[2].1.clone() else { unreachable!() };
        let other = (1..64).find(|&row| folds[row] == folds[0] && y[row] != y[0]).unwrap();
        let after = trained(&swapped((0, other)), &spec);
        let same = |row: &usize| before.measured.outputs[*row] == after.measured.outputs[*row];
        assert!((0..64).filter(|&row| folds[row] == folds[0]).all(|row| same(&row)));
        assert!((0..64).filter(same).count() < 40, "other members learn both rows");
    }
}

#[test]
fn rows_that_measure_choose_nothing_else() {
    // The last 20 rows are held out by the request; two of them exchange their targets, which leaves their mean.
    let rows = |exchanged: bool| {
        let x = numbers(120, 6);
        let mut y: Vec<f64> = x.iter().map(|x| (x * 4.0).round()).collect();
        (y[118], y[119]) = if exchanged { (-5.0, 5.0) } else { (5.0, -5.0) };
        sample(Column::Number(y), vec![Column::Number(x)])
    };
    let config = json!({ "members": 1, "cross_fit": false, "hidden": [16], "epochs": 20, "early_stopping": 20 });
    let spec = FitSpec { validation: Validation::From(100), ..spec(config) };
    let (one, other) = (trained(&rows(false), &spec), trained(&rows(true), &spec));
    assert_eq!(one.measured, other.measured, "the same network, whatever the rows that measure it");
    assert_eq!(one.stopping_loss, other.stopping_loss);
    assert_ne!(one.metrics["rmse"], other.metrics["rmse"]);
    assert_eq!((one.held_out.rows, one.measured.rows.len()), (20, 20));
    let [low, high] = [0, 1].map(|at| one.intervals["rmse"][at].as_f64().unwrap());
    let rmse = one.metrics["rmse"].as_f64().unwrap();
    assert!(low < rmse && rmse < high && one.metrics.keys().all(|name| !name.starts_with("validation")));
}

#[test]
fn what_is_saved_answers_by_single_members_and_by_all() {
    let sample = overlapping(81);
    let fitted = trained(&sample, &small(0));
    let files = verified_files(&fitted, &sample.table).unwrap();
    let loaded = Bundle::load(|name| files.iter().find(|(n, _)| *n == name).map(|(_, bytes)| &bytes[..])).unwrap();
    assert_eq!(loaded.config.folds, fitted.bundle.config.folds);
    assert_eq!((loaded.config.folds.len(), loaded.config.folds[80]), (81, NO_FOLD));
    assert_eq!(loaded.config.config["cross_fit"], true);
    let batch = loaded.encode(&sample.table.select(&[0, 1, 2])).unwrap();
    let by = |member: u8| loaded.network.forward_members(&batch, &[member; 3]).unwrap();
    let together = loaded.network.forward(&batch).unwrap();
    let members: Vec<Vec<f32>> = (0..4).map(by).collect();
    assert_ne!(members[0], members[1]);
    for (at, answer) in together.iter().enumerate() {
        let mean = members.iter().map(|own| own[at]).sum::<f32>() / 4.0;
        assert!((mean - answer).abs() < 1e-4, "{mean} {answer}");
    }
    assert!(loaded.network.forward_members(&batch, &[4; 3]).is_err());
    // Where rows are set aside, no member answers alone.
    let aside = trained(&sample, &FitSpec { validation: Validation::Share(0.25), ..small(0) });
    assert_eq!((aside.measured.rows.len(), aside.bundle.config.folds.len()), (20, 0));
    assert_eq!(aside.bundle.config.config["cross_fit"], false);
    assert!(aside.bundle.network.forward_members(&batch, &[0; 3]).is_err());
    verified_files(&aside, &sample.table).unwrap();
}

#[test]
fn linear_members_differ_by_their_rows_and_answer_singly_after_saving() {
    let sample = overlapping(81);
    let linear = json!({ "members": 3, "cross_fit": true, "hidden": [], "epochs": 4, "early_stopping": 0 });
    let fitted = trained(&sample, &spec(linear));
    assert_eq!(fitted.measured.members[..], fitted.bundle.config.folds[..80]);
    verified_files(&fitted, &sample.table).unwrap();
}

/// Keeps a checkpoint after so many steps and ends the training there.
struct Interrupted {
    after: u64,
    kept: Mutex<Option<Vec<u8>>>,
}

impl Monitor for Interrupted {
    fn progress(&self, _progress: &Progress, _epoch_ended: bool) {}
    fn log(&self, _line: &str) {}
    fn canceled(&self) -> bool {
        self.kept.lock().unwrap().is_some()
    }
    fn checkpoint_due(&self, _epoch_ended: bool) -> bool {
        true
    }
    fn checkpoint(&self, step: u64, bytes: Vec<u8>) -> Result<()> {
        if step == self.after {
            *self.kept.lock().unwrap() = Some(bytes);
        }
        Ok(())
    }
}

#[test]
fn an_interrupted_cross_fitting_ends_with_the_same_bits() {
    let sample = overlapping(81);
    for early_stopping in [0, 2] {
        let spec = small(early_stopping);
        let whole = trained(&sample, &spec);
        // In the middle of a pass, and at its end.
        for after in [4, 6] {
            let monitor = Interrupted { after, kept: Mutex::default() };
            let stopped = fit(&sample.table, &sample.plan, &spec, 1, None, &monitor);
            assert_eq!(stopped.unwrap_err().code, "canceled");
            let checkpoint = monitor.kept.into_inner().unwrap().unwrap();
            let resumed = fit(&sample.table, &sample.plan, &spec, 2, Some(&checkpoint), &Silent).unwrap();
            assert_eq!(resumed.measured, whole.measured);
            assert_eq!(resumed.bundle.files().unwrap(), whole.bundle.files().unwrap());
        }
    }
}

#[test]
fn one_row_a_class_trains_without_a_guarantee() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let target = words(6, |row| Some(names[row]));
    let sample = sample(target, vec![Column::Number((0..6).map(f64::from).collect())]);
    let fitted = trained(&sample, &spec(json!({})));
    let calibration = &fitted.bundle.config.calibration;
    assert_eq!((calibration.rows, calibration.temperature), (0, 1.0));
    assert!(fitted.warnings.iter().any(|warning| warning.code == WarningCode::Uncalibrated));
    assert!(fitted.metrics.is_empty(), "{:?}", fitted.metrics);
    let sets = SetOptions::of(0.9);
    assert_eq!(fitted.bundle.set(&[0.9, 0.1, 0.0, 0.0, 0.0, 0.0], sets).len(), 6);
    verified_files(&fitted, &sample.table).unwrap();
}

#[test]
fn a_folds_figures_are_of_a_calibration_without_it() {
    let ids: Vec<u32> = (0..40).map(|row| row % 2).collect();
    // The rows of fold 0 are answered wrong with certainty, all others right.
    let folds = split::folds(&Encoded::Classes(ids.clone()), 4, 1);
    let answers: Vec<f32> = (0..40)
        .flat_map(|row| {
            let right = (folds.of_row[row] != 0) == (ids[row] == 0);
            if right { [4.0, 0.0] } else { [0.0, 4.0] }
        })
        .collect();
    let all: Vec<usize> = (0..40).collect();
    let split = Split { training: all.clone(), validation: all, ..Split::default() };
    let (batch, targets) = (crate::data::Batch::new(), Encoded::Classes(ids));
    let (targets, split) = (&targets, &split);
    let data = Data { batch: &batch, targets, split, folds: Some(&folds), outputs: 2, drawn: None, rest: None };
    let calibrated = data.calibrate(&answers, None, &[], 0);
    let surest = |fold: u8| {
        let rows = (0..40).filter(|&row| folds.of_row[row] == fold);
        rows.map(|row| calibrated.answers[row * 2].max(calibrated.answers[row * 2 + 1])).fold(0.0, f32::max)
    };
    assert!(surest(0) > 0.99 && surest(1) < 0.9, "{} {}", surest(0), surest(1));
}

/// Two classes, the rare one of which is never the more probable one.
fn imbalanced(rows: usize, seed: u64) -> Sample {
    let (x, z) = (numbers(rows, seed), numbers(rows, seed + 1));
    let target = words(rows, |row| Some(if x[row] > 0.5 && row % 10 == 0 { "rare" } else { "common" }));
    sample(target, vec![Column::Number(x), Column::Number(z)])
}

#[test]
fn a_balanced_objective_names_the_rare_class_and_leaves_probabilities() {
    let (sample, new) = (imbalanced(600, 50), imbalanced(600, 60));
    let fitted = |objective| trained(&sample, &FitSpec { objective, ..spec(json!({ "epochs": 20 })) });
    let (plain, balanced) = (fitted(Objective::Accuracy), fitted(Objective::Balanced));
    let figure = |fitted: &Fitted, name: &str| fitted.metrics[name].as_f64().unwrap();
    assert_eq!(plain.measured.outputs, balanced.measured.outputs);
    for name in ["log_loss", "average_precision", "expected_calibration_error"] {
        assert_eq!(figure(&plain, name), figure(&balanced, name), "{name}");
    }
    let never = |fitted: &Fitted| fitted.warnings.iter().any(|w| w.code == WarningCode::ClassNeverPredicted);
    assert!(never(&plain) && !never(&balanced));
    assert!((figure(&plain, "balanced_accuracy") - 0.5).abs() < 0.01);
    assert!(figure(&balanced, "balanced_accuracy") > 0.7, "{}", figure(&balanced, "balanced_accuracy"));
    // The same holds for new rows and for what was saved; a bundle of before has no factors.
    let files = verified_files(&balanced, &sample.table).unwrap();
    let loaded = Bundle::load(|name| files.iter().find(|(n, _)| *n == name).map(|(_, bytes)| &bytes[..])).unwrap();
    let found = evaluate::evaluate(&loaded, &new.table).unwrap();
    assert!(found.recall[1].unwrap() > 0.7, "{:?}", found.recall);
    assert!(plain.bundle.config.decision.is_empty());
    let text = String::from_utf8(plain.bundle.files().unwrap()[0].1.clone()).unwrap();
    assert!(!text.contains("decision"));
}

/// Points inside and outside of a ball, one in twenty of them mislabelled: no number alone is informative, as in many a
/// table of few rows.
fn ball(rows: usize, seed: u64) -> Sample {
    let inputs: Vec<Vec<f64>> = (0..4).map(|i| numbers(rows, seed + i)).collect();
    let noise = numbers(rows, seed + 4);
    let outside = |row: usize| inputs[..3].iter().map(|x| x[row] * x[row]).sum::<f64>() > 1.0;
    let target = words(rows, |row| Some(if outside(row) != (noise[row] > 0.9) { "a" } else { "b" }));
    sample(target, inputs.iter().cloned().map(Column::Number).collect())
}

#[test]
fn few_rows_are_learned_better_than_by_the_recipe_of_before() {
    // The mean over tables: one alone varies by three points.
    let tables: Vec<(Sample, Sample)> =
        (0..4).map(|at| (ball(400, 20 + 100 * at), ball(1000, 40 + 100 * at))).collect();
    let accuracy = |config: Value| {
        let one = |(sample, new): &(Sample, Sample)| {
            let fitted = trained(sample, &spec(config.clone()));
            evaluate::evaluate(&fitted.bundle, &new.table).unwrap().metrics["accuracy"].as_f64().unwrap()
        };
        tables.iter().map(one).sum::<f64>() / tables.len() as f64
    };
    let found = accuracy(json!({}));
    // The settings of the recipe of 0.1 for tables of so few rows.
    let before = accuracy(json!({
        "learning_rate": 0.0007, "weight_decay": 1.0, "members": 1, "active_share": 0.1, "hidden": [512], "epochs": 200,
        "early_stopping": 50, "batch_size": 32,
    }));
    assert!(found > BAR && before < BAR, "{found} against {before}");
}

/// Between what both recipes reach.
const BAR: f64 = 0.83;

#[test]
fn a_row_with_all_of_the_weight_is_reported() {
    let training: Vec<usize> = (0..400).collect();
    let weights = |odd: f32| -> Vec<f32> { (0..400).map(|row| if row == 7 { odd } else { 1.0 }).collect() };
    assert_eq!(warnings::of_weights("w", &weights(1.0), &training), None);
    assert_eq!(warnings::of_weights("w", &weights(20.0), &training), None);
    for odd in [1e6, 1e30] {
        let warning = warnings::of_weights("w", &weights(odd), &training).unwrap();
        assert!(
            warning.code == WarningCode::ExtremeValues && warning.detail.contains("1.0 rows"),
            "{}",
            warning.detail
        );
    }
}

#[test]
fn figures_of_weighted_rows_are_weighted_means_and_rows_are_counted_once() {
    let rows = 401;
    let mut all = overlapping(rows);
    let weight = |row: usize| [0.0, 1.0, 5.0][row % 3];
    all.table.columns.push(("w".to_owned(), Column::Number((0..rows).map(weight).collect())));
    let weighed = FitSpec { weight: Some("w".to_owned()), ..small(2) };
    let fitted = trained(&all, &weighed);
    let Some(Column::Category(words)) = all.table.column("y") else { unreachable!() };
    let (mut right, mut sum) = (0.0, 0.0);
    for (&row, outputs) in fitted.measured.rows.iter().zip(fitted.measured.outputs.chunks_exact(2)) {
        let named = &fitted.bundle.class_names()[usize::from(outputs[1] > outputs[0])];
        right += if words[row].as_deref() == Some(named.as_str()) { weight(row) } else { 0.0 };
        sum += weight(row);
    }
    let accuracy = fitted.metrics["accuracy"].as_f64().unwrap();
    assert!((accuracy - right / sum).abs() < 1e-6, "{accuracy} against {}", right / sum);
    let held = &fitted.held_out;
    let counted = (0..rows - 1).filter(|row| row % 3 > 0).count();
    assert_eq!((held.rows, held.rows + held.skipped, held.weight.as_deref()), (counted, rows - 1, Some("w")));
    assert_eq!(held.confusion.iter().flatten().sum::<u64>(), counted as u64);
    assert_eq!(held.calibration.iter().map(|bin| bin.rows).sum::<u64>(), counted as u64);
    // A third of the rows has weight 0, and the others weigh 1 or 5: Kish, (Σw)² / Σw².
    let calibration = &fitted.bundle.config.calibration;
    assert!((180..=195).contains(&calibration.rows), "{}", calibration.rows);
    let [low, high] = [0, 1].map(|at| fitted.intervals["accuracy"][at].as_f64().unwrap());
    let half = 1.96 * (accuracy * (1.0 - accuracy) / 185.0).sqrt();
    assert!(((high - low) / 2.0 - half).abs() < 0.2 * half, "{low} {high} against {half}");

    // Evaluated on other data rows weigh, too, where they have the column.
    let again = evaluate::evaluate(&fitted.bundle, &all.table).unwrap();
    assert_eq!((again.rows, again.skipped, again.weight.as_deref()), (counted, rows - counted, Some("w")));
    let mut bare = all.table.clone();
    bare.columns.pop();
    let plain = evaluate::evaluate(&fitted.bundle, &bare).unwrap();
    assert_eq!((plain.rows, plain.weight), (rows - 1, None));
    bare.columns.push(("w".to_owned(), Column::Number(vec![-1.0; rows])));
    assert_eq!(evaluate::evaluate(&fitted.bundle, &bare).unwrap_err().code, "bad_weight");
}

#[test]
fn numbers_that_weigh_are_evaluated_once_each() {
    let rows = 300;
    let (x, noise) = (numbers(rows, 1), numbers(rows, 2));
    let target = Column::Number((0..rows).map(|row| x[row] * 3.0 + noise[row]).collect());
    let mut all = sample(target, vec![Column::Number(x)]);
    // Some weigh so little that they are hardly ever drawn.
    let weight = |row: usize| [0.001, 1.0, 4.0][row % 3];
    all.table.columns.push(("w".to_owned(), Column::Number((0..rows).map(weight).collect())));
    let fitted = trained(&all, &FitSpec { weight: Some("w".to_owned()), ..small(2) });
    let held = &fitted.held_out;
    assert_eq!((held.rows, held.skipped), (rows, 0));
    let residuals = held.regression.as_ref().unwrap();
    assert_eq!(residuals.quantiles.iter().map(|group| group.rows).sum::<u64>(), rows as u64);
    assert_eq!(residuals.histogram.iter().map(|bin| bin.1).sum::<u64>(), rows as u64);
    let shares: Option<Vec<f64>> = residuals.quantiles.iter().map(|group| group.coverage).collect();
    let shares = shares.unwrap();
    assert!(shares.iter().sum::<f64>() / shares.len() as f64 > 0.7, "{shares:?}");
}

/// A monitor that keeps every checkpoint with its step.
#[derive(Default)]
struct Keeping(Mutex<Vec<(u64, Vec<u8>)>>);

impl Monitor for Keeping {
    fn progress(&self, _progress: &Progress, _epoch_ended: bool) {}
    fn log(&self, _line: &str) {}
    fn canceled(&self) -> bool {
        false
    }
    fn checkpoint_due(&self, _epoch_ended: bool) -> bool {
        true
    }
    fn checkpoint(&self, step: u64, bytes: Vec<u8>) -> Result<()> {
        self.0.lock().unwrap().push((step, bytes));
        Ok(())
    }
}

#[test]
fn rows_beyond_the_table_are_learned_from_and_a_resumed_training_ends_the_same() {
    // The class depends on which of 24 intervals a number is in, which takes more steps than passes over 300 rows have.
    let rows = 24_000;
    let (x, z) = (numbers(rows, 1), numbers(rows, 2));
    let striped = |row: usize| (((x[row] + 1.0) * 12.0) as usize).is_multiple_of(2);
    let target = words(rows, |row| (row % 50 != 7).then(|| if striped(row) { "a" } else { "b" }));
    let all = sample(target, vec![Column::Number(x.clone()), Column::Number(z)]);
    let few = all.table.select(&(0..300).collect::<Vec<_>>());
    let read = |each: &mut dyn FnMut(&Table) -> Result<()>| {
        (300..rows).collect::<Vec<_>>().chunks(1000).try_for_each(|rows| each(&all.table.select(rows)))
    };
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("rows");
    let more = MoreRows { rows: rows - 300, read: &read, cache: &cache };
    let spec = FitSpec {
        class_weights: Some(super::super::ClassWeights::Balanced),
        ..spec(json!({
            "hidden": [32], "bins": 64, "epochs": 3, "batch_size": 100, "early_stopping": 0, "learning_rate": 0.02,
        }))
    };
    let keeping = Keeping::default();
    let fitted = fit_more(&few, Some(&more), &all.plan, &spec, 2, None, &keeping).unwrap();
    let files = verified_files(&fitted, &few).unwrap();
    let learned = 240 + (300..rows).filter(|row| row % 50 != 7).count();
    assert!(fitted.bundle.config.rows.abs_diff(learned) <= 6, "{} of {learned}", fitted.bundle.config.rows);
    let alone = fit(&few, &all.plan, &spec, 2, None, &Silent).unwrap();
    let accuracy = |fitted: &Fitted| fitted.metrics["accuracy"].as_f64().unwrap();
    assert!(accuracy(&fitted) > accuracy(&alone) + 0.1, "{} and {}", accuracy(&fitted), accuracy(&alone));
    let kept = keeping.0.into_inner().unwrap();
    let steps = fitted.bundle.config.rows.div_ceil(100) as u64;
    assert_eq!(kept.last().unwrap().0, 3 * steps);
    for (_, bytes) in [&kept[5], &kept[kept.len() / 2], &kept[kept.len() - 3]] {
        let resumed = fit_more(&few, Some(&more), &all.plan, &spec, 1, Some(bytes), &Silent).unwrap();
        assert_eq!(verified_files(&resumed, &few).unwrap(), files);
    }
}
