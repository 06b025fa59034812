//! What candle's autograd needs to train the family on a device.

use super::SparseMlpLearner;
use crate::Result;
use crate::data::Batch;
use crate::models::autograd::{AutogradLearner, Change, Rule, TrainedWeight};
use crate::models::candle::{Competition, TokenConfig, TrainingPass, sparse_mlp as form};
use crate::models::{Position, Targets};
use crate::nn::kernels::gather::Reach;
use crate::nn::kernels::{InputSet, Lane};
use crate::nn::layers::descent::{Reached, WeightPart};
use crate::nn::layers::sparse_net::train::{Labels, Optimiser, annealed, boosted_by, loss, weight_of_rows};
use crate::nn::layers::sparse_net::{Hidden, Layer, hidden_name};
use crate::random::Random;
use candle_core::{Device, Tensor};
use std::sync::Arc;

fn flat(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}

/// Which inputs the units of each group of a layer have; empty where all have all.
fn connections(layer: &Layer) -> Vec<Vec<bool>> {
    let connected = |set: &InputSet| (0..layer.inputs).map(|input| set.line(input).is_some()).collect();
    layer.fields().map(connected).collect()
}

fn reach_of(layer: &Layer) -> Option<Arc<Reach>> {
    let connections = connections(layer);
    (!connections.is_empty()).then(|| Arc::new(Reach::of_groups(layer.inputs, layer.units, &connections)))
}

/// Whether a row of `batch` has each of `inputs` inputs; of a number those of its bins up to the highest one.
fn features_of(batch: &Batch, inputs: usize) -> Vec<bool> {
    let mut has = vec![false; inputs];
    batch
        .indices
        .iter()
        .filter_map(|&index| Some(index as usize).filter(|&at| at < inputs))
        .for_each(|at| has[at] = true);
    for bins in batch.bins.iter().flat_map(|bins| bins.iter()) {
        let own = &mut has[bins.start as usize..bins.end as usize];
        if let Some(highest) = own.iter().rposition(|&has| has) {
            own[..highest].fill(true);
        }
    }
    has
}

impl AutogradLearner for SparseMlpLearner {
    fn networks(&self) -> usize {
        self.members.count()
    }

    fn answering(&self) -> usize {
        self.members.count()
    }

    fn meet(&mut self, batch: &Batch) {
        self.vocabulary.learn(batch);
        self.grow();
    }

    fn prepare(&mut self, batch: &Batch, _targets: Targets<'_>, _position: Position) -> Change {
        self.vocabulary.learn(batch);
        let grown = self.vocabulary.rows() > self.members.trainers[0].net.shape.inputs;
        if grown { Change::Sizes } else { Change::None }
    }

    fn grow(&mut self) {
        self.members.grow(self.vocabulary.rows());
    }

    fn rows(&self, batch: &Batch) -> Batch {
        self.vocabulary.rows_of(batch)
    }

    fn form(&self, features: Option<usize>) -> Result<Box<dyn TokenConfig>> {
        let net = &self.members.trainers[0].net;
        let layer = |(own, layer): (&Hidden, &Layer)| {
            let connections = connections(layer);
            form::LayerConfig { units: own.units, winners: own.winners, winner_groups: own.winner_groups, connections }
        };
        Ok(Box::new(form::Config {
            features: features.unwrap_or(net.shape.inputs),
            vocabulary: None,
            hidden: net.shape.hidden.iter().zip(&net.hidden).map(layer).collect(),
            outputs: net.shape.outputs,
            skip: net.shape.skip,
        }))
    }

    fn weights_of(&self, network: usize) -> Result<Vec<TrainedWeight>> {
        let net = &self.members.trainers[network].net;
        // Units with inputs of their own have masks, which are of the whole width.
        let has_tables = net.hidden.first().is_none_or(|layer| layer.fields().next().is_none());
        let adam = self.plan.step(Position { epoch: 0, epochs: 1, step: 0, steps: 1 }).optimiser == Optimiser::Adam;
        let mut out = Vec::new();
        for (name, layer) in net.layers() {
            let tensor = |values: Vec<f32>| Tensor::from_vec(values, (layer.inputs, layer.units), &Device::Cpu);
            let moments = match layer.plain_moments() {
                [first, second] if adam => Some([tensor(first)?, tensor(second)?]),
                _ => None,
            };
            out.push(TrainedWeight {
                value: tensor(layer.plain())?,
                moments,
                decays: true,
                lazy: true,
                is_table: has_tables && (name == hidden_name(0) || name == "skip"),
                reach: reach_of(layer),
                name: format!("{name}.weight"),
            });
            let tensor = |values: Vec<f32>| Tensor::from_vec(values, layer.units, &Device::Cpu);
            let moment = |at: usize| tensor(layer.plain_lane(|block| &block.bias_moments[at]));
            out.push(TrainedWeight {
                name: format!("{name}.bias"),
                value: tensor(layer.plain_bias())?,
                moments: if adam { Some([moment(0)?, moment(1)?]) } else { None },
                decays: false,
                lazy: true,
                is_table: false,
                reach: None,
            });
        }
        Ok(out)
    }

    fn set_weights_of(&mut self, network: usize, weights: &[TrainedWeight], steps: u64) -> Result<()> {
        let trainer = &mut self.members.trainers[network];
        trainer.adam_steps = steps;
        for ((_, layer), own) in trainer.net.layers_mut().zip(weights.chunks_exact(2)) {
            layer.set_plain(&flat(&own[0].value)?);
            layer.set_plain_bias(&flat(&own[1].value)?);
            if let (Some([first, second]), Some(of_bias)) = (&own[0].moments, &own[1].moments) {
                layer.set_plain_moments(&flat(first)?, &flat(second)?);
                for (at, moment) in of_bias.iter().enumerate() {
                    layer.set_plain_lane(&flat(moment)?, |block| &mut block.bias_moments[at]);
                }
            }
        }
        Ok(())
    }

    /// As the kernels do: of a hidden layer the weights between inputs and units that some row has and some row lets win, of the layers
    /// to the outputs those of inputs that some row has.
    fn reached(&self, network: usize, weight: &TrainedWeight, batch: &Batch, pass: &TrainingPass) -> Reached {
        let won = |level: usize| pass.competitions.get(level).map(|own| own.wins.clone());
        let is_won = |level: usize| won(level).map(|wins| wins.iter().map(|&wins| wins > 0.0).collect());
        let (layer, part) = weight.name.rsplit_once('.').unwrap_or_default();
        let net = &self.members.trainers[network].net;
        let level = (0..net.hidden.len()).find(|&level| layer == hidden_name(level));
        let below = match (level, layer) {
            (Some(0), _) | (None, "skip") => Some(features_of(batch, net.shape.inputs)),
            (Some(level), _) => is_won(level - 1),
            (None, _) => is_won(net.hidden.len() - 1),
        };
        Reached::Part(WeightPart {
            rows: below.filter(|_| part == "weight"),
            columns: level.and_then(won),
            reach: weight.reach.clone(),
        })
    }

    fn pass(&self, network: usize, position: Position) -> TrainingPass {
        let (trainer, step) = (&self.members.trainers[network], self.plan.step(position));
        let mut pass = TrainingPass::new(step.dropout, Random::stream(trainer.seed, "dropout", position.step));
        for (size, layer) in trainer.net.shape.hidden.iter().zip(&trainer.net.hidden) {
            let boosts = if step.boost > 0.0 { layer.plain_lane(|block| &block.boost) } else { Vec::new() };
            pass.competitions.push(Competition { winners: annealed(size, step.anneal), boosts, wins: Vec::new() });
        }
        pass
    }

    fn passed(&mut self, network: usize, pass: &TrainingPass, rows: usize, position: Position, _loss: f32) {
        let (strength, net) = (self.plan.step(position).boost, &mut self.members.trainers[network].net);
        let rows = rows as f32;
        for (layer, own) in net.hidden.iter_mut().zip(&pass.competitions) {
            let share = own.winners as f32 / layer.units.max(1) as f32;
            for (block, wins) in layer.unit_blocks_mut().zip(own.wins.chunks(Lane::ZERO.0.len())) {
                for (at, &wins) in wins.iter().enumerate() {
                    block.wins.0[at] += wins;
                    block.duty.0[at] += weight_of_rows(rows) * (wins / rows - block.duty.0[at]);
                    if strength > 0.0 {
                        block.boost.0[at] = boosted_by(strength, block.duty.0[at], share);
                    }
                }
            }
        }
    }

    fn slopes(&self, outputs: &mut [f32], targets: Targets<'_>) -> f32 {
        let labels = Labels::from(targets);
        let smoothing = self.plan.smoothing();
        let (known, mut sum) = (labels.known().max(1) as f32, 0.0);
        for (row, slopes) in outputs.chunks_exact_mut(self.plan.outputs).enumerate() {
            let answer = slopes.to_vec();
            slopes.fill(0.0);
            sum += f64::from(loss(&answer, labels, row, smoothing, |at, slope| slopes[at] = slope / known));
        }
        (sum / f64::from(known)) as f32
    }

    fn clips(&self) -> bool {
        false
    }

    fn rule(&self, position: Position, rows: usize, _squares: f64) -> Rule {
        let step = self.plan.step(position);
        match step.optimiser {
            Optimiser::Adam => Rule::Adam(step.adam(position.step)),
            // Its rate is that of a row.
            Optimiser::Sgd => Rule::Plain(step.rate * rows as f32),
        }
    }
}
