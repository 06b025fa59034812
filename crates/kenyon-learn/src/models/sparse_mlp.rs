//! `sparse_mlp`: embed the bag, k-winners, (sparse linear, k-winners)*, softmax readout, and a direct
//! path from the row to the outputs, so that the family includes a linear model.

mod autograd;
mod config;
mod ensemble;
mod members;
mod network;
mod onnx;
mod recipe;
#[cfg(test)]
mod tests;
mod vocabulary;

use super::autograd::AutogradLearner;
use super::candle::{TokenConfig, sparse_mlp as form};
use super::family::Rule;
use super::members::each_by_its_member;
use super::{
    FamilySpec, Learner, LearnerSpec, MemberLearner, Network, Next, Position, SavedNetwork, Schedule, Setting,
    Suitability, Targets,
};
use crate::data::Batch;
use crate::data::encoder::Layout;
use crate::data::plan::ColumnPlan;
use crate::data::profile::DataProfile;
use crate::nn::Tensors;
use crate::nn::layers::sparse_net::train::{Labels, Step};
use crate::nn::layers::sparse_net::{Hidden, InferenceNet, hidden_name};
use crate::{Error, Result};
use config::SparseMlpPlan;
use ensemble::Ensemble;
use members::Portion;
use network::SparseMlp;
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use vocabulary::{Entries, Vocabulary};

/// The family's entry in the registry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec;

impl FamilySpec for Spec {
    fn name(&self) -> &'static str {
        "sparse_mlp"
    }

    fn purpose(&self) -> &'static str {
        "Tables, vectors and bags of words; the fastest."
    }

    fn layout(&self, _inputs: &[ColumnPlan]) -> Layout {
        Layout::Bag
    }

    fn own_settings(&self) -> Vec<Setting> {
        settings()
    }

    fn suits(&self, _data: &DataProfile) -> Option<Suitability> {
        Suitability::new(1, "columns of a table, a text or a vector: the sparse network is the fastest and as good")
    }

    fn rules(&self) -> &'static [Rule] {
        recipe::RULES
    }

    fn reads_compact(&self) -> bool {
        true
    }

    fn cross_fits(&self, config: &Map<String, Value>) -> Option<usize> {
        config::cross_fits(config)
    }

    fn search_space(&self) -> Value {
        json!({
            "hidden": [[256], [512], [1024], [512, 256]],
            "active_share": { "min": 0.02, "max": 0.3, "log": true },
            "dropout": [0.0, 0.1, 0.2],
            "optimizer": ["adam"],
            "learning_rate": { "min": 0.0003, "max": 0.01, "log": true },
        })
    }

    fn learner(&self, spec: &LearnerSpec<'_>) -> Result<Box<dyn Learner>> {
        learner(spec)
    }

    fn load(&self, saved: &SavedNetwork<'_>) -> Result<Box<dyn Network>> {
        load(saved)
    }

    fn candle(&self, saved: &SavedNetwork<'_>) -> Result<Box<dyn TokenConfig>> {
        Ok(Box::new(candle_config(saved)?))
    }

    fn has_onnx(&self) -> bool {
        true
    }
}

/// The family's own settings.
pub(crate) fn settings() -> Vec<Setting> {
    config::settings()
}

/// A fresh network in training.
pub(crate) fn learner(spec: &LearnerSpec<'_>) -> Result<Box<dyn Learner>> {
    let plan = SparseMlpPlan::new(spec.encoder, spec.task, spec.outputs, spec.config);
    let vocabulary = Vocabulary::new(spec.encoder.width as usize, plan.bins.clone());
    let members = Ensemble::new(&plan.shape(vocabulary.rows()), plan.members, spec.seed, spec.threads);
    let schedule = spec.schedule(config::SCHEDULE);
    let portions = vec![Portion::default(); members.count()];
    Ok(Box::new(SparseMlpLearner { schedule, members, vocabulary, plan, entries: Entries::default(), portions }))
}

/// A trained network from what [`Network::save`] gave.
pub(crate) fn load(saved: &SavedNetwork<'_>) -> Result<Box<dyn Network>> {
    let SavedNetwork { encoder, task, outputs, config, tensors } = *saved;
    let mut plan = SparseMlpPlan::new(encoder, task, outputs, config);
    plan.resize(tensors);
    let vocabulary = Vocabulary::load(encoder.width as usize, plan.bins.clone(), tensors)?;
    let net = InferenceNet::load(plan.shape(vocabulary.rows()), tensors)?;
    Ok(Box::new(SparseMlp::new(net, vocabulary, tensors)))
}

/// See [`FamilySpec::candle`].
fn candle_config(saved: &SavedNetwork<'_>) -> Result<form::Config> {
    let SavedNetwork { encoder, task, outputs, config, tensors } = *saved;
    let mut plan = SparseMlpPlan::new(encoder, task, outputs, config);
    plan.resize(tensors);
    let vocabulary = Vocabulary::load(encoder.width as usize, plan.bins.clone(), tensors)?;
    let shape = plan.shape(vocabulary.rows());
    let connections = |index: usize| -> Result<Vec<Vec<bool>>> {
        let Some(tensor) = tensors.get(&format!("{}.sees", hidden_name(index))) else { return Ok(Vec::new()) };
        Ok(tensor.to_vec2::<u8>()?.iter().map(|group| group.iter().map(|&c| c != 0).collect()).collect())
    };
    let layer = |(index, layer): (usize, &Hidden)| {
        let &Hidden { units, winners, winner_groups, .. } = layer;
        Ok(form::LayerConfig { units, winners, winner_groups, connections: connections(index)? })
    };
    Ok(form::Config {
        features: encoder.width as usize,
        vocabulary: vocabulary.features().map(<[u32]>::to_vec),
        hidden: shape.hidden.iter().enumerate().map(layer).collect::<Result<_>>()?,
        outputs: shape.outputs,
        skip: shape.skip,
    })
}

/// The network in training.
struct SparseMlpLearner {
    plan: SparseMlpPlan,
    schedule: Schedule,
    members: Ensemble,
    vocabulary: Vocabulary,
    entries: Entries,
    /// The rows of a mini-batch that each member learns, where they differ.
    portions: Vec<Portion>,
}

thread_local! {
    static ENTRIES: RefCell<Entries> = RefCell::default();
}

impl Learner for SparseMlpLearner {
    fn schedule(&self) -> Schedule {
        self.schedule
    }

    fn step(&mut self, batch: &Batch, targets: Targets<'_>, position: Position) -> Result<f32> {
        self.vocabulary.learn(batch);
        self.members.grow(self.vocabulary.rows());
        let rows = self.vocabulary.translate(batch, &mut self.entries)?;
        let step: Step = self.plan.step(position);
        let loss = self.members.step(&rows, Labels::from(targets), &step)?;
        if loss.is_finite() { Ok(loss) } else { Err(diverged()) }
    }

    fn forward(&self, batch: &Batch) -> Result<Vec<f32>> {
        ENTRIES.with_borrow_mut(|entries| Ok(self.members.infer(&self.vocabulary.translate(batch, entries)?)))
    }

    fn autograd(&mut self) -> Result<&mut dyn AutogradLearner, &'static str> {
        Ok(self)
    }

    fn members(&mut self) -> Option<&mut dyn MemberLearner> {
        if self.members.count() > 1 { Some(self) } else { None }
    }

    fn end_epoch(&mut self, position: Position, _train_loss: f32, _validation_loss: f32) -> Result<Next> {
        // Reinitialised units need time to learn; in the last fifth they would only add noise.
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
        self.vocabulary = self.vocabulary.reload(state)?;
        self.members.grow(self.vocabulary.rows());
        self.members.restore(state)
    }

    fn finish(self: Box<Self>, weights: Option<Tensors>) -> Result<Box<dyn Network>> {
        let Self { members, mut vocabulary, plan, .. } = *self;
        let mut tensors = match weights {
            Some(weights) => {
                vocabulary = vocabulary.reload(&weights)?;
                weights
            }
            None => members.weights()?,
        };
        let shape = members.merge(vocabulary.rows(), plan.cross_fit, &mut tensors)?;
        InferenceNet::round(&shape, &mut tensors)?;
        Ok(Box::new(SparseMlp::new(InferenceNet::load(shape, &tensors)?, vocabulary, &tensors)))
    }
}

impl MemberLearner for SparseMlpLearner {
    fn count(&self) -> usize {
        self.members.count()
    }

    fn step(&mut self, batch: &Batch, targets: Targets<'_>, excluded: &[u64], position: Position) -> Result<f32> {
        self.vocabulary.learn(batch);
        self.members.grow(self.vocabulary.rows());
        for (member, portion) in self.portions.iter_mut().enumerate() {
            portion.fill(batch, targets, |row| excluded[row] >> member & 1 == 0);
        }
        let rows = self.portions.iter_mut().map(|portion| portion.learned(&self.vocabulary)).collect::<Result<_>>()?;
        let loss = self.members.step_each(rows, &self.plan.step(position))?;
        if loss.is_finite() { Ok(loss) } else { Err(diverged()) }
    }

    fn forward(&self, batch: &Batch, members: &[u8]) -> Result<Vec<f32>> {
        each_by_its_member(batch, members, self.members.count(), |member, batch| {
            ENTRIES.with_borrow_mut(|entries| {
                Ok(self.members.infer_one(member, &self.vocabulary.translate(batch, entries)?))
            })
        })
    }

    fn weights(&self, member: usize) -> Result<Tensors> {
        let mut tensors = self.members.weights_of(member)?;
        self.vocabulary.save(&mut tensors)?;
        Ok(tensors)
    }
}

impl<'a> From<Targets<'a>> for Labels<'a> {
    fn from(targets: Targets<'a>) -> Self {
        match targets {
            Targets::Classes(classes, weights) => Self::Classes(classes, weights),
            Targets::Values(values, weights) => Self::Values(values, weights),
        }
    }
}

// Both modules mark a row without a label in the same way.
const _: () = assert!(super::UNLABELLED == crate::nn::layers::sparse_net::train::NO_LABEL);

fn diverged() -> Error {
    Error::unprocessable("diverged", "the loss is no longer a number; try a smaller learning rate")
}
