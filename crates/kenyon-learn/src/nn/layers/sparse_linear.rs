//! `SparseLinear`: a linear layer whose input has few active entries and whose weights are masked.
//! The mask multiplies the weight inside the graph, so the gradient is masked, too: otherwise an
//! optimiser's moments keep pushing masked weights. The candle forms of the families (`models::candle`) are built
//! of it.

use crate::nn::kernels::{self, Isa};
use crate::nn::layers::sparse_embedding::{GatherSum, SparseInput, contiguous, has_kernel};
use crate::random::Random;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

/// Weight and mask `[inputs, units]`, bias `[units]`.
#[derive(Clone, Debug)]
pub struct SparseLinear {
    /// `[inputs, units]`.
    pub weight: Tensor,
    /// 1 where a connection is, 0 elsewhere, `[inputs, units]`; none for all.
    pub mask: Option<Tensor>,
    /// `[units]`.
    pub bias: Tensor,
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
        let product = ActiveProduct { after_winners };
        x.contiguous()?.apply_op2(&self.masked()?.contiguous()?, product)?.broadcast_add(&self.bias)
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

/// `x · weight` over the non-zero entries of `x`.
struct ActiveProduct {
    /// Whether the gradient of `x` is wanted only where `x` is not 0.
    after_winners: bool,
}

impl CustomOp2 for ActiveProduct {
    fn name(&self) -> &'static str {
        "active-product"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, inputs) = x_layout.shape().dims2()?;
        let input = SparseInput::nonzero(contiguous(x, x_layout)?, inputs)?;
        candle_core::CustomOp1::cpu_fwd(&GatherSum(input), weight, weight_layout)
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let input = SparseInput::dense(x)?;
        let of_x =
            if self.after_winners { at_winners(&input, weight, gradient)? } else { gradient.matmul(&weight.t()?)? };
        let of_weight = candle_core::CustomOp1::bwd(&GatherSum(input), weight, weight, gradient)?;
        Ok((Some(of_x), of_weight))
    }
}

/// `gradient · weightᵀ` at the entries of `input`, `[rows, inputs]`; 0 elsewhere.
fn at_winners(input: &SparseInput, weight: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    let (inputs, units) = weight.dims2()?;
    let flat = |tensor: &Tensor| tensor.contiguous()?.flatten_all()?.to_vec1::<f32>();
    let (numbers, gradient, rows) = (flat(weight)?, flat(gradient)?, input.rows());
    let mut out = vec![0.0; rows.len() * inputs];
    for (row, out) in out.chunks_exact_mut(inputs.max(1)).enumerate() {
        let gradient = &gradient[row * units..(row + 1) * units];
        for &index in rows.row(row).0 {
            let from = index as usize * units;
            out[index as usize] = kernels::dot(Isa::best(), &numbers[from..from + units], gradient);
        }
    }
    Tensor::from_vec(out, (rows.len(), inputs), weight.device())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
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
        let layer = SparseLinear { weight: weight.as_tensor().clone(), mask: Some(mask.clone()), bias };
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
        let mut layer = SparseLinear { weight, mask: Some(mask.clone()), bias };
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
