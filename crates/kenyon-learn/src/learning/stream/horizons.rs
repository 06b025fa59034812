//! How well a stream's model answers rows that come some rows after the last one it learned.
//!
//! A frozen copy of the experts is kept for a while and answers some of the rows that follow; then a new one is made. So
//! the cost is a small share of that of learning.

use super::mixture::{Mixture, Scratch};
use super::served::{Conformity, ServedCalibration, Thresholds};
use super::shape::StreamRow;
use crate::nn::probability::argmax;
use serde::{Deserialize, Serialize};

/// Rows since learning, and for how many rows from there on answers are measured.
const AGES: [(u64, u64); 3] = [(10, 10), (100, 20), (1_000, 50)];
/// Rows of a stream from which on it is measured.
const FIRST: u64 = 20;

/// The answers of some age.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct AgedFigures {
    rows: u64,
    /// Right answers, or absolute errors in the target's unit.
    sum: f64,
    #[serde(rename = "judged")]
    answers: u64,
    held: u64,
}

/// What `GET /{name}/stream` shows for an age.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct HorizonPoint {
    /// Rows since the model last learned.
    pub rows_since: u64,
    /// Rows answered at that age.
    pub rows: u64,
    /// Accuracy, or mean absolute error; none before there are rows.
    pub figure: Option<f64>,
    /// How often sets or intervals of coverage 0.9 held the truth.
    pub coverage: Option<f64>,
}

/// The frozen copy and its figures.
#[derive(Debug, Default)]
pub(super) struct Horizons {
    pub(super) figures: [AgedFigures; AGES.len()],
    /// At which labelled row it was made, and the copy.
    pub(super) copy: Option<(u64, Mixture)>,
}

impl Horizons {
    /// The age that is measured at the row after `labelled` rows.
    fn age(&self, labelled: u64) -> Option<usize> {
        let since = labelled.checked_sub(self.copy.as_ref()?.0)?;
        AGES.iter().position(|&(age, rows)| (age..age + rows).contains(&since))
    }

    /// Answers the row after `labelled` rows with the copy, if rows of its age are measured: the answer and the age.
    pub(super) fn answer(&self, labelled: u64, row: StreamRow<'_>, scratch: &mut Scratch) -> Option<usize> {
        let age = self.age(labelled)?;
        let (_, copy) = self.copy.as_ref()?;
        copy.answer(row, scratch);
        Some(age)
    }

    /// Counts an answer of this age.
    pub(super) fn count(&mut self, age: usize, figure: f64, conformity: Conformity, thresholds: Option<&Thresholds>) {
        let figures = &mut self.figures[age];
        figures.rows += 1;
        figures.sum += figure;
        if let Some(thresholds) = thresholds {
            figures.answers += 1;
            figures.held += u64::from(ServedCalibration::holds(conformity, thresholds));
        }
    }

    /// Whether it is time for a new copy after `labelled` rows. Copies of a new stream are renewed soon, so that short
    /// horizons are known early.
    pub(super) fn is_due(&self, labelled: u64) -> bool {
        let (last, rows) = AGES[AGES.len() - 1];
        match &self.copy {
            Some((made, _)) => labelled - made.min(&labelled) >= (last + rows).min((*made).max(FIRST)),
            None => labelled >= FIRST,
        }
    }

    /// Points from the least age on.
    pub(super) fn points(&self) -> Vec<HorizonPoint> {
        let point = |(&(rows_since, _), figures): (&(u64, u64), &AgedFigures)| HorizonPoint {
            rows_since,
            rows: figures.rows,
            figure: (figures.rows > 0).then(|| figures.sum / figures.rows as f64),
            coverage: (figures.answers > 0).then(|| figures.held as f64 / figures.answers as f64),
        };
        AGES.iter().zip(&self.figures).map(point).collect()
    }
}

/// Whether the last answer names the class: 1 or 0.
pub(super) fn hit(answer: &[f32], class: usize) -> f64 {
    f64::from(u8::from(argmax(answer) == class))
}
