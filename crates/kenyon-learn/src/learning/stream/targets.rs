//! The range of a stream's targets: values out of range are refused before they are stored, outliers are clipped
//! to the edge of the usual range. A sample of the targets gives their span, which intervals are clipped to and compared with.

use crate::data::encoder::Scale;
use crate::data::target::TargetEncoder;
use crate::learning::bundle::Bundle;
use crate::learning::calibrate::TargetSpan;
use crate::random::Random;
use crate::{Detail, Error, Result};
use serde::{Deserialize, Serialize};

/// Larger targets are refused: squares of their differences must fit in 32 bits.
const LARGEST: f64 = 1e15;
/// Targets this many deviations from the mean of earlier ones are refused.
const FAR: f64 = 1e6;
/// Number of targets from which on the deviation is used.
const KNOWN: f64 = 20.0;
/// Deviations between the mean and the experts' initial centre from which on they restart.
const RESTART_DEVIATIONS: f64 = 1e4;

/// Targets that are kept as a sample. Of so many, one has a twentieth of the others on one side.
const KEPT: usize = 501;
/// Number of newest targets that the sample stands for, about: it follows changes.
const MEMORY: u64 = 10_000;
/// Deviations from the mean within which nine tenths of a normal distribution lie.
const NINE_TENTHS: f64 = 1.645;

/// The targets so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct TargetRange {
    scale: Scale,
    /// Empty in states from before it was kept.
    #[serde(default)]
    sample: TargetSample,
}

/// A sample of the targets as they were observed, outliers among them, and the ends of all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct TargetSample {
    values: Vec<f64>,
    /// Number of targets.
    rows: u64,
    /// The least and the largest, from the first target on.
    ends: Option<[f64; 2]>,
}

impl TargetSample {
    /// As if targets had been observed that lie evenly within the middle nine tenths of this span, and as densely beyond.
    fn of(span: TargetSpan) -> Self {
        let value = |i: usize| {
            let share = (i as f64 / (KEPT - 1) as f64 - 0.05) / 0.9;
            (span.low * (1.0 - share) + span.high * share).max(span.least).min(span.most)
        };
        Self { values: (0..KEPT).map(value).collect(), rows: KEPT as u64, ends: Some([span.least, span.most]) }
    }

    /// Of the targets that a model was trained on. Where it is from before spans were stored, any may have been among them.
    fn over(base: &Bundle) -> Self {
        let TargetEncoder::Number { mean, std } = base.config.target_encoder else { return Self::default() };
        base.config.calibration.target.map_or_else(|| Self::about(mean, std), Self::of)
    }

    /// Of normal targets of which some may have been anywhere.
    fn about(mean: f64, deviation: f64) -> Self {
        let reach = NINE_TENTHS * deviation;
        Self::of(TargetSpan { least: -LARGEST, low: mean - reach, high: mean + reach, most: LARGEST })
    }

    /// Adds a target (reservoir sampling; from [`MEMORY`] targets on, older ones leave at a constant rate).
    fn add(&mut self, target: f64) {
        let [least, most] = self.ends.unwrap_or([target; 2]);
        self.ends = Some([least.min(target), most.max(target)]);
        self.rows += 1;
        if self.values.len() < KEPT {
            self.values.push(target);
            return;
        }
        let among = self.rows.min(MEMORY) as usize;
        let at = Random::stream(0, "sample of targets", self.rows).below(among);
        if let Some(kept) = self.values.get_mut(at) {
            *kept = target;
        }
    }
}

impl TargetRange {
    /// Before the first row of a stream over a trained model.
    pub(super) fn over(base: &Bundle) -> Self {
        let sample = TargetSample::over(base);
        match base.config.target_encoder {
            TargetEncoder::Number { mean, std } => Self { scale: Scale::of(mean, std), sample },
            TargetEncoder::Classes(_) => Self::default(),
        }
    }

    /// The same with a sample where the state is from before one was kept. Where it has `learned`, any target may have been
    /// observed.
    pub(super) fn completed(mut self, base: Option<&Bundle>, learned: bool) -> Self {
        if self.sample.rows == 0 {
            self.sample = match base {
                Some(base) => TargetSample::over(base),
                None if !self.is_empty() => {
                    let (mean, deviation) = self.scale.centre_and_deviation();
                    TargetSample::about(mean, deviation)
                }
                None => TargetSample::default(),
            };
            if learned {
                self.sample.ends = Some([-LARGEST, LARGEST]);
            }
        }
        self
    }

    /// The span of the targets, those of a trained model that it began with among them; none before the first.
    pub(super) fn span(&self) -> Option<TargetSpan> {
        let [least, most] = self.sample.ends?;
        Some(TargetSpan { least, most, ..TargetSpan::of(self.sample.values.iter().copied())? })
    }

    /// Whether there was no target yet.
    pub(super) fn is_empty(&self) -> bool {
        self.scale.rows() == 0.0
    }

    /// Whether these targets of column `name`, NaN where there is none, can be learned in this order.
    pub(super) fn check(&self, name: &str, targets: &[f64]) -> Result<()> {
        let mut seen = Self { scale: self.scale.clone(), ..Self::default() };
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
        self.sample.add(target);
        Some(self.usual(target))
    }

    /// A target as it is learned.
    pub(super) fn usual(&self, target: f64) -> f64 {
        let [low, high] = self.scale.fence();
        target.clamp(low, high)
    }

    /// The centre that experts should restart with, where the one they have, `mean`, was that of an outlier
    /// among the first targets.
    pub(super) fn restart_centre(&self, mean: f64) -> Option<f64> {
        let (centre, deviation) = self.scale.centre_and_deviation();
        (self.scale.rows() == KNOWN && (centre - mean).abs() > RESTART_DEVIATIONS * deviation).then_some(centre)
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
        assert!(range.restart_centre(1e14).unwrap() < 30.0);
    }

    #[test]
    fn the_span_follows_a_change_and_its_ends_are_those_of_all_targets() {
        let mut range = TargetRange::default();
        assert_eq!(range.span(), None);
        for i in 0..2_000 {
            range.learn(f64::from(i % 100));
        }
        let span = range.span().unwrap();
        assert_eq!((span.least, span.most), (0.0, 99.0));
        assert!((span.low - 5.0).abs() < 4.0 && (span.high - 94.0).abs() < 4.0, "{span:?}");
        for i in 0..60_000 {
            range.learn(1_000.0 + f64::from(i % 100));
        }
        let span = range.span().unwrap();
        assert!(span.least == 0.0 && span.low > 1_000.0 && span.high - span.low < 100.0, "{span:?}");
    }

    #[test]
    fn a_sample_begins_with_the_span_of_a_model_and_of_earlier_states_nothing_is_claimed() {
        let trained = TargetSpan { least: 0.0, low: 10.0, high: 20.0, most: 21.0 };
        let mut range = TargetRange { sample: TargetSample::of(trained), ..TargetRange::default() };
        let span = range.span().unwrap();
        assert!((span.low - 10.0).abs() + (span.high - 20.0).abs() < 1e-9, "{span:?}");
        assert_eq!((span.least, span.most), (0.0, 21.0));
        range.learn(-1.0);
        assert_eq!(range.span().map(|span| (span.least, span.most)), Some((-1.0, 21.0)));
        let mut saved = serde_json::to_value(&range).unwrap();
        saved.as_object_mut().unwrap().remove("sample");
        let earlier: TargetRange = serde_json::from_value(saved).unwrap();
        let mut earlier = earlier.completed(None, true);
        earlier.learn(5.0);
        assert_eq!(earlier.span().map(|span| span.clip([-3.0, 8.0])), Some([-3.0, 8.0]));
        assert_eq!(TargetRange::default().completed(None, false), TargetRange::default());
    }
}
