//! `SparseLinear`: a linear layer whose input has few active entries and whose weights are masked.
//! The mask multiplies the weight inside the graph, so the gradient is masked, too: otherwise an
//! optimiser's moments keep pushing masked weights. The candle forms of the families (`models::candle`) are built
//! of it.

use crate::nn::kernels::gather::{Reach, gather_back};
use crate::nn::layers::sparse_embedding::{
    GatherSum, SparseEmbedding, SparseInput, contiguous, has_kernel, summed_over_rows, with_numbers,
};
use crate::random::Random;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use std::sync::{Arc, OnceLock};

/// Weight and mask `[inputs, units]`, bias `[units]`.
#[derive(Clone, Debug)]
pub struct SparseLinear {
    /// `[inputs, units]`.
    pub weight: Tensor,
    /// 1 where a connection is, 0 elsewhere, `[inputs, units]`; none for all.
    pub mask: Option<Tensor>,
    /// `[units]`.
    pub bias: Tensor,
    /// The connections of the mask as the kernels take them, where units have them in groups; they need no mask then.
    pub(crate) reach: Option<Arc<Reach>>,
}

impl SparseLinear {
    /// A random mask with a share `density` of all connections, the same number for every unit.
    pub fn random_mask(inputs: usize, units: usize, density: f32, seed: u64) -> Result<Tensor> {
        let kept = ((inputs as f32 * density).round() as usize).clamp(1, inputs.max(1));
        let mut mask = vec![0f32; inputs * units];
        let mut order: Vec<usize> = (0..inputs).collect();
        for unit in 0..units {
            Random::stream(seed, "mask", unit as u64).shuffle(&mut order);
            order.iter().take(kept).for_each(|&input| mask[input * units + unit] = 1.0);
        }
        Tensor::from_vec(mask, (inputs, units), &candle_core::Device::Cpu)
    }

    /// The unmasked weights.
    pub fn masked(&self) -> Result<Tensor> {
        match &self.mask {
            Some(mask) => self.weight.mul(mask),
            None => Ok(self.weight.clone()),
        }
    }

    /// `[rows, inputs] -> [rows, units]`; costs what the non-zero entries of `x` cost. On a device without the kernel
    /// this is [`Self::reference`].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.active(x, false)
    }

    /// As [`Self::forward`] after k-winners, whose gradient goes through the winners alone: the gradient of `x` is
    /// computed where `x` is not 0, and is 0 elsewhere.
    pub fn after_winners(&self, x: &Tensor) -> Result<Tensor> {
        self.active(x, true)
    }

    fn active(&self, x: &Tensor, after_winners: bool) -> Result<Tensor> {
        if !has_kernel(x) {
            return self.reference(x);
        }
        // The gradient of all inputs is a dense product.
        let reach = self.reach.clone().filter(|_| after_winners);
        let weight = if reach.is_some() { self.weight.clone() } else { self.masked()? };
        let product = ActiveProduct { after_winners, reach, input: OnceLock::new() };
        x.contiguous()?.apply_op3(&weight.contiguous()?, &self.bias.contiguous()?, product)
    }

    /// `[rows, units]` of sparse rows.
    pub fn embed(&self, input: &SparseInput) -> Result<Tensor> {
        let Some(reach) = self.reach.clone().filter(|_| has_kernel(&self.weight)) else {
            return SparseEmbedding { weight: self.masked()?, bias: Some(self.bias.clone()) }.forward(input);
        };
        let sum = GatherSum { input: input.clone(), reach: Some(reach) };
        self.weight.contiguous()?.apply_op2(&self.bias.contiguous()?, sum)
    }

    /// The same by a dense product: what [`Self::forward`] is tested against.
    pub fn reference(&self, x: &Tensor) -> Result<Tensor> {
        x.matmul(&self.masked()?)?.broadcast_add(&self.bias)
    }

    /// Moves a `share` of the connections (RigL, Evci et al. 2020): the weakest are cut, as many grow
    /// where the gradient `[inputs, units]` of the full weight is largest, with weight 0. Returns how
    /// many moved; nothing without a mask.
    pub fn rewire(&mut self, gradient: &Tensor, share: f32) -> Result<usize> {
        let Some(mask) = &self.mask else { return Ok(0) };
        let dims = mask.dims2()?;
        let flat = |tensor: &Tensor| tensor.contiguous()?.flatten_all()?.to_vec1::<f32>();
        let (mut mask, mut weight, gradient) = (flat(mask)?, flat(&self.weight)?, flat(gradient)?);
        let mut there: Vec<usize> = (0..mask.len()).filter(|&at| mask[at] != 0.0).collect();
        let mut absent: Vec<usize> = (0..mask.len()).filter(|&at| mask[at] == 0.0).collect();
        let moved = ((there.len() as f32 * share) as usize).min(absent.len());
        there.sort_by(|&a, &b| weight[a].abs().total_cmp(&weight[b].abs()));
        absent.sort_by(|&a, &b| gradient[b].abs().total_cmp(&gradient[a].abs()));
        there[..moved].iter().for_each(|&at| mask[at] = 0.0);
        for &at in &absent[..moved] {
            mask[at] = 1.0;
            weight[at] = 0.0;
        }
        self.mask = Some(Tensor::from_vec(mask, dims, self.weight.device())?);
        self.weight = Tensor::from_vec(weight, dims, self.weight.device())?;
        Ok(moved)
    }
}

/// `x · weight + bias` over the non-zero entries of `x`.
struct ActiveProduct {
    /// Whether the gradient of `x` is wanted only where `x` is not 0.
    after_winners: bool,
    reach: Option<Arc<Reach>>,
    /// The entries of `x`, once they were sought.
    input: OnceLock<SparseInput>,
}

impl ActiveProduct {
    fn sum(&self, x: &[f32], inputs: usize) -> Result<GatherSum> {
        let input = match self.input.get() {
            Some(input) => input.clone(),
            None => {
                let found = SparseInput::nonzero(x, inputs)?;
                self.input.get_or_init(|| found).clone()
            }
        };
        Ok(GatherSum { input, reach: self.reach.clone() })
    }
}

impl CustomOp3 for ActiveProduct {
    fn name(&self) -> &'static str {
        "active-product"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((rows, inputs), (lines, units)) = (x_layout.shape().dims2()?, weight_layout.shape().dims2()?);
        let (weight, bias) = (contiguous(weight, weight_layout)?, contiguous(bias, bias_layout)?);
        let out = self.sum(contiguous(x, x_layout)?, inputs)?.sums(weight, [lines, units], Some(bias))?;
        Ok((CpuStorage::F32(out), (rows, units).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let inputs = x.dims2()?.1;
        let sum = with_numbers(x, |x| self.sum(x, inputs))??;
        let of_x =
            if self.after_winners { at_winners(&sum, weight, gradient)? } else { gradient.matmul(&weight.t()?)? };
        Ok((Some(of_x), Some(sum.gradient(weight, gradient)?), Some(summed_over_rows(bias, gradient)?)))
    }
}

/// `gradient · weightᵀ` at the entries of the input, `[rows, inputs]`; 0 elsewhere.
fn at_winners(sum: &GatherSum, weight: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    let ((inputs, units), rows) = (weight.dims2()?, sum.input.rows());
    let back = |weight: &[f32], gradient: &[f32]| gather_back(weight, gradient, units, &rows, sum.reach.as_deref());
    let of_entries = with_numbers(weight, |weight| with_numbers(gradient, |gradient| back(weight, gradient)))??;
    let mut out = vec![0.0; rows.len() * inputs];
    let mut slopes = of_entries.into_iter();
    for (row, out) in out.chunks_exact_mut(inputs.max(1)).enumerate() {
        rows.row(row).0.iter().zip(&mut slopes).for_each(|(&index, slope)| out[index as usize] = slope);
    }
    Tensor::from_vec(out, (rows.len(), inputs), weight.device())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn var(random: &mut Random, rows: usize, columns: usize) -> Var {
        let values = random.normals(rows * columns, 1.0);
        Var::from_tensor(&Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()).unwrap()
    }

    fn far(a: &Tensor, b: &Tensor) -> f32 {
        (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn equals_the_dense_product_and_masks_the_gradient() {
        let mut random = Random::new(3);
        let (x, weight) = (var(&mut random, 5, 12), var(&mut random, 12, 19));
        let mask = SparseLinear::random_mask(12, 19, 0.25, 1).unwrap();
        let bias = Tensor::zeros(19, candle_core::DType::F32, &Device::Cpu).unwrap();
        let layer = SparseLinear { weight: weight.as_tensor().clone(), mask: Some(mask.clone()), bias, reach: None };
        let active = x.relu().unwrap();
        let (fast, plain) = (layer.forward(&active).unwrap(), layer.reference(&active).unwrap());
        assert!(far(&fast, &plain) < 1e-4);
        let slopes = |out: &Tensor| {
            let gradients = out.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            (gradients.get(&x).unwrap().clone(), gradients.get(&weight).unwrap().clone())
        };
        let ((fast_x, fast_w), (plain_x, plain_w)) = (slopes(&fast), slopes(&plain));
        assert!(far(&fast_x, &plain_x) < 1e-3 && far(&fast_w, &plain_w) < 1e-3);
        let absent = (mask.ones_like().unwrap() - &mask).unwrap();
        // After winners the gradient of what was not active is left out, and the rest is the same.
        let (winners_x, winners_w) = slopes(&layer.after_winners(&active).unwrap());
        assert!(far(&winners_x, &plain_x) < 1e-3 && far(&winners_w, &plain_w) < 1e-3);
        let leaked = fast_w.mul(&absent).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert_eq!(leaked, 0.0);
    }

    #[test]
    fn rewiring_keeps_the_number_and_follows_the_gradient() {
        let mut random = Random::new(4);
        let weight = var(&mut random, 10, 6).as_tensor().clone();
        let mask = SparseLinear::random_mask(10, 6, 0.3, 1).unwrap();
        let bias = Tensor::zeros(6, candle_core::DType::F32, &Device::Cpu).unwrap();
        let mut layer = SparseLinear { weight, mask: Some(mask.clone()), bias, reach: None };
        let gradient = var(&mut random, 10, 6);
        assert_eq!(layer.rewire(&gradient, 0.3).unwrap(), 5);
        let count = |mask: &Tensor| mask.sum_all().unwrap().to_scalar::<f32>().unwrap();
        let after = layer.mask.clone().unwrap();
        assert_eq!(count(&mask), count(&after));
        // The strongest gradient among absent connections is one now.
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let (before, now, slope) = (flat(&mask), flat(&after), flat(&gradient));
        let best = (0..60).filter(|&at| before[at] == 0.0).max_by(|&a, &b| slope[a].abs().total_cmp(&slope[b].abs()));
        assert_eq!(now[best.unwrap()], 1.0);
        layer.mask = None;
        assert_eq!(layer.rewire(&gradient, 0.3).unwrap(), 0);
    }
}
