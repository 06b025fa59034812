//! How the columns of some data are to be read: the schema with a training call's wishes applied.
//! The same plan reads files for training and JSON rows for prediction.

use super::Table;
use super::formats::{Limits, Part};
use super::schema::{ColumnInfo, ColumnKind, Features, Summary};
use super::target::Task;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One column (or group of columns) to read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnPlan {
    /// Name of the feature (or the target).
    pub name: String,
    /// How it is read.
    pub kind: ColumnKind,
    /// The data's own columns where several are read as one, in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<String>>,
    /// Shape of a vector or image, rows first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Vec<usize>>,
    /// Channels of a sequence; 0 for a sequence of strings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
}

/// A training call's reading of a dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resolved {
    /// How the target is read.
    pub target: ColumnPlan,
    /// Asked for, or inferred from the target.
    pub task: Task,
    /// The features, in the order of the data.
    pub inputs: Vec<ColumnPlan>,
    /// Columns of the data that are not features; a predict row may carry them, and they are not read.
    pub ignored: Vec<String>,
}

impl Resolved {
    /// Target first, then inputs: what [`read_table`] takes for training.
    pub fn all(&self) -> Vec<ColumnPlan> {
        std::iter::once(&self.target).chain(&self.inputs).cloned().collect()
    }
}

/// Applies a training call's wishes to a dataset's columns. Errors carry the JSON path of the field.
pub fn resolve(summary: &Summary, features: &Features, target: &str, task: Option<Task>) -> Result<Resolved> {
    let _ = (summary, features, target, task);
    Err(Error::unprocessable("not_yet", "not yet"))
}

/// The reading of rows for a model made empty by `PUT`, whose features are all declared.
pub fn declare(features: &Features, target: &str, task: Option<Task>) -> Result<Resolved> {
    let _ = (features, target, task);
    Err(Error::unprocessable("not_yet", "not yet"))
}

/// Reads the planned columns of all parts of a dataset into memory, in the order of `plans`.
pub fn read_table(parts: &[Part], plans: &[ColumnPlan], limits: &Limits) -> Result<Table> {
    let _ = (parts, plans, limits);
    Err(Error::unprocessable("not_yet", "not yet"))
}

/// Rows `offset..offset + limit` of a dataset as JSON objects with the file's own columns.
pub fn read_rows(
    parts: &[Part],
    columns: &[ColumnInfo],
    offset: u64,
    limit: usize,
    limits: &Limits,
) -> Result<Vec<Map<String, Value>>> {
    let _ = (parts, columns, offset, limit, limits);
    Err(Error::unprocessable("not_yet", "not yet"))
}
