//! The task that owns a stream's state: it appends to the log, applies it in order, and publishes the result.
//!
//! Everything that changes a stream comes to its task as a [`Command`]. Rows that wait together are made durable,
//! applied and published together, and are answered after that: a prediction that starts after the answer uses
//! their rows. Readers use the published copy and never wait for the task.

use super::answering::{Answering, Publication};
use super::apply::matches;
use super::command::{Command, Reply, Rows, StateCopy, StreamHandle};
use super::past::Candidate;
use super::state::{Applied, CONSOLIDATE_LEAST, Published, State, answer};
use super::stream_log::{Read, StreamLog};
use super::{Drift, blocking};
use crate::serving::engine::Engine;
use crate::store::{Appended, LogSnapshot, NewRecord};
use crate::sync::{mpsc, spawn};
use crate::{Error, Kind, Result, telemetry};
use futures::future::join_all;
use serde_json::{Map, Value, json};
use std::sync::{Arc, Weak};
use tokio::sync::{broadcast, watch};

/// Commands that wait at most; more wait in the channel's senders.
const WAITING: usize = 64;
/// Rows that are applied before the first of them is answered.
const ROWS_TOGETHER: usize = 1_000;
/// Rows that are applied in less time than moving them to another thread takes.
const FEW_ROWS: usize = 8;
/// Rows after which a snapshot is saved and the log before it deleted.
const SNAPSHOT_ROWS: u64 = 50_000;
/// Bytes of records after which the same is done.
const SNAPSHOT_BYTES: usize = 64 << 20;
/// Rows after which a consolidation is due.
const CONSOLIDATE_ROWS: u64 = 20_000;
/// How often the rest of the log is applied while other replicas continue to write to it.
const TRIES: usize = 8;

/// The task's own.
pub(super) struct Actor {
    log: Arc<StreamLog>,
    engine: Engine,
    answering: Arc<Answering>,
    drifts: broadcast::Sender<Drift>,
    /// None for good after a panic while learning, when it may be inconsistent, and after another version has learned. The log
    /// holds everything.
    state: Option<Box<State>>,
    published: Arc<Publication<Published>>,
    /// Alive while a consolidation uses a copy.
    copies: Weak<()>,
    /// Dropped when the task ends.
    _alive: watch::Sender<()>,
}

impl Actor {
    /// Starts the task of a stream whose state has taken in all of the log.
    pub(super) fn start(
        (engine, answering): (Engine, Arc<Answering>),
        drifts: broadcast::Sender<Drift>,
        log: Arc<StreamLog>,
        state: State,
    ) -> StreamHandle {
        let (commands, receiver) = mpsc::channel(WAITING);
        let published = Arc::new(Publication::new(state.publish()));
        let (alive, ended) = watch::channel(());
        let handle = StreamHandle { log: Arc::clone(&log), commands, published: Arc::clone(&published), ended };
        published.show(&answering, (log.model.id, log.root));
        let state = Some(Box::new(state));
        let actor = Self { log, engine, answering, drifts, state, published, copies: Weak::new(), _alive: alive };
        spawn(actor.run(receiver));
        handle
    }

    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        while let Some(command) = commands.recv().await {
            let next = match command {
                Command::Observe(rows, reply) => {
                    let (mut together, mut count) = (vec![(rows, reply)], 0);
                    let mut next = None;
                    while count < ROWS_TOGETHER && next.is_none() {
                        count += together.last().map_or(0, |(rows, _)| rows.table.rows);
                        match commands.try_recv() {
                            Ok(Command::Observe(rows, reply)) => together.push((rows, reply)),
                            Ok(other) => next = Some(other),
                            Err(_) => break,
                        }
                    }
                    self.observe(together).await;
                    next
                }
                other => Some(other),
            };
            match next {
                // What has come in until now is still done.
                Some(Command::End) => commands.close(),
                Some(command) => self.operate(command).await,
                None => {}
            }
            if self.state.is_none() {
                return;
            }
        }
    }

    async fn operate(&mut self, command: Command) {
        // The caller may have disconnected; the command is executed all the same.
        match command {
            Command::Observe(rows, reply) => self.observe(vec![(rows, reply)]).await,
            Command::Operate(records, reply) => drop(reply.send(self.append_operations(records).await)),
            Command::CatchUp(reply) => drop(reply.send(self.catch_up_and_publish().await)),
            Command::AnswerAs(version, reply) => {
                if let Some(state) = &mut self.state {
                    state.version = version;
                }
                drop(reply.send(self.catch_up_and_publish().await));
            }
            Command::Snapshot(reply) => drop(reply.send(self.snapshot().await)),
            Command::Copy(reply) => drop(reply.send(self.copy().await)),
            Command::TakeOver(candidate, reply) => drop(reply.send(self.take_over(candidate).await)),
            Command::IsDue(reply) => drop(reply.send(self.with(|state| Ok(state.is_due())))),
            // Handled where commands are taken.
            Command::End => {}
        }
    }

    /// Does quick work on the state.
    fn with<T>(&mut self, work: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let state = self.state.as_mut().ok_or_else(lost)?;
        work(state)
    }

    /// Does long work on the state on another thread.
    async fn work<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut State) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut state = self.state.take().ok_or_else(lost)?;
        let (state, result) = blocking(move || {
            let result = work(&mut state);
            Ok((state, result))
        })
        .await?;
        self.state = Some(state);
        result
    }

    async fn observe(&mut self, together: Vec<(Rows, Reply<Value>)>) {
        let mut accepted = Vec::with_capacity(together.len());
        for (rows, reply) in together {
            match self.with(|state| Ok(state.online.check(&rows.table)?)) {
                Ok(()) => accepted.push((rows, reply)),
                Err(error) => drop(reply.send(Err(error))),
            }
        }
        // The store puts what is appended at the same time into one transaction, in this order.
        let appends = join_all(accepted.iter().map(|(rows, _)| self.append(rows))).await;
        let mut durable = Vec::with_capacity(accepted.len());
        for ((rows, reply), appended) in accepted.into_iter().zip(appends) {
            match appended {
                Ok(appended) => durable.push((rows, appended, reply)),
                Err(error) => drop(reply.send(Err(error))),
            }
        }
        let mut answers = Vec::with_capacity(durable.len());
        for (rows, appended, reply) in durable {
            let count = rows.table.rows as u64;
            let applied = self.apply(rows, appended).await;
            answers.push((reply, applied.map(|()| count)));
        }
        if self.state.is_none() {
            return;
        }
        self.publish();
        let published = self.published.get();
        let due = self.after_rows();
        for (reply, applied) in answers {
            let _ = reply.send(applied.map(|rows| answer(&published.report, published.version, rows)));
        }
        self.run_due(due).await;
    }

    async fn append(&self, rows: &Rows) -> Result<Appended> {
        let (count, payload) = (rows.table.rows as u64, rows.payload.clone());
        let (idempotency, source) = (rows.key.clone(), rows.source.clone());
        let record = NewRecord { kind: "rows".into(), rows: count, payload, idempotency, source };
        let model = &self.log.model;
        let appended = self.log.store.append_observations(&model.name, model.id, vec![record]).await?;
        let Some(appended) = appended.first().copied() else { return Err(Error::internal("nothing was appended")) };
        if !appended.replayed {
            metrics::counter!(telemetry::OBSERVED_ROWS, "model" => telemetry::stream_label(model.name.as_str()))
                .increment(count);
        }
        Ok(appended)
    }

    /// Applies rows that were just appended, after earlier records of the log; or, of a replay, what is in the log.
    async fn apply(&mut self, rows: Rows, appended: Appended) -> Result<()> {
        let next = self.next()?;
        if next < appended.seq || (appended.replayed && next == appended.seq) {
            self.catch_up().await?;
        }
        // They were applied while catching up, or before.
        if self.next()? != appended.seq {
            return Ok(());
        }
        let few = rows.table.rows <= FEW_ROWS;
        let work = move |state: &mut State| {
            state.learn(&rows.table, &rows.payload, (appended.next, appended.at, &rows.source))
        };
        let applied = if few { self.with(work)? } else { self.work(work).await? };
        self.notice(applied);
        Ok(())
    }

    /// The first record that is not applied.
    fn next(&self) -> Result<u64> {
        Ok(self.state.as_ref().ok_or_else(lost)?.next)
    }

    /// Applies the part of the log that the state has not applied.
    async fn catch_up(&mut self) -> Result<()> {
        loop {
            let records = match self.log.read(self.next()?).await? {
                Read::Records(records) => records,
                Read::UpToDate => return Ok(()),
                Read::Compacted => {
                    // A missing record is in a snapshot that another replica, or a consolidation, has made.
                    let (reloaded, next) = match self.log.reload(self.next()?).await {
                        // The log goes on from another state, with which a new task begins.
                        Err(error) if error.code == "stream_replaced" => {
                            self.state = None;
                            return Err(error);
                        }
                        reloaded => reloaded?,
                    };
                    // Requests to forget among them.
                    let known = self.with(|state| Ok(state.past.pending.len()))?;
                    self.forget_answers(reloaded.1.pending.get(known..).unwrap_or_default()).await?;
                    self.with(|state| {
                        state.replace(reloaded, next);
                        Ok(())
                    })?;
                    continue;
                }
            };
            let forgets = records.iter().filter(|record| record.kind == "forget");
            let forgets: Vec<Value> =
                forgets.filter_map(|record| serde_json::from_slice(&record.payload).ok()).collect();
            self.forget_answers(&forgets).await?;
            let log = Arc::clone(&self.log);
            let applied = self
                .work(move |state| records.iter().map(|record| state.apply(&log, record)).collect::<Result<Vec<_>>>())
                .await?;
            applied.into_iter().for_each(|applied| self.notice(applied));
        }
    }

    async fn catch_up_and_publish(&mut self) -> Result<()> {
        let caught_up = self.catch_up().await;
        if self.state.is_some() {
            self.publish();
        }
        caught_up
    }

    async fn append_operations(&mut self, records: Vec<NewRecord>) -> Result<()> {
        self.log.store.append_observations(&self.log.model.name, self.log.model.id, records).await?;
        self.catch_up_and_publish().await
    }

    /// Reports alarms that rows have caused.
    fn notice(&self, applied: Applied) {
        for (of, row, window) in applied.drifts {
            self.log.notice_drift(of, row, window);
            let (model, model_id) = (self.log.model.name.clone(), self.log.model.id);
            let version = self.published.get().version;
            // Without a receiver there is nothing to do.
            let _ = self.drifts.send(Drift { model, model_id, version, of, row, window });
        }
    }

    /// Publishes what was learned.
    fn publish(&self) {
        if let Some(state) = &self.state {
            self.published.replace(state.publish(), &self.answering, (self.log.model.id, self.log.root));
        }
    }

    /// Drops rows of recent predictions that are to be forgotten: each replica has those that it has answered.
    async fn forget_answers(&self, forgotten: &[Value]) -> Result<()> {
        let filters = forgotten.iter().filter_map(|what| what["where"].as_object().cloned());
        let filters: Vec<Map<String, Value>> = filters.collect();
        if filters.is_empty() {
            return Ok(());
        }
        let (engine, log) = (self.engine.clone(), Arc::clone(&self.log));
        blocking(move || {
            for filter in &filters {
                let goes = |row: &str| matches(filter, None, Some(row), &log.target);
                engine.forget_answers(log.model.name.as_str(), goes);
            }
            Ok(())
        })
        .await
    }

    /// Work that is due after rows: whether to save a snapshot, and why to consolidate.
    fn after_rows(&mut self) -> (bool, Option<&'static str>) {
        let consolidating = self.copies.strong_count() > 0;
        let Some(state) = &mut self.state else { return (false, None) };
        let rows = state.online.rows();
        let since = rows - state.consolidated_at.min(rows);
        let drifted = std::mem::take(&mut state.drift);
        let consolidate = match (since >= CONSOLIDATE_ROWS, drifted && since >= CONSOLIDATE_LEAST) {
            (_, true) => Some("drift"),
            (true, _) => Some("rows"),
            _ => None,
        };
        if consolidate.is_some() {
            state.consolidated_at = rows;
        }
        let (kept_rows, kept_bytes) = state.since_snapshot;
        ((kept_rows >= SNAPSHOT_ROWS || kept_bytes >= SNAPSHOT_BYTES) && !consolidating, consolidate)
    }

    async fn run_due(&mut self, (snapshot, consolidate): (bool, Option<&'static str>)) {
        if let Some(because) = consolidate {
            super::due::queue_due(&self.log, because).await;
        }
        if snapshot && let Err(error) = self.snapshot().await {
            tracing::warn!(model = self.log.model.name.as_str(), %error, "a stream's state could not be kept");
        }
    }

    /// Saves the state, and deletes what is not kept of the log before it.
    async fn snapshot(&mut self) -> Result<()> {
        let log = Arc::clone(&self.log);
        let (snapshot, keep) = self.work(move |state| Ok((state.kept(log.root)?, log.keep(&state.past, None)))).await?;
        self.log.store.save_log_snapshot(&self.log.model.name, self.log.model.id, snapshot, &keep).await?;
        self.with(|state| {
            state.compacted();
            Ok(())
        })
    }

    async fn copy(&mut self) -> Result<StateCopy> {
        self.catch_up_and_publish().await?;
        let token = self.copies.upgrade().unwrap_or_default();
        self.copies = Arc::downgrade(&token);
        let (bytes, past, next) =
            self.work(|state| Ok((state.online.snapshot()?, state.past.clone(), state.next))).await?;
        Ok(StateCopy { bytes, past, next, token })
    }

    /// Replaces the state by the candidate, here and for every replica. Nothing is appended here meanwhile;
    /// what other replicas append is applied before another try.
    async fn take_over(&mut self, mut candidate: Box<Candidate>) -> Result<()> {
        let (log, version) = (Arc::clone(&self.log), self.published.get().version);
        if log.store.model(&log.model.name).await?.traffic.stable != Some(version) {
            return Err(Error::conflict("version_changed", "the model serves another version now"));
        }
        for _ in 0..TRIES {
            candidate = log.follow(candidate).await?;
            let (returned, bytes) = blocking(move || {
                let bytes = candidate.online.snapshot()?;
                Ok((candidate, bytes))
            })
            .await?;
            candidate = returned;
            let (rows, past) = (candidate.online.rows(), &candidate.past);
            let info = json!({"version": version, "root": log.root, "rows": rows, "past": past});
            let snapshot = LogSnapshot { seq: candidate.next, bytes: bytes.into(), info };
            let keep = log.keep(past, candidate.oldest.clone());
            if log.store.take_over_log(&log.model.name, log.model.id, snapshot, &keep).await? {
                self.with(|state| {
                    state.replace((candidate.online, candidate.past), candidate.next + 1);
                    state.compacted();
                    Ok(())
                })?;
                self.publish();
                return Ok(());
            }
        }
        Err(Error::new(Kind::Unavailable, "stream_busy", "the stream went on faster than it could be followed"))
    }
}

fn lost() -> Error {
    Error::internal("the stream's state was lost")
}
