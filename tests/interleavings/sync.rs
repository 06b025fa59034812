//! What the server has in `src/sync.rs`, for shuttle.

use arc_swap::Guard;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};
pub(crate) use shuttle::thread;

pub(crate) mod atomic {
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};
}

/// Another thread may go on here.
fn point() {
    thread::yield_now();
}

/// A pointer whose every use is such a point.
#[derive(Debug, Default)]
pub(crate) struct ArcSwap<T>(arc_swap::ArcSwap<T>);

impl<T> ArcSwap<T> {
    pub(crate) fn new(value: Arc<T>) -> Self {
        Self(arc_swap::ArcSwap::new(value))
    }

    pub(crate) fn from_pointee(value: T) -> Self {
        Self::new(Arc::new(value))
    }

    pub(crate) fn load(&self) -> Guard<Arc<T>> {
        point();
        self.0.load()
    }

    pub(crate) fn load_full(&self) -> Arc<T> {
        point();
        self.0.load_full()
    }

    pub(crate) fn store(&self, value: Arc<T>) {
        point();
        self.0.store(value);
    }

    pub(crate) fn rcu(&self, change: impl FnMut(&Arc<T>) -> T) {
        point();
        self.0.rcu(change);
    }
}

/// The same, of a value that may be missing.
#[derive(Debug)]
pub(crate) struct ArcSwapOption<T>(arc_swap::ArcSwapOption<T>);

impl<T> ArcSwapOption<T> {
    pub(crate) fn empty() -> Self {
        Self(arc_swap::ArcSwapOption::empty())
    }

    pub(crate) fn load(&self) -> Guard<Option<Arc<T>>> {
        point();
        self.0.load()
    }

    pub(crate) fn load_full(&self) -> Option<Arc<T>> {
        point();
        self.0.load_full()
    }

    pub(crate) fn store(&self, value: Option<Arc<T>>) {
        point();
        self.0.store(value);
    }
}

/// No time passes in a check.
pub(crate) struct Elapsed;

pub(crate) async fn timeout<F: Future>(_: Duration, work: F) -> Result<F::Output, Elapsed> {
    Ok(work.await)
}

pub(crate) async fn timeout_at<F: Future>(_: tokio::time::Instant, work: F) -> Result<F::Output, Elapsed> {
    Ok(work.await)
}

pub(crate) async fn spawn_blocking<T>(work: impl FnOnce() -> T) -> Result<T, Infallible> {
    Ok(work())
}

/// A deadline that is never reached.
pub(crate) fn never() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}
