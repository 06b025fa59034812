//! Training of `hybrid`: filters are learned from the first rows, then every row, and deformed copies of it where these
//! are requested, are added to the sums that the readout is solved from.

mod solve;
mod state;

use super::folds::FoldSums;
use super::tensors::{save_filters, save_readout, save_sums};
use super::{PLASTIC_PATCHES, SegmentPlan, cross_fits, load, plan};
use crate::data::Batch;
use crate::data::deform::{Deformation, Picture};
use crate::data::encoder::Encoder;
use crate::data::split::NO_FOLD;
use crate::models::fold_readouts::{each_by_its_fold, save_fold_readouts};
use crate::models::{
    Learner, LearnerSpec, MemberLearner, Network, Next, Position, SavedNetwork, Schedule, Targets, Task, UNLABELLED,
};
use crate::nn::Tensors;
use crate::nn::layers::local_groups::{CodeSegment, LocalGroups, Patches};
use crate::nn::readouts::Readout;
use crate::nn::readouts::discriminant::Sums;
use crate::nn::readouts::label_propagation::UnlabelledPool;
use crate::nn::readouts::semi_supervised;
use crate::random::Random;
use crate::{Error, Result};
use serde_json::{Map, Value};
use std::sync::Mutex;

/// Rows gathered before the filters are learned from them.
const PLASTIC_ROWS: usize = 4_000;
/// Rows set aside to choose the shrinkage by, before they are learned, too.
const PROBES: usize = 2_000;
/// Labelled rows that are kept to choose by, where copies are learned.
const CHOSEN_BY: usize = 6_000;
/// Deformed copies that filters are learned from, about, in addition to the rows.
const PLASTIC_COPIES: usize = 1_000;

/// A `hybrid` in training.
pub(crate) fn learner(spec: &LearnerSpec<'_>) -> Result<Box<dyn Learner>> {
    let plans = plan(spec.encoder, spec.config, spec.seed);
    let pictures: Vec<Picture> = plans.iter().filter_map(SegmentPlan::picture).collect();
    let copies = spec.config.get("deformed_copies").and_then(Value::as_u64).unwrap_or(0) as usize;
    let folds = cross_fits(spec.config).unwrap_or(0);
    Ok(Box::new(HybridLearner {
        // One pass has no best one: patience would mean nothing.
        schedule: Schedule { patience: 0, ..spec.schedule(Schedule { epochs: 1, batch_size: 512, patience: 0 }) },
        copies: if pictures.is_empty() { 0 } else { copies },
        pictures,
        folds: FoldSums::new(folds),
        encoder: spec.encoder.clone(),
        config: spec.config.clone(),
        plans,
        task: spec.task,
        outputs: spec.outputs,
        seed: spec.seed,
        threads: spec.threads.max(1),
        wait: spec.rows.min(PLASTIC_ROWS),
        stride: (spec.rows / PROBES).max(3),
        seen: 0,
        groups: None,
        waiting: Waiting { rows: Batch::new(), labels: Vec::new(), folds: Vec::new() },
        sums: None,
        probes: (Vec::new(), Vec::new()),
        labelled: (Vec::new(), Vec::new()),
        labelled_folds: Vec::new(),
        pool: UnlabelledPool::default(),
        readout: Mutex::new(None),
    }))
}

/// Rows that wait for the filters.
struct Waiting {
    rows: Batch,
    labels: Vec<f32>,
    /// The fold that each is in; empty where there are none.
    folds: Vec<u8>,
}

/// The readout from all rows, and those that each leave the rows of a fold out.
struct Solved {
    whole: Readout,
    folds: Vec<Readout>,
    /// The sums that it was solved from, where they are not those of all rows and copies.
    sums: Option<Sums>,
}

struct HybridLearner {
    schedule: Schedule,
    /// Deformed copies of each row that are learned with it, and the pictures that are deformed.
    copies: usize,
    pictures: Vec<Picture>,
    /// What the rows of each fold add to the sums.
    folds: FoldSums,
    encoder: Encoder,
    config: Map<String, Value>,
    plans: Vec<SegmentPlan>,
    task: Task,
    outputs: usize,
    seed: u64,
    threads: usize,
    wait: usize,
    stride: usize,
    seen: usize,
    groups: Option<LocalGroups>,
    waiting: Waiting,
    sums: Option<Sums>,
    /// Codes and labels set aside.
    probes: (Vec<f32>, Vec<f32>),
    /// The first codes that have a label, and their class ids; one more than [`HybridLearner::kept`] at most, which means
    /// that there are too many.
    labelled: (Vec<f32>, Vec<u32>),
    /// The fold that each of these is in.
    labelled_folds: Vec<u8>,
    /// Rows without a label.
    pool: UnlabelledPool,
    readout: Mutex<Option<Solved>>,
}

/// Class ids as numbers: exact below 2^24, and one form for both tasks; NaN where there is none.
fn labels(targets: Targets<'_>) -> Vec<f32> {
    match targets {
        Targets::Classes(ids, _) => ids.iter().map(|&id| if id == UNLABELLED { f32::NAN } else { id as f32 }).collect(),
        Targets::Values(values, _) => values.to_vec(),
    }
}

impl HybridLearner {
    fn grow(&mut self) {
        let empty = Waiting { rows: Batch::new(), labels: Vec::new(), folds: Vec::new() };
        let Waiting { rows, labels, folds } = std::mem::replace(&mut self.waiting, empty);
        let plastic = self.config.get("plasticity").and_then(Value::as_str) != Some("none");
        let patches = if plastic { PLASTIC_PATCHES } else { 0 };
        let mut shown = rows.clone();
        let copies = PLASTIC_COPIES.div_ceil(rows.rows().max(1)).min(self.copies);
        (0..copies).for_each(|copy| shown.append(&self.deformed(&rows, self.seen, copy)));
        let parts = self.plans.iter().map(|plan| match plan {
            SegmentPlan::Patches(shape) => {
                CodeSegment::Patches(Patches::learn(shape.clone(), &shown, patches, self.seed))
            }
            SegmentPlan::Ready(part) => part.clone(),
        });
        let groups = LocalGroups { parts: parts.collect() };
        let classes = if self.task == Task::Regression { 1 } else { self.outputs };
        let sums = Sums::new(groups.width(), classes, self.task == Task::Regression);
        self.folds.fill(&sums);
        self.sums = Some(sums);
        self.groups = Some(groups);
        self.learn(&rows, &labels, &folds);
    }

    /// Copy `copy` of all of these rows, of which `first` is the number of the first.
    fn deformed(&self, rows: &Batch, first: usize, copy: usize) -> Batch {
        let deformation = Deformation::new(self.strength());
        let mut out = Batch::new();
        for row in 0..rows.rows() {
            let counter = (first + row) as u64 * (self.copies as u64 + 1) + copy as u64;
            let mut random = Random::stream(self.seed, "deformed copies", counter);
            deformation.copy(rows, row, &self.pictures, &mut random, &mut out);
        }
        out
    }

    /// Labelled codes that are kept.
    fn kept(&self) -> usize {
        if self.copies > 0 { CHOSEN_BY } else { semi_supervised::MOST_LABELS }
    }

    fn strength(&self) -> f32 {
        self.config.get("deformation").and_then(Value::as_f64).unwrap_or(1.0) as f32
    }

    /// Learns rows with their labels and folds (none: empty), and their copies. A row and its copies together count as
    /// one row, so that a stream that continues from the sums weighs what it observes alike.
    fn learn(&mut self, batch: &Batch, labels: &[f32], folds: &[u8]) {
        let first = self.seen;
        self.seen += batch.rows();
        let weight = 1.0 / (self.copies as f64 + 1.0);
        self.learn_codes(batch, (labels, folds), weight, true);
        for copy in 0..self.copies {
            self.learn_codes(&self.deformed(batch, first, copy), (labels, folds), weight, false);
        }
        if let Ok(mut readout) = self.readout.lock() {
            *readout = None;
        }
    }

    fn learn_codes(&mut self, batch: &Batch, (labels, folds): (&[f32], &[u8]), weight: f64, original: bool) {
        let (first, kept) = (self.seen - batch.rows(), self.kept());
        let (Some(groups), Some(sums)) = (&self.groups, &mut self.sums) else { return };
        let codes = groups.code(batch, self.threads);
        for (at, (code, &label)) in codes.chunks_exact(groups.width().max(1)).zip(labels).enumerate() {
            if label.is_nan() {
                if original {
                    sums.add_unlabelled(code, self.threads);
                    self.pool.add(code);
                }
                continue;
            }
            let add = |sums: &mut Sums| match self.task {
                Task::Classification => sums.add(code, label as usize, weight, self.threads),
                Task::Regression => sums.add_value(code, label, weight, self.threads),
            };
            add(sums);
            let fold = folds.get(at).copied().unwrap_or(NO_FOLD);
            if let Some(sums) = self.folds.of(fold) {
                add(sums);
            }
            if !original {
                continue;
            }
            if self.task == Task::Classification && self.labelled.1.len() <= kept {
                self.labelled.0.extend_from_slice(code);
                self.labelled.1.push(label as u32);
                self.labelled_folds.push(fold);
            }
            if (first + at + 1).is_multiple_of(self.stride) && self.probes.1.len() < PROBES {
                self.probes.0.extend_from_slice(code);
                self.probes.1.push(label);
            }
        }
    }

    /// Learns rows that are in `folds`, or in none where that is empty.
    fn take(&mut self, batch: &Batch, targets: Targets<'_>, folds: &[u8]) {
        let labels = labels(targets);
        if self.groups.is_some() {
            return self.learn(batch, &labels, folds);
        }
        self.waiting.rows.append(batch);
        self.waiting.labels.extend_from_slice(&labels);
        self.waiting.folds.extend_from_slice(folds);
        if self.waiting.labels.len() >= self.wait {
            self.grow();
        }
    }

    fn with_readout<T>(&self, work: impl FnOnce(&Solved) -> T) -> Result<T> {
        let mut readout = self.readout.lock().map_err(|_| Error::internal("a training thread panicked"))?;
        if readout.is_none() {
            *readout = Some(self.solve()?);
        }
        readout.as_ref().map(work).ok_or_else(|| Error::internal("no readout"))
    }
}

impl Learner for HybridLearner {
    fn weighs_rows(&self) -> bool {
        false
    }

    fn schedule(&self) -> Schedule {
        self.schedule
    }

    fn step(&mut self, batch: &Batch, targets: Targets<'_>, position: Position) -> Result<f32> {
        if position.epoch > 0 {
            return Ok(0.0);
        }
        self.take(batch, targets, &[]);
        Ok(0.0)
    }

    fn members(&mut self) -> Option<&mut dyn MemberLearner> {
        if self.folds.count() > 1 { Some(self) } else { None }
    }

    fn forward(&self, batch: &Batch) -> Result<Vec<f32>> {
        let Some(groups) = &self.groups else { return Ok(vec![0.0; batch.rows() * self.outputs]) };
        let codes = groups.code(batch, self.threads);
        self.with_readout(|solved| solved.whole.forward(&codes))
    }

    fn end_epoch(&mut self, _position: Position, _train_loss: f32, _validation_loss: f32) -> Result<Next> {
        Ok(Next::Stop)
    }

    fn weights(&self) -> Result<Tensors> {
        let Some(groups) = &self.groups else { return Err(Error::unprocessable("no_rows", "no row was learned")) };
        let mut out = self.with_readout(|solved| {
            let mut out = save_readout(&solved.whole, self.seed)?;
            save_fold_readouts(&solved.folds, &mut out)?;
            Ok::<_, Error>(out)
        })??;
        save_filters(groups, &mut out)?;
        let chosen = self.with_readout(|solved| solved.sums.as_ref().map(|sums| save_sums(sums, &mut out)))?;
        match (chosen, &self.sums) {
            (Some(saved), _) => saved?,
            (None, Some(sums)) => save_sums(sums, &mut out)?,
            (None, None) => {}
        }
        Ok(out)
    }

    fn state(&self) -> Result<Tensors> {
        self.save_state()
    }

    fn training_bytes(&self) -> u64 {
        let width: usize = self.plans.iter().map(SegmentPlan::width).sum();
        let codes = PROBES + self.kept() + self.schedule.batch_size;
        // The sums, those without the rows set aside, their factor, and the saved ones, which are loaded to be checked.
        ((5 + self.folds.count()) * 8 * width * width + 4 * codes * width) as u64
    }

    fn restore(&mut self, state: &Tensors) -> Result<()> {
        self.load_state(state)
    }

    fn finish(self: Box<Self>, weights: Option<Tensors>) -> Result<Box<dyn Network>> {
        let weights = match weights {
            Some(weights) => weights,
            None => Learner::weights(&*self)?,
        };
        let Self { encoder, task, outputs, config, .. } = &*self;
        load(&SavedNetwork { encoder, task: *task, outputs: *outputs, config, tensors: &weights })
    }
}

impl MemberLearner for HybridLearner {
    fn count(&self) -> usize {
        self.folds.count()
    }

    fn step(&mut self, batch: &Batch, targets: Targets<'_>, excluded: &[u64], position: Position) -> Result<f32> {
        if position.epoch == 0 {
            let folds: Vec<u8> = excluded.iter().map(|excluded| excluded.trailing_zeros() as u8).collect();
            self.take(batch, targets, &folds);
        }
        Ok(0.0)
    }

    fn forward(&self, batch: &Batch, members: &[u8]) -> Result<Vec<f32>> {
        let Some(groups) = &self.groups else { return Ok(vec![0.0; batch.rows() * self.outputs]) };
        let codes = groups.code(batch, self.threads);
        self.with_readout(|solved| each_by_its_fold(&solved.folds, &codes, members))?
    }

    fn weights(&self, _member: usize) -> Result<Tensors> {
        Learner::weights(self)
    }
}
