//! Rows that have some columns from the row that is explained and the others from a background row, put together from
//! the encoded columns: each cell is encoded once, however many rows it is part of.

use super::shapley::Point;
use crate::Result;
use crate::data::encoder::{Encoder, Layout};
use crate::data::{Batch, Column, Table};

/// Encoded background rows, the row itself, and for pairs of columns the rows that mix them.
pub(super) struct MixedRows {
    batch: Batch,
    /// First feature index of each column in the order of indices, then that of none.
    starts: Vec<u32>,
    /// The column that each range belongs to.
    columns: Vec<usize>,
    /// For each column of a pair its partner, and whether it is the first of the two.
    partners: Vec<Option<(usize, bool)>>,
    /// Background rows.
    ends: usize,
}

impl MixedRows {
    /// Of stacked columns: cells of the background rows, then that of the row; none where rows are not bags of entries.
    pub(super) fn new(encoder: &Encoder, stacked: &[Column], compact: bool) -> Result<Option<Self>> {
        let Some(ends) = stacked.first().map(|column| column.len() - 1).filter(|_| encoder.layout == Layout::Bag)
        else {
            return Ok(None);
        };
        let partners = encoder.partners();
        let paired = partners.iter().any(Option::is_some);
        // Rows 0..ends are the background, then the row; then rows with the first column of each pair the row's own,
        // then those with the second.
        let mut table = Table { rows: if paired { 3 * ends + 1 } else { ends + 1 }, columns: Vec::new() };
        for (at, field) in encoder.fields.iter().enumerate() {
            let mut rows: Vec<usize> = (0..=ends).collect();
            for of_first in [true, false].into_iter().filter(|_| paired) {
                let own = partners[at].is_none_or(|(_, first)| first == of_first);
                rows.extend((0..ends).map(|row| if own { ends } else { row }));
            }
            table.columns.push((field.name.clone(), stacked[at].select(&rows)));
        }
        let batch = if compact { encoder.encode_compact(&table) } else { encoder.encode(&table) }?;
        let mut columns: Vec<usize> = (0..encoder.fields.len()).collect();
        columns.sort_by_key(|&at| encoder.fields[at].start);
        let mut starts: Vec<u32> = columns.iter().map(|&at| encoder.fields[at].start).collect();
        starts.push(u32::MAX);
        Ok(Some(Self { batch, starts, columns, partners, ends }))
    }

    /// The row that has the cells of column `at` at a point.
    fn row_of(&self, at: usize, point: &Point) -> usize {
        let own = point.kept[at];
        match self.partners[at] {
            Some((other, first)) if point.kept[other] != own => {
                let first_is_own = own == first;
                let from = if first_is_own { self.ends + 1 } else { 2 * self.ends + 1 };
                from + point.from
            }
            _ if own => self.ends,
            _ => point.from,
        }
    }

    /// The encoded rows at some points.
    pub(super) fn at(&self, points: &[Point]) -> Batch {
        let mut out = Batch { bins: self.batch.bins.clone(), ..Batch::new() };
        // Where the entries of each column begin in each row.
        let columns = self.columns.len();
        let ranges: Vec<usize> = (0..self.batch.rows())
            .flat_map(|row| {
                let (indices, _) = self.batch.entries(row);
                self.starts.iter().map(|&start| indices.partition_point(|&index| index < start)).collect::<Vec<_>>()
            })
            .collect();
        for point in points {
            for (at, &column) in self.columns.iter().enumerate() {
                let row = self.row_of(column, point);
                let (indices, values) = self.batch.entries(row);
                let range = ranges[row * (columns + 1) + at]..ranges[row * (columns + 1) + at + 1];
                out.indices.extend_from_slice(&indices[range.clone()]);
                out.values.extend_from_slice(&values[range]);
            }
            out.end_bag();
        }
        out
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::data::encoder::EncoderOptions;
    use crate::data::plan::ColumnPlan;
    use crate::data::{ColumnKind, Table};
    use crate::random::Random;

    #[test]
    fn mixed_rows_are_what_encoding_the_mixed_table_gives() {
        let mut random = Random::new(3);
        let rows = 300;
        let mut draw = || -> Vec<f64> { (0..rows).map(|_| f64::from(random.normal())).collect() };
        let columns = vec![
            ("x".to_owned(), Column::Number(draw())),
            ("name".to_owned(), Column::Category((0..rows).map(|i| Some(["a", "b", "c"][i % 3].into())).collect())),
            ("y".to_owned(), Column::Number(draw())),
            ("text".to_owned(), Column::Text((0..rows).map(|i| Some(format!("word{} other", i % 7).into())).collect())),
        ];
        let kinds = [ColumnKind::Number, ColumnKind::Category, ColumnKind::Number, ColumnKind::Text];
        let table = Table { rows, columns };
        let plans: Vec<ColumnPlan> =
            table.columns.iter().zip(kinds).map(|((name, _), kind)| ColumnPlan::new(name.clone(), kind)).collect();
        let all: Vec<usize> = (0..rows).collect();
        for pairs in [vec![], vec![["x".to_owned(), "y".to_owned()]]] {
            let options = EncoderOptions { bins: 8, ..EncoderOptions::default() };
            let encoder = Encoder::fit_paired(&table, &all, &plans, Layout::Bag, options, &pairs).unwrap();
            assert_eq!(encoder.partners().iter().flatten().count(), 2 * pairs.len());
            let ends = 5;
            let stacked: Vec<Column> =
                table.columns.iter().map(|(_, column)| column.select(&[0, 1, 2, 3, 4, 9])).collect();
            let mixed = MixedRows::new(&encoder, &stacked, true).unwrap().unwrap();
            let points: Vec<Point> = (0..32)
                .map(|i| Point { from: i % ends, kept: (0..4).map(|column| i >> column & 1 == 1).collect() })
                .collect();
            let columns = (0..4).map(|column| {
                let from = |point: &Point| if point.kept[column] { ends } else { point.from };
                let rows: Vec<usize> = points.iter().map(from).collect();
                (table.columns[column].0.clone(), stacked[column].select(&rows))
            });
            let plain = Table { rows: points.len(), columns: columns.collect() };
            let (found, expected) = (mixed.at(&points), encoder.encode_compact(&plain).unwrap());
            assert_eq!((found.indices, found.values), (expected.indices, expected.values));
        }
    }
}
