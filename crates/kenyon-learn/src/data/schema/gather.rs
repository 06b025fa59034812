//! The sink that gathers statistics of a file, column by column. A column whose kind is not known yet gathers
//! evidence for kinds; one whose kind is known is read by it, and cells that do not fit are counted.

use super::stats::{Bounds, Reading, Stats};
use super::{ColumnInfo, ColumnKind, Summary, Unused, notes};
use crate::data::cell::{self, Cell, List};
use crate::data::formats::{ReadOptions, RowSink, json};
use crate::data::kinds::{self, Spelling, is_weak_word, is_word};
use crate::data::warning::{MAX_EXAMPLES, Warning};
use crate::data::written::value_of;
use crate::error::MAX_DETAILS;
use crate::{Detail, Error, Result};
use serde::de::DeserializeSeed;
use serde_json::Value;
use std::collections::HashMap;

/// Longer texts are not numbers, dates or durations.
const LONGEST_SCALAR: usize = 64;

/// The sink.
pub(super) struct Gathering<'k> {
    known: Option<HashMap<&'k str, &'k ColumnInfo>>,
    known_rows: u64,
    /// How columns are read, by name, where an earlier pass has decided it.
    decided: HashMap<String, Reading>,
    options: &'k ReadOptions,
    pub(super) columns: Vec<Stats>,
    bounds: Bounds,
    rows: u64,
    sampled: bool,
    /// Rows of the samples.
    samples: usize,
    stride: u64,
    pub(super) errors: Vec<(&'static str, Detail)>,
    /// The first cells that do not fit their column's kind.
    pub(super) misfits: Vec<Detail>,
    pub(super) warnings: Vec<Warning>,
    pub(super) duplicates: notes::DuplicateRows,
    list: List,
}

/// The names of a column of a summary: its own, or those of its members.
pub(super) fn names(column: &ColumnInfo) -> impl Iterator<Item = &str> {
    let own = column.members.is_none().then_some(column.name.as_str());
    own.into_iter().chain(column.members.iter().flatten().map(String::as_str))
}

/// Whether a column of a dataset has had no value yet: its kind is open.
pub(super) fn is_open(column: &ColumnInfo, rows: u64) -> bool {
    column.members.is_none() && column.missing >= rows && column.distinct == 0
}

impl<'k> Gathering<'k> {
    pub(super) fn new(known: Option<&'k Summary>, options: &'k ReadOptions, decided: HashMap<String, Reading>) -> Self {
        let known_rows = known.map_or(0, |summary| summary.rows);
        let known = known.map(|summary| {
            summary.columns.iter().flat_map(|column| names(column).map(move |name| (name, column))).collect()
        });
        Self {
            known,
            known_rows,
            decided,
            options,
            columns: Vec::new(),
            bounds: Bounds::new(1),
            rows: 0,
            sampled: true,
            samples: 0,
            stride: 1,
            errors: Vec::new(),
            misfits: Vec::new(),
            warnings: Vec::new(),
            duplicates: notes::DuplicateRows::default(),
            list: List::default(),
        }
    }

    /// A cell that cannot be read. An append is refused for it; in a first file it counts as missing, and so does
    /// its whole column where there are many.
    fn fault(&mut self, code: &'static str, column: usize, reason: impl Into<String>) {
        if self.known.is_some() || code == "not_finite" {
            return self.refuse(code, column, reason);
        }
        let stats = &mut self.columns[column];
        stats.unreadable += 1;
        if stats.unreadable_at.len() < MAX_EXAMPLES {
            stats.unreadable_at.push((self.rows + 1, reason.into()));
        }
    }

    fn refuse(&mut self, code: &'static str, column: usize, reason: impl Into<String>) {
        if self.errors.len() < MAX_DETAILS {
            self.errors.push((code, Detail::cell(self.rows + 1, self.columns[column].name.clone(), reason)));
        }
    }

    /// A cell that does not fit the kind of its column.
    fn misfit(&mut self, column: usize, value: Cell<'_>) {
        let row = self.rows + 1;
        let stats = &mut self.columns[column];
        let kind = stats.reading.as_ref().map_or(ColumnKind::Category, |reading| reading.kind);
        stats.misfit(row, || value_of(value, ColumnKind::Text, &Spelling::default()));
        let reason = format!("expected {}, found {}", kind.spec().wanted(), value.describe());
        if self.misfits.len() < MAX_DETAILS {
            self.misfits.push(Detail::cell(row, self.columns[column].name.clone(), reason.clone()));
        }
        if self.options.strict {
            self.refuse("bad_cell", column, reason);
        }
    }

    /// Whether an unquoted field means "no value" in a column of this kind (of none: in any column).
    fn is_missing_word(&self, text: &str, kind: Option<ColumnKind>) -> bool {
        match &self.options.missing {
            Some(words) => words.iter().any(|word| word == text),
            None => is_word(text) || (kind.is_none_or(|k| !k.spec().keeps_words()) && is_weak_word(text)),
        }
    }

    /// A cell of a column whose kind is not known yet.
    fn open(&mut self, column: usize, value: Cell<'_>) {
        let (row, sampled) = (self.rows + 1, self.sampled);
        match value {
            Cell::Missing => {}
            Cell::Nested => self.fault("nested", column, "nested objects are not read; flatten them into columns"),
            Cell::Raw(text) if self.is_missing_word(text, None) => self.columns[column].word(text, row),
            Cell::Raw(text) | Cell::Quoted(text) if text.starts_with('[') => self.raw_list(column, value, text),
            Cell::Raw(text) | Cell::Quoted(text) | Cell::Text(text) => self.open_text(column, value, text.trim()),
            Cell::List(list) => self.list(column, list),
            Cell::Bytes(bytes) => match crate::data::image::size(bytes) {
                Ok(shape) => self.columns[column].image(cell::hash_bytes(bytes, 0), Some(shape)),
                Err(reason) => self.fault("bad_cell", column, reason),
            },
            Cell::Integer(x) => {
                self.columns[column].integer(x, sampled);
                self.columns[column].show(|| value_of(value, ColumnKind::Number, &Spelling::default()));
            }
            Cell::Number(x) if !x.is_finite() => self.columns[column].not_finite += 1,
            Cell::Number(x) => {
                self.columns[column].number(x, sampled);
                self.columns[column].show(|| value_of(value, ColumnKind::Number, &Spelling::default()));
            }
            Cell::Moment(x) => {
                self.columns[column].moment(x, sampled);
                self.columns[column].show(|| value_of(value, ColumnKind::Timestamp, &Spelling::default()));
            }
            Cell::Boolean(b) => {
                self.columns[column].boolean(b);
                self.columns[column].show(|| b.into());
            }
        }
    }

    /// A text in such a column: each kind decides whether it could be one of its.
    fn open_text(&mut self, column: usize, value: Cell<'_>, text: &str) {
        if text.is_empty() {
            return;
        }
        let row = self.rows + 1;
        let stats = &mut self.columns[column];
        let typed = matches!(value, Cell::Text(_));
        if let Some(truth) = cell::parse_boolean(text) {
            stats.boolean(truth);
            return stats.show(|| if typed { text.into() } else { truth.into() });
        }
        if cell::looks_like_image(text) {
            let shape = match &stats.image_shape {
                Some(_) => Ok(None),
                None => crate::data::image::unpack(text).and_then(|bytes| crate::data::image::size(&bytes)).map(Some),
            };
            return match shape {
                Ok(shape) => stats.image(cell::hash_bytes(text.as_bytes(), 0), shape),
                Err(reason) => self.fault("bad_cell", column, reason),
            };
        }
        if !typed && (cell::is_non_finite_word(text) || cell::parse_number(text).is_some_and(f64::is_infinite)) {
            stats.not_finite += 1;
            return;
        }
        stats.text(text, text);
        // A whole number that is quoted as text may be a code: its writer could have left the quotes out.
        if typed && !cell::leading_zero(text) && cell::parse_number(text).is_some() {
            let is_whole = text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
            *(if is_whole { &mut stats.typed_whole } else { &mut stats.typed_fractions }) += 1;
        } else if text.len() <= LONGEST_SCALAR && text.bytes().any(|b| b.is_ascii_digit()) {
            let before = stats.votes(ColumnKind::Number);
            stats.vote(text);
            if stats.votes(ColumnKind::Number) == before && cell::holds_number(text) {
                stats.near_number(text, row);
            }
        } else if is_word(text) || is_weak_word(text) {
            stats.quoted_words += 1;
        }
        stats.show(|| Value::String(if text.len() > 200 { cell::shorten(text) } else { text.to_owned() }));
    }

    /// A cell of a column whose kind is known.
    fn fitted(&mut self, column: usize, value: Cell<'_>) {
        let (row, sampled) = (self.rows + 1, self.sampled);
        let Some(kind) = self.columns[column].reading.as_ref().map(|reading| reading.kind) else { return };
        match value {
            Cell::Missing => return,
            Cell::Nested => {
                return self.fault("nested", column, "nested objects are not read; flatten them into columns");
            }
            Cell::Raw(text) => {
                let known = self.columns[column].reading.as_ref().is_some_and(|r| r.spelling.is_missing(text));
                if known || self.is_missing_word(text, Some(kind)) {
                    return self.columns[column].word(text, row);
                }
            }
            Cell::Quoted(text) | Cell::Text(text) if text.trim().is_empty() => return,
            _ => {}
        }
        match value {
            Cell::List(list) if kind.is_list() => return self.list(column, list),
            Cell::Raw(text) | Cell::Quoted(text) if kind.is_list() && text.starts_with('[') => {
                return self.raw_list(column, value, text);
            }
            Cell::Bytes(bytes) if kind == ColumnKind::Image && crate::data::image::size(bytes).is_ok() => {
                return self.columns[column].image(cell::hash_bytes(bytes, 0), None);
            }
            Cell::Raw(text) | Cell::Quoted(text) | Cell::Text(text)
                if kind == ColumnKind::Image && cell::looks_like_image(text) =>
            {
                let shape = crate::data::image::unpack(text).and_then(|bytes| crate::data::image::size(&bytes));
                return match shape {
                    Ok(shape) => self.columns[column].image(cell::hash_bytes(text.as_bytes(), 0), Some(shape)),
                    Err(_) => self.misfit(column, value),
                };
            }
            _ => {}
        }
        let stats = &mut self.columns[column];
        let Some(reading) = &stats.reading else { return };
        let Some(scalar) = kind.spec().read(value, &reading.spelling) else { return self.misfit(column, value) };
        let shown = stats.wants_examples().then(|| value_of(value, kind, &reading.spelling));
        match (scalar, value) {
            (kinds::Scalar::Number(_), Cell::Integer(x)) => stats.integer(x, sampled),
            (kinds::Scalar::Number(x), Cell::Raw(text) | Cell::Quoted(text)) => stats.raw_number(x, text, sampled),
            (kinds::Scalar::Number(x), _) => stats.number(x, sampled),
            (kinds::Scalar::Boolean(b), _) => stats.boolean(b),
            (kinds::Scalar::Name(name), Cell::Raw(text) | Cell::Quoted(text) | Cell::Text(text)) => {
                stats.text(&name, text.trim());
            }
            (kinds::Scalar::Name(name), _) => stats.text(&name, &name),
        }
        match shown {
            Some(Value::String(text)) if text.len() > 200 => stats.show(|| cell::shorten(&text).into()),
            Some(shown) => stats.show(|| shown),
            None => {}
        }
    }

    /// A list written as JSON in a CSV field; other text in brackets is text.
    fn raw_list(&mut self, column: usize, value: Cell<'_>, text: &str) {
        let mut list = std::mem::take(&mut self.list);
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let read = json::CellSeed { list: &mut list, take: |_: Cell<'_>| () }.deserialize(&mut deserializer);
        if read.and_then(|()| deserializer.end()).is_ok() {
            self.list(column, &list);
        } else if self.columns[column].reading.is_some() {
            self.misfit(column, value);
        } else {
            self.columns[column].text(text, text);
            self.columns[column].show(|| cell::shorten(text).into());
        }
        self.list = list;
    }

    fn list(&mut self, column: usize, list: &List) {
        if let Some(reason) = list.fault() {
            return self.fault("bad_cell", column, reason);
        }
        if list.numbers.iter().any(|x| x.is_infinite()) {
            return self.fault("not_finite", column, "a number of the list is not finite");
        }
        let width = self.columns[column].reading.as_ref().and_then(|reading| reading.width);
        if let Some(reason) = self.columns[column].list(list) {
            // Counted as present already.
            self.columns[column].present -= 1;
            self.columns[column].lists.count -= 1;
            return self.fault("bad_cell", column, reason);
        }
        if let Some(width) = width.filter(|&width| list.numbers.len() != width) {
            let reason = format!("{} numbers where the column's vectors have {width}", list.numbers.len());
            self.fault("bad_cell", column, reason);
        }
    }

    #[inline]
    fn value(&mut self, column: usize, value: Cell<'_>) {
        if let (Some(words), Cell::Raw(text)) = (&self.options.missing, value)
            && words.iter().any(|word| word == text)
        {
            return self.columns[column].word(text, self.rows + 1);
        }
        let stats = &mut self.columns[column];
        if let Cell::Raw(text) | Cell::Quoted(text) = value
            && stats.takes_plain_numbers()
            && let Some(x) = cell::parse_number(text)
            && !cell::leading_zero(text)
            && x.is_finite()
        {
            stats.raw_number(x, text, self.sampled);
            return stats.show(|| value_of(value, ColumnKind::Number, &Spelling::default()));
        }
        if self.columns[column].reading.is_none() { self.open(column, value) } else { self.fitted(column, value) }
    }

    /// The errors found, as one.
    pub(super) fn check(&mut self) -> Result<()> {
        let mut errors = std::mem::take(&mut self.errors);
        let Some(first) = errors.first() else { return Ok(()) };
        let code = first.0;
        errors.sort_by_key(|(_, detail)| detail.row);
        let sentence = match code {
            "not_finite" => "the data holds numbers that are not finite",
            "nested" => "the data holds nested objects",
            _ => "the data holds cells that do not fit",
        };
        Err(Error::unprocessable(code, sentence).with_details(errors.into_iter().map(|(_, detail)| detail)))
    }
}

impl RowSink for Gathering<'_> {
    fn column(&mut self, name: &str, kind: Option<ColumnKind>) -> Result<()> {
        let bounds = Bounds::new(self.columns.len() + 1);
        // A column that appears late starts sampling late; wide files get smaller samples.
        self.bounds = bounds;
        let mut stats = Stats::new(name, bounds);
        stats.sample.resize(self.samples, f32::NAN);
        stats.reading = self.decided.get(name).cloned().or_else(|| kind.map(Reading::new));
        stats.unreadable_why = stats.reading.as_ref().and_then(|reading| reading.unreadable.clone());
        if let Some(known) = &self.known {
            let Some(column) = known.get(name) else {
                return Err(Error::unprocessable("unknown_column", format!("the dataset has no column '{name}'"))
                    .with_details([Detail::column(name, "the dataset has no such column")]));
            };
            if column.unused == Some(Unused::Unreadable) {
                stats.unreadable_why = Some("it could not be read before".to_owned());
                self.columns.push(stats);
                return Ok(());
            }
            if !self.decided.contains_key(name) && !is_open(column, self.known_rows) {
                let kind = if column.members.is_some() { ColumnKind::Number } else { column.kind };
                let spelling = Spelling::of(&column.spelling).clone();
                let vector = column.kind == ColumnKind::Vector && column.members.is_none();
                let width = vector.then(|| column.shape.as_ref().map(|s| s.iter().product())).flatten();
                stats.reading = Some(Reading { kind, spelling, width, unreadable: None });
            }
            if column.kind == ColumnKind::Sequence {
                stats.lists.channels = column.shape.as_ref().and_then(|s| s.first().copied());
            }
        }
        self.columns.push(stats);
        Ok(())
    }

    fn unreadable(&mut self, column: usize, reason: &str) {
        self.columns[column].unreadable_why = Some(reason.to_owned());
    }

    fn unnamed(&mut self, column: usize) {
        self.columns[column].unnamed = true;
    }

    fn warn(&mut self, warning: Warning) {
        self.warnings.push(warning);
    }

    #[inline]
    fn cell(&mut self, column: usize, value: Cell<'_>) {
        self.duplicates.cell(column, &value);
        let stats = &self.columns[column];
        if stats.unreadable_why.is_some() {
            return;
        }
        let ends = (stats.min, stats.max);
        self.value(column, value);
        let stats = &mut self.columns[column];
        if stats.min < ends.0 {
            stats.ends_at.0 = self.rows + 1;
        }
        if stats.max > ends.1 {
            stats.ends_at.1 = self.rows + 1;
        }
    }

    fn end_row(&mut self) -> Result<bool> {
        self.rows += 1;
        self.duplicates.end_row(self.rows);
        if self.sampled {
            // The samples of all columns are of the same rows.
            self.samples += 1;
            self.columns.iter_mut().for_each(|stats| stats.sample.resize(self.samples, f32::NAN));
        }
        if self.sampled && self.rows / self.stride >= self.bounds.sample as u64 {
            // Keep every second of the sampled rows and take only every second from here on.
            for stats in &mut self.columns {
                let mut keep = true;
                stats.sample.retain(|_| {
                    keep = !keep;
                    !keep
                });
            }
            self.stride *= 2;
            self.samples = self.samples.div_ceil(2);
        }
        self.sampled = self.rows.is_multiple_of(self.stride);
        Ok(self.errors.len() < MAX_DETAILS)
    }
}
