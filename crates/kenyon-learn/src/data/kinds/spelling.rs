//! The spelling of one column's cells: which words mean "no value", decimal commas, the order of dates.
//! Inferred when a file is read, stored with the column, and used for every row that is read for it later.

use crate::data::cell::parse_number;
use serde::{Deserialize, Serialize};

/// The spelling of a column's cells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Spelling {
    /// Words that mean "no value" in this column.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Numbers have a decimal comma: `1.234,5`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub decimal_comma: bool,
    /// No number of a column with decimal commas has separators of thousands: `9.876` is a decimal point.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ungrouped: bool,
    /// `03/04/2024` is the third of April.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub day_first: bool,
    /// Booleans that are the numbers 1 and 0.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub booleans: bool,
    /// The rules for columns from before spellings were stored.
    #[serde(skip)]
    pub(in crate::data) legacy: bool,
}

/// The spelling of columns from before spellings were stored.
static LEGACY: Spelling = Spelling {
    missing: Vec::new(),
    decimal_comma: false,
    ungrouped: false,
    day_first: false,
    booleans: false,
    legacy: true,
};

impl Spelling {
    /// A column's spelling, or the rules from before spellings were stored.
    pub(in crate::data) fn of(spelling: &Option<Self>) -> &Self {
        spelling.as_ref().unwrap_or(&LEGACY)
    }

    /// Whether an unquoted field of a file means "no value".
    pub(in crate::data) fn is_missing(&self, text: &str) -> bool {
        if self.legacy { is_plain_word(text) || matches!(text, "none" | "?") } else { self.lists(text) }
    }

    /// Whether a word, quoted or not, means "no value": in rows that are sent, whose writers quote all text.
    pub(in crate::data) fn lists(&self, text: &str) -> bool {
        self.missing.iter().any(|word| word == text)
    }

    /// Whether a number means "no value".
    #[inline]
    pub(in crate::data) fn lists_number(&self, x: f64) -> bool {
        self.missing.iter().any(|word| parse_number(word) == Some(x))
    }

    /// Adds the words of `other`.
    pub(in crate::data) fn merge(&mut self, other: &Self) {
        for word in &other.missing {
            if !self.lists(word) {
                self.missing.push(word.clone());
            }
        }
    }
}

/// Evidence that only one reading of a column's ambiguous cells allows, counted.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::data) struct Evidence {
    /// Numbers such as `1,234.5`.
    pub(in crate::data) point: u64,
    /// Numbers such as `1.234,5`.
    pub(in crate::data) comma: u64,
    /// Numbers such as `1,234`.
    pub(in crate::data) either: u64,
    /// Numbers such as `1.234.567`: points between groups of digits.
    pub(in crate::data) points_in_groups: u64,
    /// Numbers with a comma for decimals and points between groups, such as `1.234,5`, those before among them.
    pub(in crate::data) grouped: u64,
    /// Dates such as `31/12/2024`.
    pub(in crate::data) day_first: u64,
    /// Dates such as `12/31/2024`.
    pub(in crate::data) month_first: u64,
    /// Ambiguous dates with slashes, which are written month first more often than not.
    pub(in crate::data) slashes: u64,
    /// Dates such as `03/04/2024`, in slashes or not, which nothing decides.
    pub(in crate::data) either_order: u64,
    /// Months that may be seasons of two years, such as `2010-11`.
    pub(in crate::data) seasons: u64,
}

impl Evidence {
    /// Whether dates have the day first; other separators than slashes are European.
    pub(in crate::data) fn is_day_first(&self) -> bool {
        if self.day_first == self.month_first { self.slashes == 0 } else { self.day_first > self.month_first }
    }
}

/// Words for "no value" that are hardly ever values.
fn is_plain_word(text: &str) -> bool {
    matches!(text, "NA" | "N/A" | "n/a" | "#N/A" | "<NA>" | "null" | "NULL" | "Null" | "None") || text.is_empty()
}

/// Words for "no value" that a column of names treats as one.
pub(in crate::data) fn is_word(text: &str) -> bool {
    is_plain_word(text) || matches!(text, "nan" | "NaN" | "NAN" | "-nan" | "NaT" | "nat" | "na" | "#NA" | "#NULL!")
}

/// Words that mean "no value" among numbers, dates and booleans, but may be a name among names.
pub(in crate::data) fn is_weak_word(text: &str) -> bool {
    const WORDS: [&str; 17] = [
        "-",
        "--",
        "---",
        "?",
        ".",
        "..",
        "none",
        "unknown",
        "missing",
        "n.a.",
        "nil",
        "undefined",
        "unk",
        "not available",
        "#div/0!",
        "#value!",
        "\u{2013}",
    ];
    text.len() <= 13 && WORDS.iter().any(|word| word.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_distinguished() {
        assert!(is_word("NA") && is_word("") && is_word("NaN") && !is_word("0") && !is_word("none"));
        assert!(is_weak_word("none") && is_weak_word("-") && is_weak_word("Unknown") && !is_weak_word("-1"));
        let old = Spelling::of(&None);
        assert!(old.is_missing("none") && old.is_missing("NA") && !old.lists("NA") && !old.is_missing("-"));
    }
}
