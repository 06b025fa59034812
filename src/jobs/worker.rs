//! The workers of one process. All work is in two steps, [`Workers::tick`] and
//! [`Workers::beat`]; [`Workers::run`] only calls them at the right time.

use super::control::{Control, Stop};
use super::reporter::Reporter;
use super::runner::{Outcome, Runner, Work};
use crate::store::jobs::Claim;
use crate::store::{Change, JobId, Store};
use crate::{Error, Kind, Result, telemetry};
use std::collections::HashMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{Notify, broadcast, oneshot};
use tokio_util::sync::CancellationToken;

/// Recursion over a long chain of operations is deep; only what is used costs memory.
pub(super) const STACK: usize = 64 << 20;
/// After this a job that was cancelled counts as ended, even if its thread is still busy reading.
const CANCEL_PATIENCE: Duration = Duration::from_millis(500);
/// How long the end of a job waits for a database that is away.
const SETTLE_PATIENCE: Duration = Duration::from_secs(60);

/// Settings of a process's workers.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerConfig {
    /// Jobs at a time; 0: this process only serves.
    pub workers: usize,
    /// Threads a job.
    pub threads: usize,
    /// How long a job is held without a heartbeat.
    pub lease: Duration,
    /// Time between heartbeats.
    pub heartbeat: Duration,
    /// Polling interval of the queue when no notification comes.
    pub poll: Duration,
    /// Time between checkpoints; the first one of an attempt may come sooner.
    pub checkpoint_every: Duration,
    /// Ended jobs are deleted after this.
    pub retention: Duration,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            workers: 1,
            threads: 1,
            lease: Duration::from_secs(15),
            heartbeat: Duration::from_secs(1),
            poll: Duration::from_secs(1),
            checkpoint_every: Duration::from_secs(10),
            retention: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

/// The workers of this process. Cheap to clone.
#[derive(Clone)]
pub struct Workers {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    runner: Arc<dyn Runner>,
    config: WorkerConfig,
    owner: String,
    running: Mutex<HashMap<JobId, Arc<Control>>>,
    freed: Notify,
}

impl Workers {
    /// Workers that run the jobs of `store` with `runner`. Nothing happens until [`Workers::run`] or
    /// [`Workers::tick`].
    pub fn new(store: Store, runner: Arc<dyn Runner>, config: WorkerConfig) -> Self {
        // Two `Workers` of one process differ, too: each holds its own leases.
        let owner = format!("{}-{}", std::process::id(), uuid::Uuid::now_v7());
        let inner = Inner { store, runner, config, owner, running: Mutex::default(), freed: Notify::new() };
        Self { inner: Arc::new(inner) }
    }

    /// The id under which these workers hold jobs: `worker` of every job that they run.
    pub fn owner(&self) -> &str {
        &self.inner.owner
    }

    /// Jobs that run here now.
    pub fn running(&self) -> usize {
        self.inner.jobs().len()
    }

    /// Starts the next job if a worker is free and one waits; whether it did.
    pub async fn tick(&self) -> Result<bool> {
        let inner = &self.inner;
        if self.running() >= inner.config.workers {
            return Ok(false);
        }
        let Some(claim) = inner.store.claim_job(&inner.owner, inner.config.lease).await? else { return Ok(false) };
        if let (1, Some(started)) = (claim.job.attempt, claim.job.started_at) {
            let waited = started.duration_since(claim.job.created_at).as_secs_f64();
            metrics::histogram!(telemetry::JOB_QUEUE_SECONDS).record(waited.max(0.0));
        }
        let control = Arc::new(Control::new(claim.job.attempt));
        inner.jobs().insert(claim.job.id, control.clone());
        let inner = inner.clone();
        tokio::spawn(async move {
            let id = claim.job.id;
            inner.work_on(claim, control).await;
            inner.jobs().remove(&id);
            inner.freed.notify_waiters();
        });
        Ok(true)
    }

    /// Renews the leases, passes on requests to cancel, drops jobs whose lease was lost, and queues again those
    /// of workers that died.
    pub async fn beat(&self) -> Result<()> {
        if self.running() > 0 {
            let held = self.inner.store.heartbeat(&self.inner.owner, self.inner.config.lease).await?;
            self.inner.apply(&held);
        }
        self.inner.store.reap_expired().await.map(|_| ())
    }

    /// Works until `shutdown`, then gives everything back to the queue, each at a checkpoint.
    pub async fn run(&self, shutdown: CancellationToken) {
        let beats = tokio::spawn(self.clone().keep_beating());
        // Subscribed before the first query, so that no change is missed between the two.
        let mut changes = self.inner.store.changes();
        loop {
            let freed = self.inner.freed.notified();
            while !shutdown.is_cancelled() {
                match self.tick().await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        tracing::warn!(%error, cause = ?error.cause, "the queue cannot be read");
                        break;
                    }
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = freed => {}
                () = queue_changed(&mut changes) => {}
                () = tokio::time::sleep(self.inner.config.poll) => {}
            }
        }
        self.drain().await;
        beats.abort();
    }

    /// Requests that every job stops at a checkpoint and waits until all have.
    pub async fn drain(&self) {
        loop {
            let freed = self.inner.freed.notified();
            let running: Vec<_> = self.inner.jobs().values().cloned().collect();
            if running.is_empty() {
                return;
            }
            running.iter().for_each(|control| control.request_stop(Stop::Drain));
            freed.await;
        }
    }

    /// Waits until nothing runs here any more.
    pub async fn idle(&self) {
        loop {
            let freed = self.inner.freed.notified();
            if self.running() == 0 {
                return;
            }
            freed.await;
        }
    }

    /// The one task that keeps the leases of this process, whatever its jobs do.
    async fn keep_beating(self) {
        let config = &self.inner.config;
        let mut changes = self.inner.store.changes();
        let (mut last_good, mut pruned) = (Instant::now(), None::<Instant>);
        let mut timer = tokio::time::interval(config.heartbeat);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = timer.tick() => match self.beat().await {
                    Ok(()) => last_good = Instant::now(),
                    Err(error) => {
                        tracing::warn!(%error, cause = ?error.cause, "the heartbeat failed");
                        // Once the lease has expired another worker may hold the jobs.
                        if self.inner.store.backend() == "postgres" && last_good.elapsed() > config.lease {
                            self.inner.jobs().values().for_each(|control| control.request_stop(Stop::Lost));
                        }
                    }
                },
                change = changes.recv() => self.inner.on_change(change).await,
            }
            if pruned.is_none_or(|at| at.elapsed() > Duration::from_secs(600)) {
                pruned = Some(Instant::now());
                self.inner.upkeep().await;
            }
        }
    }
}

/// Waits until the queue may have changed.
async fn queue_changed(changes: &mut broadcast::Receiver<Change>) {
    loop {
        match changes.recv().await {
            Ok(Change::Queue | Change::Unknown) | Err(broadcast::error::RecvError::Lagged(_)) => return,
            Ok(_) => {}
            // The store is closed: polling will report that.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl Inner {
    fn jobs(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, Arc<Control>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on what a heartbeat returned.
    fn apply(&self, held: &[crate::store::jobs::Held]) {
        for (id, control) in self.jobs().iter() {
            match held.iter().find(|h| h.id == *id && h.attempt == control.attempt) {
                Some(held) if held.cancel_requested => control.request_stop(Stop::Cancel),
                Some(_) => {}
                None => control.request_stop(Stop::Lost),
            }
        }
    }

    /// A job of this process may have been cancelled: queried at once, because the heartbeat is slow.
    async fn on_change(&self, change: Result<Change, broadcast::error::RecvError>) {
        let concerns = match change {
            Ok(Change::Job(id)) => self.jobs().contains_key(&id),
            Ok(Change::Unknown) | Err(broadcast::error::RecvError::Lagged(_)) => !self.jobs().is_empty(),
            Ok(_) => false,
            Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
        };
        if concerns {
            for held in self.store.held_jobs(&self.owner).await.unwrap_or_default() {
                let control = self.jobs().get(&held.id).filter(|c| c.attempt == held.attempt).cloned();
                if let Some(control) = control.filter(|_| held.cancel_requested) {
                    control.request_stop(Stop::Cancel);
                }
            }
        }
    }

    async fn upkeep(&self) {
        let day = Duration::from_secs(24 * 3600);
        let outcome = async {
            self.store.prune_jobs(self.config.retention).await?;
            self.store.prune_idempotency(day).await?;
            self.store.collect_checkpoints().await?;
            self.store.collect_outputs().await?;
            self.store.sweep().await
        };
        if let Err(error) = outcome.await {
            tracing::warn!(%error, cause = ?error.cause, "upkeep failed");
        }
    }

    async fn work_on(&self, claim: Claim, control: Arc<Control>) {
        let outcome = self.compute(&claim, &control).await;
        let outcome = match outcome {
            Some(outcome) => outcome,
            // For every observer it has ended already.
            None => return,
        };
        let id = claim.job.id;
        let settled = match (outcome, control.get()) {
            (_, Stop::Lost) => {
                tracing::info!(%id, "the job went on elsewhere");
                return;
            }
            (Ok(Outcome::Version(version)), _) => {
                retry_while_unavailable(|| self.store.publish_job(&claim, version.clone())).await
            }
            (Ok(Outcome::Result { metrics, result }), _) => {
                retry_while_unavailable(|| self.store.succeed_job(&claim, &metrics, &result)).await
            }
            (Err(error), Stop::Drain) if error.kind == Kind::Canceled => {
                retry_while_unavailable(|| self.store.release_job(&claim)).await
            }
            // What the job needs is unavailable, not wrong: it is retried a limited number of times.
            (Err(error), _) if error.kind == Kind::Unavailable => {
                tracing::warn!(%id, %error, cause = ?error.cause, "the job could not run");
                retry_while_unavailable(|| self.store.give_back_job(&claim)).await
            }
            // Its process was ended by something else than the job itself: it is tried again once.
            (Err(error), _) if error.kind == Kind::Internal && matches!(error.code, "killed" | "out_of_memory") => {
                tracing::warn!(%id, %error, "the job's process was ended");
                retry_while_unavailable(|| self.store.count_kill(&claim, &error)).await
            }
            (Err(error), _) => {
                if error.kind == Kind::Internal {
                    tracing::error!(%id, %error, cause = ?error.cause, "the job failed");
                }
                retry_while_unavailable(|| self.store.fail_job(&claim, &error)).await
            }
        };
        match settled {
            Ok(()) => {}
            Err(error) if error.code == "lease_lost" => tracing::info!(%id, "the job went on elsewhere"),
            Err(error) => {
                tracing::error!(%id, %error, cause = ?error.cause, "the job's end could not be written");
                // A version that cannot be stored fails the job; any other error is left to the lease.
                if error.kind != Kind::Unavailable {
                    let _ = self.store.fail_job(&claim, &error).await;
                }
            }
        }
    }

    /// Runs the computation and writes its progress. None: it was cancelled and did not
    /// react in time, so its end is written already.
    async fn compute(&self, claim: &Claim, control: &Arc<Control>) -> Option<Result<Outcome>> {
        let (store, runtime) = (self.store.clone(), Handle::current());
        let every = self.config.checkpoint_every;
        let reporter = Reporter::new(store.clone(), claim.clone(), control.clone(), runtime.clone(), every);
        let reporter = Arc::new(reporter);
        let (runner, monitor, job) = (self.runner.clone(), reporter.clone(), claim.job.clone());
        let model_id = claim.model_id;
        let threads = self.config.threads;
        let (sender, mut ended) = oneshot::channel();
        let body = move || {
            let run = || {
                let input = runtime.block_on(store.job_input(job.id))?;
                let resume = runtime.block_on(store.load_checkpoint(job.id))?.map(|(_, bytes)| bytes);
                let work = Work { job, model_id, input, resume, threads, store, runtime: runtime.clone() };
                runner.run(&work, monitor.as_ref())
            };
            // The state left by the panic is dropped with it: nothing is shared but the monitor.
            let outcome = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(panicked(&*panic)));
            let _ = sender.send(outcome);
        };
        let name = format!("job-{}", claim.job.model.as_ref().map_or("comparison", |model| model.as_str()));
        if let Err(error) = std::thread::Builder::new().name(name).stack_size(STACK).spawn(body) {
            return Some(Err(error.into()));
        }
        let mut timer = tokio::time::interval(Duration::from_secs(1));
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let gone = || Err(Error::internal("a job's thread ended without an outcome"));
        loop {
            let changed = control.changed.notified();
            let patience = match (control.get(), control.requested_since()) {
                (Stop::Cancel, Some(waited)) => CANCEL_PATIENCE.saturating_sub(waited),
                _ => Duration::MAX,
            };
            tokio::select! {
                outcome = &mut ended => {
                    self.write_report(claim, &reporter, control).await;
                    return Some(outcome.unwrap_or_else(|_| gone()));
                }
                _ = timer.tick() => self.write_report(claim, &reporter, control).await,
                () = changed => {}
                () = tokio::time::sleep(patience.min(Duration::from_secs(3600))), if patience != Duration::MAX => {
                    let canceled = Error::new(Kind::Canceled, "canceled", "the job was canceled");
                    let _ = retry_while_unavailable(|| self.store.fail_job(claim, &canceled)).await;
                    // The worker stays busy until its thread really ends.
                    let _ = (&mut ended).await;
                    return None;
                }
            }
        }
    }

    async fn write_report(&self, claim: &Claim, reporter: &Reporter, control: &Control) {
        let report = reporter.take();
        if report.is_empty() || control.get() == Stop::Lost {
            return;
        }
        match self.store.report_job(claim, &report).await {
            Ok(()) => {}
            Err(error) if error.code == "lease_lost" => control.request_stop(Stop::Lost),
            Err(error) => {
                tracing::warn!(%error, cause = ?error.cause, "progress could not be written");
                reporter.put_back(report);
            }
        }
    }
}

/// Retries while the database is unavailable.
async fn retry_while_unavailable<F: Future<Output = Result<()>>>(mut write: impl FnMut() -> F) -> Result<()> {
    let begun = Instant::now();
    loop {
        match write().await {
            Err(error) if error.kind == Kind::Unavailable && begun.elapsed() < SETTLE_PATIENCE => {
                tracing::warn!(%error, cause = ?error.cause, "waiting for the database");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            other => return other,
        }
    }
}

pub(super) fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    tracing::error!(panic = %text, "a job panicked");
    Error::new(Kind::Internal, "job_panicked", "the job ended by an error in the program; its log has the cause")
}
