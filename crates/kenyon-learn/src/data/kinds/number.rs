//! Numbers: `-1.5e3`, `1,234.5`, `1.234,5`, `$3`, `5 %`, `(12)`. Symbols around the digits do not
//! change the value: `5 %` is 5.

use super::{ColumnKind, Encoding, Evidence, Kind, Layout, Scalar, Spelling, Tensor};
use crate::data::cell::{Cell, leading_zero, parse_boolean, parse_number};
use crate::data::table::Column;
use std::borrow::Cow;

/// See the module documentation.
pub(super) struct Number;

impl Kind for Number {
    fn kind(&self) -> ColumnKind {
        ColumnKind::Number
    }

    fn name(&self) -> &'static str {
        "number"
    }

    fn wanted(&self) -> &'static str {
        "a number"
    }

    fn read<'c>(&self, cell: Cell<'c>, spelling: &Spelling) -> Option<Scalar<'c>> {
        value(cell, spelling).map(Scalar::Number)
    }

    fn recognises(&self, text: &str, evidence: &mut Evidence) -> bool {
        if leading_zero(text) {
            return false;
        }
        match (spelled(text, false).is_some(), spelled(text, true).is_some()) {
            (true, false) => evidence.point += 1,
            (false, true) => {
                evidence.comma += 1;
                evidence.grouped += u64::from(text.contains('.'));
                evidence.points_in_groups += u64::from(text.matches('.').nth(1).is_some());
            }
            (true, true) => evidence.either += 1,
            (false, false) => return false,
        }
        true
    }

    fn column(&self, _layout: Layout<'_>) -> Column {
        Column::Number(Vec::new())
    }

    fn encoding(&self, _strings: bool) -> Encoding {
        Encoding::Number
    }

    fn tensor(&self, _channels: Option<usize>, _width: Option<usize>) -> Tensor {
        Tensor::scalar("FP64")
    }

    fn form(&self) -> &'static str {
        "number"
    }

    fn is_real(&self) -> bool {
        true
    }
}

/// The number in a cell, in the spelling of its column.
#[inline]
pub(in crate::data) fn value(cell: Cell<'_>, spelling: &Spelling) -> Option<f64> {
    match cell {
        Cell::Integer(x) => Some(x as f64),
        Cell::Number(x) | Cell::Moment(x) => x.is_finite().then_some(x),
        Cell::Boolean(b) => spelling.booleans.then_some(f64::from(u8::from(b))),
        Cell::Raw(text) | Cell::Quoted(text) | Cell::Text(text) => parse(text, spelling).or_else(|| {
            let truth = spelling.booleans.then(|| parse_boolean(text)).flatten()?;
            Some(f64::from(u8::from(truth)))
        }),
        _ => None,
    }
}

/// A text as a number: in the spelling of the column, else in the usual one.
fn parse(text: &str, spelling: &Spelling) -> Option<f64> {
    if spelling.decimal_comma {
        let point = || parse_number(text).filter(|x| x.is_finite()).or_else(|| spelled(text, false));
        let comma = || spelled(text, true);
        let only_point = spelling.ungrouped && text.contains('.') && !text.contains(',');
        return if only_point { point().or_else(comma) } else { comma().or_else(point) };
    }
    match parse_number(text) {
        Some(x) => x.is_finite().then_some(x),
        None => spelled(text, false),
    }
}

const SYMBOLS: [&str; 9] = ["$", "€", "£", "¥", "₹", "₽", "₩", "₺", "฿"];
const CODES: [&str; 22] = [
    "US$", "R$", "USD", "EUR", "GBP", "CHF", "JPY", "INR", "CNY", "AUD", "CAD", "NZD", "SEK", "NOK", "DKK", "PLN",
    "CZK", "BRL", "MXN", "kr", "zł", "Fr.",
];

/// A number with the symbols people write around and into it; `comma` for decimal commas.
fn spelled(text: &str, comma: bool) -> Option<f64> {
    let mut body = text.trim();
    if body.len() > 64 || !body.bytes().any(|b| b.is_ascii_digit()) {
        return None;
    }
    let (mut negative, mut signed, mut currency) = (false, false, false);
    if let Some(inner) = body.strip_prefix('(').and_then(|b| b.strip_suffix(')')) {
        (negative, signed, body) = (true, true, inner.trim());
    }
    loop {
        if !signed && let Some(rest) = body.strip_prefix(['-', '\u{2212}']) {
            (negative, signed, body) = (true, true, rest.trim_start());
        } else if !signed && let Some(rest) = body.strip_prefix('+') {
            (signed, body) = (true, rest.trim_start());
        } else if !currency && let Some(rest) = marks().find_map(|mark| body.strip_prefix(mark)) {
            (currency, body) = (true, rest.trim_start());
        } else {
            break;
        }
    }
    if let Some(rest) = body.strip_suffix('%') {
        body = rest.trim_end();
    } else if !currency && let Some(rest) = marks().find_map(|mark| body.strip_suffix(mark)) {
        body = rest.trim_end();
    }
    let value = parse_number(&plain(body, comma)?).filter(|x| x.is_finite())?;
    Some(if negative { -value } else { value })
}

fn marks() -> impl Iterator<Item = &'static str> {
    SYMBOLS.into_iter().chain(CODES)
}

/// Digits without separators and with a decimal point, such as [`parse_number`] takes.
fn plain(body: &str, comma: bool) -> Option<Cow<'_, str>> {
    let starts = body.as_bytes().first()?;
    if !starts.is_ascii_digit() && *starts != if comma { b',' } else { b'.' } {
        return None;
    }
    let (mark, other) = if comma { (',', '.') } else { ('.', ',') };
    let (whole, fraction) = match body.split_once(mark) {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (body, None),
    };
    let separator = whole.chars().find(|c| !c.is_ascii_digit() && !matches!(c, 'e' | 'E'));
    let Some(separator) = separator else {
        return Some(match (comma, fraction) {
            (true, Some(fraction)) => Cow::Owned(format!("{whole}.{fraction}")),
            _ => Cow::Borrowed(body),
        });
    };
    let allowed = [other, ' ', '\'', '\u{2019}', '\u{a0}', '\u{202f}', '\u{2009}', '_'];
    if !allowed.contains(&separator) {
        return None;
    }
    let groups: Vec<&str> = whole.split(separator).collect();
    let (last, rest) = groups.split_last()?;
    let (first, middle) = rest.split_first()?;
    let digits = |group: &str, sizes: std::ops::RangeInclusive<usize>| {
        sizes.contains(&group.len()) && group.bytes().all(|b| b.is_ascii_digit())
    };
    // Groups of three, or the Indian pairs before the last three.
    let fits = digits(first, 1..=3) && digits(last, 3..=3) && middle.iter().all(|group| digits(group, 2..=3));
    let tail = fraction.map_or(String::new(), |fraction| format!(".{fraction}"));
    (fits && !first.starts_with('0')).then(|| Cow::Owned(groups.concat() + &tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_the_usual_spellings() {
        for (text, value) in [
            ("1,234.5", 1234.5),
            ("13,000", 13_000.0),
            ("1,234,567", 1_234_567.0),
            ("12,34,567.8", 1_234_567.8),
            ("1 234", 1234.0),
            ("1\u{a0}234.5", 1234.5),
            ("1'234.50", 1234.5),
            ("$3", 3.0),
            ("-$3.50", -3.5),
            ("$-3.50", -3.5),
            ("3.50 €", 3.5),
            ("USD 1,000", 1000.0),
            ("5%", 5.0),
            ("5.25 %", 5.25),
            ("(12.5)", -12.5),
            ("($1,200)", -1200.0),
            ("\u{2212}4", -4.0),
            ("+7", 7.0),
            ("1e3", 1000.0),
            (".5", 0.5),
        ] {
            assert_eq!(spelled(text, false), Some(value), "{text}");
        }
        for (text, value) in [
            ("3,7", 3.7),
            ("1.234,5", 1234.5),
            ("1.234.567", 1_234_567.0),
            ("-0,5", -0.5),
            ("12,5 %", 12.5),
            (",5", 0.5),
        ] {
            assert_eq!(spelled(text, true), Some(value), "{text}");
        }
        for text in
            ["", "-", "1,23", "1,2,3", "12-5", "1.2.3", "a1", "1 kg", "10:30", "1/2", "0x1f", "555-1234", "1,,234"]
        {
            assert_eq!(spelled(text, false), None, "{text}");
        }
        for text in ["1,2,3", "1.23,4", "1,2.3"] {
            assert_eq!(spelled(text, true), None, "{text}");
        }
    }

    #[test]
    fn no_group_of_thousands_begins_with_a_zero() {
        assert_eq!((spelled("0,323", false), spelled("0,323", true)), (None, Some(0.323)));
        assert_eq!((spelled("0.323", false), spelled("0.323", true)), (Some(0.323), None));
    }

    #[test]
    fn a_column_with_decimal_commas_reads_points_as_separators() {
        let comma = Spelling { decimal_comma: true, ..Spelling::default() };
        assert_eq!(parse("1.234", &comma), Some(1234.0));
        let ungrouped = Spelling { ungrouped: true, ..comma.clone() };
        assert_eq!((parse("9.876", &ungrouped), parse("9,876", &ungrouped)), (Some(9.876), Some(9.876)));
        assert_eq!(parse("1.5", &comma), Some(1.5));
        assert_eq!(parse("11,5", &comma), Some(11.5));
        assert_eq!(parse("1,234", &Spelling::default()), Some(1234.0));
        assert_eq!(parse("11,5", &Spelling::default()), None);
        assert_eq!(parse("1e999", &Spelling::default()), None);
    }
}
