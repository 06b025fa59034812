//! Files of rows: which format they are in, how they are compressed, and a reader that goes through
//! them row by row in constant memory. The meaning of values is not decided here.

mod babi;
mod csv;
mod decode;
mod encoding;
mod foreign;
pub(crate) mod json;
pub(in crate::data) mod names;
mod options;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(feature = "parquet")]
mod parquet_writer;
#[cfg(not(feature = "parquet"))]
mod parquet {
    //! The error of builds without Parquet support.
    use super::{Limits, RowFile, RowSink, Source};
    use crate::{Error, Kind, Result};

    pub(super) fn read(_: &RowFile, _: Source, _: &Limits, _: &mut impl RowSink) -> Result<u64> {
        Err(missing())
    }

    /// As with Parquet support, but always an error.
    ///
    /// # Errors
    /// Always.
    pub fn parquet_of_lines(_: &mut std::fs::File, _: impl std::io::Write + Send) -> Result<()> {
        Err(missing())
    }

    fn missing() -> Error {
        Error::new(Kind::Unsupported, "unsupported_media_type", "this server was built without Parquet")
    }
}

use super::cell::Cell;
use super::schema::ColumnKind;
use super::warning::{Warning, WarningCode};
use crate::{Error, Kind, Result};
use decode::Source;
pub use options::{DecimalMark, Header, Quote, ReadOptions};
#[cfg(not(feature = "parquet"))]
pub use parquet::parquet_of_lines;
#[cfg(feature = "parquet")]
pub use parquet_writer::parquet_of_lines;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A format of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Format {
    /// Delimited text, comma-separated or with another delimiter.
    Csv,
    /// Delimited text with tabs.
    Tsv,
    /// A JSON object a line.
    Ndjson,
    /// A JSON array of objects.
    Json,
    /// Apache Parquet.
    Parquet,
    /// Stories and questions of the bAbI tasks: columns `context`, `question`, `answer`, `supporting`.
    Babi,
}

impl Format {
    /// The format a `Content-Type` names; none when it does not name a format of rows (`curl -T` sends no
    /// type, `curl --data-binary` a form's) and the content must be examined.
    pub fn from_content_type(content_type: &str) -> Result<Option<Self>> {
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        Ok(Some(match essence.as_str() {
            "text/csv" | "application/csv" => Self::Csv,
            "text/tab-separated-values" => Self::Tsv,
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => {
                Self::Ndjson
            }
            "application/json" => Self::Json,
            "application/vnd.apache.parquet" | "application/x-parquet" => Self::Parquet,
            "text/x-babi" => Self::Babi,
            ""
            | "application/octet-stream"
            | "application/x-www-form-urlencoded"
            | "text/plain"
            | "application/gzip"
            | "application/x-gzip"
            | "application/zstd" => return Ok(None),
            other => {
                return Err(Error::new(
                    Kind::Unsupported,
                    "unsupported_media_type",
                    format!(
                        "'{other}' is not a format of rows that is read here: send CSV, TSV, NDJSON, JSON or Parquet"
                    ),
                ));
            }
        }))
    }

    /// The format of a text by its first bytes; delimited text is [`Format::Csv`] whatever its delimiter.
    fn sniff(text: &[u8]) -> Result<Self> {
        let text = text.trim_ascii_start();
        let line = text.split(|b| *b == b'\n').next().unwrap_or_default();
        match text.first() {
            None => Err(empty_file()),
            // A list of objects, or of anything: the reader reports errors in it.
            Some(b'[') if text[1..].trim_ascii_start().first().is_none_or(|b| b"{[]\"-0123456789tfn".contains(b)) => {
                Ok(Self::Json)
            }
            // One object a line is NDJSON; an object over several lines is read like an array's elements.
            Some(b'{') if line.trim_ascii_end().ends_with(b"}") => Ok(Self::Ndjson),
            Some(b'{') => Ok(Self::Json),
            Some(b'1') if line.starts_with(b"1 ") && babi::recognises(text) => Ok(Self::Babi),
            Some(_) => Ok(Self::Csv),
        }
    }
}

fn empty_file() -> Error {
    Error::unprocessable("empty_file", "the file is empty")
}

/// How a file is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip, one member or several.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// What a `Content-Encoding` names.
    pub fn from_content_encoding(encoding: &str) -> Result<Self> {
        match encoding.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Self::None),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            other => Err(Error::new(
                Kind::Unsupported,
                "unsupported_encoding",
                format!("the encoding '{other}' is not understood: use gzip or zstd"),
            )),
        }
    }

    /// What the first four bytes of a file show.
    pub fn sniff(magic: &[u8]) -> Self {
        if magic.starts_with(&[0x1f, 0x8b]) {
            Self::Gzip
        } else if magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Self::Zstd
        } else {
            Self::None
        }
    }
}

/// One stored file of a dataset: the first upload or an append.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowFile {
    /// Its path on this machine.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
    /// Its compression.
    pub compression: Compression,
    /// How its text is read; empty for parts of 0.1.
    #[serde(default)]
    pub read_as: ReadOptions,
}

/// Limits that keep one file from exhausting the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes a file may have when decompressed (`too_large`).
    pub decompressed: u64,
    /// Columns a file may have (`too_many_columns`).
    pub columns: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { decompressed: 16 << 30, columns: 10_000 }
    }
}

/// Detects the format of the file at `path`: from the request's headers where they give it, else from the
/// content. Reads its first bytes only.
pub fn detect(path: &Path, content_type: Option<&str>, content_encoding: Option<&str>) -> Result<RowFile> {
    detect_as(path, content_type, content_encoding, &ReadOptions::default()).map(|(part, _)| part)
}

/// As [`detect`], with some of the options given by the caller; also returns warnings.
pub fn detect_as(
    path: &Path,
    content_type: Option<&str>,
    content_encoding: Option<&str>,
    options: &ReadOptions,
) -> Result<(RowFile, Vec<Warning>)> {
    let mut magic = [0u8; 4];
    let read = read_up_to(&mut File::open(path)?, &mut magic)?;
    let compression = match content_encoding.map(Compression::from_content_encoding).transpose()? {
        None | Some(Compression::None) => Compression::sniff(&magic[..read]),
        Some(named) => named,
    };
    let mut format = content_type.map(Format::from_content_type).transpose()?.flatten();
    let mut read_as = options.clone();
    let mut warnings = Vec::new();
    let source = Source::open(path, compression, u64::MAX)?;
    if format.is_none() && source.head().starts_with(b"PAR1") {
        format = Some(Format::Parquet);
    }
    if format == Some(Format::Parquet) {
        let part = RowFile { path: path.to_owned(), format: Format::Parquet, compression, read_as };
        return Ok((part, warnings));
    }
    foreign::refuse(source.head())?;
    let named = options.encoding.as_deref().map(encoding::named).transpose()?;
    let encoding = match encoding_rs::Encoding::for_bom(source.head()) {
        Some((encoding, _)) => encoding,
        None => named.map_or_else(|| encoding::of_head(source.head()), Ok)?,
    };
    read_as.encoding = Some(encoding.name().to_ascii_lowercase());
    let source = source.decoded(encoding)?;
    let mut format = format.map_or_else(|| Format::sniff(source.head()), Ok)?;
    if matches!(format, Format::Csv | Format::Tsv) {
        if format == Format::Tsv {
            read_as.delimiter.get_or_insert('\t');
        }
        let findings;
        (read_as, findings) = csv::complete(source.head(), source.whole(), &read_as);
        if read_as.delimiter == Some('\t') {
            format = Format::Tsv;
        }
        if findings.header_like_data {
            let taken = match read_as.header {
                Some(Header::Absent) => "it is read as a row; set `header=present` if it names the columns",
                _ => "it is read as names; set `header=absent` if it is a row",
            };
            let detail = format!("the first record looks like data: {taken}");
            warnings.push(Warning::new(WarningCode::HeaderLikeData, None, detail));
        }
    }
    Ok((RowFile { path: path.to_owned(), format, compression, read_as }, warnings))
}

/// Whether a JSON file is one object with several fields, not an array: columns that were written in place of rows.
pub(crate) fn is_one_object(part: &RowFile) -> Result<bool> {
    if !matches!(part.format, Format::Json | Format::Ndjson) {
        return Ok(false);
    }
    let source = Source::open(&part.path, part.compression, u64::MAX)?;
    let text = source.head().strip_prefix(b"\xef\xbb\xbf".as_slice()).unwrap_or(source.head());
    Ok(text.trim_ascii_start().starts_with(b"{"))
}

/// Another way to read `part` after `error`: in another encoding when its bytes are not UTF-8, with quotes as
/// ordinary characters where they do not enclose fields. Nothing where the caller gave these options, or neither applies.
pub(crate) fn another_reading(part: &RowFile, stated: &ReadOptions, error: &Error) -> Result<Option<RowFile>> {
    let mut read_as = part.read_as.clone();
    match error.code {
        "not_utf8" if stated.encoding.is_none() && part.format != Format::Parquet => {
            let found = encoding::of_all(Source::open(&part.path, part.compression, u64::MAX)?)?;
            if found == encoding_rs::UTF_8 {
                return Ok(None);
            }
            read_as.encoding = Some(found.name().to_ascii_lowercase());
        }
        "unclosed_quote" | "broken_quote" | "ragged_rows"
            if part.format == Format::Tsv && stated.quote.is_none() && read_as.quote != Some(Quote::None) =>
        {
            read_as.quote = Some(Quote::None);
        }
        _ => return Ok(None),
    }
    Ok(Some(RowFile { read_as, ..part.clone() }))
}

fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

/// Receives what a reader finds, row by row. Cells of a column that a row does not have are not sent.
pub(crate) trait RowSink {
    /// A new column, numbered in order of discovery, before its first cell. `kind` where the format defines it.
    fn column(&mut self, name: &str, kind: Option<ColumnKind>) -> Result<()>;

    /// The column cannot be read, for this reason; no cell of it follows.
    fn unreadable(&mut self, _column: usize, _reason: &str) {}

    /// The column has no name in the file, so the reader gave it one.
    fn unnamed(&mut self, _column: usize) {}

    /// A warning of the reader about the file.
    fn warn(&mut self, _warning: Warning) {}

    /// The value of a column in the current row.
    fn cell(&mut self, column: usize, cell: Cell<'_>);

    /// The current row is complete. False ends the reading.
    fn end_row(&mut self) -> Result<bool>;
}

/// Sends all rows of `part` to `sink`; returns how many there were.
pub(crate) fn read(part: &RowFile, limits: &Limits, sink: &mut impl RowSink) -> Result<u64> {
    let mut source = Source::open(&part.path, part.compression, limits.decompressed)?;
    if source.head().is_empty() {
        return Err(empty_file());
    }
    if part.format != Format::Parquet {
        // Parts of 0.1 have no options and are UTF-8.
        let encoding = part.read_as.encoding.as_deref().map_or(Ok(encoding_rs::UTF_8), encoding::named)?;
        source = source.decoded(encoding)?;
    }
    match part.format {
        Format::Csv | Format::Tsv => csv::read(source, part.format, &part.read_as, limits, sink),
        Format::Ndjson => json::read_lines(source, limits, sink),
        Format::Json => json::read_array(source, limits, sink),
        Format::Babi => babi::read(source, sink),
        Format::Parquet => parquet::read(part, source, limits, sink),
    }
}

fn too_many_columns(limits: &Limits) -> Error {
    Error::unprocessable("too_many_columns", format!("the data has more than {} columns", limits.columns))
}
