//! A model that learns from a stream: predict, be told, learn, row by row.
//!
//! [`Online`] is pure and synchronous: the same rows in the same order give the same state, bit for
//! bit, and a [`Online::snapshot`] with the rows after it gives that state, too. It knows nothing of
//! logs and servers; `serving::observe` keeps the log and publishes [`Online::publish`].
//!
//! A stream starts from nothing (a running encoder, codes learned from its own first rows) or from
//! a trained bundle, whose encoder and network then stay frozen while everything after them learns.

mod consolidate;
mod experts;
mod few_shot;
mod figures;
mod forest;
mod forget;
mod inputs;
mod lda_readout;
mod model;
mod network;
mod state;
#[cfg(test)]
mod tests;

pub use consolidate::Consolidation;
pub use figures::Figures;
pub use forget::Forgotten;
pub use model::{Join, Model};

use super::bundle::Bundle;
use super::calibrate::Novelty;
use crate::data::encoder::{Encoder, EncoderOptions, Field, Layout};
use crate::data::plan::ColumnPlan;
use crate::data::rows::RowsReader;
use crate::data::schema::ColumnKind;
use crate::data::target::{Encoded, TargetEncoder};
use crate::data::{Batch, Table};
use crate::models::{Task, UNLABELLED};
use crate::nn::probability::argmax;
use crate::nn::readouts::semi_supervised::are_few;
use crate::{Error, Result};
use lda_readout::{Code, LdaReadout};
use model::{Row, Scratch, Shape};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Encoders with more features than this are not read by the experts of tables.
const NARROW: usize = 96;
/// Vectors of one dimension with more elements than this are taken for counts of words.
const LISTED: u32 = 4_096;
/// Rows kept to judge consolidations by.
const RECENT: usize = 512;

/// What a stream learns and how, beside its columns.
#[derive(Clone, Debug)]
pub struct OnlineSpec {
    /// What kind of answer.
    pub task: Task,
    /// The target's column.
    pub target: ColumnPlan,
    /// Classes known beforehand.
    pub classes: Vec<Value>,
    /// Columns of the rows.
    pub inputs: Vec<ColumnPlan>,
    /// `memory_per_class`, `recent_labels`, and what `hybrid` takes.
    pub config: Map<String, Value>,
    /// Everything random follows from it.
    pub seed: u64,
}

/// The state of a stream; see the module.
pub struct Online {
    task: Task,
    target: ColumnPlan,
    target_encoder: TargetEncoder,
    encoder: Encoder,
    /// Whether the encoder still learns; false over a frozen network.
    running: bool,
    base: Option<Arc<Bundle>>,
    config: Map<String, Value>,
    seed: u64,
    model: Model,
    code: Code,
    lda_readout: LdaReadout,
    figures: Figures,
    /// Rows seen, labelled or not.
    rows: u64,
    newest_class: u64,
    recent: Batch,
    recent_labels: Vec<f32>,
    /// The same rows as JSON, where they came with it.
    recent_texts: Vec<Option<Box<str>>>,
    /// Rows forgotten since the last consolidation: the experts still know them.
    forgotten: u64,
    /// Distance from the answer, of the newest labelled rows: what conformal sets are made of.
    scores: Vec<f32>,
    consolidations: Vec<Consolidation>,
    reader: RowsReader,
    scratch: Scratch,
    threads: usize,
    /// What is near to what is remembered, and the rows at which it was found out.
    novelty: Option<(u64, Novelty)>,
}

/// What some rows did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Rows taken in.
    pub rows: u64,
    /// Answers before learning: class ids, or values; one a row.
    pub answers: Vec<f32>,
    /// The error changed with one of the rows.
    pub drift: bool,
    /// The inputs changed with one of the rows.
    pub input_drift: bool,
    /// Classes seen for the first time.
    pub new_classes: usize,
}

impl Online {
    /// A stream from nothing.
    pub fn new(spec: &OnlineSpec) -> Result<Self> {
        let options = EncoderOptions { bins: 0, text_bits: 17, reserve: 32, ..EncoderOptions::default() };
        let encoder = Encoder::empty(&spec.inputs, Layout::Bag, options)?;
        let target_encoder = match spec.task {
            Task::Classification => TargetEncoder::Classes(spec.classes.clone()),
            Task::Regression => TargetEncoder::Number { mean: 0.0, std: 1.0 },
        };
        // A long list of numbers without rows and columns is a bag of words, and read as one.
        let picture = |f: &Field| f.width >= 24 && (f.width <= LISTED || f.shape.as_ref().is_some_and(|s| s.len() > 1));
        let kinds = [ColumnKind::Vector, ColumnKind::Image];
        let pictures = encoder.fields.iter().any(|f| kinds.contains(&f.kind) && f.shape.is_some() && picture(f));
        let width = encoder.width as usize;
        let narrow = width <= NARROW && !pictures;
        let code = if narrow { Code::None } else { Code::own() };
        let shape = Shape {
            columns: if narrow { (0..encoder.width).collect() } else { Vec::new() },
            sparse: if narrow || pictures { 0 } else { width },
            code: usize::from(!narrow),
            join: if pictures { Join::Steady } else { Join::Recent },
            base: false,
            ..shape(spec.task, target_encoder.outputs(), &spec.config, spec.seed)
        };
        let lda_readout = LdaReadout::new(pictures || (!narrow && spec.task == Task::Regression));
        let ignored = Vec::new();
        Ok(Self::assemble(Parts {
            task: spec.task,
            target: spec.target.clone(),
            target_encoder,
            encoder,
            running: true,
            base: None,
            config: spec.config.clone(),
            seed: spec.seed,
            shape,
            code,
            lda_readout,
            ignored,
        }))
    }

    /// A stream that goes on from a trained bundle.
    pub fn over(base: Arc<Bundle>) -> Self {
        let config = base.config.config.clone();
        let width = base.network.feature_width();
        // Sums of few labels are answered better by what the training made of them.
        let steady = base.network.sums().is_some_and(|sums| !are_few(sums))
            && base.encoder.width as usize > NARROW
            && base.config.task == Task::Classification;
        let narrow = base.encoder.layout == Layout::Bag && base.encoder.width as usize <= NARROW;
        let shape = Shape {
            columns: if narrow { (0..base.encoder.width).collect() } else { Vec::new() },
            sparse: 0,
            code: width,
            join: if steady { Join::Steady } else { Join::Recent },
            base: !steady,
            ..shape(base.config.task, base.config.target_encoder.outputs(), &config, base.config.seed)
        };
        let mut lda_readout = LdaReadout::new(width <= 4096 && base.config.task == Task::Classification);
        if steady && let Some(sums) = base.network.sums() {
            lda_readout.go_on(sums.clone());
        }
        let mut it = Self::assemble(Parts {
            task: base.config.task,
            target: base.config.target.clone(),
            target_encoder: base.config.target_encoder.clone(),
            encoder: base.encoder.clone(),
            running: false,
            config,
            seed: base.config.seed,
            shape,
            code: Code::Base,
            lda_readout,
            ignored: base.config.ignored.clone(),
            base: Some(base),
        });
        it.lda_readout.start(&mut it.model, it.threads);
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
            model: Model::new(&parts.shape),
            code: parts.code,
            lda_readout: parts.lda_readout,
            figures: Figures::new(parts.task == Task::Regression),
            rows: 0,
            newest_class: 0,
            recent: Batch::new(),
            recent_labels: Vec::new(),
            recent_texts: Vec::new(),
            forgotten: 0,
            scores: Vec::new(),
            consolidations: Vec::new(),
            scratch: Scratch::default(),
            threads: 1,
            novelty: None,
        }
    }

    /// Threads its larger sums may use; the result does not depend on it.
    pub fn set_threads(&mut self, threads: usize) {
        self.threads = threads.max(1);
    }

    /// Reads rows with their target.
    pub fn reader(&self) -> &RowsReader {
        &self.reader
    }

    /// Predicts and then learns the rows of `table`, in order. `texts` holds each row as JSON, for
    /// people who look at the memory; it may be empty.
    pub fn observe(&mut self, table: &Table, texts: &[&str]) -> Result<Observed> {
        let mut out = Observed::default();
        if let Some(column) = table.column(&self.target.name) {
            out.new_classes = self.target_encoder.extend(column);
        }
        let labels = self.labels(table)?;
        if out.new_classes > 0 {
            self.model.grow(self.target_encoder.outputs());
            self.newest_class = self.rows;
        }
        if self.running {
            self.encoder.observe(table)?;
        }
        let batch = self.encoder.encode(table)?;
        self.code.ready(&self.encoder, &self.config, self.seed, &batch, &mut self.model);
        let codes = self.codes(&batch)?;
        let width = codes.0.len() / batch.rows().max(1);
        let outputs = codes.1.len() / batch.rows().max(1);
        for (r, &label) in labels.iter().enumerate() {
            let (indices, values) = batch.entries(r);
            let code = &codes.0[r * width..(r + 1) * width];
            let row = Row { indices, values, code, base: &codes.1[r * outputs..(r + 1) * outputs] };
            self.one(row, label, texts.get(r).copied(), &mut out);
            self.remember(indices, values, label, texts.get(r).copied());
        }
        // A code that learned anew is for the rows after: those of this batch had the old one.
        if self.code.learn(&self.encoder, &self.config, self.seed, &batch, &labels, texts) {
            self.replay()?;
        }
        self.renew_novelty();
        out.rows = labels.len() as u64;
        Ok(out)
    }

    fn one(&mut self, row: Row<'_>, label: f32, text: Option<&str>, out: &mut Observed) {
        self.rows += 1;
        self.model.look(row);
        self.model.answer(row, &mut self.scratch);
        let answer = match self.task {
            Task::Classification => argmax(&self.scratch.answer) as f32,
            Task::Regression => self.scratch.answer[0],
        };
        out.answers.push(answer);
        out.input_drift |= self.figures.input(self.model.input_novelty(&self.scratch), self.rows);
        if label.is_nan() {
            self.figures.unlabelled += 1;
            self.model.learn_inputs(&self.scratch);
            self.lda_readout.add(row.code, None, &mut self.model, self.threads);
            return;
        }
        let text = || text.map(Box::from);
        let drift = match self.task {
            Task::Classification => {
                let class = label as usize;
                self.score(1.0 - self.scratch.answer[class]);
                let drift = self.figures.class(answer as usize, class);
                self.model.learn_class(row, class, text, &mut self.scratch);
                drift
            }
            Task::Regression => {
                self.score((answer - label).abs());
                let drift = self.figures.value(answer, label);
                self.model.learn_value(label, text, &mut self.scratch);
                drift
            }
        };
        self.lda_readout.add(row.code, Some(label), &mut self.model, self.threads);
        if drift {
            out.drift = true;
            self.model.wake();
            // Errors that come with new classes are no reason to forget the old ones.
            if self.rows - self.newest_class > 20_000 {
                self.lda_readout.fade(self.threads);
            }
        }
    }

    /// Learns the rows that waited for a code once more, under the code they taught.
    fn replay(&mut self) -> Result<()> {
        let Some((batch, labels, texts)) = self.code.waiting() else { return Ok(()) };
        let (batch, labels, texts) = (batch.clone(), labels.to_vec(), texts.to_vec());
        let Some(codes) = self.code.of(&batch, self.threads) else { return Ok(()) };
        let width = codes.len() / batch.rows().max(1);
        self.model.rekey(width);
        self.model.counts.iter_mut().for_each(|c| *c = 0);
        self.lda_readout.restart();
        for (r, &label) in labels.iter().enumerate() {
            let (indices, values) = batch.entries(r);
            let row = Row { indices, values, code: &codes[r * width..(r + 1) * width], base: &[] };
            if label.is_nan() {
                self.lda_readout.add(row.code, None, &mut self.model, self.threads);
                continue;
            }
            self.model.answer(row, &mut self.scratch);
            let text = || texts[r].clone();
            match self.task {
                Task::Classification => self.model.learn_class(row, label as usize, text, &mut self.scratch),
                Task::Regression => self.model.learn_value(label, text, &mut self.scratch),
            }
            self.lda_readout.add(row.code, Some(label), &mut self.model, self.threads);
        }
        self.lda_readout.solve(&mut self.model, self.threads);
        self.code.settled();
        Ok(())
    }

    /// Class ids (NaN for none) or values of the target column.
    fn labels(&self, table: &Table) -> Result<Vec<f32>> {
        let Some(column) = table.column(&self.target.name) else { return Ok(vec![f32::NAN; table.rows]) };
        Ok(match self.target_encoder.encode(column)? {
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

    fn score(&mut self, score: f32) {
        if self.scores.len() >= 2 * RECENT {
            self.scores.drain(..RECENT);
        }
        self.scores.push(score);
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

    /// Rows seen so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The figures so far.
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// The classes so far, in the order of ids; empty for numbers.
    pub fn classes(&self) -> &[Value] {
        match &self.target_encoder {
            TargetEncoder::Classes(classes) => classes,
            TargetEncoder::Number { .. } => &[],
        }
    }

    /// A remembered value in the target's own unit.
    pub fn value(&self, standardised: f32) -> f64 {
        match &self.target_encoder {
            TargetEncoder::Number { mean, std } => f64::from(standardised) * std + mean,
            TargetEncoder::Classes(_) => f64::from(standardised),
        }
    }

    /// What is remembered.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// `memory` of an observe answer.
    pub fn memory(&self) -> Value {
        let groups = if self.task == Task::Regression { 1 } else { self.classes().len() };
        json!({"entries": self.model.memory.entries().len(), "capacity": self.model.memory.capacity * groups})
    }

    /// Whatever `GET /{name}/stream` tells.
    pub fn stream(&self) -> Value {
        let recalls: Map<String, Value> = self
            .classes()
            .iter()
            .zip(self.figures.recalls())
            .map(|(class, (rows, recall))| (super::bundle::class_name(class), json!({"rows": rows, "recall": recall})))
            .collect();
        json!({
            "observed": self.rows, "labelled": self.figures.labelled, "unlabelled": self.figures.unlabelled,
            "prequential": self.figures.prequential(), "drift": self.figures.drift(),
            "history": self.figures.history(), "classes": recalls, "memory": self.memory(),
            "consolidations": self.consolidations, "forgotten_since": self.forgotten,
        })
    }
}

struct Parts {
    task: Task,
    target: ColumnPlan,
    target_encoder: TargetEncoder,
    encoder: Encoder,
    running: bool,
    base: Option<Arc<Bundle>>,
    config: Map<String, Value>,
    seed: u64,
    shape: Shape,
    code: Code,
    lda_readout: LdaReadout,
    ignored: Vec<String>,
}

/// What the settings say, the rest empty.
fn shape(task: Task, classes: usize, config: &Map<String, Value>, seed: u64) -> Shape {
    Shape {
        regression: task == Task::Regression,
        classes: if task == Task::Regression { 0 } else { classes },
        columns: Vec::new(),
        sparse: 0,
        code: 0,
        join: Join::Recent,
        base: false,
        capacity: config.get("memory_per_class").and_then(Value::as_u64).unwrap_or(100) as usize,
        labels_in_time: config.get("recent_labels").and_then(Value::as_bool).unwrap_or(true),
        seed,
    }
}

impl std::fmt::Debug for Online {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Online").field("rows", &self.rows).field("target", &self.target.name).finish_non_exhaustive()
    }
}

/// An error for states that cannot be read.
fn broken(what: impl std::fmt::Display) -> Error {
    Error::internal(format!("the stream's state cannot be read: {what}"))
}
