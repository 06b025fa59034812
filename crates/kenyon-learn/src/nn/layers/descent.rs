//! Steps of an optimiser on tensors: AdamW in place on the CPU, in plain candle operations elsewhere. candle's own hides
//! its moments, which a checkpoint has to hold.

use crate::nn::kernels::gather::Reach;
use crate::nn::kernels::{AdamStep, Isa, adam, adam_masked};
use crate::nn::layers::sparse_embedding::{has_kernel, with_numbers};
use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor, bail};
use rayon::prelude::*;
use std::cell::RefCell;
use std::sync::Arc;

/// First and second moments of a weight.
pub(crate) type TensorMoments = [Tensor; 2];

/// Which numbers of a weight a step of AdamW moves; the others keep their values and moments.
#[derive(Clone, Debug)]
pub enum Reached {
    /// All.
    All,
    /// Those whose gradient is not 0.
    Gradient,
    /// Those in some rows and columns.
    Part(WeightPart),
}

/// Rows and columns of a weight `[inputs, units]`, or the one row of a bias.
#[derive(Clone, Debug, Default)]
pub struct WeightPart {
    /// Whether a row is reached; none for all.
    pub(crate) rows: Option<Vec<bool>>,
    /// Not 0 where a column is reached; none for all.
    pub(crate) columns: Option<Vec<f32>>,
    /// The columns of each row that are more than zeros; none for all.
    pub(crate) reach: Option<Arc<Reach>>,
}

/// One step of `weight` and its moments along `gradient`, where it is `reached`; all are changed in place.
pub(crate) fn adam_step(
    weight: &Tensor,
    moments: &TensorMoments,
    gradient: &Tensor,
    step: AdamStep,
    reached: &Reached,
) -> Result<()> {
    let gradient = gradient.contiguous()?;
    if !has_kernel(weight) {
        let [new, first, second] = adam_expression(weight, moments, &gradient, step, reached)?;
        let put = |old: &Tensor, new: &Tensor| old.flatten_all()?.slice_set(&new.flatten_all()?, 0, 0);
        put(&moments[0], &first)?;
        put(&moments[1], &second)?;
        return put(weight, &new);
    }
    let units = weight.dims().last().copied().unwrap_or(1).max(1);
    let [first, second] = moments;
    change(weight, |w| {
        change(first, |m| {
            change(second, |v| with_numbers(&gradient, |g| step_numbers([w, m, v], g, units, &step, reached)))
        })
    })
}

/// Numbers that a thread steps in one go.
const PART: usize = 1 << 15;

/// A step of a weight of `units` columns and its two moments.
fn step_numbers([w, m, v]: [&mut [f32]; 3], g: &[f32], units: usize, step: &AdamStep, reached: &Reached) {
    let (isa, rows) = (Isa::best(), (PART / units).max(1));
    let part = rows * units;
    let all = w.par_chunks_mut(part).zip(m.par_chunks_mut(part)).zip(v.par_chunks_mut(part)).zip(g.par_chunks(part));
    match reached {
        Reached::All => all.for_each(|(((w, m), v), g)| adam(w, m, v, g, *step)),
        Reached::Gradient => all.for_each(|(((w, m), v), g)| adam_masked(isa, w, m, v, g, g, step)),
        Reached::Part(reached) => {
            let columns = reached.columns.clone().unwrap_or_else(|| vec![1.0; units]);
            all.enumerate().for_each(|(number, (((w, m), v), g))| {
                for row in 0..w.len() / units {
                    let input = number * rows + row;
                    if reached.rows.as_ref().is_some_and(|rows| !rows[input]) {
                        continue;
                    }
                    for &(from, to) in reached.reach.as_ref().map_or(&[(0, units)][..], |reach| reach.of(input)) {
                        let at = row * units + from..row * units + to;
                        let (w, m, v) = (&mut w[at.clone()], &mut m[at.clone()], &mut v[at.clone()]);
                        adam_masked(isa, w, m, v, &g[at], &columns[from..to], step);
                    }
                }
            });
        }
    }
}

/// New weight and moments, in plain candle operations.
fn adam_expression(
    weight: &Tensor,
    moments: &TensorMoments,
    gradient: &Tensor,
    step: AdamStep,
    reached: &Reached,
) -> Result<[Tensor; 3]> {
    let AdamStep { rate, beta1, beta2, correction1, correction2, epsilon, decay, scale } = step;
    let of = |number: f32| f64::from(number);
    let (old, scaled) = (weight.detach(), (gradient * of(scale))?);
    let first = ((&moments[0] * of(beta1))? + (&scaled * of(1.0 - beta1))?)?;
    let second = ((&moments[1] * of(beta2))? + (scaled.sqr()? * of(1.0 - beta2))?)?;
    let divisor = ((&second * of(correction2))?.sqrt()? + of(epsilon))?;
    let moved = ((&first * of(correction1 * rate))? / divisor)?;
    let new = ((&old * of(1.0 - rate * decay))? - moved)?;
    let reached = match reached {
        Reached::All => return Ok([new, first, second]),
        Reached::Gradient => gradient.ne(0f32)?,
        Reached::Part(part) => part.mask(gradient)?,
    };
    Ok([
        reached.where_cond(&new, &old)?,
        reached.where_cond(&first, &moments[0])?,
        reached.where_cond(&second, &moments[1])?,
    ])
}

/// A plain step of `weight` by `rate` along `gradient`, in place.
pub(crate) fn gradient_step(weight: &Tensor, gradient: &Tensor, rate: f32) -> Result<()> {
    let new = (weight.detach() - (gradient * f64::from(rate))?)?;
    weight.flatten_all()?.slice_set(&new.flatten_all()?, 0, 0)
}

impl WeightPart {
    /// Whether each number of a weight like `gradient` is reached.
    fn mask(&self, gradient: &Tensor) -> Result<Tensor> {
        let mut mask = gradient.ones_like()?;
        if let Some(columns) = &self.columns {
            mask = mask.broadcast_mul(&Tensor::from_slice(columns, columns.len(), gradient.device())?)?;
        }
        if let Some(rows) = &self.rows {
            let rows: Vec<f32> = rows.iter().map(|&row| f32::from(u8::from(row))).collect();
            let count = rows.len();
            mask = mask.broadcast_mul(&Tensor::from_vec(rows, (count, 1), gradient.device())?)?;
        }
        mask.ne(0f32)
    }
}

/// Puts `rows` in the place of the rows `at` of the matrix `whole`.
pub(crate) fn put_rows(whole: &Tensor, rows: &Tensor, at: &[u32]) -> Result<()> {
    let (rows, width) = (rows.detach(), whole.dims2()?.1);
    if !has_kernel(whole) {
        let at = Tensor::new(at, whole.device())?.unsqueeze(1)?.broadcast_as(rows.shape())?.contiguous()?;
        return whole.scatter_set(&at, &rows, 0);
    }
    change(whole, |whole| {
        with_numbers(&rows, |rows| {
            for (row, &at) in rows.chunks_exact(width.max(1)).zip(at) {
                whole[at as usize * width..(at as usize + 1) * width].copy_from_slice(row);
            }
        })
    })
}

/// Changes the numbers of a tensor in place.
fn change(tensor: &Tensor, change: impl FnMut(&mut [f32]) -> Result<()>) -> Result<()> {
    tensor.inplace_op1(&Change(RefCell::new(change)))
}

struct Change<F>(RefCell<F>);

impl<F: FnMut(&mut [f32]) -> Result<()>> InplaceOp1 for Change<F> {
    fn name(&self) -> &'static str {
        "change-in-place"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        (self.0.borrow_mut())(contiguous_mut(storage, layout)?)
    }
}

/// The numbers of a contiguous f32 storage, to change.
fn contiguous_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((from, to))) => Ok(&mut values[from..to]),
        _ => bail!("this op takes contiguous f32"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use candle_core::{Device, Var};

    fn step(number: i32) -> AdamStep {
        AdamStep {
            rate: 0.01,
            beta1: 0.9,
            beta2: 0.98,
            correction1: 1.0 / (1.0 - 0.9f32.powi(number)),
            correction2: 1.0 / (1.0 - 0.98f32.powi(number)),
            epsilon: 1e-8,
            decay: 0.1,
            scale: 0.5,
        }
    }

    fn numbers(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn rows_are_put_into_their_places() {
        let whole = Var::zeros((4, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        let rows = Tensor::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu).unwrap();
        put_rows(&whole, &rows, &[3, 1]).unwrap();
        assert_eq!(numbers(&whole), [0.0, 0.0, 3.0, 4.0, 0.0, 0.0, 1.0, 2.0]);
    }

    #[test]
    fn steps_in_place_are_those_of_the_kernel_and_of_the_expression() {
        let mut random = Random::new(3);
        let (shape, count) = ((7, 5), 35);
        let tensor = |values: Vec<f32>| Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
        let start = random.normals(count, 1.0);
        let columns = vec![1.0, 0.0, 1.0, 1.0, 0.0];
        let rows: Vec<bool> = (0..7).map(|row| row % 3 != 1).collect();
        let part = WeightPart { rows: Some(rows.clone()), columns: Some(columns.clone()), reach: None };
        for reached in [Reached::All, Reached::Gradient, Reached::Part(part)] {
            let moves = |at: usize| match &reached {
                Reached::All => true,
                Reached::Gradient => !at.is_multiple_of(3),
                Reached::Part(_) => rows[at / 5] && columns[at % 5] > 0.0,
            };
            let weight = Var::from_tensor(&tensor(start.clone())).unwrap();
            let moments = [tensor(vec![0.0; count]), tensor(vec![0.0; count])];
            let mut plain = [tensor(start.clone()), tensor(vec![0.0; count]), tensor(vec![0.0; count])];
            let (mut w, mut m, mut v) = (start.clone(), vec![0.0; count], vec![0.0; count]);
            for number in 1..6 {
                let mut slopes = random.normals(count, 1.0);
                slopes.iter_mut().step_by(3).for_each(|slope| *slope = 0.0);
                let gradient = tensor(slopes.clone());
                adam_step(&weight, &moments, &gradient, step(number), &reached).unwrap();
                let [old, first, second] = plain;
                plain = adam_expression(&old, &[first, second], &gradient, step(number), &reached).unwrap();
                for at in (0..count).filter(|&at| moves(at)) {
                    adam(&mut w[at..=at], &mut m[at..=at], &mut v[at..=at], &slopes[at..=at], step(number));
                }
                let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
                assert!(near(&numbers(&weight), &w) && near(&numbers(&plain[0]), &w), "{reached:?}, step {number}");
                assert!(near(&numbers(&moments[1]), &v) && near(&numbers(&plain[2]), &v));
            }
            assert!(!moments[0].track_op(), "the state of the optimiser is no part of a graph");
        }
    }
}
