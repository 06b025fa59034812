//! A network of sparse layers on the CPU: a sparse row in, k-winners after each hidden layer, a
//! dense readout, and a direct way from the row to the answers beside it. Weights and inference are
//! here, training is in [`train`], and what answers when training is over is a [`InferenceNet`].
//!
//! z = Wx + b; the k largest z win; what they pass on is max(z, 0); all else is 0. Work follows what
//! is active: a forward pass costs units × active inputs, a backward pass winners × active inputs, both
//! counting only inputs that a unit sees (see [`ReceptiveField`]).

mod infer;
mod inference;
mod layer;
mod members;
mod receptive_field;
mod slots;
pub mod train;

#[cfg(test)]
mod tests;

pub use infer::{Code, Scratch};
pub use inference::{InferenceNet, WeightRows};
pub use layer::Layer;
pub use members::merge;
pub use receptive_field::{Picture, ReceptiveField};

use crate::Result;
use crate::nn::Tensors;
use crate::nn::kernels::Field;
use crate::random::Random;
use candle_core::{Device, Tensor};

/// A hidden layer's sizes.
#[derive(Clone, Debug, PartialEq)]
pub struct Hidden {
    /// Units it has.
    pub units: usize,
    /// Units that win a row, of each contest.
    pub winners: usize,
    /// Contests it is parted into, each of as many units; one in training. See [`merge`].
    pub winner_groups: usize,
    /// What its units see.
    pub sees: ReceptiveField,
}

impl From<(usize, usize)> for Hidden {
    /// Units and winners of one contest; all see all.
    fn from((units, winners): (usize, usize)) -> Self {
        Self { units, winners, winner_groups: 1, sees: ReceptiveField::All }
    }
}

/// Layer sizes of a [`SparseNet`].
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Width of a row.
    pub inputs: usize,
    /// Hidden layers, first to last.
    pub hidden: Vec<Hidden>,
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
        for (index, size) in shape.hidden.iter().enumerate() {
            let mut layer = Layer::zeros(inputs, size.units);
            layer.draw(seed, &hidden_name(index), 0);
            hidden.push(layer);
            inputs = size.units;
        }
        let readout = (!hidden.is_empty()).then(|| Layer::zeros(inputs, shape.outputs));
        let skip = (shape.skip || hidden.is_empty()).then(|| Layer::zeros(shape.inputs, shape.outputs));
        Self { shape, hidden, readout, skip }
    }

    /// Gives the units of each hidden layer what they see, before any training; the weights to the rest are
    /// gone. `usage` is the share of rows in which each input is active, by a sample.
    pub fn look(&mut self, usage: &[f32]) {
        for (index, (size, layer)) in self.shape.hidden.iter().zip(&mut self.hidden).enumerate() {
            let all = vec![1.0; layer.inputs];
            let usage = if index == 0 { usage } else { &all };
            if let Some(fields) = size.sees.fields(usage, layer.blocks()) {
                let weights = layer.plain();
                *layer = Layer::seeing(layer.inputs, layer.units, fields);
                layer.set_plain(&weights);
            }
            if let Some(strengths) = size.sees.strengths(usage) {
                layer.strengthen(&strengths);
            }
        }
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

    /// `NAME.weight` `[inputs, units]` and `NAME.bias` `[units]` for each layer, and `NAME.sees`
    /// `[groups, inputs]`, 1 for what is seen, where units see a part.
    pub fn save(&self) -> Result<Tensors> {
        let mut tensors = Tensors::new();
        for (name, layer) in self.layers() {
            let device = &Device::Cpu;
            let weight = Tensor::from_vec(layer.plain(), (layer.inputs, layer.units), device)?;
            tensors.insert(format!("{name}.weight"), weight);
            tensors.insert(format!("{name}.bias"), Tensor::from_vec(layer.plain_bias(), layer.units, device)?);
            save_fields(layer.fields(), layer.inputs, &name, &mut tensors)?;
        }
        Ok(tensors)
    }

    /// Takes over what [`Self::save`] gave; sizes must be the same.
    pub fn load(&mut self, tensors: &Tensors) -> Result<()> {
        for (name, layer) in self.layers_mut() {
            *layer = match load_fields(tensors, &name, layer.inputs, layer.blocks())? {
                Some(fields) => Layer::seeing(layer.inputs, layer.units, fields),
                None => Layer::zeros(layer.inputs, layer.units),
            };
            layer.set_plain(&values(tensors, &format!("{name}.weight"), layer.inputs * layer.units)?);
            layer.set_plain_bias(&values(tensors, &format!("{name}.bias"), layer.units)?);
        }
        Ok(())
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

/// Adds `winners`: of each hidden layer the winners of a contest, `[layers]`, and where there is more than one
/// contest below them their number, `[2, layers]`.
pub fn save_winners(shape: &Shape, tensors: &mut Tensors) -> Result<()> {
    let (layers, device) = (shape.hidden.len(), &Device::Cpu);
    let mut numbers: Vec<u32> = shape.hidden.iter().map(|layer| layer.winners as u32).collect();
    let tensor = if shape.hidden.iter().any(|layer| layer.winner_groups > 1) {
        numbers.extend(shape.hidden.iter().map(|layer| layer.winner_groups as u32));
        Tensor::from_vec(numbers, (2, layers), device)?
    } else {
        Tensor::from_vec(numbers, layers, device)?
    };
    if layers > 0 {
        tensors.insert("winners".to_owned(), tensor);
    }
    Ok(())
}

/// Winners of a contest and winner_groups of each hidden layer, as [`save_winners`] gave them; none if it did not.
pub fn saved_winners(tensors: &Tensors) -> Vec<(usize, usize)> {
    let Some(tensor) = tensors.get("winners") else { return Vec::new() };
    let rows = tensor.to_vec2::<u32>().or_else(|_| tensor.to_vec1::<u32>().map(|winners| vec![winners]));
    let rows = rows.unwrap_or_default();
    let winners = rows.first().map(Vec::as_slice).unwrap_or_default();
    let winner_groups =
        |layer: usize| rows.get(1).and_then(|row| row.get(layer)).map_or(1, |&winner_groups| winner_groups as usize);
    winners.iter().enumerate().map(|(layer, &winners)| (winners as usize, winner_groups(layer))).collect()
}

/// Adds `NAME.sees`, if units see a part.
fn save_fields<'a>(
    fields: impl Iterator<Item = &'a Field>,
    inputs: usize,
    name: &str,
    tensors: &mut Tensors,
) -> Result<()> {
    let seen: Vec<u8> =
        fields.flat_map(|field| (0..inputs).map(|input| u8::from(field.line(input).is_some()))).collect();
    if !seen.is_empty() {
        let groups = seen.len() / inputs;
        tensors.insert(format!("{name}.sees"), Tensor::from_vec(seen, (groups, inputs), &Device::Cpu)?);
    }
    Ok(())
}

/// What [`save_fields`] added, for a layer of `blocks` blocks.
fn load_fields(tensors: &Tensors, name: &str, inputs: usize, blocks: usize) -> Result<Option<Vec<Field>>> {
    let Some(tensor) = tensors.get(&format!("{name}.sees")) else { return Ok(None) };
    let seen = tensor.to_vec2::<u8>()?;
    if seen.is_empty() || seen.len() > blocks || seen[0].len() != inputs {
        return Err(crate::Error::internal(format!("saved weights: {name}.sees has another size")));
    }
    Ok(Some(seen.iter().map(|seen| Field::new(inputs, |input| seen[input] != 0)).collect()))
}

/// A standard normal stream for line `input` of a layer, the same whenever the line is made.
fn line_stream(seed: u64, name: &str, input: usize) -> Random {
    Random::stream(seed, name, input as u64)
}
