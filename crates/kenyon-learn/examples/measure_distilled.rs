//! Distils a transformer: `measure_distilled FOLDER TEXTS OUT`. `TEXTS` has one JSON object with a `text` a line.
#![allow(clippy::unwrap_used)]

use kenyon_learn::encoders;
use serde_json::Value;
use std::time::Instant;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let text = |line: &str| serde_json::from_str::<Value>(line).unwrap()["text"].as_str().unwrap().to_owned();
    let texts: Vec<String> = std::fs::read_to_string(&arguments[1]).unwrap().lines().map(text).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    std::fs::create_dir_all(&arguments[2]).unwrap();
    let begun = Instant::now();
    let found = encoders::distill(arguments[0].as_ref(), &texts, arguments[2].as_ref(), 2, &|_| true).unwrap();
    println!("{found:?} in {:.1} s", begun.elapsed().as_secs_f64());
}
