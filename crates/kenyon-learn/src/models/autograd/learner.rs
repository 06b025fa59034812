//! A learner whose steps are made by candle on a device.

use super::network::{DeviceNetwork, Learned};
use super::{AutogradLearner, Change};
use crate::data::Batch;
use crate::models::members::each_by_its_member;
use crate::models::{Learner, MemberLearner, Network, Next, Position, Schedule, Targets};
use crate::nn::Tensors;
use crate::{Error, Result};
use candle_core::{DType, Device};
use std::cell::RefCell;

/// The code of an error of a device: the training can go on without it.
pub(crate) const DEVICE_FAILED: &str = "device_failed";

/// Bytes that a device needs beside weights: its own context and operations, and the values of a mini-batch, about.
const BESIDE: u64 = 512 << 20;

/// A learner on a device, around the family's own. The first mini-batch is learned by the kernels, which draw what depends
/// on the data; all others by candle.
pub(crate) struct DeviceLearner {
    device: Device,
    state: RefCell<State>,
    members: usize,
}

struct State {
    inner: Box<dyn Learner>,
    /// None until weights have been drawn.
    networks: Vec<DeviceNetwork>,
    /// Whether the networks have learned since the inner learner got their weights.
    ahead: bool,
    /// Steps made.
    steps: u64,
}

fn autograd(learner: &mut dyn Learner) -> Result<&mut dyn AutogradLearner> {
    learner.autograd().map_err(Error::internal)
}

impl State {
    /// The family's learner with the weights that the networks have now.
    fn caught_up(&mut self) -> Result<&mut dyn Learner> {
        if std::mem::take(&mut self.ahead) {
            let inner = autograd(&mut *self.inner)?;
            for (number, network) in self.networks.iter().enumerate() {
                inner.set_weights_of(number, &network.weights()?, self.steps)?;
            }
        }
        Ok(&mut *self.inner)
    }

    /// Takes the networks from the family's learner.
    fn take(&mut self, device: &Device) -> Result<()> {
        let inner = autograd(&mut *self.inner)?;
        let network = |number| Ok(DeviceNetwork::new(inner.weights_of(number)?, device)?);
        self.networks = (0..inner.networks()).map(network).collect::<Result<_>>()?;
        Ok(())
    }

    fn prepare(&mut self, device: &Device, batch: &Batch, targets: Targets<'_>, position: Position) -> Result<()> {
        match autograd(&mut *self.inner)?.prepare(batch, targets, position) {
            Change::None => {}
            Change::Form => self.networks.iter_mut().for_each(DeviceNetwork::reform),
            Change::Sizes => {
                self.caught_up()?;
                autograd(&mut *self.inner)?.grow();
                self.take(device)?;
            }
        }
        Ok(())
    }

    /// A step of network `number` on the rows of `batch`.
    fn learn(&mut self, number: usize, batch: &Batch, targets: Targets<'_>, position: Position) -> Result<f32> {
        self.ahead = true;
        self.steps = position.step + 1;
        let inner = autograd(&mut *self.inner)?;
        let mut pass = inner.pass(number, position);
        let rows = inner.rows(batch);
        let learned = Learned {
            batch: &rows,
            slopes: &|outputs| inner.slopes(outputs, targets),
            rule: &|squares| inner.rule(position, batch.rows(), squares),
            clips: inner.clips(),
            reached: &|weight, pass| inner.reached(number, weight, &rows, pass),
        };
        let loss = self.networks[number].step(&*inner, &learned, &mut pass)?;
        inner.passed(number, &pass, batch.rows(), position, loss);
        Ok(loss)
    }

    fn outputs(&mut self, numbers: std::ops::Range<usize>, batch: &Batch) -> Result<Vec<f32>> {
        let inner = autograd(&mut *self.inner)?;
        let (rows, count) = (inner.rows(batch), numbers.len() as f32);
        let mut mean = Vec::new();
        for number in numbers {
            let outputs = self.networks[number].outputs(&*inner, &rows)?;
            if mean.is_empty() {
                mean = outputs;
            } else {
                mean.iter_mut().zip(outputs).for_each(|(mean, output)| *mean += output);
            }
        }
        mean.iter_mut().for_each(|mean| *mean /= count);
        Ok(mean)
    }
}

impl DeviceLearner {
    /// `inner` on `device`; the reason where it cannot be trained there.
    pub(crate) fn new(mut inner: Box<dyn Learner>, device: Device) -> Result<Self, &'static str> {
        inner.autograd()?;
        let members = inner.members().map_or(0, |members| members.count());
        let state = State { inner, networks: Vec::new(), ahead: false, steps: 0 };
        Ok(Self { device, state: RefCell::new(state), members })
    }

    /// Reads rows that will be trained on.
    pub(crate) fn meet(&mut self, batch: &Batch) -> Result<()> {
        autograd(&mut *self.state.get_mut().inner)?.meet(batch);
        Ok(())
    }

    /// Bytes of the device's memory that the training takes, about.
    pub(crate) fn device_bytes(&self) -> u64 {
        // Weights and two moments, gradients, and what a step makes of them.
        self.state.borrow().inner.weights().map_or(0, |weights| 6 * bytes(&weights)) + BESIDE
    }

    /// What candle reports of a device other than the CPU is an error of that device.
    fn of_device<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|mut error| {
            if !self.device.is_cpu() && error.cause.as_ref().is_some_and(|cause| cause.is::<candle_core::Error>()) {
                error.code = DEVICE_FAILED;
            }
            error
        })
    }

    fn first_step(&mut self, step: impl FnOnce(&mut dyn Learner) -> Result<f32>) -> Result<f32> {
        let state = self.state.get_mut();
        let loss = step(&mut *state.inner)?;
        state.steps = 1;
        let taken = state.take(&self.device);
        self.of_device(taken)?;
        Ok(loss)
    }
}

fn bytes(tensors: &Tensors) -> u64 {
    tensors.values().filter(|t| t.dtype() == DType::F32).map(|t| 4 * t.elem_count() as u64).sum()
}

#[cfg(test)]
impl DeviceLearner {
    /// Tensors that are kept from step to step and are part of a graph: each step would make it longer.
    pub(crate) fn recorded(&self) -> Vec<String> {
        self.state.borrow().networks.iter().flat_map(DeviceNetwork::recorded).collect()
    }
}

impl Learner for DeviceLearner {
    fn schedule(&self) -> Schedule {
        self.state.borrow().inner.schedule()
    }

    fn weighs_rows(&self) -> bool {
        self.state.borrow().inner.weighs_rows()
    }

    fn step(&mut self, batch: &Batch, targets: Targets<'_>, position: Position) -> Result<f32> {
        if self.state.get_mut().networks.is_empty() {
            return self.first_step(|inner| inner.step(batch, targets, position));
        }
        let state = self.state.get_mut();
        let all = |state: &mut State| {
            state.prepare(&self.device, batch, targets, position)?;
            let losses = (0..state.networks.len()).map(|number| state.learn(number, batch, targets, position));
            let losses = losses.collect::<Result<Vec<_>>>()?;
            let answering = autograd(&mut *state.inner)?.answering().min(losses.len());
            Ok(losses[..answering].iter().sum::<f32>() / answering.max(1) as f32)
        };
        let loss = all(state);
        self.of_device(loss)
    }

    fn forward(&self, batch: &Batch) -> Result<Vec<f32>> {
        let mut state = self.state.borrow_mut();
        if state.networks.is_empty() || batch.rows() == 0 {
            return state.caught_up()?.forward(batch);
        }
        let answering = autograd(&mut *state.inner)?.answering().min(state.networks.len());
        self.of_device(state.outputs(0..answering, batch))
    }

    fn members(&mut self) -> Option<&mut dyn MemberLearner> {
        if self.members > 0 { Some(self) } else { None }
    }

    fn end_epoch(&mut self, position: Position, train_loss: f32, validation_loss: f32) -> Result<Next> {
        let state = self.state.get_mut();
        let outcome = state.caught_up().and_then(|inner| inner.end_epoch(position, train_loss, validation_loss));
        // It may have dropped networks or drawn units anew.
        let outcome = outcome.and_then(|next| {
            if !state.networks.is_empty() {
                state.take(&self.device)?;
            }
            Ok(next)
        });
        self.of_device(outcome)
    }

    fn weights(&self) -> Result<Tensors> {
        self.of_device(self.state.borrow_mut().caught_up().and_then(|inner| inner.weights()))
    }

    fn state(&self) -> Result<Tensors> {
        self.of_device(self.state.borrow_mut().caught_up().and_then(|inner| inner.state()))
    }

    fn training_bytes(&self) -> u64 {
        self.state.borrow().inner.training_bytes()
    }

    fn restore(&mut self, state: &Tensors) -> Result<()> {
        let own = self.state.get_mut();
        own.inner.restore(state)?;
        own.ahead = false;
        let taken = own.take(&self.device);
        self.of_device(taken)
    }

    fn finish(self: Box<Self>, weights: Option<Tensors>) -> Result<Box<dyn Network>> {
        let mut state = self.state.into_inner();
        if weights.is_none() {
            state.caught_up()?;
        }
        state.inner.finish(weights)
    }
}

impl MemberLearner for DeviceLearner {
    fn count(&self) -> usize {
        self.members
    }

    fn step(&mut self, batch: &Batch, targets: Targets<'_>, excluded: &[u64], position: Position) -> Result<f32> {
        if self.state.get_mut().networks.is_empty() {
            return self.first_step(|inner| members(inner)?.step(batch, targets, excluded, position));
        }
        let state = self.state.get_mut();
        let all = |state: &mut State| {
            state.prepare(&self.device, batch, targets, position)?;
            let (mut sum, mut count) = (0.0, 0);
            for number in 0..state.networks.len() {
                let rows: Vec<usize> = (0..batch.rows()).filter(|&row| excluded[row] >> number & 1 == 0).collect();
                if rows.is_empty() {
                    continue;
                }
                sum += targets.at(&rows, |targets| state.learn(number, &batch.select(&rows), targets, position))?;
                count += 1;
            }
            Ok(sum / count.max(1) as f32)
        };
        let loss = all(state);
        self.of_device(loss)
    }

    fn forward(&self, batch: &Batch, members: &[u8]) -> Result<Vec<f32>> {
        let mut state = self.state.borrow_mut();
        if state.networks.is_empty() {
            return self::members(&mut *state.inner)?.forward(batch, members);
        }
        let answers =
            each_by_its_member(batch, members, self.members, |number, batch| state.outputs(number..number + 1, batch));
        self.of_device(answers)
    }

    fn weights(&self, member: usize) -> Result<Tensors> {
        self.of_device(self.state.borrow_mut().caught_up().and_then(|inner| members(inner)?.weights(member)))
    }
}

fn members(learner: &mut dyn Learner) -> Result<&mut dyn MemberLearner> {
    learner.members().ok_or_else(|| Error::internal("this learner has no members"))
}
