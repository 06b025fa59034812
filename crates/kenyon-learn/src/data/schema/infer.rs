//! One pass over a file that finds each column's kind and statistics.

use super::stats::{Bounds, Stats};
use super::{ColumnInfo, ColumnKind, Summary, Unused, group, notes};
use crate::data::cell::{self, Cell, List};
use crate::data::formats::{self, Format, Limits, Part, ReadOptions, RowSink, json};
use crate::data::warning::{MAX_EXAMPLES, Warning, WarningCode, WarningExample};
use crate::error::MAX_DETAILS;
use crate::{Detail, Error, Result};
use serde::de::DeserializeSeed;
use std::collections::HashMap;

/// Bars of a histogram.
const BARS: usize = 20;

/// Reads an upload, alone or as more rows of what is `known`, and says how it was read, what it holds and
/// how many rows it adds. Where the first reading fails and `stated` leaves it open, others are tried.
pub fn infer_upload(
    part: Part,
    stated: &ReadOptions,
    known: Option<&Summary>,
    limits: &Limits,
) -> Result<(Part, Summary, u64)> {
    let read = |part: &Part| match known {
        Some(known) => infer_append(part, known, limits),
        None => infer(part, limits).map(|summary| (summary.rows, summary)).map(|(rows, summary)| (summary, rows)),
    };
    let first = match read(&part) {
        Ok((summary, rows)) => return Ok((part, summary, rows)),
        Err(error) => error,
    };
    let (mut part, mut error) = (part, first);
    // Encoding and quotes: at most one other reading each.
    for _ in 0..2 {
        let Some(other) = formats::another_reading(&part, stated, &error)? else { break };
        match read(&other) {
            Ok((summary, rows)) => return Ok((other, summary, rows)),
            // The first reading's error tells more than that of a guess, unless the guess got on.
            Err(next) if next.code == error.code => break,
            Err(next) => (part, error) = (other, next),
        }
    }
    Err(error)
}

/// Reads `part` from end to end and says what it holds. Fails on the first broken row, and on cells
/// that cannot be stored (infinite numbers) with the first 20 of them.
pub fn infer(part: &Part, limits: &Limits) -> Result<Summary> {
    let mut inference = Inference::new(None);
    let rows = formats::read(part, limits, &mut inference)?;
    let mut warnings = std::mem::take(&mut inference.warnings);
    warnings.extend(inference.duplicates.warning(rows));
    let mut flat = inference.finish(rows)?;
    for (info, stats) in &mut flat {
        notes::mark_index(info, rows, &warnings);
        warnings.extend(column_warnings(info, stats, rows));
    }
    let wide = flat.len() > 256;
    let mut sketches = HashMap::new();
    let (mut columns, mut samples) = (Vec::with_capacity(flat.len()), Vec::with_capacity(flat.len()));
    for (info, mut stats) in flat {
        samples.push(std::mem::take(&mut stats.sample));
        if !wide {
            let spare = std::mem::replace(&mut stats.sketch, super::sketch::Sketch::new(1));
            sketches.insert(info.name.clone(), spare.save(256));
        }
        columns.push(info);
    }
    let columns = group::group(columns, &samples);
    // What is said about members of a group is said about ordinary columns only.
    let member = |name: &str| columns.iter().any(|c| c.members.iter().flatten().any(|m| m == name));
    let grouped = columns.iter().any(|c| c.members.is_some());
    warnings.retain(|w| !grouped || w.column.as_deref().is_none_or(|name| !member(name)));
    let sketches = match wide {
        true => Vec::new(),
        false => columns.iter().map(|c| sketches.remove(&c.name).unwrap_or_default()).collect(),
    };
    Ok(Summary { rows, columns, sketches, warnings })
}

/// Reads `part` as more rows of a dataset summarised by `known`. Returns the summary of all and how
/// many rows `part` adds; fails when columns or cells do not fit, with the first 20.
pub fn infer_append(part: &Part, known: &Summary, limits: &Limits) -> Result<(Summary, u64)> {
    let mut inference = Inference::new(Some(known));
    let rows = formats::read(part, limits, &mut inference)?;
    let mut added = std::mem::take(&mut inference.warnings);
    added.extend(inference.duplicates.warning(rows));
    let flat = inference.finish(rows)?;
    added.extend(flat.iter().flat_map(|(info, stats)| column_warnings(info, stats, rows)));
    let mut flat: HashMap<String, (ColumnInfo, Stats)> =
        flat.into_iter().map(|(info, stats)| (info.name.clone(), (info, stats))).collect();
    let header = !matches!(part.format, Format::Ndjson | Format::Json);
    let lacking = known.columns.iter().flat_map(names).filter(|name| header && !flat.contains_key(*name));
    let lacking: Vec<_> = lacking.map(|name| Detail::column(name, "the dataset has this column")).collect();
    if let Some(first) = lacking.first() {
        let name = first.column.clone().unwrap_or_default();
        return Err(
            Error::unprocessable("missing_column", format!("the column '{name}' is missing")).with_details(lacking)
        );
    }
    let mut summary = Summary { rows: known.rows + rows, ..Summary::default() };
    for (i, old) in known.columns.iter().enumerate() {
        let absent = |name: &str| ColumnInfo { missing: rows, ..ColumnInfo::empty(name, old.kind) };
        let mut saved = Vec::new();
        let new = match &old.members {
            Some(members) => {
                let infos =
                    members.iter().map(|m| flat.remove(m).map_or_else(|| absent(m), |(info, _)| info)).collect();
                group::merge(old.name.clone(), infos, old.shape.clone())
            }
            None => match flat.remove(&old.name) {
                None => {
                    saved = known.sketches.get(i).cloned().unwrap_or_default();
                    ColumnInfo { distinct: old.distinct, ..absent(&old.name) }
                }
                Some((mut info, mut stats)) => {
                    info.distinct = info.distinct.max(old.distinct);
                    if let Some(sketch) = known.sketches.get(i).filter(|s| !s.is_empty()) {
                        stats.sketch.absorb(sketch);
                        info.distinct = stats.sketch.estimate().0;
                        saved = stats.sketch.save(256);
                    }
                    info
                }
            },
        };
        summary.columns.push(combine(old, new, known.rows, rows));
        if !known.sketches.is_empty() {
            summary.sketches.push(saved);
        }
    }
    added.retain(|w| !matches!(w.code, WarningCode::Identifier | WarningCode::Constant));
    summary.warnings = notes::merge(&known.warnings, added, known.rows);
    summary.warnings.extend(summary.columns.iter().filter_map(|info| notes::of_column(info, summary.rows)));
    Ok((summary, rows))
}

/// What there is to say about a column.
fn column_warnings(info: &ColumnInfo, stats: &Stats, rows: u64) -> Vec<Warning> {
    let mut warnings: Vec<Warning> =
        notes::of_column(info, rows).into_iter().chain(notes::extremes(stats, info)).collect();
    if let Some(why) = stats.unreadable_why.as_deref().or(stats.unreadable_at.first().map(|(_, why)| why.as_str())) {
        let whole = info.unused == Some(Unused::Unreadable);
        let (code, detail) = match whole {
            true => (WarningCode::UnreadableColumn, format!("the column is kept and never used: {why}")),
            false => (WarningCode::MixedKind, format!("some cells cannot be read and count as missing: {why}")),
        };
        let examples = stats.unreadable_at.iter().take(MAX_EXAMPLES);
        let examples = examples.map(|(row, _)| WarningExample { row: *row, value: serde_json::Value::Null }).collect();
        let count = if whole { rows } else { stats.unreadable };
        warnings.push(Warning { rows: count, examples, ..Warning::new(code, Some(&info.name), detail) });
    }
    warnings
}

pub(super) fn names(column: &ColumnInfo) -> impl Iterator<Item = &str> {
    let own = column.members.is_none().then_some(column.name.as_str());
    own.into_iter().chain(column.members.iter().flatten().map(String::as_str))
}

fn combine(old: &ColumnInfo, new: ColumnInfo, old_rows: u64, new_rows: u64) -> ColumnInfo {
    let pick = |f: fn(f64, f64) -> f64, a: Option<f64>, b: Option<f64>| match (a, b) {
        (Some(a), Some(b)) => Some(f(a, b)),
        (a, b) => a.or(b),
    };
    let (n, m) = ((old_rows - old.missing.min(old_rows)) as f64, (new_rows - new.missing.min(new_rows)) as f64);
    let mean = match (old.mean, new.mean) {
        (Some(a), Some(b)) => Some((a * n + b * m) / (n + m).max(1.0)),
        (a, b) => a.or(b),
    };
    let (min, max) = (pick(f64::min, old.min, new.min), pick(f64::max, old.max, new.max));
    let histogram = match min.zip(max) {
        Some((low, high)) => rebin([old, &new], low, high),
        None => {
            let mut counts: HashMap<&String, u64> = HashMap::new();
            old.histogram
                .iter()
                .chain(&new.histogram)
                .for_each(|(name, count)| *counts.entry(name).or_default() += count);
            most_frequent(counts.into_iter().map(|(name, count)| (name.clone(), count)))
        }
    };
    ColumnInfo {
        name: old.name.clone(),
        kind: old.kind,
        missing: old.missing + new.missing,
        distinct: new.distinct.max(old.distinct),
        min,
        max,
        mean,
        whole: old.whole && (new.whole || new.min.is_none()),
        examples: old.examples.clone(),
        shape: old.shape.clone(),
        members: old.members.clone(),
        unused: old.unused,
        series: old.series,
        histogram,
    }
}

/// The bars of several histograms as bars between `low` and `high`.
pub(super) fn rebin<'a>(columns: impl IntoIterator<Item = &'a ColumnInfo>, low: f64, high: f64) -> Vec<(String, u64)> {
    let mut counts = [0u64; BARS];
    for column in columns {
        let Some((from, to)) = column.min.zip(column.max) else { continue };
        let width = (to - from) / column.histogram.len().max(1) as f64;
        for (i, (_, count)) in column.histogram.iter().enumerate() {
            counts[bar(from + width * (i as f64 + 0.5), low, high)] += count;
        }
    }
    label(&counts, low, high)
}

fn bar(x: f64, low: f64, high: f64) -> usize {
    if high > low { (((x - low) / (high - low)) * BARS as f64).clamp(0.0, BARS as f64 - 1.0) as usize } else { 0 }
}

fn label(counts: &[u64; BARS], low: f64, high: f64) -> Vec<(String, u64)> {
    if high <= low {
        return vec![(cell::number_text(low), counts.iter().sum())];
    }
    let step = (high - low) / BARS as f64;
    counts.iter().enumerate().map(|(i, n)| (format!("{:.4}", low + step * i as f64), *n)).collect()
}

fn most_frequent(counts: impl Iterator<Item = (String, u64)>) -> Vec<(String, u64)> {
    let mut counts: Vec<_> = counts.collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counts.truncate(BARS);
    counts
}

/// The sink that gathers.
struct Inference<'k> {
    known: Option<HashMap<&'k str, &'k ColumnInfo>>,
    columns: Vec<Stats>,
    bounds: Bounds,
    rows: u64,
    sampled: bool,
    samples: usize,
    stride: u64,
    errors: Vec<(&'static str, Detail)>,
    warnings: Vec<Warning>,
    duplicates: notes::DuplicateRows,
    list: List,
}

impl<'k> Inference<'k> {
    fn new(known: Option<&'k Summary>) -> Self {
        let known = known.map(|summary| {
            summary.columns.iter().flat_map(|column| names(column).map(move |name| (name, column))).collect()
        });
        Self {
            known,
            columns: Vec::new(),
            bounds: Bounds::new(1),
            rows: 0,
            sampled: true,
            samples: 0,
            stride: 1,
            errors: Vec::new(),
            warnings: Vec::new(),
            duplicates: notes::DuplicateRows::default(),
            list: List::default(),
        }
    }

    fn fault(&mut self, code: &'static str, column: usize, reason: impl Into<String>) {
        let stats = &mut self.columns[column];
        if stats.expected.is_none() && code != "not_finite" {
            stats.unreadable += 1;
            if stats.unreadable_at.len() < MAX_EXAMPLES {
                stats.unreadable_at.push((self.rows + 1, reason.into()));
            }
            return;
        }
        if self.errors.len() < MAX_DETAILS {
            self.errors.push((code, Detail::cell(self.rows + 1, self.columns[column].name.clone(), reason)));
        }
    }

    /// Whatever is not a plain number.
    fn other(&mut self, column: usize, value: Cell<'_>) {
        let sampled = self.sampled;
        let stats = &mut self.columns[column];
        let expected = stats.expected;
        match value {
            Cell::Missing => return,
            Cell::Nested => {
                return self.fault("nested", column, "nested objects are not read; flatten them into columns");
            }
            Cell::Number(x) | Cell::Moment(x) if !x.is_finite() => {
                return self.fault("not_finite", column, "the number is not finite");
            }
            Cell::Number(x) if expected == Some(ColumnKind::Category) || expected == Some(ColumnKind::Text) => {
                stats.text(&cell::number_text(x));
            }
            Cell::Number(x) => stats.number(x, sampled),
            Cell::Integer(x) if matches!(expected, Some(ColumnKind::Category | ColumnKind::Text)) => {
                stats.text(&x.to_string());
            }
            Cell::Integer(x) => stats.integer(x, sampled),
            Cell::Moment(x) => stats.moment(x, None, sampled),
            Cell::Boolean(_) if matches!(expected, Some(ColumnKind::Category | ColumnKind::Text)) => {
                stats.text(if matches!(value, Cell::Boolean(true)) { "true" } else { "false" });
            }
            Cell::Boolean(b) => stats.boolean(b),
            Cell::Bytes(bytes) => match crate::data::image::size(bytes) {
                Ok(shape) => {
                    stats.image(cell::hash_bytes(bytes, 0));
                    stats.image_shape.get_or_insert(shape);
                }
                Err(reason) => return self.fault("bad_cell", column, reason),
            },
            Cell::List(list) => return self.list(column, list),
            Cell::Text(text) | Cell::Raw(text) | Cell::Quoted(text) => {
                let raw = !matches!(value, Cell::Text(_));
                if matches!(expected, Some(ColumnKind::Category | ColumnKind::Text)) {
                    stats.text(text);
                } else if raw && cell::says_not_finite(text) {
                    stats.present += 1;
                    stats.not_finite += 1;
                    if stats.not_finite_at.len() < MAX_DETAILS {
                        stats.not_finite_at.push((self.rows + 1, text.to_owned()));
                    }
                } else if let Some(b) = raw.then(|| cell::parse_boolean(text)).flatten() {
                    stats.boolean(b);
                } else if let Some(seconds) = cell::parse_moment(text) {
                    stats.moment(seconds, Some(text), sampled);
                } else if cell::looks_like_image(text) {
                    if stats.image_shape.is_none() {
                        match crate::data::image::unpack(text).and_then(|bytes| crate::data::image::size(&bytes)) {
                            Ok(shape) => stats.image_shape = Some(shape),
                            Err(reason) => return self.fault("bad_cell", column, reason),
                        }
                    }
                    stats.image(cell::hash_bytes(text.as_bytes(), 0));
                } else if raw && text.starts_with('[') {
                    return self.raw_list(column, text);
                } else {
                    stats.text(text);
                }
            }
        }
        self.check(column, value);
    }

    /// A list written as JSON in a CSV field; other text in brackets is text.
    fn raw_list(&mut self, column: usize, text: &str) {
        let mut list = std::mem::take(&mut self.list);
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let read = json::CellSeed { list: &mut list, take: |_: Cell<'_>| () }.deserialize(&mut deserializer);
        if read.and_then(|()| deserializer.end()).is_ok() {
            self.list(column, &list);
        } else {
            self.columns[column].text(text);
            self.check(column, Cell::Raw(text));
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
        let width = self.columns[column].width;
        if let Some(reason) = self.columns[column].list(list) {
            return self.fault("bad_cell", column, reason);
        }
        match width {
            Some(width) if list.numbers.len() != width => {
                let reason = format!("{} numbers where the column's vectors have {width}", list.numbers.len());
                self.fault("bad_cell", column, reason);
            }
            _ => self.check(column, Cell::List(list)),
        }
    }

    /// Whether the cell just taken fits the kind its column must have.
    fn check(&mut self, column: usize, value: Cell<'_>) {
        let stats = &mut self.columns[column];
        let counted = match stats.expected {
            None => return,
            Some(ColumnKind::Category | ColumnKind::Text) => stats.present - stats.lists.count,
            Some(ColumnKind::Number) => stats.numbers,
            Some(ColumnKind::Boolean) => stats.booleans,
            Some(ColumnKind::Timestamp) => stats.moments,
            Some(ColumnKind::Image) => stats.images,
            Some(ColumnKind::Vector | ColumnKind::Sequence) => stats.lists.count,
        };
        if counted + stats.misfits < stats.present {
            stats.misfits += 1;
            let wanted = stats.expected.map_or("another kind", ColumnKind::name);
            self.fault("bad_cell", column, format!("expected a {wanted}, found {}", value.describe()));
        }
    }

    fn finish(self, rows: u64) -> Result<Vec<(ColumnInfo, Stats)>> {
        let mut errors = self.errors;
        let mut out = Vec::with_capacity(self.columns.len());
        for mut stats in self.columns {
            stats.close();
            let info = describe(&mut stats, rows, &mut errors);
            out.push((info, stats));
        }
        if errors.is_empty() {
            return Ok(out);
        }
        errors.sort_by_key(|(_, detail)| detail.row);
        let sentence = match errors[0].0 {
            "not_finite" => "the data holds numbers that are not finite",
            "nested" => "the data holds nested objects",
            _ => "the data holds cells that do not fit",
        };
        Err(Error::unprocessable(errors[0].0, sentence).with_details(errors.into_iter().map(|(_, detail)| detail)))
    }
}

impl RowSink for Inference<'_> {
    fn column(&mut self, name: &str, kind: Option<ColumnKind>) -> Result<()> {
        let bounds = Bounds::new(self.columns.len() + 1);
        // A column that turns up late starts sampling late; wide files get less of everything.
        self.bounds = bounds;
        let mut stats = Stats::new(name, kind, bounds);
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
            stats.expected = Some(if column.members.is_some() { ColumnKind::Number } else { column.kind });
            if column.kind == ColumnKind::Vector && column.members.is_none() {
                stats.width = column.shape.as_ref().map(|s| s.iter().product());
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

impl Inference<'_> {
    #[inline]
    fn value(&mut self, column: usize, value: Cell<'_>) {
        if let Cell::Raw(text) | Cell::Quoted(text) = value
            && let Some(x) = cell::parse_number(text)
            && self.columns[column].expected.is_none_or(|kind| kind == ColumnKind::Number)
            && !cell::leading_zero(text)
            && x.is_finite()
        {
            return self.columns[column].number(x, self.sampled);
        }
        self.other(
            column,
            match value {
                // Too large for 64 bits: as bad as an infinite number.
                Cell::Raw(text) | Cell::Quoted(text) if cell::parse_number(text).is_some_and(f64::is_infinite) => {
                    Cell::Number(f64::INFINITY)
                }
                other => other,
            },
        );
    }
}

/// Decides a column's kind and describes it.
fn describe(stats: &mut Stats, rows: u64, errors: &mut Vec<(&'static str, Detail)>) -> ColumnInfo {
    let present = stats.present;
    let finite = stats.numbers + stats.not_finite;
    if stats.numbers + stats.texts + stats.booleans + stats.moments < present
        && stats.lists.count > 0
        && stats.lists.count < present
        || stats.lists.count > 0 && stats.numbers + stats.texts + stats.booleans + stats.moments > 0
    {
        stats.unreadable_why.get_or_insert_with(|| "it mixes lists with other values".to_owned());
    }
    // As many as make a column's kind (one in twenty) make it unreadable.
    if stats.unreadable_why.is_some() || stats.unreadable * 20 > present + stats.unreadable {
        let unused = Some(Unused::Unreadable);
        return ColumnInfo { missing: rows, unused, ..ColumnInfo::empty(stats.name.clone(), ColumnKind::Text) };
    }
    let kind = match stats.expected {
        Some(kind) => kind,
        None if present == 0 => ColumnKind::Number,
        None if finite >= present && (stats.numbers > 0 || stats.not_finite == present) => ColumnKind::Number,
        None if stats.booleans == present => ColumnKind::Boolean,
        None if stats.moments == present => ColumnKind::Timestamp,
        None if stats.images == present => ColumnKind::Image,
        None if stats.lists.count == present => {
            let fixed = stats.lists.shortest == stats.lists.longest && stats.lists.longest > 0;
            if fixed && stats.lists.strings + stats.lists.nested == 0 {
                ColumnKind::Vector
            } else {
                ColumnKind::Sequence
            }
        }
        None => text_or_category(stats),
    };
    if kind == ColumnKind::Number {
        let cells = stats.not_finite_at.iter().map(|(row, word)| {
            let reason = format!("'{word}' is not a finite number; leave the cell empty for a missing value");
            ("not_finite", Detail::cell(*row, stats.name.clone(), reason))
        });
        errors.extend(cells);
    }
    let numeric =
        matches!(kind, ColumnKind::Number | ColumnKind::Timestamp | ColumnKind::Vector | ColumnKind::Sequence);
    let count = stats.numbers + stats.moments + stats.lists.numbers;
    let counted = numeric && count > 0;
    let shape = match kind {
        ColumnKind::Vector => Some(group::square(stats.lists.longest).unwrap_or_else(|| vec![stats.lists.longest])),
        ColumnKind::Sequence => Some(vec![stats.lists.channels.unwrap_or(1)]),
        ColumnKind::Image => stats.image_shape.take(),
        _ => None,
    };
    let histogram = match kind {
        ColumnKind::Number | ColumnKind::Timestamp if counted => bars(stats, count),
        ColumnKind::Category | ColumnKind::Boolean => most_frequent(stats.names.drain().map(|(n, c)| (n.into(), c))),
        _ => Vec::new(),
    };
    ColumnInfo {
        name: stats.name.clone(),
        kind,
        missing: rows.saturating_sub(present),
        distinct: stats.sketch.estimate().0.min(present),
        min: counted.then_some(stats.min),
        max: counted.then_some(stats.max),
        mean: counted.then(|| stats.sum / count as f64),
        whole: counted && stats.fractions == 0,
        examples: std::mem::take(&mut stats.examples),
        shape,
        members: None,
        unused: None,
        series: false,
        histogram,
    }
}

/// Counts in equal bars, scaled up from the sampled rows.
fn bars(stats: &Stats, count: u64) -> Vec<(String, u64)> {
    let mut counts = [0u64; BARS];
    let finite = stats.sample.iter().filter(|x| x.is_finite());
    let sampled = finite.clone().count().max(1) as u64;
    for x in finite {
        counts[bar(f64::from(*x), stats.min, stats.max)] += 1;
    }
    counts.iter_mut().for_each(|n| *n = (*n * count + sampled / 2) / sampled);
    label(&counts, stats.min, stats.max)
}

/// Free text has words and hardly repeats; names repeat.
fn text_or_category(stats: &Stats) -> ColumnKind {
    let texts = stats.texts.max(1) as f64;
    let (distinct, present) = (stats.sketch.estimate().0 as f64, stats.present as f64);
    let spaces = stats.spaces as f64 / texts;
    let length = stats.bytes as f64 / texts;
    let repeats = distinct <= 0.5 * present && distinct <= 200.0;
    let questions = stats.questions == stats.texts && spaces >= 1.0;
    let unspaced = stats.wide as f64 > 0.5 * texts && length >= 24.0;
    if stats.texts as f64 >= 0.9 * present && (questions || (!repeats && (spaces >= 1.5 || unspaced))) {
        ColumnKind::Text
    } else {
        ColumnKind::Category
    }
}
