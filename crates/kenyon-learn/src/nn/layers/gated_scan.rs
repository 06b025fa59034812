//! `GatedScan`: a state that is carried from slot to slot of each row and replaced as far as gates are open, as a candle
//! operation: `out_t = z_t r_t h_t + (1 − z_t) out_{t−1}`.

use crate::nn::kernels::gated_scan::{ScanInputs, scan, scan_backward};
use crate::nn::layers::padding::Padding;
use crate::nn::layers::sparse_embedding::{contiguous, has_kernel, with_numbers};
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use std::sync::Arc;

/// A scan over the slots of rows, which are concatenated.
#[derive(Clone, Debug)]
pub struct GatedScan {
    /// Which slots belong to a row, `[rows + 1]`, rising from 0.
    pub offsets: Arc<Vec<usize>>,
    /// Whether it begins at the last slot.
    pub reverse: bool,
}

impl GatedScan {
    /// Update gates and reset gates, each `[slots, 1]` or `[slots, width]`, and candidates `[slots, width]`; returns
    /// `[slots, width]`. On a device without the kernel this is [`Self::expression`].
    pub fn forward(&self, update: &Tensor, reset: &Tensor, candidates: &Tensor) -> Result<Tensor> {
        let (slots, width) = candidates.dims2()?;
        let fits = |gate: &Tensor| gate.dims() == [slots, 1] || gate.dims() == [slots, width];
        if self.offsets.last() != Some(&slots) || !fits(update) || update.dims() != reset.dims() {
            bail!("gates {:?} and {:?} do not fit {slots} slots of {width}", update.dims(), reset.dims());
        }
        if !has_kernel(candidates) {
            return self.expression(update, reset, candidates);
        }
        update.contiguous()?.apply_op3(&reset.contiguous()?, &candidates.contiguous()?, self.clone())
    }

    /// The same in plain candle operations, slot by slot over rows padded to the longest.
    pub fn expression(&self, update: &Tensor, reset: &Tensor, candidates: &Tensor) -> Result<Tensor> {
        let padding = Padding::new(&self.offsets, candidates.device())?;
        // A gate of 0 where there is no slot leaves the state as it is.
        let keep = padding.pad(&(update.ones_like()? - update)?)?;
        let absent = (padding.mask().ones_like()? - padding.mask())?.unsqueeze(2)?.to_dtype(keep.dtype())?;
        let keep = keep.broadcast_add(&absent)?;
        let new = padding.pad(&candidates.broadcast_mul(&(update * reset)?)?)?;
        let longest = padding.longest();
        let mut carried = new.narrow(1, 0, 1)?.zeros_like()?;
        let mut states = Vec::with_capacity(longest);
        for step in 0..longest {
            let slot = if self.reverse { longest - 1 - step } else { step };
            carried = (new.narrow(1, slot, 1)? + carried.broadcast_mul(&keep.narrow(1, slot, 1)?)?)?;
            states.push(carried.clone());
        }
        if self.reverse {
            states.reverse();
        }
        padding.unpad(&Tensor::cat(&states, 1)?)
    }

    /// Slots of each row, and gates a slot.
    fn rows(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        self.offsets.windows(2).map(|row| row[0]..row[1])
    }
}

/// The numbers of some slots.
fn of(slots: &std::ops::Range<usize>, each: usize) -> std::ops::Range<usize> {
    slots.start * each..slots.end * each
}

impl CustomOp3 for GatedScan {
    fn name(&self) -> &'static str {
        "gated-scan"
    }

    fn cpu_fwd(
        &self,
        z: &CpuStorage,
        z_layout: &Layout,
        r: &CpuStorage,
        r_layout: &Layout,
        h: &CpuStorage,
        h_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((_, gates), (slots, width)) = (z_layout.shape().dims2()?, h_layout.shape().dims2()?);
        let (z, r, h) = (contiguous(z, z_layout)?, contiguous(r, r_layout)?, contiguous(h, h_layout)?);
        let mut out = vec![0.0; slots * width];
        for row in self.rows() {
            let (gates, values) = (of(&row, gates), of(&row, width));
            scan(&z[gates.clone()], &r[gates], &h[values.clone()], &mut out[values], width, self.reverse);
        }
        Ok((CpuStorage::F32(out), h_layout.shape().clone()))
    }

    fn bwd(
        &self,
        update: &Tensor,
        reset: &Tensor,
        candidates: &Tensor,
        out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let ((slots, gates), (_, width)) = (update.dims2()?, candidates.dims2()?);
        let (mut dz, mut dr, mut dh) = (vec![0.0; slots * gates], vec![0.0; slots * gates], vec![0.0; slots * width]);
        let mut dout = with_numbers(gradient, <[f32]>::to_vec)?;
        let mut back = |z: &[f32], r: &[f32], h: &[f32], out: &[f32]| {
            for row in self.rows() {
                let (g, v) = (of(&row, gates), of(&row, width));
                let known = ScanInputs { z: &z[g.clone()], r: &r[g.clone()], h: &h[v.clone()], width };
                let (dz, dr, dh) = (&mut dz[g.clone()], &mut dr[g], &mut dh[v.clone()]);
                scan_backward(known, &out[v.clone()], &mut dout[v], dz, dr, dh, self.reverse);
            }
        };
        with_numbers(update, |z| {
            with_numbers(reset, |r| with_numbers(candidates, |h| with_numbers(out, |out| back(z, r, h, out))))
        })????;
        let tensor =
            |values: Vec<f32>, width: usize| Tensor::from_vec(values, (slots, width), update.device()).map(Some);
        Ok((tensor(dz, gates)?, tensor(dr, gates)?, tensor(dh, width)?))
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
        let mut var = |rows: usize, width: usize| {
            let values: Vec<f32> = (0..rows * width).map(|_| random.uniform()).collect();
            Var::from_tensor(&Tensor::from_vec(values, (rows, width), &Device::Cpu).unwrap()).unwrap()
        };
        let far =
            |a: &Tensor, b: &Tensor| (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        for (gates, width) in [(1, 5), (20, 20), (1, 1)] {
            let (z, r, h) = (var(9, gates), var(9, gates), var(9, width));
            for reverse in [false, true] {
                let layer = GatedScan { offsets: Arc::new(vec![0, 1, 6, 6, 9]), reverse };
                let (fast, plain) = (layer.forward(&z, &r, &h).unwrap(), layer.expression(&z, &r, &h).unwrap());
                assert!(far(&fast, &plain) < 1e-5);
                let slopes = |out: &Tensor| {
                    let gradients = out.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                    [&z, &r, &h].map(|var| gradients.get(var).unwrap().clone())
                };
                for (fast, plain) in slopes(&fast).iter().zip(&slopes(&plain)) {
                    assert!(far(fast, plain) < 1e-4, "{gates} {width} {reverse}");
                }
            }
        }
    }
}
