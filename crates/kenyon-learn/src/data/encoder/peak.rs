//! The largest element of a vector's rows, estimated from a stream: robust against a few outliers.

use serde::{Deserialize, Serialize};

/// First rows that are kept, because an outlier among them is visible only by comparison.
const FIRST: usize = 20;
/// A row whose largest element is this many times the largest so far is an outlier, unless most rows are.
const BEYOND: f32 = 4.0;
/// The same among the first rows, against their median.
const BEYOND_FIRST: f32 = 16.0;
/// Recent rows of which most must lie beyond for the peak to follow them.
const RECENT: u32 = 16;

/// The largest absolute element of a vector's rows, without outliers. Written as a number where no row
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
    /// The peak of known rows.
    pub(super) fn new(value: f32) -> Self {
        Self { value, ..Self::default() }
    }

    /// Adds a row of a stream. Rows of zeros carry no information.
    pub(super) fn observe(&mut self, row: &[f32]) {
        let largest = row.iter().filter(|v| v.is_finite()).fold(0.0f32, |m, v| m.max(v.abs()));
        if largest <= 0.0 {
            return;
        }
        // A peak that was fitted before the stream began needs no first rows.
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
