//! What candle's autograd needs to train the family on a device.

use super::{AttentionLearner, loss_gradient, row_weights};
use crate::Result;
use crate::models::autograd::{AutogradLearner, Rule, TrainedWeight};
use crate::models::candle::{TokenConfig, TrainingPass, attention as form};
use crate::models::{Position, Targets, Task};
use crate::nn::adam::{Moments, clip, constants};
use crate::nn::kernels::AdamStep;
use crate::nn::parameters::tensor;
use crate::random::Random;
use candle_core::Tensor;

fn moments_of(moments: &Moments, range: std::ops::Range<usize>, shape: &[usize]) -> Result<[Tensor; 2]> {
    Ok([tensor(&moments.first[range.clone()], shape)?, tensor(&moments.second[range], shape)?])
}

fn put(tensor: &Tensor, values: &mut [f32]) -> Result<()> {
    values.copy_from_slice(&tensor.flatten_all()?.to_vec1::<f32>()?);
    Ok(())
}

fn put_moments(weight: &TrainedWeight, moments: &mut Moments, range: std::ops::Range<usize>) -> Result<()> {
    if let Some([first, second]) = &weight.moments {
        put(first, &mut moments.first[range.clone()])?;
        put(second, &mut moments.second[range])?;
    }
    Ok(())
}

impl AutogradLearner for AttentionLearner {
    fn networks(&self) -> usize {
        1
    }

    fn form(&self, features: Option<usize>) -> Result<Box<dyn TokenConfig>> {
        let shape = &self.net.plan.shape;
        Ok(Box::new(form::Config {
            features: features.unwrap_or(shape.features),
            // Only dense rows are cut by their fields.
            fields: vec![0..0; shape.fields],
            positions: shape.positions,
            width: shape.width,
            heads: shape.heads,
            layers: shape.layers,
            hidden: shape.hidden,
            winners: shape.winners,
            reads: shape.reads,
            outputs: shape.outputs,
            filters: None,
        }))
    }

    fn weights_of(&self, _network: usize) -> Result<Vec<TrainedWeight>> {
        let (shape, weights) = (&self.net.plan.shape, &self.net.weights);
        let mut out = Vec::new();
        for part in self.net.plan.parameters.iter() {
            out.push(TrainedWeight {
                name: part.name.clone(),
                value: tensor(&weights.dense[part.range.clone()], &part.shape)?,
                moments: Some(moments_of(&self.moments, part.range.clone(), &part.shape)?),
                decays: part.decays,
                lazy: false,
                is_table: false,
                reach: None,
            });
        }
        // Of tables the rows that a mini-batch has are stepped alone.
        for (name, rows, values, moments) in [
            ("tokens", shape.features, &weights.tokens, &self.token_moments),
            ("positions", shape.positions, &weights.positions, &self.position_moments),
        ] {
            let dims = [rows, shape.width];
            out.push(TrainedWeight {
                name: name.to_owned(),
                value: tensor(values, &dims)?,
                moments: Some(moments_of(moments, 0..values.len(), &dims)?),
                decays: name == "tokens",
                lazy: true,
                is_table: name == "tokens",
                reach: None,
            });
        }
        Ok(out)
    }

    fn set_weights_of(&mut self, _network: usize, weights: &[TrainedWeight], _steps: u64) -> Result<()> {
        let parts = self.net.plan.parameters.iter();
        let mut rest = weights.iter();
        for (part, weight) in parts.zip(&mut rest) {
            put(&weight.value, &mut self.net.weights.dense[part.range.clone()])?;
            put_moments(weight, &mut self.moments, part.range.clone())?;
        }
        let own = &mut self.net.weights;
        for (weight, values, moments) in [
            (&weights[weights.len() - 2], &mut own.tokens, &mut self.token_moments),
            (&weights[weights.len() - 1], &mut own.positions, &mut self.position_moments),
        ] {
            put(&weight.value, values)?;
            put_moments(weight, moments, 0..values.len())?;
        }
        Ok(())
    }

    fn pass(&self, _network: usize, position: Position) -> TrainingPass {
        TrainingPass::new(self.dropout, Random::stream(self.seed, "dropout", position.step.wrapping_mul(1 << 20)))
    }

    fn slopes(&self, outputs: &mut [f32], targets: Targets<'_>) -> f32 {
        let (weights, sum) = row_weights(targets);
        let smoothing = if self.task == Task::Classification { self.smoothing } else { 0.0 };
        loss_gradient(outputs, self.net.plan.shape.outputs, 0..weights.len(), targets, (&weights, sum), smoothing)
    }

    fn rule(&self, position: Position, _rows: usize, squares: f64) -> Rule {
        let rate = self.rate.rate(position.step, position.steps);
        let step = constants(position.step, rate, clip(squares, 1.0));
        Rule::Adam(AdamStep { decay: self.decay, ..step })
    }
}
