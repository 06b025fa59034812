//! Accuracy on real data that the crate has with it. A bar stands three standard deviations of what it is held against
//! (a mean of three seeds) from the mean of nine seeds, so that a slightly worse model fails.
//!
//! `KENYON_MEASURE=1 cargo test --release -p kenyon-learn --test accuracy -- --nocapture` measures the bars anew.

#![allow(clippy::unwrap_used)]

use kenyon_learn::data::formats::{self, Limits};
use kenyon_learn::data::plan::{self, Resolved};
use kenyon_learn::data::{Table, bundled, schema};
use kenyon_learn::learning::fit::Silent;
use kenyon_learn::learning::{FitSpec, evaluate, fit};
use kenyon_learn::models::Family;

/// Seeds of a test, and of a measurement of the bars.
const SEEDS: u64 = 3;
const MEASURED: u64 = 9;

/// Family, passes (0: its own), lowest mean accuracy and highest mean log loss.
type Bar = (&'static str, u64, f64, f64);

/// A table, and every fourth of its rows, which no training reads.
struct Parts {
    plan: Resolved,
    training: Table,
    test: Table,
}

fn parts(bytes: &[u8], name: &str) -> Parts {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let limits = Limits::default();
    let part = formats::detect(&path, None, None).unwrap();
    let plan = plan::resolve(&schema::infer(&part, &limits).unwrap(), &Default::default(), "target", None).unwrap();
    let table = plan::read_table(&[part], &plan.all(), &limits).unwrap();
    let (test, training): (Vec<usize>, Vec<usize>) = (0..table.rows).partition(|row| row % 4 == 3);
    Parts { plan, training: table.select(&training), test: table.select(&test) }
}

/// Accuracy and log loss on the test rows with defaults but for the passes.
fn figures(parts: &Parts, engine: &str, family: &str, passes: u64, seed: u64) -> [f64; 2] {
    let passes = (passes > 0).then(|| ("epochs".to_owned(), passes.into()));
    let config = passes.into_iter().chain([("engine".to_owned(), engine.into())]).collect();
    let spec = FitSpec { target: "target".into(), family: Family::named(family), seed, config, ..FitSpec::default() };
    let fitted = fit(&parts.training, &parts.plan, &spec, 2, None, &Silent).unwrap();
    let metrics = evaluate::evaluate(&fitted.bundle, &parts.test).unwrap().metrics;
    ["accuracy", "log_loss"].map(|name| metrics[name].as_f64().unwrap())
}

fn mean_and_deviation(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let count = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / count;
    (mean, (values.map(|v| (v - mean).powi(2)).sum::<f64>() / (count - 1.0)).sqrt())
}

fn held_against(parts: &Parts, engine: &str, bars: &[Bar]) {
    let measuring = std::env::var_os("KENYON_MEASURE").is_some();
    for &(family, passes, least, most) in bars {
        let seeds = if measuring { MEASURED } else { SEEDS };
        let found: Vec<[f64; 2]> = (1..=seeds).map(|seed| figures(parts, engine, family, passes, seed)).collect();
        let [accuracy, loss] = [0, 1].map(|i| mean_and_deviation(found.iter().map(|figures| figures[i])));
        if measuring {
            let reach = |deviation: f64| 3.0 * deviation / (SEEDS as f64).sqrt();
            println!(
                "(\"{family}\", {passes}, {:.4}, {:.4}), // {:.4} ± {:.4}, {:.4} ± {:.4}",
                accuracy.0 - reach(accuracy.1),
                loss.0 + reach(loss.1),
                accuracy.0,
                accuracy.1,
                loss.0,
                loss.1
            );
            continue;
        }
        assert!(accuracy.0 >= least, "{family}: accuracy {:.4}, at least {least}", accuracy.0);
        assert!(loss.0 <= most, "{family}: log loss {:.4}, at most {most}", loss.0);
    }
}

#[test]
fn measurements_of_tumours() {
    held_against(
        &parts(bundled::BREAST_CANCER, "cancer.csv"),
        "kernels",
        &[
            ("sparse_mlp", 0, 0.9609, 0.0831),
            ("attention", 6, 0.9432, 0.1379),
            ("memory", 0, 0.9527, 0.1860),
            ("hybrid", 0, 0.9510, 0.1949),
        ],
    );
}

#[test]
fn pictures_of_digits() {
    held_against(
        &parts(bundled::DIGITS, "digits.csv.gz"),
        "kernels",
        &[
            ("sparse_mlp", 0, 0.9697, 0.0822),
            ("attention", 20, 0.9244, 0.2387),
            ("memory", 0, 0.9708, 0.0856),
            ("hybrid", 0, 0.9903, 0.0473),
        ],
    );
}

/// The bars are those of the kernels: what candle trains is not worse than they are beyond the noise of seeds.
#[test]
fn what_candle_trains_is_as_accurate() {
    let cancer = parts(bundled::BREAST_CANCER, "cancer.csv");
    held_against(
        &cancer,
        "candle",
        &[("sparse_mlp", 0, 0.9609, 0.0831), ("attention", 6, 0.9432, 0.1379), ("memory", 0, 0.9527, 0.1860)],
    );
    held_against(&parts(bundled::DIGITS, "digits.csv.gz"), "candle", &[("sparse_mlp", 0, 0.9697, 0.0822)]);
}
