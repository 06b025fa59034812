//! Tests that every family must pass: learn a toy problem, be the same after saving, give
//! the same bits for the same seed, answer rows one by one as in a batch, explain
//! its answers, and continue from a checkpoint without a difference.

mod autograd;
mod candle;

use super::recipe::Recipe;
use super::*;
use crate::data::plan::{ColumnPlan, Resolved};
use crate::data::profile::DataProfile;
use crate::data::{Column, ColumnKind, Table};
use crate::random::Random;
use serde_json::json;

/// A problem small enough to learn in a second.
struct Case {
    name: String,
    family: Family,
    task: Task,
    outputs: usize,
    encoder: Encoder,
    batch: Batch,
    classes: Vec<u32>,
    values: Vec<f32>,
    profile: DataProfile,
    requested: Map<String, Value>,
    config: Map<String, Value>,
}

impl Case {
    /// A network of this case that was saved as `tensors`.
    fn saved<'a>(&'a self, tensors: &'a Tensors) -> SavedNetwork<'a> {
        let Self { encoder, task, outputs, config, .. } = self;
        SavedNetwork { encoder, task: *task, outputs: *outputs, config, tensors }
    }

    fn new(
        name: &str,
        family: Family,
        table: &Table,
        plans: &[ColumnPlan],
        classes: Vec<u32>,
        values: Vec<f32>,
    ) -> Self {
        let rows: Vec<usize> = (0..table.rows).collect();
        let encoder = Encoder::fit(table, &rows, plans, family.layout(plans)).unwrap();
        let batch = encoder.encode(table).unwrap();
        let regression = classes.is_empty();
        let task = if regression { Task::Regression } else { Task::Classification };
        let target = ColumnPlan::new("target", ColumnKind::Number);
        let resolved = Resolved { target, task, inputs: plans.to_vec(), ignored: Vec::new() };
        let profile = DataProfile::new(table, &resolved);
        let mut case = Self {
            name: format!("{}: {name}", family.name()),
            family,
            task,
            outputs: if regression { 1 } else { *classes.iter().max().unwrap() as usize + 1 },
            encoder,
            batch,
            classes,
            values,
            profile,
            requested: Map::new(),
            config: Map::new(),
        };
        case.set("epochs", 20);
        case
    }

    /// Names a setting; the others follow from the data.
    fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.requested.insert(name.into(), value.into());
        self.config = Recipe::new(self.family, &self.profile, &self.requested).config;
    }

    /// Series are read by blocks and filters, as many of them are.
    fn read_by_blocks(&mut self) {
        let requested = json!({
            "series_features": "filters", "filters": 4_000, "blocks_share": 0.2, "cross_fit": false, "layers": 2, "width": 64,
            "batch_size": 16,
        });
        requested.as_object().unwrap().iter().for_each(|(name, value)| self.set(name, value.clone()));
    }

    fn learner(&self, seed: u64, threads: usize) -> Box<dyn Learner> {
        let spec = LearnerSpec {
            encoder: &self.encoder,
            task: self.task,
            outputs: self.outputs,
            names: &[],
            rows: self.batch.rows(),
            config: &self.config,
            seed,
            threads,
        };
        self.family.learner(&spec).unwrap()
    }

    /// Runs steps `steps` of a training of `epochs` passes.
    fn train(&self, learner: &mut dyn Learner, seed: u64, steps: std::ops::Range<u64>) {
        let schedule = learner.schedule();
        let rows = self.batch.rows();
        let each = rows.div_ceil(schedule.batch_size);
        let total = (schedule.epochs * each) as u64;
        for step in steps.start..steps.end.min(total) {
            let epoch = (step / each as u64) as usize;
            let mut order: Vec<usize> = (0..rows).collect();
            Random::stream(seed, "order", epoch as u64).shuffle(&mut order);
            let at = (step % each as u64) as usize * schedule.batch_size;
            let chosen = &order[at..(at + schedule.batch_size).min(rows)];
            let batch = self.batch.select(chosen);
            let classes: Vec<u32> = chosen.iter().filter_map(|r| self.classes.get(*r).copied()).collect();
            let values: Vec<f32> = chosen.iter().filter_map(|r| self.values.get(*r).copied()).collect();
            let targets = match self.task {
                Task::Classification => Targets::Classes(&classes, None),
                Task::Regression => Targets::Values(&values, None),
            };
            let position = Position { epoch, epochs: schedule.epochs, step, steps: total };
            let loss = learner.step(&batch, targets, position).unwrap();
            assert!(loss.is_finite(), "{}: loss {loss} at step {step}", self.name);
            if (step + 1) % each as u64 == 0 {
                let position = Position { epoch: epoch + 1, step: step + 1, ..position };
                if learner.end_epoch(position, loss, loss).unwrap() == Next::Stop {
                    return;
                }
            }
        }
    }

    fn trained(&self, seed: u64, threads: usize) -> Box<dyn Learner> {
        let mut learner = self.learner(seed, threads);
        self.train(&mut *learner, seed, 0..u64::MAX);
        learner
    }

    /// Accuracy, or the explained variance.
    fn score(&self, answers: &[f32]) -> f32 {
        let rows = self.batch.rows() as f32;
        match self.task {
            Task::Classification => {
                let right = |(row, class): (&[f32], &u32)| {
                    let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
                    best == *class as usize
                };
                answers.chunks(self.outputs).zip(&self.classes).filter(|pair| right(*pair)).count() as f32 / rows
            }
            Task::Regression => {
                let errors: f32 = answers.iter().zip(&self.values).map(|(a, v)| (a - v).powi(2)).sum();
                1.0 - errors / self.values.iter().map(|v| v * v).sum::<f32>()
            }
        }
    }
}

fn plan(name: &str, kind: ColumnKind, channels: Option<usize>) -> ColumnPlan {
    ColumnPlan { channels, ..ColumnPlan::new(name, kind) }
}

/// Two numbers and a name; the class depends on all of them, and so does the value.
fn mixed(rows: usize) -> (Table, Vec<ColumnPlan>, Vec<u32>, Vec<f32>) {
    let mut random = Random::stream(1, "mixed", 0);
    let (mut a, mut b, mut c, mut classes, mut values) = (vec![], vec![], vec![], vec![], vec![]);
    for _ in 0..rows {
        let (x, y, red) = (random.normal(), random.normal(), random.below(2) == 0);
        a.push(f64::from(x));
        b.push(f64::from(y));
        c.push(Some(if red { "red" } else { "blue" }.into()));
        classes.push(if red { 2 } else { u32::from(x + 0.5 * y > 0.0) });
        values.push(x + 0.5 * y + if red { 1.0 } else { -1.0 });
    }
    let (n, mean) = (rows as f32, values.iter().sum::<f32>() / rows as f32);
    let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / n).sqrt();
    values.iter_mut().for_each(|v| *v = (*v - mean) / deviation);
    let columns =
        vec![("a".into(), Column::Number(a)), ("b".into(), Column::Number(b)), ("c".into(), Column::Category(c))];
    let plans = vec![
        plan("a", ColumnKind::Number, None),
        plan("b", ColumnKind::Number, None),
        plan("c", ColumnKind::Category, None),
    ];
    (Table { rows, columns }, plans, classes, values)
}

/// Series of different lengths that rise or fall at some place.
fn series(rows: usize) -> (Table, Vec<ColumnPlan>, Vec<u32>) {
    let mut random = Random::stream(2, "series", 0);
    let (mut offsets, mut values, mut classes) = (vec![0], vec![], vec![]);
    for _ in 0..rows {
        let (length, up) = (20 + random.below(12), random.below(2) == 0);
        let place = 4 + random.below(length - 8);
        for step in 0..length {
            let jump = if (step > place) == up { 1.0 } else { -1.0 };
            values.push(jump + 0.3 * random.normal());
        }
        offsets.push(values.len());
        classes.push(u32::from(up));
    }
    let column = Column::Series { channels: 1, offsets, values };
    (Table { rows, columns: vec![("s".into(), column)] }, vec![plan("s", ColumnKind::Sequence, Some(1))], classes)
}

/// Who is where: the answer is the last location of the person in the question.
fn stories(rows: usize) -> (Table, Vec<ColumnPlan>, Vec<u32>) {
    let mut random = Random::stream(3, "stories", 0);
    let (people, places) = (["mary", "john", "anna"], ["garden", "kitchen", "office"]);
    let (mut offsets, mut sentences, mut questions, mut classes) = (vec![0], vec![], vec![], vec![]);
    for _ in 0..rows {
        let mut at = [0usize; 3];
        for first in 0..3 + random.below(3) {
            let (who, place) = (if first < 3 { first } else { random.below(3) }, random.below(3));
            at[who] = place;
            sentences.push(format!("{} went to the {}.", people[who], places[place]).into_boxed_str());
        }
        offsets.push(sentences.len());
        let who = random.below(3);
        questions.push(Some(format!("Where is {}?", people[who]).into_boxed_str()));
        classes.push(at[who] as u32);
    }
    let columns = vec![
        ("story".into(), Column::Strings { offsets, values: sentences }),
        ("question".into(), Column::Text(questions)),
    ];
    let plans = vec![plan("story", ColumnKind::Sequence, Some(0)), plan("question", ColumnKind::Text, None)];
    (Table { rows, columns }, plans, classes)
}

fn named(name: &str) -> Family {
    Family::named(name).unwrap()
}

fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    for family in Family::all() {
        let (table, plans, classes, values) = mixed(240);
        out.push(Case::new("classes", family, &table, &plans, classes, vec![]));
        out.push(Case::new("numbers", family, &table, &plans, vec![], values));
    }
    let (table, plans, classes) = series(200);
    let mut case = Case::new("series", named("attention"), &table, &plans, classes, vec![]);
    case.set("epochs", 10);
    case.read_by_blocks();
    out.push(case);
    let (table, plans, classes) = stories(400);
    for read in ["ordered", "softmax"] {
        let mut case = Case::new(&format!("stories, {read}"), named("memory"), &table, &plans, classes.clone(), vec![]);
        case.set("read", read);
        case.set("epochs", 40);
        case.set("width", 24);
        out.push(case);
    }
    out
}

fn close(a: &[f32], b: &[f32], within: f32, what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= within * (1.0 + b.abs()), "{what}: {a} and {b} at {i}");
    }
}

fn bits(tensors: &Tensors) -> Vec<(String, Vec<String>)> {
    let text = |tensor: &candle_core::Tensor| {
        let flat = tensor.flatten_all().unwrap();
        match flat.dtype() {
            candle_core::DType::F32 => {
                flat.to_vec1::<f32>().unwrap().iter().map(|v| format!("{:x}", v.to_bits())).collect()
            }
            candle_core::DType::F64 => {
                flat.to_vec1::<f64>().unwrap().iter().map(|v| format!("{:x}", v.to_bits())).collect()
            }
            _ => vec![format!("{flat:?}")],
        }
    };
    tensors.iter().map(|(name, tensor)| (name.clone(), text(tensor))).collect()
}

#[test]
fn every_family_learns_answers_and_explains() {
    for case in cases() {
        let network = case.trained(7, 2).finish(None).unwrap();
        let answers = network.forward(&case.batch).unwrap();
        let score = case.score(&answers);
        assert!(score > 0.85, "{}: score {score}", case.name);
        assert_eq!((network.family(), network.outputs()), (case.family, case.outputs));

        // Saved and loaded, it is the same to the bit.
        let saved = network.save().unwrap();
        let loaded = case.family.load(&case.saved(&saved)).unwrap();
        assert_eq!(loaded.forward(&case.batch).unwrap(), answers, "{}: loaded", case.name);
        assert_eq!(bits(&loaded.save().unwrap()), bits(&saved), "{}: saved again", case.name);

        // Rows one by one, and in another order, are answered as together.
        let mut order: Vec<usize> = (0..60).collect();
        Random::new(5).shuffle(&mut order);
        let permuted = network.forward(&case.batch.select(&order)).unwrap();
        let features = network.features(&case.batch).unwrap();
        assert_eq!(features.len(), case.batch.rows() * network.feature_width(), "{}: features", case.name);
        for (at, row) in order.iter().enumerate().take(60) {
            let (n, w) = (case.outputs, network.feature_width());
            let together = &answers[row * n..(row + 1) * n];
            let alone = case.batch.select(&[*row]);
            close(&network.forward(&alone).unwrap(), together, 1e-4, &format!("{}: row {row}", case.name));
            close(&permuted[at * n..(at + 1) * n], together, 1e-4, &format!("{}: permuted", case.name));
            let feature = network.features(&alone).unwrap();
            close(&feature, &features[row * w..(row + 1) * w], 1e-4, &format!("{}: features", case.name));
        }

        // The terms of an explanation add up to the answer.
        for row in 0..10 {
            for output in 0..case.outputs {
                let why = network.explain(&case.batch, row, output).unwrap();
                assert_eq!(why.entries.len(), case.batch.entries(row).0.len(), "{}: terms", case.name);
                let sum = why.bias + why.entries.iter().sum::<f32>();
                close(&[sum], &[answers[row * case.outputs + output]], 2e-3, &format!("{}: explained", case.name));
                if !why.attention.is_empty() {
                    assert_eq!(why.attention.len(), case.batch.row(row).len(), "{}: attention", case.name);
                    let sum: f32 = why.attention.iter().sum();
                    assert!((sum - 1.0).abs() < 1e-3, "{}: attention sums to {sum}", case.name);
                }
            }
        }

        let activity = network.activity(&case.batch).unwrap();
        assert!(!activity.layers.is_empty() && activity.bytes > 0, "{}: activity", case.name);
        assert!(
            activity.effective_macs > 0.0 && activity.effective_macs <= activity.dense_macs,
            "{}: {activity:?}",
            case.name
        );
        for layer in &activity.layers {
            assert_eq!(layer.duty.len(), layer.units, "{}: {}", case.name, layer.name);
            assert!(layer.winners > 0.0 && layer.winners <= layer.units as f64, "{}: {layer:?}", case.name);
            // Each layer has a code of its own, of a row alone as among others.
            let code = layer_code(&*network, &case.batch, Some(&layer.name)).unwrap();
            assert_eq!((&code.layer, code.width), (&layer.name, layer.units), "{}", case.name);
            assert_eq!(code.values.len(), case.batch.rows() * layer.units, "{}: {}", case.name, layer.name);
            let alone = layer_code(&*network, &case.batch.select(&[1]), Some(&layer.name)).unwrap();
            close(&alone.values, &code.values[layer.units..2 * layer.units], 1e-4, &layer.name);
        }
    }
}

#[test]
fn a_seed_gives_the_same_bits_with_any_number_of_threads() {
    for case in cases() {
        let weights = |seed, threads| {
            let mut learner = case.learner(seed, threads);
            case.train(&mut *learner, seed, 0..25);
            bits(&learner.state().unwrap())
        };
        let one = weights(3, 1);
        assert!(one == weights(3, 1), "{}: same seed", case.name);
        assert!(one == weights(3, 2), "{}: two threads", case.name);
    }
}

#[test]
fn a_checkpoint_resumes_to_the_same_bits() {
    for case in cases() {
        for stop in [1, 17, 40] {
            let mut whole = case.learner(11, 1);
            case.train(&mut *whole, 11, 0..stop);
            let state = whole.state().unwrap();
            case.train(&mut *whole, 11, stop..60);
            // Another seed, to show that nothing of the fresh learner is left.
            let mut resumed = case.learner(11, 2);
            resumed.restore(&state).unwrap();
            case.train(&mut *resumed, 11, stop..60);
            let (whole, resumed) = (bits(&whole.state().unwrap()), bits(&resumed.state().unwrap()));
            for (a, b) in whole.iter().zip(&resumed) {
                assert!(a == b, "{}: `{}` differs after a stop at {stop}", case.name, a.0);
            }
            assert_eq!(whole.len(), resumed.len(), "{}", case.name);
        }
    }
}

#[test]
fn training_moves_every_weight() {
    for case in cases() {
        // The hybrid family learns by local rules: its tables are counted, not descended.
        if case.family == named("hybrid") {
            continue;
        }
        let mut learner = case.learner(2, 1);
        let before = learner.weights().unwrap();
        case.train(&mut *learner, 2, 0..40);
        let after = learner.weights().unwrap();
        for (name, tensor) in &before {
            // Values that are set once and not learned.
            let fixed = ["linear", "filters.blocks_share"].contains(&name.as_str()) || name.starts_with("episodes");
            let float = tensor.dtype() == candle_core::DType::F32;
            let (same_size, few) = (after[name].elem_count() == tensor.elem_count(), tensor.elem_count() == 0);
            if !float || !same_size || few || fixed {
                continue;
            }
            let (old, new) = (
                tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
                after[name].flatten_all().unwrap().to_vec1::<f32>().unwrap(),
            );
            assert!(old != new, "{}: `{name}` never moved", case.name);
        }
    }
}

#[test]
fn damaged_weights_are_refused() {
    for case in cases() {
        let mut learner = case.learner(2, 1);
        case.train(&mut *learner, 2, 0..3);
        let mut saved = learner.finish(None).unwrap().save().unwrap();
        let name = saved.keys().next().unwrap().clone();
        saved.remove(&name);
        let loaded = case.family.load(&case.saved(&saved));
        assert!(loaded.is_err(), "{}: loads without `{name}`", case.name);
    }
}

#[test]
fn a_model_of_short_series_loads_with_the_two_dilations_it_was_made_with() {
    let (table, plans, classes) = series(40);
    let mut case = Case::new("two dilations", named("attention"), &table, &plans, classes, vec![]);
    case.read_by_blocks();
    let mut learner = case.learner(3, 1);
    case.train(&mut *learner, 3, 0..12);
    let mut saved = learner.finish(None).unwrap().save().unwrap();
    // 84 patterns at two dilations with 16 levels each, where there are three with 15 now.
    let filters = 84 * 2 * 16;
    for name in ["levels", "mean", "inverse", "readout"] {
        let tensor = saved.get_mut(&format!("filters.{name}")).unwrap();
        assert_eq!(tensor.dims()[0], 84 * 3 * 15);
        *tensor = tensor.narrow(0, 0, filters).unwrap();
    }
    let loaded = case.family.load(&case.saved(&saved)).unwrap();
    assert!(loaded.forward(&case.batch).unwrap().iter().all(|answer| answer.is_finite()));
    assert_eq!(loaded.save().unwrap()["filters.levels"].dims(), [filters]);
    saved.insert("filters.levels".into(), saved["filters.levels"].narrow(0, 0, 7).unwrap());
    assert!(case.family.load(&case.saved(&saved)).is_err());
}

#[test]
fn few_series_are_read_by_fixed_features_and_each_fold_by_the_others() {
    let (table, plans, classes) = series(120);
    let mut case = Case::new("few series", named("attention"), &table, &plans, classes, vec![]);
    case.set("filters", 1_500);
    let (rows, mut learner) = (case.batch.rows(), case.learner(3, 2));
    let folds: Vec<u8> = (0..rows).map(|row| (row % 5) as u8).collect();
    let position = Position { epoch: 0, epochs: 1, step: 0, steps: 1 };
    let excluded: Vec<u64> = folds.iter().map(|fold| 1 << fold).collect();
    let members = learner.members().unwrap();
    assert_eq!(members.count(), 5);
    members.step(&case.batch, Targets::Classes(&case.classes, None), &excluded, position).unwrap();
    assert_eq!(learner.end_epoch(position, 0.0, 0.0).unwrap(), Next::Stop);
    let network = learner.finish(None).unwrap();
    let (answers, by_others) =
        (network.forward(&case.batch).unwrap(), network.forward_members(&case.batch, &folds).unwrap());
    assert!(case.score(&answers) > 0.97 && (0.85..=case.score(&answers)).contains(&case.score(&by_others)));

    // Rows whose labels are wrong are answered as before by the readout that leaves them out.
    let mut wrong = case.classes.clone();
    (0..rows).filter(|row| folds[*row] == 2).for_each(|row| wrong[row] = 1 - wrong[row]);
    let mut other = case.learner(3, 1);
    other.members().unwrap().step(&case.batch, Targets::Classes(&wrong, None), &excluded, position).unwrap();
    let other = other.finish(None).unwrap().forward_members(&case.batch, &folds).unwrap();
    for row in 0..rows {
        let of = |answers: &[f32]| answers[2 * row..2 * row + 2].to_vec();
        assert_eq!(of(&other) == of(&by_others), folds[row] == 2, "row {row}");
    }

    let saved = network.save().unwrap();
    let loaded = case.family.load(&case.saved(&saved)).unwrap();
    assert_eq!(loaded.forward(&case.batch).unwrap(), answers);
    assert_eq!(loaded.forward_members(&case.batch, &folds).unwrap(), by_others);
    assert!(loaded.forward_members(&case.batch, &[9; 120]).is_err());
    for row in 0..5 {
        let why = network.explain(&case.batch, row, 1).unwrap();
        let sum = why.bias + why.entries.iter().sum::<f32>();
        close(&[sum], &[answers[2 * row + 1]], 2e-3, "explained");
        assert!(why.attention.is_empty());
    }
    let features = network.features(&case.batch).unwrap();
    let alone = network.features(&case.batch.select(&[7])).unwrap();
    close(&alone, &features[7 * network.feature_width()..8 * network.feature_width()], 1e-4, "features");
}
