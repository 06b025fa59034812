//! The text format of the bAbI tasks: numbered lines, a story starting over at 1; a question's line
//! contains its answer and the numbers of the facts that support it, between tabs.
//!
//! A question becomes a row: `context` (the facts so far), `question`, `answer`. The supporting facts
//! are left out: as a column they would reveal the answer.

use super::RowSink;
use super::decode::{Source, uncarry};
use crate::data::cell::{Cell, List};
use crate::data::schema::ColumnKind;
use crate::{Detail, Error, Result};
use std::io::{BufRead, BufReader};

/// Whether the first lines are in the form of bAbI: numbered from 1, and one of them a question with tabs.
pub(super) fn recognises(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text).or_else(|e| std::str::from_utf8(&text[..e.valid_up_to()])) else {
        return false;
    };
    let mut lines = text.lines();
    lines.next().is_some_and(|l| l.starts_with("1 ")) && lines.take(400).any(|l| l.contains('\t') && l.contains('?'))
}

/// Sends every question of the file to `sink`.
pub(super) fn read(source: Source, sink: &mut impl RowSink) -> Result<u64> {
    sink.column("context", Some(ColumnKind::Sequence))?;
    sink.column("question", Some(ColumnKind::Text))?;
    sink.column("answer", Some(ColumnKind::Category))?;
    let mut context = List::default();
    let mut rows = 0;
    let mut line = String::new();
    let mut reader = BufReader::new(source);
    let mut number = 0;
    loop {
        line.clear();
        number += 1;
        let read = reader.read_line(&mut line).map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => Error::malformed("not_utf8", format!("line {number} is not UTF-8")),
            _ => uncarry(error),
        })?;
        if read == 0 {
            break;
        }
        let text = line.trim();
        if text.is_empty() {
            continue;
        }
        let Some((id, rest)) = text.split_once(' ').filter(|(id, _)| id.bytes().all(|b| b.is_ascii_digit())) else {
            return Err(Error::malformed("invalid_babi", format!("line {number} does not begin with a number"))
                .with_details([Detail::row(rows + 1, "a line of a story begins with its number")]));
        };
        if id == "1" {
            context.clear();
        }
        let mut fields = rest.split('\t').map(str::trim);
        let sentence = fields.next().unwrap_or_default();
        match fields.next() {
            None => {
                context.push_text(sentence);
                context.len += 1;
            }
            Some(answer) => {
                rows += 1;
                sink.cell(0, Cell::List(&context));
                sink.cell(1, Cell::Text(sentence));
                sink.cell(2, Cell::Text(answer));
                if !sink.end_row()? {
                    return Ok(rows);
                }
            }
        }
    }
    if rows == 0 {
        return Err(Error::unprocessable("no_rows", "the file holds no question"));
    }
    Ok(rows)
}
