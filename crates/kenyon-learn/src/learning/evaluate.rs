//! The metrics of a model on labelled rows.

use super::bundle::Bundle;
use super::calibrate::SetOptions;
use super::metrics::{self, CalibrationBin};
use super::residuals::Residuals;
use super::row_weights::{self, RowWeights};
use crate::Result;
use crate::data::Table;
use crate::data::target::{Encoded, TargetEncoder};
use crate::models::UNLABELLED;
use serde::Serialize;
use serde_json::{Map, Value};

/// Rows per forward pass.
const CHUNK: usize = 512;

/// Coverages whose conformal sets or intervals are checked.
const COVERAGES: [f64; 3] = [0.8, 0.9, 0.95];

/// The figures of a model on a dataset.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Evaluation {
    /// Rows with a known target, each counted once.
    pub rows: usize,
    /// Rows left out: no target, a class that is not one of the model's, or weight 0.
    pub skipped: usize,
    /// The column by which rows weigh in all shares and means, where the model was trained with it and the rows have it; rows
    /// are counted once everywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
    /// `accuracy`, `macro_f1`, `log_loss` … or `mae`, `rmse`, `r2`.
    #[cfg_attr(feature = "openapi", schema(value_type = std::collections::HashMap<String, Option<f64>>))]
    pub metrics: Map<String, Value>,
    /// The classes, in the order of the matrix; empty for regression.
    pub classes: Vec<Value>,
    /// Rows by true class (outer) and answer (inner), each counted once.
    pub confusion: Vec<Vec<u64>>,
    /// Share of each class's rows that was answered right.
    pub recall: Vec<Option<f64>>,
    /// Calibration curve: confidence and accuracy.
    pub calibration: Vec<CalibrationBin>,
    /// How often conformal sets (or intervals) hold the truth.
    pub coverage: Vec<Coverage>,
    /// Errors of predicted numbers in detail; null for classification.
    pub regression: Option<Residuals>,
}

/// Reliability of the sets at one coverage.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Coverage {
    /// The requested share.
    pub asked: f64,
    /// The observed share.
    pub reached: f64,
    /// Mean number of classes in a set, or mean width of an interval.
    pub size: f64,
}

/// Predicts all rows of `table` (inputs and target, as the model's plan reads them) and compares.
pub fn evaluate(bundle: &Bundle, table: &Table) -> Result<Evaluation> {
    let column = table
        .column(&bundle.config.target.name)
        .ok_or_else(|| crate::Error::unprocessable("unknown_column", "the data has no target column"))?;
    let targets = bundle.config.target_encoder.encode(column)?;
    let batch = bundle.encode_plain(table)?;
    let mut known: Vec<usize> = (0..table.rows)
        .filter(|&row| match &targets {
            Encoded::Classes(ids) => ids[row] != UNLABELLED,
            Encoded::Values(values) => values[row].is_finite(),
        })
        .collect();
    let weight = bundle.config.weight.as_deref().filter(|name| table.column(name).is_some() && !known.is_empty());
    let weights = weight.map(|name| row_weights::of_column(table, name, &known)).transpose()?;
    let weights: Option<Vec<f32>> = weights.map(|weights| {
        known.retain(|&row| weights[row] > 0.0);
        known.iter().map(|&row| weights[row]).collect()
    });
    let weights = RowWeights::new(weights.as_deref());
    let (mut values, mut error_sizes) = (Vec::new(), Vec::new());
    for rows in known.chunks(CHUNK) {
        let answers = bundle.run(&batch.select(rows))?;
        values.extend(answers.values);
        error_sizes.extend(answers.error_sizes);
    }
    let skipped = table.rows - known.len();
    let found = match (&targets, &bundle.config.target_encoder) {
        (Encoded::Classes(ids), TargetEncoder::Classes(classes)) => {
            let truths: Vec<u32> = known.iter().map(|&row| ids[row]).collect();
            classified(bundle, classes, &values, &truths, weights)
        }
        (Encoded::Values(standardised), TargetEncoder::Number { mean, std }) => {
            let truths: Vec<f64> = known.iter().map(|&row| f64::from(standardised[row]) * std + mean).collect();
            let answers: Vec<f64> = values.iter().map(|&v| bundle.value(v)).collect();
            regressed(bundle, (&answers, &error_sizes), &truths, weights)
        }
        _ => return Err(crate::Error::internal("target and task differ")),
    };
    Ok(Evaluation { skipped, weight: weight.map(str::to_owned), ..found })
}

/// Figures of rows with known classes, of which none has weight 0; none are counted as skipped.
pub(super) fn classified(
    bundle: &Bundle,
    classes: &[Value],
    values: &[f32],
    truths: &[u32],
    weights: RowWeights<'_>,
) -> Evaluation {
    let count = classes.len();
    let decision = &bundle.config.decision;
    let rows = weights.total(truths.len());
    let coverage = COVERAGES
        .iter()
        .map(|&asked| {
            let (mut held, mut size) = (0.0, 0.0);
            for (row, (p, &truth)) in values.chunks_exact(count).zip(truths).enumerate() {
                let set = bundle.set(p, SetOptions { allow_empty: true, ..SetOptions::of(asked) });
                held += if set.contains(&(truth as usize)) { weights.of(row) } else { 0.0 };
                size += set.len() as f64 * weights.of(row);
            }
            Coverage { asked, reached: held / rows, size: size / rows }
        })
        .collect();
    Evaluation {
        rows: truths.len(),
        skipped: 0,
        weight: None,
        metrics: metrics::to_map(&metrics::classification(values, count, truths, decision, weights)),
        classes: classes.to_vec(),
        confusion: metrics::confusion(values, count, truths, decision),
        recall: metrics::recalls(values, count, truths, decision, weights),
        calibration: metrics::calibration_curve(values, count, truths, weights),
        coverage,
        regression: None,
    }
}

/// `answers` are values in the target's unit and expected sizes of their errors, which may be missing; `weights` as in
/// [`classified`].
pub(super) fn regressed(
    bundle: &Bundle,
    (answers, error_sizes): (&[f64], &[f32]),
    truths: &[f64],
    weights: RowWeights<'_>,
) -> Evaluation {
    let rows = weights.total(truths.len());
    let mut held_at_90 = None;
    let coverage = COVERAGES
        .iter()
        .filter_map(|&asked| {
            let (mut held, mut size) = (Vec::with_capacity(truths.len()), 0.0);
            for (row, (&answer, truth)) in answers.iter().zip(truths).enumerate() {
                let [low, high] = bundle.interval(answer, error_sizes.get(row).copied(), asked)?;
                held.push((low..=high).contains(truth));
                size += (high - low) * weights.of(row);
            }
            let holding = held.iter().enumerate().filter(|(_, held)| **held);
            let reached = holding.map(|(row, _)| weights.of(row)).sum::<f64>() / rows;
            if asked == 0.9 {
                held_at_90 = Some(held);
            }
            Some(Coverage { asked, reached, size: size / rows })
        })
        .collect();
    Evaluation {
        rows: truths.len(),
        skipped: 0,
        weight: None,
        metrics: metrics::regression(answers, truths, weights),
        classes: Vec::new(),
        confusion: Vec::new(),
        recall: Vec::new(),
        calibration: Vec::new(),
        coverage,
        regression: Some(Residuals::new(answers, truths, held_at_90.as_deref(), weights)),
    }
}
