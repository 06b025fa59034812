//! Standardising numbers, and how far beyond the fitted range a number lies.

use super::peak::Peak;
use serde::{Deserialize, Serialize};

/// Standardised values are clipped here: one extreme cell must not dominate a row.
pub(super) const LARGEST: f64 = 8.0;

/// How a vector's elements are scaled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Scaling {
    /// Divided by the largest: pixels and other counts whose zeros mean "nothing".
    Largest(Peak),
    /// Each element by its own mean and deviation; a deviation of 0 leaves the element out.
    Standard {
        mean: Vec<f32>,
        inverse: Vec<f32>,
        /// Least and largest element of all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        span: Option<[f64; 2]>,
    },
}

/// Running mean and deviation (Welford).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scale {
    pub(super) count: f64,
    pub(super) mean: f64,
    pub(super) squares: f64,
    /// Least and largest so far; none in models from before they were stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) span: Option<[f64; 2]>,
    /// Of a stream: values since the last outlier; none before there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) since_outlier: Option<u32>,
    /// The first values of a stream, see [`Scale::observe`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) first: Vec<f64>,
}

/// Number of values from which on the observed range is used for novelty.
pub(super) const KNOWN: f64 = 20.0;

/// How far beyond the range `low..high` a value lies, as novelty: 0 up to half a range beyond, towards 1
/// from there on (0.63 at one range, 0.95 at two).
pub(super) fn beyond([low, high]: [f64; 2], value: f64) -> f32 {
    let distance = (low - value).max(value - high);
    if distance.is_nan() || distance <= 0.0 {
        return 0.0;
    }
    let range = if high > low { (high - low).min(f64::MAX) } else { high.abs().max(1.0) };
    let past = (distance.min(f64::MAX) / range - 0.5).max(0.0);
    (1.0 - (-2.0 * past).exp()) as f32
}

/// Numbers beyond this are cut in statistics, so that their squares stay finite.
pub(super) const MOST: f64 = 1e140;

/// Interquartile ranges from the middle half of a column beyond which a value does not count for its scale.
const FAR: f64 = 1e4;

/// The values of a sorted column that its scale is computed from.
pub(super) fn sane(sorted: &[f64]) -> [f64; 2] {
    let at = |share: usize| sorted[(sorted.len() - 1) * share / 4].clamp(-MOST, MOST);
    let (low, high) = (at(1), at(3));
    let reach = (high - low) * FAR;
    if reach > 0.0 { [low - reach, high + reach] } else { [-MOST, MOST] }
}

impl Scale {
    pub(super) fn push(&mut self, value: f64) {
        if value.is_finite() {
            let value = value.clamp(-MOST, MOST);
            self.count += 1.0;
            let delta = value - self.mean;
            self.mean += delta / self.count;
            self.squares += delta * (value - self.mean);
            let [low, high] = self.span.unwrap_or([value, value]);
            self.span = Some([low.min(value), high.max(value)]);
        }
    }

    /// The value whose standardised form is `standard`, to six digits: further ones are rounding errors.
    pub(super) fn invert(&self, standard: f32) -> f64 {
        let value = self.mean + f64::from(standard) * (self.squares / self.count.max(1.0)).sqrt();
        format!("{value:.5e}").parse().unwrap_or(value)
    }

    /// How far beyond the observed range a value lies, in `[0, 1]`.
    pub(super) fn out_of_range(&self, value: f64) -> f32 {
        match self.span {
            Some(span) if self.count >= KNOWN => beyond(span, value),
            _ => 0.0,
        }
    }

    pub(super) fn apply(&self, value: f64) -> f32 {
        let deviation = (self.squares / self.count.max(1.0)).sqrt();
        let centred = value.clamp(-MOST, MOST) - self.mean;
        let standard = if deviation > 0.0 { centred / deviation } else { centred.clamp(-1.0, 1.0) };
        if standard.is_finite() { standard.clamp(-LARGEST, LARGEST) as f32 } else { 0.0 }
    }
}
