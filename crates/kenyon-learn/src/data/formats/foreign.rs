//! Formats that are not supported, recognised by their first bytes, so that the error names an alternative.

use crate::{Error, Kind, Result};

/// First bytes, what they are, and how its rows can be sent.
const FORMATS: &[(&[u8], &str, &str)] = &[
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook", "send the file inside it, or save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook", "save the sheet as CSV"),
    (b"ARROW1", "an Arrow (Feather) file", "save it as Parquet"),
    (b"ORC", "an ORC file", "save it as Parquet"),
    (b"Obj\x01", "an Avro file", "save it as Parquet"),
    (b"SQLite format 3\0", "an SQLite database", "export the table as CSV"),
    (b"\x89HDF\r\n", "an HDF5 file", "save the table as Parquet"),
    (b"\x93NUMPY", "a NumPy array", "save it as CSV or Parquet"),
    (b"BZh", "compressed by bzip2", "compress it with gzip or zstd, or not at all"),
    (b"\xfd7zXZ\0", "compressed by xz", "compress it with gzip or zstd, or not at all"),
    (b"7z\xbc\xaf", "a 7-Zip archive", "send the file inside it"),
    (b"%PDF", "a PDF document", "export the table as CSV"),
    (b"{\\rtf", "an RTF document", "save it as plain text"),
    (b"\x89PNG", "an image", "send a table whose rows contain images as base64 text"),
    (b"\xff\xd8\xff", "an image", "send a table whose rows contain images as base64 text"),
];

/// Whether the first line that is no comment declares a relation.
fn is_arff(text: &[u8]) -> bool {
    let mut lines = text.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|l| !l.is_empty() && l[0] != b'%');
    lines.next().and_then(|line| line.get(..9)).is_some_and(|word| word.eq_ignore_ascii_case(b"@relation"))
}

/// 415 for content in a recognised format that is not supported.
pub(super) fn refuse(head: &[u8]) -> Result<()> {
    // Letters alone may begin a text as well; then there must be bytes that no text has.
    let binary = |bytes: &[u8]| bytes.iter().any(|b| matches!(b, 0..=6 | 14..=25 | 0x7f..));
    let found = FORMATS.iter().find(|(magic, ..)| head.starts_with(magic) && (binary(magic) || head.contains(&0)));
    let text = head.strip_prefix(b"\xef\xbb\xbf".as_slice()).unwrap_or(head).trim_ascii_start();
    let begins = |word: &[u8]| text.get(..word.len()).is_some_and(|t| t.eq_ignore_ascii_case(word));
    let markup = [b"<!doctype".as_slice(), b"<html", b"<?xml"].iter().any(|w| begins(w));
    let (what, instead) = match found {
        Some((_, what, instead)) => (*what, *instead),
        None if markup => ("a web page or XML", "send its rows as CSV or JSON"),
        None if is_arff(text) => ("an ARFF file", "save it as CSV"),
        None => return Ok(()),
    };
    Err(Error::new(Kind::Unsupported, "unsupported_media_type", format!("the file is {what}: {instead}")))
}
