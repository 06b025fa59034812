//! What is fitted for one column, and how a cell becomes entries.

use super::bins::push_bins;
use super::pairs::Paired;
use super::peak::Peak;
use super::scale::{LARGEST, Scale, Scaling, beyond};
use super::series::{Patches, Pooled, Windows};
use super::text::{Grams, Lexicon, Words};
use super::{EncoderOptions, Layout};
use crate::data::kinds::{Encoding, canonical};
use crate::data::plan::ColumnPlan;
use crate::data::{Batch, Column, ColumnKind};
use crate::{Detail, Error, Result};
use indexmap::IndexSet;
use serde::{Deserialize, Serialize};

/// A longer vector of a pretrained encoder is a mistake.
const MAX_VECTOR: usize = 1 << 16;
/// What vectors of pretrained encoders, mostly of length 1, are multiplied with.
const VECTOR_SCALE: f32 = 4.0;

/// The fitted state of a field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub(super) enum Fitted {
    /// Standardised value, bins, missing, and what is read with other numbers.
    Number {
        scale: Scale,
        edges: Vec<f64>,
        #[serde(
            default,
            rename = "diagonal",
            deserialize_with = "Paired::one_or_more",
            skip_serializing_if = "Vec::is_empty"
        )]
        pairs: Vec<Paired>,
    },
    /// As a number, with the phase of day, week and year as sine and cosine.
    Timestamp { scale: Scale },
    /// True as 1, false as −1, missing.
    Boolean,
    /// Names, free slots, unseen, missing.
    Category {
        #[serde(deserialize_with = "canonical_names")]
        names: IndexSet<String>,
        slots: usize,
    },
    /// Words and n-grams in a bag.
    Text { grams: Grams },
    /// The vector of a pretrained encoder, then words and n-grams of a text.
    Encoded {
        width: usize,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        grams: Option<Grams>,
    },
    /// Words as tokens, by the encoder's shared lexicon.
    Words,
    /// Elements of a fixed-length list, in a bag.
    Vector { width: usize, shape: Option<Vec<usize>>, scaling: Scaling },
    /// A picture's patches as tokens.
    Patches { patches: Patches },
    /// A series' windows as tokens (of vectors without a shape, too).
    Windows { windows: Windows },
    /// A series' statistics in a bag.
    Pooled { pooled: Pooled },
}

impl Fitted {
    /// The state of a column before its first row.
    pub(super) fn empty(plan: &ColumnPlan, layout: Layout, options: &EncoderOptions) -> Result<Self> {
        let unknown = |what: &str| {
            let reason = format!("{what} needs a shape in a model that starts empty, such as \"shape\":[28,28]");
            Error::unprocessable("unknown_shape", reason.clone())
                .with_details([Detail::path(format!("features.{}", plan.name), reason)])
        };
        Ok(match plan.kind.encoding(plan.channels == Some(0)) {
            Encoding::Number => Self::Number { scale: Scale::default(), edges: Vec::new(), pairs: Vec::new() },
            Encoding::Phases => Self::Timestamp { scale: Scale::default() },
            Encoding::Flag => Self::Boolean,
            Encoding::Names => Self::Category { names: IndexSet::new(), slots: options.reserve.max(64) },
            Encoding::Words if plan.encoder.is_some() => {
                Self::encoded(plan, Some(Grams::hashed(options.text_bits.min(18))))?
            }
            Encoding::Elements if plan.encoder.is_some() => Self::encoded(plan, None)?,
            Encoding::Words if layout == Layout::Tokens && !plan.kind.is_list() => Self::Words,
            // A sequence of strings is read as one text.
            Encoding::Words => Self::Text { grams: Grams::hashed(options.text_bits.min(18)) },
            Encoding::Elements => {
                let shape = plan.shape.clone().ok_or_else(|| unknown("a vector"))?;
                let width: usize = shape.iter().product();
                Self::Vector {
                    width,
                    shape: (shape.len() > 1).then_some(shape),
                    scaling: Scaling::Largest(Peak::default()),
                }
            }
            Encoding::Steps => {
                let reason = "a sequence of numbers has no length that rows could be read by in a model that starts \
                    empty: give it as a vector with a shape, or train a version first and observe then";
                return Err(Error::unprocessable("unknown_shape", reason).with_details([Detail::path(
                    format!("features.{}", plan.name),
                    "give it as a vector with a shape",
                )]));
            }
        })
    }

    /// A column that the plan's pretrained encoder reads.
    pub(super) fn encoded(plan: &ColumnPlan, grams: Option<Grams>) -> Result<Self> {
        let encoder = plan.encoder.as_ref().ok_or_else(|| Error::internal("a column without an encoder"))?;
        let vectors = encoder.vectors()?;
        if vectors.kind() != plan.kind {
            let name = &encoder.name;
            let reason = format!("the encoder {name} reads a {} and not a {}", vectors.kind().name(), plan.kind.name());
            return Err(Error::unprocessable("bad_feature", reason.clone())
                .with_details([Detail::path(format!("features.{}.encoder", plan.name), reason)]));
        }
        Ok(Self::Encoded { width: vectors.width(), grams })
    }

    /// Pushes the vector of a cell, then the words of a text.
    pub(super) fn push_encoded(
        &self,
        (cell, vector): (Option<&str>, &[f32]),
        start: u32,
        batch: &mut Batch,
        words: &mut Words,
    ) {
        let (Self::Encoded { width, grams }, Some(cell)) = (self, cell) else { return };
        for (element, value) in (start..).zip(vector).filter(|(_, value)| **value != 0.0) {
            batch.push_entry(element, value * VECTOR_SCALE);
        }
        if let Some(grams) = grams {
            grams.push(cell, start + *width as u32, batch, words);
        }
    }

    /// Number of feature indices.
    pub(super) fn width(&self) -> u32 {
        let width = match self {
            Self::Number { edges, pairs, .. } => {
                2 + edges.len().saturating_sub(1) + pairs.iter().map(Paired::width).sum::<usize>()
            }
            Self::Timestamp { .. } => 8,
            Self::Boolean => 2,
            Self::Category { slots, .. } => slots + 2,
            Self::Text { grams } => grams.width(),
            Self::Encoded { width, grams } => width + grams.as_ref().map_or(0, Grams::width),
            Self::Words => 0,
            Self::Vector { width, .. } => *width,
            Self::Patches { patches } => patches.width(),
            Self::Windows { windows } => windows.width(),
            Self::Pooled { pooled } => pooled.width(),
        };
        u32::try_from(width).unwrap_or(u32::MAX)
    }

    /// Whether its own sizes and those of the plan are the same.
    pub(super) fn is_consistent(&self, plan: &ColumnPlan) -> bool {
        match self {
            Self::Category { names, slots } => names.len() <= *slots && *slots < u32::MAX as usize,
            Self::Vector { width, shape, scaling } => {
                let elements = |shape: &Vec<usize>| shape.iter().try_fold(1usize, |n, side| n.checked_mul(*side));
                let planned = [shape.as_ref(), plan.shape.as_ref()].into_iter().flatten();
                let scaled = match scaling {
                    Scaling::Largest(_) => true,
                    Scaling::Standard { mean, inverse, .. } => mean.len() == *width && inverse.len() == *width,
                };
                scaled && planned.into_iter().all(|shape| elements(shape) == Some(*width))
            }
            Self::Encoded { width, grams } => {
                let is_text = plan.kind == ColumnKind::Text;
                plan.encoder.is_some() && (1..=MAX_VECTOR).contains(width) && is_text == grams.is_some()
            }
            _ => true,
        }
    }

    /// Shape of the entries where they are elements of a picture or vector.
    pub(super) fn shape(&self) -> Option<Vec<usize>> {
        match self {
            Self::Vector { width, shape, .. } => Some(shape.clone().unwrap_or_else(|| vec![*width])),
            _ => None,
        }
    }

    /// The bins of a number and of its diagonals, where the field begins at `start`.
    pub(super) fn bins(&self, start: u32) -> Vec<std::ops::Range<u32>> {
        let Self::Number { edges, pairs, .. } = self else { return Vec::new() };
        let own = start + 1;
        let first = own..own + edges.len().saturating_sub(1) as u32;
        let mut ranges: Vec<_> = std::iter::once(first).collect();
        let mut next = own + edges.len().max(1) as u32;
        for pair in pairs {
            ranges.push(next..next + pair.bins() as u32);
            next += pair.width() as u32;
        }
        ranges
    }

    /// What it reads with other columns.
    pub(super) fn pairs(&self) -> &[Paired] {
        if let Self::Number { pairs, .. } = self { pairs } else { &[] }
    }

    /// Updates the state with rows of a stream.
    pub(super) fn observe(&mut self, column: &Column) {
        match (self, column) {
            (Self::Number { scale, .. }, Column::Number(values))
            | (Self::Timestamp { scale }, Column::Timestamp(values)) => values.iter().for_each(|&v| scale.observe(v)),
            (Self::Category { names, slots }, Column::Category(values)) => {
                for name in values.iter().flatten() {
                    if names.len() < *slots && !names.contains(name.as_ref()) {
                        names.insert(name.to_string());
                    }
                }
            }
            (Self::Vector { width, scaling: Scaling::Largest(peak), .. }, Column::Vector { values, .. }) => {
                values.chunks_exact((*width).max(1)).for_each(|row| peak.observe(row));
            }
            _ => {}
        }
    }

    /// Pushes the cell's entries in ascending order; `others` are the columns of [`Self::pairs`].
    pub(super) fn bag(
        &self,
        (column, others): (&Column, &[Option<&Column>]),
        row: usize,
        start: u32,
        batch: &mut Batch,
        words: &mut Words,
    ) {
        match (self, column) {
            (Self::Number { scale, edges, pairs }, Column::Number(values)) => {
                push_number(scale, edges, values[row], start, batch);
                let mut start = start + 1 + edges.len().max(1) as u32;
                for (pair, other) in pairs.iter().zip(others) {
                    if let Some(Column::Number(others)) = other {
                        pair.push(values[row], others[row], start, batch);
                    }
                    start += pair.width() as u32;
                }
            }
            (Self::Timestamp { scale }, Column::Timestamp(values)) => push_timestamp(scale, values[row], start, batch),
            (Self::Boolean, Column::Boolean(values)) => match values[row] {
                Some(value) => batch.push_entry(start, if value { 1.0 } else { -1.0 }),
                None => batch.push_entry(start + 1, 1.0),
            },
            (Self::Category { names, slots }, Column::Category(values)) => {
                let index = match &values[row] {
                    None => slots + 1,
                    Some(name) => names.get_index_of(name.as_ref()).unwrap_or(*slots),
                };
                batch.push_entry(start + index as u32, 1.0);
            }
            (Self::Text { grams }, Column::Text(values)) => {
                if let Some(text) = &values[row] {
                    grams.push(text, start, batch, words);
                }
            }
            (Self::Text { grams }, Column::Strings { offsets, values }) => {
                let joined = values[offsets[row]..offsets[row + 1]].join(" ");
                grams.push(&joined, start, batch, words);
            }
            (Self::Vector { width, scaling, .. }, Column::Vector { values, .. }) => {
                let cells = &values[row * width..(row + 1) * width];
                push_vector(scaling, cells, start, batch);
            }
            (Self::Pooled { pooled }, Column::Series { channels, offsets, values }) => {
                let steps = &values[offsets[row] * channels..offsets[row + 1] * channels];
                pooled.push(steps, start, batch);
            }
            _ => {}
        }
    }

    /// How far beyond the fitted range the cell's numbers lie, in `[0, 1]`. The network's input is clipped
    /// at [`LARGEST`], so it does not show it. Timestamps always increase: they do not count.
    pub(super) fn out_of_range(&self, column: &Column, row: usize) -> f32 {
        let cells = |values: &'_ [f32], width: usize| -> (f64, f64) {
            let cells = &values[row * width..(row + 1) * width];
            // A missing element is NaN, which is neither less nor more.
            let least = cells.iter().fold(f32::INFINITY, |a, b| a.min(*b));
            let most = cells.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
            (f64::from(least), f64::from(most))
        };
        match (self, column) {
            (Self::Number { scale, .. }, Column::Number(values)) => scale.out_of_range(values[row]),
            (Self::Vector { width, scaling, .. }, Column::Vector { values, .. }) => {
                let (least, most) = cells(values, *width);
                match scaling {
                    Scaling::Largest(peak) if peak.value > 0.0 => {
                        beyond([0.0, f64::from(peak.value)], most.max(-least))
                    }
                    Scaling::Standard { span: Some(span), .. } => beyond(*span, least).max(beyond(*span, most)),
                    _ => 0.0,
                }
            }
            (Self::Patches { patches }, Column::Vector { width, values, .. }) => {
                let (least, most) = cells(values, *width);
                beyond([0.0, f64::from(patches.largest())], most.max(-least))
            }
            (Self::Windows { windows }, Column::Vector { width, values, .. }) => {
                windows.out_of_range(&values[row * width..(row + 1) * width])
            }
            (Self::Windows { windows }, Column::Series { channels, offsets, values }) => {
                windows.out_of_range(&values[offsets[row] * channels..offsets[row + 1] * channels])
            }
            (Self::Pooled { pooled }, Column::Series { channels, offsets, values }) => {
                pooled.out_of_range(&values[offsets[row] * channels..offsets[row + 1] * channels])
            }
            _ => 0.0,
        }
    }

    /// The cell, from its entries relative to the field; none where they do not determine it.
    pub(super) fn decode(&self, entries: &[(u32, f32)]) -> Option<serde_json::Value> {
        let at = |index: u32| entries.iter().find(|(i, _)| *i == index).map(|(_, value)| *value);
        match self {
            Self::Number { scale, edges, .. } => {
                let missing = 1 + edges.len().saturating_sub(1) as u32;
                at(missing).is_none().then(|| scale.invert(at(0).unwrap_or(0.0)).into())
            }
            Self::Boolean => at(0).map(|value| (value > 0.0).into()),
            Self::Category { names, .. } => {
                let (index, _) = entries.first()?;
                names.get_index(*index as usize).map(|name| name.as_str().into())
            }
            Self::Vector { width, scaling: Scaling::Largest(peak), .. } => {
                let mut cells = vec![0.0f32; *width];
                entries.iter().for_each(|&(i, value)| {
                    if let Some(cell) = cells.get_mut(i as usize) {
                        *cell = value * peak.value;
                    }
                });
                Some(cells.into())
            }
            _ => None,
        }
    }

    /// Pushes the cell's tokens.
    #[expect(clippy::too_many_arguments, reason = "one hot function with one caller; a struct would only rename them")]
    pub(super) fn tokens(
        &self,
        column: &Column,
        row: usize,
        start: u32,
        field: u16,
        lexicon: Option<&Lexicon>,
        batch: &mut Batch,
        words: &mut Words,
    ) {
        match (self, column, lexicon) {
            (Self::Words, Column::Text(values), Some(lexicon)) => {
                let story = lexicon.is_for_stories();
                let text = values[row].as_deref().unwrap_or_default();
                lexicon.push(text, field, story, batch, words);
            }
            (Self::Words, Column::Strings { offsets, values }, Some(lexicon)) => {
                for sentence in &values[offsets[row]..offsets[row + 1]] {
                    lexicon.push(sentence, field, true, batch, words);
                }
            }
            (Self::Patches { patches }, Column::Vector { width, values, .. }, _) => {
                patches.push(&values[row * width..(row + 1) * width], start, field, batch);
            }
            (Self::Windows { windows }, Column::Vector { width, values, .. }, _) => {
                windows.push(&values[row * width..(row + 1) * width], start, field, batch);
            }
            (Self::Windows { windows }, Column::Series { channels, offsets, values }, _) => {
                let steps = &values[offsets[row] * channels..offsets[row + 1] * channels];
                windows.push(steps, start, field, batch);
            }
            _ => {
                self.bag((column, &[]), row, start, batch, words);
                batch.end_token(field);
            }
        }
    }
}

/// Names of a saved model in the form that cells are read in; one that would equal another stays unchanged.
fn canonical_names<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<IndexSet<String>, D::Error> {
    let saved = IndexSet::<String>::deserialize(deserializer)?;
    let mut names = IndexSet::with_capacity(saved.len());
    for name in &saved {
        let form = canonical(name).into_owned();
        let taken = names.contains(&form) || (form != *name && saved.contains(&form));
        names.insert(if taken { name.clone() } else { form });
    }
    Ok(names)
}

fn push_number(scale: &Scale, edges: &[f64], value: f64, start: u32, batch: &mut Batch) {
    let bins = edges.len().saturating_sub(1) as u32;
    if !value.is_finite() {
        batch.push_entry(start + 1 + bins, 1.0);
        return;
    }
    let standard = scale.apply(value);
    if standard != 0.0 {
        batch.push_entry(start, standard);
    }
    push_bins(edges, value, start + 1, batch);
}

/// Seconds of the periods whose phase a timestamp has: day, week and year.
pub(super) const PERIODS: [f64; 3] = [86_400.0, 7.0 * 86_400.0, 365.2425 * 86_400.0];

fn push_timestamp(scale: &Scale, value: f64, start: u32, batch: &mut Batch) {
    if !value.is_finite() {
        batch.push_entry(start + 7, 1.0);
        return;
    }
    batch.push_entry(start, scale.apply(value));
    for (i, period) in PERIODS.into_iter().enumerate() {
        let (sine, cosine) = (value / period * std::f64::consts::TAU).sin_cos();
        batch.push_entry(start + 1 + 2 * i as u32, sine as f32);
        batch.push_entry(start + 2 + 2 * i as u32, cosine as f32);
    }
}

fn push_vector(scaling: &Scaling, cells: &[f32], start: u32, batch: &mut Batch) {
    match scaling {
        Scaling::Largest(peak) => {
            let factor = if peak.value > 0.0 { 1.0 / peak.value } else { 1.0 };
            for (i, &value) in cells.iter().enumerate() {
                if value != 0.0 && value.is_finite() {
                    batch.push_entry(start + i as u32, (value * factor).clamp(-LARGEST as f32, LARGEST as f32));
                }
            }
        }
        Scaling::Standard { mean, inverse, .. } => {
            for (i, ((&value, mean), inverse)) in cells.iter().zip(mean).zip(inverse).enumerate() {
                let standard = (value - mean) * inverse;
                if standard != 0.0 && standard.is_finite() {
                    batch.push_entry(start + i as u32, standard.clamp(-LARGEST as f32, LARGEST as f32));
                }
            }
        }
    }
}
