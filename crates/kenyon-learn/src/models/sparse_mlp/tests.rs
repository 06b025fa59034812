//! Compact batches against plain ones, through training, answers, reasons and what is saved.

use super::{learner, load};
use crate::data::encoder::{Encoder, EncoderOptions, Layout};
use crate::data::plan::ColumnPlan;
use crate::data::{Batch, Column, ColumnKind, Table};
use crate::models::{LearnerSpec, Network, Position, SavedNetwork, Targets, Task};
use serde_json::{Map, Value, json};

const ROWS: usize = 240;

/// Two numbers, one of them missing in places, a category, and a text if `text`.
fn table(text: bool) -> (Table, Vec<ColumnPlan>) {
    let number = |f: fn(usize) -> f64| Column::Number((0..ROWS).map(f).collect());
    let names = ["red", "green", "blue"];
    let mut columns = vec![
        ("x".to_owned(), number(|row| (row * 37 % 101) as f64), ColumnKind::Number),
        (
            "y".to_owned(),
            number(|row| if row % 9 == 4 { f64::NAN } else { (row * row % 83) as f64 }),
            ColumnKind::Number,
        ),
        (
            "c".to_owned(),
            Column::Category((0..ROWS).map(|row| Some(names[row % 3].into())).collect()),
            ColumnKind::Category,
        ),
    ];
    if text {
        let texts = (0..ROWS).map(|row| Some(format!("row {} is {}", row % 7, names[row % 3]).into())).collect();
        columns.push(("t".to_owned(), Column::Text(texts), ColumnKind::Text));
    }
    let plans = columns.iter().map(|(name, _, kind)| ColumnPlan::new(name, *kind)).collect();
    let columns = columns.into_iter().map(|(name, column, _)| (name, column)).collect();
    (Table { rows: ROWS, columns }, plans)
}

fn trained(encoder: &Encoder, config: &Map<String, Value>, batch: &Batch) -> (Vec<f32>, Box<dyn Network>) {
    let task = Task::Classification;
    let spec = LearnerSpec { encoder, task, outputs: 2, names: &[], rows: ROWS, config, seed: 3, threads: 2 };
    let mut learner = learner(&spec).unwrap();
    let classes: Vec<u32> = (0..ROWS).map(|row| u32::from((row * 37 % 101 > 50) ^ (row * row % 83 > 40))).collect();
    for step in 0..8 {
        let rows: Vec<usize> = (0..ROWS).filter(|row| row % 4 == step % 4).collect();
        let labels: Vec<u32> = rows.iter().map(|&row| classes[row]).collect();
        let position = Position { epoch: step / 4, epochs: 2, step: step as u64, steps: 8 };
        learner.step(&batch.select(&rows), Targets::Classes(&labels, None), position).unwrap();
    }
    let answers = learner.forward(batch).unwrap();
    (answers, learner.finish(None).unwrap())
}

fn assert_close(a: &[f32], b: &[f32], by: f32, what: &str) {
    let furthest = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(a.len() == b.len() && furthest <= by, "{what}: {furthest}");
}

#[test]
fn compact_rows_are_learned_and_answered_as_plain_ones() {
    let configs = [
        json!({ "hidden": [] }),
        json!({ "hidden": [32], "dropout": 0.1 }),
        json!({ "hidden": [32, 16], "members": 2, "active_share": 0.5 }),
        json!({ "hidden": [32], "optimizer": "sgd", "learning_rate": 0.01 }),
    ];
    for text in [false, true] {
        let (table, plans) = table(text);
        let all: Vec<usize> = (0..ROWS).collect();
        let options = EncoderOptions { bins: 12, ..EncoderOptions::default() };
        let encoder = Encoder::fit_with(&table, &all, &plans, Layout::Bag, options).unwrap();
        let (plain, compact) = (encoder.encode(&table).unwrap(), encoder.encode_compact(&table).unwrap());
        assert!(compact.indices.len() + ROWS < plain.indices.len());
        for config in &configs {
            let config = config.as_object().unwrap();
            let (answers, network) = trained(&encoder, config, &compact);
            let (of_plain, _) = trained(&encoder, config, &plain);
            assert_close(&answers, &of_plain, 1e-3, &format!("training {config:?}"));
            assert!(network.reads_compact());
            let logits = network.forward(&compact).unwrap();
            assert_close(&logits, &network.forward(&plain).unwrap(), 1e-4, &format!("answers {config:?}"));
            let codes = network.features(&compact).unwrap();
            assert_close(&codes, &network.features(&plain).unwrap(), 1e-4, &format!("codes {config:?}"));
            for row in [0, 4, 100] {
                let why = network.explain(&compact, row, 1).unwrap();
                assert_eq!(why.entries.len(), compact.entries(row).0.len());
                let sum = why.bias + why.entries.iter().sum::<f32>();
                assert!((sum - logits[2 * row + 1]).abs() < 1e-3, "{config:?} {row}: {sum}");
                let whole = network.explain(&plain, row, 1).unwrap();
                let by_field = |batch: &Batch, terms: &[f32]| -> Vec<f32> {
                    let of = |start: u32, end: u32| {
                        let entries = batch.entries(row).0.iter().zip(terms);
                        entries.filter(|(index, _)| (start..end).contains(*index)).map(|(_, term)| term).sum()
                    };
                    encoder.fields.iter().map(|field| of(field.start, field.start + field.width)).collect()
                };
                let terms = [by_field(&compact, &why.entries), by_field(&plain, &whole.entries)];
                assert_close(&terms[0], &terms[1], 1e-3, &format!("reasons {config:?}"));
            }
            let saved = network.save().unwrap();
            let again = load(&SavedNetwork {
                encoder: &encoder,
                task: Task::Classification,
                outputs: 2,
                config,
                tensors: &saved,
            })
            .unwrap();
            assert_eq!(again.forward(&compact).unwrap(), logits, "{config:?}: what is loaded answers bit for bit");
            let macs = |batch: &Batch| network.activity(batch).unwrap().effective_macs;
            assert!(macs(&compact) <= macs(&plain));
        }
    }
}
