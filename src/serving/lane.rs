//! The way of rows to one live network: straight through when it is idle and quick, else through a
//! bounded queue to the model's own thread, which runs what waits in one forward pass.
//!
//! Nothing here knows of versions, traffic or stored models.

use super::fair;
use crate::data::Batch;
use crate::{Error, Kind, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// What a lane runs: a network, or in tests any function of a batch.
pub trait Forward: Send + Sync + 'static {
    /// The answers `[rows, outputs]` row-major and, where `novelty`, the novelty of each row.
    fn forward(&self, batch: &Batch, novelty: bool) -> Result<Outputs>;
}

/// What a network said about some rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outputs {
    /// `[rows, outputs]` row-major: probabilities, or values.
    pub values: Vec<f32>,
    /// Numbers a row in `values`.
    pub width: usize,
    /// Distance to what is known, `[rows]`; empty unless asked for.
    pub novelty: Vec<f32>,
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
        }
    }
}

/// Where the time of a request went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// From admission to the start of the first forward pass.
    pub queue: Duration,
    /// In forward passes that held rows of this request.
    pub compute: Duration,
}

/// Limits of a lane.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rows in one forward pass at most.
    pub max_batch_rows: usize,
    /// Rows that may wait; a request that does not fit whole is turned away.
    pub max_queue_rows: usize,
    /// How long a batch waits for company while requests keep coming; zero never waits.
    pub max_batch_delay: Duration,
    /// Rows whose estimated work stays under this are run by the caller itself.
    pub inline_budget: Duration,
    /// Callers that may run the network themselves at the same time.
    pub inline_slots: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_batch_rows: 256,
            max_queue_rows: 8192,
            max_batch_delay: Duration::ZERO,
            inline_budget: Duration::from_micros(150),
            inline_slots: std::thread::available_parallelism().map_or(1, usize::from),
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

/// What the callers and the thread share.
struct Shared {
    network: Arc<dyn Forward>,
    limits: Limits,
    inbox: Mutex<Inbox>,
    wake: Condvar,
    /// Rows admitted and not yet answered or dropped.
    queued_rows: AtomicUsize,
    /// Callers that run the network themselves just now.
    inline: AtomicUsize,
    /// Estimate of the work a row takes, in nanoseconds; 0 before the first measurement.
    row_nanos: AtomicU64,
    /// Set by a panic: the network is not to be trusted any more.
    poisoned: AtomicBool,
    /// Called after each forward pass with its rows and time.
    on_batch: Box<dyn Fn(usize, Duration) + Send + Sync>,
}

#[derive(Default)]
struct Inbox {
    items: Vec<Waiting>,
    closed: bool,
    started: bool,
}

/// One network's queue and thread. The thread starts with the first request that needs it and ends
/// when the lane is dropped, after it has answered what waits.
pub struct Lane {
    shared: Arc<Shared>,
    name: String,
    /// Fails of thread creation, so that the reason is logged once.
    start_failures: AtomicU32,
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane").field("name", &self.name).field("queued_rows", &self.queued_rows()).finish()
    }
}

impl Lane {
    /// A lane for `network`. `on_batch` hears the rows and the time of every forward pass.
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

    /// Rows that were admitted and are not answered yet.
    pub fn queued_rows(&self) -> usize {
        self.shared.queued_rows.load(Ordering::Relaxed)
    }

    /// Whether a panic has made the network untrustworthy.
    pub fn poisoned(&self) -> bool {
        self.shared.poisoned.load(Ordering::Relaxed)
    }

    /// Answers all rows of `batch`, or turns them away whole. The future may be dropped at any
    /// time: rows that did not start are then never run.
    pub async fn run(&self, batch: Batch, novelty: bool, deadline: Instant) -> Result<(Outputs, Spent)> {
        if let Some(result) = self.run_inline(&batch, novelty) {
            return result;
        }
        let reply = self.admit(batch, novelty, deadline)?;
        match tokio::time::timeout_at(deadline.into(), reply).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::internal("the model's thread ended with requests waiting")),
            Err(_) => Err(past_deadline()),
        }
    }

    /// Runs the rows on the caller's thread if that is quicker than waking another: the network
    /// is known to be quick, nobody waits, and a core is free.
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

    /// Puts the rows in the queue, or turns them away.
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
                    tracing::error!(lane = self.name, %error, "no thread for a model");
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
        std::thread::Builder::new().name(self.name.chars().take(15).collect()).spawn(move || {
            let mut work = Work::default();
            while work.tick(&shared) {}
        })?;
        Ok(())
    }

    /// When the rows that wait will be done, by the present estimate, in whole seconds.
    fn overloaded(&self) -> Error {
        let nanos = self.shared.row_nanos.load(Ordering::Relaxed).saturating_mul(self.queued_rows() as u64);
        let seconds = Duration::from_nanos(nanos).as_secs().clamp(0, 59) + 1;
        Error::new(Kind::Overloaded, "queue_full", "too many rows are waiting for this model").with_retry_after(seconds)
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_one();
    }
}

fn past_deadline() -> Error {
    Error::new(Kind::Deadline, "deadline", "the answer was not ready in time")
}

impl Shared {
    /// No code that can panic runs under this lock, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One forward pass, timed; a panic becomes an error and poisons the lane.
    fn forward(&self, batch: &Batch, novelty: bool) -> (Result<Outputs>, Duration) {
        let started = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| self.network.forward(batch, novelty)));
        let compute = started.elapsed();
        let rows = batch.rows();
        let result = match result {
            Ok(Ok(outputs)) if outputs.values.len() != batch.rows() * outputs.width => {
                Err(Error::internal("the network answered with the wrong number of values"))
            }
            Ok(Ok(outputs)) if outputs.values.iter().all(|v| v.is_finite()) => Ok(outputs),
            Ok(Ok(_)) => Err(Error::internal("the network answered with a number that is not finite")),
            Ok(Err(error)) => Err(error),
            Err(panic) => {
                self.poisoned.store(true, Ordering::Relaxed);
                Err(Error::internal(format!("the network panicked: {}", panic_text(&*panic))))
            }
        };
        if rows > 0 && result.is_ok() {
            let nanos = (compute.as_nanos() as u64 / rows as u64).max(1);
            let old = self.row_nanos.load(Ordering::Relaxed);
            // An average over about eight passes; the very first pass counts whole.
            let new = if old == 0 { nanos } else { (old * 7 + nanos) / 8 };
            self.row_nanos.store(new.max(1), Ordering::Relaxed);
        }
        (self.on_batch)(rows, compute);
        (result, compute)
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

/// The thread's own state; its allocations are reused from batch to batch.
#[derive(Default)]
struct Work {
    items: Vec<Waiting>,
    together: Batch,
}

impl Work {
    /// Waits for work and runs one batch of it. False when the lane is closed and nothing waits.
    fn tick(&mut self, shared: &Shared) -> bool {
        {
            let mut inbox = shared.lock();
            while self.items.is_empty() && inbox.items.is_empty() {
                if inbox.closed {
                    return false;
                }
                inbox = shared.wake.wait(inbox).unwrap_or_else(PoisonError::into_inner);
            }
            let delay = shared.limits.max_batch_delay;
            let waiting = |inbox: &Inbox| inbox.items.len() + self.items.len();
            // Company is worth waiting for only when there is some already.
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

    /// Drops requests whose caller has gone, and those that are too late.
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

    /// One forward pass over a fair share of every request that waits.
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
        // A lone request that fits is run where it lies.
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

    /// A pass failed. Alone, the request is at fault; in company, each is tried alone, so that
    /// one bad row costs its sender and nobody else.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::mpsc;

    /// Answers each row with its first index doubled; index 13 panics. Passes wait for `gate`.
    struct Doubler {
        gate: Option<Mutex<mpsc::Receiver<()>>>,
        batches: Mutex<Vec<usize>>,
    }

    impl Doubler {
        fn new(gate: Option<mpsc::Receiver<()>>) -> Arc<Self> {
            Arc::new(Self { gate: gate.map(Mutex::new), batches: Mutex::default() })
        }
    }

    impl Forward for Doubler {
        fn forward(&self, batch: &Batch, novelty: bool) -> Result<Outputs> {
            if let Some(gate) = &self.gate {
                gate.lock().unwrap().recv().unwrap();
            }
            self.batches.lock().unwrap().push(batch.rows());
            let values: Vec<f32> = (0..batch.rows()).map(|r| batch.entries(r).0[0] as f32 * 2.0).collect();
            assert!(!values.contains(&26.0), "thirteen");
            let novelty = if novelty { values.clone() } else { Vec::new() };
            Ok(Outputs { values, width: 1, novelty })
        }
    }

    fn rows(range: std::ops::Range<u32>) -> Batch {
        let mut batch = Batch::new();
        for index in range {
            batch.push_entry(index, 1.0);
            batch.end_bag();
        }
        batch
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    fn small() -> Limits {
        Limits { max_batch_rows: 8, max_queue_rows: 20, inline_slots: 0, ..Limits::default() }
    }

    #[tokio::test]
    async fn everyone_gets_exactly_its_own_rows() {
        let network = Doubler::new(None);
        let lane = Arc::new(Lane::new("m", network.clone(), small(), |_, _| {}));
        let calls = (0..40u32).map(|i| {
            let lane = Arc::clone(&lane);
            async move {
                let from = 100 + i * 50;
                // Only 20 rows may wait; those turned away try again.
                loop {
                    match lane.run(rows(from..from + 1 + i % 11), i % 2 == 0, soon()).await {
                        Ok((out, _)) => {
                            let expected: Vec<f32> = (from..from + 1 + i % 11).map(|v| v as f32 * 2.0).collect();
                            assert_eq!(out.values, expected);
                            assert_eq!(out.novelty.len(), if i % 2 == 0 { expected.len() } else { 0 });
                            break;
                        }
                        Err(error) => assert_eq!(error.kind, Kind::Overloaded),
                    }
                    tokio::task::yield_now().await;
                }
            }
        });
        futures::future::join_all(calls).await;
        assert_eq!(lane.queued_rows(), 0);
        assert!(network.batches.lock().unwrap().iter().all(|&rows| rows <= 8));
    }

    #[tokio::test]
    async fn whole_requests_are_admitted_or_turned_away_and_waiting_ones_share_a_pass() {
        let (open, gate) = mpsc::channel();
        let network = Doubler::new(Some(gate));
        let lane = Lane::new("m", network.clone(), small(), |_, _| {});
        let mut first = Box::pin(lane.run(rows(0..2), false, soon()));
        assert!(futures::poll!(&mut first).is_pending());
        let mut second = Box::pin(lane.run(rows(20..35), false, soon()));
        assert!(futures::poll!(&mut second).is_pending());
        let refused = lane.run(rows(0..4), false, soon()).await.unwrap_err();
        assert_eq!((refused.kind, refused.code), (Kind::Overloaded, "queue_full"));
        assert!(refused.retry_after.is_some());
        assert_eq!(lane.run(rows(0..21), false, soon()).await.unwrap_err().kind, Kind::TooLarge);
        let mut third = Box::pin(lane.run(rows(40..43), false, soon()));
        assert!(futures::poll!(&mut third).is_pending());
        for _ in 0..5 {
            open.send(()).unwrap();
        }
        let (first, second, third) = tokio::join!(first, second, third);
        assert_eq!(first.unwrap().0.values, [0.0, 2.0]);
        assert_eq!(second.unwrap().0.values.len(), 15);
        assert_eq!(third.unwrap().0.values, [80.0, 82.0, 84.0]);
        // 20 rows in passes of at most 8, the small ones not behind the large one.
        assert!(network.batches.lock().unwrap().len() <= 4);
    }

    #[tokio::test]
    async fn abandoned_and_late_requests_are_not_run() {
        let (open, gate) = mpsc::channel();
        let network = Doubler::new(Some(gate));
        let lane = Lane::new("m", network.clone(), small(), |_, _| {});
        let mut first = Box::pin(lane.run(rows(0..1), false, soon()));
        assert!(futures::poll!(&mut first).is_pending());
        // The thread is at the gate with the first row once its queue is seen empty.
        let mut gone = Box::pin(lane.run(rows(5..6), false, soon()));
        assert!(futures::poll!(&mut gone).is_pending());
        drop(gone);
        let late = lane.run(rows(6..7), false, Instant::now()).await.unwrap_err();
        assert_eq!(late.kind, Kind::Deadline);
        open.send(()).unwrap();
        open.send(()).unwrap();
        first.await.unwrap();
        let (last, _) = lane.run(rows(9..10), false, soon()).await.unwrap();
        assert_eq!(last.values, [18.0]);
        assert_eq!(network.batches.lock().unwrap().iter().sum::<usize>(), 2);
        assert_eq!(lane.queued_rows(), 0);
    }

    #[tokio::test]
    async fn a_panic_costs_its_sender_and_nobody_else() {
        let (open, gate) = mpsc::channel();
        let lane = Lane::new("m", Doubler::new(Some(gate)), small(), |_, _| {});
        let mut calls: Vec<_> =
            [1, 13, 3].into_iter().map(|i| Box::pin(lane.run(rows(i..i + 1), false, soon()))).collect();
        for call in &mut calls {
            assert!(futures::poll!(call).is_pending());
        }
        for _ in 0..9 {
            open.send(()).unwrap();
        }
        let answers = futures::future::join_all(calls).await;
        assert_eq!(answers[0].as_ref().unwrap().0.values, [2.0]);
        assert_eq!(answers[1].as_ref().unwrap_err().kind, Kind::Internal);
        assert_eq!(answers[2].as_ref().unwrap().0.values, [6.0]);
        assert!(lane.poisoned());
    }

    #[tokio::test]
    async fn a_quick_idle_network_is_run_by_the_caller() {
        let limits = Limits { inline_slots: 1, inline_budget: Duration::from_secs(1), ..Limits::default() };
        let lane = Lane::new("m", Doubler::new(None), limits, |_, _| {});
        // The first request measures the network on its own thread; from then on callers run it.
        lane.run(rows(1..2), false, soon()).await.unwrap();
        let (out, spent) = lane.run(rows(2..3), false, soon()).await.unwrap();
        assert_eq!((out.values.as_slice(), spent.queue), ([4.0].as_slice(), Duration::ZERO));
    }
}
