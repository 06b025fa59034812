//! Encoding models of simulated responses whose explainable share is known.

use super::super::{MeanResponses, Responses, encode};
use crate::random::Random;

const STIMULI: usize = 240;
const RUNS: usize = 4;
const FEATURES: usize = 8;
const CHANNELS: usize = 12;

fn names(runs: usize) -> Vec<String> {
    (0..STIMULI * runs).map(|i| (i / runs).to_string()).collect()
}

/// Features of the stimuli, and responses of half signal and half noise to each of `RUNS` presentations.
fn study(seed: u64) -> (Vec<f64>, Responses) {
    let mut random = Random::new(seed);
    let mut normal = |count: usize| -> Vec<f64> { random.normals(count, 1.0).into_iter().map(f64::from).collect() };
    let features = normal(STIMULI * FEATURES);
    let weights = normal(FEATURES * CHANNELS);
    let noise = normal(STIMULI * RUNS * CHANNELS);
    let mut values = Vec::new();
    for row in 0..STIMULI * RUNS {
        let own = &features[row / RUNS * FEATURES..][..FEATURES];
        for c in 0..CHANNELS {
            let signal: f64 = own.iter().enumerate().map(|(f, v)| v * weights[f * CHANNELS + c]).sum();
            values.push(signal / (FEATURES as f64).sqrt() + noise[row * CHANNELS + c]);
        }
    }
    (features, Responses::new(values, CHANNELS, &names(RUNS), None).unwrap())
}

#[test]
fn the_true_features_predict_what_can_be_predicted() {
    let (features, responses) = study(1);
    let recorded = MeanResponses::new(&responses);
    let system = MeanResponses::new(&Responses::patterns(features, FEATURES, &names(1)).unwrap());
    let found = encode(&system, &recorded, 0).unwrap();
    let ceiling = found.explainable.unwrap();
    // A mean over four presentations has a quarter of the noise: about 4 / 5 of its variance is signal.
    assert!((0.7..0.88).contains(&ceiling), "{ceiling}");
    assert!((found.explained - ceiling).abs() < 0.05, "{} of {ceiling}", found.explained);
    assert_eq!((found.channels, encode(&system, &recorded, 0).unwrap()), (CHANNELS, found));
}

#[test]
fn other_features_predict_nothing_and_some_of_them_a_part() {
    let (features, responses) = study(2);
    let recorded = MeanResponses::new(&responses);
    let (other, _) = study(3);
    let unrelated = MeanResponses::new(&Responses::patterns(other, FEATURES, &names(1)).unwrap());
    let found = encode(&unrelated, &recorded, 0).unwrap();
    assert!(found.explained.abs() < 0.03, "{}", found.explained);
    let half: Vec<f64> = features.chunks_exact(FEATURES).flat_map(|row| &row[..FEATURES / 2]).copied().collect();
    let half = MeanResponses::new(&Responses::patterns(half, FEATURES / 2, &names(1)).unwrap());
    let found = encode(&half, &recorded, 0).unwrap();
    assert!((0.2..0.6).contains(&found.explained), "{}", found.explained);
}

#[test]
fn more_units_than_stimuli_are_no_obstacle() {
    let (features, responses) = study(4);
    let recorded = MeanResponses::new(&responses);
    let mut random = Random::new(5);
    let mixing: Vec<f32> = random.normals(FEATURES * 400, 1.0);
    let wide: Vec<f64> = features
        .chunks_exact(FEATURES)
        .flat_map(|row| {
            let unit = |u: usize| row.iter().enumerate().map(|(f, v)| v * f64::from(mixing[f * 400 + u])).sum::<f64>();
            (0..400).map(unit).collect::<Vec<_>>()
        })
        .collect();
    let system = MeanResponses::new(&Responses::patterns(wide, 400, &names(1)).unwrap());
    let found = encode(&system, &recorded, 0).unwrap();
    assert!((found.explained - found.explainable.unwrap()).abs() < 0.06, "{found:?}");
}

#[test]
fn few_stimuli_are_refused() {
    let names: Vec<String> = (0..8).map(|i| i.to_string()).collect();
    let responses = Responses::patterns((0..16).map(f64::from).collect(), 2, &names).unwrap();
    let few = MeanResponses::new(&responses);
    assert_eq!(encode(&few, &few, 0).unwrap_err().code, "too_few_conditions");
}
