//! Rows that have some columns from the row that is explained and the others from a background row, put together from
//! the encoded columns: each cell is encoded once, however many rows it is part of.

use super::shapley::Point;
use crate::Result;
use crate::data::encoder::{Encoder, Layout};
use crate::data::{Batch, Column, Table};

/// Encoded background rows, then the row itself.
pub(super) struct MixedRows {
    batch: Batch,
    /// First feature index of each column in the order of indices, then that of none.
    starts: Vec<u32>,
    /// The column that each range belongs to.
    columns: Vec<usize>,
}

impl MixedRows {
    /// Of stacked columns: cells of the background rows, then that of the row; none where rows are not bags of entries,
    /// each of one column.
    pub(super) fn new(encoder: &Encoder, stacked: &[Column], compact: bool) -> Result<Option<Self>> {
        if encoder.layout != Layout::Bag || encoder.reads_pairs() {
            return Ok(None);
        }
        let named = encoder.fields.iter().zip(stacked).map(|(field, column)| (field.name.clone(), column.clone()));
        let table = Table { rows: stacked.first().map_or(0, Column::len), columns: named.collect() };
        let batch = if compact { encoder.encode_compact(&table) } else { encoder.encode(&table) }?;
        let mut columns: Vec<usize> = (0..encoder.fields.len()).collect();
        columns.sort_by_key(|&at| encoder.fields[at].start);
        let mut starts: Vec<u32> = columns.iter().map(|&at| encoder.fields[at].start).collect();
        starts.push(u32::MAX);
        Ok(Some(Self { batch, starts, columns }))
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
                let row = if point.kept[column] { self.batch.rows() - 1 } else { point.from };
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
        let options = EncoderOptions { bins: 8, ..EncoderOptions::default() };
        let encoder =
            |pairs: &[[String; 2]]| Encoder::fit_paired(&table, &all, &plans, Layout::Bag, options, pairs).unwrap();
        let ends = 5;
        let stacked: Vec<Column> = table.columns.iter().map(|(_, column)| column.select(&[0, 1, 2, 3, 4, 9])).collect();
        let paired = encoder(&[["x".to_owned(), "y".to_owned()]]);
        assert!(MixedRows::new(&paired, &stacked, true).unwrap().is_none());
        let encoder = encoder(&[]);
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
