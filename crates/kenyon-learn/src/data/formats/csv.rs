//! CSV and TSV by way of the `csv` crate, with what it is silent about: ragged rows, a quote that is
//! never closed, and bytes that are not UTF-8.

use super::decode::{Source, carry, uncarry};
use super::{Limits, RowSink, check_names};
use crate::data::cell::Cell;
use crate::{Detail, Error, Result};
use std::cell::RefCell;
use std::io::{self, Read};
use std::rc::Rc;

/// A quoted field longer than this is taken for one whose quote was never closed.
const LONGEST_FIELD: u64 = 32 << 20;

/// Sends all rows to `sink`. Without a delimiter the header line decides: comma, semicolon, tab or bar.
pub(super) fn read(source: Source, delimiter: Option<u8>, limits: &Limits, sink: &mut impl RowSink) -> Result<u64> {
    let delimiter = delimiter.unwrap_or_else(|| guess_delimiter(&source.head));
    let quotes = Rc::new(RefCell::new(Quotes { delimiter, at_field_start: true, ..Quotes::default() }));
    let watched = Watched { inner: source, quotes: Rc::clone(&quotes) };
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .buffer_capacity(256 << 10)
        .from_reader(watched);

    let mut record = csv::ByteRecord::new();
    let unclosed = |row: u64| {
        Error::malformed("unclosed_quote", "a quote is opened and never closed")
            .with_details([Detail::row(row, "the quote that opens in this row is never closed")])
    };
    if !reader.read_byte_record(&mut record).map_err(broken)? {
        return Err(Error::unprocessable("empty_file", "the file is empty"));
    }
    if quotes.borrow().open && quotes.borrow().ended {
        return Err(unclosed(0));
    }
    let header: Vec<String> = text(&record, 0)?.1.map(|name| name.trim().to_owned()).collect();
    check_names(header.iter().map(String::as_str), limits)?;
    for name in &header {
        sink.column(name, None)?;
    }

    let mut rows = 0;
    let mut ragged = Vec::new();
    while reader.read_byte_record(&mut record).map_err(broken)? {
        rows += 1;
        if record.len() != header.len() {
            // A file of one column may have empty lines for missing values; the reader drops those.
            let reason = format!("{} fields where the header has {}", record.len(), header.len());
            ragged.push(Detail::row(rows, reason));
            if ragged.len() >= crate::error::MAX_DETAILS {
                break;
            }
            continue;
        }
        for (column, field) in text(&record, rows)?.1.enumerate() {
            let field = trim(field);
            if !field.is_empty() {
                sink.cell(column, Cell::Raw(field));
            }
        }
        if ragged.is_empty() && !sink.end_row()? {
            return Ok(rows);
        }
    }
    if quotes.borrow().open && quotes.borrow().ended {
        return Err(unclosed(rows));
    }
    if !ragged.is_empty() {
        return Err(
            Error::unprocessable("ragged_rows", "not all rows have as many fields as the header").with_details(ragged)
        );
    }
    if rows == 0 {
        return Err(Error::unprocessable("no_rows", "the file has a header but no rows"));
    }
    Ok(rows)
}

/// The record's fields as text, checked once for all of them. The first is the whole record.
fn text(record: &csv::ByteRecord, row: u64) -> Result<(&str, impl Iterator<Item = &str>)> {
    match std::str::from_utf8(record.as_slice()) {
        Ok(whole) => {
            let mut start = 0;
            Ok((
                whole,
                record.iter().map(move |field| {
                    let end = start + field.len();
                    // A field that starts inside a character cannot be: delimiters are ASCII.
                    let text = whole.get(start..end).unwrap_or_default();
                    start = end;
                    text
                }),
            ))
        }
        Err(error) => {
            let mut end = 0;
            let column = record.iter().position(|field| {
                end += field.len();
                error.valid_up_to() < end
            });
            let detail = Detail::row(row, format!("field {} is not UTF-8", column.unwrap_or_default() + 1));
            Err(Error::malformed("not_utf8", "the file is not UTF-8").with_details([detail]))
        }
    }
}

fn trim(field: &str) -> &str {
    match (field.as_bytes().first(), field.as_bytes().last()) {
        (Some(a), Some(b)) if *a <= b' ' || *b <= b' ' => field.trim(),
        _ => field,
    }
}

fn broken(error: csv::Error) -> Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => uncarry(error),
        other => Error::malformed("invalid_csv", format!("the file cannot be read as CSV: {other:?}")),
    }
}

fn guess_delimiter(head: &[u8]) -> u8 {
    let line = head.split(|b| *b == b'\n').next().unwrap_or_default();
    let count = |d: u8| line.iter().filter(|b| **b == d).count();
    // The comma wins ties, so that a single column stays CSV.
    *[b'|', b'\t', b';', b','].iter().max_by_key(|d| count(**d)).unwrap_or(&b',')
}

/// Follows the quoting of the bytes that pass by the rules of the `csv` crate: a quote opens at the
/// start of a field only, and two quotes inside stand for one.
#[derive(Default)]
struct Quotes {
    delimiter: u8,
    open: bool,
    at_field_start: bool,
    /// The last byte was a quote inside quotes: it closes unless another follows.
    pending: bool,
    open_bytes: u64,
    ended: bool,
}

impl Quotes {
    fn pass(&mut self, bytes: &[u8]) {
        // Most files have no quotes at all: one fast search then, and no look at single bytes.
        if !self.open && !self.pending && !bytes.contains(&b'"') {
            if let Some(&last) = bytes.last() {
                self.at_field_start = self.ends_field(last);
            }
            return;
        }
        for &byte in bytes {
            if self.open {
                self.open_bytes += 1;
                if self.pending {
                    self.pending = false;
                    if byte != b'"' {
                        self.open = false;
                        self.at_field_start = self.ends_field(byte);
                    }
                } else if byte == b'"' {
                    self.pending = true;
                }
            } else if byte == b'"' && self.at_field_start {
                (self.open, self.open_bytes, self.at_field_start) = (true, 0, false);
            } else {
                self.at_field_start = self.ends_field(byte);
            }
        }
    }

    fn ends_field(&self, byte: u8) -> bool {
        byte == self.delimiter || byte == b'\n' || byte == b'\r'
    }
}

/// Lets bytes through and keeps an eye on their quotes.
struct Watched {
    inner: Source,
    quotes: Rc<RefCell<Quotes>>,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        let mut quotes = self.quotes.borrow_mut();
        if n == 0 {
            quotes.ended = true;
            // A quote at the very end closes.
            quotes.open &= !quotes.pending;
        }
        quotes.pass(&buffer[..n]);
        if quotes.open && quotes.open_bytes > LONGEST_FIELD {
            return Err(carry(Error::malformed("unclosed_quote", "a quote is opened and not closed within 32 MiB")));
        }
        Ok(n)
    }
}
