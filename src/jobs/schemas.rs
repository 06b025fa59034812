//! Parts of requests that are read by hand, described for the interface's document.
#![expect(dead_code, reason = "descriptions only: the types they describe are parsed elsewhere")]

use crate::store::DatasetName;
use serde::Deserialize;
use std::collections::HashMap;
use utoipa::ToSchema;

/// How much each class weighs in the loss.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum ClassWeighting {
    /// By the inverse of its share.
    Word(ClassWeightingWord),
    /// By the name of the class; 1 where one is not named.
    Each(HashMap<String, f64>),
}

/// By the inverse of each class's share.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ClassWeightingWord {
    /// The only word.
    Balanced,
}

/// Which rows are held out.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum HeldOutRows {
    /// A share of the rows, of every class alike.
    Share(f64),
    /// The newest rows by a column, or whole groups of rows with the same value in it.
    By(HeldOutBy),
    /// All rows of another dataset.
    Dataset(HeldOutDataset),
}

/// The newest rows by a column, or whole groups of rows with the same value in it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HeldOutBy {
    /// How the column divides the rows.
    by: DivideRowsBy,
    /// The column.
    column: String,
    /// Share of the rows; 0.2 when missing.
    #[schema(exclusive_minimum = 0.0, maximum = 0.9)]
    share: Option<f64>,
}

/// How a column divides the rows.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum DivideRowsBy {
    /// The newest rows are held out.
    Time,
    /// Rows with the same value stay together.
    Group,
}

/// All rows of another dataset.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HeldOutDataset {
    /// Its name.
    dataset: DatasetName,
}

/// The values one setting may take.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum SearchSpace {
    /// One of these.
    Choices(Vec<SettingValue>),
    /// A number of a range.
    Range(SearchRange),
}

/// A value of a setting.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum SettingValue {
    /// A word.
    Word(String),
    /// A number.
    Number(f64),
    /// Whether.
    Truth(bool),
    /// Sizes, such as those of layers.
    Sizes(Vec<u64>),
}

/// A range of numbers.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchRange {
    /// The smallest.
    min: f64,
    /// The largest.
    max: f64,
    /// Equal chances for equal ratios instead of equal differences.
    log: Option<bool>,
}
