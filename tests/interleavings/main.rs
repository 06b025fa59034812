//! The orders in which threads can run, tried out by `shuttle`: batch queue, routing table, the tasks of a stream on two replicas with
//! one log, and how what a stream learns reaches the versions that answer.
//!
//! The files under test are those of the server, compiled here a second time: what they take from `crate::sync` is here
//! shuttle's, so that each lock, atomic and exchanged pointer is a point at which another thread may go on. A check runs thousands of
//! times, each time in another order. A check that fails prints its order; `shuttle::replay` runs it again.

// Parts that are not used here, and the unit tests of the files, which do not run here.
#![allow(dead_code, unused_imports, missing_docs, unreachable_pub)]

mod serving;
mod store;
mod sync;

pub(crate) use kenyon::{Error, Kind, Result, telemetry};

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use std::time::Instant;

/// Runs of a check with the next thread chosen at random at each point, and with few changes of thread at chosen points.
const RUNS: usize = 1_500;
/// The number of such changes.
const CHANGES: usize = 3;

fn main() {
    // As in the usual harness: names that contain the first argument.
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let checks = serving::CHECKS.iter().chain(store::CHECKS);
    for (name, check) in checks.filter(|(name, _)| name.contains(&wanted)) {
        let begun = Instant::now();
        let config = || {
            let mut config = shuttle::Config::new();
            // A bundle is read on a thread's stack.
            config.stack_size = 1 << 20;
            config
        };
        shuttle::Runner::new(RandomScheduler::new(RUNS), config()).run(*check);
        shuttle::Runner::new(PctScheduler::new(CHANGES, RUNS), config()).run(*check);
        println!("{name}: {} orders, {:.1} s", 2 * RUNS, begun.elapsed().as_secs_f64());
    }
}
