//! The 92 images (Kriegeskorte et al. 2008): figures and bootstrap as rsatoolbox's.

use super::*;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

/// The published matrices by column name, or none where the data is not there.
fn table() -> Option<BTreeMap<String, Vec<f64>>> {
    let data = std::env::var_os("KENYON_SHARED_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let path = data.join("brain_92images/rdms_upper.csv.gz");
    let Ok(file) = std::fs::File::open(&path) else {
        println!("skipped: the 92 images are not in {}; KENYON_SHARED_DATA names their folder", data.display());
        return None;
    };
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next()?.split(',').collect();
    let mut table: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for line in lines {
        for (name, value) in names.iter().zip(line.split(',')) {
            table.entry((*name).to_owned()).or_default().push(value.parse().unwrap());
        }
    }
    Some(table)
}

fn systems_and_subjects(expected: &Value) -> Option<(Vec<(String, Rdm)>, Vec<(String, Rdm)>)> {
    let table = table()?;
    let names = expected["systems"].as_array().unwrap();
    let systems = names.iter().map(|n| n.as_str().unwrap()).map(|n| (n.to_owned(), rdm(&table[n]))).collect();
    let subject = |s: usize| {
        let session = |k: usize| &table[&format!("hIT_subj{s}_sess{k}")];
        let mean: Vec<f64> = session(1).iter().zip(session(2)).map(|(a, b)| (a + b) / 2.0).collect();
        (format!("human IT {s}"), rdm(&mean))
    };
    Some((systems, (1..=4).map(subject).collect()))
}

#[test]
fn figures_are_the_same_and_the_bootstrap_within_its_error() {
    let expected = &fixtures()["brain"];
    let Some((systems, subjects)) = systems_and_subjects(expected) else { return };
    for (name, comparison) in COMPARISONS {
        let theirs = &expected[name];
        let samples = theirs["samples"].as_u64().map_or(2, |_| 1000);
        let bootstrap = Bootstrap { samples, threads: 2, ..Bootstrap::default() };
        let ours = assess(systems.clone(), subjects.clone(), comparison, bootstrap, &proceed).unwrap();
        let fits: Vec<f64> = ours.systems.iter().flat_map(|s| s.per_subject.clone()).collect();
        assert_close(name, &fits, &numbers(&theirs["fits"]));
        let ceiling = ours.noise_ceiling.unwrap();
        let both = [theirs["lower"].as_f64().unwrap(), theirs["upper"].as_f64().unwrap()];
        assert_close(name, &[ceiling.lower, ceiling.upper], &both);
        if samples < 1000 {
            continue;
        }
        // A standard deviation of rsatoolbox's 300 samples has an error of 4 %, ours of 2 %; the combination of three, more.
        let near = |what: &str, ours: Vec<f64>, theirs: &Value| {
            for (a, b) in ours.iter().zip(numbers(theirs)) {
                println!("{name} {what}: {a:.5}, rsatoolbox {b:.5}");
                assert!((a / b - 1.0).abs() < 0.2, "{name} {what}: {a} and {b}");
            }
        };
        near("error", ours.systems.iter().map(|s| s.standard_error).collect(), &theirs["errors"]);
        near("difference", ours.pairwise.iter().map(|d| d.standard_error).collect(), &theirs["difference_errors"]);
    }
}

#[test]
fn the_result_depends_on_the_seed_and_not_on_threads() {
    let Some((systems, subjects)) = systems_and_subjects(&fixtures()["brain"]) else { return };
    let run = |seed, threads| {
        let bootstrap = Bootstrap { samples: 40, over: Over::Both, seed, threads };
        assess(systems.clone(), subjects.clone(), Comparison::RhoA, bootstrap, &proceed).unwrap()
    };
    assert_eq!(run(1, 1), run(1, 3));
    assert_ne!(run(1, 1), run(2, 1));
}

#[test]
fn weights_are_the_same() {
    let expected = &fixtures()["brain"];
    let Some((systems, subjects)) = systems_and_subjects(expected) else { return };
    let found = fit_weights(systems, subjects, Comparison::Cosine, 0).unwrap();
    assert_close("weights", &found.weights, &numbers(&expected["weights"]));
    assert!(found.value > 0.0 && found.value < 1.0);
}
