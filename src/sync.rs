//! Threads, locks and atomics as the concurrent parts of [`serving`](crate::serving) and of the store use them.
//!
//! `tests/interleavings` compiles these parts with another module of this name, whose primitives try out the orders in which
//! threads can run. So they take them from here.

pub(crate) use arc_swap::{ArcSwap, ArcSwapOption};
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
pub(crate) use std::thread;
pub(crate) use tokio::sync::mpsc;
pub(crate) use tokio::task::{spawn, spawn_blocking};
pub(crate) use tokio::time::{timeout, timeout_at};

use std::sync::PoisonError;
use std::time::Duration;

/// Waits to be woken, for so long at most; whether that time has passed. `mutex` is what the guard is of.
pub(crate) fn wait_for<'a, T>(
    wake: &Condvar,
    _mutex: &'a Mutex<T>,
    guard: MutexGuard<'a, T>,
    most: Duration,
) -> (MutexGuard<'a, T>, bool) {
    let (guard, waited) = wake.wait_timeout(guard, most).unwrap_or_else(PoisonError::into_inner);
    (guard, waited.timed_out())
}

pub(crate) mod atomic {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};
}
