//! The one error type of the crate. It does not depend on HTTP or gRPC: `http::error` and `oip` map [`Kind`].

mod codes;

use kenyon_learn::error::MAX_DETAILS;
use serde::{Deserialize, Serialize};

pub use codes::{CODES, ErrorCode};
pub use kenyon_learn::Detail;

/// The result of every fallible function of the crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// How a failure is to be handled by its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The request cannot be read: bad JSON, an unknown field, a bad name.
    Malformed,
    /// No key, or an unknown one.
    Unauthorized,
    /// The key lacks the scope.
    Forbidden,
    /// It does not exist.
    NotFound,
    /// It exists already, or is in use.
    Conflict,
    /// Larger than the configured limit.
    TooLarge,
    /// An unsupported format or encoding.
    Unsupported,
    /// Readable, but the data does not fit.
    Unprocessable,
    /// A queue is full or a rate limit is reached.
    Overloaded,
    /// Starting, draining, or nothing ready to answer.
    Unavailable,
    /// The deadline passed.
    Deadline,
    /// No space is left where it must be stored.
    DiskFull,
    /// The job was cancelled.
    Canceled,
    /// An internal error; the cause is logged and never sent.
    Internal,
}

/// A failure: how to handle it, a stable code, a sentence for a person, and where.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub struct Error {
    /// How to handle it.
    pub kind: Kind,
    /// Stable `snake_case` code.
    pub code: &'static str,
    /// One sentence for the person who sent the request.
    pub detail: String,
    /// Where, at most [`MAX_DETAILS`].
    pub details: Vec<Detail>,
    /// Seconds after which a retry makes sense.
    pub retry_after: Option<u64>,
    /// The internal cause: logged once, never sent.
    #[source]
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` with a stable `code` and a sentence.
    pub fn new(kind: Kind, code: &'static str, detail: impl Into<String>) -> Self {
        Self { kind, code, detail: detail.into(), details: Vec::new(), retry_after: None, cause: None }
    }

    /// The request cannot be read.
    pub fn malformed(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(Kind::Malformed, code, detail)
    }

    /// It does not exist.
    pub fn not_found(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, code, detail)
    }

    /// The data does not fit.
    pub fn unprocessable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(Kind::Unprocessable, code, detail)
    }

    /// It exists already, or is in use.
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

    /// What an operator can fix: a disk that is full or that cannot be written.
    pub(crate) fn of_disk(error: &std::io::Error) -> Option<Self> {
        match error.kind() {
            std::io::ErrorKind::StorageFull => {
                Some(Self::new(Kind::DiskFull, "disk_full", "no space is left on the server's disk"))
            }
            std::io::ErrorKind::ReadOnlyFilesystem => {
                Some(Self::new(Kind::Unavailable, "storage_read_only", "the server's storage cannot be written"))
            }
            _ => None,
        }
    }

    /// Sets after how many seconds a retry makes sense.
    pub fn with_retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        let Some(mut converted) = Self::of_disk(&error) else { return Self::internal(error) };
        converted.cause = Some(error.into());
        converted
    }
}

impl From<kenyon_learn::Error> for Error {
    fn from(error: kenyon_learn::Error) -> Self {
        use kenyon_learn::Kind as Learn;
        let kind = match error.kind {
            Learn::Malformed => Kind::Malformed,
            Learn::Conflict => Kind::Conflict,
            Learn::TooLarge => Kind::TooLarge,
            Learn::Unsupported => Kind::Unsupported,
            Learn::Unprocessable => Kind::Unprocessable,
            Learn::Canceled => Kind::Canceled,
            // The cause may be an error of this crate that passed through the core, such as a full disk under a checkpoint.
            Learn::Io | Learn::Internal => {
                return match error.cause.map(|cause| cause.downcast::<Self>()) {
                    Some(Ok(ours)) => *ours,
                    Some(Err(cause)) => match cause.downcast::<std::io::Error>() {
                        Ok(io) => Self::from(*io),
                        Err(cause) => Self::internal(cause),
                    },
                    None => Self::internal(error.detail),
                };
            }
        };
        Self { details: error.details, cause: error.cause, ..Self::new(kind, error.code, error.detail) }
    }
}

/// An error that passes through the learning core, such as that of a checkpoint, and is returned unchanged.
impl From<Error> for kenyon_learn::Error {
    fn from(error: Error) -> Self {
        Self::internal(error)
    }
}
