//! The settings of the attention family, and the sizes derived from them.

use super::{number, whole};
use crate::data::encoder::Encoder;
use crate::models::{Range, Setting};
use crate::nn::Tensors;
use crate::nn::layers::attention::AttentionShape;
use crate::{Error, Result};
use serde_json::{Map, Value};

/// The settings of a training request.
pub(crate) fn settings() -> Vec<Setting> {
    vec![
        Setting::new(
            "width",
            Value::Null,
            Range::Integer(8, WIDEST as i64),
            "Numbers a token is described by; by kind and number of rows if not given.",
        )
        .otherwise(64),
        Setting::new("heads", 4, Range::Integer(1, 32), "Attention heads; they share the width."),
        Setting::new(
            "layers",
            Value::Null,
            Range::Integer(0, DEEPEST as i64),
            "Attention blocks; by kind and number of rows if not given: a few texts are read without.",
        )
        .otherwise(2),
        Setting::new(
            "hidden",
            Value::Null,
            Range::Integer(8, 8192),
            "Feed-forward units a block; twice the width by default.",
        ),
        Setting::new("active_share", 0.25, Range::Number(0.01, 1.0), "Share of feed-forward units that stay active."),
        Setting::new(
            "reads",
            2,
            Range::Integer(1, 16),
            "Attention-pooling heads over the tokens, in addition to max pooling.",
        ),
        Setting::new(
            "filters",
            FILTERS as i64,
            Range::Integer(0, 100_000),
            "Pooled values of fixed filters over series columns, in all; 0 for none.",
        ),
        Setting::new(
            "series_features",
            Value::Null,
            Range::Choice(&["filters", "all"]),
            "Whether a series is read by filters alone, or also by filters over its differences and by competing kernels.",
        )
        .otherwise("filters"),
        Setting::new(
            "blocks_share",
            Value::Null,
            Range::Number(0.0, 1.0),
            "Share of the blocks in an answer about series; the rest is that of the filters.",
        )
        .otherwise(0.5),
        Setting::new(
            "filter_readout",
            Value::Null,
            Range::Choice(&["ridge", "gradient"]),
            "Whether the readout of the filters is solved for, or learned by gradient steps.",
        )
        .otherwise("gradient"),
        Setting::new(
            "cross_fit",
            Value::Null,
            Range::Boolean,
            "Whether readouts that are solved for leave out a part of the rows each, by which they are evaluated, in place of held-out rows; needs a `blocks_share` of 0.",
        )
        .otherwise(false),
        Setting::new(
            "positions",
            1024,
            Range::Integer(1, 65536),
            "Positions within a column with an embedding of their own.",
        ),
        Setting::new(
            "dropout",
            Value::Null,
            Range::Number(0.0, 0.9),
            "Share of values dropped while training; by kind and number of rows if not given.",
        )
        .otherwise(0.1),
        Setting::new(
            "label_smoothing",
            0.05,
            Range::Number(0.0, 0.5),
            "Share of certainty taken from the labels while training.",
        ),
        Setting::new(
            "learning_rate",
            0.002,
            Range::Number(1e-6, 1.0),
            "Largest learning rate; reached by a warm-up, left by a cosine.",
        ),
        Setting::new("weight_decay", 0.01, Range::Number(0.0, 10.0), "Decay of the weight matrices."),
    ]
}

/// Pooled filter values by default, in all series columns together.
pub(super) const FILTERS: usize = 4000;

/// The largest width and the most blocks there are.
const WIDEST: usize = 1024;
const DEEPEST: usize = 16;

/// Sizes without settings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    width: usize,
    layers: usize,
}

impl Sizes {
    /// Of a network that is not trained yet.
    pub(super) const NEW: Self = Self { width: 64, layers: 2 };

    /// Those of the network saved as `tensors`.
    pub(super) fn saved(tensors: &Tensors) -> Self {
        let width = tensors.get("tokens").and_then(|tokens| tokens.dims().last()).map_or(1, |&w| w.clamp(1, WIDEST));
        let has = |layer: &usize| tensors.contains_key(&format!("blocks.{layer}.norm1"));
        Self { width, layers: (0..DEEPEST).take_while(has).count() }
    }
}

/// Derives the sizes from the encoder and the settings.
pub(super) fn shape(
    encoder: &Encoder,
    outputs: usize,
    config: &Map<String, Value>,
    sizes: Sizes,
) -> Result<AttentionShape> {
    let width = whole(config, "width", sizes.width);
    let heads = whole(config, "heads", 4).max(1);
    if !width.is_multiple_of(heads) {
        return Err(Error::unprocessable("bad_config", format!("heads ({heads}) must divide width ({width})")));
    }
    let hidden = whole(config, "hidden", 2 * width).max(1);
    let winners = ((number(config, "active_share", 0.25) * hidden as f64).round() as usize).clamp(1, hidden);
    Ok(AttentionShape {
        features: encoder.width as usize,
        fields: encoder.fields.len().max(1),
        positions: whole(config, "positions", 1024).max(1),
        width,
        heads,
        layers: whole(config, "layers", sizes.layers),
        hidden,
        winners,
        reads: whole(config, "reads", 2).max(1),
        outputs,
    })
}
