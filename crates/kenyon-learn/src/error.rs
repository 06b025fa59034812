//! The one error type of the learning core. It depends on no server: programs that embed the crate map [`Kind`].

use serde::{Deserialize, Serialize};

/// The result of every fallible function of the crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// How a failure is to be handled by its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The input cannot be read: a broken record, an unknown setting.
    Malformed,
    /// It contradicts existing state.
    Conflict,
    /// Larger than the limit.
    TooLarge,
    /// An unsupported format or encoding.
    Unsupported,
    /// Readable, but the data does not fit.
    Unprocessable,
    /// The caller requested a stop.
    Canceled,
    /// Reading or writing a file failed; the cause is a [`std::io::Error`].
    Io,
    /// An internal error, or one of the caller's input, named by the cause.
    Internal,
}

/// One error and its place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Detail {
    /// JSON path of the offending value, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Row number, counted from 0 in a request's `rows` and from 1 (the first data row) in a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
    /// Column name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The reason, one sentence.
    pub reason: String,
}

impl Detail {
    /// A detail about one cell.
    pub fn cell(row: u64, column: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { path: None, row: Some(row), column: Some(column.into()), reason: reason.into() }
    }

    /// A detail about a whole row.
    pub fn row(row: u64, reason: impl Into<String>) -> Self {
        Self { row: Some(row), reason: reason.into(), ..Self::default() }
    }

    /// A detail about a whole column.
    pub fn column(column: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { column: Some(column.into()), reason: reason.into(), ..Self::default() }
    }

    /// A detail about a value of the request, by its JSON path.
    pub fn path(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { path: Some(path.into()), reason: reason.into(), ..Self::default() }
    }
}

/// How many details an error contains at most.
pub const MAX_DETAILS: usize = 20;

/// A failure: how to handle it, a stable code, a sentence for a person, and where.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub struct Error {
    /// How to handle it.
    pub kind: Kind,
    /// Stable `snake_case` code.
    pub code: &'static str,
    /// One sentence for the person who sent the data.
    pub detail: String,
    /// Where, at most [`MAX_DETAILS`].
    pub details: Vec<Detail>,
    /// The internal cause.
    #[source]
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` with a stable `code` and a sentence.
    pub fn new(kind: Kind, code: &'static str, detail: impl Into<String>) -> Self {
        Self { kind, code, detail: detail.into(), details: Vec::new(), cause: None }
    }

    /// The input cannot be read.
    pub fn malformed(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(Kind::Malformed, code, detail)
    }

    /// The data does not fit.
    pub fn unprocessable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(Kind::Unprocessable, code, detail)
    }

    /// It contradicts existing state.
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, code, detail)
    }

    /// An internal error with its cause.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let mut error = Self::new(Kind::Internal, "internal", "something went wrong on our side");
        error.cause = Some(cause.into());
        error
    }

    /// Adds details, keeping the first [`MAX_DETAILS`].
    pub fn with_details(mut self, details: impl IntoIterator<Item = Detail>) -> Self {
        let left = MAX_DETAILS.saturating_sub(self.details.len());
        self.details.extend(details.into_iter().take(left));
        self
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        let mut converted = Self::new(Kind::Io, "io", error.to_string());
        converted.cause = Some(error.into());
        converted
    }
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::internal(error)
    }
}
