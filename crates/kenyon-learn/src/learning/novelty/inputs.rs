//! Statistics of a row's inputs, independent of the network: each column by itself, all columns
//! together, characters and words of texts, level and roughness of pictures and series.

use super::blocks::{SKETCH, SketchBlocks};
use super::directions::directions;
use super::numbers::{UsualNames, UsualNumber};
use super::precision::precision;
use super::signal;
use super::text::UsualText;
use crate::data::{Column, Table};
use crate::random::Random;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The scores of a row.
pub const SCORES: usize = crate::data::batch::INPUT_SCORES;
/// Distance to the nearest known row, mean and largest rarity of a column, characters, words, and the distance where what
/// varies together counts once.
type InputScores = [f32; SCORES];

/// Known rows kept at most.
const MAX_KEYS: usize = 1_024;
/// Training rows read at most, and texts.
const MOST_ROWS: usize = 20_000;
const MOST_TEXTS: usize = 5_000;
/// Numbers up to which each has a direction of its own.
const OWN_DIRECTIONS: usize = 48;
/// Deviations at which a distance is reduced by about half.
const SOFT: f32 = 8.0;
/// Length of the direction of a name: two different names are as far apart as numbers by a deviation.
const NAME_LENGTH: f32 = 0.7;
/// Deviations all elements of a list count together.
const LIST_LENGTH: f32 = 3.0;

/// Statistics of the inputs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InputProfile {
    columns: Vec<(String, UsualColumn)>,
    /// Sketches of known rows; kept among the tensors.
    #[serde(skip)]
    keys: SketchBlocks,
    /// Squared length of each key.
    #[serde(skip)]
    lengths: Vec<f32>,
    /// Inverse covariance of the keys, `[SKETCH, SKETCH]`: distances in these units show combinations that are odd although
    /// each number is ordinary (Mahalanobis 1936).
    #[serde(skip)]
    precision: SketchBlocks,
    /// Squared length of each key in these units.
    #[serde(skip)]
    precise_lengths: Vec<f32>,
    /// `[coordinates, SKETCH]` signs, where numbers have no directions of their own.
    #[serde(skip)]
    projection: Arc<[f32]>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
enum UsualColumn {
    Number {
        usual: UsualNumber,
    },
    Names {
        usual: UsualNames,
    },
    Text {
        usual: Box<UsualText>,
    },
    /// Statistics, and each element's mean and inverse deviation.
    Signal {
        statistics: Vec<UsualNumber>,
        means: Vec<f32>,
        inverses: Vec<f32>,
    },
    /// Timestamps always increase, so they give no evidence.
    Unread,
}

/// The features of a row, gathered column by column.
struct RowMeasures {
    sketch: [f32; SKETCH],
    coordinates: Vec<f32>,
    sum: f32,
    most: f32,
    parts: f32,
    characters: f32,
    words: f32,
}

impl RowMeasures {
    fn new() -> Self {
        let (sketch, coordinates) = ([0.0; SKETCH], Vec::new());
        Self { sketch, coordinates, sum: 0.0, most: 0.0, parts: 0.0, characters: 0.0, words: 0.0 }
    }

    fn rarity(&mut self, rarity: f32) {
        self.sum += rarity;
        self.most = self.most.max(rarity);
        self.parts += 1.0;
    }

    fn name(&mut self, column: usize, name: u64) {
        let mut random = Random::stream(name, "name", column as u64);
        for _ in 0..4 {
            let bits = random.next_u64();
            let sign = if bits >> 63 == 0 { 0.5 } else { -0.5 };
            self.sketch[(bits % SKETCH as u64) as usize] += sign * NAME_LENGTH;
        }
    }

    /// Reduces large deviations.
    fn number(&mut self, standard: f32, weight: f32) {
        self.coordinates.push(weight * standard / (1.0 + standard.abs() / SOFT));
    }
}

impl UsualColumn {
    fn of(column: &Column, rows: &[usize]) -> Self {
        match column {
            Column::Number(values) => {
                let values: Vec<f64> = rows.iter().map(|&row| values[row]).collect();
                Self::Number { usual: UsualNumber::of(&values) }
            }
            Column::Boolean(values) => {
                let name = |&row: &usize| values[row].map(|value| if value { "true" } else { "false" });
                Self::Names { usual: UsualNames::of(rows.iter().map(name)) }
            }
            Column::Category(values) => {
                Self::Names { usual: UsualNames::of(rows.iter().map(|&row| values[row].as_deref())) }
            }
            Column::Text(_) | Column::Strings { .. } => {
                let texts: Vec<Option<String>> =
                    rows.iter().take(MOST_TEXTS).map(|&row| text_of(column, row)).collect();
                Self::Text { usual: Box::new(UsualText::of(texts.iter().map(Option::as_deref))) }
            }
            Column::Vector { .. } | Column::Series { .. } => Self::signal(column, rows),
            Column::Timestamp(_) | Column::Labels(_) | Column::Picture(_) => Self::Unread,
        }
    }

    fn signal(column: &Column, rows: &[usize]) -> Self {
        let (mut numbers, mut values) = (Vec::new(), Vec::new());
        let (mut all, mut sums): (Vec<Vec<f64>>, Vec<[f64; 3]>) = (Vec::new(), Vec::new());
        for &row in rows {
            numbers.clear();
            values.clear();
            signal_of(column, row, &mut numbers, &mut values);
            all.resize(numbers.len().max(all.len()), Vec::new());
            all.iter_mut().zip(&numbers).for_each(|(of, number)| of.push(*number));
            sums.resize(values.len().max(sums.len()), [0.0; 3]);
            for (sum, value) in sums.iter_mut().zip(&values).filter(|(_, v)| v.is_finite()) {
                let value = f64::from(*value);
                *sum = [sum[0] + 1.0, sum[1] + value, sum[2] + value * value];
            }
        }
        let mean = |sum: &[f64; 3]| sum[1] / sum[0].max(1.0);
        let variance = |sum: &[f64; 3]| (sum[2] / sum[0].max(1.0) - mean(sum).powi(2)).max(0.0);
        let usual = sums.iter().map(variance).sum::<f64>() / sums.len().max(1) as f64;
        // A constant element counts by its deviation relative to the others.
        let inverse = |sum: &[f64; 3]| (1.0 / (variance(sum) + 0.03 * usual).sqrt().max(1e-9)) as f32;
        Self::Signal {
            statistics: all.iter().map(|values| UsualNumber::of(values)).collect(),
            means: sums.iter().map(|sum| mean(sum) as f32).collect(),
            inverses: sums.iter().map(inverse).collect(),
        }
    }

    fn settle(&mut self, column: &Column, rows: &[usize]) {
        if let Self::Text { usual } = self {
            let texts: Vec<Option<String>> = rows.iter().take(MOST_TEXTS).map(|&row| text_of(column, row)).collect();
            usual.settle(texts.iter().map(Option::as_deref));
        }
    }

    fn measure(&self, at: usize, column: &Column, row: usize, measures: &mut RowMeasures) {
        let name = |measures: &mut RowMeasures, usual: &UsualNames, name: Option<&str>| {
            measures.rarity(usual.measure(name));
            measures.name(at, name.map_or(1, |name| u64::from(super::numbers::hash(name)) + 2));
        };
        match (self, column) {
            (Self::Number { usual }, Column::Number(values)) => {
                let (standard, rarity) = usual.measure(values[row]);
                measures.rarity(rarity);
                measures.number(standard, 1.0);
                if !values[row].is_finite() {
                    measures.name(at, 0);
                }
            }
            (Self::Names { usual }, Column::Boolean(values)) => {
                name(measures, usual, values[row].map(|value| if value { "true" } else { "false" }));
            }
            (Self::Names { usual }, Column::Category(values)) => name(measures, usual, values[row].as_deref()),
            (Self::Text { usual }, Column::Text(_) | Column::Strings { .. }) => {
                let found = usual.measure(text_of(column, row).as_deref());
                measures.rarity(found.rarity);
                measures.characters = measures.characters.max(found.characters);
                measures.words = measures.words.max(found.words);
            }
            (Self::Signal { statistics, means, inverses }, Column::Vector { .. } | Column::Series { .. }) => {
                let (mut numbers, mut values) = (Vec::new(), Vec::new());
                signal_of(column, row, &mut numbers, &mut values);
                for (usual, number) in statistics.iter().zip(&numbers) {
                    let (standard, rarity) = usual.measure(*number);
                    measures.rarity(rarity);
                    measures.number(standard, 0.5);
                }
                let weight = LIST_LENGTH / (values.len().max(1) as f32).sqrt();
                for ((value, mean), inverse) in values.iter().zip(means).zip(inverses) {
                    let standard = if value.is_finite() { (value - mean) * inverse } else { 0.0 };
                    measures.number(standard, weight);
                }
            }
            _ => {}
        }
    }

    /// Number of numeric features.
    fn coordinates(&self) -> usize {
        match self {
            Self::Number { .. } => 1,
            Self::Signal { statistics, means, .. } => statistics.len() + means.len(),
            Self::Names { .. } | Self::Text { .. } | Self::Unread => 0,
        }
    }

    fn is_consistent(&self) -> bool {
        match self {
            Self::Number { usual } => usual.is_consistent(),
            Self::Text { usual } => usual.is_consistent(),
            Self::Signal { statistics, means, inverses } => {
                means.len() == inverses.len() && statistics.iter().all(UsualNumber::is_consistent)
            }
            Self::Names { .. } | Self::Unread => true,
        }
    }
}

fn text_of(column: &Column, row: usize) -> Option<String> {
    match column {
        Column::Text(values) => values[row].as_deref().map(str::to_owned),
        Column::Strings { offsets, values } => Some(values[offsets[row]..offsets[row + 1]].join(" ")),
        _ => None,
    }
}

fn signal_of(column: &Column, row: usize, numbers: &mut Vec<f64>, values: &mut Vec<f32>) {
    match column {
        Column::Vector { width, shape, values: all } => {
            let own = &all[row * width..(row + 1) * width];
            signal::of_list(own, shape.as_deref(), numbers);
            signal::elements(own, values);
        }
        Column::Series { channels, offsets, values: all } => {
            let own = &all[offsets[row] * channels..offsets[row + 1] * channels];
            signal::of_series(own, *channels, numbers);
            signal::points(own, *channels, values);
        }
        _ => {}
    }
}

impl InputProfile {
    /// Statistics of the columns `names` of the training rows `known`; the texts of other rows, `held_out`, give
    /// the statistics for texts that were not learned.
    pub fn fit(table: &Table, names: &[&str], known: &[usize], held_out: &[usize], seed: u64) -> Self {
        let mut rows = known.to_vec();
        Random::stream(seed, "usual inputs", 0).shuffle(&mut rows);
        rows.truncate(MOST_ROWS);
        let mut it = Self::default();
        for &name in names {
            if let Some(column) = table.column(name) {
                let mut usual = UsualColumn::of(column, &rows);
                usual.settle(column, held_out);
                it.columns.push((name.to_owned(), usual));
            }
        }
        it.prepare(&[]);
        let keys: Vec<f32> = rows.iter().take(MAX_KEYS).flat_map(|&row| it.measure(table, row).sketch).collect();
        it.prepare(&keys);
        it
    }

    /// Sets the known rows `[keys, SKETCH]`, and computes what is not saved.
    pub(super) fn prepare(&mut self, keys: &[f32]) {
        let coordinates: usize = self.columns.iter().map(|(_, column)| column.coordinates()).sum();
        if coordinates > OWN_DIRECTIONS && self.projection.is_empty() {
            self.projection = directions("usual inputs projection", coordinates, 1.0 / (SKETCH as f32).sqrt());
        }
        self.lengths = keys.chunks_exact(SKETCH).map(|key| dot(key, key)).collect();
        self.precision = SketchBlocks::new(&precision(keys));
        let length = |key: &[f32; SKETCH]| dot(key, &self.in_units(key));
        self.precise_lengths = keys.as_chunks().0.iter().map(length).collect();
        self.keys = SketchBlocks::new(keys);
    }

    /// The known rows, as [`Self::prepare`] takes them.
    pub(super) fn keys(&self) -> Vec<f32> {
        self.keys.rows()
    }

    /// The product of the inverse covariance and a sketch.
    fn in_units(&self, sketch: &[f32; SKETCH]) -> [f32; SKETCH] {
        let mut out = [0.0; SKETCH];
        self.precision.products(sketch, &mut out);
        out
    }

    /// How unusual the inputs of each row are, `[rows, SCORES]`.
    pub fn scores(&self, table: &Table) -> Vec<f32> {
        (0..table.rows).flat_map(|row| self.input_scores(&self.measure(table, row))).collect()
    }

    fn measure(&self, table: &Table, row: usize) -> RowMeasures {
        let mut measures = RowMeasures::new();
        for (at, (name, usual)) in self.columns.iter().enumerate() {
            if let Some(column) = table.column(name) {
                usual.measure(at, column, row, &mut measures);
            }
        }
        if self.projection.is_empty() {
            measures.sketch.iter_mut().zip(&measures.coordinates).for_each(|(s, c)| *s += c);
        } else {
            for (value, signs) in measures.coordinates.iter().zip(self.projection.chunks_exact(SKETCH)) {
                if *value != 0.0 {
                    measures.sketch.iter_mut().zip(signs).for_each(|(s, sign)| *s += value * sign);
                }
            }
        }
        measures
    }

    fn input_scores(&self, measures: &RowMeasures) -> InputScores {
        let parts = measures.parts.max(1.0);
        let distance = self.distance(&measures.sketch, &measures.sketch, &self.lengths);
        let precise = self.distance(&measures.sketch, &self.in_units(&measures.sketch), &self.precise_lengths);
        [distance, measures.sum / parts, measures.most, measures.characters, measures.words, precise]
    }

    /// Distance to the nearest known row; `scaled` and `lengths` have the units. The nearest of so few rows finds more than
    /// the third-nearest does (benches, "Uncertainty"); a known row that is odd hides no more than what is like it.
    fn distance(&self, sketch: &[f32; SKETCH], scaled: &[f32; SKETCH], lengths: &[f32]) -> f32 {
        let mut found = [0.0; MAX_KEYS];
        let found = &mut found[..lengths.len().min(MAX_KEYS)];
        self.keys.products(scaled, found);
        let own = dot(sketch, scaled);
        let nearest = found.iter().zip(lengths).map(|(product, length)| own + length - 2.0 * product);
        nearest.reduce(f32::min).unwrap_or(0.0).max(0.0).sqrt()
    }

    /// Whether its parts fit each other and a model with the columns `names`.
    pub(super) fn is_consistent(&self, names: &[&str]) -> bool {
        self.columns.iter().all(|(name, column)| names.contains(&name.as_str()) && column.is_consistent())
    }

    /// Bytes in memory, without what is in the bundle's text.
    pub(super) fn bytes(&self) -> u64 {
        let lengths = 4 * (self.lengths.len() + self.precise_lengths.len());
        self.keys.bytes() + self.precision.bytes() + lengths as u64
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
