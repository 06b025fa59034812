//! A dense weight matrix, stored once in the order its product reads it: for networks that only predict, where the
//! `gemm` crate would pack the same weights again at every call.
//!
//! An output's sum runs over the inputs in their order, whatever the number of rows: a row gives the same bits alone
//! and in a batch.

use super::isa::{Isa, dispatch};
use super::lane::{LANE, Lane, fused};

/// Outputs of a panel.
const PANEL: usize = 2 * LANE;

/// Rows of activations and of results: where a row begins and how far the next is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stride {
    /// Offset of the first row.
    pub(crate) first: usize,
    /// Distance between two rows.
    pub(crate) step: usize,
}

impl Stride {
    /// Rows without gaps.
    pub(crate) fn dense(width: usize) -> Self {
        Self { first: 0, step: width }
    }
}

/// A matrix `[outputs, inputs]` and a bias: panels of 32 outputs, in each the weights of one input after another.
#[derive(Clone, Debug, Default)]
pub(crate) struct PackedMatrix {
    lines: Vec<[Lane; 2]>,
    bias: Vec<[Lane; 2]>,
    inputs: usize,
    outputs: usize,
}

impl PackedMatrix {
    /// Packs `weights` `[outputs, inputs]` and `bias` `[outputs]`, which may be empty.
    ///
    /// # Panics
    /// When the slices do not have these sizes: a bug of the caller, never of the input.
    pub(crate) fn new(weights: &[f32], bias: &[f32], inputs: usize) -> Self {
        let mut packed = Self::default();
        let outputs = weights.len() / inputs.max(1);
        packed.pack(weights, Stride::dense(inputs), inputs, outputs);
        assert!(weights.len() == inputs * outputs && (bias.is_empty() || bias.len() == outputs), "sizes do not fit");
        for (output, &bias) in bias.iter().enumerate() {
            packed.bias[output / PANEL][output % PANEL / LANE].0[output % LANE] = bias;
        }
        packed
    }

    /// Packs rows of `inputs` numbers, one an output, reusing the memory; there is no bias.
    pub(crate) fn pack(&mut self, weights: &[f32], at: Stride, inputs: usize, outputs: usize) {
        self.reset(inputs, outputs);
        for output in 0..outputs {
            let row = &weights[at.first + output * at.step..][..inputs];
            let (panel, half, lane) = (output / PANEL, output % PANEL / LANE, output % LANE);
            let lines = &mut self.lines[panel * inputs..][..inputs];
            for (line, &weight) in lines.iter_mut().zip(row) {
                line[half].0[lane] = weight;
            }
        }
    }

    /// Packs columns: row `i` of `weights` has the weights of input `i`, one an output.
    pub(crate) fn pack_columns(&mut self, weights: &[f32], at: Stride, inputs: usize, outputs: usize) {
        self.reset(inputs, outputs);
        for input in 0..inputs {
            let row = &weights[at.first + input * at.step..][..outputs];
            for (panel, part) in row.chunks(PANEL).enumerate() {
                let line = &mut self.lines[panel * inputs + input];
                for (half, part) in part.chunks(LANE).enumerate() {
                    line[half].0[..part.len()].copy_from_slice(part);
                }
            }
        }
    }

    fn reset(&mut self, inputs: usize, outputs: usize) {
        let panels = outputs.div_ceil(PANEL);
        (self.inputs, self.outputs) = (inputs, outputs);
        self.lines.clear();
        self.lines.resize(panels * inputs, [Lane::ZERO; 2]);
        self.bias.clear();
        self.bias.resize(panels, [Lane::ZERO; 2]);
    }

    /// How many outputs it has.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        (self.lines.len() + self.bias.len()) * size_of::<[Lane; 2]>()
    }

    /// `out[r] = bias + weights · x[r]` for `rows` rows.
    ///
    /// # Panics
    /// When a row lies outside its slice: a bug of the caller, never of the input.
    pub(crate) fn product(&self, rows: usize, x: (&[f32], Stride), out: (&mut [f32], Stride)) {
        let isa = Isa::best();
        self.blocks(isa, MOST_ROWS[usize::from(isa.name() != "avx512")], rows, x, out);
    }

    fn blocks(&self, isa: Isa, most: usize, rows: usize, (x, xs): (&[f32], Stride), (out, os): (&mut [f32], Stride)) {
        for (panel, bias) in self.bias.iter().enumerate() {
            let lines = &self.lines[panel * self.inputs..][..self.inputs];
            let first = panel * PANEL;
            let width = PANEL.min(self.outputs - first);
            let mut row = 0;
            while row < rows {
                let x = (&x[xs.first + row * xs.step..], xs.step);
                let out = (&mut out[os.first + row * os.step + first..], os.step);
                let (block, taken): (Block, usize) = match (rows - row).min(most) {
                    8.. => (block_8, 8),
                    4.. => (block_4, 4),
                    3 => (block_3, 3),
                    2 => (block_2, 2),
                    _ => (block_1, 1),
                };
                block(isa, lines, bias, x, out, width);
                row += taken;
            }
        }
    }
}

/// One panel for some rows; `x` and `out` with the distances between two rows.
type Block = fn(Isa, &[[Lane; 2]], &[Lane; 2], (&[f32], usize), (&mut [f32], usize), usize);

/// Rows whose sums are kept in registers: 32 of 16 numbers, or 16 of 8.
const MOST_ROWS: [usize; 2] = [8, 3];

/// Generates a block of each number of rows. Each is a function of its own: inside a larger one the compiler does not
/// keep the sums in registers.
macro_rules! blocks {
    ($($name:ident $body:ident $rows:literal),*) => {$(
        dispatch! {
            fn $name(
                lines: &[[Lane; 2]],
                bias: &[Lane; 2],
                x: (&[f32], usize),
                out: (&mut [f32], usize),
                width: usize,
            ) = $body
        }
        #[inline(always)]
        fn $body<const FMA: bool>(
            lines: &[[Lane; 2]],
            bias: &[Lane; 2],
            x: (&[f32], usize),
            out: (&mut [f32], usize),
            width: usize,
        ) {
            block::<FMA, $rows>(lines, bias, x, out, width);
        }
    )*};
}

blocks!(block_8 body_8 8, block_4 body_4 4, block_3 body_3 3, block_2 body_2 2, block_1 body_1 1);

/// The sums of one panel for `ROWS` rows, kept in registers.
#[inline(always)]
fn block<const FMA: bool, const ROWS: usize>(
    lines: &[[Lane; 2]],
    bias: &[Lane; 2],
    (x, x_step): (&[f32], usize),
    (out, out_step): (&mut [f32], usize),
    width: usize,
) {
    let x: [&[f32]; ROWS] = std::array::from_fn(|r| &x[r * x_step..][..lines.len()]);
    let mut sums = [[bias[0].0, bias[1].0]; ROWS];
    for (k, line) in lines.iter().enumerate() {
        for r in 0..ROWS {
            let value = x[r][k];
            for l in 0..LANE {
                sums[r][0][l] = fused::<FMA>(value, line[0].0[l], sums[r][0][l]);
            }
            for l in 0..LANE {
                sums[r][1][l] = fused::<FMA>(value, line[1].0[l], sums[r][1][l]);
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        let out = &mut out[r * out_step..][..width];
        if width == PANEL {
            out[..LANE].copy_from_slice(&sums[0]);
            out[LANE..].copy_from_slice(&sums[1]);
        } else {
            out.iter_mut().zip(sums.iter().flatten()).for_each(|(out, sum)| *out = *sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn product_agrees_with_the_sum_and_a_row_alone_has_the_same_bits() {
        for (rows, inputs, outputs) in [(1, 5, 3), (7, 33, 32), (13, 64, 70), (21, 3, 97)] {
            let weights: Vec<f32> = (0..inputs * outputs).map(|i| (i as f32 * 0.37).sin()).collect();
            let bias: Vec<f32> = (0..outputs).map(|i| i as f32 * 0.1).collect();
            let x: Vec<f32> = (0..rows * inputs).map(|i| (i as f32 * 0.91).cos()).collect();
            let packed = PackedMatrix::new(&weights, &bias, inputs);
            let mut out = vec![0.0; rows * outputs];
            packed.product(rows, (&x, Stride::dense(inputs)), (&mut out, Stride::dense(outputs)));
            let mut columns = PackedMatrix::default();
            let flipped: Vec<f32> =
                (0..inputs * outputs).map(|i| weights[i % outputs * inputs + i / outputs]).collect();
            columns.pack_columns(&flipped, Stride::dense(outputs), inputs, outputs);
            let mut narrow = vec![0.0; rows * outputs];
            let strides = (Stride::dense(inputs), Stride::dense(outputs));
            columns.blocks(Isa::best(), MOST_ROWS[1], rows, (&x, strides.0), (&mut narrow, strides.1));
            for r in 0..rows {
                let mut alone = vec![0.0; outputs];
                let row = &x[r * inputs..][..inputs];
                packed.product(1, (row, Stride::dense(inputs)), (&mut alone, Stride::dense(outputs)));
                assert_eq!(alone, out[r * outputs..][..outputs]);
                for o in 0..outputs {
                    let sum: f32 = (0..inputs).map(|i| weights[o * inputs + i] * row[i]).sum();
                    assert!((out[r * outputs + o] - sum - bias[o]).abs() < 1e-4);
                    assert!((narrow[r * outputs + o] - sum).abs() < 1e-4);
                }
            }
        }
    }
}
