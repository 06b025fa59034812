//! Histograms of columns: equal bars of numbers, the most frequent names; also of several parts as one.

use super::ColumnInfo;
use crate::data::{cell, kinds};
use std::collections::HashMap;

/// Bars of a histogram.
pub(super) const BARS: usize = 20;

/// The bars of several histograms as bars between `low` and `high`.
pub(super) fn rebin<'a>(columns: impl IntoIterator<Item = &'a ColumnInfo>, low: f64, high: f64) -> Vec<(String, u64)> {
    let mut counts = [0u64; BARS];
    for column in columns {
        let Some((from, to)) = column.min.zip(column.max) else { continue };
        let parts = column.histogram.len().max(1) as f64;
        let width = to / parts - from / parts;
        for (i, (_, count)) in column.histogram.iter().enumerate() {
            counts[bar(from + width * (i as f64 + 0.5), low, high)] += count;
        }
    }
    label(&counts, low, high)
}

/// The bar a number falls into; halves, so that the widest range there is does not overflow.
/// The bar of `x`.
pub(super) fn bar(x: f64, low: f64, high: f64) -> usize {
    let share = (x / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0);
    if high > low && !share.is_nan() { (share * BARS as f64).clamp(0.0, BARS as f64 - 1.0) as usize } else { 0 }
}

/// Bars with the numbers they begin at.
pub(super) fn label(counts: &[u64; BARS], low: f64, high: f64) -> Vec<(String, u64)> {
    if high <= low {
        return vec![(cell::number_text(low), counts.iter().sum())];
    }
    let step = high / BARS as f64 - low / BARS as f64;
    counts.iter().enumerate().map(|(i, n)| (format!("{:.4}", low + step * i as f64), *n)).collect()
}

/// The most frequent names, with their counts.
pub(super) fn most_frequent(counts: impl Iterator<Item = (String, u64)>) -> Vec<(String, u64)> {
    let mut counts: Vec<_> = counts.collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counts.truncate(BARS);
    counts
}

/// The histograms of names of two parts of a column as one.
pub(super) fn join_names(a: &[(String, u64)], b: &[(String, u64)]) -> Vec<(String, u64)> {
    let mut counts: HashMap<String, (&str, u64)> = HashMap::new();
    for (written, count) in a.iter().chain(b) {
        counts.entry(kinds::canonical(written).into_owned()).or_insert((written, 0)).1 += count;
    }
    most_frequent(counts.into_values().map(|(written, count)| (written.to_owned(), count)))
}
