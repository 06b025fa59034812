//! Which inputs a mini-batch touches, so that Adam keeps gradients only for those.

use crate::nn::kernels::{BinRun, BinSums, SparseRows};

/// The inputs of a level, or of a group's field, that a mini-batch touches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots {
    stamp: u64,
    seen: Vec<u64>,
    slot: Vec<u32>,
    unique: Vec<u32>,
    /// Numbers with bins that are touched, by line and by slot; sums have the slots after all others.
    touched: Vec<BinRun>,
    runs: Vec<BinRun>,
    /// Slots in all.
    count: usize,
    /// The slot of each entry; a list a share of rows.
    entries: Vec<Vec<u32>>,
}

impl Slots {
    /// The inputs touched, ascending. Of a number with bins those up to the highest are touched.
    pub(crate) fn unique(&self) -> &[u32] {
        &self.unique
    }

    /// How many slots there are: one an input touched, then those of sums.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The bins of each number touched, as lines.
    pub(crate) fn touched(&self) -> &[BinRun] {
        &self.touched
    }

    /// The touched bins of each number touched, as slots.
    pub(crate) fn runs(&self) -> &[BinRun] {
        &self.runs
    }

    /// The rows of share `part` with slots in the place of inputs.
    pub(crate) fn rows<'a>(&'a self, part: usize, row_in: &SparseRows<'a>) -> SparseRows<'a> {
        match row_in.with_indices(&self.entries[part], self.count) {
            Some(rows) => rows,
            None => unreachable!("every entry has a slot"),
        }
    }

    /// Collects the inputs of the rows of all shares, for a layer of `inputs` inputs and of these sums.
    pub(crate) fn fill(&mut self, rows_in: &[SparseRows<'_>], inputs: usize, sums: &BinSums) {
        self.stamp += 1;
        let lines = inputs + sums.count();
        self.seen.resize(lines, 0);
        self.slot.resize(lines, 0);
        self.unique.clear();
        for row_in in rows_in {
            for row in 0..row_in.len() {
                for &index in row_in.row(row).0 {
                    let seen = &mut self.seen[index as usize];
                    if *seen != self.stamp {
                        *seen = self.stamp;
                        if (index as usize) < inputs {
                            self.unique.push(index);
                        }
                    }
                }
            }
        }
        self.fill_bins(sums);
        self.unique.sort_unstable();
        for (slot, &index) in self.unique.iter().enumerate() {
            self.slot[index as usize] = slot as u32;
        }
        self.count = self.unique.len();
        self.runs.clear();
        for run in &self.touched {
            let first = self.slot[run.first as usize];
            let bins = self.unique[first as usize..].iter().take_while(|&&index| index < run.first + run.bins).count();
            self.runs.push(BinRun { first, bins: bins as u32, sums: self.count as u32 });
            for sum in 0..bins - 1 {
                self.slot[run.sums as usize + sum] = self.count as u32;
                self.count += 1;
            }
        }
        self.entries.resize_with(rows_in.len(), Vec::new);
        for (row_in, entries) in rows_in.iter().zip(&mut self.entries) {
            entries.clear();
            entries.resize(row_in.stored(), 0);
            for row in 0..row_in.len() {
                for (slot, &index) in entries[row_in.range(row)].iter_mut().zip(row_in.row(row).0) {
                    *slot = self.slot[index as usize];
                }
            }
        }
    }

    /// Finds the numbers whose bins are touched; all bins below the highest touched one are touched as well.
    fn fill_bins(&mut self, sums: &BinSums) {
        self.touched.clear();
        for run in sums.runs() {
            let bins = run.first..run.first + run.bins;
            let Some(highest) = bins.clone().rev().find(|&bin| self.seen[bin as usize] == self.stamp) else { continue };
            for bin in bins.start..highest {
                if self.seen[bin as usize] != self.stamp {
                    self.seen[bin as usize] = self.stamp;
                    self.unique.push(bin);
                }
            }
            self.touched.push(*run);
        }
    }
}
