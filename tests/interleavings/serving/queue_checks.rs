//! The batch queue: its thread, its callers, and its end.

use super::batch_queue::{BatchQueue, Forward, Limits, Outputs};
use crate::sync::{never, thread};
use crate::{Kind, Result};
use futures::FutureExt;
use kenyon_learn::data::Batch;
use shuttle::future::block_on;
use std::sync::Arc;
use std::time::Duration;

/// Answers each row with its first index.
struct Echo;

impl Forward for Echo {
    fn forward(&self, batch: &Batch, _: bool) -> Result<Outputs> {
        let values = (0..batch.rows()).map(|row| batch.entries(row).0[0] as f32).collect();
        Ok(Outputs { values, width: 1, ..Outputs::default() })
    }
}

fn rows(from: u32) -> Batch {
    let mut batch = Batch::new();
    for index in from..from + 2 {
        batch.push_entry(index, 1.0);
        batch.end_bag();
    }
    batch
}

/// Two of three requests of two rows may wait; a pass takes three rows, so that one of them is divided.
fn queue(inline_slots: usize) -> Arc<BatchQueue> {
    let limits = Limits {
        max_batch_rows: 3,
        max_queue_rows: 4,
        max_batch_delay: Duration::ZERO,
        inline_budget: Duration::MAX,
        inline_slots,
        thread_idle: Duration::ZERO,
    };
    Arc::new(BatchQueue::new("m", Arc::new(Echo), limits, |_, _| {}))
}

/// Sends a request; whether it was answered.
fn is_answered(queue: &BatchQueue, from: u32) -> bool {
    match block_on(queue.run(rows(from), false, never())) {
        Ok((outputs, _)) => {
            assert_eq!(outputs.values, [from as f32, from as f32 + 1.0]);
            true
        }
        Err(error) => {
            assert_eq!(error.kind, Kind::Overloaded, "{error}");
            false
        }
    }
}

/// Each request gets the answers to its rows, or is refused because the queue is full. The queue's thread ends with it, and now and
/// then before (`sync::wait_for`): shuttle reports one that does not, and a request that no thread takes.
pub(super) fn rows_are_answered_once() {
    let queue = queue(1);
    let callers: Vec<_> = (0..3)
        .map(|caller| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || (0..2).filter(|call| is_answered(&queue, 100 * caller + 10 * call)).count())
        })
        .collect();
    let answered: usize = callers.into_iter().map(|caller| caller.join().expect("no panic")).sum();
    assert!(answered > 0);
    assert_eq!(queue.queued_rows(), 0);
}

pub(super) fn rows_of_a_caller_that_has_gone_are_not_counted() {
    let queue = queue(0);
    let gone = {
        let queue = Arc::clone(&queue);
        // Not polled again, and dropped.
        thread::spawn(move || drop(queue.run(rows(10), false, never()).now_or_never()))
    };
    is_answered(&queue, 100);
    gone.join().expect("no panic");
    // Its rows leave with the next pass.
    while !is_answered(&queue, 200) {
        thread::yield_now();
    }
    assert_eq!(queue.queued_rows(), 0);
}
