//! Measures how far novelty, sets, intervals, probabilities and explanations of a model are reliable, on rows that it
//! has never seen:
//! `cargo run --release -p kenyon-learn --example measure_uncertainty -- FILE TARGET [--family sparse_mlp]
//! [--most-rows N] [--foreign FILE] [--explain 50] [--reference 30] [--task regression] [--config '{}'] [--seed 0] [--write FOLDER]
//! [--stream ROWS [--each 100] [--shuffle SEED]]`.
//!
//! Two fifths of the rows are set aside. It prints one JSON object: the share of them that abstains; of foreign rows
//! (columns of numbers exchanged, columns drawn from different rows, lists shuffled and with strong noise, letters
//! exchanged, rows of another file) the share found at 1 % false alarms, beside the distance to the third-nearest of all
//! training rows; the coverage of sets and intervals, by quarter of the predicted value and by class; the calibration
//! error; and how explanations agree with what replacing a feature by others' values does. With `--write` the rows are
//! written as numbers, for other detectors, and which rows of the file they are. With `--stream` rows are observed in
//! their order (or a random one) instead, each part answered before it is observed. `benches/uncertainty.py` runs it over the development data.

mod explanations;
mod foreign;
mod held_out;
mod streams;

use kenyon_learn::data::formats::{self, Limits};
use kenyon_learn::data::{Table, Task, plan, schema};
use kenyon_learn::learning::fit::Silent;
use kenyon_learn::learning::{FitSpec, fit};
use kenyon_learn::models::Family;
use kenyon_learn::random::Random;
use kenyon_learn::{Error, Result};
use serde_json::json;
use std::path::Path;
use std::time::Instant;

fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|a| a != name).nth(1)
}

fn number(name: &str, default: usize) -> usize {
    argument(name).and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() -> Result<()> {
    let usage = || Error::internal("measure_uncertainty FILE TARGET");
    let file = std::env::args().nth(1).ok_or_else(usage)?;
    let target = std::env::args().nth(2).ok_or_else(usage)?;
    let limits = Limits::default();
    let part = formats::detect(Path::new(&file), None, None)?;
    let task = argument("--task").map(|t| if t == "regression" { Task::Regression } else { Task::Classification });
    let schema = schema::infer(&part, &limits)?;
    let plan = plan::resolve(&schema, &Default::default(), &target, task)?;
    let table = plan::read_table(std::slice::from_ref(&part), &plan.all(), &limits)?;
    if let Some(rows) = argument("--stream").and_then(|rows| rows.parse().ok()) {
        let mut order: Vec<usize> = (0..table.rows).collect();
        if let Some(seed) = argument("--shuffle").and_then(|seed| seed.parse().ok()) {
            Random::stream(seed, "in random order", 0).shuffle(&mut order);
        }
        let table = table.select(&order);
        let found = streams::measure(&table, &plan, rows, number("--each", 100).max(1))?;
        println!("{}", json!({"file": file, "stream": found}));
        return Ok(());
    }
    let seed = number("--seed", 0) as u64;
    let mut random = Random::stream(seed, "set aside", 0);
    let mut order: Vec<usize> = (0..table.rows).collect();
    random.shuffle(&mut order);
    order.truncate(number("--most-rows", usize::MAX));
    let (train, test) = order.split_at(order.len() * 3 / 5);
    let folder = argument("--write");
    if let Some(folder) = &folder {
        let rows = json!({"train": train, "test": test}).to_string();
        std::fs::write(Path::new(folder).join("rows.json"), rows).map_err(Error::internal)?;
    }
    let (train, test) = (table.select(train), table.select(test));
    let spec = FitSpec {
        target,
        family: argument("--family").and_then(|name| Family::named(&name)),
        task: Some(plan.task),
        seed,
        config: serde_json::from_str(&argument("--config").unwrap_or_else(|| "{}".into())).map_err(Error::internal)?,
        ..FitSpec::default()
    };
    let start = Instant::now();
    let bundle = fit(&train, &plan, &spec, 1, None, &Silent)?.bundle;
    let seconds = start.elapsed().as_secs_f64();
    let inputs = |table: &Table| {
        let used = |name: &String| bundle.encoder.fields.iter().any(|field| field.name == *name);
        let columns = table.columns.iter().filter(|(name, _)| used(name)).cloned().collect();
        Table { rows: table.rows, columns }
    };
    let others = match argument("--foreign") {
        Some(file) => {
            let part = formats::detect(Path::new(&file), None, None)?;
            Some(plan::read_table(&[part], &bundle.encoder.inputs, &limits)?)
        }
        None => None,
    };
    let (known, new) = (inputs(&train), inputs(&test));
    let mut out = held_out::measure_coverage(&bundle, &test)?;
    out.insert(
        "novelty".into(),
        held_out::measure_novelty(&bundle, (&known, &new), others, folder.as_deref(), &mut random)?,
    );
    out.insert(
        "explanations".into(),
        explanations::measure(&bundle, (&known, &new), number("--explain", 30), number("--reference", 30))?,
    );
    let about = json!({
        "file": file, "seed": seed, "family": bundle.config.family.name(), "rows": train.rows, "seconds": seconds,
    });
    if let Some(about) = about.as_object() {
        out.extend(about.clone());
    }
    println!("{}", serde_json::Value::Object(out));
    Ok(())
}
