//! How the columns of some data are read: the schema with a training request's settings applied.
//! The same plan reads files for training and JSON rows for prediction.

mod read;
mod resolve;
mod sample;

pub use read::{read_head, read_rows, read_table, read_table_noting};
pub use resolve::{declare, resolve};
pub use sample::{Sampled, read_others, read_sample, sample_size};

use super::kinds::{ColumnKind, Spelling};
use super::schema::ColumnInfo;
use super::target::Task;
use super::vectors::ColumnEncoder;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a feature names as its encoder whose words alone are read.
pub const NO_ENCODER: &str = "none";

/// One column (or group of columns) to read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
    /// How its cells are spelled; none for plans from before this was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spelling: Option<Spelling>,
    /// Whether its values are classes, which keep the type and spelling of the data.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub labels: bool,
    /// The pretrained encoder that reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder: Option<ColumnEncoder>,
}

/// A training request's reading of a dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resolved {
    /// How the target is read.
    pub target: ColumnPlan,
    /// Requested, or inferred from the target.
    pub task: Task,
    /// The features, in the order of the data.
    pub inputs: Vec<ColumnPlan>,
    /// Columns of the data that are not features; a predict row may have them, and they are not read.
    pub ignored: Vec<String>,
}

impl Resolved {
    /// Target first, then inputs: what [`read_table`] takes for training.
    pub fn all(&self) -> Vec<ColumnPlan> {
        std::iter::once(&self.target).chain(&self.inputs).cloned().collect()
    }

    /// The same with the kind of the target's names taken from its declared classes.
    pub fn with_classes(mut self, classes: &[Value]) -> Self {
        if let Some(kind) = classes.first().and_then(label_kind) {
            self.target.kind = kind;
        }
        self
    }
}

/// The column kind that keeps labels such as `label` as they are: numbers stay numbers.
pub fn label_kind(label: &Value) -> Option<ColumnKind> {
    match label {
        Value::Number(_) => Some(ColumnKind::Number),
        Value::Bool(_) => Some(ColumnKind::Boolean),
        Value::String(_) => Some(ColumnKind::Category),
        _ => None,
    }
}

/// `plans` for another dataset than the one they were made from: a number with a decimal comma there is the same number.
/// Classes keep the spelling that they were learned in.
pub fn spelled_as(plans: &[ColumnPlan], columns: &[ColumnInfo]) -> Vec<ColumnPlan> {
    let spelled = |plan: &ColumnPlan| {
        let named = |column: &&ColumnInfo| {
            let members = || column.members.iter().flatten().any(|m| plan.members.iter().flatten().any(|n| m == n));
            column.name == plan.name || plan.members.iter().flatten().any(|m| *m == column.name) || members()
        };
        let found = columns.iter().find(named).filter(|column| column.kind == plan.kind || plan.members.is_some());
        let Some(theirs) = found.and_then(|column| column.spelling.as_ref()).filter(|_| !plan.labels) else {
            return plan.clone();
        };
        let mut spelling = theirs.clone();
        if let Some(own) = &plan.spelling {
            spelling.merge(own);
            spelling.booleans = own.booleans;
        }
        ColumnPlan { spelling: Some(spelling), ..plan.clone() }
    };
    plans.iter().map(spelled).collect()
}

impl ColumnPlan {
    /// The kind that families get: pictures that a pretrained encoder reads are as texts that one reads, not pixels.
    pub fn effective_kind(&self) -> ColumnKind {
        if self.encoder.is_some() { ColumnKind::Text } else { self.kind }
    }

    /// The column to predict.
    pub fn target(name: impl Into<String>, kind: ColumnKind, task: Task) -> Self {
        Self { labels: task == Task::Classification, ..Self::new(name, kind) }
    }

    /// A column read as `kind` without further options.
    pub fn new(name: impl Into<String>, kind: ColumnKind) -> Self {
        Self {
            name: name.into(),
            kind,
            members: None,
            shape: None,
            channels: None,
            spelling: None,
            labels: false,
            encoder: None,
        }
    }
}
