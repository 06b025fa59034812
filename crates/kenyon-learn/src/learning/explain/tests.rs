use super::*;
use crate::data::plan::{ColumnPlan, Resolved};
use crate::data::{ColumnKind, Task};
use crate::learning::fit::Silent;
use crate::learning::{FitSpec, fit};
use crate::models::Family;
use crate::random::Random;
use serde_json::json;

/// Trains on a table whose first column is the target.
fn trained(table: &Table, kinds: &[ColumnKind], task: Task, family: &str, config: Value) -> Bundle {
    let mut plans: Vec<ColumnPlan> =
        table.columns.iter().zip(kinds).map(|((name, _), kind)| ColumnPlan::new(name.clone(), *kind)).collect();
    for (plan, (_, column)) in plans.iter_mut().zip(&table.columns) {
        if let Column::Vector { shape, width, .. } = column {
            plan.shape = Some(shape.clone().unwrap_or_else(|| vec![*width]));
        }
        if let Column::Series { channels, .. } = column {
            plan.channels = Some(*channels);
        }
    }
    let target = ColumnPlan::target("y", kinds[0], task);
    let plan = Resolved { target, task, inputs: plans.split_off(1), ignored: Vec::new() };
    let spec = FitSpec {
        target: "y".into(),
        family: Family::named(family),
        task: Some(task),
        seed: 1,
        config: config.as_object().unwrap().clone(),
        ..FitSpec::default()
    };
    fit(table, &plan, &spec, 2, None, &Silent).unwrap().bundle
}

fn explained(bundle: &Bundle, table: &Table, row: usize, output: usize) -> Attribution {
    let found = attribute(bundle, table, row, output).unwrap().unwrap();
    let sum: f64 = found.features.iter().map(|f| f.weight).sum();
    let scale = found.output.abs().max(found.baseline.abs()).max(1.0);
    assert!((sum - (found.output - found.baseline)).abs() < 1e-6 * scale, "{sum}: {found:?}");
    found
}

fn numbers(rows: usize) -> Table {
    let mut random = Random::new(3);
    let mut draw = || -> Vec<f64> { (0..rows).map(|_| f64::from(random.normal())).collect() };
    let (x, z, noise) = (draw(), draw(), draw());
    let y = (0..rows).map(|i| 1_000.0 + 300.0 * x[i] - 100.0 * z[i]).collect();
    let named = [("y", y), ("x", x), ("z", z), ("noise", noise)];
    Table { rows, columns: named.map(|(name, values)| (name.to_owned(), Column::Number(values))).into() }
}

#[test]
fn weights_of_numbers_are_differences_in_the_targets_unit_for_every_family_of_tables() {
    let table = numbers(400);
    for family in ["sparse_mlp", "attention", "memory", "hybrid"] {
        let bundle = trained(&table, &[ColumnKind::Number; 4], Task::Regression, family, json!({"epochs": 30}));
        let found = explained(&bundle, &table, 7, 0);
        assert_eq!((found.unit.as_str(), found.features.len()), ("y", 3));
        let answers = bundle.run(&bundle.encode(&table).unwrap()).unwrap();
        assert!((found.output - bundle.value(answers.values[7])).abs() < 1e-2, "{family}: {found:?}");
        let x = match &table.columns[1].1 {
            Column::Number(values) => values[7],
            _ => unreachable!(),
        };
        let feature = found.features.iter().find(|f| f.name == "x").unwrap();
        assert_eq!(feature.value, json!(x));
        if family == "sparse_mlp" {
            assert!((feature.weight - 300.0 * x).abs() < 120.0, "{x}: {found:?}");
            let noise = found.features.iter().find(|f| f.name == "noise").unwrap();
            assert!(noise.weight.abs() < 100.0, "{found:?}");
        }
        let files = bundle.files().unwrap();
        let again = Bundle::load(|name| files.iter().find(|(n, _)| *n == name).map(|(_, bytes)| &bytes[..])).unwrap();
        assert_eq!(attribute(&again, &table, 7, 0).unwrap(), Some(found));
    }
}

#[test]
fn words_stand_at_their_place_and_the_telling_one_weighs_most() {
    let mut random = Random::new(4);
    let filler = ["der", "Zug", "fährt", "um", "fünf", "nach", "Köln"];
    let (mut texts, mut labels): (Vec<Option<Box<str>>>, Vec<Option<Box<str>>>) = (Vec::new(), Vec::new());
    for _ in 0..400 {
        let late = random.uniform() < 0.5;
        let mut words: Vec<&str> = (0..6).map(|_| filler[random.below(filler.len())]).collect();
        words.insert(random.below(6), if late { "verspätet" } else { "pünktlich" });
        texts.push(Some(words.join(" ").into()));
        labels.push(Some(if late { "spät" } else { "gut" }.into()));
    }
    texts[0] = Some("fünf um Köln verspätet der Zug".into());
    labels[0] = Some("spät".into());
    let table = Table {
        rows: 400,
        columns: vec![("y".into(), Column::Category(labels)), ("text".into(), Column::Text(texts))],
    };
    let kinds = [ColumnKind::Category, ColumnKind::Text];
    let bundle = trained(&table, &kinds, Task::Classification, "sparse_mlp", json!({"epochs": 10}));
    let output = bundle.classes().iter().position(|class| class == "spät").unwrap();
    let found = explained(&bundle, &table, 0, output);
    let first = &found.features[0];
    assert_eq!(
        (first.value.clone(), first.span, found.unit.as_str()),
        (json!("verspätet"), Some([13, 22]), "log-odds")
    );
    assert!(first.weight > 2.0 * found.features[1].weight.abs(), "{found:?}");
}

#[test]
fn pictures_and_series_carry_maps_that_sum_to_their_weight() {
    let mut random = Random::new(5);
    let (mut pixels, mut series, mut labels) = (Vec::new(), Vec::new(), Vec::<Option<Box<str>>>::new());
    for i in 0..300 {
        let bright = i % 2 == 0;
        let corner = |at: usize| if bright && at % 8 < 2 && at / 8 < 2 { 3.0 } else { 0.0 };
        pixels.extend((0..64).map(|at| random.uniform() + corner(at)));
        series.extend((0..40).map(|step| random.normal() * 0.2 + if bright && step > 30 { 2.0 } else { 0.0 }));
        labels.push(Some(if bright { "bright" } else { "dark" }.into()));
    }
    let label = ("y".to_owned(), Column::Category(labels));
    let picture = Column::Vector { width: 64, shape: Some(vec![8, 8]), values: pixels };
    let line = Column::Series { channels: 2, offsets: (0..=300).map(|row| row * 20).collect(), values: series };
    for (column, kind, family) in
        [(picture, ColumnKind::Vector, "sparse_mlp"), (line, ColumnKind::Sequence, "attention")]
    {
        let table = Table { rows: 300, columns: vec![label.clone(), ("signal".into(), column)] };
        let kinds = [ColumnKind::Category, kind];
        let bundle = trained(&table, &kinds, Task::Classification, family, json!({"epochs": 6}));
        let found = explained(&bundle, &table, 0, 0);
        let map = found.features[0].map.as_ref().unwrap();
        let sum: f32 = map.concat().iter().sum();
        assert!((f64::from(sum) - found.features[0].weight).abs() < 1e-3, "{found:?}");
        if kind == ColumnKind::Vector {
            assert_eq!((map.len(), map[0].len()), (8, 8));
            let corner = map[0][0] + map[0][1] + map[1][0] + map[1][1];
            assert!(corner > 0.6 * sum, "{map:?}");
        } else {
            assert_eq!((map.len(), map[0].len()), (2, 20));
        }
    }
}
