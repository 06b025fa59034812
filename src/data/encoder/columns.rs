//! What one column learned from the training rows, and how a cell becomes entries.

use super::series::{Patches, Pooled, Windows};
use super::text::{Grams, Lexicon, Words};
use super::{EncoderOptions, Layout};
use crate::data::plan::ColumnPlan;
use crate::data::schema::ColumnKind;
use crate::data::{Batch, Column};
use crate::{Detail, Error, Result};
use indexmap::{IndexMap, IndexSet};
use serde::{Deserialize, Serialize};

/// Standardised values are cut here: one absurd cell must not drown a row.
const LARGEST: f64 = 8.0;

/// Category names kept at most, the most frequent ones.
const MAX_NAMES: usize = 10_000;

/// Everything a field knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub(super) enum Fitted {
    /// Standardised value, bins, missing.
    Number { scale: Scale, edges: Vec<f64> },
    /// As a number, with the phase of day, week and year as sine and cosine.
    Timestamp { scale: Scale },
    /// True as 1, false as −1, missing.
    Boolean,
    /// Names, free slots, unseen, missing.
    Category { names: IndexSet<String>, slots: usize },
    /// Words and n-grams in a bag.
    Text { grams: Grams },
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

/// How a vector's elements are scaled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Scaling {
    /// Divided by the largest: pixels and other counts whose zeros mean "nothing".
    Largest(f32),
    /// Each element by its own mean and deviation; a deviation of 0 leaves the element out.
    Standard {
        mean: Vec<f32>,
        inverse: Vec<f32>,
        /// Least and largest element of all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        span: Option<[f64; 2]>,
    },
}

/// Running mean and deviation (Welford).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Scale {
    count: f64,
    mean: f64,
    squares: f64,
    /// Least and largest so far; none in models of before it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    span: Option<[f64; 2]>,
}

/// Values from which on the range seen is taken for the range there is.
const KNOWN: f64 = 20.0;

/// How far beyond the range `low..high` a value lies, as novelty: 0 up to half a range beyond, towards 1
/// from there on (0.63 at one range, 0.95 at two).
pub(super) fn beyond([low, high]: [f64; 2], value: f64) -> f32 {
    let distance = (low - value).max(value - high);
    if distance.is_nan() || distance <= 0.0 {
        return 0.0;
    }
    let range = if high > low { high - low } else { high.abs().max(1.0) };
    let past = (distance / range - 0.5).max(0.0);
    (1.0 - (-2.0 * past).exp()) as f32
}

impl Scale {
    pub(super) fn push(&mut self, value: f64) {
        if value.is_finite() {
            self.count += 1.0;
            let delta = value - self.mean;
            self.mean += delta / self.count;
            self.squares += delta * (value - self.mean);
            let [low, high] = self.span.unwrap_or([value, value]);
            self.span = Some([low.min(value), high.max(value)]);
        }
    }

    /// The value that has become `standard`, to six digits: more are rounding alone.
    pub(super) fn invert(&self, standard: f32) -> f64 {
        let value = self.mean + f64::from(standard) * (self.squares / self.count.max(1.0)).sqrt();
        format!("{value:.5e}").parse().unwrap_or(value)
    }

    /// How far beyond all it has seen a value lies, in `[0, 1]`.
    pub(super) fn outside(&self, value: f64) -> f32 {
        match self.span {
            Some(span) if self.count >= KNOWN => beyond(span, value),
            _ => 0.0,
        }
    }

    pub(super) fn apply(&self, value: f64) -> f32 {
        let deviation = (self.squares / self.count.max(1.0)).sqrt();
        let centred = value - self.mean;
        let standard = if deviation > 0.0 { centred / deviation } else { centred.clamp(-1.0, 1.0) };
        if standard.is_finite() { standard.clamp(-LARGEST, LARGEST) as f32 } else { 0.0 }
    }
}

impl Fitted {
    /// Learns from `rows` of a column; the error says why the column is left out.
    pub(super) fn fit(
        column: &Column,
        plan: &ColumnPlan,
        rows: &[usize],
        layout: Layout,
        options: &EncoderOptions,
    ) -> Result<Self, String> {
        match column {
            Column::Number(values) => fit_number(values, rows, options.bins),
            Column::Timestamp(values) => {
                let mut scale = Scale::default();
                rows.iter().for_each(|&row| scale.push(values[row]));
                if scale.count == 0.0 { Err("no row has a value".into()) } else { Ok(Self::Timestamp { scale }) }
            }
            Column::Boolean(values) => {
                let (mut yes, mut no) = (0, 0);
                let mut missing = 0;
                for &row in rows {
                    match values[row] {
                        Some(true) => yes += 1,
                        Some(false) => no += 1,
                        None => missing += 1,
                    }
                }
                if [yes, no, missing].iter().filter(|&&n| n > 0).count() < 2 {
                    return Err("the same in every row".into());
                }
                Ok(Self::Boolean)
            }
            Column::Category(values) => fit_category(values, rows, options.reserve),
            Column::Text(values) => {
                if rows.iter().all(|&row| values[row].is_none()) {
                    return Err("no row has a value".into());
                }
                if layout == Layout::Tokens {
                    return Ok(Self::Words);
                }
                let texts = rows.iter().filter_map(|&row| values[row].as_deref());
                Ok(Self::Text { grams: Grams::fit(texts, options.text_bits) })
            }
            Column::Strings { offsets, values } => {
                if layout == Layout::Tokens {
                    return Ok(Self::Words);
                }
                let joined: Vec<String> =
                    rows.iter().map(|&row| values[offsets[row]..offsets[row + 1]].join(" ")).collect();
                Ok(Self::Text { grams: Grams::fit(joined.iter().map(String::as_str), options.text_bits) })
            }
            Column::Vector { width, shape, values } => {
                let shape = shape.clone().or_else(|| plan.shape.clone());
                fit_vector(values, *width, shape, rows, layout, options)
            }
            Column::Series { channels, offsets, values } => {
                if rows.iter().all(|&row| offsets[row] == offsets[row + 1]) {
                    return Err("no row has a value".into());
                }
                Ok(match layout {
                    Layout::Tokens => {
                        let (window, stride) = (options.window, options.stride);
                        Self::Windows { windows: Windows::fit(values, offsets, *channels, rows, window, stride) }
                    }
                    Layout::Bag => Self::Pooled { pooled: Pooled::fit(values, offsets, *channels, rows) },
                })
            }
        }
    }

    /// What a column knows before its first row.
    pub(super) fn empty(plan: &ColumnPlan, layout: Layout, options: &EncoderOptions) -> Result<Self> {
        let unknown = |what: &str| {
            let reason = format!("{what} needs a shape in a model that starts empty, such as \"shape\":[28,28]");
            Error::unprocessable("unknown_shape", reason.clone())
                .with_details([Detail::path(format!("features.{}", plan.name), reason)])
        };
        Ok(match plan.kind {
            ColumnKind::Number => Self::Number { scale: Scale::default(), edges: Vec::new() },
            ColumnKind::Timestamp => Self::Timestamp { scale: Scale::default() },
            ColumnKind::Boolean => Self::Boolean,
            ColumnKind::Category => Self::Category { names: IndexSet::new(), slots: options.reserve.max(64) },
            ColumnKind::Text if layout == Layout::Tokens => Self::Words,
            ColumnKind::Text => Self::Text { grams: Grams::hashed(options.text_bits.min(18)) },
            ColumnKind::Vector | ColumnKind::Image => {
                let shape = plan.shape.clone().ok_or_else(|| unknown("a vector"))?;
                let width: usize = shape.iter().product();
                Self::Vector { width, shape: (shape.len() > 1).then_some(shape), scaling: Scaling::Largest(0.0) }
            }
            // A sequence of strings is read as one text.
            ColumnKind::Sequence if plan.channels == Some(0) => {
                Self::Text { grams: Grams::hashed(options.text_bits.min(18)) }
            }
            ColumnKind::Sequence => {
                let reason = "a sequence of numbers has no length that rows could be read by in a model that starts \
                    empty: give it as a vector with a shape, or train a version first and observe then";
                return Err(Error::unprocessable("unknown_shape", reason).with_details([Detail::path(
                    format!("features.{}", plan.name),
                    "give it as a vector with a shape",
                )]));
            }
        })
    }

    /// Number of feature indices.
    pub(super) fn width(&self) -> u32 {
        let width = match self {
            Self::Number { edges, .. } => 2 + edges.len().saturating_sub(1),
            Self::Timestamp { .. } => 8,
            Self::Boolean => 2,
            Self::Category { slots, .. } => slots + 2,
            Self::Text { grams } => grams.width(),
            Self::Words => 0,
            Self::Vector { width, .. } => *width,
            Self::Patches { patches } => patches.width(),
            Self::Windows { windows } => windows.width(),
            Self::Pooled { pooled } => pooled.width(),
        };
        u32::try_from(width).unwrap_or(u32::MAX)
    }

    /// Whether its own sizes, and those the plan names, are one.
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

    /// Learns from rows of a stream.
    pub(super) fn observe(&mut self, column: &Column) {
        match (self, column) {
            (Self::Number { scale, .. }, Column::Number(values))
            | (Self::Timestamp { scale }, Column::Timestamp(values)) => values.iter().for_each(|&v| scale.push(v)),
            (Self::Category { names, slots }, Column::Category(values)) => {
                for name in values.iter().flatten() {
                    if names.len() < *slots && !names.contains(name.as_ref()) {
                        names.insert(name.to_string());
                    }
                }
            }
            (Self::Vector { scaling: Scaling::Largest(largest), .. }, Column::Vector { values, .. }) => {
                for value in values.iter().filter(|v| v.is_finite()) {
                    *largest = largest.max(value.abs());
                }
            }
            _ => {}
        }
    }

    /// Pushes the cell's entries in ascending order.
    pub(super) fn bag(&self, column: &Column, row: usize, start: u32, batch: &mut Batch, words: &mut Words) {
        match (self, column) {
            (Self::Number { scale, edges }, Column::Number(values)) => {
                push_number(scale, edges, values[row], start, batch)
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

    /// How far beyond anything seen the cell's numbers lie, in `[0, 1]`. What the network reads is cut
    /// at [`LARGEST`], so it cannot tell. Times always move on: they do not count.
    pub(super) fn outside(&self, column: &Column, row: usize) -> f32 {
        let cells = |values: &'_ [f32], width: usize| -> (f64, f64) {
            let cells = &values[row * width..(row + 1) * width];
            // A missing element is NaN, which is neither less nor more.
            let least = cells.iter().fold(f32::INFINITY, |a, b| a.min(*b));
            let most = cells.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
            (f64::from(least), f64::from(most))
        };
        match (self, column) {
            (Self::Number { scale, .. }, Column::Number(values)) => scale.outside(values[row]),
            (Self::Vector { width, scaling, .. }, Column::Vector { values, .. }) => {
                let (least, most) = cells(values, *width);
                match scaling {
                    Scaling::Largest(largest) if *largest > 0.0 => beyond([0.0, f64::from(*largest)], most.max(-least)),
                    Scaling::Standard { span: Some(span), .. } => beyond(*span, least).max(beyond(*span, most)),
                    _ => 0.0,
                }
            }
            (Self::Patches { patches }, Column::Vector { width, values, .. }) => {
                let (least, most) = cells(values, *width);
                beyond([0.0, f64::from(patches.largest())], most.max(-least))
            }
            (Self::Windows { windows }, Column::Vector { width, values, .. }) => {
                windows.outside(&values[row * width..(row + 1) * width])
            }
            (Self::Windows { windows }, Column::Series { channels, offsets, values }) => {
                windows.outside(&values[offsets[row] * channels..offsets[row + 1] * channels])
            }
            (Self::Pooled { pooled }, Column::Series { channels, offsets, values }) => {
                pooled.outside(&values[offsets[row] * channels..offsets[row + 1] * channels])
            }
            _ => 0.0,
        }
    }

    /// What a cell was, from its entries relative to the field; none where they do not tell.
    pub(super) fn decode(&self, entries: &[(u32, f32)]) -> Option<serde_json::Value> {
        let at = |index: u32| entries.iter().find(|(i, _)| *i == index).map(|(_, value)| *value);
        match self {
            Self::Number { scale, edges } => {
                let missing = 1 + edges.len().saturating_sub(1) as u32;
                at(missing).is_none().then(|| scale.invert(at(0).unwrap_or(0.0)).into())
            }
            Self::Boolean => at(0).map(|value| (value > 0.0).into()),
            Self::Category { names, .. } => {
                let (index, _) = entries.first()?;
                names.get_index(*index as usize).map(|name| name.as_str().into())
            }
            Self::Vector { width, scaling: Scaling::Largest(largest), .. } => {
                let mut cells = vec![0.0f32; *width];
                entries.iter().for_each(|&(i, value)| {
                    if let Some(cell) = cells.get_mut(i as usize) {
                        *cell = value * largest;
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
                self.bag(column, row, start, batch, words);
                batch.end_token(field);
            }
        }
    }
}

fn fit_number(values: &[f64], rows: &[usize], bins: usize) -> Result<Fitted, String> {
    let mut known: Vec<f64> = rows.iter().map(|&row| values[row]).filter(|v| v.is_finite()).collect();
    if known.is_empty() {
        return Err("no row has a value".into());
    }
    let counts_up = known.len() == rows.len()
        && rows.len() >= 20
        && rows.iter().all(|&row| values[row] - row as f64 == values[rows[0]] - rows[0] as f64);
    if counts_up {
        return Err("counts the rows: looks like an identifier".into());
    }
    let mut scale = Scale::default();
    known.iter().for_each(|&v| scale.push(v));
    known.sort_by(f64::total_cmp);
    if known[0] == known[known.len() - 1] && known.len() == rows.len() {
        return Err("the same in every row".into());
    }
    let mut edges = Vec::new();
    if bins > 0 {
        for bin in 0..=bins {
            edges.push(known[(bin * (known.len() - 1)) / bins]);
        }
        edges.dedup();
        // Few values are better served by edges between all of them.
        known.dedup();
        if known.len() <= bins + 1 {
            edges = known;
        }
        if edges.len() < 3 {
            edges.clear();
        }
    }
    Ok(Fitted::Number { scale, edges })
}

fn fit_category(values: &[Option<Box<str>>], rows: &[usize], reserve: usize) -> Result<Fitted, String> {
    let mut counts: IndexMap<&str, usize> = IndexMap::new();
    for name in rows.iter().filter_map(|&row| values[row].as_deref()) {
        *counts.entry(name).or_default() += 1;
    }
    let present: usize = counts.values().sum();
    if counts.is_empty() {
        return Err("no row has a value".into());
    }
    if counts.len() == 1 && present == rows.len() && reserve == 0 {
        return Err("the same in every row".into());
    }
    if present >= 20 && counts.len() * 10 > present * 9 {
        return Err("different in nearly every row: looks like an identifier".into());
    }
    // Names seen once teach nothing and train the entry for unseen names, if there are many.
    let rare = usize::from(counts.len() > 50);
    let mut names: Vec<(&str, usize)> = counts.into_iter().filter(|&(_, count)| count > rare).collect();
    names.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    names.truncate(MAX_NAMES);
    names.sort_unstable_by(|a, b| a.0.cmp(b.0));
    let names: IndexSet<String> = names.into_iter().map(|(name, _)| name.to_owned()).collect();
    Ok(Fitted::Category { slots: names.len() + reserve, names })
}

fn fit_vector(
    values: &[f32],
    width: usize,
    shape: Option<Vec<usize>>,
    rows: &[usize],
    layout: Layout,
    options: &EncoderOptions,
) -> Result<Fitted, String> {
    let cells = || rows.iter().flat_map(|&row| &values[row * width..(row + 1) * width]).copied();
    let (mut zeros, mut finite, mut lowest, mut largest) = (0usize, 0usize, f32::INFINITY, 0.0f32);
    for value in cells().filter(|v| v.is_finite()) {
        finite += 1;
        zeros += usize::from(value == 0.0);
        lowest = lowest.min(value);
        largest = largest.max(value.abs());
    }
    if finite == 0 {
        return Err("no row has a value".into());
    }
    let square = shape.as_ref().is_some_and(|s| s.len() >= 2);
    let counts = lowest >= 0.0 && (square || zeros * 10 > finite);
    if layout == Layout::Tokens {
        if let Some(shape) = shape.filter(|_| square) {
            return Ok(Fitted::Patches { patches: Patches::new(&shape, largest) });
        }
        let offsets: Vec<usize> = (0..=values.len() / width.max(1)).map(|row| row * width).collect();
        let windows = Windows::fit(values, &offsets, 1, rows, options.window, options.stride);
        return Ok(Fitted::Windows { windows });
    }
    let scaling = if counts {
        Scaling::Largest(largest)
    } else {
        let mut scales = vec![Scale::default(); width];
        for &row in rows {
            for (scale, &value) in scales.iter_mut().zip(&values[row * width..(row + 1) * width]) {
                scale.push(f64::from(value));
            }
        }
        let spans = || scales.iter().filter_map(|s| s.span);
        let span = spans().next().map(|first| spans().fold(first, |a, b| [a[0].min(b[0]), a[1].max(b[1])]));
        Scaling::Standard {
            span: span.filter(|_| rows.len() as f64 >= KNOWN),
            mean: scales.iter().map(|s| s.mean as f32).collect(),
            inverse: scales
                .iter()
                .map(|s| {
                    let deviation = (s.squares / s.count.max(1.0)).sqrt();
                    if deviation > 1e-12 * (1.0 + s.mean.abs()) { (1.0 / deviation) as f32 } else { 0.0 }
                })
                .collect(),
        }
    };
    Ok(Fitted::Vector { width, shape, scaling })
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
    for (bin, edge) in edges.windows(2).enumerate() {
        if value <= edge[0] {
            break;
        }
        let share = if value >= edge[1] { 1.0 } else { (value - edge[0]) / (edge[1] - edge[0]) };
        batch.push_entry(start + 1 + bin as u32, share as f32);
    }
}

fn push_timestamp(scale: &Scale, value: f64, start: u32, batch: &mut Batch) {
    const DAY: f64 = 86_400.0;
    if !value.is_finite() {
        batch.push_entry(start + 7, 1.0);
        return;
    }
    batch.push_entry(start, scale.apply(value));
    for (i, period) in [DAY, 7.0 * DAY, 365.2425 * DAY].into_iter().enumerate() {
        let (sine, cosine) = (value / period * std::f64::consts::TAU).sin_cos();
        batch.push_entry(start + 1 + 2 * i as u32, sine as f32);
        batch.push_entry(start + 2 + 2 * i as u32, cosine as f32);
    }
}

fn push_vector(scaling: &Scaling, cells: &[f32], start: u32, batch: &mut Batch) {
    match scaling {
        Scaling::Largest(largest) => {
            let factor = if *largest > 0.0 { 1.0 / largest } else { 1.0 };
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
