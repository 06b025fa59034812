//! The defaults of the family that depend on data.

use crate::data::Task;
use crate::data::profile::DataProfile;
use crate::models::family::Rule;
use serde_json::{Map, Value, json};

/// Stories from which on the number of rows alone prevents overfitting: dropout and decay
/// then only impede exact matches.
const MANY: usize = 50_000;

fn reads_in_order(data: &DataProfile, config: &Map<String, Value>) -> bool {
    data.has_sentences() && config.get("read").and_then(Value::as_str) != Some("softmax")
}

/// Texts up to which each is stored and its weight solved for: the equations grow with the cube.
const FEW_TEXTS: usize = 2_000;

/// Whether rows are few texts or pictures that a pretrained encoder reads.
pub(super) fn are_few_encoded(data: &DataProfile) -> bool {
    data.task == Task::Classification && data.is_encoded() && data.rows <= FEW_TEXTS
}

/// See the module documentation; earlier rules win.
pub(super) static RULES: &[Rule] = &[
    Rule {
        name: "few_encoded_texts",
        sentence: "Few texts or pictures that a pretrained encoder reads are stored, and their weights solved for by kernel ridge regression.",
        settings: &["read", "epochs", "batch_size", "early_stopping"],
        measured: "banking77 with MiniLM, beside a linear model of vectors and words, one draw, 1,000 validation rows: ten a class accuracy .854 instead of .851 (log loss .72, .56), five .784 instead of .763 (.97, .83), in less than half of the time; Fashion-MNIST through EfficientNet, ten a class, three draws: .797 instead of .782 (benches, encoders of pictures)",
        values: |data, config| {
            let open = config.get("read").is_none_or(|read| read == "kernel");
            (open && are_few_encoded(data))
                .then(|| json!({ "read": "kernel", "epochs": 1, "batch_size": 512, "early_stopping": 0 }))
        },
    },
    Rule {
        name: "many_stories",
        sentence: "Many stories train a wider network without dropout or weight decay; of many kinds of question a small batch holds one or two each, so batches are large.",
        settings: &[
            "width",
            "wide_gates",
            "learning_rate",
            "weight_decay",
            "dropout",
            "epochs",
            "batch_size",
            "early_stopping",
        ],
        measured: "1 instead of 5 of the 19 bAbI 10k tasks stays above 5 % error (0.1)",
        values: |data, config| {
            (reads_in_order(data, config) && data.rows >= MANY).then(|| {
                json!({
                    "width": 128, "wide_gates": true, "learning_rate": 0.005, "weight_decay": 0.0, "dropout": 0.0,
                    "epochs": 40, "batch_size": 256, "early_stopping": 20,
                })
            })
        },
    },
    Rule {
        name: "ordered_reads_drop",
        sentence: "An ordered read of few stories drops some of what it reads.",
        settings: &["dropout"],
        measured: "bAbI, one task at a time (0.1)",
        values: |data, config| reads_in_order(data, config).then(|| json!({ "dropout": 0.2 })),
    },
    Rule {
        name: "softmax_reads_restart",
        sentence: "A classic memory network is begun three times, at a higher rate.",
        settings: &["restarts", "learning_rate"],
        measured: "bAbI, one task at a time (0.1)",
        values: |data, config| {
            (data.has_sentences() && !reads_in_order(data, config))
                .then(|| json!({ "restarts": 3, "learning_rate": 0.01 }))
        },
    },
    Rule {
        name: "passes",
        sentence: "Stories need many steps; few of them are trained in smaller batches.",
        settings: &["epochs", "batch_size", "early_stopping"],
        measured: "a thousand stories of bAbI tasks 2 and 6, one split each: accuracy .68 instead of .37 and .98 instead of .47; of stored rows the rule had no gain (eight small tables, 2 seeds each: log loss .451 instead of .435)",
        values: |data, _| {
            let batch_size = if data.rows < 512 { 16 } else { 32 };
            let epochs = (34_000 / data.rows.div_ceil(batch_size).max(1)).clamp(20, 200);
            let values = json!({ "epochs": epochs, "batch_size": batch_size, "early_stopping": epochs / 3 });
            data.has_sentences().then_some(values)
        },
    },
];
