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

    /// Adds the counts of another.
    fn add(&self, other: &Self) {
        for (count, more) in self.counts.iter().zip(&other.counts) {
            count.fetch_add(more.load(Relaxed), Relaxed);
        }
        self.sum.fetch_add(other.sum.load(Relaxed), Relaxed);
    }

    /// The series of one label set; `scale` turns a stored value into the unit shown.
    fn write(&self, out: &mut String, name: &str, labels: &str, bounds: &[u64; N], scale: f64) {
        let mut total = 0;
        for (bound, count) in bounds.iter().zip(&self.counts) {
            total += count.load(Relaxed);
            let le = format!("le=\"{}\"", *bound as f64 * scale);
            line(out, &format!("{name}_bucket"), labels, &le, total);
        }
        total += self.counts[N].load(Relaxed);
        line(out, &format!("{name}_bucket"), labels, "le=\"+Inf\"", total);
        line(out, &format!("{name}_sum"), labels, "", self.sum.load(Relaxed) as f64 * scale);
        line(out, &format!("{name}_count"), labels, "", total);
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

    /// Adds the counts of another.
    pub(crate) fn add(&self, other: &Self) {
        let histograms = [(&self.queue, &other.queue), (&self.compute, &other.compute), (&self.total, &other.total)];
        histograms.iter().for_each(|(all, one)| all.add(one));
        self.batch_rows.add(&other.batch_rows);
        for (count, more) in self.rejected.iter().zip(&other.rejected) {
            count.fetch_add(more.load(Relaxed), Relaxed);
        }
        self.abstained.fetch_add(other.abstained.load(Relaxed), Relaxed);
        self.rows.fetch_add(other.rows.load(Relaxed), Relaxed);
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

/// Versions that have histograms of their own, and those that have counters: a label set is some hundred bytes in
/// every scrape, and a server may have thousands of models. What these leave out is in the totals of all models.
const WITH_HISTOGRAMS: usize = 10;
const WITH_COUNTERS: usize = 100;

/// One sample; `labels` and `more` may be empty.
fn line(out: &mut String, name: &str, labels: &str, more: &str, value: impl std::fmt::Display) {
    let between = if labels.is_empty() || more.is_empty() { "" } else { "," };
    let _ = if labels.is_empty() && more.is_empty() {
        writeln!(out, "{name} {value}")
    } else {
        writeln!(out, "{name}{{{labels}{between}{more}}} {value}")
    };
}

/// Appends every family of metrics in the Prometheus text format: the totals of all versions, of which `retired` has
/// those that are no longer open, and the series of the versions that answered the most rows.
pub(crate) fn write(out: &mut String, series: &[Series<'_>], retired: &Stats) {
    let all = Stats::default();
    all.add(retired);
    series.iter().for_each(|one| all.add(one.stats));
    let queued = series.iter().map(|one| one.queued_rows).sum();
    families(out, "all_models_", ", over all models", &[(String::new(), &all, queued)], 1);

    let mut busiest: Vec<&Series<'_>> = series.iter().collect();
    // Counts only grow, so the same versions stay in front; the sort is stable, so ties keep their order.
    busiest.sort_by_key(|one| std::cmp::Reverse(one.stats.rows.load(Relaxed)));
    busiest.truncate(WITH_COUNTERS);
    // Model names hold nothing that needs escaping.
    let labels = |one: &Series<'_>| format!("model=\"{}\",version=\"{}\"", one.model, one.version);
    let labelled: Vec<_> = busiest.iter().map(|one| (labels(one), one.stats, one.queued_rows)).collect();
    families(out, "", "", &labelled, WITH_HISTOGRAMS);
}

/// The families, with `prefix` in their names, for each (labels, counts, rows in the queue); histograms for the first
/// `histograms` of them.
fn families(out: &mut String, prefix: &str, of: &str, series: &[(String, &Stats, usize)], histograms: usize) {
    let begin = |out: &mut String, name: &str, kind: &str, help: &str| {
        let _ = writeln!(out, "# HELP kenyon_{prefix}{name} {help}{of}.\n# TYPE kenyon_{prefix}{name} {kind}");
        format!("kenyon_{prefix}{name}")
    };
    let durations: [(&str, &str, fn(&Stats) -> &Histogram<14>); 3] = [
        ("predict_queue_duration_seconds", "Time a request waited for its model", |s| &s.queue),
        ("predict_compute_duration_seconds", "Time in forward passes with rows of the request", |s| &s.compute),
        ("predict_total_duration_seconds", "Time from a request's rows to its answers", |s| &s.total),
    ];
    for (name, help, histogram) in durations {
        let name = begin(out, name, "histogram", help);
        for (labels, stats, _) in series.iter().take(histograms) {
            histogram(stats).write(out, &name, labels, &DURATIONS, 1e-9);
        }
    }
    let name = begin(out, "predict_batch_rows", "histogram", "Rows in a forward pass");
    for (labels, stats, _) in series.iter().take(histograms) {
        stats.batch_rows.write(out, &name, labels, &ROWS, 1.0);
    }
    let name = begin(out, "predict_queue_rows", "gauge", "Rows admitted and not yet answered");
    for (labels, _, queued) in series {
        line(out, &name, labels, "", queued);
    }
    let name = begin(out, "predict_rejected_total", "counter", "Requests that were not answered, by reason");
    for (at, (labels, stats, _)) in series.iter().enumerate() {
        for (reason, count) in Rejected::NAMES.iter().zip(&stats.rejected) {
            let count = count.load(Relaxed);
            // A series that has not begun is left out beyond the first ones.
            if count > 0 || at < histograms {
                line(out, &name, labels, &format!("reason=\"{reason}\""), count);
            }
        }
    }
    let name = begin(out, "predict_rows_total", "counter", "Rows answered");
    for (labels, stats, _) in series {
        line(out, &name, labels, "", stats.rows.load(Relaxed));
    }
    let name = begin(out, "abstained_total", "counter", "Rows unlike anything the model has seen");
    for (labels, stats, _) in series {
        line(out, &name, labels, "", stats.abstained.load(Relaxed));
    }
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
        let retired = Stats::default();
        retired.answered(10, us(0), us(20), us(1), us(40));
        write(&mut out, &[Series { model: "m", version: 2, stats: &stats, queued_rows: 7 }], &retired);
        let has = |line: &str| assert!(out.lines().any(|l| l == line), "{line} missing in\n{out}");
        has("kenyon_predict_total_duration_seconds_bucket{model=\"m\",version=\"2\",le=\"0.00005\"} 1");
        has("kenyon_predict_total_duration_seconds_bucket{model=\"m\",version=\"2\",le=\"0.0001\"} 2");
        has("kenyon_predict_total_duration_seconds_count{model=\"m\",version=\"2\"} 2");
        has("kenyon_predict_queue_rows{model=\"m\",version=\"2\"} 7");
        has("kenyon_predict_rejected_total{model=\"m\",version=\"2\",reason=\"deadline\"} 1");
        has("kenyon_all_models_predict_rows_total 14");
        has("kenyon_all_models_predict_total_duration_seconds_count 3");
        has("kenyon_all_models_predict_total_duration_seconds_bucket{le=\"0.00005\"} 2");
        assert_eq!(stats.figures().rows, 4);
    }

    #[test]
    fn thousands_of_models_are_a_short_text() {
        let stats: Vec<Stats> = (0..5000).map(|_| Stats::default()).collect();
        let names: Vec<String> = (0..5000).map(|i| format!("{i:063}")).collect();
        for (i, stats) in stats.iter().enumerate() {
            stats.answered(i, Duration::ZERO, Duration::ZERO, Duration::ZERO, Duration::ZERO);
            stats.rejected(Rejected::Rows);
        }
        let series = names.iter().zip(&stats);
        let series: Vec<_> =
            series.map(|(model, stats)| Series { model, version: u64::MAX, stats, queued_rows: 1 }).collect();
        let mut out = String::new();
        write(&mut out, &series, &Stats::default());
        assert!(out.len() < 200_000, "{} bytes", out.len());
        assert!(out.contains(&format!("kenyon_predict_rows_total{{model=\"{}\"", names[4999])), "the busiest is in it");
        let total: usize = (0..5000).sum();
        assert!(out.contains(&format!("kenyon_all_models_predict_rows_total {total}\n")));
        assert_eq!(out.matches("# HELP").count(), out.matches("# TYPE").count());
    }
}
