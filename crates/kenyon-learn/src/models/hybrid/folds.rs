//! Cross-fitting of `hybrid`: where rows are few none are set aside. The readout that answers is solved from all rows;
//! others, each from the rows outside a fold, answer the rows of that fold to calibrate it by.

use super::tensors::{bad, get, load_named_sums, put, save_named_sums};
use crate::nn::Tensors;
use crate::nn::readouts::Readout;
use crate::nn::readouts::discriminant::Sums;
use crate::{Error, Result};

/// Parts of the rows that are left out in turn.
pub(super) const FOLDS: usize = 5;

/// What the rows of each fold add to the sums of all rows.
#[derive(Clone, Debug, Default)]
pub(super) struct FoldSums {
    count: usize,
    /// One each; none before the width of codes is known.
    sums: Vec<Sums>,
}

impl FoldSums {
    /// Of `count` folds; 0 for none.
    pub(super) fn new(count: usize) -> Self {
        Self { count, sums: Vec::new() }
    }

    /// How many folds there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Starts with copies of `empty`.
    pub(super) fn fill(&mut self, empty: &Sums) {
        self.sums = vec![empty.clone(); self.count];
    }

    /// The sums of fold `fold`, if it is one.
    pub(super) fn of(&mut self, fold: u8) -> Option<&mut Sums> {
        self.sums.get_mut(usize::from(fold))
    }

    /// The sums of `all` rows but those of fold `fold`.
    pub(super) fn without(&self, all: &Sums, fold: usize, threads: usize) -> Sums {
        self.sums.get(fold).map_or_else(|| all.clone(), |fold| all.without(fold, threads))
    }
}

/// Adds the sums of all folds to `out`.
pub(super) fn save_fold_sums(folds: &FoldSums, out: &mut Tensors) -> Result<()> {
    let mut each = folds.sums.iter().enumerate();
    each.try_for_each(|(fold, sums)| save_named_sums(sums, &format!("folds.{fold}.sums"), out))
}

/// Reads what [`save_fold_sums`] wrote.
pub(super) fn load_fold_sums(folds: &mut FoldSums, tensors: &Tensors) -> Result<()> {
    folds.sums.clear();
    for fold in 0..folds.count {
        folds.sums.extend(load_named_sums(tensors, &format!("folds.{fold}.sums"))?);
    }
    Ok(())
}

/// Adds the readouts of folds to `out`, if there are any.
pub(super) fn save_fold_readouts(readouts: &[Readout], out: &mut Tensors) -> Result<()> {
    let weights: Vec<f32> = readouts.iter().flat_map(|readout| &readout.weights).copied().collect();
    let bias: Vec<f32> = readouts.iter().flat_map(|readout| &readout.bias).copied().collect();
    put(out, "folds.weights", &weights)?;
    put(out, "folds.bias", &bias)
}

/// Reads what [`save_fold_readouts`] wrote; tensors are untrusted.
pub(super) fn load_fold_readouts(tensors: &Tensors, width: usize, outputs: usize) -> Result<Vec<Readout>> {
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
pub(super) fn each_by_its_fold(readouts: &[Readout], codes: &[f32], members: &[u8]) -> Result<Vec<f32>> {
    let width = readouts.first().map_or(1, |readout| readout.width.max(1));
    let known = members.iter().all(|&member| usize::from(member) < readouts.len());
    if !known || codes.len() != members.len() * width {
        return Err(Error::internal("this network has no members that answer singly"));
    }
    let each = codes.chunks_exact(width).zip(members);
    Ok(each.flat_map(|(code, &member)| readouts[usize::from(member)].forward(code)).collect())
}
