//! What a prediction answers, and its JSON, written once straight into the bytes that are sent.

use super::batch_queue::{Outputs, Spent};
use super::clock::Id;
use super::json;
use super::loaded_version::{LoadedVersion, Snapshot};
use super::reasons::Reasons;
use std::sync::Arc;
use std::time::Duration;

/// Probabilities that are listed when the request does not say how many.
pub const DEFAULT_TOP_K: usize = 20;

/// Where the time of a request went; the headers `x-queue-time`, `x-inference-time`, `x-total-time`.
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
    /// What a lane spent, and the whole.
    pub fn new(spent: Spent, total: Duration) -> Self {
        Self { queue: spent.queue, compute: spent.compute, total }
    }
}

/// What an answer is to hold beside labels and values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PredictOptions {
    /// Labels with their probability that are listed, most likely first; up to
    /// [`DEFAULT_TOP_K`] when missing.
    pub top_k: Option<usize>,
    /// Share of the time that `set` and `interval` are to hold the truth, in `(0, 1)`.
    pub coverage: Option<f64>,
    /// Which reasons are wanted.
    pub explain: Explain,
}

/// Which reasons are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Explain {
    /// None.
    #[default]
    No,
    /// The network's own: contributions, attention, memories, active units.
    Yes,
    /// Those, and what each token that is attended to changes when it is left out.
    LeaveOneOut,
}

/// Answers of some rows by one version.
#[derive(Debug)]
pub struct Answer {
    /// The version that answered.
    pub live: Arc<LoadedVersion>,
    /// Its bundle and labels.
    pub snapshot: Arc<Snapshot>,
    /// `[rows, width]` probabilities or values, and `[rows]` novelty.
    pub outputs: Outputs,
    /// Why, a row each, where asked for.
    pub reasons: Vec<Reasons>,
    /// Where the time went.
    pub timing: Timing,
}

/// An answer as the bytes to send.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The version that answered.
    pub version: u64,
    /// JSON, as API.md has it.
    pub body: Vec<u8>,
    /// Where the time went.
    pub timing: Timing,
}

impl Answer {
    /// How many rows were answered.
    pub fn rows(&self) -> usize {
        self.outputs.values.len() / self.outputs.width.max(1)
    }

    /// Whether rows get a class, not a number.
    pub fn is_classification(&self) -> bool {
        !self.snapshot.labels.is_empty()
    }

    /// How many rows are unlike anything the model has seen.
    pub fn abstained(&self) -> usize {
        self.outputs.novelty.iter().filter(|&&n| self.snapshot.bundle.abstains(n)).count()
    }

    /// The whole answer as JSON; `ids` names each row.
    pub(super) fn to_json(&self, wishes: &PredictOptions, ids: impl Iterator<Item = Id>) -> Vec<u8> {
        let classes = self.outputs.width.min(wishes.top_k.unwrap_or(DEFAULT_TOP_K));
        let mut out = Vec::with_capacity(128 + self.rows() * (192 + 24 * classes));
        json::raw(&mut out, "{\"model\":\"");
        json::raw(&mut out, &self.live.model);
        json::raw(&mut out, "\",\"version\":");
        json::value(&mut out, &self.live.version);
        json::raw(&mut out, ",\"predictions\":");
        let mut order = Vec::new();
        json::list(&mut out, ids.take(self.rows()).enumerate(), |out, (row, id)| {
            json::raw(out, "{\"prediction_id\":\"");
            out.extend_from_slice(&id);
            out.push(b'"');
            let values = &self.outputs.values[row * self.outputs.width..(row + 1) * self.outputs.width];
            if self.is_classification() {
                self.write_classes(out, values, wishes, &mut order);
            } else {
                self.write_value(out, self.snapshot.bundle.value(values[0]), wishes);
            }
            if let Some(&novelty) = self.outputs.novelty.get(row) {
                json::raw(out, ",\"novelty\":");
                json::value(out, &novelty);
                let abstained = self.snapshot.bundle.abstains(novelty);
                json::raw(out, if abstained { ",\"abstained\":true" } else { ",\"abstained\":false" });
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

    fn write_classes(&self, out: &mut Vec<u8>, values: &[f32], wishes: &PredictOptions, order: &mut Vec<u32>) {
        let shown = values.len().min(wishes.top_k.unwrap_or(DEFAULT_TOP_K));
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
        if let Some(coverage) = wishes.coverage {
            json::raw(out, ",\"set\":");
            let set = self.snapshot.bundle.set(values, coverage);
            json::list(out, set, |out, class| json::raw(out, &self.snapshot.labels[class]));
        }
    }

    fn write_value(&self, out: &mut Vec<u8>, value: f64, wishes: &PredictOptions) {
        json::raw(out, ",\"value\":");
        json::value(out, &value);
        if let Some(coverage) = wishes.coverage {
            json::raw(out, ",\"interval\":");
            json::value(out, &self.snapshot.bundle.interval(value, coverage));
        }
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
