//! The defaults of the family that depend on data.

use crate::data::profile::DataProfile;
use crate::data::schema::ColumnKind;
use crate::models::family::Rule;
use serde_json::json;

/// Texts below which blocks overfit the training texts.
const MANY_TEXTS: usize = 50_000;
/// Rows up to which the readout of the filters is solved for: the equations grow with their square.
const SOLVED: usize = 1_500;
/// Rows at which blocks and filters have equal weight.
const ROWS_FOR_BLOCKS: f32 = 1_500.0;

fn is_series(data: &DataProfile) -> bool {
    data.has(ColumnKind::Sequence) || data.has(ColumnKind::Vector)
}

/// See the module documentation; earlier rules win.
pub(super) static RULES: &[Rule] = &[
    Rule {
        name: "few_texts",
        sentence: "Few texts, and nothing else that takes many tokens, are read without blocks: attention pooling over the words alone is more accurate.",
        settings: &["width", "layers", "dropout"],
        measured: "banking77 .90 instead of .88 in a third of the time (0.1)",
        values: |data, _| {
            let others = [ColumnKind::Sequence, ColumnKind::Image, ColumnKind::Vector];
            let alone = data.has(ColumnKind::Text) && !others.iter().any(|&kind| data.has(kind));
            (alone && data.rows < MANY_TEXTS).then(|| json!({ "width": 256, "layers": 0, "dropout": 0.3 }))
        },
    },
    Rule {
        name: "few_series",
        sentence: "Few series, and nothing else, are read by fixed features alone, and none are held out: readouts that are solved for leave out a fifth each.",
        settings: &[
            "series_features",
            "filters",
            "filter_readout",
            "blocks_share",
            "cross_fit",
            "layers",
            "width",
            "epochs",
            "batch_size",
            "early_stopping",
        ],
        measured: "8 UCR sets of 36 to 1,194 rows, two splits, validation rows, beside blocks and filters with rows held out: log loss .470 instead of .574, accuracy .865 instead of .866, in an eighth of the time (benches, series)",
        values: |data, _| {
            let alone = data.features.iter().all(|feature| feature.kind == ColumnKind::Sequence);
            (alone && !data.has_sentences() && data.rows <= SOLVED).then(|| {
                json!({
                    "series_features": "all", "filters": 10_000, "filter_readout": "ridge", "blocks_share": 0.0,
                    "cross_fit": true, "layers": 0, "width": 8, "epochs": 1, "batch_size": 64, "early_stopping": 0,
                })
            })
        },
    },
    Rule {
        name: "filters_mixed_by_rows",
        sentence: "Blocks that train all their weights need about a thousand rows before they are more accurate than fixed filters.",
        settings: &["blocks_share"],
        measured: "UCR sets (0.1)",
        values: |data, _| {
            let rows = data.rows as f32;
            is_series(data).then(|| json!({ "blocks_share": rows / (rows + ROWS_FOR_BLOCKS) }))
        },
    },
    Rule {
        name: "filters_solved",
        sentence: "From few rows the readout of the filters is solved for by ridge regression instead of gradient steps.",
        settings: &["filter_readout"],
        measured: "Adiac .80 instead of .72, CricketX .79 instead of .72, a third of the time (0.1)",
        values: |data, _| (is_series(data) && data.rows <= SOLVED).then(|| json!({ "filter_readout": "ridge" })),
    },
    Rule {
        name: "passes",
        sentence: "Enough steps for small data, and no more passes than large data need.",
        settings: &["epochs", "batch_size", "early_stopping"],
        measured: "eight small tables of the collection, 2 seeds each: accuracy .811 instead of .796, log loss .410 instead of .448, in six times the time",
        values: |data, _| {
            let batch_size = if data.rows < 256 { 16 } else { 64 };
            let epochs = (3_000 / data.rows.div_ceil(batch_size).max(1)).clamp(12, 120);
            Some(json!({ "epochs": epochs, "batch_size": batch_size, "early_stopping": epochs / 3 }))
        },
    },
];
