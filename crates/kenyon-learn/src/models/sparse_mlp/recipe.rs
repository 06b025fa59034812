//! The defaults of the family that depend on data.

use crate::data::Task;
use crate::data::profile::{DataProfile, LISTED};
use crate::data::schema::ColumnKind;
use crate::models::family::Rule;
use serde_json::{Map, Value, json};

/// From so many rows a table is learned by a few large networks, below by more small ones that are cross-fitted.
const MANY: usize = 5_000;

/// From so many rows a network learns from each only a few times.
const VERY_MANY: usize = 50_000;

/// From so many rows few classes are learned in large mini-batches at a high rate.
const LARGE_BATCHES: usize = 20_000;

/// From so many rows a network that learns from each once or twice is as accurate as several together.
const ONE_NETWORK: usize = 200_000;

/// Up to so many classes smaller networks are enough.
const FEW_CLASSES: usize = 3;

/// Texts in all and of a class up to which none are held out.
const FEW_TEXTS: usize = 4_000;
const FEW_OF_A_CLASS: usize = 30;

/// Whether a row is a picture, or a vector as long as one.
fn is_picture(data: &DataProfile) -> bool {
    data.listed() >= LISTED
}

/// Layers as settings name them.
fn layers(config: &Map<String, Value>) -> usize {
    config.get("hidden").and_then(Value::as_array).map_or(1, Vec::len)
}

fn is_sgd(config: &Map<String, Value>) -> bool {
    config.get("optimizer").and_then(Value::as_str) == Some("sgd")
}

/// Passes with the patience that goes with them: a quarter of the passes, five at least.
fn passes(epochs: usize) -> Value {
    json!({ "epochs": epochs, "early_stopping": (epochs / 4).max(5) })
}

/// See the module documentation; earlier rules win.
pub(super) static RULES: &[Rule] = &[
    Rule {
        name: "large_pictures",
        sentence: "Many pictures are learned in few passes of plain gradient steps on small batches, with wider windows.",
        settings: &["optimizer", "field", "epochs", "batch_size", "early_stopping", "dropout", "boost"],
        measured: "MNIST: 98.0 % test accuracy within seconds on two cores (benches, mnist_race, 0.1)",
        values: |data, _| {
            (is_picture(data) && data.rows >= 20_000).then(|| {
                json!({
                    "optimizer": "sgd", "field": 0.4, "epochs": 8, "batch_size": 32, "early_stopping": 0,
                    "dropout": 0.0, "boost": 0.0,
                })
            })
        },
    },
    Rule {
        name: "texts_are_linear",
        sentence: "A bag of words is read by a linear model at a high rate.",
        settings: &["hidden", "learning_rate"],
        measured: "banking77 and sms: level with TF-IDF and logistic regression (benches, tables, 0.1)",
        values: |data, config| {
            let rate = if is_sgd(config) { json!({}) } else { json!({ "learning_rate": 0.01 }) };
            data.has(ColumnKind::Text).then(|| merged(json!({ "hidden": [] }), rate))
        },
    },
    Rule {
        name: "few_texts",
        sentence: "Where texts of a class are few none are held out: linear models each leave out another part of them.",
        settings: &["members", "cross_fit", "epochs", "early_stopping"],
        measured: "ten rows a class, beside a fifth held out: banking77 accuracy .710 instead of .668, log loss 1.08 instead of 1.23; CLINC150 .826 instead of .791, .72 instead of .86 (validation rows; benches, few texts)",
        values: |data, config| {
            let linear = config.get("hidden").and_then(Value::as_array).is_some_and(Vec::is_empty);
            let few = data.rows <= FEW_TEXTS && data.rows <= FEW_OF_A_CLASS * data.classes.len();
            (data.has(ColumnKind::Text) && linear && few)
                .then(|| json!({ "members": 5, "cross_fit": true, "epochs": 40, "early_stopping": 0 }))
        },
    },
    Rule {
        name: "pictures",
        sentence: "Units of the first layer see a window of a picture, and few of many win.",
        settings: &["hidden", "active_share", "field"],
        measured: "MNIST (benches, mnist_race, 0.1)",
        values: |data, _| is_picture(data).then(|| json!({ "hidden": [1024], "active_share": 0.0625, "field": 0.2 })),
    },
    Rule {
        name: "plain_gradient_steps",
        sentence: "Plain gradient steps sum over their rows, so that large batches take shorter steps; they do not decay.",
        settings: &["learning_rate", "weight_decay"],
        measured: "MNIST (benches, mnist_race, 0.1)",
        values: |_, config| {
            let rows = config.get("batch_size").and_then(Value::as_u64).unwrap_or(32).max(32);
            is_sgd(config).then(|| json!({ "learning_rate": 0.02 * 32.0 / rows as f64, "weight_decay": 0.0 }))
        },
    },
    Rule {
        name: "cross_fitted",
        sentence: "Where rows are few none are set aside: each of eight networks leaves out another eighth, which evaluates it.",
        settings: &["members", "cross_fit"],
        measured: "28 sets of 101 to 1,858 rows, 3 splits, beside a fifth held out: log loss .229 instead of .237, accuracy .895 (.898), R² .756 instead of .738 (benches, small tables)",
        values: |data, _| (data.is_table() && data.rows < MANY).then(|| json!({ "members": 8, "cross_fit": true })),
    },
    Rule {
        name: "small_tables",
        sentence: "Members for few rows are small, and half of their units are active; each stops by an eighth of its rows.",
        settings: &["hidden", "active_share", "epochs", "early_stopping", "bins", "learning_rate"],
        measured: "the same sets, beside few_rows of 0.1 (rate .0007, decay 1, one network): accuracy .898 instead of .884, log loss .237 instead of .268, R² .738 instead of .712; 2,010 to 4,409 rows, beside many_rows: log loss .210 instead of .235, R² .437 instead of .398; a rate of .006 instead of .002 (without pairs): accuracy .8265 instead of .8238, balanced accuracy .743 instead of .729, log loss .4037 instead of .4030, R² .709 instead of .701; .01 for numbers R² .717 instead of .716 (benches, small tables)",
        values: |data, _| {
            let rate = if data.task == Task::Regression { 0.01 } else { 0.006 };
            (data.is_table() && data.rows < MANY).then(|| {
                json!({
                    "hidden": [128], "active_share": 0.5, "epochs": 60, "early_stopping": 15, "bins": 16,
                    "learning_rate": rate,
                })
            })
        },
    },
    Rule {
        name: "pairs_of_few_rows",
        sentence: "Where the members choose pairs of numbers apart and agree, less evidence is enough for each pair, and more of them help.",
        settings: &["pairs"],
        measured: "16 sets of 300 to 5,748 rows of which 7 have such pairs, validation rows, 2 splits: log loss .4085 instead of .4200, accuracy .780 instead of .775 (benches, pairs of numbers)",
        values: |data, _| (data.is_table() && data.rows < MANY).then(|| json!({ "pairs": 8 })),
    },
    Rule {
        name: "hundreds_of_thousands",
        sentence: "One network passes over hundreds of thousands of rows once or a few times, in large mini-batches at a high rate.",
        settings: &["members", "epochs", "early_stopping", "batch_size", "learning_rate"],
        measured: "500,000 rows of make_table.py, seed 8, beside many_rows: two classes log loss .376 instead of .371 in a quarter of the processor time; seven classes .996 instead of .990 in a third; numbers RMSE .521 instead of .515 (noise alone .500) in two fifths (benches, passes and members of large tables)",
        values: |data, _| {
            let applies = data.is_table() && data.rows >= ONE_NETWORK;
            let (rows, batch_size, rate) = match data.task {
                Task::Regression => (1_200_000, 256, 0.006),
                Task::Classification if data.classes.len() > FEW_CLASSES => (1_200_000, 256, 0.004),
                Task::Classification => (600_000, 512, 0.006),
            };
            let steps = json!({ "members": 1, "batch_size": batch_size, "learning_rate": rate });
            applies.then(|| merged(steps, passes((rows / data.rows).max(1))))
        },
    },
    Rule {
        name: "tens_of_thousands",
        sentence: "Few classes of tens of thousands of rows are learned in few steps, in large mini-batches at a high rate; one network is enough for most of them.",
        settings: &["members", "epochs", "early_stopping", "batch_size", "learning_rate"],
        measured: "held-out rows, beside many_rows: 100,000 rows of make_table.py, seed 8, log loss .381 instead of .393 in 7 instead of 27 CPU s; 20,000 of them .4225 instead of .4264 in 6 instead of 29; adult .2727 instead of .2709 in 5 instead of 10 (the last two means of 2 seeds; benches, passes and members of large tables)",
        values: |data, _| {
            let few = data.task == Task::Classification && data.classes.len() <= FEW_CLASSES;
            let applies = data.is_table() && few && (LARGE_BATCHES..ONE_NETWORK).contains(&data.rows);
            let (members, epochs) = match data.rows {
                ..VERY_MANY => (2, 8),
                VERY_MANY.. => (1, (400_000 / data.rows).clamp(3, 8)),
            };
            let steps = json!({ "members": members, "batch_size": 512, "learning_rate": 0.008 });
            applies.then(|| merged(steps, passes(epochs)))
        },
    },
    Rule {
        name: "many_rows",
        sentence: "Two networks that err in different ways are right more often together; the number of steps is what counts, so that more rows are passed over less often.",
        settings: &["members", "epochs", "early_stopping"],
        measured: "up to three classes, beside four members and four times the passes: log loss .3938 instead of .3934 (mean of 3 sets); numbers: R² .8309 instead of .8324 (california); seven classes, a third of the passes of all members: .3522 instead of .3508 (benches, passes and members of large tables)",
        values: |data, _| {
            let applies = data.is_table() && data.rows >= MANY;
            let (steps, most) = match data.task {
                Task::Regression => (300_000, 30),
                Task::Classification if data.classes.len() > FEW_CLASSES => (450_000, 40),
                Task::Classification => (350_000, 16),
            };
            applies.then(|| merged(json!({ "members": 2 }), passes((steps / data.rows).clamp(3, most))))
        },
    },
    Rule {
        name: "units_of_many_rows",
        sentence: "Many classes need more units than few; numbers are learned from one layer at a higher rate.",
        settings: &["hidden", "batch_size", "learning_rate"],
        measured: "beside 512 and 256 units: up to three classes log loss 0.454 instead of 0.469 (mean of 6 sets), in less than half of the time on four of them; beside 512 units: R² 0.5102 instead of 0.5086 (mean of 5 sets) in two thirds of the time; seven classes (covertype) .279 instead of .294 with the larger (benches, units of large tables)",
        values: |data, _| {
            let applies = data.is_table() && data.rows >= MANY;
            let units = match data.task {
                Task::Regression => json!({ "hidden": [256], "batch_size": 128, "learning_rate": 0.003 }),
                Task::Classification if data.classes.len() > FEW_CLASSES => json!({ "hidden": [512, 256] }),
                Task::Classification if data.rows >= ONE_NETWORK => json!({ "hidden": [128, 64] }),
                Task::Classification => json!({ "hidden": [256, 128] }),
            };
            applies.then_some(units)
        },
    },
    Rule {
        name: "deep_tables",
        sentence: "Over two layers on a table more units win; with many rows more of them are dropped, fewer where each row is seen a few times only.",
        settings: &["active_share", "dropout"],
        measured: "adult in few passes: log loss in 8 passes .2686 with a dropout of .15, .2707 with .3; in 5 passes .2722 without, .2744 with .15 (benches, passes and members of large tables)",
        values: |data, config| {
            let dropout = match data.rows {
                ..MANY => json!({}),
                MANY..VERY_MANY => json!({ "dropout": 0.15 }),
                VERY_MANY.. => json!({ "dropout": 0.05 }),
            };
            (data.is_table() && layers(config) > 1).then(|| merged(json!({ "active_share": 0.2 }), dropout))
        },
    },
    Rule {
        name: "fine_bins",
        sentence: "Many rows fill finer bins of a number.",
        settings: &["bins"],
        measured: "adult log loss .295 instead of .303, california R² .830 instead of .804 (one seed); no gain on airlines (.630 instead of .614) and make_table.py (.412 instead of .408, 2 seeds each)",
        values: |data, _| (data.rows >= 2_000).then(|| json!({ "bins": 64 })),
    },
];

/// The settings of both.
fn merged(mut one: Value, other: Value) -> Value {
    if let (Value::Object(one), Value::Object(other)) = (&mut one, other) {
        one.extend(other);
    }
    one
}
