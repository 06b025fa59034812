//! A model as it is saved and served: configuration, encoder, network, calibration, novelty.
//!
//! Three files: `config.json`, `encoder.json`, `weights.safetensors`. An untrusted bundle that is inconsistent is
//! refused with a clear error: every size that the files name is checked against the others.

mod files;

pub(super) use files::{bad, is_finite};
pub use files::{tensors_from_bytes, tensors_to_bytes};

use super::background::Background;
use super::calibrate::{Calibration, SetOptions};
use super::importance::Importance;
use super::novelty::{Novelty, SavedNovelty};
use crate::Result;
use crate::data::encoder::Encoder;
use crate::data::plan::ColumnPlan;
use crate::data::rows::RowsReader;
use crate::data::target::TargetEncoder;
use crate::data::{Batch, Table};
use crate::models::{Family, Network, SavedNetwork, Task};
use crate::nn::Tensors;
use crate::nn::probability::{named, softmax_with_temperature};
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
    /// Columns a row may have that are not read.
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
    /// The column with the weight of each row that it was trained with; metrics count rows by it where they have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
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
            "weight": config.weight,
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

    /// As [`Self::run_plain`] of a cross-fitted ensemble, each row answered by the one member that `members` names.
    pub fn run_members(&self, batch: &Batch, members: &[u8]) -> Result<Answers> {
        Ok(self.calibrated(self.network.forward_members(batch, members)?))
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

    /// Whether a set of row `probabilities` holds the class that is named and no other. Sets are made around the likeliest
    /// class, which is another one where the objective favours rare classes.
    pub fn is_sure(&self, probabilities: &[f32], set: &[usize]) -> bool {
        set == [self.named(probabilities)]
    }

    /// An answer with this novelty in one word: `unfamiliar` where it abstains, else `sure` or `unsure`.
    pub fn verdict(&self, novelty: f32, level: Option<f32>, sure: bool) -> &'static str {
        match (self.abstains(novelty, level), sure) {
            (true, _) => "unfamiliar",
            (false, true) => "sure",
            (false, false) => "unsure",
        }
    }

    /// A standardised answer in the target's own unit, to the precision of the target.
    pub fn value(&self, standardised: f32) -> f64 {
        match &self.config.target_encoder {
            TargetEncoder::Number { mean, std } => f64::from(standardised) * std + mean,
            TargetEncoder::Classes(_) => f64::from(standardised),
        }
    }

    /// The conformal interval around `value` for a row whose error has this expected size, where that is known;
    /// `None` where too few rows were held out for a guarantee.
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

    /// Whether an interval is uninformative: wider than half the range that nine tenths of the targets of the
    /// training, or of a stream, lie in. None is.
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
}

/// A class as an object key: strings unchanged, everything else as JSON writes it.
pub fn class_name(class: &Value) -> String {
    class.as_str().map_or_else(|| class.to_string(), str::to_owned)
}
