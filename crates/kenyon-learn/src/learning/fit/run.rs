//! A running training: mini-batches, early stopping, checkpoints.

use super::CHUNK;
use super::data::Data;
use super::rest::{Group, Rest};
use crate::data::Batch;
use crate::data::split::Folds;
use crate::data::target::Encoded;
use crate::device::DeviceName;
use crate::learning::bundle::{tensors_from_bytes, tensors_to_bytes};
use crate::learning::{Monitor, Progress};
use crate::models::{Learner, MemberLearner, Network, Next, Position, Schedule, Targets};
use crate::nn::Tensors;
use crate::random::Random;
use crate::{Error, Kind, Result};
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::time::Instant;

/// The position of a training when a checkpoint was taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct TrainingState {
    step: u64,
    epoch: usize,
    epoch_loss: f64,
    epoch_steps: u64,
    best: Option<f64>,
    since_best: usize,
    /// The same of each member, where members leave rows out.
    #[serde(default)]
    members: Vec<MemberState>,
    metrics: Map<String, Value>,
    /// Training is complete except for choosing the weights and calibrating.
    #[serde(default)]
    ended: bool,
}

/// How well a member answers the rows that it stops by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct MemberState {
    best: Option<f64>,
    since_best: usize,
}

/// How much rows weigh in the loss.
#[derive(Clone, Copy, Default)]
pub(super) struct Weights<'a> {
    /// Of every row of the table, by itself and its class.
    pub(super) rows: Option<&'a [f32]>,
    /// Of classes.
    pub(super) classes: Option<&'a [f32]>,
}

/// Rows to take mini-batches from.
#[derive(Clone, Copy)]
struct Source<'s> {
    batch: &'s Batch,
    targets: &'s Encoded,
    weights: Option<&'s [f32]>,
}

/// A running training.
pub(super) struct Run<'a> {
    learner: Box<dyn Learner>,
    schedule: Schedule,
    data: Data<'a>,
    weights: Weights<'a>,
    seed: u64,
    monitor: &'a dyn Monitor,
    device: DeviceName,
    state: TrainingState,
    best: Option<Tensors>,
    started: Instant,
    rows_done: u64,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        learner: Box<dyn Learner>,
        data: Data<'a>,
        weights: Weights<'a>,
        seed: u64,
        (monitor, device): (&'a dyn Monitor, DeviceName),
    ) -> Self {
        let schedule = learner.schedule();
        Self {
            learner,
            schedule,
            data,
            weights,
            seed,
            monitor,
            device,
            state: TrainingState::default(),
            best: None,
            started: Instant::now(),
            rows_done: 0,
        }
    }

    /// Ends the training with the weights that were best on the rows that choose the pass; and the training loss of the last.
    pub(super) fn finish(self) -> Result<(Box<dyn Network>, f64)> {
        let loss = self.state.metrics.get("train_loss").and_then(Value::as_f64).unwrap_or(f64::NAN);
        Ok((self.learner.finish(self.best)?, loss))
    }

    /// The least loss on the rows that choose the pass, the mean over members where each has its own; none where no rows
    /// do.
    pub(super) fn stopping_loss(&self) -> Option<f64> {
        let members: Vec<f64> = self.state.members.iter().filter_map(|member| member.best).collect();
        let mean = (!members.is_empty()).then(|| members.iter().sum::<f64>() / members.len() as f64);
        mean.or(self.state.best)
    }

    /// The member that stops by each held-out row, and has not learned it either; none where members do not stop by rows.
    pub(super) fn second_members(&self) -> Option<Vec<u8>> {
        let folds = self.stops_by_folds()?;
        Some(self.data.split.validation.iter().map(|&row| stopped_by(folds.of_row[row], folds)).collect())
    }

    /// Where it is trained.
    pub(super) fn device(&self) -> DeviceName {
        self.device
    }

    /// As [`Learner::training_bytes`].
    pub(super) fn bytes(&self) -> u64 {
        self.learner.training_bytes()
    }

    fn steps_per_epoch(&self) -> u64 {
        self.data.training_rows().div_ceil(self.schedule.batch_size).max(1) as u64
    }

    fn position(&self) -> Position {
        Position {
            epoch: self.state.epoch,
            epochs: self.schedule.epochs,
            step: self.state.step,
            steps: self.steps_per_epoch() * self.schedule.epochs as u64,
        }
    }

    pub(super) fn train(&mut self) -> Result<()> {
        let mut mini = Batch::new();
        while !self.state.ended && self.state.epoch < self.schedule.epochs {
            let mut order = self.data.split.training.clone();
            Random::stream(self.seed, "order", self.state.epoch as u64).shuffle(&mut order);
            let first = self.state.step - self.steps_per_epoch() * self.state.epoch as u64;
            match self.data.rest {
                Some(rest) => self.pass_over_groups(rest, &order, first, &mut mini)?,
                None => {
                    let Data { batch, targets, .. } = self.data;
                    let source = Source { batch, targets, weights: self.weights.rows };
                    for rows in order.chunks(self.schedule.batch_size).skip(first as usize) {
                        self.step(source, rows, &mut mini)?;
                    }
                }
            }
            self.end_epoch()?;
        }
        Ok(())
    }

    /// A pass over the rows `order` of the table and all of `rest`, from mini-batch `first` on.
    fn pass_over_groups(&mut self, rest: &Rest, order: &[usize], first: u64, mini: &mut Batch) -> Result<()> {
        let (size, epoch) = (self.schedule.batch_size, self.state.epoch as u64);
        let groups = rest.groups(self.seed, epoch);
        let mut shares = order.chunks(order.len().div_ceil(groups.len().max(1)).max(1));
        // What does not fill a mini-batch is learned with the next group, so that a pass has the same number of them
        // always.
        let mut left = Group::empty(self.data.targets, self.weights.rows.is_some());
        let table = (self.data.batch, self.data.targets);
        let mut done = 0;
        for (at, blocks) in groups.iter().enumerate() {
            let own = shares.next().unwrap_or_default();
            let group = rest.load(left, table, own, blocks, (self.weights.rows, self.weights.classes))?;
            let mut rows: Vec<usize> = (0..group.batch.rows()).collect();
            Random::stream(self.seed, "group", epoch << 32 | at as u64).shuffle(&mut rows);
            let full = if at + 1 == groups.len() { rows.len() } else { rows.len() - rows.len() % size };
            let source = Source { batch: &group.batch, targets: &group.targets, weights: group.weights.as_deref() };
            for rows in rows[..full].chunks(size) {
                if done >= first {
                    self.step(source, rows, mini)?;
                }
                done += 1;
            }
            left = group.select(&rows[full..]);
        }
        Ok(())
    }

    fn step(&mut self, source: Source<'_>, rows: &[usize], mini: &mut Batch) -> Result<()> {
        if self.monitor.canceled() {
            return Err(Error::new(Kind::Canceled, "canceled", "the job was canceled"));
        }
        mini.select_into(source.batch, rows);
        let position = self.position();
        let ended = self.ended_members();
        let excluded: Option<Vec<u64>> =
            self.data.folds.map(|folds| rows.iter().map(|&row| ended | self.excluded(folds, row)).collect());
        let weights: Option<Vec<f32>> = source.weights.map(|weights| rows.iter().map(|&row| weights[row]).collect());
        let loss = match source.targets {
            Encoded::Classes(ids) => {
                let ids: Vec<u32> = rows.iter().map(|&row| ids[row]).collect();
                self.learn(mini, Targets::Classes(&ids, weights.as_deref()), excluded.as_deref(), position)?
            }
            Encoded::Values(values) => {
                let values: Vec<f32> = rows.iter().map(|&row| values[row]).collect();
                self.learn(mini, Targets::Values(&values, weights.as_deref()), excluded.as_deref(), position)?
            }
        };
        if !loss.is_finite() {
            return Err(Error::unprocessable(
                "diverged",
                format!("training diverged at step {}: try a smaller learning_rate", self.state.step),
            ));
        }
        self.state.step += 1;
        self.state.epoch_steps += 1;
        self.state.epoch_loss += f64::from(loss);
        self.rows_done += rows.len() as u64;
        self.monitor.progress(&self.progress(), false);
        if self.monitor.checkpoint_due(false) {
            self.checkpoint()?;
        }
        Ok(())
    }

    fn learn(
        &mut self,
        batch: &Batch,
        targets: Targets<'_>,
        excluded: Option<&[u64]>,
        position: Position,
    ) -> Result<f32> {
        match excluded {
            None => self.learner.step(batch, targets, position),
            Some(excluded) => members(&mut *self.learner)?.step(batch, targets, excluded, position),
        }
    }

    /// Whether members stop early, each by a fold that it leaves out in addition to the one it is evaluated on.
    fn stops_by_folds(&self) -> Option<&'a Folds> {
        self.data.folds.filter(|folds| self.schedule.patience > 0 && folds.count > 2)
    }

    /// The members that have learned all they can, a bit each.
    fn ended_members(&self) -> u64 {
        let ended = |member: &MemberState| member.best.is_some() && member.since_best >= self.schedule.patience;
        self.state.members.iter().enumerate().map(|(at, member)| u64::from(ended(member)) << at).sum()
    }

    /// The members that do not learn a row, a bit each.
    fn excluded(&self, folds: &Folds, row: usize) -> u64 {
        let fold = folds.of_row[row];
        let stops = self.stops_by_folds().map_or(0, |folds| 1 << stopped_by(fold, folds));
        1 << fold | stops
    }

    /// Validates, keeps the best weights, reports to the monitor; decides whether training ends here.
    fn end_epoch(&mut self) -> Result<()> {
        let stops = self.stops_by_folds();
        let data = self.data;
        let members: Vec<u8> = match data.folds {
            Some(folds) => {
                let folds_of_rows = data.split.validation.iter().map(|&row| folds.of_row[row]);
                folds_of_rows.map(|fold| if stops.is_some() { stopped_by(fold, folds) } else { fold }).collect()
            }
            None => Vec::new(),
        };
        let rows = if data.folds.is_some() { &data.split.validation } else { &data.split.stopping };
        let answers = self.answers(rows, &members)?;
        let (loss, accuracy) =
            if data.folds.is_some() { data.validate(&answers, |_| true) } else { data.validate_stopping(&answers) };
        let train_loss = self.state.epoch_loss / self.state.epoch_steps.max(1) as f64;
        self.state.metrics.insert("train_loss".into(), train_loss.into());
        self.state.metrics.insert("validation_loss".into(), loss.into());
        if let Some(accuracy) = accuracy {
            self.state.metrics.insert("validation_accuracy".into(), accuracy.into());
        }
        let next = self.learner.end_epoch(self.position(), train_loss as f32, loss as f32)?;
        if next == Next::Restart {
            self.state.best = None;
            self.state.since_best = 0;
        } else if let Some(folds) = stops {
            self.keep_best_members(folds.count, &members, &answers)?;
        } else if data.folds.is_some() || rows.is_empty() {
            // A schedule of its own: the rows that the figures are of do not decide when it ends.
        } else if self.state.best.is_none_or(|best| loss < best) {
            self.state.best = Some(loss);
            self.state.since_best = 0;
            self.best = Some(self.learner.weights()?);
        } else {
            self.state.since_best += 1;
        }
        self.state.epoch += 1;
        self.state.epoch_loss = 0.0;
        self.state.epoch_steps = 0;
        self.monitor.progress(&self.progress(), true);
        let patience = self.schedule.patience;
        self.state.ended = next == Next::Stop || (patience > 0 && self.state.since_best >= patience);
        // Also after the last epoch: the calibration after it takes time, too.
        if self.monitor.checkpoint_due(true) {
            self.checkpoint()?;
        }
        Ok(())
    }

    /// Keeps the weights of each member that answers the rows it stops by better than before; `members` has the one
    /// that stops by each held-out row.
    fn keep_best_members(&mut self, count: usize, members: &[u8], answers: &[f32]) -> Result<()> {
        let patience = self.schedule.patience;
        self.state.members.resize(count, MemberState::default());
        for member in 0..count {
            let (loss, _) = self.data.validate(answers, |at| usize::from(members[at]) == member);
            let own = &mut self.state.members[member];
            if loss.is_nan() {
                // No row to stop by: it ends with the others.
                own.since_best = patience;
            } else if own.since_best >= patience {
                continue;
            } else if own.best.is_none_or(|best| loss < best) {
                *own = MemberState { best: Some(loss), since_best: 0 };
            } else {
                own.since_best += 1;
                continue;
            }
            let weights = self::members(&mut *self.learner)?.weights(member)?;
            self.best.get_or_insert_default().extend(weights);
        }
        self.state.since_best = self.state.members.iter().map(|member| member.since_best).min().unwrap_or(0);
        Ok(())
    }

    /// The answers to `rows`, each by the member that `members` names, if it names any.
    fn answers(&mut self, rows: &[usize], members: &[u8]) -> Result<Vec<f32>> {
        let mut answers = Vec::with_capacity(rows.len() * self.data.outputs);
        let mut chunk = Batch::new();
        let mut members = members.chunks(CHUNK);
        for rows in rows.chunks(CHUNK) {
            chunk.select_into(self.data.batch, rows);
            answers.extend(match members.next() {
                Some(members) => self::members(&mut *self.learner)?.forward(&chunk, members)?,
                None => self.learner.forward(&chunk)?,
            });
        }
        Ok(answers)
    }

    fn progress(&self) -> Progress {
        let position = self.position();
        let seconds = self.started.elapsed().as_secs_f64().max(1e-9);
        let rate = self.rows_done as f64 / seconds;
        let left = position.steps.saturating_sub(position.step) as f64 * self.schedule.batch_size as f64;
        Progress {
            epoch: position.epoch,
            epochs: position.epochs,
            step: position.step,
            steps: position.steps,
            fraction: f64::from(position.fraction()),
            rows_per_second: rate,
            eta_seconds: if rate > 0.0 { left / rate } else { 0.0 },
            device: self.device,
            metrics: self.state.metrics.clone(),
        }
    }

    fn checkpoint(&self) -> Result<()> {
        let mut tensors: Tensors =
            self.learner.state()?.into_iter().map(|(name, t)| (format!("state.{name}"), t)).collect();
        for (name, tensor) in self.best.iter().flatten() {
            tensors.insert(format!("best.{name}"), tensor.clone());
        }
        let state = serde_json::to_vec(&self.state).map_err(Error::internal)?;
        let length = state.len();
        tensors.insert("course".into(), Tensor::from_vec(state, length, &Device::Cpu)?);
        self.monitor.checkpoint(self.state.step, tensors_to_bytes(&tensors)?)
    }

    pub(super) fn restore(&mut self, bytes: &[u8]) -> Result<()> {
        let tensors = tensors_from_bytes(bytes)?;
        let state = tensors.get("course").ok_or_else(|| Error::internal("a checkpoint without its state"))?;
        self.state = serde_json::from_slice(&state.to_vec1::<u8>()?).map_err(Error::internal)?;
        let named = |prefix: &str| -> Tensors {
            tensors.iter().filter_map(|(n, t)| Some((n.strip_prefix(prefix)?.to_owned(), t.clone()))).collect()
        };
        self.learner.restore(&named("state."))?;
        let best = named("best.");
        self.best = (!best.is_empty()).then_some(best);
        self.monitor.log(&format!("continues from step {}", self.state.step));
        Ok(())
    }
}

/// The member that stops by the rows of a fold: the one before the member that is evaluated by them.
fn stopped_by(fold: u8, folds: &Folds) -> u8 {
    if fold == 0 { (folds.count - 1) as u8 } else { fold - 1 }
}

fn members(learner: &mut dyn Learner) -> Result<&mut dyn MemberLearner> {
    learner.members().ok_or_else(|| Error::internal("this learner has no members to cross-fit"))
}
