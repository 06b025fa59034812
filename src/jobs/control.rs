//! Why a running job must stop, and when the request came.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a job may take to reach its next checkpoint when the process ends.
const LAST_CHECKPOINT: Duration = Duration::from_secs(5);

/// Why a job must stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Stop {
    /// It is not.
    No,
    /// The process shuts down: another one continues from a checkpoint.
    Drain,
    /// The job was cancelled.
    Cancel,
    /// Another worker holds the lease: nothing may be written any more.
    Lost,
}

/// One running attempt, from its worker's point of view.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) attempt: u64,
    stop: AtomicU8,
    /// When the request came, and whether a checkpoint was saved since.
    since: Mutex<Option<(Instant, bool)>>,
    pub(super) changed: tokio::sync::Notify,
}

impl Control {
    pub(super) fn new(attempt: u64) -> Self {
        Self { attempt, stop: AtomicU8::new(0), since: Mutex::default(), changed: tokio::sync::Notify::new() }
    }

    pub(super) fn get(&self) -> Stop {
        match self.stop.load(Ordering::Acquire) {
            0 => Stop::No,
            1 => Stop::Drain,
            2 => Stop::Cancel,
            _ => Stop::Lost,
        }
    }

    /// A stronger reason replaces a weaker one, never the other way round.
    pub(super) fn request_stop(&self, stop: Stop) {
        if self.stop.fetch_max(stop as u8, Ordering::AcqRel) < stop as u8 {
            self.since.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert((Instant::now(), false));
            self.changed.notify_waiters();
        }
    }

    /// Whether computing should stop now. On shutdown the job first reaches a checkpoint.
    pub(super) fn should_stop(&self) -> bool {
        match self.get() {
            Stop::No => false,
            Stop::Cancel | Stop::Lost => true,
            Stop::Drain => {
                let since = *self.since.lock().unwrap_or_else(PoisonError::into_inner);
                since.is_none_or(|(at, kept)| kept || at.elapsed() > LAST_CHECKPOINT)
            }
        }
    }

    /// A checkpoint was saved: a job that is being drained may stop here.
    pub(super) fn checkpointed(&self) {
        if let Some((_, kept)) = self.since.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            *kept = true;
        }
    }

    /// How long ago the request came.
    pub(super) fn requested_since(&self) -> Option<Duration> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).map(|(at, _)| at.elapsed())
    }
}
