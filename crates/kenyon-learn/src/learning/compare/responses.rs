//! Recorded or simulated responses (observations × channels) with the condition and run of each observation.

use super::rdm::{Dropped, limit};
use crate::{Detail, Error, Result};
use std::collections::HashMap;

/// Responses of one subject or one layer: a row for each observation, a column for each channel.
#[derive(Clone, Debug)]
pub struct Responses {
    channels: usize,
    values: Vec<f64>,
    names: Vec<String>,
    condition: Vec<usize>,
    /// Fold of each observation: its run, or the observation itself where no runs are given.
    fold: Vec<usize>,
    folds: usize,
}

impl Responses {
    /// Responses `values` `[observations, channels]` with a condition and, where known, a run for each observation.
    pub fn new(values: Vec<f64>, channels: usize, conditions: &[String], runs: Option<&[String]>) -> Result<Self> {
        let rows = conditions.len();
        if channels == 0 || rows == 0 || values.len() != rows * channels || runs.is_some_and(|r| r.len() != rows) {
            let message = format!("{} numbers do not fill {rows} observations of {channels} channels", values.len());
            return Err(Error::unprocessable("responses_size", message));
        }
        let bad = values.iter().enumerate().filter(|(_, v)| !v.is_finite());
        let bad: Vec<Detail> = bad
            .take(crate::error::MAX_DETAILS)
            .map(|(at, _)| {
                Detail::row((at / channels) as u64 + 1, format!("channel {} is missing or not finite", at % channels))
            })
            .collect();
        if !bad.is_empty() {
            let message = "responses must be complete: leave an observation out instead of a part of it";
            return Err(Error::unprocessable("responses_missing", message).with_details(bad));
        }
        let (names, condition) = numbered(conditions);
        limit(names.len())?;
        let (folds, fold) = match runs {
            Some(runs) => {
                let (names, fold) = numbered(runs);
                (names.len(), fold)
            }
            None => (rows, (0..rows).collect()),
        };
        Ok(Self { channels, values, names, condition, fold, folds })
    }

    /// One observation for each condition, as a layer of a network gives.
    pub fn patterns(values: Vec<f64>, channels: usize, conditions: &[String]) -> Result<Self> {
        Self::new(values, channels, conditions, None)
    }

    /// Channels of each observation.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Number of observations.
    pub fn observations(&self) -> usize {
        self.condition.len()
    }

    /// Names of the conditions, in the order of their first observation.
    pub fn conditions(&self) -> &[String] {
        &self.names
    }

    /// The mean response to each condition, `[conditions, channels]`.
    pub fn means(&self) -> Vec<f64> {
        let (sums, counts) = (self.sums(|row| self.condition[row], self.names.len()), self.counts());
        let mut means = sums;
        for (row, &count) in means.chunks_exact_mut(self.channels).zip(&counts) {
            row.iter_mut().for_each(|v| *v /= count as f64);
        }
        means
    }

    /// Each observation minus the mean of its condition, `[observations, channels]`.
    pub(crate) fn residuals(&self) -> Vec<f64> {
        let means = self.means();
        let mut residuals = self.values.clone();
        for (row, &c) in residuals.chunks_exact_mut(self.channels).zip(&self.condition) {
            let mean = &means[c * self.channels..(c + 1) * self.channels];
            row.iter_mut().zip(mean).for_each(|(v, m)| *v -= m);
        }
        residuals
    }

    /// The same observations with other channels, such as whitened ones.
    pub(crate) fn with_values(&self, values: Vec<f64>, channels: usize) -> Self {
        Self { channels, values, ..self.clone() }
    }

    /// The responses, `[observations, channels]`.
    pub(crate) fn values(&self) -> &[f64] {
        &self.values
    }

    /// Sums and counts over the observations of each fold and condition: the sum of condition `c` in fold
    /// `f` at row `f * conditions + c`.
    pub(crate) fn fold_sums(&self) -> Result<FoldSums> {
        // Where each observation is a fold of its own, few cells are filled: a list, not a table.
        let mut cells: HashMap<(usize, usize), usize> = HashMap::new();
        let mut of_cell = Vec::new();
        let mut cell_of_row = Vec::with_capacity(self.condition.len());
        for (&c, &f) in self.condition.iter().zip(&self.fold) {
            let next = of_cell.len();
            let at = *cells.entry((c, f)).or_insert(next);
            if at == next {
                of_cell.push((c, f));
            }
            cell_of_row.push(at);
        }
        let mut counts = vec![0usize; of_cell.len()];
        cell_of_row.iter().for_each(|&cell| counts[cell] += 1);
        let sums = self.sums(|row| cell_of_row[row], of_cell.len());
        let mut runs_of = vec![0usize; self.names.len()];
        of_cell.iter().for_each(|&(c, _)| runs_of[c] += 1);
        let dropped = (0..self.names.len())
            .filter(|&c| runs_of[c] < 2)
            .map(|c| Dropped {
                condition: self.names[c].clone(),
                reason: "observed in one run only; a cross-validated distance needs two".into(),
            })
            .collect();
        Ok(FoldSums { cells: of_cell, counts, sums, kept: runs_of.iter().map(|&r| r >= 2).collect(), dropped })
    }

    /// Number of folds.
    pub(crate) fn folds(&self) -> usize {
        self.folds
    }

    fn sums(&self, group: impl Fn(usize) -> usize, groups: usize) -> Vec<f64> {
        let mut sums = vec![0.0; groups * self.channels];
        for (at, row) in self.values.chunks_exact(self.channels).enumerate() {
            let start = group(at) * self.channels;
            sums[start..start + self.channels].iter_mut().zip(row).for_each(|(s, v)| *s += v);
        }
        sums
    }

    /// Observations of each condition.
    pub(crate) fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.names.len()];
        self.condition.iter().for_each(|&c| counts[c] += 1);
        counts
    }
}

/// Sums over the observations of each filled cell (condition, fold).
pub(crate) struct FoldSums {
    /// Condition and fold of each cell.
    pub(crate) cells: Vec<(usize, usize)>,
    /// Observations in each cell.
    pub(crate) counts: Vec<usize>,
    /// Sums of the responses, `[cells, channels]`.
    pub(crate) sums: Vec<f64>,
    /// Whether each condition has observations in two folds.
    pub(crate) kept: Vec<bool>,
    /// The conditions that do not.
    pub(crate) dropped: Vec<Dropped>,
}

/// Distinct labels in order of first appearance, and the number of each entry's label.
fn numbered(labels: &[String]) -> (Vec<String>, Vec<usize>) {
    let mut index: HashMap<&str, usize> = HashMap::new();
    let mut names = Vec::new();
    let numbers = labels
        .iter()
        .map(|label| {
            *index.entry(label).or_insert_with(|| {
                names.push(label.clone());
                names.len() - 1
            })
        })
        .collect();
    (names, numbers)
}
