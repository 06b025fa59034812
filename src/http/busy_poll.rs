//! Busy polling. Waking a blocked core takes longer than most requests: after an
//! answer one task keeps a worker polling for the next request for a while, where there are cores to spare.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Decides when to poll.
#[derive(Debug)]
pub(crate) struct BusyPoll {
    window: Duration,
    begun: Instant,
    /// Microseconds after `begun` until which polling continues.
    until: AtomicU64,
    /// Open connections, and their limit: with more of them, a worker finds work anyway.
    open: AtomicUsize,
    most: usize,
    answered: Notify,
}

/// A connection that is counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Connected(Arc<BusyPoll>);

impl BusyPoll {
    /// Polls for `window` after each answer; never where that is zero.
    pub(crate) fn new(window: Duration) -> Arc<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Arc::new(Self {
            window,
            begun: Instant::now(),
            until: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            most: cores / 2,
            answered: Notify::new(),
        })
    }

    /// One more connection.
    pub(crate) fn connected(self: &Arc<Self>) -> Connected {
        self.open.fetch_add(1, Ordering::Relaxed);
        Connected(Arc::clone(self))
    }

    /// An answer is sent; the next request may follow soon.
    pub(crate) fn answered(&self) {
        if !self.window.is_zero() && self.open.load(Ordering::Relaxed) <= self.most {
            self.until.store((self.begun.elapsed() + self.window).as_micros() as u64, Ordering::Relaxed);
            self.answered.notify_one();
        }
    }

    /// Runs for ever. A task that yields is run again after the worker has polled for input.
    pub(crate) async fn keep(self: Arc<Self>) {
        loop {
            self.answered.notified().await;
            while (self.begun.elapsed().as_micros() as u64) < self.until.load(Ordering::Relaxed) {
                tokio::task::yield_now().await;
            }
        }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_polls_after_an_answer_and_then_blocks() {
        let busy_poll = BusyPoll::new(Duration::from_millis(2));
        // On a single core there are none to spare.
        let busy_poll = Arc::new(BusyPoll { most: 1, ..Arc::into_inner(busy_poll).expect("the only one") });
        let until = || busy_poll.until.load(Ordering::Relaxed);
        let first = busy_poll.connected();
        busy_poll.answered();
        assert!(until() >= 2_000);
        let before = until();
        let second = busy_poll.connected();
        busy_poll.answered();
        assert_eq!(until(), before, "two connections are too many");
        drop((first, second));
        // The task has nothing to do once the time is over, and yields meanwhile.
        let kept = tokio::spawn(Arc::clone(&busy_poll).keep());
        tokio::time::timeout(Duration::from_secs(5), async {
            while (busy_poll.begun.elapsed().as_micros() as u64) < until() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("the time passes");
        assert!(!kept.is_finished());
        kept.abort();
    }
}
