//! The thread of a batch queue: takes waiting rows, divides each pass fairly, answers, and handles failures.

use super::{Inbox, Outputs, Shared, Waiting, past_deadline, wait_for};
use crate::Error;
use crate::serving::fair;
use kenyon_learn::data::Batch;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The thread's own state; its allocations are reused from batch to batch.
#[derive(Default)]
pub(super) struct Work {
    items: Vec<Waiting>,
    together: Batch,
}

impl Work {
    /// Waits for work and runs one batch of it. False when the thread is to end: the queue is closed and empty, or nothing came
    /// for a while. It is another thread then that takes what comes later.
    pub(super) fn tick(&mut self, shared: &Shared) -> bool {
        {
            let mut inbox = shared.lock();
            while self.items.is_empty() && inbox.items.is_empty() {
                if inbox.closed {
                    return false;
                }
                let idle;
                (inbox, idle) = wait_for(&shared.wake, &shared.inbox, inbox, shared.limits.thread_idle);
                if idle && inbox.items.is_empty() {
                    inbox.started = false;
                    return false;
                }
            }
            let delay = shared.limits.max_batch_delay;
            let waiting = |inbox: &Inbox| inbox.items.len() + self.items.len();
            // Waiting for further rows is faster only when some wait already.
            if !delay.is_zero() && waiting(&inbox) > 1 {
                let full = |inbox: &mut Inbox| {
                    let rows: usize = inbox.items.iter().chain(&self.items).map(|w| w.batch.rows() - w.done).sum();
                    rows < shared.limits.max_batch_rows && !inbox.closed
                };
                let waited = shared.wake.wait_timeout_while(inbox, delay, full);
                inbox = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            self.items.append(&mut inbox.items);
        }
        self.drop_abandoned(shared);
        if !self.items.is_empty() {
            self.run(shared);
        }
        true
    }

    /// Drops requests whose caller has disconnected, and those past their deadline.
    fn drop_abandoned(&mut self, shared: &Shared) {
        let now = Instant::now();
        let mut at = 0;
        while at < self.items.len() {
            let late = self.items[at].deadline <= now;
            if late || self.items[at].reply.is_closed() {
                let gone = self.items.remove(at);
                shared.queued_rows.fetch_sub(gone.batch.rows() - gone.done, Ordering::AcqRel);
                if late {
                    let _ = gone.reply.send(Err(past_deadline()));
                }
            } else {
                at += 1;
            }
        }
    }

    /// One forward pass over a fair share of every waiting request.
    fn run(&mut self, shared: &Shared) {
        let left: Vec<usize> = self.items.iter().map(|w| w.batch.rows() - w.done).collect();
        let parts = fair::share(&left, shared.limits.max_batch_rows);
        let novelty = self.items.iter().zip(&parts).any(|(w, &part)| part > 0 && w.novelty);
        let started = Instant::now();
        for (waiting, &part) in self.items.iter_mut().zip(&parts) {
            if part > 0 && waiting.done == 0 {
                waiting.spent.queue = started - waiting.arrived;
            }
        }
        // A single request that fits is run without copying its rows.
        let whole = self.items.len() == 1 && self.items[0].done == 0 && parts[0] == left[0];
        let (result, compute) = if whole {
            shared.forward(&self.items[0].batch, novelty)
        } else {
            self.together.clear();
            for (waiting, &part) in self.items.iter().zip(&parts) {
                self.together.append_rows(&waiting.batch, waiting.done..waiting.done + part);
            }
            shared.forward(&self.together, novelty)
        };
        match result {
            Ok(outputs) => self.deliver(shared, &parts, &outputs, compute),
            Err(error) => self.deliver_failure(shared, &parts, error),
        }
    }

    /// Gives every request its own rows of a pass; answers those that are complete.
    fn deliver(&mut self, shared: &Shared, parts: &[usize], outputs: &Outputs, compute: Duration) {
        let rows: usize = parts.iter().sum();
        let mut from = 0;
        for (waiting, &part) in self.items.iter_mut().zip(parts) {
            if part > 0 {
                waiting.outputs.append(outputs, from, part, waiting.novelty);
                waiting.spent.compute += compute;
            }
            waiting.done += part;
            from += part;
        }
        shared.queued_rows.fetch_sub(rows, Ordering::AcqRel);
        for waiting in self.items.extract_if(.., |w| w.done == w.batch.rows()) {
            let _ = waiting.reply.send(Ok((waiting.outputs, waiting.spent)));
        }
    }

    /// A pass failed. A single request is the cause; of several, each is run on its own, so that
    /// one bad row fails only its own request.
    fn deliver_failure(&mut self, shared: &Shared, parts: &[usize], error: Error) {
        let taking = parts.iter().filter(|&&part| part > 0).count();
        let mut error = Some(error);
        let mut at = 0;
        for &part in parts {
            if part == 0 {
                at += 1;
                continue;
            }
            let mut waiting = self.items.remove(at);
            shared.queued_rows.fetch_sub(waiting.batch.rows() - waiting.done, Ordering::AcqRel);
            if taking == 1 {
                let error = error.take().unwrap_or_else(|| Error::internal("the forward pass failed"));
                let _ = waiting.reply.send(Err(error));
                continue;
            }
            self.together.clear();
            self.together.append_rows(&waiting.batch, waiting.done..waiting.batch.rows());
            let (result, compute) = shared.forward(&self.together, waiting.novelty);
            let result = result.map(|outputs| {
                waiting.outputs.append(&outputs, 0, self.together.rows(), waiting.novelty);
                waiting.spent.compute += compute;
                (waiting.outputs, waiting.spent)
            });
            let _ = waiting.reply.send(result);
        }
    }
}
