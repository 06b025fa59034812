//! Accuracy of a text model with and without a pretrained encoder: `measure_texts TRAIN TEST [FOLDER] [--shots N]
//! [--seeds N] [--stream] [--validate N] [--configs '[{}]']`. `TRAIN` and `TEST` have one `{"text","label"}` a line;
//! `--shots` keeps so many rows a class, drawn by each seed; `--stream` observes the rows one by one instead of training
//! on them; `--validate` tests on so many of the other rows of `TRAIN` instead of `TEST`, to choose settings by.

use kenyon_learn::data::formats::{self, Limits};
use kenyon_learn::data::plan::ColumnPlan;
use kenyon_learn::data::vectors::{self, CellVectors, ColumnEncoder};
use kenyon_learn::data::{Column, ColumnKind, Table, Task, plan};
use kenyon_learn::encoders::Pretrained;
use kenyon_learn::learning::fit::Silent;
use kenyon_learn::learning::stream::{StreamModel, StreamSpec};
use kenyon_learn::learning::{Bundle, FitSpec, evaluate, fit};
use kenyon_learn::random::Random;
use kenyon_learn::{Error, Result};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

fn number(name: &str) -> Option<u64> {
    std::env::args().skip_while(|a| a != name).nth(1)?.parse().ok()
}

fn read(path: &str, plan: &plan::Resolved) -> Result<Table> {
    plan::read_table(&[formats::detect(path.as_ref(), None, None)?], &plan.all(), &Limits::default())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).take_while(|a| !a.starts_with("--")).collect();
    let mut text = ColumnPlan::new("text", ColumnKind::Text);
    if let Some(folder) = arguments.get(2) {
        let encoder = Arc::new(Pretrained::open(folder.as_ref(), 2)?);
        text.encoder = Some(ColumnEncoder::new("measured", encoder.info().digest.clone()));
        vectors::provide(move |_| Ok(Some(Arc::clone(&encoder) as Arc<dyn CellVectors>)));
    }
    let target = ColumnPlan::target("label", ColumnKind::Category, Task::Classification);
    let plan =
        plan::Resolved { target, task: Task::Classification, inputs: vec![text], ignored: vec!["domain".into()] };
    let (whole, test) = (read(&arguments[0], &plan)?, read(&arguments[1], &plan)?);
    let configs = std::env::args().skip_while(|a| a != "--configs").nth(1).unwrap_or("[{}]".into());
    let configs: Vec<Map<String, Value>> = serde_json::from_str(&configs).map_err(Error::internal)?;
    let seeds = number("--seeds").unwrap_or(1);
    for config in configs {
        let (mut accuracy, mut loss, mut seconds) = (0.0, 0.0, 0.0);
        for seed in 0..seeds {
            let (train, others) = drawn(&whole, seed)?;
            let test = if number("--validate").is_some() { &others } else { &test };
            let begun = Instant::now();
            let bundle = learned(&train, &plan, &config, seed)?;
            seconds += begun.elapsed().as_secs_f64() / seeds as f64;
            let found = evaluate::evaluate(&bundle, test)?.metrics;
            let figure = |name: &str| found.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN);
            accuracy += figure("accuracy") / seeds as f64;
            loss += figure("log_loss") / seeds as f64;
        }
        let config = serde_json::to_string(&config).map_err(Error::internal)?;
        println!("{config}: accuracy {accuracy:.4}, log loss {loss:.3}, {seconds:.1} s");
    }
    Ok(())
}

/// The rows to learn from, and the others as far as they are requested.
fn drawn(whole: &Table, seed: u64) -> Result<(Table, Table)> {
    let Some(Column::Labels(labels)) = whole.column("label") else { return Err(Error::internal("no labels")) };
    let mut order: Vec<usize> = (0..whole.rows).collect();
    Random::stream(seed, "shots", 0).shuffle(&mut order);
    let others = number("--validate").unwrap_or(0) as usize;
    let (taken, mut rest): (Vec<usize>, Vec<usize>) = match number("--shots") {
        Some(shots) => {
            let mut taken: HashMap<&str, u64> = HashMap::new();
            order.into_iter().partition(|&row| {
                let count = taken.entry(labels[row].as_deref().unwrap_or_default()).or_default();
                *count += 1;
                *count <= shots
            })
        }
        None => {
            let rest = order.split_off(whole.rows - others);
            (order, rest)
        }
    };
    rest.truncate(others);
    Ok((whole.select(&taken), whole.select(&rest)))
}

/// A model of these rows.
fn learned(train: &Table, plan: &plan::Resolved, config: &Map<String, Value>, seed: u64) -> Result<Bundle> {
    if std::env::args().any(|a| a == "--stream") {
        let spec = StreamSpec {
            task: Task::Classification,
            target: plan.target.clone(),
            classes: Vec::new(),
            inputs: plan.inputs.clone(),
            config: config.clone(),
            seed,
        };
        let mut stream = StreamModel::new(&spec)?;
        for row in 0..train.rows {
            stream.observe(&train.select(&[row]), &[])?;
        }
        return Ok(stream.publish());
    }
    let spec = FitSpec { target: "label".into(), seed, config: config.clone(), ..FitSpec::default() };
    let fitted = fit::fit(train, plan, &spec, 2, None, &Silent)?;
    println!("{:?}, held out {:?}", fitted.notes, fitted.metrics.get("accuracy"));
    Ok(fitted.bundle)
}
