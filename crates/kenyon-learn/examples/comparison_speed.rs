//! Time and memory of a dual bootstrap over random matrices.
//!
//!     cargo run --release -p kenyon-learn --example comparison_speed -- [stimuli] [systems] [subjects] [samples] [comparison]

use kenyon_learn::learning::compare::{Bootstrap, Comparison, Over, Rdm, assess, pairs};
use kenyon_learn::random::Random;
use std::time::Instant;

fn main() -> kenyon_learn::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, other: usize| arguments.get(at).and_then(|a| a.parse().ok()).unwrap_or(other);
    let (stimuli, systems, subjects, samples) = (number(0, 2000), number(1, 10), number(2, 20), number(3, 1000));
    let comparison = match arguments.get(4).map(String::as_str) {
        Some("rho-a") => Comparison::RhoA,
        Some("kendall") => Comparison::Kendall,
        Some("whitened_cosine") => Comparison::WhitenedCosine,
        Some("procrustes") => Comparison::Procrustes,
        _ => Comparison::Cosine,
    };
    let names: Vec<String> = (0..stimuli).map(|i| i.to_string()).collect();
    let random = |at: usize| -> kenyon_learn::Result<Rdm> {
        let mut random = Random::new(at as u64);
        Rdm::new(names.clone(), (0..pairs(stimuli)).map(|_| random.uniform() + 0.1).collect())
    };
    let many = |count: usize, from: usize, name: &str| -> kenyon_learn::Result<Vec<(String, Rdm)>> {
        (0..count).map(|i| Ok((format!("{name} {i}"), random(from + i)?))).collect()
    };
    let (models, brains) = (many(systems, 0, "system")?, many(subjects, systems, "subject")?);
    let start = Instant::now();
    let bootstrap = Bootstrap { samples, over: Over::Both, seed: 0, threads: 2 };
    let found = assess(models, brains, comparison, bootstrap, &|_, _| true)?;
    let memory = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = memory.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM unknown");
    println!(
        "{comparison:?}: {:.1} s, {peak}; first system {:?}",
        start.elapsed().as_secs_f64(),
        found.systems[0].interval
    );
    Ok(())
}
