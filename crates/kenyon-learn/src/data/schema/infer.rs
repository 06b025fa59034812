//! One pass over a file that infers each column's kind and statistics, and a second one where a column must be
//! read by its kind before it can be counted.

use super::describe::{ambiguous_dates, decide, describe, is_enough, numbers_among_names, points};
use super::gather::{Gathering, is_open, names};
use super::stats::{Reading, Stats};
use super::{ColumnInfo, Summary, group, histogram, notes};
use crate::data::formats::{self, Format, Limits, ReadOptions, RowFile};
use crate::data::kinds::Spelling;
use crate::data::warning::{MAX_EXAMPLES, Warning, WarningCode};
use crate::{Detail, Error, Result};
use std::collections::HashMap;

/// The inferred columns of a file.
struct Surveyed {
    rows: u64,
    columns: Vec<(ColumnInfo, Stats)>,
    warnings: Vec<Warning>,
    misfits: Vec<Detail>,
}

/// Reads an upload, on its own or as further rows of `known`, and returns how it was read, what it holds and
/// how many rows it adds. Where the first reading fails and `stated` allows it, others are tried.
pub fn infer_upload(
    part: RowFile,
    stated: &ReadOptions,
    known: Option<&Summary>,
    limits: &Limits,
) -> Result<(RowFile, Summary, u64)> {
    let read = |part: &RowFile| match known {
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
            // The first reading's error is more useful than that of the second, unless the second got further.
            Err(next) if next.code == error.code => break,
            Err(next) => (part, error) = (other, next),
        }
    }
    Err(error)
}

/// Reads `part` from end to end and returns what it holds. Fails on the first broken row, and on cells
/// that are refused (numbers that are not finite) with the first 20 of them.
pub fn infer(part: &RowFile, limits: &Limits) -> Result<Summary> {
    let found = survey(part, limits, None)?;
    if found.rows == 1 && found.columns.iter().all(|(info, _)| is_nested(info)) && formats::is_one_object(part)? {
        return Err(Error::unprocessable("no_rows", NO_ROWS));
    }
    let wide = found.columns.len() > 256;
    let mut sketches = HashMap::new();
    let mut warnings = found.warnings;
    let (mut columns, mut samples) = (Vec::with_capacity(found.columns.len()), Vec::with_capacity(found.columns.len()));
    for (info, mut stats) in found.columns {
        samples.push(std::mem::take(&mut stats.sample));
        if !wide {
            let spare = std::mem::replace(&mut stats.sketch, super::sketch::Sketch::new(1));
            sketches.insert(info.name.clone(), spare.save(256));
        }
        columns.push(info);
    }
    let columns = group::group(columns, &samples);
    of_groups(&mut warnings, &columns);
    let sketches = match wide {
        true => Vec::new(),
        false => columns.iter().map(|c| sketches.remove(&c.name).unwrap_or_default()).collect(),
    };
    Ok(Summary { rows: found.rows, columns, sketches, warnings })
}

const NO_ROWS: &str = "the data is one object of lists or objects, not rows: send an object a row; \
    from pandas, `to_json(path, orient=\"records\", lines=True)`";

/// Whether the cells are lists or objects.
fn is_nested(info: &ColumnInfo) -> bool {
    info.kind.is_list() || info.unused.is_some()
}

/// Cells of members that do not fit are reported for their group; other warnings about members are left out.
fn of_groups(warnings: &mut Vec<Warning>, columns: &[ColumnInfo]) {
    let groups: HashMap<&str, &str> = columns
        .iter()
        .flat_map(|column| column.members.iter().flatten().map(|member| (member.as_str(), column.name.as_str())))
        .collect();
    let mut odd: Vec<Warning> = Vec::new();
    warnings.retain_mut(|warning| {
        let Some(group) = warning.column.as_deref().and_then(|name| groups.get(name)) else { return true };
        if warning.code == WarningCode::MixedKind {
            match odd.iter_mut().find(|other| other.column.as_deref() == Some(group)) {
                Some(other) => {
                    other.rows += warning.rows;
                    other.examples.append(&mut warning.examples);
                    other.examples.truncate(MAX_EXAMPLES);
                }
                None => odd.push(Warning { column: Some((*group).to_owned()), ..warning.clone() }),
            }
        }
        false
    });
    for warning in &mut odd {
        warning.detail = format!("{} cells of its columns are not a number and count as missing", warning.rows);
    }
    warnings.append(&mut odd);
}

/// Reads a file once, and once more where a column's kind is known only at its end.
fn survey(part: &RowFile, limits: &Limits, known: Option<&Summary>) -> Result<Surveyed> {
    let options = &part.read_as;
    let mut pass = Gathering::new(known, options, HashMap::new());
    let mut rows = formats::read(part, limits, &mut pass)?;
    pass.check()?;
    let sum = |count: fn(&Stats) -> u64| pass.columns.iter().map(count).sum::<u64>();
    let commas = sum(|s| s.evidence.comma) > sum(points);
    let (days, months) = (sum(|s| s.evidence.day_first), sum(|s| s.evidence.month_first));
    let of_file = (commas, (days != months).then_some(days > months));
    let decided: Vec<(Reading, bool)> = pass.columns.iter_mut().map(|stats| decide(stats, options, of_file)).collect();
    // What distinguishes numbers from names is gathered in this pass only.
    for (stats, (reading, _)) in pass.columns.iter_mut().zip(&decided) {
        if reading.kind == super::ColumnKind::Category && reading.unreadable.is_none() && stats.reading.is_none() {
            pass.warnings.extend(numbers_among_names(stats));
        }
        let stated = options.day_first.is_some() || days != months || stats.reading.is_some();
        if reading.kind == super::ColumnKind::Timestamp && !stated {
            pass.warnings.extend(ambiguous_dates(stats, reading));
        }
    }
    let mut readings: Vec<Reading> = decided.iter().map(|(reading, _)| reading.clone()).collect();
    if decided.iter().any(|(_, regular)| !regular) {
        let by_name = pass.columns.iter().map(|s| s.name.clone()).zip(readings).collect();
        let warnings = pass.warnings;
        pass = Gathering::new(known, options, by_name);
        rows = formats::read(part, limits, &mut pass)?;
        pass.check()?;
        pass.warnings = warnings;
        readings = pass
            .columns
            .iter()
            .map(|s| s.reading.clone().unwrap_or_else(|| Reading::new(super::ColumnKind::Category)))
            .collect();
    }
    let mut warnings = pass.warnings;
    warnings.extend(pass.duplicates.warning(rows));
    let columns = pass.columns.into_iter().zip(readings).map(|(mut stats, reading)| {
        let mut info = describe(&mut stats, reading, rows, &mut warnings);
        if known.is_none() {
            notes::mark_index(&mut info, rows, stats.unnamed);
            warnings.extend(notes::of_column(&info, rows));
        }
        warnings.extend(notes::extremes(&stats, &info));
        (info, stats)
    });
    let columns = columns.collect();
    Ok(Surveyed { rows, columns, warnings, misfits: pass.misfits })
}

/// Reads `part` as more rows of a dataset summarised by `known`. Returns the summary of all and how
/// many rows `part` adds; fails when columns do not fit, or cells of a column are of its kind in less than 95 % of
/// all rows, with the first 20.
pub fn infer_append(part: &RowFile, known: &Summary, limits: &Limits) -> Result<(Summary, u64)> {
    let found = survey(part, limits, Some(known))?;
    let (rows, misfits) = (found.rows, found.misfits);
    let mut flat: HashMap<String, (ColumnInfo, Stats)> =
        found.columns.into_iter().map(|(info, stats)| (info.name.clone(), (info, stats))).collect();
    let header = !matches!(part.format, Format::Ndjson | Format::Json);
    let lacking = known.columns.iter().flat_map(names).filter(|name| header && !flat.contains_key(*name));
    let lacking: Vec<_> = lacking.map(|name| Detail::column(name, "the dataset has this column")).collect();
    if let Some(first) = lacking.first() {
        let name = first.column.clone().unwrap_or_default();
        return Err(
            Error::unprocessable("missing_column", format!("the column '{name}' is missing")).with_details(lacking)
        );
    }
    for old in &known.columns {
        for name in names(old) {
            let Some((_, stats)) = flat.get(name) else { continue };
            let present = known.rows - old.missing.min(known.rows) + stats.present;
            if !is_enough(present, present + stats.misfits) {
                return Err(
                    Error::unprocessable("bad_cell", "the data holds cells that do not fit").with_details(misfits)
                );
            }
        }
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
    summary.warnings = notes::merge(&known.warnings, found.warnings, known.rows);
    summary.warnings.extend(summary.columns.iter().filter_map(|info| notes::of_column(info, summary.rows)));
    Ok((summary, rows))
}

fn combine(old: &ColumnInfo, new: ColumnInfo, old_rows: u64, new_rows: u64) -> ColumnInfo {
    if is_open(old, old_rows) {
        return ColumnInfo { missing: new.missing + old_rows, unused: old.unused.or(new.unused), ..new };
    }
    let combined = |f: fn(f64, f64) -> f64, a: Option<f64>, b: Option<f64>| match (a, b) {
        (Some(a), Some(b)) => Some(f(a, b)),
        (a, b) => a.or(b),
    };
    let (n, m) = ((old_rows - old.missing.min(old_rows)) as f64, (new_rows - new.missing.min(new_rows)) as f64);
    let mean = match (old.mean, new.mean) {
        (Some(a), Some(b)) => Some(a * (n / (n + m).max(1.0)) + b * (m / (n + m).max(1.0))),
        (a, b) => a.or(b),
    };
    let (min, max) = (combined(f64::min, old.min, new.min), combined(f64::max, old.max, new.max));
    let histogram = match min.zip(max) {
        Some((low, high)) => histogram::rebin([old, &new], low, high),
        None => histogram::join_names(&old.histogram, &new.histogram),
    };
    let mut words = old.words.clone();
    for (word, count) in new.words {
        match words.iter_mut().find(|(known, _)| *known == word) {
            Some((_, n)) => *n += count,
            None => words.push((word, count)),
        }
    }
    let mut spelling = old.spelling.clone();
    if let (Some(spelling), Some(new)) = (&mut spelling, &new.spelling) {
        Spelling::merge(spelling, new);
    }
    ColumnInfo {
        missing: old.missing + new.missing,
        distinct: new.distinct.max(old.distinct),
        min,
        max,
        mean,
        whole: old.whole && (new.whole || new.min.is_none()),
        histogram,
        words,
        spelling,
        ..old.clone()
    }
}
