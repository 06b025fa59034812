//! Accuracy with default settings, through the same code a training job runs.
//!
//! `cargo run --release --example accuracy -- FOLDER [NAME…] [--family F] [--seeds N]`, FOLDER holding the files
//! named in `SETS` below. Test rows are never seen in training: they are a file of their own, a
//! seeded fifth, or each fold in turn; validation rows are taken from the training rows.

use kenyon::data::formats::{Limits, Part, detect};
use kenyon::data::schema::{Features, infer};
use kenyon::data::{Column, Table, plan};
use kenyon::learning::fit::{Silent, default_validation};
use kenyon::learning::{FitSpec, evaluate, fit};
use kenyon::models::Family;
use kenyon::random::Random;
use std::path::Path;
use std::time::Instant;

/// How test rows are chosen.
#[derive(Clone, Copy)]
enum Test {
    /// Each of so many folds in turn.
    Folds(usize),
    /// A share of the rows.
    Share(f64),
    /// A file of their own.
    File(&'static str),
}

/// Name, file, target, ignored columns, test rows.
const SETS: [(&str, &str, &str, &[&str], Test); 16] = [
    ("iris", "sklearn_small/iris.csv", "target", &[], Test::Folds(5)),
    ("wine", "sklearn_small/wine.csv", "target", &[], Test::Folds(5)),
    ("breast_cancer", "sklearn_small/breast_cancer.csv", "target", &[], Test::Folds(5)),
    ("digits", "sklearn_small/digits_8x8.csv.gz", "target", &[], Test::Share(0.2)),
    ("diabetes", "sklearn_small/diabetes.csv", "target", &[], Test::Folds(5)),
    ("california", "california_housing/housing.csv.gz", "median_house_value", &[], Test::Share(0.2)),
    ("adult", "adult/train.csv.gz", "income", &[], Test::File("adult/test.csv.gz")),
    ("covertype", "covertype_20k/covtype20k.csv.gz", "Cover_Type", &[], Test::Share(0.2)),
    ("optdigits", "optdigits/optdigits.csv.gz", "label", &[], Test::Share(0.2)),
    ("satellite", "mlbench_uci/satellite.csv.gz", "class", &[], Test::Share(0.2)),
    ("pima", "mlbench_uci/pimaindiansdiabetes.csv.gz", "class", &[], Test::Folds(5)),
    ("diamonds", "seaborn_small/diamonds.csv.gz", "price", &[], Test::Share(0.2)),
    ("banking77", "banking77/train.jsonl.gz", "label", &[], Test::File("banking77/test.jsonl.gz")),
    ("trec", "trec/train.jsonl.gz", "label", &["fine"], Test::File("trec/test.jsonl.gz")),
    ("sst2", "sst2_mr_subj/sst2_train.jsonl.gz", "label", &[], Test::File("sst2_mr_subj/sst2_test.jsonl.gz")),
    ("sms", "sms_spam/sms.jsonl.gz", "label", &[], Test::Folds(5)),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut option = |name: &str| {
        let at = arguments.iter().position(|a| a == name)?;
        arguments.remove(at);
        (at < arguments.len()).then(|| arguments.remove(at))
    };
    let family: Option<Family> = option("--family").map(|f| serde_json::from_value(f.into())).transpose()?;
    let seeds: u64 = option("--seeds").map_or(Ok(1), |s| s.parse())?;
    let config = option("--config").map_or(Ok(serde_json::Map::new()), |c| serde_json::from_str(&c))?;
    let Some(folder) = arguments.first().cloned() else {
        eprintln!("usage: accuracy FOLDER [NAME…] [--family F] [--seeds N] [--config JSON]");
        return Ok(());
    };
    println!("{:14} {:>9} {:>9} {:>8}  per run", "data", "figure", "", "s a fit");
    for (name, file, target, ignored, test) in SETS {
        let path = Path::new(&folder).join(file);
        if (arguments.len() > 1 && !arguments[1..].iter().any(|a| a == name)) || !path.is_file() {
            continue;
        }
        let part = detect(&path, None, None)?;
        let limits = Limits::default();
        let summary = infer(&part, &limits)?;
        let target = if summary.columns.iter().any(|c| c.name == target) {
            target.to_owned()
        } else {
            summary.columns.last().map(|c| c.name.clone()).unwrap_or_default()
        };
        let features: Features = serde_json::from_value(
            ignored.iter().map(|n| ((*n).to_owned(), "ignore".into())).collect::<serde_json::Map<_, _>>().into(),
        )?;
        let resolved = plan::resolve(&summary, &features, &target, None)?;
        let read = |part: &Part| plan::read_table(std::slice::from_ref(part), &resolved.all(), &limits);
        let table = read(&part)?;
        let mut results = Vec::new();
        let mut measure = "";
        let started = Instant::now();
        for seed in 1..=seeds {
            for (training, testing) in divisions(&table, test, seed, &folder, &read)? {
                let spec = FitSpec {
                    target: target.clone(),
                    family,
                    task: None,
                    validation: default_validation(training.rows),
                    seed,
                    config: config.clone(),
                };
                let fitted = fit(&training, &resolved, &spec, 2, None, &Silent)?;
                let figures = evaluate::evaluate(&fitted.bundle, &testing)?.metrics;
                measure = if figures.contains_key("accuracy") { "accuracy" } else { "r2" };
                results.push(figures[measure].as_f64().unwrap_or(0.0));
            }
        }
        let mean = results.iter().sum::<f64>() / results.len() as f64;
        let seconds = started.elapsed().as_secs_f64() / results.len() as f64;
        let each: Vec<String> = results.iter().take(10).map(|r| format!("{r:.4}")).collect();
        println!("{name:14} {mean:9.4} {measure:>9} {seconds:8.2}  {}", each.join(" "));
    }
    Ok(())
}

type Division = (Table, Table);

fn divisions(
    table: &Table,
    test: Test,
    seed: u64,
    folder: &str,
    read: &dyn Fn(&Part) -> kenyon::Result<Table>,
) -> Result<Vec<Division>, Box<dyn std::error::Error>> {
    let mut order: Vec<usize> = (0..table.rows).collect();
    Random::stream(seed, "test", 0).shuffle(&mut order);
    Ok(match test {
        Test::File(file) => {
            let part = detect(&Path::new(folder).join(file), None, None)?;
            vec![(table.clone(), read(&part)?)]
        }
        Test::Share(share) => {
            let held = (table.rows as f64 * share) as usize;
            vec![(select(table, &order[held..]), select(table, &order[..held]))]
        }
        Test::Folds(folds) => (0..folds)
            .map(|fold| {
                let (held, kept): (Vec<usize>, Vec<usize>) = (0..order.len()).partition(|i| i % folds == fold);
                let rows = |places: Vec<usize>| -> Vec<usize> { places.into_iter().map(|i| order[i]).collect() };
                (select(table, &rows(kept)), select(table, &rows(held)))
            })
            .collect(),
    })
}

fn select(table: &Table, rows: &[usize]) -> Table {
    let columns = table.columns.iter().map(|(name, column)| (name.clone(), select_column(column, rows)));
    Table { rows: rows.len(), columns: columns.collect() }
}

fn select_column(column: &Column, rows: &[usize]) -> Column {
    match column {
        Column::Number(v) => Column::Number(rows.iter().map(|&r| v[r]).collect()),
        Column::Timestamp(v) => Column::Timestamp(rows.iter().map(|&r| v[r]).collect()),
        Column::Boolean(v) => Column::Boolean(rows.iter().map(|&r| v[r]).collect()),
        Column::Category(v) => Column::Category(rows.iter().map(|&r| v[r].clone()).collect()),
        Column::Text(v) => Column::Text(rows.iter().map(|&r| v[r].clone()).collect()),
        Column::Vector { width, shape, values } => Column::Vector {
            width: *width,
            shape: shape.clone(),
            values: rows.iter().flat_map(|&r| &values[r * width..(r + 1) * width]).copied().collect(),
        },
        Column::Series { channels, offsets, values } => {
            let mut out = (vec![0], Vec::new());
            for &r in rows {
                out.1.extend_from_slice(&values[offsets[r] * channels..offsets[r + 1] * channels]);
                out.0.push(out.1.len() / channels);
            }
            Column::Series { channels: *channels, offsets: out.0, values: out.1 }
        }
        Column::Strings { offsets, values } => {
            let mut out = (vec![0], Vec::new());
            for &r in rows {
                out.1.extend_from_slice(&values[offsets[r]..offsets[r + 1]]);
                out.0.push(out.1.len());
            }
            Column::Strings { offsets: out.0, values: out.1 }
        }
    }
}
