//! Metrics from answers and truths. Pure arithmetic; nothing here runs a network.

use super::row_weights::RowWeights;
use crate::nn::probability::{argmax, named};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// The metrics of a classifier on labelled rows. Shares and means are by the weights of rows, where they weigh differently.
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
/// named is the one with the largest probability times its factor in `decision`, if there are any. Every row counts by its
/// weight.
pub fn classification(
    probabilities: &[f32],
    classes: usize,
    truths: &[u32],
    decision: &[f32],
    weights: RowWeights<'_>,
) -> ClassificationMetrics {
    let matrix = weighted_confusion(probabilities, classes, truths, decision, weights);
    let total = weights.total(truths.len());
    let correct: f64 = (0..classes).map(|c| matrix[c][c]).sum();
    let loss = |(row, (p, &t)): (usize, (&[f32], &u32))| {
        let probability = f64::from(p.get(t as usize).copied().unwrap_or(0.0)).max(SMALLEST_PROBABILITY);
        -probability.ln() * weights.of(row)
    };
    let losses: f64 = probabilities.chunks_exact(classes.max(1)).zip(truths).enumerate().map(loss).sum();
    ClassificationMetrics {
        accuracy: correct / total,
        balanced_accuracy: mean(recalls_of(&matrix).into_iter().flatten()),
        average_precision: macro_average_precision(probabilities, classes, truths, weights),
        macro_f1: macro_f1(&matrix),
        log_loss: losses / total,
        auc: (classes == 2).then(|| {
            let scores: Vec<f32> = probabilities.chunks_exact(2).map(|p| p[1]).collect();
            auc(&scores, truths, weights)
        }),
        expected_calibration_error: calibration_bins(probabilities, classes, truths, weights)
            .map(|bin| bin.weight / total * (bin.right / bin.weight - bin.confidence / bin.weight).abs())
            .sum(),
    }
}

/// Rows by true class (outer) and named class (inner), each counted once; `decision` as in [`classification`].
pub fn confusion(probabilities: &[f32], classes: usize, truths: &[u32], decision: &[f32]) -> Vec<Vec<u64>> {
    let matrix = weighted_confusion(probabilities, classes, truths, decision, RowWeights::EQUAL);
    matrix.into_iter().map(|row| row.into_iter().map(|rows| rows as u64).collect()).collect()
}

/// The weights of the rows of a [`confusion`].
fn weighted_confusion(
    probabilities: &[f32],
    classes: usize,
    truths: &[u32],
    decision: &[f32],
    weights: RowWeights<'_>,
) -> Vec<Vec<f64>> {
    let mut matrix = vec![vec![0.0; classes]; classes];
    for (row, (p, &truth)) in probabilities.chunks_exact(classes.max(1)).zip(truths).enumerate() {
        if let Some(answers) = matrix.get_mut(truth as usize) {
            answers[named(p, decision)] += weights.of(row);
        }
    }
    matrix
}

/// Share of each class's rows that are named right, by weight; none where a class has no rows. `decision` as in
/// [`classification`].
pub fn recalls(
    probabilities: &[f32],
    classes: usize,
    truths: &[u32],
    decision: &[f32],
    weights: RowWeights<'_>,
) -> Vec<Option<f64>> {
    recalls_of(&weighted_confusion(probabilities, classes, truths, decision, weights))
}

fn recalls_of(matrix: &[Vec<f64>]) -> Vec<Option<f64>> {
    let recall = |(class, row): (usize, &Vec<f64>)| {
        let sum: f64 = row.iter().sum();
        (sum > 0.0).then(|| row[class] / sum)
    };
    matrix.iter().enumerate().map(recall).collect()
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    sum / count.max(1) as f64
}

fn macro_average_precision(probabilities: &[f32], classes: usize, truths: &[u32], weights: RowWeights<'_>) -> f64 {
    mean((0..classes).filter_map(|class| {
        let scores: Vec<f32> = probabilities.chunks_exact(classes).map(|p| p[class]).collect();
        average_precision(&scores, |row| truths[row] as usize == class, weights)
    }))
}

/// Mean precision at each positive row, rows in falling order of their score and equal scores at once; none without a
/// positive row. Rows count by their weight.
fn average_precision(scores: &[f32], is_positive: impl Fn(usize) -> bool, weights: RowWeights<'_>) -> Option<f64> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let (mut sum, mut found, mut passed, mut start) = (0.0, 0.0, 0.0, 0);
    while start < order.len() {
        let same = order[start..].iter().take_while(|&&row| scores[row] == scores[order[start]]).count();
        let mut positives = 0.0;
        for &row in &order[start..start + same] {
            passed += weights.of(row);
            positives += if is_positive(row) { weights.of(row) } else { 0.0 };
        }
        start += same;
        found += positives;
        if positives > 0.0 {
            sum += positives * found / passed;
        }
    }
    (found > 0.0).then(|| sum / found)
}

fn macro_f1(matrix: &[Vec<f64>]) -> f64 {
    let (mut sum, mut count) = (0.0, 0usize);
    for (class, row) in matrix.iter().enumerate() {
        let true_rows: f64 = row.iter().sum();
        let answered: f64 = matrix.iter().map(|r| r[class]).sum();
        if true_rows + answered > 0.0 {
            sum += 2.0 * row[class] / (true_rows + answered);
            count += 1;
        }
    }
    sum / count.max(1) as f64
}

/// Area under the ROC curve, ties counted half, rows by their weight; 0.5 where one class is missing.
pub fn auc(scores: &[f32], truths: &[u32], weights: RowWeights<'_>) -> f64 {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let (mut area, mut positives, mut negatives, mut start) = (0.0, 0.0, 0.0, 0);
    while start < order.len() {
        let same = order[start..].iter().take_while(|&&row| scores[row] == scores[order[start]]).count();
        let (mut above, mut ties) = (0.0, 0.0);
        for &row in &order[start..start + same] {
            *(if truths[row] == 1 { &mut above } else { &mut ties }) += weights.of(row);
        }
        area += above * (negatives + ties / 2.0);
        positives += above;
        negatives += ties;
        start += same;
    }
    if positives > 0.0 && negatives > 0.0 { area / (positives * negatives) } else { 0.5 }
}

/// One bin of a calibration curve.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CalibrationBin {
    /// Mean of the largest probability in the bin.
    pub confidence: f64,
    /// Share of its rows answered right.
    pub accuracy: f64,
    /// Rows in it, each counted once.
    pub rows: u64,
}

/// Ten equal bins of the largest probability, whose means are by weight; bins without rows are left out.
pub fn calibration_curve(
    probabilities: &[f32],
    classes: usize,
    truths: &[u32],
    weights: RowWeights<'_>,
) -> Vec<CalibrationBin> {
    calibration_bins(probabilities, classes, truths, weights)
        .map(|bin| CalibrationBin {
            confidence: bin.confidence / bin.weight,
            accuracy: bin.right / bin.weight,
            rows: bin.rows,
        })
        .collect()
}

/// Weighted sums over the rows of a bin.
#[derive(Clone, Copy, Default)]
struct BinSums {
    confidence: f64,
    right: f64,
    weight: f64,
    rows: u64,
}

/// The bins of a [`calibration_curve`] that have rows.
fn calibration_bins(
    probabilities: &[f32],
    classes: usize,
    truths: &[u32],
    weights: RowWeights<'_>,
) -> impl Iterator<Item = BinSums> {
    let mut bins = [BinSums::default(); 10];
    for (row, (p, &truth)) in probabilities.chunks_exact(classes.max(1)).zip(truths).enumerate() {
        let (best, weight) = (argmax(p), weights.of(row));
        let bin = &mut bins[((p[best] * 10.0) as usize).min(9)];
        bin.confidence += f64::from(p[best]) * weight;
        bin.right += if best == truth as usize { weight } else { 0.0 };
        bin.weight += weight;
        bin.rows += 1;
    }
    bins.into_iter().filter(|bin| bin.weight > 0.0)
}

/// Mean absolute error, root mean squared error and R² of `answers` against `truths`, rows by their weight.
pub fn regression(answers: &[f64], truths: &[f64], weights: RowWeights<'_>) -> Map<String, Value> {
    let rows = weights.total(truths.len());
    let sum = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
        answers.iter().zip(truths).enumerate().map(|(row, (&a, &t))| weights.of(row) * of(a, t)).sum()
    };
    let mean = sum(&|_, t| t) / rows;
    let (absolute, squared) = (sum(&|a, t| (a - t).abs()), sum(&|a, t| (a - t).powi(2)));
    let total = sum(&|_, t| (t - mean).powi(2));
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
    use super::*;

    #[test]
    fn figures_of_a_small_case_by_hand() {
        // Truth 0,0,1,1; answered 0,1,1,1 with these probabilities of class 1.
        let p1 = [0.1f32, 0.6, 0.7, 0.9];
        let probabilities: Vec<f32> = p1.iter().flat_map(|p| [1.0 - p, *p]).collect();
        let m = classification(&probabilities, 2, &[0, 0, 1, 1], &[], RowWeights::EQUAL);
        assert!((m.accuracy - 0.75).abs() < 1e-9);
        // F1 of class 0: 2·1/(2+1); of class 1: 2·2/(2+3).
        assert!((m.macro_f1 - (2.0 / 3.0 + 0.8) / 2.0).abs() < 1e-9);
        let loss = -(0.9f64.ln() + 0.4f64.ln() + 0.7f64.ln() + 0.9f64.ln()) / 4.0;
        assert!((m.log_loss - loss).abs() < 1e-6);
        assert_eq!(m.auc, Some(1.0));
        assert_eq!((m.balanced_accuracy, m.average_precision), (0.75, 1.0));
        // Class 0 counts twice: the second row is named right, the third wrong.
        let m = classification(&probabilities, 2, &[0, 0, 1, 1], &[3.0, 1.0], RowWeights::EQUAL);
        assert_eq!((m.accuracy, m.balanced_accuracy), (0.75, 0.75));
        let matrix = confusion(&probabilities, 2, &[0, 0, 1, 1], &[3.0, 1.0]);
        assert_eq!(matrix, [[2, 0], [1, 1]]);
    }

    #[test]
    fn average_precision_by_hand_and_with_ties() {
        // Positives at ranks 1 and 3: (1/1 + 2/3) / 2.
        let positive = |row: usize| row == 0 || row == 2;
        let equal = RowWeights::EQUAL;
        assert!((average_precision(&[0.9, 0.8, 0.7, 0.1], positive, equal).unwrap() - 5.0 / 6.0).abs() < 1e-12);
        assert_eq!(average_precision(&[0.5; 4], positive, equal), Some(0.5));
        assert_eq!(average_precision(&[0.5; 4], |_| false, equal), None);
    }

    #[test]
    fn a_rare_class_that_is_never_named_shows_in_balanced_accuracy() {
        let probabilities: Vec<f32> =
            (0..100).flat_map(|row| if row < 2 { [0.6, 0.4] } else { [0.99, 0.01] }).collect();
        let truths: Vec<u32> = (0..100).map(|row| u32::from(row < 2)).collect();
        let of = |decision: &[f32]| classification(&probabilities, 2, &truths, decision, RowWeights::EQUAL);
        let m = of(&[]);
        assert_eq!((m.accuracy, m.balanced_accuracy, m.average_precision), (0.98, 0.5, 1.0));
        assert_eq!(of(&[0.5, 25.0]).balanced_accuracy, 1.0);
    }

    #[test]
    fn auc_counts_ties_half() {
        assert_eq!(auc(&[0.5, 0.5], &[0, 1], RowWeights::EQUAL), 0.5);
        assert_eq!(auc(&[0.9, 0.1], &[0, 1], RowWeights::EQUAL), 0.0);
        assert_eq!(auc(&[0.9, 0.1], &[1, 1], RowWeights::EQUAL), 0.5);
    }

    #[test]
    fn r2_of_the_mean_is_zero() {
        let m = regression(&[2.0, 2.0, 2.0], &[1.0, 2.0, 3.0], RowWeights::EQUAL);
        assert_eq!(m["r2"], 0.0);
        assert!((m["mae"].as_f64().unwrap_or(9.0) - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn a_row_of_weight_three_counts_as_three_rows() {
        let (probabilities, truths) = ([0.9f32, 0.1, 0.4, 0.6, 0.55, 0.45, 0.2, 0.8], [0, 0, 1, 1]);
        let copies = [0, 0, 0, 1, 2, 2, 3];
        let weights = [3.0, 1.0, 2.0, 1.0];
        let weights = RowWeights::new(Some(&weights));
        let repeated: Vec<f32> = copies.iter().flat_map(|&row| probabilities[row * 2..][..2].to_vec()).collect();
        let of_copies: Vec<u32> = copies.iter().map(|&row| truths[row]).collect();
        let weighed = to_map(&classification(&probabilities, 2, &truths, &[], weights));
        let counted = to_map(&classification(&repeated, 2, &of_copies, &[], RowWeights::EQUAL));
        for (name, value) in &counted {
            let (value, weighed) = (value.as_f64().unwrap(), weighed[name].as_f64().unwrap());
            assert!((value - weighed).abs() < 1e-9, "{name}: {weighed} against {value}");
        }
        let recalls = recalls(&probabilities, 2, &truths, &[], weights);
        assert_eq!((recalls[0], recalls[1]), (Some(0.75), Some(1.0 / 3.0)));
        assert_eq!(confusion(&probabilities, 2, &truths, &[]), [[1, 1], [1, 1]]);
        let curve = calibration_curve(&probabilities, 2, &truths, weights);
        assert_eq!(curve.iter().map(|bin| bin.rows).sum::<u64>(), 4);
        let (answers, values) = ([1.0, 2.0, 4.0, 3.0], [1.5, 2.0, 2.0, 5.0]);
        let of = |rows: &[f64]| -> Vec<f64> { copies.iter().map(|&row| rows[row]).collect() };
        let counted = regression(&of(&answers), &of(&values), RowWeights::EQUAL);
        for (name, value) in &regression(&answers, &values, weights) {
            assert!((value.as_f64().unwrap() - counted[name].as_f64().unwrap()).abs() < 1e-12, "{name}");
        }
    }
}
