//! The background sample: a few representative training rows, the reference of explanations.

use crate::data::encoder::{Encoder, Field};
use crate::data::{Column, Table};
use crate::nn::probability::argmax;
use crate::{Error, Result};

/// Largest number of rows of the sample.
const MOST: usize = 100;
/// The same of rows of one or two columns, which may be texts or pictures and take longer.
const MOST_OF_FEW_COLUMNS: usize = 32;
/// Smallest number of rows.
const LEAST: usize = 4;
/// Approximate number of predictions of an explanation: rows are fewer where columns are many.
const ANSWERS: usize = 1_000;
/// Approximate bytes of the sample.
const MOST_BYTES: u64 = 1 << 19;

/// A sample of training rows, the reference of explanations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Background {
    table: Table,
}

impl Background {
    /// Rows among the training rows `rows`, whose answers are `outputs` `[rows, width]`: evenly spaced in the order of
    /// the answers, so that their mean is near the mean of all.
    pub fn choose(table: &Table, encoder: &Encoder, rows: &[usize], outputs: &[f32]) -> Self {
        let width = outputs.len() / rows.len().max(1);
        let answer = |at: usize| &outputs[at * width..(at + 1) * width];
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by(|&a, &b| {
            let (first, second) = (argmax(answer(a)), argmax(answer(b)));
            first.cmp(&second).then(answer(a)[first].total_cmp(&answer(b)[second])).then(a.cmp(&b))
        });
        let used = |name: &String| encoder.fields.iter().any(|field| field.name == *name);
        let columns = table.columns.iter().filter(|(name, _)| used(name));
        let columns: Vec<(String, Column)> =
            columns.map(|(name, column)| (name.clone(), column.select(rows))).collect();
        let known = Table { rows: rows.len(), columns };
        let by_columns = ANSWERS / (2 * known.columns.len().max(2) - 2);
        let by_bytes = MOST_BYTES / (known.bytes() / rows.len().max(1) as u64).max(1);
        let most = if known.columns.len() > 2 { MOST } else { MOST_OF_FEW_COLUMNS };
        let count = by_columns.min(by_bytes as usize).clamp(LEAST, most).min(rows.len());
        let chosen: Vec<usize> = (0..count).map(|i| order[(2 * i + 1) * order.len() / (2 * count)]).collect();
        Self { table: known.select(&chosen) }
    }

    /// Rows of the sample.
    pub fn rows(&self) -> usize {
        self.table.rows
    }

    /// Its first row.
    pub fn first(&self) -> Table {
        self.table.select(&[0])
    }

    /// As bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        postcard::to_stdvec(&self.table).map_err(Error::internal)
    }

    /// Restores [`Background::to_bytes`], for the columns of `encoder`; none where it does not fit, since bytes are
    /// untrusted.
    pub fn from_bytes(bytes: &[u8], encoder: &Encoder) -> Option<Self> {
        let table: Table = postcard::from_bytes(bytes).ok()?;
        let fits = |(at, field): (usize, &Field)| {
            let found = table.column(&field.name).filter(|c| c.is_consistent() && c.len() == table.rows);
            let planned = encoder.inputs.iter().find(|plan| plan.name == field.name);
            found.is_some_and(|column| match column {
                Column::Vector { width, .. } => {
                    let shape = planned.and_then(|plan| plan.shape.as_ref()).or(field.shape.as_ref());
                    shape.is_none_or(|shape| shape.iter().product::<usize>() == *width)
                }
                Column::Series { channels, .. } => encoder.windows(at).is_none_or(|(own, ..)| own == *channels),
                _ => true,
            })
        };
        let whole = (1..=MOST).contains(&table.rows) && encoder.fields.iter().enumerate().all(fits);
        whole.then_some(Self { table })
    }

    /// The cells of a column, then that of row `row` of `table`.
    ///
    /// # Errors
    /// A column that was not read, or is of another kind.
    pub fn stacked(&self, name: &str, table: &Table, row: usize) -> Result<Column> {
        let missing = || Error::internal(format!("column {name} was not read"));
        let mut column = self.table.column(name).ok_or_else(missing)?.clone();
        if !column.append(&table.column(name).ok_or_else(missing)?.select(&[row])) {
            return Err(Error::internal(format!("column {name} is read in two ways")));
        }
        Ok(column)
    }

    /// Approximate bytes in memory.
    pub fn bytes(&self) -> u64 {
        self.table.bytes()
    }
}
