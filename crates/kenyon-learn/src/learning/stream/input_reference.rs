//! How far the columns of a row lie from where they lay when the stream began, or after their last change: the number that
//! alarms on inputs are raised by.
//!
//! A reference is made of [`ROWS`] rows and then stays. One that follows the stream measures rows of one distribution
//! differently as time passes, which ADWIN takes for a change: in shuffled rows of Elec2 and weather it raised an alarm every
//! 32,000 and 13,000 rows, and a fixed one none in 630,000 (benches, uncertainty).

use super::StreamModel;
use super::figures::Detection;
use crate::data::cell::hash_bytes;
use crate::data::encoder::Scale;
use crate::data::{Column, Table};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Rows that a reference is made of.
const ROWS: u64 = 1_000;
/// Deviations from the mean beyond which a number is as far as a value that was never observed.
const FARTHEST: f64 = 5.0;
/// Different values of a category; a column with more of them is left out.
const MOST_VALUES: usize = 256;
/// Numbers of a row that are compared: the first ones.
const MOST_NUMBERS: usize = 256;

/// The columns as they were in the first rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct InputReference {
    rows: u64,
    columns: Vec<Reference>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Reference {
    Numbers(Vec<Number>),
    /// Rows with each value, by its hash; the empty one stands for missing cells.
    Values(BTreeMap<u64, u32>),
    LeftOut,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Number {
    scale: Scale,
    missing: u32,
    last: Option<f64>,
    /// Whether it has grown and fallen between two rows: a number that does one alone is a clock or a counter.
    grew: bool,
    fell: bool,
}

impl InputReference {
    /// How far row `r` lies from the reference, in `[0, 1]`: a mean over the columns. None while the reference is made,
    /// which the row is added to, or where no column can be compared.
    pub(super) fn distance<'a>(&mut self, columns: impl Iterator<Item = &'a Column>, r: usize) -> Option<f64> {
        self.rows += 1;
        let complete = self.rows > ROWS;
        let (mut sum, mut count) = (0.0, 0u32);
        let mut left = MOST_NUMBERS;
        for (at, column) in columns.enumerate() {
            if self.columns.len() == at {
                self.columns.push(Reference::of(column, &mut left));
            }
            let reference = &mut self.columns[at];
            if !complete {
                reference.add(column, r);
            } else if let Some((distance, numbers)) = reference.distance(column, r) {
                sum += distance;
                count += numbers;
            }
        }
        (complete && count > 0).then(|| sum / f64::from(count))
    }
}

/// The columns of `table` with these names.
pub(super) fn columns_of<'a, 'n>(table: &'a Table, names: impl Iterator<Item = &'n str>) -> Vec<&'a Column> {
    names.filter_map(|name| table.column(name)).collect()
}

impl Reference {
    /// Before the first row. Of more numbers than are `left` the column is left out.
    fn of(column: &Column, left: &mut usize) -> Self {
        let width = match column {
            Column::Number(_) => 1,
            Column::Vector { width, .. } => *width,
            Column::Boolean(_) | Column::Category(_) => return Self::Values(BTreeMap::new()),
            _ => return Self::LeftOut,
        };
        if width > *left {
            return Self::LeftOut;
        }
        *left -= width;
        Self::Numbers(vec![Number::default(); width])
    }

    fn add(&mut self, column: &Column, r: usize) {
        match self {
            Self::Numbers(numbers) => numbers.iter_mut().zip(numbers_of(column, r)).for_each(|(it, v)| it.add(v)),
            Self::Values(values) => {
                let value = value_of(column, r);
                if let Some(rows) = values.get_mut(&value) {
                    *rows += 1;
                } else if values.len() < MOST_VALUES {
                    values.insert(value, 1);
                } else {
                    *self = Self::LeftOut;
                }
            }
            Self::LeftOut => {}
        }
    }

    /// The sum of the distances, and of how many numbers or values.
    fn distance(&self, column: &Column, r: usize) -> Option<(f64, u32)> {
        match self {
            Self::Numbers(numbers) => {
                let distances = numbers.iter().zip(numbers_of(column, r)).filter_map(|(it, v)| it.distance(v));
                Some(distances.fold((0.0, 0), |(sum, count), distance| (sum + distance, count + 1)))
            }
            Self::Values(values) => Some((unusual(values.get(&value_of(column, r)).copied().unwrap_or(0)), 1)),
            Self::LeftOut => None,
        }
    }
}

impl Number {
    fn add(&mut self, value: f64) {
        self.missing += u32::from(value.is_nan());
        self.scale.observe(value);
        if let Some(last) = self.last {
            self.grew |= value > last;
            self.fell |= value < last;
        }
        if !value.is_nan() {
            self.last = Some(value);
        }
    }

    fn distance(&self, value: f64) -> Option<f64> {
        if self.grew != self.fell {
            return None;
        }
        if value.is_nan() {
            return Some(unusual(self.missing));
        }
        let (mean, deviation) = self.scale.centre_and_deviation();
        Some(((value - mean) / deviation / FARTHEST).abs().min(1.0))
    }
}

/// How unusual a value is that so many of the reference's rows have.
fn unusual(rows: u32) -> f64 {
    1.0 - f64::from(rows) / ROWS as f64
}

fn numbers_of(column: &Column, r: usize) -> impl Iterator<Item = f64> {
    let (one, list) = match column {
        Column::Number(values) => (Some(values[r]), &[][..]),
        Column::Vector { width, values, .. } => (None, &values[r * width..(r + 1) * width]),
        _ => (None, &[][..]),
    };
    one.into_iter().chain(list.iter().map(|&v| f64::from(v)))
}

fn value_of(column: &Column, r: usize) -> u64 {
    let value = match column {
        Column::Boolean(values) => values[r].map_or("", |value| if value { "true" } else { "false" }),
        Column::Category(values) => values[r].as_deref().unwrap_or(""),
        _ => "",
    };
    hash_bytes(value.as_bytes(), 0)
}

impl StreamModel {
    /// Whether the inputs have changed by row `r` of these columns, which was just predicted.
    pub(super) fn have_inputs_changed(&mut self, columns: &[&Column], r: usize) -> Detection {
        if let Some(similarity) = self.mixture.similarity(&self.scratch) {
            return self.figures.input(similarity, self.rows);
        }
        let Some(distance) = self.input_reference.distance(columns.iter().copied(), r) else {
            self.figures.restart_inputs();
            return Detection::default();
        };
        let detection = self.figures.input(distance, self.rows);
        if detection.change {
            self.input_reference = InputReference::default();
        }
        detection
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learning::drift::Adwin;
    use crate::random::Random;

    /// Rows at which alarms are raised, where `value` gives the number of row `r`, its category and a counter.
    fn alarms(rows: usize, mut value: impl FnMut(usize, &mut Random) -> f64, seed: u64) -> Vec<usize> {
        let (mut random, mut it) = (Random::new(seed), InputReference::default());
        let mut window = Adwin::new(0.0002, false);
        let mut found = Vec::new();
        for r in 0..rows {
            let number = value(r, &mut random);
            let kind = if random.uniform() < 0.001 { "seldom" } else { "often" };
            let columns = [
                Column::Number(vec![number]),
                Column::Category(vec![Some(kind.into())]),
                Column::Number(vec![r as f64]),
            ];
            match it.distance(columns.iter(), 0) {
                None => window = Adwin::new(0.0002, false),
                Some(distance) if window.add(distance) => {
                    found.push(r);
                    it = InputReference::default();
                }
                Some(_) => {}
            }
        }
        found
    }

    #[test]
    fn rows_of_one_distribution_raise_no_alarm_and_a_shift_is_found_once() {
        for seed in 0..3 {
            let normal = |_, random: &mut Random| f64::from(random.normal());
            assert_eq!(alarms(50_000, normal, seed), [0; 0]);
            let shifted =
                |r: usize, random: &mut Random| f64::from(random.normal()) + if r < 5_000 { 0.0 } else { 1.0 };
            let found = alarms(20_000, shifted, seed);
            assert!(found.len() == 1 && (5_000..6_500).contains(&found[0]), "{found:?}");
        }
    }

    #[test]
    fn rows_can_arrive_in_any_portions() {
        let numbers: Vec<f64> = (0..1_500).map(|r| f64::from(r * 7919 % 101)).collect();
        let (mut whole, mut single) = (InputReference::default(), InputReference::default());
        let column = Column::Number(numbers.clone());
        for (r, number) in numbers.into_iter().enumerate() {
            let one = Column::Number(vec![number]);
            assert_eq!(whole.distance([&column].into_iter(), r), single.distance([&one].into_iter(), 0));
        }
        assert_eq!(whole, single);
    }
}
