//! `sparse_mlp`: embed the bag, k-winners, (sparse linear, k-winners)*, softmax readout, and a direct
//! way from the row to the answers, so that the family is never less than a linear model.

mod config;
mod members;
mod network;
mod vocabulary;

use super::{Learner, LearnerSpec, Network, Next, Position, Schedule, Setting, Targets, Task};
use crate::data::Batch;
use crate::data::encoder::Encoder;
use crate::nn::Tensors;
use crate::nn::layers::sparse_net::InferenceNet;
use crate::nn::layers::sparse_net::train::{Labels, Step};
use crate::{Error, Result};
use config::Plan;
use members::Members;
use network::SparseMlp;
use serde_json::{Map, Value};
use std::cell::RefCell;
use vocabulary::{Entries, Vocabulary};

/// The family's own settings.
pub fn settings() -> Vec<Setting> {
    config::settings()
}

/// A fresh network in training.
pub fn learner(spec: &LearnerSpec<'_>) -> Result<Box<dyn Learner>> {
    let plan = Plan::new(spec.encoder, spec.task, spec.outputs, Some(spec.rows), spec.config);
    let vocabulary = Vocabulary::new(spec.encoder.width as usize);
    let members = Members::new(&plan.shape(vocabulary.rows()), plan.members, spec.seed, spec.threads);
    let schedule = spec.schedule(plan.schedule);
    Ok(Box::new(Training { schedule, members, vocabulary, plan, entries: Entries::default() }))
}

/// A trained network from what [`Network::save`] gave.
pub fn load(
    encoder: &Encoder,
    task: Task,
    outputs: usize,
    config: &Map<String, Value>,
    tensors: &Tensors,
) -> Result<Box<dyn Network>> {
    let mut plan = Plan::new(encoder, task, outputs, None, config);
    plan.resize(tensors);
    let vocabulary = Vocabulary::load(encoder.width as usize, tensors)?;
    let net = InferenceNet::load(plan.shape(vocabulary.rows()), tensors)?;
    Ok(Box::new(SparseMlp::new(net, vocabulary)))
}

/// The network in training.
struct Training {
    plan: Plan,
    schedule: Schedule,
    members: Members,
    vocabulary: Vocabulary,
    entries: Entries,
}

thread_local! {
    static ENTRIES: RefCell<Entries> = RefCell::default();
}

impl Learner for Training {
    fn schedule(&self) -> Schedule {
        self.schedule
    }

    fn step(&mut self, batch: &Batch, targets: Targets<'_>, position: Position) -> Result<f32> {
        self.vocabulary.learn(batch);
        self.members.grow(self.vocabulary.rows());
        let rows = self.vocabulary.translate(batch, &mut self.entries)?;
        let step: Step = self.plan.step(position);
        let labels = match targets {
            Targets::Classes(classes, weights) => Labels::Classes(classes, weights),
            Targets::Values(values, weights) => Labels::Values(values, weights),
        };
        let loss = self.members.step(&rows, labels, &step)?;
        if loss.is_finite() { Ok(loss) } else { Err(diverged()) }
    }

    fn forward(&self, batch: &Batch) -> Result<Vec<f32>> {
        ENTRIES.with_borrow_mut(|entries| Ok(self.members.infer(&self.vocabulary.translate(batch, entries)?)))
    }

    fn end_epoch(&mut self, position: Position, _train_loss: f32, _validation_loss: f32) -> Result<Next> {
        // Units drawn anew need time to learn; in the last fifth they would only be noise.
        if self.plan.revives && position.fraction() < 0.8 {
            self.members.revive(position.epoch as u64);
        }
        Ok(Next::Go)
    }

    fn weights(&self) -> Result<Tensors> {
        let mut tensors = self.members.weights()?;
        self.vocabulary.save(&mut tensors)?;
        Ok(tensors)
    }

    fn state(&self) -> Result<Tensors> {
        let mut tensors = self.members.state()?;
        self.vocabulary.save(&mut tensors)?;
        Ok(tensors)
    }

    fn restore(&mut self, state: &Tensors) -> Result<()> {
        self.vocabulary = Vocabulary::load(self.vocabulary.width(), state)?;
        self.members.grow(self.vocabulary.rows());
        self.members.restore(state)
    }

    fn finish(self: Box<Self>, weights: Option<Tensors>) -> Result<Box<dyn Network>> {
        let Self { members, mut vocabulary, .. } = *self;
        let mut tensors = match weights {
            Some(weights) => {
                vocabulary = Vocabulary::load(vocabulary.width(), &weights)?;
                weights
            }
            None => members.weights()?,
        };
        let shape = members.merge(vocabulary.rows(), &mut tensors)?;
        InferenceNet::round(&shape, &mut tensors)?;
        Ok(Box::new(SparseMlp::new(InferenceNet::load(shape, &tensors)?, vocabulary)))
    }
}

// Both floors mark a row without a label in the same way.
const _: () = assert!(super::UNLABELLED == crate::nn::layers::sparse_net::train::NO_LABEL);

fn diverged() -> Error {
    Error::unprocessable("diverged", "the loss is no longer a number; try a smaller learning rate")
}
