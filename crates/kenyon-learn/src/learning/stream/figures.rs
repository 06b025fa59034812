//! Metrics of a stream: every row is predicted before it is learned (prequential evaluation).

use super::history::{History, POINTS};
use crate::learning::drift::Adwin;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Rows of the recent window.
const WINDOW: usize = 1_000;

/// Rows after an alarm in which there is no other: it would be for the same change.
const QUIET: u64 = 1_000;
/// Rows of a block, and deviations by which blocks must differ before and after a change.
const BLOCK: usize = 16;
const DEVIATIONS: f64 = 4.0;
/// Alarms kept.
const MOST_ALARMS: usize = 10_000;

/// The result of a detector for a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Detection {
    /// It dropped older rows, which differ from the newest. One change can be detected several times.
    pub change: bool,
    /// The row in the list of alarms, where one was raised: one a change.
    pub alarm: Option<u64>,
}

/// Prequential figures and drift detectors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    regression: bool,
    /// Labelled rows.
    pub labelled: u64,
    /// Rows without a label.
    pub unlabelled: u64,
    right: u64,
    last_right: u64,
    absolute: f64,
    squares: f64,
    last: Option<f32>,
    /// Per recent row: right (1) or wrong, or the absolute error; newest at the end.
    window: Vec<f32>,
    last_window: Vec<f32>,
    /// Labelled rows and right ones, per class.
    classes: Vec<(u64, u64)>,
    curve: Vec<(u64, f32)>,
    stride: u64,
    error: Adwin,
    inputs: Adwin,
    error_scale: f64,
    drifts: Vec<u64>,
    input_drifts: Vec<u64>,
}

impl Figures {
    /// Before the first row.
    pub fn new(regression: bool) -> Self {
        Self {
            regression,
            labelled: 0,
            unlabelled: 0,
            right: 0,
            last_right: 0,
            absolute: 0.0,
            squares: 0.0,
            last: None,
            window: Vec::new(),
            last_window: Vec::new(),
            classes: Vec::new(),
            curve: Vec::new(),
            stride: 10,
            error: Adwin::new(0.002, true),
            inputs: input_window(),
            error_scale: 0.0,
            drifts: Vec::new(),
            input_drifts: Vec::new(),
        }
    }

    /// A row was answered `predicted` and its class is `class`.
    pub fn class(&mut self, predicted: usize, class: usize) -> Detection {
        let right = predicted == class;
        let as_last = self.last == Some(class as f32);
        self.right += u64::from(right);
        self.last_right += u64::from(as_last);
        self.last = Some(class as f32);
        if self.classes.len() <= class {
            self.classes.resize(class + 1, (0, 0));
        }
        self.classes[class].0 += 1;
        self.classes[class].1 += u64::from(right);
        self.push(f32::from(u8::from(right)), f32::from(u8::from(as_last)));
        self.changed(f64::from(u8::from(!right)))
    }

    /// A row was answered `predicted` and its value is `value`.
    pub fn value(&mut self, predicted: f32, value: f32) -> Detection {
        let error = f64::from((predicted - value).abs());
        self.absolute += error;
        self.squares += error * error;
        let of_last = self.last.map_or(value.abs(), |last| (last - value).abs());
        self.last = Some(value);
        self.push(error as f32, of_last);
        // One huge error must not hide a change for thousands of rows.
        let scale = self.error_scale;
        self.error_scale =
            if self.labelled <= 1 { error } else { scale * 0.999 + 0.001 * error.min(100.0 * scale.max(1e-12)) };
        self.changed((error / (4.0 * self.error_scale).max(1e-12)).min(1.0))
    }

    /// How unusual the inputs of a row are, in `[0, 1]`.
    pub fn input(&mut self, input_novelty: f64, row: u64) -> Detection {
        let change = self.inputs.add(input_novelty);
        let alarming = change && self.input_drifts.last().is_none_or(|&last| last + QUIET <= row);
        Detection { change, alarm: remember(&mut self.input_drifts, alarming.then_some(row)) }
    }

    /// The rows that follow are measured on another scale.
    pub(super) fn restart_inputs(&mut self) {
        self.inputs = input_window();
    }

    fn changed(&mut self, error: f64) -> Detection {
        let change = self.error.add(error);
        let alarming = change && self.is_alarming();
        Detection { change, alarm: remember(&mut self.drifts, alarming.then_some(self.labelled)) }
    }

    fn push(&mut self, value: f32, of_last: f32) {
        self.labelled += 1;
        for (window, value) in [(&mut self.window, value), (&mut self.last_window, of_last)] {
            if window.len() >= 2 * WINDOW {
                window.drain(..WINDOW);
            }
            window.push(value);
        }
        if self.labelled.is_multiple_of(self.stride) {
            self.curve.push((self.labelled, mean(recent(&self.window))));
            if self.curve.len() >= 2 * POINTS {
                self.stride *= 2;
                let stride = self.stride;
                self.curve.retain(|(row, _)| row.is_multiple_of(stride));
            }
        }
    }

    /// Accuracy (or mean absolute error) over all rows.
    pub fn total(&self) -> f64 {
        let n = self.labelled.max(1) as f64;
        if self.regression { self.absolute / n } else { self.right as f64 / n }
    }

    /// The same over the recent rows.
    pub fn window(&self) -> f64 {
        f64::from(mean(recent(&self.window)))
    }

    /// Agreement beyond that of "the same as the last label": 1 is perfect, 0 no better.
    pub fn kappa_last(&self) -> f64 {
        let n = self.labelled.max(1) as f64;
        let last = self.last_right as f64 / n;
        if last >= 1.0 { 0.0 } else { (self.right as f64 / n - last) / (1.0 - last) }
    }

    /// Whether the error has changed within the last window of rows.
    pub fn drifting(&self) -> bool {
        self.drifts.last().is_some_and(|&row| row + WINDOW as u64 > self.labelled)
    }

    /// Alarms because of the error so far.
    pub fn drift_count(&self) -> u64 {
        self.drifts.len() as u64
    }

    /// Whether a change of the error is worth an alarm: no alarm was raised for it already, and the rows since it differ
    /// from those before by more than blocks of rows differ among each other. Errors that come in runs, by hour or by
    /// weekday, make blocks differ, and are no change.
    fn is_alarming(&self) -> bool {
        if self.drifts.last().is_some_and(|&row| row + QUIET > self.labelled) {
            return false;
        }
        let window = &self.window;
        let since = (self.error.window() as usize).clamp(BLOCK, (window.len() / 2).max(BLOCK));
        let Some(split) = window.len().checked_sub(since).filter(|&before| before >= 4 * BLOCK) else { return true };
        let blocks =
            |part: &[f32]| -> Vec<f64> { part.rchunks_exact(BLOCK).map(|block| f64::from(mean(block))).collect() };
        let (before, after) = (blocks(&window[..split]), blocks(&window[split..]));
        let centre = |part: &[f64]| part.iter().sum::<f64>() / part.len().max(1) as f64;
        let (earlier, later) = (centre(&before), centre(&after));
        let spread = |part: &[f64], centre: f64| part.iter().map(|b| (b - centre).powi(2)).sum::<f64>();
        let count = (before.len() + after.len()) as f64;
        let variance = (spread(&before, earlier) + spread(&after, later)) / (count - 2.0).max(1.0);
        // Equal blocks give no estimate of their variance.
        let least = if self.regression { 1e-12 } else { 0.02 * 0.98 / BLOCK as f64 };
        let error = variance.max(least) * (1.0 / before.len() as f64 + 1.0 / after.len() as f64);
        (later - earlier).powi(2) > DEVIATIONS * DEVIATIONS * error
    }

    /// `prequential` of API.md.
    pub fn prequential(&self) -> Value {
        let last = f64::from(mean(recent(&self.last_window)));
        if self.regression {
            return json!({
                "rows": self.labelled, "mae": self.total(), "rmse": (self.squares / self.labelled.max(1) as f64).sqrt(),
                "window": self.window(), "window_rows": recent(&self.window).len(), "window_last_value": last,
            });
        }
        json!({
            "rows": self.labelled, "accuracy": self.total(), "window": self.window(),
            "window_rows": recent(&self.window).len(), "window_last_label": last,
            "last_label": self.last_right as f64 / self.labelled.max(1) as f64, "kappa_last": self.kappa_last(),
        })
    }

    /// `drift` of API.md.
    pub fn drift(&self) -> Value {
        json!({
            "detected": self.drifting(), "count": self.drift_count(), "rows": listed(&self.drifts),
            "adwin_window": self.error.window(),
            "inputs": {"count": self.input_drifts.len(), "rows": listed(&self.input_drifts)},
        })
    }

    /// Points of the curve of the window's figure, with what is known of them beside it.
    pub(super) fn history(&self, beside: &History) -> Value {
        let name = if self.regression { "mae" } else { "accuracy" };
        let point = |&(row, value): &(u64, f32)| {
            let more = beside.at(row);
            let (at, coverage) = (more.and_then(|m| m.at), more.and_then(|m| m.coverage));
            json!({"row": row, name: value, "at": at, "coverage": coverage, "memory": more.map(|m| m.memory)})
        };
        Value::Array(self.curve.iter().map(point).collect())
    }

    /// Rows and recall of each class, in the order of ids.
    pub fn recalls(&self) -> Vec<(u64, f64)> {
        self.classes.iter().map(|&(n, right)| (n, right as f64 / n.max(1) as f64)).collect()
    }
}

fn input_window() -> Adwin {
    Adwin::new(0.0002, false)
}

fn recent(window: &[f32]) -> &[f32] {
    &window[window.len().saturating_sub(WINDOW)..]
}

fn mean(values: &[f32]) -> f32 {
    // The sum of nothing is -0.
    if values.is_empty() { 0.0 } else { values.iter().sum::<f32>() / values.len() as f32 }
}

/// The last alarms, which are listed.
fn listed(rows: &[u64]) -> &[u64] {
    &rows[rows.len().saturating_sub(100)..]
}

/// Adds the row of an alarm, if there is one, and returns it.
fn remember(rows: &mut Vec<u64>, alarm: Option<u64>) -> Option<u64> {
    rows.extend(alarm);
    if rows.len() > MOST_ALARMS {
        rows.remove(0);
    }
    alarm
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_one_a_change_and_is_what_is_listed() {
        let mut figures = Figures::new(false);
        let wrong = |row: u64| [2_000..2_100, 2_500..2_600, 4_000..4_100].iter().any(|rows| rows.contains(&row));
        let found: Vec<Detection> = (0..4_200).map(|row| figures.class(0, usize::from(wrong(row)))).collect();
        let alarms: Vec<u64> = found.iter().filter_map(|detection| detection.alarm).collect();
        assert_eq!((alarms.as_slice(), figures.drift_count()), (&figures.drifts[..], 2));
        assert!((2_000..2_100).contains(&alarms[0]) && (4_000..4_100).contains(&alarms[1]), "{alarms:?}");
        // What learns reacts to the second change, too, which came too soon for an alarm of its own.
        let reacted = |rows: std::ops::Range<usize>| found[rows].iter().any(|detection| detection.change);
        assert!(reacted(2_000..2_100) && reacted(2_500..2_600) && reacted(4_000..4_100));
    }

    #[test]
    fn inputs_that_change_again_soon_raise_one_alarm() {
        let mut figures = Figures::new(false);
        // Every 300 rows the inputs lie elsewhere.
        let found: Vec<Detection> =
            (0..1_200).map(|row| figures.input(if row / 300 % 2 == 0 { 0.1 } else { 0.6 }, row)).collect();
        let alarms: Vec<u64> = found.iter().filter_map(|detection| detection.alarm).collect();
        assert_eq!(alarms, figures.input_drifts);
        assert!(alarms.len() == 1 && found.iter().filter(|detection| detection.change).count() > 1, "{alarms:?}");
    }
}
