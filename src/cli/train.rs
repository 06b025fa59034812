//! Arguments of `kenyon train`, with a server or without.

use clap::Args;
use kenyon_learn::device::DeviceName;
use serde_json::{Map, Value};
use std::path::PathBuf;

/// Arguments of `kenyon train`.
#[derive(Debug, Args)]
pub(super) struct Train {
    /// CSV, TSV, NDJSON, JSON or Parquet, plain or compressed.
    pub(super) file: PathBuf,
    /// Column to predict.
    #[arg(long)]
    pub(super) target: String,
    /// Name of the model; derived from the file's name when missing.
    #[arg(long)]
    pub(super) model: Option<String>,
    /// `sparse_mlp`, `attention`, `memory` or `hybrid`; selected from the data when missing.
    #[arg(long)]
    pub(super) family: Option<String>,
    /// `classification` or `regression`; inferred when missing.
    #[arg(long)]
    pub(super) task: Option<String>,
    /// Seed of everything random.
    #[arg(long)]
    pub(super) seed: Option<u64>,
    /// Share of the rows held out.
    #[arg(long)]
    pub(super) validation: Option<f32>,
    /// Which class is named: `accuracy` (the most probable) or `balanced` (rare classes count as much as frequent ones).
    #[arg(long)]
    pub(super) objective: Option<String>,
    /// Where it trains without a server: `cpu`, `cuda`, `cuda:N`, `metal` or `auto`; a server has its own. [default: cpu]
    #[arg(long, value_name = "NAME")]
    pub(super) device: Option<DeviceName>,
    /// Train even where the served version of the model needs other columns or predicts something else.
    #[arg(long)]
    pub(super) schema_change: bool,
    /// A setting of the family, `epochs=20`; may be repeated.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    pub(super) settings: Vec<(String, Value)>,
    /// How a column is read, `zip=category` or `id=ignore`; may be repeated.
    #[arg(long = "feature", value_name = "COLUMN=KIND", value_parser = setting)]
    pub(super) features: Vec<(String, Value)>,
}

/// A `name=value`, the value JSON where it is any and a word otherwise.
pub(super) fn setting(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((name.to_owned(), value))
}

impl Train {
    /// The request's body, without the dataset.
    pub(super) fn request(&self) -> Map<String, Value> {
        let mut request = Map::new();
        request.insert("target".into(), self.target.clone().into());
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                request.insert(name.into(), value);
            }
        };
        put("family", self.family.clone().map(Value::from));
        put("task", self.task.clone().map(Value::from));
        put("schema_change", self.schema_change.then_some(Value::from(true)));
        put("objective", self.objective.clone().map(Value::from));
        put("seed", self.seed.map(Value::from));
        put("validation", self.validation.map(|v| (f64::from(v) * 1e6).round() / 1e6).map(Value::from));
        let object = |pairs: &[(String, Value)]| Value::Object(pairs.iter().cloned().collect());
        put("config", (!self.settings.is_empty()).then(|| object(&self.settings)));
        put("features", (!self.features.is_empty()).then(|| object(&self.features)));
        request
    }
}
