//! Accuracy of a text model with and without a pretrained encoder: `measure_texts TRAIN TEST [FOLDER] [--shots N]
//! [--seed N] [--stream]`. `TRAIN` and `TEST` have one `{"text","label"}` a line; `--shots` keeps so many rows a class,
//! drawn by the seed; `--stream` observes the rows one by one instead of training on them.

use kenyon_learn::data::formats::{self, Limits};
use kenyon_learn::data::plan::ColumnPlan;
use kenyon_learn::data::vectors::{self, CellVectors, ColumnEncoder};
use kenyon_learn::data::{Column, ColumnKind, Table, Task, plan};
use kenyon_learn::encoders::TextEncoder;
use kenyon_learn::learning::fit::Silent;
use kenyon_learn::learning::stream::{StreamModel, StreamSpec};
use kenyon_learn::learning::{FitSpec, evaluate, fit};
use kenyon_learn::random::Random;
use kenyon_learn::{Error, Result};
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
    let seed = number("--seed").unwrap_or(0);
    let mut text = ColumnPlan::new("text", ColumnKind::Text);
    if let Some(folder) = arguments.get(2) {
        let encoder = Arc::new(TextEncoder::open(folder.as_ref(), 2)?);
        text.encoder = Some(ColumnEncoder::new("measured", encoder.info().digest.clone()));
        vectors::provide(move |_| Ok(Some(Arc::clone(&encoder) as Arc<dyn CellVectors>)));
    }
    let target = ColumnPlan::target("label", ColumnKind::Category, Task::Classification);
    let plan =
        plan::Resolved { target, task: Task::Classification, inputs: vec![text], ignored: vec!["domain".into()] };
    let mut train = read(&arguments[0], &plan)?;
    let test = read(&arguments[1], &plan)?;
    if let Some(shots) = number("--shots") {
        let Some(Column::Labels(labels)) = train.column("label") else { return Err(Error::internal("no labels")) };
        let mut order: Vec<usize> = (0..train.rows).collect();
        Random::stream(seed, "shots", 0).shuffle(&mut order);
        let mut taken: HashMap<&str, u64> = HashMap::new();
        order.retain(|&row| {
            let count = taken.entry(labels[row].as_deref().unwrap_or_default()).or_default();
            *count += 1;
            *count <= shots
        });
        train = train.select(&order);
    }
    let begun = Instant::now();
    let (bundle, metrics) = if std::env::args().any(|a| a == "--stream") {
        let spec = StreamSpec {
            task: Task::Classification,
            target: plan.target.clone(),
            classes: Vec::new(),
            inputs: plan.inputs.clone(),
            config: Default::default(),
            seed,
        };
        let mut stream = StreamModel::new(&spec)?;
        for row in 0..train.rows {
            stream.observe(&train.select(&[row]), &[])?;
        }
        (stream.publish(), Default::default())
    } else {
        let spec = FitSpec { target: "label".into(), seed, ..FitSpec::default() };
        let fitted = fit::fit(&train, &plan, &spec, 2, None, &Silent)?;
        println!("{:?}", fitted.notes);
        (fitted.bundle, fitted.metrics)
    };
    let seconds = begun.elapsed().as_secs_f64();
    let found = evaluate::evaluate(&bundle, &test)?;
    println!(
        "{} rows in {seconds:.1} s; held out {:?} / {:?}; test {:?} / {:?}",
        train.rows,
        metrics.get("accuracy"),
        metrics.get("log_loss"),
        found.metrics.get("accuracy"),
        found.metrics.get("log_loss")
    );
    Ok(())
}
