//! Records of delimited text: where fields and records end, which fields were quoted, and what is
//! malformed. Works on a slice; [`Records`] reads the bytes.

use crate::data::formats::decode::{Source, uncarry};
use crate::{Detail, Error, Result};
use std::io::Read;

/// A record longer than this is refused: a quote was opened and never closed, or it is no text.
const LONGEST_RECORD: usize = 32 << 20;
/// Bytes requested from the source in one read.
const CHUNK: usize = 256 << 10;

/// The characters that structure the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Syntax {
    pub(super) delimiter: u8,
    pub(super) quote: Option<u8>,
    pub(super) escape: Option<u8>,
    pub(super) comment: Option<u8>,
    /// Whether a carriage return alone ends a record.
    pub(super) carriage_return: bool,
}

/// One field: a range of the text it was parsed from or, where quotes had to be resolved, of `Fields::resolved`.
#[derive(Clone, Copy, Debug)]
struct Field {
    start: usize,
    end: usize,
    quoted: bool,
    resolved: bool,
}

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The quote that opens in this field is never closed.
    Unclosed(usize),
    /// Text follows the closing quote of this field.
    AfterQuote(usize),
}

/// The fields of one record; reused from record to record.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    fields: Vec<Field>,
    resolved: Vec<u8>,
    pub(super) fault: Option<Fault>,
}

impl Fields {
    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    /// The bytes of a field, without its quotes, and whether it had some. `text` is what was parsed.
    pub(super) fn get<'a>(&'a self, text: &'a [u8], i: usize) -> (&'a [u8], bool) {
        let field = self.fields[i];
        let from = if field.resolved { &self.resolved } else { text };
        (&from[field.start..field.end], field.quoted)
    }

    /// Whether the record is a blank line.
    pub(super) fn blank(&self, text: &[u8]) -> bool {
        self.fields.len() == 1 && !self.fields[0].quoted && self.get(text, 0).0.trim_ascii().is_empty()
    }
}

/// Finds the fields of the record at the start of `text`; returns how many bytes it takes up with its
/// line end, or nothing when it may continue beyond `text`. `ended` is true when nothing follows `text`.
pub(super) fn parse(text: &[u8], ended: bool, syntax: &Syntax, into: &mut Fields) -> Option<usize> {
    into.fields.clear();
    into.resolved.clear();
    into.fault = None;
    let spaces = syntax.delimiter == b' ';
    let mut at = 0;
    loop {
        if spaces {
            at += text[at..].iter().take_while(|b| **b == b' ').count();
        }
        let start = at;
        // A quote opens a field; spaces before it are ignored.
        let opening = match text.get(at) {
            Some(b' ') if syntax.quote.is_some() => at + text[at..].iter().take_while(|b| **b == b' ').count(),
            _ => at,
        };
        if syntax.quote.is_some() && text.get(opening).copied() == syntax.quote {
            at = quoted(text, opening + 1, ended, syntax, into)?;
        } else {
            while let Some(&byte) = text.get(at)
                && byte != syntax.delimiter
                && byte != b'\n'
                && !(byte == b'\r' && syntax.carriage_return)
            {
                at += 1;
            }
            let mut end = at;
            if text.get(at).is_none_or(|b| *b == b'\n') {
                while end > start && text[end - 1] == b'\r' {
                    end -= 1;
                }
            }
            into.fields.push(Field { start, end, quoted: false, resolved: false });
        }
        match text.get(at) {
            None if !ended => return None,
            None => break,
            Some(b'\r') if syntax.carriage_return => {
                match text.get(at + 1) {
                    None if !ended => return None,
                    Some(b'\n') => at += 1,
                    _ => {}
                }
                at += 1;
                break;
            }
            Some(b'\n') => {
                at += 1;
                break;
            }
            Some(_) => at += 1,
        }
    }
    if spaces && into.fields.len() > 1 && into.fields.last().is_some_and(|f| f.start == f.end && !f.quoted) {
        into.fields.pop();
    }
    Some(at)
}

/// Goes through a quoted field from behind its opening quote to the delimiter or line end behind it.
fn quoted(text: &[u8], from: usize, ended: bool, syntax: &Syntax, into: &mut Fields) -> Option<usize> {
    let (quote, number) = (syntax.quote.unwrap_or(b'"'), into.fields.len());
    let (mut start, mut at) = (from, from);
    let mut resolved = None;
    loop {
        match text.get(at) {
            None if !ended => return None,
            None => {
                into.fault.get_or_insert(Fault::Unclosed(number));
                break;
            }
            Some(byte)
                if Some(*byte) == syntax.escape && text.get(at + 1).is_some_and(|b| b.is_ascii_punctuation()) =>
            {
                resolved.get_or_insert(into.resolved.len());
                into.resolved.extend_from_slice(&text[start..at]);
                (start, at) = (at + 1, at + 2);
            }
            Some(byte) if *byte == quote => match text.get(at + 1) {
                None if !ended => return None,
                Some(next) if *next == quote => {
                    resolved.get_or_insert(into.resolved.len());
                    into.resolved.extend_from_slice(&text[start..=at]);
                    (start, at) = (at + 2, at + 2);
                }
                _ => break,
            },
            Some(_) => {
                // Most fields contain neither: search for the next byte that matters.
                let rest = &text[at + 1..];
                let next = match syntax.escape {
                    None => memchr::memchr(quote, rest),
                    Some(escape) => memchr::memchr2(quote, escape, rest),
                };
                at += 1 + next.unwrap_or(rest.len());
            }
        }
    }
    let field = match resolved {
        None => Field { start, end: at, quoted: true, resolved: false },
        Some(from) => {
            into.resolved.extend_from_slice(&text[start..at]);
            Field { start: from, end: into.resolved.len(), quoted: true, resolved: true }
        }
    };
    into.fields.push(field);
    at = (at + 1).min(text.len());
    let ends = |b: u8| b == syntax.delimiter || b == b'\n' || (b == b'\r' && syntax.carriage_return);
    while let Some(&byte) = text.get(at)
        && !ends(byte)
    {
        if !matches!(byte, b' ' | b'\r') {
            into.fault.get_or_insert(Fault::AfterQuote(number));
        }
        at += 1;
    }
    Some(at)
}

/// The records of a source, one after the other.
pub(super) struct Records {
    source: Source,
    syntax: Syntax,
    buffer: Vec<u8>,
    /// Where in `buffer` the current record begins, and the next.
    start: usize,
    next: usize,
    ended: bool,
    fields: Fields,
}

impl Records {
    pub(super) fn new(source: Source, syntax: Syntax) -> Self {
        Self { source, syntax, buffer: Vec::new(), start: 0, next: 0, ended: false, fields: Fields::default() }
    }

    /// Goes to the next record; false at the end. `row` is for messages. Comments are skipped.
    pub(super) fn advance(&mut self, row: u64) -> Result<bool> {
        loop {
            self.start = self.next;
            if self.start == self.buffer.len() && self.ended {
                return Ok(false);
            }
            match parse(&self.buffer[self.start..], self.ended, &self.syntax, &mut self.fields) {
                Some(0) => return Ok(false),
                Some(taken) => {
                    self.next = self.start + taken;
                    if self.syntax.comment.is_none_or(|c| self.text().trim_ascii_start().first() != Some(&c)) {
                        return Ok(true);
                    }
                }
                None => self.fill(row)?,
            }
        }
    }

    fn fill(&mut self, row: u64) -> Result<()> {
        self.buffer.drain(..self.start);
        (self.start, self.next) = (0, 0);
        let have = self.buffer.len();
        if have > LONGEST_RECORD {
            let (code, reason) = match self.syntax.quote {
                Some(_) => ("unclosed_quote", "a quote is opened and not closed within 32 MiB"),
                None => ("record_too_large", "a record is longer than 32 MiB"),
            };
            return Err(Error::malformed(code, reason).with_details([Detail::row(row, reason)]));
        }
        // Twice as much each time, so that a long record is not parsed again and again.
        (&mut self.source).take(have.max(CHUNK) as u64).read_to_end(&mut self.buffer).map_err(uncarry)?;
        self.ended = self.buffer.len() == have;
        // The end-of-file mark of DOS.
        if self.ended && self.buffer.last() == Some(&0x1a) {
            self.buffer.pop();
        }
        Ok(())
    }

    /// The bytes of the current record.
    fn text(&self) -> &[u8] {
        &self.buffer[self.start..self.next]
    }

    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    pub(super) fn blank(&self) -> bool {
        self.fields.blank(self.text())
    }

    /// Whether the last field is empty.
    pub(super) fn last_empty(&self) -> bool {
        self.len().checked_sub(1).is_some_and(|i| self.fields.get(self.text(), i).0.trim_ascii().is_empty())
    }

    /// Why the current record is malformed.
    pub(super) fn check(&self, row: u64) -> Result<()> {
        let (code, sentence, reason) = match self.fields.fault {
            None => return Ok(()),
            Some(Fault::Unclosed(field)) => (
                "unclosed_quote",
                "a quote is opened and never closed",
                format!("the quote that opens in field {} of this row is never closed", field + 1),
            ),
            Some(Fault::AfterQuote(field)) => (
                "broken_quote",
                "text follows a closing quote",
                format!(
                    "text follows the closing quote of field {}; double a quote that is part of the text",
                    field + 1
                ),
            ),
        };
        Err(Error::malformed(code, sentence).with_details([Detail::row(row, reason)]))
    }

    /// The fields of the current record, trimmed, and whether they were quoted.
    pub(super) fn fields(&self, row: u64) -> Result<impl Iterator<Item = (&str, bool)>> {
        // One check for the whole record: delimiters and quotes are ASCII and cut no character.
        let text = self.text();
        let whole = std::str::from_utf8(text).map_err(|error| {
            let field = self.fields.fields.iter().position(|f| !f.resolved && error.valid_up_to() < f.end);
            let reason = format!("field {} is not UTF-8", field.unwrap_or_default() + 1);
            Error::malformed("not_utf8", "the file is not UTF-8").with_details([Detail::row(row, reason)])
        })?;
        Ok(self.fields.fields.iter().map(move |field| {
            let text = match field.resolved {
                true => std::str::from_utf8(&self.fields.resolved[field.start..field.end]).ok(),
                false => whole.get(field.start..field.end),
            };
            (trim(text.unwrap_or_default()), field.quoted)
        }))
    }
}

fn trim(field: &str) -> &str {
    match (field.as_bytes().first(), field.as_bytes().last()) {
        // Bytes beyond ASCII may be another kind of space.
        (Some(a), Some(b)) if *a <= b' ' || *b <= b' ' || *a >= 0xc2 || *b >= 0x80 => field.trim(),
        _ => field,
    }
}
