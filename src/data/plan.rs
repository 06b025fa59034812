//! How the columns of some data are to be read: the schema with a training call's wishes applied.
//! The same plan reads files for training and JSON rows for prediction.

use super::schema::ColumnKind;
use serde::{Deserialize, Serialize};

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
