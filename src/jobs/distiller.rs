//! Distilling: a static encoder from a transformer and the texts of a dataset. It takes seconds to minutes and has no
//! checkpoints; another attempt makes the same encoder from the start.

use super::compute::{Computed, Source, Task};
use crate::store::{DatasetName, EncoderName};
use crate::{Detail, Error, Kind, Result};
use kenyon_learn::data::plan::{self, ColumnPlan};
use kenyon_learn::data::{Column, ColumnKind};
use kenyon_learn::encoders::{self, Pretrained};
use kenyon_learn::learning::{Monitor, Progress};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::Path;
use std::time::Instant;
use utoipa::ToSchema;

/// The folder of the new encoder in that of the job.
pub(super) const MADE_ENCODER: &str = "encoder";
/// Rows that are read.
const ROWS: u64 = 200_000;

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

/// What is learned of the texts in `column` of the task's dataset, written to the task's folder.
pub(super) fn compute(task: &Task, teacher: &Path, column: &str, monitor: &dyn Monitor) -> Result<Computed> {
    let texts = texts(&task.source, column, &task.limits())?;
    let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
    let folder = task.scratch.join(MADE_ENCODER);
    // An attempt before may have left a part.
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => std::fs::create_dir_all(&folder)?,
    }
    let begun = Instant::now();
    let progress = |fraction: f64| {
        let seconds = begun.elapsed().as_secs_f64();
        let eta_seconds = seconds * (1.0 - fraction) / fraction.max(1e-3);
        monitor.progress(&Progress { epochs: 1, fraction, eta_seconds, ..Progress::default() }, false);
        !monitor.canceled()
    };
    let found = encoders::distill(teacher, &texts, &folder, task.threads, &progress)?;
    let made = Pretrained::open(&folder, task.threads)?;
    let mut info = serde_json::to_value(made.info()).map_err(Error::internal)?;
    info["rows_per_second"] = made.rows_per_second()?.into();
    let metrics = json!({
        "tokens": found.tokens, "words": found.words, "texts": found.texts, "cosine": found.cosine,
        "cosine_unfitted": found.cosine_unfitted, "variance": found.variance, "rows_per_second": info["rows_per_second"],
    });
    Ok(Computed::Encoder { info, metrics })
}

fn texts(source: &Source, column: &str, limits: &kenyon_learn::data::formats::Limits) -> Result<Vec<Box<str>>> {
    let plans = plan::spelled_as(&[ColumnPlan::new(column, ColumnKind::Text)], &source.summary()?.columns);
    let (table, _) = plan::read_head(&source.parts, &[], &plans, limits, ROWS)?;
    match table.columns.into_iter().next() {
        Some((_, Column::Text(texts))) => Ok(texts.into_iter().flatten().collect()),
        _ => Err(Error::internal("a text was not read as one")),
    }
}

/// The encoder that the job was submitted for is gone.
pub(super) fn gone(encoder: &EncoderName) -> Error {
    Error::new(Kind::NotFound, "encoder_not_found", format!("the encoder {encoder} was removed"))
}
