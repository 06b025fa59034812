//! Threads, locks and atomics as the concurrent parts of [`serving`](crate::serving) and of the store use them.
//!
//! `tests/interleavings` compiles these parts with another module of this name, whose primitives try out the orders in which
//! threads can run. So they take them from here.

pub(crate) use arc_swap::{ArcSwap, ArcSwapOption};
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
pub(crate) use std::thread;
pub(crate) use tokio::task::spawn_blocking;
pub(crate) use tokio::time::{timeout, timeout_at};

pub(crate) mod atomic {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};
}
