//! The weights of a sparse network: fresh, grown, saved and loaded.

use super::layer::Layer;
use super::saved::{load_input_sets, save_input_sets, values};
use super::shape::{SparseNetShape, hidden_name};
use crate::Result;
use crate::nn::Tensors;
use candle_core::{Device, Tensor};

/// The weights of a network.
#[derive(Clone, Debug)]
pub struct SparseNet {
    /// Sizes.
    pub shape: SparseNetShape,
    /// Hidden layers, first to last.
    pub(crate) hidden: Vec<Layer>,
    /// From the last hidden code to the answers; none without a hidden layer.
    pub(crate) readout: Option<Layer>,
    /// From the row to the answers.
    pub(crate) skip: Option<Layer>,
}

impl SparseNet {
    /// Fresh weights: hidden ones normal (scaled to their input by the first mini-batch), readouts zero.
    pub fn new(shape: SparseNetShape, seed: u64) -> Self {
        let mut inputs = shape.inputs;
        let mut hidden = Vec::new();
        for (index, size) in shape.hidden.iter().enumerate() {
            let mut layer = match index {
                0 => Layer::summing(inputs, size.units, shape.sums()),
                _ => Layer::zeros(inputs, size.units),
            };
            layer.draw(seed, &hidden_name(index), 0);
            hidden.push(layer);
            inputs = size.units;
        }
        let readout = (!hidden.is_empty()).then(|| Layer::zeros(inputs, shape.outputs));
        let direct = shape.skip || hidden.is_empty();
        let skip = direct.then(|| Layer::summing(shape.inputs, shape.outputs, shape.sums()));
        Self { shape, hidden, readout, skip }
    }

    /// Restricts the units of each hidden layer to their receptive fields, before any training; the other weights are
    /// dropped. `usage` is the share of rows in which each input is active, by a sample.
    pub fn assign_receptive_fields(&mut self, usage: &[f32]) {
        for (index, (size, layer)) in self.shape.hidden.iter().zip(&mut self.hidden).enumerate() {
            let all = vec![1.0; layer.inputs];
            let usage = if index == 0 { usage } else { &all };
            if let Some(fields) = size.receptive_field.fields(usage, layer.blocks()) {
                let weights = layer.plain();
                *layer = Layer::seeing(layer.inputs, layer.units, fields);
                layer.set_plain(&weights);
            }
            if let Some(strengths) = size.receptive_field.strengths(usage) {
                layer.scale_inputs(&strengths);
            }
        }
    }

    /// Adds lines for rows of `inputs` entries, drawn as the first ones were.
    pub(crate) fn grow(&mut self, inputs: usize, seed: u64) {
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
    pub(crate) fn layers(&self) -> impl Iterator<Item = (String, &Layer)> {
        let hidden = self.hidden.iter().enumerate().map(|(i, layer)| (hidden_name(i), layer));
        hidden
            .chain(self.readout.iter().map(|layer| ("readout".to_owned(), layer)))
            .chain(self.skip.iter().map(|layer| ("skip".to_owned(), layer)))
    }

    /// As [`Self::layers`], to change.
    pub(crate) fn layers_mut(&mut self) -> impl Iterator<Item = (String, &mut Layer)> {
        let hidden = self.hidden.iter_mut().enumerate().map(|(i, layer)| (hidden_name(i), layer));
        hidden
            .chain(self.readout.iter_mut().map(|layer| ("readout".to_owned(), layer)))
            .chain(self.skip.iter_mut().map(|layer| ("skip".to_owned(), layer)))
    }

    /// `NAME.weight` `[inputs, units]` and `NAME.bias` `[units]` for each layer, and `NAME.sees`
    /// `[groups, inputs]`, 1 for inputs of the group, where groups do not have all inputs.
    pub fn save(&self) -> Result<Tensors> {
        let mut tensors = Tensors::new();
        for (name, layer) in self.layers() {
            let device = &Device::Cpu;
            let weight = Tensor::from_vec(layer.plain(), (layer.inputs, layer.units), device)?;
            tensors.insert(format!("{name}.weight"), weight);
            tensors.insert(format!("{name}.bias"), Tensor::from_vec(layer.plain_bias(), layer.units, device)?);
            save_input_sets(layer.fields(), layer.inputs, &name, &mut tensors)?;
        }
        Ok(tensors)
    }

    /// Restores what [`Self::save`] returned; sizes must be the same.
    pub(crate) fn load(&mut self, tensors: &Tensors) -> Result<()> {
        for (name, layer) in self.layers_mut() {
            *layer = match load_input_sets(tensors, &name, layer.inputs, layer.blocks())? {
                Some(fields) => Layer::seeing(layer.inputs, layer.units, fields),
                None => Layer::summing(layer.inputs, layer.units, std::mem::take(&mut layer.sums)),
            };
            layer.set_plain(&values(tensors, &format!("{name}.weight"), layer.inputs * layer.units)?);
            layer.set_plain_bias(&values(tensors, &format!("{name}.bias"), layer.units)?);
        }
        Ok(())
    }
}
