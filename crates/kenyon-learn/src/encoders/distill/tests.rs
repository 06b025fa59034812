//! A static encoder of a tiny transformer.

use super::*;
use std::cell::Cell;
use std::path::PathBuf;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/encoders").join(name)
}

const WORDS: [&str; 8] =
    ["the bank", "a card", "my account", "lost money", "transfer where", "open new", "pay old", "cards"];

fn texts() -> Vec<String> {
    let word = |at: usize| WORDS[at % WORDS.len()];
    (0..160).map(|at| format!("{} {} {}", word(at), word(at / 3 + 1), word(at / 7 + 2))).collect()
}

fn distilled(name: &str, threads: usize) -> (tempfile::TempDir, Distilled) {
    let texts = texts();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let out = tempfile::tempdir().unwrap();
    let found = distill(&fixture(name), &texts, out.path(), threads, &|_| true).unwrap();
    (out, found)
}

#[test]
fn its_vectors_are_near_those_of_the_transformer() {
    for name in ["bert", "distilbert"] {
        let (out, found) = distilled(name, 2);
        assert!(found.cosine > 0.7 && found.cosine >= found.cosine_unfitted, "{name}: {found:?}");
        let (teacher, student) =
            (TextEncoder::open(&fixture(name), 1).unwrap(), TextEncoder::open(out.path(), 1).unwrap());
        assert_eq!((student.info().architecture.as_str(), student.info().width), ("static", teacher.info().width));
        // A word of several pieces that occurs often has a vector of its own.
        assert!(found.words >= 1, "{name}");
        assert_eq!(student.embed(&[""]).unwrap(), vec![0.0; teacher.info().width]);
    }
}

#[test]
fn the_same_bits_come_out_with_any_number_of_threads() {
    let [one, three] = [1, 3].map(|threads| {
        let (out, _) = distilled("bert", threads);
        TextEncoder::open(out.path(), 1).unwrap().info().digest.clone()
    });
    assert_eq!(one, three);
}

#[test]
fn what_cannot_be_distilled_is_refused_and_a_stop_is_followed() {
    let out = tempfile::tempdir().unwrap();
    let texts = texts();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let refused =
        |name: &str, texts: &[&str]| distill(&fixture(name), texts, out.path(), 1, &|_| true).unwrap_err().code;
    assert_eq!(refused("static", &texts), "bad_encoder");
    assert_eq!(refused("bert", &["a card", "the bank", "the bank "]), "too_few_rows");
    let progress = Cell::new(0.0);
    let stop = |done: f64| {
        assert!(done >= progress.replace(done));
        done < 0.5
    };
    assert_eq!(distill(&fixture("bert"), &texts, out.path(), 1, &stop).unwrap_err().code, "canceled");
}
