//! Tests of the comparisons: against rsatoolbox, of error rates, and of bad input.
#![allow(clippy::unwrap_used)]

mod bad_input;
mod brain;
mod encoding;
mod error_rates;
mod rsatoolbox;
mod sparse;

use super::*;
use serde_json::Value;

/// What rsatoolbox computes; `fixtures/make.py` writes it.
fn fixtures() -> Value {
    serde_json::from_str(include_str!("../fixtures/rsatoolbox.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap_or(f64::NAN)).collect()
}

fn indices(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect()
}

/// Fails unless all values agree to 1e-6.
fn assert_close(what: &str, ours: &[f64], theirs: &[f64]) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (at, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!((a - b).abs() <= 1e-6 * b.abs().max(1.0), "{what}, value {at}: {a} and {b}");
    }
}

fn named(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("stimulus {i}")).collect()
}

fn rdm(values: &[f64]) -> Rdm {
    let n = (0..).find(|&n| pairs(n) >= values.len()).unwrap();
    Rdm::new(named(n), values.iter().map(|&v| v as f32).collect()).unwrap()
}

fn with_names(prefix: &str, rdms: Vec<Rdm>) -> Vec<(String, Rdm)> {
    rdms.into_iter().enumerate().map(|(i, rdm)| (format!("{prefix} {i}"), rdm)).collect()
}

fn proceed(_: usize, _: usize) -> bool {
    true
}

const COMPARISONS: [(&str, Comparison); 5] = [
    ("rho-a", Comparison::RhoA),
    ("spearman", Comparison::Spearman),
    ("kendall", Comparison::Kendall),
    ("cosine", Comparison::Cosine),
    ("whitened_cosine", Comparison::WhitenedCosine),
];
