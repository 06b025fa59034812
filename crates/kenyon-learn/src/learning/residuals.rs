//! The errors of predicted numbers in detail: points for a picture, and how errors depend on the size of the target.

use super::row_weights::RowWeights;
use serde::Serialize;

/// Points that are kept of any number of rows.
const POINTS: usize = 400;
/// Bins of the histogram.
const BINS: usize = 24;
/// Groups of rows by the size of the target, where there are rows enough.
const QUANTILES: usize = 5;
/// The fewest rows of a group.
const FEWEST: usize = 20;

/// Errors of predicted numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Residuals {
    /// True and predicted value of at most 400 rows, evenly taken in the order of the truth.
    pub points: Vec<[f64; 2]>,
    /// Lower ends of bins of predicted minus true value, and their rows. The first and the last hold all beyond them.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Vec<f64>>))]
    pub histogram: Vec<(f64, u64)>,
    /// Rows in groups of equal size by their true value, the smallest first.
    pub quantiles: Vec<QuantileErrors>,
}

/// Errors of the rows whose truth lies in a range.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuantileErrors {
    /// The smallest true value.
    pub from: f64,
    /// The largest.
    pub to: f64,
    /// The rows.
    pub rows: u64,
    /// Mean of predicted minus true value; here and below rows count by their weight.
    pub bias: f64,
    /// Mean absolute error.
    pub mae: f64,
    /// The share of rows whose interval at coverage 0.9 contains the truth; null without intervals.
    pub coverage: Option<f64>,
}

impl Residuals {
    /// Of predictions and truths; `held` is for each row whether its interval contains the truth. All rows weigh more than 0.
    pub(super) fn new(answers: &[f64], truths: &[f64], held: Option<&[bool]>, weights: RowWeights<'_>) -> Self {
        let mut order: Vec<usize> = (0..truths.len()).collect();
        order.sort_by(|&a, &b| truths[a].total_cmp(&truths[b]));
        let step = (order.len() as f64 / POINTS as f64).max(1.0);
        let kept = (0..order.len().min(POINTS)).map(|i| order[(i as f64 * step) as usize]);
        let points = kept.map(|row| [truths[row], answers[row]]).collect();
        let groups = (order.len() / FEWEST).clamp(1, QUANTILES);
        let size = order.len().div_ceil(groups).max(1);
        let group = |rows: &[usize]| {
            let sum: f64 = rows.iter().map(|&row| weights.of(row)).sum();
            let mean = |of: &dyn Fn(usize) -> f64| rows.iter().map(|&row| weights.of(row) * of(row)).sum::<f64>() / sum;
            QuantileErrors {
                from: truths[rows[0]],
                to: truths[rows[rows.len() - 1]],
                rows: rows.len() as u64,
                bias: mean(&|row| answers[row] - truths[row]),
                mae: mean(&|row| (answers[row] - truths[row]).abs()),
                coverage: held.map(|held| mean(&|row| f64::from(u8::from(held[row])))),
            }
        };
        let quantiles = order.chunks(size).map(group).collect();
        Self { points, histogram: histogram(answers, truths), quantiles }
    }
}

/// Bins from the 1st to the 99th percentile, so that a single huge error does not hide the others.
fn histogram(answers: &[f64], truths: &[f64]) -> Vec<(f64, u64)> {
    let mut errors: Vec<f64> = answers.iter().zip(truths).map(|(a, t)| a - t).filter(|e| e.is_finite()).collect();
    errors.sort_by(f64::total_cmp);
    let at = |share: f64| errors.get((share * errors.len() as f64) as usize).copied();
    let (Some(low), Some(high)) = (at(0.01), at(0.99).or(errors.last().copied())) else { return Vec::new() };
    if high <= low {
        return vec![(low, errors.len() as u64)];
    }
    let width = (high - low) / BINS as f64;
    let mut counts = [0u64; BINS];
    for error in &errors {
        counts[(((error - low) / width).max(0.0) as usize).min(BINS - 1)] += 1;
    }
    counts.iter().enumerate().map(|(bin, &count)| (low + bin as f64 * width, count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_by_size_show_where_errors_are_large_and_intervals_fail() {
        let truths: Vec<f64> = (0..1_000).rev().map(f64::from).collect();
        let answers: Vec<f64> = truths.iter().map(|t| if *t < 800.0 { *t } else { t - 10.0 }).collect();
        let held: Vec<bool> = truths.iter().map(|t| *t < 900.0).collect();
        let found = Residuals::new(&answers, &truths, Some(&held), RowWeights::EQUAL);
        assert_eq!(found.points.len(), 400);
        assert!(found.points.is_sorted_by(|a, b| a[0] < b[0]) && found.points[399][0] > 990.0);
        assert_eq!(found.quantiles.len(), 5);
        let (first, last) = (found.quantiles[0], found.quantiles[4]);
        assert_eq!((first.from, first.to, first.rows, first.mae, first.coverage), (0.0, 199.0, 200, 0.0, Some(1.0)));
        assert_eq!((last.from, last.to, last.bias, last.mae, last.coverage), (800.0, 999.0, -10.0, 10.0, Some(0.5)));
        assert_eq!(found.histogram.iter().map(|bin| bin.1).sum::<u64>(), 1_000);
        assert_eq!((found.histogram[0], found.histogram[23].1), ((-10.0, 200), 800));
    }

    #[test]
    fn means_of_a_group_are_weighted_and_its_rows_are_counted_once() {
        let weights = [3.0, 1.0];
        let found = Residuals::new(&[2.0, 2.0], &[1.0, 2.0], Some(&[true, false]), RowWeights::new(Some(&weights)));
        let group = found.quantiles[0];
        assert_eq!((group.rows, group.bias, group.mae, group.coverage), (2, 0.75, 0.75, Some(0.75)));
        assert_eq!(found.histogram.iter().map(|bin| bin.1).sum::<u64>(), 2);
    }

    #[test]
    fn few_or_equal_errors_are_no_problem() {
        let none = Residuals::new(&[], &[], None, RowWeights::EQUAL);
        assert!(none.points.is_empty() && none.histogram.is_empty() && none.quantiles.is_empty());
        let one = Residuals::new(&[2.0], &[1.0], None, RowWeights::EQUAL);
        assert_eq!((one.histogram, one.quantiles[0].coverage), (vec![(1.0, 1)], None));
    }
}
