//! Accuracy and time of the same training by the kernels and by candle:
//! `cargo run --release -p kenyon-learn --example measure_engines -- TRAIN TEST TARGET FAMILY [--rows 10000] [--seeds 5]
//! [--config '{}'] [--device cpu] [--engines kernels,candle]`. Files are of any format; `--rows` takes the first rows of `TRAIN`.
//! Candle trains on the device, the kernels on the CPU in any case.

use kenyon_learn::data::formats::{self, Limits};
use kenyon_learn::data::plan;
use kenyon_learn::data::schema;
use kenyon_learn::device::DeviceName;
use kenyon_learn::learning::{FitSpec, Monitor, Progress, evaluate, fit};
use kenyon_learn::models::Family;
use kenyon_learn::{Error, Result};
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|a| a != name).nth(1)
}

/// Prints the log of a training, and keeps its last progress.
#[derive(Default)]
struct Last(Mutex<Progress>);

impl Monitor for Last {
    fn progress(&self, progress: &Progress, _epoch_ended: bool) {
        if let Ok(mut last) = self.0.lock() {
            last.clone_from(progress);
        }
    }
    fn log(&self, line: &str) {
        println!("  {line}");
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

fn main() -> Result<()> {
    let given =
        |at| std::env::args().nth(at).ok_or_else(|| Error::internal("TRAIN, TEST, TARGET and FAMILY are needed"));
    let (train, test, target, family) = (given(1)?, given(2)?, given(3)?, given(4)?);
    let limits = Limits::default();
    let part = |file: &str| formats::detect(Path::new(file), None, None);
    let first = part(&train)?;
    let plan = plan::resolve(&schema::infer(&first, &limits)?, &Default::default(), &target, None)?;
    let read = |part| plan::read_table(&[part], &plan.all(), &limits);
    let (all, test) = (read(first)?, read(part(&test)?)?);
    let number = |name: &str, default: usize| argument(name).and_then(|n| n.parse().ok()).unwrap_or(default);
    let rows = number("--rows", usize::MAX).min(all.rows);
    let table = all.select(&(0..rows).collect::<Vec<_>>());
    let config: Map<String, Value> =
        serde_json::from_str(&argument("--config").unwrap_or_else(|| "{}".into())).map_err(Error::internal)?;
    let device: DeviceName = argument("--device").unwrap_or_else(|| "cpu".into()).parse().map_err(Error::internal)?;
    let engines = argument("--engines").unwrap_or_else(|| "kernels,candle".into());
    println!("{family}, {rows} rows, {} to test", test.rows);
    for engine in engines.split(',') {
        let mut found = Vec::new();
        for seed in 1..=number("--seeds", 5) as u64 {
            let mut config = config.clone();
            config.insert("engine".into(), engine.into());
            let family = Family::named(&family);
            let spec = FitSpec { target: target.clone(), family, seed, config, device, ..FitSpec::default() };
            let (begun, last) = (Instant::now(), Last::default());
            let fitted = fit(&table, &plan, &spec, 2, None, &last)?;
            let seconds = begun.elapsed().as_secs_f64();
            let metrics = evaluate::evaluate(&fitted.bundle, &test)?.metrics;
            let measure = ["accuracy", "r2"].iter().find_map(|name| metrics.get(*name)?.as_f64()).unwrap_or(f64::NAN);
            let progress = last.0.into_inner().unwrap_or_default();
            println!(
                "{engine} seed {seed}: {measure:.4}, {seconds:.1} s, {:.0} rows/s in {} passes",
                progress.rows_per_second, progress.epoch
            );
            found.push(measure);
        }
        let count = found.len() as f64;
        let mean = found.iter().sum::<f64>() / count;
        let deviation = (found.iter().map(|f| (f - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0)).sqrt();
        println!("{engine}: {mean:.4} ± {deviation:.4}");
    }
    Ok(())
}
