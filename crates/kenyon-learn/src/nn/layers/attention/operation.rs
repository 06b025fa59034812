//! The attention of each row over its own tokens as a candle operation, with its gradient.

use super::heads::{attend, attend_backward};
use crate::nn::layers::padding::Padding;
use crate::nn::layers::sparse_embedding::{contiguous, has_kernel};
use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor, bail};
use std::sync::Arc;

/// Multi-head attention within rows whose tokens are concatenated.
#[derive(Clone, Debug)]
pub struct RowAttention {
    /// Heads; divide the width.
    pub heads: usize,
    /// Which tokens belong to a row, `[rows + 1]`, rising from 0.
    pub offsets: Arc<Vec<usize>>,
}

impl RowAttention {
    /// Queries, keys and values side by side, `[tokens, 3 width] -> [tokens, width]`. On a device without the kernel this
    /// is [`Self::expression`].
    pub fn forward(&self, qkv: &Tensor) -> Result<Tensor> {
        let (tokens, width) = qkv.dims2()?;
        if self.offsets.last() != Some(&tokens) || width % (3 * self.heads.max(1)) != 0 {
            bail!("{tokens} tokens of {width} numbers do not fit the rows or the {} heads", self.heads);
        }
        if !has_kernel(qkv) {
            return self.expression(qkv);
        }
        qkv.contiguous()?.apply_op1(self.clone())
    }

    /// The same in plain candle operations, over rows padded to the longest.
    pub fn expression(&self, qkv: &Tensor) -> Result<Tensor> {
        let (_, width) = qkv.dims2()?;
        let size = width / 3 / self.heads;
        let padding = Padding::new(&self.offsets, qkv.device())?;
        let padded = padding.pad(qkv)?;
        let (rows, longest, _) = padded.dims3()?;
        let part = |which: usize| {
            let part = padded.narrow(2, which * width / 3, width / 3)?;
            part.reshape((rows, longest, self.heads, size))?.transpose(1, 2)?.contiguous()
        };
        let scores = (part(0)?.matmul(&part(1)?.t()?)? / (size as f64).sqrt())?;
        let mask = padding.mask().reshape((rows, 1, 1, longest))?;
        let mixed = masked_softmax(&scores, &mask)?.matmul(&part(2)?)?;
        padding.unpad(&mixed.transpose(1, 2)?.reshape((rows, longest, width / 3))?)
    }
}

/// Softmax over the last dimension where `mask` is 1; 0 elsewhere, and everywhere in a row without any. In operations that
/// keep the gradient: candle's fused softmax over the last dimension cuts it.
pub fn masked_softmax(scores: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let mask = &mask.to_dtype(scores.dtype())?;
    let scores = scores.broadcast_add(&((mask - 1.0)? * 1e9)?)?;
    let largest = scores.max_keepdim(D::Minus1)?.detach();
    let powers = scores.broadcast_sub(&largest)?.exp()?.broadcast_mul(mask)?;
    // A row with any has a sum of at least 1. The square of the inverse, which the gradient has, must be finite without.
    powers.broadcast_div(&(powers.sum_keepdim(D::Minus1)? + 1e-9)?)
}

impl CustomOp1 for RowAttention {
    fn name(&self) -> &'static str {
        "row-attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (tokens, width) = layout.shape().dims2()?;
        let (mut weights, mut mixed) = (Vec::new(), Vec::new());
        let sizes = (width / 3, self.heads);
        attend(sizes, &self.offsets, contiguous(qkv, layout)?, &mut weights, &mut mixed);
        Ok((CpuStorage::F32(mixed), (tokens, width / 3).into()))
    }

    /// The weights are computed again: keeping them between the passes takes more memory than it saves time.
    fn bwd(&self, qkv: &Tensor, _mixed: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let (tokens, width) = qkv.dims2()?;
        let flat = |tensor: &Tensor| tensor.contiguous()?.flatten_all()?.to_vec1::<f32>();
        let (numbers, gradient) = (flat(qkv)?, flat(gradient)?);
        let (mut weights, mut mixed) = (Vec::new(), Vec::new());
        let sizes = (width / 3, self.heads);
        attend(sizes, &self.offsets, &numbers, &mut weights, &mut mixed);
        let (mut out, mut scratch) = (vec![0.0; tokens * width], Vec::new());
        attend_backward(sizes, &self.offsets, &numbers, &weights, &gradient, &mut out, &mut scratch);
        Ok(Some(Tensor::from_vec(out, (tokens, width), qkv.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use candle_core::{Device, Var};

    #[test]
    fn equals_the_expression_and_its_gradient() {
        // A row without tokens, one with a single token, and longer ones.
        let attention = RowAttention { heads: 2, offsets: Arc::new(vec![0, 3, 3, 4, 11]) };
        let values = Random::new(6).normals(11 * 24, 1.0);
        let qkv = Var::from_tensor(&Tensor::from_vec(values, (11, 24), &Device::Cpu).unwrap()).unwrap();
        let slope = |out: &Tensor| {
            let gradients = out.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            gradients.get(&qkv).unwrap().clone()
        };
        let far =
            |a: &Tensor, b: &Tensor| (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        let (fast, plain) = (attention.forward(&qkv).unwrap(), attention.expression(&qkv).unwrap());
        assert!(far(&fast, &plain) < 1e-5);
        assert!(far(&slope(&fast), &slope(&plain)) < 1e-4);
        assert!(attention.forward(&qkv.narrow(0, 0, 5).unwrap()).is_err());
    }
}
