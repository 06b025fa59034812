//! Parts of a sparse network as named tensors.

use super::shape::SparseNetShape;
use crate::Result;
use crate::nn::Tensors;
use crate::nn::kernels::InputSet;
use candle_core::{Device, Tensor};

/// The numbers of tensor `name`, which must be `length` long.
pub(super) fn values(tensors: &Tensors, name: &str, length: usize) -> Result<Vec<f32>> {
    let broken = |why: &str| crate::Error::internal(format!("saved weights: {name} {why}"));
    let tensor = tensors.get(name).ok_or_else(|| broken("is missing"))?;
    let values = tensor.flatten_all()?.to_vec1::<f32>()?;
    if values.len() == length { Ok(values) } else { Err(broken("has another size")) }
}

/// Adds `winners`: of each hidden layer the winners of a group, `[layers]`, and where there is more than one
/// winner group below them their number, `[2, layers]`.
pub(crate) fn save_winners(shape: &SparseNetShape, tensors: &mut Tensors) -> Result<()> {
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

/// Winners of a group and winner_groups of each hidden layer, as [`save_winners`] returned them; none if it did not.
pub(crate) fn saved_winners(tensors: &Tensors) -> Vec<(usize, usize)> {
    let Some(tensor) = tensors.get("winners") else { return Vec::new() };
    let rows = tensor.to_vec2::<u32>().or_else(|_| tensor.to_vec1::<u32>().map(|winners| vec![winners]));
    let rows = rows.unwrap_or_default();
    let winners = rows.first().map(Vec::as_slice).unwrap_or_default();
    let winner_groups =
        |layer: usize| rows.get(1).and_then(|row| row.get(layer)).map_or(1, |&winner_groups| winner_groups as usize);
    winners.iter().enumerate().map(|(layer, &winners)| (winners as usize, winner_groups(layer))).collect()
}

/// Adds `NAME.sees`, if groups do not have all inputs.
pub(super) fn save_input_sets<'a>(
    fields: impl Iterator<Item = &'a InputSet>,
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

/// What [`save_input_sets`] added, for a layer of `blocks` blocks.
pub(super) fn load_input_sets(
    tensors: &Tensors,
    name: &str,
    inputs: usize,
    blocks: usize,
) -> Result<Option<Vec<InputSet>>> {
    let Some(tensor) = tensors.get(&format!("{name}.sees")) else { return Ok(None) };
    let seen = tensor.to_vec2::<u8>()?;
    if seen.is_empty() || seen.len() > blocks || seen[0].len() != inputs {
        return Err(crate::Error::internal(format!("saved weights: {name}.sees has another size")));
    }
    Ok(Some(seen.iter().map(|seen| InputSet::new(inputs, |input| seen[input] != 0)).collect()))
}
