//! Rows that have some columns from the row that is explained and the others from a background row, put together from
//! the encoded columns: each cell is encoded once, however many rows it is part of.

use super::shapley::Point;
use crate::Result;
use crate::data::encoder::{Encoder, Layout};
use crate::data::{Batch, Column, Table};
use std::ops::Range;

/// Encoded background rows, then the row itself.
pub(super) struct MixedRows<'a> {
    encoder: &'a Encoder,
    batch: Batch,
    /// In the order of their indices.
    columns: Vec<MixedColumn>,
    /// The numbers of each field; empty for other columns.
    numbers: Vec<&'a [f64]>,
}

/// The entries of a column.
struct MixedColumn {
    field: usize,
    /// Indices of what depends on its own cells.
    own: Range<u32>,
    /// The fields that it is read together with: what is read together is put together anew.
    with: Vec<usize>,
}

impl<'a> MixedRows<'a> {
    /// Of stacked columns: cells of the background rows, then that of the row; none where rows are not bags of entries.
    pub(super) fn new(encoder: &'a Encoder, stacked: &'a [Column], compact: bool) -> Result<Option<Self>> {
        if encoder.layout != Layout::Bag {
            return Ok(None);
        }
        let named = encoder.fields.iter().zip(stacked).map(|(field, column)| (field.name.clone(), column.clone()));
        let table = Table { rows: stacked.first().map_or(0, Column::len), columns: named.collect() };
        let batch = if compact { encoder.encode_compact(&table) } else { encoder.encode(&table) }?;
        let column = |field: usize| {
            let start = encoder.fields[field].start;
            let (with, together) = encoder.paired_with(field);
            MixedColumn { field, own: start..together.min(start + encoder.fields[field].width), with }
        };
        let mut columns: Vec<MixedColumn> = (0..encoder.fields.len()).map(column).collect();
        columns.sort_by_key(|column| column.own.start);
        let numbers = stacked.iter().map(|column| if let Column::Number(values) = column { values } else { &[][..] });
        Ok(Some(Self { encoder, batch, columns, numbers: numbers.collect() }))
    }

    /// The encoded rows at some points.
    pub(super) fn at(&self, points: &[Point]) -> Batch {
        let mut out = Batch { bins: self.batch.bins.clone(), ..Batch::new() };
        let (columns, itself) = (self.columns.len(), self.batch.rows() - 1);
        // Where the entries of each column lie in each row.
        let ranges: Vec<Range<usize>> = (0..self.batch.rows())
            .flat_map(|row| {
                let (indices, _) = self.batch.entries(row);
                let at = move |bound: u32| indices.partition_point(|&index| index < bound);
                self.columns.iter().map(move |column| at(column.own.start)..at(column.own.end))
            })
            .collect();
        for point in points {
            let row_of = |field: usize| if point.kept[field] { itself } else { point.from };
            for (at, column) in self.columns.iter().enumerate() {
                let row = row_of(column.field);
                let (indices, values) = self.batch.entries(row);
                let range = ranges[row * columns + at].clone();
                out.indices.extend_from_slice(&indices[range.clone()]);
                out.values.extend_from_slice(&values[range]);
                if !column.with.is_empty() {
                    let others = column.with.iter().map(|&field| self.numbers[field][row_of(field)]);
                    self.encoder.push_paired(column.field, self.numbers[column.field][row], others, &mut out);
                }
            }
            out.end_bag();
        }
        out
    }
}

#[cfg(test)]
mod tests {
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
        let ends = 5;
        let stacked: Vec<Column> = table.columns.iter().map(|(_, column)| column.select(&[0, 1, 2, 3, 4, 9])).collect();
        let points: Vec<Point> = (0..32)
            .map(|i| Point { from: i % ends, kept: (0..4).map(|column| i >> column & 1 == 1).collect() })
            .collect();
        let columns = (0..4).map(|column| {
            let from = |point: &Point| if point.kept[column] { ends } else { point.from };
            let rows: Vec<usize> = points.iter().map(from).collect();
            (table.columns[column].0.clone(), stacked[column].select(&rows))
        });
        let plain = Table { rows: points.len(), columns: columns.collect() };
        for pairs in [&[][..], &[["x".to_owned(), "y".to_owned()]]] {
            let encoder = Encoder::fit_paired(&table, &all, &plans, Layout::Bag, options, pairs).unwrap();
            assert_eq!(encoder.paired_with(0).0.is_empty(), pairs.is_empty());
            for compact in [false, true] {
                let mixed = MixedRows::new(&encoder, &stacked, compact).unwrap().unwrap();
                let whole = if compact { encoder.encode_compact(&plain) } else { encoder.encode(&plain) }.unwrap();
                let found = mixed.at(&points);
                assert_eq!((found.indices, found.values), (whole.indices, whole.values), "{pairs:?}, {compact}");
            }
        }
    }
}
