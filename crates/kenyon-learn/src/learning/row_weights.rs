//! How much each row counts: in a training's loss, and in every metric of a model that was trained with a column of weights.

use crate::data::{Column, Table};
use crate::{Detail, Error, Result};

/// How much each of some rows counts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RowWeights<'a>(Option<&'a [f32]>);

impl<'a> RowWeights<'a> {
    /// All rows count alike.
    pub const EQUAL: Self = Self(None);

    /// By these weights, one a row; alike without them.
    pub fn new(weights: Option<&'a [f32]>) -> Self {
        Self(weights)
    }

    /// The weight of row `row`.
    pub fn of(self, row: usize) -> f64 {
        self.0.map_or(1.0, |weights| f64::from(weights[row]))
    }

    /// The sum of the weights of `rows` rows, all there are, to divide sums by; 1 where it is 0.
    pub fn total(self, rows: usize) -> f64 {
        let sum: f64 = (0..rows).map(|row| self.of(row)).sum();
        if sum > 0.0 { sum } else { 1.0 }
    }
}

/// The weight of every row of `table` by its column `name`, 1 on average over the rows `over`.
///
/// # Errors
/// `bad_weight` where the column holds something else than numbers of 0 or more, or nothing else than 0 for those rows.
pub(super) fn of_column(table: &Table, name: &str, over: &[usize]) -> Result<Vec<f32>> {
    let bad = |reason: String| {
        Error::unprocessable("bad_weight", format!("weight: {name}: {reason}"))
            .with_details([Detail::path("weight", reason)])
    };
    let Some(Column::Number(values)) = table.column(name) else {
        return Err(bad("must be a column of numbers".to_owned()));
    };
    if let Some(row) = values.iter().position(|w| !(w.is_finite() && *w >= 0.0)) {
        return Err(bad(format!("row {} has no weight of 0 or more", row + 1)));
    }
    let mean = over.iter().map(|&row| values[row]).sum::<f64>() / over.len().max(1) as f64;
    if !(mean.is_finite() && mean > 0.0) {
        return Err(bad("the weights of the rows in use add up to 0".to_owned()));
    }
    Ok(values.iter().map(|w| (w / mean) as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_checked_and_scaled() {
        let table = |values: &[f64]| Table {
            rows: values.len(),
            columns: vec![("w".to_owned(), Column::Number(values.to_vec()))],
        };
        assert_eq!(of_column(&table(&[1.0, 3.0, 0.0, 8.0]), "w", &[0, 1]).unwrap(), [0.5, 1.5, 0.0, 4.0]);
        for (values, reason) in [
            (vec![1.0, f64::NAN], "weight: w: row 2 has no weight of 0 or more"),
            (vec![-1.0, 2.0], "weight: w: row 1 has no weight of 0 or more"),
            (vec![0.0, 2.0], "weight: w: the weights of the rows in use add up to 0"),
        ] {
            let error = of_column(&table(&values), "w", &[0]).unwrap_err();
            assert_eq!((error.code, error.detail.as_str()), ("bad_weight", reason));
        }
        assert_eq!(of_column(&table(&[1.0]), "v", &[0]).unwrap_err().code, "bad_weight");
    }

    #[test]
    fn rows_without_weights_count_once() {
        assert_eq!((RowWeights::EQUAL.of(3), RowWeights::EQUAL.total(5), RowWeights::EQUAL.total(0)), (1.0, 5.0, 1.0));
        let weights = RowWeights::new(Some(&[0.5, 2.5]));
        assert_eq!((weights.of(1), weights.total(2)), (2.5, 3.0));
    }
}
