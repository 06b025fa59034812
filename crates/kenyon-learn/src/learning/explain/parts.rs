//! Division of a column's contribution among its parts: words of a text, cells of a picture, steps of a series.
//!
//! The other columns stay the row's own. Words are added one after the other to the text without them; cells and
//! steps replace those of background rows. The remainder to the column's own weight is divided by size among cells and
//! steps; that of words stays the column's.

use super::pictures::of_picture;
use super::shapley::{Point, settle, shapley};
use super::{Contribution, Subject};
use crate::Result;
use crate::data::Column;
use serde_json::Value;
use std::ops::Range;

/// Parts of a picture or a series at most; more cells are taken together.
const MAX_PARTS: usize = 64;
/// Words up to which the path is sampled; of longer texts each word is left out by itself.
const MAX_SAMPLED: usize = 64;
/// Approximate number of predictions for the parts of a column.
const ANSWERS: usize = 1_024;
/// The same for the words of a text.
const WORD_ANSWERS: usize = 128;

/// The contribution `weight` of the column numbered `at`, divided among its parts where it has some.
pub(super) fn of_column(subject: &Subject<'_>, at: usize, weight: f64) -> Result<Vec<Contribution>> {
    let (column, own) = (&subject.stacked[at], subject.own());
    let whole = || Contribution {
        name: subject.names[at].to_owned(),
        weight,
        value: value_of(column, own),
        ..Contribution::default()
    };
    match column {
        Column::Text(texts) => match texts[own].as_deref() {
            Some(text) => words(subject, at, text, weight, whole()),
            None => Ok(vec![whole()]),
        },
        Column::Picture(pictures) => match pictures[own].as_deref() {
            Some(picture) => of_picture(subject, at, picture, weight, whole()),
            None => Ok(vec![whole()]),
        },
        Column::Vector { width, shape, values } => {
            let [lines, length] = match shape.as_deref() {
                Some(&[height, wide, ..]) => [height, wide],
                _ => [1, *width],
            };
            let cells = (width / (lines * length).max(1)).max(1);
            let parts = Parts::of_grid(lines, length);
            let weights = shares(subject, at, weight, parts.count(), &|points| {
                let mut mixed = Vec::with_capacity(points.len() * width);
                for point in points {
                    let from = |row: usize| &values[row * width..(row + 1) * width];
                    let (other, own) = (from(point.from), from(own));
                    mixed.extend((0..*width).map(|i| {
                        let kept = point.kept[parts.part_of(i / cells)];
                        if kept { own[i] } else { other[i] }
                    }));
                }
                Column::Vector { width: *width, shape: shape.clone(), values: mixed }
            })?;
            Ok(vec![Contribution { map: Some(parts.map(&weights)), ..whole() }])
        }
        Column::Series { channels, offsets, values } => {
            of_series(subject, at, (*channels, offsets, values), weight, whole())
        }
        _ => Ok(vec![whole()]),
    }
}

/// The contribution of the column numbered `at`, a series, divided among its channels and steps; `whole` is that of all of it.
fn of_series(
    subject: &Subject<'_>,
    at: usize,
    (channels, offsets, values): (usize, &[usize], &[f32]),
    weight: f64,
    whole: Contribution,
) -> Result<Vec<Contribution>> {
    let own = subject.own();
    let steps = offsets[own + 1] - offsets[own];
    if steps == 0 {
        return Ok(vec![whole]);
    }
    let parts = Parts::of_lines(channels, steps);
    let of = |row: usize| &values[offsets[row] * channels..offsets[row + 1] * channels];
    let weights = shares(subject, at, weight, parts.count(), &|points| {
        let mut mixed = Vec::with_capacity(points.len() * steps * channels);
        for point in points {
            let (other, own) = (of(point.from), of(own));
            let length = other.len() / channels;
            for i in 0..steps * channels {
                let (step, channel) = (i / channels, i % channels);
                let kept = point.kept[parts.part_of(channel * steps + step)] || length == 0;
                mixed.push(if kept { own[i] } else { other[step * length / steps * channels + channel] });
            }
        }
        let offsets = (0..=points.len()).map(|row| row * steps).collect();
        Column::Series { channels, offsets, values: mixed }
    })?;
    Ok(vec![Contribution { map: Some(parts.map(&weights)), ..whole }])
}

/// The share of each of `parts` parts in `weight`; `mixed` makes the column at some points of a path.
fn shares(
    subject: &Subject<'_>,
    at: usize,
    weight: f64,
    parts: usize,
    mixed: &dyn Fn(&[Point]) -> Column,
) -> Result<Vec<f64>> {
    let own = subject.own();
    let ends = (ANSWERS / (2 * parts)).clamp(2, 16).min(own);
    let found = shapley(parts, ends, |points| {
        // The beginnings are spread over the background, which is in the order of answers.
        let spread: Vec<Point> = points
            .iter()
            .map(|point| Point { from: (2 * point.from + 1) * own / (2 * ends), kept: point.kept.clone() })
            .collect();
        subject.answers_with(at, &mixed(&spread), points.len())
    })?;
    let mut weights = found.weights;
    settle(&mut weights, weight);
    Ok(weights)
}

/// Parts of equal size of a grid of cells.
struct Parts {
    lines: usize,
    length: usize,
    /// Cells of a part along a line, and lines of a part.
    across: usize,
    down: usize,
}

impl Parts {
    /// Squares.
    fn of_grid(lines: usize, length: usize) -> Self {
        let mut side = 1;
        while lines.div_ceil(side) * length.div_ceil(side) > MAX_PARTS && side < lines {
            side += 1;
        }
        let down = side;
        let across = if lines == 1 { length.div_ceil(MAX_PARTS) } else { side };
        Self { lines, length, across: across.max(1), down: down.max(1) }
    }

    /// Pieces of lines.
    fn of_lines(lines: usize, length: usize) -> Self {
        let pieces = (MAX_PARTS / lines.max(1)).max(1);
        Self { lines, length, across: length.div_ceil(pieces).max(1), down: 1 }
    }

    fn columns(&self) -> usize {
        self.length.div_ceil(self.across)
    }

    fn count(&self) -> usize {
        self.columns() * self.lines.div_ceil(self.down)
    }

    fn part_of(&self, cell: usize) -> usize {
        let (line, at) = (cell / self.length, cell % self.length);
        line / self.down * self.columns() + at / self.across
    }

    /// The weights of parts, divided equally among their cells.
    fn map(&self, weights: &[f64]) -> Vec<Vec<f32>> {
        let mut cells = vec![0usize; weights.len()];
        (0..self.lines * self.length).for_each(|cell| cells[self.part_of(cell)] += 1);
        let one = |cell: usize| {
            let part = self.part_of(cell);
            (weights[part] / cells[part].max(1) as f64) as f32
        };
        (0..self.lines).map(|line| (0..self.length).map(|at| one(line * self.length + at)).collect()).collect()
    }
}

/// The shares of a text's words; the rest is the column's.
fn words(subject: &Subject<'_>, at: usize, text: &str, weight: f64, whole: Contribution) -> Result<Vec<Contribution>> {
    let words = split(text);
    if words.is_empty() {
        return Ok(vec![whole]);
    }
    let without = |kept: &dyn Fn(usize) -> bool| -> Option<Box<str>> {
        let (mut out, mut last) = (String::with_capacity(text.len()), 0);
        for (i, word) in words.iter().enumerate() {
            out.push_str(&text[last..if kept(i) { word.end } else { word.start }]);
            last = word.end;
        }
        out.push_str(&text[last..]);
        Some(out.into())
    };
    let weights = if words.len() <= MAX_SAMPLED {
        let ends = (WORD_ANSWERS / (2 * words.len())).clamp(2, 8);
        let found = shapley(words.len(), ends, |points| {
            let texts = points.iter().map(|point| without(&|i| point.kept[i])).collect();
            subject.answers_with(at, &Column::Text(texts), points.len())
        })?;
        found.weights
    } else {
        let texts = (0..=words.len()).map(|gone| without(&|i| i != gone)).collect();
        let found = subject.answers_with(at, &Column::Text(texts), words.len() + 1)?;
        // The last is the whole text.
        let output = found[words.len()];
        found[..words.len()].iter().map(|answer| output - answer).collect()
    };
    // What a text without words differs from the mean answer is due to none of them.
    let rest = weight - weights.iter().sum::<f64>();
    let place = |byte: usize| text[..byte].chars().count();
    let mut out: Vec<Contribution> = words
        .iter()
        .zip(weights)
        .map(|(word, weight)| Contribution {
            name: whole.name.clone(),
            weight,
            value: text[word.clone()].into(),
            span: Some([place(word.start), place(word.end)]),
            map: None,
        })
        .collect();
    if rest != 0.0 {
        out.push(Contribution { weight: rest, value: Value::Null, ..whole });
    }
    Ok(out)
}

/// The positions of words: runs of letters, digits and apostrophes, and marks that are words to the encoder.
fn split(text: &str) -> Vec<Range<usize>> {
    let (mut words, mut start) = (Vec::new(), None);
    for (at, c) in text.char_indices() {
        if c.is_alphanumeric() || c == '\'' {
            start.get_or_insert(at);
            continue;
        }
        words.extend(start.take().map(|from| from..at));
        if matches!(c, '?' | '!' | '$' | '£' | '€' | '%') {
            words.push(at..at + c.len_utf8());
        }
    }
    words.extend(start.map(|from| from..text.len()));
    words
}

/// A cell as JSON; null for lists.
fn value_of(column: &Column, row: usize) -> Value {
    match column {
        Column::Number(values) => values[row].into(),
        Column::Timestamp(values) => {
            let moment = jiff::Timestamp::from_microsecond((values[row] * 1e6) as i64).ok();
            moment.filter(|_| values[row].is_finite()).map_or(Value::Null, |moment| moment.to_string().into())
        }
        Column::Boolean(values) => values[row].into(),
        Column::Category(values) | Column::Text(values) => values[row].as_deref().into(),
        // Too long to be shown.
        Column::Picture(_) => Value::Null,
        Column::Labels(_) | Column::Vector { .. } | Column::Series { .. } | Column::Strings { .. } => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_a_grid_and_their_map_sums_to_their_weights() {
        for (parts, cells) in [(Parts::of_grid(8, 8), 64), (Parts::of_grid(28, 28), 784), (Parts::of_grid(1, 300), 300)]
        {
            assert!(parts.count() <= MAX_PARTS && parts.lines * parts.length == cells);
            let weights: Vec<f64> = (0..parts.count()).map(|i| i as f64).collect();
            let sum: f32 = parts.map(&weights).concat().iter().sum();
            assert!((f64::from(sum) - weights.iter().sum::<f64>()).abs() < 1e-2, "{cells} cells");
        }
        let series = Parts::of_lines(3, 50);
        assert_eq!((series.count(), series.part_of(0), series.part_of(50)), (51, 0, 17));
    }

    #[test]
    fn words_are_found_by_place_and_weights_brought_to_a_sum() {
        let text = "Größe: 5 €, don't!";
        let words: Vec<&str> = split(text).into_iter().map(|word| &text[word]).collect();
        assert_eq!(words, ["Größe", "5", "€", "don't", "!"]);
        let mut weights = [2.0, -1.0, 0.0];
        settle(&mut weights, 2.5);
        assert_eq!(weights, [3.0, -0.5, 0.0]);
        let mut weights = [0.0, 0.0];
        settle(&mut weights, -5.0);
        assert_eq!(weights, [-2.5, -2.5]);
    }
}
