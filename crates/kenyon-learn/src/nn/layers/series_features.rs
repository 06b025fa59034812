//! The fixed features of one series column: filters over the series (`filters`), and where all are wanted also filters
//! over its differences and kernels that compete (`competing`) over both.

use super::competing::{self, CompetingKernels};
use super::filters::{self, FilterBank, Series, dilations};

/// Filters' pooled values for each group of competing kernels.
const FILTERS_OF_GROUP: usize = 160;

/// The features of one series column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SeriesFeatures {
    channels: usize,
    /// One after the other.
    pub(crate) parts: Vec<SeriesPart>,
}

/// Features of one kind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SeriesPart {
    /// Whether it reads the differences of neighbouring steps.
    pub(crate) differences: bool,
    /// What makes them.
    pub(crate) bank: Bank,
}

/// The kinds of features.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Bank {
    /// How often filters exceed their levels.
    Filters(FilterBank),
    /// How much kernels win.
    Competing(CompetingKernels),
}

/// Space for one series; reused from row to row.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    filters: filters::Scratch,
    competing: competing::Scratch,
}

impl SeriesFeatures {
    /// Filters over the series alone.
    pub(crate) fn filters(bank: FilterBank) -> Self {
        Self { channels: bank.channels(), parts: vec![SeriesPart { differences: false, bank: Bank::Filters(bank) }] }
    }

    /// Filters with about `features` pooled values and competing kernels, over the series and its differences, for series
    /// of `channels` channels that the encoder cuts every `stride` steps.
    pub(crate) fn all(channels: usize, stride: usize, features: usize, seed: u64) -> Self {
        let groups = (features / FILTERS_OF_GROUP / 2).max(1);
        let parts = [false, true].into_iter().flat_map(|differences| {
            let seed = 2 * seed + u64::from(differences);
            let filters = FilterBank::new(channels, stride, features / 2, seed);
            let competing = CompetingKernels::new(channels, dilations(stride), groups, seed);
            [Bank::Filters(filters), Bank::Competing(competing)].map(|bank| SeriesPart { differences, bank })
        });
        Self { channels, parts: parts.collect() }
    }

    /// How many features there are.
    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(SeriesPart::len).sum()
    }

    /// Channels of its series.
    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// Draws the levels `[len]` of the filters from some training series; competing kernels have none (0).
    pub(crate) fn draw_levels(&self, series: &[Series], seed: u64) -> Vec<f32> {
        let of = |part: &SeriesPart| match &part.bank {
            Bank::Competing(kernels) => vec![0.0; kernels.len()],
            Bank::Filters(bank) if part.differences => {
                bank.draw_levels(&series.iter().map(Series::differences).collect::<Vec<_>>(), seed)
            }
            Bank::Filters(bank) => bank.draw_levels(series, seed),
        };
        self.parts.iter().flat_map(of).collect()
    }

    /// The features of a series, into `out` `[len]`.
    pub(crate) fn pool(&self, series: &Series, levels: &[f32], out: &mut [f32], scratch: &mut Scratch) {
        let (mut at, differences) = (0, self.differences_of(series));
        for part in &self.parts {
            let series = if part.differences { &differences } else { series };
            let own = at..at + part.len();
            match &part.bank {
                Bank::Filters(bank) => {
                    bank.pool(series, &levels[own.clone()], &mut out[own.clone()], &mut scratch.filters)
                }
                Bank::Competing(kernels) => kernels.pool(series, &mut out[own.clone()], &mut scratch.competing),
            }
            at = own.end;
        }
    }

    /// What each time step adds, a feature weighing `weights`. A difference belongs to its two steps by halves.
    pub(crate) fn moments(&self, series: &Series, levels: &[f32], weights: &[f32], scratch: &mut Scratch) -> Vec<f32> {
        let (mut at, differences) = (0, self.differences_of(series));
        let (mut terms, mut between) = (vec![0.0; series.steps], vec![0.0; differences.steps]);
        for part in &self.parts {
            let (series, terms) = if part.differences { (&differences, &mut between) } else { (series, &mut terms) };
            let own = at..at + part.len();
            match &part.bank {
                Bank::Filters(bank) => {
                    bank.add_moments(series, &levels[own.clone()], &weights[own.clone()], terms, &mut scratch.filters);
                }
                Bank::Competing(kernels) => {
                    kernels.moments(series, &weights[own.clone()], terms, &mut scratch.competing);
                }
            }
            at = own.end;
        }
        for (step, term) in between.iter().enumerate() {
            terms[step] += 0.5 * term;
            terms[step + 1] += 0.5 * term;
        }
        terms
    }

    fn differences_of(&self, series: &Series) -> Series {
        if self.parts.iter().any(|part| part.differences) { series.differences() } else { Series::default() }
    }

    /// Multiply-accumulates for one series of `steps` steps.
    pub(crate) fn macs(&self, steps: f64) -> f64 {
        let of = |part: &SeriesPart| match &part.bank {
            Bank::Filters(bank) => bank.macs(steps),
            Bank::Competing(kernels) => kernels.macs(steps),
        };
        self.parts.iter().map(of).sum()
    }
}

impl SeriesPart {
    /// How many features it has.
    pub(crate) fn len(&self) -> usize {
        match &self.bank {
            Bank::Filters(bank) => bank.len(),
            Bank::Competing(kernels) => kernels.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_add_up_to_the_features() {
        let features = SeriesFeatures::all(2, 3, 2_000, 7);
        let wave = |phase: f32| -> Series {
            Series { steps: 40, values: (0..80).map(|i| ((i % 40) as f32 * 0.7 + phase).sin()).collect() }
        };
        let levels = features.draw_levels(&[wave(0.0), wave(1.0)], 7);
        let weights: Vec<f32> = (0..features.len()).map(|i| ((i % 13) as f32 - 6.0) / 100.0).collect();
        let (series, mut scratch, mut pooled) = (wave(0.4), Scratch::default(), vec![0.0; features.len()]);
        features.pool(&series, &levels, &mut pooled, &mut scratch);
        let whole: f32 = pooled.iter().zip(&weights).map(|(p, w)| p * w).sum();
        let parts: f32 = features.moments(&series, &levels, &weights, &mut scratch).iter().sum();
        assert!((whole - parts).abs() < 1e-3, "{whole} {parts}");
        for steps in 0..3 {
            let short = Series { steps, values: vec![1.0; 2 * steps] };
            features.pool(&short, &levels, &mut pooled, &mut scratch);
            assert_eq!(features.moments(&short, &levels, &weights, &mut scratch).len(), steps);
        }
    }
}
