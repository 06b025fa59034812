//! From a table to sparse tokens. Fitted once on training rows, saved with the model as JSON.

use super::plan::ColumnPlan;
use super::schema::ColumnKind;
use super::{Batch, Table};
use crate::Result;
use serde::{Deserialize, Serialize};

/// Which form of batch a family wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// One token a row, entries sorted by index and unique.
    Bag,
    /// A token a number, category, word, patch or window; see DESIGN's table.
    Tokens,
}

/// One column as the network sees it: a range of the feature space.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Field {
    /// Name of the feature.
    pub name: String,
    /// Its kind.
    pub kind: ColumnKind,
    /// First feature index.
    pub start: u32,
    /// Number of feature indices.
    pub width: u32,
    /// Shape of a vector or image whose entry `start + i` is element `i`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Vec<usize>>,
}

/// A column the encoder left out, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Name of the column.
    pub name: String,
    /// The reason in plain words.
    pub reason: String,
}

/// The fitted encoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Encoder {
    /// Bag or tokens.
    pub layout: Layout,
    /// How input rows are read, the target not among them.
    pub inputs: Vec<ColumnPlan>,
    /// The feature space, field after field.
    pub fields: Vec<Field>,
    /// Size of the feature space.
    pub width: u32,
    /// Columns without information.
    pub left_out: Vec<LeftOut>,
}

impl Encoder {
    /// Fits vocabularies, means and scales on `rows` of `table` (the training rows only).
    pub fn fit(_table: &Table, _rows: &[usize], _inputs: &[ColumnPlan], _layout: Layout) -> Result<Self> {
        Err(crate::Error::unprocessable("not_yet", "not yet"))
    }

    /// Encodes all rows of `table`, whose columns are those of `inputs`.
    pub fn encode(&self, _table: &Table) -> Result<Batch> {
        Err(crate::Error::unprocessable("not_yet", "not yet"))
    }
}
