//! Functions of single numbers as one candle operation each: candle's own are several, or go number by number.

use crate::nn::kernels::{dense, gated_scan};
use crate::nn::layers::sparse_embedding::{contiguous, has_kernel, with_numbers};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

/// A function of single numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// The logistic function.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
}

impl Activation {
    /// The function of every number. On a device or for numbers without the kernel this is [`Self::expression`].
    pub fn forward(self, x: &Tensor) -> Result<Tensor> {
        if has_kernel(x) { x.contiguous()?.apply_op1(self) } else { self.expression(x) }
    }

    /// The same in plain candle operations, which have a gradient on every device.
    pub fn expression(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Sigmoid => (x.neg()?.exp()? + 1.0)?.recip(),
            Self::Tanh => x.tanh(),
        }
    }
}

impl CustomOp1 for Activation {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut y = contiguous(x, layout)?.to_vec();
        match self {
            Self::Sigmoid => gated_scan::sigmoid(&mut y),
            Self::Tanh => gated_scan::tanh(&mut y),
        }
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, _x: &Tensor, y: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let mut slopes = with_numbers(gradient, <[f32]>::to_vec)?;
        with_numbers(y, |y| match self {
            Self::Sigmoid => gated_scan::sigmoid_backward(&mut slopes, y),
            Self::Tanh => gated_scan::tanh_backward(&mut slopes, y),
        })?;
        Ok(Some(Tensor::from_vec(slopes, y.shape(), y.device())?))
    }
}

/// `x` times fixed numbers, as many as it has: a product of candle would have a gradient for these, too.
pub(crate) fn scaled(x: &Tensor, by: Vec<f32>) -> Result<Tensor> {
    if has_kernel(x) && by.len() == x.elem_count() {
        return x.contiguous()?.apply_op1(Scale(by));
    }
    x * Tensor::from_vec(by, x.shape(), x.device())?.to_dtype(x.dtype())?
}

struct Scale(Vec<f32>);

impl CustomOp1 for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut y = contiguous(x, layout)?.to_vec();
        dense::multiply(&mut y, &self.0);
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let mut slopes = with_numbers(gradient, <[f32]>::to_vec)?;
        dense::multiply(&mut slopes, &self.0);
        Ok(Some(Tensor::from_vec(slopes, x.shape(), x.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use candle_core::{Device, Var};

    #[test]
    fn equal_their_expressions_and_gradients() {
        let values = Random::new(4).normals(60, 2.0);
        let by: Vec<f32> = values.iter().map(|value| value.abs()).collect();
        let x = Var::from_tensor(&Tensor::from_vec(values, (4, 15), &Device::Cpu).unwrap()).unwrap();
        let far =
            |a: &Tensor, b: &Tensor| (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        let slope = |y: &Tensor| y.sqr().unwrap().sum_all().unwrap().backward().unwrap().get(&x).unwrap().clone();
        let factors = Tensor::from_slice(&by, (4, 15), &Device::Cpu).unwrap();
        let mut pairs = vec![(scaled(&x, by).unwrap(), (x.as_tensor() * factors).unwrap())];
        for function in [Activation::Sigmoid, Activation::Tanh] {
            pairs.push((function.forward(&x).unwrap(), function.expression(&x).unwrap()));
        }
        for (fast, plain) in pairs {
            assert!(far(&fast, &plain) < 1e-5);
            assert!(far(&slope(&fast), &slope(&plain)) < 1e-4);
        }
    }
}
