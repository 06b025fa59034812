//! Consolidation: a job works on a copy of the stream's state while the stream continues, and its
//! result takes over if it answers recent rows no worse.
//!
//! The state that takes over enters the log as a snapshot that takes up one number: in one
//! transaction it replaces every record before it. A replica that finds that number missing reads
//! the snapshot, so all of them continue from the same state, at the same number of the log. Then the
//! job publishes a version; versions of one stream share its state.

use super::actor::{Command, StateCopy, StreamHandle};
use super::{Streams, blocking, due};
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
    /// Consolidates idle streams: checks every stream at intervals, for ever.
    pub async fn consolidate_when_idle(self) {
        loop {
            tokio::time::sleep(IDLE).await;
            self.look_for_idle().await;
        }
    }

    /// Queues a consolidation of every stream that has learned enough since its last and that
    /// no rows were added to since the last check.
    pub(super) async fn look_for_idle(&self) {
        for stream in self.all_open() {
            if stream.ask(Command::IsIdle).await.unwrap_or(false) {
                due::queue_due(&stream.log, "idle").await;
            }
        }
    }

    /// Consolidates what a model has observed. Observing and predicting continue meanwhile.
    pub async fn consolidate(&self, name: &ModelName) -> Result<Consolidated> {
        let stream = self.learning(name).await?;
        let StateCopy { bytes, next, token } = stream.ask(Command::Copy).await?;
        if stream.published().report.rows() == 0 {
            return Err(Error::unprocessable("nothing_to_consolidate", "this model has observed nothing yet"));
        }
        let (base, threads) = (stream.log.base.clone(), self.inner.threads);
        let (candidate, done) = blocking(move || {
            let mut candidate = StreamModel::restore(&bytes, base)?;
            candidate.set_threads(threads);
            let done = candidate.consolidate()?;
            Ok((candidate, done))
        })
        .await?;
        tracing::info!(model = name.as_str(), ?done, "consolidated");
        if !done.accepted {
            let payload = serde_json::to_vec(&done).map_err(Error::internal)?;
            let record = NewRecord { kind: "consolidated".into(), rows: 0, payload, idempotency: None };
            stream.ask(|reply| Command::Operate(vec![record], reply)).await?;
            return Ok(Consolidated { result: result(&stream, &done), version: None });
        }
        // Most of what was observed meanwhile is applied here, so that the stream's task is not blocked for long.
        let (candidate, next) = stream.log.follow(candidate, next).await?;
        stream.ask(|reply| Command::TakeOver(Box::new(candidate), next, reply)).await?;
        drop(token);
        let version = self.version_of(&stream, &done).await?;
        Ok(Consolidated { result: result(&stream, &done), version: Some(version) })
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
