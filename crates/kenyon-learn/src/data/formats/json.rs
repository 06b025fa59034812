//! JSON objects into cells, directly from bytes: no tree of values is built.

mod cells;

pub(crate) use cells::{CellSeed, KeySeed};

use super::decode::{Source, uncarry};
use super::{Limits, RowSink, names, too_many_columns};
use crate::data::cell::{Cell, List};
use crate::data::warning::{Warning, WarningCode};
use crate::{Detail, Error, Result};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use std::collections::HashMap;
use std::fmt;
use std::io::{BufRead, BufReader, Read};

/// A single row larger than this is refused.
const LONGEST_ROW: usize = 64 << 20;

/// Sends the object of each line to `sink`.
pub(super) fn read_lines(source: Source, limits: &Limits, sink: &mut impl RowSink) -> Result<u64> {
    let mut reader = BufReader::with_capacity(256 << 10, source);
    let mut rows = Rows::new(limits, sink);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut reader).take(LONGEST_ROW as u64 + 1).read_until(b'\n', &mut line).map_err(uncarry)?;
        if read == 0 {
            return rows.finish();
        }
        if line.len() > LONGEST_ROW {
            return Err(row_too_large(rows.count + 1));
        }
        let object = line.trim_ascii();
        if !object.is_empty() && !rows.push(object)? {
            return Ok(rows.count);
        }
    }
}

/// Sends the objects of an array to `sink`; concatenated objects without an array are accepted, too.
pub(super) fn read_array(source: Source, limits: &Limits, sink: &mut impl RowSink) -> Result<u64> {
    let mut reader = BufReader::with_capacity(256 << 10, source);
    let mut rows = Rows::new(limits, sink);
    let mut splitter = Splitter::default();
    let mut object = Vec::new();
    loop {
        let buffer = reader.fill_buf().map_err(uncarry)?;
        if buffer.is_empty() {
            return match splitter.finish(rows.count) {
                Some(error) => Err(error),
                None => rows.finish(),
            };
        }
        let mut at = 0;
        while at < buffer.len() {
            let (taken, complete) = splitter.next(&buffer[at..], &mut object, rows.count)?;
            at += taken;
            if complete {
                if !rows.push(&object)? {
                    return Ok(rows.count);
                }
                object.clear();
            } else if object.len() > LONGEST_ROW {
                return Err(row_too_large(rows.count + 1));
            }
        }
        let consumed = buffer.len();
        reader.consume(consumed);
    }
}

fn row_too_large(row: u64) -> Error {
    Error::new(crate::Kind::TooLarge, "row_too_large", "a single row is larger than 64 MiB")
        .with_details([Detail::row(row, "larger than 64 MiB")])
}

/// Finds where the objects of an array begin and end, without parsing them.
#[derive(Default)]
struct Splitter {
    depth: u32,
    in_string: bool,
    escaped: bool,
    array: Option<bool>,
    closed: bool,
    comma: bool,
}

impl Splitter {
    /// Goes through `bytes` to the end of the current object. Returns how many were consumed, and
    /// whether the object in `object` is complete.
    fn next(&mut self, bytes: &[u8], object: &mut Vec<u8>, rows: u64) -> Result<(usize, bool)> {
        let mut start = 0;
        for (i, &byte) in bytes.iter().enumerate() {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            if self.depth > 0 {
                match byte {
                    b'"' => self.in_string = true,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' => {
                        self.depth -= 1;
                        if self.depth == 0 {
                            object.extend_from_slice(&bytes[start..=i]);
                            self.comma = false;
                            return Ok((i + 1, true));
                        }
                    }
                    _ => {}
                }
                continue;
            }
            match (byte, self.array) {
                (b' ' | b'\n' | b'\r' | b'\t', _) => {}
                (b'[', None) => self.array = Some(true),
                (b'{', None | Some(false)) => (self.array, self.depth, start) = (Some(false), 1, i),
                (b'{', Some(true)) if !self.closed && (rows == 0 || self.comma) => (self.depth, start) = (1, i),
                (b',', Some(true)) if !self.closed && !self.comma && rows > 0 => self.comma = true,
                (b']', Some(true)) if !self.closed && !self.comma => self.closed = true,
                (_, _) => {
                    let reason = format!("expected an object, found '{}'", byte as char);
                    return Err(Error::malformed("invalid_json", "the data is not a JSON array of objects")
                        .with_details([Detail::row(rows + 1, reason)]));
                }
            }
        }
        if self.depth > 0 {
            object.extend_from_slice(&bytes[start..]);
        }
        Ok((bytes.len(), false))
    }

    fn finish(&self, rows: u64) -> Option<Error> {
        let whole = self.depth == 0 && (self.array != Some(true) || self.closed);
        (!whole).then(|| {
            Error::malformed("invalid_json", "the JSON is incomplete")
                .with_details([Detail::row(rows + 1, "the data ends here")])
        })
    }
}

/// Numbers columns as keys appear and passes rows on.
struct Rows<'s, S> {
    sink: &'s mut S,
    limits: Limits,
    names: Vec<Box<str>>,
    index: HashMap<Box<str>, usize>,
    /// The last row in which each column appeared, to detect a repeated key.
    seen: Vec<u64>,
    list: List,
    count: u64,
}

impl<'s, S: RowSink> Rows<'s, S> {
    fn new(limits: &Limits, sink: &'s mut S) -> Self {
        let (names, index, seen) = (Vec::new(), HashMap::new(), Vec::new());
        Self { sink, limits: *limits, names, index, seen, list: List::default(), count: 0 }
    }

    fn push(&mut self, object: &[u8]) -> Result<bool> {
        self.count += 1;
        let mut failure = None;
        let mut deserializer = serde_json::Deserializer::from_slice(object);
        let read = RowSeed { rows: self, failure: &mut failure }
            .deserialize(&mut deserializer)
            .and_then(|()| deserializer.end());
        if let Some(failure) = failure {
            return Err(failure);
        }
        if let Err(error) = read {
            return Err(syntax_error(object, &error, self.count));
        }
        self.sink.end_row()
    }

    fn finish(self) -> Result<u64> {
        if self.count == 0 {
            return Err(Error::unprocessable("no_rows", "the data holds no rows"));
        }
        Ok(self.count)
    }

    /// A field without a name gets one.
    fn unnamed(&mut self, key: &str) -> Result<usize> {
        let mut own = names::INDEX.to_owned();
        while self.index.contains_key(own.as_str()) {
            own.push('_');
        }
        self.sink.column(&own, None)?;
        self.names.push(key.into());
        self.index.insert(key.into(), self.names.len() - 1);
        self.seen.push(0);
        self.sink.unnamed(self.names.len() - 1);
        let detail = format!("a field has no name in the data and is read as '{own}'");
        self.sink.warn(Warning::new(WarningCode::UnnamedColumn, Some(&own), detail));
        Ok(self.names.len() - 1)
    }

    fn column(&mut self, key: &str, expected: usize) -> Result<usize> {
        if self.names.get(expected).is_some_and(|name| **name == *key) {
            return Ok(expected);
        }
        if let Some(&column) = self.index.get(key) {
            return Ok(column);
        }
        if self.names.len() >= self.limits.columns {
            return Err(too_many_columns(&self.limits));
        }
        if key.trim().is_empty() {
            return self.unnamed(key);
        }
        self.sink.column(key, None)?;
        self.names.push(key.into());
        self.index.insert(key.into(), self.names.len() - 1);
        self.seen.push(0);
        Ok(self.names.len() - 1)
    }
}

/// The error of a row that is not JSON. `NaN` and `Infinity`, which many writers produce, get their own code.
fn syntax_error(object: &[u8], error: &serde_json::Error, row: u64) -> Error {
    if std::str::from_utf8(object).is_err() {
        return Error::malformed("not_utf8", "the data is not UTF-8").with_details([Detail::row(row, "not UTF-8")]);
    }
    let at = error.column().saturating_sub(1);
    let line = object.split(|b| *b == b'\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let before = &line[..at.min(line.len())];
    let start = before.iter().rposition(|b| matches!(b, b':' | b',' | b'[' | b' ')).map_or(0, |i| i + 1);
    let word = line[start..].trim_ascii_start();
    let word = word.strip_prefix(b"-").unwrap_or(word);
    if word.starts_with(b"NaN") || word.starts_with(b"Inf") || word.starts_with(b"nan") || word.starts_with(b"inf") {
        let head = &line[..start];
        let column = last_key(head);
        let reason = "NaN and Infinity are no JSON numbers; leave the field out or use null for a missing value";
        let detail = Detail { row: Some(row), column, reason: reason.into(), path: None };
        return Error::unprocessable("not_finite", "a number is not finite").with_details([detail]);
    }
    let code = if error.is_data() { "not_an_object" } else { "invalid_json" };
    let reason = match error.is_data() {
        true => "a row must be a JSON object".to_owned(),
        false => format!("{error}"),
    };
    let error = Error::malformed(code, format!("row {row} cannot be read as a JSON object"));
    error.with_details([Detail::row(row, reason)])
}

/// The last `"key":` in some JSON text, for error messages.
fn last_key(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    let (before, _) = text.rsplit_once("\":").or_else(|| text.rsplit_once("\" :"))?;
    before.rsplit_once('"').map(|(_, key)| key.to_owned())
}

struct RowSeed<'r, 's, S> {
    rows: &'r mut Rows<'s, S>,
    failure: &'r mut Option<Error>,
}

impl<'de, S: RowSink> DeserializeSeed<'de> for RowSeed<'_, '_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, S: RowSink> Visitor<'de> for RowSeed<'_, '_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row as a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let rows = self.rows;
        let mut expected = 0;
        while let Some(found) = map.next_key_seed(KeySeed(|key: &str| rows.column(key, expected)))? {
            let column = match found {
                Ok(column) if rows.seen[column] == rows.count => {
                    let detail = Detail::cell(rows.count, &*rows.names[column], "the field occurs twice in this row");
                    Err(Error::malformed("duplicate_field", "a row has a field twice").with_details([detail]))
                }
                other => other,
            };
            let column = match column {
                Ok(column) => column,
                Err(error) => {
                    *self.failure = Some(error);
                    return Err(serde::de::Error::custom("stopped"));
                }
            };
            rows.seen[column] = rows.count;
            expected = column + 1;
            let Rows { sink, list, .. } = &mut *rows;
            map.next_value_seed(CellSeed { list, take: |cell: Cell<'_>| sink.cell(column, cell) })?;
        }
        Ok(())
    }
}
