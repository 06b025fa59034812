//! Fitting a column of a table, and why a column is left out.

use super::bins::edges;
use super::columns::Fitted;
use super::peak::Peak;
use super::scale::{self, KNOWN, Scale, Scaling};
use super::series::{Patches, Pooled, Windows};
use super::text::Grams;
use super::{EncoderOptions, Layout};
use crate::data::Column;
use crate::data::plan::ColumnPlan;
use indexmap::{IndexMap, IndexSet};

/// Category names kept at most, the most frequent ones.
const MAX_NAMES: usize = 10_000;

impl Fitted {
    /// Fits a column on `rows`; the error is the reason why the column is left out.
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
            Column::Boolean(values) => fit_boolean(values, rows),
            Column::Category(values) => fit_category(values, rows, options.reserve),
            Column::Labels(_) => Err("classes are no feature".into()),
            Column::Text(values) => fit_text(values, plan, rows, layout, options),
            Column::Picture(values) => {
                if rows.iter().all(|&row| values[row].is_none()) {
                    return Err("no row has a value".into());
                }
                Self::encoded(plan, None).map_err(|error| error.detail)
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
}

fn fit_boolean(values: &[Option<bool>], rows: &[usize]) -> Result<Fitted, String> {
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
    Ok(Fitted::Boolean)
}

fn fit_text(
    values: &[Option<Box<str>>],
    plan: &ColumnPlan,
    rows: &[usize],
    layout: Layout,
    options: &EncoderOptions,
) -> Result<Fitted, String> {
    if rows.iter().all(|&row| values[row].is_none()) {
        return Err("no row has a value".into());
    }
    if layout == Layout::Tokens && plan.encoder.is_none() {
        return Ok(Fitted::Words);
    }
    let texts = rows.iter().filter_map(|&row| values[row].as_deref());
    let grams = Grams::fit(texts, options.text_bits);
    match plan.encoder {
        Some(_) => Fitted::encoded(plan, Some(grams)).map_err(|error| error.detail),
        None => Ok(Fitted::Text { grams }),
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
    let in_order = known.clone();
    known.sort_by(f64::total_cmp);
    let [low, high] = scale::sane(&known);
    // The range is that of all values; the scale is that of the values without extreme outliers.
    in_order.iter().for_each(|&v| scale.push(v.clamp(low, high)));
    scale.span = Some([known[0], known[known.len() - 1]]);
    if known[0] == known[known.len() - 1] && known.len() == rows.len() {
        return Err("the same in every row".into());
    }
    let mut edges = if bins > 0 { edges(&known, bins) } else { Vec::new() };
    if edges.len() < 3 {
        edges.clear();
    }
    Ok(Fitted::Number { scale, edges, pairs: Vec::new() })
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
    // Names that occur once are not learned; if there are many they train the entry for unseen names.
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
        Scaling::Largest(Peak::new(largest))
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
