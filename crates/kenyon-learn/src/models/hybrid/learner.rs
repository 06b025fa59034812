//! Training of `hybrid`: filters are learned from the first rows, then every row is added to the sums that
//! the readout is solved from.

use super::tensors::{get, load_groups, load_sums, put, save_filters, save_readout, save_sums};
use super::{PLASTIC_PATCHES, SegmentPlan, load, plan};
use crate::data::Batch;
use crate::data::encoder::Encoder;
use crate::models::{Learner, LearnerSpec, Network, Next, Position, SavedNetwork, Schedule, Targets, Task, UNLABELLED};
use crate::nn::Tensors;
use crate::nn::layers::local_groups::{CodeSegment, LocalGroups, Patches};
use crate::nn::linalg::cholesky::Factor;
use crate::nn::readouts::Readout;
use crate::nn::readouts::discriminant::Sums;
use crate::nn::readouts::label_propagation::UnlabelledPool;
use crate::nn::readouts::semi_supervised;
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use serde_json::{Map, Value};
use std::sync::Mutex;

/// Rows gathered before the filters are learned from them.
const PLASTIC_ROWS: usize = 4_000;
/// Rows set aside to choose the shrinkage by, before they are learned, too.
const PROBES: usize = 2_000;

/// Width of the part of the code that is copied from the data; the rest are units.
fn plain_width(groups: &LocalGroups) -> usize {
    match groups.parts.as_slice() {
        [CodeSegment::Columns(c)] => c.raw.len(),
        _ => groups.width(),
    }
}

/// A `hybrid` in training.
pub(crate) fn learner(spec: &LearnerSpec<'_>) -> Result<Box<dyn Learner>> {
    Ok(Box::new(HybridLearner {
        schedule: spec.schedule(Schedule { epochs: 1, batch_size: 512, patience: 0 }),
        encoder: spec.encoder.clone(),
        config: spec.config.clone(),
        plans: plan(spec.encoder, spec.config, spec.seed),
        task: spec.task,
        outputs: spec.outputs,
        seed: spec.seed,
        threads: spec.threads.max(1),
        wait: spec.rows.min(PLASTIC_ROWS),
        stride: (spec.rows / PROBES).max(3),
        seen: 0,
        groups: None,
        waiting: (Batch::new(), Vec::new()),
        sums: None,
        probes: (Vec::new(), Vec::new()),
        labelled: (Vec::new(), Vec::new()),
        pool: UnlabelledPool::default(),
        readout: Mutex::new(None),
    }))
}

struct HybridLearner {
    schedule: Schedule,
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
    /// Rows that wait for the filters, with their labels.
    waiting: (Batch, Vec<f32>),
    sums: Option<Sums>,
    /// Codes and labels set aside.
    probes: (Vec<f32>, Vec<f32>),
    /// The first codes that have a label, and their class ids; one more than
    /// [`semi_supervised::MOST_LABELS`] at most, which means that there are too many.
    labelled: (Vec<f32>, Vec<u32>),
    /// Rows without a label.
    pool: UnlabelledPool,
    readout: Mutex<Option<Readout>>,
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
        let batch = std::mem::take(&mut self.waiting.0);
        let labels = std::mem::take(&mut self.waiting.1);
        self.waiting.0 = Batch::new();
        let plastic = self.config.get("plasticity").and_then(Value::as_str) != Some("none");
        let patches = if plastic { PLASTIC_PATCHES } else { 0 };
        let parts = self.plans.iter().map(|plan| match plan {
            SegmentPlan::Patches(shape) => {
                CodeSegment::Patches(Patches::learn(shape.clone(), &batch, patches, self.seed))
            }
            SegmentPlan::Ready(part) => part.clone(),
        });
        let groups = LocalGroups { parts: parts.collect() };
        let classes = if self.task == Task::Regression { 1 } else { self.outputs };
        self.sums = Some(Sums::new(groups.width(), classes, self.task == Task::Regression));
        self.groups = Some(groups);
        self.learn(&batch, &labels);
    }

    fn learn(&mut self, batch: &Batch, labels: &[f32]) {
        let (Some(groups), Some(sums)) = (&self.groups, &mut self.sums) else { return };
        let codes = groups.code(batch, self.threads);
        for (code, &label) in codes.chunks_exact(groups.width().max(1)).zip(labels) {
            self.seen += 1;
            if label.is_nan() {
                sums.add_unlabelled(code, self.threads);
                self.pool.add(code);
                continue;
            }
            if self.task == Task::Classification && self.labelled.1.len() <= semi_supervised::MOST_LABELS {
                self.labelled.0.extend_from_slice(code);
                self.labelled.1.push(label as u32);
            }
            match self.task {
                Task::Classification => sums.add(code, label as usize, 1.0, self.threads),
                Task::Regression => sums.add_value(code, label, self.threads),
            }
            if self.seen.is_multiple_of(self.stride) && self.probes.1.len() < PROBES {
                self.probes.0.extend_from_slice(code);
                self.probes.1.push(label);
            }
        }
        if let Ok(mut readout) = self.readout.lock() {
            *readout = None;
        }
    }

    /// The readout for the current sums, with the shrinkage that is best on rows set aside.
    fn solve(&self) -> Result<Readout> {
        let Some(sums) = &self.sums else {
            return Ok(Readout { width: 0, weights: Vec::new(), bias: vec![0.0; self.outputs] });
        };
        let (codes, ids) = &self.labelled;
        if semi_supervised::are_few(sums)
            && let Some(readout) =
                semi_supervised::read(codes.clone(), ids, self.outputs, &self.pool, sums, self.threads)
        {
            return Ok(readout);
        }
        let soft = self.groups.as_ref().map_or(0, plain_width);
        let (shrink, extra) = match self.config.get("shrinkage").and_then(Value::as_f64) {
            Some(shrink) => (shrink, 1.0),
            None => self.choose(sums, soft)?,
        };
        let mut whole = sums.clone();
        let factor = whole.factor(shrink, (soft, extra), self.threads)?;
        Ok(read(&whole, &factor, self.task))
    }

    /// Takes the rows set aside out of the sums and tries settings on them.
    fn choose(&self, sums: &Sums, soft: usize) -> Result<(f64, f64)> {
        let width = sums.width();
        let (codes, labels) = (&self.probes.0, &self.probes.1);
        let mut least = (f64::INFINITY, 0.01, 1.0);
        if labels.len() < 20 {
            return Ok((0.1, 30.0));
        }
        let mut rest = sums.clone();
        for (code, &label) in codes.chunks_exact(width).zip(labels) {
            match self.task {
                Task::Classification => rest.take(code, label as usize),
                Task::Regression => rest.take_value(code, label),
            }
        }
        rest.scatter_rows(codes, -1.0, self.threads);
        let extras: &[f64] = if soft < width { &[1.0, 10.0, 1000.0] } else { &[1.0] };
        for &extra in extras {
            for shrink in [0.001, 0.01, 0.1, 0.4] {
                let Ok(factor) = rest.factor(shrink, (soft, extra), self.threads) else { continue };
                let answers = read(&rest, &factor, self.task).forward(codes);
                let loss = match self.task {
                    Task::Regression => mean_square(&answers, labels),
                    Task::Classification => best_log_loss(&answers, self.outputs, labels),
                };
                if loss < least.0 {
                    least = (loss, shrink, extra);
                }
            }
        }
        Ok((least.1, least.2))
    }

    fn with_readout<T>(&self, work: impl FnOnce(&Readout) -> T) -> Result<T> {
        let mut readout = self.readout.lock().map_err(|_| Error::internal("a training thread panicked"))?;
        if readout.is_none() {
            *readout = Some(self.solve()?);
        }
        readout.as_ref().map(work).ok_or_else(|| Error::internal("no readout"))
    }
}

fn read(sums: &Sums, factor: &Factor, task: Task) -> Readout {
    match task {
        Task::Classification => sums.read(factor, 1.0),
        Task::Regression => sums.read_values(factor),
    }
}

fn mean_square(answers: &[f32], labels: &[f32]) -> f64 {
    answers.iter().zip(labels).map(|(a, l)| f64::from(a - l).powi(2)).sum::<f64>() / labels.len().max(1) as f64
}

/// Log loss at the best of some temperatures: discriminants are overconfident, and the temperature
/// is fitted on held-out rows anyway.
fn best_log_loss(answers: &[f32], outputs: usize, labels: &[f32]) -> f64 {
    let loss_at = |t: f32| -> f64 {
        let rows = answers.chunks_exact(outputs.max(1)).zip(labels);
        rows.map(|(row, &label)| {
            let top = row.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
            let sum: f32 = row.iter().map(|v| ((v - top) / t).exp()).sum();
            f64::from(sum.ln() - (row[label as usize] - top) / t)
        })
        .sum::<f64>()
            / labels.len().max(1) as f64
    };
    [0.7, 1.0, 1.5, 2.5, 4.0, 8.0, 16.0].into_iter().map(loss_at).fold(f64::INFINITY, f64::min)
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
        let labels = labels(targets);
        if self.groups.is_none() {
            self.waiting.0.append(batch);
            self.waiting.1.extend_from_slice(&labels);
            if self.waiting.1.len() >= self.wait {
                self.grow();
            }
        } else {
            self.learn(batch, &labels);
        }
        Ok(0.0)
    }

    fn forward(&self, batch: &Batch) -> Result<Vec<f32>> {
        let Some(groups) = &self.groups else { return Ok(vec![0.0; batch.rows() * self.outputs]) };
        let codes = groups.code(batch, self.threads);
        self.with_readout(|readout| readout.forward(&codes))
    }

    fn end_epoch(&mut self, _position: Position, _train_loss: f32, _validation_loss: f32) -> Result<Next> {
        Ok(Next::Stop)
    }

    fn weights(&self) -> Result<Tensors> {
        let Some(groups) = &self.groups else { return Err(Error::unprocessable("no_rows", "no row was learned")) };
        let mut out = self.with_readout(|readout| save_readout(readout, self.seed))??;
        save_filters(groups, &mut out)?;
        if let Some(sums) = &self.sums {
            save_sums(sums, &mut out)?;
        }
        Ok(out)
    }

    fn state(&self) -> Result<Tensors> {
        let mut out = Tensors::new();
        let bytes = serde_json::to_vec(&(self.seen as u64)).map_err(Error::internal)?;
        out.insert("seen".into(), Tensor::from_vec(bytes.clone(), bytes.len(), &Device::Cpu)?);
        let (batch, labels) = &self.waiting;
        put(&mut out, "waiting.rows", &batch.row_offsets)?;
        put(&mut out, "waiting.tokens", &batch.token_offsets)?;
        put(&mut out, "waiting.indices", &batch.indices)?;
        put(&mut out, "waiting.values", &batch.values)?;
        put(&mut out, "waiting.labels", labels)?;
        put(&mut out, "probes.codes", &self.probes.0)?;
        put(&mut out, "probes.labels", &self.probes.1)?;
        put(&mut out, "labelled.codes", &self.labelled.0)?;
        put(&mut out, "labelled.ids", &self.labelled.1)?;
        put(&mut out, "pool", &postcard::to_stdvec(&self.pool).map_err(Error::internal)?)?;
        if let (Some(groups), Some(sums)) = (&self.groups, &self.sums) {
            save_filters(groups, &mut out)?;
            save_sums(sums, &mut out)?;
        }
        Ok(out)
    }

    fn training_bytes(&self) -> u64 {
        let width: usize = self.plans.iter().map(SegmentPlan::width).sum();
        let codes = PROBES + semi_supervised::MOST_LABELS + self.schedule.batch_size;
        // The sums, those without the rows set aside, their factor, and the saved ones, which are loaded to be checked.
        (5 * 8 * width * width + 4 * codes * width) as u64
    }

    fn restore(&mut self, state: &Tensors) -> Result<()> {
        let seen: Vec<u8> = get(state, "seen")?;
        self.seen = serde_json::from_slice::<u64>(&seen).map_err(Error::internal)? as usize;
        self.waiting.0 = Batch {
            row_offsets: get(state, "waiting.rows")?,
            token_offsets: get(state, "waiting.tokens")?,
            indices: get(state, "waiting.indices")?,
            values: get(state, "waiting.values")?,
            ..Batch::default()
        };
        self.waiting.1 = get(state, "waiting.labels")?;
        self.probes = (get(state, "probes.codes")?, get(state, "probes.labels")?);
        self.labelled = (get(state, "labelled.codes")?, get(state, "labelled.ids")?);
        let pool: Vec<u8> = get(state, "pool")?;
        self.pool = if pool.is_empty() {
            UnlabelledPool::default()
        } else {
            postcard::from_bytes(&pool).map_err(Error::internal)?
        };
        self.sums = load_sums(state)?;
        self.groups = match self.sums {
            Some(_) => Some(load_groups(&self.plans, state)?),
            None => None,
        };
        if let Ok(mut readout) = self.readout.lock() {
            *readout = None;
        }
        Ok(())
    }

    fn finish(self: Box<Self>, weights: Option<Tensors>) -> Result<Box<dyn Network>> {
        let weights = match weights {
            Some(weights) => weights,
            None => self.weights()?,
        };
        let Self { encoder, task, outputs, config, .. } = &*self;
        load(&SavedNetwork { encoder, task: *task, outputs: *outputs, config, tensors: &weights })
    }
}
