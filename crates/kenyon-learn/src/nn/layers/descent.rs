//! Steps of an optimiser on tensors: AdamW in place on the CPU, in plain candle operations elsewhere. candle's own hides
//! its moments, which a checkpoint has to hold.

use crate::nn::kernels::{AdamStep, adam_moment, adam_move};
use crate::nn::layers::sparse_embedding::{contiguous, has_kernel, with_numbers};
use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Result, Tensor, bail};
use rayon::prelude::*;

/// First and second moments of a weight.
pub(crate) type TensorMoments = [Tensor; 2];

/// One step of `weight` and its moments along `gradient`; all are changed in place. With `lazy`, numbers whose gradient is
/// 0 keep weight and moments, so that what no row of a mini-batch reached stays as it is.
pub(crate) fn adam_step(
    weight: &Tensor,
    moments: &TensorMoments,
    gradient: &Tensor,
    step: AdamStep,
    lazy: bool,
) -> Result<()> {
    let gradient = gradient.contiguous()?;
    if !has_kernel(weight) {
        let [new, first, second] = adam_expression(weight, moments, &gradient, step, lazy)?;
        let put = |old: &Tensor, new: &Tensor| old.flatten_all()?.slice_set(&new.flatten_all()?, 0, 0);
        put(&moments[0], &first)?;
        put(&moments[1], &second)?;
        return put(weight, &new);
    }
    for (moment, squared) in moments.iter().zip([false, true]) {
        moment.inplace_op2(&gradient, &Average { step, squared, lazy })?;
    }
    weight.inplace_op3(&moments[0], &moments[1], &Move { step, gradient: lazy.then_some(gradient) })
}

/// New weight and moments, in plain candle operations.
fn adam_expression(
    weight: &Tensor,
    moments: &TensorMoments,
    gradient: &Tensor,
    step: AdamStep,
    lazy: bool,
) -> Result<[Tensor; 3]> {
    let AdamStep { rate, beta1, beta2, correction1, correction2, epsilon, decay, scale } = step;
    let of = |number: f32| f64::from(number);
    let (old, scaled) = (weight.detach(), (gradient * of(scale))?);
    let first = ((&moments[0] * of(beta1))? + (&scaled * of(1.0 - beta1))?)?;
    let second = ((&moments[1] * of(beta2))? + (scaled.sqr()? * of(1.0 - beta2))?)?;
    let divisor = ((&second * of(correction2))?.sqrt()? + of(epsilon))?;
    let moved = ((&first * of(correction1 * rate))? / divisor)?;
    let new = ((&old * of(1.0 - rate * decay))? - moved)?;
    if !lazy {
        return Ok([new, first, second]);
    }
    let reached = gradient.ne(0f32)?;
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

/// Numbers that a thread steps in one go.
const PART: usize = 1 << 15;

/// A running mean of gradients, or of their squares.
struct Average {
    step: AdamStep,
    squared: bool,
    lazy: bool,
}

impl InplaceOp2 for Average {
    fn name(&self) -> &'static str {
        "adam-moment"
    }

    fn cpu_fwd(&self, moment: &mut CpuStorage, at: &Layout, gradient: &CpuStorage, from: &Layout) -> Result<()> {
        let (moment, gradient) = (contiguous_mut(moment, at)?, contiguous(gradient, from)?);
        let parts = moment.par_chunks_mut(PART).zip(gradient.par_chunks(PART));
        parts.for_each(|(moment, gradient)| adam_moment(moment, gradient, &self.step, self.squared, self.lazy));
        Ok(())
    }
}

/// The step of the weight by its moments.
struct Move {
    step: AdamStep,
    /// Where only what has a gradient moves.
    gradient: Option<Tensor>,
}

impl InplaceOp3 for Move {
    fn name(&self) -> &'static str {
        "adam-step"
    }

    fn cpu_fwd(
        &self,
        weight: &mut CpuStorage,
        at: &Layout,
        first: &CpuStorage,
        first_at: &Layout,
        second: &CpuStorage,
        second_at: &Layout,
    ) -> Result<()> {
        let weight = contiguous_mut(weight, at)?;
        let moments = contiguous(first, first_at)?.par_chunks(PART).zip(contiguous(second, second_at)?.par_chunks(PART));
        let parts = weight.par_chunks_mut(PART).zip(moments);
        match &self.gradient {
            None => parts.for_each(|(weight, (m, v))| adam_move(weight, m, v, None, &self.step)),
            Some(gradient) => with_numbers(gradient, |gradient| {
                let parts = parts.zip(gradient.par_chunks(PART));
                parts.for_each(|((weight, (m, v)), gradient)| adam_move(weight, m, v, Some(gradient), &self.step));
            })?,
        }
        Ok(())
    }
}

/// As [`contiguous`], to change.
fn contiguous_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((from, to))) => Ok(&mut values[from..to]),
        _ => bail!("this op takes contiguous f32"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::nn::kernels::adam;
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
    fn steps_in_place_are_those_of_the_kernel_and_of_the_expression() {
        let mut random = Random::new(3);
        let (shape, count) = ((7, 5), 35);
        let tensor = |values: Vec<f32>| Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
        let start = random.normals(count, 1.0);
        for lazy in [false, true] {
            let weight = Var::from_tensor(&tensor(start.clone())).unwrap();
            let moments = [tensor(vec![0.0; count]), tensor(vec![0.0; count])];
            let mut plain = [tensor(start.clone()), tensor(vec![0.0; count]), tensor(vec![0.0; count])];
            let (mut w, mut m, mut v) = (start.clone(), vec![0.0; count], vec![0.0; count]);
            for number in 1..6 {
                let mut slopes = random.normals(count, 1.0);
                slopes.iter_mut().step_by(3).for_each(|slope| *slope = 0.0);
                let gradient = tensor(slopes.clone());
                adam_step(&weight, &moments, &gradient, step(number), lazy).unwrap();
                let [old, first, second] = plain;
                plain = adam_expression(&old, &[first, second], &gradient, step(number), lazy).unwrap();
                if lazy {
                    for at in (0..count).filter(|at| at % 3 != 0) {
                        adam(&mut w[at..=at], &mut m[at..=at], &mut v[at..=at], &slopes[at..=at], step(number));
                    }
                } else {
                    adam(&mut w, &mut m, &mut v, &slopes, step(number));
                }
                let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
                assert!(near(&numbers(&weight), &w) && near(&numbers(&plain[0]), &w), "lazy: {lazy}, step {number}");
                assert!(near(&numbers(&moments[1]), &v) && near(&numbers(&plain[2]), &v));
            }
            assert!(!moments[0].track_op(), "the state of the optimiser is no part of a graph");
        }
    }
}
