//! A network of sparse layers on the CPU: a sparse row in, k-winners after each hidden layer, a
//! dense readout, and a direct way from the row to the answers beside it. Weights and inference are
//! here, training is in [`train`], and what answers when training is over is a [`Served`].
//!
//! z = Wx + b; the k largest z win; what they pass on is max(z, 0); all else is 0. Work follows what
//! is active: a forward pass costs units × active inputs, a backward pass winners × active inputs.

mod infer;
mod layer;
mod served;
pub mod train;

#[cfg(test)]
mod tests;

pub use infer::{Code, Scratch};
pub use layer::Layer;
pub use served::{Lines, Served};

use super::Tensors;
use crate::Result;
use crate::random::Random;
use candle_core::Tensor;

/// Layer sizes of a [`SparseNet`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Width of a row.
    pub inputs: usize,
    /// Units and winners of each hidden layer.
    pub hidden: Vec<(usize, usize)>,
    /// Answers.
    pub outputs: usize,
    /// Whether the row also reaches the answers directly. Always so without a hidden layer.
    pub skip: bool,
}

impl Shape {
    /// The same for rows of `inputs` entries.
    pub fn with_inputs(&self, inputs: usize) -> Self {
        Self { inputs, ..self.clone() }
    }
}

/// The weights of a network.
#[derive(Clone, Debug)]
pub struct SparseNet {
    /// Sizes.
    pub shape: Shape,
    /// Hidden layers, first to last.
    pub hidden: Vec<Layer>,
    /// From the last hidden code to the answers; none without a hidden layer.
    pub readout: Option<Layer>,
    /// From the row to the answers.
    pub skip: Option<Layer>,
}

impl SparseNet {
    /// Fresh weights: hidden ones normal (scaled to their input by the first mini-batch), readouts zero.
    pub fn new(shape: Shape, seed: u64) -> Self {
        let mut inputs = shape.inputs;
        let mut hidden = Vec::new();
        for (index, &(units, _)) in shape.hidden.iter().enumerate() {
            let mut layer = Layer::zeros(inputs, units);
            layer.draw(seed, &hidden_name(index), 0);
            hidden.push(layer);
            inputs = units;
        }
        let readout = (!hidden.is_empty()).then(|| Layer::zeros(inputs, shape.outputs));
        let skip = (shape.skip || hidden.is_empty()).then(|| Layer::zeros(shape.inputs, shape.outputs));
        Self { shape, hidden, readout, skip }
    }

    /// Makes room for rows of `inputs` entries; new lines are drawn as the first ones were.
    pub fn grow(&mut self, inputs: usize, seed: u64) {
        let before = self.shape.inputs;
        if inputs <= before {
            return;
        }
        self.shape.inputs = inputs;
        if let Some(first) = self.hidden.first_mut() {
            first.grow(inputs);
            first.draw(seed, &hidden_name(0), before);
        }
        if let Some(skip) = &mut self.skip {
            skip.grow(inputs);
        }
    }

    /// All layers with their names.
    pub fn layers(&self) -> impl Iterator<Item = (String, &Layer)> {
        let hidden = self.hidden.iter().enumerate().map(|(i, layer)| (hidden_name(i), layer));
        hidden
            .chain(self.readout.iter().map(|layer| ("readout".to_owned(), layer)))
            .chain(self.skip.iter().map(|layer| ("skip".to_owned(), layer)))
    }

    /// As [`Self::layers`], to change.
    pub fn layers_mut(&mut self) -> impl Iterator<Item = (String, &mut Layer)> {
        let hidden = self.hidden.iter_mut().enumerate().map(|(i, layer)| (hidden_name(i), layer));
        hidden
            .chain(self.readout.iter_mut().map(|layer| ("readout".to_owned(), layer)))
            .chain(self.skip.iter_mut().map(|layer| ("skip".to_owned(), layer)))
    }

    /// `NAME.weight` `[inputs, units]` and `NAME.bias` `[units]` for each layer.
    pub fn save(&self) -> Result<Tensors> {
        let mut tensors = Tensors::new();
        for (name, layer) in self.layers() {
            let device = &candle_core::Device::Cpu;
            let weight = Tensor::from_vec(layer.plain(), (layer.inputs, layer.units), device)?;
            tensors.insert(format!("{name}.weight"), weight);
            tensors.insert(format!("{name}.bias"), Tensor::from_vec(layer.plain_bias(), layer.units, device)?);
        }
        Ok(tensors)
    }

    /// Takes over what [`Self::save`] gave; sizes must be the same.
    pub fn load(&mut self, tensors: &Tensors) -> Result<()> {
        for (name, layer) in self.layers_mut() {
            layer.set_plain(&values(tensors, &format!("{name}.weight"), layer.inputs * layer.units)?);
            layer.set_plain_bias(&values(tensors, &format!("{name}.bias"), layer.units)?);
        }
        Ok(())
    }

    /// Bytes of its weights.
    pub fn bytes(&self) -> u64 {
        self.layers().map(|(_, layer)| 4 * (layer.inputs as u64 + 1) * layer.units as u64).sum()
    }

    /// Multiply-accumulates of the dense network of the same size, per row.
    pub fn dense_macs(&self) -> f64 {
        self.layers().map(|(_, layer)| layer.inputs as f64 * layer.units as f64).sum()
    }
}

/// The name of hidden layer `index` in saved weights.
pub fn hidden_name(index: usize) -> String {
    format!("hidden.{index}")
}

/// The numbers of tensor `name`, which must be `length` long.
pub(super) fn values(tensors: &Tensors, name: &str, length: usize) -> Result<Vec<f32>> {
    let broken = |why: &str| crate::Error::internal(format!("saved weights: {name} {why}"));
    let tensor = tensors.get(name).ok_or_else(|| broken("is missing"))?;
    let values = tensor.flatten_all()?.to_vec1::<f32>()?;
    if values.len() == length { Ok(values) } else { Err(broken("has another size")) }
}

/// A standard normal stream for line `input` of a layer, the same whenever the line is made.
fn line_stream(seed: u64, name: &str, input: usize) -> Random {
    Random::stream(seed, name, input as u64)
}
