//! `SparseEmbedding`: the sum of the weight rows of the active inputs, as a candle op. The first
//! layer of any network that reads a [`Batch`], and the layer after k-winners. The candle forms of the families
//! (`models::candle`) are built of it.

use crate::data::{Batch, BinRanges};
use crate::nn::kernels::gather::{Reach, gather, gather_gradient};
use crate::nn::kernels::{BinSums, SparseRows, spread_rows, summed_rows};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Device, Layout, Result, Shape, Storage, Tensor, bail};
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
    /// Sums over bins, which stand behind the inputs; see [`SparseInput::compact`].
    sums: BinSums,
}

impl SparseInput {
    /// Rows from `offsets` `[rows + 1]` into `indices` (each below `width`) and `values`.
    pub fn new(offsets: Vec<u32>, indices: Vec<u32>, values: Vec<f32>, width: usize) -> Result<Self> {
        if SparseRows::new(&offsets, &indices, &values, width).is_none() {
            bail!("sparse rows: offsets must rise, and indices lie below {width}");
        }
        Ok(Self(Arc::new(Entries { offsets, indices, values, width, sums: BinSums::default() })))
    }

    /// One row a row of a compact batch: an entry for the bin that holds a number, and one for the sum of the bins below it. The kernels
    /// alone have sums.
    pub(crate) fn compact(batch: &Batch, bins: &BinRanges, width: usize) -> Result<Self> {
        let sums = BinSums::new(width, bins);
        let mut lines = vec![0; width];
        for run in sums.runs() {
            (1..run.bins).for_each(|bin| lines[(run.first + bin) as usize] = run.sums + bin - 1);
        }
        let (mut offsets, mut indices, mut values) = (vec![0], Vec::new(), Vec::new());
        for row in 0..batch.rows() {
            let (features, row_values) = batch.entries(row);
            indices.extend_from_slice(features);
            values.extend_from_slice(row_values);
            indices
                .extend(features.iter().filter_map(|&feature| lines.get(feature as usize).filter(|&&line| line > 0)));
            values.resize(indices.len(), 1.0);
            offsets.push(indices.len() as u32);
        }
        if SparseRows::new(&offsets, &indices, &values, width + sums.count()).is_none() {
            bail!("sparse rows: indices lie below {width}");
        }
        Ok(Self(Arc::new(Entries { offsets, indices, values, width, sums })))
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
        let Entries { offsets, indices, values, width, sums } = &*self.0;
        match SparseRows::new(offsets, indices, values, width + sums.count()) {
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
        let (weight, sum) = (self.weight.contiguous()?, GatherSum { input: input.clone(), reach: None });
        match &self.bias {
            Some(bias) => weight.apply_op2(&bias.contiguous()?, sum),
            None => weight.apply_op1(sum),
        }
    }

    /// The same in plain candle operations: the rows of all entries, scaled and added up.
    pub fn expression(&self, input: &SparseInput) -> Result<Tensor> {
        let (inputs, units) = self.weight.dims2()?;
        let (rows, device) = (input.rows(), self.weight.device());
        if inputs != rows.bound() {
            bail!("rows of {} features do not match a weight of {inputs}", rows.bound());
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

/// `[inputs, units] -> [rows, units]`, with a bias or without.
pub(super) struct GatherSum {
    pub(super) input: SparseInput,
    /// The units that each input has a connection to, if not to all.
    pub(super) reach: Option<Arc<Reach>>,
}

impl GatherSum {
    /// The sums over rows of a weight of these numbers.
    pub(super) fn sums(&self, weight: &[f32], [inputs, units]: [usize; 2], bias: Option<&[f32]>) -> Result<Vec<f32>> {
        let Entries { width, sums, .. } = &*self.input.0;
        if inputs != *width {
            bail!("rows of {width} features do not match a weight of {inputs}");
        }
        let (rows, reach) = (self.input.rows(), self.reach.as_deref());
        if sums.is_empty() {
            return Ok(gather(weight, units, bias, &rows, reach));
        }
        let lines = [weight, &summed_rows(weight, units, sums.runs())].concat();
        Ok(gather(&lines, units, bias, &rows, reach))
    }

    /// The gradient of a weight row is the sum of value × gradient over the rows that use it.
    pub(super) fn gradient(&self, weight: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        let (inputs, units) = weight.dims2()?;
        let (rows, reach, sums) = (self.input.rows(), self.reach.as_deref(), &self.input.0.sums);
        let mut out = with_numbers(gradient, |gradient| gather_gradient(gradient, units, &rows, reach))?;
        if !sums.is_empty() {
            spread_rows(&mut out, units, inputs, sums.runs());
        }
        Tensor::from_vec(out, (inputs, units), weight.device())
    }
}

impl CustomOp1 for GatherSum {
    fn name(&self) -> &'static str {
        "gather-sum"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (inputs, units) = layout.shape().dims2()?;
        let out = self.sums(contiguous(storage, layout)?, [inputs, units], None)?;
        Ok((CpuStorage::F32(out), (self.input.rows().len(), units).into()))
    }

    fn bwd(&self, weight: &Tensor, _sum: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        self.gradient(weight, gradient).map(Some)
    }
}

impl CustomOp2 for GatherSum {
    fn name(&self) -> &'static str {
        "gather-sum-with-bias"
    }

    fn cpu_fwd(
        &self,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (inputs, units) = weight_layout.shape().dims2()?;
        let bias = contiguous(bias, bias_layout)?;
        let out = self.sums(contiguous(weight, weight_layout)?, [inputs, units], Some(bias))?;
        Ok((CpuStorage::F32(out), (self.input.rows().len(), units).into()))
    }

    fn bwd(
        &self,
        weight: &Tensor,
        bias: &Tensor,
        _sum: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(self.gradient(weight, gradient)?), Some(summed_over_rows(bias, gradient)?)))
    }
}

/// The gradient of a bias: that of what it was added to, summed over rows.
pub(super) fn summed_over_rows(bias: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    let units = bias.elem_count();
    let sum = with_numbers(gradient, |gradient| {
        let mut sum = vec![0.0f32; units];
        for row in gradient.chunks_exact(units.max(1)) {
            sum.iter_mut().zip(row).for_each(|(sum, slope)| *sum += slope);
        }
        sum
    })?;
    Tensor::from_vec(sum, bias.shape(), bias.device())
}

/// What `read` makes of the numbers of an f32 tensor on the CPU.
pub(super) fn with_numbers<T>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(read(contiguous(storage, layout)?)),
        _ => bail!("the numbers are on another device"),
    }
}

/// Whether the operations with kernels take `tensor`; all others have a plain expression beside them.
pub(crate) fn has_kernel(tensor: &Tensor) -> bool {
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
