//! Which inputs a mini-batch touches, so that Adam keeps gradients only for those.

use crate::nn::kernels::SparseRows;

/// The inputs of a level, or of a group's field, that a mini-batch touches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots {
    stamp: u64,
    seen: Vec<u64>,
    slot: Vec<u32>,
    unique: Vec<u32>,
    /// The slot of each entry; a list a share of rows.
    entries: Vec<Vec<u32>>,
}

impl Slots {
    /// The inputs touched, ascending.
    pub(crate) fn unique(&self) -> &[u32] {
        &self.unique
    }

    /// The rows of share `part` with slots in the place of inputs.
    pub(crate) fn rows<'a>(&'a self, part: usize, row_in: &SparseRows<'a>) -> SparseRows<'a> {
        match row_in.with_indices(&self.entries[part], self.unique.len()) {
            Some(rows) => rows,
            None => unreachable!("every entry has a slot"),
        }
    }

    /// Collects the inputs of the rows of all shares, which are below `inputs`.
    pub(crate) fn fill(&mut self, rows_in: &[SparseRows<'_>], inputs: usize) {
        self.stamp += 1;
        self.seen.resize(inputs, 0);
        self.slot.resize(inputs, 0);
        self.unique.clear();
        for row_in in rows_in {
            for row in 0..row_in.len() {
                for &index in row_in.row(row).0 {
                    let seen = &mut self.seen[index as usize];
                    if *seen != self.stamp {
                        *seen = self.stamp;
                        self.unique.push(index);
                    }
                }
            }
        }
        self.unique.sort_unstable();
        for (slot, &index) in self.unique.iter().enumerate() {
            self.slot[index as usize] = slot as u32;
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
}
