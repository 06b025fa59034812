//! Settings of the family, and what follows from them and from the data where they are left open.

use super::vocabulary;
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
        Setting::new("hidden", Value::Null, Integers(1, 65_536), "Units of each hidden layer; [] for a linear model."),
        Setting::new("active_share", Value::Null, Number(0.001, 1.0), "Share of a layer's units that win a row."),
        Setting::new(
            "field",
            Value::Null,
            Number(0.01, 1.0),
            "Share of a picture that a unit of the first layer sees, its window; 1 for all of it.",
        ),
        Setting::new("learning_rate", Value::Null, Number(0.0, 10.0), "Learning rate at its highest."),
        Setting::new(
            "optimizer",
            "auto",
            Choice(&["auto", "sgd", "adam"]),
            "How weights follow gradients; the rate of sgd is per row, that of adam per mini-batch.",
        ),
        Setting::new("weight_decay", Value::Null, Number(0.0, 10.0), "Decoupled weight decay; with adam."),
        Setting::new("dropout", Value::Null, Number(0.0, 0.9), "Chance that a winner passes nothing on in training."),
        Setting::new("boost", Value::Null, Number(0.0, 10.0), "How much units that win too rarely are helped."),
        Setting::new(
            "anneal",
            Value::Null,
            Number(0.0, 1.0),
            "Share of training in which winners get fewer, from all.",
        ),
        Setting::new("label_smoothing", 0.0, Number(0.0, 0.9), "Probability that is given to all classes alike."),
        Setting::new("skip", true, Boolean, "Whether the row also reaches the answers directly."),
        Setting::new(
            "members",
            Value::Null,
            Integer(1, 64),
            "Networks that are trained side by side and answer together; above 1, sizes are rounded up to sixteens.",
        ),
        Setting::new("revive", true, Boolean, "Whether units that win nothing in an epoch start anew."),
    ]
}

/// From so many rows a table is learned by several networks.
const MANY: usize = 2_000;

/// What is built and how it is trained.
#[derive(Clone, Debug)]
pub(super) struct SparseMlpPlan {
    hidden: Vec<Hidden>,
    outputs: usize,
    skip: bool,
    optimiser: Optimiser,
    rate: f32,
    decay: f32,
    dropout: f32,
    boost: f32,
    anneal: f32,
    smoothing: f32,
    /// Networks that answer together.
    pub(super) members: usize,
    /// Whether units that win nothing are drawn anew.
    pub(super) revives: bool,
    /// Passes and mini-batches where the request names none.
    pub(super) schedule: Schedule,
}

impl SparseMlpPlan {
    /// The plan for some data. Without `rows` (a trained network is loaded) only sizes matter.
    pub(super) fn new(
        encoder: &Encoder,
        task: Task,
        outputs: usize,
        rows: Option<usize>,
        config: &Map<String, Value>,
    ) -> Self {
        let rows = rows.unwrap_or(0);
        let number = |name: &str, default: f32| config.get(name).and_then(Value::as_f64).map_or(default, |v| v as f32);
        let truth = |name: &str| config.get(name).and_then(Value::as_bool).unwrap_or(true);
        let text = encoder.fields.iter().any(|field| field.kind == ColumnKind::Text);
        let pixels = |field: &&Field| matches!(field.kind, ColumnKind::Image | ColumnKind::Vector);
        let picture = encoder.fields.iter().filter(pixels).map(|field| field.width).sum::<u32>() >= 256;
        let large = picture && rows >= 20_000;
        // With a few hundred rows of a table the linear way is nearly right, and noise is soon learned.
        let table = !picture && !text;
        let (few, many) = (table && rows < 1_000, rows >= MANY);
        let units: Vec<usize> = match config.get("hidden").and_then(Value::as_array) {
            Some(sizes) => sizes.iter().filter_map(Value::as_u64).map(|size| size as usize).collect(),
            None if text => Vec::new(),
            None if picture => vec![1024],
            None if table && many && task == Task::Classification => vec![512, 256],
            None => vec![512],
        };
        // Networks that err in different ways are right more often together; a picture's regions are that already.
        let members = config.get("members").and_then(Value::as_u64).unwrap_or(if table && many { 4 } else { 1 });
        let members = if units.is_empty() { 1 } else { members as usize };
        let deep = table && units.len() > 1;
        let share = number(
            "active_share",
            if picture {
                0.0625
            } else if deep {
                0.2
            } else {
                0.1
            },
        );
        let winners = |units: usize| ((units as f32 * share).round() as usize).clamp(1, units.max(1));
        let pictures: Vec<Picture> = encoder.fields.iter().filter(pixels).filter_map(picture_of).collect();
        // Features that get a line only when they occur are seen by all.
        let local = picture && !pictures.is_empty() && !vocabulary::grows(encoder.width as usize);
        // With few rows a smaller window is learned sooner.
        let field = number("field", if large { 0.4 } else { 0.2 });
        let sees = |level: usize| match level {
            _ if !local || field >= 1.0 => ReceptiveField::All,
            0 => ReceptiveField::Windows(field, pictures.clone()),
            _ => ReceptiveField::Near,
        };
        let optimiser = match config.get("optimizer").and_then(Value::as_str) {
            Some("sgd") => Optimiser::Sgd,
            Some("adam") => Optimiser::Adam,
            _ if large => Optimiser::Sgd,
            _ => Optimiser::Adam,
        };
        // Plain SGD sums over its rows, so more than 32 of them at once take shorter steps.
        let together = config.get("batch_size").and_then(Value::as_u64).unwrap_or(32).max(32) as f32;
        let rate = match optimiser {
            Optimiser::Sgd => 0.02 * 32.0 / together,
            Optimiser::Adam if text => 0.01,
            Optimiser::Adam if few => 0.0007,
            Optimiser::Adam => 0.002,
        };
        let decay = match optimiser {
            Optimiser::Sgd => 0.0,
            Optimiser::Adam if few => 1.0,
            Optimiser::Adam => 0.01,
        };
        let epochs = match () {
            () if large => 8,
            () if table && many => (800_000 / rows).clamp(20, 60),
            () => (200_000 / rows.max(1)).clamp(20, 200),
        };
        let batch_size = if rows < 5_000 || large { 32 } else { 128 };
        Self {
            hidden: (units.into_iter().enumerate())
                .map(|(level, units)| {
                    let units = if members > 1 { units.next_multiple_of(LANE) } else { units };
                    let sees = if members > 1 { ReceptiveField::All } else { sees(level) };
                    Hidden { units, winners: winners(units), winner_groups: 1, sees }
                })
                .collect(),
            outputs: if task == Task::Regression { 1 } else { outputs },
            skip: truth("skip"),
            optimiser,
            rate: number("learning_rate", rate),
            decay: number("weight_decay", decay),
            dropout: number(
                "dropout",
                if large {
                    0.0
                } else if deep && many {
                    0.3
                } else {
                    0.1
                },
            ),
            boost: number("boost", if large { 0.0 } else { 0.1 }),
            anneal: number("anneal", 0.0),
            smoothing: number("label_smoothing", 0.0),
            members,
            revives: truth("revive"),
            schedule: Schedule { epochs, batch_size, patience: if large { 0 } else { (epochs / 4).max(5) } },
        }
    }

    /// Sizes for rows of `inputs` lines.
    pub(super) fn shape(&self, inputs: usize) -> SparseNetShape {
        SparseNetShape { inputs, hidden: self.hidden.clone(), outputs: self.outputs, skip: self.skip }
    }

    /// Takes hidden sizes from saved weights: they may have been chosen from the number of rows.
    pub(super) fn resize(&mut self, tensors: &Tensors) {
        let sizes = (0..).map_while(|index| tensors.get(&format!("{}.bias", hidden_name(index))));
        let units: Vec<usize> = sizes.map(candle_core::Tensor::elem_count).collect();
        let winners = saved_winners(tensors);
        if winners.len() == units.len() {
            // What units see is among the weights.
            let layer = |(units, (k, winner_groups))| Hidden { winner_groups, ..Hidden::from((units, k)) };
            self.hidden = units.into_iter().zip(winners).map(layer).collect();
        }
        self.skip = tensors.contains_key("skip.bias");
    }

    /// What the step at `position` does: a short warm-up, then the rate falls linearly to nothing.
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

/// Where the picture of a field lies, if it has height and width.
fn picture_of(field: &Field) -> Option<Picture> {
    let (height, width, channels) = match *field.shape.as_deref()? {
        [height, width] => (height, width, 1),
        [height, width, channels] => (height, width, channels),
        _ => return None,
    };
    let whole = height > 1 && width > 1 && channels > 0 && height * width * channels <= field.width as usize;
    whole.then_some(Picture { start: field.start as usize, height, width, channels })
}
