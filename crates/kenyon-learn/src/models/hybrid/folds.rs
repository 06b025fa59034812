//! Cross-fitting of `hybrid`: where rows are few none are set aside. The readout that answers is solved from all rows;
//! others, each from the rows outside a fold, answer the rows of that fold to calibrate it by.

use super::tensors::{load_named_sums, save_named_sums};
use crate::Result;
use crate::nn::Tensors;
use crate::nn::readouts::discriminant::Sums;

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
