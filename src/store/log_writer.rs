//! The task that appends to the logs of all models.
//!
//! Appends of all requests that wait share one transaction, so that one sync to disk acknowledges
//! them together. The head's row is locked meanwhile: on Postgres, too, records become visible in
//! the order of their numbers, and a reader that has seen number n never misses one below it.

use super::change::Change;
use super::clock::now;
use super::db::{Db, Tx, sql, time};
use super::idempotency_key::IdempotencyKey;
use super::log_records::{Appended, NewRecord};
use super::names::ModelName;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// Requests that wait at most; more wait in the channel's senders.
const WAITING: usize = 1024;
/// Bytes after which a transaction takes no further request.
pub(super) const BATCH_BYTES: usize = 16 << 20;

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

    /// Appends records, all or none, and returns once they are durable.
    pub(super) async fn append(&self, name: &ModelName, model: Uuid, records: Vec<NewRecord>) -> Result<Vec<Appended>> {
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

/// The error of a log whose model is not there.
pub(super) fn gone() -> Error {
    Error::not_found("model_not_found", "the model was removed")
}

/// The end of a log and its last snapshot.
pub(super) struct Head {
    pub(super) next: u64,
    pub(super) snapshot_seq: Option<u64>,
    pub(super) snapshot_key: Option<String>,
}

/// Reads a log's head and blocks other appends until the transaction ends.
pub(super) async fn lock(tx: &mut Tx, model: Uuid) -> Result<Head> {
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
