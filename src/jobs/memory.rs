//! How much memory a job will need and how much is available: checked before it starts, so that it is not killed
//! by the system half-way.

use crate::store::Dataset;
use crate::{Error, Result};
use kenyon_learn::data::kinds::Encoding;
use kenyon_learn::data::plan::Resolved;
use kenyon_learn::data::schema::Summary;

/// Bytes of a number in the table and of its entry in the encoded batch.
const CELL: u64 = 8 + 8;
/// Bytes that one byte of text becomes: itself, and entries for words and pieces of words.
const TEXT: u64 = 9;
/// How much smaller a compressed file is, roughly.
const COMPRESSION: u64 = 5;

/// Estimate of what a training holds at once: the table as it is read and the batch it is encoded to.
/// Networks are small in comparison. The estimate is rather too low than too high, because a job that would have fitted must
/// not be refused.
pub(super) fn estimate(summary: &Summary, dataset: &Dataset, plan: &Resolved) -> u64 {
    let stored: u64 =
        dataset.parts.iter().map(|p| if p.compression == "none" { p.bytes } else { p.bytes * COMPRESSION }).sum();
    let mut bytes = 0;
    let mut wordy = false;
    for input in &plan.inputs {
        let info = summary.columns.iter().find(|c| c.name == input.name);
        let width = |shape: Option<&Vec<usize>>| shape.map_or(1, |s| s.iter().product::<usize>().max(1)) as u64;
        match input.kind.encoding(input.channels == Some(0)) {
            Encoding::Number | Encoding::Phases | Encoding::Flag | Encoding::Names => {
                bytes += summary.rows * CELL;
            }
            Encoding::Elements => {
                let members = input.members.as_ref().map_or(1, Vec::len) as u64;
                let shape = input.shape.as_ref().or(info.and_then(|i| i.shape.as_ref()));
                // Zeros are stored in the table and not in the batch; half is a fair guess.
                bytes += summary.rows * width(shape).max(members) * 8;
            }
            Encoding::Words | Encoding::Steps => wordy = true,
        }
    }
    bytes + if wordy { stored * TEXT } else { 0 }
}

/// Refuses a job that needs more than is available.
pub(super) fn check(needed: u64, limit: Option<u64>) -> Result<()> {
    let Some(there) = limit.or_else(available) else { return Ok(()) };
    if needed <= there {
        return Ok(());
    }
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let detail = format!(
        "this job needs about {} MiB of memory and {} MiB are available; use fewer rows, a smaller model or a larger machine",
        mib(needed),
        mib(there)
    );
    Err(Error::unprocessable("not_enough_memory", detail))
}

/// Bytes still available: by the system, or by the limit of the control group.
fn available() -> Option<u64> {
    let free = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| available_of(&text));
    let number = |file: &str| std::fs::read_to_string(file).ok()?.trim().parse::<u64>().ok();
    let group = number("/sys/fs/cgroup/memory.max")
        .map(|max| max.saturating_sub(number("/sys/fs/cgroup/memory.current").unwrap_or(0)));
    match (free, group) {
        (Some(free), Some(group)) => Some(free.min(group)),
        (free, group) => free.or(group),
    }
}

fn available_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with("MemAvailable:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_refusal_names_the_figures() {
        assert!(check(10, Some(10)).is_ok());
        let error = check(3 << 30, Some(1 << 30)).unwrap_err();
        assert_eq!(error.code, "not_enough_memory");
        assert!(error.detail.contains("3072 MiB") && error.detail.contains("1024 MiB"), "{error}");
    }

    #[test]
    fn reads_what_the_system_says() {
        assert_eq!(available_of("MemTotal: 9 kB\nMemAvailable:   12 kB\n"), Some(12 * 1024));
        assert_eq!(available_of("nothing"), None);
    }
}
