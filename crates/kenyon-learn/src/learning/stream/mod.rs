//! A model that learns from a stream: it predicts a row and then learns it, row by row.
//!
//! [`StreamModel`] is pure and synchronous: the same rows in the same order give the same state, bit for
//! bit, and a [`StreamModel::snapshot`] with the rows after it gives that state, too. It does not depend on
//! logs or servers; `serving::observe` keeps the log and serves [`StreamModel::publish`].
//!
//! A stream starts empty (a running encoder, codes learned from its own first rows) or from
//! a trained bundle, whose encoder and network then stay frozen while everything after them learns.

mod block_test;
mod code;
mod column_drift;
mod consolidate;
mod copy_on_write;
mod credibility;
#[cfg(test)]
mod encoded_tests;
mod experts;
mod familiar;
mod figures;
mod forget;
mod hedge;
mod history;
mod horizons;
mod input_reference;
mod inputs;
mod labels;
mod mixture;
mod mixture_learn;
mod network;
mod quarantine;
mod record;
mod report;
mod served;
mod shape;
mod sources;
mod start;
mod state;
mod targets;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trust_tests;

pub use column_drift::ColumnChange;
pub use consolidate::Consolidation;
pub use figures::{Detection, Figures};
pub use forget::Forgotten;
pub use horizons::HorizonPoint;
pub use report::StreamReport;

use super::bundle::Bundle;
use super::calibrate::RAPS_FROM;
use super::novelty::{KnownCodes, Novelty};
use crate::data::encoder::Encoder;
use crate::data::plan::ColumnPlan;
use crate::data::rows::RowsReader;
use crate::data::target::TargetEncoder;
use crate::data::{Batch, Table};
use crate::models::Task;
use crate::models::memory::texts_of_names;
use crate::nn::probability::argmax;
use crate::{Error, Result};
use code::Code;
use column_drift::ColumnDrift;
use familiar::Familiar;
use history::History;
use horizons::Horizons;
use input_reference::{InputReference, columns_of};
use jiff::Timestamp;
use labels::Label;
use mixture::{Mixture, Scratch};
use quarantine::Quarantine;
use record::RecordAnswers;
use serde_json::{Map, Value};
use served::ServedCalibration;
use shape::StreamRow;
use sources::Sources;
use std::sync::Arc;
use targets::TargetRange;

/// Rows kept to evaluate consolidations on.
const RECENT: usize = 512;

/// The options of a stream, in addition to its columns.
#[derive(Clone, Debug)]
pub struct StreamSpec {
    /// The task.
    pub task: Task,
    /// The target's column.
    pub target: ColumnPlan,
    /// Classes that are known before the first row.
    pub classes: Vec<Value>,
    /// Columns of the rows.
    pub inputs: Vec<ColumnPlan>,
    /// `memory_per_class`, `recent_labels`, and the settings of `hybrid`.
    pub config: Map<String, Value>,
    /// Seed of everything random.
    pub seed: u64,
}

/// The state of a stream; see the module documentation.
pub struct StreamModel {
    task: Task,
    target: ColumnPlan,
    target_encoder: TargetEncoder,
    encoder: Arc<Encoder>,
    /// Whether the encoder is still updated; false over a frozen network.
    running: bool,
    base: Option<Arc<Bundle>>,
    config: Map<String, Value>,
    seed: u64,
    /// Statistics of the targets.
    targets: TargetRange,
    mixture: Mixture,
    code: Code,
    figures: Figures,
    history: History,
    column_drift: ColumnDrift,
    input_reference: InputReference,
    /// When the rows that are observed next were observed, where that is known.
    at: Option<Timestamp>,
    /// Who sent the rows that are observed next; empty where that is not known.
    source: Arc<str>,
    sources: Sources,
    quarantine: Quarantine,
    /// Number of rows, labelled or not.
    rows: u64,
    newest_class: u64,
    recent: Batch,
    recent_labels: Vec<f32>,
    /// The same rows as JSON, where they came with it.
    recent_texts: Vec<Option<Box<str>>>,
    /// Rows forgotten since the last consolidation: the experts still contain what they learned from them.
    forgotten: u64,
    /// Conformity scores of the newest answers, the reference of sets and intervals.
    scores: Vec<f32>,
    served: ServedCalibration,
    horizons: Horizons,
    consolidations: Vec<Consolidation>,
    reader: RowsReader,
    scratch: Scratch,
    /// The same for the copy that [`Horizons`] keeps.
    aged: Scratch,
    threads: usize,
    /// Novelty fitted on familiar rows, and the number of rows at which it was fitted.
    novelty: Option<(u64, Arc<Novelty>)>,
    familiar: Familiar,
    /// Projects codes as novelty does; follows from their width.
    projector: KnownCodes,
    /// How unusual the rows observed last were before they were learned.
    novelty_scores: Vec<f32>,
}

/// The effect of some rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Rows learned.
    pub rows: u64,
    /// Predictions before learning: class ids, or values; one a row.
    pub answers: Vec<f32>,
    /// The error changed with one of the rows, and the experts adapted.
    pub drift: bool,
    /// The inputs changed with one of the rows.
    pub input_drift: bool,
    /// Rows of the alarms that were raised because of the error, one a change: those that are added to `drift.rows` of
    /// [`StreamReport::stream`].
    pub alarms: Vec<u64>,
    /// The same because of the inputs, as in `drift.inputs.rows`.
    pub input_alarms: Vec<u64>,
    /// Classes that occurred for the first time.
    pub new_classes: usize,
}

impl StreamModel {
    /// Threads its larger sums may use; the result does not depend on it.
    pub fn set_threads(&mut self, threads: usize) {
        self.threads = threads.max(1);
        self.mixture.shared.threads = self.threads;
    }

    /// When the rows that follow were observed. It becomes part of the state, so it is the log's time.
    pub fn set_time(&mut self, at: Timestamp) {
        self.at = Some(at);
    }

    /// Who sent the rows that follow. It becomes part of the state, so it is what the log has.
    pub fn set_source(&mut self, source: &str) {
        if *self.source != *source {
            self.source = source.into();
        }
    }

    /// Rows that this source has sent.
    pub fn rows_from(&self, source: &str) -> u64 {
        self.sources.rows_of(source)
    }

    /// The column that is predicted.
    pub fn target_name(&self) -> &str {
        &self.target.name
    }

    /// Reads rows with their target.
    pub fn reader(&self) -> &RowsReader {
        &self.reader
    }

    /// Predicts and then learns the rows of `table`, in order. `texts` holds each row as JSON, for
    /// listing the memory; it may be empty.
    pub fn observe(&mut self, table: &Table, texts: &[&str]) -> Result<Observed> {
        let mut out = Observed::default();
        if let Some(column) = table.column(&self.target.name) {
            out.new_classes = self.target_encoder.extend(column);
        }
        let labels = self.new_labels(table)?;
        if out.new_classes > 0 {
            self.add_classes(out.new_classes)?;
        }
        if self.running {
            Arc::make_mut(&mut self.encoder).observe(table)?;
        }
        let mut batch = self.encoder.encode(table)?;
        if let Some(novelty) = self.reference() {
            batch.input_scores = novelty.of_inputs(table);
        }
        if let Some(width) = self.code.ready(&self.encoder, &self.config, self.seed, &batch) {
            self.mixture.rekey(width);
        }
        let names = self.encoder.inputs.iter().map(|input| input.name.as_str());
        self.column_drift.observe(table, names, (self.rows + 1, self.at));
        let codes = self.codes(&batch)?;
        let width = codes.0.len() / batch.rows().max(1);
        let outputs = codes.1.len() / batch.rows().max(1);
        let row = |r: usize| {
            let (indices, values) = batch.entries(r);
            let code = &codes.0[r * width..(r + 1) * width];
            StreamRow { indices, values, code, base: &codes.1[r * outputs..(r + 1) * outputs] }
        };
        let names = self.encoder.inputs.iter().map(|input| input.name.as_str());
        let columns = columns_of(table, names);
        let mut record = self.answer_as_served((&batch, columns), row, &labels);
        let mut learned = Vec::with_capacity(labels.len());
        for (r, &label) in labels.iter().enumerate() {
            let row = row(r);
            let held = self.one(row, r, label, texts.get(r).copied(), (&mut record, &mut out));
            learned.push(if held { f32::NAN } else { label.learned });
            self.remember(row.indices, row.values, learned[r], texts.get(r).copied());
        }
        if self.base.is_none() {
            let names = self.encoder.inputs.iter().map(|input| input.name.as_str());
            self.familiar.add(table, names, record.sketches, self.seed);
        }
        // A code that was learned again is for later rows: those of this batch had the old one.
        if self.code.learn(&self.encoder, &self.config, self.seed, &batch, &learned, texts) {
            self.replay()?;
        }
        if let (TargetEncoder::Number { mean, .. }, None) = (&self.target_encoder, &self.base)
            && let Some(centre) = self.targets.restart_centre(*mean)
        {
            self.restart_regression(centre);
        }
        self.renew_novelty();
        self.sources.rows(&self.source, labels.len() as u64);
        out.rows = labels.len() as u64;
        Ok(out)
    }

    /// Prepares everything for the last `new` classes of the target.
    fn add_classes(&mut self, new: usize) -> Result<()> {
        let classes = self.target_encoder.outputs();
        // From so many classes on scores have another meaning.
        if classes >= RAPS_FROM && classes - new < RAPS_FROM {
            self.scores.clear();
        }
        self.mixture.grow(classes);
        self.newest_class = self.rows;
        self.name_classes(classes - new)
    }

    /// Gives the experts the names of classes from `first` on, where a pretrained encoder reads texts.
    fn name_classes(&mut self, first: usize) -> Result<()> {
        let wanted = self.config.get("class_names").and_then(Value::as_bool).unwrap_or(true);
        if let (Code::Vectors(_), true) = (&self.code, wanted) {
            let names = self.target_encoder.names();
            let texts = texts_of_names(&names[first.min(names.len())..], &self.encoder)?;
            self.mixture.name_classes(first, &texts);
        }
        Ok(())
    }

    /// Predicts and learns a row; whether it was held back.
    fn one(
        &mut self,
        row: StreamRow<'_>,
        r: usize,
        label: Label,
        text: Option<&str>,
        (record, out): (&mut RecordAnswers<'_>, &mut Observed),
    ) -> bool {
        self.rows += 1;
        self.mixture.observe_inputs(row);
        self.mixture.answer(row, &mut self.scratch);
        let sketch = self.projector.sketch(self.mixture.key(row.code, &self.scratch));
        record.sketches.extend_from_slice(&sketch);
        let score = self.novelty_score(&sketch, record.batch, r);
        let held = !label.learned.is_nan() && self.is_contradicted(score, self.truth(label.learned));
        if let Some(score) = score {
            self.keep_novelty(score);
        }
        let answer = match self.task {
            Task::Classification => argmax(&self.scratch.answer) as f32,
            Task::Regression => self.scratch.answer[0],
        };
        out.answers.push(answer);
        let inputs = self.have_inputs_changed(&record.columns, r);
        out.input_drift |= inputs.change;
        out.input_alarms.extend(inputs.alarm);
        if label.learned.is_nan() {
            self.figures.unlabelled += 1;
            self.mixture.learn_unlabelled(row, &self.scratch);
            return false;
        }
        if held {
            self.quarantine.add(self.rows, &self.source, text);
            self.sources.held(&self.source);
            return true;
        }
        let truth = self.truth(label.learned);
        self.measure_horizon(row, truth, label, record.thresholds.as_ref());
        let own = record.by_itself[r].then(|| self.served.conformity_of(&self.scratch.answer, truth, label.observed));
        if let Some(conformity) = own.or(record.conformity[r])
            && let Some(held) = self.served.learn(conformity, record.thresholds.as_ref(), &mut self.scores)
        {
            self.history.held(held);
        }
        let error = self.measure_error(answer, truth, label);
        out.alarms.extend(error.alarm);
        self.mixture.learn(row, truth, || text.map(Box::from), &mut self.scratch);
        self.history.point(self.figures.labelled, self.at, self.mixture.shared.memory.entries().len());
        if error.change {
            out.drift = true;
            // Errors that come with new classes are no reason to forget the old ones.
            self.mixture.on_drift(self.rows - self.newest_class > 20_000);
        }
        if self.horizons.is_due(self.figures.labelled) {
            self.horizons.copy = Some((self.figures.labelled, self.mixture.published()));
        }
        false
    }

    /// Learns the rows that waited for a code once more, under the code learned from them.
    fn replay(&mut self) -> Result<()> {
        let Some((batch, labels, texts)) = self.code.waiting() else { return Ok(()) };
        let (batch, labels, texts) = (batch.clone(), labels.to_vec(), texts.to_vec());
        let Some(codes) = self.code.of(&batch, self.threads) else { return Ok(()) };
        let width = codes.len() / batch.rows().max(1);
        self.forget_familiar();
        self.mixture.rekey(width);
        self.mixture.shared.counts.iter_mut().for_each(|c| *c = 0);
        for (r, &label) in labels.iter().enumerate() {
            let (indices, values) = batch.entries(r);
            let row = StreamRow { indices, values, code: &codes[r * width..(r + 1) * width], base: &[] };
            self.mixture.answer(row, &mut self.scratch);
            if label.is_nan() {
                self.mixture.learn_unlabelled(row, &self.scratch);
            } else {
                let truth = self.truth(label);
                self.mixture.learn(row, truth, || texts[r].clone(), &mut self.scratch);
            }
        }
        self.mixture.settle();
        self.code.settled();
        Ok(())
    }

    /// Restarts the experts for regression with another centre: the first target was an outlier.
    fn restart_regression(&mut self, centre: f64) {
        self.target_encoder = TargetEncoder::Number { mean: centre, std: 1.0 };
        self.mixture.restart();
        self.forget_familiar();
        self.mixture.rekey(self.mixture.key_width());
        (self.mixture.shared.counts[0], self.mixture.shared.mean) = (0, 0.0);
        self.scores.clear();
        self.recent = Batch::new();
        self.recent_labels.clear();
        self.recent_texts.clear();
    }

    /// Codes of the rows and the frozen network's answers.
    fn codes(&self, batch: &Batch) -> Result<(Vec<f32>, Vec<f32>)> {
        match (&self.code, &self.base) {
            (Code::Base, Some(base)) => {
                let (mut answers, codes) = base.network.forward_with_features(batch)?;
                network::to_probabilities(&mut answers, base);
                Ok((codes, answers))
            }
            (code, _) => Ok((code.of(batch, self.threads).unwrap_or_default(), Vec::new())),
        }
    }

    fn remember(&mut self, indices: &[u32], values: &[f32], label: f32, text: Option<&str>) {
        if label.is_nan() {
            return;
        }
        if self.recent_labels.len() >= 2 * RECENT {
            let rows: Vec<usize> = (RECENT..self.recent_labels.len()).collect();
            self.recent = self.recent.select(&rows);
            self.recent_labels.drain(..RECENT);
            self.recent_texts.drain(..RECENT);
        }
        indices.iter().zip(values).for_each(|(&i, &v)| self.recent.push_entry(i, v));
        self.recent.end_bag();
        self.recent_labels.push(label);
        self.recent_texts.push(text.map(Box::from));
    }

    /// Rows forgotten whose effect is not gone yet: [`StreamModel::consolidate`] removes it as far as possible.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The metrics.
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// The classes, in the order of ids; empty for regression.
    pub fn classes(&self) -> &[Value] {
        match &self.target_encoder {
            TargetEncoder::Classes(classes) => classes,
            TargetEncoder::Number { .. } => &[],
        }
    }
}

impl std::fmt::Debug for StreamModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamModel")
            .field("rows", &self.rows)
            .field("target", &self.target.name)
            .finish_non_exhaustive()
    }
}

/// An error for states that cannot be read.
fn broken(what: impl std::fmt::Display) -> Error {
    Error::internal(format!("the stream's state cannot be read: {what}"))
}
