//! Files of rows as request bodies: the options for reading them, and the path
//! from the body through storage to a schema.

use super::Api;
use super::blocking::blocking;
use super::read::body_error;
use super::schemas::EncodingName;
use crate::store::NewPart;
use crate::{Detail, Error, Result};
use axum::body::Body;
use axum::http::{HeaderMap, header};
use futures::TryStreamExt;
use kenyon_learn::data::formats::{self, DecimalMark, Format, Header, Limits, Quote, ReadOptions};
use kenyon_learn::data::schema::{self, Summary};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How a file is read; options that are missing are inferred from its content.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReadQuery {
    /// What separates fields: one character, or `tab` or `space`.
    #[param(pattern = r"^(tab|space|\\t|[\x00-\x09\x0b\x0c\x0e-!#-&(-,/:-@\[\]-`{-\x7f])$")]
    delimiter: Option<String>,
    /// What encloses fields: `"` (or `double`), `'` (or `single`) or `none`.
    #[param(pattern = r#"^("|'|none|double|single)?$"#)]
    quote: Option<String>,
    /// `present` when the first record names the columns, `absent` when it is a row.
    #[param(value_type = Option<Header>, inline)]
    header: Option<String>,
    /// Character encoding, such as `windows-1252` or `utf-16le`; other labels of the WHATWG Encoding Standard are read, too.
    #[param(value_type = Option<EncodingName>, inline)]
    encoding: Option<String>,
    /// Decimal mark of all number columns: `.` or `,`.
    #[param(value_type = Option<DecimalMark>, inline)]
    decimal: Option<String>,
    /// Words that mean "no value", separated by commas.
    missing: Option<String>,
    /// Whether the day comes first in dates such as `03/04/2024`.
    day_first: Option<bool>,
    /// Refuse the file when a cell does not fit its column's kind.
    strict: Option<bool>,
    /// Read the file and answer as usual, but store nothing.
    pub(super) dry_run: Option<bool>,
}

impl ReadQuery {
    /// The options of a request: the query's, else those of the content type (RFC 4180).
    fn options(&self, content_type: Option<&str>) -> Result<ReadOptions> {
        let parameter = |name: &str| {
            content_type?.split(';').skip(1).find_map(|pair| {
                let (key, value) = pair.split_once('=')?;
                key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').to_owned())
            })
        };
        let header = match self.header.clone().or_else(|| parameter("header")).as_deref() {
            None => None,
            Some("present") => Some(Header::Present),
            Some("absent") => Some(Header::Absent),
            Some(_) => return Err(bad("header", "is neither `present` nor `absent`")),
        };
        let quote = match self.quote.as_deref() {
            None => None,
            Some("\"" | "double") => Some(Quote::Double),
            Some("'" | "single") => Some(Quote::Single),
            Some("" | "none") => Some(Quote::None),
            Some(_) => return Err(bad("quote", "is none of `\"`, `'` and `none`")),
        };
        let decimal = match self.decimal.as_deref() {
            None => None,
            Some(".") => Some(DecimalMark::Point),
            Some(",") => Some(DecimalMark::Comma),
            Some(_) => return Err(bad("decimal", "is neither `.` nor `,`")),
        };
        let words = |list: &String| list.split(',').map(|word| word.trim().to_owned()).collect();
        Ok(ReadOptions {
            delimiter: self.delimiter.as_deref().map(delimiter).transpose()?,
            quote,
            header,
            encoding: self.encoding.clone().or_else(|| parameter("charset")),
            decimal,
            missing: self.missing.as_ref().map(words),
            day_first: self.day_first,
            strict: self.strict.unwrap_or(false),
            ..ReadOptions::default()
        })
    }
}

fn delimiter(text: &str) -> Result<char> {
    let mut characters = text.chars();
    match (text, characters.next(), characters.next()) {
        ("tab" | "\\t", ..) => Ok('\t'),
        ("space", ..) => Ok(' '),
        (_, Some(c), None) if c.is_ascii() && !c.is_ascii_alphanumeric() && !"\"'\r\n.\\-".contains(c) => Ok(c),
        _ => Err(bad("delimiter", "is not one character that can separate fields, nor `tab` nor `space`")),
    }
}

fn bad(field: &str, reason: &str) -> Error {
    Error::malformed("invalid_request", format!("{field} {reason}")).with_details([Detail::path(field, reason)])
}

/// An upload that was read to its end.
pub(super) struct Upload {
    pub(super) part: NewPart,
    pub(super) file: formats::RowFile,
    stated: ReadOptions,
    pub(super) summary: Summary,
}

impl Upload {
    /// Streams a body to storage, then reads it from there, on its own or as further rows of `known`.
    /// After an error nothing is kept.
    pub(super) async fn take(
        api: &Api,
        headers: &HeaderMap,
        query: &ReadQuery,
        body: Body,
        known: Option<Summary>,
    ) -> Result<Self> {
        let text = |name| headers.get(name).and_then(|v: &axum::http::HeaderValue| v.to_str().ok()).map(str::to_owned);
        let (kind, encoding) = (text(header::CONTENT_TYPE), text(header::CONTENT_ENCODING));
        if let Some(kind) = &kind {
            Format::from_content_type(kind)?;
        }
        let mut stated = query.options(kind.as_deref())?;
        stated.names = known.as_ref().map(schema::column_names);
        let stream = body.into_data_stream().map_err(|error| body_error(&error));
        let staged = api.store.stage(stream, api.config.max_upload_bytes).await?;
        let (path, options) = (staged.path().to_owned(), stated.clone());
        let (file, warnings) =
            blocking(move || formats::detect_as(&path, kind.as_deref(), encoding.as_deref(), &options)).await?;
        let (format, compression) = (name_of(&file.format)?, name_of(&file.compression)?);
        let part = NewPart { file: staged, format, compression, rows: 0, read_as: Value::Null };
        let mut upload =
            Self { part, file, stated, summary: Summary::default() }.read(known, api.file_limits()).await?;
        upload.summary.warnings.splice(0..0, warnings);
        Ok(upload)
    }

    /// Reads the stored file, on its own or as further rows of `known`.
    pub(super) async fn read(self, known: Option<Summary>, limits: Limits) -> Result<Self> {
        let Self { part, file, stated, .. } = self;
        let (file, stated, summary, rows) = blocking(move || {
            let (file, summary, rows) = schema::infer_upload(file, &stated, known.as_ref(), &limits)?;
            Ok::<_, Error>((file, stated, summary, rows))
        })
        .await?;
        let read_as = serde_json::to_value(&file.read_as).map_err(Error::internal)?;
        Ok(Self { part: NewPart { rows, read_as, ..part }, file, stated, summary })
    }
}

fn name_of(value: &impl Serialize) -> Result<String> {
    let name = serde_json::to_value(value).map_err(Error::internal)?;
    Ok(name.as_str().unwrap_or_default().to_owned())
}
