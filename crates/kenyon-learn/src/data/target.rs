//! The target: classes with their own names and types, or a standardised number.

use super::Column;
use super::cell::{Cell, leading_zero, parse_boolean, parse_number};
use super::kinds::{ColumnKind, Encoding, Scalar, Spelling, canonical};
use super::written::{integer_value, number_as_written};
use crate::{Detail, Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap, HashSet};

/// The task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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

impl Encoded {
    /// How many rows there are.
    #[expect(clippy::len_without_is_empty, reason = "a training has rows")]
    pub fn len(&self) -> usize {
        match self {
            Self::Classes(ids) => ids.len(),
            Self::Values(values) => values.len(),
        }
    }
}

/// The id of a row without a class (the same as `models::UNLABELLED`).
pub const NO_CLASS: u32 = u32::MAX;

/// Largest number of classes: beyond this a target is a mistake.
const MAX_CLASSES: usize = 10_000;

impl TargetEncoder {
    /// Fits on the target column: classes sorted (numbers by size, then booleans, then words), or mean and
    /// deviation.
    ///
    /// # Errors
    /// `target_missing` where no row has a value, `target_constant` where all have the same,
    /// `target_not_numeric` for regression on words, `target_not_classes` for lists,
    /// `too_many_classes` where nearly every row has a class of its own, unless the request states the task (`task_is_stated`).
    pub fn fit(name: &str, column: &Column, task: Task, task_is_stated: bool) -> Result<Self> {
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
            // Differences from one of the values keep the precision of values that are large and near each other;
            // shares of the largest difference keep their squares finite.
            let count = known.len() as f64;
            let mean = first + known.iter().map(|v| (v - first) / count).sum::<f64>();
            let widest = known.iter().map(|v| (v - mean).abs()).fold(0.0, f64::max);
            let std = widest * (known.iter().map(|v| ((v - mean) / widest).powi(2)).sum::<f64>() / count).sqrt();
            if !(mean.is_finite() && std.is_finite() && std > 0.0) {
                return fail("target_not_finite", "its values are too large to be averaged".into());
            }
            return Ok(Self::Number { mean, std });
        }
        if matches!(
            column,
            Column::Timestamp(_)
                | Column::Vector { .. }
                | Column::Series { .. }
                | Column::Strings { .. }
                | Column::Picture(_)
        ) {
            return fail("target_not_classes", "lists and moments cannot be classes".into());
        }
        let mut counts: BTreeMap<Name, (usize, Value)> = BTreeMap::new();
        for row in 0..column.len() {
            if let Some((name, label)) = class_at(column, row) {
                counts.entry(name).or_insert((0, label)).0 += 1;
            }
        }
        let rows: usize = counts.values().map(|(count, _)| count).sum();
        match counts.len() {
            0 => fail("target_missing", "no row has a value".into()),
            1 => fail("target_constant", "every row has the same value".into()),
            n if n > MAX_CLASSES || (!task_is_stated && rows >= 50 && n * 2 > rows) => {
                fail("too_many_classes", format!("{n} different values in {rows} rows are too many classes"))
            }
            _ => Ok(Self::Classes(counts.into_values().map(|(_, label)| label).collect())),
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
                let mut ids: HashMap<Name, u32> = HashMap::with_capacity(classes.len());
                for (class, id) in classes.iter().zip(0..) {
                    if let Some(name) = Name::from_value(class) {
                        ids.entry(name).or_insert(id);
                    }
                }
                let id = |row| class_at(column, row).and_then(|(name, _)| ids.get(&name).copied()).unwrap_or(NO_CLASS);
                if let Column::Labels(labels) = column {
                    // Few different ones: each is looked up once.
                    let mut seen: HashMap<&str, u32> = HashMap::new();
                    let mut out = Vec::with_capacity(labels.len());
                    for (row, label) in labels.iter().enumerate() {
                        out.push(match label.as_deref() {
                            Some(label) => *seen.entry(label).or_insert_with(|| id(row)),
                            None => NO_CLASS,
                        });
                    }
                    return Ok(Encoded::Classes(out));
                }
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
                .position(|class| class.as_str().map_or_else(|| class.to_string(), str::to_owned).eq(name));
            let at = at.ok_or_else(|| bad("the target has no such class".to_owned()))?;
            let weight = weight.as_f64().filter(|w| *w > 0.0 && *w <= 1e6);
            weights[at] = weight.ok_or_else(|| bad("must be a number above 0, at most 1e6".to_owned()))? as f32;
        }
        Ok(weights)
    }

    /// Adds unknown classes of `column` at the end, in the order of appearance; returns
    /// how many. For streams.
    pub fn extend(&mut self, column: &Column) -> usize {
        let Self::Classes(classes) = self else { return 0 };
        let mut known: HashSet<Name> = classes.iter().filter_map(Name::from_value).collect();
        let before = classes.len();
        for row in 0..column.len() {
            if let Some((name, label)) = class_at(column, row)
                && known.insert(name)
            {
                classes.push(label);
            }
        }
        classes.len() - before
    }

    /// Names of the classes as texts; none for a number.
    pub fn names(&self) -> Vec<String> {
        let name = |class: &Value| class.as_str().map_or_else(|| class.to_string(), str::to_owned);
        match self {
            Self::Classes(classes) => classes.iter().map(name).collect(),
            Self::Number { .. } => Vec::new(),
        }
    }

    /// Number of network outputs: classes, or 1.
    pub fn outputs(&self) -> usize {
        match self {
            Self::Classes(classes) => classes.len(),
            Self::Number { .. } => 1,
        }
    }
}

/// A class label as JSON, in the type and spelling of the cell; none where it does not fit the target's kind.
pub(super) fn label_text(cell: Cell<'_>, kind: ColumnKind, spelling: &Spelling) -> Option<Box<str>> {
    let scalar = kind.spec().read(cell, spelling)?;
    let names = kind.encoding(false) == Encoding::Names;
    let label: Value = match (cell, scalar) {
        (Cell::Text(text), Scalar::Boolean(truth)) if parse_boolean(text.trim()).is_none() => truth.into(),
        (Cell::Text(text), _) => text.trim().into(),
        (Cell::Raw(text) | Cell::Quoted(text), _) if names => text.trim().into(),
        (_, Scalar::Boolean(truth)) => truth.into(),
        (Cell::Raw(text) | Cell::Quoted(text), Scalar::Number(x)) => {
            number_as_written(text).unwrap_or_else(|| Value::from(x))
        }
        (Cell::Integer(x), _) => integer_value(x),
        (Cell::Number(x) | Cell::Moment(x), _) => Value::from(x),
        (Cell::Boolean(truth), _) => truth.into(),
        (_, Scalar::Number(x)) => Value::from(x),
        (_, Scalar::Name(name)) => name.into(),
    };
    Some(label.to_string().into())
}

/// The identity of a class: numbers by size, then booleans, then words. `1`, `1.0` and `"1"` are one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Name {
    /// The nearest double in a form that compares, and the exact remainder of an integer.
    Number(i64, i128),
    Boolean(bool),
    Word(Box<str>),
}

impl Name {
    /// The order of these keys is that of the numbers; −0 is 0.
    fn number(value: f64, rest: i128) -> Self {
        let bits = (value + 0.0).to_bits() as i64;
        Self::Number(if bits < 0 { !bits ^ i64::MIN } else { bits }, rest)
    }

    fn integer(value: i128) -> Self {
        let double = value as f64;
        Self::number(double, value - double as i128)
    }

    fn word(text: &str) -> Self {
        let text = canonical(text);
        match (parse_boolean(&text), text.parse::<i128>(), parse_number(&text)) {
            (Some(truth), ..) => Self::Boolean(truth),
            (_, Ok(x), _) if !leading_zero(text.trim_start_matches('-')) && !text.starts_with('+') => Self::integer(x),
            (_, Err(_), Some(x)) if x.is_finite() && number_as_written(&text).is_some() => Self::number(x, 0),
            _ => Self::Word(text.into()),
        }
    }

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(x), _) => Some(Self::integer(x.into())),
                (_, Some(x)) => Some(Self::integer(x.into())),
                _ => number.as_f64().map(|x| Self::number(x, 0)),
            },
            Value::Bool(value) => Some(Self::Boolean(*value)),
            Value::String(word) => Some(Self::word(word)),
            _ => None,
        }
    }
}

/// The identity of a row's class, and its spelling.
fn class_at(column: &Column, row: usize) -> Option<(Name, Value)> {
    let label = match column {
        Column::Number(values) if values[row].is_finite() => {
            let x = values[row] + 0.0;
            if x.fract() == 0.0 && x.abs() < 9e15 { Value::from(x as i64) } else { Value::from(x) }
        }
        Column::Boolean(values) => Value::Bool(values[row]?),
        Column::Category(values) | Column::Text(values) => Value::from(values[row].as_deref()?),
        Column::Labels(values) => serde_json::from_str(values[row].as_deref()?).ok()?,
        _ => return None,
    };
    Some((Name::from_value(&label)?, label))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn words(values: &[&str]) -> Column {
        Column::Category(values.iter().map(|v| (!v.is_empty()).then(|| Box::from(*v))).collect())
    }

    #[test]
    fn numbers_stay_numbers_and_are_sorted_by_size() {
        let column = Column::Number(vec![10.0, -1.5, 2.0, f64::NAN, -20.0, 0.0, -0.0]);
        let target = TargetEncoder::fit("y", &column, Task::Classification, false).unwrap();
        assert_eq!(target, TargetEncoder::Classes(vec![json!(-20), json!(-1.5), json!(0), json!(2), json!(10)]));
        assert_eq!(target.encode(&column).unwrap(), Encoded::Classes(vec![4, 1, 3, NO_CLASS, 0, 2, 2]));
        assert_eq!(target.class_id(&json!(2.0)), Some(3));
    }

    #[test]
    fn labels_keep_type_and_spelling_and_are_distinguished_by_value() {
        let labels = |texts: &[&str]| Column::Labels(texts.iter().map(|t| Some(Box::from(*t))).collect());
        let exact = [1_234_567_890_123_456_789_i64, 1_234_567_890_123_456_788];
        let column = labels(&[&exact[0].to_string(), &exact[1].to_string(), "1.0", "\"none\"", "true", "1"]);
        let mut target = TargetEncoder::fit("y", &column, Task::Classification, false).unwrap();
        let classes = vec![json!(1.0), json!(exact[1]), json!(exact[0]), json!(true), json!("none")];
        assert_eq!(target, TargetEncoder::Classes(classes));
        assert_eq!(target.encode(&column).unwrap(), Encoded::Classes(vec![2, 1, 0, 4, 3, 0]));
        for same in [json!(1), json!("1"), json!("1.0"), json!(1.0)] {
            assert_eq!(target.class_id(&same), Some(0), "{same}");
        }
        assert_eq!(target.class_id(&json!("True")), Some(3));
        assert_eq!(target.class_id(&json!("01")), None);
        assert_eq!(target.extend(&labels(&["\"01\"", "18446744073709551615", "1"])), 2);
        assert_eq!(target.class_id(&json!(u64::MAX)), Some(6));
    }

    #[test]
    fn large_targets_keep_their_precision() {
        let column = Column::Number((0..100).map(|i| 1.7e9 + 0.1 * f64::from(i)).collect());
        let TargetEncoder::Number { mean, std } = TargetEncoder::fit("y", &column, Task::Regression, false).unwrap()
        else {
            panic!()
        };
        assert!((mean - 1.7e9 - 4.95).abs() < 1e-6 && (std - 2.886_607).abs() < 1e-5, "{mean} {std}");
        let huge = Column::Number(vec![1e300, -1e300, 1e299]);
        assert!(TargetEncoder::fit("y", &huge, Task::Regression, false).is_ok());
        let beyond = Column::Number(vec![f64::MAX, f64::MIN]);
        assert_eq!(TargetEncoder::fit("y", &beyond, Task::Regression, false).unwrap_err().code, "target_not_finite");
    }

    #[test]
    fn streams_add_classes_at_the_end() {
        let mut target = TargetEncoder::fit("y", &words(&["b", "a"]), Task::Classification, false).unwrap();
        assert_eq!(target.extend(&words(&["z", "a", "", "c", "z"])), 2);
        assert_eq!(target.encode(&words(&["c", "b"])).unwrap(), Encoded::Classes(vec![3, 1]));
    }

    #[test]
    fn targets_that_teach_nothing_are_refused() {
        let code = |column: &Column, task| TargetEncoder::fit("y", column, task, false).unwrap_err().code;
        assert_eq!(code(&words(&["a", "a"]), Task::Classification), "target_constant");
        assert_eq!(code(&words(&["", ""]), Task::Classification), "target_missing");
        assert_eq!(code(&words(&["a", "b"]), Task::Regression), "target_not_numeric");
        assert_eq!(code(&Column::Number(vec![3.0; 9]), Task::Regression), "target_constant");
        let ids = Column::Number((0..100).map(f64::from).collect());
        assert_eq!(code(&ids, Task::Classification), "too_many_classes");
        let classes = TargetEncoder::fit("y", &ids, Task::Classification, true).unwrap();
        assert_eq!(classes.outputs(), 100, "the request names the task");
    }
}
