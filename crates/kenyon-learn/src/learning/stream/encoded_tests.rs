//! Streams whose texts a pretrained encoder reads.

use super::{StreamModel, StreamSpec};
use crate::Result;
use crate::data::plan::ColumnPlan;
use crate::data::target::Task;
use crate::data::vectors::{self, CellVectors, ColumnEncoder};
use crate::data::{ColumnKind, Table};
use crate::nn::probability::argmax;
use crate::random::Random;
use serde_json::{Map, json};
use std::sync::Arc;

const WIDTH: usize = 16;

/// An encoder that puts `KIND NUMBER` near the place of the kind.
struct Places;

fn place(seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..WIDTH).map(|_| random.normal()).collect()
}

fn number_of(text: &str) -> u64 {
    text.bytes().fold(7, |sum, byte| sum * 31 % 1_000_003 + u64::from(byte))
}

impl CellVectors for Places {
    fn kind(&self) -> ColumnKind {
        ColumnKind::Text
    }

    fn width(&self) -> usize {
        WIDTH
    }

    fn of_cells(&self, texts: &[&str]) -> Result<Vec<f32>> {
        let vector = |text: &&str| {
            let kind = text.split(' ').next().unwrap_or_default();
            let own = place(number_of(text) + 1);
            place(number_of(kind)).into_iter().zip(own).map(|(kind, own)| kind + 0.7 * own).collect::<Vec<f32>>()
        };
        Ok(texts.iter().flat_map(vector).collect())
    }
}

fn stream() -> StreamModel {
    vectors::provide(|digest| Ok((digest == "places").then(|| Arc::new(Places) as Arc<dyn CellVectors>)));
    let encoder = Some(ColumnEncoder::new("places", "places"));
    StreamModel::new(&StreamSpec {
        task: Task::Classification,
        target: ColumnPlan::target("kind", ColumnKind::Category, Task::Classification),
        classes: Vec::new(),
        inputs: vec![ColumnPlan { encoder, ..ColumnPlan::new("text", ColumnKind::Text) }],
        config: Map::new(),
        seed: 3,
    })
    .unwrap()
}

const KINDS: [&str; 6] = ["tin", "oak", "jade", "silk", "clay", "wool"];

/// Row `i` of a kind. Its number is its own word, so that words that were learned do not help.
fn row(kind: usize, i: usize) -> String {
    json!({"text": format!("{} {}", KINDS[kind], i * 6 + kind), "kind": KINDS[kind]}).to_string()
}

fn table(stream: &StreamModel, rows: &[String]) -> Table {
    stream.reader().from_ndjson(rows.join("\n").as_bytes()).unwrap()
}

fn observe(stream: &mut StreamModel, rows: &[String]) {
    let table = table(stream, rows);
    stream.observe(&table, &rows.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
}

/// The share of new rows of these kinds that are answered right, the class ids being in the order of `KINDS`.
fn accuracy(stream: &StreamModel, kinds: std::ops::Range<usize>) -> f64 {
    let rows: Vec<String> = kinds
        .flat_map(|kind| (0..40).map(move |i| json!({"text": format!("{} x{i}", KINDS[kind])}).to_string()))
        .collect();
    let bundle = stream.publish();
    let table = bundle.reader().from_ndjson(rows.join("\n").as_bytes()).unwrap();
    let answers = bundle.network.forward(&bundle.encode(&table).unwrap()).unwrap();
    let outputs = bundle.network.outputs();
    let names = bundle.class_names();
    let right = answers.chunks_exact(outputs).enumerate();
    let right = right.filter(|(at, answer)| rows[*at].contains(&format!("\"{} ", names[argmax(answer)]))).count();
    right as f64 / rows.len() as f64
}

#[test]
fn a_row_a_class_is_enough_where_the_encoder_knows_the_classes() {
    let mut stream = stream();
    for kind in 0..KINDS.len() {
        observe(&mut stream, &[row(kind, 0)]);
    }
    assert!(accuracy(&stream, 0..6) > 0.9, "{}", accuracy(&stream, 0..6));
    // A snapshot continues to the same state.
    let mut again = StreamModel::restore(&stream.snapshot().unwrap(), None).unwrap();
    for kind in 0..KINDS.len() {
        observe(&mut stream, &[row(kind, 1)]);
        observe(&mut again, &[row(kind, 1)]);
    }
    assert!(stream.snapshot().unwrap() == again.snapshot().unwrap(), "the same state, bit for bit");
}

#[test]
fn classes_that_come_after_each_other_are_not_forgotten() {
    let mut stream = stream();
    for kind in 0..KINDS.len() {
        // More rows in all than are stored.
        let rows: Vec<String> = (0..400).map(|i| row(kind, i)).collect();
        rows.chunks(100).for_each(|rows| observe(&mut stream, rows));
    }
    let (first, last) = (accuracy(&stream, 0..2), accuracy(&stream, 4..6));
    assert!(first > 0.95 && last > 0.95, "{first} of the first classes, {last} of the last");
    let mut again = StreamModel::restore(&stream.snapshot().unwrap(), None).unwrap();
    observe(&mut stream, &[row(0, 500)]);
    observe(&mut again, &[row(0, 500)]);
    assert!(stream.snapshot().unwrap() == again.snapshot().unwrap(), "the same state, bit for bit");
}

#[test]
fn forgotten_rows_are_not_stored_any_more() {
    let mut stream = stream();
    for i in 0..8 {
        (0..3).for_each(|kind| observe(&mut stream, &[row(kind, i)]));
    }
    assert!(accuracy(&stream, 0..3) > 0.9);
    // Rows of the first kind under the name of the second, and forgotten again.
    let wrong: Vec<String> = (0..30).map(|i| json!({"text": format!("tin w{i}"), "kind": "oak"}).to_string()).collect();
    observe(&mut stream, &wrong);
    let misled = accuracy(&stream, 0..1);
    let logged: Vec<&str> = wrong.iter().map(String::as_str).collect();
    stream.forget(|_, _, text| text.is_some_and(|text| text.contains("tin w")), &logged).unwrap();
    stream.consolidate().unwrap();
    let after = accuracy(&stream, 0..1);
    assert!(misled < 0.5 && after > 0.9, "{misled} before, {after} after");
}
