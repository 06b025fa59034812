//! A prediction's answer and its JSON, written once, directly as the bytes that are sent.

use super::batch_queue::{Outputs, Spent};
use super::clock::Id;
use super::json;
use super::loaded_version::{LoadedVersion, Snapshot};
use super::reasons::Reasons;
use kenyon_learn::learning::calibrate::SetOptions;
use std::sync::Arc;
use std::time::Duration;

/// Number of listed probabilities unless the request gives one.
pub const DEFAULT_TOP_K: usize = 20;

/// Durations of a request's parts; the headers `x-queue-time`, `x-inference-time`, `x-total-time`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// Waiting for the model.
    pub queue: Duration,
    /// In the network.
    pub compute: Duration,
    /// From the request's bytes to the answer.
    pub total: Duration,
}

impl Timing {
    /// Adds the total time to what the batch queue measured.
    pub fn new(spent: Spent, total: Duration) -> Self {
        Self { queue: spent.queue, compute: spent.compute, total }
    }
}

/// Contents of an answer in addition to labels and values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PredictOptions {
    /// Number of listed labels with their probability, most likely first;
    /// [`DEFAULT_TOP_K`] when missing.
    pub top_k: Option<usize>,
    /// Coverage of `set` and `interval`, in `(0, 1)`.
    pub coverage: Option<f64>,
    /// Whether `set` may be empty; by default the likeliest class is in.
    pub allow_empty: bool,
    /// Whether `set` is to hold the truth that often for the rows of each class.
    pub by_class: bool,
    /// Novelty beyond which an answer abstains; the usual one when missing.
    pub novelty_level: Option<f32>,
    /// Which reasons are wanted.
    pub explain: Explain,
}

/// Coverage of the sets and intervals for the verdict unless the request gives one.
const VERDICT_COVERAGE: f64 = 0.9;

impl PredictOptions {
    fn sets(&self) -> SetOptions {
        SetOptions {
            coverage: self.coverage.unwrap_or(VERDICT_COVERAGE),
            allow_empty: self.allow_empty,
            by_class: self.by_class,
        }
    }
}

/// Which reasons are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Explain {
    /// None.
    #[default]
    No,
    /// The network's own: contributions, attention, memories, active units.
    Yes,
    /// Those, and the change of the output when each attended token is left out.
    LeaveOneOut,
}

/// Answers of some rows by one version.
#[derive(Debug)]
pub struct Answer {
    /// The version that answered.
    pub loaded: Arc<LoadedVersion>,
    /// Its bundle and labels.
    pub snapshot: Arc<Snapshot>,
    /// `[rows, width]` probabilities or values, and `[rows]` novelty.
    pub outputs: Outputs,
    /// Explanations, one a row, where requested.
    pub reasons: Vec<Reasons>,
    /// Durations.
    pub timing: Timing,
}

/// An answer as the bytes to send.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The version that answered.
    pub version: u64,
    /// JSON, as API.md has it.
    pub body: Vec<u8>,
    /// Durations.
    pub timing: Timing,
}

impl Answer {
    /// How many rows were answered.
    pub fn rows(&self) -> usize {
        self.outputs.values.len() / self.outputs.width.max(1)
    }

    /// Whether the model is a classifier.
    pub fn is_classification(&self) -> bool {
        !self.snapshot.labels.is_empty()
    }

    /// How many rows are unlike anything the model has seen.
    pub fn abstained(&self, options: &PredictOptions) -> usize {
        self.outputs.novelty.iter().filter(|&&n| self.snapshot.bundle.abstains(n, options.novelty_level)).count()
    }

    /// The verdict on a row in one word, as the JSON has it; needs the novelty.
    pub fn verdict(&self, row: usize, options: &PredictOptions) -> &'static str {
        let (bundle, values) = (&self.snapshot.bundle, self.row(row));
        let sure = if self.is_classification() {
            bundle.is_sure(values, &bundle.set(values, options.sets()))
        } else {
            !bundle.is_wide(self.interval(row, options))
        };
        bundle.verdict(self.novelty(row), options.novelty_level, sure)
    }

    /// How novel a row is; 0 where it was not computed.
    pub fn novelty(&self, row: usize) -> f32 {
        self.outputs.novelty.get(row).copied().unwrap_or_default()
    }

    /// The outputs of a row.
    fn row(&self, row: usize) -> &[f32] {
        &self.outputs.values[row * self.outputs.width..(row + 1) * self.outputs.width]
    }

    /// The interval around a row's value, at the coverage of its verdict.
    fn interval(&self, row: usize, options: &PredictOptions) -> Option<[f64; 2]> {
        let bundle = &self.snapshot.bundle;
        let error_size = self.outputs.error_sizes.get(row).copied();
        bundle.interval(bundle.value(self.row(row)[0]), error_size, options.sets().coverage)
    }

    /// The whole answer as JSON; `ids` has the prediction id of each row.
    pub(super) fn to_json(&self, options: &PredictOptions, ids: impl Iterator<Item = Id>) -> Vec<u8> {
        let classes = self.outputs.width.min(options.top_k.unwrap_or(DEFAULT_TOP_K));
        let mut out = Vec::with_capacity(128 + self.rows() * (192 + 24 * classes));
        json::raw(&mut out, "{\"model\":\"");
        json::raw(&mut out, &self.loaded.model);
        json::raw(&mut out, "\",\"version\":");
        json::value(&mut out, &self.loaded.version);
        json::raw(&mut out, ",\"predictions\":");
        let mut order = Vec::new();
        json::list(&mut out, ids.take(self.rows()).enumerate(), |out, (row, id)| {
            json::raw(out, "{\"prediction_id\":\"");
            out.extend_from_slice(&id);
            out.push(b'"');
            let sure = if self.is_classification() {
                self.write_classes(out, self.row(row), options, &mut order)
            } else {
                self.write_value(out, row, options)
            };
            if let Some(&novelty) = self.outputs.novelty.get(row) {
                json::raw(out, ",\"novelty\":");
                json::value(out, &novelty);
                let (bundle, level) = (&self.snapshot.bundle, options.novelty_level);
                let abstained = bundle.abstains(novelty, level);
                json::raw(out, if abstained { ",\"abstained\":true" } else { ",\"abstained\":false" });
                json::raw(out, ",\"verdict\":\"");
                json::raw(out, bundle.verdict(novelty, level, sure));
                out.push(b'"');
            }
            if let Some(reasons) = self.reasons.get(row) {
                json::raw(out, ",\"explanation\":");
                json::value(out, reasons);
            }
            out.push(b'}');
        });
        out.push(b'}');
        out
    }

    /// Whether the answer is sure: the class that is named is the only one in the set.
    fn write_classes(&self, out: &mut Vec<u8>, values: &[f32], options: &PredictOptions, order: &mut Vec<u32>) -> bool {
        let shown = values.len().min(options.top_k.unwrap_or(DEFAULT_TOP_K));
        most_likely(values, shown, order);
        let best = self.snapshot.bundle.named(values);
        json::raw(out, ",\"label\":");
        json::raw(out, &self.snapshot.labels[best]);
        json::raw(out, ",\"probability\":");
        json::value(out, &values[best]);
        json::raw(out, ",\"probabilities\":{");
        for (i, &class) in order.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            json::raw(out, &self.snapshot.keys[class as usize]);
            out.push(b':');
            json::value(out, &values[class as usize]);
        }
        out.push(b'}');
        let set = self.snapshot.bundle.set(values, options.sets());
        let sure = self.snapshot.bundle.is_sure(values, &set);
        if options.coverage.is_some() {
            json::raw(out, ",\"set\":");
            json::list(out, set, |out, class| json::raw(out, &self.snapshot.labels[class]));
        }
        sure
    }

    /// Whether the answer is sure: its interval is not wide.
    fn write_value(&self, out: &mut Vec<u8>, row: usize, options: &PredictOptions) -> bool {
        let bundle = &self.snapshot.bundle;
        json::raw(out, ",\"value\":");
        json::value(out, &bundle.value(self.row(row)[0]));
        let interval = self.interval(row, options);
        if options.coverage.is_some() {
            json::raw(out, ",\"interval\":");
            json::value(out, &interval);
        }
        !bundle.is_wide(interval)
    }
}

/// Fills `order` with the `count` most likely classes (at least one), most likely first; of equals,
/// the first class first.
fn most_likely(values: &[f32], count: usize, order: &mut Vec<u32>) {
    let count = count.clamp(1, values.len().max(1));
    order.clear();
    order.extend(0..values.len() as u32);
    let by = |a: &u32, b: &u32| values[*b as usize].total_cmp(&values[*a as usize]).then(a.cmp(b));
    if count < order.len() {
        order.select_nth_unstable_by(count - 1, by);
        order.truncate(count);
    }
    order.sort_unstable_by(by);
}

#[cfg(test)]
mod tests {
    use super::most_likely;

    #[test]
    fn the_most_likely_come_first_and_ties_keep_their_order() {
        let mut order = Vec::new();
        most_likely(&[0.1, 0.4, 0.1, 0.4], 3, &mut order);
        assert_eq!(order, [1, 3, 0]);
        most_likely(&[0.5, 0.5], 0, &mut order);
        assert_eq!(order, [0]);
        most_likely(&[0.5, 0.7], 9, &mut order);
        assert_eq!(order, [1, 0]);
    }
}
