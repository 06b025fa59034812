//! The reads at the end of the attention network as a candle operation: softmax averages of a row's tokens, and the largest
//! value of each unit.

use super::operation::masked_softmax;
use crate::nn::kernels::dense;
use crate::nn::kernels::matrix::{MatrixShape, product};
use crate::nn::kernels::reads::{largest, read_backward, weighted_sum};
use crate::nn::layers::padding::Padding;
use crate::nn::layers::sparse_embedding::{contiguous, has_kernel, with_numbers};
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use std::sync::{Arc, OnceLock};

/// Reads of rows whose tokens are concatenated.
#[derive(Clone, Debug)]
pub struct RowReads {
    /// Which tokens belong to a row, `[rows + 1]`, rising from 0.
    pub offsets: Arc<Vec<usize>>,
}

impl RowReads {
    /// Tokens `[tokens, width]` read by queries `[reads, width]` -> `[rows, (reads + 1) width]`, 0 for a row without tokens. On a
    /// device without the kernel this is [`Self::expression`].
    pub fn forward(&self, x: &Tensor, queries: &Tensor) -> Result<Tensor> {
        let ((tokens, width), (_, own)) = (x.dims2()?, queries.dims2()?);
        if self.offsets.last() != Some(&tokens) || width != own || width == 0 {
            bail!("{tokens} tokens of {width} numbers do not fit the rows or queries of {own}");
        }
        if !has_kernel(x) {
            return self.expression(x, queries);
        }
        let op = Reads { offsets: Arc::clone(&self.offsets), found: OnceLock::new() };
        x.contiguous()?.apply_op2(&queries.contiguous()?, op)
    }

    /// The same in plain candle operations, over rows padded to the longest.
    pub fn expression(&self, x: &Tensor, queries: &Tensor) -> Result<Tensor> {
        let padding = Padding::new(&self.offsets, x.device())?;
        let values = padding.pad(x)?;
        let ((rows, longest, d), reads) = (values.dims3()?, queries.dim(0)?);
        let scores = values.reshape((rows * longest, d))?.matmul(&queries.t()?)?;
        let scores = (scores.reshape((rows, longest, reads))?.transpose(1, 2)? / (d as f64).sqrt())?;
        let weights = masked_softmax(&scores, &padding.mask().unsqueeze(1)?)?;
        let soft = weights.matmul(&values)?.reshape((rows, reads * d))?;
        let mask = padding.mask().to_dtype(values.dtype())?;
        let hidden = ((mask.unsqueeze(2)? - 1.0)? * 1e9)?;
        // A row without tokens has no largest value.
        let some = mask.narrow(1, 0, 1)?;
        let largest = values.broadcast_add(&hidden)?.max(1)?.broadcast_mul(&some)?;
        Tensor::cat(&[soft, largest], 1)
    }
}

/// What the forward pass finds: weights of the reads `[reads, tokens]`, and the token of each largest value `[rows, width]`.
type Found = (Vec<f32>, Vec<u32>);

struct Reads {
    offsets: Arc<Vec<usize>>,
    found: OnceLock<Found>,
}

impl CustomOp2 for Reads {
    fn name(&self) -> &'static str {
        "row-reads"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        queries: &CpuStorage,
        queries_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((n, d), (reads, _)) = (layout.shape().dims2()?, queries_layout.shape().dims2()?);
        let (x, queries) = (contiguous(x, layout)?, contiguous(queries, queries_layout)?);
        let rows = self.offsets.len() - 1;
        let mut weights = vec![0.0; reads * n];
        product(
            (&mut weights, MatrixShape::new(reads, n)),
            (queries, MatrixShape::new(reads, d)),
            (x, MatrixShape::new(n, d).transposed()),
            None,
            1.0 / (d as f32).sqrt(),
        );
        let (mut out, mut peaks) = (vec![0.0; rows * (reads + 1) * d], vec![0; rows * d]);
        for (row, out) in out.chunks_exact_mut((reads + 1) * d).enumerate() {
            let tokens = self.offsets[row]..self.offsets[row + 1];
            if tokens.is_empty() {
                continue;
            }
            let values = &x[tokens.start * d..tokens.end * d];
            let (soft, peak) = out.split_at_mut(reads * d);
            for (read, out) in soft.chunks_exact_mut(d).enumerate() {
                let weights = &mut weights[read * n + tokens.start..read * n + tokens.end];
                dense::softmax_rows(weights, tokens.len());
                weighted_sum(out, weights, values);
            }
            largest(values, peak, &mut peaks[row * d..(row + 1) * d], tokens.start as u32);
        }
        let _ = self.found.set((weights, peaks));
        Ok((CpuStorage::F32(out), (rows, (reads + 1) * d).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        queries: &Tensor,
        _out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Some(found) = self.found.get() else { bail!("reads without their forward pass") };
        let mut dx = vec![0.0; x.elem_count()];
        let mut dqueries = vec![0.0; queries.elem_count()];
        with_numbers(x, |x| {
            with_numbers(queries, |queries| {
                with_numbers(gradient, |gradient| {
                    self.backward(found, (x, &mut dx), (queries, &mut dqueries), gradient);
                })
            })
        })???;
        let like = |values: Vec<f32>, of: &Tensor| Tensor::from_vec(values, of.shape(), of.device()).map(Some);
        Ok((like(dx, x)?, like(dqueries, queries)?))
    }
}

impl Reads {
    fn backward(
        &self,
        (weights, peaks): &Found,
        (x, dx): (&[f32], &mut [f32]),
        (queries, dqueries): (&[f32], &mut [f32]),
        gradient: &[f32],
    ) {
        let rows = self.offsets.len() - 1;
        let d = peaks.len().checked_div(rows).unwrap_or(0);
        let (reads, n) = (queries.len() / d.max(1), x.len() / d.max(1));
        let scale = 1.0 / (d as f32).sqrt();
        let mut dweights = Vec::new();
        for row in 0..rows {
            let tokens = self.offsets[row]..self.offsets[row + 1];
            if tokens.is_empty() {
                continue;
            }
            let gradient = &gradient[row * (reads + 1) * d..(row + 1) * (reads + 1) * d];
            let numbers = tokens.start * d..tokens.end * d;
            for read in 0..reads {
                let of = read * d..(read + 1) * d;
                dense::reset(&mut dweights, tokens.len());
                read_backward(
                    &x[numbers.clone()],
                    &weights[read * n + tokens.start..read * n + tokens.end],
                    &gradient[of.clone()],
                    &queries[of.clone()],
                    scale,
                    &mut dx[numbers.clone()],
                    &mut dweights,
                    &mut dqueries[of],
                );
            }
            for (unit, &token) in peaks[row * d..(row + 1) * d].iter().enumerate() {
                dx[token as usize * d + unit] += gradient[reads * d + unit];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use candle_core::{Device, Var};

    #[test]
    fn equals_the_expression_and_its_gradient() {
        let mut random = Random::new(3);
        let mut var = |rows: usize, width: usize| {
            let values = random.normals(rows * width, 1.0);
            Var::from_tensor(&Tensor::from_vec(values, (rows, width), &Device::Cpu).unwrap()).unwrap()
        };
        // A row without tokens, one with a single token, and longer ones.
        let reads = RowReads { offsets: Arc::new(vec![0, 3, 3, 4, 11]) };
        let (x, queries) = (var(11, 6), var(2, 6));
        let far =
            |a: &Tensor, b: &Tensor| (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        let slopes = |out: &Tensor| {
            let gradients = out.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            [&x, &queries].map(|var| gradients.get(var).unwrap().clone())
        };
        let (fast, plain) = (reads.forward(&x, &queries).unwrap(), reads.expression(&x, &queries).unwrap());
        assert!(far(&fast, &plain) < 1e-5);
        for (fast, plain) in slopes(&fast).iter().zip(&slopes(&plain)) {
            assert!(far(fast, plain) < 1e-4);
        }
        assert!(reads.forward(&x.narrow(0, 0, 5).unwrap(), &queries).is_err());
    }
}
