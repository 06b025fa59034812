//! Permutation importance (Breiman 2001; Fisher, Rudin & Dominici 2019): how much worse held-out rows are answered when
//! one column has the values of other rows.

use crate::Result;
use crate::data::encoder::Encoder;
use crate::data::split::Folds;
use crate::data::target::Encoded;
use crate::data::{Column, Table};
use crate::models::Network;
use crate::nn::probability::log_sum_exp;
use crate::random::Random;
use serde::{Deserialize, Serialize};

/// Approximate limit of predictions, and the most rows used.
const ANSWERS: usize = 12_000;
const MOST_ROWS: usize = 1_000;
const FEWEST_ROWS: usize = 50;
/// Rows per forward pass.
const CHUNK: usize = 256;

/// The importance of the features.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Importance {
    /// The metric: `log_loss`, or `mae` in the target's unit.
    pub metric: String,
    /// Held-out rows it was measured on.
    pub rows: usize,
    /// The most important first.
    pub features: Vec<Feature>,
}

/// One feature.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Feature {
    /// The column.
    pub name: String,
    /// How much the metric rises.
    pub importance: f64,
    /// Its 95 % confidence interval.
    pub interval: [f64; 2],
}

/// The model and its scale.
#[derive(Clone, Copy)]
pub struct ScaledModel<'a> {
    /// The encoder.
    pub encoder: &'a Encoder,
    /// The network.
    pub network: &'a dyn Network,
    /// Of a cross-fitted ensemble: rows are answered by the member that has not learned them.
    pub folds: Option<&'a Folds>,
    /// Logits are divided by it.
    pub temperature: f32,
    /// The target's unit for a standardised error of 1.
    pub unit: f64,
}

impl ScaledModel<'_> {
    /// Measures the importance of each feature on the rows `rows` of `table`.
    pub fn importance(&self, table: &Table, targets: &Encoded, rows: &[usize], seed: u64) -> Result<Importance> {
        let mut random = Random::stream(seed, "importance", 0);
        let mut rows = rows.to_vec();
        random.shuffle(&mut rows);
        rows.truncate((ANSWERS / self.encoder.fields.len().max(1)).clamp(FEWEST_ROWS, MOST_ROWS));
        let used = |name: &String| self.encoder.fields.iter().any(|field| field.name == *name);
        let columns = table.columns.iter().filter(|(name, _)| used(name));
        let columns: Vec<(String, Column)> = columns.map(|(name, c)| (name.clone(), c.select(&rows))).collect();
        let mut own = Table { rows: rows.len(), columns };
        let before = self.losses(&own, targets, &rows)?;
        let mut features = Vec::with_capacity(own.columns.len());
        for at in 0..own.columns.len() {
            // Each row gets the value of another: a shift of a random order has no fixed points.
            let mut order: Vec<usize> = (0..rows.len()).collect();
            random.shuffle(&mut order);
            let mut other = vec![0; rows.len()];
            (0..rows.len()).for_each(|i| other[order[i]] = order[(i + 1) % rows.len()]);
            let exchanged = own.columns[at].1.select(&other);
            let kept = std::mem::replace(&mut own.columns[at].1, exchanged);
            let after = self.losses(&own, targets, &rows)?;
            own.columns[at].1 = kept;
            let differences: Vec<f64> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
            let count = differences.len().max(1) as f64;
            let mean = differences.iter().sum::<f64>() / count;
            let variance = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
            let reach = 1.96 * (variance / count).sqrt();
            let name = own.columns[at].0.clone();
            features.push(Feature { name, importance: mean, interval: [mean - reach, mean + reach] });
        }
        features.sort_by(|a, b| b.importance.total_cmp(&a.importance));
        let metric = if matches!(targets, Encoded::Classes(_)) { "log_loss" } else { "mae" };
        Ok(Importance { metric: metric.to_owned(), rows: rows.len(), features })
    }

    fn losses(&self, table: &Table, targets: &Encoded, rows: &[usize]) -> Result<Vec<f64>> {
        let batch = self.encoder.encode(table)?;
        let outputs = self.network.outputs().max(1);
        let mut losses = Vec::with_capacity(rows.len());
        let all: Vec<usize> = (0..table.rows).collect();
        for part in all.chunks(CHUNK) {
            let selected = batch.select(part);
            let answers = match self.folds {
                Some(folds) => {
                    let members: Vec<u8> = part.iter().map(|&at| folds.of_row[rows[at]]).collect();
                    self.network.forward_members(&selected, &members)?
                }
                None => self.network.forward(&selected)?,
            };
            for (answer, &at) in answers.chunks_exact(outputs).zip(part) {
                losses.push(match targets {
                    Encoded::Classes(ids) => {
                        let scaled = |logit: &f32| f64::from(logit / self.temperature);
                        let truth = answer.get(ids[rows[at]] as usize).map_or(0.0, scaled);
                        log_sum_exp(answer.iter().map(scaled)) - truth
                    }
                    Encoded::Values(values) => f64::from((answer[0] - values[rows[at]]).abs()) * self.unit,
                });
            }
        }
        Ok(losses)
    }
}
