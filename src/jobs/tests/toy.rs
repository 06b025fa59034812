//! A runner that learns nothing, bit by bit: its weights are a chain of hashes over its steps, so
//! that a step that is missing, repeated or taken from elsewhere shows in the end.

use crate::jobs::{Outcome, Runner, Work};
use crate::store::NewVersion;
use crate::{Error, Kind, Result};
use kenyon_learn::learning::{Monitor, Progress};
use serde_json::{Value, json};
use std::time::Duration;

/// Follows the job's spec: `steps`, `epoch` (steps an epoch), `pause_us` a step, `panic_at`,
/// `fail_at`, `unresponsive` (milliseconds without checking for cancellation).
pub(crate) struct Toy;

impl Runner for Toy {
    fn run(&self, work: &Work, monitor: &dyn Monitor) -> Result<Outcome> {
        let number = |name: &str| work.job.spec[name].as_u64();
        let steps = number("steps").unwrap_or(10);
        let epoch = number("epoch").unwrap_or(steps).max(1);
        let (mut step, mut state) = match &work.resume {
            Some(bytes) => from_bytes(bytes)?,
            None => (0, number("seed").unwrap_or(0)),
        };
        monitor.log(&format!("from step {step}"));
        std::thread::sleep(Duration::from_millis(number("unresponsive").unwrap_or(0)));
        while step < steps {
            if monitor.canceled() {
                return Err(Error::new(Kind::Canceled, "canceled", "the job was canceled"));
            }
            assert_ne!(number("panic_at"), Some(step), "as requested");
            if number("fail_at") == Some(step) {
                return Err(Error::unprocessable("as_requested", "the toy failed as requested"));
            }
            state = next(state, step);
            step += 1;
            let ended = step % epoch == 0;
            let metrics = json!({ "train_loss": 1.0 / step as f64 });
            let progress = Progress {
                epoch: (step / epoch) as usize,
                epochs: (steps / epoch) as usize,
                step,
                steps,
                fraction: step as f64 / steps as f64,
                metrics: metrics.as_object().cloned().unwrap_or_default(),
                ..Progress::default()
            };
            monitor.progress(&progress, ended);
            if monitor.checkpoint_due(ended) {
                monitor.checkpoint(step, to_bytes(step, state))?;
            }
            std::thread::sleep(Duration::from_micros(number("pause_us").unwrap_or(0)));
        }
        Ok(Outcome::Version(NewVersion {
            family: "toy".to_owned(),
            task: None,
            metrics: json!({ "state": state.to_string() }),
            info: Value::Null,
            files: vec![("weights".to_owned(), state.to_le_bytes().to_vec())],
            withheld: None,
        }))
    }
}

/// What a toy's weights end as, computed without interruption.
pub(crate) fn expected(seed: u64, steps: u64) -> [u8; 8] {
    (0..steps).fold(seed, next).to_le_bytes()
}

fn next(state: u64, step: u64) -> u64 {
    (state ^ step).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23)
}

fn to_bytes(step: u64, state: u64) -> Vec<u8> {
    [step.to_le_bytes(), state.to_le_bytes()].concat()
}

fn from_bytes(bytes: &[u8]) -> Result<(u64, u64)> {
    let half = |range: std::ops::Range<usize>| bytes.get(range).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
    match (half(0..8), half(8..16)) {
        (Some(step), Some(state)) => Ok((step, state)),
        _ => Err(Error::internal("a toy's checkpoint is broken")),
    }
}
