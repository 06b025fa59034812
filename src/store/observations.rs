//! A model's observation log: what was observed, in one order that is the same on every replica.
//!
//! A record is one batch of rows (or another operation, such as forgetting) in the caller's
//! encoding. Records are numbered by rows: a record of 10 rows at 5 is followed by one at 15.
//! State = last snapshot + the records from its number on; how many older ones stay is in `log_history`.
//!
//! Appends of all requests that wait share one transaction, so that one sync to disk acknowledges
//! them together. The head's row is locked meanwhile: on Postgres, too, records become visible in
//! the order of their numbers, and a reader that has seen number n never misses one below it.

use super::change::Change;
use super::clock::now;
use super::db::{Db, Row, Tx, sql, time};
use super::idempotency::IdempotencyKey;
use super::log_history::{self, LogKeep};
use super::log_records::{LogSnapshot, Record, from_row};
use super::model_rows::discard;
use super::{ModelName, Store};
use crate::{Error, Result};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// Requests that wait at most; more wait in the channel's senders.
const WAITING: usize = 1024;
/// Bytes after which a transaction takes no further request.
const BATCH_BYTES: usize = 16 << 20;

/// A record to append.
#[derive(Clone, Debug, Default)]
pub struct NewRecord {
    /// What it is (`rows`, `forget` …), for the replay.
    pub kind: String,
    /// How many rows it counts; 0 for an operation, which takes up one number.
    pub rows: u64,
    /// The rows in the caller's encoding.
    pub payload: Vec<u8>,
    /// The request it belongs to: the same key never appends twice. A request of several records
    /// appends `#` and their index to the key (`abc#3`).
    pub idempotency: Option<IdempotencyKey>,
    /// The id of the key that sent it; empty without keys.
    pub source: String,
}

/// Where a record was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its number.
    pub seq: u64,
    /// The number after it.
    pub next: u64,
    /// Whether it was there already, from an earlier try of the same request.
    pub replayed: bool,
    /// When it was appended; of a replay, when it was requested again.
    pub at: Timestamp,
}

impl Store {
    /// Appends records to a model's log, all or none, and returns once they are durable.
    /// `model` is [`super::Model::id`].
    pub async fn append_observations(
        &self,
        name: &ModelName,
        model: Uuid,
        records: Vec<NewRecord>,
    ) -> Result<Vec<Appended>> {
        self.inner.log.append(name, model, records).await
    }

    /// Records from number `from` on that are not in the last snapshot: at most `limit` of them and, past the first,
    /// 16 MiB.
    pub async fn read_observations(&self, model: Uuid, from: u64, limit: usize) -> Result<Vec<Record>> {
        let list = "SELECT * FROM observations WHERE model_id = $1 AND seq >= $2
            AND seq >= COALESCE((SELECT snapshot_seq FROM logs WHERE model_id = $1), 0) ORDER BY seq LIMIT $3";
        let rows = self.inner.db.all(sql(list).bind(model.to_string()).bind(from).bind(limit.min(1000))).await?;
        let mut records = Vec::with_capacity(rows.len());
        let mut bytes = 0;
        for row in rows {
            let record = from_row(&row)?;
            bytes += record.payload.len();
            records.push(record);
            if bytes > BATCH_BYTES {
                break;
            }
        }
        Ok(records)
    }

    /// Models that answer and have observed something, with their ids.
    pub async fn streams(&self) -> Result<Vec<(ModelName, Uuid)>> {
        let list = "SELECT m.name, m.id FROM models m JOIN logs l ON l.model_id = m.id
            WHERE l.next_seq > 0 AND m.stable IS NOT NULL ORDER BY m.name";
        let rows = self.inner.db.all(sql(list)).await?;
        let one = |row: &Row| -> Result<(ModelName, Uuid)> {
            Ok((row.parse("name")?, row.get::<String>("id")?.parse().map_err(Error::internal)?))
        };
        rows.iter().map(one).collect()
    }

    /// The number the next record gets; 0 for an empty log.
    pub async fn log_head(&self, model: Uuid) -> Result<u64> {
        let one = "SELECT next_seq FROM logs WHERE model_id = $1";
        let row = self.inner.db.opt(sql(one).bind(model.to_string())).await?;
        row.ok_or_else(gone)?.u64("next_seq")
    }

    /// Keeps a state, and of the records that are in it what `keep` selects. A state older than the one that is kept changes
    /// nothing.
    pub async fn save_log_snapshot(
        &self,
        name: &ModelName,
        model: Uuid,
        snapshot: LogSnapshot,
        keep: &LogKeep,
    ) -> Result<()> {
        let seq = snapshot.seq;
        let fits = |head: &Head| head.snapshot_seq.is_none_or(|kept| kept <= seq);
        self.keep_log_snapshot(name, model, (snapshot, keep), seq, fits).await.map(|_| ())
    }

    /// Replaces everything below `snapshot.seq`, which must be the log's head, by a state that does not follow
    /// from the log; returns whether it was still the head. The state takes up one number, so that
    /// a replica that applies the log finds that number missing and reads the snapshot.
    pub async fn take_over_log(
        &self,
        name: &ModelName,
        model: Uuid,
        snapshot: LogSnapshot,
        keep: &LogKeep,
    ) -> Result<bool> {
        let seq = snapshot.seq;
        let snapshot = LogSnapshot { seq: seq + 1, ..snapshot };
        self.keep_log_snapshot(name, model, (snapshot, keep), seq + 1, |head: &Head| head.next == seq).await
    }

    async fn keep_log_snapshot(
        &self,
        name: &ModelName,
        model: Uuid,
        (snapshot, keep): (LogSnapshot, &LogKeep),
        next: u64,
        fits: impl Fn(&Head) -> bool,
    ) -> Result<bool> {
        let new_key = || format!("logs/{model}/{}-{}", snapshot.seq, Uuid::now_v7().simple());
        let key = new_key();
        self.inner.objects.put(&key, snapshot.bytes.clone()).await?;
        let mut oldest = None;
        if let Some(bytes) = &keep.replace_oldest {
            let key = new_key();
            self.inner.objects.put(&key, bytes.clone()).await?;
            oldest = Some(key);
        }
        let mut tx = self.inner.db.begin().await?;
        let old = match lock(&mut tx, model).await {
            Ok(row) if fits(&row) => row,
            refused => {
                drop(tx);
                for key in [Some(key), oldest].iter().flatten() {
                    self.inner.objects.delete(key).await?;
                }
                return refused.map(|_| false);
            }
        };
        let update = "UPDATE logs SET snapshot_seq = $2, snapshot_key = $3, snapshot_info = $4, next_seq = $5
            WHERE model_id = $1";
        let id = model.to_string();
        let update = sql(update).bind(&id).bind(snapshot.seq).bind(&key).bind(&snapshot.info);
        tx.exec(update.bind(old.next.max(next))).await?;
        log_history::settle(&mut tx, &id, &snapshot, (&key, oldest), keep).await?;
        if let Some(old) = old.snapshot_key
            && !log_history::is_checkpoint(&mut tx, &old).await?
        {
            discard(&mut tx, &old).await?;
        }
        tx.notify(Change::Log(name.clone()));
        tx.commit().await?;
        self.sweep().await.map(|_| true)
    }

    /// The state that is kept, if any.
    pub async fn log_snapshot(&self, model: Uuid) -> Result<Option<LogSnapshot>> {
        // Another replica may replace it between the two reads; then there is a newer one to read.
        for _ in 0..3 {
            let one = "SELECT * FROM logs WHERE model_id = $1";
            let row = self.inner.db.opt(sql(one).bind(model.to_string())).await?.ok_or_else(gone)?;
            let (Some(seq), Some(key)) = (row.opt_u64("snapshot_seq")?, row.get::<Option<String>>("snapshot_key")?)
            else {
                return Ok(None);
            };
            match self.inner.objects.get(&key).await {
                Ok(bytes) => return Ok(Some(LogSnapshot { seq, bytes, info: row.json("snapshot_info")? })),
                Err(error) if error.code == "object_not_found" => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::internal(format!("the log snapshot of model {model} is missing")))
    }
}

fn gone() -> Error {
    Error::not_found("model_not_found", "the model was removed")
}

struct Head {
    next: u64,
    snapshot_seq: Option<u64>,
    snapshot_key: Option<String>,
}

/// Reads a log's head and blocks other appends until the transaction ends.
async fn lock(tx: &mut Tx, model: Uuid) -> Result<Head> {
    let lock = "UPDATE logs SET next_seq = next_seq WHERE model_id = $1 RETURNING *";
    let row = tx.opt(sql(lock).bind(model.to_string())).await?.ok_or_else(gone)?;
    let (snapshot_seq, snapshot_key) = (row.opt_u64("snapshot_seq")?, row.get("snapshot_key")?);
    Ok(Head { next: row.u64("next_seq")?, snapshot_seq, snapshot_key })
}

struct Request {
    name: ModelName,
    model: Uuid,
    records: Vec<NewRecord>,
    reply: oneshot::Sender<Result<Vec<Appended>>>,
}

enum Message {
    Append(Request),
    Flush(oneshot::Sender<()>),
}

/// The one task that appends, for all requests of this process.
#[derive(Clone, Debug)]
pub(super) struct LogWriter {
    sender: mpsc::Sender<Message>,
}

impl LogWriter {
    pub(super) fn start(db: Arc<Db>) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(write_all(db, receiver));
        Self { sender }
    }

    async fn append(&self, name: &ModelName, model: Uuid, records: Vec<NewRecord>) -> Result<Vec<Appended>> {
        let (reply, answer) = oneshot::channel();
        let request = Request { name: name.clone(), model, records, reply };
        let ended = || Error::new(crate::Kind::Unavailable, "draining", "the server is ending");
        self.sender.send(Message::Append(request)).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }

    /// Waits until everything that was sent before is written.
    pub(super) async fn flush(&self) {
        let (reply, done) = oneshot::channel();
        if self.sender.send(Message::Flush(reply)).await.is_ok() {
            let _ = done.await;
        }
    }
}

async fn write_all(db: Arc<Db>, mut receiver: mpsc::Receiver<Message>) {
    while let Some(first) = receiver.recv().await {
        let (mut batch, mut flushes, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Append(request) => {
                    bytes += request.records.iter().map(|r| r.payload.len()).sum::<usize>();
                    batch.push(request);
                }
                Message::Flush(reply) => flushes.push(reply),
            }
            next = if bytes < BATCH_BYTES { receiver.try_recv().ok() } else { None };
        }
        write_batch(&db, batch).await;
        flushes.into_iter().for_each(|reply| {
            let _ = reply.send(());
        });
    }
}

/// Requests of one batch by model; sorted, so that two replicas lock heads in the same order.
async fn write_batch(db: &Db, batch: Vec<Request>) {
    let mut models: BTreeMap<Uuid, Vec<Request>> = BTreeMap::new();
    for request in batch {
        models.entry(request.model).or_default().push(request);
    }
    let outcome = async {
        let mut tx = db.begin().await?;
        let mut answers = Vec::new();
        for (model, requests) in &mut models {
            append(&mut tx, *model, requests, &mut answers).await?;
        }
        tx.commit().await?;
        Ok::<_, Error>(answers)
    };
    let requests = |models: BTreeMap<Uuid, Vec<Request>>| models.into_values().flatten();
    match outcome.await {
        Ok(answers) => {
            for (request, answer) in requests(models).zip(answers) {
                // A caller that has disconnected does not need the answer.
                let _ = request.reply.send(answer);
            }
        }
        Err(error) => {
            tracing::error!(%error, cause = ?error.cause, "observations could not be written");
            for request in requests(models) {
                let mut copy = Error::new(error.kind, error.code, error.detail.clone());
                copy.retry_after = error.retry_after;
                let _ = request.reply.send(Err(copy));
            }
        }
    }
}

/// Appends to one log and pushes one answer a request. Only what concerns the whole transaction
/// fails here; what one request did wrong is its own answer.
async fn append(
    tx: &mut Tx,
    model: Uuid,
    requests: &mut [Request],
    answers: &mut Vec<Result<Vec<Appended>>>,
) -> Result<()> {
    let id = model.to_string();
    let head = match lock(tx, model).await {
        Err(error) if error.kind == crate::Kind::NotFound => {
            answers.extend(requests.iter().map(|_| Err(gone())));
            return Ok(());
        }
        other => other?,
    };
    let (at, mut next) = (now(), head.next);
    let time = time(at)?;
    for request in requests.iter_mut() {
        // Looked up before anything is written, so that a request is applied whole or not at all.
        let known = match known_keys(tx, &id, &request.records).await? {
            Ok(known) => known,
            Err(error) => {
                answers.push(Err(error));
                continue;
            }
        };
        let mut appended = Vec::with_capacity(request.records.len());
        for (record, known) in request.records.iter_mut().zip(known) {
            let length = record.rows.max(1);
            if let Some(seq) = known {
                appended.push(Appended { seq, next: seq + length, replayed: true, at: time });
                continue;
            }
            let insert = "INSERT INTO observations (model_id, seq, row_count, kind, payload, created_at, key_id)
                VALUES ($1, $2, $3, $4, $5, $6, $7)";
            let source = Some(record.source.clone()).filter(|source| !source.is_empty());
            let insert = sql(insert).bind(&id).bind(next).bind(record.rows).bind(&record.kind);
            tx.exec(insert.bind(std::mem::take(&mut record.payload)).bind(at).bind(source)).await?;
            if let Some(key) = &record.idempotency {
                let insert = "INSERT INTO observation_keys (model_id, key, body_hash, seq, created_at)
                    VALUES ($1, $2, $3, $4, $5)";
                let insert = sql(insert).bind(&id).bind(log_key(key)).bind(&key.body_hash);
                tx.exec(insert.bind(next).bind(at)).await?;
            }
            appended.push(Appended { seq: next, next: next + length, replayed: false, at: time });
            next += length;
        }
        answers.push(Ok(appended));
        tx.notify(Change::Log(request.name.clone()));
    }
    let update = "UPDATE logs SET next_seq = $2 WHERE model_id = $1";
    tx.exec(sql(update).bind(&id).bind(next)).await.map(|_| ())
}

/// The number each record got in an earlier try, or why the request cannot be done.
async fn known_keys(tx: &mut Tx, model: &str, records: &[NewRecord]) -> Result<Result<Vec<Option<u64>>>> {
    let mut known = Vec::with_capacity(records.len());
    for record in records {
        let Some(key) = &record.idempotency else {
            known.push(None);
            continue;
        };
        let one = "SELECT body_hash, seq FROM observation_keys WHERE model_id = $1 AND key = $2";
        match tx.opt(sql(one).bind(model).bind(log_key(key))).await? {
            None => known.push(None),
            Some(row) if row.get::<String>("body_hash")? == key.body_hash => known.push(Some(row.u64("seq")?)),
            Some(_) => {
                let detail = "this Idempotency-Key was sent before with another body";
                return Ok(Err(Error::unprocessable("idempotency_mismatch", detail)));
            }
        }
    }
    Ok(Ok(known))
}

fn log_key(key: &IdempotencyKey) -> String {
    format!("{} {}", key.scope, key.key)
}
