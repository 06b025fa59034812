//! Joules used by the processor, from its own counters (RAPL), where this process may read them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the idle processor and the work are measured: the counters change every millisecond.
const IDLE: Duration = Duration::from_millis(100);
const WORK: Duration = Duration::from_millis(200);

/// Names the method behind a figure.
pub const METHOD: &str = "RAPL counters of all packages while the rows were answered over and over, minus idle";

/// The counters of all processor packages.
#[derive(Debug)]
pub struct Meter {
    /// Counter files, and where each wraps around, in microjoules.
    counters: Vec<(PathBuf, u64)>,
}

impl Meter {
    /// The counters of this machine; none where they are missing or not readable.
    pub fn find() -> Option<Self> {
        Self::at(Path::new("/sys/class/powercap"))
    }

    fn at(folder: &Path) -> Option<Self> {
        let mut counters = Vec::new();
        for entry in fs::read_dir(folder).ok()?.flatten() {
            // `intel-rapl:0` is a package (AMD's, too), `intel-rapl:0:1` a part of it.
            let name = entry.file_name();
            let package = name.to_str().and_then(|name| name.strip_prefix("intel-rapl:"));
            if package.is_some_and(|number| !number.contains(':')) {
                let range = number(&entry.path().join("max_energy_range_uj"))?;
                counters.push((entry.path().join("energy_uj"), range));
            }
        }
        let meter = Self { counters };
        (!meter.counters.is_empty() && meter.read().is_some()).then_some(meter)
    }

    fn read(&self) -> Option<Vec<u64>> {
        self.counters.iter().map(|(file, _)| number(file)).collect()
    }

    /// Joules since `before`.
    fn since(&self, before: &[u64]) -> Option<f64> {
        let after = self.read()?;
        let spent = self.counters.iter().zip(before).zip(after).map(|(((_, range), &before), after)| {
            if after >= before { after - before } else { after + range - before }
        });
        Some(spent.sum::<u64>() as f64 * 1e-6)
    }

    /// Joules for one of the rows which `work` answers at each call, beyond those of the idle
    /// processor; none if the counters did not change. Blocks for a third of a second.
    pub fn joules<E>(&self, rows: usize, mut work: impl FnMut() -> Result<(), E>) -> Result<Option<f64>, E> {
        let Some(before) = self.read() else { return Ok(None) };
        let start = Instant::now();
        std::thread::sleep(IDLE);
        let idle = self.since(&before).map(|joules| joules / start.elapsed().as_secs_f64());
        let (Some(idle), Some(before)) = (idle, self.read()) else { return Ok(None) };
        let (start, mut calls) = (Instant::now(), 0);
        while start.elapsed() < WORK {
            work()?;
            calls += 1;
        }
        let seconds = start.elapsed().as_secs_f64();
        let spent = self.since(&before).filter(|&joules| joules > 0.0);
        Ok(spent.map(|joules| (joules - idle * seconds).max(0.0) / (calls * rows.max(1)) as f64))
    }
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_summed_and_counters_that_start_over_go_on() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Meter::at(folder.path()).is_none(), "no counters");
        let write = |name: &str, energy: u64| {
            let path = folder.path().join(name);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("energy_uj"), format!("{energy}\n")).unwrap();
            fs::write(path.join("max_energy_range_uj"), "1000000\n").unwrap();
        };
        write("intel-rapl:0", 900_000);
        write("intel-rapl:1", 100_000);
        write("intel-rapl:0:0", 5);
        let meter = Meter::at(folder.path()).unwrap();
        let before = meter.read().unwrap();
        assert_eq!(before.len(), 2, "a part of a package is not counted again");
        write("intel-rapl:0", 50_000);
        write("intel-rapl:1", 400_000);
        assert!((meter.since(&before).unwrap() - 0.45).abs() < 1e-9);
        // Counters that do not change measure nothing; counters that rise with the work give its joules.
        let still = meter.joules(2, || Ok::<(), ()>(()));
        assert_eq!(still, Ok(None));
        let mut calls = 0u64;
        let moving = meter.joules(2, || {
            calls += 1;
            // The counter rises by 3 microjoules a call, and sometimes wraps around.
            write("intel-rapl:1", (400_000 + 3 * calls) % 1_000_000);
            Ok::<(), ()>(())
        });
        assert!((moving.unwrap().unwrap() - 1.5e-6).abs() < 1e-9);
        assert_eq!(meter.joules(1, || Err("broken")), Err("broken"));
    }
}
