//! Novelty: how unlike familiar rows a row is, as a rank among familiar held-out rows.
//!
//! Several detectors each give a score: the distance of the row's code to known codes, the distance of its inputs to
//! known rows, also where what varies together counts once, the rarity of its columns on the whole and of the rarest,
//! the characters and words of its texts, and numbers far beyond any range. Each score becomes a rarity, −log10 of the
//! share of held-out rows that reach it; the rarities are joined, and the join is ranked among those of the held-out
//! rows.

mod blocks;
mod code;
mod directions;
mod inputs;
mod numbers;
mod precision;
mod signal;
mod tail;
mod text;

pub use blocks::SKETCH;
pub use code::{KnownCodes, MAX_KEYS};
pub use inputs::{InputProfile, SCORES};

use crate::data::{Batch, Table};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tail::{Tail, without_outliers};

/// The rank above which an answer abstains unless the request gives one.
pub const DEFAULT_LEVEL: f32 = 0.99;
/// Ranks kept of the reference.
const MAX_REFERENCE: usize = 1_024;
/// Resolution of the detectors' tails, in powers of ten.
const STEP: f32 = 0.1;
/// Rarities are joined by the root of the sum of these powers: nearly the largest, and more where several agree.
const POWER: i32 = 4;
/// The gap before an outlier among held-out rows, in distances from the middle to the score below it, and at least.
const GAP: f32 = 4.0;
const LEAST_GAP: f32 = 0.05;
/// With fewer reference rows no rank is given.
const FEWEST: usize = 20;
/// Held-out rows used as a reference.
pub const HELD_OUT_ROWS: usize = 5_000;

/// The reference of a model's novelty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Novelty {
    /// Known codes.
    pub codes: Arc<KnownCodes>,
    /// Distance above which an answer of a model of 0.1 abstains.
    pub threshold: f32,
    /// Statistics of inputs; none for models of 0.1 and streams that began empty.
    inputs: Option<Arc<InputProfile>>,
    /// How scores are ranked; none for models of 0.1.
    ranking: Option<Ranking>,
}

/// The reference for scores.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Ranking {
    /// One a detector; none where the code's distance alone is ranked.
    tails: Vec<Tail>,
    /// Scores of familiar rows, ascending.
    reference: Vec<f32>,
    /// Number of rows they represent.
    rows: usize,
}

/// The part that a bundle stores in addition to the keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedNovelty {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inputs: Option<InputProfile>,
    ranking: Ranking,
}

/// The rows that novelty is fitted on.
#[derive(Clone, Copy, Debug)]
pub struct NoveltyRows<'a> {
    /// Rows and columns.
    pub table: &'a Table,
    /// Columns in use.
    pub columns: &'a [&'a str],
    /// Training rows.
    pub known: &'a [usize],
    /// Held-out rows.
    pub held_out: &'a [usize],
    /// The encoded held-out rows, in the order of `held_out`.
    pub batch: &'a Batch,
    /// Sketches of their codes, `[held_out, SKETCH]`.
    pub sketches: &'a [f32],
}

impl Ranking {
    fn of(tails: Vec<Tail>, mut scores: Vec<f32>) -> Self {
        scores.retain(|s| s.is_finite());
        scores.sort_by(f32::total_cmp);
        let rows = scores.len();
        if rows > MAX_REFERENCE {
            scores = (1..=MAX_REFERENCE).map(|i| scores[(i * rows).div_ceil(MAX_REFERENCE) - 1]).collect();
        }
        Self { tails, reference: scores, rows }
    }

    /// The share of familiar rows with a lower score; beyond the largest it rises towards 1 as the tail falls.
    fn rank(&self, score: f32) -> f32 {
        let (kept, rows) = (self.reference.len(), self.rows as f32);
        if self.rows < FEWEST || kept == 0 {
            return 0.0;
        }
        let less = self.reference.partition_point(|&s| s < score);
        if less < kept {
            return less as f32 / kept as f32 * rows / (rows + 1.0);
        }
        let (last, middle) = (self.reference[kept - 1], self.reference[kept / 2]);
        let decade = ((last - middle) / rows.log10()).max(1e-6);
        1.0 - 10f32.powf(-(score - last) / decade) / (rows + 1.0)
    }
}

impl Novelty {
    /// Fits statistics on training rows, and ranks on held-out rows.
    pub fn fit(codes: KnownCodes, rows: &NoveltyRows<'_>, seed: u64) -> Self {
        let positions = evenly_spaced(rows.held_out.len(), HELD_OUT_ROWS);
        let held_out: Vec<usize> = positions.iter().map(|&at| rows.held_out[at]).collect();
        let inputs = InputProfile::fit(rows.table, rows.columns, rows.known, &held_out, seed);
        let codes = Arc::new(codes);
        let mut it =
            Self { codes, threshold: f32::MAX, inputs: Some(Arc::new(inputs)), ranking: Some(Ranking::default()) };
        let scores = it.inputs.as_ref().map(|inputs| inputs.scores(&rows.table.select(&held_out))).unwrap_or_default();
        let detected: Vec<Vec<f32>> = (positions.iter().enumerate())
            .map(|(row, &at)| {
                let own = scores.get(row * SCORES..(row + 1) * SCORES);
                it.detect(&rows.sketches.as_chunks().0[at], own, rows.batch.far(at))
            })
            .collect();
        let tails: Vec<Tail> = (0..SCORES + 2)
            .map(|detector| {
                let mut scores: Vec<f32> = detected.iter().map(|scores| scores[detector]).collect();
                scores.retain(|score| !score.is_nan());
                scores.sort_by(f32::total_cmp);
                scores.truncate(without_outliers(&scores, GAP, LEAST_GAP));
                Tail::of(scores, STEP)
            })
            .collect();
        let joined = detected.iter().map(|scores| join(&tails, scores)).collect();
        it.ranking = Some(Ranking::of(tails, joined));
        it
    }

    /// The novelty of a model of 0.1: a distance and its threshold.
    pub fn distance_alone(codes: KnownCodes, threshold: f32) -> Self {
        Self { codes: codes.into(), threshold, inputs: None, ranking: None }
    }

    /// The novelty of a stream: scores rank among those of the rows observed last.
    #[must_use]
    pub fn among(&self, recent: &[f32]) -> Self {
        let tails = self.ranking.as_ref().map(|ranking| ranking.tails.clone()).unwrap_or_default();
        Self { ranking: Some(Ranking::of(tails, recent.to_vec())), ..self.clone() }
    }

    /// Whether novelty is a rank; in models of 0.1 it is a distance.
    pub fn is_rank(&self) -> bool {
        self.ranking.is_some()
    }

    /// Whether it has statistics of inputs.
    pub fn reads_inputs(&self) -> bool {
        self.inputs.is_some()
    }

    /// How unusual the inputs of each row are, `[rows, SCORES]`; empty without statistics of inputs.
    pub fn of_inputs(&self, table: &Table) -> Vec<f32> {
        self.inputs.as_ref().map(|inputs| inputs.scores(table)).unwrap_or_default()
    }

    fn detect(&self, sketch: &[f32; SKETCH], inputs: Option<&[f32]>, far: f32) -> Vec<f32> {
        let mut scores = vec![self.codes.distance_of(sketch), far];
        scores.extend_from_slice(inputs.unwrap_or(&[f32::NAN; SCORES]));
        scores
    }

    /// The score of row `row` of `batch`, whose code has this sketch: not a rank yet.
    pub fn score(&self, sketch: &[f32; SKETCH], batch: &Batch, row: usize) -> f32 {
        let far = batch.far(row);
        match &self.ranking {
            Some(ranking) if !ranking.tails.is_empty() => {
                join(&ranking.tails, &self.detect(sketch, batch.input_scores(row), far))
            }
            _ => self.codes.distance_of(sketch).max(far),
        }
    }

    /// The novelty of a row with this score.
    pub fn rank(&self, score: f32) -> f32 {
        self.ranking.as_ref().map_or(score, |ranking| ranking.rank(score))
    }

    /// Whether an answer with this novelty abstains.
    pub fn abstains(&self, novelty: f32, level: Option<f32>) -> bool {
        let usual = if self.is_rank() { DEFAULT_LEVEL } else { self.threshold };
        novelty > level.unwrap_or(usual)
    }

    /// The part that a bundle stores in addition to the keys.
    pub fn saved(&self) -> Option<SavedNovelty> {
        let ranking = self.ranking.clone()?;
        Some(SavedNovelty { inputs: self.inputs.as_deref().cloned(), ranking })
    }

    /// Keys of known inputs, `[keys, SKETCH]`.
    pub fn input_keys(&self) -> Vec<f32> {
        self.inputs.as_ref().map(|inputs| inputs.keys()).unwrap_or_default()
    }

    /// What was saved, for a model with the columns `columns`; none where it does not fit.
    pub fn load(codes: KnownCodes, saved: SavedNovelty, input_keys: Vec<f32>, columns: &[&str]) -> Option<Self> {
        let SavedNovelty { inputs, ranking } = saved;
        // The last score is newer than the others; without it ranks are those of the others.
        let fits = (ranking.tails.is_empty() || (SCORES + 1..=SCORES + 2).contains(&ranking.tails.len()))
            && ranking.tails.iter().all(Tail::is_consistent)
            && ranking.reference.is_sorted()
            && inputs.as_ref().is_none_or(|inputs| inputs.is_consistent(columns));
        let inputs = inputs.map(|mut inputs| {
            inputs.prepare(&input_keys);
            Arc::new(inputs)
        });
        fits.then_some(Self { codes: codes.into(), threshold: f32::MAX, inputs, ranking: Some(ranking) })
    }

    /// Bytes in memory, without what is in the bundle's text and what models share.
    pub fn bytes(&self) -> u64 {
        self.codes.bytes() + self.inputs.as_ref().map_or(0, |inputs| inputs.bytes())
    }
}

/// Positions of at most `most` rows among `rows`: the rows of a file may be ordered.
fn evenly_spaced(rows: usize, most: usize) -> Vec<usize> {
    let count = rows.min(most);
    (0..count).map(|i| i * rows / count).collect()
}

/// One score of all detectors' scores.
fn join(tails: &[Tail], scores: &[f32]) -> f32 {
    let sum: f32 = tails.iter().zip(scores).map(|(tail, score)| tail.rarity(*score).powi(POWER)).sum();
    sum.powf(1.0 / POWER as f32)
}

#[cfg(test)]
mod tests;
