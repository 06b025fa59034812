//! Measures each rule of the recipes against its absence, or settings against each other, over a folder of tables, on
//! validation rows only: `cargo run --release -p kenyon-learn --example measure_recipes -- FOLDER [--rules a,b]
//! [--sets a,b] [--task regression] [--seeds 3] [--family sparse_mlp] [--least-rows N] [--most-rows N]
//! [--configs '[{},{"members":4}]'] [--validation 0.2] [--threads 2]`.
//!
//! FOLDER holds `NAME.csv.gz` files with a column `target`, and may hold a `sets.json` that lists which of them are
//! `regression`. A fifth of a table is set aside and never read; the rest is split seven to three by each seed.

use kenyon_learn::data::formats::{self, Limits};
use kenyon_learn::data::{Table, Task, plan, schema};
use kenyon_learn::learning::fit::Silent;
use kenyon_learn::learning::{FitSpec, Validation, evaluate, fit};
use kenyon_learn::models::Family;
use kenyon_learn::random::Random;
use kenyon_learn::{Error, Result};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Figures of a training: accuracy, log loss and balanced accuracy; or R², error over the deviation and nothing. With
/// the seconds that it took.
#[derive(Clone, Copy, Default)]
struct Score {
    right: f64,
    loss: f64,
    balanced: f64,
    seconds: f64,
}

impl Score {
    fn add(&mut self, other: Self, share: f64) {
        self.right += other.right * share;
        self.loss += other.loss * share;
        self.balanced += other.balanced * share;
        self.seconds += other.seconds * share;
    }
}

fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|a| a != name).nth(1)
}

fn list(name: &str) -> Option<Vec<String>> {
    argument(name).map(|text| text.split(',').map(str::to_owned).collect())
}

fn number<T: std::str::FromStr>(name: &str, default: T) -> T {
    argument(name).and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What is measured against the others.
struct Variant {
    name: String,
    /// Settings that the request names.
    config: Map<String, Value>,
    /// Rules that do not apply.
    without: Vec<String>,
}

/// A table and its properties.
struct Set {
    table: Table,
    plan: plan::Resolved,
}

fn read(file: &Path, task: Option<Task>) -> Result<Set> {
    let limits = Limits::default();
    let part = formats::detect(file, None, None)?;
    let plan = plan::resolve(&schema::infer(&part, &limits)?, &Default::default(), "target", task)?;
    Ok(Set { table: plan::read_table(std::slice::from_ref(&part), &plan.all(), &limits)?, plan })
}

/// How a variant does on one split.
fn score(set: &Set, family: Option<Family>, seed: u64, variant: &Variant) -> Result<Score> {
    let mut order: Vec<usize> = (0..set.table.rows).collect();
    Random::stream(0, "set aside", 0).shuffle(&mut order);
    order.truncate(set.table.rows * 4 / 5);
    Random::stream(seed, "validation rows", 0).shuffle(&mut order);
    let (training, validation) = order.split_at(order.len() * 7 / 10);
    let (training, validation) = (set.table.select(training), set.table.select(validation));
    let spec = FitSpec {
        target: "target".into(),
        family,
        task: Some(set.plan.task),
        validation: argument("--validation").and_then(|s| s.parse().ok()).map_or(Validation::Auto, Validation::Share),
        seed,
        config: variant.config.clone(),
        without_rules: variant.without.clone(),
        ..FitSpec::default()
    };
    let start = Instant::now();
    let fitted = fit(&training, &set.plan, &spec, number("--threads", 2), None, &Silent)?;
    let seconds = start.elapsed().as_secs_f64();
    let metrics = evaluate::evaluate(&fitted.bundle, &validation)?.metrics;
    let figure = |name: &str| metrics.get(name).and_then(Value::as_f64);
    let right = figure("accuracy").or(figure("r2")).unwrap_or(f64::NAN);
    let loss = figure("log_loss").unwrap_or((1.0 - right).max(0.0).sqrt());
    Ok(Score { right, loss, balanced: figure("balanced_accuracy").unwrap_or(0.0), seconds })
}

/// The rules one by one left out, or the settings that the call names; the recipe as it is comes first.
fn variants(family: Option<Family>) -> Result<Vec<Variant>> {
    let parsed = |text: String| serde_json::from_str::<Vec<Map<String, Value>>>(&text).map_err(Error::internal);
    if let Some(configs) = argument("--configs").map(parsed).transpose()? {
        let named = |config: Map<String, Value>| Variant {
            name: Value::Object(config.clone()).to_string(),
            config,
            without: Vec::new(),
        };
        return Ok(configs.into_iter().map(named).collect());
    }
    let rules = list("--rules").unwrap_or_else(|| {
        let named = family.or_else(|| Family::all().next());
        named.iter().flat_map(|family| family.rules()).map(|rule| rule.name.to_owned()).collect()
    });
    let without = |rule: Option<String>| Variant {
        name: rule.as_ref().map_or("all rules".into(), |rule| format!("without {rule}")),
        config: Map::new(),
        without: rule.into_iter().collect(),
    };
    Ok(std::iter::once(None).chain(rules.into_iter().map(Some)).map(without).collect())
}

fn main() -> Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or_else(|| Error::internal("which folder?"))?);
    let seeds: u64 = number("--seeds", 3);
    let rows = number("--least-rows", 0)..=number("--most-rows", usize::MAX);
    let family = argument("--family").and_then(|name| Family::named(&name));
    let known = std::fs::read(folder.join("sets.json")).ok().and_then(|b| serde_json::from_slice::<Value>(&b).ok());
    let names = list("--sets").unwrap_or_else(|| {
        let files = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            files.filter_map(|file| Some(file.file_name().to_str()?.strip_suffix(".csv.gz")?.to_owned())).collect();
        names.sort();
        names
    });
    let variants = variants(family)?;
    let only = argument("--task");
    let mut sums = vec![(Score::default(), 0); variants.len()];
    for name in names {
        let task_of = known.as_ref().and_then(|known| known[&name]["task"].as_str());
        if only.as_deref().is_some_and(|only| (task_of == Some("regression")) != (only == "regression")) {
            continue;
        }
        let task = task_of.map(|task| if task == "regression" { Task::Regression } else { Task::Classification });
        let set = read(&folder.join(format!("{name}.csv.gz")), task)?;
        if !rows.contains(&set.table.rows) {
            continue;
        }
        for (variant, (sum, count)) in variants.iter().zip(&mut sums) {
            let mut mean = Score::default();
            for seed in 0..seeds {
                mean.add(score(&set, family, seed, variant)?, 1.0 / seeds as f64);
            }
            let Score { right, loss, balanced, seconds } = mean;
            println!("{name} {}: {right:.4} {loss:.4} {balanced:.4} {seconds:.1} s", variant.name);
            sum.add(mean, 1.0);
            *count += 1;
        }
    }
    println!("\nmean accuracy or R², mean log loss or error, mean balanced accuracy, seconds");
    for (variant, (sum, count)) in variants.iter().zip(sums) {
        let mut mean = Score::default();
        mean.add(sum, 1.0 / f64::from(count.max(1)));
        let Score { right, loss, balanced, seconds } = mean;
        println!("{}: {right:.4} {loss:.4} {balanced:.4} {seconds:.1}", variant.name);
    }
    Ok(())
}
