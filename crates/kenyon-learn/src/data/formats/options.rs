//! How a file is read: the caller's options, completed by what its content shows.

use serde::{Deserialize, Serialize};

/// How the text of a file is read. A field that is not set is inferred from the content; the options
/// stored with a part have every field that matters for its format set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReadOptions {
    /// What separates the fields of a record.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
    /// What encloses a field that holds delimiters or line ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quote: Option<Quote>,
    /// What makes a quote inside quotes literal, besides doubling it.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escape: Option<char>,
    /// Whether the first record names the columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<Header>,
    /// Label of the character encoding (WHATWG), such as `utf-8` or `windows-1252`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// The decimal mark of every number column; without it, each column's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decimal: Option<DecimalMark>,
    /// Words that mean "no value" in every column; without it, each column's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<Vec<String>>,
    /// Whether `03/04/2024` is the third of April; without it, each date column's own order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day_first: Option<bool>,
    /// Whether a cell that does not fit its column's kind is refused.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
    /// Where the file does not name its columns: their names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
    /// Records before the header (or the first row) that are no data.
    #[serde(skip_serializing_if = "is_zero")]
    pub skip_records: usize,
    /// Lines that begin with it are comments.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<char>,
    /// Whether every record ends with a delimiter that begins no further field.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub trailing_delimiter: bool,
    /// Whether records begin with a row name for which the header has no field (R's `write.table`).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub row_names: bool,
    /// Whether a carriage return alone ends a record.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub carriage_return: bool,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// What encloses a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Quote {
    /// `"`
    #[serde(rename = "\"")]
    Double,
    /// `'`
    #[serde(rename = "'")]
    Single,
    /// Nothing: quotes are ordinary characters.
    #[serde(rename = "none")]
    None,
}

// By hand, because the derived one escapes the quote once more.
#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Quote {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        use utoipa::openapi::schema::{ObjectBuilder, Type};
        let quote = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["\"", "'", "none"]));
        quote.description(Some("What encloses a field.")).into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Quote {}

/// Whether the first record names the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Header {
    /// It does.
    Present,
    /// It is a row.
    Absent,
}

/// What separates a number's whole part from its decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum DecimalMark {
    /// `1.5`
    #[serde(rename = ".")]
    Point,
    /// `1,5`
    #[serde(rename = ",")]
    Comma,
}
