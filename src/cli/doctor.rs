//! `kenyon doctor`: checks everything a server needs, and changes nothing.

use crate::config::{Config, cores};
use crate::store::{StoreOptions, inspect};
use serde_json::json;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A lower bound for a correct clock: this program is newer.
const WRITTEN: u64 = 1_764_000_000;

/// One check.
struct Finding {
    what: &'static str,
    good: bool,
    detail: String,
}

/// Checks, prints, and fails where anything is wrong.
pub(super) async fn run(config: Config, json: bool) -> anyhow::Result<()> {
    let mut findings = vec![configuration(&config), clock(), processors(), descriptors(), folder(&config)];
    findings.extend(storage(&config).await);
    let bad = findings.iter().filter(|f| !f.good).count();
    for f in &findings {
        if json {
            print_line!("{}", json!({"check": f.what, "ok": f.good, "detail": f.detail}));
        } else {
            print_line!("{:8} {:14} {}", if f.good { "ok" } else { "PROBLEM" }, f.what, f.detail);
        }
    }
    if bad > 0 { Err(anyhow::anyhow!("{bad} of {} checks found a problem", findings.len())) } else { Ok(()) }
}

fn configuration(config: &Config) -> Finding {
    let (good, detail) = match config.check() {
        Ok(()) => (true, format!("listens on {}", config.listen)),
        Err(error) => (false, error.detail),
    };
    Finding { what: "configuration", good, detail }
}

fn clock() -> Finding {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let detail = jiff::Timestamp::from_second(now as i64).map_or_else(|e| e.to_string(), |t| t.to_string());
    Finding { what: "clock", good: now > WRITTEN, detail }
}

fn processors() -> Finding {
    Finding { what: "cores", good: true, detail: cores().to_string() }
}

/// The limit of open files, as reported by Linux; elsewhere it is unknown and accepted.
fn descriptors() -> Finding {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let allowed = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse::<u64>().ok());
    match allowed {
        Some(n) => Finding { what: "open files", good: n >= 1024, detail: format!("{n} allowed") },
        None => Finding { what: "open files", good: true, detail: "limit unknown here".into() },
    }
}

/// Where the folder is there: writes, syncs and removes a file, and reports how long a sync takes, since every
/// acknowledged row waits for one.
fn folder(config: &Config) -> Finding {
    let probe = || -> std::io::Result<Duration> {
        let file = tempfile::NamedTempFile::new_in(&config.data_dir)?;
        std::fs::write(file.path(), [0u8; 4096])?;
        let started = Instant::now();
        file.as_file().sync_all()?;
        Ok(started.elapsed())
    };
    let folder = config.data_dir.display();
    if !config.data_dir.exists() {
        let detail = format!("{folder} is not there yet; a server makes it");
        return Finding { what: "data folder", good: true, detail };
    }
    match probe() {
        Ok(took) => {
            let detail = format!("{folder} is writable, a sync takes {:.1} ms", took.as_secs_f64() * 1e3);
            Finding { what: "data folder", good: true, detail }
        }
        Err(error) => Finding { what: "data folder", good: false, detail: format!("{folder}: {error}") },
    }
}

async fn storage(config: &Config) -> [Finding; 2] {
    let options = StoreOptions {
        database_url: config.database_url().map(str::to_owned),
        objects_url: config.objects().map(str::to_owned),
        data_dir: config.data_dir.clone(),
    };
    let finding = |what, found: crate::Result<String>| match found {
        Ok(detail) => Finding { what, good: true, detail },
        Err(error) => {
            let cause = error.cause.as_ref().map(|c| format!(": {c}")).unwrap_or_default();
            Finding { what, good: false, detail: format!("{}{cause}", error.detail) }
        }
    };
    [finding("database", inspect::database(&options).await), finding("objects", inspect::objects(&options).await)]
}
