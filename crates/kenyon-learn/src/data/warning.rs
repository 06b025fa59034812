//! Warnings: problems in data or models that are reported and not refused.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Examples a warning contains at most.
pub const MAX_EXAMPLES: usize = 5;

/// Something the user should know about their data or their model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Warning {
    /// The kind of warning.
    pub code: WarningCode,
    /// The column concerned, where there is one.
    #[cfg_attr(feature = "openapi", schema(required))]
    #[serde(default)]
    pub column: Option<String>,
    /// One sentence for a person.
    pub detail: String,
    /// Rows concerned.
    #[cfg_attr(feature = "openapi", schema(required))]
    #[serde(default)]
    pub rows: u64,
    /// The first of them, at most [`MAX_EXAMPLES`].
    #[cfg_attr(feature = "openapi", schema(required))]
    #[serde(default)]
    pub examples: Vec<WarningExample>,
}

/// A cell that a warning is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WarningExample {
    /// Row number, counted from 1 (the first data row) in a file.
    pub row: u64,
    /// The cell as written.
    pub value: Value,
}

/// The kinds of [`Warning`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum WarningCode {
    /// Some cells are not of the column's kind; they count as missing.
    MixedKind,
    /// Nearly every row has a value of its own: it cannot generalise.
    Identifier,
    /// Every row has the same value.
    Constant,
    /// The column cannot be read; it is kept and never used.
    UnreadableColumn,
    /// The file gives the column no name.
    UnnamedColumn,
    /// The first row has the form of data, not of names.
    HeaderLikeData,
    /// The file has a single column, so another delimiter may be right.
    OneColumn,
    /// Words that were read as "no value".
    MissingWords,
    /// A column nearly determines the target.
    LeaksTarget,
    /// Dates of which nothing decides whether day or month comes first.
    AmbiguousDates,
    /// Repeated rows.
    DuplicateRows,
    /// A class has very few rows.
    FewRowsInClass,
    /// Values far beyond the others.
    ExtremeValues,
    /// One class has nearly all rows.
    Imbalanced,
    /// The target could be read as classes or as a number.
    AmbiguousTask,
    /// A class of the training data is never predicted on held-out rows.
    ClassNeverPredicted,
    /// Too few rows were held out to calibrate.
    Uncalibrated,
    /// The requested device is not available; the CPU is used.
    DeviceFallback,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.column {
            Some(column) => write!(f, "{column}: {}", self.detail),
            None => f.write_str(&self.detail),
        }
    }
}

impl Warning {
    /// A warning about a column or, without one, about the whole.
    pub fn new(code: WarningCode, column: Option<&str>, detail: impl Into<String>) -> Self {
        Self { code, column: column.map(str::to_owned), detail: detail.into(), rows: 0, examples: Vec::new() }
    }
}
