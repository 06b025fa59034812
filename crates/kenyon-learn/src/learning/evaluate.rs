//! The metrics of a model on labelled rows.

use super::bundle::Bundle;
use super::calibrate::SetOptions;
use super::metrics::{self, CalibrationBin};
use super::residuals::Residuals;
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
    /// Rows with a known target.
    pub rows: usize,
    /// Rows left out: no target, or a class that is not one of the model's.
    pub skipped: usize,
    /// `accuracy`, `macro_f1`, `log_loss` … or `mae`, `rmse`, `r2`.
    #[cfg_attr(feature = "openapi", schema(value_type = std::collections::HashMap<String, Option<f64>>))]
    pub metrics: Map<String, Value>,
    /// The classes, in the order of the matrix; empty for regression.
    pub classes: Vec<Value>,
    /// Rows by true class (outer) and answer (inner).
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
    let known: Vec<usize> = (0..table.rows)
        .filter(|&row| match &targets {
            Encoded::Classes(ids) => ids[row] != UNLABELLED,
            Encoded::Values(values) => values[row].is_finite(),
        })
        .collect();
    let (mut values, mut error_sizes) = (Vec::new(), Vec::new());
    for rows in known.chunks(CHUNK) {
        let answers = bundle.run(&batch.select(rows))?;
        values.extend(answers.values);
        error_sizes.extend(answers.error_sizes);
    }
    let skipped = table.rows - known.len();
    Ok(match (&targets, &bundle.config.target_encoder) {
        (Encoded::Classes(ids), TargetEncoder::Classes(classes)) => {
            let truths: Vec<u32> = known.iter().map(|&row| ids[row]).collect();
            classified(bundle, classes, &values, &truths, skipped)
        }
        (Encoded::Values(standardised), TargetEncoder::Number { mean, std }) => {
            let truths: Vec<f64> = known.iter().map(|&row| f64::from(standardised[row]) * std + mean).collect();
            let answers: Vec<f64> = values.iter().map(|&v| bundle.value(v)).collect();
            regressed(bundle, (&answers, &error_sizes), &truths, skipped)
        }
        _ => return Err(crate::Error::internal("target and task differ")),
    })
}

pub(super) fn classified(
    bundle: &Bundle,
    classes: &[Value],
    values: &[f32],
    truths: &[u32],
    skipped: usize,
) -> Evaluation {
    let count = classes.len();
    let decision = &bundle.config.decision;
    let confusion = metrics::confusion(values, count, truths, decision);
    let coverage = COVERAGES
        .iter()
        .map(|&asked| {
            let (mut held, mut size) = (0usize, 0usize);
            for (p, &truth) in values.chunks_exact(count).zip(truths) {
                let set = bundle.set(p, SetOptions { allow_empty: true, ..SetOptions::of(asked) });
                held += usize::from(set.contains(&(truth as usize)));
                size += set.len();
            }
            let rows = truths.len().max(1) as f64;
            Coverage { asked, reached: held as f64 / rows, size: size as f64 / rows }
        })
        .collect();
    Evaluation {
        rows: truths.len(),
        skipped,
        metrics: metrics::to_map(&metrics::classification(values, count, truths, decision)),
        classes: classes.to_vec(),
        recall: metrics::recalls(&confusion),
        confusion,
        calibration: metrics::calibration_curve(values, count, truths),
        coverage,
        regression: None,
    }
}

/// `answers` are values in the target's unit and expected sizes of their errors, which may be missing.
pub(super) fn regressed(
    bundle: &Bundle,
    (answers, error_sizes): (&[f64], &[f32]),
    truths: &[f64],
    skipped: usize,
) -> Evaluation {
    let mut held_at_90 = None;
    let coverage = COVERAGES
        .iter()
        .filter_map(|&asked| {
            let (mut held, mut size) = (Vec::with_capacity(truths.len()), 0.0);
            for (row, (&answer, truth)) in answers.iter().zip(truths).enumerate() {
                let [low, high] = bundle.interval(answer, error_sizes.get(row).copied(), asked)?;
                held.push((low..=high).contains(truth));
                size += high - low;
            }
            let rows = truths.len().max(1) as f64;
            let reached = held.iter().filter(|held| **held).count() as f64 / rows;
            if asked == 0.9 {
                held_at_90 = Some(held);
            }
            Some(Coverage { asked, reached, size: size / rows })
        })
        .collect();
    Evaluation {
        rows: truths.len(),
        skipped,
        metrics: metrics::regression(answers, truths),
        classes: Vec::new(),
        confusion: Vec::new(),
        recall: Vec::new(),
        calibration: Vec::new(),
        coverage,
        regression: Some(Residuals::new(answers, truths, held_at_90.as_deref())),
    }
}
