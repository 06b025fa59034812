//! The sources of a stream: rows and errors of each, which a server takes from the keys of its requests.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Sources that are counted one by one; rows of further ones are counted together.
const MOST: usize = 200;
/// The name of those further ones.
const OTHERS: &str = "*";

/// What a source has contributed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct SourceFigures {
    rows: u64,
    labelled: u64,
    /// Wrong answers to its labelled rows, or the sum of absolute errors.
    error: f64,
    /// Rows that were held back.
    #[serde(default)]
    held: u64,
}

/// Figures by source; the empty name is that of rows without one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sources {
    by_name: BTreeMap<String, SourceFigures>,
}

impl Sources {
    fn of(&mut self, source: &str) -> &mut SourceFigures {
        let full = self.by_name.len() >= MOST && !self.by_name.contains_key(source);
        self.by_name.entry(if full { OTHERS } else { source }.to_owned()).or_default()
    }

    /// Counts rows of a record.
    pub(super) fn rows(&mut self, source: &str, rows: u64) {
        self.of(source).rows += rows;
    }

    /// Counts a labelled row, whose answer before it was learned was this far from its label.
    pub(super) fn error(&mut self, source: &str, error: f64) {
        let figures = self.of(source);
        figures.labelled += 1;
        figures.error += error;
    }

    /// Counts a row that was held back.
    pub(super) fn held(&mut self, source: &str) {
        self.of(source).held += 1;
    }

    /// Rows of a source.
    pub(super) fn rows_of(&self, source: &str) -> u64 {
        self.by_name.get(source).map_or(0, |figures| figures.rows)
    }

    /// A list for readers, the largest contributors first.
    pub(super) fn report(&self, regression: bool) -> Value {
        let all: u64 = self.by_name.values().map(|figures| figures.rows).sum();
        let mut sources: Vec<_> = self.by_name.iter().collect();
        sources.sort_by_key(|(name, figures)| (std::cmp::Reverse(figures.rows), *name));
        let one = |(name, figures): (&String, &SourceFigures)| {
            let mean = (figures.labelled > 0).then(|| figures.error / figures.labelled as f64);
            let key = (!name.is_empty()).then_some(name);
            let share = figures.rows as f64 / all.max(1) as f64;
            let mut one = json!({"key": key, "rows": figures.rows, "labelled": figures.labelled, "quarantined": figures.held, "share": share});
            match regression {
                true => one["mae"] = json!(mean),
                false => one["accuracy"] = json!(mean.map(|wrong| 1.0 - wrong)),
            }
            one
        };
        sources.into_iter().map(one).collect()
    }
}
