//! A model as it is saved and served: configuration, encoder, network, calibration, novelty.
//!
//! Three files: `config.json`, `encoder.json`, `weights.safetensors`. A bundle made by a stranger is
//! refused with a clear error: every size that the files name is checked against the others.

use super::calibrate::{Calibration, MAX_KEYS, Novelty, SKETCH};
use crate::data::encoder::Encoder;
use crate::data::plan::ColumnPlan;
use crate::data::rows::RowsReader;
use crate::data::target::TargetEncoder;
use crate::data::{Batch, Table};
use crate::models::{Family, Network, Task};
use crate::nn::Tensors;
use crate::nn::probability::{named, softmax_with_temperature};
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The version of the bundle's layout this program writes, and the newest it reads.
pub const FORMAT: u32 = 1;

/// What `config.json` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BundleConfig {
    /// Layout version of the bundle.
    pub format: u32,
    /// The network's family.
    pub family: Family,
    /// Why this family, where it was chosen rather than asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family_reason: Option<String>,
    /// What kind of answer.
    pub task: Task,
    /// How the target column is read.
    pub target: ColumnPlan,
    /// Classes, or mean and deviation.
    pub target_encoder: TargetEncoder,
    /// Columns a row may carry that are not read.
    #[serde(default)]
    pub ignored: Vec<String>,
    /// The settings in full.
    pub config: Map<String, Value>,
    /// Temperature and conformity scores.
    pub calibration: Calibration,
    /// Distance beyond which an answer abstains.
    pub novelty_threshold: f32,
    /// Figures on the held-out rows.
    pub metrics: Map<String, Value>,
    /// Rows it was trained on.
    #[serde(default)]
    pub rows: usize,
    /// Of a cross-fitted ensemble the member that has not learned each row of the training data, 255 where it has no
    /// label; empty where rows were held out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folds: Vec<u8>,
    /// What each class's probability is multiplied with to find the class that is named; empty where the most probable
    /// one is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decision: Vec<f32>,
    /// The seed it was trained with.
    pub seed: u64,
}

/// A trained model, ready to answer.
pub struct Bundle {
    /// What was trained, and how far to trust it.
    pub config: BundleConfig,
    /// From rows to tokens.
    pub encoder: Arc<Encoder>,
    /// From tokens to answers.
    pub network: Box<dyn Network>,
    /// What is near to what it has seen.
    pub novelty: Arc<Novelty>,
    reader: RowsReader,
    class_names: Vec<String>,
}

/// What the network said about some rows, before it is put into words.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answers {
    /// Calibrated probabilities `[rows, classes]`, or standardised values `[rows]`, which [`Bundle::value`]
    /// gives in the target's own unit.
    pub values: Vec<f32>,
    /// Distance to what is known, `[rows]`.
    pub novelty: Vec<f32>,
    /// Classes, or 1.
    pub outputs: usize,
}

impl std::fmt::Debug for Bundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bundle").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Bundle {
    /// Puts the parts together.
    pub fn new(
        mut config: BundleConfig,
        encoder: impl Into<Arc<Encoder>>,
        network: Box<dyn Network>,
        novelty: impl Into<Arc<Novelty>>,
    ) -> Self {
        let (encoder, novelty) = (encoder.into(), novelty.into());
        // Bundles of before labels kept their spelling read them the same way now.
        config.target.labels = config.task == Task::Classification;
        let reader = RowsReader::new(&encoder.inputs, &config.ignored);
        let class_names = match &config.target_encoder {
            TargetEncoder::Classes(classes) => classes.iter().map(class_name).collect(),
            TargetEncoder::Number { .. } => Vec::new(),
        };
        Self { config, encoder, network, novelty, reader, class_names }
    }

    /// Reads JSON rows into tables as this model wants them.
    pub fn reader(&self) -> &RowsReader {
        &self.reader
    }

    /// What a version shows of itself beside its figures.
    pub fn describe(&self) -> Value {
        let config = &self.config;
        serde_json::json!({
            "task": config.task,
            "features": self.encoder.inputs,
            "target": config.target,
            "classes": self.classes(),
            "left_out": self.encoder.dropped,
            "family_reason": config.family_reason,
            "config": config.config,
            "rows": config.rows,
            "seed": config.seed,
        })
    }

    /// The classes as in the data; empty for regression.
    pub fn classes(&self) -> &[Value] {
        match &self.config.target_encoder {
            TargetEncoder::Classes(classes) => classes,
            TargetEncoder::Number { .. } => &[],
        }
    }

    /// The classes as object keys, in the order of [`Bundle::classes`].
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// From rows to tokens.
    pub fn encode(&self, table: &Table) -> Result<Batch> {
        self.encoder.encode(table)
    }

    /// One forward pass: calibrated answers and novelty of every row.
    pub fn run(&self, batch: &Batch) -> Result<Answers> {
        let (values, codes) = self.network.forward_with_features(batch)?;
        let width = self.network.feature_width();
        let mut novelty: Vec<f32> = codes.chunks_exact(width.max(1)).map(|code| self.novelty.distance(code)).collect();
        for &(row, far) in &batch.out_of_range {
            if let Some(novelty) = novelty.get_mut(row as usize) {
                *novelty = novelty.max(far);
            }
        }
        Ok(Answers { novelty, ..self.calibrated(values) })
    }

    /// One forward pass: calibrated answers alone, for those who do not ask for novelty.
    pub fn run_plain(&self, batch: &Batch) -> Result<Answers> {
        Ok(self.calibrated(self.network.forward(batch)?))
    }

    /// Probabilities from logits; values as they are.
    fn calibrated(&self, mut values: Vec<f32>) -> Answers {
        let outputs = self.network.outputs();
        match &self.config.target_encoder {
            TargetEncoder::Classes(_) => {
                for row in values.chunks_exact_mut(outputs) {
                    softmax_with_temperature(row, self.config.calibration.temperature);
                }
            }
            TargetEncoder::Number { .. } => {}
        }
        Answers { values, novelty: Vec::new(), outputs }
    }

    /// Whether an answer with this novelty abstains.
    pub fn abstains(&self, novelty: f32) -> bool {
        novelty > self.config.novelty_threshold
    }

    /// The classes of row `probabilities`' conformal set, most probable first.
    pub fn set(&self, probabilities: &[f32], coverage: f64) -> Vec<usize> {
        self.config.calibration.set(probabilities, coverage)
    }

    /// A standardised answer in the target's own unit, to the precision of the target.
    pub fn value(&self, standardised: f32) -> f64 {
        match &self.config.target_encoder {
            TargetEncoder::Number { mean, std } => f64::from(standardised) * std + mean,
            TargetEncoder::Classes(_) => f64::from(standardised),
        }
    }

    /// The conformal interval around `value`; `None` where too few rows were held out to promise it.
    pub fn interval(&self, value: f64, coverage: f64) -> Option<[f64; 2]> {
        let TargetEncoder::Number { std, .. } = &self.config.target_encoder else { return None };
        let half = f64::from(self.config.calibration.threshold(coverage)) * std;
        half.is_finite().then_some([value - half, value + half])
    }

    /// The class that is named for one row's probabilities.
    pub fn named(&self, probabilities: &[f32]) -> usize {
        named(probabilities, &self.config.decision)
    }

    /// The answered class of one row's probabilities.
    pub fn label(&self, probabilities: &[f32]) -> Option<&Value> {
        self.classes().get(self.named(probabilities))
    }

    /// Bytes it takes in memory, about.
    pub fn bytes(&self) -> u64 {
        let tensors = self.network.save().map(|t| t.values().map(tensor_bytes).sum()).unwrap_or(0u64);
        tensors + (self.novelty.keys.len() * 4 + self.config.calibration.scores.len() * 4) as u64
    }

    /// The files of the bundle.
    pub fn files(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let mut tensors: Tensors =
            self.network.save()?.into_iter().map(|(name, t)| (format!("network.{name}"), t)).collect();
        let keys = self.novelty.keys.len() / SKETCH;
        if keys > 0 {
            let keys = Tensor::from_slice(&self.novelty.keys, (keys, SKETCH), &Device::Cpu)?;
            tensors.insert("novelty.keys".to_owned(), keys);
        }
        Ok(vec![
            ("config.json", serde_json::to_vec(&self.config).map_err(Error::internal)?),
            ("encoder.json", serde_json::to_vec(&*self.encoder).map_err(Error::internal)?),
            ("weights.safetensors", tensors_to_bytes(&tensors)?),
        ])
    }

    /// Reads the files of a bundle, trusting nothing in them.
    pub fn load<'a>(file: impl Fn(&str) -> Option<&'a [u8]>) -> Result<Self> {
        let need = |name: &str| file(name).ok_or_else(|| bad(format!("{name} is missing")));
        let config: BundleConfig = serde_json::from_slice(need("config.json")?)
            .map_err(|e| bad(format!("config.json cannot be read: {e}")))?;
        if config.format > FORMAT {
            return Err(bad(format!("bundle format {} is newer than {FORMAT}", config.format)));
        }
        let encoder: Encoder = serde_json::from_slice(need("encoder.json")?)
            .map_err(|e| bad(format!("encoder.json cannot be read: {e}")))?;
        encoder.check().map_err(|e| bad(format!("encoder.json: {e}")))?;
        check_config(&config)?;
        let tensors = tensors_from_bytes(need("weights.safetensors")?)?;
        if let Some((name, _)) = tensors.iter().find(|(_, tensor)| !is_finite(tensor)) {
            return Err(bad(format!("weights.safetensors: {name} holds a value that is not finite")));
        }
        let network_tensors: Tensors = tensors
            .iter()
            .filter_map(|(name, t)| Some((name.strip_prefix("network.")?.to_owned(), t.clone())))
            .collect();
        let outputs = config.target_encoder.outputs();
        let network = config
            .family
            .load(&encoder, config.task, outputs, &config.config, &network_tensors)
            .map_err(|e| bad(format!("weights.safetensors does not fit the configuration: {e}")))?;
        if network.outputs() != outputs {
            return Err(bad(format!("the network has {} outputs, the target {outputs}", network.outputs())));
        }
        let keys = match tensors.get("novelty.keys") {
            Some(t) if t.dims().len() == 2 && t.dims()[1] == SKETCH && t.dims()[0] <= MAX_KEYS => {
                t.flatten_all().and_then(|t| t.to_vec1::<f32>()).map_err(|e| bad(e.to_string()))?
            }
            Some(_) => return Err(bad("novelty.keys has the wrong shape")),
            None => Vec::new(),
        };
        let novelty = Novelty::with_keys(keys, network.feature_width(), config.novelty_threshold);
        Ok(Self::new(config, encoder, network, novelty))
    }
}

/// A class as an object key: strings as they are, everything else as JSON writes it.
pub fn class_name(class: &Value) -> String {
    class.as_str().map_or_else(|| class.to_string(), str::to_owned)
}

/// Tensors as safetensors bytes.
pub fn tensors_to_bytes(tensors: &Tensors) -> Result<Vec<u8>> {
    safetensors::serialize(tensors.iter().map(|(n, t)| (n.as_str(), t)), None).map_err(Error::internal)
}

/// Tensors from safetensors bytes; the format's own checks bound every size by the bytes given.
pub fn tensors_from_bytes(bytes: &[u8]) -> Result<Tensors> {
    let tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu)
        .map_err(|e| bad(format!("weights.safetensors cannot be read: {e}")))?;
    Ok(tensors.into_iter().collect())
}

fn bad(detail: impl Into<String>) -> Error {
    Error::unprocessable("bad_bundle", detail)
}

fn tensor_bytes(tensor: &Tensor) -> u64 {
    (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64
}

fn is_finite(tensor: &Tensor) -> bool {
    if !tensor.dtype().is_float() {
        return true;
    }
    let Ok(values) = tensor.flatten_all().and_then(|t| t.to_dtype(candle_core::DType::F32)) else { return false };
    values.to_vec1::<f32>().is_ok_and(|v| v.iter().all(|x| x.is_finite()))
}

fn check_config(config: &BundleConfig) -> Result<()> {
    let c = &config.calibration;
    if !(c.temperature.is_finite() && c.temperature > 0.0) {
        return Err(bad("config.json: the temperature must be above 0"));
    }
    if c.rows > 0 && (c.scores.is_empty() || c.scores.len() > c.rows || !c.scores.is_sorted()) {
        return Err(bad("config.json: the calibration scores do not fit"));
    }
    if !config.decision.iter().all(|factor| factor.is_finite() && *factor > 0.0) {
        return Err(bad("config.json: the factors of the classes must be above 0"));
    }
    match &config.target_encoder {
        // A model that learns only by observing starts without classes.
        TargetEncoder::Classes(classes)
            if (classes.len() < 2 && config.config.get("stream") != Some(&Value::Bool(true)))
                || classes.len() > 100_000 =>
        {
            Err(bad("config.json: there must be 2 to 100,000 classes"))
        }
        TargetEncoder::Number { mean, std } if !mean.is_finite() || !std.is_finite() || *std <= 0.0 => {
            Err(bad("config.json: mean and deviation of the target must be finite"))
        }
        TargetEncoder::Classes(_) if config.task == Task::Regression => Err(bad("config.json: task and target differ")),
        _ => Ok(()),
    }
}
