//! Two models on the same labelled rows: how much their figures differ, and how sure that is.

use super::bundle::Bundle;
use super::row_weights::{self, RowWeights};
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
    /// Rows that both answered, and whose truth is known; where rows weigh, those with a weight above 0.
    pub rows: usize,
    /// The column by which rows weigh in the figures, where both models were trained with it and the rows have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
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
    /// The column by which rows weigh, if they do.
    pub weight: Option<String>,
    /// The weights of the rows, each above 0; empty where all weigh alike.
    pub weights: Vec<f32>,
}

/// The column by which rows weigh where two models are compared: that of both trainings. Where it is that of one only, each row
/// counts once.
pub fn common_weight<'a>(a: &'a Bundle, b: &Bundle) -> Option<&'a str> {
    a.config.weight.as_deref().filter(|name| b.config.weight.as_deref() == Some(name))
}

/// Answers the rows of `table` whose truth is known. Where they are those that it was trained on (`learned`), each is answered by
/// the member that has left it out, if members did. Rows weigh by the column `weight`, where the table has it.
///
/// # Errors
/// There is no target column, it does not fit, or the weights are bad.
pub fn evaluate(bundle: &Bundle, table: &Table, learned: bool, weight: Option<&str>) -> Result<EvaluatedRows> {
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
    let mut rows: Vec<usize> = (0..table.rows).filter(known).collect();
    let mut evaluated = EvaluatedRows { classes: !bundle.classes().is_empty(), ..EvaluatedRows::default() };
    if let Some(name) = weight.filter(|name| table.column(name).is_some() && !rows.is_empty()) {
        let weights = row_weights::of_column(table, name, &rows)?;
        rows.retain(|&row| weights[row] > 0.0);
        evaluated.weights = rows.iter().map(|&row| weights[row]).collect();
        evaluated.weight = Some(name.to_owned());
    }
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

/// Compares two models by the rows that both have evaluated, which weigh as they do for the first.
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
    let weights: Option<Vec<f32>> = (!a.weights.is_empty()).then(|| pairs.iter().map(|&(i, _)| a.weights[i]).collect());
    let weights = RowWeights::new(weights.as_deref());
    let figures: [(&'static str, fn([f64; 2]) -> f64); 2] = match a.classes {
        true => [("accuracy", |mean| 1.0 - mean[0]), ("log_loss", |mean| mean[1])],
        false => [("mae", |mean| mean[0]), ("rmse", |mean| mean[1].sqrt())],
    };
    let means = |rows: &mut dyn Iterator<Item = usize>| {
        let (mut of_a, mut of_b, mut total) = ([0.0; 2], [0.0; 2], 0.0);
        for row in rows {
            let weight = weights.of(row);
            for k in 0..2 {
                of_a[k] += weight * losses[row].0[k];
                of_b[k] += weight * losses[row].1[k];
            }
            total += weight;
        }
        let total = if total > 0.0 { total } else { 1.0 };
        (of_a.map(|sum| sum / total), of_b.map(|sum| sum / total))
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
    let metrics = figures.into_iter().map(figure).collect();
    Paired { rows: pairs.len(), weight: a.weight.clone(), metrics, disagree: listed.collect() }
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
            ..EvaluatedRows::default()
        }
    }

    #[test]
    fn rows_count_by_their_weight() {
        let mistakes: Vec<bool> = (0..400).map(|i| i % 4 == 0).collect();
        let weighed = |mistakes: &[bool]| EvaluatedRows {
            weight: Some("w".to_owned()),
            weights: (0..400).map(|i| if i % 4 == 0 { 3.0 } else { 1.0 }).collect(),
            ..evaluated(mistakes)
        };
        let found = compare(&weighed(&mistakes), &weighed(&[false; 400]));
        let accuracy = found.metrics["accuracy"];
        assert_eq!((found.rows, found.weight.as_deref()), (400, Some("w")));
        assert!((accuracy.a - 0.5).abs() < 1e-12 && (accuracy.b - 1.0).abs() < 1e-12, "{accuracy:?}");
        // 300 effective rows of 400: the share of mistakes by weight deviates by about 0.035.
        let [low, high] = accuracy.interval;
        assert!(low < 0.5 && 0.5 < high && (0.08..0.2).contains(&(high - low)), "{accuracy:?}");
        assert_eq!(compare(&evaluated(&mistakes), &evaluated(&[false; 400])).metrics["accuracy"].a, 0.75);
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
