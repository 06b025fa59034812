//! `DenseLinear`: a linear layer with all its weights, as one candle operation. A product and an addition of candle cost a
//! multiple of it at these sizes, most of all in the backward pass of the bias.

use crate::nn::kernels::dense;
use crate::nn::kernels::linear::{linear, linear_input_gradient, linear_weight_gradient};
use crate::nn::layers::sparse_embedding::{contiguous, has_kernel, with_numbers};
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// Products from which on threads share the work; parts follow from it, and so results do not depend on the threads.
const SHARED_FROM: usize = 1 << 21;

/// A weight `[inputs, outputs]` and a bias `[outputs]`.
#[derive(Clone, Debug)]
pub struct DenseLinear {
    /// `[inputs, outputs]`.
    pub weight: Tensor,
    /// `[outputs]`.
    pub bias: Option<Tensor>,
}

impl DenseLinear {
    /// `[rows, inputs] -> [rows, outputs]`. On a device or for numbers without the kernel this is [`Self::expression`].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if !has_kernel(x) {
            return self.expression(x);
        }
        let (x, weight) = (x.contiguous()?, self.weight.contiguous()?);
        match &self.bias {
            Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, Product),
            None => x.apply_op2(&weight, Product),
        }
    }

    /// The same in plain candle operations.
    pub fn expression(&self, x: &Tensor) -> Result<Tensor> {
        let product = x.matmul(&self.weight)?;
        match &self.bias {
            Some(bias) => product.broadcast_add(bias),
            None => Ok(product),
        }
    }
}

struct Product;

/// Rows that one of several threads takes; all where the work is not shared.
fn part(rows: usize, inputs: usize, outputs: usize) -> usize {
    if rows * inputs * outputs < SHARED_FROM { rows.max(1) } else { rows.div_ceil(8).max(16) }
}

impl Product {
    fn forward(
        (x, x_layout): (&CpuStorage, &Layout),
        (weight, layout): (&CpuStorage, &Layout),
        bias: Option<&[f32]>,
    ) -> Result<(CpuStorage, Shape)> {
        let ((rows, inputs), (own, outputs)) = (x_layout.shape().dims2()?, layout.shape().dims2()?);
        if inputs != own || bias.is_some_and(|bias| bias.len() != outputs) {
            bail!("rows of {inputs} do not match a weight of {own} by {outputs}");
        }
        let (x, weight) = (contiguous(x, x_layout)?, contiguous(weight, layout)?);
        let mut y = vec![0.0; rows * outputs];
        let size = part(rows, inputs, outputs);
        let product = |(x, y): (&[f32], &mut [f32])| {
            linear(x, weight, y, (x.len() / inputs, inputs, outputs), false);
            if let Some(bias) = bias {
                dense::add_bias(y, bias);
            }
        };
        if inputs == 0 || outputs == 0 {
            bail!("a weight of {inputs} by {outputs}");
        } else if size >= rows {
            product((x, &mut y));
        } else {
            x.par_chunks(size * inputs).zip(y.par_chunks_mut(size * outputs)).for_each(product);
        }
        Ok((CpuStorage::F32(y), (rows, outputs).into()))
    }

    /// Gradients of the input, where it has any, and of the weight.
    fn backward(x: &Tensor, weight: &Tensor, gradient: &Tensor) -> Result<(Option<Tensor>, Tensor)> {
        let ((rows, inputs), (_, outputs)) = (x.dims2()?, weight.dims2()?);
        let sizes = (rows, inputs, outputs);
        let mut dweight = vec![0.0; inputs * outputs];
        let mut dx = vec![0.0; if x.track_op() { rows * inputs } else { 0 }];
        with_numbers(gradient, |dy| {
            with_numbers(x, |x| linear_weight_gradient(x, dy, &mut dweight, sizes))?;
            if dx.is_empty() {
                return Ok(());
            }
            with_numbers(weight, |weight| {
                let size = part(rows, inputs, outputs);
                let product = |(dy, dx): (&[f32], &mut [f32])| {
                    linear_input_gradient(dy, weight, dx, (dy.len() / outputs, inputs, outputs), false);
                };
                if size >= rows {
                    product((dy, &mut dx));
                } else {
                    dy.par_chunks(size * outputs).zip(dx.par_chunks_mut(size * inputs)).for_each(product);
                }
            })
        })??;
        let dx = if dx.is_empty() { None } else { Some(Tensor::from_vec(dx, (rows, inputs), x.device())?) };
        Ok((dx, Tensor::from_vec(dweight, (inputs, outputs), x.device())?))
    }
}

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "dense-product"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Self::forward((x, x_layout), (weight, layout), None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _y: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (dx, dweight) = Self::backward(x, weight, gradient)?;
        Ok((dx, Some(dweight)))
    }
}

impl CustomOp3 for Product {
    fn name(&self) -> &'static str {
        "dense-linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Self::forward((x, x_layout), (weight, layout), Some(contiguous(bias, bias_layout)?))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (dx, dweight) = Self::backward(x, weight, gradient)?;
        let mut dbias = vec![0.0; bias.elem_count()];
        with_numbers(gradient, |dy| dense::sum_rows(dy, &mut dbias))?;
        let dbias = Tensor::from_vec(dbias, bias.shape(), bias.device())?;
        Ok((dx, Some(dweight), Some(dbias)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use candle_core::{Device, Var};

    #[test]
    fn equals_the_expression_and_its_gradient() {
        let mut random = Random::new(12);
        let mut var = |rows: usize, width: usize| {
            let values = random.normals(rows * width, 1.0);
            Var::from_tensor(&Tensor::from_vec(values, (rows, width), &Device::Cpu).unwrap()).unwrap()
        };
        let far =
            |a: &Tensor, b: &Tensor| (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        // The last case is shared among threads.
        for (rows, inputs, outputs) in [(1, 1, 1), (7, 5, 3), (300, 96, 96)] {
            let (x, weight, bias) = (var(rows, inputs), var(inputs, outputs), var(1, outputs));
            for own in [None, Some(bias.flatten_all().unwrap())] {
                let mut vars = vec![&x, &weight];
                vars.extend(own.as_ref().map(|_| &bias));
                let layer = DenseLinear { weight: weight.as_tensor().clone(), bias: own };
                let (fast, plain) = (layer.forward(&x).unwrap(), layer.expression(&x).unwrap());
                assert!(far(&fast, &plain) < 1e-3, "{rows} {inputs} {outputs}");
                let slopes = |y: &Tensor| {
                    let gradients = y.sqr().unwrap().mean_all().unwrap().backward().unwrap();
                    vars.iter().map(|var| gradients.get(var).unwrap().clone()).collect::<Vec<_>>()
                };
                for (fast, plain) in slopes(&fast).iter().zip(&slopes(&plain)) {
                    assert!(far(fast, plain) < 1e-3, "{rows} {inputs} {outputs}");
                }
            }
        }
    }
}
