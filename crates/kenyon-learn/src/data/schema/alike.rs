//! Whether numbered columns belong together: members of one picture or series agree with their
//! neighbours more than with distant members and share one scale; columns of a table do not.

use crate::data::cell::mix;

/// Rows below which correlations are not significant and the values themselves are compared.
const MIN_ROWS: usize = 8;
/// Largest number of rows examined.
const MAX_ROWS: usize = 500;
/// Neighbours must disagree at most this much of what distant members do; `benches/README.md`, "Numbered columns",
/// has the values of pictures, series and tables.
const AGREEMENT: f64 = 0.7;
/// How far beyond chance the agreement must lie, in standard errors.
const SIGNIFICANCE: f64 = 4.0;
/// Spread of members of a series: decades between the 10th and the 90th percentile of their standard deviations.
const DECADES: f64 = 1.4;

/// What a run of numbered columns is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Alike {
    /// Rows and columns of a picture.
    Picture(usize, usize),
    /// Steps of a series.
    Series,
    /// One list of numbers; more is not known.
    List,
}

/// Sampled values of the members of a run, a column each, standardised.
pub(super) struct Members {
    raw: Vec<Vec<f64>>,
    /// Standardised columns; empty where a column is constant.
    standard: Vec<Vec<f64>>,
    deviations: Vec<f64>,
}

impl Members {
    /// From samples of the same rows; a missing value takes its column's mean.
    pub(super) fn new(samples: &[&[f32]]) -> Self {
        let rows = samples.iter().map(|s| s.len()).min().unwrap_or(0).min(MAX_ROWS);
        let (mut raw, mut standard, mut deviations) = (Vec::new(), Vec::new(), Vec::new());
        for sample in samples {
            let values: Vec<f64> = sample[..rows].iter().map(|x| f64::from(*x)).collect();
            let finite = || values.iter().filter(|x| x.is_finite());
            let mean = finite().sum::<f64>() / finite().count().max(1) as f64;
            let centred: Vec<f64> = values.iter().map(|x| if x.is_finite() { x - mean } else { 0.0 }).collect();
            let deviation = (centred.iter().map(|x| x * x).sum::<f64>() / rows.max(1) as f64).sqrt();
            let constant = deviation.is_nan() || deviation <= 1e-9 * mean.abs().max(1e-300);
            standard.push(if constant { Vec::new() } else { centred.iter().map(|x| x / deviation).collect() });
            raw.push(centred.iter().map(|x| x + mean).collect());
            deviations.push(if constant { 0.0 } else { deviation });
        }
        Self { raw, standard, deviations }
    }

    fn rows(&self) -> usize {
        self.raw.first().map_or(0, Vec::len)
    }

    fn correlation(&self, i: usize, j: usize) -> Option<f64> {
        let (a, b) = (&self.standard[i], &self.standard[j]);
        (!a.is_empty() && !b.is_empty()).then(|| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>() / a.len() as f64)
    }

    /// Mean correlation of members `lag` apart, of those that `of` accepts by the first one's position in the run.
    fn at_lag(&self, from: usize, to: usize, lag: usize, of: impl Fn(usize) -> bool) -> Option<f64> {
        let last = to.checked_sub(lag).filter(|last| *last > from)?;
        mean((from..last).filter(|i| of(i - from)).filter_map(|i| self.correlation(i, i + lag))).map(|(mean, _)| mean)
    }

    /// What the members `from..to` are together; `shape` is rows and columns according to their names.
    pub(super) fn assess(&self, from: usize, to: usize, shape: Option<(usize, usize)>) -> Option<Alike> {
        let few = self.rows() < MIN_ROWS || self.standard[from..to].iter().filter(|c| !c.is_empty()).count() < 2;
        if few {
            return self.smooth(from, to).then_some(match shape {
                Some((rows, columns)) => Alike::Picture(rows, columns),
                None => Alike::List,
            });
        }
        let n = to - from;
        let pairs = (0..4 * n as u64).map(|k| {
            let draw = |salt: u64| from + (mix(2 * k + salt + 1) % n as u64) as usize;
            (draw(0), draw(1))
        });
        let distant: Vec<f64> =
            pairs.filter(|(i, j)| i.abs_diff(*j) > 1).filter_map(|(i, j)| self.correlation(i, j)).collect();
        let (far, _) = mean(distant.iter().copied())?;
        let spread = mean(distant.iter().map(|c| (c - far) * (c - far)))?.0.sqrt();
        let picture = shape.filter(|(_, columns)| self.picture(from, to, *columns));
        // By names with two numbers a picture may be a list of series: its rows or its columns agree.
        let lags = [1].into_iter().chain(shape.map(|(_, columns)| columns));
        let (near, count) = lags
            .filter_map(|lag| mean((from..to - lag).filter_map(|i| self.correlation(i, i + lag))))
            .max_by(|a, b| a.0.total_cmp(&b.0))?;
        let chance = SIGNIFICANCE * spread / (count as f64).sqrt();
        if near - far < chance || 1.0 - near > AGREEMENT * (1.0 - far) {
            return None;
        }
        if let Some((rows, columns)) = picture {
            return Some(Alike::Picture(rows, columns));
        }
        let mut spreads: Vec<f64> = self.deviations[from..to].iter().copied().filter(|d| *d > 0.0).collect();
        spreads.sort_unstable_by(f64::total_cmp);
        let at = |q: f64| spreads[((spreads.len() - 1) as f64 * q) as usize];
        ((at(0.9) / at(0.1)).log10() <= DECADES).then_some(Alike::Series)
    }

    /// Whether members one line apart are similar as pixels are: like neighbours within a line, more than members half
    /// a line apart, while the end of a line and the beginning of the next do not.
    fn picture(&self, from: usize, to: usize, columns: usize) -> bool {
        let line_end = |i: usize| i % columns == columns - 1;
        let Some(within) = self.at_lag(from, to, 1, |i| !line_end(i)) else { return false };
        let Some(across) = self.at_lag(from, to, columns, |_| true) else { return false };
        let half = self.at_lag(from, to, columns / 2, |_| true).unwrap_or(0.0);
        let wrap = self.at_lag(from, to, 1, line_end);
        across >= 0.5 * within && across > half + 0.15 && wrap.is_none_or(|w| w < within - 0.15)
    }

    /// Of few rows, or constants: whether neighbours lie closer together than distant members.
    fn smooth(&self, from: usize, to: usize) -> bool {
        let n = to - from;
        let square =
            |i: usize, j: usize| self.raw[i].iter().zip(&self.raw[j]).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
        let near = mean((from..to - 1).map(|i| square(i, i + 1)));
        let draw = |k: u64| from + (mix(k + 1) % n as u64) as usize;
        let far = mean(
            (0..4 * n as u64)
                .map(|k| (draw(2 * k), draw(2 * k + 1)))
                .filter(|(i, j)| i != j)
                .map(|(i, j)| square(i, j)),
        );
        near.zip(far).is_some_and(|(near, far)| near.0 <= AGREEMENT * far.0)
    }

    /// Whether the member at an end is unrelated to its neighbour: a label before or after a series.
    pub(super) fn is_unrelated(&self, end: usize, neighbour: usize, from: usize, to: usize) -> bool {
        let usual = self.at_lag(from, to, 1, |_| true).unwrap_or(0.0);
        self.rows() >= MIN_ROWS && self.correlation(end, neighbour).is_some_and(|c| c < 0.5 * usual)
    }
}

/// Mean and number of the values.
fn mean(values: impl Iterator<Item = f64>) -> Option<(f64, usize)> {
    let (mut sum, mut count) = (0.0, 0);
    for value in values {
        sum += value;
        count += 1;
    }
    (count > 0).then(|| (sum / count as f64, count))
}
