//! The range of a stream's targets: values out of range are refused before they are stored, outliers are clipped
//! to the edge of the usual range.

use crate::data::encoder::Scale;
use crate::{Detail, Error, Result};
use serde::{Deserialize, Serialize};

/// Larger targets are refused: squares of their differences must fit in 32 bits.
const LARGEST: f64 = 1e15;
/// Targets this many deviations from the mean of earlier ones are refused.
const FAR: f64 = 1e6;
/// Number of targets from which on the deviation is used.
const KNOWN: f64 = 20.0;
/// Deviations between the mean and the experts' initial centre from which on they restart.
const ASTRAY: f64 = 1e4;

/// The targets so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct TargetRange {
    scale: Scale,
}

impl TargetRange {
    /// The statistics of the rows a model was trained on.
    pub(super) fn of(mean: f64, deviation: f64) -> Self {
        Self { scale: Scale::of(mean, deviation) }
    }

    /// Whether there was no target yet.
    pub(super) fn is_empty(&self) -> bool {
        self.scale.rows() == 0.0
    }

    /// Whether these targets of column `name`, NaN where there is none, can be learned in this order.
    pub(super) fn check(&self, name: &str, targets: &[f64]) -> Result<()> {
        let mut seen = self.clone();
        let mut details = Vec::new();
        for (row, &target) in targets.iter().enumerate() {
            if let Some(reason) = seen.refuses(target) {
                details.push(Detail::cell(row as u64, name, reason));
            } else {
                seen.scale.observe(target);
            }
        }
        if details.is_empty() {
            return Ok(());
        }
        let detail = format!("{name}: a target is out of range; no row was observed");
        Err(Error::unprocessable("target_out_of_range", detail).with_details(details))
    }

    fn refuses(&self, target: f64) -> Option<String> {
        if target.is_nan() {
            return None;
        }
        if target.abs() > LARGEST {
            return Some(format!("{target:e} is beyond ±{LARGEST:e}; use a larger unit"));
        }
        let (mean, deviation) = self.scale.centre_and_deviation();
        let usual = deviation.max(mean.abs() * 1e-3);
        (self.scale.rows() >= KNOWN && (target - mean).abs() > FAR * usual).then(|| {
            format!("{target:e} is more than {FAR:e} deviations from the targets so far, {mean:.4e} ± {usual:.1e}")
        })
    }

    /// Adds the next target; the target to learn in its place, none for out-of-range values in the log of an older
    /// version.
    pub(super) fn learn(&mut self, target: f64) -> Option<f64> {
        if target.is_nan() || target.abs() > LARGEST {
            return None;
        }
        self.scale.observe(target);
        Some(self.usual(target))
    }

    /// A target as it is learned.
    pub(super) fn usual(&self, target: f64) -> f64 {
        let [low, high] = self.scale.fence();
        target.clamp(low, high)
    }

    /// The centre that experts should restart with, where the one they have, `mean`, was that of an outlier
    /// among the first targets.
    pub(super) fn astray(&self, mean: f64) -> Option<f64> {
        let (centre, deviation) = self.scale.centre_and_deviation();
        (self.scale.rows() == KNOWN && (centre - mean).abs() > ASTRAY * deviation).then_some(centre)
    }
}

/// The median of the targets.
pub(super) fn median(targets: &[f64]) -> Option<f64> {
    let mut known: Vec<f64> = targets.iter().copied().filter(|t| t.abs() <= LARGEST).collect();
    known.sort_by(f64::total_cmp);
    known.get(known.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn absurd_targets_are_refused_with_their_row() {
        let mut range = TargetRange::default();
        let refused = range.check("y", &[1.0, f64::NAN, 1e300, 2.0, -1e39]).unwrap_err();
        assert_eq!(refused.code, "target_out_of_range");
        assert_eq!(refused.details.iter().map(|d| d.row).collect::<Vec<_>>(), [Some(2), Some(4)]);
        (0..100).for_each(|i| assert!(range.learn(f64::from(i % 10)).is_some()));
        assert_eq!(range.check("y", &[5.0, 1e9]).unwrap_err().details[0].row, Some(1));
        range.check("y", &[99_999.0]).unwrap();
        assert!(range.learn(99_999.0).unwrap() < 40.0);
        assert_eq!(range.learn(1e300), None);
    }

    #[test]
    fn a_large_offset_is_no_outlier_and_a_first_outlier_is_found() {
        let mut range = TargetRange::default();
        (0..100).for_each(|i| assert_eq!(range.learn(1.7e9 + f64::from(i)), Some(1.7e9 + f64::from(i))));
        let mut range = TargetRange::default();
        range.learn(1e14);
        for i in 1..20 {
            range.learn(f64::from(i));
        }
        assert!(range.astray(1e14).unwrap() < 30.0);
    }
}
