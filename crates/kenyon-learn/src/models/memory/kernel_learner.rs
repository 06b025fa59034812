//! Training of stored vectors: rows are stored in one pass, then their weights are solved for.

use super::kernel::{FOLDS, KernelNet, RIDGES, Stored, get, places, put};
use super::texts::{TextPlaces, Texts, WORDS, texts_of_names};
use crate::data::Batch;
use crate::data::encoder::Encoder;
use crate::data::split::NO_FOLD;
use crate::models::{
    Learner, LearnerSpec, MemberLearner, Network, Next, Position, Schedule, Targets, Task, UNLABELLED,
};
use crate::nn::Tensors;
use crate::nn::readouts::ridge::{RidgeRows, RidgeSearch, Solution, least_leave_one_out};
use crate::nn::readouts::shrinkage::factor_with_ridge;
use crate::{Error, Result};
use serde_json::Value;
use std::sync::Mutex;

/// Rows that can be stored; the equations grow with the cube.
const MOST: usize = 4_000;

/// Stored vectors in training.
pub(super) struct KernelLearner {
    schedule: Schedule,
    encoder: Encoder,
    places: TextPlaces,
    width: usize,
    task: Task,
    outputs: usize,
    threads: usize,
    /// The names of classes; empty where they are not tried.
    names: Texts,
    keys: Texts,
    outcomes: Vec<f32>,
    /// What each row weighs, above zero.
    row_weights: Vec<f32>,
    /// The fold of each row, or [`NO_FOLD`].
    folds: Vec<u8>,
    solved: Mutex<Option<Stored>>,
}

impl KernelLearner {
    pub(super) fn new(spec: &LearnerSpec<'_>) -> Result<Self> {
        if spec.rows > MOST {
            let detail = format!("\"read\":\"kernel\" stores {MOST} rows at most, and there are {}", spec.rows);
            return Err(Error::unprocessable("bad_config", detail));
        }
        let places = places(spec.encoder)?;
        let named = spec.config.get("class_names").and_then(Value::as_bool).unwrap_or(true);
        Ok(Self {
            schedule: Schedule { patience: 0, ..spec.schedule(Schedule { epochs: 1, batch_size: 512, patience: 0 }) },
            encoder: spec.encoder.clone(),
            width: places.width(),
            places,
            task: spec.task,
            outputs: spec.outputs,
            threads: spec.threads.max(1),
            names: if named { texts_of_names(spec.names, spec.encoder)? } else { Texts::default() },
            keys: Texts::default(),
            outcomes: Vec::new(),
            row_weights: Vec::new(),
            folds: Vec::new(),
            solved: Mutex::new(None),
        })
    }

    fn store(&mut self, batch: &Batch, targets: Targets<'_>, folds: &[u8]) -> Result<()> {
        for (row, text) in self.places.texts(batch).each(self.width).enumerate() {
            let outcome = match targets {
                Targets::Classes(ids, _) if ids[row] == UNLABELLED => f32::NAN,
                Targets::Classes(ids, _) => ids[row] as f32,
                Targets::Values(values, _) => values[row],
            };
            let (Targets::Classes(_, weights) | Targets::Values(_, weights)) = targets;
            let weight = weights.map_or(1.0, |weights| weights[row]);
            if !outcome.is_nan() && weight > 0.0 {
                self.keys.extend(&text);
                self.outcomes.push(outcome);
                self.row_weights.push(weight);
                self.folds.push(folds.get(row).copied().unwrap_or(NO_FOLD));
            }
        }
        *self.lock()? = None;
        Ok(())
    }

    fn lock(&self) -> Result<std::sync::MutexGuard<'_, Option<Stored>>> {
        self.solved.lock().map_err(|_| Error::internal("a training thread panicked"))
    }

    fn with_solved<T>(&self, work: impl FnOnce(&Stored) -> T) -> Result<T> {
        let mut solved = self.lock()?;
        if solved.is_none() {
            *solved = Some(self.solve()?);
        }
        solved.as_ref().map(work).ok_or_else(|| Error::internal("nothing was solved"))
    }

    /// The weights with the names of classes or without, whichever answer left-out rows better.
    fn solve(&self) -> Result<Stored> {
        let alone = self.solution(false)?;
        let with = if self.names.vectors.is_empty() { None } else { self.solution(true)? };
        let (named, chosen) = match (alone, with) {
            (Some(alone), Some(with)) if with.loss < alone.loss => (true, with),
            (Some(alone), _) => (false, alone),
            (None, _) => return Err(Error::unprocessable("no_rows", "no row was learned")),
        };
        let (keys, outcomes) = self.rows(named);
        let Solution { means, sharpness, ridge, .. } = chosen;
        let count = outcomes.len();
        let row_weights = self.weights_of(count);
        let mean_weight = row_weights.iter().map(|w| f64::from(*w)).sum::<f64>() / count as f64;
        let mut weights = Vec::new();
        let products = self.products(&keys);
        let folded = self.folds.iter().any(|&fold| fold != NO_FOLD);
        for excluded in [NO_FOLD].into_iter().chain(0..if folded { FOLDS as u8 } else { 0 }) {
            // The names of classes are in no fold.
            let of = |row: usize| self.folds.get(row).copied().unwrap_or(NO_FOLD);
            let kept: Vec<usize> = (0..count).filter(|&row| excluded == NO_FOLD || of(row) != excluded).collect();
            let system = kept.iter().flat_map(|&a| kept.iter().map(move |&b| (a, b)));
            let system = system.map(|(a, b)| products[a * count + b]).collect();
            let of_row = |at: usize| ridge * mean_weight / f64::from(row_weights[kept[at]]);
            let factor = factor_with_ridge(system, kept.len(), of_row, self.threads)?;
            let mut dual: Vec<f64> = (0..self.outputs)
                .flat_map(|output| kept.iter().map(move |&row| (output, row)))
                .map(|(output, row)| self.wanted(outcomes[row], output) - means[output])
                .collect();
            factor.solve(&mut dual);
            let first = weights.len();
            weights.resize(first + count * self.outputs, 0.0);
            for (at, &row) in kept.iter().enumerate() {
                for output in 0..self.outputs {
                    let weight = dual[output * kept.len() + at] * sharpness;
                    weights[first + row * self.outputs + output] = weight as f32;
                }
            }
        }
        let bias = means.iter().map(|mean| (mean * sharpness) as f32).collect();
        Ok(Stored { keys, outcomes, weights, bias })
    }

    /// The best solution by the rows; none without rows.
    fn solution(&self, named: bool) -> Result<Option<Solution>> {
        let (keys, targets) = self.rows(named);
        let from = RidgeRows { rows: Vec::new(), weights: self.weights_of(targets.len()), targets, folds: Vec::new() };
        let outputs = if self.task == Task::Regression { 1 } else { self.outputs };
        let search = RidgeSearch { outputs, evaluated: self.outcomes.len(), ridges: &RIDGES };
        least_leave_one_out(&self.products(&keys), &from, search, self.threads)
    }

    /// The rows, with the names of classes behind them.
    fn rows(&self, named: bool) -> (Texts, Vec<f32>) {
        let (mut keys, mut outcomes) = (self.keys.clone(), self.outcomes.clone());
        if named {
            keys.extend(&self.names);
            outcomes.extend((0..self.names.vectors.len() / self.width).map(|class| class as f32));
        }
        (keys, outcomes)
    }

    /// The weights of `count` rows; names of classes weigh as much as a row.
    fn weights_of(&self, count: usize) -> Vec<f32> {
        (0..count).map(|row| self.row_weights.get(row).copied().unwrap_or(1.0)).collect()
    }

    fn products(&self, keys: &Texts) -> Vec<f64> {
        keys.kernel(keys, self.width).into_iter().map(f64::from).collect()
    }

    fn wanted(&self, outcome: f32, output: usize) -> f64 {
        match self.task {
            Task::Classification => f64::from(outcome as usize == output),
            Task::Regression => f64::from(outcome),
        }
    }
}

impl Learner for KernelLearner {
    fn schedule(&self) -> Schedule {
        self.schedule
    }

    fn step(&mut self, batch: &Batch, targets: Targets<'_>, position: Position) -> Result<f32> {
        if position.epoch == 0 {
            self.store(batch, targets, &[])?;
        }
        Ok(0.0)
    }

    fn forward(&self, batch: &Batch) -> Result<Vec<f32>> {
        let texts = self.places.texts(batch);
        self.with_solved(|stored| stored.answer(&texts, self.width, 0))
    }

    fn members(&mut self) -> Option<&mut dyn MemberLearner> {
        Some(self)
    }

    fn end_epoch(&mut self, _position: Position, _train_loss: f32, _validation_loss: f32) -> Result<Next> {
        Ok(Next::Stop)
    }

    fn weights(&self) -> Result<Tensors> {
        self.with_solved(Stored::save)?
    }

    fn state(&self) -> Result<Tensors> {
        let mut out = Tensors::new();
        put(&mut out, "keys", &self.keys.vectors)?;
        put(&mut out, "words", &self.keys.words)?;
        put(&mut out, "outcomes", &self.outcomes)?;
        put(&mut out, "row_weights", &self.row_weights)?;
        put(&mut out, "folds", &self.folds)?;
        Ok(out)
    }

    fn training_bytes(&self) -> u64 {
        let rows = MOST.min(self.outcomes.len().max(self.schedule.batch_size)) as u64;
        let outputs = self.outputs as u64;
        4 * 8 * rows * rows + (FOLDS as u64 + 3) * 8 * rows * outputs + 12 * rows * (self.width + WORDS) as u64
    }

    fn restore(&mut self, state: &Tensors) -> Result<()> {
        self.keys = Texts { vectors: get(state, "keys")?, words: get(state, "words")? };
        self.outcomes = get(state, "outcomes")?;
        (self.row_weights, self.folds) = (get(state, "row_weights")?, get(state, "folds")?);
        *self.lock()? = None;
        Ok(())
    }

    fn finish(self: Box<Self>, weights: Option<Tensors>) -> Result<Box<dyn Network>> {
        let weights = match weights {
            Some(weights) => weights,
            None => Learner::weights(&*self)?,
        };
        Ok(Box::new(KernelNet::load(&self.encoder, self.outputs, &weights)?))
    }
}

impl MemberLearner for KernelLearner {
    fn count(&self) -> usize {
        FOLDS
    }

    fn step(&mut self, batch: &Batch, targets: Targets<'_>, excluded: &[u64], position: Position) -> Result<f32> {
        if position.epoch == 0 {
            let folds: Vec<u8> = excluded.iter().map(|excluded| excluded.trailing_zeros() as u8).collect();
            self.store(batch, targets, &folds)?;
        }
        Ok(0.0)
    }

    fn forward(&self, batch: &Batch, members: &[u8]) -> Result<Vec<f32>> {
        let texts = self.places.texts(batch);
        self.with_solved(|stored| stored.answer_each(&texts, self.width, members))?
    }

    fn weights(&self, _member: usize) -> Result<Tensors> {
        Learner::weights(self)
    }
}
