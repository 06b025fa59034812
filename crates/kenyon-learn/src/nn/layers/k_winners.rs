//! `KWinners`: of each row only the k strongest units stay active. Exactly k win, of equals the
//! lower unit; their output is max(z, 0), unboosted; the gradient goes through them only.
//!
//! Boosting is relative: the score is (z − min z) · exp(β(1 − duty/target)), because a factor on z
//! itself is nearly 1 at 5 % and does nothing for units whose z is negative. The candle forms of the families
//! (`models::candle`) are built of it.

use crate::nn::kernels::{self, Isa, TopK};
use crate::nn::layers::sparse_embedding::{contiguous, has_kernel, with_numbers};
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};
use std::sync::{Arc, OnceLock};

/// Keeps the winners of each row.
#[derive(Clone, Debug)]
pub struct KWinners {
    /// Units that win a row.
    pub winners: usize,
    /// β: how strongly a unit that wins too rarely is boosted; 0 for not at all.
    pub boost: f32,
    /// Recent share of rows each unit won, `[units]`.
    pub duty: Vec<f32>,
}

/// Weight of the past against one row, in the running mean of the duty cycle.
const MEMORY: f32 = 1000.0;

impl KWinners {
    /// `winners` of `units`; every unit starts at its target, so that none is boosted at first.
    pub fn new(units: usize, winners: usize, boost: f32) -> Self {
        let winners = winners.clamp(1, units.max(1));
        Self { winners, boost, duty: vec![winners as f32 / units.max(1) as f32; units] }
    }

    /// `[rows, units] -> [rows, units]`, for answering: without boosting. On a device or for numbers without the kernel
    /// this is [`Self::reference`].
    pub fn forward(&self, z: &Tensor) -> Result<Tensor> {
        self.boosted(z, None)
    }

    /// As [`Self::forward`], with the factor of each unit's score where there are `boosts`, `[units]`.
    pub fn boosted(&self, z: &Tensor, boosts: Option<&[f32]>) -> Result<Tensor> {
        self.counted(z, boosts).map(|(out, _)| out)
    }

    /// As [`Self::boosted`], with how many rows each unit won, `[units]`; a winner whose output is 0 counts, too.
    pub fn counted(&self, z: &Tensor, boosts: Option<&[f32]>) -> Result<(Tensor, Vec<f32>)> {
        if !has_kernel(z) {
            return self.reference_counted(z, boosts);
        }
        let wins = Arc::new(OnceLock::new());
        let boosts = boosts.map(<[f32]>::to_vec);
        let out = z.contiguous()?.apply_op1(Compete { winners: self.winners, boosts, wins: Arc::clone(&wins) })?;
        Ok((out, wins.get().cloned().unwrap_or_default()))
    }

    /// As [`Self::forward`] in training: with boosting, and with `anneal` from 0 (all units win) to 1
    /// (as many as are meant to). Updates the duty cycle.
    pub fn train(&mut self, z: &Tensor, anneal: f32) -> Result<Tensor> {
        let units = self.duty.len();
        let ratio = self.winners as f32 / units.max(1) as f32;
        let winners = ((units as f32 * ratio.powf(anneal.clamp(0.0, 1.0))).round() as usize).max(self.winners);
        let boosts = (self.boost > 0.0).then(|| self.boosts());
        let rows = z.dim(0)? as f32;
        let (out, wins) = Self { winners, ..self.clone() }.counted(z, boosts.as_deref())?;
        for (duty, wins) in self.duty.iter_mut().zip(wins) {
            *duty += rows / (rows + MEMORY) * (wins / rows.max(1.0) - *duty);
        }
        Ok(out)
    }

    /// exp(β(1 − duty/target)) of each unit.
    pub fn boosts(&self) -> Vec<f32> {
        let target = self.winners as f32 / self.duty.len().max(1) as f32;
        self.duty.iter().map(|duty| (self.boost * (1.0 - duty / target)).exp()).collect()
    }

    /// Units that nearly stopped winning: candidates to reinitialise.
    pub fn dead(&self) -> Vec<usize> {
        let target = self.winners as f32 / self.duty.len().max(1) as f32;
        (0..self.duty.len()).filter(|&unit| self.duty[unit] < 0.01 * target).collect()
    }

    /// The same by sorting, in plain candle operations. The mask is a constant: `scatter_add` has a wrong gradient.
    pub fn reference(&self, z: &Tensor) -> Result<Tensor> {
        self.reference_boosted(z, None)
    }

    /// As [`Self::boosted`], in plain candle operations.
    pub fn reference_boosted(&self, z: &Tensor, boosts: Option<&[f32]>) -> Result<Tensor> {
        self.reference_counted(z, boosts).map(|(out, _)| out)
    }

    /// As [`Self::counted`], in plain candle operations.
    pub fn reference_counted(&self, z: &Tensor, boosts: Option<&[f32]>) -> Result<(Tensor, Vec<f32>)> {
        let (_, units) = z.dims2()?;
        let fixed = z.detach();
        let scores = match boosts {
            Some(boosts) => {
                let boosts = Tensor::from_slice(boosts, units, z.device())?.to_dtype(z.dtype())?;
                fixed.broadcast_sub(&fixed.min_keepdim(1)?)?.broadcast_mul(&boosts)?
            }
            None => fixed,
        };
        // Sorting is stable on the CPU, so of equals the lower unit comes first.
        let order = scores.contiguous()?.arg_sort_last_dim(false)?;
        let first = order.narrow(1, 0, self.winners.min(units))?.contiguous()?;
        let ones = first.to_dtype(z.dtype())?.ones_like()?;
        let mask = z.zeros_like()?.scatter_add(&first, &ones, 1)?.detach();
        let wins = mask.to_dtype(DType::F32)?.sum(0)?.to_vec1()?;
        Ok((z.relu()?.mul(&mask)?, wins))
    }
}

#[derive(Default)]
struct Scratch {
    top: TopK,
    scores: Vec<f32>,
    units: Vec<u32>,
}

impl Scratch {
    fn compete(&mut self, z: &[f32], winners: usize, boosts: Option<&[f32]>) -> &[u32] {
        self.units.clear();
        match boosts {
            None => kernels::top_k(Isa::best(), z, winners, &mut self.top, &mut self.units),
            Some(boosts) => {
                let least = z.iter().fold(f32::INFINITY, |least, &z| least.min(z));
                self.scores.clear();
                self.scores.extend(z.iter().zip(boosts).map(|(z, boost)| (z - least) * boost));
                kernels::top_k(Isa::best(), &self.scores, winners, &mut self.top, &mut self.units);
            }
        }
        &self.units
    }
}

struct Compete {
    winners: usize,
    boosts: Option<Vec<f32>>,
    /// How many rows each unit won, after the pass.
    wins: Arc<OnceLock<Vec<f32>>>,
}

impl CustomOp1 for Compete {
    fn name(&self) -> &'static str {
        "k-winners"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, units) = layout.shape().dims2()?;
        let z = contiguous(storage, layout)?;
        let mut out = vec![0.0; rows * units];
        let (mut scratch, mut wins) = (Scratch::default(), vec![0.0f32; units]);
        if units > 0 {
            for (z, out) in z.chunks_exact(units).zip(out.chunks_exact_mut(units)) {
                for &unit in scratch.compete(z, self.winners, self.boosts.as_deref()) {
                    out[unit as usize] = z[unit as usize].max(0.0);
                    wins[unit as usize] += 1.0;
                }
            }
        }
        self.wins.get_or_init(|| wins);
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, _z: &Tensor, out: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let passed = |(out, slope): (&f32, &f32)| if *out > 0.0 { *slope } else { 0.0 };
        let slopes = with_numbers(out, |out| {
            with_numbers(gradient, |gradient| out.iter().zip(gradient).map(passed).collect::<Vec<f32>>())
        })??;
        Ok(Some(Tensor::from_vec(slopes, out.shape(), out.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use candle_core::{Device, Var};

    fn tensor(values: Vec<f32>, rows: usize) -> Tensor {
        let units = values.len() / rows;
        Tensor::from_vec(values, (rows, units), &Device::Cpu).unwrap()
    }

    #[test]
    fn equals_the_reference_and_its_gradient_with_ties() {
        let mut random = Random::new(2);
        for (rows, units, winners) in [(1, 1, 1), (5, 20, 3), (4, 33, 33), (6, 100, 10)] {
            let rounded = random.normals(rows * units, 2.0).iter().map(|v| v.round()).collect();
            let z = Var::from_tensor(&tensor(rounded, rows)).unwrap();
            let layer = KWinners::new(units, winners, 0.0);
            let (fast, plain) = (layer.forward(&z).unwrap(), layer.reference(&z).unwrap());
            assert_eq!(fast.to_vec2::<f32>().unwrap(), plain.to_vec2::<f32>().unwrap());
            let slope = |out: &Tensor| {
                let gradients = out.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                gradients.get(&z).unwrap().to_vec2::<f32>().unwrap()
            };
            assert_eq!(slope(&fast), slope(&plain));
        }
    }

    #[test]
    fn boosting_brings_silent_units_back_and_passes_on_what_is_true() {
        let mut layer = KWinners::new(4, 1, 2.0);
        // Unit 0 is always a little stronger than unit 1.
        let z = tensor([1.0, 0.9, -1.0, -1.0].repeat(50), 50);
        let mut silent = true;
        for _ in 0..200 {
            let out = layer.train(&z, 1.0).unwrap().to_vec2::<f32>().unwrap();
            for row in &out {
                assert_eq!(row.iter().filter(|v| **v != 0.0).count(), 1);
                assert!(row.iter().all(|v| [0.0, 0.9, 1.0].contains(v)), "values are passed on unboosted");
                silent &= row[1] == 0.0;
            }
        }
        assert!(!silent, "unit 1 gets its turn");
        assert_eq!(layer.dead(), [2, 3]);
    }

    #[test]
    fn annealing_starts_with_all_units() {
        let mut layer = KWinners::new(10, 2, 0.0);
        let z = tensor((1..=10).map(|v| v as f32).collect(), 1);
        let active = |out: Tensor| out.to_vec2::<f32>().unwrap()[0].iter().filter(|v| **v > 0.0).count();
        assert_eq!(active(layer.train(&z, 0.0).unwrap()), 10);
        assert_eq!(active(layer.train(&z, 1.0).unwrap()), 2);
    }
}
