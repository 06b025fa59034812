//! Warnings of a dataset about columns and rows.

use super::stats::Stats;
use super::{ColumnInfo, ColumnKind, Unused};
use crate::data::cell::{self, Cell, hash_bytes, mix};
use crate::data::warning::{MAX_EXAMPLES, Warning, WarningCode, WarningExample};
use crate::data::written::number_value;
use serde_json::Value;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Rows below which there is no warning about a column whose values are all different.
const MIN_ROWS: u64 = 20;
/// A value is extreme this many times the span of the middle 90 % beyond it.
const EXTREME: f64 = 20.0;
/// Row hashes kept at most.
const ROW_HASHES: usize = 1 << 16;

/// Finds repeated rows in constant memory: of many rows a sample by hash is kept.
#[derive(Default)]
pub(super) struct DuplicateRows {
    row: u64,
    level: u32,
    first: HashMap<u64, (u64, u64)>,
    examples: Vec<u64>,
}

impl DuplicateRows {
    /// A value of the current row.
    #[inline]
    pub(super) fn cell(&mut self, column: usize, value: &Cell<'_>) {
        let hash = match value {
            Cell::Missing | Cell::Nested => return,
            Cell::Boolean(b) => u64::from(*b) + 1,
            Cell::Integer(x) => mix(*x as u64 ^ 3),
            Cell::Number(x) | Cell::Moment(x) => x.to_bits(),
            Cell::Text(t) | Cell::Raw(t) | Cell::Quoted(t) => hash_bytes(t.as_bytes(), 1),
            Cell::Bytes(b) => hash_bytes(b, 2),
            Cell::List(list) => {
                let numbers = list.numbers.iter().fold(list.len as u64, |h, x| mix(h ^ x.to_bits()));
                hash_bytes(list.text.as_bytes(), numbers)
            }
        };
        // A sum, so that the order of fields does not matter.
        self.row = self.row.wrapping_add(mix(hash ^ (column as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    }

    /// The row with this number, from 1, is complete.
    pub(super) fn end_row(&mut self, number: u64) {
        let hash = mix(std::mem::take(&mut self.row));
        if hash.trailing_zeros() < self.level {
            return;
        }
        match self.first.entry(hash) {
            Entry::Occupied(mut entry) => {
                entry.get_mut().1 += 1;
                if self.examples.len() < MAX_EXAMPLES {
                    self.examples.push(number);
                }
            }
            Entry::Vacant(entry) => drop(entry.insert((number, 0))),
        }
        while self.first.len() > ROW_HASHES {
            self.level += 1;
            let level = self.level;
            self.first.retain(|hash, _| hash.trailing_zeros() >= level);
        }
    }

    /// The warning, where there were some.
    pub(super) fn warning(&self, rows: u64) -> Option<Warning> {
        let repeated = self.first.values().map(|(_, n)| n).sum::<u64>() << self.level;
        (repeated > 0).then(|| {
            let about = if self.level > 0 { "about " } else { "" };
            let detail = format!("{about}{repeated} of {rows} rows repeat another row");
            let examples = self.examples.iter().map(|row| WarningExample { row: *row, value: Value::Null }).collect();
            Warning { rows: repeated, examples, ..Warning::new(WarningCode::DuplicateRows, None, detail) }
        })
    }
}

/// Whether the values number or name the rows: as many as rows, and integers or names.
fn all_different(info: &ColumnInfo, rows: u64) -> bool {
    let kind = info.kind == ColumnKind::Category || (info.kind == ColumnKind::Number && info.whole);
    kind && rows >= 2 && info.missing == 0 && info.distinct as f64 >= 0.95 * rows as f64
}

/// A column that the file has no name for and whose values number the rows is left out unless a training names it.
pub(super) fn mark_index(info: &mut ColumnInfo, rows: u64, unnamed: bool) {
    if unnamed && info.unused.is_none() && all_different(info, rows) {
        info.unused = Some(Unused::Index);
    }
}

/// Warnings about a finished column, from its statistics alone.
pub(super) fn of_column(info: &ColumnInfo, rows: u64) -> Option<Warning> {
    let warning = |code, detail: String| Some(Warning { rows, ..Warning::new(code, Some(&info.name), detail) });
    if info.unused == Some(Unused::Unreadable) || info.members.is_some() {
        return None;
    }
    if info.unused == Some(Unused::Index) {
        let detail =
            "it numbers or names the rows and has no name of its own; it is left out unless `features` names it";
        return warning(WarningCode::Identifier, detail.into());
    }
    if rows >= 2 && info.missing >= rows {
        return warning(WarningCode::Constant, "no row has a value".into());
    }
    if rows >= 2 && info.distinct == 1 && info.missing == 0 {
        return warning(WarningCode::Constant, "every row has the same value".into());
    }
    let dense = info.min.zip(info.max).is_some_and(|(low, high)| high - low < 1.5 * rows as f64);
    if rows >= MIN_ROWS && all_different(info, rows) {
        let detail = "nearly every row has a value of its own";
        if info.kind == ColumnKind::Category || dense {
            return warning(WarningCode::Identifier, detail.into());
        }
        if is_key(&info.name) {
            return warning(WarningCode::Identifier, format!("{detail}, and the name is one of identifiers"));
        }
    }
    None
}

/// Whether a name suggests that its column identifies rows. A warning alone depends on it: how the column is used does not.
fn is_key(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    ["id", "uuid", "guid", "key", "index", "rowid", "row_number"].contains(&lower.as_str())
        || lower.ends_with("_id")
        || lower.starts_with("id_")
        || name.ends_with("Id")
        || name.ends_with("ID")
}

/// Numbers far beyond all others: `999999` among ages. `at` are the rows of the smallest and largest.
pub(super) fn extremes(stats: &Stats, info: &ColumnInfo) -> Option<Warning> {
    let ((low, high), sample) = (info.min.zip(info.max)?, &stats.sample);
    if info.kind != ColumnKind::Number {
        return None;
    }
    let mut sorted: Vec<f64> = sample.iter().map(|x| f64::from(*x)).filter(|x| x.is_finite()).collect();
    if sorted.len() < MIN_ROWS as usize {
        return None;
    }
    sorted.sort_unstable_by(f64::total_cmp);
    let quantile = |q: f64| sorted[((sorted.len() - 1) as f64 * q) as usize];
    let (from, to) = (quantile(0.05), quantile(0.95));
    let span = to - from;
    if span <= 0.0 {
        return None;
    }
    let (below, above) = (from - EXTREME * span, to + EXTREME * span);
    let ends = [(low, stats.ends_at.0), (high, stats.ends_at.1)];
    let found: Vec<(f64, u64)> = ends.into_iter().filter(|(x, _)| *x < below || *x > above).collect();
    let (first, _) = found.first()?;
    let seen = sorted.iter().filter(|x| **x < below || **x > above).count() as u64;
    let scaled = (seen * stats.numbers).checked_div(sorted.len() as u64).unwrap_or(0);
    let detail = format!(
        "{} lies far beyond the others, of which 90 % lie between {} and {}",
        cell::number_text(*first),
        cell::number_text(from),
        cell::number_text(to)
    );
    let example = |(x, row): &(f64, u64)| WarningExample { row: *row, value: number_value(*x) };
    let examples = found.iter().map(example).collect();
    let rows = scaled.max(found.len() as u64);
    Some(Warning { rows, examples, ..Warning::new(WarningCode::ExtremeValues, Some(&info.name), detail) })
}

/// Adds the warnings about appended rows, which follow `before` others, to those about the rows before.
pub(super) fn merge(known: &[Warning], added: Vec<Warning>, before: u64) -> Vec<Warning> {
    // A warning about a whole column is replaced by one about all rows.
    let whole = |w: &Warning| matches!(w.code, WarningCode::Identifier | WarningCode::Constant);
    let mut merged: Vec<Warning> = known.iter().filter(|w| !whole(w)).cloned().collect();
    for mut warning in added {
        warning.examples.iter_mut().for_each(|e| e.row += before);
        match merged.iter_mut().find(|w| w.code == warning.code && w.column == warning.column) {
            None => merged.push(warning),
            Some(old) => {
                old.rows += warning.rows;
                old.examples.extend(warning.examples);
                old.examples.truncate(MAX_EXAMPLES);
            }
        }
    }
    merged
}
