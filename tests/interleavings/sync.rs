//! What the server has in `src/sync.rs`, for shuttle.

use arc_swap::Guard;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use shuttle::future::spawn;
pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};
pub(crate) use shuttle::thread;

pub(crate) mod atomic {
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};
}

/// Tokio's channels, which need no executor of their own, with such points around what they do.
pub(crate) mod mpsc {
    use super::point;
    pub(crate) use tokio::sync::mpsc::error;
    use tokio::sync::mpsc::error::{SendError, TryRecvError};

    pub(crate) struct Sender<T>(tokio::sync::mpsc::Sender<T>);
    pub(crate) struct Receiver<T>(tokio::sync::mpsc::Receiver<T>);

    pub(crate) fn channel<T>(waiting: usize) -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = tokio::sync::mpsc::channel(waiting);
        (Sender(sender), Receiver(receiver))
    }

    impl<T> Sender<T> {
        pub(crate) async fn send(&self, value: T) -> Result<(), SendError<T>> {
            point();
            self.0.send(value).await
        }

        pub(crate) fn is_closed(&self) -> bool {
            point();
            self.0.is_closed()
        }
    }

    impl<T> Receiver<T> {
        pub(crate) async fn recv(&mut self) -> Option<T> {
            point();
            self.0.recv().await
        }

        pub(crate) fn try_recv(&mut self) -> Result<T, TryRecvError> {
            point();
            self.0.try_recv()
        }

        pub(crate) fn close(&mut self) {
            point();
            self.0.close();
        }
    }
}

/// Another thread may go on here.
pub(crate) fn point() {
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

/// The time passes in some orders at once, in others never.
pub(crate) fn wait_for<'a, T>(
    wake: &Condvar,
    mutex: &'a Mutex<T>,
    guard: MutexGuard<'a, T>,
    _: Duration,
) -> (MutexGuard<'a, T>, bool) {
    use shuttle::rand::Rng;
    if shuttle::rand::thread_rng().gen_bool(0.5) {
        return (wake.wait(guard).expect("no panic"), false);
    }
    drop(guard);
    point();
    (mutex.lock().expect("no panic"), true)
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
