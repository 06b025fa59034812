//! Categories: one of a set of names. A name that reads as a number or a boolean is that value, however
//! it is written: `1`, `1.0` and `"1"` are one member, `01` is another.

use super::{ColumnKind, Encoding, Kind, Layout, Scalar, Spelling, Tensor};
use crate::data::cell::{Cell, number_text, parse_boolean, parse_number};
use crate::data::table::Column;
use std::borrow::Cow;

/// See the module documentation.
pub(super) struct Category;

impl Kind for Category {
    fn kind(&self) -> ColumnKind {
        ColumnKind::Category
    }

    fn name(&self) -> &'static str {
        "category"
    }

    fn wanted(&self) -> &'static str {
        "a name or text"
    }

    fn read<'c>(&self, cell: Cell<'c>, _spelling: &Spelling) -> Option<Scalar<'c>> {
        Some(Scalar::Name(match cell {
            Cell::Raw(text) | Cell::Quoted(text) | Cell::Text(text) => canonical(text),
            other => scalar_name(other)?,
        }))
    }

    fn column(&self, _layout: Layout<'_>) -> Column {
        Column::Category(Vec::new())
    }

    fn encoding(&self, _strings: bool) -> Encoding {
        Encoding::Names
    }

    fn tensor(&self, _channels: Option<usize>, _width: Option<usize>) -> Tensor {
        Tensor::scalar("BYTES")
    }

    fn form(&self) -> &'static str {
        "text"
    }

    fn keeps_words(&self) -> bool {
        true
    }
}

/// A typed value as a name.
pub(super) fn scalar_name(cell: Cell<'_>) -> Option<Cow<'_, str>> {
    Some(match cell {
        Cell::Integer(x) => x.to_string().into(),
        Cell::Number(x) | Cell::Moment(x) if x.is_finite() => number_text(x).into(),
        Cell::Boolean(b) => if b { "true" } else { "false" }.into(),
        _ => return None,
    })
}

/// The canonical form of a name: trimmed; numbers and booleans in one spelling.
pub(in crate::data) fn canonical(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    let bytes = text.as_bytes();
    if let Some(truth) = parse_boolean(text) {
        return if truth { "true" } else { "false" }.into();
    }
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let Some(first) = digits.first().filter(|b| b.is_ascii_digit() || **b == b'.') else { return text.into() };
    let whole = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    if *first == b'0' && whole > 1 {
        return text.into();
    }
    if whole == digits.len() {
        return if text == "-0" { "0".into() } else { text.into() };
    }
    match parse_number(text) {
        Some(x) if x.is_finite() => number_text(x).into(),
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_form() {
        for (text, name) in [
            ("1", "1"),
            ("1.0", "1"),
            ("1.50", "1.5"),
            (".5", "0.5"),
            ("-0", "0"),
            ("-0.0", "0"),
            ("1e3", "1000"),
            ("01", "01"),
            ("007.5", "007.5"),
            (" x ", "x"),
            ("True", "true"),
            ("1.2.3", "1.2.3"),
            ("1e999", "1e999"),
            ("12345678901234567890123", "12345678901234567890123"),
            ("-", "-"),
            ("5 apples", "5 apples"),
        ] {
            assert_eq!(canonical(text), name, "{text}");
        }
    }
}
