//! Descriptions of slots as one candle operation: the sum of value × word's row × the weights of the word's position.

use crate::nn::kernels::reads::{add_masked, slot_sum};
use crate::nn::layers::sparse_embedding::{contiguous, has_kernel, with_numbers};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

/// The words of some slots.
#[derive(Clone, Debug, Default)]
pub struct WordSums {
    /// `[slots + 1]`, in words.
    pub offsets: Vec<usize>,
    /// The row of each word.
    pub words: Vec<u32>,
    /// Its value.
    pub values: Vec<f32>,
    /// The weights of its position, `[words, width]`.
    pub places: Vec<f32>,
}

impl WordSums {
    /// A table `[rows, width] -> [slots, width]`. On a device without the kernel this is [`Self::expression`].
    pub fn forward(self, table: &Tensor) -> Result<Tensor> {
        let (rows, width) = table.dims2()?;
        let count = self.words.len();
        let fits = self.offsets.last().is_none_or(|&end| end == count)
            && self.values.len() == count
            && self.places.len() == count * width;
        if !fits || self.words.iter().any(|&word| word as usize >= rows) {
            bail!("{count} words do not fit a table of {rows} rows");
        }
        if has_kernel(table) { table.contiguous()?.apply_op1(self) } else { self.expression(table) }
    }

    /// The same in plain candle operations.
    pub fn expression(&self, table: &Tensor) -> Result<Tensor> {
        let ((_, width), device, slots, count) =
            (table.dims2()?, table.device(), self.offsets.len().saturating_sub(1), self.words.len());
        let sum = Tensor::zeros((slots, width), table.dtype(), device)?;
        if count == 0 {
            return Ok(sum);
        }
        let mut at = Vec::with_capacity(count);
        for (slot, range) in self.offsets.windows(2).enumerate() {
            at.resize(range[1], slot as u32);
        }
        let numbers =
            |values: Vec<f32>, width: usize| Tensor::from_vec(values, (count, width), device)?.to_dtype(table.dtype());
        let lines = table.index_select(&Tensor::from_slice(&self.words, count, device)?, 0)?;
        let lines = (lines * numbers(self.places.clone(), width)?)?.broadcast_mul(&numbers(self.values.clone(), 1)?)?;
        sum.index_add(&Tensor::from_vec(at, count, device)?, &lines, 0)
    }

    /// The words of each slot, with the slot.
    fn slots(&self) -> impl Iterator<Item = (usize, usize)> {
        self.offsets.windows(2).enumerate().flat_map(|(slot, range)| (range[0]..range[1]).map(move |word| (slot, word)))
    }
}

/// The numbers of row `row`.
fn of(row: usize, width: usize) -> std::ops::Range<usize> {
    row * width..(row + 1) * width
}

impl CustomOp1 for WordSums {
    fn name(&self) -> &'static str {
        "word-sums"
    }

    fn cpu_fwd(&self, table: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, width) = layout.shape().dims2()?;
        let table = contiguous(table, layout)?;
        let slots = self.offsets.len().saturating_sub(1);
        let mut out = vec![0.0; slots * width];
        for (slot, word) in self.slots() {
            let row = &table[of(self.words[word] as usize, width)];
            slot_sum(&mut out[of(slot, width)], row, &self.places[of(word, width)], self.values[word]);
        }
        Ok((CpuStorage::F32(out), (slots, width).into()))
    }

    fn bwd(&self, table: &Tensor, _out: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let (_, width) = table.dims2()?;
        let mut slopes = vec![0.0; table.elem_count()];
        with_numbers(gradient, |gradient| {
            for (slot, word) in self.slots() {
                let row = &mut slopes[of(self.words[word] as usize, width)];
                add_masked(row, &gradient[of(slot, width)], &self.places[of(word, width)], self.values[word]);
            }
        })?;
        Ok(Some(Tensor::from_vec(slopes, table.shape(), table.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use candle_core::{Device, Var};

    #[test]
    fn equals_the_expression_and_its_gradient() {
        let mut random = Random::new(9);
        let table = Tensor::from_vec(random.normals(15, 1.0), (5, 3), &Device::Cpu).unwrap();
        let table = Var::from_tensor(&table).unwrap();
        let sums = WordSums {
            // The second slot has no word.
            offsets: vec![0, 2, 2, 5],
            words: vec![4, 0, 1, 1, 4],
            values: vec![1.0, 2.0, 0.5, 1.0, 1.0],
            places: random.normals(15, 1.0),
        };
        let far =
            |a: &Tensor, b: &Tensor| (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        let slope = |y: &Tensor| y.sqr().unwrap().sum_all().unwrap().backward().unwrap().get(&table).unwrap().clone();
        let (fast, plain) = (sums.clone().forward(&table).unwrap(), sums.expression(&table).unwrap());
        assert!(far(&fast, &plain) < 1e-5 && far(&slope(&fast), &slope(&plain)) < 1e-4);
        let empty = WordSums { offsets: vec![0, 0], ..WordSums::default() };
        assert_eq!(empty.forward(&table).unwrap().to_vec2::<f32>().unwrap(), [[0.0; 3]]);
        assert!(WordSums { words: vec![5; 5], ..sums }.forward(&table).is_err());
    }
}
