//! Known rows' sketches as the kernel reads them: 16 rows side by side, number by number.

use crate::nn::kernels::{Isa, block_products};

/// Directions a wide code is projected to.
pub const SKETCH: usize = 64;

/// Rows of a block.
const ROWS: usize = 16;

/// Sketches in blocks; the last one is filled up with zeros.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct SketchBlocks {
    blocks: Vec<[[f32; ROWS]; SKETCH]>,
    count: usize,
}

impl SketchBlocks {
    /// From sketches `[rows, SKETCH]`.
    pub(super) fn new(sketches: &[f32]) -> Self {
        let block = |rows: &[f32]| {
            let mut block = [[0.0; ROWS]; SKETCH];
            for (at, row) in rows.chunks_exact(SKETCH).enumerate() {
                block.iter_mut().zip(row).for_each(|(numbers, value)| numbers[at] = *value);
            }
            block
        };
        Self { blocks: sketches.chunks(ROWS * SKETCH).map(block).collect(), count: sketches.len() / SKETCH }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The sketches `[rows, SKETCH]` that it was made from.
    pub(super) fn rows(&self) -> Vec<f32> {
        let row = |row: usize| self.blocks[row / ROWS].iter().map(move |numbers| numbers[row % ROWS]);
        (0..self.count).flat_map(row).collect()
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> u64 {
        size_of_val(&self.blocks[..]) as u64
    }

    /// The inner product of each row and `x`.
    pub(super) fn products(&self, x: &[f32; SKETCH], out: &mut [f32]) {
        block_products(Isa::best(), &self.blocks, x, out);
    }
}
