//! `SparseEmbedding`: the sum of the weight rows of the active inputs, as a candle op. The first
//! layer of any network that reads a [`Batch`], and the layer after k-winners. The candle forms of the families
//! (`models::candle`) are built of it.

use crate::data::Batch;
use crate::nn::kernels::{self, Isa, SparseRows};
use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Result, Shape, Tensor, bail};
use std::sync::Arc;

/// Sparse rows that an op can keep for its backward pass.
#[derive(Clone, Debug)]
pub struct SparseInput(Arc<Entries>);

#[derive(Debug)]
struct Entries {
    offsets: Vec<u32>,
    indices: Vec<u32>,
    values: Vec<f32>,
    width: usize,
}

impl SparseInput {
    /// Rows from `offsets` `[rows + 1]` into `indices` (each below `width`) and `values`.
    pub fn new(offsets: Vec<u32>, indices: Vec<u32>, values: Vec<f32>, width: usize) -> Result<Self> {
        if SparseRows::new(&offsets, &indices, &values, width).is_none() {
            bail!("sparse rows: offsets must rise, and indices lie below {width}");
        }
        Ok(Self(Arc::new(Entries { offsets, indices, values, width })))
    }

    /// One row a token of a batch, in a feature space of `width`.
    pub fn tokens(batch: &Batch, width: usize) -> Result<Self> {
        Self::new(batch.token_offsets.clone(), batch.indices.clone(), batch.values.clone(), width)
    }

    /// One row a row of a batch, the entries of its tokens together, in a feature space of `width`.
    pub fn bags(batch: &Batch, width: usize) -> Result<Self> {
        let offsets = batch.row_offsets.iter().map(|&token| batch.token_offsets[token as usize]).collect();
        Self::new(offsets, batch.indices.clone(), batch.values.clone(), width)
    }

    /// The non-zero entries of a dense `[rows, width]` tensor.
    pub fn dense(tensor: &Tensor) -> Result<Self> {
        let (_, width) = tensor.dims2()?;
        Self::nonzero(&tensor.flatten_all()?.to_vec1::<f32>()?, width)
    }

    /// The non-zero numbers of rows of `width`.
    pub(super) fn nonzero(numbers: &[f32], width: usize) -> Result<Self> {
        let (mut offsets, mut indices, mut values) = (vec![0], vec![], vec![]);
        for row in numbers.chunks_exact(width.max(1)) {
            for (index, &value) in row.iter().enumerate().filter(|(_, value)| **value != 0.0) {
                indices.push(index as u32);
                values.push(value);
            }
            offsets.push(indices.len() as u32);
        }
        Self::new(offsets, indices, values, width)
    }

    /// Indices, values and the row of each entry as tensors, each `[entries]`.
    pub fn entries(&self, device: &Device) -> Result<(Tensor, Tensor, Tensor)> {
        let Entries { offsets, indices, values, .. } = &*self.0;
        let count = indices.len();
        let mut rows = Vec::with_capacity(count);
        for (row, range) in offsets.windows(2).enumerate() {
            rows.resize(range[1] as usize, row as u32);
        }
        Ok((
            Tensor::from_slice(indices, count, device)?,
            Tensor::from_slice(values, count, device)?,
            Tensor::from_vec(rows, count, device)?,
        ))
    }

    /// As a dense tensor `[rows, width]`; entries of one index are summed.
    pub fn to_dense(&self, device: &Device) -> Result<Tensor> {
        let rows = self.rows();
        let mut dense = vec![0.0; rows.len() * self.0.width];
        for row in 0..rows.len() {
            let (indices, values) = rows.row(row);
            indices.iter().zip(values).for_each(|(&i, v)| dense[row * self.0.width + i as usize] += v);
        }
        Tensor::from_vec(dense, (rows.len(), self.0.width), device)
    }

    /// As the kernels take it.
    pub fn rows(&self) -> SparseRows<'_> {
        let Entries { offsets, indices, values, width } = &*self.0;
        match SparseRows::new(offsets, indices, values, *width) {
            Some(rows) => rows,
            None => unreachable!("checked when it was made"),
        }
    }
}

/// A weight `[inputs, units]` and a bias `[units]`.
#[derive(Clone, Debug)]
pub struct SparseEmbedding {
    /// `[inputs, units]`.
    pub weight: Tensor,
    /// `[units]`.
    pub bias: Option<Tensor>,
}

impl SparseEmbedding {
    /// `[rows, units]`: for each row the sum of value × weight row, and the bias. On a device or for numbers without the
    /// kernel this is [`Self::expression`].
    pub fn forward(&self, input: &SparseInput) -> Result<Tensor> {
        if !has_kernel(&self.weight) {
            return self.expression(input);
        }
        let sum = self.weight.contiguous()?.apply_op1(GatherSum(input.clone()))?;
        self.with_bias(sum)
    }

    /// The same in plain candle operations: the rows of all entries, scaled and added up.
    pub fn expression(&self, input: &SparseInput) -> Result<Tensor> {
        let (inputs, units) = self.weight.dims2()?;
        let (rows, device) = (input.rows(), self.weight.device());
        if inputs != rows.bound() {
            bail!("rows of {} features meet a weight of {inputs}", rows.bound());
        }
        let mut sum = Tensor::zeros((rows.len(), units), self.weight.dtype(), device)?;
        if rows.entries() > 0 {
            let (indices, values, of_row) = input.entries(device)?;
            let values = values.unsqueeze(1)?.to_dtype(self.weight.dtype())?;
            let lines = self.weight.index_select(&indices, 0)?.broadcast_mul(&values)?;
            sum = sum.index_add(&of_row, &lines, 0)?;
        }
        self.with_bias(sum)
    }

    /// The same by a dense product: what [`Self::forward`] is tested against.
    pub fn reference(&self, input: &SparseInput) -> Result<Tensor> {
        let dense = input.to_dense(self.weight.device())?.to_dtype(self.weight.dtype())?;
        self.with_bias(dense.matmul(&self.weight)?)
    }

    fn with_bias(&self, sum: Tensor) -> Result<Tensor> {
        match &self.bias {
            Some(bias) => sum.broadcast_add(bias),
            None => Ok(sum),
        }
    }
}

/// `[inputs, units] -> [rows, units]`.
pub(super) struct GatherSum(pub(super) SparseInput);

impl CustomOp1 for GatherSum {
    fn name(&self) -> &'static str {
        "gather-sum"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (inputs, units) = layout.shape().dims2()?;
        let rows = self.0.rows();
        if inputs != rows.bound() {
            bail!("rows of {} features meet a weight of {inputs}", rows.bound());
        }
        let weight = contiguous(storage, layout)?;
        let mut out = vec![0.0; rows.len() * units];
        if units > 0 {
            for (row, out) in out.chunks_exact_mut(units).enumerate() {
                let (indices, values) = rows.row(row);
                for (&index, &value) in indices.iter().zip(values) {
                    let from = index as usize * units;
                    kernels::axpy(Isa::best(), value, &weight[from..from + units], out);
                }
            }
        }
        Ok((CpuStorage::F32(out), (rows.len(), units).into()))
    }

    /// The gradient of a weight row is the sum of value × gradient over the rows that use it.
    fn bwd(&self, weight: &Tensor, _sum: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let (inputs, units) = weight.dims2()?;
        let rows = self.0.rows();
        let gradient = gradient.contiguous()?.flatten_all()?.to_vec1::<f32>()?;
        let mut out = vec![0.0; inputs * units];
        for row in 0..rows.len() {
            let (indices, values) = rows.row(row);
            let gradient = &gradient[row * units..(row + 1) * units];
            for (&index, &value) in indices.iter().zip(values) {
                let from = index as usize * units;
                kernels::axpy(Isa::best(), value, gradient, &mut out[from..from + units]);
            }
        }
        Ok(Some(Tensor::from_vec(out, (inputs, units), weight.device())?))
    }
}

/// Whether the operations with kernels take `tensor`; all others have a plain expression beside them.
pub(super) fn has_kernel(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == DType::F32
}

/// The numbers of a contiguous f32 storage.
pub(super) fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((from, to))) => Ok(&values[from..to]),
        _ => bail!("this op takes contiguous f32"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::random::Random;
    use candle_core::{Device, Var};

    fn input(seed: u64, rows: usize, width: usize) -> SparseInput {
        let mut random = Random::new(seed);
        let (mut offsets, mut indices, mut values) = (vec![0], vec![], vec![]);
        for row in 0..rows {
            // Row 1 is empty; indices may repeat.
            for _ in 0..if row == 1 { 0 } else { random.below(2 * width) } {
                indices.push(random.below(width) as u32);
                values.push(random.normal());
            }
            offsets.push(indices.len() as u32);
        }
        SparseInput::new(offsets, indices, values, width).unwrap()
    }

    #[test]
    fn equals_the_dense_product_and_its_gradient() {
        for (rows, inputs, units) in [(1, 1, 1), (4, 7, 33), (9, 50, 16)] {
            let input = input(rows as u64, rows, inputs);
            let mut random = Random::new(1);
            let device = &Device::Cpu;
            let weight = Var::from_tensor(
                &Tensor::from_vec(random.normals(inputs * units, 1.0), (inputs, units), device).unwrap(),
            );
            let weight = weight.unwrap();
            let bias = Tensor::from_vec(random.normals(units, 1.0), units, device).unwrap();
            let layer = SparseEmbedding { weight: weight.as_tensor().clone(), bias: Some(bias) };
            let plain = layer.reference(&input).unwrap();
            let far =
                |a: &Tensor, b: &Tensor| (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            let slope = |out: &Tensor| {
                let gradients = out.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                gradients.get(&weight).unwrap().clone()
            };
            for other in [layer.forward(&input).unwrap(), layer.expression(&input).unwrap()] {
                assert!(far(&other, &plain) < 1e-4);
                assert!(far(&slope(&other), &slope(&plain)) < 1e-3);
            }
        }
    }

    #[test]
    fn refuses_rows_that_do_not_fit() {
        assert!(SparseInput::new(vec![0, 1], vec![5], vec![1.0], 5).is_err());
        let weight = Tensor::zeros((4, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        let layer = SparseEmbedding { weight, bias: None };
        assert!(layer.forward(&input(1, 2, 3)).is_err());
    }
}
