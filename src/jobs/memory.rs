//! How much memory a job will need, how much there is, and how much a process has taken.

use crate::store::Dataset;
use crate::{Error, Result};
use kenyon_learn::data::kinds::Encoding;
use kenyon_learn::data::plan::Resolved;
use kenyon_learn::data::schema::Summary;
use std::path::{Path, PathBuf};

/// Bytes of a number in the table and of its entry in the encoded batch.
const CELL: u64 = 8 + 8;
/// Bytes that one byte of text becomes: itself, and entries for words and pieces of words.
const TEXT: u64 = 9;
/// How much smaller a compressed file is, roughly.
const COMPRESSION: u64 = 5;

/// Estimate of what a training holds at once that has `rows` rows in memory: the table as it is read and the batch it is
/// encoded to.
/// Networks are small in comparison. The estimate is rather too low than too high, because a job that would have fitted must
/// not be refused.
pub(super) fn estimate(summary: &Summary, dataset: &Dataset, plan: &Resolved, rows: u64) -> u64 {
    let stored: u64 =
        dataset.parts.iter().map(|p| if p.compression == "none" { p.bytes } else { p.bytes * COMPRESSION }).sum();
    let mut bytes = 0;
    let mut wordy = false;
    for input in &plan.inputs {
        let info = summary.columns.iter().find(|c| c.name == input.name);
        let width = |shape: Option<&Vec<usize>>| shape.map_or(1, |s| s.iter().product::<usize>().max(1)) as u64;
        match input.kind.encoding(input.channels == Some(0)) {
            Encoding::Number | Encoding::Phases | Encoding::Flag | Encoding::Names => {
                bytes += rows * CELL;
            }
            Encoding::Elements => {
                let members = input.members.as_ref().map_or(1, Vec::len) as u64;
                let shape = input.shape.as_ref().or(info.and_then(|i| i.shape.as_ref()));
                // Zeros are stored in the table and not in the batch; half is a fair estimate.
                bytes += rows * width(shape).max(members) * 8;
            }
            Encoding::Words | Encoding::Steps => wordy = true,
        }
    }
    bytes + if wordy { stored * TEXT } else { 0 }
}

/// Refuses a job that needs more than `there` is.
pub(super) fn check(needed: u64, there: u64) -> Result<()> {
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

/// A quarter of the memory that this process may use: of the machine's, or of what its control group has.
pub(super) fn quarter() -> Option<u64> {
    let machine = text("/proc/meminfo").and_then(|text| field(&text, "MemTotal:"));
    smallest(machine, groups().iter().filter_map(Group::limit)).map(|bytes| bytes / 4)
}

/// Bytes still available: by the system, or by the limits of the control groups.
pub(super) fn available() -> Option<u64> {
    let free = text("/proc/meminfo").and_then(|text| field(&text, "MemAvailable:"));
    let left = |group: &Group| Some(group.limit()?.saturating_sub(group.used().unwrap_or(0)));
    smallest(free, groups().iter().filter_map(left))
}

/// Bytes that a process has for itself, without the files that it maps; none where it is gone.
pub(super) fn of_process(id: u32) -> Option<u64> {
    field(&text(&format!("/proc/{id}/status"))?, "RssAnon:")
}

/// How many processes the system has ended for lack of memory so far.
pub(super) fn ended_by_system() -> u64 {
    text("/proc/vmstat").and_then(|text| field(&text, "oom_kill")).unwrap_or(0) / 1024
}

/// A folder of the control group that this process is in, or one above it.
struct Group {
    folder: PathBuf,
    /// Names of the files with the limit and with what is used: those of version 2, or of version 1.
    limit: &'static str,
    used: &'static str,
}

impl Group {
    fn number(&self, name: &str) -> Option<u64> {
        std::fs::read_to_string(self.folder.join(name)).ok()?.trim().parse().ok()
    }

    /// `max` of version 2 is no number; version 1 has a very large one.
    fn limit(&self) -> Option<u64> {
        self.number(self.limit).filter(|&bytes| bytes < 1 << 60)
    }

    fn used(&self) -> Option<u64> {
        self.number(self.used)
    }
}

/// The control groups of this process that may limit its memory.
fn groups() -> Vec<Group> {
    text("/proc/self/cgroup").map(|text| groups_of(&text)).unwrap_or_default()
}

/// By the lines of `/proc/self/cgroup`. In a container the path may be that of the host, which is not there: then the
/// top of what is mounted is its own.
fn groups_of(lines: &str) -> Vec<Group> {
    let mut found = Vec::new();
    for line in lines.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, limit, used) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max", "memory.current"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes")
            }
            _ => continue,
        };
        for above in Path::new(path.trim_start_matches('/')).ancestors() {
            found.push(Group { folder: Path::new(root).join(above), limit, used });
        }
    }
    found
}

fn smallest(one: Option<u64>, others: impl Iterator<Item = u64>) -> Option<u64> {
    one.into_iter().chain(others).min()
}

fn text(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// A field of a file such as `/proc/meminfo`, in bytes: it is in KiB there.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(name))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_names_the_figures() {
        assert!(check(10, 10).is_ok());
        let error = check(3 << 30, 1 << 30).unwrap_err();
        assert_eq!(error.code, "not_enough_memory");
        assert!(error.detail.contains("3072 MiB") && error.detail.contains("1024 MiB"), "{error}");
    }

    #[test]
    fn reads_what_the_system_says() {
        let text = "MemTotal: 9 kB\nMemAvailable:   12 kB\noom_kill_disable 1\noom_kill 3\n";
        assert_eq!(field(text, "MemAvailable:"), Some(12 * 1024));
        assert_eq!(field(text, "oom_kill"), Some(3 * 1024));
        assert_eq!(field("nothing", "MemAvailable:"), None);
    }

    #[test]
    fn control_groups_of_both_versions_are_found_with_those_above() {
        let folders = |text: &str| -> Vec<String> {
            groups_of(text).iter().map(|group| group.folder.join(group.limit).display().to_string()).collect()
        };
        assert_eq!(
            folders("0::/a/b\n"),
            ["/sys/fs/cgroup/a/b/memory.max", "/sys/fs/cgroup/a/memory.max", "/sys/fs/cgroup/memory.max"]
        );
        assert_eq!(
            folders("5:cpu,cpuacct:/x\n4:memory:/x\n"),
            ["/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        );
    }

    #[test]
    fn a_process_has_memory_of_its_own() {
        assert!(of_process(std::process::id()).is_none_or(|bytes| bytes > 100_000));
        assert!(quarter().is_none_or(|bytes| bytes > 1 << 20));
    }
}
