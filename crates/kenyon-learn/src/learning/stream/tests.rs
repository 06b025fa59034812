//! Random streams: changes are detected, forgotten rows are removed, snapshots of every version can be resumed, outliers cost little.

use super::experts::{self, EXPERTS, ExpertKind, ExpertRow, Lesson, StreamExpert, Truth, readout::Solver};
use super::{Observed, StreamModel, StreamSpec};
use crate::data::plan::ColumnPlan;
use crate::data::schema::ColumnKind;
use crate::data::target::Task;
use crate::nn::readouts::Readout;
use crate::nn::readouts::label_propagation::UnlabelledPool;
use crate::random::Random;
use serde_json::{Map, Value, json};
use std::io::Read;

fn column(name: &str, kind: ColumnKind, shape: Option<Vec<usize>>) -> ColumnPlan {
    ColumnPlan { shape, ..ColumnPlan::new(name, kind) }
}

fn online(inputs: Vec<ColumnPlan>) -> StreamModel {
    StreamModel::new(&StreamSpec {
        task: Task::Classification,
        target: column("label", ColumnKind::Category, None),
        classes: Vec::new(),
        inputs,
        config: Map::new(),
        seed: 7,
    })
    .unwrap()
}

fn observe(stream: &mut StreamModel, lines: &[String]) -> Observed {
    let table = stream.reader().from_ndjson(lines.join("\n").as_bytes()).unwrap();
    stream.observe(&table, &lines.iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
}

fn numbers() -> Vec<ColumnPlan> {
    vec![column("x", ColumnKind::Number, None), column("y", ColumnKind::Number, None)]
}

/// A row of two numbers whose label is wrong once in twenty; `swapped` names the classes the other
/// way round.
fn point(random: &mut Random, swapped: bool) -> String {
    let (x, y) = (random.normal(), random.normal());
    let noise = random.uniform() < 0.05;
    let label = if (x + 0.5 * y > 0.0) ^ swapped ^ noise { "a" } else { "b" };
    json!({"x": x, "y": y, "label": label}).to_string()
}

/// Observes points in portions of ten; how many rows after the first a change was detected, and the
/// accuracy among the last thousand.
fn points(
    stream: &mut StreamModel,
    random: &mut Random,
    rows: usize,
    swapped: impl Fn(usize, f32) -> bool,
) -> (Vec<u64>, f64) {
    let before = stream.rows();
    let mut drifts = Vec::new();
    for from in (0..rows).step_by(10) {
        let lines: Vec<String> = (from..from + 10)
            .map(|r| {
                let chance = random.uniform();
                point(random, swapped(r, chance))
            })
            .collect();
        if observe(stream, &lines).drift {
            drifts.push(stream.rows() - before);
        }
    }
    (drifts, stream.figures.window())
}

/// Accuracy before a change, and between 1,000 and 2,000 rows after it, as means over five streams:
/// a thousand rows alone determine it to a point.
fn recovery(within: u64, changes: &[bool], swapped: impl Fn(bool, usize, f32) -> bool) {
    let (mut before, mut after) = (0.0, 0.0);
    for seed in 1..=5 {
        let (mut stream, mut random) = (online(numbers()), Random::new(seed));
        let (drifts, stationary) = points(&mut stream, &mut random, 4_000, |_, _| false);
        assert!(drifts.is_empty(), "seed {seed}: nothing has changed yet");
        before += stationary / 5.0;
        for &to in changes {
            let (drifts, changed) = points(&mut stream, &mut random, 2_000, |r, chance| swapped(to, r, chance));
            assert!(drifts.first().is_some_and(|&r| r <= within), "seed {seed}: noticed at {drifts:?}");
            after += changed / (5.0 * changes.len() as f64);
        }
    }
    assert!(after >= before - 0.02, "{after} after {before}");
}

#[test]
fn a_swap_of_labels_is_noticed_and_learned_again_and_again() {
    recovery(300, &[true], |to, _, _| to);
    recovery(300, &[true, false, true], |to, _, _| to);
}

#[test]
fn a_gradual_change_is_noticed_and_learned() {
    // Over 500 rows the old labels are replaced by the new.
    recovery(300, &[true], |_, r, chance| chance < r as f32 / 500.0);
}

#[test]
fn what_does_not_change_raises_no_alarm() {
    let (mut stream, mut random) = (online(numbers()), Random::new(11));
    for _ in 0..100 {
        let lines: Vec<String> = (0..500).map(|_| point(&mut random, false)).collect();
        assert!(!observe(&mut stream, &lines).drift, "after {} rows", stream.rows());
    }
    assert_eq!((stream.rows(), stream.figures.drift_count()), (50_000, 0));
}

const SIDES: [&str; 4] = ["left", "middle", "right", "new"];

/// Three kinds of picture, each with its own stripe.
fn picture(random: &mut Random, class: usize) -> String {
    let cells: Vec<f32> = (0..64)
        .map(|i| if i % 8 / 2 == class { 0.7 + 0.3 * random.uniform() } else { 0.3 * random.uniform() })
        .map(|v| (v * 100.0).round() / 100.0)
        .collect();
    json!({"p": cells, "label": SIDES[class]}).to_string()
}

fn cloud(random: &mut Random, class: usize) -> String {
    let x = (class as f32 - 1.0) * 6.0 + random.normal();
    json!({"x": x, "y": random.normal(), "label": SIDES[class]}).to_string()
}

/// How often rows of class `class` are predicted as it, over a fresh hundred.
fn answered(
    stream: &mut StreamModel,
    random: &mut Random,
    make: impl Fn(&mut Random, usize) -> String,
    class: usize,
) -> usize {
    let lines: Vec<String> = (0..100).map(|_| make(random, class)).collect();
    let table = stream.reader().from_ndjson(lines.join("\n").as_bytes()).unwrap();
    let bundle = stream.publish();
    let answers = bundle.run_plain(&bundle.encode(&table).unwrap()).unwrap();
    let name = json!(SIDES[class]);
    let at = stream.classes().iter().position(|c| *c == name).unwrap();
    answers.values.chunks(stream.classes().len()).filter(|a| super::argmax(a) == at).count()
}

#[test]
fn a_class_that_was_forgotten_is_not_answered_after_the_next_consolidation() {
    let pictures = vec![column("p", ColumnKind::Vector, Some(vec![8, 8]))];
    let kinds: [(Vec<ColumnPlan>, fn(&mut Random, usize) -> String); 2] = [(numbers(), cloud), (pictures, picture)];
    for (inputs, make) in kinds {
        let (mut stream, mut random) = (online(inputs), Random::new(3));
        // In random order, because the labels before a row would reveal its label.
        let classes: Vec<usize> = (0..900).map(|_| random.below(3)).collect();
        let lines: Vec<String> = classes.iter().map(|&c| make(&mut random, c)).collect();
        lines.chunks(100).for_each(|part| {
            observe(&mut stream, part);
        });
        assert!((0..3).all(|c| answered(&mut stream, &mut random, make, c) > 90));
        let logged: Vec<&str> = lines.iter().map(String::as_str).filter(|l| l.contains("\"left\"")).collect();
        let forgotten = stream.forget(|_, label, _| label == Some(&json!("left")), &logged).unwrap();
        assert_eq!(forgotten.rows, logged.len());
        assert!(forgotten.entries > 0 && stream.recent_texts.iter().flatten().all(|t| !t.contains("left")));
        let done = stream.consolidate().unwrap();
        assert_eq!((done.accepted, done.forgotten), (true, logged.len() as u64));
        assert!(answered(&mut stream, &mut random, make, 0) < 5);
        assert!((1..3).all(|c| answered(&mut stream, &mut random, make, c) > 30));
        // A state that is saved and loaded continues as the one in memory does.
        let mut restored = StreamModel::restore(&stream.snapshot().unwrap(), None).unwrap();
        let more: Vec<String> = (0..30).map(|i| make(&mut random, 1 + i % 2)).collect();
        assert_eq!(observe(&mut restored, &more), observe(&mut stream, &more));
        assert_eq!(restored.snapshot().unwrap(), stream.snapshot().unwrap());
    }
}

/// The readout of a stream as last solved.
fn readout(stream: &StreamModel) -> Readout {
    let expert = stream.mixture.experts.iter().find(|expert| expert.name() == "readout").unwrap();
    let bytes = expert.save().unwrap();
    let (_, _, readout, ..) =
        postcard::from_bytes::<(Solver, UnlabelledPool, Option<Readout>, Vec<f32>, f32)>(&bytes).unwrap();
    readout.unwrap()
}

#[test]
fn the_sums_are_as_if_a_row_had_never_been_there() {
    let inputs = || vec![column("p", ColumnKind::Vector, Some(vec![8, 8]))];
    let mut random = Random::new(5);
    let mut lines: Vec<String> = (0..600).map(|i| picture(&mut random, i % 3)).collect();
    // The first row sets the scale of the pixels for both.
    lines[0] = lines[0].replacen("0.", "1.", 1);
    let (mut with, mut without) = (online(inputs()), online(inputs()));
    let gone: Vec<&str> = lines[590..].iter().map(String::as_str).collect();
    observe(&mut with, &lines[..590]);
    observe(&mut without, &lines[..590]);
    observe(&mut with, &lines[590..]);
    with.forget(|_, _, row| row.is_some_and(|r| gone.contains(&r)), &gone).unwrap();
    without.mixture.settle();
    let (a, b) = (readout(&with), readout(&without));
    let worst = a.weights.iter().zip(&b.weights).map(|(a, b)| (a - b).abs() / (1.0 + b.abs())).fold(0.0, f32::max);
    assert!(worst < 1e-2, "{worst}");
    assert_eq!(with.mixture.shared.counts, without.mixture.shared.counts);
}

#[test]
fn one_label_a_class_spreads_to_rows_without() {
    let mut stream = online(vec![column("p", ColumnKind::Vector, Some(vec![8, 8]))]);
    let mut random = Random::new(3);
    observe(&mut stream, &[0, 1, 2].map(|class| picture(&mut random, class)));
    for _ in 0..60 {
        let lines: Vec<String> = (0..10)
            .map(|_| {
                let class = random.below(3);
                let mut row: serde_json::Value = serde_json::from_str(&picture(&mut random, class)).unwrap();
                row.as_object_mut().unwrap().remove("label");
                row.to_string()
            })
            .collect();
        observe(&mut stream, &lines);
    }
    let snapshot = stream.snapshot().unwrap();
    let mut again = StreamModel::restore(&snapshot, None).unwrap();
    assert!(again.snapshot().unwrap() == snapshot);
    let lines: Vec<String> = (0..90).map(|r| picture(&mut random, r % 3)).collect();
    let answers = observe(&mut again, &lines).answers;
    assert_eq!(answers, observe(&mut stream, &lines).answers);
    let right = answers.iter().enumerate().filter(|(r, answer)| **answer == (r % 3) as f32).count();
    assert!(right >= 88, "{right} of 90");
}

/// A picture of 12 by 12: strokes that are the class's own, each moved a little.
fn strokes(random: &mut Random, class: usize) -> String {
    let mut own = Random::new(100 + class as u64);
    let mut pixels = vec![0f32; 144];
    for _ in 0..5 {
        let (x, y) = (2.0 + own.uniform() * 8.0, 2.0 + own.uniform() * 8.0);
        let angle = own.uniform() * std::f32::consts::TAU + random.normal() * 0.2;
        let (x, y) = (x + random.normal() * 0.5, y + random.normal() * 0.5);
        for step in 0..5 {
            let at = |from: f32, turn: f32| (from + step as f32 * turn).round().clamp(0.0, 11.0) as usize;
            pixels[at(y, angle.sin()) * 12 + at(x, angle.cos())] = 1.0;
        }
    }
    json!({"picture": pixels, "label": SIDES[class]}).to_string()
}

#[test]
fn a_class_seen_once_is_told_from_those_known_well() {
    let mut random = Random::new(3);
    let mut stream = online(vec![column("picture", ColumnKind::Vector, Some(vec![12, 12]))]);
    let known: Vec<String> = (0..3 * 300).map(|r| strokes(&mut random, r % 3)).collect();
    known.chunks(100).for_each(|lines| drop(observe(&mut stream, lines)));
    let before: usize = (0..3).map(|class| answered(&mut stream, &mut random, strokes, class)).sum();
    observe(&mut stream, &[strokes(&mut random, 3)]);
    let after: usize = (0..3).map(|class| answered(&mut stream, &mut random, strokes, class)).sum();
    let new = answered(&mut stream, &mut random, strokes, 3);
    assert!(before >= 290 && after + 6 >= before && new >= 60, "{before} {after} {new}");
}

/// Rows like `rows`, numbered from `from`, with outliers where `outlier` gives some.
fn shares(random: &mut Random, rows: usize, outlier: impl Fn(usize) -> Option<f64>) -> Vec<String> {
    let row = |r: usize| {
        let (x, y) = (f64::from(random.uniform()), f64::from(random.uniform()));
        json!({"x": outlier(r).unwrap_or(x), "y": y, "label": if x > 0.5 { "a" } else { "b" }}).to_string()
    };
    (0..rows).map(row).collect()
}

#[test]
fn outliers_cost_a_few_rows_and_are_novel() {
    for outlier in [-9_999.0, 99_999.0, 1e6, 9.969_21e36] {
        for at in [1, 500, 1_200] {
            let (mut stream, mut random) = (online(numbers()), Random::new(9));
            let lines = shares(&mut random, 1_500, |r| (r == at).then_some(outlier));
            let mut right = 0;
            for (part, lines) in lines.chunks(10).enumerate() {
                let answers = observe(&mut stream, lines).answers;
                let classes: Vec<&str> = stream.classes().iter().map(|c| c.as_str().unwrap()).collect();
                let truth = |l: &String| if l.contains("\"a\"") { "a" } else { "b" };
                let hits = answers.iter().zip(lines).filter(|(a, l)| classes[**a as usize] == truth(l)).count();
                right += if part >= 20 { hits } else { 0 };
            }
            assert!(right > 1_300 * 93 / 100, "{outlier} at {at}: {right} of 1,300");
            let table = stream.reader().from_ndjson(format!("{{\"x\":{outlier},\"y\":0.5}}").as_bytes()).unwrap();
            let bundle = stream.publish();
            let answer = bundle.run(&bundle.encode(&table).unwrap()).unwrap();
            assert!(bundle.abstains(answer.novelty[0], None), "{outlier} at {at}: {}", answer.novelty[0]);
        }
    }
}

#[test]
fn absurd_targets_are_refused_and_outliers_learned_as_what_is_usual() {
    let mut stream = StreamModel::new(&StreamSpec {
        task: Task::Regression,
        target: column("label", ColumnKind::Number, None),
        classes: Vec::new(),
        inputs: numbers(),
        config: Map::new(),
        seed: 7,
    })
    .unwrap();
    let mut random = Random::new(4);
    let mut lines = |offset: f64| -> Vec<String> {
        (0..400)
            .map(|_| {
                let x = f64::from(random.uniform());
                json!({"x": x, "y": 0, "label": offset + 10.0 * x}).to_string()
            })
            .collect()
    };
    let window = |stream: &mut StreamModel, lines: &[String]| {
        let answers = observe(stream, lines).answers;
        let truth = |l: &String| serde_json::from_str::<Value>(l).unwrap()["x"].as_f64().unwrap() * 10.0;
        let offset = |l: &String| serde_json::from_str::<Value>(l).unwrap()["label"].as_f64().unwrap() - truth(l);
        let mean = |stream: &StreamModel| match stream.target_encoder {
            super::TargetEncoder::Number { mean, .. } => mean,
            super::TargetEncoder::Classes(_) => 0.0,
        };
        let error = |(a, l): (&f32, &String)| (f64::from(*a) + mean(stream) - offset(l) - truth(l)).abs();
        answers.iter().zip(lines).map(error).sum::<f64>() / lines.len() as f64
    };
    // A large offset costs no precision.
    window(&mut stream, &lines(1.7e9));
    assert!(window(&mut stream, &lines(1.7e9)) < 0.2);
    let poison = r#"{"x":0.5,"y":0,"label":1e300}"#.to_owned();
    let table = stream.reader().from_ndjson(poison.as_bytes()).unwrap();
    assert_eq!(stream.check(&table).unwrap_err().details[0].row, Some(0));
    // What the log of an older version holds is no target.
    observe(&mut stream, &[poison, r#"{"x":0.5,"y":0,"label":1700099999}"#.to_owned()]);
    let error = window(&mut stream, &lines(1.7e9));
    assert!(error < 0.5, "{error}");
}

/// Snapshots that version 0.1 wrote, and its predictions before and after some more rows.
#[test]
fn snapshots_of_0_1_answer_and_learn_as_they_did() {
    let all: [(&[u8], &str); 2] = [
        (include_bytes!("testdata/0.1-classes.snapshot.gz"), include_str!("testdata/0.1-classes.json")),
        (include_bytes!("testdata/0.1-values.snapshot.gz"), include_str!("testdata/0.1-values.json")),
    ];
    for (snapshot, expected) in all {
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(snapshot).read_to_end(&mut bytes).unwrap();
        let expected: Value = serde_json::from_str(expected).unwrap();
        let mut stream = StreamModel::restore(&bytes, None).unwrap();
        let check = |stream: &StreamModel, answers: &Value| {
            let bundle = stream.publish();
            let table = bundle.reader().from_json(expected["ask"].to_string().as_bytes()).unwrap();
            let got = bundle.run_plain(&bundle.encode(&table).unwrap()).unwrap();
            for (r, answer) in answers.as_array().unwrap().iter().enumerate() {
                for (c, &p) in got.values[r * got.outputs..(r + 1) * got.outputs].iter().enumerate() {
                    let was = match bundle.class_names().get(c) {
                        Some(name) => &answer["probabilities"][name],
                        None => &answer["value"],
                    };
                    let (was, p) = (was.as_f64().unwrap(), f64::from(p));
                    assert!((was - p).abs() < 1e-5 * (1.0 + was.abs()), "{was} is now {p}");
                }
            }
        };
        check(&stream, &expected["answers"]);
        let more: Vec<String> = expected["more"].as_array().unwrap().iter().map(Value::to_string).collect();
        observe(&mut stream, &more);
        check(&stream, &expected["after"]);
        let again = StreamModel::restore(&stream.snapshot().unwrap(), None).unwrap();
        check(&again, &expected["after"]);
        assert_eq!(again.snapshot().unwrap(), stream.snapshot().unwrap());
    }
}

/// A toy expert: it predicts the class by whether the product of two columns is positive, which it has to count.
#[derive(Clone, Debug, Default)]
struct Product {
    counts: [[f32; 2]; 2],
}

const PRODUCT: ExpertKind = ExpertKind {
    name: "product",
    make: |_| vec![Box::new(Product::default())],
    load: |bytes| Ok(Box::new(Product { counts: postcard::from_bytes(bytes).map_err(super::broken)? })),
};

impl Product {
    fn side(row: &ExpertRow<'_>) -> usize {
        let columns = row.view.columns();
        usize::from(columns[0] * columns[2] > 0.0)
    }
}

impl StreamExpert for Product {
    fn name(&self) -> &'static str {
        PRODUCT.name
    }

    fn predict_one(&self, row: &ExpertRow<'_>, _buffer: &mut Vec<f32>, out: &mut [f32]) {
        let counts = self.counts[Self::side(row)];
        out.iter_mut().zip(counts).for_each(|(o, n)| *o = (n + 1.0) / (counts[0] + counts[1] + 2.0));
    }

    fn learn_one(&mut self, row: &ExpertRow<'_>, lesson: &Lesson<'_>) {
        if let Truth::Class(class @ 0..2) = lesson.truth {
            self.counts[Self::side(row)][class] += 1.0;
        }
    }

    fn bytes(&self) -> u64 {
        16
    }

    fn save(&self) -> crate::Result<Vec<u8>> {
        postcard::to_stdvec(&self.counts).map_err(super::broken)
    }

    fn fork(&self) -> Box<dyn StreamExpert> {
        Box::new(self.clone())
    }

    fn published(&self) -> Box<dyn StreamExpert> {
        Box::new(self.clone())
    }
}

#[test]
fn an_expert_is_a_file_and_a_line_of_the_list() {
    let kinds: Vec<ExpertKind> = experts::EXPERTS.iter().copied().chain([PRODUCT]).collect();
    let spec = StreamSpec {
        task: Task::Classification,
        target: column("label", ColumnKind::Category, None),
        classes: Vec::new(),
        inputs: numbers(),
        config: Map::new(),
        seed: 7,
    };
    let (mut with, mut without) =
        (StreamModel::with_experts(&spec, &kinds).unwrap(), StreamModel::with_experts(&spec, EXPERTS).unwrap());
    let mut random = Random::new(12);
    let mut row = || {
        let (x, y) = (random.normal(), random.normal());
        json!({"x": x, "y": y, "label": if x * y > 0.0 { "same" } else { "other" }}).to_string()
    };
    let lines: Vec<String> = (0..300).map(|_| row()).collect();
    lines.chunks(20).for_each(|part| {
        observe(&mut with, part);
        observe(&mut without, part);
    });
    assert!(with.figures.window() > without.figures.window() + 0.03);
    assert_eq!(with.mixture.experts.len(), without.mixture.experts.len() + 1);
    let snapshot = with.snapshot().unwrap();
    assert!(StreamModel::restore(&snapshot, None).is_err(), "its kind is not on the list");
    let mut again = StreamModel::restore_with(&snapshot, None, &kinds).unwrap();
    let more: Vec<String> = (0..50).map(|_| row()).collect();
    assert_eq!(observe(&mut again, &more), observe(&mut with, &more));
    let done = with.consolidate().unwrap();
    assert_eq!(done.judged, 175);
}
