//! The path of rows to one loaded network: directly when it is idle and fast, else through a
//! bounded queue to the model's own thread, which runs all waiting rows in one forward pass. The thread ends after a while
//! without rows: with thousands of models it would take more memory than the model.
//!
//! Nothing here depends on versions, traffic or stored models.

mod work;

use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};
use crate::sync::{Condvar, Mutex, MutexGuard, thread, timeout_at, wait_for};
use crate::{Error, Kind, Result};
use kenyon_learn::data::Batch;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use work::Work;

/// Passes by which a row's work is estimated at first: the first one also brings the weights into the caches.
const FIRST_PASSES: usize = 2;

/// What a queue runs: a network, or in tests any function of a batch.
pub trait Forward: Send + Sync + 'static {
    /// The answers `[rows, outputs]` row-major and, where `novelty`, the novelty of each row.
    fn forward(&self, batch: &Batch, novelty: bool) -> Result<Outputs>;
}

/// The outputs of a network for some rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outputs {
    /// `[rows, outputs]` row-major: probabilities, or values.
    pub values: Vec<f32>,
    /// Numbers a row in `values`.
    pub width: usize,
    /// How novel each row is, `[rows]`; empty unless requested.
    pub novelty: Vec<f32>,
    /// Expected size of each row's error, `[rows]`; empty unless novelty was requested, and where all rows have one.
    pub error_sizes: Vec<f32>,
}

impl Outputs {
    /// Appends rows `from..from + count` of a pass. A network that learns while it serves may have
    /// met a new class between two passes of one request: rows answered before have 0 for it.
    fn append(&mut self, pass: &Self, from: usize, count: usize, novelty: bool) {
        if self.width < pass.width && !self.values.is_empty() {
            let rows = self.values.chunks_exact(self.width);
            let added = std::iter::repeat_n(0.0, pass.width - self.width);
            self.values = rows.flat_map(|row| row.iter().copied().chain(added.clone())).collect();
        }
        self.width = self.width.max(pass.width);
        for row in pass.values[from * pass.width..(from + count) * pass.width].chunks_exact(pass.width.max(1)) {
            self.values.extend_from_slice(row);
            self.values.extend(std::iter::repeat_n(0.0, self.width - pass.width));
        }
        if novelty {
            self.novelty.extend_from_slice(&pass.novelty[from..from + count]);
            self.error_sizes.extend_from_slice(pass.error_sizes.get(from..from + count).unwrap_or_default());
        }
    }
}

/// Durations of a request's parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// From admission to the start of the first forward pass.
    pub queue: Duration,
    /// In forward passes that held rows of this request.
    pub compute: Duration,
}

/// Limits of a queue.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rows in one forward pass at most.
    pub max_batch_rows: usize,
    /// Rows that may wait; a request that does not fit whole is refused.
    pub max_queue_rows: usize,
    /// How long a batch waits for further rows while requests keep coming; zero never waits.
    pub max_batch_delay: Duration,
    /// Requests with less estimated work than this are run by the caller itself.
    pub inline_budget: Duration,
    /// Callers that may run the network themselves at the same time.
    pub inline_slots: usize,
    /// How long the thread waits for rows before it ends.
    pub thread_idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_batch_rows: 256,
            max_queue_rows: 8192,
            max_batch_delay: Duration::ZERO,
            inline_budget: Duration::from_micros(150),
            inline_slots: std::thread::available_parallelism().map_or(1, usize::from),
            thread_idle: Duration::from_secs(2),
        }
    }
}

/// Rows that wait for the model's thread.
struct Waiting {
    batch: Batch,
    novelty: bool,
    /// Rows already answered; a large request passes through several batches.
    done: usize,
    outputs: Outputs,
    spent: Spent,
    arrived: Instant,
    deadline: Instant,
    reply: oneshot::Sender<Result<(Outputs, Spent)>>,
}

/// State shared by the callers and the thread.
struct Shared {
    network: Arc<dyn Forward>,
    limits: Limits,
    inbox: Mutex<Inbox>,
    wake: Condvar,
    /// Rows admitted and not yet answered or dropped.
    queued_rows: AtomicUsize,
    /// Callers that run the network themselves at the moment.
    inline: AtomicUsize,
    /// Estimate of the work a row takes, in nanoseconds; 0 before the first measurement.
    row_nanos: AtomicU64,
    /// Set by a panic: the network must not be used any more.
    poisoned: AtomicBool,
    /// Called after each forward pass with its rows and time.
    on_batch: Box<dyn Fn(usize, Duration) + Send + Sync>,
}

#[derive(Default)]
struct Inbox {
    items: Vec<Waiting>,
    closed: bool,
    /// Whether there is a thread that will take the items.
    started: bool,
}

/// One network's queue and thread. The thread starts with the first request that needs it, and ends when none has needed it
/// for [`Limits::thread_idle`] or when the queue is dropped, after it has answered the waiting rows.
pub struct BatchQueue {
    shared: Arc<Shared>,
    name: String,
    /// Set when a thread could not be created, so that the reason is logged once.
    start_failures: AtomicU32,
}

impl std::fmt::Debug for BatchQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchQueue").field("name", &self.name).field("queued_rows", &self.queued_rows()).finish()
    }
}

impl BatchQueue {
    /// A queue for `network`. `on_batch` gets the rows and the time of every forward pass.
    pub fn new(
        name: impl Into<String>,
        network: Arc<dyn Forward>,
        limits: Limits,
        on_batch: impl Fn(usize, Duration) + Send + Sync + 'static,
    ) -> Self {
        let shared = Shared {
            network,
            limits,
            inbox: Mutex::default(),
            wake: Condvar::new(),
            queued_rows: AtomicUsize::new(0),
            inline: AtomicUsize::new(0),
            row_nanos: AtomicU64::new(0),
            poisoned: AtomicBool::new(false),
            on_batch: Box::new(on_batch),
        };
        Self { shared: Arc::new(shared), name: name.into(), start_failures: AtomicU32::new(0) }
    }

    /// Estimates the work of a row from this one, so that the first request of a fast network needs no thread. A network that
    /// fails will fail in its first request, which reports it.
    pub fn measure(&self, row: &Batch) {
        let pass = || {
            let (result, compute) = self.shared.timed(row, true);
            matches!(result, Ok(Ok(_))).then_some(compute)
        };
        let least = (0..FIRST_PASSES).map_while(|_| pass()).min();
        if let Some(least) = least.filter(|_| row.rows() > 0) {
            self.shared.row_nanos.store(row_nanos(least, row.rows()), Ordering::Relaxed);
        }
    }

    /// Rows that were admitted and are not answered yet.
    pub fn queued_rows(&self) -> usize {
        self.shared.queued_rows.load(Ordering::Relaxed)
    }

    /// Whether the network has panicked.
    pub fn poisoned(&self) -> bool {
        self.shared.poisoned.load(Ordering::Relaxed)
    }

    /// Answers all rows of `batch`, or refuses them as a whole. The future may be dropped at any
    /// time: rows that did not start are then never run.
    pub async fn run(&self, batch: Batch, novelty: bool, deadline: Instant) -> Result<(Outputs, Spent)> {
        if let Some(result) = self.run_inline(&batch, novelty) {
            return result;
        }
        let reply = self.admit(batch, novelty, deadline)?;
        match timeout_at(deadline.into(), reply).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::internal("the model's thread ended with requests waiting")),
            Err(_) => Err(past_deadline()),
        }
    }

    /// Runs the rows on the caller's thread if that is faster than notifying another: the network
    /// is fast, no rows wait, and a core is free.
    fn run_inline(&self, batch: &Batch, novelty: bool) -> Option<Result<(Outputs, Spent)>> {
        let shared = &*self.shared;
        let row_nanos = shared.row_nanos.load(Ordering::Relaxed);
        let work = row_nanos.saturating_mul(batch.rows() as u64);
        let quick = row_nanos > 0 && u128::from(work) <= shared.limits.inline_budget.as_nanos();
        if !quick || batch.rows() > shared.limits.max_batch_rows || shared.queued_rows.load(Ordering::Relaxed) > 0 {
            return None;
        }
        if shared.inline.fetch_add(1, Ordering::Relaxed) >= shared.limits.inline_slots {
            shared.inline.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let (result, compute) = shared.forward(batch, novelty);
        shared.inline.fetch_sub(1, Ordering::Relaxed);
        Some(result.map(|outputs| (outputs, Spent { queue: Duration::ZERO, compute })))
    }

    /// Puts the rows in the queue, or refuses them.
    fn admit(
        &self,
        batch: Batch,
        novelty: bool,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<Result<(Outputs, Spent)>>> {
        let rows = batch.rows();
        let limit = self.shared.limits.max_queue_rows;
        if rows > limit {
            return Err(Error::new(
                Kind::TooLarge,
                "too_many_rows",
                format!("{rows} rows in one request; this server takes at most {limit}"),
            ));
        }
        let admitted = self.shared.queued_rows.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |queued| {
            (queued + rows <= limit).then_some(queued + rows)
        });
        if admitted.is_err() {
            return Err(self.overloaded());
        }
        let (reply, receiver) = oneshot::channel();
        let waiting = Waiting {
            batch,
            novelty,
            done: 0,
            outputs: Outputs::default(),
            spent: Spent::default(),
            arrived: Instant::now(),
            deadline,
            reply,
        };
        let mut inbox = self.shared.lock();
        if !inbox.started {
            if let Err(error) = self.start() {
                drop(inbox);
                self.shared.queued_rows.fetch_sub(rows, Ordering::AcqRel);
                if self.start_failures.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::error!(queue = self.name, %error, "no thread for a model");
                }
                return Err(self.overloaded());
            }
            inbox.started = true;
        }
        inbox.items.push(waiting);
        drop(inbox);
        self.shared.wake.notify_one();
        Ok(receiver)
    }

    fn start(&self) -> std::io::Result<()> {
        let shared = Arc::clone(&self.shared);
        // Thread names are cut at 15 bytes by Linux; the model's name is the useful part.
        thread::Builder::new().name(self.name.chars().take(15).collect()).spawn(move || {
            let mut work = Work::default();
            while work.tick(&shared) {}
        })?;
        Ok(())
    }

    /// When the waiting rows will be done, by the current estimate, in whole seconds.
    fn overloaded(&self) -> Error {
        let nanos = self.shared.row_nanos.load(Ordering::Relaxed).saturating_mul(self.queued_rows() as u64);
        let seconds = Duration::from_nanos(nanos).as_secs().clamp(0, 59) + 1;
        Error::new(Kind::Overloaded, "queue_full", "too many rows are waiting for this model").with_retry_after(seconds)
    }
}

impl Drop for BatchQueue {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_one();
    }
}

fn past_deadline() -> Error {
    Error::new(Kind::Deadline, "deadline", "the answer was not ready in time")
}

impl Shared {
    /// No code that can panic runs under this lock, so a poisoned one holds valid data.
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One forward pass and its time; a panic is the outer error.
    fn timed(&self, batch: &Batch, novelty: bool) -> (std::thread::Result<Result<Outputs>>, Duration) {
        let started = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| self.network.forward(batch, novelty)));
        (result, started.elapsed())
    }

    /// One forward pass, timed; a panic becomes an error and poisons the queue.
    fn forward(&self, batch: &Batch, novelty: bool) -> (Result<Outputs>, Duration) {
        let (result, compute) = self.timed(batch, novelty);
        let rows = batch.rows();
        let result = match result {
            Ok(Ok(outputs)) if outputs.values.len() != batch.rows() * outputs.width => {
                Err(Error::internal("the network answered with the wrong number of values"))
            }
            Ok(Ok(outputs)) if outputs.values.iter().all(|v| v.is_finite()) => Ok(outputs),
            // The cause is imported weights, or a row far outside the range of the training data.
            Ok(Ok(_)) => {
                Err(Error::unprocessable("not_finite", "the model answers one of these rows with no finite number"))
            }
            Ok(Err(error)) => Err(error),
            Err(panic) => {
                self.poisoned.store(true, Ordering::Relaxed);
                Err(Error::internal(format!("the network panicked: {}", panic_text(&*panic))))
            }
        };
        if rows > 0 && result.is_ok() {
            let nanos = row_nanos(compute, rows);
            let old = self.row_nanos.load(Ordering::Relaxed);
            // An average over about eight passes; the very first pass counts whole.
            let new = if old == 0 { nanos } else { (old * 7 + nanos) / 8 };
            self.row_nanos.store(new.max(1), Ordering::Relaxed);
        }
        (self.on_batch)(rows, compute);
        (result, compute)
    }
}

/// A row's share of a pass, in nanoseconds and never 0, which is no estimate.
fn row_nanos(compute: Duration, rows: usize) -> u64 {
    (compute.as_nanos() as u64 / rows as u64).max(1)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

#[cfg(test)]
mod tests;
