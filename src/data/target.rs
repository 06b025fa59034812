// NOTE FROM LEAD (19:46): I am writing encoder.rs, target.rs and split.rs myself in main to take load off you; land formats, schema, plan (resolve/read_table/read_rows), rows FIRST. Take my versions of these three files when you rebase (git checkout --theirs/main); extend afterwards (tests, speed).
//! What is to be predicted: classes with their own names and types, or a standardised number.

use super::Column;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What kind of answer is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// One of several classes.
    Classification,
    /// A number.
    Regression,
}

/// How the target of a row becomes a class id or a standardised number, and back. Saved with the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetEncoder {
    /// Class names as in the data (numbers stay numbers), sorted: id = position.
    Classes(Vec<Value>),
    /// A number with mean and deviation of the training rows.
    Number {
        /// Mean of the training rows.
        mean: f64,
        /// Standard deviation of the training rows, above 0.
        std: f64,
    },
}

/// Encoded targets of some rows.
#[derive(Clone, Debug, PartialEq)]
pub enum Encoded {
    /// Class ids; [`NO_CLASS`] where the row has none.
    Classes(Vec<u32>),
    /// Standardised values; NaN where the row has none.
    Values(Vec<f32>),
}

/// The id of a row without a class (the same as `models::UNLABELLED`).
pub const NO_CLASS: u32 = u32::MAX;

impl TargetEncoder {
    /// Fits on the target column. Constant or wholly missing targets are errors.
    pub fn fit(name: &str, column: &Column, task: Task) -> Result<Self> {
        let _ = (name, column, task);
        Err(Error::unprocessable("not_yet", "not yet"))
    }

    /// Ids or standardised values; an unknown class gives [`NO_CLASS`].
    pub fn encode(&self, column: &Column) -> Result<Encoded> {
        let _ = column;
        Err(Error::unprocessable("not_yet", "not yet"))
    }

    /// The id of one class, given as JSON.
    pub fn class_id(&self, label: &Value) -> Option<u32> {
        let _ = label;
        None
    }

    /// Adds classes of `column` that are not known yet at the end; returns how many. For streams.
    pub fn extend(&mut self, column: &Column) -> usize {
        let _ = column;
        0
    }

    /// Number of network outputs: classes, or 1.
    pub fn outputs(&self) -> usize {
        match self {
            Self::Classes(classes) => classes.len(),
            Self::Number { .. } => 1,
        }
    }
}
