//! Several networks that answer together, as one: an ensemble costs what its members cost and is served,
//! exported and explained like a single network.

use super::{Hidden, Shape, hidden_name, save_fields, values};
use crate::Result;
use crate::nn::Tensors;
use crate::nn::kernels::{Field, LANE};
use candle_core::{Device, Tensor};

/// One network whose answer is the mean of those of `members`, all of the same `shape` with hidden sizes that are
/// whole blocks and units that see all; with its shape. The members' units stand side by side, each with a
/// contest of its own, and see only their own member's units below.
pub fn merge(shape: &Shape, members: &[Tensors]) -> Result<(Shape, Tensors)> {
    let count = members.len();
    let mut merged = Tensors::new();
    let mut put = |name: String, rows: usize, columns: usize, data: Vec<f32>| -> Result<()> {
        merged.insert(name, Tensor::from_vec(data, (rows, columns), &Device::Cpu)?);
        Ok(())
    };
    let mut inputs = shape.inputs;
    let mut fields: Vec<(String, Vec<Field>, usize)> = Vec::new();
    for (level, &Hidden { units, .. }) in shape.hidden.iter().enumerate() {
        debug_assert!(units % LANE == 0);
        let (name, below) = (hidden_name(level), if level == 0 { 0 } else { inputs });
        // Inputs of the first layer are shared, above it each member has its own.
        let (rows, width) = (if level == 0 { inputs } else { inputs * count }, units * count);
        let mut weights = vec![0.0; rows * width];
        for (member, tensors) in members.iter().enumerate() {
            let own = values(tensors, &format!("{name}.weight"), inputs * units)?;
            for (input, line) in own.chunks_exact(units).enumerate() {
                let at = (input + member * below) * width + member * units;
                weights[at..at + units].copy_from_slice(line);
            }
        }
        put(format!("{name}.weight"), rows, width, weights)?;
        if level > 0 {
            let own = |member: usize| Field::new(rows, |input| input / below == member);
            fields.push((name, (0..count).map(own).collect(), rows));
        }
        inputs = units;
    }
    let hidden = shape.hidden.len();
    let share = 1.0 / count as f32;
    let mut readout = Vec::new();
    for tensors in members.iter().filter(|_| hidden > 0) {
        let own = values(tensors, "readout.weight", inputs * shape.outputs)?;
        readout.extend(own.iter().map(|weight| weight * share));
    }
    if hidden > 0 {
        put("readout.weight".to_owned(), inputs * count, shape.outputs, readout)?;
    }
    let mean = |name: &str, length: usize| -> Result<Vec<f32>> {
        let mut mean = vec![0.0; length];
        for tensors in members {
            let own = values(tensors, name, length)?;
            mean.iter_mut().zip(own).for_each(|(mean, own)| *mean += own * share);
        }
        Ok(mean)
    };
    if members.iter().all(|tensors| tensors.contains_key("skip.weight")) {
        let weights = mean("skip.weight", shape.inputs * shape.outputs)?;
        put("skip.weight".to_owned(), shape.inputs, shape.outputs, weights)?;
    }
    for level in 0..hidden {
        let (name, units) = (format!("{}.bias", hidden_name(level)), shape.hidden[level].units);
        let own: Result<Vec<Vec<f32>>> = members.iter().map(|tensors| values(tensors, &name, units)).collect();
        merged.insert(name, Tensor::from_vec(own?.concat(), units * count, &Device::Cpu)?);
    }
    for name in ["readout.bias", "skip.bias"] {
        if members.iter().all(|tensors| tensors.contains_key(name)) {
            merged.insert(name.to_owned(), Tensor::from_vec(mean(name, shape.outputs)?, shape.outputs, &Device::Cpu)?);
        }
    }
    for (name, fields, inputs) in &fields {
        save_fields(fields.iter(), *inputs, name, &mut merged)?;
    }
    let together =
        |layer: &Hidden| Hidden { units: layer.units * count, contests: layer.contests * count, ..layer.clone() };
    Ok((Shape { hidden: shape.hidden.iter().map(together).collect(), ..shape.clone() }, merged))
}
