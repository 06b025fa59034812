//! The fixed features of all series columns with their trained readout, a branch parallel to the attention blocks.
//! The readout is solved for after the first pass by ridge regression, or learned by gradient steps
//! with momentum.

use crate::data::Batch;
use crate::nn::kernels::dense;
use crate::nn::kernels::linear::{linear, linear_weight_gradient};
use crate::nn::layers::filters::{FilterLayout, Series};
use crate::nn::layers::series_features::{Scratch, SeriesFeatures};
use crate::nn::readouts::Readout;
use crate::nn::readouts::ridge::{self, RidgeRows};
use crate::random::Random;
use std::ops::Range;

/// Numbers that describe a row where the filters answer alone.
const PROJECTED: usize = 256;

/// One series column: which field, how the encoder cuts it, and its filters.
#[derive(Clone, Debug)]
pub(crate) struct SeriesColumn {
    /// Field of the encoder.
    pub(crate) field: u16,
    /// First feature index of the field.
    pub(crate) start: u32,
    /// Steps between two window tokens.
    pub(crate) stride: usize,
    /// Its features.
    pub(crate) bank: SeriesFeatures,
}

impl SeriesColumn {
    /// The series of row `row`, put together again from its overlapping windows.
    pub(crate) fn series(&self, batch: &Batch, row: usize) -> Series {
        let channels = self.bank.channels();
        let tokens: Vec<usize> = batch.row(row).filter(|token| batch.fields.get(*token) == Some(&self.field)).collect();
        let mut steps = 0;
        for (at, token) in tokens.iter().enumerate() {
            if let Some(last) = batch.token(*token).0.iter().max() {
                steps = steps.max(at * self.stride + (last - self.start) as usize / channels + 1);
            }
        }
        let mut values = vec![0.0; channels * steps];
        for (at, token) in tokens.iter().enumerate() {
            let (indices, entries) = batch.token(*token);
            for (index, value) in indices.iter().zip(entries) {
                let offset = (index - self.start) as usize;
                let step = at * self.stride + offset / channels;
                values[(offset % channels) * steps + step] = *value;
            }
        }
        Series { steps, values }
    }
}

/// Banks, fitted numbers and readout.
#[derive(Clone, Debug)]
pub(crate) struct FilterBranch {
    /// Where the numbers lie.
    pub(crate) plan: FilterLayout,
    /// The series columns.
    pub(crate) columns: Vec<SeriesColumn>,
    /// Levels, means, inverse deviations, readout and bias.
    pub(crate) numbers: Vec<f32>,
    /// Readouts that each leave the rows of a fold out; empty without cross-fitting.
    pub(crate) folds: Vec<Readout>,
}

/// State of the training besides the numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FilterTraining {
    /// Momentum of readout and bias.
    pub(crate) velocity: Vec<f32>,
    /// Rows counted; 0 after means and deviations are settled.
    pub(crate) count: f64,
    /// Sums of the pooled values, then of their squares.
    pub(crate) sums: Vec<f64>,
    /// Pooled values of the rows of the first pass and their targets, if the readout is solved for.
    pub(crate) seen: RidgeRows,
}

impl FilterBranch {
    /// A branch over `columns` with an empty readout.
    pub(crate) fn new(columns: Vec<SeriesColumn>, outputs: usize) -> Self {
        let plan = FilterLayout::new(columns.iter().map(|c| c.bank.len()).sum(), outputs);
        let numbers = vec![0.0; plan.len()];
        Self { plan, columns, numbers, folds: Vec::new() }
    }

    /// The answer of blocks and filters together.
    pub(crate) fn mix(&self, blocks: f32, filters: f32) -> f32 {
        let share = self.blocks_share();
        share * blocks + (1.0 - share) * filters
    }

    /// Whether the blocks have no share in the answers.
    pub(crate) fn answers_alone(&self) -> bool {
        self.blocks_share() == 0.0
    }

    /// Width of [`FilterBranch::projected`].
    pub(crate) fn projected_width(&self) -> usize {
        self.plan.features.min(PROJECTED)
    }

    /// Sums of standardised pooled values, each in one place with a random sign, `[rows, projected_width]`: distances
    /// stay about what they were (Weinberger et al. 2009, "Feature hashing for large scale multitask learning").
    pub(crate) fn projected(&self, pooled: &[f32]) -> Vec<f32> {
        let (features, width) = (self.plan.features.max(1), self.projected_width());
        let mut random = Random::stream(0, "filters.projected", 0);
        let places: Vec<(usize, f32)> =
            (0..features).map(|_| (random.below(width), if random.below(2) == 0 { 1.0 } else { -1.0 })).collect();
        let mut out = vec![0.0; pooled.len() / features * width];
        for (row, out) in pooled.chunks_exact(features).zip(out.chunks_exact_mut(width)) {
            row.iter().zip(&places).for_each(|(value, (place, sign))| out[*place] += sign * value);
        }
        out
    }

    /// The share of the blocks in the answers.
    pub(crate) fn blocks_share(&self) -> f32 {
        self.numbers[self.plan.share.start]
    }

    /// Sets the share of the blocks in the answers.
    pub(crate) fn weigh(&mut self, blocks: f32) {
        self.numbers[self.plan.share.start] = blocks;
    }

    /// Pooled and standardised values of rows, `[rows, features]`.
    pub(crate) fn pooled(&self, batch: &Batch, rows: Range<usize>, standard: bool) -> Vec<f32> {
        let features = self.plan.features;
        let mut out = vec![0.0; rows.len() * features];
        let (mut scratch, levels) = (Scratch::default(), &self.numbers[self.plan.levels.clone()]);
        for (row, out) in rows.zip(out.chunks_exact_mut(features)) {
            let mut at = 0;
            for column in &self.columns {
                let end = at + column.bank.len();
                column.bank.pool(&column.series(batch, row), &levels[at..end], &mut out[at..end], &mut scratch);
                at = end;
            }
            if standard {
                self.standardise(out);
            }
        }
        out
    }

    fn standardise(&self, pooled: &mut [f32]) {
        let (mean, inverse) = (&self.numbers[self.plan.mean.clone()], &self.numbers[self.plan.inverse.clone()]);
        for ((value, mean), inverse) in pooled.iter_mut().zip(mean).zip(inverse) {
            *value = (*value - mean) * inverse;
        }
    }

    /// Answers for standardised pooled values, `[rows, outputs]`.
    pub(crate) fn logits(&self, pooled: &[f32]) -> Vec<f32> {
        let (features, outputs) = (self.plan.features, self.plan.outputs);
        let rows = pooled.len() / features;
        let mut out = vec![0.0; rows * outputs];
        let readout = &self.numbers[self.plan.readout.clone()];
        linear(pooled, readout, &mut out, (rows, features, outputs), false);
        dense::add_bias(&mut out, &self.numbers[self.plan.bias.clone()]);
        out
    }

    /// Gradient of readout and bias, added to `out` `[(features + 1) outputs]`.
    pub(crate) fn gradient(&self, pooled: &[f32], dlogits: &[f32], out: &mut [f32]) {
        let (features, outputs) = (self.plan.features, self.plan.outputs);
        let rows = pooled.len() / features;
        let (readout, bias) = out.split_at_mut(features * outputs);
        linear_weight_gradient(pooled, dlogits, readout, (rows, features, outputs));
        dense::sum_rows(dlogits, bias);
    }

    /// Draws the levels from the rows of the first mini-batch.
    pub(crate) fn draw(&mut self, batch: &Batch, seed: u64) {
        let mut at = self.plan.levels.start;
        for column in &self.columns {
            let series: Vec<Series> = (0..batch.rows()).map(|row| column.series(batch, row)).collect();
            let levels = column.bank.draw_levels(&series, seed.wrapping_add(at as u64));
            self.numbers[at..at + levels.len()].copy_from_slice(&levels);
            at += levels.len();
        }
    }

    /// Counts raw pooled values, and settles means and deviations by what is counted so far.
    pub(crate) fn count(&mut self, training: &mut FilterTraining, pooled: &[f32]) {
        let features = self.plan.features;
        training.sums.resize(2 * features, 0.0);
        for row in pooled.chunks_exact(features) {
            training.count += 1.0;
            for (i, value) in row.iter().enumerate() {
                training.sums[i] += f64::from(*value);
                training.sums[features + i] += f64::from(*value) * f64::from(*value);
            }
        }
        for i in 0..features {
            let mean = training.sums[i] / training.count;
            let variance = (training.sums[features + i] / training.count - mean * mean).max(0.0);
            self.numbers[self.plan.mean.start + i] = mean as f32;
            self.numbers[self.plan.inverse.start + i] =
                if variance > 1e-8 { (1.0 / (variance + 1e-4).sqrt()) as f32 } else { 0.0 };
        }
    }

    /// Solves for the readout that serves the rows seen best, and for those of `folds` folds, each from the other rows; one
    /// stays empty where its rows do not differ.
    pub(crate) fn solve(&mut self, mut seen: RidgeRows, folds: usize, threads: usize) {
        let (features, outputs) = (self.plan.features, self.plan.outputs);
        seen.rows.chunks_exact_mut(features).for_each(|row| self.standardise(row));
        let empty = || (vec![0.0; features * outputs], vec![0.0; outputs]);
        let mut solved = ridge::tuned(&seen, folds, features, outputs, threads)
            .into_iter()
            .map(|one| one.unwrap_or_else(|_| empty()));
        if let Some((readout, bias)) = solved.next() {
            self.numbers[self.plan.readout.clone()].copy_from_slice(&readout);
            self.numbers[self.plan.bias.clone()].copy_from_slice(&bias);
        }
        let of_fold = |(readout, bias): (Vec<f32>, Vec<f32>)| {
            let weights =
                (0..outputs).flat_map(|o| readout.iter().skip(o).step_by(outputs).copied().collect::<Vec<_>>());
            Readout { width: features, weights: weights.collect(), bias }
        };
        self.folds = solved.map(of_fold).collect();
    }

    /// One step with momentum; `done` is the share of the training that is over.
    pub(crate) fn descend(&mut self, training: &mut FilterTraining, gradient: &[f32], done: f32) {
        // The curvature along the mean is at most the squared length of a row, about `features`.
        let rate = 0.5 / self.plan.features as f32 * (0.5 + 0.5 * (std::f32::consts::PI * done).cos());
        training.velocity.resize(gradient.len(), 0.0);
        for (velocity, gradient) in training.velocity.iter_mut().zip(gradient) {
            *velocity = 0.9 * *velocity - gradient;
        }
        let (readout, bias) = training.velocity.split_at(self.plan.readout.len());
        dense::subtract_scaled(&mut self.numbers[self.plan.readout.clone()], -rate, readout);
        dense::subtract_scaled(&mut self.numbers[self.plan.bias.clone()], -rate, bias);
    }

    /// Bias of output `output`, and what each token of row `row` adds to it.
    pub(crate) fn terms(&self, batch: &Batch, row: usize, output: usize) -> (f32, Vec<f32>) {
        let (plan, outputs) = (&self.plan, self.plan.outputs);
        let first = batch.row(row).start;
        let mut bias = self.numbers[plan.bias.start + output];
        let weights: Vec<f32> = (0..plan.features)
            .map(|i| {
                let weight =
                    self.numbers[plan.readout.start + i * outputs + output] * self.numbers[plan.inverse.start + i];
                bias -= weight * self.numbers[plan.mean.start + i];
                weight
            })
            .collect();
        let levels = &self.numbers[plan.levels.clone()];
        let (mut out, mut scratch, mut at) = (vec![0.0; batch.row(row).len()], Scratch::default(), 0);
        for column in &self.columns {
            let end = at + column.bank.len();
            let tokens: Vec<usize> =
                batch.row(row).filter(|token| batch.fields.get(*token) == Some(&column.field)).collect();
            let series = column.series(batch, row);
            let moments = column.bank.moments(&series, &levels[at..end], &weights[at..end], &mut scratch);
            for (step, moment) in moments.iter().enumerate() {
                match tokens.get((step / column.stride).min(tokens.len().saturating_sub(1))) {
                    Some(token) => out[token - first] += moment,
                    None => bias += moment,
                }
            }
            at = end;
        }
        (bias, out)
    }
}
