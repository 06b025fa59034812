//! A family for tests alone: softmax or least-squares regression. It has all that a family needs:
//! this file, and a line in the registry.

use super::{
    Activity, Explanation, Family, FamilySpec, LayerActivity, Learner, LearnerSpec, Network, Position, SavedNetwork,
    Schedule, Setting, Suitability, Targets,
};
use crate::data::Batch;
use crate::data::encoder::Layout;
use crate::data::plan::ColumnPlan;
use crate::data::profile::DataProfile;
use crate::nn::Tensors;
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use serde_json::{Value, json};

/// The family's entry in the registry.
pub(super) struct Spec;

impl FamilySpec for Spec {
    fn name(&self) -> &'static str {
        "toy"
    }

    fn purpose(&self) -> &'static str {
        "Tests."
    }

    fn layout(&self, _inputs: &[ColumnPlan]) -> Layout {
        Layout::Bag
    }

    fn own_settings(&self) -> Vec<Setting> {
        Vec::new()
    }

    fn suits(&self, _data: &DataProfile) -> Option<Suitability> {
        None
    }

    fn search_space(&self) -> Value {
        json!({ "batch_size": [8, 16] })
    }

    fn learner(&self, spec: &LearnerSpec<'_>) -> Result<Box<dyn Learner>> {
        let schedule = spec.schedule(Schedule { epochs: 20, batch_size: 16, patience: 0 });
        Ok(Box::new(Training { net: Linear::new(spec.encoder.width as usize, spec.outputs), schedule }))
    }

    fn load(&self, saved: &SavedNetwork<'_>) -> Result<Box<dyn Network>> {
        let mut net = Linear::new(saved.encoder.width as usize, saved.outputs);
        net.read(saved.tensors)?;
        Ok(Box::new(net))
    }
}

/// Weights `[features, outputs]`, then the bias.
#[derive(Clone)]
struct Linear {
    outputs: usize,
    weights: Vec<f32>,
}

struct Training {
    net: Linear,
    schedule: Schedule,
}

impl Linear {
    fn new(features: usize, outputs: usize) -> Self {
        Self { outputs, weights: vec![0.0; (features + 1) * outputs] }
    }

    fn bias(&self) -> &[f32] {
        &self.weights[self.weights.len() - self.outputs..]
    }

    fn tensors(&self) -> Result<Tensors> {
        let weights = Tensor::from_slice(&self.weights, self.weights.len(), &Device::Cpu)?;
        Ok([("weights".to_owned(), weights)].into_iter().collect())
    }

    fn read(&mut self, tensors: &Tensors) -> Result<()> {
        let found = tensors.get("weights").map(Tensor::to_vec1::<f32>).transpose()?.unwrap_or_default();
        if found.len() != self.weights.len() {
            return Err(Error::unprocessable("bad_weights", "the weights have the wrong size"));
        }
        self.weights = found;
        Ok(())
    }
}

impl Network for Linear {
    fn family(&self) -> Family {
        Family::new(&Spec)
    }

    fn outputs(&self) -> usize {
        self.outputs
    }

    fn forward(&self, batch: &Batch) -> Result<Vec<f32>> {
        let mut out = Vec::new();
        for row in 0..batch.rows() {
            let (indices, values) = batch.entries(row);
            let sum = |output: usize| {
                let terms =
                    indices.iter().zip(values).map(|(&i, v)| v * self.weights[i as usize * self.outputs + output]);
                self.bias()[output] + terms.sum::<f32>()
            };
            out.extend((0..self.outputs).map(sum));
        }
        Ok(out)
    }

    fn feature_width(&self) -> usize {
        self.outputs
    }

    fn features(&self, batch: &Batch) -> Result<Vec<f32>> {
        self.forward(batch)
    }

    fn explain(&self, batch: &Batch, row: usize, output: usize) -> Result<Explanation> {
        let (indices, values) = batch.entries(row);
        let term = |(&i, v): (&u32, &f32)| v * self.weights[i as usize * self.outputs + output];
        let entries = indices.iter().zip(values).map(term).collect();
        Ok(Explanation { bias: self.bias()[output], entries, ..Explanation::default() })
    }

    fn activity(&self, _batch: &Batch) -> Result<Activity> {
        let duty = vec![1.0; self.outputs];
        let layer =
            LayerActivity { units: self.outputs, winners: self.outputs as f64, duty, ..LayerActivity::default() };
        let macs = self.weights.len() as f64;
        let bytes = 4 * self.weights.len() as u64;
        Ok(Activity { layers: vec![layer], dense_macs: macs, effective_macs: macs, bytes, ..Activity::default() })
    }

    fn save(&self) -> Result<Tensors> {
        self.tensors()
    }
}

impl Learner for Training {
    fn schedule(&self) -> Schedule {
        self.schedule
    }

    fn step(&mut self, batch: &Batch, targets: Targets<'_>, _position: Position) -> Result<f32> {
        let (outputs, rows) = (self.net.outputs, batch.rows().max(1) as f32);
        let answers = self.net.forward(batch)?;
        let mut loss = 0.0;
        for (row, answer) in answers.chunks_exact(outputs).enumerate() {
            let errors: Vec<f32> = match targets {
                Targets::Values(values, _) => vec![answer[0] - values[row]],
                Targets::Classes(classes, _) => {
                    let sum: f32 = answer.iter().map(|a| a.exp()).sum();
                    let error = |(o, a): (usize, &f32)| a.exp() / sum - f32::from(u8::from(o == classes[row] as usize));
                    answer.iter().enumerate().map(error).collect()
                }
            };
            let (indices, values) = batch.entries(row);
            let bias = self.net.weights.len() - outputs;
            for (output, error) in errors.iter().enumerate() {
                loss += error * error;
                let rate = 0.3 * error / rows;
                self.net.weights[bias + output] -= rate;
                for (&index, value) in indices.iter().zip(values) {
                    self.net.weights[index as usize * outputs + output] -= rate * value;
                }
            }
        }
        Ok(loss / rows)
    }

    fn forward(&self, batch: &Batch) -> Result<Vec<f32>> {
        self.net.forward(batch)
    }

    fn weights(&self) -> Result<Tensors> {
        self.net.tensors()
    }

    fn state(&self) -> Result<Tensors> {
        self.net.tensors()
    }

    fn restore(&mut self, state: &Tensors) -> Result<()> {
        self.net.read(state)
    }

    fn finish(mut self: Box<Self>, weights: Option<Tensors>) -> Result<Box<dyn Network>> {
        if let Some(weights) = weights {
            self.net.read(&weights)?;
        }
        Ok(Box::new(self.net))
    }
}
