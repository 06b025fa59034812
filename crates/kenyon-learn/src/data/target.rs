//! What is to be predicted: classes with their own names and types, or a standardised number.

use super::Column;
use crate::{Detail, Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap, HashSet};

/// What kind of answer is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// One of several classes.
    Classification,
    /// A number.
    Regression,
}

/// How the target of a row becomes a class id or a standardised number, and back. Saved with the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetEncoder {
    /// Class names as in the data (numbers stay numbers), sorted: id = position.
    Classes(Vec<Value>),
    /// A number with mean and deviation of the training rows.
    Number {
        /// Mean of the training rows.
        mean: f64,
        /// Standard deviation of the training rows, above 0.
        std: f64,
    },
}

/// Encoded targets of some rows.
#[derive(Clone, Debug, PartialEq)]
pub enum Encoded {
    /// Class ids; [`NO_CLASS`] where the row has none.
    Classes(Vec<u32>),
    /// Standardised values; NaN where the row has none.
    Values(Vec<f32>),
}

/// The id of a row without a class (the same as `models::UNLABELLED`).
pub const NO_CLASS: u32 = u32::MAX;

/// Classes at most: beyond this a target is a mistake.
const MAX_CLASSES: usize = 10_000;

impl TargetEncoder {
    /// Fits on the target column: classes sorted (numbers by size, then booleans, then words), or mean and
    /// deviation.
    ///
    /// # Errors
    /// `target_missing` where no row has a value, `target_constant` where all have the same,
    /// `target_not_numeric` for regression on words, `target_not_classes` for lists,
    /// `too_many_classes` where nearly every row has a class of its own.
    pub fn fit(name: &str, column: &Column, task: Task) -> Result<Self> {
        let fail = |code, reason: String| {
            Err(Error::unprocessable(code, format!("{name}: {reason}")).with_details([Detail::column(name, reason)]))
        };
        if task == Task::Regression {
            let (Column::Number(values) | Column::Timestamp(values)) = column else {
                return fail("target_not_numeric", "regression needs a column of numbers".into());
            };
            let known: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
            let Some(&first) = known.first() else {
                return fail("target_missing", "no row has a value".into());
            };
            if known.iter().all(|&v| v == first) {
                return fail("target_constant", "every row has the same value".into());
            }
            let count = known.len() as f64;
            let mean = known.iter().sum::<f64>() / count;
            let std = (known.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count).sqrt();
            return Ok(Self::Number { mean, std });
        }
        if !matches!(column, Column::Number(_) | Column::Boolean(_) | Column::Category(_) | Column::Text(_)) {
            return fail("target_not_classes", "lists and moments cannot be classes".into());
        }
        let mut counts: BTreeMap<Name, usize> = BTreeMap::new();
        for row in 0..column.len() {
            if let Some(name) = name_at(column, row) {
                *counts.entry(name).or_default() += 1;
            }
        }
        let rows: usize = counts.values().sum();
        match counts.len() {
            0 => fail("target_missing", "no row has a value".into()),
            1 => fail("target_constant", "every row has the same value".into()),
            n if n > MAX_CLASSES || (rows >= 50 && n * 2 > rows) => {
                fail("too_many_classes", format!("{n} different values in {rows} rows are too many classes"))
            }
            _ => Ok(Self::Classes(counts.into_keys().map(Name::into_value).collect())),
        }
    }

    /// Ids or standardised values; an unknown class gives [`NO_CLASS`].
    pub fn encode(&self, column: &Column) -> Result<Encoded> {
        match (self, column) {
            (Self::Number { mean, std }, Column::Number(values) | Column::Timestamp(values)) => {
                Ok(Encoded::Values(values.iter().map(|v| ((v - mean) / std) as f32).collect()))
            }
            (Self::Number { .. }, _) => {
                Err(Error::unprocessable("target_not_numeric", "regression needs a column of numbers"))
            }
            (Self::Classes(classes), _) => {
                let ids: HashMap<Name, u32> =
                    classes.iter().zip(0..).filter_map(|(class, id)| Some((Name::from_value(class)?, id))).collect();
                let id = |row| name_at(column, row).and_then(|name| ids.get(&name).copied()).unwrap_or(NO_CLASS);
                Ok(Encoded::Classes((0..column.len()).map(id).collect()))
            }
        }
    }

    /// The id of one class, given as JSON.
    pub fn class_id(&self, label: &Value) -> Option<u32> {
        let Self::Classes(classes) = self else { return None };
        let wanted = Name::from_value(label)?;
        let at = classes.iter().position(|class| Name::from_value(class).as_ref() == Some(&wanted))?;
        u32::try_from(at).ok()
    }

    /// The weight of each class where some are named; 1 for the others.
    pub fn weights(&self, named: &Map<String, Value>) -> Result<Vec<f32>> {
        let Self::Classes(classes) = self else {
            return Err(Error::unprocessable("bad_class_weights", "class_weights are for classification"));
        };
        let mut weights = vec![1.0; classes.len()];
        for (name, weight) in named {
            let bad = |reason: String| {
                Error::unprocessable("bad_class_weights", format!("class_weights.{name}: {reason}"))
                    .with_details([Detail::path(format!("class_weights.{name}"), reason)])
            };
            let at = classes
                .iter()
                .position(|class| class.as_str().map_or_else(|| class.to_string() == *name, |c| c == name));
            let at = at.ok_or_else(|| bad("the target has no such class".to_owned()))?;
            let weight = weight.as_f64().filter(|w| *w > 0.0 && *w <= 1e6);
            weights[at] = weight.ok_or_else(|| bad("must be a number above 0, at most 1e6".to_owned()))? as f32;
        }
        Ok(weights)
    }

    /// Adds classes of `column` that are not known yet at the end, in the order they come; returns
    /// how many. For streams.
    pub fn extend(&mut self, column: &Column) -> usize {
        let Self::Classes(classes) = self else { return 0 };
        let mut known: HashSet<Name> = classes.iter().filter_map(Name::from_value).collect();
        let before = classes.len();
        for row in 0..column.len() {
            if let Some(name) = name_at(column, row)
                && known.insert(name.clone())
            {
                classes.push(name.into_value());
            }
        }
        classes.len() - before
    }

    /// Number of network outputs: classes, or 1.
    pub fn outputs(&self) -> usize {
        match self {
            Self::Classes(classes) => classes.len(),
            Self::Number { .. } => 1,
        }
    }
}

/// A class in a form that compares: numbers by their bits in numeric order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Name {
    Number(i64),
    Boolean(bool),
    Word(Box<str>),
}

impl Name {
    /// The order of these keys is that of the numbers; −0 is 0.
    fn number(value: f64) -> Self {
        let bits = (value + 0.0).to_bits() as i64;
        Self::Number(if bits < 0 { !bits ^ i64::MIN } else { bits })
    }

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => number.as_f64().map(Self::number),
            Value::Bool(value) => Some(Self::Boolean(*value)),
            Value::String(word) => Some(Self::Word(word.as_str().into())),
            _ => None,
        }
    }

    fn into_value(self) -> Value {
        match self {
            Self::Number(key) => {
                let bits = if key < 0 { !(key ^ i64::MIN) } else { key };
                let number = f64::from_bits(bits as u64);
                if number.fract() == 0.0 && number.abs() < 9e15 {
                    Value::from(number as i64)
                } else {
                    Value::from(number)
                }
            }
            Self::Boolean(value) => Value::Bool(value),
            Self::Word(word) => Value::String(word.into()),
        }
    }
}

fn name_at(column: &Column, row: usize) -> Option<Name> {
    match column {
        Column::Number(values) => values[row].is_finite().then(|| Name::number(values[row])),
        Column::Boolean(values) => values[row].map(Name::Boolean),
        Column::Category(values) | Column::Text(values) => values[row].clone().map(Name::Word),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn words(values: &[&str]) -> Column {
        Column::Category(values.iter().map(|v| (!v.is_empty()).then(|| Box::from(*v))).collect())
    }

    #[test]
    fn numbers_stay_numbers_and_are_sorted_by_size() {
        let column = Column::Number(vec![10.0, -1.5, 2.0, f64::NAN, -20.0, 0.0, -0.0]);
        let target = TargetEncoder::fit("y", &column, Task::Classification).unwrap();
        assert_eq!(target, TargetEncoder::Classes(vec![json!(-20), json!(-1.5), json!(0), json!(2), json!(10)]));
        assert_eq!(target.encode(&column).unwrap(), Encoded::Classes(vec![4, 1, 3, NO_CLASS, 0, 2, 2]));
        assert_eq!(target.class_id(&json!(2.0)), Some(3));
    }

    #[test]
    fn streams_add_classes_at_the_end() {
        let mut target = TargetEncoder::fit("y", &words(&["b", "a"]), Task::Classification).unwrap();
        assert_eq!(target.extend(&words(&["z", "a", "", "c", "z"])), 2);
        assert_eq!(target.encode(&words(&["c", "b"])).unwrap(), Encoded::Classes(vec![3, 1]));
    }

    #[test]
    fn targets_that_teach_nothing_are_refused() {
        let code = |column: &Column, task| TargetEncoder::fit("y", column, task).unwrap_err().code;
        assert_eq!(code(&words(&["a", "a"]), Task::Classification), "target_constant");
        assert_eq!(code(&words(&["", ""]), Task::Classification), "target_missing");
        assert_eq!(code(&words(&["a", "b"]), Task::Regression), "target_not_numeric");
        assert_eq!(code(&Column::Number(vec![3.0; 9]), Task::Regression), "target_constant");
        let ids = Column::Number((0..100).map(f64::from).collect());
        assert_eq!(code(&ids, Task::Classification), "too_many_classes");
    }
}
