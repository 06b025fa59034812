//! Consolidation: a job sleeps on a copy of the stream's state while the stream goes on, and what
//! comes of it takes over if it answers recent rows no worse.
//!
//! The state that takes over enters the log as a snapshot that takes up one number: in one
//! transaction it replaces every record before it. A replica that finds that number missing reads
//! the snapshot, so all of them go on from the same state, in the same place of the log. Then the
//! job publishes a version; versions of one stream share its state.

use super::state::Learning;
use super::{Streams, blocking};
use crate::store::{JobFilter, JobKind, JobStatus, LogSnapshot, ModelName, NewJob, NewRecord, NewVersion};
use crate::{Error, Kind, Result};
use kenyon_learn::learning::fit::task_name;
use kenyon_learn::learning::stream::{Consolidation, StreamModel};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Jobs that may wait when a consolidation queues itself.
const MAX_QUEUED: u64 = 1_000;
/// A stream that learns nothing for so long (and at most twice as long) is idle.
const IDLE: Duration = Duration::from_secs(30);
/// The least rows between two consolidations that queue themselves.
pub(super) const CONSOLIDATE_LEAST: u64 = 1_000;
/// How often the rest of the log is applied while others go on writing to it.
const TRIES: usize = 8;

/// What a consolidation came to.
#[derive(Debug)]
pub struct Consolidated {
    /// What the job tells: prequential figures and the consolidation.
    pub result: Value,
    /// The version to publish; none where the state before it answers better.
    pub version: Option<NewVersion>,
}

/// Lets snapshots be taken again when the consolidation ends, however it ends.
struct Consolidating(Arc<Learning>);

impl Drop for Consolidating {
    fn drop(&mut self) {
        self.0.consolidating.store(false, Ordering::Release);
    }
}

impl Streams {
    /// Queues a consolidation unless one waits or runs already.
    async fn queue_consolidation(&self, learning: &Learning, because: &str) -> Result<()> {
        let store = &self.inner.store;
        let filter = |status| JobFilter {
            status: Some(status),
            model: Some(learning.model.name.clone()),
            kind: Some(JobKind::Consolidate),
        };
        for status in [JobStatus::Queued, JobStatus::Running] {
            if !store.jobs(&filter(status), 1, None).await?.items.is_empty() {
                return Ok(());
            }
        }
        let (model, spec) = (learning.model.name.clone(), json!({ "because": because }));
        let job = NewJob { kind: JobKind::Consolidate, model, dataset: None, spec, priority: 0, create: None };
        store.submit_job(job, MAX_QUEUED, None).await.map(|_| ())
    }

    /// Consolidates what is idle: looks at every stream now and then, for ever.
    pub async fn consolidate_when_idle(self) {
        loop {
            tokio::time::sleep(IDLE).await;
            self.look_for_idle().await;
        }
    }

    /// Queues a consolidation of every stream that has learned enough since its last and that
    /// nothing was added to since it was last looked at.
    pub(super) async fn look_for_idle(&self) {
        let open: Vec<_> = self.inner.open.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for learning in open {
            let due = {
                let mut state = learning.lock();
                let rows = state.online.rows();
                let idle = std::mem::replace(&mut state.looked_at, rows) == rows;
                let due = idle && rows.saturating_sub(state.consolidated_at) >= CONSOLIDATE_LEAST;
                if due {
                    state.consolidated_at = rows;
                }
                due
            };
            if due {
                self.queue_due(&learning, "idle").await;
            }
        }
    }

    /// Queues a consolidation that came due by itself. If that fails it comes due again later.
    pub(super) async fn queue_due(&self, learning: &Learning, because: &str) {
        if let Err(error) = self.queue_consolidation(learning, because).await {
            tracing::warn!(model = learning.model.name.as_str(), %error, "a consolidation could not be queued");
        }
    }

    /// Consolidates what a model has observed. Rows are observed and answered meanwhile.
    pub async fn consolidate(&self, name: &ModelName) -> Result<Consolidated> {
        let learning = self.learning(name).await?;
        self.catch_up(&learning, None).await?;
        if learning.lock().online.rows() == 0 {
            return Err(Error::unprocessable("nothing_to_consolidate", "this model has observed nothing yet"));
        }
        learning.consolidating.store(true, Ordering::Release);
        let _guard = Consolidating(Arc::clone(&learning));
        let (copying, threads) = (Arc::clone(&learning), self.inner.threads);
        let (mut candidate, mut next, done) = blocking(move || {
            let (bytes, next) = {
                let state = copying.lock();
                (state.online.snapshot()?, state.next)
            };
            let mut candidate = StreamModel::restore(&bytes, copying.base.clone())?;
            candidate.set_threads(threads);
            let done = candidate.consolidate()?;
            Ok((candidate, next, done))
        })
        .await?;
        tracing::info!(model = name.as_str(), ?done, "consolidated");
        if !done.accepted {
            let payload = serde_json::to_vec(&done).map_err(Error::internal)?;
            let record = NewRecord { kind: "consolidated".into(), rows: 0, payload, idempotency: None };
            self.operations(&learning, vec![record]).await?;
            return Ok(Consolidated { result: told(&learning, &done), version: None });
        }
        (candidate, next) = self.follow_up(&learning, candidate, next).await?;
        self.take_over(&learning, candidate, next).await?;
        let version = self.version_of(&learning, &done).await?;
        Ok(Consolidated { result: told(&learning, &done), version: Some(version) })
    }

    /// Applies to a candidate what was observed since it was copied.
    async fn follow_up(&self, learning: &Arc<Learning>, mut candidate: StreamModel, mut next: u64) -> Result<(StreamModel, u64)> {
        loop {
            let mut records = self.inner.store.read_observations(learning.model.id, next, 100).await?;
            if records.is_empty() {
                if self.inner.store.log_head(learning.model.id).await? == next {
                    return Ok((candidate, next));
                }
                records = self.inner.store.read_observations(learning.model.id, next, 100).await?;
            }
            if records.first().is_none_or(|first| first.seq > next) {
                // Rows were forgotten, or another replica took a snapshot: the copy is of the past.
                let detail = "the log was compacted meanwhile; the consolidation starts again";
                return Err(Error::new(Kind::Unavailable, "stream_compacted", detail));
            }
            let applying = Arc::clone(learning);
            (candidate, next) = blocking(move || {
                records.iter().try_for_each(|record| applying.apply_to(&mut candidate, record))?;
                Ok((candidate, records.last().map_or(next, |r| r.next)))
            })
            .await?;
        }
    }

    /// Puts the candidate in the place of the state, here and for every replica.
    async fn take_over(&self, learning: &Arc<Learning>, mut candidate: StreamModel, mut next: u64) -> Result<()> {
        // Nobody appends here meanwhile; what other replicas append is applied before another try.
        let _appending = learning.appending.write().await;
        let _applying = learning.applying.lock().await;
        let (store, model) = (&self.inner.store, &learning.model);
        if store.model(&model.name).await?.traffic.stable != Some(learning.version()) {
            return Err(Error::conflict("version_changed", "the model answers by another version meanwhile"));
        }
        for _ in 0..TRIES {
            (candidate, next) = self.follow_up(learning, candidate, next).await?;
            let (returned, bytes) = blocking(move || {
                let bytes = candidate.snapshot()?;
                Ok((candidate, bytes))
            })
            .await?;
            candidate = returned;
            let info = json!({"version": learning.version(), "root": learning.root, "rows": candidate.rows()});
            let snapshot = LogSnapshot { seq: next, bytes: bytes.into(), info };
            if store.take_over_log(&model.name, model.id, snapshot).await? {
                learning.replace(candidate, next + 1);
                self.publish(learning);
                return Ok(());
            }
        }
        Err(Error::new(Kind::Unavailable, "stream_busy", "the stream went on faster than it could be followed"))
    }

    /// The version that the consolidated state is known by: the files that the stream began with,
    /// which name it.
    async fn version_of(&self, learning: &Learning, done: &Consolidation) -> Result<NewVersion> {
        let began = self.inner.store.version(&learning.model.name, learning.root).await?;
        let mut files = Vec::new();
        for (name, bytes) in self.inner.store.version_files(&began).await? {
            if name != "config.json" {
                files.push((name, bytes.to_vec()));
                continue;
            }
            let mut config: Value = serde_json::from_slice(&bytes).map_err(Error::internal)?;
            config["config"]["stream_root"] = learning.root.into();
            files.push((name, serde_json::to_vec(&config).map_err(Error::internal)?));
        }
        let answering = learning.bundle();
        let config = &answering.config;
        let mut info = answering.describe();
        info["stream_root"] = learning.root.into();
        info["consolidation"] = json!(done);
        Ok(NewVersion {
            family: config.family.name().into(),
            task: Some(task_name(config.task).to_owned()),
            metrics: learning.lock().online.figures().prequential(),
            info,
            files,
            serve: true,
        })
    }
}

fn told(learning: &Learning, done: &Consolidation) -> Value {
    let prequential = learning.lock().online.figures().prequential();
    json!({"version": learning.version(), "consolidation": done, "prequential": prequential})
}
