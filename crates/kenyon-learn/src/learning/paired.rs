//! Two models on the same labelled rows: how much their figures differ, and how sure that is.

use super::bundle::Bundle;
use crate::Result;
use crate::data::Table;
use crate::data::target::{Encoded, TargetEncoder};
use crate::models::UNLABELLED;
use crate::random::Random;
use indexmap::IndexMap;
use serde::Serialize;
use serde_json::Value;

/// Rows answered in one go.
const CHUNK: usize = 512;

/// Resamples of the rows for an interval.
const RESAMPLES: usize = 1000;

/// Rows that are listed because the answers differ.
const LISTED: usize = 100;

/// How two models compare.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Paired {
    /// Rows that both answered, and whose truth is known.
    pub rows: usize,
    /// By the name of each figure.
    #[cfg_attr(feature = "openapi", schema(value_type = std::collections::HashMap<String, PairedFigure>))]
    pub metrics: IndexMap<&'static str, PairedFigure>,
    /// The first rows that they answer differently; of numbers those that they answer most differently.
    pub disagree: Vec<Disagreement>,
}

/// A figure of two models.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PairedFigure {
    /// Of the first.
    pub a: f64,
    /// Of the second.
    pub b: f64,
    /// `b - a`.
    pub difference: f64,
    /// Bounds of the difference: the 2.5th and 97.5th percentile over resamples of the rows.
    pub interval: [f64; 2],
}

/// A row that two models answer differently.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Disagreement {
    /// Its number in the data, from 0.
    pub row: usize,
    /// The answer of the first.
    pub a: Value,
    /// The answer of the second.
    pub b: Value,
    /// What it is.
    pub truth: Value,
}

/// A model's answers to rows whose truth is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EvaluatedRows {
    /// Numbers of the rows.
    pub rows: Vec<usize>,
    /// Answers and truths.
    pub answers: Vec<(Value, Value)>,
    /// Losses of each row: mistake and log loss, or absolute and squared error.
    pub losses: Vec<[f64; 2]>,
    /// Whether the answers are classes.
    pub classes: bool,
}

/// Answers the rows of `table` whose truth is known. Where they are those that it was trained on (`learned`), each is answered by
/// the member that has left it out, if members did.
pub fn evaluate(bundle: &Bundle, table: &Table, learned: bool) -> Result<EvaluatedRows> {
    let config = &bundle.config;
    let folds = Some(&config.folds).filter(|folds| learned && folds.len() == table.rows);
    let missing = || crate::Error::unprocessable("unknown_column", "the data has no target column");
    let column = table.column(&config.target.name).ok_or_else(missing)?;
    let targets = config.target_encoder.encode(column)?;
    let batch = bundle.encode_plain(table)?;
    let known = |row: &usize| match &targets {
        Encoded::Classes(ids) => ids[*row] != UNLABELLED,
        Encoded::Values(values) => values[*row].is_finite(),
    };
    let rows: Vec<usize> = (0..table.rows).filter(known).collect();
    let mut evaluated = EvaluatedRows { classes: !bundle.classes().is_empty(), ..EvaluatedRows::default() };
    for chunk in rows.chunks(CHUNK) {
        let batch = batch.select(chunk);
        let answers = match folds {
            Some(folds) => bundle.run_members(&batch, &chunk.iter().map(|&row| folds[row]).collect::<Vec<_>>())?,
            None => bundle.run_plain(&batch)?,
        };
        for (row, outputs) in chunk.iter().zip(answers.values.chunks_exact(answers.outputs)) {
            let (answer, truth, losses) = match (&targets, &config.target_encoder) {
                (Encoded::Classes(ids), _) => {
                    let class = ids[*row] as usize;
                    let answer = bundle.label(outputs).cloned().unwrap_or_default();
                    let truth = bundle.classes()[class].clone();
                    let mistake = f64::from(u8::from(answer != truth));
                    (answer, truth, [mistake, -f64::from(outputs[class]).max(1e-15).ln()])
                }
                (Encoded::Values(values), TargetEncoder::Number { mean, std }) => {
                    let (answer, truth) = (bundle.value(outputs[0]), f64::from(values[*row]) * std + mean);
                    (answer.into(), truth.into(), [(answer - truth).abs(), (answer - truth).powi(2)])
                }
                _ => return Err(crate::Error::internal("target and task differ")),
            };
            evaluated.answers.push((answer, truth));
            evaluated.losses.push(losses);
        }
    }
    evaluated.rows = rows;
    Ok(evaluated)
}

/// Compares two models by the rows that both have evaluated.
pub fn compare(a: &EvaluatedRows, b: &EvaluatedRows) -> Paired {
    let mut pairs = Vec::new();
    let mut at = 0;
    for (i, row) in a.rows.iter().enumerate() {
        while b.rows.get(at).is_some_and(|other| other < row) {
            at += 1;
        }
        if b.rows.get(at) == Some(row) {
            pairs.push((i, at));
        }
    }
    let losses: Vec<([f64; 2], [f64; 2])> = pairs.iter().map(|&(i, j)| (a.losses[i], b.losses[j])).collect();
    let figures: [(&'static str, fn([f64; 2]) -> f64); 2] = match a.classes {
        true => [("accuracy", |mean| 1.0 - mean[0]), ("log_loss", |mean| mean[1])],
        false => [("mae", |mean| mean[0]), ("rmse", |mean| mean[1].sqrt())],
    };
    let means = |rows: &mut dyn Iterator<Item = usize>| {
        let (mut of_a, mut of_b) = ([0.0; 2], [0.0; 2]);
        for row in rows {
            for k in 0..2 {
                of_a[k] += losses[row].0[k];
                of_b[k] += losses[row].1[k];
            }
        }
        let n = losses.len().max(1) as f64;
        (of_a.map(|sum| sum / n), of_b.map(|sum| sum / n))
    };
    let all = means(&mut (0..losses.len()));
    let mut random = Random::stream(0, "compare", 0);
    let resampled: Vec<_> =
        (0..RESAMPLES).map(|_| means(&mut (0..losses.len()).map(|_| random.below(losses.len())))).collect();
    let figure = |(name, of): (&'static str, fn([f64; 2]) -> f64)| {
        let mut differences: Vec<f64> = resampled.iter().map(|(a, b)| of(*b) - of(*a)).collect();
        differences.sort_by(f64::total_cmp);
        let (a, b) = (of(all.0), of(all.1));
        let interval = [differences[RESAMPLES / 40], differences[RESAMPLES - 1 - RESAMPLES / 40]];
        (name, PairedFigure { a, b, difference: b - a, interval })
    };
    let mut differing: Vec<(usize, usize)> =
        pairs.iter().copied().filter(|&(i, j)| a.answers[i].0 != b.answers[j].0).collect();
    if !a.classes {
        let apart = |&(i, j): &(usize, usize)| {
            let value = |value: &Value| value.as_f64().unwrap_or(0.0);
            (value(&a.answers[i].0) - value(&b.answers[j].0)).abs()
        };
        differing.sort_by(|x, y| apart(y).total_cmp(&apart(x)));
    }
    let listed = differing.into_iter().take(LISTED).map(|(i, j)| {
        let (row, truth) = (a.rows[i], a.answers[i].1.clone());
        Disagreement { row, a: a.answers[i].0.clone(), b: b.answers[j].0.clone(), truth }
    });
    Paired { rows: pairs.len(), metrics: figures.into_iter().map(figure).collect(), disagree: listed.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluated(mistakes: &[bool]) -> EvaluatedRows {
        let answer = |&wrong: &bool| (Value::from(if wrong { "x" } else { "y" }), Value::from("y"));
        EvaluatedRows {
            rows: (0..mistakes.len()).collect(),
            answers: mistakes.iter().map(answer).collect(),
            losses: mistakes.iter().map(|&wrong| [f64::from(u8::from(wrong)), 0.5]).collect(),
            classes: true,
        }
    }

    #[test]
    fn a_better_model_is_better_beyond_chance_and_an_equal_one_is_not() {
        let often: Vec<bool> = (0..400).map(|i| i % 2 == 0).collect();
        let seldom: Vec<bool> = (0..400).map(|i| i % 10 == 0).collect();
        let better = compare(&evaluated(&often), &evaluated(&seldom));
        let accuracy = better.metrics["accuracy"];
        assert!((accuracy.difference - 0.4).abs() < 1e-12 && accuracy.interval[0] > 0.3, "{accuracy:?}");
        assert!(accuracy.interval[1] < 0.5 && better.disagree.len() == 100, "{accuracy:?}");
        let same = compare(&evaluated(&often), &evaluated(&often));
        assert_eq!((same.metrics["accuracy"].interval, same.disagree.len()), ([0.0, 0.0], 0));
    }

    #[test]
    fn rows_that_one_of_them_left_out_do_not_count() {
        let all = evaluated(&[true, false, true]);
        let mut some = evaluated(&[false, false]);
        some.rows = vec![0, 2];
        assert_eq!(compare(&all, &some).rows, 2);
    }
}
