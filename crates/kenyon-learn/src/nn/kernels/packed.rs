//! A dense weight matrix, stored once in the order its product reads it: for networks that only predict, where the
//! `gemm` crate would pack the same weights again at every call.
//!
//! An output's sum runs over the inputs in their order, whatever the number of rows: a row gives the same bits alone
//! and in a batch.

use super::isa::Isa;
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
        self.blocks(Isa::best(), rows, x, out);
    }

    fn blocks(&self, isa: Isa, rows: usize, (x, xs): (&[f32], Stride), (out, os): (&mut [f32], Stride)) {
        for (panel, bias) in self.bias.iter().enumerate() {
            let lines = &self.lines[panel * self.inputs..][..self.inputs];
            let first = panel * PANEL;
            let width = PANEL.min(self.outputs - first);
            let mut row = 0;
            while row < rows {
                let x = (&x[xs.first + row * xs.step..], xs.step);
                let out = (&mut out[os.first + row * os.step + first..], os.step, width);
                row += block(isa, rows - row, lines, bias, x, out);
            }
        }
    }
}

/// One panel for at most `left` rows; how many it took. `x` and `out` come with the distances between two rows, `out` with
/// how many outputs of the panel there are.
fn block(
    isa: Isa,
    left: usize,
    lines: &[[Lane; 2]],
    bias: &[Lane; 2],
    x: (&[f32], usize),
    out: (&mut [f32], usize, usize),
) -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        if isa.is_avx512() {
            // Sums of twelve rows take 24 of 32 registers. SAFETY (each): the processor has AVX-512, see [`Isa`].
            return match left {
                12.. => unsafe { avx512::<12>(lines, bias, x, out) },
                6.. => unsafe { avx512::<6>(lines, bias, x, out) },
                4.. => unsafe { avx512::<4>(lines, bias, x, out) },
                2.. => unsafe { avx512::<2>(lines, bias, x, out) },
                _ => unsafe { avx512::<1>(lines, bias, x, out) },
            };
        }
        if isa.is_avx2() {
            // Sums of three rows take twelve of sixteen registers. SAFETY (each): the processor has AVX2 and FMA, see [`Isa`].
            return match left {
                3.. => unsafe { avx2::<3>(lines, bias, x, out) },
                2 => unsafe { avx2::<2>(lines, bias, x, out) },
                _ => unsafe { avx2::<1>(lines, bias, x, out) },
            };
        }
    }
    let _ = isa;
    match left {
        4.. => portable::<4>(lines, bias, x, out),
        _ => portable::<1>(lines, bias, x, out),
    }
}

/// The sums of one panel for `ROWS` rows. Written with intrinsics: from loops over lanes the compiler stores every sum to the
/// stack after every product, which takes three times as long.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512<const ROWS: usize>(
    lines: &[[Lane; 2]],
    bias: &[Lane; 2],
    (x, x_step): (&[f32], usize),
    out: (&mut [f32], usize, usize),
) -> usize {
    use std::arch::x86_64::{__m512, _mm512_fmadd_ps, _mm512_load_ps, _mm512_set1_ps, _mm512_store_ps};
    let x: [&[f32]; ROWS] = std::array::from_fn(|r| &x[r * x_step..][..lines.len()]);
    // SAFETY: a lane is 64 bytes, aligned to 64.
    let of = |lanes: &[Lane; 2]| unsafe { [_mm512_load_ps(lanes[0].0.as_ptr()), _mm512_load_ps(lanes[1].0.as_ptr())] };
    let mut sums: [[__m512; 2]; ROWS] = [of(bias); ROWS];
    for (k, line) in lines.iter().enumerate() {
        let line = of(line);
        for (x, sums) in x.iter().zip(&mut sums) {
            // SAFETY: `k` is below the length of `lines`, and each of `x` is as long.
            let value = _mm512_set1_ps(unsafe { *x.get_unchecked(k) });
            sums[0] = _mm512_fmadd_ps(value, line[0], sums[0]);
            sums[1] = _mm512_fmadd_ps(value, line[1], sums[1]);
        }
    }
    let mut found = [[Lane::ZERO; 2]; ROWS];
    for (found, sums) in found.iter_mut().zip(sums) {
        for (lane, sum) in found.iter_mut().zip(sums) {
            // SAFETY: as above.
            unsafe { _mm512_store_ps(lane.0.as_mut_ptr(), sum) };
        }
    }
    write(&found, out)
}

/// As [`avx512`], a lane in two registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<const ROWS: usize>(
    lines: &[[Lane; 2]],
    bias: &[Lane; 2],
    (x, x_step): (&[f32], usize),
    out: (&mut [f32], usize, usize),
) -> usize {
    use std::arch::x86_64::{__m256, _mm256_fmadd_ps, _mm256_load_ps, _mm256_set1_ps, _mm256_store_ps};
    let x: [&[f32]; ROWS] = std::array::from_fn(|r| &x[r * x_step..][..lines.len()]);
    // SAFETY: a lane is 64 bytes, aligned to 64, so that both halves are aligned to 32.
    let of = |lanes: &[Lane; 2], half: usize| unsafe {
        _mm256_load_ps(lanes[half / 2].0.as_ptr().add(half % 2 * (LANE / 2)))
    };
    let mut sums: [[__m256; 4]; ROWS] = [std::array::from_fn(|half| of(bias, half)); ROWS];
    for (k, line) in lines.iter().enumerate() {
        let mut values = [_mm256_set1_ps(0.0); ROWS];
        for (value, x) in values.iter_mut().zip(&x) {
            // SAFETY: `k` is below the length of `lines`, and each of `x` is as long.
            *value = _mm256_set1_ps(unsafe { *x.get_unchecked(k) });
        }
        for half in 0..4 {
            let weights = of(line, half);
            for (value, sums) in values.iter().zip(&mut sums) {
                sums[half] = _mm256_fmadd_ps(*value, weights, sums[half]);
            }
        }
    }
    let mut found = [[Lane::ZERO; 2]; ROWS];
    for (found, sums) in found.iter_mut().zip(sums) {
        for (half, sum) in sums.into_iter().enumerate() {
            // SAFETY: as above.
            unsafe { _mm256_store_ps(found[half / 2].0.as_mut_ptr().add(half % 2 * (LANE / 2)), sum) };
        }
    }
    write(&found, out)
}

/// As [`avx512`], for any machine.
fn portable<const ROWS: usize>(
    lines: &[[Lane; 2]],
    bias: &[Lane; 2],
    (x, x_step): (&[f32], usize),
    out: (&mut [f32], usize, usize),
) -> usize {
    let x: [&[f32]; ROWS] = std::array::from_fn(|r| &x[r * x_step..][..lines.len()]);
    let mut sums = [*bias; ROWS];
    for (k, line) in lines.iter().enumerate() {
        for (x, sums) in x.iter().zip(&mut sums) {
            for (sum, weights) in sums.iter_mut().zip(line) {
                for (sum, weight) in sum.0.iter_mut().zip(weights.0) {
                    *sum = fused::<{ cfg!(target_arch = "aarch64") }>(x[k], weight, *sum);
                }
            }
        }
    }
    write(&sums, out)
}

/// Writes the sums of each row, of which the first `width` are outputs; how many rows there are.
fn write(sums: &[[Lane; 2]], (out, out_step, width): (&mut [f32], usize, usize)) -> usize {
    for (r, sums) in sums.iter().enumerate() {
        let out = &mut out[r * out_step..][..width];
        let (low, high) = out.split_at_mut(width.min(LANE));
        low.copy_from_slice(&sums[0].0[..low.len()]);
        high.copy_from_slice(&sums[1].0[..high.len()]);
    }
    sums.len()
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
            columns.blocks(Isa::PORTABLE, rows, (&x, strides.0), (&mut narrow, strides.1));
            for isa in Isa::available() {
                let mut other = vec![0.0; rows * outputs];
                packed.blocks(isa, rows, (&x, strides.0), (&mut other, strides.1));
                assert!(other.iter().zip(&out).all(|(a, b)| (a - b).abs() < 1e-4), "{}", isa.name());
            }
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
