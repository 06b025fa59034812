//! One pass over a file that finds each column's kind and statistics, and a second one where a column must be
//! read by its kind before it can be counted.

use super::describe::{self, decide, describe, is_enough};
use super::gather::{Gathering, is_open, names};
use super::stats::{Reading, Stats};
use super::{ColumnInfo, Summary, group};
use crate::data::formats::{self, Format, Limits, Part};
use crate::data::kinds::Spelling;
use crate::data::warning::{MAX_EXAMPLES, Warning};
use crate::{Detail, Error, Result};
use std::collections::HashMap;

/// What a file holds, column by column.
struct Surveyed {
    rows: u64,
    columns: Vec<(ColumnInfo, Stats)>,
    warnings: Vec<Warning>,
    misfits: Vec<Detail>,
}

/// Reads `part` from end to end and says what it holds. Fails on the first broken row, and on cells
/// that cannot be stored (nested objects) with the first 20 of them.
pub fn infer(part: &Part, limits: &Limits) -> Result<Summary> {
    let found = survey(part, limits, None)?;
    let wide = found.columns.len() > 256;
    let mut sketches = HashMap::new();
    let mut columns = Vec::with_capacity(found.columns.len());
    for (info, mut stats) in found.columns {
        if !wide {
            let spare = std::mem::replace(&mut stats.sketch, super::sketch::Sketch::new(1));
            sketches.insert(info.name.clone(), spare.save(256));
        }
        columns.push(info);
    }
    let columns = group::group(columns);
    let sketches = match wide {
        true => Vec::new(),
        false => columns.iter().map(|c| sketches.remove(&c.name).unwrap_or_default()).collect(),
    };
    Ok(Summary { rows: found.rows, columns, sketches, warnings: found.warnings })
}

/// Goes over a file once, and once more where what a column is shows only at its end.
fn survey(part: &Part, limits: &Limits, known: Option<&Summary>) -> Result<Surveyed> {
    let options = &part.read_as;
    let mut pass = Gathering::new(known, options, HashMap::new());
    let mut rows = formats::read(part, limits, &mut pass)?;
    pass.check()?;
    let sum = |count: fn(&Stats) -> u64| pass.columns.iter().map(count).sum::<u64>();
    let commas = sum(|s| s.evidence.comma) > sum(|s| s.evidence.point);
    let decided: Result<Vec<(Reading, bool)>> =
        pass.columns.iter_mut().map(|stats| decide(stats, options, commas)).collect();
    let decided = decided?;
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
    let columns = pass.columns.into_iter().zip(readings).map(|(mut stats, reading)| {
        let info = describe(&mut stats, reading, rows, &mut warnings);
        (info, stats)
    });
    let columns = columns.collect();
    Ok(Surveyed { rows, columns, warnings, misfits: pass.misfits })
}

/// Reads `part` as more rows of a dataset summarised by `known`. Returns the summary of all and how
/// many rows `part` adds; fails when columns do not fit, or cells of a column are of its kind in less than 95 % of
/// all rows, with the first 20.
pub fn infer_append(part: &Part, known: &Summary, limits: &Limits) -> Result<(Summary, u64)> {
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
    summary.warnings = join_warnings(&known.warnings, found.warnings, known.rows);
    Ok((summary, rows))
}

/// The warnings of two parts of a dataset, those of one sort about one column as one.
fn join_warnings(old: &[Warning], new: Vec<Warning>, rows_before: u64) -> Vec<Warning> {
    let mut all = old.to_vec();
    for mut warning in new {
        warning.examples.iter_mut().for_each(|example| example.row += rows_before);
        match all.iter_mut().find(|w| w.code == warning.code && w.column == warning.column) {
            Some(known) => {
                known.rows += warning.rows;
                known.examples.append(&mut warning.examples);
                known.examples.truncate(MAX_EXAMPLES);
            }
            None => all.push(warning),
        }
    }
    all
}

fn combine(old: &ColumnInfo, new: ColumnInfo, old_rows: u64, new_rows: u64) -> ColumnInfo {
    if is_open(old, old_rows) {
        return ColumnInfo { missing: new.missing + old_rows, unused: old.unused, ..new };
    }
    let pick = |f: fn(f64, f64) -> f64, a: Option<f64>, b: Option<f64>| match (a, b) {
        (Some(a), Some(b)) => Some(f(a, b)),
        (a, b) => a.or(b),
    };
    let (n, m) = ((old_rows - old.missing.min(old_rows)) as f64, (new_rows - new.missing.min(new_rows)) as f64);
    let mean = match (old.mean, new.mean) {
        (Some(a), Some(b)) => Some(a * (n / (n + m).max(1.0)) + b * (m / (n + m).max(1.0))),
        (a, b) => a.or(b),
    };
    let (min, max) = (pick(f64::min, old.min, new.min), pick(f64::max, old.max, new.max));
    let histogram = match min.zip(max) {
        Some((low, high)) => describe::rebin([old, &new], low, high),
        None => describe::join_names(&old.histogram, &new.histogram),
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
