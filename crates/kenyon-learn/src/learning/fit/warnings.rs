//! Warnings of a training about its data and its model.

use crate::data::plan::Resolved;
use crate::data::split::Split;
use crate::data::target::{Encoded, NO_CLASS, TargetEncoder};
use crate::data::warning::{MAX_EXAMPLES, Warning, WarningCode, WarningExample};
use crate::data::{Column, Table, Task};
use crate::learning::bundle::class_name;
use crate::nn::probability::named;
use crate::random::Random;
use serde_json::Value;
use std::collections::HashMap;

/// A class with fewer rows cannot be both learned and evaluated.
const FEW_ROWS: usize = 10;
/// From this share of one class on, accuracy is not informative.
const IMBALANCED: f64 = 0.95;
/// With fewer rows held out, sets, intervals and novelty are coarse.
const CALIBRATED: usize = 100;
/// Integers with at most this many values may be meant as classes.
const AMBIGUOUS_VALUES: usize = 50;
/// Rows that are examined for leaks.
const LEAK_ROWS: usize = 4000;
/// A column leaks when it alone leaves at most this share of the errors of a constant prediction.
const LEAK_ERRORS: f64 = 0.01;

/// Rows without a value of the target, which nothing is learned from.
pub(super) fn of_rows_without_target(target: &str, rows: usize) -> Warning {
    let detail = format!(
        "{rows} rows have no {target} and are not learned from; among classes that are numbers, words such as NA mean none"
    );
    let warning = Warning::new(WarningCode::MissingWords, Some(target), detail);
    Warning { rows: rows as u64, ..warning }
}

/// Whether a few rows have nearly all of the weight: it is as if only so many were learned (Kish 1965, "Survey Sampling").
pub(super) fn of_weights(column: &str, weights: &[f32], training: &[usize]) -> Option<Warning> {
    let used = || training.iter().map(|&row| f64::from(weights[row]));
    let most = used().fold(0.0, f64::max);
    // Shares of the largest, whose squares stay finite.
    let (sum, squares) = used().fold((0.0, 0.0), |(sum, squares), w| (sum + w / most, squares + (w / most).powi(2)));
    let effective = sum * sum / squares;
    if training.len() < 5 * FEW_ROWS || effective >= FEW_ROWS as f64 {
        return None;
    }
    let detail = format!("a few rows have nearly all of the weight: it is as if {effective:.1} rows were learned");
    Some(Warning::new(WarningCode::ExtremeValues, Some(column), detail))
}

/// Warnings about the data before training. `task_is_stated` is whether the request names the task.
pub(super) fn of_data(
    table: &Table,
    plan: &Resolved,
    task_is_stated: bool,
    target: &TargetEncoder,
    targets: &Encoded,
    split: &Split,
) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let name = plan.target.name.as_str();
    if !task_is_stated {
        warnings.extend(ambiguous_task(table, plan));
    }
    if let (Encoded::Classes(ids), TargetEncoder::Classes(classes)) = (targets, target) {
        warnings.extend(class_sizes(name, ids, classes));
    }
    warnings.extend(leaks(table, plan, targets));
    if split.validation.len() < CALIBRATED {
        let held = split.validation.len();
        let detail =
            format!("only {held} rows are held out: sets, intervals and novelty are coarse, figures uncertain");
        warnings.push(Warning { rows: held as u64, ..Warning::new(WarningCode::Uncalibrated, None, detail) });
    }
    warnings
}

/// Every class has one row: a network that leaves it out has not learned the class.
pub(super) fn of_single_rows(rows: usize) -> Warning {
    let detail =
        "no class has a second row: no row can show how good the answers are, and there are no metrics".to_owned();
    Warning { rows: rows as u64, ..Warning::new(WarningCode::Uncalibrated, None, detail) }
}

/// Classes that the model never names on the held-out rows, though they hold some; from the rows' probabilities and the
/// factors by which a class is named.
pub(super) fn of_answers(
    plan: &Resolved,
    target: &TargetEncoder,
    truths: &[u32],
    probabilities: &[f32],
    decision: &[f32],
) -> Option<Warning> {
    let TargetEncoder::Classes(classes) = target else { return None };
    let (mut held, mut answered) = (vec![0u64; classes.len()], vec![false; classes.len()]);
    for (answer, &truth) in probabilities.chunks_exact(classes.len()).zip(truths) {
        held[truth as usize] += 1;
        answered[named(answer, decision)] = true;
    }
    let never: Vec<usize> = (0..classes.len()).filter(|&class| held[class] > 0 && !answered[class]).collect();
    if never.is_empty() {
        return None;
    }
    let rows = never.iter().map(|&class| held[class]).sum();
    let detail = format!("on held-out rows the model never answers {}", listed(never.iter().map(|&c| &classes[c])));
    Some(Warning { rows, ..Warning::new(WarningCode::ClassNeverPredicted, Some(&plan.target.name), detail) })
}

fn ambiguous_task(table: &Table, plan: &Resolved) -> Option<Warning> {
    let Column::Number(values) = table.column(&plan.target.name)? else { return None };
    let mut distinct: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
    if distinct.iter().any(|v| v.fract() != 0.0) {
        return None;
    }
    distinct.sort_by(f64::total_cmp);
    distinct.dedup();
    if !(3..=AMBIGUOUS_VALUES).contains(&distinct.len()) {
        return None;
    }
    let (read, other) = match plan.task {
        Task::Classification => ("classes", "regression"),
        Task::Regression => ("a quantity", "classification"),
    };
    let detail =
        format!("{} whole numbers are read as {read}; if that is wrong, set \"task\":\"{other}\"", distinct.len());
    Some(Warning::new(WarningCode::AmbiguousTask, Some(&plan.target.name), detail))
}

fn class_sizes(name: &str, ids: &[u32], classes: &[Value]) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let (mut counts, mut first) = (vec![0usize; classes.len()], vec![0u64; classes.len()]);
    for (row, &id) in ids.iter().enumerate().filter(|(_, id)| **id != NO_CLASS) {
        counts[id as usize] += 1;
        if counts[id as usize] == 1 {
            first[id as usize] = row as u64 + 1;
        }
    }
    let total: usize = counts.iter().sum();
    let few: Vec<usize> = (0..classes.len()).filter(|&class| counts[class] < FEW_ROWS).collect();
    if !few.is_empty() && total >= FEW_ROWS * classes.len().min(5) {
        let detail = format!("fewer than {FEW_ROWS} rows are of {}", listed(few.iter().map(|&class| &classes[class])));
        let example = |&class: &usize| WarningExample { row: first[class], value: classes[class].clone() };
        warnings.push(Warning {
            rows: few.iter().map(|&class| counts[class] as u64).sum(),
            examples: few.iter().take(MAX_EXAMPLES).map(example).collect(),
            ..Warning::new(WarningCode::FewRowsInClass, Some(name), detail)
        });
    }
    let largest = (0..counts.len()).max_by_key(|&class| counts[class]).unwrap_or(0);
    let share = counts.get(largest).copied().unwrap_or(0) as f64 / total.max(1) as f64;
    if share >= IMBALANCED {
        let detail = format!(
            "{} has {:.1} % of the rows: accuracy is not informative, check the recall of the others",
            class_name(&classes[largest]),
            share * 100.0
        );
        warnings.push(Warning {
            rows: (total - counts[largest]) as u64,
            ..Warning::new(WarningCode::Imbalanced, Some(name), detail)
        });
    }
    warnings
}

/// Columns that alone nearly determine the target, where there are other inputs. Each is evaluated on
/// rows other than those it was read from.
fn leaks(table: &Table, plan: &Resolved, targets: &Encoded) -> Vec<Warning> {
    let known = |row: &usize| match targets {
        Encoded::Classes(ids) => ids[*row] != NO_CLASS,
        Encoded::Values(values) => values[*row].is_finite(),
    };
    let mut rows: Vec<usize> = (0..table.rows).filter(known).collect();
    Random::stream(0, "leaks", 0).shuffle(&mut rows);
    rows.truncate(LEAK_ROWS);
    let (learn, validation) = rows.split_at(rows.len() / 2);
    if plan.inputs.len() < 2 || learn.len() < 20 {
        return Vec::new();
    }
    let leaking = plan.inputs.iter().filter(|input| {
        table.column(&input.name).is_some_and(|column| match (column, targets) {
            (Column::Number(values) | Column::Timestamp(values), _) => by_number(values, targets, learn, validation),
            (Column::Boolean(values), _) => {
                by_name(|row| values[row].map(|b| if b { "1" } else { "0" }), targets, learn, validation)
            }
            (Column::Category(values), _) => by_name(|row| values[row].as_deref(), targets, learn, validation),
            _ => false,
        })
    });
    leaking
        .map(|input| {
            let detail = format!(
                "'{}' alone nearly determines '{}': is its value known at prediction time?",
                input.name, plan.target.name
            );
            Warning::new(WarningCode::LeaksTarget, Some(&input.name), detail)
        })
        .collect()
}

/// Whether the target of a similar row, for each row of `validation`, leaves hardly any of the errors of a constant prediction.
fn determines(targets: &Encoded, validation: &[usize], similar: impl Fn(usize) -> Option<usize>) -> bool {
    match targets {
        Encoded::Classes(ids) => {
            let mut counts: HashMap<u32, usize> = HashMap::new();
            validation.iter().for_each(|&row| *counts.entry(ids[row]).or_default() += 1);
            let baseline = validation.len() - counts.values().max().copied().unwrap_or(0);
            let wrong = validation.iter().filter(|&&row| similar(row).is_none_or(|like| ids[like] != ids[row])).count();
            baseline >= 5 && wrong as f64 <= baseline as f64 * LEAK_ERRORS
        }
        Encoded::Values(values) => {
            let value = |row: usize| f64::from(values[row]);
            let mean = validation.iter().map(|&row| value(row)).sum::<f64>() / validation.len().max(1) as f64;
            let baseline: f64 = validation.iter().map(|&row| (value(row) - mean).powi(2)).sum();
            let error = |row: usize| value(row) - similar(row).map_or(mean, value);
            let left: f64 = validation.iter().map(|&row| error(row).powi(2)).sum();
            baseline > 0.0 && left <= baseline * LEAK_ERRORS * 0.1
        }
    }
}

/// By the row with the nearest number.
fn by_number(values: &[f64], targets: &Encoded, learn: &[usize], validation: &[usize]) -> bool {
    let mut sorted: Vec<usize> = learn.iter().copied().filter(|&row| !values[row].is_nan()).collect();
    sorted.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    determines(targets, validation, |row| {
        let at = sorted.partition_point(|&other| values[other] < values[row]);
        let near = [at.checked_sub(1), Some(at)].into_iter().flatten().filter_map(|i| sorted.get(i).copied());
        near.min_by(|&a, &b| (values[a] - values[row]).abs().total_cmp(&(values[b] - values[row]).abs()))
    })
}

/// By a row with the same name.
fn by_name<'t>(
    name: impl Fn(usize) -> Option<&'t str>,
    targets: &Encoded,
    learn: &[usize],
    validation: &[usize],
) -> bool {
    let mut like: HashMap<&str, usize> = HashMap::new();
    for &row in learn {
        if let Some(name) = name(row) {
            like.entry(name).or_insert(row);
        }
    }
    determines(targets, validation, |row| name(row).and_then(|name| like.get(name).copied()))
}

/// At most five classes, in words.
fn listed<'c>(classes: impl ExactSizeIterator<Item = &'c Value>) -> String {
    let more = classes.len().saturating_sub(MAX_EXAMPLES);
    let names: Vec<String> = classes.take(MAX_EXAMPLES).map(class_name).collect();
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    names.join(", ") + &rest
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::data::plan::ColumnPlan;
    use crate::data::schema::ColumnKind;

    fn found(columns: Vec<(&str, Column)>, task: Task) -> Vec<(WarningCode, Option<String>)> {
        let kind = |column: &Column| match column {
            Column::Number(_) => ColumnKind::Number,
            _ => ColumnKind::Category,
        };
        let rows = columns[0].1.len();
        let plans: Vec<_> = columns.iter().map(|(name, column)| ColumnPlan::new(*name, kind(column))).collect();
        let table = Table { rows, columns: columns.into_iter().map(|(n, c)| (n.to_owned(), c)).collect() };
        let plan = Resolved { target: plans[0].clone(), task, inputs: plans[1..].to_vec(), ignored: Vec::new() };
        let column = table.column("y").unwrap();
        let target = TargetEncoder::fit("y", column, task, false).unwrap();
        let targets = target.encode(column).unwrap();
        let split = Split { validation: (0..200).collect(), ..Split::default() };
        let warnings = of_data(&table, &plan, false, &target, &targets, &split);
        warnings.into_iter().map(|w| (w.code, w.column)).collect()
    }

    fn words(rows: usize, word: impl Fn(usize) -> &'static str) -> Column {
        Column::Category((0..rows).map(|row| Some(word(row).into())).collect())
    }

    fn noise(rows: usize, seed: u64) -> Column {
        let mut random = Random::new(seed);
        Column::Number((0..rows).map(|_| f64::from(random.uniform())).collect())
    }

    #[test]
    fn a_plain_table_is_passed_over() {
        let y = words(1000, |row| ["a", "b"][row % 2]);
        let almost = words(1000, |row| ["a", "b"][(row + usize::from(row % 20 == 0)) % 2]);
        assert_eq!(found(vec![("y", y), ("x", noise(1000, 1)), ("z", almost)], Task::Classification), []);
    }

    #[test]
    fn a_column_that_determines_the_target_is_named() {
        let y = words(1000, |row| ["a", "b"][row % 2]);
        let same = words(1000, |row| ["yes", "no"][row % 2]);
        let leak = (WarningCode::LeaksTarget, Some("copy".to_owned()));
        assert_eq!(
            found(vec![("y", y), ("x", noise(1000, 1)), ("copy", same)], Task::Classification),
            std::slice::from_ref(&leak)
        );
        let Column::Number(price) = noise(1000, 2) else { unreachable!() };
        let copy = Column::Number(price.iter().map(|p| p * 1.17 + 3.0).collect());
        let columns = vec![("y", Column::Number(price)), ("x", noise(1000, 1)), ("copy", copy)];
        assert_eq!(found(columns, Task::Regression), [leak]);
    }

    #[test]
    fn sizes_of_classes_and_doubtful_tasks_are_named() {
        let y = words(1000, |row| ["common", "rare"][usize::from(row % 200 == 0)]);
        let codes = |columns, task| found(columns, task).into_iter().map(|(code, _)| code).collect::<Vec<_>>();
        assert_eq!(
            codes(vec![("y", y), ("x", noise(1000, 1)), ("z", noise(1000, 3))], Task::Classification),
            [WarningCode::FewRowsInClass, WarningCode::Imbalanced]
        );
        let y = Column::Number((0..1000).map(|row| f64::from(row % 7)).collect());
        let columns = vec![("y", y), ("x", noise(1000, 1)), ("z", noise(1000, 3))];
        assert_eq!(codes(columns, Task::Classification), [WarningCode::AmbiguousTask]);
    }

    #[test]
    fn classes_that_are_never_named_are_listed() {
        let target = TargetEncoder::Classes(vec!["a".into(), "b".into(), "c".into()]);
        let plan = Resolved {
            target: ColumnPlan::new("y", ColumnKind::Category),
            task: Task::Classification,
            inputs: Vec::new(),
            ignored: Vec::new(),
        };
        let outputs = [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0];
        let warning = of_answers(&plan, &target, &[0, 2, 1], &outputs, &[]).unwrap();
        assert_eq!((warning.code, warning.rows), (WarningCode::ClassNeverPredicted, 1));
        assert!(warning.detail.ends_with("answers b"), "{}", warning.detail);
        assert!(of_answers(&plan, &target, &[0, 2], &outputs[..6], &[]).is_none());
    }
}
