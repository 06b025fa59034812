//! Streams made of dice: what changes is noticed, what is forgotten is gone.

#![allow(clippy::unwrap_used)]

use super::{Observed, Online, OnlineSpec};
use crate::data::plan::ColumnPlan;
use crate::data::schema::ColumnKind;
use crate::data::target::Task;
use crate::random::Random;
use serde_json::{Map, json};

fn column(name: &str, kind: ColumnKind, shape: Option<Vec<usize>>) -> ColumnPlan {
    ColumnPlan { shape, ..ColumnPlan::new(name, kind) }
}

fn online(inputs: Vec<ColumnPlan>) -> Online {
    Online::new(&OnlineSpec {
        task: Task::Classification,
        target: column("label", ColumnKind::Category, None),
        classes: Vec::new(),
        inputs,
        config: Map::new(),
        seed: 7,
    })
    .unwrap()
}

fn observe(stream: &mut Online, lines: &[String]) -> Observed {
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

/// Observes points in portions of ten; how many rows after the first a change showed, and the share
/// of right answers among the last thousand.
fn points(
    stream: &mut Online,
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
    (drifts, stream.figures().window())
}

/// Accuracy before a change, and between 1,000 and 2,000 rows after it, as means over five streams:
/// a thousand rows alone tell it to a point.
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
    // Over 500 rows the old labels give way to the new.
    recovery(300, &[true], |_, r, chance| chance < r as f32 / 500.0);
}

#[test]
fn what_does_not_change_raises_no_alarm() {
    let (mut stream, mut random) = (online(numbers()), Random::new(11));
    for _ in 0..100 {
        let lines: Vec<String> = (0..500).map(|_| point(&mut random, false)).collect();
        assert!(!observe(&mut stream, &lines).drift, "after {} rows", stream.rows());
    }
    assert_eq!((stream.rows(), stream.figures().drift_count()), (50_000, 0));
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

/// How often rows of class `class` are answered by it, over a fresh hundred.
fn answered(
    stream: &mut Online,
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
        // In no order, for the labels before a row would tell its label.
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
        // A state that is kept goes on as the one in memory does.
        let mut restored = Online::restore(&stream.snapshot().unwrap(), None).unwrap();
        let more: Vec<String> = (0..30).map(|i| make(&mut random, 1 + i % 2)).collect();
        assert_eq!(observe(&mut restored, &more), observe(&mut stream, &more));
        assert_eq!(restored.snapshot().unwrap(), stream.snapshot().unwrap());
    }
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
    without.lda_readout.solve(&mut without.model, 1);
    let (a, b) = (with.model.readout.as_ref().unwrap(), without.model.readout.as_ref().unwrap());
    let worst = a.weights.iter().zip(&b.weights).map(|(a, b)| (a - b).abs() / (1.0 + b.abs())).fold(0.0, f32::max);
    assert!(worst < 1e-2, "{worst}");
    assert_eq!(with.model.counts, without.model.counts);
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
    let mut again = Online::restore(&snapshot, None).unwrap();
    assert!(again.snapshot().unwrap() == snapshot);
    // A snapshot of the layout before, which knew no rows without a label, is read as well.
    let pool = postcard::to_stdvec(&(&stream.lda_readout.pool, &stream.model.forest)).unwrap();
    assert!(pool.len() > 600 && snapshot.ends_with(&pool) && snapshot[0] == 3);
    let mut older = snapshot[..snapshot.len() - pool.len()].to_vec();
    older[0] = 2;
    assert_eq!(Online::restore(&older, None).unwrap().rows(), stream.rows());
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
