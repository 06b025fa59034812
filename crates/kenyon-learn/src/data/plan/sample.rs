//! Tables larger than memory: a sample of the rows as a table, and the others a chunk at a time.

use super::ColumnPlan;
use crate::data::builder::{Compiled, TableBuilder};
use crate::data::cell::Cell;
use crate::data::formats::{self, Limits, RowFile, RowSink};
use crate::data::kinds::Encoding;
use crate::data::schema::ColumnKind;
use crate::data::warning::Warning;
use crate::data::{Column, Table};
use crate::random::Random;
use crate::{Error, Result};
use std::collections::HashMap;

/// Cells that a table holds in memory, about; with more of them, rows are sampled.
const CELLS: usize = 3_000_000;
/// Rows of a sample, at least and at most.
const ROWS: (usize, usize) = (20_000, 200_000);
/// So many rows of each class are part of every sample.
const OF_EACH_CLASS: u32 = 20;
/// Classes whose rows are counted for that.
const CLASSES: usize = 10_000;
/// Rows of a chunk.
const CHUNK: usize = 4096;

/// How many of `rows` rows are sampled to learn from `plans`; none where all are held in memory: there are few, or a
/// row is more than columns with one value each.
pub fn sample_size(plans: &[ColumnPlan], rows: u64) -> Option<usize> {
    let plain = |plan: &ColumnPlan| {
        let single =
            matches!(plan.kind.encoding(false), Encoding::Number | Encoding::Phases | Encoding::Flag | Encoding::Names);
        plan.members.is_none() && plan.encoder.is_none() && single
    };
    let size = (CELLS / plans.len().max(1)).clamp(ROWS.0, ROWS.1);
    (plans.iter().all(plain) && rows > size as u64).then_some(size)
}

/// Which rows of a dataset are part of a sample: a bit each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sampled {
    bits: Vec<u64>,
    rows: u64,
    chosen: u64,
}

impl Sampled {
    fn push(&mut self, chosen: bool) {
        if self.rows.is_multiple_of(64) {
            self.bits.push(0);
        }
        if let (true, Some(last)) = (chosen, self.bits.last_mut()) {
            *last |= 1 << (self.rows % 64);
            self.chosen += 1;
        }
        self.rows += 1;
    }

    fn holds(&self, row: u64) -> bool {
        self.bits.get((row / 64) as usize).is_some_and(|bits| bits >> (row % 64) & 1 == 1)
    }

    /// Rows that are not part of it.
    pub fn others(&self) -> u64 {
        self.rows - self.chosen
    }
}

/// Reads about `size` of `rows` rows, drawn by their number alone, and the first rows of every class of the column
/// `target`; with the cells that did not fit anywhere.
///
/// # Errors
/// As [`super::read_table`].
pub fn read_sample(
    parts: &[RowFile],
    plans: &[ColumnPlan],
    limits: &Limits,
    target: &str,
    (size, rows): (usize, u64),
) -> Result<(Table, Sampled, Vec<Warning>)> {
    let mut sampled = Sampled::default();
    let mut sample: Option<Table> = None;
    let mut seen: HashMap<Box<str>, u32> = HashMap::new();
    let share = size as f64 / rows.max(1) as f64;
    let warnings = read_chunks(parts, plans, limits, &mut |chunk| {
        let mut wanted = Vec::new();
        for row in 0..chunk.rows {
            let drawn = Random::stream(0, "sample", sampled.rows).next_u64() as f64 / 2f64.powi(64) < share;
            let chosen = is_rare(chunk.column(target), row, &mut seen) || drawn;
            sampled.push(chosen);
            wanted.extend(chosen.then_some(row));
        }
        let chosen = chunk.select(&wanted);
        let Some(sample) = &mut sample else {
            sample = Some(chosen);
            return Ok(());
        };
        if sample.append(&chosen) { Ok(()) } else { Err(Error::internal("chunks of a table have different columns")) }
    })?;
    Ok((sample.unwrap_or_default(), sampled, warnings))
}

/// Reads the rows that are not part of a sample, in order, a chunk at a time.
///
/// # Errors
/// As [`super::read_table`], and what `each` returns.
pub fn read_others(
    parts: &[RowFile],
    plans: &[ColumnPlan],
    limits: &Limits,
    sampled: &Sampled,
    each: &mut dyn FnMut(&Table) -> Result<()>,
) -> Result<()> {
    let mut first = 0u64;
    let read = read_chunks(parts, plans, limits, &mut |chunk| {
        let others: Vec<usize> = (0..chunk.rows).filter(|&row| !sampled.holds(first + row as u64)).collect();
        first += chunk.rows as u64;
        each(&chunk.select(&others))
    });
    read.map(drop)
}

/// Whether a row is among the first of its class.
fn is_rare(target: Option<&Column>, row: usize, seen: &mut HashMap<Box<str>, u32>) -> bool {
    let Some(Column::Labels(labels)) = target else { return false };
    let Some(label) = &labels[row] else { return false };
    if let Some(count) = seen.get_mut(label) {
        *count += 1;
        return *count <= OF_EACH_CLASS;
    }
    seen.len() < CLASSES && seen.insert(label.clone(), 1).is_none()
}

fn read_chunks(
    parts: &[RowFile],
    plans: &[ColumnPlan],
    limits: &Limits,
    each: &mut dyn FnMut(&Table) -> Result<()>,
) -> Result<Vec<Warning>> {
    let builder = TableBuilder::new(&Compiled::new(plans, &[]), false);
    let mut chunks = Chunks { builder, rows: 0, each };
    for part in parts {
        chunks.builder.next_file();
        formats::read(part, limits, &mut chunks)?;
    }
    if let Some(plan) = chunks.builder.never_found() {
        return Err(super::read::no_column(&plan.name));
    }
    chunks.give()?;
    let warnings = chunks.builder.warnings();
    // For the errors of rows that do not fit.
    chunks.builder.finish()?;
    Ok(warnings)
}

/// A builder that gives its rows away in chunks.
struct Chunks<'e> {
    builder: TableBuilder,
    rows: usize,
    each: &'e mut dyn FnMut(&Table) -> Result<()>,
}

impl Chunks<'_> {
    fn give(&mut self) -> Result<()> {
        self.rows = 0;
        let chunk = self.builder.take_complete();
        if chunk.rows > 0 { (self.each)(&chunk) } else { Ok(()) }
    }
}

impl RowSink for Chunks<'_> {
    fn column(&mut self, name: &str, kind: Option<ColumnKind>) -> Result<()> {
        self.builder.column(name, kind)
    }

    #[inline]
    fn cell(&mut self, column: usize, value: Cell<'_>) {
        self.builder.cell(column, value);
    }

    fn end_row(&mut self) -> Result<bool> {
        let more = self.builder.end_row()?;
        self.rows += 1;
        if self.rows == CHUNK {
            self.give()?;
        }
        Ok(more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_sample_and_the_others_are_all_rows_once_and_rare_classes_are_in_it() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "x,y").unwrap();
        for row in 0..30_000 {
            writeln!(file, "{row},{}", if row % 10_000 == 9_999 { "rare" } else { "usual" }).unwrap();
        }
        let parts = [formats::detect(file.path(), Some("text/csv"), None).unwrap()];
        let mut target = ColumnPlan::new("y", ColumnKind::Category);
        target.labels = true;
        let plans = [ColumnPlan::new("x", ColumnKind::Number), target];
        let limits = Limits::default();
        let (sample, sampled, warnings) = read_sample(&parts, &plans, &limits, "y", (2_000, 30_000)).unwrap();
        assert!((1_700..2_300).contains(&sample.rows) && warnings.is_empty(), "{}", sample.rows);
        let Some(Column::Labels(labels)) = sample.column("y") else { panic!() };
        assert_eq!(labels.iter().flatten().filter(|label| label.contains("rare")).count(), 3);
        let numbers = |table: &Table| match table.column("x") {
            Some(Column::Number(values)) => values.clone(),
            _ => panic!(),
        };
        let mut all = numbers(&sample);
        let mut chunks = 0;
        read_others(&parts, &plans, &limits, &sampled, &mut |chunk| {
            chunks += 1;
            all.extend(numbers(chunk));
            Ok(())
        })
        .unwrap();
        assert_eq!(sampled.others() as usize, 30_000 - sample.rows);
        all.sort_by(f64::total_cmp);
        assert_eq!((chunks, all), (8, (0..30_000).map(f64::from).collect()));
    }

    #[test]
    fn only_many_rows_of_plain_columns_are_sampled() {
        let plans = vec![ColumnPlan::new("x", ColumnKind::Number); 30];
        assert_eq!(sample_size(&plans, 100_000), None);
        assert_eq!(sample_size(&plans, 100_001), Some(100_000));
        let picture = [ColumnPlan::new("x", ColumnKind::Image)];
        assert_eq!(sample_size(&picture, 10_000_000), None);
    }
}
