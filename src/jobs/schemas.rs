//! Parts of requests that are read by hand, described for the interface's document.
#![expect(dead_code, reason = "descriptions only: the types they describe are parsed elsewhere")]

use crate::store::{DatasetName, EncoderName, ModelName};
use kenyon_learn::learning::compare::Distance;
use kenyon_learn::models::settings;
use serde::Deserialize;
use serde_json::json;
use std::collections::HashMap;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// Settings of a training.
pub(super) struct TrainSettings;

impl PartialSchema for TrainSettings {
    /// Those that some family has.
    fn schema() -> RefOr<Schema> {
        let described = json!({
            "type": "object", "properties": settings::of_all_families(), "additionalProperties": false,
            "description": "Settings of the family and of training itself; null is as if missing. Which ones a family has, \
                with defaults and limits, is in `GET /api/v1/families`; one that it does not have is refused.",
        });
        serde_json::from_value::<Schema>(described).unwrap_or_default().into()
    }
}

impl ToSchema for TrainSettings {}

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

/// What the coverage of sets holds for.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Conditional {
    /// For the rows of each class.
    Class,
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

/// A representation of the stimuli: a layer of a model, an encoder, responses in a dataset, or dissimilarities.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum SystemToCompare {
    /// A layer of a model.
    Model(ModelToCompare),
    /// A pretrained encoder.
    Encoder(EncoderToCompare),
    /// Responses, for example recordings.
    Responses(ResponsesToCompare),
    /// Dissimilarities.
    Matrix(MatrixToCompare),
}

/// A layer of a model that reads the stimuli.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelToCompare {
    /// Its name in the answer.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// The model.
    model: ModelName,
    /// Its layer, as `/embed` names them; the last one when missing.
    layer: Option<String>,
    /// Its version; the one that is served when missing.
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    version: Option<u64>,
    /// Its own distance, in place of that of the request.
    distance: Option<Distance>,
}

/// A pretrained encoder that reads the stimuli.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EncoderToCompare {
    /// Its name in the answer.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// The encoder.
    encoder: EncoderName,
    /// The column of the stimuli that it reads.
    column: String,
    /// Its own distance, in place of that of the request.
    distance: Option<Distance>,
}

/// A dataset of responses, a row for each observation.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResponsesToCompare {
    /// Its name in the answer.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// The dataset.
    dataset: DatasetName,
    /// Its columns that are channels: a name, or a pattern with `*`; all columns of numbers when missing.
    channels: Option<String>,
    /// Its column with the name of the stimulus; the row number, from 0, when missing.
    condition: Option<String>,
    /// Its column with the subject, where there are several.
    subject: Option<String>,
    /// Its column with the run, for cross-validated distances.
    run: Option<String>,
    /// Its own distance, in place of that of the request.
    distance: Option<Distance>,
}

/// A dataset of dissimilarities with the columns `i`, `j`, `value` and, where there are several subjects, `subject`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MatrixToCompare {
    /// Its name in the answer.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// The dataset.
    rdm: DatasetName,
    /// Its column with the subject; `subject` when missing.
    subject: Option<String>,
}
