//! `sparse_mlp` with its defaults on tables and texts, through the whole path of a training job:
//! `cargo bench --bench tables -- [--only adult] [--seeds 1] [--folds 5] [--config '{"hidden":[256]}']`.
//! Rows for testing are the set's own, else each fifth of a seeded shuffle in turn (`--folds 1`: the
//! first only). The last line of a set is the mean over seeds and folds.
#![allow(clippy::unwrap_used)]

mod common;

use common::{argument, cpu_seconds, shared};
use kenyon_learn::data::formats::{self, Limits};
use kenyon_learn::data::plan::{self, Resolved};
use kenyon_learn::data::{Table, schema};
use kenyon_learn::learning::fit::Silent;
use kenyon_learn::learning::{self, FitSpec, Validation};
use kenyon_learn::models::Family;
use kenyon_learn::random::Random;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Name, file, test file, target, figures of other programs.
const SETS: &[(&str, &str, Option<&str>, &str, &str)] = &[
    ("adult", "adult/train.csv.gz", Some("adult/test.csv.gz"), "income", "TabM .870, MLP .854"),
    ("california", "california_housing/housing.csv.gz", None, "median_house_value", "boosting R2 .826"),
    ("covertype", "covertype_20k/covtype20k.csv.gz", None, "Cover_Type", "5-NN .799, logistic .723"),
    ("breast_cancer", "sklearn_small/breast_cancer.csv", None, "target", "logistic .979, boosting .966"),
    ("wine", "sklearn_small/wine.csv", None, "target", "logistic .981, boosting .970"),
    ("digits", "sklearn_small/digits_8x8.csv.gz", None, "target", "SVM .982, CatBoost .982"),
    ("diabetes", "sklearn_small/diabetes.csv", None, "target", "ridge R2 .392"),
    ("iris", "sklearn_small/iris.csv", None, "target", "logistic .978"),
    (
        "banking77",
        "banking77/train.jsonl.gz",
        Some("banking77/test.jsonl.gz"),
        "label",
        "TF-IDF + logistic .893, SVM .913",
    ),
    ("sms", "sms_spam/sms.jsonl.gz", None, "label", "TF-IDF + SVM .985"),
];

fn read(file: &str, target: &str, resolved: Option<Resolved>) -> Option<(Table, Resolved)> {
    let part = formats::detect(&shared(file)?, None, None).unwrap();
    let limits = Limits::default();
    let resolved = resolved.unwrap_or_else(|| {
        let summary = schema::infer(&part, &limits).unwrap();
        plan::resolve(&summary, &Default::default(), target, None).unwrap()
    });
    Some((plan::read_table(std::slice::from_ref(&part), &resolved.all(), &limits).unwrap(), resolved))
}

fn main() {
    let only = argument("--only");
    let config = argument("--config").unwrap_or_else(|| "{}".to_owned());
    let seeds: u64 = argument("--seeds").map_or(1, |text| text.parse().unwrap());
    let folds: usize = argument("--folds").map_or(5, |text| text.parse().unwrap());
    for &(name, file, test, target, others) in SETS {
        if only.as_deref().is_some_and(|only| !only.split(',').any(|o| o == name)) {
            continue;
        }
        let Some((table, resolved)) = read(file, target, None) else { continue };
        let mut scores: Vec<f64> = Vec::new();
        let folds = if test.is_some() { 1 } else { folds };
        for (seed, fold) in (1..=seeds).flat_map(|seed| (0..folds).map(move |fold| (seed, fold))) {
            let (train, test) = match test {
                Some(test) => (table.clone(), read(test, target, Some(resolved.clone())).unwrap().0),
                None => {
                    let mut order: Vec<usize> = (0..table.rows).collect();
                    Random::stream(seed, "test", 0).shuffle(&mut order);
                    let test = fold * table.rows / 5..(fold + 1) * table.rows / 5;
                    let train = [&order[..test.start], &order[test.end..]].concat();
                    (table.select(&train), table.select(&order[test]))
                }
            };
            let spec = FitSpec {
                target: target.to_owned(),
                family: Family::named("sparse_mlp"),
                task: None,
                validation: Validation::Auto,
                seed,
                config: serde_json::from_str(&config).unwrap(),
                ..FitSpec::default()
            };
            let (start, cpu) = (Instant::now(), cpu_seconds());
            let fitted = learning::fit(&train, &resolved, &spec, 2, None, &Silent).unwrap();
            let (wall, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
            let figures = learning::evaluate::evaluate(&fitted.bundle, &test).unwrap().metrics;
            let figure = |name: &str| figures.get(name).and_then(|v| v.as_f64());
            let found: Vec<(&str, f64)> = ["accuracy", "r2", "log_loss", "rmse"]
                .into_iter()
                .filter_map(|name| Some((name, figure(name)?)))
                .collect();
            scores.push(found[0].1);
            let found: Vec<String> = found.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
            println!("{name} seed {seed} fold {fold}: {} in {wall:.1} s ({cpu:.1} CPU s)", found.join(", "));
        }
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        println!("{name}: mean {mean:.4} of {} fits; others: {others}", scores.len());
    }
}
