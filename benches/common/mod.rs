//! Shared by the benchmark programs: the shared data, and CPU seconds in addition to wall seconds.
#![allow(clippy::unwrap_used)]
#![allow(dead_code, reason = "each program uses its own part")]

use std::io::Read;
use std::path::PathBuf;

/// The folder of shared data, or nothing (with a printed reason) where there is none.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("KENYON_SHARED_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    let path = root.join(path);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: no {} (set KENYON_SHARED_DATA)", path.display());
    None
}

/// Images `[n, 784]` (0–255) and labels of an MNIST-like set.
pub(crate) fn idx(set: &str, part: &str) -> Option<(Vec<f32>, Vec<u32>)> {
    let read = |what: &str| {
        let file = std::fs::File::open(shared(&format!("{set}/{part}-{what}-ubyte.gz"))?).unwrap();
        let mut bytes = vec![];
        flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
        Some(bytes)
    };
    let (images, labels) = (read("images-idx3")?, read("labels-idx1")?);
    Some((images[16..].iter().map(|&b| f32::from(b)).collect(), labels[8..].iter().map(|&b| u32::from(b)).collect()))
}

/// CPU seconds of this process so far, all threads; on a busy machine the fairer measure.
pub(crate) fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default().to_owned();
    let fields: Vec<f64> = after.split_whitespace().filter_map(|f| f.parse().ok()).collect();
    // utime and stime, in hundredths, are fields 14 and 15; the state (a letter) is not parsed.
    if fields.len() > 12 { (fields[10] + fields[11]) / 100.0 } else { 0.0 }
}

/// The value after `name` on the command line.
pub(crate) fn argument(name: &str) -> Option<String> {
    let mut arguments = std::env::args().skip_while(|a| a != name);
    arguments.nth(1)
}
