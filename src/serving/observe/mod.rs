//! Models that learn while they serve: rows become durable in the model's log, then change its
//! state, then its answers.
//!
//! The log is the source of truth. A state is the last snapshot and every record after it, applied in order;
//! every replica does the same and arrives at the same state. One task owns it (`actor`). Answers never wait for
//! learning: they come from a published copy, which is replaced between two passes.

mod actor;
mod answering;
mod apply;
mod command;
mod consolidate;
mod due;
#[cfg(test)]
mod forgetting_tests;
mod learn;
mod open;
mod past;
mod places;
mod recompute;
mod remembered;
mod rows_limit;
mod state;
mod stream_log;
#[cfg(test)]
mod tests;

pub use consolidate::Consolidated;
pub use learn::Sender;
pub use remembered::{Forgetting, MemoryPage};

use super::engine::Engine;
use super::loaded_version::LoadedVersion;
use crate::store::{Change, Model, ModelName, NewModel, NewVersion, Store};
use crate::{Error, Kind, Result};
use answering::Answering;
use command::{Command, StreamHandle};
use futures::StreamExt;
use futures::future::BoxFuture;
use kenyon_learn::data::plan::ColumnPlan;
use kenyon_learn::learning::stream::{StreamModel, StreamSpec};
use kenyon_learn::models::Task;
use places::Place;
use rows_limit::RowsLimit;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::broadcast;
use uuid::Uuid;

/// How long changes to the logs of other replicas gather before they are read.
const FOLLOW_AFTER: Duration = Duration::from_millis(100);
/// Streams opened at a time after a start. One that is requested does not wait for its turn.
const OPENED_AT_ONCE: usize = 4;

/// All models that learn here. Cheap to clone.
#[derive(Clone)]
pub struct Streams {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    engine: Engine,
    options: StreamOptions,
    rows_limit: RowsLimit,
    answering: Arc<Answering>,
    drifts: broadcast::Sender<Drift>,
    /// A place for each stream that is open or being opened. Locked for a look-up alone.
    open: Mutex<HashMap<ModelName, Arc<Place>>>,
}

/// Settings of all streams.
#[derive(Clone, Copy, Debug)]
pub struct StreamOptions {
    /// Threads that larger sums may use.
    pub threads: usize,
    /// Bytes of each log that stay behind a snapshot, at least half of them.
    pub history_bytes: u64,
    /// Rows a minute that a model learns from a key; 0 is without limit.
    pub key_rows_limit: u32,
}

/// An empty model that learns only by observing: the body of `PUT /models/{name}`, with its columns parsed.
#[derive(Clone, Debug)]
pub struct EmptyModel {
    /// Its name.
    pub name: ModelName,
    /// The task.
    pub task: Task,
    /// Whether the task was not given: the first label may contradict it.
    pub task_assumed: bool,
    /// Columns of its rows.
    pub inputs: Vec<ColumnPlan>,
    /// The target's column.
    pub target: ColumnPlan,
    /// Classes known beforehand.
    pub classes: Vec<Value>,
    /// Settings.
    pub config: Map<String, Value>,
    /// Everything random follows from it.
    pub seed: u64,
}

/// What has changed in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriftIn {
    /// Its error rate.
    Error,
    /// Its rows.
    Inputs,
}

impl DriftIn {
    /// Its name in the interface.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Inputs => "inputs",
        }
    }
}

/// An alarm of a stream's detectors: one a change.
#[derive(Clone, Debug)]
pub struct Drift {
    /// The model, and its id: a later model of the same name has another.
    pub model: ModelName,
    /// See `model`.
    pub model_id: Uuid,
    /// The version that was served.
    pub version: u64,
    /// What has changed.
    pub of: DriftIn,
    /// The row at which it was raised, as the description of the stream lists it: its number among the labelled rows
    /// (error) or all rows (inputs).
    pub row: u64,
    /// Accuracy (or mean absolute error) over the last rows.
    pub window: f64,
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams").finish_non_exhaustive()
    }
}

impl Streams {
    /// Streams over this store, published through this engine.
    pub fn new(store: Store, engine: Engine, options: StreamOptions) -> Self {
        let (drifts, _) = broadcast::channel(64);
        let open = Mutex::default();
        let rows_limit = RowsLimit::new(options.key_rows_limit);
        let answering = Arc::default();
        let inner = Arc::new(Inner { store, engine: engine.clone(), options, rows_limit, answering, drifts, open });
        let weak = Arc::downgrade(&inner);
        // A version that is loaded answers with what its stream has learned, from the first answer
        // on: a stream that is not open yet is opened first.
        engine.on_load(Arc::new(move |loaded: Arc<LoadedVersion>| -> BoxFuture<'static, Result<()>> {
            let inner = weak.upgrade();
            Box::pin(async move {
                match inner {
                    Some(inner) => Self { inner }.loaded(&loaded).await,
                    None => Ok(()),
                }
            })
        }));
        Self { inner }
    }

    /// Alarms that are raised from now on, by every replica that applies the rows.
    pub fn drifts(&self) -> broadcast::Receiver<Drift> {
        self.inner.drifts.subscribe()
    }

    /// Opens every model that has observed something, a few at a time, so that later requests
    /// need not wait.
    pub async fn start(&self) -> Result<()> {
        let streams = self.inner.store.streams().await?;
        let open = |(name, id): (ModelName, Uuid)| async move {
            if let Err(error) = self.learning_of(&name, id).await {
                tracing::error!(model = name.as_str(), %error, cause = ?error.cause, "a stream could not be opened");
            }
        };
        futures::stream::iter(streams).for_each_concurrent(OPENED_AT_ONCE, open).await;
        Ok(())
    }

    /// A version was loaded and has not answered yet. It does not answer where what was learned cannot be read: without
    /// that it would answer as if acknowledged rows had never come.
    async fn loaded(&self, loaded: &Arc<LoadedVersion>) -> Result<()> {
        let Ok(name) = loaded.model.parse::<ModelName>() else { return Ok(()) };
        let root = open::root_of(&loaded.bundle()).unwrap_or(loaded.version);
        self.inner.answering.add(root, loaded);
        let is_its = |stream: &Arc<StreamHandle>| stream.log.model.id == loaded.model_id && stream.log.root == root;
        loop {
            let mut stream = self.opened(&name).filter(is_its);
            if stream.is_none() && self.inner.store.has_observed(&name, loaded.model_id, loaded.version).await? {
                self.changed(&name).await?;
                stream = Some(self.learning_of(&name, loaded.model_id).await?).filter(is_its);
            }
            let Some(stream) = stream else { return Ok(()) };
            stream.show_to(loaded);
            // One that takes its place may have published before.
            if !stream.is_closed() {
                return Ok(());
            }
        }
    }

    /// Follows the logs that other replicas write, until the store closes.
    pub async fn follow(self, mut changes: broadcast::Receiver<Change>) {
        loop {
            let names = match changes.recv().await {
                Ok(Change::Log(name)) => {
                    // This replica's own rows are mostly applied by then.
                    tokio::time::sleep(FOLLOW_AFTER).await;
                    let (mut names, mut models) = (vec![name], Vec::new());
                    while let Ok(change) = changes.try_recv() {
                        match change {
                            Change::Log(name) if !names.contains(&name) => names.push(name),
                            Change::Model(name) if !models.contains(&name) => models.push(name),
                            _ => {}
                        }
                    }
                    for name in models {
                        self.follow_change(&name).await;
                    }
                    names
                }
                Ok(Change::Model(name)) => {
                    self.follow_change(&name).await;
                    continue;
                }
                Ok(Change::Unknown) | Err(broadcast::error::RecvError::Lagged(_)) => {
                    for stream in self.all_open() {
                        self.follow_change(&stream.log.model.name).await;
                    }
                    self.all_open().iter().map(|stream| stream.log.model.name.clone()).collect()
                }
                Ok(_) => continue,
                Err(broadcast::error::RecvError::Closed) => return,
            };
            for name in names {
                // A model that was not requested here is opened too: its answers must not be outdated.
                let caught_up = async { self.learning(&name).await?.call(Command::CatchUp).await };
                if let Err(error) = caught_up.await {
                    tracing::warn!(model = name.as_str(), %error, "a stream could not be followed");
                }
            }
        }
    }

    /// A model was removed, created again, or serves another version. A version that a consolidation
    /// made continues the same stream; any other starts its own.
    ///
    /// # Errors
    /// Where that cannot be read: the stream goes on.
    pub(super) async fn changed(&self, name: &ModelName) -> Result<()> {
        let Some(stream) = self.opened(name) else { return Ok(()) };
        let now = found(self.inner.store.model(name).await)?.filter(|m| m.id == stream.log.model.id);
        let version = now.and_then(|m| m.traffic.stable);
        if version == Some(stream.published().version) {
            return Ok(());
        }
        let root = match version {
            Some(version) => found(self.inner.store.version(name, version).await)?
                .map(|v| v.info["stream_root"].as_u64().unwrap_or(version)),
            None => None,
        };
        match version.filter(|_| root == Some(stream.log.root)) {
            // Its state came into the log as a snapshot, which is read here where it was not made here.
            Some(version) => stream.call(|reply| Command::AnswerAs(version, reply)).await,
            None => {
                self.close(&stream).await;
                Ok(())
            }
        }
    }

    /// Does what is due after a change, which a later request does where this fails.
    async fn follow_change(&self, name: &ModelName) {
        if let Err(error) = self.changed(name).await {
            tracing::warn!(model = name.as_str(), %error, "a change of a stream could not be followed");
        }
    }

    /// Creates a model that learns only by observing; 409 when there is one of that name.
    pub async fn create(&self, mut empty: EmptyModel) -> Result<Model> {
        self.inner.store.find_encoders(&mut empty.inputs).await?;
        let mut config = empty.config;
        config.insert("stream".into(), true.into());
        let spec = StreamSpec {
            task: empty.task,
            target: empty.target,
            classes: empty.classes,
            inputs: empty.inputs,
            config: config.clone(),
            seed: empty.seed,
        };
        let bundle = blocking(move || Ok(StreamModel::new(&spec)?.publish())).await?;
        let files = bundle.files()?.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
        let mut info = bundle.describe();
        info["task_assumed"] = empty.task_assumed.into();
        let task = kenyon_learn::learning::fit::task_name(bundle.config.task).to_owned();
        let new = NewModel {
            name: empty.name.clone(),
            family: Some(bundle.config.family.name().into()),
            task: Some(task.clone()),
            target: bundle.config.target.name.clone(),
            info: info.clone(),
        };
        let version = NewVersion {
            family: bundle.config.family.name().into(),
            task: Some(task),
            metrics: json!({}),
            info,
            files,
            withheld: None,
        };
        let model = self.inner.store.create_model_with(&new, version).await?;
        self.inner.engine.refresh(empty.name.as_str()).await?;
        Ok(model)
    }

    /// The figures of `GET /{name}/stream`.
    pub async fn stream(&self, name: &ModelName) -> Result<Value> {
        let published = self.learning(name).await?.published();
        let mut value = published.report.stream();
        value["model"] = name.as_str().into();
        value["version"] = published.version.into();
        Ok(value)
    }
}

/// What the store has found; nothing where there is none of that name.
fn found<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(error) if error.kind == Kind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)?
}
