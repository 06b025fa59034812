//! Accuracy with few pictures a class: `measure_pictures TRAIN TEST [--shots 1,5,10,50] [--draws 3] [--validate N]
//! [--configs '[{},{"deformed_copies":0}]']`. `TRAIN` and `TEST` are CSV files with pixels and, in the last column,
//! `label`. Each draw takes so many rows a class from `TRAIN` and is trained from a file of them alone; `--validate`
//! tests on so many other rows of `TRAIN` instead of `TEST`, to choose settings by.

use kenyon_learn::data::formats::{self, Limits};
use kenyon_learn::data::{Task, plan, schema};
use kenyon_learn::learning::fit::Silent;
use kenyon_learn::learning::{FitSpec, evaluate, fit};
use kenyon_learn::random::Random;
use kenyon_learn::{Error, Result};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|a| a != name).nth(1)
}

fn number(name: &str, default: usize) -> usize {
    argument(name).and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn label(line: &str) -> &str {
    line.rsplit(',').next().unwrap_or_default()
}

/// Writes the header and these lines.
fn write(path: &Path, header: &str, lines: impl Iterator<Item = impl AsRef<str>>) -> Result<()> {
    let text: String = lines.fold(format!("{header}\n"), |text, line| text + line.as_ref() + "\n");
    std::fs::write(path, text).map_err(Error::internal)
}

fn main() -> Result<()> {
    let paths: Vec<String> = std::env::args().skip(1).take(2).collect();
    let text = std::fs::read_to_string(&paths[0]).map_err(Error::internal)?;
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let lines: Vec<&str> = lines.collect();
    let shots = argument("--shots").unwrap_or("1,5,10,50".into());
    let configs = argument("--configs").unwrap_or("[{}]".into());
    let configs: Vec<Map<String, Value>> = serde_json::from_str(&configs).map_err(Error::internal)?;
    let folder = std::env::temp_dir().join(format!("measure_pictures_{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(Error::internal)?;
    let (few, other) = (folder.join("few.csv"), folder.join("other.csv"));
    let (validate, limits) = (number("--validate", 0), Limits::default());
    for shots in shots.split(',').filter_map(|text| text.parse::<usize>().ok()) {
        let mut sums = vec![(0.0, 0.0, 0.0); configs.len()];
        let draws = number("--draws", 3);
        for draw in 0..draws {
            let mut order: Vec<usize> = (0..lines.len()).collect();
            Random::stream(draw as u64, "shots", 0).shuffle(&mut order);
            let mut taken: HashMap<&str, usize> = HashMap::new();
            let (chosen, rest): (Vec<usize>, Vec<usize>) = order.into_iter().partition(|&row| {
                let count = taken.entry(label(lines[row])).or_default();
                *count += 1;
                *count <= shots
            });
            write(&few, header, chosen.iter().map(|&row| lines[row]))?;
            let test = if validate > 0 {
                write(&other, header, rest.iter().take(validate).map(|&row| lines[row]))?;
                other.as_path()
            } else {
                paths[1].as_ref()
            };
            let part = formats::detect(&few, None, None)?;
            let inferred = schema::infer(&part, &limits)?;
            let plan = plan::resolve(&inferred, &Default::default(), "label", Some(Task::Classification))?;
            let table = plan::read_table(&[part], &plan.all(), &limits)?;
            let test = plan::read_table(&[formats::detect(test, None, None)?], &plan.all(), &limits)?;
            for (config, sum) in configs.iter().zip(&mut sums) {
                let spec =
                    FitSpec { target: "label".into(), seed: draw as u64, config: config.clone(), ..FitSpec::default() };
                let begun = Instant::now();
                let fitted = fit::fit(&table, &plan, &spec, 2, None, &Silent)?;
                let seconds = begun.elapsed().as_secs_f64();
                let found = evaluate::evaluate(&fitted.bundle, &test)?.metrics;
                let figure = |name: &str| found.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN);
                sum.0 += figure("accuracy") / draws as f64;
                sum.1 += figure("log_loss") / draws as f64;
                sum.2 += seconds / draws as f64;
                if draw == 0 {
                    println!("{:?}, held out {:?}", fitted.notes, fitted.metrics.get("accuracy"));
                }
            }
        }
        for (config, (accuracy, loss, seconds)) in configs.iter().zip(sums) {
            let config = serde_json::to_string(config).map_err(Error::internal)?;
            println!("{shots} a class, {config}: accuracy {accuracy:.4}, log loss {loss:.3}, {seconds:.1} s");
        }
    }
    std::fs::remove_dir_all(&folder).map_err(Error::internal)
}
