//! Sparse rows and winners as the kernels take them: checked once, when made.

use super::lane::LANE;

/// Rows of (index, value) entries in compressed form, every index below their bound.
///
/// The fields are private to the kernels and checked by [`SparseRows::new`]: they rely on the bound without checking again.
#[derive(Clone, Copy, Debug)]
pub struct SparseRows<'a> {
    pub(super) offsets: &'a [u32],
    pub(super) indices: &'a [u32],
    pub(super) values: &'a [f32],
    pub(super) bound: usize,
}

impl<'a> SparseRows<'a> {
    /// Rows from `offsets` `[rows + 1]` into `indices` and `values`; `None` unless the offsets rise
    /// and stay inside, there is a value an index, and all indices are below `bound`.
    pub fn new(offsets: &'a [u32], indices: &'a [u32], values: &'a [f32], bound: usize) -> Option<Self> {
        let rising = offsets.windows(2).all(|w| w[0] <= w[1]);
        let inside = offsets.last().is_some_and(|&end| end as usize <= indices.len());
        let largest = indices.iter().fold(0, |most, &i| most.max(i));
        let below = indices.is_empty() || (largest as usize) < bound;
        (rising && inside && indices.len() == values.len() && below).then_some(Self { offsets, indices, values, bound })
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All indices are below this.
    pub(crate) fn bound(&self) -> usize {
        self.bound
    }

    /// The range of row `row` in the entries.
    pub(crate) fn range(&self, row: usize) -> std::ops::Range<usize> {
        self.offsets[row] as usize..self.offsets[row + 1] as usize
    }

    /// Indices and values of row `row`.
    pub fn row(&self, row: usize) -> (&'a [u32], &'a [f32]) {
        let range = self.range(row);
        (&self.indices[range.clone()], &self.values[range])
    }

    /// The first `count` rows from `first` on.
    pub(crate) fn slice(&self, first: usize, count: usize) -> Self {
        Self { offsets: &self.offsets[first..=first + count], ..*self }
    }

    /// The same rows with other indices, one an entry of these rows, all below `bound`.
    pub(crate) fn with_indices(&self, indices: &'a [u32], bound: usize) -> Option<Self> {
        let largest = indices.iter().fold(0, |most, &i| most.max(i));
        let below = indices.is_empty() || (largest as usize) < bound;
        (below && indices.len() == self.indices.len()).then_some(Self { indices, bound, ..*self })
    }

    /// How many entries are stored, those of rows sliced away among them; ranges count in these.
    pub(crate) fn stored(&self) -> usize {
        self.indices.len()
    }

    /// How many entries lie in these rows.
    pub(crate) fn entries(&self) -> usize {
        (self.offsets[self.offsets.len() - 1] - self.offsets[0]) as usize
    }
}

/// The winners of some rows, ascending by unit, with where each block of 16 units starts.
#[derive(Clone, Copy, Debug)]
pub struct Winners<'a> {
    starts: &'a [u32],
    blocks: usize,
    units: &'a [u32],
    deltas: &'a [f32],
}

impl<'a> Winners<'a> {
    /// `starts` is `[rows, blocks + 1]`: winners `starts[r][b]..starts[r][b + 1]` are row `r`'s in
    /// block `b`. `deltas` has a value a winner: what is added to its pre-activation's weights.
    pub fn new(starts: &'a [u32], blocks: usize, units: &'a [u32], deltas: &'a [f32]) -> Self {
        assert!(units.len() == deltas.len(), "a delta a winner");
        Self { starts, blocks, units, deltas }
    }

    /// Units and deltas of row `row` in block `block`.
    #[inline(always)]
    pub(crate) fn block(&self, row: usize, block: usize) -> (&'a [u32], &'a [f32]) {
        let at = row * (self.blocks + 1) + block;
        let range = self.starts[at] as usize..self.starts[at + 1] as usize;
        (&self.units[range.clone()], &self.deltas[range])
    }

    /// The lane of a unit inside its block.
    #[inline(always)]
    pub(crate) fn lane(unit: u32) -> usize {
        unit as usize % LANE
    }
}
