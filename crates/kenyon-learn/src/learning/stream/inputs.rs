//! The experts' inputs from a row of a table in a stream: the row itself, how it differs from the recent
//! past, what the last labels were, and a k-winner code of the first two.
//!
//! The recent past of inputs needs no labels. The last labels do; the setting `recent_labels` leaves them out.

use super::copy_on_write::CopyOnWrite;
use crate::nn::layers::local_groups::strongest;
use crate::random::Random;
use serde::{Deserialize, Serialize};

/// Shares by which running means follow a new row: about 2, 8, 24 and 96 rows.
const PACES: [f32; 4] = [0.5, 0.125, 1.0 / 24.0, 1.0 / 96.0];
/// The same for the shares of classes.
const LABEL_PACES: [f32; 3] = [0.5, 0.1, 0.02];
/// How many rows ago a label is looked up: the last few, a week of days, a day of (half) hours.
const LAGS: [usize; 6] = [1, 2, 3, 7, 24, 48];
/// An encoded number of this size was clipped: it is further from the mean than the stream's scale allows for.
pub(super) const CLIPPED: f32 = 7.99;
/// Classes beyond this are not tracked as labels in time.
const MOST_CLASSES: usize = 16;
/// Units of the k-winner code, and how many win.
const UNITS: usize = 96;
const WINNERS: usize = 12;

/// The part of a view that an expert reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ReceptiveField {
    /// The columns.
    Plain,
    /// The columns, the recent past, the last labels.
    Context,
    /// These and the k-winner code.
    Full,
}

/// Running statistics that make inputs of rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Inputs {
    /// Feature indices of the columns, in order.
    columns: Vec<u32>,
    rows: f64,
    means: Vec<f64>,
    variances: Vec<f64>,
    /// Running means of the standardised columns, one list a pace.
    paces: Vec<Vec<f32>>,
    /// Whether the last labels are inputs, too.
    labels: bool,
    shares: Vec<Vec<f32>>,
    last: Vec<u32>,
    seed: u64,
    #[serde(skip)]
    units: CopyOnWrite<Vec<f32>>,
}

/// One row as input of the experts.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    /// Bias, standardised columns, differences from the recent past, then the last labels.
    context: Vec<f32>,
    /// Width of bias and columns.
    row_width: usize,
    /// `context` followed by the k-winner code.
    full: Vec<f32>,
    winners: Vec<(f32, u32)>,
    scores: Vec<f32>,
}

impl View {
    /// The inputs for this field.
    pub(super) fn of(&self, field: ReceptiveField) -> &[f32] {
        match field {
            ReceptiveField::Plain => &self.context[..self.row_width],
            ReceptiveField::Context => &self.context,
            ReceptiveField::Full => &self.full,
        }
    }

    /// The standardised columns alone.
    pub(super) fn columns(&self) -> &[f32] {
        &self.context[1..self.row_width]
    }
}

impl Inputs {
    /// Before the first row. `labels`: whether the last labels are inputs.
    pub(super) fn new(columns: Vec<u32>, labels: bool, seed: u64) -> Self {
        let width = columns.len();
        let mut it = Self {
            columns,
            rows: 0.0,
            means: vec![0.0; width],
            variances: vec![0.0; width],
            paces: vec![vec![0.0; width]; PACES.len()],
            labels,
            shares: vec![vec![0.0; MOST_CLASSES]; LABEL_PACES.len()],
            last: Vec::new(),
            seed,
            units: CopyOnWrite::default(),
        };
        it.prepare();
        it
    }

    /// Computes what is not saved: the units' weights, which follow from the seed.
    pub(super) fn prepare(&mut self) {
        let inputs = self.columns.len() * (1 + PACES.len()) + 1;
        let scale = 1.0 / (inputs as f32).sqrt();
        self.units = Random::stream(self.seed, "stream units", 0).normals(UNITS * inputs, scale).into();
    }

    /// Resets to before the first row of a stream; the scales stay.
    pub(super) fn rewind(&mut self) {
        self.paces.iter_mut().chain(&mut self.shares).for_each(|means| means.fill(0.0));
        self.last.clear();
    }

    /// Width of the inputs for this field.
    pub(super) fn width(&self, field: ReceptiveField) -> usize {
        let labels = if self.labels { MOST_CLASSES * (LABEL_PACES.len() + LAGS.len()) } else { 0 };
        let context = 1 + self.columns.len() * (1 + PACES.len()) + labels;
        match field {
            ReceptiveField::Plain => 1 + self.columns.len(),
            ReceptiveField::Context => context,
            ReceptiveField::Full => context + UNITS,
        }
    }

    /// The experts' inputs for a row, given the past.
    pub(super) fn view(&self, indices: &[u32], values: &[f32], view: &mut View) {
        let context = &mut view.context;
        context.clear();
        context.push(1.0);
        let mut at = 0;
        for (i, &column) in self.columns.iter().enumerate() {
            while at < indices.len() && indices[at] < column {
                at += 1;
            }
            let value = if at < indices.len() && indices[at] == column { values[at] } else { 0.0 };
            context.push(self.standardised(i, value));
        }
        view.row_width = context.len();
        for pace in &self.paces {
            for (i, mean) in pace.iter().enumerate() {
                let difference = (context[1 + i] - mean).clamp(-5.0, 5.0);
                context.push(difference);
            }
        }
        let inputs = context.len();
        view.scores.clear();
        view.scores.extend(self.units.chunks_exact(inputs).map(|unit| {
            let mut sums = [0.0f32; 8];
            for (u, x) in unit.chunks(8).zip(context.chunks(8)) {
                u.iter().zip(x).zip(&mut sums).for_each(|((u, x), s)| *s += u * x);
            }
            sums.iter().sum::<f32>()
        }));
        strongest(&view.scores, WINNERS, &mut view.winners);
        if self.labels {
            for shares in &self.shares {
                context.extend_from_slice(shares);
            }
            for lag in LAGS {
                let label = self.last.len().checked_sub(lag).map(|at| self.last[at] as usize);
                let start = context.len();
                context.resize(start + MOST_CLASSES, 0.0);
                if let Some(slot) = label.and_then(|l| context[start..].get_mut(l)) {
                    *slot = 1.0;
                }
            }
        }
        view.full.clear();
        view.full.extend_from_slice(context);
        view.full.resize(context.len() + UNITS, 0.0);
        for &(score, unit) in &view.winners {
            view.full[context.len() + unit as usize] = score.clamp(0.0, 5.0);
        }
    }

    fn standardised(&self, column: usize, value: f32) -> f32 {
        let deviation = self.variances[column].sqrt();
        if deviation < 1e-9 {
            return 0.0;
        }
        ((f64::from(value) - self.means[column]) / deviation).clamp(-5.0, 5.0) as f32
    }

    /// Adds a row's columns to the statistics; before [`Inputs::view`], so that the first row
    /// already has a scale. `is_outlier` returns whether a clipped number of a feature is unusual there.
    pub(super) fn observe(&mut self, indices: &[u32], values: &[f32], is_outlier: impl Fn(u32) -> bool) {
        self.rows += 1.0;
        let mut at = 0;
        for (i, &column) in self.columns.iter().enumerate() {
            while at < indices.len() && indices[at] < column {
                at += 1;
            }
            let value = if at < indices.len() && indices[at] == column { f64::from(values[at]) } else { 0.0 };
            // An outlier is no evidence of the usual numbers.
            if value.abs() >= f64::from(CLIPPED) && is_outlier(column) {
                continue;
            }
            let before = value - self.means[i];
            self.means[i] += before / self.rows;
            self.variances[i] += (before * (value - self.means[i]) - self.variances[i]) / self.rows;
        }
    }

    /// Moves on to the next row after that of `view`.
    pub(super) fn pass(&mut self, view: &View) {
        for (pace, share) in self.paces.iter_mut().zip(PACES) {
            for (mean, x) in pace.iter_mut().zip(&view.context[1..view.row_width]) {
                *mean += share * (x - *mean);
            }
        }
    }

    /// Adds its label.
    pub(super) fn label(&mut self, class: u32) {
        for (shares, pace) in self.shares.iter_mut().zip(LABEL_PACES) {
            for (c, share) in shares.iter_mut().enumerate() {
                *share += pace * (f32::from(u8::from(c == class as usize)) - *share);
            }
        }
        self.last.push(class);
        if self.last.len() > 2 * LAGS[LAGS.len() - 1] {
            self.last.drain(..LAGS[LAGS.len() - 1]);
        }
    }
}
