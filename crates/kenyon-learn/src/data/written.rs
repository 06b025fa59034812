//! Cells as JSON, as they are written: for `/rows`, examples and warnings.

use super::cell::{Cell, List, parse_boolean};
use super::kinds::{ColumnKind, Spelling, number};
use base64::Engine;
use serde_json::Value;

/// A cell of a column as JSON. Numbers and booleans have their types; what does not fit the column's kind
/// is shown unchanged, and a word for "no value" as null where the column is not one of names.
pub(super) fn value_of(value: Cell<'_>, kind: ColumnKind, spelling: &Spelling) -> Value {
    match value {
        Cell::Missing | Cell::Nested => Value::Null,
        Cell::Boolean(b) => Value::Bool(b),
        Cell::Integer(x) => integer_value(x),
        Cell::Number(x) => Value::from(x),
        Cell::Moment(x) => moment_text(x).map_or_else(|| number_value(x), Value::String),
        Cell::Text(text) => Value::from(text),
        Cell::Bytes(bytes) => Value::from(base64::engine::general_purpose::STANDARD.encode(bytes)),
        Cell::List(list) => list_value(list),
        Cell::Raw(text) | Cell::Quoted(text) => match kind {
            _ if kind.spec().keeps_words() => Value::from(text),
            _ if matches!(value, Cell::Raw(_)) && spelling.is_missing(text) => Value::Null,
            // `603.151` among thousands with points is not the number that JSON has.
            ColumnKind::Number if spelling.decimal_comma => {
                number::value(value, spelling).map_or_else(|| Value::from(text), number_value)
            }
            ColumnKind::Number => number_as_written(text).unwrap_or_else(|| Value::from(text)),
            ColumnKind::Boolean => parse_boolean(text).map_or_else(|| Value::from(text), Value::Bool),
            ColumnKind::Vector | ColumnKind::Sequence => {
                serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
            }
            _ => Value::from(text),
        },
    }
}

/// A text that is a number in JSON as that number, exact to 64 bits.
pub(super) fn number_as_written(text: &str) -> Option<Value> {
    let first = text.bytes().next()?;
    if !first.is_ascii_digit() && first != b'-' {
        return None;
    }
    let number = serde_json::from_str::<serde_json::Number>(text).ok()?;
    // A longer whole number keeps its digits as a text.
    let is_whole = text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    (!is_whole || number.is_i64() || number.is_u64()).then_some(Value::Number(number))
}

/// A whole number as JSON, exact to 64 bits.
pub(super) fn integer_value(x: i128) -> Value {
    match (i64::try_from(x), u64::try_from(x)) {
        (Ok(x), _) => x.into(),
        (_, Ok(x)) => x.into(),
        _ => Value::from(x as f64),
    }
}

/// A number as JSON: integers without a fraction, what is not finite as null.
pub(super) fn number_value(x: f64) -> Value {
    if x.fract() == 0.0 && x.abs() < 9e15 { Value::from(x as i64) } else { Value::from(x) }
}

fn moment_text(seconds: f64) -> Option<String> {
    jiff::Timestamp::from_microsecond((seconds * 1e6).round() as i64).ok().map(|t| t.to_string())
}

fn list_value(list: &List) -> Value {
    if !list.ends.is_empty() {
        return list.strings().map(Value::from).collect();
    }
    if list.inner.is_empty() {
        return list.numbers.iter().map(|x| number_value(*x)).collect();
    }
    let mut numbers = list.numbers.iter();
    list.inner.iter().map(|n| numbers.by_ref().take(*n).map(|x| number_value(*x)).collect::<Value>()).collect()
}
