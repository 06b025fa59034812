//! Delimited text: CSV, TSV and similar formats, read under one dialect; errors name the
//! row: ragged records, unclosed quotes, bytes that are not text.

mod dialect;
mod record;

pub(super) use dialect::complete;

use super::decode::Source;
use super::{Format, Header, Limits, Quote, ReadOptions, RowSink, names};
use crate::data::cell::Cell;
use crate::data::warning::{Warning, WarningCode};
use crate::{Detail, Error, Result};
use record::{Records, Syntax};

/// Sends all rows to `sink`. Options of 0.1, which are empty, are completed first.
pub(super) fn read(
    source: Source,
    format: Format,
    options: &ReadOptions,
    limits: &Limits,
    sink: &mut impl RowSink,
) -> Result<u64> {
    let completed;
    let options = match options.delimiter {
        Some(_) => options,
        None => {
            let delimiter = (format == Format::Tsv).then_some('\t');
            let options = ReadOptions { header: Some(Header::Present), delimiter, ..options.clone() };
            completed = complete(source.head(), source.whole(), &options).0;
            &completed
        }
    };
    let mut records = Records::new(source, syntax(options));
    let mut more = next_filled(&mut records, 0)?;
    for _ in 0..options.skip_records {
        more = more && next_filled(&mut records, 0)?;
    }
    if !more {
        return Err(Error::unprocessable("empty_file", "the file is empty"));
    }
    let found = column_names(&records, options)?;
    let width = found.len();
    names::send(found, limits, sink, |_| None)?;
    if width == 1 {
        let detail =
            "the file is read as a single column; set `delimiter` if its fields are separated by something else";
        sink.warn(Warning::new(WarningCode::OneColumn, None, detail));
    }
    read_rows(&mut records, options, width, sink)
}

fn syntax(options: &ReadOptions) -> Syntax {
    let ascii = |c: char| u8::try_from(c).unwrap_or(b',');
    Syntax {
        delimiter: options.delimiter.map_or(b',', ascii),
        quote: match options.quote {
            Some(Quote::None) => None,
            Some(Quote::Single) => Some(b'\''),
            Some(Quote::Double) | None => Some(b'"'),
        },
        escape: options.escape.map(ascii),
        comment: options.comment.map(ascii),
        carriage_return: options.carriage_return,
    }
}

fn has_header(options: &ReadOptions) -> bool {
    options.header != Some(Header::Absent)
}

/// The names of the columns, at the first record: those in it, or as many as it has fields.
fn column_names(records: &Records, options: &ReadOptions) -> Result<Vec<String>> {
    let header = has_header(options);
    let row = u64::from(!header);
    records.check(row)?;
    let mut found: Vec<String> = records.fields(row)?.map(|(text, _)| text.to_owned()).collect();
    if options.trailing_delimiter && found.len() > 1 && found.last().is_some_and(String::is_empty) {
        found.pop();
    }
    if !header {
        found = match &options.names {
            Some(names) => names.clone(),
            None => (1..=found.len()).map(|i| format!("column_{i}")).collect(),
        };
    } else if options.row_names {
        found.insert(0, String::new());
    }
    Ok(found)
}

/// Sends the rows of `width` fields to `sink`, from the current record on or, with a header, from the next.
fn read_rows(records: &mut Records, options: &ReadOptions, width: usize, sink: &mut impl RowSink) -> Result<u64> {
    let header = has_header(options);
    let mut rows = 0;
    // In a file of one column a blank line is a missing value, unless nothing follows it.
    let mut blank = 0;
    let mut ragged = Vec::new();
    let mut more = if header { records.advance(1)? } else { true };
    while more {
        if records.blank() {
            blank += 1;
            more = records.advance(rows + 1)?;
            continue;
        }
        if width == 1 {
            for _ in 0..std::mem::take(&mut blank) {
                rows += 1;
                if !sink.end_row()? {
                    return Ok(rows);
                }
            }
        }
        rows += 1;
        records.check(rows)?;
        let extra = options.trailing_delimiter && records.len() == width + 1;
        if records.len() != width && !extra || extra && !records.last_empty() {
            let whose = if header { "the header has" } else { "the first row has" };
            ragged.push(Detail::row(rows, format!("{} fields where {whose} {width}", records.len())));
            if ragged.len() >= crate::error::MAX_DETAILS {
                break;
            }
        } else {
            for (column, (field, quoted)) in records.fields(rows)?.take(width).enumerate() {
                if !field.is_empty() {
                    sink.cell(column, if quoted { Cell::Quoted(field) } else { Cell::Raw(field) });
                }
            }
            if ragged.is_empty() && !sink.end_row()? {
                return Ok(rows);
            }
        }
        more = records.advance(rows + 1)?;
    }
    if !ragged.is_empty() {
        let sentence = format!("not all rows have as many fields as the {}", if header { "header" } else { "first" });
        return Err(Error::unprocessable("ragged_rows", sentence).with_details(ragged));
    }
    if rows == 0 {
        return Err(Error::unprocessable("no_rows", "the file has a header but no rows"));
    }
    Ok(rows)
}

/// Goes to the next record that is not a blank line.
fn next_filled(records: &mut Records, row: u64) -> Result<bool> {
    while records.advance(row)? {
        if !records.blank() {
            return Ok(true);
        }
    }
    Ok(false)
}
