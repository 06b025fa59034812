//! The memory family: a question reads slots, or a row retrieves stored rows. One of three algorithms answers: over a
//! column of sentences query reduction ([`query_reduction`]) or a classic memory network ([`memory_network`]), for all
//! other rows attention over stored training rows ([`knn_attention`]). Where a pretrained encoder reads a text, stored
//! vectors answer by weights that are solved for ([`kernel`]).

mod algorithm;
mod kernel;
mod kernel_learner;
mod knn_attention;
mod learner;
mod memory_network;
mod onnx;
mod query_reduction;
mod recipe;
mod stories;
mod texts;

use super::attention::{number, whole};
use super::candle::{TokenConfig, memory as form};
use super::family::Rule;
use super::{FamilySpec, Learner, LearnerSpec, Network, SavedNetwork, Schedule, Setting, Suitability, Task};
use crate::Result;
use crate::data::ColumnKind;
use crate::data::encoder::{Encoder, Layout};
use crate::data::kinds::Encoding;
use crate::data::plan::ColumnPlan;
use crate::data::profile::DataProfile;
use crate::nn::Tensors;
use crate::nn::adam::WarmCosine;
use crate::nn::memory::knn_attention::KnnShape;
use crate::nn::memory::memory_network::MemoryNetworkShape;
use crate::nn::memory::query_reduction::QueryReductionShape;
use algorithm::{Algorithm, MemoryNet};
use candle_core::Tensor;
use kernel::KernelNet;
pub(crate) use kernel::{RIDGES, Stored as StoredTexts};
use kernel_learner::KernelLearner;
use knn_attention::KnnAttention;
use learner::{MemoryLearner, MemoryTraining};
use memory_network::MemoryNetwork;
use query_reduction::QueryReduction;
use serde_json::{Map, Value, json};
use stories::StoryFields;
pub(crate) use texts::{TextPlaces, Texts, WORDS, texts_of_names, vectors_of};

/// The family's entry in the registry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec;

impl FamilySpec for Spec {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn purpose(&self) -> &'static str {
        "Question answering over facts, and retrieval."
    }

    fn layout(&self, inputs: &[ColumnPlan]) -> Layout {
        // Stored rows without words are compared as a whole: a pixel must not lose its place.
        let has_words = |plan: &ColumnPlan| plan.kind.encoding(plan.channels == Some(0)) == Encoding::Words;
        if inputs.iter().any(has_words) { Layout::Tokens } else { Layout::Bag }
    }

    fn own_settings(&self) -> Vec<Setting> {
        settings()
    }

    fn suits(&self, data: &DataProfile) -> Option<Suitability> {
        let reason = "a list of sentences with a question: the memory network reads facts for it";
        if data.has_sentences() && data.has(ColumnKind::Text) {
            return Suitability::new(3, reason);
        }
        let reason =
            "few texts or pictures that a pretrained encoder reads: each is stored, and its weight is solved for";
        recipe::are_few_encoded(data).then(|| Suitability::new(2, reason)).flatten()
    }

    fn rules(&self) -> &'static [Rule] {
        recipe::RULES
    }

    fn cross_fits(&self, config: &Map<String, Value>) -> Option<usize> {
        kernel::is_selected(config).then_some(kernel::FOLDS)
    }

    fn search_space(&self) -> Value {
        json!({
            "width": [32, 64, 128],
            "hops": [2, 3, 4],
            "dropout": [0.0, 0.1, 0.2],
            "learning_rate": { "min": 0.0003, "max": 0.01, "log": true },
        })
    }

    fn makes_passes(&self, config: &Map<String, Value>) -> bool {
        config.get("read").and_then(Value::as_str) != Some("kernel")
    }

    fn learner(&self, spec: &LearnerSpec<'_>) -> Result<Box<dyn Learner>> {
        learner(spec)
    }

    fn load(&self, saved: &SavedNetwork<'_>) -> Result<Box<dyn Network>> {
        load(saved)
    }

    fn candle(&self, saved: &SavedNetwork<'_>) -> Result<Box<dyn TokenConfig>> {
        Ok(Box::new(candle_config(saved)?))
    }

    fn has_onnx(&self) -> bool {
        true
    }
}

/// The settings of a training request.
pub(crate) fn settings() -> Vec<Setting> {
    vec![
        Setting::new(
            "width",
            Value::Null,
            super::Range::Integer(4, WIDEST as i64),
            "Numbers a slot or question is described by; by the number of rows if not given.",
        ).otherwise(64),
        Setting::new("hops", 3, super::Range::Integer(1, 16), "How often the question reads the slots."),
        Setting::new("slots", 256, super::Range::Integer(1, 4096), "Latest slots of a row that are read."),
        Setting::new(
            "read",
            Value::Null,
            super::Range::Choice(&["ordered", "softmax", "kernel"]),
            "Whether hops scan the slots in order, or weigh all of them at once (a classic memory network), or stored vectors of a pretrained encoder answer (kernel ridge regression).",
        ).otherwise("ordered"),
        Setting::new(
            "class_names",
            true,
            super::Range::Boolean,
            "Whether the name of each class is stored as a text of it where left-out rows are answered better so (kernel read).",
        ),
        Setting::new(
            "wide_gates",
            Value::Null,
            super::Range::Boolean,
            "A gate for each number that is carried instead of one for a slot (ordered read); by the number of rows if not given.",
        ).otherwise(false),
        Setting::new(
            "episodes",
            512,
            super::Range::Integer(1, 65536),
            "Training rows stored where rows have no slots of their own.",
        ),
        Setting::new(
            "restarts",
            Value::Null,
            super::Range::Integer(1, 16),
            "Number of restarts; the network with the least training error is trained further.",
        ).otherwise(1),
        Setting::new(
            "dropout",
            Value::Null,
            super::Range::Number(0.0, 0.9),
            "Share of slot numbers dropped while training; by kind of read and number of rows if not given.",
        ).otherwise(0.0),
        Setting::new(
            "time_noise",
            0.1,
            super::Range::Number(0.0, 0.9),
            "Share of gaps in time while training (softmax read).",
        ),
        Setting::new(
            "linear_start",
            true,
            super::Range::Boolean,
            "Read without softmax until validation stalls (softmax read).",
        ),
        Setting::new(
            "learning_rate",
            Value::Null,
            super::Range::Number(1e-6, 1.0),
            "Largest learning rate; by kind of read and number of rows if not given.",
        ).otherwise(0.003),
        Setting::new(
            "weight_decay",
            Value::Null,
            super::Range::Number(0.0, 10.0),
            "Decay of the weights; by the number of rows if not given.",
        ).otherwise(0.01),
    ]
}

/// The largest width there is.
const WIDEST: usize = 1024;

/// The schedule without settings.
const SCHEDULE: Schedule = Schedule { epochs: 20, batch_size: 32, patience: 6 };

/// Sizes of query reduction without settings.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    width: usize,
    wide_gates: bool,
}

/// Those of a network that is not trained yet, and of reads that are not ordered.
const SMALL: Sizes = Sizes { width: 64, wide_gates: false };

/// An algorithm before it has weights.
enum MemoryKind {
    QueryReduction(QueryReduction),
    MemoryNetwork(MemoryNetwork),
    KnnAttention(KnnAttention),
}

impl MemoryKind {
    /// The algorithm for the rows of `encoder`; query reduction has `sizes` where `config` gives none.
    fn new(encoder: &Encoder, task: Task, outputs: usize, config: &Map<String, Value>, sizes: Sizes) -> Self {
        let width = |default| whole(config, "width", default).max(1);
        let words = encoder.width as usize;
        let (hops, slots) = (whole(config, "hops", 3).max(1), whole(config, "slots", 256).max(1));
        let flag = |name: &str| config.get(name).and_then(Value::as_bool);
        let Some(fields) = StoryFields::of(encoder) else {
            let regression = task == Task::Regression;
            let shape = KnnShape { features: words, width: width(SMALL.width), outputs, regression };
            return Self::KnnAttention(KnnAttention::new(shape, whole(config, "episodes", 512)));
        };
        if config.get("read").and_then(Value::as_str) == Some("softmax") {
            let shape = MemoryNetworkShape { words, width: width(SMALL.width), hops, slots, outputs };
            return Self::MemoryNetwork(MemoryNetwork::new(shape, fields, flag("linear_start").unwrap_or(true)));
        }
        let wide_gates = flag("wide_gates").unwrap_or(sizes.wide_gates);
        let shape = QueryReductionShape { words, width: width(sizes.width), hops, slots, outputs, wide_gates };
        Self::QueryReduction(QueryReduction::new(shape, fields))
    }
}

/// A network with fresh weights, ready to train.
pub(crate) fn learner(spec: &LearnerSpec<'_>) -> Result<Box<dyn Learner>> {
    if kernel::is_selected(spec.config) {
        return Ok(Box::new(KernelLearner::new(spec)?));
    }
    let noise = |name: &str, default: f64| number(spec.config, name, default);
    Ok(match MemoryKind::new(spec.encoder, spec.task, spec.outputs, spec.config, SMALL) {
        MemoryKind::QueryReduction(network) => begin(network, spec, noise("dropout", 0.0)),
        MemoryKind::MemoryNetwork(network) => begin(network, spec, noise("time_noise", 0.1)),
        MemoryKind::KnnAttention(network) => begin(network, spec, 0.0),
    })
}

/// An algorithm in training.
fn begin<A: Algorithm>(algorithm: A, spec: &LearnerSpec<'_>, noise: f64) -> Box<dyn Learner> {
    let training = MemoryTraining {
        schedule: spec.schedule(SCHEDULE),
        restarts: whole(spec.config, "restarts", 1),
        rate: WarmCosine { peak: number(spec.config, "learning_rate", 0.003) as f32, warm_up: 200 },
        decay: number(spec.config, "weight_decay", 0.01) as f32,
        noise: noise as f32,
        seed: spec.seed,
        threads: spec.threads.max(1),
    };
    Box::new(MemoryLearner::new(algorithm, training))
}

/// Sizes of the network saved as `tensors`.
fn saved_sizes(tensors: &Tensors) -> Sizes {
    match tensors.get("hops.0.update").map(Tensor::dims) {
        Some(&[width @ 1..=WIDEST, gates]) => Sizes { width, wide_gates: gates > 1 },
        _ => SMALL,
    }
}

/// See [`FamilySpec::candle`].
fn candle_config(saved: &SavedNetwork<'_>) -> Result<form::Config> {
    let SavedNetwork { encoder, task, outputs, config, tensors } = *saved;
    if kernel::is_selected(config) {
        return Err(crate::Error::internal("stored vectors have no candle form"));
    }
    Ok(match MemoryKind::new(encoder, task, outputs, config, saved_sizes(tensors)) {
        MemoryKind::QueryReduction(network) => network.candle(),
        MemoryKind::MemoryNetwork(mut network) => {
            network.load(tensors)?;
            network.candle()
        }
        MemoryKind::KnnAttention(mut network) => {
            network.load(tensors)?;
            network.candle()
        }
    })
}

/// The network saved as `tensors`.
pub(crate) fn load(saved: &SavedNetwork<'_>) -> Result<Box<dyn Network>> {
    let SavedNetwork { encoder, task, outputs, config, tensors } = *saved;
    if kernel::is_selected(config) {
        return Ok(Box::new(KernelNet::load(encoder, outputs, tensors)?));
    }
    Ok(match MemoryKind::new(encoder, task, outputs, config, saved_sizes(tensors)) {
        MemoryKind::QueryReduction(network) => Box::new(MemoryNet::loaded(network, tensors)?),
        MemoryKind::MemoryNetwork(network) => Box::new(MemoryNet::loaded(network, tensors)?),
        MemoryKind::KnnAttention(network) => Box::new(MemoryNet::loaded(network, tensors)?),
    })
}
