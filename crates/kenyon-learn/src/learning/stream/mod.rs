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
mod experts;
mod familiar;
mod figures;
mod forget;
mod hedge;
mod history;
mod horizons;
mod inputs;
mod mixture;
mod mixture_learn;
mod network;
mod record;
mod report;
mod served;
mod shape;
mod state;
mod targets;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trust_tests;

pub use column_drift::ColumnChange;
pub use consolidate::Consolidation;
pub use figures::Figures;
pub use forget::Forgotten;
pub use horizons::HorizonPoint;
pub use report::StreamReport;

use super::bundle::Bundle;
use super::calibrate::RAPS_FROM;
use super::novelty::{KnownCodes, Novelty};
use crate::data::encoder::{Encoder, EncoderOptions, Field, Layout};
use crate::data::plan::ColumnPlan;
use crate::data::rows::RowsReader;
use crate::data::schema::ColumnKind;
use crate::data::target::{Encoded, TargetEncoder};
use crate::data::{Batch, Column, Table};
use crate::models::{Task, UNLABELLED};
use crate::nn::probability::argmax;
use crate::nn::readouts::semi_supervised::are_few;
use crate::{Error, Result};
use code::Code;
use column_drift::ColumnDrift;
use experts::{EXPERTS, ExpertKind, Truth};
use familiar::Familiar;
use hedge::Mixing;
use history::History;
use horizons::Horizons;
use jiff::Timestamp;
use mixture::{Mixture, Scratch};
use record::RecordAnswers;
use serde_json::{Map, Value};
use served::ServedCalibration;
use shape::{MixtureShape, Row};
use std::sync::Arc;
use targets::TargetRange;

/// Encoders with more features than this are not read by the experts of tables.
const NARROW: usize = 96;
/// Vectors of one dimension with more elements than this are taken for counts of words.
const LISTED: u32 = 4_096;
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
    /// When the rows that are observed next were observed, where that is known.
    at: Option<Timestamp>,
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
    /// The error changed with one of the rows.
    pub drift: bool,
    /// The inputs changed with one of the rows.
    pub input_drift: bool,
    /// Classes that occurred for the first time.
    pub new_classes: usize,
}

impl StreamModel {
    /// An empty stream.
    pub fn new(spec: &StreamSpec) -> Result<Self> {
        Self::with_experts(spec, EXPERTS)
    }

    fn with_experts(spec: &StreamSpec, kinds: &[ExpertKind]) -> Result<Self> {
        let options = EncoderOptions { bins: 0, text_bits: 17, reserve: 32, ..EncoderOptions::default() };
        let encoder = Encoder::empty(&spec.inputs, Layout::Bag, options)?;
        let target_encoder = match spec.task {
            Task::Classification => TargetEncoder::Classes(spec.classes.clone()),
            Task::Regression => TargetEncoder::Number { mean: 0.0, std: 1.0 },
        };
        // A long list of numbers without rows and columns is a bag of words, and read as one.
        let picture = |f: &Field| f.width >= 24 && (f.width <= LISTED || f.shape.as_ref().is_some_and(|s| s.len() > 1));
        let kinds_of_pictures = [ColumnKind::Vector, ColumnKind::Image];
        let is_picture = |f: &Field| kinds_of_pictures.contains(&f.kind) && f.shape.is_some() && picture(f);
        let pictures = encoder.fields.iter().any(is_picture);
        let width = encoder.width as usize;
        let narrow = width <= NARROW && !pictures;
        let code = if narrow { Code::None } else { Code::own() };
        let shape = MixtureShape {
            columns: if narrow { (0..encoder.width).collect() } else { Vec::new() },
            sparse: if narrow || pictures { 0 } else { width },
            code: usize::from(!narrow),
            reads_codes: pictures || (!narrow && spec.task == Task::Regression),
            mixing: if pictures { Mixing::FirstReady } else { Mixing::Hedged },
            ..shape(spec.task, target_encoder.outputs(), &spec.config, spec.seed)
        };
        Ok(Self::assemble(Parts {
            task: spec.task,
            target: spec.target.clone(),
            target_encoder,
            encoder: encoder.into(),
            running: true,
            base: None,
            config: spec.config.clone(),
            seed: spec.seed,
            mixture: Mixture::new(&shape, kinds),
            code,
            ignored: Vec::new(),
        }))
    }

    /// A stream that continues from a trained bundle.
    pub fn over(base: Arc<Bundle>) -> Self {
        let config = base.config.config.clone();
        let width = base.network.feature_width();
        // With few labels the training's own readout is better than one solved from the sums.
        let steady = base.network.sums().is_some_and(|sums| !are_few(sums))
            && base.encoder.width as usize > NARROW
            && base.config.task == Task::Classification;
        let narrow = base.encoder.layout == Layout::Bag && base.encoder.width as usize <= NARROW;
        let sums = base.network.sums().filter(|_| steady).cloned();
        let shape = MixtureShape {
            columns: if narrow { (0..base.encoder.width).collect() } else { Vec::new() },
            code: width,
            reads_codes: width <= 4096 && base.config.task == Task::Classification,
            sums: sums.clone(),
            mixing: if steady { Mixing::FirstReady } else { Mixing::Hedged },
            base: !steady,
            ..shape(base.config.task, base.config.target_encoder.outputs(), &config, base.config.seed)
        };
        let mut it = Self::assemble(Parts {
            task: base.config.task,
            target: base.config.target.clone(),
            target_encoder: base.config.target_encoder.clone(),
            encoder: Arc::clone(&base.encoder),
            running: false,
            config,
            seed: base.config.seed,
            mixture: Mixture::new(&shape, EXPERTS),
            code: Code::Base,
            ignored: base.config.ignored.clone(),
            base: Some(base),
        });
        if let TargetEncoder::Number { mean, std } = &it.target_encoder {
            it.targets = TargetRange::of(*mean, *std);
        }
        if let Some(sums) = sums {
            for (count, &rows) in it.mixture.shared.counts.iter_mut().zip(sums.counts()) {
                *count = rows as u64;
            }
            it.mixture.settle();
        }
        it
    }

    fn assemble(mut parts: Parts) -> Self {
        parts.target.labels = parts.task == Task::Classification;
        let mut plans = parts.encoder.inputs.clone();
        plans.push(parts.target.clone());
        Self {
            reader: RowsReader::new(&plans, &parts.ignored),
            task: parts.task,
            target: parts.target,
            target_encoder: parts.target_encoder,
            encoder: parts.encoder,
            running: parts.running,
            base: parts.base,
            config: parts.config,
            seed: parts.seed,
            targets: TargetRange::default(),
            mixture: parts.mixture,
            code: parts.code,
            figures: Figures::new(parts.task == Task::Regression),
            history: History::default(),
            column_drift: ColumnDrift::default(),
            at: None,
            rows: 0,
            newest_class: 0,
            recent: Batch::new(),
            recent_labels: Vec::new(),
            recent_texts: Vec::new(),
            forgotten: 0,
            scores: Vec::new(),
            served: ServedCalibration::default(),
            horizons: Horizons::default(),
            consolidations: Vec::new(),
            scratch: Scratch::default(),
            aged: Scratch::default(),
            threads: 1,
            novelty: None,
            familiar: Familiar::default(),
            projector: KnownCodes::default(),
            novelty_scores: Vec::new(),
        }
    }

    /// Threads its larger sums may use; the result does not depend on it.
    pub fn set_threads(&mut self, threads: usize) {
        self.threads = threads.max(1);
        self.mixture.shared.threads = self.threads;
    }

    /// When the rows that follow were observed. It becomes part of the state, so it is the log's time.
    pub fn set_time(&mut self, at: Timestamp) {
        self.at = Some(at);
    }

    /// The column that is predicted.
    pub fn target_name(&self) -> &str {
        &self.target.name
    }

    /// Reads rows with their target.
    pub fn reader(&self) -> &RowsReader {
        &self.reader
    }

    /// Whether the rows of `table` can be learned; the error names those whose target is out of range.
    pub fn check(&self, table: &Table) -> Result<()> {
        match (self.task, table.column(&self.target.name)) {
            (Task::Regression, Some(Column::Number(targets) | Column::Timestamp(targets))) => {
                self.targets.check(&self.target.name, targets)
            }
            _ => Ok(()),
        }
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
            let classes = self.target_encoder.outputs();
            // From so many classes on scores have another meaning.
            if classes >= RAPS_FROM && classes - out.new_classes < RAPS_FROM {
                self.scores.clear();
            }
            self.mixture.grow(classes);
            self.newest_class = self.rows;
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
            Row { indices, values, code, base: &codes.1[r * outputs..(r + 1) * outputs] }
        };
        let mut record = self.answer_as_served(&batch, row, &labels);
        for (r, &label) in labels.iter().enumerate() {
            let row = row(r);
            self.one(row, r, label, texts.get(r).copied(), (&mut record, &mut out));
            self.remember(row.indices, row.values, label.learned, texts.get(r).copied());
        }
        if self.base.is_none() {
            let names = self.encoder.inputs.iter().map(|input| input.name.as_str());
            self.familiar.add(table, names, record.sketches, self.seed);
        }
        // A code that was learned again is for later rows: those of this batch had the old one.
        let learned: Vec<f32> = labels.iter().map(|label| label.learned).collect();
        if self.code.learn(&self.encoder, &self.config, self.seed, &batch, &learned, texts) {
            self.replay()?;
        }
        if let (TargetEncoder::Number { mean, .. }, None) = (&self.target_encoder, &self.base)
            && let Some(centre) = self.targets.astray(*mean)
        {
            self.restart_regression(centre);
        }
        self.renew_novelty();
        out.rows = labels.len() as u64;
        Ok(out)
    }

    fn one(
        &mut self,
        row: Row<'_>,
        r: usize,
        label: Label,
        text: Option<&str>,
        (record, out): (&mut RecordAnswers<'_>, &mut Observed),
    ) {
        self.rows += 1;
        self.mixture.observe_inputs(row);
        self.mixture.answer(row, &mut self.scratch);
        let sketch = self.projector.sketch(self.mixture.key(row.code, &self.scratch));
        record.sketches.extend_from_slice(&sketch);
        if let Some(score) = self.novelty_score(&sketch, record.batch, r) {
            self.keep_novelty(score);
        }
        let answer = match self.task {
            Task::Classification => argmax(&self.scratch.answer) as f32,
            Task::Regression => self.scratch.answer[0],
        };
        out.answers.push(answer);
        out.input_drift |= self.figures.input(self.mixture.input_novelty(&self.scratch), self.rows);
        if label.learned.is_nan() {
            self.figures.unlabelled += 1;
            self.mixture.learn_unlabelled(row, &self.scratch);
            return;
        }
        let truth = self.truth(label.learned);
        self.measure_horizon(row, truth, label, record.thresholds.as_ref());
        let first = (r == 0 && record.first).then(|| self.served.judge(&self.scratch.answer, truth, label.observed));
        if let Some(judged) = first.or(record.judged[r])
            && let Some(held) = self.served.learn(judged, record.thresholds.as_ref(), &mut self.scores)
        {
            self.history.held(held);
        }
        let drift = match truth {
            Truth::Class(class) => self.figures.class(answer as usize, class),
            Truth::Value(_) => {
                let unit = self.unit();
                self.figures.value(answer * unit, label.observed * unit)
            }
        };
        self.mixture.learn(row, truth, || text.map(Box::from), &mut self.scratch);
        self.history.point(self.figures.labelled, self.at, self.mixture.shared.memory.entries().len());
        if drift {
            out.drift = true;
            // Errors that come with new classes are no reason to forget the old ones.
            self.mixture.on_drift(self.rows - self.newest_class > 20_000);
        }
        if self.horizons.is_due(self.figures.labelled) {
            self.horizons.copy = Some((self.figures.labelled, self.mixture.published()));
        }
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
            let row = Row { indices, values, code: &codes[r * width..(r + 1) * width], base: &[] };
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

    fn truth(&self, label: f32) -> Truth {
        match self.task {
            Task::Classification => Truth::Class(label as usize),
            Task::Regression => Truth::Value(label),
        }
    }

    /// The unit of standardised targets.
    fn unit(&self) -> f32 {
        match &self.target_encoder {
            TargetEncoder::Number { std, .. } => *std as f32,
            TargetEncoder::Classes(_) => 1.0,
        }
    }

    /// Labels of rows that are observed for the first time; numbers are clipped to the range of targets.
    fn new_labels(&mut self, table: &Table) -> Result<Vec<Label>> {
        let (Task::Regression, Some(Column::Number(targets) | Column::Timestamp(targets))) =
            (self.task, table.column(&self.target.name))
        else {
            let labels = self.labels(table)?;
            return Ok(labels.into_iter().map(|label| Label { observed: label, learned: label }).collect());
        };
        if self.base.is_none()
            && self.targets.is_empty()
            && self.figures.labelled == 0
            && let Some(median) = targets::median(targets)
        {
            self.target_encoder = TargetEncoder::Number { mean: median, std: 1.0 };
        }
        let TargetEncoder::Number { mean, std } = self.target_encoder else {
            return Err(Error::internal("a regression without a scale of its target"));
        };
        let standardised = |target: f64| ((target - mean) / std) as f32;
        let label = |&target: &f64| match self.targets.learn(target) {
            Some(usual) => Label { observed: standardised(target), learned: standardised(usual) },
            None => Label { observed: f32::NAN, learned: f32::NAN },
        };
        Ok(targets.iter().map(label).collect())
    }

    /// Class ids (NaN for none) or standardised values of the target column, as they were learned.
    fn labels(&self, table: &Table) -> Result<Vec<f32>> {
        let Some(column) = table.column(&self.target.name) else { return Ok(vec![f32::NAN; table.rows]) };
        let usual = match (self.task, column) {
            (Task::Regression, Column::Number(targets)) => {
                Some(Column::Number(targets.iter().map(|&t| self.targets.usual(t)).collect()))
            }
            _ => None,
        };
        Ok(match self.target_encoder.encode(usual.as_ref().unwrap_or(column))? {
            Encoded::Classes(ids) => {
                ids.into_iter().map(|id| if id == UNLABELLED { f32::NAN } else { id as f32 }).collect()
            }
            Encoded::Values(values) => values,
        })
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

/// The label of a row as it was observed and as it is learned, which differ for outliers; NaN for none.
#[derive(Clone, Copy, Debug)]
struct Label {
    observed: f32,
    learned: f32,
}

struct Parts {
    task: Task,
    target: ColumnPlan,
    target_encoder: TargetEncoder,
    encoder: Arc<Encoder>,
    running: bool,
    base: Option<Arc<Bundle>>,
    config: Map<String, Value>,
    seed: u64,
    mixture: Mixture,
    code: Code,
    ignored: Vec<String>,
}

/// The settings, with the rest empty.
fn shape(task: Task, classes: usize, config: &Map<String, Value>, seed: u64) -> MixtureShape {
    MixtureShape {
        regression: task == Task::Regression,
        classes: if task == Task::Regression { 0 } else { classes },
        columns: Vec::new(),
        sparse: 0,
        code: 0,
        reads_codes: false,
        sums: None,
        mixing: Mixing::Hedged,
        base: false,
        capacity: config.get("memory_per_class").and_then(Value::as_u64).unwrap_or(100) as usize,
        labels_in_time: config.get("recent_labels").and_then(Value::as_bool).unwrap_or(true),
        seed,
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
