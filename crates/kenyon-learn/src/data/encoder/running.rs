//! Scales that are estimated from a stream, row by row: robust, so that an outlier affects a few rows and not
//! thousands, and exponentially weighted, so that they follow a change.
//!
//! A number's mean and deviation are winsorised (Huber 1981, "Robust Statistics"): a value is clipped to
//! at most [`FENCE`] deviations from the mean. Outliers up to a share of 1 / [`FENCE`]² leave the deviation bounded,
//! and values that really have another size widen it row by row until they fit.

use super::scale::Scale;

/// Deviations from the mean at which a value is clipped before it is added; encoded values are clipped there, too.
const FENCE: f64 = super::scale::LARGEST;
/// Values of a new stream that are kept, because an outlier among the first is visible only by comparison.
const FIRST: usize = 20;
/// Values after which another outlier is alone again.
const ALONE: u32 = 50;
/// Window of the mean and the deviation, in rows.
const MEMORY: f64 = 10_000.0;

impl Scale {
    /// Adds a value of a stream; NaN and infinite values are ignored.
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
        // A single outlier is no evidence of the scale; one that is not alone may be a change of it.
        if value < low || value > high {
            let alone = self.since_outlier.replace(0).is_none_or(|rows| rows > ALONE);
            if alone {
                return;
            }
        } else if let Some(rows) = &mut self.since_outlier {
            *rows = rows.saturating_add(1);
        }
        self.push(value.clamp(low, high));
    }

    /// The mean, and the deviation: above 0 also where all values so far are the same.
    pub(crate) fn centre_and_deviation(&self) -> (f64, f64) {
        let deviation = (self.squares / self.count.max(1.0)).sqrt();
        (self.mean, if deviation > 0.0 { deviation } else { self.mean.abs().max(1.0) })
    }

    /// The range that values are clipped to before they are added.
    pub(crate) fn fence(&self) -> [f64; 2] {
        let (mean, deviation) = self.centre_and_deviation();
        if self.first.len() as f64 == self.count { first_fence(&self.first) } else { around(mean, FENCE * deviation) }
    }

    /// How many values were added, at most [`MEMORY`].
    pub(crate) fn rows(&self) -> f64 {
        self.count
    }

    /// The scale of rows from before the stream began.
    pub(crate) fn of(mean: f64, deviation: f64) -> Self {
        let count = FIRST as f64;
        Self { count, mean, squares: deviation * deviation * count, ..Self::default() }
    }
}

fn around(centre: f64, reach: f64) -> [f64; 2] {
    let [low, high] = [centre - reach, centre + reach];
    if low <= high && low.is_finite() && high.is_finite() { [low, high] } else { [f64::MIN, f64::MAX] }
}

/// The fence of the first values: the range of their middle, without a tenth on either side, several times over.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const OUTLIERS: [f64; 4] = [-9_999.0, 99_999.0, 1e6, 9.969_21e36];

    fn deviation(scale: &Scale) -> f64 {
        scale.centre_and_deviation().1
    }

    #[test]
    fn one_absurd_value_anywhere_changes_little() {
        for outlier in OUTLIERS {
            for at in [0, 1, 2, 10, 19, 20, 500] {
                let (mut plain, mut hit, mut random) = (Scale::default(), Scale::default(), Random::new(1));
                for row in 0..1_000 {
                    let value = f64::from(random.uniform());
                    plain.observe(value);
                    hit.observe(if row == at { outlier } else { value });
                }
                let ratio = deviation(&hit) / deviation(&plain);
                assert!((0.9..1.3).contains(&ratio), "{outlier} at {at}: {ratio}");
                assert!((hit.mean - 0.5).abs() < 0.1, "{outlier} at {at}: {}", hit.mean);
                assert!(hit.out_of_range(outlier) > 0.9);
            }
        }
    }

    #[test]
    fn outliers_that_recur_change_little() {
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
}
