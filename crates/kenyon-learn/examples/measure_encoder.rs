//! Speed of a pretrained encoder, and how far its vectors are from those of another program.
//!
//! `measure_encoder FOLDER TEXTS [EXPECTED] [--device cuda]`: `TEXTS` has one JSON object with a `text` a line, `EXPECTED`
//! is `{"texts":[…],"vectors":[[…]]}`.
#![allow(clippy::unwrap_used)]

use kenyon_learn::device::DeviceName;
use kenyon_learn::encoders::Pretrained;
use serde_json::Value;
use std::time::Instant;

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let named = arguments.iter().position(|argument| argument == "--device");
    let device = named.map(|at| arguments.drain(at..at + 2).nth(1).unwrap().parse::<DeviceName>().unwrap());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let begun = Instant::now();
    let encoder = Pretrained::open_on(arguments[0].as_ref(), threads, device.unwrap_or_default()).unwrap();
    println!("{:?}", encoder.info());
    println!("opened in {:.3} s", begun.elapsed().as_secs_f64());
    let lines = std::fs::read_to_string(&arguments[1]).unwrap();
    let texts: Vec<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["text"].as_str().unwrap().to_owned())
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).take(2048).collect();
    // As sentence-transformers does it: sorted by length, then batches of 32.
    let mut sorted = texts.clone();
    sorted.sort_by_key(|text| text.len());
    for round in 0..1 {
        let begun = Instant::now();
        sorted.chunks(32).for_each(|batch| drop(encoder.embed(batch).unwrap()));
        println!("{round}: {:.0} sentences/s in batches of 32", texts.len() as f64 / begun.elapsed().as_secs_f64());
    }
    let begun = Instant::now();
    encoder.embed(&texts).unwrap();
    println!("{:.0} sentences/s in one call", texts.len() as f64 / begun.elapsed().as_secs_f64());
    let mut one: Vec<f64> = texts[..200]
        .iter()
        .map(|text| {
            let begun = Instant::now();
            encoder.embed(&[text]).unwrap();
            begun.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    one.sort_by(f64::total_cmp);
    println!("one sentence: median {:.2} ms, 95 % {:.2} ms", one[100], one[190]);
    if let Some(path) = arguments.get(2) {
        let expected: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let texts: Vec<&str> = expected["texts"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
        let vectors = encoder.embed(&texts).unwrap();
        let mut farthest = 0.0f64;
        for (row, vector) in
            expected["vectors"].as_array().unwrap().iter().zip(vectors.chunks_exact(encoder.info().width))
        {
            for (expected, found) in row.as_array().unwrap().iter().zip(vector) {
                farthest = farthest.max((expected.as_f64().unwrap() - f64::from(*found)).abs());
            }
        }
        println!("{} texts: largest difference {farthest:.2e}", texts.len());
    }
}
