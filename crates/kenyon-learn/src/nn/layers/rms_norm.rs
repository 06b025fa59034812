//! `RmsNorm`: rows divided by their root mean square, as a candle operation. candle's own fused form cuts the gradient.

use crate::nn::kernels::dense;
use crate::nn::layers::sparse_embedding::{contiguous, has_kernel, with_numbers};
use candle_core::{CpuStorage, CustomOp2, D, Layout, Result, Shape, Tensor};

/// A gain `[width]`.
#[derive(Clone, Debug)]
pub struct RmsNorm {
    /// `[width]`.
    pub gain: Tensor,
}

impl RmsNorm {
    /// `[rows, width] -> [rows, width]`. On a device without the kernel this is [`Self::expression`].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if !has_kernel(x) {
            return self.expression(x);
        }
        x.contiguous()?.apply_op2(&self.gain, Normalise)
    }

    /// The same in plain candle operations.
    pub fn expression(&self, x: &Tensor) -> Result<Tensor> {
        let mean = (x.sqr()?.mean_keepdim(D::Minus1)? + f64::from(dense::EPSILON))?;
        x.broadcast_div(&mean.sqrt()?)?.broadcast_mul(&self.gain)
    }
}

struct Normalise;

impl CustomOp2 for Normalise {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        gain: &CpuStorage,
        gain_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = layout.shape().dims2()?;
        let (mut y, mut inverse) = (vec![0.0; rows * width], vec![0.0; rows]);
        dense::rms_norm(contiguous(x, layout)?, contiguous(gain, gain_layout)?, &mut y, &mut inverse);
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gain: &Tensor,
        _y: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (rows, width) = x.dims2()?;
        let (mut y, mut inverse) = (vec![0.0; rows * width], vec![0.0; rows]);
        let mut dgain = vec![0.0; width];
        let dx = with_numbers(x, |x| {
            with_numbers(gain, |gain| {
                with_numbers(gradient, |dy| {
                    dense::rms_norm(x, gain, &mut y, &mut inverse);
                    y.fill(0.0);
                    dense::rms_norm_backward(x, gain, &inverse, dy, &mut y, &mut dgain);
                    y
                })
            })
        })???;
        let device = x.device();
        Ok((Some(Tensor::from_vec(dx, (rows, width), device)?), Some(Tensor::from_vec(dgain, width, device)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use candle_core::{Device, Var};

    #[test]
    fn equals_the_expression_and_its_gradient() {
        let mut random = Random::new(8);
        let mut var = |rows: usize, width: usize| {
            let values = random.normals(rows * width, 1.0);
            Var::from_tensor(&Tensor::from_vec(values, (rows, width), &Device::Cpu).unwrap()).unwrap()
        };
        for (rows, width) in [(1, 1), (3, 17), (6, 64)] {
            let (x, gain) = (var(rows, width), var(1, width));
            let norm = RmsNorm { gain: gain.flatten_all().unwrap() };
            let far =
                |a: &Tensor, b: &Tensor| (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            let slopes = |y: &Tensor| {
                let gradients = (y.sqr().unwrap() * 0.5).unwrap().sum_all().unwrap().backward().unwrap();
                [gradients.get(&x).unwrap().clone(), gradients.get(&gain).unwrap().clone()]
            };
            let (fast, plain) = (norm.forward(&x).unwrap(), norm.expression(&x).unwrap());
            assert!(far(&fast, &plain) < 1e-5);
            for (fast, plain) in slopes(&fast).iter().zip(&slopes(&plain)) {
                assert!(far(fast, plain) < 1e-4, "{rows} {width}");
            }
        }
    }
}
