//! Many fixed local filters over a series, their outputs pooled over time and read by one trained
//! layer: the kernels of MiniRocket (Dempster et al. 2021), 84 patterns of nine taps at several
//! dilations, each counting how often it exceeds some levels. Nothing but the readout is trained, so
//! twenty labelled series are enough. The pooled value is a mean over time, so the share of each
//! time step in an answer is exact.

use crate::nn::kernels::filters::{TAPS, count_above, mark_above, pattern};
use crate::nn::parameters::Parameters;
use crate::random::Random;
use std::ops::Range;

/// Patterns: every choice of three strong taps out of nine.
const PATTERNS: usize = 84;

/// The filters of one series column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FilterBank {
    channels: usize,
    /// Steps between two taps.
    pub(crate) dilations: Vec<usize>,
    /// Levels of a filter.
    pub(crate) levels: usize,
    /// The taps of weight two, by pattern.
    pub(crate) strong: Vec<[usize; 3]>,
    /// Channels that each (dilation, pattern) sums.
    pub(crate) channels_of: Vec<Vec<usize>>,
}

/// A series, channel after channel, `[channels, steps]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Series {
    /// Numbers of steps.
    pub(crate) steps: usize,
    /// `[channels, steps]`.
    pub(crate) values: Vec<f32>,
}

/// Space for one series' filtering; reused from row to row.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    padded: Vec<f32>,
    sum: Vec<f32>,
    output: Vec<f32>,
}

/// Dilations (powers of two) for series that the encoder cuts every `stride` steps, which follows from their length:
/// 1 up to 64 steps, 3 up to 288.
pub(crate) fn dilations(stride: usize) -> u32 {
    match stride {
        0 | 1 => 3,
        2 | 3 => 5,
        _ => 7,
    }
}

/// Channels that are summed before a filter reads them: one to nine, few more often than many.
pub(crate) fn some_channels(channels: usize, random: &mut Random) -> Vec<usize> {
    let most = (channels.min(TAPS) as f32).log2();
    let count = 2f32.powf(random.uniform() * most).round().clamp(1.0, channels as f32) as usize;
    let mut all: Vec<usize> = (0..channels).collect();
    random.shuffle(&mut all);
    all.truncate(count);
    all.sort_unstable();
    all
}

impl Series {
    /// The sum of some channels, with `before` zeros before it and `behind` zeros behind.
    pub(crate) fn sum_padded(&self, channels: &[usize], (before, behind): (usize, usize), padded: &mut Vec<f32>) {
        padded.clear();
        padded.resize(before + self.steps + behind, 0.0);
        for channel in channels {
            let values = &self.values[channel * self.steps..(channel + 1) * self.steps];
            for (to, from) in padded[before..before + self.steps].iter_mut().zip(values) {
                *to += from;
            }
        }
    }

    /// What each step adds to the one before it; a step shorter.
    pub(crate) fn differences(&self) -> Self {
        let steps = self.steps.saturating_sub(1);
        let of = |channel: &[f32]| channel.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>();
        Self { steps, values: self.values.chunks_exact(self.steps.max(1)).flat_map(of).collect() }
    }
}

impl FilterBank {
    /// Filters for series of `channels` channels that the encoder cuts every `stride` steps, with
    /// about `features` pooled values.
    pub(crate) fn new(channels: usize, stride: usize, features: usize, seed: u64) -> Self {
        Self::with(channels, dilations(stride), features, seed)
    }

    /// Filters that reach less far in short series.
    pub(crate) fn narrow(channels: usize, stride: usize, features: usize, seed: u64) -> Self {
        if stride > 1 { Self::new(channels, stride, features, seed) } else { Self::with(channels, 2, features, seed) }
    }

    fn with(channels: usize, dilations: u32, features: usize, seed: u64) -> Self {
        let dilations: Vec<usize> = (0..dilations).map(|power| 1 << power).collect();
        let levels = (features / (PATTERNS * dilations.len())).clamp(1, 16);
        let mut strong = Vec::with_capacity(PATTERNS);
        for a in 0..TAPS {
            for b in a + 1..TAPS {
                for c in b + 1..TAPS {
                    strong.push([a, b, c]);
                }
            }
        }
        let mut random = Random::stream(seed, "filters.channels", 0);
        let channels_of = (0..dilations.len() * PATTERNS).map(|_| some_channels(channels, &mut random)).collect();
        Self { channels, dilations, levels, strong, channels_of }
    }

    /// How many pooled values it gives.
    pub(crate) fn len(&self) -> usize {
        self.dilations.len() * PATTERNS * self.levels
    }

    /// Calls `then(filter, outputs over time)` for each filter.
    fn each(&self, series: &Series, scratch: &mut Scratch, mut then: impl FnMut(usize, &[f32])) {
        let steps = series.steps;
        scratch.output.resize(steps, 0.0);
        for (d, dilation) in self.dilations.iter().enumerate() {
            let reach = 4 * dilation;
            let mut built: Option<&[usize]> = None;
            for (p, strong) in self.strong.iter().enumerate() {
                let filter = d * PATTERNS + p;
                let channels_of = &self.channels_of[filter];
                if built != Some(channels_of) {
                    series.sum_padded(channels_of, (reach, reach), &mut scratch.padded);
                    scratch.sum.clear();
                    scratch.sum.resize(steps, 0.0);
                    for tap in 0..TAPS {
                        let shifted = &scratch.padded[tap * dilation..tap * dilation + steps];
                        for (sum, value) in scratch.sum.iter_mut().zip(shifted) {
                            *sum += value;
                        }
                    }
                    built = Some(channels_of);
                }
                let taps = strong.map(|tap| &scratch.padded[tap * dilation..tap * dilation + steps]);
                pattern(&scratch.sum, taps, &mut scratch.output[..steps]);
                then(filter, &scratch.output[..steps]);
            }
        }
    }

    /// Draws the levels from the filters' outputs on some training series, by quantiles.
    pub(crate) fn draw_levels(&self, series: &[Series], seed: u64) -> Vec<f32> {
        let mut levels = vec![0.0; self.len()];
        let mut scratch = Scratch::default();
        let golden = 0.618_034f32;
        for filter in 0..self.dilations.len() * PATTERNS {
            // Each filter takes its quantiles from one series, a different one for each level.
            for level in 0..self.levels {
                levels[filter * self.levels + level] = filter as f32 + level as f32;
            }
        }
        let mut random = Random::stream(seed, "filters.levels", 0);
        let sources: Vec<usize> = (0..self.levels).map(|_| random.below(series.len().max(1))).collect();
        for (source, one) in series.iter().enumerate() {
            if one.steps == 0 || !sources.contains(&source) {
                continue;
            }
            let mut sorted = Vec::new();
            self.each(one, &mut scratch, |filter, outputs| {
                sorted.clear();
                sorted.extend_from_slice(outputs);
                sorted.sort_unstable_by(f32::total_cmp);
                for (level, _) in sources.iter().enumerate().filter(|(_, p)| **p == source) {
                    let at = filter * self.levels + level;
                    let quantile = (((at + 1) as f32 * golden).fract() * sorted.len() as f32) as usize;
                    levels[at] = sorted[quantile.min(sorted.len() - 1)];
                }
            });
        }
        levels
    }

    /// Share of the time each filter exceeds each of its levels, into `out` `[len]`.
    pub(crate) fn pool(&self, series: &Series, levels: &[f32], out: &mut [f32], scratch: &mut Scratch) {
        out.fill(0.0);
        if series.steps == 0 {
            return;
        }
        let scale = 1.0 / series.steps as f32;
        self.each(series, scratch, |filter, outputs| {
            for at in filter * self.levels..(filter + 1) * self.levels {
                out[at] = count_above(outputs, levels[at]) * scale;
            }
        });
    }

    /// Adds what each time step adds to `terms`, a pooled value weighing `weights`: `Σ_t terms[t] = Σ pooled · weights`.
    pub(crate) fn add_moments(
        &self,
        series: &Series,
        levels: &[f32],
        weights: &[f32],
        terms: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let scale = 1.0 / series.steps.max(1) as f32;
        if series.steps > 0 {
            self.each(series, scratch, |filter, outputs| {
                for at in filter * self.levels..(filter + 1) * self.levels {
                    mark_above(outputs, levels[at], weights[at] * scale, terms);
                }
            });
        }
    }

    /// Multiply-accumulates for one series of `steps` steps.
    pub(crate) fn macs(&self, steps: f64) -> f64 {
        (self.dilations.len() * PATTERNS) as f64 * steps * (3.0 + self.levels as f64)
    }

    /// Channels of its series.
    pub(crate) fn channels(&self) -> usize {
        self.channels
    }
}

/// Places of the trained readout and the fitted numbers in one slice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FilterLayout {
    /// Pooled values of all banks.
    pub(crate) features: usize,
    /// Classes, or 1.
    pub(crate) outputs: usize,
    /// All parameters.
    pub(crate) parameters: Parameters,
    /// Levels, `[features]`.
    pub(crate) levels: Range<usize>,
    /// Means of the pooled values over the training rows, `[features]`.
    pub(crate) mean: Range<usize>,
    /// Inverse deviations, `[features]`; 0 for values that never vary.
    pub(crate) inverse: Range<usize>,
    /// `[features, outputs]`.
    pub(crate) readout: Range<usize>,
    /// Share of the answer that the attention blocks have, `[1]`.
    pub(crate) share: Range<usize>,
    /// `[outputs]`.
    pub(crate) bias: Range<usize>,
}

impl FilterLayout {
    /// Lays them out.
    pub(crate) fn new(features: usize, outputs: usize) -> Self {
        let mut p = Parameters::default();
        let levels = p.add("filters.levels", &[features]);
        let mean = p.add("filters.mean", &[features]);
        let inverse = p.add("filters.inverse", &[features]);
        let readout = p.add("filters.readout", &[features, outputs]);
        let share = p.add("filters.blocks_share", &[1]);
        let bias = p.add("filters.bias", &[outputs]);
        Self { features, outputs, parameters: p, levels, mean, inverse, readout, share, bias }
    }

    /// How many numbers there are.
    pub(crate) fn len(&self) -> usize {
        self.parameters.len()
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
    fn moments_add_up_to_the_pooled_values() {
        let bank = FilterBank::new(2, 3, 1000, 7);
        let levels = bank.draw_levels(&[wave(40, 0.0), wave(30, 1.0)], 7);
        let weights: Vec<f32> = (0..bank.len()).map(|i| ((i % 13) as f32 - 6.0) / 100.0).collect();
        let (series, mut scratch, mut pooled) = (wave(33, 0.4), Scratch::default(), vec![0.0; bank.len()]);
        bank.pool(&series, &levels, &mut pooled, &mut scratch);
        assert!(pooled.iter().all(|p| (0.0..=1.0).contains(p)));
        assert!(pooled.iter().filter(|p| **p > 0.05 && **p < 0.95).count() > bank.len() / 2);
        let whole: f32 = pooled.iter().zip(&weights).map(|(p, w)| p * w).sum();
        let mut terms = vec![0.0; 33];
        bank.add_moments(&series, &levels, &weights, &mut terms, &mut scratch);
        let parts: f32 = terms.iter().sum();
        assert!((whole - parts).abs() < 1e-3, "{whole} {parts}");
    }

    #[test]
    fn an_empty_series_pools_to_nothing() {
        let bank = FilterBank::new(1, 1, 500, 1);
        let mut pooled = vec![1.0; bank.len()];
        bank.pool(&Series::default(), &vec![0.0; bank.len()], &mut pooled, &mut Scratch::default());
        assert!(pooled.iter().all(|p| *p == 0.0));
    }
}
