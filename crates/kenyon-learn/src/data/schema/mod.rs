//! What a column is: its kind, its statistics, and how a training request sets its reading.

mod alike;
mod describe;
mod gather;
pub(in crate::data) mod group;
mod histogram;
mod infer;
mod notes;
mod sketch;
mod stats;

pub use super::kinds::{ColumnKind, Spelling};
pub use infer::{infer, infer_append, infer_upload};

use super::warning::Warning;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// The result of one pass over a dataset's files. Store it whole: appends are checked against it and
/// merged into it without reading the earlier parts again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Rows in all parts.
    pub rows: u64,
    /// Columns in the order of the file, groups of numbered columns as one.
    pub columns: Vec<ColumnInfo>,
    /// State for counting distinct values further, a column each; opaque.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sketches: Vec<Vec<u64>>,
    /// Warnings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

/// The names of the file's own columns, members of groups among them, in order.
pub fn column_names(summary: &Summary) -> Vec<String> {
    summary.columns.iter().flat_map(gather::names).map(str::to_owned).collect()
}

/// One column of a dataset with its statistics over the whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ColumnInfo {
    /// Column name; for a group of numbered columns, their stem.
    pub name: String,
    /// How it is read unless a training call overrides it.
    pub kind: ColumnKind,
    /// Rows without a value.
    pub missing: u64,
    /// Different values, counted exactly up to a bound and estimated above.
    pub distinct: u64,
    /// Smallest number (or Unix second).
    pub min: Option<f64>,
    /// Largest number (or Unix second).
    pub max: Option<f64>,
    /// Mean of the numbers.
    pub mean: Option<f64>,
    /// Whether all its numbers are whole.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole: bool,
    /// A few values as written in the data.
    pub examples: Vec<serde_json::Value>,
    /// Shape of a vector or image (`[28, 28]`), channels of a sequence (`[6]`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Vec<usize>>,
    /// The file's own columns where this one groups several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<String>>,
    /// Why a training leaves it out, unless it is named or always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unused: Option<Unused>,
    /// Whether the members of this group are the steps of a series.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub series: bool,
    /// Words that were read as "no value", with the number of occurrences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Vec<NameOrCount>>))]
    pub words: Vec<(String, u64)>,
    /// How its cells are spelled; none for columns from before this was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spelling: Option<Spelling>,
    /// Counts in equal bins between `min` and `max`, or of the most frequent categories.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Vec<NameOrCount>>))]
    pub histogram: Vec<(String, u64)>,
}

/// Half of a pair of a name and a count; client generators do not support tuples.
#[cfg(feature = "openapi")]
#[derive(Serialize, utoipa::ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "a description only")]
enum NameOrCount {
    /// The first of them.
    Name(String),
    /// The second.
    Count(u64),
}

impl ColumnInfo {
    /// A column without data.
    pub fn empty(name: impl Into<String>, kind: ColumnKind) -> Self {
        Self {
            name: name.into(),
            kind,
            missing: 0,
            distinct: 0,
            min: None,
            max: None,
            mean: None,
            whole: false,
            examples: Vec::new(),
            shape: None,
            members: None,
            unused: None,
            series: false,
            words: Vec::new(),
            spelling: None,
            histogram: Vec::new(),
        }
    }
}

/// Why a column is left out of a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Unused {
    /// Its values cannot be read (nested, binary, of an unknown type); never used.
    Unreadable,
    /// It numbers or names the rows and has no name of its own; used only when a training call names it.
    Index,
}

/// How a training request sets a column's reading: `"zip":"category"`, `"id":"ignore"`, or a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a kind such as \"number\" or \"category\", \"ignore\", or an object with a \"kind\"")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum FeatureSpec {
    /// A kind by name, or `ignore`.
    Kind(FeatureKind),
    /// A kind with the columns it is made of.
    Group(FeatureGroup),
}

/// A column kind, or the request to leave the column out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureKind {
    /// Read it as this.
    Kind(ColumnKind),
    /// Leave it out.
    Ignore,
}

impl FeatureKind {
    /// Every name of one.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ColumnKind::all().map(ColumnKind::name).chain(["ignore"])
    }

    /// The kind, unless the column is left out.
    pub fn kind(self) -> Option<ColumnKind> {
        match self {
            Self::Kind(kind) => Some(kind),
            Self::Ignore => None,
        }
    }
}

/// The schema of one of some words.
#[cfg(feature = "openapi")]
pub(crate) fn words<'w>(
    description: &str,
    words: impl Iterator<Item = &'w str>,
) -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
    use utoipa::openapi::schema::{ObjectBuilder, Type};
    let words: Vec<&str> = words.collect();
    ObjectBuilder::new().schema_type(Type::String).description(Some(description)).enum_values(Some(words)).into()
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for FeatureKind {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        words("A column kind, or `ignore` to leave the column out.", Self::names())
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for FeatureKind {}

impl Serialize for FeatureKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.kind().map_or("ignore", ColumnKind::name))
    }
}

impl<'de> Deserialize<'de> for FeatureKind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<str>::deserialize(deserializer)?;
        match ColumnKind::from_name(&name) {
            _ if name == "ignore" => Ok(Self::Ignore),
            Some(kind) => Ok(Self::Kind(kind)),
            None => {
                let names: Vec<&str> = Self::names().collect();
                Err(serde::de::Error::custom(format!("no column kind '{name}': one of {}", names.join(", "))))
            }
        }
    }
}

/// Several columns read as one feature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FeatureGroup {
    /// What they are together: `vector`, `sequence` or `image`.
    pub kind: FeatureKind,
    /// A pattern (`t*`) or a list of names; the feature's own name when missing.
    #[serde(default)]
    pub columns: Option<ColumnsPattern>,
    /// Channels of a sequence; its columns hold step-major values.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 4096))]
    #[serde(default)]
    pub channels: Option<usize>,
    /// Shape of a vector or image, rows first.
    #[serde(default)]
    pub shape: Option<Vec<usize>>,
    /// The pretrained encoder that reads a text or an image; `none` for a text's words alone. Without it a training tries
    /// those of texts that there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder: Option<String>,
}

/// Which columns a group is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ColumnsPattern {
    /// A stem with a trailing `*`, matching the numbered columns in numeric order.
    Pattern(String),
    /// The names, in order.
    Names(Vec<String>),
}

/// The `features` object of a training request, in its own order.
pub type Features = IndexMap<String, FeatureSpec>;
