//! What candle's autograd needs to train the family on a device.

use super::{Algorithm, MemoryLearner};
use crate::Result;
use crate::data::Batch;
use crate::models::attention::{loss_gradient, row_weights};
use crate::models::autograd::{AutogradLearner, Change, Rule, TrainedWeight};
use crate::models::candle::{TokenConfig, TrainingPass};
use crate::models::memory::algorithm::MemoryStep;
use crate::models::{Position, Targets};
use crate::nn::parameters::{Parameter, tensor};
use crate::random::Random;
use candle_core::Tensor;

fn put(tensor: &Tensor, values: &mut [f32]) -> Result<()> {
    values.copy_from_slice(&tensor.flatten_all()?.to_vec1::<f32>()?);
    Ok(())
}

impl<A: Algorithm> AutogradLearner for MemoryLearner<A> {
    fn networks(&self) -> usize {
        self.candidates.len()
    }

    fn prepare(&mut self, batch: &Batch, targets: Targets<'_>, position: Position) -> Change {
        let before = self.net.algorithm.prepared_len();
        if position.epoch == 0 {
            self.net.algorithm.remember(batch, targets);
        }
        if self.net.algorithm.prepared_len() == before { Change::None } else { Change::Form }
    }

    fn form(&self, _features: Option<usize>) -> Result<Box<dyn TokenConfig>> {
        Ok(Box::new(self.net.algorithm.candle()))
    }

    fn weights_of(&self, network: usize) -> Result<Vec<TrainedWeight>> {
        let own = &self.candidates[network];
        let weight = |part: &Parameter| {
            let of = |values: &[f32]| tensor(&values[part.range.clone()], &part.shape);
            Ok(TrainedWeight {
                name: part.name.clone(),
                value: of(&own.weights)?,
                moments: Some([of(&own.moments.first)?, of(&own.moments.second)?]),
                decays: true,
                lazy: false,
                is_table: false,
                reach: None,
            })
        };
        self.net.algorithm.parameters().iter().map(weight).collect()
    }

    fn set_weights_of(&mut self, network: usize, weights: &[TrainedWeight], _steps: u64) -> Result<()> {
        let own = &mut self.candidates[network];
        for (part, weight) in self.net.algorithm.parameters().iter().zip(weights) {
            put(&weight.value, &mut own.weights[part.range.clone()])?;
            if let Some([first, second]) = &weight.moments {
                put(first, &mut own.moments.first[part.range.clone()])?;
                put(second, &mut own.moments.second[part.range.clone()])?;
            }
        }
        if network == 0 {
            self.net.weights.clone_from(&own.weights);
            self.net.refresh();
        }
        Ok(())
    }

    fn pass(&self, _network: usize, position: Position) -> TrainingPass {
        let random = Random::stream(self.training.seed, "memory.noise", position.step.wrapping_mul(64));
        TrainingPass::new(self.training.noise, random)
    }

    fn passed(&mut self, network: usize, _pass: &TrainingPass, _rows: usize, _position: Position, loss: f32) {
        self.candidates[network].loss += f64::from(loss);
    }

    fn slopes(&self, outputs: &mut [f32], targets: Targets<'_>) -> f32 {
        let (weights, sum) = row_weights(targets);
        loss_gradient(outputs, self.net.algorithm.outputs(), 0..weights.len(), targets, (&weights, sum), 0.0)
    }

    fn rule(&self, position: Position, rows: usize, squares: f64) -> Rule {
        let step = MemoryStep { rows, rate: self.training.rate, decay: self.training.decay, position };
        self.net.algorithm.rule(&step, squares)
    }
}
