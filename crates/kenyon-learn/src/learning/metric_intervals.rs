//! How sure metrics are: what they would be on other rows of the same kind.

use crate::random::Random;
use serde_json::{Map, Value, json};

/// Deviations of a 95 % interval.
const Z: f64 = 1.96;

/// Resamples of the rows, and rows of all resamples together times the outputs of a row, at most; but some resamples of some rows
/// at least.
const MOST: usize = 200;
const MOST_NUMBERS: usize = 1_000_000;
const LEAST: usize = 25;
const LEAST_ROWS: usize = 2_000;

/// Metrics that lie between 0 and 1.
const SHARES: [&str; 6] =
    ["accuracy", "balanced_accuracy", "average_precision", "macro_f1", "auc", "expected_calibration_error"];

/// A 95 % interval `[lower, upper]` for each of `metrics`, which are those of the rows `0..rows`: the metric and 1.96 times its deviation over
/// resamples of the rows (the bootstrap of Efron 1979, normal); for the accuracy by Wilson (1927), which holds for few rows, and where all were answered
/// right. None for a metric that is the same in all resamples.
///
/// `effective` is the effective sample size (Kish 1965), fewer than `rows` where rows weigh differently, as they do in `of`, which has the
/// metrics of some rows; a row has `outputs` numbers.
pub(super) fn intervals(
    metrics: &Map<String, Value>,
    (rows, effective, outputs): (usize, usize, usize),
    seed: u64,
    of: impl Fn(&[usize]) -> Map<String, Value>,
) -> Map<String, Value> {
    if rows == 0 || effective == 0 {
        return Map::new();
    }
    let rows_of_all = MOST_NUMBERS / outputs.max(1);
    let count = (rows_of_all / rows).clamp(LEAST, MOST);
    // Of fewer rows than there are, a metric deviates more.
    let size = rows.min((rows_of_all / count).max(LEAST_ROWS));
    let scale = (size as f64 / rows as f64).sqrt();
    let mut random = Random::stream(seed, "metric intervals", 0);
    let mut drawn = vec![0; size];
    let resampled: Vec<Map<String, Value>> = (0..count)
        .map(|_| {
            drawn.fill_with(|| random.below(rows));
            of(&drawn)
        })
        .collect();
    let interval = |(name, value): (&String, &Value)| {
        let metric = value.as_f64()?;
        let [low, high] = match name.as_str() {
            "accuracy" => wilson(metric, effective as f64),
            _ => {
                let values: Vec<f64> = resampled.iter().filter_map(|one| one.get(name)?.as_f64()).collect();
                let half = Z * scale * deviation(&values)?;
                [metric - half, metric + half]
            }
        };
        let share = SHARES.contains(&name.as_str());
        let positive = share || name != "r2";
        let low = if positive { low.max(0.0) } else { low };
        let high = if share || name == "r2" { high.min(1.0) } else { high };
        Some((name.clone(), json!([low, high])))
    };
    metrics.iter().filter_map(interval).collect()
}

/// The interval of Wilson for a share of `rows`.
fn wilson(share: f64, rows: f64) -> [f64; 2] {
    let z = Z * Z / rows;
    let centre = (share + z / 2.0) / (1.0 + z);
    let half = Z * (share * (1.0 - share) / rows + z / (4.0 * rows)).sqrt() / (1.0 + z);
    // Rounding must not leave the share itself out.
    [(centre - half).min(share), (centre + half).max(share)]
}

/// The standard deviation; none where all are the same.
fn deviation(values: &[f64]) -> Option<f64> {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (variance.is_finite() && variance > 0.0).then(|| variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(intervals: &Map<String, Value>, name: &str) -> [f64; 2] {
        [0, 1].map(|at| intervals[name][at].as_f64().unwrap_or(f64::NAN))
    }

    #[test]
    fn intervals_are_as_wide_as_formulas_say() {
        let losses: Vec<f64> = (0..900).map(|row| f64::from(row % 10 == 0)).collect();
        let metrics = |rows: &[usize]| {
            let mean = rows.iter().map(|&row| losses[row]).sum::<f64>() / rows.len() as f64;
            Map::from_iter([("accuracy".to_owned(), json!(1.0 - mean)), ("log_loss".to_owned(), json!(mean))])
        };
        let all: Vec<usize> = (0..900).collect();
        let found = intervals(&metrics(&all), (900, 900, 1), 1, metrics);
        // 1.96 · √(.1 · .9 / 900) = .0196
        let [low, high] = ends(&found, "log_loss");
        assert!((high - low - 0.0392).abs() < 0.006 && ((low + high) / 2.0 - 0.1).abs() < 1e-9, "{low} {high}");
        let [low, high] = ends(&found, "accuracy");
        assert!((low - 0.8787).abs() < 1e-3 && (high - 0.9180).abs() < 1e-3, "{low} {high}");
        // A quarter of the rows has nearly all of the weight: twice as wide.
        let weighed = |rows: &[usize]| {
            let weight = |row: usize| if row.is_multiple_of(4) { 1.0 } else { 1e-6 };
            let total: f64 = rows.iter().map(|&row| weight(row)).sum();
            let mean =
                rows.iter().map(|&row| weight(row) * f64::from((row / 4).is_multiple_of(10))).sum::<f64>() / total;
            Map::from_iter([("accuracy".to_owned(), json!(1.0 - mean)), ("log_loss".to_owned(), json!(mean))])
        };
        let found = intervals(&weighed(&all), (900, 225, 1), 1, weighed);
        let [low, high] = ends(&found, "log_loss");
        assert!((high - low - 0.0784).abs() < 0.014, "{low} {high}");
        let [low, high] = ends(&found, "accuracy");
        assert!((0.06..0.1).contains(&(high - low)), "{low} {high}");
    }

    #[test]
    fn of_very_many_rows_some_are_drawn() {
        let metrics = |rows: &[usize]| {
            assert_eq!(rows.len(), 2_000);
            let mean = rows.iter().filter(|&row| row % 10 == 0).count() as f64 / rows.len() as f64;
            Map::from_iter([("log_loss".to_owned(), json!(mean))])
        };
        let all = Map::from_iter([("log_loss".to_owned(), json!(0.1))]);
        let [low, high] = ends(&intervals(&all, (200_000, 200_000, 1_000), 1, metrics), "log_loss");
        // 3.92 · √(.1 · .9 / 200,000) = .0026
        assert!((high - low - 0.0026).abs() < 0.001, "{low} {high}");
    }

    #[test]
    fn rows_that_were_all_answered_right_do_not_make_sure() {
        let metrics =
            |_: &[usize]| Map::from_iter([("accuracy".to_owned(), json!(1.0)), ("auc".to_owned(), json!(1.0))]);
        for rows in [300, 900, 1797] {
            let found = intervals(&metrics(&[]), (rows, rows, 2), 1, metrics);
            assert_eq!(ends(&found, "accuracy")[1], 1.0, "{rows}");
        }
        let found = intervals(&metrics(&[]), (30, 30, 2), 1, metrics);
        let [low, high] = ends(&found, "accuracy");
        assert!((0.88..0.89).contains(&low) && high == 1.0, "{low} {high}");
        assert!(!found.contains_key("auc"));
        assert!(intervals(&metrics(&[]), (0, 0, 2), 1, metrics).is_empty());
    }
}
