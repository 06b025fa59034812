//! How a row changes the mixture: every expert learns from the row that was just predicted.

use super::experts::{ExpertRow, Lesson, Pass, Truth};
use super::hedge::log_loss;
use super::mixture::{Mixture, Scratch};
use super::shape::StreamRow;
use crate::data::Batch;

/// A row that counts less is no part of the recent past.
const LEAST_CREDIBILITY: f32 = 0.05;

impl Mixture {
    /// Adds a row's inputs to the running statistics, with or without a label.
    pub(super) fn observe_inputs(&mut self, row: StreamRow<'_>) {
        if let Some(inputs) = &mut self.inputs {
            let credibility = &self.credibility;
            inputs.observe(row.indices, row.values, |feature| credibility.is_outlier(feature));
        }
    }

    /// Learns the class or value of the last predicted row.
    pub(super) fn learn(
        &mut self,
        row: StreamRow<'_>,
        truth: Truth,
        text: impl FnOnce() -> Option<Box<str>>,
        scratch: &mut Scratch,
    ) {
        let credibility = self.credibility.of(row, truth, &scratch.answer, self.inputs.is_some());
        self.charge(truth, credibility, scratch);
        let (shared, (label, value)) = (&mut self.shared, label_and_value(truth));
        if shared.regression && shared.counts[0] == 0 {
            shared.mean = value;
        }
        shared.counts[label as usize] += 1;
        let memory = &mut *shared.memory;
        if let (Truth::Class(_), Some((_, nearest))) =
            (truth, memory.nearest(&scratch.similarities, 1).first().copied())
            && memory.entries()[nearest].label == label
        {
            memory.record_hit(nearest);
        }
        memory.write(&scratch.key, &scratch.similarities, label, value, text);
        self.update_experts(row, truth, (Pass::Stream, credibility), scratch);
        // An outlier is no part of the recent past that rows are compared with.
        self.pass(truth, scratch, credibility > LEAST_CREDIBILITY);
    }

    /// Learns from the inputs of the last predicted row, without a label.
    pub(super) fn learn_unlabelled(&mut self, row: StreamRow<'_>, scratch: &Scratch) {
        if let Some(inputs) = &mut self.inputs {
            inputs.pass(&scratch.view);
        }
        let row = ExpertRow { row, view: &scratch.view, similarities: &scratch.similarities, shared: &self.shared };
        self.experts.iter_mut().for_each(|expert| expert.learn_unlabelled(&row));
    }

    /// Learns a stored row once more: gradient steps alone, without counts or time.
    pub(super) fn replay_row(&mut self, row: StreamRow<'_>, truth: Truth, scratch: &Scratch) {
        self.update_experts(row, truth, (Pass::Rehearsal, 1.0), scratch);
    }

    /// Resets what single rows cannot be removed from.
    pub(super) fn restart(&mut self) {
        self.experts.iter_mut().for_each(|expert| expert.restart());
        self.hedge.restart(self.base);
    }

    /// Trains experts on rows of the past in their order, with their own past. Afterwards the recent past is
    /// that of these rows; counts, scales and memory stay.
    pub(super) fn retrain<'a>(
        &mut self,
        rows: impl Iterator<Item = (StreamRow<'a>, Truth)>,
        pass: Pass,
        scratch: &mut Scratch,
    ) {
        if let Some(inputs) = &mut self.inputs {
            inputs.rewind();
        }
        for (row, truth) in rows {
            self.answer(row, scratch);
            self.charge(truth, 1.0, scratch);
            self.update_experts(row, truth, (pass, 1.0), scratch);
            self.pass(truth, scratch, true);
        }
    }

    /// Updates what is solved at intervals.
    pub(super) fn settle(&mut self) {
        self.experts.iter_mut().for_each(|expert| expert.settle(&self.shared));
    }

    /// Removes rows, whose codes these are; a label is a class, a value or NaN.
    pub(super) fn forget(&mut self, rows: &Batch, codes: &[f32], labels: &[f32]) {
        for &label in labels.iter().filter(|label| !label.is_nan()) {
            let class = if self.shared.regression { 0 } else { label as usize };
            if let Some(count) = self.shared.counts.get_mut(class) {
                *count = count.saturating_sub(1);
            }
        }
        if !codes.is_empty() {
            self.experts.iter_mut().for_each(|expert| expert.forget(rows, codes, labels, &self.shared));
        }
    }

    /// After a change all experts have nearly equal weight again; each reacts in its own way.
    pub(super) fn on_drift(&mut self, fade: bool) {
        self.experts.iter_mut().for_each(|expert| expert.on_drift(fade, &self.shared));
        self.hedge.on_drift();
    }

    fn charge(&mut self, truth: Truth, credibility: f32, scratch: &Scratch) {
        let answers = scratch.answers.iter();
        match truth {
            Truth::Class(class) => {
                let loss = |p: &Vec<f32>| credibility * log_loss(p.get(class).copied().unwrap_or(0.0));
                self.hedge.charge(answers.map(loss));
            }
            Truth::Value(value) => {
                let error = |p: &Vec<f32>| (p[0] - value).powi(2);
                let least = scratch.answers.iter().map(error).fold(f32::INFINITY, f32::min);
                let scale = least.max(1e-6) + 0.1 * (value - self.shared.mean).powi(2);
                self.hedge.charge(answers.map(|p| credibility * (error(p) / scale).min(10.0)));
            }
        }
    }

    fn update_experts(
        &mut self,
        row: StreamRow<'_>,
        truth: Truth,
        (pass, credibility): (Pass, f32),
        scratch: &Scratch,
    ) {
        let row = ExpertRow { row, view: &scratch.view, similarities: &scratch.similarities, shared: &self.shared };
        for ((expert, predicted), &weight) in self.experts.iter_mut().zip(&scratch.answers).zip(&scratch.weights) {
            expert.learn_one(&row, &Lesson { truth, predicted, weight, pass, credibility });
        }
    }

    /// Moves on to the next row after the last predicted one.
    fn pass(&mut self, truth: Truth, scratch: &Scratch, credible: bool) {
        let Some(inputs) = &mut self.inputs else { return };
        if credible {
            inputs.pass(&scratch.view);
        }
        if let Truth::Class(class) = truth {
            inputs.label(class as u32);
        }
    }
}

/// The memory entry of a stored row.
fn label_and_value(truth: Truth) -> (u32, f32) {
    match truth {
        Truth::Class(class) => (class as u32, 0.0),
        Truth::Value(value) => (0, value),
    }
}
