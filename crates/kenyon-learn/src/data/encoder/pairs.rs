//! Numbers that mean something only together, such as the two coordinates of a place: beside the bins of each a network
//! reads bins along the two diagonals of their plane, so that it can cut it in eight directions instead of four, and the
//! cell of the plane that a row lies in, so that it can learn what no sum over the two numbers' bins expresses.

use super::bins::{edges, push_bins};
use super::scale::Scale;
use super::{Encoder, EncoderOptions};
use crate::data::{Batch, Column, Table};
use serde::{Deserialize, Deserializer, Serialize};

/// Bins of either number between cells at most.
const MOST_BINS: usize = 64;
/// A cell with fewer training rows is none.
const LEAST_ROWS: u32 = 2;

/// What a column reads together with another one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Paired {
    /// The other column.
    pub(super) with: String,
    /// Mean of either column, and what its distance from that is multiplied by.
    pub(super) own: (f64, f64),
    pub(super) other: (f64, f64),
    /// Bins along a diagonal: one of the two columns has the sum, the other one the difference.
    pub(super) edges: Vec<f64>,
    /// One of the two columns has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cells: Option<Cells>,
}

impl Paired {
    /// What column `name` reads with others; a pair of which a half does not vary over `rows` is left out.
    pub(super) fn fit(
        table: &Table,
        name: &str,
        pairs: &[[String; 2]],
        rows: &[usize],
        options: &EncoderOptions,
    ) -> Vec<Self> {
        let with = pairs.iter().filter_map(|[first, second]| match name {
            _ if name == first => Some((second, 1.0)),
            _ if name == second => Some((first, -1.0)),
            _ => None,
        });
        with.filter_map(|(with, sign)| Self::of(table, [name, with], sign, rows, options)).collect()
    }

    fn of(table: &Table, [name, with]: [&str; 2], sign: f64, rows: &[usize], options: &EncoderOptions) -> Option<Self> {
        let (Column::Number(own), Column::Number(other)) = (table.column(name)?, table.column(with)?) else {
            return None;
        };
        let unit = |values: &[f64]| {
            let mut scale = Scale::default();
            rows.iter().for_each(|&row| scale.push(values[row]));
            let deviation = (scale.squares / scale.count).sqrt();
            (deviation > 0.0).then(|| (scale.mean, 1.0 / deviation))
        };
        let (own_unit, (mean, factor)) = (unit(own)?, unit(other)?);
        let (with, other_unit) = (with.to_owned(), (mean, sign * factor));
        let mut found = Self { with, own: own_unit, other: other_unit, edges: Vec::new(), cells: None };
        let mut values: Vec<f64> = rows.iter().map(|&row| found.along(own[row], other[row])).collect();
        values.retain(|v| v.is_finite());
        values.sort_by(f64::total_cmp);
        found.edges = edges(&values, options.bins);
        found.cells = (sign > 0.0).then(|| Cells::fit(own, other, rows, options.cell_rows));
        (found.edges.len() > 2).then_some(found)
    }

    fn along(&self, own: f64, other: f64) -> f64 {
        (own - self.own.0) * self.own.1 + (other - self.other.0) * self.other.1
    }

    /// Number of bins along the diagonal.
    pub(super) fn bins(&self) -> usize {
        self.edges.len().saturating_sub(1)
    }

    /// Number of feature indices: the bins, then the cells.
    pub(super) fn width(&self) -> usize {
        self.bins() + self.cells.as_ref().map_or(0, |cells| cells.kept.len())
    }

    /// Pushes the bins and the cell of a row where both columns have a value.
    pub(super) fn push(&self, own: f64, other: f64, start: u32, batch: &mut Batch) {
        let value = self.along(own, other);
        if !value.is_finite() {
            return;
        }
        push_bins(&self.edges, value, start, batch);
        if let Some(at) = self.cells.as_ref().and_then(|cells| cells.at(own, other)) {
            batch.push_entry(start + (self.bins() + at) as u32, 1.0);
        }
    }

    /// The reading of a saved model, of which earlier versions have one at most.
    pub(super) fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Self>, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Saved {
            More(Vec<Paired>),
            One(Box<Paired>),
        }
        Ok(match Saved::deserialize(deserializer)? {
            Saved::More(pairs) => pairs,
            Saved::One(pair) => vec![*pair],
        })
    }
}

impl Encoder {
    /// The columns that the one numbered `field` is read together with, and the first index of what is read together.
    pub(crate) fn paired_with(&self, field: usize) -> (Vec<usize>, u32) {
        let Some(fitted) = self.fitted.get(field) else { return (Vec::new(), u32::MAX) };
        let pairs = fitted.pairs();
        let number = |pair: &Paired| self.fields.iter().position(|field| field.name == pair.with);
        let with: Vec<usize> = pairs.iter().filter_map(number).collect();
        let end = self.fields[field].start + self.fields[field].width;
        // A model names columns that it has; without one there is nothing to read together.
        let start =
            if with.is_empty() { u32::MAX } else { end - pairs.iter().map(Paired::width).sum::<usize>() as u32 };
        (with, start)
    }

    /// Pushes what the column numbered `field` reads together with others, in the order of [`Self::paired_with`].
    pub(crate) fn push_paired(&self, field: usize, own: f64, others: impl Iterator<Item = f64>, batch: &mut Batch) {
        let (_, mut start) = self.paired_with(field);
        for (pair, other) in self.fitted[field].pairs().iter().zip(others) {
            pair.push(own, other, start, batch);
            start += pair.width() as u32;
        }
    }
}

/// The cells of two columns' plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Cells {
    /// The least value of each bin but the first.
    pub(super) own: Vec<f64>,
    pub(super) other: Vec<f64>,
    /// The cells that rows were in, ascending: bin of the first, times the number of bins of the second, plus its bin.
    pub(super) kept: Vec<u32>,
}

impl Cells {
    /// So many that `cell_rows` rows were in each if they were spread evenly.
    fn fit(own: &[f64], other: &[f64], rows: &[usize], cell_rows: usize) -> Self {
        let bins = ((rows.len() as f64 / cell_rows.max(1) as f64).sqrt() as usize).clamp(2, MOST_BINS);
        let inner = |values: &[f64]| {
            let mut known: Vec<f64> = rows.iter().map(|&row| values[row]).filter(|value| value.is_finite()).collect();
            known.sort_by(f64::total_cmp);
            edges(&known, bins).into_iter().skip(1).collect::<Vec<f64>>()
        };
        let mut found = Self { own: inner(own), other: inner(other), kept: Vec::new() };
        let mut counts = std::collections::BTreeMap::<u32, u32>::new();
        for &row in rows.iter().filter(|&&row| own[row].is_finite() && other[row].is_finite()) {
            *counts.entry(found.cell(own[row], other[row])).or_default() += 1;
        }
        found.kept = counts.into_iter().filter(|&(_, rows)| rows >= LEAST_ROWS).map(|(cell, _)| cell).collect();
        found
    }

    fn cell(&self, own: f64, other: f64) -> u32 {
        let bin = |edges: &[f64], value: f64| edges.partition_point(|&edge| edge <= value);
        (bin(&self.own, own) * (self.other.len() + 1) + bin(&self.other, other)) as u32
    }

    /// The position of a row's cell among those that are kept.
    fn at(&self, own: f64, other: f64) -> Option<usize> {
        self.kept.binary_search(&self.cell(own, other)).ok()
    }
}
