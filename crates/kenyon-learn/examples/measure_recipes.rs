//! Measures each rule of the recipes against its absence over a folder of tables, on validation rows only:
//! `cargo run --release -p kenyon-learn --example measure_recipes -- FOLDER [--rules a,b] [--sets a,b] [--seeds 3]
//! [--family sparse_mlp] [--most-rows N] [--config '{}']`.
//!
//! FOLDER holds `NAME.csv.gz` files with a column `target`, and may hold a `sets.json` that lists which of them are
//! `regression`. A fifth of a table is set aside and never read; the rest is split seven to three by each seed.

use kenyon_learn::data::formats::{self, Limits};
use kenyon_learn::data::profile::DataProfile;
use kenyon_learn::data::{Table, Task, plan, schema};
use kenyon_learn::learning::fit::{Silent, default_validation};
use kenyon_learn::learning::{FitSpec, Validation, evaluate, fit};
use kenyon_learn::models::Family;
use kenyon_learn::models::recipe::Recipe;
use kenyon_learn::random::Random;
use kenyon_learn::{Error, Result};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Accuracy and log loss, or explained variance and error over the deviation: of one training.
#[derive(Clone, Copy, Default)]
struct Score {
    right: f64,
    loss: f64,
    seconds: f64,
}

fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|a| a != name).nth(1)
}

fn list(name: &str) -> Option<Vec<String>> {
    argument(name).map(|text| text.split(',').map(str::to_owned).collect())
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

/// The score of a training whose recipe leaves out the rules `without`.
fn score(set: &Set, asked: &Map<String, Value>, family: Option<Family>, seed: u64, without: &[&str]) -> Result<Score> {
    let mut order: Vec<usize> = (0..set.table.rows).collect();
    Random::stream(0, "set aside", 0).shuffle(&mut order);
    order.truncate(set.table.rows * 4 / 5);
    Random::stream(seed, "validation rows", 0).shuffle(&mut order);
    let (training, validation) = order.split_at(order.len() * 7 / 10);
    let (training, validation) = (set.table.select(training), set.table.select(validation));
    let share = default_validation(training.rows);
    let mut profile = DataProfile::new(&training, &set.plan);
    let suited = Family::suited_to(&profile).map(|(family, _)| family);
    let family = family.or(suited).ok_or_else(|| Error::internal("no family"))?;
    profile.rows = (profile.rows as f32 * (1.0 - share)) as usize;
    let spec = FitSpec {
        target: "target".into(),
        family: Some(family),
        task: Some(set.plan.task),
        validation: Validation::Share(share),
        seed,
        config: Recipe::without(family, &profile, asked, without).config,
        ..FitSpec::default()
    };
    let start = Instant::now();
    let fitted = fit(&training, &set.plan, &spec, 2, None, &Silent)?;
    let seconds = start.elapsed().as_secs_f64();
    let metrics = evaluate::evaluate(&fitted.bundle, &validation)?.metrics;
    let figure = |name: &str| metrics.get(name).and_then(Value::as_f64);
    let right = figure("accuracy").or(figure("r2")).unwrap_or(f64::NAN);
    let loss = figure("log_loss").unwrap_or((1.0 - right).max(0.0).sqrt());
    Ok(Score { right, loss, seconds })
}

fn main() -> Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or_else(|| Error::internal("which folder?"))?);
    let asked: Map<String, Value> =
        serde_json::from_str(&argument("--config").unwrap_or_else(|| "{}".into())).map_err(Error::internal)?;
    let seeds: u64 = argument("--seeds").and_then(|s| s.parse().ok()).unwrap_or(3);
    let most_rows: usize = argument("--most-rows").and_then(|s| s.parse().ok()).unwrap_or(usize::MAX);
    let family = argument("--family").and_then(|name| Family::named(&name));
    let known = std::fs::read(folder.join("sets.json")).ok().and_then(|b| serde_json::from_slice::<Value>(&b).ok());
    let names = list("--sets").unwrap_or_else(|| {
        let files = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            files.filter_map(|file| Some(file.file_name().to_str()?.strip_suffix(".csv.gz")?.to_owned())).collect();
        names.sort();
        names
    });
    let rules = list("--rules").unwrap_or_else(|| {
        let named = family.or_else(|| Family::all().next());
        named.iter().flat_map(|family| family.rules()).map(|rule| rule.name.to_owned()).collect()
    });
    let variants: Vec<Vec<&str>> = std::iter::once(Vec::new())
        .chain(rules.iter().filter(|r| *r != "none").map(|rule| vec![rule.as_str()]))
        .collect();
    let mut sums: BTreeMap<usize, (Score, usize)> = BTreeMap::new();
    for name in names {
        let task = known.as_ref().and_then(|known| known[&name]["task"].as_str()).map(|task| match task {
            "regression" => Task::Regression,
            _ => Task::Classification,
        });
        let set = read(&folder.join(format!("{name}.csv.gz")), task)?;
        if set.table.rows > most_rows {
            continue;
        }
        for (index, without) in variants.iter().enumerate() {
            let mut mean = Score::default();
            for seed in 0..seeds {
                let found = score(&set, &asked, family, seed, without)?;
                mean.right += found.right / seeds as f64;
                mean.loss += found.loss / seeds as f64;
                mean.seconds += found.seconds / seeds as f64;
            }
            println!("{name} {without:?}: {:.4} {:.4} {:.1} s", mean.right, mean.loss, mean.seconds);
            let (sum, count) = sums.entry(index).or_default();
            *sum = Score {
                right: sum.right + mean.right,
                loss: sum.loss + mean.loss,
                seconds: sum.seconds + mean.seconds,
            };
            *count += 1;
        }
    }
    println!("\nleft out: mean accuracy or R², mean log loss or error, seconds");
    for (index, (sum, count)) in sums {
        let count = count as f64;
        println!("{:?}: {:.4} {:.4} {:.1}", variants[index], sum.right / count, sum.loss / count, sum.seconds / count);
    }
    Ok(())
}
