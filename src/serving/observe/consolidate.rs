//! Consolidation: a job works on a copy of the stream's state while the stream continues, and its
//! result takes over if it answers recent rows no worse.
//!
//! The state that takes over enters the log as a snapshot that takes up one number: in one
//! transaction it replaces every record before it. A replica that finds that number missing reads
//! the snapshot, so all of them continue from the same state, at the same number of the log. Then the
//! job publishes a version; versions of one stream share its state.

use super::command::{Command, StateCopy, StreamHandle};
use super::past::Candidate;
use super::{Streams, apply, blocking, due, recompute};
use crate::store::{ModelName, NewRecord, NewVersion};
use crate::{Error, Result};
use kenyon_learn::learning::fit::task_name;
use kenyon_learn::learning::stream::{Consolidation, StreamModel};
use serde_json::{Value, json};
use std::time::Duration;

/// A stream that learns nothing for so long (and at most twice as long) is idle.
const IDLE: Duration = Duration::from_secs(30);

/// The result of a consolidation.
#[derive(Debug)]
pub struct Consolidated {
    /// The result of the job: prequential figures and the consolidation.
    pub result: Value,
    /// The version to publish; none where the state before it answers better.
    pub version: Option<NewVersion>,
}

impl Streams {
    /// Consolidates streams that are idle or have forgotten rows: checks every stream at intervals, for ever.
    pub async fn consolidate_when_idle(self) {
        loop {
            tokio::time::sleep(IDLE).await;
            self.queue_idle().await;
        }
    }

    /// Queues a consolidation of every stream that has forgotten rows, or has learned enough since its last and that
    /// no rows were added to since the last check.
    pub(super) async fn queue_idle(&self) {
        self.inner.rows_limit.tidy();
        for stream in self.all_open() {
            if let Ok(Some(because)) = stream.call(Command::IsDue).await {
                due::queue_due(&stream.log, because).await;
            }
        }
    }

    /// Consolidates what a model has observed. Observing and predicting continue meanwhile.
    pub async fn consolidate(&self, name: &ModelName) -> Result<Consolidated> {
        let stream = self.learning(name).await?;
        let copy = stream.call(Command::Copy).await?;
        if !copy.past.pending.is_empty() {
            return self.consolidate_without_forgotten(&stream, copy).await;
        }
        let StateCopy { bytes, mut past, next, token } = copy;
        past.consolidated.push(next);
        if stream.published().report.rows() == 0 {
            return Err(Error::unprocessable("nothing_to_consolidate", "this model has observed nothing yet"));
        }
        let (base, threads) = (stream.log.base.clone(), self.inner.options.threads);
        let (candidate, done) = blocking(move || {
            let mut candidate = StreamModel::restore(&bytes, base)?;
            candidate.set_threads(threads);
            let done = candidate.consolidate()?;
            Ok((candidate, done))
        })
        .await?;
        tracing::info!(model = name.as_str(), ?done, "consolidated");
        if !done.accepted {
            let noted = apply::Consolidated { copied: Some(next), consolidation: done };
            let payload = serde_json::to_vec(&noted).map_err(Error::internal)?;
            let record = NewRecord { kind: "consolidated".into(), payload, ..NewRecord::default() };
            stream.call(|reply| Command::Operate(vec![record], reply)).await?;
            return Ok(Consolidated { result: result(&stream, &noted.consolidation), version: None });
        }
        // Most of what was observed meanwhile is applied here, so that the stream's task is not blocked for long.
        let candidate = Box::new(Candidate { online: candidate, past, next, oldest: None });
        let candidate = stream.log.follow(candidate).await?;
        stream.call(|reply| Command::TakeOver(candidate, reply)).await?;
        drop(token);
        let version = self.version_of(&stream, &done).await?;
        Ok(Consolidated { result: result(&stream, &done), version: Some(version) })
    }

    /// Computes the state again from the log, in which forgotten rows are not any more.
    async fn consolidate_without_forgotten(&self, stream: &StreamHandle, copy: StateCopy) -> Result<Consolidated> {
        let mut recomputed = recompute::without_forgotten(&stream.log, &copy).await?;
        let (base, bytes) = (stream.log.base.clone(), copy.bytes);
        let (recomputed, done, digest) = blocking(move || {
            let mut old = StreamModel::restore(&bytes, base)?;
            let (before, _) = old.evaluate_recent()?;
            let digest = recomputed.candidate.online.digest()?;
            let done = recomputed.candidate.online.recomputed(old.forgotten(), before)?;
            Ok((recomputed, done, digest))
        })
        .await?;
        let (rows_before, removed_before) = (recomputed.rows_before, recomputed.removed_before);
        tracing::info!(model = stream.log.model.name.as_str(), ?done, rows_before, "computed without forgotten rows");
        let candidate = stream.log.follow(Box::new(recomputed.candidate)).await?;
        stream.call(|reply| Command::TakeOver(candidate, reply)).await?;
        drop(copy.token);
        let mut version = self.version_of(stream, &done).await?;
        let forgotten = json!({
            "rows": done.forgotten, "rows_before_log": rows_before, "removed_before_log": removed_before,
            "exact": rows_before == 0, "rows_left": done.rows, "state_sha256": digest,
        });
        let mut result = result(stream, &done);
        result["forgotten"] = forgotten.clone();
        version.info["forgotten"] = forgotten;
        Ok(Consolidated { result, version: Some(version) })
    }

    /// The version under which the consolidated state is published: the files that the stream began with,
    /// which name it.
    async fn version_of(&self, stream: &StreamHandle, done: &Consolidation) -> Result<NewVersion> {
        let began = self.inner.store.version(&stream.log.model.name, stream.log.root).await?;
        let mut files = Vec::new();
        for (name, bytes) in self.inner.store.version_files(&began).await? {
            if name != "config.json" {
                files.push((name, bytes.to_vec()));
                continue;
            }
            let mut config: Value = serde_json::from_slice(&bytes).map_err(Error::internal)?;
            config["config"]["stream_root"] = stream.log.root.into();
            files.push((name, serde_json::to_vec(&config).map_err(Error::internal)?));
        }
        let published = stream.published();
        let config = &published.bundle.config;
        let mut info = published.bundle.describe();
        info["stream_root"] = stream.log.root.into();
        info["consolidation"] = json!(done);
        Ok(NewVersion {
            family: config.family.name().into(),
            task: Some(task_name(config.task).to_owned()),
            metrics: published.report.figures().prequential(),
            info,
            files,
            withheld: None,
        })
    }
}

fn result(stream: &StreamHandle, done: &Consolidation) -> Value {
    let published = stream.published();
    let prequential = published.report.figures().prequential();
    json!({"version": published.version, "consolidation": done, "prequential": prequential})
}
