//! Models that learn while they serve: rows become durable in the model's log, then change its
//! state, then its answers.
//!
//! The log is the truth. A state is the last snapshot and every record after it, applied in order;
//! every replica does the same and arrives at the same state. Answers never wait for learning: the
//! lane reads a published copy, which is replaced between two passes.

use super::engine::{Caller, Engine};
use super::live::Live;
use crate::data::Table;
use crate::data::plan::ColumnPlan;
use crate::data::rows::RowsReader;
use crate::learning::bundle::{Bundle, class_name};
use crate::learning::online::{Observed, Online, OnlineSpec};
use crate::models::Task;
use crate::store::{
    Change, IdempotencyKey, LogSnapshot, Model, ModelName, NewModel, NewRecord, NewVersion, Record, Store,
};
use crate::{Detail, Error, Kind, Result, telemetry};
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::{Stream as Flow, StreamExt};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::broadcast;

/// Rows of an endless body that are made durable and learned together.
const PART_ROWS: usize = 1_000;
/// Bytes of an endless body that are kept until they are.
const PART_BYTES: usize = 1 << 20;
/// A row may be this long.
const LONGEST_ROW: usize = 8 << 20;
/// Rows after which the state is kept and the log before it deleted.
const SNAPSHOT_ROWS: u64 = 50_000;
/// Bytes of records after which the same is done.
const SNAPSHOT_BYTES: usize = 64 << 20;
/// Rows after which a consolidation is due, and the least between two.
const CONSOLIDATE_ROWS: u64 = 20_000;
const CONSOLIDATE_LEAST: u64 = 1_000;
/// How long the logs of other replicas gather before they are looked at.
const FOLLOW_AFTER: Duration = Duration::from_millis(100);
/// At least this long between two publications that nobody waits for.
const PUBLISH_EVERY: Duration = Duration::from_millis(20);

/// All models that learn here. Cheap to clone.
#[derive(Clone)]
pub struct Streams {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    engine: Engine,
    threads: usize,
    open: RwLock<HashMap<ModelName, Arc<Learning>>>,
    /// Held while a stream is opened, so that it is opened once.
    opening: tokio::sync::Mutex<()>,
}

/// One model that learns.
struct Learning {
    model: Model,
    version: u64,
    reader: RwLock<Arc<RowsReader>>,
    state: Mutex<State>,
    /// Held by whoever applies records, so that they are applied in order.
    applying: tokio::sync::Mutex<()>,
    published: RwLock<Arc<Bundle>>,
    /// The state has changed since it was published.
    stale: AtomicBool,
}

struct State {
    online: Online,
    /// The first record that is not applied.
    next: u64,
    since_snapshot: (u64, usize),
    consolidated_at: u64,
    last_published: Instant,
    publishing_took: Duration,
    /// What the last applied rows did, by the number after them.
    drift: bool,
}

/// A model to make that learns only by observing: the body of `PUT /models/{name}`, columns read.
#[derive(Clone, Debug)]
pub struct EmptyModel {
    /// Its name.
    pub name: ModelName,
    /// What kind of answer.
    pub task: Task,
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

/// Which page of a memory is wanted.
#[derive(Clone, Debug, Default)]
pub struct MemoryPage {
    /// Entries at most.
    pub limit: usize,
    /// Ids above this.
    pub after: Option<u64>,
    /// Only entries of this class.
    pub label: Option<String>,
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams").finish_non_exhaustive()
    }
}

impl Streams {
    /// Streams over this store, published through this engine. `threads` bounds larger sums.
    pub fn new(store: Store, engine: Engine, threads: usize) -> Self {
        let inner = Inner {
            store,
            engine: engine.clone(),
            threads,
            open: RwLock::default(),
            opening: tokio::sync::Mutex::default(),
        };
        let inner = Arc::new(inner);
        let weak = Arc::downgrade(&inner);
        // A version that is loaded anew answers with what its stream has learned.
        engine.on_load(Arc::new(move |live: &Live| {
            let Some(inner) = weak.upgrade() else { return };
            let Ok(name) = live.model.parse::<ModelName>() else { return };
            let open = inner.open.read().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
            if let Some(learning) = open.filter(|l| l.version == live.version) {
                live.publish(learning.bundle());
            }
        }));
        Self { inner }
    }

    /// Opens every model that has observed something, so that the first answer after a start is
    /// already that of its stream.
    pub async fn start(&self) -> Result<()> {
        let mut cursor = None;
        loop {
            let page = self.inner.store.models(100, cursor.as_deref()).await?;
            for model in page.items {
                let observed = self.inner.store.log_head(model.id).await.unwrap_or(0) > 0;
                if observed
                    && model.traffic.stable.is_some()
                    && let Err(error) = self.learning(&model.name).await
                {
                    tracing::error!(model = model.name.as_str(), %error, cause = ?error.cause, "a stream could not be opened");
                }
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    /// Follows the logs that other replicas write, until the store closes.
    pub async fn follow(self, mut changes: broadcast::Receiver<Change>) {
        loop {
            let names = match changes.recv().await {
                Ok(Change::Log(name)) => {
                    // Our own rows are mostly applied by the time we look.
                    tokio::time::sleep(FOLLOW_AFTER).await;
                    let mut names = vec![name];
                    while let Ok(Change::Log(name)) = changes.try_recv() {
                        if !names.contains(&name) {
                            names.push(name);
                        }
                    }
                    names
                }
                Ok(Change::Model(name)) => {
                    self.changed(&name).await;
                    continue;
                }
                Ok(Change::Unknown) | Err(broadcast::error::RecvError::Lagged(_)) => {
                    self.opened().keys().cloned().collect()
                }
                Ok(_) => continue,
                Err(broadcast::error::RecvError::Closed) => return,
            };
            for name in names {
                let open = self.opened().get(&name).cloned();
                // A model nobody asked for here is opened too: its answers must not be old ones.
                let caught_up = match open {
                    Some(learning) => self.catch_up(&learning, None).await.map(|_| ()),
                    None => self.learning(&name).await.map(|_| ()),
                };
                if let Err(error) = caught_up {
                    tracing::warn!(model = name.as_str(), %error, "a stream could not be followed");
                }
            }
        }
    }

    /// A model was removed, made anew, or answers by another version: its stream starts over from
    /// that.
    async fn changed(&self, name: &ModelName) {
        let Some(learning) = self.opened().get(name).cloned() else { return };
        let now = self.inner.store.model(name).await.ok();
        let same = now.is_some_and(|m| m.id == learning.model.id && m.traffic.stable == Some(learning.version));
        if !same {
            self.inner.open.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        }
    }

    fn opened(&self) -> HashMap<ModelName, Arc<Learning>> {
        self.inner.open.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a model that learns only by observing; 409 when there is one of that name.
    pub async fn create(&self, empty: EmptyModel) -> Result<Model> {
        let mut config = empty.config;
        config.insert("stream".into(), true.into());
        let spec = OnlineSpec {
            task: empty.task,
            target: empty.target,
            classes: empty.classes,
            inputs: empty.inputs,
            config: config.clone(),
            seed: empty.seed,
        };
        let bundle = blocking(move || Ok(Online::new(&spec)?.publish())).await?;
        let files = bundle.files()?.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
        let info = bundle.describe();
        let task = crate::learning::fit::task_name(bundle.config.task).to_owned();
        let new = NewModel {
            name: empty.name.clone(),
            family: Some(bundle.config.family.name().into()),
            task: Some(task.clone()),
            target: bundle.config.target.name.clone(),
            info: info.clone(),
        };
        self.inner.store.create_model(&new).await?;
        let version = NewVersion {
            family: bundle.config.family.name().into(),
            task: Some(task),
            metrics: json!({}),
            info,
            files,
            serve: true,
        };
        self.inner.store.publish_version(&empty.name, version).await?;
        self.inner.engine.refresh(empty.name.as_str()).await?;
        self.inner.store.model(&empty.name).await
    }

    /// Learns from the rows of a JSON array, `[{…},{…}]`; answers once they are durable and applied.
    /// A row without its target is learned from as far as that goes.
    pub async fn observe(&self, name: &ModelName, rows: &[u8], key: Option<IdempotencyKey>) -> Result<Value> {
        let learning = self.learning(name).await?;
        let rows: Vec<&RawValue> = serde_json::from_slice(rows)
            .map_err(|e| Error::malformed("invalid_json", format!("rows must be a list of objects: {e}")))?;
        let mut payload = Vec::with_capacity(rows.iter().map(|r| r.get().len() + 1).sum());
        for row in &rows {
            // A line is a row: line ends inside of it can only be white space between its parts.
            payload.extend(row.get().bytes().map(|b| if b == b'\n' || b == b'\r' { b' ' } else { b }));
            payload.push(b'\n');
        }
        let count = rows.len() as u64;
        self.learn(&learning, payload, count, key).await
    }

    /// Learns from lines as they arrive, however many; `part` is told after each portion. The next
    /// portion is read only when this one is applied: whoever sends faster waits.
    pub async fn observe_lines<E: std::fmt::Display>(
        &self,
        name: &ModelName,
        mut body: impl Flow<Item = std::result::Result<Bytes, E>> + Unpin,
        key: Option<IdempotencyKey>,
        mut part: impl FnMut(&Value) -> BoxFuture<'static, Result<()>>,
    ) -> Result<Value> {
        let learning = self.learning(name).await?;
        let (mut waiting, mut scanned, mut lines, mut observed) = (BytesMut::new(), 0, 0usize, 0u64);
        let mut answer = None;
        let mut number = 0;
        let mut ended = false;
        while !ended {
            match body.next().await {
                Some(Ok(bytes)) => waiting.extend_from_slice(&bytes),
                Some(Err(error)) => {
                    return Err(Error::malformed("broken_body", format!("the body broke off: {error}")));
                }
                None => {
                    ended = true;
                    if !waiting.is_empty() && !waiting.ends_with(b"\n") {
                        waiting.extend_from_slice(b"\n");
                    }
                }
            }
            // Whole lines only; what is behind the last line end waits for the rest of its line.
            let mut cuts = Vec::new();
            while let Some(at) = waiting[scanned..].iter().position(|&b| b == b'\n') {
                lines += usize::from(!waiting[scanned..scanned + at].trim_ascii().is_empty());
                scanned += at + 1;
                if lines >= PART_ROWS {
                    cuts.push((scanned, std::mem::take(&mut lines)));
                }
            }
            let due = ended || waiting.len() >= PART_BYTES;
            if due && lines > 0 {
                cuts.push((scanned, std::mem::take(&mut lines)));
            }
            let mut taken = 0;
            for (cut, rows) in cuts {
                let payload = waiting.split_to(cut - taken).to_vec();
                taken = cut;
                scanned -= payload.len();
                let key = key.as_ref().map(|k| IdempotencyKey { key: format!("{}#{number}", k.key), ..k.clone() });
                number += 1;
                let result =
                    self.learn(&learning, payload, rows as u64, key).await.map_err(|e| shifted(e, observed))?;
                observed += rows as u64;
                part(&result).await?;
                answer = Some(result);
            }
            if waiting.len() > LONGEST_ROW {
                return Err(Error::new(Kind::TooLarge, "row_too_large", "a row must not be longer than 8 MiB"));
            }
        }
        let mut answer = match answer {
            Some(answer) => answer,
            None => self.answer(&learning, 0),
        };
        answer["observed"] = observed.into();
        Ok(answer)
    }

    /// Learns the late label of a prediction.
    pub async fn feedback(&self, name: &ModelName, prediction: &str, target: &Value) -> Result<Value> {
        let missing =
            || Error::not_found("prediction_not_found", "that prediction is not known, or its row was let go");
        let (model, row) = self.inner.engine.recall(prediction).ok_or_else(missing)?;
        if model != name.as_str() {
            return Err(missing());
        }
        let learning = self.learning(name).await?;
        let mut row: Map<String, Value> = serde_json::from_slice(&row).map_err(Error::internal)?;
        row.insert(learning.target(), target.clone());
        let mut payload = serde_json::to_vec(&row).map_err(Error::internal)?;
        payload.push(b'\n');
        self.learn(&learning, payload, 1, None).await
    }

    /// The figures of `GET /{name}/stream`.
    pub async fn stream(&self, name: &ModelName) -> Result<Value> {
        let learning = self.learning(name).await?;
        let mut value = learning.lock().online.stream();
        value["model"] = name.as_str().into();
        value["version"] = learning.version.into();
        Ok(value)
    }

    /// A page of what a model remembers.
    pub async fn memory(&self, name: &ModelName, page: &MemoryPage) -> Result<Value> {
        let learning = self.learning(name).await?;
        let state = learning.lock();
        let (online, limit) = (&state.online, page.limit.clamp(1, 1_000));
        let regression = online.model().regression;
        let classes = online.classes();
        let mut items = Vec::new();
        let mut more = false;
        for entry in online.model().memory.entries() {
            let label = classes.get(entry.label as usize);
            let wanted = page.label.as_ref().is_none_or(|l| label.is_some_and(|c| class_name(c) == *l));
            if !wanted || page.after.is_some_and(|after| entry.id <= after) {
                continue;
            }
            if items.len() == limit {
                more = true;
                break;
            }
            let row = entry.row.as_deref().and_then(|r| serde_json::from_str::<Value>(r).ok());
            let mut item = json!({"id": entry.id.to_string(), "uses": entry.uses, "row": row});
            if regression {
                item["value"] = online.value(entry.value).into();
            } else {
                item["label"] = label.cloned().unwrap_or(Value::Null);
            }
            items.push(item);
        }
        let next = if more { items.last().map(|i| i["id"].clone()) } else { None };
        let mut out = json!({"items": items, "next_cursor": next});
        let memory = online.memory();
        out["entries"] = memory["entries"].clone();
        out["capacity"] = memory["capacity"].clone();
        Ok(out)
    }

    /// Forgets one entry; 404 when there is none of that id.
    pub async fn forget_entry(&self, name: &ModelName, id: u64) -> Result<Value> {
        let learning = self.learning(name).await?;
        if !learning.lock().online.model().memory.entries().iter().any(|e| e.id == id) {
            return Err(Error::not_found("entry_not_found", "nothing of that id is remembered"));
        }
        self.forget_by(&learning, json!({ "id": id })).await
    }

    /// Forgets every entry whose row (or target) has these values; they leave the log, too.
    pub async fn forget(&self, name: &ModelName, filter: &Map<String, Value>) -> Result<Value> {
        let learning = self.learning(name).await?;
        if filter.is_empty() {
            return Err(Error::malformed("empty_filter", "name at least one column in `where`")
                .with_details([Detail::path("where", "must name at least one column")]));
        }
        self.forget_by(&learning, json!({ "where": filter })).await
    }

    async fn forget_by(&self, learning: &Arc<Learning>, what: Value) -> Result<Value> {
        let before = learning.lock().online.model().memory.entries().len();
        let payload = serde_json::to_vec(&what).map_err(Error::internal)?;
        self.operation(learning, "forget", payload).await?;
        // The state replaces every record before it: what was forgotten is in none of them any more.
        self.snapshot(learning).await?;
        let after = learning.lock().online.model().memory.entries().len();
        Ok(json!({
            "forgotten": before.saturating_sub(after),
            "entries": after,
            "retrained_at": "next_consolidation",
        }))
    }

    /// Consolidates now. Part of the log like everything else, so that every replica does the same.
    pub async fn consolidate(&self, name: &ModelName) -> Result<Value> {
        let learning = self.learning(name).await?;
        if learning.lock().online.rows() == 0 {
            return Err(Error::unprocessable("nothing_to_consolidate", "this model has observed nothing yet"));
        }
        self.operation(&learning, "consolidate", b"{}".to_vec()).await?;
        let stream = learning.lock().online.stream();
        let last = stream["consolidations"].as_array().and_then(|c| c.last()).cloned();
        Ok(json!({"version": learning.version, "consolidation": last, "prequential": stream["prequential"]}))
    }

    async fn operation(&self, learning: &Arc<Learning>, kind: &str, payload: Vec<u8>) -> Result<()> {
        let record = NewRecord { kind: kind.into(), rows: 0, payload, idempotency: None };
        self.inner.store.append_observations(&learning.model.name, learning.model.id, vec![record]).await?;
        self.catch_up(learning, None).await?;
        self.publish(learning);
        Ok(())
    }

    /// Checks rows, makes them durable, applies them.
    async fn learn(
        &self,
        learning: &Arc<Learning>,
        payload: Vec<u8>,
        rows: u64,
        key: Option<IdempotencyKey>,
    ) -> Result<Value> {
        if rows == 0 {
            return Ok(self.answer(learning, 0));
        }
        let reader = learning.reader.read().unwrap_or_else(PoisonError::into_inner).clone();
        let small = payload.len() < 16 << 10;
        let read = move |payload: Vec<u8>| -> Result<(Table, Vec<u8>)> { Ok((reader.from_ndjson(&payload)?, payload)) };
        // A few rows are read in less time than a thread takes to wake up.
        let (table, payload) = if small { read(payload)? } else { blocking(move || read(payload)).await? };
        let record = NewRecord { kind: "rows".into(), rows, payload: payload.clone(), idempotency: key };
        let appended =
            self.inner.store.append_observations(&learning.model.name, learning.model.id, vec![record]).await?;
        let Some(appended) = appended.first().copied() else { return Err(Error::internal("nothing was appended")) };
        if !appended.replayed {
            metrics::counter!(telemetry::OBSERVED_ROWS, "model" => learning.model.name.as_str().to_owned())
                .increment(rows);
        }
        let own = Own { seq: appended.seq, next: appended.next, table, payload };
        self.catch_up(learning, (!appended.replayed).then_some(own)).await?;
        let answer = self.answer(learning, rows);
        self.after_rows(learning).await?;
        Ok(answer)
    }

    /// Work that comes due with rows: publication, snapshot, consolidation.
    async fn after_rows(&self, learning: &Arc<Learning>) -> Result<()> {
        let (snapshot, consolidate, publish) = {
            let mut state = learning.lock();
            let rows = state.online.rows();
            let since = rows - state.consolidated_at.min(rows);
            let consolidate = since >= CONSOLIDATE_ROWS || (state.drift && since >= CONSOLIDATE_LEAST);
            state.drift = false;
            let kept = state.since_snapshot;
            let pause = PUBLISH_EVERY.max(state.publishing_took * 10);
            (
                kept.0 >= SNAPSHOT_ROWS || kept.1 >= SNAPSHOT_BYTES,
                consolidate,
                state.publishing_took < Duration::from_millis(1) || state.last_published.elapsed() >= pause,
            )
        };
        if publish {
            self.publish(learning);
        } else if !learning.stale.swap(true, Ordering::Relaxed) {
            let (streams, learning) = (self.clone(), Arc::clone(learning));
            tokio::spawn(async move {
                tokio::time::sleep(PUBLISH_EVERY).await;
                if learning.stale.load(Ordering::Relaxed) {
                    let _ = blocking(move || {
                        let _: () = streams.publish(&learning);
                        Ok(())
                    })
                    .await;
                }
            });
        }
        if consolidate {
            self.operation(learning, "consolidate", b"{}".to_vec()).await?;
        }
        if snapshot {
            self.snapshot(learning).await?;
        }
        Ok(())
    }

    fn answer(&self, learning: &Learning, rows: u64) -> Value {
        let state = learning.lock();
        json!({
            "observed": rows, "version": learning.version,
            "prequential": state.online.figures().prequential(),
            "drift": state.online.figures().drift(),
            "memory": state.online.memory(),
        })
    }

    /// Applies what the log holds and the state does not. `own` is a record that was just appended
    /// here and need not be read again if it is the next.
    async fn catch_up(&self, learning: &Arc<Learning>, own: Option<Own>) -> Result<()> {
        let _applying = learning.applying.lock().await;
        let mut own = own;
        loop {
            let next = learning.lock().next;
            let ours = own.take_if(|own| own.seq <= next);
            if let Some(ours) = ours {
                if ours.seq == next {
                    let learning = Arc::clone(learning);
                    let small = ours.table.rows <= 8;
                    let work = move || learning.apply_rows(&ours.table, &ours.payload, ours.next);
                    // Few rows take microseconds; a move to another thread would take longer.
                    if small { work()? } else { blocking(work).await? }
                }
                return Ok(());
            }
            let records = self.inner.store.read_observations(learning.model.id, next, 100).await?;
            if records.is_empty() {
                return Ok(());
            }
            let applying = Arc::clone(learning);
            blocking(move || records.iter().try_for_each(|record| applying.apply(record))).await?;
            learning.stale.store(true, Ordering::Relaxed);
            if own.is_none() {
                self.publish(learning);
            }
        }
    }

    /// Lets what was learned answer from now on.
    fn publish(&self, learning: &Learning) {
        let bundle = {
            let mut state = learning.lock();
            let started = Instant::now();
            learning.stale.store(false, Ordering::Relaxed);
            let bundle = Arc::new(state.online.publish());
            state.publishing_took = started.elapsed();
            state.last_published = Instant::now();
            bundle
        };
        *learning.published.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&bundle);
        if let Some(live) = self.inner.engine.loaded(learning.model.name.as_str(), Some(learning.version)) {
            live.publish(bundle);
        }
    }

    /// Keeps the state and deletes the log before it.
    async fn snapshot(&self, learning: &Arc<Learning>) -> Result<()> {
        let taking = Arc::clone(learning);
        let taken = blocking(move || {
            let mut state = taking.lock();
            state.since_snapshot = (0, 0);
            let info = json!({"version": taking.version, "rows": state.online.rows()});
            Ok(LogSnapshot { seq: state.next, bytes: state.online.snapshot()?.into(), info })
        });
        let snapshot = taken.await?;
        self.inner.store.save_log_snapshot(&learning.model.name, learning.model.id, snapshot).await
    }

    /// The stream of a model, opened if need be.
    async fn learning(&self, name: &ModelName) -> Result<Arc<Learning>> {
        if let Some(open) = self.opened().get(name) {
            return Ok(Arc::clone(open));
        }
        let _opening = self.inner.opening.lock().await;
        if let Some(open) = self.opened().get(name) {
            return Ok(Arc::clone(open));
        }
        let model = self.inner.store.model(name).await?;
        let Some(version) = model.traffic.stable else {
            let error = Error::new(Kind::Unavailable, "no_version", "the model has no version that could learn yet");
            return Err(error.with_retry_after(1));
        };
        let files = self.inner.store.version_files(&self.inner.store.version(name, version).await?).await?;
        let snapshot = self.inner.store.log_snapshot(model.id).await?;
        let threads = self.inner.threads;
        let (mut online, next) = blocking(move || {
            let file = |wanted: &str| files.iter().find(|(n, _)| n == wanted).map(|(_, bytes)| &bytes[..]);
            let bundle = Bundle::load(file)?;
            let next = snapshot.as_ref().map_or(0, |s| s.seq);
            if let Some(kept) = snapshot.filter(|s| s.info["version"] == version) {
                let base = (!from_nothing(&bundle)).then(|| Arc::new(bundle));
                return Ok((Online::restore(&kept.bytes, base)?, next));
            }
            Ok((begin(bundle)?, next))
        })
        .await?;
        online.set_threads(threads);
        let consolidated_at = online.rows();
        let learning = Arc::new(Learning {
            version,
            reader: RwLock::new(Arc::new(online.reader().clone())),
            published: RwLock::new(Arc::new(online.publish())),
            state: Mutex::new(State {
                online,
                next,
                since_snapshot: (0, 0),
                consolidated_at,
                last_published: Instant::now(),
                publishing_took: Duration::ZERO,
                drift: false,
            }),
            applying: tokio::sync::Mutex::default(),
            stale: AtomicBool::new(false),
            model,
        });
        self.catch_up(&learning, None).await?;
        self.inner.open.write().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), Arc::clone(&learning));
        // Loads the version where it is not, which publishes the stream into it.
        let caller = Caller { request_id: "stream", deadline: None };
        self.inner.engine.choose(name.as_str(), Some(version), caller.request_id).await?;
        self.publish(&learning);
        Ok(learning)
    }
}

/// A record that this process has just appended.
struct Own {
    seq: u64,
    next: u64,
    table: Table,
    payload: Vec<u8>,
}

impl Learning {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic while learning leaves a state that may be half of two: better than none, and the
        // next start rebuilds it from the log.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bundle(&self) -> Arc<Bundle> {
        Arc::clone(&self.published.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn target(&self) -> String {
        self.bundle().config.target.name.clone()
    }

    fn apply_rows(&self, table: &Table, payload: &[u8], next: u64) -> Result<()> {
        let text = std::str::from_utf8(payload).unwrap_or_default();
        let texts: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        let mut state = self.lock();
        let observed = state.online.observe(table, &texts)?;
        state.next = next;
        state.since_snapshot.0 += observed.rows;
        state.since_snapshot.1 += payload.len();
        self.tell(&mut state, &observed);
        Ok(())
    }

    fn tell(&self, state: &mut State, observed: &Observed) {
        state.drift |= observed.drift;
        let model = self.model.name.as_str();
        if observed.drift {
            tracing::warn!(model, row = state.online.rows(), "the error of a stream has changed");
            metrics::counter!(telemetry::DRIFT_DETECTED, "model" => model.to_owned(), "in" => "error").increment(1);
        }
        if observed.input_drift {
            metrics::counter!(telemetry::DRIFT_DETECTED, "model" => model.to_owned(), "in" => "inputs").increment(1);
        }
        metrics::gauge!("kenyon_prequential_window", "model" => model.to_owned()).set(state.online.figures().window());
    }

    fn apply(&self, record: &Record) -> Result<()> {
        let reader = self.reader.read().unwrap_or_else(PoisonError::into_inner).clone();
        match record.kind.as_str() {
            "rows" => match reader.from_ndjson(&record.payload) {
                Ok(table) => return self.apply_rows(&table, &record.payload, record.next),
                // Rows were checked before they were written; a version trained meanwhile may read
                // other columns, and cannot learn from these.
                Err(error) => tracing::warn!(seq = record.seq, %error, "rows of the log do not fit this version"),
            },
            "consolidate" => {
                let mut state = self.lock();
                let done = state.online.consolidate()?;
                state.consolidated_at = state.online.rows();
                tracing::info!(model = self.model.name.as_str(), ?done, "consolidated");
            }
            "forget" => {
                let what: Value = serde_json::from_slice(&record.payload).map_err(Error::internal)?;
                let target = self.target();
                let id = what["id"].as_u64();
                let filter = what["where"].as_object();
                self.lock().online.forget(|entry, label, row| {
                    id.is_some_and(|id| id == entry) || filter.is_some_and(|f| matches(f, label, row, &target))
                });
            }
            other => tracing::warn!(kind = other, "a record of the log is of an unknown kind"),
        }
        self.lock().next = record.next;
        Ok(())
    }
}

/// Whether a remembered row has all the values of a filter.
fn matches(filter: &Map<String, Value>, label: Option<&Value>, row: Option<&str>, target: &str) -> bool {
    let row: Option<Map<String, Value>> = row.and_then(|r| serde_json::from_str(r).ok());
    filter.iter().all(|(column, wanted)| {
        let has = row.as_ref().and_then(|r| r.get(column)).or_else(|| label.filter(|_| column == target));
        has.is_some_and(|has| has == wanted || has.as_f64().is_some_and(|h| Some(h) == wanted.as_f64()))
    })
}

fn from_nothing(bundle: &Bundle) -> bool {
    bundle.config.config.get("stream").and_then(Value::as_bool).unwrap_or(false)
}

/// The stream that goes on from a bundle, or starts from its columns alone.
fn begin(bundle: Bundle) -> Result<Online> {
    if !from_nothing(&bundle) {
        return Ok(Online::over(Arc::new(bundle)));
    }
    Online::new(&OnlineSpec {
        task: bundle.config.task,
        target: bundle.config.target.clone(),
        classes: bundle.classes().to_vec(),
        inputs: bundle.encoder.inputs.clone(),
        config: bundle.config.config.clone(),
        seed: bundle.config.seed,
    })
}

/// Rows of a later portion are counted from the start of the body.
fn shifted(mut error: Error, before: u64) -> Error {
    for detail in &mut error.details {
        detail.row = detail.row.map(|row| row + before);
    }
    error
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)?
}
