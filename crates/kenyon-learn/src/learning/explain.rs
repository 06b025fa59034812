//! Explanations: differences from a baseline that sum to the answer's difference.
//!
//! Shapley values against a background sample of training rows (Lundberg & Lee 2017): the value of some columns is the
//! mean answer over rows that have these columns from the row itself and the others from a background row. They are
//! sampled by a path from each background row to the row itself and the same path in reverse order
//! (antithetic permutations), so that they sum exactly and interactions of two columns are exact, too. Words of a text,
//! cells of a picture and steps of a series then divide their column's contribution.

mod mixed;
mod parts;
mod pictures;
mod shapley;

use super::background::Background;
use super::bundle::Bundle;
use crate::Result;
use crate::data::target::TargetEncoder;
use crate::data::{Batch, Column, Table};
use crate::nn::probability::log_sum_exp;
use mixed::MixedRows;
use serde_json::Value;
use shapley::shapley;

/// Rows per forward pass.
const CHUNK: usize = 512;

/// The decomposition of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribution {
    /// The mean answer over the background sample.
    pub baseline: f64,
    /// The answer.
    pub output: f64,
    /// The unit: log-odds of the named class against the rest, or the target's own unit, by its name.
    pub unit: String,
    /// What each feature adds, the largest first; together `output − baseline`.
    pub features: Vec<Contribution>,
}

/// What a feature adds to an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contribution {
    /// Its column.
    pub name: String,
    /// What it adds.
    pub weight: f64,
    /// The row's value; null for lists.
    pub value: Value,
    /// For a word of a text: its range in code points.
    pub span: Option<[usize; 2]>,
    /// For a picture `[rows][columns]`, for a series `[channels][steps]`; sums to `weight`.
    pub map: Option<Vec<Vec<f32>>>,
}

/// Decomposes the answer for class `output` (or the value) of row `row` of `table`; none for a model without a
/// background sample.
pub fn attribute(bundle: &Bundle, table: &Table, row: usize, output: usize) -> Result<Option<Attribution>> {
    let Some(background) = &bundle.background else { return Ok(None) };
    let subject = Subject::new(bundle, background, table, row, output)?;
    let columns = subject.names.len();
    let orders = background.rows();
    let compact = bundle.network.reads_compact();
    let mixed = MixedRows::new(&bundle.encoder, &subject.stacked, compact)?;
    let found = shapley(columns, orders, |points| {
        if let Some(mixed) = &mixed {
            return subject.measured(&mixed.at(points));
        }
        let drawn: Vec<Vec<usize>> = (0..columns)
            .map(|column| points.iter().map(|point| if point.kept[column] { orders } else { point.from }).collect())
            .collect();
        subject.answers(&|column| subject.stacked[column].select(&drawn[column]), points.len())
    })?;
    let mut features = Vec::new();
    for (at, &weight) in found.weights.iter().enumerate() {
        features.extend(parts::of_column(&subject, at, weight)?);
    }
    features.sort_by(|a, b| b.weight.abs().total_cmp(&a.weight.abs()));
    let unit = match &bundle.config.target_encoder {
        TargetEncoder::Classes(_) => "log-odds".to_owned(),
        TargetEncoder::Number { .. } => bundle.config.target.name.clone(),
    };
    Ok(Some(Attribution { baseline: found.baseline, output: found.output, unit, features }))
}

/// A row that is explained, and its reference.
struct Subject<'a> {
    bundle: &'a Bundle,
    /// Columns in use.
    names: Vec<&'a str>,
    /// For each, the cells of the background rows, then that of the row.
    stacked: Vec<Column>,
    output: usize,
}

impl<'a> Subject<'a> {
    /// The answers for the row with `column` in the place of its column numbered `at`.
    fn answers_with(&self, at: usize, column: &Column, rows: usize) -> Result<Vec<f64>> {
        let own = vec![self.own(); rows];
        self.answers(&|other| if other == at { column.clone() } else { self.stacked[other].select(&own) }, rows)
    }

    fn new(bundle: &'a Bundle, background: &'a Background, table: &Table, row: usize, output: usize) -> Result<Self> {
        let names: Vec<&str> = bundle.encoder.fields.iter().map(|field| field.name.as_str()).collect();
        let stacked = names.iter().map(|name| background.stacked(name, table, row)).collect::<Result<_>>()?;
        Ok(Self { bundle, names, stacked, output })
    }

    /// The index of the row itself in a stacked column.
    fn own(&self) -> usize {
        self.stacked.first().map_or(0, |column| column.len() - 1)
    }

    /// The answers for `rows` rows whose columns are made by `column`.
    fn answers(&self, column: &dyn Fn(usize) -> Column, rows: usize) -> Result<Vec<f64>> {
        let columns = self.names.iter().enumerate().map(|(at, name)| ((*name).to_owned(), column(at))).collect();
        let table = Table { rows, columns };
        let compact = self.bundle.network.reads_compact();
        let encoder = &self.bundle.encoder;
        self.measured(&if compact { encoder.encode_compact(&table) } else { encoder.encode(&table) }?)
    }

    /// The answers for encoded rows.
    fn measured(&self, batch: &Batch) -> Result<Vec<f64>> {
        let network = &self.bundle.network;
        let mut answers = Vec::with_capacity(batch.rows());
        let all: Vec<usize> = (0..batch.rows()).collect();
        for rows in all.chunks(CHUNK) {
            let part;
            let outputs = if rows.len() == batch.rows() {
                network.forward(batch)?
            } else {
                part = batch.select(rows);
                network.forward(&part)?
            };
            answers.extend(outputs.chunks_exact(network.outputs().max(1)).map(|row| self.measure(row)));
        }
        Ok(answers)
    }

    /// Log-odds of the named class against the rest, or the value in the target's unit.
    fn measure(&self, outputs: &[f32]) -> f64 {
        match &self.bundle.config.target_encoder {
            TargetEncoder::Number { .. } => self.bundle.value(outputs[0]),
            TargetEncoder::Classes(_) => {
                let temperature = f64::from(self.bundle.config.calibration.temperature);
                let scaled = |at: usize| f64::from(outputs[at]) / temperature;
                let others = (0..outputs.len()).filter(|&at| at != self.output).map(scaled);
                scaled(self.output) - log_sum_exp(others)
            }
        }
    }
}

#[cfg(test)]
mod tests;
