//! Settings of the family, and defaults derived from them and from the data.

use super::vocabulary;
use crate::data::BinRanges;
use crate::data::encoder::{Encoder, Field};
use crate::data::schema::ColumnKind;
use crate::models::{Position, Range, Schedule, Setting, Task};
use crate::nn::Tensors;
use crate::nn::kernels::LANE;
use crate::nn::layers::sparse_net::train::{Optimiser, Step};
use crate::nn::layers::sparse_net::{Hidden, Picture, ReceptiveField, SparseNetShape, hidden_name, saved_winners};
use serde_json::{Map, Value};

/// See [`super::settings`].
pub(super) fn settings() -> Vec<Setting> {
    use Range::{Boolean, Choice, Integer, Integers, Number};
    vec![
        Setting::new("hidden", Value::Null, Integers(1, 65_536), "Units of each hidden layer; [] for a linear model.")
            .otherwise(vec![512]),
        Setting::new("active_share", Value::Null, Number(0.001, 1.0), "Share of a layer's units that win a row.")
            .otherwise(0.1),
        Setting::new(
            "field",
            Value::Null,
            Number(0.01, 1.0),
            "Receptive field of the first layer: share of a picture in a unit's window; 1 for all of it.",
        )
        .otherwise(1.0),
        Setting::new("learning_rate", Value::Null, Number(0.0, 10.0), "Learning rate at its highest.").otherwise(0.002),
        Setting::new(
            "optimizer",
            "auto",
            Choice(&["auto", "sgd", "adam"]),
            "How weights follow gradients; the rate of sgd is per row, that of adam per mini-batch.",
        )
        .otherwise("adam"),
        Setting::new("weight_decay", Value::Null, Number(0.0, 10.0), "Decoupled weight decay; with adam.")
            .otherwise(0.01),
        Setting::new("dropout", Value::Null, Number(0.0, 0.9), "Dropout rate of winners in training.").otherwise(0.1),
        Setting::new("boost", Value::Null, Number(0.0, 10.0), "How strongly units that win too rarely are boosted.")
            .otherwise(0.1),
        Setting::new(
            "anneal",
            Value::Null,
            Number(0.0, 1.0),
            "Share of training in which winners get fewer, from all.",
        )
        .otherwise(0.0),
        Setting::new(
            "label_smoothing",
            0.0,
            Number(0.0, 0.9),
            "Label smoothing: probability spread evenly over all classes.",
        ),
        Setting::new("skip", true, Boolean, "Whether the row also reaches the answers directly."),
        Setting::new(
            "members",
            Value::Null,
            Integer(1, 64),
            "Networks that are trained side by side and answer together; above 1, sizes are rounded up to sixteens.",
        )
        .otherwise(1),
        Setting::new(
            "cross_fit",
            Value::Null,
            Boolean,
            "Whether each member leaves a part of the rows out and is evaluated on it, so that none are held out; with 2 members or more.",
        )
        .otherwise(false),
        Setting::new("bins", Value::Null, Integer(0, 256), "Bins of a number, about as many rows in each; 0 for none.")
            .otherwise(16),
        Setting::new(
            "pairs",
            Value::Null,
            Integer(0, 16),
            "Pairs of numbers that are read together, at most; those that explain the target together are chosen.",
        )
        .otherwise(2),
        Setting::new("revive", true, Boolean, "Whether units that never win in an epoch are reinitialised."),
    ]
}

/// The schedule without settings.
pub(super) const SCHEDULE: Schedule = Schedule { epochs: 20, batch_size: 32, patience: 5 };

/// Units of each hidden layer.
fn units(config: &Map<String, Value>) -> Vec<usize> {
    match config.get("hidden").and_then(Value::as_array) {
        Some(sizes) => sizes.iter().filter_map(Value::as_u64).map(|size| size as usize).collect(),
        None => vec![512],
    }
}

/// Networks that answer together. A linear model is the same whatever its seed, so that several differ only by their rows.
fn members(config: &Map<String, Value>) -> usize {
    let members = config.get("members").and_then(Value::as_u64).unwrap_or(1);
    if units(config).is_empty() && !has_cross_fit(config) { 1 } else { members as usize }
}

fn has_cross_fit(config: &Map<String, Value>) -> bool {
    config.get("cross_fit").and_then(Value::as_bool).unwrap_or(false)
}

/// See [`crate::models::FamilySpec::cross_fits`].
pub(super) fn cross_fits(config: &Map<String, Value>) -> Option<usize> {
    Some(members(config)).filter(|&members| has_cross_fit(config) && members > 1)
}

/// The configuration of the network and its training.
#[derive(Clone, Debug)]
pub(super) struct SparseMlpPlan {
    hidden: Vec<Hidden>,
    pub(super) outputs: usize,
    skip: bool,
    optimiser: Optimiser,
    rate: f32,
    decay: f32,
    dropout: f32,
    boost: f32,
    anneal: f32,
    smoothing: f32,
    /// Bins of numbers whose weights the network keeps sums of.
    pub(super) bins: BinRanges,
    /// Networks of the ensemble.
    pub(super) members: usize,
    /// Whether members learn from different rows and are to answer singly.
    pub(super) cross_fit: bool,
    /// Whether units that never win are reinitialised.
    pub(super) revives: bool,
}

impl SparseMlpPlan {
    /// The configuration from complete settings; of a trained network only sizes matter.
    pub(super) fn new(encoder: &Encoder, task: Task, outputs: usize, config: &Map<String, Value>) -> Self {
        let number = |name: &str, default: f32| config.get(name).and_then(Value::as_f64).map_or(default, |v| v as f32);
        let truth = |name: &str| config.get(name).and_then(Value::as_bool).unwrap_or(true);
        let units = units(config);
        let members = members(config);
        let share = number("active_share", 0.1);
        let winners = |units: usize| ((units as f32 * share).round() as usize).clamp(1, units.max(1));
        let listed = |field: &&Field| matches!(field.kind, ColumnKind::Image | ColumnKind::Vector);
        let pictures: Vec<Picture> = encoder.fields.iter().filter(listed).filter_map(picture_of).collect();
        let field = number("field", 1.0);
        // Features that get a weight row only when they occur are inputs of all units, and so are those of networks that are merged.
        let local = field < 1.0 && members == 1 && !pictures.is_empty() && !vocabulary::grows(encoder.width as usize);
        // Features that get a line only when they occur may lack some of a number's bins, and so may a unit's inputs.
        let summed = !local && !vocabulary::grows(encoder.width as usize);
        let receptive_field = |level: usize| match level {
            _ if !local => ReceptiveField::All,
            0 => ReceptiveField::Windows(field, pictures.clone()),
            _ => ReceptiveField::Near,
        };
        Self {
            hidden: (units.into_iter().enumerate())
                .map(|(level, units)| {
                    let units = if members > 1 { units.next_multiple_of(LANE) } else { units };
                    Hidden { units, winners: winners(units), winner_groups: 1, receptive_field: receptive_field(level) }
                })
                .collect(),
            outputs: if task == Task::Regression { 1 } else { outputs },
            skip: truth("skip"),
            optimiser: match config.get("optimizer").and_then(Value::as_str) {
                Some("sgd") => Optimiser::Sgd,
                _ => Optimiser::Adam,
            },
            rate: number("learning_rate", 0.002),
            decay: number("weight_decay", 0.01),
            dropout: number("dropout", 0.1),
            boost: number("boost", 0.1),
            anneal: number("anneal", 0.0),
            smoothing: number("label_smoothing", 0.0),
            bins: if summed { encoder.bin_ranges() } else { BinRanges::default() },
            members,
            cross_fit: cross_fits(config).is_some(),
            revives: truth("revive"),
        }
    }

    /// Share of all probability that is given to the wrong classes in training.
    pub(super) fn smoothing(&self) -> f32 {
        self.smoothing
    }

    /// Sizes for rows of `inputs` entries.
    pub(super) fn shape(&self, inputs: usize) -> SparseNetShape {
        let (hidden, bins) = (self.hidden.clone(), self.bins.clone());
        SparseNetShape { inputs, hidden, outputs: self.outputs, skip: self.skip, bins }
    }

    /// Takes hidden sizes from saved weights: they may have been chosen from the number of rows.
    pub(super) fn resize(&mut self, tensors: &Tensors) {
        let sizes = (0..).map_while(|index| tensors.get(&format!("{}.bias", hidden_name(index))));
        let units: Vec<usize> = sizes.map(candle_core::Tensor::elem_count).collect();
        let winners = saved_winners(tensors);
        if winners.len() == units.len() {
            // The inputs of the units are part of the weights.
            let layer = |(units, (k, winner_groups))| Hidden { winner_groups, ..Hidden::from((units, k)) };
            self.hidden = units.into_iter().zip(winners).map(layer).collect();
        }
        self.skip = tensors.contains_key("skip.bias");
        if tensors.contains_key(&format!("{}.sees", hidden_name(0))) {
            self.bins = BinRanges::default();
        }
    }

    /// The parameters of the step at `position`: a short warm-up, then the rate falls linearly to zero.
    pub(super) fn step(&self, position: Position) -> Step {
        let done = position.fraction();
        let warm = 0.05;
        let falling = (1.0 - done) / (1.0 - warm);
        let rate = match self.optimiser {
            Optimiser::Sgd => 1.0 - done,
            Optimiser::Adam => falling.min((done + 1.0 / position.steps.max(1) as f32) / warm),
        };
        Step {
            optimiser: self.optimiser,
            rate: self.rate * rate.max(0.001),
            decay: self.decay,
            dropout: self.dropout,
            boost: self.boost * (1.0 - done),
            smoothing: self.smoothing,
            anneal: if self.anneal > 0.0 { done / self.anneal } else { 1.0 },
            number: position.step,
        }
    }
}

/// The position of a field's picture, if it has height and width.
fn picture_of(field: &Field) -> Option<Picture> {
    let (height, width, channels) = match *field.shape.as_deref()? {
        [height, width] => (height, width, 1),
        [height, width, channels] => (height, width, channels),
        _ => return None,
    };
    let whole = height > 1 && width > 1 && channels > 0 && height * width * channels <= field.width as usize;
    whole.then_some(Picture { start: field.start as usize, height, width, channels })
}
