//! Consolidation: recent rows are replayed into a copy of the experts, and the copy is kept only if it predicts
//! recent rows no worse.

use super::mixture::{Mixture, Scratch};
use super::shape::StreamRow;
use super::{StreamModel, Task, argmax};
use crate::Result;
use crate::data::Batch;
use serde::{Deserialize, Serialize};

/// The result of a consolidation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Consolidation {
    /// Rows observed before it.
    pub rows: u64,
    /// Accuracy (or mean absolute error) on recent rows before and after.
    pub before: f64,
    /// See `before`.
    pub after: f64,
    /// Whether the result was kept.
    pub accepted: bool,
    /// Rows it was evaluated on.
    pub judged: usize,
    /// Rows that were forgotten before it: then its result is kept whatever its accuracy, because the
    /// experts before it had still learned from them.
    #[cfg_attr(feature = "openapi", schema(required))]
    #[serde(default)]
    pub forgotten: u64,
}

impl StreamModel {
    /// Replays the older half of the recent rows into the experts, solves the readout again,
    /// and keeps the result if the newer half is answered no worse. After rows were forgotten the
    /// experts are trained again from what is still stored, and the result is kept.
    pub fn consolidate(&mut self) -> Result<Consolidation> {
        if self.forgotten > 0 {
            return self.consolidate_without_forgotten();
        }
        let rows = self.recent_labels.len();
        let half = rows / 2;
        let batch = self.recent.clone();
        let labels = self.recent_labels.clone();
        let codes = self.codes(&batch)?;
        let replayed = Replay { batch: &batch, labels: &labels, codes: &codes.0, base: &codes.1 };
        let before =
            replayed.evaluate(&self.mixture, half..rows, self.task, &mut self.scratch) * f64::from(self.unit());
        let mut candidate = self.mixture.fork();
        candidate.settle();
        for r in 0..half {
            candidate.answer(replayed.row(r), &mut self.scratch);
            candidate.replay_row(replayed.row(r), self.truth(labels[r]), &self.scratch);
        }
        let after = replayed.evaluate(&candidate, half..rows, self.task, &mut self.scratch) * f64::from(self.unit());
        let accepted = match self.task {
            Task::Classification => after >= before,
            Task::Regression => after <= before,
        };
        if accepted {
            self.mixture = candidate;
        }
        let done = Consolidation { rows: self.rows, before, after, accepted, judged: rows - half, forgotten: 0 };
        self.record(done.clone());
        Ok(done)
    }

    fn consolidate_without_forgotten(&mut self) -> Result<Consolidation> {
        let forgotten = self.forgotten;
        let (before, _) = self.evaluate_recent()?;
        self.rebuild()?;
        self.recomputed(forgotten, before)
    }

    /// Accuracy (or mean absolute error) on the recent rows, and their number.
    pub fn evaluate_recent(&mut self) -> Result<(f64, usize)> {
        let rows = self.recent_labels.len();
        let codes = self.codes(&self.recent)?;
        let replayed = Replay { batch: &self.recent, labels: &self.recent_labels, codes: &codes.0, base: &codes.1 };
        let figure = replayed.evaluate(&self.mixture, 0..rows, self.task, &mut self.scratch);
        Ok((figure * f64::from(self.unit()), rows))
    }

    /// Records that this state was computed again without `forgotten` rows; recent rows were answered as `before` by the
    /// state before it.
    pub fn recomputed(&mut self, forgotten: u64, before: f64) -> Result<Consolidation> {
        let (after, judged) = self.evaluate_recent()?;
        let done = Consolidation { rows: self.rows, before, after, accepted: true, judged, forgotten };
        if forgotten > 0 {
            self.record(done.clone());
        }
        Ok(done)
    }

    /// The number of rows when it was last consolidated, whether or not the result was kept.
    pub fn consolidated_at(&self) -> u64 {
        self.consolidations.last().map_or(0, |last| last.rows)
    }

    /// Adds a consolidation to the list in [`super::StreamReport::stream`].
    pub fn record(&mut self, done: Consolidation) {
        self.consolidations.push(done);
        if self.consolidations.len() > 100 {
            self.consolidations.remove(0);
        }
    }
}

struct Replay<'a> {
    batch: &'a Batch,
    labels: &'a [f32],
    codes: &'a [f32],
    base: &'a [f32],
}

impl Replay<'_> {
    fn row(&self, r: usize) -> StreamRow<'_> {
        let rows = self.labels.len().max(1);
        let (width, outputs) = (self.codes.len() / rows, self.base.len() / rows);
        let (indices, values) = self.batch.entries(r);
        let code = &self.codes[r * width..(r + 1) * width];
        StreamRow { indices, values, code, base: &self.base[r * outputs..(r + 1) * outputs] }
    }

    fn evaluate(&self, model: &Mixture, rows: std::ops::Range<usize>, task: Task, scratch: &mut Scratch) -> f64 {
        let count = rows.len().max(1) as f64;
        let one = |r: usize| {
            model.answer(self.row(r), scratch);
            match task {
                Task::Classification => f64::from(u8::from(argmax(&scratch.answer) == self.labels[r] as usize)),
                Task::Regression => f64::from((scratch.answer[0] - self.labels[r]).abs()),
            }
        };
        rows.map(one).sum::<f64>() / count
    }
}
