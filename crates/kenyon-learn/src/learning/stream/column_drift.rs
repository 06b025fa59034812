//! Which columns of a stream changed, when and how far: each column's newest block of rows is compared with those
//! before it by the share of rows that differ (total variation).
//!
//! A change is a distance far beyond those of earlier blocks: rows that come in runs and seasons make blocks differ
//! without a change. The first of these distances are those of parts of the first block. After a change they are at least
//! those of parts of the block that follows it: a column that was constant and varies since would change for ever. The level
//! is chosen for one false alarm of all columns in [`ROWS_PER_FALSE_ALARM`] rows.

use super::block_test::{Distances, distance};
use super::copy_on_write::CopyOnWrite;
use crate::data::{Column, Table};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Rows that are compared at a time, and that the bins of a number are chosen from.
const BLOCK: usize = 1_000;
/// Bins of a number; its edges are quantiles of the first block.
const BINS: usize = 12;
/// Different values of a category that is watched.
const MOST_VALUES: usize = 24;
/// Columns that are watched: the first ones.
const MOST_COLUMNS: usize = 64;
/// Rows in which one false alarm is accepted, of all columns together.
const ROWS_PER_FALSE_ALARM: f64 = 50_000.0;
/// Changes of a smaller share of the rows are not reported, however sure.
const LEAST: f64 = 0.1;
/// Changes that are kept: the newest.
const MOST_CHANGES: usize = 100;
/// Rows of the past count at most as this many blocks, so that the comparison follows slow changes.
const MEMORY: f64 = 20.0;

/// A change of a column's distribution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ColumnChange {
    /// The column.
    pub column: String,
    /// Rows observed by then.
    pub row: u64,
    /// When that row was observed, where it is known.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub at: Option<Timestamp>,
    /// The share of rows by which the distributions differ (total variation), from 0 to 1.
    pub distance: f64,
    /// Lower ends of bins, or values, and their share of the rows before.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Vec<NameOrShare>>))]
    pub before: Vec<(String, f64)>,
    /// The same of the rows since.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Vec<NameOrShare>>))]
    pub after: Vec<(String, f64)>,
}

/// Half of a pair of a name and a share; client generators do not support tuples.
#[cfg(feature = "openapi")]
#[derive(Serialize, utoipa::ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "a description only")]
enum NameOrShare {
    /// The first of them.
    Name(String),
    /// The second.
    Share(f64),
}

/// All columns of a stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ColumnDrift {
    columns: BTreeMap<String, Watched>,
    pub(super) changes: CopyOnWrite<Vec<ColumnChange>>,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Watched {
    bins: Bins,
    /// Rows by bin of the past, where newer ones count more, and of the block that is being filled.
    before: Vec<f64>,
    block: Vec<f64>,
    rows: usize,
    /// How much blocks differ.
    #[serde(default)]
    usual: Distances,
    /// Bins of the rows of the first block, where bins are known from the start, or of the block that follows a change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    first: Vec<usize>,
    /// Whether the next block replaces the past without a comparison: the change that was reported is complete then.
    #[serde(default)]
    settling: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Bins {
    /// The first values, of which bins are made.
    Collecting(Vec<f64>),
    /// Lower ends of all bins but the first, which begins at the first number.
    Edges(f64, Vec<f64>),
    Values(Vec<String>),
    /// Too many values, or a single one.
    Ignored,
}

impl ColumnDrift {
    /// Counts the rows of `table`, the first of which is row `first`; only columns of `names` are looked at.
    pub(super) fn observe<'a>(
        &mut self,
        table: &Table,
        names: impl Iterator<Item = &'a str>,
        (first, at): (u64, Option<Timestamp>),
    ) {
        let mut found = Vec::new();
        let names: Vec<&str> = names.take(MOST_COLUMNS).collect();
        let watched = self.columns.values().filter(|column| !matches!(column.bins, Bins::Ignored)).count();
        let level = BLOCK as f64 / ROWS_PER_FALSE_ALARM / watched.max(names.len()).max(1) as f64;
        for name in names {
            let Some(column) = table.column(name) else { continue };
            let numbers = matches!(column, Column::Number(_));
            if !numbers && !matches!(column, Column::Boolean(_) | Column::Category(_)) {
                continue;
            }
            let watched = self.columns.entry(name.to_owned()).or_insert_with(|| Watched::new(numbers));
            for row in 0..table.rows {
                let change = match column {
                    Column::Number(values) => watched.number(values[row], level),
                    Column::Boolean(values) => {
                        watched.value(values[row].map(|v| if v { "true" } else { "false" }), level)
                    }
                    Column::Category(values) => watched.value(values[row].as_deref(), level),
                    _ => None,
                };
                let row = first + row as u64;
                found.extend(change.map(|(distance, before, after)| ColumnChange {
                    column: name.to_owned(),
                    row,
                    at,
                    distance,
                    before,
                    after,
                }));
            }
        }
        if !found.is_empty() {
            found.sort_by(|a, b| (a.row, &a.column).cmp(&(b.row, &b.column)));
            self.changes.extend(found);
            let over = self.changes.len().saturating_sub(MOST_CHANGES);
            self.changes.drain(..over);
        }
    }
}

type Change = (f64, Vec<(String, f64)>, Vec<(String, f64)>);

impl Watched {
    fn new(numbers: bool) -> Self {
        let bins = if numbers { Bins::Collecting(Vec::new()) } else { Bins::Values(Vec::new()) };
        Self {
            bins,
            before: Vec::new(),
            block: Vec::new(),
            rows: 0,
            usual: Distances::default(),
            first: Vec::new(),
            settling: false,
        }
    }

    fn number(&mut self, value: f64, level: f64) -> Option<Change> {
        if let Bins::Collecting(values) = &mut self.bins {
            self.rows += 1;
            values.extend(Some(value).filter(|v| v.is_finite()));
            if self.rows < BLOCK {
                return None;
            }
            let values = std::mem::take(values);
            self.bins = edges(&values);
            self.rows = 0;
            if let Bins::Edges(_, edges) = &self.bins {
                self.before = vec![0.0; edges.len() + 1];
                self.block = self.before.clone();
                let bins: Vec<usize> = values.iter().map(|value| edges.partition_point(|edge| edge <= value)).collect();
                bins.iter().for_each(|&bin| self.before[bin] += 1.0);
                self.usual = Distances::within(&bins, self.before.len());
            }
            return None;
        }
        let bin = match &self.bins {
            Bins::Edges(_, edges) if value.is_finite() => Some(edges.partition_point(|&edge| edge <= value)),
            Bins::Edges(..) => None,
            _ => return None,
        };
        self.count(bin, level)
    }

    fn value(&mut self, value: Option<&str>, level: f64) -> Option<Change> {
        let Bins::Values(known) = &mut self.bins else { return None };
        let bin = value.map(|value| match known.iter().position(|one| one == value) {
            Some(bin) => bin,
            None => {
                known.push(value.to_owned());
                self.before.push(0.0);
                self.block.push(0.0);
                known.len() - 1
            }
        });
        if known.len() > MOST_VALUES {
            *self = Self { bins: Bins::Ignored, ..Self::new(false) };
            return None;
        }
        self.count(bin, level)
    }

    /// Counts a row, and compares at the end of a block.
    fn count(&mut self, bin: Option<usize>, level: f64) -> Option<Change> {
        self.rows += 1;
        if let Some(bin) = bin {
            self.block[bin] += 1.0;
            if self.settling || self.before.iter().all(|&rows| rows == 0.0) {
                self.first.push(bin);
            }
        }
        if self.rows < BLOCK {
            return None;
        }
        self.rows = 0;
        let block = std::mem::replace(&mut self.block, vec![0.0; self.before.len()]);
        let (now, past) = (block.iter().sum::<f64>(), self.before.iter().sum::<f64>());
        // A column that is nearly always missing has no distribution to compare.
        if now < BLOCK as f64 / 4.0 {
            return None;
        }
        if std::mem::take(&mut self.settling) {
            let since = Distances::within(&std::mem::take(&mut self.first), block.len());
            self.usual = self.usual.or_larger(since);
            self.before = block;
            return None;
        }
        if past == 0.0 {
            self.usual = Distances::within(&std::mem::take(&mut self.first), block.len());
        }
        if past >= BLOCK as f64 / 4.0 {
            let distance = distance(&self.before, &block);
            if self.usual.is_unusual(distance, level) && distance > LEAST {
                let shares = |counts: &[f64], sum: f64| counts.iter().map(|n| n / sum).collect::<Vec<_>>();
                let change = (distance, self.named(&shares(&self.before, past)), self.named(&shares(&block, now)));
                self.before = block;
                self.settling = true;
                return Some(change);
            }
        }
        let keep = if past + now > MEMORY * BLOCK as f64 { 1.0 - now / (past + now) } else { 1.0 };
        self.before.iter_mut().zip(&block).for_each(|(b, n)| *b = *b * keep + n);
        None
    }

    fn named(&self, shares: &[f64]) -> Vec<(String, f64)> {
        let name = |bin: usize| match &self.bins {
            Bins::Edges(low, edges) => bin.checked_sub(1).map_or(*low, |at| edges[at]).to_string(),
            Bins::Values(values) => values[bin].clone(),
            Bins::Collecting(_) | Bins::Ignored => String::new(),
        };
        shares.iter().enumerate().map(|(bin, &share)| (name(bin), share)).collect()
    }
}

/// Bins that hold about as many of the values each.
fn edges(values: &[f64]) -> Bins {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(&low) = sorted.first() else { return Bins::Ignored };
    let mut edges: Vec<f64> = (1..BINS).map(|i| sorted[i * sorted.len() / BINS]).collect();
    edges.dedup();
    edges.retain(|&edge| edge > low);
    // All the first values may be equal: then whatever is larger is another bin.
    if edges.is_empty() {
        edges.push(low + low.abs().max(1.0) * 1e-6);
    }
    Bins::Edges(low, edges)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn table(rows: usize, shift: f64, random: &mut Random) -> Table {
        let number = |shift: f64, random: &mut Random| (0..rows).map(|_| f64::from(random.normal()) + shift).collect();
        let word = |random: &mut Random| Some(if random.uniform() < 0.5 { "a".into() } else { "b".into() });
        Table {
            rows,
            columns: vec![
                ("moves".into(), Column::Number(number(shift, random))),
                ("stays".into(), Column::Number(number(0.0, random))),
                ("word".into(), Column::Category((0..rows).map(|_| word(random)).collect())),
                ("id".into(), Column::Category((0..rows).map(|i| Some(i.to_string().into())).collect())),
            ],
        }
    }

    const NAMES: [&str; 4] = ["moves", "stays", "word", "id"];

    #[test]
    fn the_column_that_moves_is_named_with_its_distributions() {
        let mut random = Random::new(3);
        let mut drift = ColumnDrift::default();
        for block in 0..40u64 {
            let shift = if block < 20 { 0.0 } else { 1.0 };
            drift.observe(
                &table(1_000, shift, &mut random),
                NAMES.into_iter(),
                (block * 1_000 + 1, Some(Timestamp::UNIX_EPOCH)),
            );
        }
        assert_eq!(drift.changes.len(), 1, "{:?}", drift.changes);
        let change = &drift.changes[0];
        assert_eq!((change.column.as_str(), change.row, change.at), ("moves", 21_000, Some(Timestamp::UNIX_EPOCH)));
        assert!(change.distance > 0.3 && change.distance < 0.45, "{change:?}");
        assert!((change.before.iter().map(|bin| bin.1).sum::<f64>() - 1.0).abs() < 1e-9);
        assert_eq!(drift.columns["id"].bins, Bins::Ignored);
    }

    /// Rows of three columns with nothing that changes; with `runs`, each value stays near the one before.
    fn stationary(rows: usize, runs: bool, last: &mut [f64; 3], random: &mut Random) -> Table {
        let mut columns = vec![Vec::new(); 3];
        for row in 0..rows {
            for (column, last) in columns.iter_mut().zip(&mut *last) {
                let keep = if runs { 0.95 } else { 0.0 };
                *last = keep * *last + (1.0f64 - keep * keep).sqrt() * f64::from(random.normal());
                // A season of a day of 48 rows.
                let season = if runs { (row as f64 * std::f64::consts::TAU / 48.0).sin() } else { 0.0 };
                column.push(*last + season);
            }
        }
        let names = ["moves", "stays", "word"];
        let columns = names.iter().zip(columns).map(|(n, c)| ((*n).to_owned(), Column::Number(c))).collect();
        Table { rows, columns }
    }

    #[test]
    fn false_alarms_are_as_rare_as_stated_also_where_rows_come_in_runs() {
        for runs in [false, true] {
            let mut alarms = 0;
            for seed in 0..20 {
                let (mut random, mut last, mut drift) = (Random::new(seed), [0.0; 3], ColumnDrift::default());
                for block in 0..50u64 {
                    let table = stationary(1_000, runs, &mut last, &mut random);
                    drift.observe(&table, NAMES.into_iter(), (block * 1_000 + 1, None));
                }
                alarms += drift.changes.len();
            }
            // One in 50,000 rows: 20 on average in these million; small changes are not reported, so there are fewer.
            assert!(alarms <= 20, "{alarms} with runs: {runs}");
        }
    }

    #[test]
    fn a_column_that_begins_to_vary_does_not_change_for_ever() {
        let mut alarms = 0;
        for seed in 0..5 {
            let (mut random, mut last, mut drift) = (Random::new(seed), 0.0, ColumnDrift::default());
            for block in 0..60u64 {
                let mut next = || {
                    last = 0.99 * last + 0.14 * f64::from(random.normal());
                    if block < 18 { 0.4 } else { last }
                };
                let values = (0..1_000).map(|_| next()).collect();
                let table = Table { rows: 1_000, columns: vec![("moves".into(), Column::Number(values))] };
                drift.observe(&table, NAMES.into_iter(), (block * 1_000 + 1, None));
            }
            assert!(drift.changes[0].row <= 20_000, "{seed}: {:?}", drift.changes);
            alarms += drift.changes.len();
        }
        assert!(alarms <= 20, "{alarms} in five streams");
    }

    #[test]
    fn a_change_in_the_middle_of_a_block_is_one_alarm_and_its_return_another() {
        for seed in 0..5 {
            let (mut random, mut last, mut drift) = (Random::new(seed), [0.0; 3], ColumnDrift::default());
            for block in 0..60u64 {
                let mut table = stationary(1_000, true, &mut last, &mut random);
                if let Column::Number(values) = &mut table.columns[0].1 {
                    let moved = |row: usize| (20_500..40_500).contains(&(block as usize * 1_000 + row));
                    values.iter_mut().enumerate().for_each(|(row, v)| *v += if moved(row) { 5.0 } else { 0.0 });
                }
                drift.observe(&table, NAMES.into_iter(), (block * 1_000 + 1, None));
            }
            let rows: Vec<u64> = drift.changes.iter().filter(|c| c.column == "moves").map(|c| c.row).collect();
            assert!(rows.len() == 2 && rows[0] <= 22_000 && (41_000..=42_000).contains(&rows[1]), "{seed}: {rows:?}");
        }
    }

    #[test]
    fn it_does_not_matter_how_rows_are_divided() {
        let mut random = Random::new(5);
        let mut all = table(2_500, 0.0, &mut random);
        if let Column::Number(values) = &mut all.columns[0].1 {
            values[1_500..].iter_mut().for_each(|v| *v += 3.0);
        }
        let observe = |sizes: &[usize]| {
            let (mut drift, mut at) = (ColumnDrift::default(), 0);
            for &size in sizes {
                let rows: Vec<usize> = (at..at + size).collect();
                drift.observe(&all.select(&rows), NAMES.into_iter(), (at as u64 + 1, None));
                at += size;
            }
            drift
        };
        let whole = observe(&[2_500]);
        assert_eq!(whole, observe(&[1, 999, 700, 800]));
        assert_eq!(whole.changes.len(), 1);
    }
}
