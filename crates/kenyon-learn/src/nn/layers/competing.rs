//! Groups of fixed random kernels over a series that compete at each step (Hydra: Dempster, Schmidt & Webb 2023): what
//! is pooled is how much each wins, and how often each comes last. As in local inhibition, a step activates one unit of a
//! group.

use super::filters::{Series, some_channels};
use crate::nn::kernels::filters::{GROUP_KERNELS, MARGIN, TAPS, Winners, compete};
use crate::random::Random;

/// Pooled values of a group: the outputs that win and the counts of the last, a value a kernel each.
const OF_GROUP: usize = 2 * GROUP_KERNELS;

/// The groups of one series column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CompetingKernels {
    dilations: usize,
    /// Groups of a dilation.
    pub(crate) groups: usize,
    /// `[dilations, groups, GROUP_KERNELS, TAPS]`, each of mean zero and sum of sizes 1.
    pub(crate) kernels: Vec<f32>,
    /// Channels that each (dilation, group) sums.
    pub(crate) channels_of: Vec<Vec<usize>>,
}

/// Space for one series; reused from row to row.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    padded: Vec<f32>,
    winners: Winners,
}

impl CompetingKernels {
    /// `groups` groups for each of `dilations` dilations (powers of two).
    pub(crate) fn new(channels: usize, dilations: u32, groups: usize, seed: u64) -> Self {
        let (dilations, mut random) = (dilations as usize, Random::stream(seed, "competing kernels", 0));
        let mut kernels = random.normals(dilations * groups * GROUP_KERNELS * TAPS, 1.0);
        for kernel in kernels.chunks_exact_mut(TAPS) {
            let mean = kernel.iter().sum::<f32>() / TAPS as f32;
            kernel.iter_mut().for_each(|weight| *weight -= mean);
            let size: f32 = kernel.iter().map(|weight| weight.abs()).sum();
            kernel.iter_mut().for_each(|weight| *weight /= size.max(f32::MIN_POSITIVE));
        }
        let channels_of = (0..dilations * groups).map(|_| some_channels(channels, &mut random)).collect();
        Self { dilations, groups, kernels, channels_of }
    }

    /// How many pooled values it gives.
    pub(crate) fn len(&self) -> usize {
        self.dilations * self.groups * OF_GROUP
    }

    /// Calls `then(group, winners)` for each group of each dilation.
    fn each(&self, series: &Series, scratch: &mut Scratch, mut then: impl FnMut(usize, &Winners)) {
        scratch.winners.resize(series.steps);
        let each = self.kernels.chunks_exact(GROUP_KERNELS * TAPS).zip(&self.channels_of);
        let mut built: Option<(usize, &[usize])> = None;
        for (group, (kernels, channels)) in each.enumerate() {
            let dilation = 1 << (group / self.groups);
            if built != Some((dilation, channels)) {
                let reach = 4 * dilation;
                series.sum_padded(channels, (reach, reach + MARGIN), &mut scratch.padded);
                built = Some((dilation, channels));
            }
            compete(&scratch.padded, dilation, kernels, &mut scratch.winners);
            then(group, &scratch.winners);
        }
    }

    /// Square roots of the mean output and of the share of the steps, into `out` `[len]`: roots, because a few wins
    /// more matter most where wins are few.
    pub(crate) fn pool(&self, series: &Series, out: &mut [f32], scratch: &mut Scratch) {
        out.fill(0.0);
        if series.steps == 0 {
            return;
        }
        let scale = 1.0 / series.steps as f32;
        self.each(series, scratch, |group, winners| {
            let out = &mut out[group * OF_GROUP..(group + 1) * OF_GROUP];
            add_up(winners, out);
            out.iter_mut().for_each(|sum| *sum = (sum.max(0.0) * scale).sqrt());
        });
    }

    /// Adds what each step adds to `terms`, a pooled value weighing `weights`: a step's share of a root is its share of
    /// the sum below it.
    pub(crate) fn moments(&self, series: &Series, weights: &[f32], terms: &mut [f32], scratch: &mut Scratch) {
        if series.steps == 0 {
            return;
        }
        let scale = 1.0 / series.steps as f32;
        self.each(series, scratch, |group, winners| {
            let mut factors = [0.0; OF_GROUP];
            add_up(winners, &mut factors);
            for (factor, weight) in factors.iter_mut().zip(&weights[group * OF_GROUP..]) {
                *factor = if *factor > 0.0 { weight * (*factor * scale).sqrt() / *factor } else { 0.0 };
            }
            let (of_high, of_low) = factors.split_at(GROUP_KERNELS);
            let steps = winners.high.iter().zip(&winners.of_high).zip(&winners.of_low);
            for (((high, first), last), term) in steps.zip(&mut *terms) {
                *term += of_high[usize::from(*first)] * high + of_low[usize::from(*last)];
            }
        });
    }

    /// Multiply-accumulates for one series of `steps` steps.
    pub(crate) fn macs(&self, steps: f64) -> f64 {
        self.kernels.len() as f64 * steps
    }
}

/// Sums of the winning outputs by kernel, then how often each comes last.
fn add_up(winners: &Winners, out: &mut [f32]) {
    let (high, low) = out.split_at_mut(GROUP_KERNELS);
    for ((value, first), last) in winners.high.iter().zip(&winners.of_high).zip(&winners.of_low) {
        high[usize::from(*first)] += value;
        low[usize::from(*last)] += 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(steps: usize, phase: f32) -> Series {
        let values = (0..2 * steps).map(|i| ((i % steps) as f32 * 0.7 + phase).sin()).collect();
        Series { steps, values }
    }

    #[test]
    fn the_largest_output_of_each_step_wins() {
        let (bank, series) =
            (CompetingKernels::new(1, 2, 3, 5), Series { steps: 21, values: wave(21, 0.3).values[..21].to_vec() });
        let mut pooled = vec![0.0; bank.len()];
        bank.pool(&series, &mut pooled, &mut Scratch::default());
        for group in 0..6 {
            let (dilation, mut expected) = (1 << (group / 3), [0.0f32; OF_GROUP]);
            for t in 0..21usize {
                let output = |k: usize| -> f32 {
                    let kernel = &bank.kernels[(group * GROUP_KERNELS + k) * TAPS..];
                    let at = |tap: usize| {
                        (t + tap * dilation).checked_sub(4 * dilation).and_then(|at| series.values.get(at))
                    };
                    (0..TAPS).map(|tap| kernel[tap] * at(tap).unwrap_or(&0.0)).sum()
                };
                let order = |a: &usize, b: &usize| output(*a).total_cmp(&output(*b));
                let (first, last) = ((0..GROUP_KERNELS).max_by(order), (0..GROUP_KERNELS).min_by(order));
                expected[first.unwrap_or(0)] += output(first.unwrap_or(0)) / 21.0;
                expected[GROUP_KERNELS + last.unwrap_or(0)] += 1.0 / 21.0;
            }
            for (ours, expected) in pooled[group * OF_GROUP..].iter().zip(expected) {
                assert!((ours - expected.max(0.0).sqrt()).abs() < 1e-4, "{ours} and {}", expected.sqrt());
            }
        }
    }

    #[test]
    fn moments_add_up_to_the_pooled_values() {
        let bank = CompetingKernels::new(2, 3, 8, 7);
        let weights: Vec<f32> = (0..bank.len()).map(|i| ((i % 13) as f32 - 6.0) / 10.0).collect();
        let (series, mut scratch, mut pooled) = (wave(33, 0.4), Scratch::default(), vec![0.0; bank.len()]);
        bank.pool(&series, &mut pooled, &mut scratch);
        let whole: f32 = pooled.iter().zip(&weights).map(|(p, w)| p * w).sum();
        let mut terms = vec![0.0; 33];
        bank.moments(&series, &weights, &mut terms, &mut scratch);
        assert!((whole - terms.iter().sum::<f32>()).abs() < 1e-3);
        bank.pool(&Series::default(), &mut pooled, &mut scratch);
        assert!(pooled.iter().all(|p| *p == 0.0));
    }
}
