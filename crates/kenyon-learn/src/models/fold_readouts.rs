//! Linear readouts that each leave out the rows of a fold: what a family whose readout is solved for answers single folds by.

use super::tensors::{bad, get, put};
use crate::nn::Tensors;
use crate::nn::readouts::Readout;
use crate::{Error, Result};

/// Adds the readouts of folds to `out`, if there are any.
pub(in crate::models) fn save_fold_readouts(readouts: &[Readout], out: &mut Tensors) -> Result<()> {
    let weights: Vec<f32> = readouts.iter().flat_map(|readout| &readout.weights).copied().collect();
    let bias: Vec<f32> = readouts.iter().flat_map(|readout| &readout.bias).copied().collect();
    put(out, "folds.weights", &weights)?;
    put(out, "folds.bias", &bias)
}

/// Reads what [`save_fold_readouts`] wrote; tensors are untrusted.
pub(in crate::models) fn load_fold_readouts(tensors: &Tensors, width: usize, outputs: usize) -> Result<Vec<Readout>> {
    let weights: Vec<f32> = get(tensors, "folds.weights")?;
    let bias: Vec<f32> = get(tensors, "folds.bias")?;
    let size = (outputs * width).max(1);
    if !bias.len().is_multiple_of(outputs.max(1)) || weights.len() != bias.len() * width {
        return Err(bad("readouts of folds"));
    }
    let each = weights.chunks_exact(size).zip(bias.chunks_exact(outputs.max(1)));
    Ok(each.map(|(weights, bias)| Readout { width, weights: weights.to_vec(), bias: bias.to_vec() }).collect())
}

/// The answers `[rows, outputs]` to `codes`, each by the readout that `members` names.
pub(in crate::models) fn each_by_its_fold(readouts: &[Readout], codes: &[f32], members: &[u8]) -> Result<Vec<f32>> {
    let width = readouts.first().map_or(1, |readout| readout.width.max(1));
    let known = members.iter().all(|&member| usize::from(member) < readouts.len());
    if !known || codes.len() != members.len() * width {
        return Err(Error::internal("this network has no members that answer singly"));
    }
    let each = codes.chunks_exact(width).zip(members);
    Ok(each.flat_map(|(code, &member)| readouts[usize::from(member)].forward(code)).collect())
}
