//! The weight of each row: in the loss, and where held-out rows calibrate.

use crate::Result;
use crate::data::Table;
use crate::data::target::{Encoded, TargetEncoder};
use crate::learning::{ClassWeights, FitSpec, row_weights};
use crate::random::Random;
use serde_json::{Map, Value};

/// Held-out rows are repeated at most this many times, in proportion to their weight.
const RESOLUTION: usize = 8;
/// Rows that held-out rows are repeated to, at most.
const MAX_DRAWN: usize = 200_000;

/// The weight of every row of the table by its own column, 1 on average over the training rows.
pub(super) fn of_rows(table: &Table, spec: &FitSpec, training: &[usize]) -> Result<Option<Vec<f32>>> {
    spec.weight.as_ref().map(|name| row_weights::of_column(table, name, training)).transpose()
}

/// The weight of each class, from the request or else the family's settings.
pub(super) fn of_classes(
    spec: &FitSpec,
    config: &Map<String, Value>,
    target: &TargetEncoder,
    balanced: impl FnOnce() -> Option<Vec<f32>>,
) -> Result<Option<Vec<f32>>> {
    match &spec.class_weights {
        Some(ClassWeights::Each(named)) => target.weights(named).map(Some),
        Some(ClassWeights::Balanced) => Ok(balanced()),
        None if config.get("class_weights").and_then(Value::as_str) == Some("balanced") => Ok(balanced()),
        None => Ok(None),
    }
}

/// Weights of rows and of classes in one.
pub(super) fn joined(rows: Option<&[f32]>, classes: Option<&[f32]>, targets: &Encoded) -> Option<Vec<f32>> {
    let class_of = |row: usize| match targets {
        Encoded::Classes(ids) => Some(ids[row] as usize),
        Encoded::Values(_) => None,
    };
    let of_class = |row: usize| {
        class_of(row).and_then(|class| classes.and_then(|weights| weights.get(class))).copied().unwrap_or(1.0)
    };
    let count = match targets {
        Encoded::Classes(ids) => ids.len(),
        Encoded::Values(values) => values.len(),
    };
    if rows.is_none() && classes.is_none() {
        return None;
    }
    Some((0..count).map(|row| of_class(row) * rows.map_or(1.0, |weights| weights[row])).collect())
}

/// Positions in `rows`, ascending, each about as often as it weighs, so that plain counts over them are weighted counts; and
/// the effective sample size (Kish 1965). What is reported is of the rows themselves, by their weights.
pub(super) fn drawn(rows: &[usize], weights: &[f32], seed: u64) -> (Vec<usize>, usize) {
    let weight = |&row: &usize| f64::from(weights[row]);
    let (sum, squares) = rows.iter().map(weight).fold((0.0, 0.0), |(sum, squares), w| (sum + w, squares + w * w));
    if sum <= 0.0 {
        return ((0..rows.len()).collect(), rows.len());
    }
    // Systematic sampling: one random start, then equal steps along the sum of weights.
    let count = (rows.len() * RESOLUTION).min(MAX_DRAWN).max(rows.len());
    let step = sum / count as f64;
    let mut at = f64::from(Random::stream(seed, "weights", 0).uniform()) * step;
    let (mut sampled, mut passed) = (Vec::with_capacity(count), 0.0);
    for (position, row) in rows.iter().enumerate() {
        passed += weight(row);
        while at < passed {
            sampled.push(position);
            at += step;
        }
    }
    (sampled, ((sum * sum / squares).round() as usize).clamp(1, rows.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_drawn_as_often_as_they_weigh() {
        let (sampled, rows) = drawn(&[3, 0, 1], &[1.0, 2.0, 9.0, 5.0], 1);
        let count = |position| sampled.iter().filter(|&&p| p == position).count();
        assert_eq!((count(0), count(1), count(2)), (15, 3, 6));
        assert_eq!(rows, 2);
    }

    #[test]
    fn weights_of_rows_and_classes_are_multiplied() {
        let targets = Encoded::Classes(vec![0, 1, u32::MAX]);
        assert_eq!(joined(Some(&[1.0, 2.0, 3.0]), Some(&[0.5, 4.0]), &targets), Some(vec![0.5, 8.0, 3.0]));
        assert_eq!(joined(None, None, &targets), None);
    }
}
