//! Counters and histograms of a version, written by every request without a lock, and their
//! Prometheus text. They are implemented here because a histogram that is an array of atomics needs
//! neither a lookup nor a buffer that grows between two scrapes.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the duration buckets, in nanoseconds; written as seconds.
const DURATIONS: [u64; 14] = [
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    50_000_000,
    250_000_000,
    1_000_000_000,
    10_000_000_000,
];

/// Upper bounds of the batch size buckets, in rows.
const ROWS: [u64; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 1024];

/// Counts by bucket, the last one for what is above every bound.
#[derive(Debug, Default)]
struct Histogram<const N: usize> {
    counts: [AtomicU64; 16],
    sum: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    fn record(&self, value: u64, bounds: &[u64; N]) {
        let bucket = bounds.iter().position(|&bound| value <= bound).unwrap_or(N);
        self.counts[bucket].fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }

    fn count(&self) -> u64 {
        self.counts.iter().map(|c| c.load(Relaxed)).sum()
    }

    /// The series of one label set; `scale` turns a stored value into the unit shown.
    fn write(&self, out: &mut String, name: &str, labels: &str, bounds: &[u64; N], scale: f64) {
        let mut total = 0;
        for (bound, count) in bounds.iter().zip(&self.counts) {
            total += count.load(Relaxed);
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{}\"}} {total}", *bound as f64 * scale);
        }
        total += self.counts[N].load(Relaxed);
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {total}");
        let _ = writeln!(out, "{name}_sum{{{labels}}} {}", self.sum.load(Relaxed) as f64 * scale);
        let _ = writeln!(out, "{name}_count{{{labels}}} {total}");
    }
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// The queue is full.
    Queue,
    /// More rows than could ever wait.
    TooLarge,
    /// The deadline passed.
    Deadline,
    /// The network failed.
    Internal,
    /// The rows do not fit the model.
    Rows,
}

impl Rejected {
    const NAMES: [&'static str; 5] = ["queue_full", "too_large", "deadline", "internal", "rows"];
}

/// Counts of one version's requests since this process first loaded it.
#[derive(Debug, Default)]
pub struct Stats {
    queue: Histogram<14>,
    compute: Histogram<14>,
    total: Histogram<14>,
    batch_rows: Histogram<10>,
    rejected: [AtomicU64; 5],
    abstained: AtomicU64,
    rows: AtomicU64,
    compute_input: AtomicU64,
    last_inference_ms: AtomicU64,
}

/// Counts and nanoseconds for the Open Inference Protocol's statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Requests answered.
    pub success: u64,
    /// Nanoseconds from request to answer, over all answered.
    pub success_ns: u64,
    /// Requests that failed.
    pub fail: u64,
    /// Nanoseconds in the queue.
    pub queue_ns: u64,
    /// Nanoseconds reading and encoding rows.
    pub input_ns: u64,
    /// Nanoseconds in forward passes, for each request.
    pub compute_ns: u64,
    /// Rows answered.
    pub rows: u64,
    /// Forward passes.
    pub passes: u64,
    /// Unix milliseconds of the latest answer; 0 before the first.
    pub last_ms: u64,
}

impl Stats {
    /// A request of `rows` rows was answered.
    pub(crate) fn answered(&self, rows: usize, queue: Duration, compute: Duration, input: Duration, total: Duration) {
        self.queue.record(nanos(queue), &DURATIONS);
        self.compute.record(nanos(compute), &DURATIONS);
        self.total.record(nanos(total), &DURATIONS);
        self.rows.fetch_add(rows as u64, Relaxed);
        self.compute_input.fetch_add(nanos(input), Relaxed);
        self.last_inference_ms.store(super::clock::unix_millis(), Relaxed);
    }

    /// A forward pass over `rows` rows ended.
    pub(crate) fn pass(&self, rows: usize) {
        self.batch_rows.record(rows as u64, &ROWS);
    }

    /// A request was refused.
    pub(crate) fn rejected(&self, reason: Rejected) {
        self.rejected[reason as usize].fetch_add(1, Relaxed);
    }

    /// Rows that were marked as abstained.
    pub(crate) fn abstained(&self, rows: u64) {
        if rows > 0 {
            self.abstained.fetch_add(rows, Relaxed);
        }
    }

    /// The figures of the Open Inference Protocol.
    pub fn figures(&self) -> Figures {
        Figures {
            success: self.total.count(),
            success_ns: self.total.sum.load(Relaxed),
            fail: self.rejected.iter().map(|r| r.load(Relaxed)).sum(),
            queue_ns: self.queue.sum.load(Relaxed),
            input_ns: self.compute_input.load(Relaxed),
            compute_ns: self.compute.sum.load(Relaxed),
            rows: self.rows.load(Relaxed),
            passes: self.batch_rows.count(),
            last_ms: self.last_inference_ms.load(Relaxed),
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// One version's labels in the metrics.
pub(crate) struct Series<'a> {
    pub(crate) model: &'a str,
    pub(crate) version: u64,
    pub(crate) stats: &'a Stats,
    pub(crate) queued_rows: usize,
}

/// Appends every family of metrics with the series of all versions, in the Prometheus text format.
pub(crate) fn write(out: &mut String, series: &[Series<'_>]) {
    let mut family = |name: &str, kind: &str, help: &str, each: &dyn Fn(&mut String, &Series<'_>, &str)| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for one in series {
            // Model names hold nothing that needs escaping.
            each(out, one, &format!("model=\"{}\",version=\"{}\"", one.model, one.version));
        }
    };
    let durations: [(&str, &str, fn(&Stats) -> &Histogram<14>); 3] = [
        ("kenyon_predict_queue_duration_seconds", "Time a request waited for its model.", |s| &s.queue),
        ("kenyon_predict_compute_duration_seconds", "Time in forward passes with rows of the request.", |s| &s.compute),
        ("kenyon_predict_total_duration_seconds", "Time from a request's rows to its answers.", |s| &s.total),
    ];
    for (name, help, pick) in durations {
        family(name, "histogram", help, &|out, one, labels| {
            pick(one.stats).write(out, name, labels, &DURATIONS, 1e-9);
        });
    }
    let name = "kenyon_predict_batch_rows";
    family(name, "histogram", "Rows in a forward pass.", &|out, one, labels| {
        one.stats.batch_rows.write(out, name, labels, &ROWS, 1.0);
    });
    let name = "kenyon_predict_queue_rows";
    family(name, "gauge", "Rows admitted and not yet answered.", &|out, one, labels| {
        let _ = writeln!(out, "{name}{{{labels}}} {}", one.queued_rows);
    });
    let name = "kenyon_predict_rejected_total";
    family(name, "counter", "Requests that were not answered, by reason.", &|out, one, labels| {
        for (reason, count) in Rejected::NAMES.iter().zip(&one.stats.rejected) {
            let _ = writeln!(out, "{name}{{{labels},reason=\"{reason}\"}} {}", count.load(Relaxed));
        }
    });
    let name = "kenyon_predict_rows_total";
    family(name, "counter", "Rows answered.", &|out, one, labels| {
        let _ = writeln!(out, "{name}{{{labels}}} {}", one.stats.rows.load(Relaxed));
    });
    let name = "kenyon_abstained_total";
    family(name, "counter", "Rows unlike anything the model has seen.", &|out, one, labels| {
        let _ = writeln!(out, "{name}{{{labels}}} {}", one.stats.abstained.load(Relaxed));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_units_are_seconds() {
        let stats = Stats::default();
        let us = Duration::from_micros;
        stats.answered(3, us(0), us(20), us(1), us(40));
        stats.answered(1, us(30), us(60), us(1), us(90));
        stats.rejected(Rejected::Deadline);
        let mut out = String::new();
        write(&mut out, &[Series { model: "m", version: 2, stats: &stats, queued_rows: 7 }]);
        let has = |line: &str| assert!(out.lines().any(|l| l == line), "{line} missing in\n{out}");
        has("kenyon_predict_total_duration_seconds_bucket{model=\"m\",version=\"2\",le=\"0.00005\"} 1");
        has("kenyon_predict_total_duration_seconds_bucket{model=\"m\",version=\"2\",le=\"0.0001\"} 2");
        has("kenyon_predict_total_duration_seconds_count{model=\"m\",version=\"2\"} 2");
        has("kenyon_predict_queue_rows{model=\"m\",version=\"2\"} 7");
        has("kenyon_predict_rejected_total{model=\"m\",version=\"2\",reason=\"deadline\"} 1");
        assert_eq!(stats.figures().rows, 4);
    }
}
