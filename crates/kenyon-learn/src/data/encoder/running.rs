//! Scales that are learned from a stream, row by row: robust, so that one absurd value costs a few rows and not
//! thousands, and forgetting, so that they follow a change.
//!
//! A number's mean and deviation are winsorised (Huber 1981, "Robust Statistics"): a value enters as if it lay at
//! most [`FENCE`] deviations from the mean. Outliers up to a share of 1 / [`FENCE`]² leave the deviation bounded,
//! and values that are really of another size widen it row by row until they fit.

use super::scale::Scale;
use serde::{Deserialize, Serialize};

/// Deviations from the mean at which a value is cut before it enters; encoded values are cut there, too.
const FENCE: f64 = super::scale::LARGEST;
/// Values of a new stream that are kept, because an outlier among the first shows only by the others.
const FIRST: usize = 20;
/// Rows that a mean and a deviation remember.
const MEMORY: f64 = 10_000.0;
/// A row whose largest element is so many times the largest so far is an outlier, unless most rows are.
const BEYOND: f32 = 4.0;
/// The same among the first rows, against their median.
const BEYOND_FIRST: f32 = 16.0;
/// Recent rows of which most must lie beyond for the peak to follow them.
const RECENT: u32 = 16;

impl Scale {
    /// Takes in a value of a stream; NaN and infinite values are no values.
    pub(crate) fn observe(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        if self.first.len() as f64 == self.count && self.first.len() < FIRST {
            let mut first = std::mem::take(&mut self.first);
            first.push(value);
            let [low, high] = first_fence(&first);
            *self = Self::default();
            first.iter().for_each(|v| self.push(v.clamp(low, high)));
            if first.len() < FIRST {
                self.first = first;
            }
            return;
        }
        let [low, high] = self.fence();
        if self.count >= MEMORY {
            self.squares *= (MEMORY - 1.0) / self.count;
            self.count = MEMORY - 1.0;
        }
        self.push(value.clamp(low, high));
    }

    /// The mean, and the deviation: above 0 also where all values so far are the same.
    pub(crate) fn centre_and_deviation(&self) -> (f64, f64) {
        let deviation = (self.squares / self.count.max(1.0)).sqrt();
        (self.mean, if deviation > 0.0 { deviation } else { self.mean.abs().max(1.0) })
    }

    /// The range that values are cut to before they enter.
    pub(crate) fn fence(&self) -> [f64; 2] {
        let (mean, deviation) = self.centre_and_deviation();
        if self.first.len() as f64 == self.count { first_fence(&self.first) } else { around(mean, FENCE * deviation) }
    }

    /// How many values it has taken in, at most [`MEMORY`].
    pub(crate) fn rows(&self) -> f64 {
        self.count
    }

    /// The scale of rows that were seen before the stream began.
    pub(crate) fn of(mean: f64, deviation: f64) -> Self {
        let count = FIRST as f64;
        Self { count, mean, squares: deviation * deviation * count, ..Self::default() }
    }
}

fn around(centre: f64, reach: f64) -> [f64; 2] {
    let [low, high] = [centre - reach, centre + reach];
    if low <= high && low.is_finite() && high.is_finite() { [low, high] } else { [f64::MIN, f64::MAX] }
}

/// The fence of the first values: the range of their middle, a tenth left out on either side, several times over.
fn first_fence(first: &[f64]) -> [f64; 2] {
    if first.len() < 4 {
        return [f64::MIN, f64::MAX];
    }
    let mut sorted = first.to_vec();
    sorted.sort_by(f64::total_cmp);
    let trimmed = sorted.len().div_ceil(10);
    let (low, high) = (sorted[trimmed], sorted[sorted.len() - 1 - trimmed]);
    let wide = 3.0 + 30.0 / sorted.len() as f64;
    if high > low {
        let reach = wide * (high - low);
        let [low, high] = [low - reach, high + reach];
        return if low.is_finite() && high.is_finite() { [low, high] } else { [f64::MIN, f64::MAX] };
    }
    around(low, FENCE * low.abs().max(1.0))
}

/// The largest absolute element that rows of a vector have, but for outliers. Written as a number where no row
/// of a stream has been seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "StoredPeak", into = "StoredPeak")]
pub(super) struct Peak {
    pub(super) value: f32,
    /// Largest elements of the first rows.
    first: Vec<f32>,
    /// Rows seen, until there are enough.
    rows: usize,
    /// A bit for each recent row that lay beyond; the newest is the lowest.
    beyond: u16,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum StoredPeak {
    Value(f32),
    Stream { value: f32, first: Vec<f32>, rows: usize, beyond: u16 },
}

impl From<StoredPeak> for Peak {
    fn from(stored: StoredPeak) -> Self {
        match stored {
            StoredPeak::Value(value) => Self::new(value),
            StoredPeak::Stream { value, first, rows, beyond } => Self { value, first, rows, beyond },
        }
    }
}

impl From<Peak> for StoredPeak {
    fn from(peak: Peak) -> Self {
        let Peak { value, first, rows, beyond } = peak;
        if first.is_empty() && rows == 0 && beyond == 0 {
            return Self::Value(value);
        }
        Self::Stream { value, first, rows, beyond }
    }
}

impl Peak {
    /// The peak of rows that are known.
    pub(super) fn new(value: f32) -> Self {
        Self { value, ..Self::default() }
    }

    /// Takes in a row of a stream. Rows of zeros say nothing.
    pub(super) fn observe(&mut self, row: &[f32]) {
        let largest = row.iter().filter(|v| v.is_finite()).fold(0.0f32, |m, v| m.max(v.abs()));
        if largest <= 0.0 {
            return;
        }
        // One that was known before the stream began needs no first rows.
        if self.rows == 0 && self.value > 0.0 {
            self.rows = FIRST;
        }
        if self.rows < FIRST {
            self.rows += 1;
            self.first.push(largest);
            let mut sorted = self.first.clone();
            sorted.sort_by(f32::total_cmp);
            let limit = if sorted.len() < 4 { f32::MAX } else { BEYOND_FIRST * sorted[sorted.len() / 2] };
            self.value = sorted.into_iter().filter(|&v| v <= limit).fold(0.0, f32::max);
            if self.rows == FIRST {
                self.first = Vec::new();
            }
            return;
        }
        let beyond = largest > BEYOND * self.value;
        self.beyond = self.beyond << 1 | u16::from(beyond);
        if !beyond {
            self.value = self.value.max(largest);
        } else if self.beyond.count_ones() > RECENT / 2 {
            (self.value, self.beyond) = (largest, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const GLITCHES: [f64; 4] = [-9_999.0, 99_999.0, 1e6, 9.969_21e36];

    fn deviation(scale: &Scale) -> f64 {
        scale.centre_and_deviation().1
    }

    #[test]
    fn one_absurd_value_anywhere_changes_little() {
        for glitch in GLITCHES {
            for at in [0, 1, 2, 10, 19, 20, 500] {
                let (mut plain, mut hit, mut random) = (Scale::default(), Scale::default(), Random::new(1));
                for row in 0..1_000 {
                    let value = f64::from(random.uniform());
                    plain.observe(value);
                    hit.observe(if row == at { glitch } else { value });
                }
                let ratio = deviation(&hit) / deviation(&plain);
                assert!((0.9..1.3).contains(&ratio), "{glitch} at {at}: {ratio}");
                assert!((hit.mean - 0.5).abs() < 0.1, "{glitch} at {at}: {}", hit.mean);
                assert!(hit.out_of_range(glitch) > 0.9);
            }
        }
    }

    #[test]
    fn glitches_that_come_again_and_again_change_little() {
        let (mut scale, mut random) = (Scale::default(), Random::new(2));
        (0..20_000).for_each(|row| scale.observe(if row % 100 == 50 { 1e6 } else { f64::from(random.uniform()) }));
        assert!(deviation(&scale) < 0.7, "{}", deviation(&scale));
    }

    #[test]
    fn ordinary_values_enter_as_they_are_and_a_change_of_size_is_followed() {
        let (mut plain, mut robust, mut random) = (Scale::default(), Scale::default(), Random::new(3));
        for _ in 0..5_000 {
            let value = f64::from(random.normal());
            plain.push(value);
            robust.observe(value);
        }
        assert_eq!(plain, robust);
        for _ in 0..3_000 {
            robust.observe(1e6 + 1e3 * f64::from(random.normal()));
        }
        assert!(robust.mean > 1e5, "{}", robust.mean);
        let constant = (0..100).fold(Scale::default(), |mut scale, _| {
            scale.observe(5.0);
            scale
        });
        assert_eq!((constant.mean, constant.squares), (5.0, 0.0));
    }

    #[test]
    fn the_peak_ignores_an_outlier_and_follows_most_rows() {
        for at in [0, 10, 100] {
            let mut peak = Peak::default();
            (0..200).for_each(|row| peak.observe(&[0.0, if row == at { 9.9e36 } else { 200.0 + (row % 50) as f32 }]));
            assert_eq!(peak.value, 249.0, "at {at}");
            (0..9).for_each(|_| peak.observe(&[60_000.0]));
            assert_eq!(peak.value, 60_000.0);
        }
        let known: Peak = serde_json::from_str("255.0").unwrap_or_default();
        assert_eq!((known.value, serde_json::to_string(&known).unwrap_or_default()), (255.0, "255.0".into()));
    }
}
