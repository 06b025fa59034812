//! Which columns of a stream changed, when and how far: each column's newest block of rows is compared with those
//! before it by the share of rows that differ (total variation).

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
/// The share that counts as a change. Two blocks of equal rows differ by about 0.05.
const FAR: f64 = 0.2;
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

/// Half of a pair of a name and a share; generators of clients know no pairs.
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
        for name in names.take(MOST_COLUMNS) {
            let Some(column) = table.column(name) else { continue };
            let numbers = matches!(column, Column::Number(_));
            if !numbers && !matches!(column, Column::Boolean(_) | Column::Category(_)) {
                continue;
            }
            let watched = self.columns.entry(name.to_owned()).or_insert_with(|| Watched::new(numbers));
            for row in 0..table.rows {
                let change = match column {
                    Column::Number(values) => watched.number(values[row]),
                    Column::Boolean(values) => watched.value(values[row].map(|v| if v { "true" } else { "false" })),
                    Column::Category(values) => watched.value(values[row].as_deref()),
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
        Self { bins, before: Vec::new(), block: Vec::new(), rows: 0 }
    }

    fn number(&mut self, value: f64) -> Option<Change> {
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
                for value in values {
                    self.before[edges.partition_point(|&edge| edge <= value)] += 1.0;
                }
            }
            return None;
        }
        let bin = match &self.bins {
            Bins::Edges(_, edges) if value.is_finite() => Some(edges.partition_point(|&edge| edge <= value)),
            Bins::Edges(..) => None,
            _ => return None,
        };
        self.count(bin)
    }

    fn value(&mut self, value: Option<&str>) -> Option<Change> {
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
        self.count(bin)
    }

    /// Counts a row, and compares at the end of a block.
    fn count(&mut self, bin: Option<usize>) -> Option<Change> {
        self.rows += 1;
        if let Some(bin) = bin {
            self.block[bin] += 1.0;
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
        let shares = |counts: &[f64], sum: f64| counts.iter().map(|n| n / sum).collect::<Vec<_>>();
        let (p, q) = (shares(&self.before, past.max(1.0)), shares(&block, now));
        let distance = p.iter().zip(&q).map(|(p, q)| (p - q).abs()).sum::<f64>() / 2.0;
        if past >= BLOCK as f64 / 4.0 && distance > FAR {
            let change = (distance, self.named(&p), self.named(&q));
            self.before = block;
            return Some(change);
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
