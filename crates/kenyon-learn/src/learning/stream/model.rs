//! All that answering needs of a model that learns from a stream; how a row changes it is in [`teach`].

mod teach;

use super::experts::{Expert, Hedge, Squares, softmax};
use super::forest::Forest;
use super::inputs::{Inputs, View};
use crate::models::{RECALLED, Recalled, RecalledRow};
use crate::nn::memory::episodic::{Episodic, Key};
use crate::nn::readouts::Readout;
use serde::{Deserialize, Serialize};

/// What an expert sees of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum ReceptiveField {
    /// The columns.
    Plain,
    /// The columns, the recent past, the last labels.
    Context,
    /// That and the k-winner code.
    Full,
}

/// How the parts are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Join {
    /// Whoever was right lately speaks: tables and text.
    Recent,
    /// The lda_readout readout speaks, the memory for classes it has hardly seen: codes that must not be
    /// forgotten when classes come one after the other.
    Steady,
}

/// Everything that answers a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Whether numbers are answered.
    pub regression: bool,
    /// Classes known so far.
    pub classes: usize,
    /// How the parts are joined.
    pub join: Join,
    /// Whether a frozen network's answer takes part.
    pub base: bool,
    inputs: Option<Inputs>,
    experts: Vec<(ReceptiveField, Expert)>,
    squares: Vec<(ReceptiveField, Squares)>,
    sparse: Vec<Expert>,
    /// Trees over the columns. In a snapshot it comes after everything else.
    #[serde(skip)]
    pub(super) forest: Option<Forest>,
    /// The lda_readout readout as last solved.
    pub readout: Option<Readout>,
    /// Added to each class's answer of the readout: what is due to a mean of few rows.
    pub class_bias: Vec<f32>,
    /// Logarithm of the readout's temperature.
    log_temperature: f32,
    /// Rows learned of each class.
    pub counts: Vec<u64>,
    /// The episodes.
    pub memory: Episodic,
    hedge: Hedge,
    /// The first value: experts of numbers learn the difference from it.
    mean: f32,
}

/// A row on its way through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Row<'a> {
    /// Feature indices of the bag.
    pub indices: &'a [u32],
    /// Their values.
    pub values: &'a [f32],
    /// The code memory is keyed by and the readout reads; empty where there is none.
    pub code: &'a [f32],
    /// The frozen network's answer: probabilities, or one value.
    pub base: &'a [f32],
}

/// Room for the answer to one row, part by part.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    view: View,
    key: Key,
    similarities: Vec<f32>,
    /// One answer a part, `[classes]` each.
    parts: Vec<Vec<f32>>,
    logits: Vec<f32>,
    trees: Vec<f32>,
    weights: Vec<f32>,
    /// The joined answer.
    pub answer: Vec<f32>,
}

/// What a new model is made of.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Whether numbers are answered.
    pub regression: bool,
    /// Classes known.
    pub classes: usize,
    /// Columns for the experts of tables; none for wide inputs.
    pub columns: Vec<u32>,
    /// Width of the feature space where experts read the sparse bag; 0 for none.
    pub sparse: usize,
    /// Width of the code; 0 where memory is keyed by the columns.
    pub code: usize,
    /// How the parts are joined.
    pub join: Join,
    /// Whether a frozen network's answer takes part.
    pub base: bool,
    /// Episodes a class.
    pub capacity: usize,
    /// Whether the last labels are inputs.
    pub labels_in_time: bool,
    /// Everything random follows from it.
    pub seed: u64,
}

impl Model {
    /// A model that knows nothing.
    pub fn new(shape: &Shape) -> Self {
        let inputs = (!shape.columns.is_empty())
            .then(|| Inputs::new(shape.columns.clone(), shape.labels_in_time && !shape.regression, shape.seed));
        let (mut experts, mut squares, mut sparse) = (Vec::new(), Vec::new(), Vec::new());
        if let Some(inputs) = &inputs {
            let (plain, context, full) = (inputs.plain_width(), inputs.context_width(), inputs.full_width());
            if shape.regression {
                squares.push((ReceptiveField::Plain, Squares::new(plain, 1.0)));
                squares.push((ReceptiveField::Context, Squares::new(context, 0.9995)));
                squares.push((ReceptiveField::Full, Squares::new(full, 0.99995)));
            } else {
                experts.push((ReceptiveField::Plain, Expert::new(plain, 0.1, 1.0)));
                experts.push((ReceptiveField::Context, Expert::new(context, 0.5, 1.0)));
                experts.push((ReceptiveField::Context, Expert::new(context, 0.05, 0.999)));
                experts.push((ReceptiveField::Full, Expert::new(full, 0.1, 1.0)));
                experts.push((ReceptiveField::Full, Expert::new(full, 0.05, 0.999)));
            }
        }
        if shape.sparse > 0 && !shape.regression {
            let width = shape.sparse.min(1 << 17);
            sparse.push(Expert::new(width, 0.1, 1.0));
            sparse.push(Expert::new(width, 0.5, 1.0));
            sparse.push(Expert::new(width, 0.05, 0.9995));
        }
        let key = if shape.code > 0 { shape.code } else { shape.columns.len().max(1) };
        let forest = (!experts.is_empty()).then(|| Forest::new(shape.columns.len(), shape.seed));
        let own = experts.len() + squares.len() + sparse.len() + usize::from(forest.is_some());
        let parts = usize::from(shape.base) + own + 2;
        let mut it = Self {
            regression: shape.regression,
            classes: 0,
            join: shape.join,
            base: shape.base,
            inputs,
            experts,
            squares,
            sparse,
            forest,
            readout: None,
            class_bias: Vec::new(),
            log_temperature: 1.0,
            counts: vec![0; usize::from(shape.regression)],
            memory: Episodic::new(key, shape.capacity),
            hedge: Hedge::new(parts, shape.base),
            mean: 0.0,
        };
        it.grow(shape.classes);
        it
    }

    /// Makes what is not kept in a snapshot.
    pub fn prepare(&mut self) {
        if let Some(inputs) = &mut self.inputs {
            inputs.prepare();
        }
    }

    /// Makes room for classes up to `classes`.
    pub fn grow(&mut self, classes: usize) {
        if self.regression || classes <= self.classes {
            return;
        }
        self.classes = classes;
        self.counts.resize(classes, 0);
        self.class_bias.resize(classes, 0.0);
        for (_, expert) in &mut self.experts {
            expert.grow(classes);
        }
        for expert in &mut self.sparse {
            expert.grow(classes);
        }
        if let Some(forest) = &mut self.forest {
            forest.grow(classes);
        }
    }

    /// Starts over with keys of another code; the memory is empty afterwards.
    pub fn rekey(&mut self, width: usize) {
        self.memory = Episodic::new(width, self.memory.capacity);
        self.readout = None;
    }

    /// How far the columns of the row last answered are from their means, in `[0, 1]`.
    pub fn input_novelty(&self, scratch: &Scratch) -> f64 {
        if self.inputs.is_some() {
            let plain = columns_of(&scratch.view);
            let sum: f32 = plain.iter().map(|v| v.abs()).sum();
            return f64::from((sum / plain.len().max(1) as f32 / 5.0).min(1.0));
        }
        scratch.similarities.iter().fold(0.0f32, |m, s| m.max(*s)).clamp(0.0, 1.0).into()
    }

    /// Answers a row: probabilities `[classes]`, or one value, into `scratch.answer`.
    pub fn answer(&self, row: Row<'_>, scratch: &mut Scratch) {
        if let Some(inputs) = &self.inputs {
            inputs.view(row.indices, row.values, &mut scratch.view);
        }
        scratch.key.set(self.key_of(row, &scratch.view));
        self.memory.similarities(&scratch.key, &mut scratch.similarities);
        if self.regression {
            return self.answer_value(row, scratch);
        }
        let classes = self.classes;
        let mut parts = std::mem::take(&mut scratch.parts);
        let mut used = 0;
        let mut part = |write: &mut dyn FnMut(&mut Vec<f32>)| {
            if parts.len() == used {
                parts.push(Vec::new());
            }
            let slot = &mut parts[used];
            slot.clear();
            slot.resize(classes, 0.0);
            write(slot);
            used += 1;
        };
        if self.base {
            part(&mut |out| out.iter_mut().zip(row.base).for_each(|(o, p)| *o = *p));
        }
        for (sees, expert) in &self.experts {
            part(&mut |out| expert.predict(see(*sees, &scratch.view), out));
        }
        for expert in &self.sparse {
            part(&mut |out| expert.predict_sparse(row.indices, row.values, out));
        }
        if let Some(forest) = &self.forest {
            part(&mut |out| forest.predict(columns_of(&scratch.view), &mut scratch.trees, out));
        }
        part(&mut |out| match &self.readout {
            Some(readout) => {
                scratch.logits = readout.forward(row.code);
                scratch.logits.resize(classes, -1e9);
                let cool = (-self.log_temperature).exp();
                for ((o, l), g) in out.iter_mut().zip(&scratch.logits).zip(&self.class_bias) {
                    *o = (l + g) * cool;
                }
                softmax(out);
            }
            None => out.iter_mut().for_each(|o| *o = 1.0 / classes.max(1) as f32),
        });
        part(&mut |out| *out = self.memory.read(&scratch.similarities, classes));
        parts.truncate(used);
        scratch.parts = parts;
        self.join_classes(scratch);
    }

    fn join_classes(&self, scratch: &mut Scratch) {
        let answer = &mut scratch.answer;
        answer.clear();
        answer.resize(self.classes, 1e-6);
        match self.join {
            Join::Recent => {
                self.hedge.weights(&mut scratch.weights);
                for (part, weight) in scratch.parts.iter().zip(&scratch.weights) {
                    answer.iter_mut().zip(part).for_each(|(a, p)| *a += weight * p);
                }
            }
            Join::Steady => {
                let lda_readout = &scratch.parts[scratch.parts.len() - 2];
                let fast = &scratch.parts[scratch.parts.len() - 1];
                let trust = if self.readout.is_some() { 1.0 } else { 0.0 };
                for (c, a) in answer.iter_mut().enumerate() {
                    *a += trust * lda_readout[c] + (1.0 - trust) * fast[c];
                }
            }
        }
        let total: f32 = answer.iter().sum();
        answer.iter_mut().for_each(|a| *a /= total);
    }

    fn answer_value(&self, row: Row<'_>, scratch: &mut Scratch) {
        let mut parts = std::mem::take(&mut scratch.parts);
        parts.clear();
        if self.base {
            parts.push(row.base.to_vec());
        }
        for (sees, squares) in &self.squares {
            parts.push(vec![self.mean + squares.predict(see(*sees, &scratch.view))]);
        }
        parts.push(match &self.readout {
            Some(readout) => readout.forward(row.code),
            None => vec![self.mean],
        });
        parts.push(vec![self.memory.read_value(&scratch.similarities).unwrap_or(self.mean)]);
        self.hedge.weights(&mut scratch.weights);
        let value = parts.iter().zip(&scratch.weights).map(|(p, w)| w * p[0]).sum();
        scratch.parts = parts;
        scratch.answer.clear();
        scratch.answer.push(value);
    }

    fn key_of<'a>(&self, row: Row<'a>, view: &'a View) -> &'a [f32] {
        if row.code.is_empty() && self.inputs.is_some() { columns_of(view) } else { row.code }
    }

    /// What the row last answered recalls, most similar first.
    pub fn recalled(&self, scratch: &Scratch) -> Vec<Recalled> {
        let one = |(similarity, at): (f32, usize)| {
            let entry = &self.memory.entries()[at];
            let outcome = if self.regression { entry.value } else { entry.label as f32 };
            let row = entry.row.clone().map_or(RecalledRow::None, RecalledRow::Text);
            Recalled { id: entry.id, outcome, similarity, row }
        };
        self.memory.nearest(&scratch.similarities, RECALLED).into_iter().map(one).collect()
    }

    /// Width of the keys.
    pub fn key_width(&self) -> usize {
        self.memory.width()
    }

    /// What the row last answered is remembered by.
    pub fn key<'a>(&self, code: &'a [f32], scratch: &'a Scratch) -> &'a [f32] {
        if code.is_empty() && self.inputs.is_some() { columns_of(&scratch.view) } else { code }
    }

    /// Multiply-accumulates of one search.
    pub fn memory_macs(&self) -> f64 {
        (self.memory.entries().len() * self.memory.width()) as f64
    }

    /// Bytes it takes, about.
    pub fn bytes(&self) -> u64 {
        let experts: u64 =
            self.experts.iter().map(|(_, e)| e.bytes()).chain(self.sparse.iter().map(Expert::bytes)).sum();
        let forest = self.forest.as_ref().map_or(0, Forest::bytes);
        experts + forest + self.memory.bytes() + self.readout.as_ref().map_or(0, |r| (r.weights.len() * 4) as u64)
    }
}

fn see(sees: ReceptiveField, view: &View) -> &[f32] {
    match sees {
        ReceptiveField::Plain => view.plain(),
        ReceptiveField::Context => &view.context,
        ReceptiveField::Full => &view.full,
    }
}

/// The standardised columns alone.
fn columns_of(view: &View) -> &[f32] {
    &view.plain()[1..]
}
