//! The state for predicting of a model that learns from a stream: the experts, their shared past, and their hedge. How
//! a row changes it is in `mixture_learn`.

use super::credibility::Credibility;
use super::experts::{ExpertKind, ExpertRow, Shared, StreamExpert};
use super::hedge::{Hedge, Mixing};
use super::inputs::{Inputs, View};
use super::shape::{MixtureShape, StreamRow};
use crate::models::memory::Texts;
use crate::models::{Recalled, RecalledRow};
use crate::nn::memory::episodic::{Episodic, Key};

/// Everything that predicts a row.
#[derive(Debug)]
pub(super) struct Mixture {
    pub(super) shared: Shared,
    /// Whether the first expert is a network that was trained before the stream began.
    pub(super) base: bool,
    pub(super) mixing: Mixing,
    pub(super) inputs: Option<Inputs>,
    pub(super) experts: Vec<Box<dyn StreamExpert>>,
    pub(super) hedge: Hedge,
    pub(super) credibility: Credibility,
}

/// Intermediate results for one row.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    pub(super) view: View,
    pub(super) key: Key,
    pub(super) similarities: Vec<f32>,
    /// One prediction an expert, `[outputs]` each.
    pub(super) answers: Vec<Vec<f32>>,
    pub(super) weights: Vec<f32>,
    buffer: Vec<f32>,
    /// The combined prediction.
    pub(super) answer: Vec<f32>,
}

impl Mixture {
    /// A fresh mixture of experts of these kinds.
    pub(super) fn new(shape: &MixtureShape, kinds: &[ExpertKind]) -> Self {
        let experts: Vec<_> = kinds.iter().flat_map(|kind| (kind.make)(shape)).collect();
        let key = if shape.code > 0 { shape.code } else { shape.columns.len().max(1) };
        let mut it = Self {
            shared: Shared {
                regression: shape.regression,
                classes: 0,
                counts: vec![0; usize::from(shape.regression)],
                mean: 0.0,
                memory: Episodic::new(key, shape.capacity).into(),
                threads: 1,
            },
            base: shape.base,
            mixing: shape.mixing,
            inputs: shape.inputs(),
            hedge: Hedge::new(experts.len(), shape.base),
            credibility: Credibility::default(),
            experts,
        };
        it.grow(shape.classes);
        it
    }

    /// A copy that continues learning independently.
    pub(super) fn fork(&self) -> Self {
        self.with_experts(|expert| expert.fork())
    }

    /// A copy that only predicts.
    pub(super) fn published(&self) -> Self {
        self.with_experts(|expert| expert.published())
    }

    fn with_experts(&self, copy: impl Fn(&dyn StreamExpert) -> Box<dyn StreamExpert>) -> Self {
        Self {
            shared: self.shared.clone(),
            base: self.base,
            mixing: self.mixing,
            inputs: self.inputs.clone(),
            experts: self.experts.iter().map(|expert| copy(&**expert)).collect(),
            hedge: self.hedge.clone(),
            credibility: self.credibility.clone(),
        }
    }

    /// Extends the arrays for classes up to `classes`.
    pub(super) fn grow(&mut self, classes: usize) {
        if self.shared.regression || classes <= self.shared.classes {
            return;
        }
        self.shared.classes = classes;
        self.shared.counts.resize(classes, 0);
        self.experts.iter_mut().for_each(|expert| expert.grow(classes));
    }

    /// The names of new classes, from class `first` on.
    pub(super) fn name_classes(&mut self, first: usize, names: &Texts) {
        self.experts.iter_mut().for_each(|expert| expert.name_classes(first, names));
    }

    /// Starts over with keys of another code; the memory is empty afterwards.
    pub(super) fn rekey(&mut self, width: usize) {
        self.shared.memory = Episodic::new(width, self.shared.memory.capacity).into();
        self.experts.iter_mut().for_each(|expert| expert.on_new_code());
    }

    /// The similarity of the last predicted row to the nearest stored one, in `[0, 1]`; none where columns are read.
    pub(super) fn similarity(&self, scratch: &Scratch) -> Option<f64> {
        let nearest = || scratch.similarities.iter().fold(0.0f32, |m, s| m.max(*s)).clamp(0.0, 1.0);
        self.inputs.is_none().then(|| nearest().into())
    }

    /// Predicts a row: probabilities `[classes]`, or one value, into `scratch.answer`.
    pub(super) fn answer(&self, row: StreamRow<'_>, scratch: &mut Scratch) {
        if let Some(inputs) = &self.inputs {
            inputs.view(row.indices, row.values, &mut scratch.view);
        }
        let key = if self.keyed_by_columns(row.code) { scratch.view.columns() } else { row.code };
        scratch.key.set(key);
        self.shared.memory.similarities(&scratch.key, &mut scratch.similarities);
        let outputs = self.shared.outputs();
        scratch.answers.resize_with(self.experts.len(), Vec::new);
        let Scratch { view, similarities, answers, buffer, .. } = scratch;
        let row = ExpertRow { row, view, similarities, shared: &self.shared };
        for (expert, out) in self.experts.iter().zip(answers) {
            out.clear();
            out.resize(outputs, 0.0);
            expert.predict_one(&row, buffer, out);
        }
        let experts = self.experts.iter().map(|expert| (expert.is_ready(), expert.lead()));
        self.hedge.weights(self.mixing, experts, &mut scratch.weights);
        self.join(scratch);
    }

    fn join(&self, scratch: &mut Scratch) {
        let (answer, least) = (&mut scratch.answer, if self.shared.regression { 0.0 } else { 1e-6 });
        answer.clear();
        answer.resize(self.shared.outputs(), least);
        for (expert, weight) in scratch.answers.iter().zip(&scratch.weights) {
            answer.iter_mut().zip(expert).for_each(|(a, p)| *a += weight * p);
        }
        if !self.shared.regression {
            let total: f32 = answer.iter().sum();
            answer.iter_mut().for_each(|a| *a /= total);
        }
    }

    fn keyed_by_columns(&self, code: &[f32]) -> bool {
        code.is_empty() && self.inputs.is_some()
    }

    /// The `k` memory entries that are most similar to the last predicted row, the most similar first.
    pub(super) fn recalled(&self, scratch: &Scratch, k: usize) -> Vec<Recalled> {
        let memory = &self.shared.memory;
        let one = |(similarity, at): (f32, usize)| {
            let entry = &memory.entries()[at];
            let outcome = if self.shared.regression { entry.value } else { entry.label as f32 };
            let row = entry.row.clone().map_or(RecalledRow::None, RecalledRow::Text);
            Recalled { id: entry.id, outcome, similarity, row }
        };
        memory.nearest(&scratch.similarities, k).into_iter().map(one).collect()
    }

    /// Width of the keys.
    pub(super) fn key_width(&self) -> usize {
        self.shared.memory.width()
    }

    /// The memory key of the last predicted row.
    pub(super) fn key<'a>(&self, code: &'a [f32], scratch: &'a Scratch) -> &'a [f32] {
        if self.keyed_by_columns(code) { scratch.view.columns() } else { code }
    }

    /// Multiply-accumulates of one search.
    pub(super) fn memory_macs(&self) -> f64 {
        (self.shared.memory.entries().len() * self.shared.memory.width()) as f64
    }

    /// Approximate bytes in memory.
    pub(super) fn bytes(&self) -> u64 {
        self.experts.iter().map(|expert| expert.bytes()).sum::<u64>() + self.shared.memory.bytes()
    }
}
