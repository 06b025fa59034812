//! The reference of a trained network: the codes of its training rows, how far held-out rows are from them, and a background
//! sample for explanations.

use super::CHUNK;
use super::data::Data;
use crate::Result;
use crate::data::encoder::Encoder;
use crate::data::{Batch, Table};
use crate::learning::background::Background;
use crate::learning::novelty::{KnownCodes, Novelty, NoveltyRows, SKETCH};
use crate::models::Network;

/// Rows whose codes are kept, about.
const CODES: usize = 1024;

/// The known rows of a training.
pub(super) struct KnownRows {
    codes: KnownCodes,
    background: Background,
    /// Training rows that count as known.
    known: Vec<usize>,
    /// Sketches of the codes of the held-out rows, `[rows, SKETCH]`.
    pub(super) sketches: Vec<f32>,
}

impl KnownRows {
    /// A cross-fitted ensemble has learned from all rows: those of odd folds count as known, those of even folds
    /// stand for new ones.
    pub(super) fn new(
        network: &dyn Network,
        table: &Table,
        encoder: &Encoder,
        data: Data<'_>,
        seed: u64,
    ) -> Result<Self> {
        let training = &data.split.training;
        let mut known: Vec<usize> = training.iter().copied().filter(|&row| !stands_for_new(data, row)).collect();
        if known.is_empty() {
            known.clone_from(training);
        }
        let step = known.len().div_ceil(CODES).max(1);
        let sample: Vec<usize> = known.iter().copied().step_by(step).collect();
        let (answers, codes) = network.forward_with_features(&data.batch.select(&sample))?;
        let background = Background::choose(table, encoder, &sample, &answers);
        let codes = KnownCodes::sample(&codes, network.feature_width(), seed);
        let mut sketches = Vec::with_capacity(data.split.validation.len() * SKETCH);
        for rows in data.split.validation.chunks(CHUNK) {
            sketches.extend(codes.sketches(&network.features(&data.batch.select(rows))?));
        }
        Ok(Self { codes, background, known, sketches })
    }

    /// The novelty relative to these, and the background sample; `batch` has the held-out rows, encoded.
    pub(super) fn novelty(
        self,
        table: &Table,
        encoder: &Encoder,
        data: Data<'_>,
        batch: &Batch,
        seed: u64,
    ) -> (Novelty, Background) {
        let columns: Vec<&str> = encoder.fields.iter().map(|field| field.name.as_str()).collect();
        let validation = &data.split.validation;
        let new: Vec<usize> = (0..validation.len()).filter(|&at| stands_for_new(data, validation[at])).collect();
        let held_out: Vec<usize> = new.iter().map(|&at| validation[at]).collect();
        let sketch = |&at: &usize| &self.sketches[at * SKETCH..(at + 1) * SKETCH];
        let sketches: Vec<f32> = new.iter().flat_map(sketch).copied().collect();
        let rows = NoveltyRows {
            table,
            columns: &columns,
            known: &self.known,
            held_out: &held_out,
            batch: &batch.select(&new),
            sketches: &sketches,
        };
        (Novelty::fit(self.codes, &rows, seed), self.background)
    }
}

/// Whether a held-out row is one that the network has not learned from, or stands for one.
fn stands_for_new(data: Data<'_>, row: usize) -> bool {
    match data.folds {
        Some(folds) => folds.of_row[row].is_multiple_of(2),
        None => data.split.validation.binary_search(&row).is_ok(),
    }
}
