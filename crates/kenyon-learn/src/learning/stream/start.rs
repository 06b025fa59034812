//! How a stream starts: empty, or over a trained bundle.

use super::code::Code;
use super::column_drift::ColumnDrift;
use super::experts::{EXPERTS, ExpertKind};
use super::familiar::Familiar;
use super::figures::Figures;
use super::hedge::Mixing;
use super::history::History;
use super::horizons::Horizons;
use super::input_reference::InputReference;
use super::mixture::{Mixture, Scratch};
use super::quarantine::Quarantine;
use super::served::ServedCalibration;
use super::shape::MixtureShape;
use super::sources::Sources;
use super::targets::TargetRange;
use super::{StreamModel, StreamSpec};
use crate::Result;
use crate::data::Batch;
use crate::data::encoder::{Encoder, EncoderOptions, Field, Layout};
use crate::data::plan::ColumnPlan;
use crate::data::rows::RowsReader;
use crate::data::schema::ColumnKind;
use crate::data::target::TargetEncoder;
use crate::learning::bundle::Bundle;
use crate::learning::novelty::KnownCodes;
use crate::models::Task;
use crate::models::memory::TextPlaces;
use crate::nn::readouts::semi_supervised::are_few;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Encoders with more features than this are not read by the experts of tables, in an empty stream and over a trained
/// network, whose features are bins of numbers.
const NARROW: usize = 256;
const NARROW_BINS: usize = 96;
/// Vectors of one dimension with more elements than this are taken for counts of words.
const LISTED: u32 = 4_096;

/// Weights a class of the linear experts beside vectors.
const HASHED: usize = 1 << 14;

/// What differs between streams when they start.
struct Parts {
    task: Task,
    target: ColumnPlan,
    target_encoder: TargetEncoder,
    encoder: Arc<Encoder>,
    running: bool,
    base: Option<Arc<Bundle>>,
    config: Map<String, Value>,
    seed: u64,
    mixture: Mixture,
    code: Code,
    ignored: Vec<String>,
}

impl StreamModel {
    /// An empty stream.
    pub fn new(spec: &StreamSpec) -> Result<Self> {
        Self::with_experts(spec, EXPERTS)
    }

    pub(super) fn with_experts(spec: &StreamSpec, kinds: &[ExpertKind]) -> Result<Self> {
        let options = EncoderOptions { bins: 0, text_bits: 17, reserve: 32, ..EncoderOptions::default() };
        let encoder = Encoder::empty(&spec.inputs, Layout::Bag, options)?;
        let target_encoder = match spec.task {
            Task::Classification => TargetEncoder::Classes(spec.classes.clone()),
            Task::Regression => TargetEncoder::Number { mean: 0.0, std: 1.0 },
        };
        // A long list of numbers without rows and columns is a bag of words, and read as one.
        let picture = |f: &Field| f.width >= 24 && (f.width <= LISTED || f.shape.as_ref().is_some_and(|s| s.len() > 1));
        let kinds_of_pictures = [ColumnKind::Vector, ColumnKind::Image];
        let is_picture = |f: &Field| kinds_of_pictures.contains(&f.kind) && f.shape.is_some() && picture(f);
        let pictures = encoder.fields.iter().any(is_picture);
        let width = encoder.width as usize;
        let narrow = width <= NARROW && !pictures;
        // What a pretrained encoder reads is a code already.
        let texts = TextPlaces::of(&encoder);
        let encoded = !texts.vectors.is_empty();
        let (code, code_width) = match (narrow, encoded) {
            (true, _) => (Code::None, 0),
            (false, false) => (Code::own(), 1),
            (false, true) => (Code::Vectors(texts.vectors.clone()), texts.width()),
        };
        let shape = MixtureShape {
            columns: if narrow { (0..encoder.width).collect() } else { Vec::new() },
            sparse: match (narrow || pictures, encoded) {
                (true, _) => 0,
                (false, false) => width,
                // Vectors have their own experts; words beside them share some weights.
                (false, true) => width.min(HASHED),
            },
            code: code_width,
            texts: if narrow { TextPlaces::default() } else { texts },
            reads_codes: pictures || encoded || (!narrow && spec.task == Task::Regression),
            mixing: if pictures { Mixing::FirstReady } else { Mixing::Hedged },
            ..shape(spec.task, target_encoder.outputs(), &spec.config, spec.seed)
        };
        let mut it = Self::assemble(Parts {
            task: spec.task,
            target: spec.target.clone(),
            target_encoder,
            encoder: encoder.into(),
            running: true,
            base: None,
            config: spec.config.clone(),
            seed: spec.seed,
            mixture: Mixture::new(&shape, kinds),
            code,
            ignored: Vec::new(),
        });
        if !spec.classes.is_empty() {
            it.name_classes(0)?;
        }
        Ok(it)
    }

    /// A stream that continues from a trained bundle.
    pub fn over(base: Arc<Bundle>) -> Self {
        let config = base.config.config.clone();
        let width = base.network.feature_width();
        // With few labels the training's own readout is better than one solved from the sums.
        let steady = base.network.sums().is_some_and(|sums| !are_few(sums))
            && base.encoder.width as usize > NARROW_BINS
            && base.config.task == Task::Classification;
        let narrow = base.encoder.layout == Layout::Bag && base.encoder.width as usize <= NARROW_BINS;
        let sums = base.network.sums().filter(|_| steady).cloned();
        let shape = MixtureShape {
            columns: if narrow { (0..base.encoder.width).collect() } else { Vec::new() },
            code: width,
            reads_codes: width <= 4096 && base.config.task == Task::Classification,
            sums: sums.clone(),
            mixing: if steady { Mixing::FirstReady } else { Mixing::Hedged },
            base: !steady,
            ..shape(base.config.task, base.config.target_encoder.outputs(), &config, base.config.seed)
        };
        let targets = TargetRange::over(&base);
        let mut it = Self::assemble(Parts {
            task: base.config.task,
            target: base.config.target.clone(),
            target_encoder: base.config.target_encoder.clone(),
            encoder: Arc::clone(&base.encoder),
            running: false,
            config,
            seed: base.config.seed,
            mixture: Mixture::new(&shape, EXPERTS),
            code: Code::Base,
            ignored: base.config.ignored.clone(),
            base: Some(base),
        });
        it.targets = targets;
        if let Some(sums) = sums {
            for (count, &rows) in it.mixture.shared.counts.iter_mut().zip(sums.counts()) {
                *count = rows as u64;
            }
            it.mixture.settle();
        }
        it
    }

    fn assemble(mut parts: Parts) -> Self {
        parts.target.labels = parts.task == Task::Classification;
        let mut plans = parts.encoder.inputs.clone();
        plans.push(parts.target.clone());
        Self {
            reader: RowsReader::new(&plans, &parts.ignored),
            task: parts.task,
            target: parts.target,
            target_encoder: parts.target_encoder,
            encoder: parts.encoder,
            running: parts.running,
            base: parts.base,
            config: parts.config,
            seed: parts.seed,
            targets: TargetRange::default(),
            mixture: parts.mixture,
            code: parts.code,
            figures: Figures::new(parts.task == Task::Regression),
            history: History::default(),
            column_drift: ColumnDrift::default(),
            input_reference: InputReference::default(),
            at: None,
            source: Arc::default(),
            sources: Sources::default(),
            quarantine: Quarantine::default(),
            rows: 0,
            newest_class: 0,
            recent: Batch::new(),
            recent_labels: Vec::new(),
            recent_texts: Vec::new(),
            forgotten: 0,
            scores: Vec::new(),
            served: ServedCalibration::default(),
            horizons: Horizons::default(),
            consolidations: Vec::new(),
            scratch: Scratch::default(),
            aged: Scratch::default(),
            threads: 1,
            novelty: None,
            familiar: Familiar::default(),
            projector: KnownCodes::default(),
            novelty_scores: Vec::new(),
        }
    }
}

/// The settings, with the rest empty.
fn shape(task: Task, classes: usize, config: &Map<String, Value>, seed: u64) -> MixtureShape {
    MixtureShape {
        regression: task == Task::Regression,
        classes: if task == Task::Regression { 0 } else { classes },
        columns: Vec::new(),
        sparse: 0,
        code: 0,
        texts: TextPlaces::default(),
        reads_codes: false,
        sums: None,
        mixing: Mixing::Hedged,
        base: false,
        capacity: config.get("memory_per_class").and_then(Value::as_u64).unwrap_or(100) as usize,
        labels_in_time: config.get("recent_labels").and_then(Value::as_bool).unwrap_or(true),
        seed,
    }
}
