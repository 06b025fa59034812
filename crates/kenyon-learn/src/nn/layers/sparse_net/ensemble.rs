//! Several networks merged into one: an ensemble costs the sum of its networks and is served,
//! exported and explained like a single network.

use super::saved::{save_input_sets, values};
use super::shape::{Hidden, SparseNetShape, hidden_name};
use crate::Result;
use crate::nn::Tensors;
use crate::nn::kernels::{InputSet, LANE};
use candle_core::{Device, Tensor};

/// One network whose answer is the mean of those of `members`, all of the same `shape` with hidden sizes that are
/// whole blocks and units with all inputs; with its shape. The members' units are concatenated, each member's a
/// winner group of its own, with only their own member's units below as inputs.
pub(crate) fn merge(shape: &SparseNetShape, members: &[Tensors]) -> Result<(SparseNetShape, Tensors)> {
    let count = members.len();
    let mut merged = Tensors::new();
    let each = |name: &str, length: usize| -> Result<Vec<Vec<f32>>> {
        members.iter().map(|tensors| values(tensors, name, length)).collect()
    };
    let mut inputs = shape.inputs;
    for (level, &Hidden { units, .. }) in shape.hidden.iter().enumerate() {
        debug_assert!(units % LANE == 0);
        let name = hidden_name(level);
        // Inputs of the first layer are shared, above it each member has its own.
        let (rows, below) = if level == 0 { (inputs, 0) } else { (inputs * count, inputs) };
        let width = units * count;
        let mut weights = vec![0.0; rows * width];
        for (member, own) in each(&format!("{name}.weight"), inputs * units)?.iter().enumerate() {
            for (input, line) in own.chunks_exact(units).enumerate() {
                let at = (input + member * below) * width + member * units;
                weights[at..at + units].copy_from_slice(line);
            }
        }
        merged.insert(format!("{name}.weight"), Tensor::from_vec(weights, (rows, width), &Device::Cpu)?);
        let bias = each(&format!("{name}.bias"), units)?.concat();
        merged.insert(format!("{name}.bias"), Tensor::from_vec(bias, width, &Device::Cpu)?);
        if level > 0 {
            let fields: Vec<InputSet> =
                (0..count).map(|member| InputSet::new(rows, |input| input / below == member)).collect();
            save_input_sets(fields.iter(), rows, &name, &mut merged)?;
        }
        inputs = units;
    }
    let share = 1.0 / count as f32;
    let outputs = shape.outputs;
    let mean = |name: &str, length: usize| -> Result<Vec<f32>> {
        let own = each(name, length)?;
        Ok((0..length).map(|at| own.iter().map(|own| own[at] * share).sum()).collect())
    };
    if !shape.hidden.is_empty() {
        let weights: Vec<f32> =
            each("readout.weight", inputs * outputs)?.concat().into_iter().map(|weight| weight * share).collect();
        let weights = Tensor::from_vec(weights, (inputs * count, outputs), &Device::Cpu)?;
        merged.insert("readout.weight".to_owned(), weights);
        let bias = Tensor::from_vec(mean("readout.bias", outputs)?, outputs, &Device::Cpu)?;
        merged.insert("readout.bias".to_owned(), bias);
    }
    if shape.skip || shape.hidden.is_empty() {
        let weights = mean("skip.weight", shape.inputs * outputs)?;
        merged.insert("skip.weight".to_owned(), Tensor::from_vec(weights, (shape.inputs, outputs), &Device::Cpu)?);
        let bias = Tensor::from_vec(mean("skip.bias", outputs)?, outputs, &Device::Cpu)?;
        merged.insert("skip.bias".to_owned(), bias);
    }
    let together = |layer: &Hidden| Hidden {
        units: layer.units * count,
        winner_groups: layer.winner_groups * count,
        ..layer.clone()
    };
    Ok((SparseNetShape { hidden: shape.hidden.iter().map(together).collect(), ..shape.clone() }, merged))
}
