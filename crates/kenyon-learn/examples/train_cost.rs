//! What a training costs: `cargo run --release -p kenyon-learn --example train_cost -- TRAIN TARGET [--test FILE]
//! [--config '{}'] [--seed 1] [--threads 1]` prints accuracy and loss on the rows of the test file, the wall time and,
//! on Linux, the processor time and the peak of resident memory.

use kenyon_learn::data::formats::{self, Limits};
use kenyon_learn::data::{plan, schema};
use kenyon_learn::learning::fit::Silent;
use kenyon_learn::learning::{FitSpec, Monitor, Progress, evaluate, fit};
use kenyon_learn::{Error, Result};
use serde_json::Value;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|a| a != name).nth(1)
}

/// Counts the passes.
#[derive(Default)]
struct Passes(AtomicUsize);

impl Monitor for Passes {
    fn progress(&self, progress: &Progress, _epoch_ended: bool) {
        self.0.store(progress.epoch, Ordering::Relaxed);
    }
    fn log(&self, line: &str) {
        Silent.log(line);
    }
    fn canceled(&self) -> bool {
        false
    }
    fn checkpoint_due(&self, _epoch_ended: bool) -> bool {
        false
    }
    fn checkpoint(&self, _step: u64, _bytes: Vec<u8>) -> Result<()> {
        Ok(())
    }
}

/// Seconds of processor time so far, in user and system mode.
fn processor_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields.get(11..13)?.iter().filter_map(|f| f.parse::<f64>().ok()).sum();
    Some(ticks / 100.0)
}

/// Peak of resident memory, in MB.
fn peak_megabytes() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
}

fn main() -> Result<()> {
    let given = |at| std::env::args().nth(at).ok_or_else(|| Error::internal("TRAIN and TARGET are needed"));
    let (file, target) = (given(1)?, given(2)?);
    let number = |name: &str, default: u64| argument(name).and_then(|s| s.parse().ok()).unwrap_or(default);
    let limits = Limits::default();
    let part = formats::detect(Path::new(&file), None, None)?;
    let plan = plan::resolve(&schema::infer(&part, &limits)?, &Default::default(), &target, None)?;
    let table = plan::read_table(std::slice::from_ref(&part), &plan.all(), &limits)?;
    let config: Value =
        serde_json::from_str(&argument("--config").unwrap_or_else(|| "{}".into())).map_err(Error::internal)?;
    let spec = FitSpec {
        target,
        seed: number("--seed", 1),
        config: config.as_object().cloned().unwrap_or_default(),
        ..FitSpec::default()
    };
    let passes = Passes::default();
    let (start, before) = (Instant::now(), processor_seconds().unwrap_or(f64::NAN));
    let fitted = fit(&table, &plan, &spec, number("--threads", 1) as usize, None, &passes)?;
    println!(
        "{} rows, {} passes: {:.1} s, {:.1} s of processor time, peak {:.0} MB",
        table.rows,
        passes.0.load(Ordering::Relaxed),
        start.elapsed().as_secs_f64(),
        processor_seconds().unwrap_or(f64::NAN) - before,
        peak_megabytes().unwrap_or(f64::NAN)
    );
    println!("held-out rows: {}", serde_json::to_string(&fitted.metrics).map_err(Error::internal)?);
    if let Some(test) = argument("--test") {
        let part = formats::detect(Path::new(&test), None, None)?;
        let table = plan::read_table(std::slice::from_ref(&part), &plan.all(), &limits)?;
        let metrics = evaluate::evaluate(&fitted.bundle, &table)?.metrics;
        println!("test rows: {}", serde_json::to_string(&metrics).map_err(Error::internal)?);
        let one = fitted.bundle.encode(&table.select(&[0]))?;
        let (start, answers) = (Instant::now(), 2_000);
        for _ in 0..answers {
            std::hint::black_box(fitted.bundle.run(&one)?);
        }
        println!("one row: {:.1} µs", start.elapsed().as_secs_f64() * 1e6 / f64::from(answers));
    }
    Ok(())
}
