//! An ensemble: networks that are trained on the same mini-batches and whose outputs are averaged.

use super::members::keep_direct_paths;
use crate::Result;
use crate::nn::Tensors;
use crate::nn::kernels::{SparseRows, ThreadPool};
use crate::nn::layers::sparse_net::train::{Labels, Step, Trainer};
use crate::nn::layers::sparse_net::{SparseNetShape, merge};

/// One network or several in training. One uses all threads itself; of several each has one at a time.
pub(super) struct Ensemble {
    pub(super) trainers: Vec<Trainer>,
    pool: ThreadPool,
}

impl Ensemble {
    /// `count` fresh networks that differ in what is random.
    pub(super) fn new(shape: &SparseNetShape, count: usize, seed: u64, threads: usize) -> Self {
        let (inner, outer) = if count > 1 { (1, threads) } else { (threads, 1) };
        let seed_of = |member: usize| seed.wrapping_add(member as u64 * 1_000_003);
        let trainers = (0..count).map(|member| Trainer::new(shape.clone(), seed_of(member), inner)).collect();
        Self { trainers, pool: ThreadPool::new(outer) }
    }

    /// Adds weights for rows of `inputs` entries.
    pub(super) fn grow(&mut self, inputs: usize) {
        self.trainers.iter_mut().for_each(|trainer| trainer.grow(inputs));
    }

    /// How many networks there are.
    pub(super) fn count(&self) -> usize {
        self.trainers.len()
    }

    /// All learn from one mini-batch; returns their mean loss before the step.
    pub(super) fn step(&mut self, rows: &SparseRows<'_>, labels: Labels<'_>, step: &Step) -> Result<f32> {
        self.step_each(vec![(*rows, labels); self.trainers.len()], step)
    }

    /// Each learns from rows of its own; returns their mean loss before the step.
    pub(super) fn step_each(&mut self, rows: Vec<(SparseRows<'_>, Labels<'_>)>, step: &Step) -> Result<f32> {
        let mut work: Vec<_> =
            self.trainers.iter_mut().zip(rows).map(|(trainer, rows)| (trainer, rows, Ok(0.0))).collect();
        self.pool.each(
            &mut work,
            |_| 1,
            |_, (trainer, (rows, labels), loss)| *loss = trainer.step(rows, *labels, step),
        );
        let count = work.iter().filter(|(_, (rows, _), _)| !rows.is_empty()).count().max(1) as f32;
        work.into_iter().map(|(_, _, loss)| loss).sum::<Result<f32>>().map(|sum| sum / count)
    }

    /// The answers of one of them, `[rows, outputs]`.
    pub(super) fn infer_one(&self, member: usize, rows: &SparseRows<'_>) -> Vec<f32> {
        self.trainers[member].infer(rows)
    }

    /// The mean of their answers, `[rows, outputs]`.
    pub(super) fn infer(&self, rows: &SparseRows<'_>) -> Vec<f32> {
        let mut work: Vec<_> = self.trainers.iter().map(|trainer| (trainer, Vec::new())).collect();
        self.pool.each(&mut work, |_| 1, |_, (trainer, answers)| *answers = trainer.infer(rows));
        let count = work.len() as f32;
        let mut answers = work.into_iter().map(|(_, answers)| answers);
        let mut mean = answers.next().unwrap_or_default();
        answers.for_each(|other| mean.iter_mut().zip(other).for_each(|(mean, other)| *mean += other));
        mean.iter_mut().for_each(|mean| *mean /= count);
        mean
    }

    /// Called at the end of a pass over the data.
    pub(super) fn revive(&mut self, epoch: u64) {
        for trainer in &mut self.trainers {
            // One that was left out of the pass has no winners at all, and keeps its units.
            let won = trainer
                .net
                .hidden
                .iter()
                .flat_map(|layer| layer.unit_blocks().map(|block| block.wins.0))
                .any(|wins| wins.iter().any(|&wins| wins > 0.0));
            if won {
                trainer.revive(epoch);
            }
        }
    }

    /// The weights of all.
    pub(super) fn weights(&self) -> Result<Tensors> {
        self.named(|trainer| trainer.net.save())
    }

    /// The part of [`Self::weights`] that is one's own.
    pub(super) fn weights_of(&self, member: usize) -> Result<Tensors> {
        let saved = self.trainers[member].net.save()?;
        Ok(saved.into_iter().map(|(name, tensor)| (self.prefix(member) + &name, tensor)).collect())
    }

    /// The complete training state of all.
    pub(super) fn state(&self) -> Result<Tensors> {
        self.named(Trainer::state)
    }

    fn named(&self, of: impl Fn(&Trainer) -> Result<Tensors>) -> Result<Tensors> {
        let mut all = Tensors::new();
        for (member, trainer) in self.trainers.iter().enumerate() {
            all.extend(of(trainer)?.into_iter().map(|(name, tensor)| (self.prefix(member) + &name, tensor)));
        }
        Ok(all)
    }

    /// Continues from [`Self::state`].
    pub(super) fn restore(&mut self, state: &Tensors) -> Result<()> {
        let prefixes: Vec<String> = (0..self.trainers.len()).map(|member| self.prefix(member)).collect();
        self.trainers.iter_mut().zip(prefixes).try_for_each(|(trainer, prefix)| trainer.restore(&own(state, &prefix)))
    }

    /// Makes one network of [`Self::weights`], for rows of `inputs` entries; returns its shape. With `singly` the
    /// members can still answer one by one.
    pub(super) fn merge(&self, inputs: usize, singly: bool, tensors: &mut Tensors) -> Result<SparseNetShape> {
        let shape = self.trainers[0].net.shape.with_inputs(inputs);
        if self.trainers.len() == 1 {
            return Ok(shape);
        }
        let members: Vec<Tensors> = (0..self.trainers.len()).map(|member| own(tensors, &self.prefix(member))).collect();
        let (together, mut merged) = merge(&shape, &members)?;
        if singly {
            keep_direct_paths(&shape, &members, &mut merged)?;
        }
        *tensors = merged;
        Ok(together)
    }

    fn prefix(&self, member: usize) -> String {
        if self.trainers.len() > 1 { format!("members.{member}.") } else { String::new() }
    }
}

/// The entries of `tensors` with this prefix, without it.
fn own(tensors: &Tensors, prefix: &str) -> Tensors {
    let named = tensors.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?, tensor)));
    named.map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect()
}
