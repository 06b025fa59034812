//! A record of a stream's log while it is learned: how the state before it answers its rows.

use super::StreamModel;
use super::experts::Truth;
use super::figures::Detection;
use super::horizons;
use super::labels::Label;
use super::served::{Conformity, ServedCalibration, Thresholds};
use super::shape::StreamRow;
use crate::data::{Batch, Column};
use crate::learning::novelty::{KnownCodes, SKETCH};

/// A record while it is learned: how the state before it answers a sample of its rows, and sketches of their codes.
pub(super) struct RecordAnswers<'a> {
    pub(super) batch: &'a Batch,
    /// The columns that are inputs.
    pub(super) columns: Vec<&'a Column>,
    pub(super) conformity: Vec<Option<Conformity>>,
    /// Whether the answer to a row by the state just before it is one of the sample: it needs no answer of its own.
    pub(super) by_itself: Vec<bool>,
    pub(super) thresholds: Option<Thresholds>,
    pub(super) sketches: Vec<f32>,
}

impl StreamModel {
    /// Answers a sample of the labelled rows of a record by the state before it. Answers of a state that has learned nothing are
    /// no estimate of those that the record leads to: the answers to its second half, each by the state just before the row, stand for them.
    pub(super) fn answer_as_served<'a>(
        &mut self,
        (batch, columns): (&'a Batch, Vec<&'a Column>),
        row: impl Fn(usize) -> StreamRow<'a>,
        labels: &[Label],
    ) -> RecordAnswers<'a> {
        let width = self.mixture.key_width();
        if self.projector.width != width {
            self.projector = KnownCodes::new(&[], width);
        }
        let mut conformity = vec![None; labels.len()];
        let mut by_itself = vec![false; labels.len()];
        let untrained = self.base.is_none() && self.figures.labelled == 0 && !self.served.is_fixed();
        if untrained && labels.len() > 1 {
            by_itself[labels.len() / 2..].fill(true);
        } else if ServedCalibration::sample(labels.len(), self.rows).next() == Some(0) {
            by_itself[0] = true;
        }
        let sample = ServedCalibration::sample(labels.len(), self.rows).filter(|_| !untrained);
        for r in sample.filter(|&r| r > 0 && !labels[r].learned.is_nan()) {
            self.mixture.answer(row(r), &mut self.scratch);
            conformity[r] = Some(self.served.conformity_of(
                &self.scratch.answer,
                self.truth(labels[r].learned),
                labels[r].observed,
            ));
        }
        let thresholds = self.served.thresholds(&self.scores);
        let sketches = Vec::with_capacity(labels.len() * SKETCH);
        RecordAnswers { batch, columns, conformity, by_itself, thresholds, sketches }
    }

    /// Counts the error of the answer to a row.
    pub(super) fn measure_error(&mut self, answer: f32, truth: Truth, label: Label) -> Detection {
        match truth {
            Truth::Class(class) => {
                self.sources.error(&self.source, f64::from(u8::from(answer as usize != class)));
                self.figures.class(answer as usize, class)
            }
            Truth::Value(_) => {
                let unit = self.unit();
                self.sources.error(&self.source, f64::from((answer - label.observed).abs() * unit));
                self.figures.value(answer * unit, label.observed * unit)
            }
        }
    }

    /// Answers the row by a copy of the state some rows ago, if answers of that age are due to be measured.
    pub(super) fn measure_horizon(
        &mut self,
        row: StreamRow<'_>,
        truth: Truth,
        label: Label,
        thresholds: Option<&Thresholds>,
    ) {
        let Some(age) = self.horizons.answer(self.figures.labelled, row, &mut self.aged) else { return };
        let conformity = self.served.conformity_of(&self.aged.answer, truth, label.observed);
        let figure = match truth {
            Truth::Class(class) => horizons::hit(&self.aged.answer, class),
            Truth::Value(_) => f64::from((self.aged.answer[0] - label.observed).abs() * self.unit()),
        };
        self.horizons.count(age, figure, conformity, thresholds);
    }
}
