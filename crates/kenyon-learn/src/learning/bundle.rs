//! A model as it is saved and served: configuration, encoder, network, calibration, novelty.
//!
//! Three files: `config.json`, `encoder.json`, `weights.safetensors`. An untrusted bundle that is inconsistent is
//! refused with a clear error: every size that the files name is checked against the others.

use super::background::Background;
use super::calibrate::{Calibration, SetOptions};
use super::importance::Importance;
use super::novelty::{KnownCodes, MAX_KEYS, Novelty, SKETCH, SavedNovelty};
use crate::data::encoder::Encoder;
use crate::data::plan::ColumnPlan;
use crate::data::rows::RowsReader;
use crate::data::target::TargetEncoder;
use crate::data::{Batch, Table};
use crate::models::{Family, Network, SavedNetwork, Task};
use crate::nn::Tensors;
use crate::nn::probability::{named, softmax_with_temperature};
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The version of the bundle's layout this program writes, and the newest it reads.
pub const FORMAT: u32 = 1;

/// Bytes in memory of what is one byte of text in `config.json` or `encoder.json`: maps and strings of their own, and the reader
/// made of them.
const TEXT_FACTOR: u64 = 6;

/// The contents of `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BundleConfig {
    /// Layout version of the bundle.
    pub format: u32,
    /// The network's family.
    pub family: Family,
    /// Why this family, where the request did not name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family_reason: Option<String>,
    /// The task.
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
    /// Distance beyond which an answer abstains; of models of 0.1, whose novelty is a distance.
    pub novelty_threshold: f32,
    /// What makes novelty a rank; none in models of 0.1. Filled in when the bundle is saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub novelty: Option<SavedNovelty>,
    /// How much each feature matters; none in models of before it was measured and in streams from nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub importance: Option<Importance>,
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

impl BundleConfig {
    /// A network of this model that was saved as `tensors`.
    pub(super) fn saved<'a>(&'a self, encoder: &'a Encoder, tensors: &'a Tensors) -> SavedNetwork<'a> {
        let Self { task, target_encoder, config, .. } = self;
        SavedNetwork { encoder, task: *task, outputs: target_encoder.outputs(), config, tensors }
    }
}

/// A trained model.
pub struct Bundle {
    /// Configuration and calibration.
    pub config: BundleConfig,
    /// The encoder.
    pub encoder: Arc<Encoder>,
    /// The network.
    pub network: Box<dyn Network>,
    /// Distances to the training data.
    pub novelty: Arc<Novelty>,
    /// Training rows that explanations compare with; none in models of 0.1 and streams from nothing.
    pub background: Option<Arc<Background>>,
    reader: RowsReader,
    class_names: Vec<String>,
    /// Length of the texts it was loaded from.
    text_bytes: u64,
}

/// The outputs of a network for some rows, before they are rendered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answers {
    /// Calibrated probabilities `[rows, classes]`, or standardised values `[rows]`, which [`Bundle::value`]
    /// gives in the target's own unit.
    pub values: Vec<f32>,
    /// How novel each row is, `[rows]`: a rank among familiar rows, or a distance in models of 0.1.
    pub novelty: Vec<f32>,
    /// Expected size of each row's error, `[rows]`; empty where all rows have one.
    pub error_sizes: Vec<f32>,
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
        // Bundles from before labels kept their spelling are read in the same way.
        config.target.labels = config.task == Task::Classification;
        let reader = RowsReader::new(&encoder.inputs, &config.ignored);
        let class_names = match &config.target_encoder {
            TargetEncoder::Classes(classes) => classes.iter().map(class_name).collect(),
            TargetEncoder::Number { .. } => Vec::new(),
        };
        Self { config, encoder, network, novelty, background: None, reader, class_names, text_bytes: 0 }
    }

    /// The same with rows that explanations compare with.
    #[must_use]
    pub fn with_background(self, background: Option<Arc<Background>>) -> Self {
        Self { background, ..self }
    }

    /// The same with another way to compute its network.
    pub(super) fn with_network(self, other: impl FnOnce(Box<dyn Network>) -> Box<dyn Network>) -> Self {
        Self { network: other(self.network), ..self }
    }

    /// Reads JSON rows into tables for this model.
    pub fn reader(&self) -> &RowsReader {
        &self.reader
    }

    /// What a version shows in addition to its metrics.
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

    /// From rows to tokens, in the shortest form of batch that the network reads, with how unusual the rows are.
    pub fn encode(&self, table: &Table) -> Result<Batch> {
        let mut batch = self.encode_plain(table)?;
        batch.input_scores = self.novelty.of_inputs(table);
        Ok(batch)
    }

    /// The same for answers without novelty.
    pub fn encode_plain(&self, table: &Table) -> Result<Batch> {
        if self.network.reads_compact() { self.encoder.encode_compact(table) } else { self.encoder.encode(table) }
    }

    /// A row that the model reads, encoded: one of the background, else one without values. None where the model needs what is not
    /// known here, and where encoding is slow.
    pub fn sample(&self) -> Option<Batch> {
        if self.encoder.is_slow() {
            return None;
        }
        let known = self.background.as_ref().and_then(|background| self.encode(&background.first()).ok());
        known.or_else(|| self.encode(&self.reader.from_json(b"[{}]").ok()?).ok())
    }

    /// One forward pass: calibrated answers, novelty and expected error of every row.
    pub fn run(&self, batch: &Batch) -> Result<Answers> {
        let (values, codes) = self.network.forward_with_features(batch)?;
        let errors = self.config.calibration.errors.as_ref();
        let (mut novelty, mut error_sizes) = (Vec::with_capacity(batch.rows()), Vec::new());
        for (row, code) in codes.chunks_exact(self.network.feature_width().max(1)).enumerate() {
            let sketch = self.novelty.codes.sketch(code);
            novelty.push(self.novelty.rank(self.novelty.score(&sketch, batch, row)));
            error_sizes.extend(errors.map(|errors| errors.size(values[row], &sketch)));
        }
        Ok(Answers { novelty, error_sizes, ..self.calibrated(values) })
    }

    /// One forward pass: calibrated outputs alone, without novelty.
    pub fn run_plain(&self, batch: &Batch) -> Result<Answers> {
        Ok(self.calibrated(self.network.forward(batch)?))
    }

    /// Probabilities from logits; values unchanged.
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
        Answers { values, outputs, ..Answers::default() }
    }

    /// Whether an answer with this novelty abstains, by the request's own level if it has one.
    pub fn abstains(&self, novelty: f32, level: Option<f32>) -> bool {
        self.novelty.abstains(novelty, level)
    }

    /// The classes of row `probabilities`' conformal set, most probable first.
    pub fn set(&self, probabilities: &[f32], options: SetOptions) -> Vec<usize> {
        self.config.calibration.set(probabilities, options)
    }

    /// A standardised answer in the target's own unit, to the precision of the target.
    pub fn value(&self, standardised: f32) -> f64 {
        match &self.config.target_encoder {
            TargetEncoder::Number { mean, std } => f64::from(standardised) * std + mean,
            TargetEncoder::Classes(_) => f64::from(standardised),
        }
    }

    /// The conformal interval around `value` for a row whose error has this expected size, where that is known;
    /// `None` where too few rows were held out to promise one.
    pub fn interval(&self, value: f64, error_size: Option<f32>, coverage: f64) -> Option<[f64; 2]> {
        let TargetEncoder::Number { std, .. } = &self.config.target_encoder else { return None };
        let calibration = &self.config.calibration;
        let [below, above] = match (&calibration.errors, error_size) {
            (Some(errors), Some(size)) => errors.reach(coverage)?.map(|reach| f64::from(reach * size) * std),
            _ => {
                let half = f64::from(calibration.threshold(coverage).max(0.0)) * std;
                half.is_finite().then_some([-half, half])?
            }
        };
        Some(self.around(value, [below, above]))
    }

    /// The interval with these ends relative to `value`, within the sign of the targets.
    pub(super) fn around(&self, value: f64, [below, above]: [f64; 2]) -> [f64; 2] {
        let interval = [value + below, value + above];
        let [low, high] = self.config.calibration.target.map_or(interval, |span| span.clip(interval));
        // An interval holds its value, also where that is beyond the range that targets have.
        [low.min(value), high.max(value)]
    }

    /// Whether an interval is uninformative: wider than half the range that nine tenths of the training targets
    /// lie in. None is.
    pub fn is_wide(&self, interval: Option<[f64; 2]>) -> bool {
        let TargetEncoder::Number { std, .. } = &self.config.target_encoder else { return false };
        // Models of before the range was kept have the deviation alone: nine tenths of a normal distribution.
        let range = self.config.calibration.target.map_or(3.29 * std, |span| span.high - span.low);
        interval.is_none_or(|[low, high]| high - low > range / 2.0)
    }

    /// The class that is named for one row's probabilities.
    pub fn named(&self, probabilities: &[f32]) -> usize {
        named(probabilities, &self.config.decision)
    }

    /// The answered class of one row's probabilities.
    pub fn label(&self, probabilities: &[f32]) -> Option<&Value> {
        self.classes().get(self.named(probabilities))
    }

    /// Bytes in memory, about, without what it shares with other models.
    pub fn bytes(&self) -> u64 {
        let background = self.background.as_ref().map_or(0, |background| background.bytes());
        let bytes = self.network.bytes() + background + self.novelty.bytes() + self.text_bytes * TEXT_FACTOR;
        // Allocators have about eight sizes to a doubling, and round up to one of them.
        bytes + bytes / 8
    }

    /// The files of the bundle.
    pub fn files(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let mut tensors: Tensors =
            self.network.save()?.into_iter().map(|(name, t)| (format!("network.{name}"), t)).collect();
        for (name, keys) in [("novelty.keys", self.novelty.codes.keys()), ("novelty.inputs", self.novelty.input_keys())]
        {
            if !keys.is_empty() {
                let shape = (keys.len() / SKETCH, SKETCH);
                let keys = Tensor::from_vec(keys, shape, &Device::Cpu)?;
                tensors.insert(name.to_owned(), keys);
            }
        }
        if let Some(background) = &self.background {
            let bytes = background.to_bytes()?;
            tensors.insert("background".to_owned(), Tensor::from_slice(&bytes, bytes.len(), &Device::Cpu)?);
        }
        let config = BundleConfig { novelty: self.novelty.saved(), ..self.config.clone() };
        Ok(vec![
            ("config.json", serde_json::to_vec(&config).map_err(Error::internal)?),
            ("encoder.json", serde_json::to_vec(&*self.encoder).map_err(Error::internal)?),
            ("weights.safetensors", tensors_to_bytes(&tensors)?),
        ])
    }

    /// Reads the files of an untrusted bundle.
    pub fn load<'a>(file: impl Fn(&str) -> Option<&'a [u8]>) -> Result<Self> {
        let need = |name: &str| file(name).ok_or_else(|| bad(format!("{name} is missing")));
        let mut config: BundleConfig = serde_json::from_slice(need("config.json")?)
            .map_err(|e| bad(format!("config.json cannot be read: {e}")))?;
        if config.format > FORMAT {
            return Err(bad(format!("bundle format {} is newer than {FORMAT}", config.format)));
        }
        let encoder: Encoder = serde_json::from_slice(need("encoder.json")?)
            .map_err(|e| bad(format!("encoder.json cannot be read: {e}")))?;
        encoder.check().map_err(|e| bad(format!("encoder.json: {e}")))?;
        encoder.open()?;
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
            .load(&config.saved(&encoder, &network_tensors))
            .map_err(|e| bad(format!("weights.safetensors does not fit the configuration: {e}")))?;
        if network.outputs() != outputs {
            return Err(bad(format!("the network has {} outputs, the target {outputs}", network.outputs())));
        }
        let codes = KnownCodes::new(&novelty_keys(&tensors, "novelty.keys", MAX_KEYS)?, network.feature_width());
        let novelty = match config.novelty.take() {
            Some(saved) => {
                let columns: Vec<&str> = encoder.inputs.iter().map(|input| input.name.as_str()).collect();
                let keys = novelty_keys(&tensors, "novelty.inputs", 2 * MAX_KEYS)?;
                Novelty::load(codes, saved, keys, &columns)
                    .ok_or_else(|| bad("config.json: what novelty is ranked by does not fit"))?
            }
            None => Novelty::distance_alone(codes, config.novelty_threshold),
        };
        let background = match tensors.get("background") {
            Some(tensor) => {
                let bytes = tensor.flatten_all().and_then(|t| t.to_vec1::<u8>()).map_err(|e| bad(e.to_string()))?;
                let found = Background::from_bytes(&bytes, &encoder);
                Some(Arc::new(found.ok_or_else(|| bad("the background rows do not fit the columns"))?))
            }
            None => None,
        };
        let text_bytes =
            ["config.json", "encoder.json"].iter().filter_map(|name| file(name)).map(|text| text.len() as u64);
        let text_bytes = text_bytes.sum();
        Ok(Self { text_bytes, ..Self::new(config, encoder, network, novelty).with_background(background) })
    }
}

/// Keys `[_, SKETCH]`, `most` at most; none where they are missing.
fn novelty_keys(tensors: &Tensors, name: &str, most: usize) -> Result<Vec<f32>> {
    match tensors.get(name) {
        Some(t) if t.dims().len() == 2 && t.dims()[1] == SKETCH && t.dims()[0] <= most => {
            t.flatten_all().and_then(|t| t.to_vec1::<f32>()).map_err(|e| bad(e.to_string()))
        }
        Some(_) => Err(bad(format!("{name} has the wrong shape"))),
        None => Ok(Vec::new()),
    }
}

/// A class as an object key: strings unchanged, everything else as JSON writes it.
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

pub(super) fn bad(detail: impl Into<String>) -> Error {
    Error::unprocessable("bad_bundle", detail)
}

pub(super) fn is_finite(tensor: &Tensor) -> bool {
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
    if c.class_scores.len() != c.class_rows.len()
        || c.class_scores.iter().any(|scores| !scores.is_sorted())
        || !c.likeliest_scores.is_sorted()
        || c.errors.as_ref().is_some_and(|errors| !errors.is_consistent())
    {
        return Err(bad("config.json: the scores of classes or the sizes of errors do not fit"));
    }
    if !c.adapted.iter().flatten().all(|share| (0.0..=1.0).contains(share)) || !c.adapted.is_sorted() {
        return Err(bad("config.json: the coverages of the calibration do not fit"));
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
