//! Metrics from answers and truths. Pure arithmetic; nothing here runs a network.

use crate::nn::probability::{argmax, named};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// The metrics of a classifier on labelled rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassificationMetrics {
    /// Share of rows whose named class is the true one.
    pub accuracy: f64,
    /// Mean of the shares of each class's rows that are named right; of classes that have rows.
    pub balanced_accuracy: f64,
    /// Mean of the classes' average precision, each against the rest; of classes that have rows.
    pub average_precision: f64,
    /// Mean of the classes' F1 (classes that occur in neither truth nor answers are left out).
    pub macro_f1: f64,
    /// Mean negative natural logarithm of the true class's probability.
    pub log_loss: f64,
    /// Area under the ROC curve; binary tasks only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auc: Option<f64>,
    /// Expected calibration error, ten equal bins of the largest probability.
    pub expected_calibration_error: f64,
}

/// Natural-log loss is clipped here, so that one confident mistake does not make it infinite.
const SMALLEST_PROBABILITY: f64 = 1e-15;

/// Figures for `probabilities` `[rows, classes]` row-major against `truths` `[rows]` (class ids). The class that is
/// named is the one with the largest probability times its factor in `decision`, if there are any.
pub fn classification(
    probabilities: &[f32],
    classes: usize,
    truths: &[u32],
    decision: &[f32],
) -> ClassificationMetrics {
    let matrix = confusion(probabilities, classes, truths, decision);
    let rows = truths.len().max(1) as f64;
    let correct: u64 = (0..classes).map(|c| matrix[c][c]).sum();
    let log_loss = probabilities
        .chunks_exact(classes.max(1))
        .zip(truths)
        .map(|(p, &t)| -f64::from(p.get(t as usize).copied().unwrap_or(0.0)).max(SMALLEST_PROBABILITY).ln())
        .sum::<f64>()
        / rows;
    ClassificationMetrics {
        accuracy: correct as f64 / rows,
        balanced_accuracy: mean(recalls(&matrix).into_iter().flatten()),
        average_precision: macro_average_precision(probabilities, classes, truths),
        macro_f1: macro_f1(&matrix),
        log_loss,
        auc: (classes == 2).then(|| {
            let scores: Vec<f32> = probabilities.chunks_exact(2).map(|p| p[1]).collect();
            auc(&scores, truths)
        }),
        expected_calibration_error: calibration_curve(probabilities, classes, truths)
            .iter()
            .map(|bin| bin.rows as f64 / rows * (bin.accuracy - bin.confidence).abs())
            .sum(),
    }
}

/// Rows by true class (outer) and named class (inner); `decision` as in [`classification`].
pub fn confusion(probabilities: &[f32], classes: usize, truths: &[u32], decision: &[f32]) -> Vec<Vec<u64>> {
    let mut matrix = vec![vec![0; classes]; classes];
    for (p, &truth) in probabilities.chunks_exact(classes.max(1)).zip(truths) {
        if let Some(row) = matrix.get_mut(truth as usize) {
            row[named(p, decision)] += 1;
        }
    }
    matrix
}

/// Share of each class's rows that are named right, from a [`confusion`]; none where a class has no rows.
pub fn recalls(matrix: &[Vec<u64>]) -> Vec<Option<f64>> {
    let recall = |(class, row): (usize, &Vec<u64>)| {
        let rows: u64 = row.iter().sum();
        (rows > 0).then(|| row[class] as f64 / rows as f64)
    };
    matrix.iter().enumerate().map(recall).collect()
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    sum / count.max(1) as f64
}

fn macro_average_precision(probabilities: &[f32], classes: usize, truths: &[u32]) -> f64 {
    mean((0..classes).filter_map(|class| {
        let scores: Vec<f32> = probabilities.chunks_exact(classes).map(|p| p[class]).collect();
        average_precision(&scores, |row| truths[row] as usize == class)
    }))
}

/// Mean precision at each positive row, rows in falling order of their score and equal scores at once; none without a
/// positive row.
fn average_precision(scores: &[f32], is_positive: impl Fn(usize) -> bool) -> Option<f64> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let (mut sum, mut found, mut start) = (0.0, 0usize, 0);
    while start < order.len() {
        let same = order[start..].iter().take_while(|&&row| scores[row] == scores[order[start]]).count();
        let positives = order[start..start + same].iter().filter(|&&row| is_positive(row)).count();
        start += same;
        found += positives;
        sum += positives as f64 * found as f64 / start as f64;
    }
    (found > 0).then(|| sum / found as f64)
}

fn macro_f1(matrix: &[Vec<u64>]) -> f64 {
    let (mut sum, mut count) = (0.0, 0usize);
    for (class, row) in matrix.iter().enumerate() {
        let true_rows: u64 = row.iter().sum();
        let answered: u64 = matrix.iter().map(|r| r[class]).sum();
        if true_rows + answered > 0 {
            sum += 2.0 * row[class] as f64 / (true_rows + answered) as f64;
            count += 1;
        }
    }
    sum / count.max(1) as f64
}

/// Area under the ROC curve by ranks, ties counted half; 0.5 where one class is missing.
pub fn auc(scores: &[f32], truths: &[u32]) -> f64 {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let positives = truths.iter().filter(|&&t| t == 1).count() as f64;
    let negatives = truths.len() as f64 - positives;
    if positives == 0.0 || negatives == 0.0 {
        return 0.5;
    }
    let (mut ranks, mut start) = (0.0, 0);
    while start < order.len() {
        let mut end = start;
        while end < order.len() && scores[order[end]] == scores[order[start]] {
            end += 1;
        }
        let rank = (start + 1 + end) as f64 / 2.0;
        ranks += rank * order[start..end].iter().filter(|&&i| truths[i] == 1).count() as f64;
        start = end;
    }
    (ranks - positives * (positives + 1.0) / 2.0) / (positives * negatives)
}

/// One bin of a calibration curve.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CalibrationBin {
    /// Mean of the largest probability in the bin.
    pub confidence: f64,
    /// Share of its rows answered right.
    pub accuracy: f64,
    /// Rows in it.
    pub rows: u64,
}

/// Ten equal bins of the largest probability; bins without rows are left out.
pub fn calibration_curve(probabilities: &[f32], classes: usize, truths: &[u32]) -> Vec<CalibrationBin> {
    let mut bins = [(0.0f64, 0u64, 0u64); 10];
    for (p, &truth) in probabilities.chunks_exact(classes.max(1)).zip(truths) {
        let best = argmax(p);
        let bin = &mut bins[((p[best] * 10.0) as usize).min(9)];
        bin.0 += f64::from(p[best]);
        bin.1 += u64::from(best == truth as usize);
        bin.2 += 1;
    }
    bins.iter()
        .filter(|bin| bin.2 > 0)
        .map(|&(sum, right, rows)| CalibrationBin {
            confidence: sum / rows as f64,
            accuracy: right as f64 / rows as f64,
            rows,
        })
        .collect()
}

/// Mean absolute error, root mean squared error and R² of `answers` against `truths`.
pub fn regression(answers: &[f64], truths: &[f64]) -> Map<String, Value> {
    let rows = truths.len().max(1) as f64;
    let mean = truths.iter().sum::<f64>() / rows;
    let absolute: f64 = answers.iter().zip(truths).map(|(a, t)| (a - t).abs()).sum();
    let squared: f64 = answers.iter().zip(truths).map(|(a, t)| (a - t).powi(2)).sum();
    let total: f64 = truths.iter().map(|t| (t - mean).powi(2)).sum();
    let r2 = if total > 0.0 { 1.0 - squared / total } else { 0.0 };
    let figures = json!({"mae": absolute / rows, "rmse": (squared / rows).sqrt(), "r2": r2});
    figures.as_object().cloned().unwrap_or_default()
}

/// The metrics as a JSON object.
pub fn to_map(metrics: &ClassificationMetrics) -> Map<String, Value> {
    serde_json::to_value(metrics).ok().and_then(|v| v.as_object().cloned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn figures_of_a_small_case_by_hand() {
        // Truth 0,0,1,1; answered 0,1,1,1 with these probabilities of class 1.
        let p1 = [0.1f32, 0.6, 0.7, 0.9];
        let probabilities: Vec<f32> = p1.iter().flat_map(|p| [1.0 - p, *p]).collect();
        let m = classification(&probabilities, 2, &[0, 0, 1, 1], &[]);
        assert!((m.accuracy - 0.75).abs() < 1e-9);
        // F1 of class 0: 2·1/(2+1); of class 1: 2·2/(2+3).
        assert!((m.macro_f1 - (2.0 / 3.0 + 0.8) / 2.0).abs() < 1e-9);
        let loss = -(0.9f64.ln() + 0.4f64.ln() + 0.7f64.ln() + 0.9f64.ln()) / 4.0;
        assert!((m.log_loss - loss).abs() < 1e-6);
        assert_eq!(m.auc, Some(1.0));
        assert_eq!((m.balanced_accuracy, m.average_precision), (0.75, 1.0));
        // Class 0 counts twice: the second row is named right, the third wrong.
        let m = classification(&probabilities, 2, &[0, 0, 1, 1], &[3.0, 1.0]);
        assert_eq!((m.accuracy, m.balanced_accuracy), (0.75, 0.75));
        let matrix = confusion(&probabilities, 2, &[0, 0, 1, 1], &[3.0, 1.0]);
        assert_eq!(matrix, [[2, 0], [1, 1]]);
    }

    #[test]
    fn average_precision_by_hand_and_with_ties() {
        // Positives at ranks 1 and 3: (1/1 + 2/3) / 2.
        let positive = |row: usize| row == 0 || row == 2;
        assert!((average_precision(&[0.9, 0.8, 0.7, 0.1], positive).unwrap() - 5.0 / 6.0).abs() < 1e-12);
        assert_eq!(average_precision(&[0.5; 4], positive), Some(0.5));
        assert_eq!(average_precision(&[0.5; 4], |_| false), None);
    }

    #[test]
    fn a_rare_class_that_is_never_named_shows_in_balanced_accuracy() {
        let probabilities: Vec<f32> =
            (0..100).flat_map(|row| if row < 2 { [0.6, 0.4] } else { [0.99, 0.01] }).collect();
        let truths: Vec<u32> = (0..100).map(|row| u32::from(row < 2)).collect();
        let m = classification(&probabilities, 2, &truths, &[]);
        assert_eq!((m.accuracy, m.balanced_accuracy, m.average_precision), (0.98, 0.5, 1.0));
        assert_eq!(classification(&probabilities, 2, &truths, &[0.5, 25.0]).balanced_accuracy, 1.0);
    }

    #[test]
    fn auc_counts_ties_half() {
        assert_eq!(auc(&[0.5, 0.5], &[0, 1]), 0.5);
        assert_eq!(auc(&[0.9, 0.1], &[0, 1]), 0.0);
    }

    #[test]
    fn r2_of_the_mean_is_zero() {
        let m = regression(&[2.0, 2.0, 2.0], &[1.0, 2.0, 3.0]);
        assert_eq!(m["r2"], 0.0);
        assert!((m["mae"].as_f64().unwrap_or(9.0) - 2.0 / 3.0).abs() < 1e-12);
    }
}
