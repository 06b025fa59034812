//! Distilling: a static encoder from a transformer and the texts of a dataset. It takes seconds to minutes and has no
//! checkpoints; another attempt makes the same encoder from the start.

use crate::store::{DatasetName, EncoderName};
use crate::{Detail, Error, Kind, Result};
use kenyon_learn::data::ColumnKind;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The folder of the new encoder in that of the job.
pub(super) const MADE_ENCODER: &str = "encoder";

/// A static encoder to make.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "dataset": "intents", "column": "text", "into": "fast" })))]
pub struct DistillRequest {
    /// The dataset that has the texts; of a large one the first 200,000 rows.
    pub dataset: DatasetName,
    /// Its column of texts.
    pub column: String,
    /// The name of the new encoder.
    pub into: EncoderName,
}

/// The job's own form of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Distillation {
    pub(super) request: DistillRequest,
    /// The transformer.
    pub(super) encoder: EncoderName,
    pub(super) digest: String,
}

impl DistillRequest {
    /// Refuses a column that has no texts.
    pub(super) fn check(&self, columns: &serde_json::Value) -> Result<()> {
        let columns = super::inputs::summary(columns)?.columns;
        let found = columns.iter().find(|column| column.name == self.column);
        let bad = |code, detail: String| {
            Err(Error::unprocessable(code, detail.clone()).with_details([Detail::path("column", detail)]))
        };
        match found.map(|column| column.kind) {
            None => bad("unknown_column", format!("the dataset has no column '{}'", self.column)),
            Some(ColumnKind::Text | ColumnKind::Category) => Ok(()),
            Some(other) => bad("bad_feature", format!("'{}' is a {} and no text", self.column, other.name())),
        }
    }
}

/// The encoder that the job was submitted for is gone.
pub(super) fn gone(encoder: &EncoderName) -> Error {
    Error::new(Kind::NotFound, "encoder_not_found", format!("the encoder {encoder} was removed"))
}
