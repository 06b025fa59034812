//! Statistics of numbers and of names.

use super::tail::{Tail, without_outliers};
use crate::data::cell::hash_bytes;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Resolution of a number's tails, in powers of ten.
const STEP: f32 = 0.25;
/// Names whose share is kept.
const MAX_NAMES: usize = 2_000;

/// How many times as wide as the side that it belongs to, and as a deviation, the gap before an outlier is.
const GAP: f32 = 10.0;

/// The usual values of a number.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct UsualNumber {
    centre: f64,
    /// Above 0.
    scale: f64,
    upper: Tail,
    /// Of the negative.
    lower: Tail,
    /// Rarity of no value.
    missing: f32,
}

/// Rarity of what `count` of `rows` rows have; what none has may well be impossible, and counts a hundred times as rare.
pub(super) fn rarity(count: usize, rows: usize) -> f32 {
    let never = if count == 0 { 2.0 } else { 0.0 };
    never - (((count as f32 + 0.5) / (rows as f32 + 1.0)).log10()).min(0.0)
}

/// Deviations of a value from the centre; far ones are cut, so that they stay numbers.
fn standard(value: f64, centre: f64, scale: f64) -> f32 {
    ((value - centre) / scale).clamp(-1e6, 1e6) as f32
}

impl UsualNumber {
    /// Of these values; NaN is none.
    pub(super) fn of(values: &[f64]) -> Self {
        let known: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        let missing = rarity(values.len() - known.len(), values.len());
        let mut sorted = known.clone();
        sorted.sort_by(f64::total_cmp);
        let Some(last) = sorted.len().checked_sub(1) else {
            return Self { scale: 1.0, missing, ..Self::default() };
        };
        let at = |share: f64| sorted[(last as f64 * share).round() as usize];
        let centre = at(0.5);
        // The first non-zero spread: of the middle half, of nine tenths, of all.
        let spreads = [(at(0.75) - at(0.25)) / 1.35, (at(0.95) - at(0.05)) / 3.3, at(1.0) - at(0.0), centre.abs()];
        let scale =
            spreads.into_iter().find(|spread| spread.is_finite() && *spread > 1e-9 * centre.abs()).unwrap_or(1.0);
        let standard = |v: &f64| standard(*v, centre, scale);
        let tail = |sign: f32| {
            let mut side: Vec<f32> = known.iter().map(|v| sign * standard(v)).collect();
            side.sort_by(f32::total_cmp);
            side.truncate(without_outliers(&side, GAP, 1.0));
            Tail::of(side, STEP)
        };
        Self { centre, scale, upper: tail(1.0), lower: tail(-1.0), missing }
    }

    /// Deviations from the centre, and how rare such a value is on its side.
    pub(super) fn measure(&self, value: f64) -> (f32, f32) {
        if !value.is_finite() {
            return (0.0, self.missing);
        }
        let standard = standard(value, self.centre, self.scale);
        // Both sides are tested, so a rare one is half as rare.
        let rarity = self.upper.rarity(standard).max(self.lower.rarity(-standard)) - 0.301;
        (standard, rarity.max(0.0))
    }

    pub(super) fn is_consistent(&self) -> bool {
        self.upper.is_consistent() && self.lower.is_consistent() && self.scale > 0.0
    }
}

/// The names of a category.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct UsualNames {
    /// Hashes of names and their rarity, ascending by hash.
    known: Vec<(u32, f32)>,
    unseen: f32,
    missing: f32,
}

/// The hash of a name.
pub(super) fn hash(name: &str) -> u32 {
    hash_bytes(name.as_bytes(), 17) as u32
}

impl UsualNames {
    /// Of these names.
    pub(super) fn of<'a>(names: impl Iterator<Item = Option<&'a str>>) -> Self {
        let (mut counts, mut rows, mut present) = (HashMap::<u32, usize>::new(), 0, 0);
        for name in names {
            rows += 1;
            if let Some(name) = name {
                present += 1;
                *counts.entry(hash(name)).or_default() += 1;
            }
        }
        let mut counts: Vec<(u32, usize)> = counts.into_iter().collect();
        counts.sort_unstable_by_key(|&(hash, count)| (count, hash));
        let singles = counts.iter().filter(|(_, count)| *count == 1).count();
        // A name is as rare as all that are no more frequent; so many rows have a name that is seen once or not kept.
        let (mut sum, mut known) = (0, Vec::with_capacity(counts.len()));
        let dropped = counts.len().saturating_sub(MAX_NAMES);
        let mut at = 0;
        while at < counts.len() {
            let end = at + counts[at..].iter().take_while(|(_, count)| *count == counts[at].1).count();
            sum += counts[at].1 * (end - at);
            known.extend(counts[at..end].iter().map(|&(hash, _)| (hash, rarity(sum, rows))));
            at = end;
        }
        let lost: usize = counts[..dropped].iter().map(|(_, count)| count).sum();
        let mut known = known.split_off(dropped);
        known.sort_unstable_by_key(|(hash, _)| *hash);
        Self { known, unseen: rarity(singles.max(lost), rows), missing: rarity(rows - present, rows) }
    }

    /// How rare a name is.
    pub(super) fn measure(&self, name: Option<&str>) -> f32 {
        let Some(name) = name else { return self.missing };
        let found = self.known.binary_search_by_key(&hash(name), |(hash, _)| *hash);
        found.map_or(self.unseen, |at| self.known[at].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_beyond_all_and_where_none_was_missing_are_rare() {
        let number = UsualNumber::of(&(0..1000).map(f64::from).collect::<Vec<_>>());
        assert!(number.measure(500.0).1 < 0.1 && number.measure(990.0).1 > 1.5);
        assert!(number.measure(5_000.0).1 > number.measure(999.0).1 + 1.0 && number.measure(-5_000.0).1 > 4.0);
        assert!(number.measure(f64::NAN).1 > 3.0);
        // One outlier is no reason to expect what lies between it and the others; a value of many rows is.
        let with = |outliers: u32| {
            let values = (0..1000).map(|i| if i < outliers { 1e6 } else { f64::from(i) / 1000.0 });
            UsualNumber::of(&values.collect::<Vec<_>>())
        };
        for far in [50.0, 1e6, 1e7] {
            assert!(with(1).measure(far).1 > 4.0, "{far}: {:?}", with(1).measure(far));
        }
        assert!(with(10).measure(1e6).1 < 2.5, "{:?}", with(10).measure(1e6));
        let constant = UsualNumber::of(&[7.0; 50]);
        assert!(constant.measure(7.0).1 < 0.1 && constant.measure(8.0).1 > 1.0);
        assert!(UsualNumber::of(&[f64::NAN; 9]).measure(f64::NAN).1 < 0.1);
    }

    #[test]
    fn unseen_names_are_rare_where_names_repeat_and_not_where_each_is_new() {
        let repeated = UsualNames::of((0..1000).map(|i| Some(if i % 100 == 0 { "rare" } else { "often" })));
        assert!(repeated.measure(Some("often")) < 0.1 && repeated.measure(Some("rare")) > 1.9);
        assert!(repeated.measure(Some("other")) > 3.0 && repeated.measure(None) > 3.0);
        let names: Vec<String> = (0..1000).map(|i| i.to_string()).collect();
        assert!(UsualNames::of(names.iter().map(|n| Some(n.as_str()))).measure(Some("new")) < 0.1);
    }
}
