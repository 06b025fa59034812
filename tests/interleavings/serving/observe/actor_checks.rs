//! Two replicas with one log: each has a task that owns its copy of the stream's state.

use super::super::engine::Engine;
use super::super::stored::file;
use super::actor::Actor;
use super::answering::Answering;
use super::command::{Command, Rows, StateCopy, StreamHandle};
use super::past::{Candidate, Past};
use super::state::State;
use super::stream_log::StreamLog;
use crate::Kind;
use crate::store::{IdempotencyKey, Model, Store, Traffic, model};
use crate::sync::thread;
use jiff::Timestamp;
use kenyon_learn::learning::bundle::Bundle;
use kenyon_learn::learning::stream::StreamModel;
use shuttle::future::block_on;
use std::sync::Arc;
use tokio::sync::broadcast;
use uuid::Uuid;

/// Records that each client has learned, one after the other.
const RECORDS: usize = 2;

fn store() -> Store {
    let (at, traffic) = (Timestamp::UNIX_EPOCH, Traffic { stable: Some(1), ..Traffic::default() });
    let (id, info) = (Uuid::from_u128(1), serde_json::Value::Null);
    let (name, target) = (model(), "y".to_owned());
    Store::new(Model { name, id, family: None, task: None, target, info, traffic, created_at: at, updated_at: at })
}

fn log_of(store: &Store) -> Arc<StreamLog> {
    let origin = Arc::new(Bundle::load(file).expect("a bundle"));
    let model = block_on(store.model(&model())).expect("a model");
    let mut log = StreamLog {
        store: store.clone(),
        root: 1,
        base: None,
        reader: origin.reader().clone(),
        target: model.target.clone(),
        model,
        origin,
        threads: 1,
        history_bytes: 0,
    };
    // The rows to learn have the target, too.
    log.reader = log.begin().expect("a stream").reader().clone();
    Arc::new(log)
}

/// A replica whose state has taken in nothing yet.
fn replica(log: &Arc<StreamLog>) -> Arc<StreamHandle> {
    let state = State::new("m", 1, (log.begin().expect("a stream"), Past::from(0)), 0);
    let (drifts, _) = broadcast::channel(64);
    Arc::new(Actor::start((Engine, Arc::new(Answering::default())), drifts, Arc::clone(log), state))
}

fn rows(log: &StreamLog, client: usize, record: usize) -> Rows {
    let payload = format!("{{\"x\":{client},\"y\":\"{}\"}}", if record == 0 { "a" } else { "b" }).into_bytes();
    let table = log.reader.from_ndjson(&payload).expect("rows");
    let key = Some(IdempotencyKey::new("test", format!("{client}-{record}"), &payload));
    Rows { table, payload, key, source: String::new() }
}

fn observed(replica: &StreamHandle) -> u64 {
    replica.published().report.stream()["observed"].as_u64().expect("a number")
}

/// A client has rows learned by its replica, the second time also by a retry at the other one.
fn observe_rows(log: &StreamLog, replicas: &[Arc<StreamHandle>; 2], client: usize) {
    for record in 0..RECORDS {
        let own = &replicas[client];
        let before = observed(own);
        block_on(own.call(|reply| Command::Observe(rows(log, client, record), reply))).expect("an acknowledgement");
        assert!(observed(own) > before.min(record as u64), "rows are acknowledged before they are published");
    }
    let other = &replicas[1 - client];
    let again = rows(log, client, RECORDS - 1);
    block_on(other.call(|reply| Command::Observe(again, reply))).expect("an acknowledgement");
    assert!(observed(other) >= RECORDS as u64, "a retry is acknowledged before its rows are published");
}

/// Replaces the state by a copy that a consolidation could have made; the log may have been compacted meanwhile.
fn consolidate(replica: &StreamHandle) {
    let StateCopy { bytes, past, next, token } = block_on(replica.call(Command::Copy)).expect("a copy");
    let online = StreamModel::restore(&bytes, None).expect("a stream");
    let candidate = Box::new(Candidate { online, past, next, oldest: None });
    if let Err(error) = block_on(replica.call(|reply| Command::TakeOver(candidate, reply))) {
        assert_eq!(error.kind, Kind::Unavailable, "{error}");
    }
    drop(token);
}

/// Whatever comes between: what was acknowledged is in the log once, each replica publishes its own rows before it acknowledges them,
/// and in the end all have learned all rows once and are the same to the last bit.
pub(crate) fn what_was_acknowledged_is_learned_once_by_every_replica() {
    let store = store();
    let log = log_of(&store);
    let replicas = [replica(&log), replica(&log)];
    let mut others: Vec<_> = (0..2)
        .map(|client| {
            let (log, replicas) = (Arc::clone(&log), replicas.clone());
            thread::spawn(move || observe_rows(&log, &replicas, client))
        })
        .collect();
    let first = Arc::clone(&replicas[0]);
    others.push(thread::spawn(move || block_on(first.call(Command::Snapshot)).expect("a snapshot")));
    consolidate(&replicas[1]);
    others.into_iter().for_each(|other| other.join().expect("no panic"));
    let states = replicas.each_ref().map(|replica| {
        block_on(replica.call(Command::CatchUp)).expect("the rest of the log");
        block_on(replica.call(Command::Copy)).expect("a copy")
    });
    assert_eq!(store.records().iter().filter(|record| record.kind == "rows").count(), 2 * RECORDS);
    assert!(states[0].bytes == states[1].bytes && states[0].next == states[1].next, "the replicas differ");
    for replica in &replicas {
        assert_eq!(observed(replica), 2 * RECORDS as u64);
    }
}

/// A task that has ended acknowledges and publishes nothing after that, so that a state that is read from the log then has what it
/// acknowledged; rows that it does not take any more come back and are not in the log.
pub(crate) fn an_ended_task_acknowledges_nothing() {
    let store = store();
    let log = log_of(&store);
    let replica = replica(&log);
    let senders: Vec<_> = (0..2)
        .map(|client| {
            let (log, replica) = (Arc::clone(&log), Arc::clone(&replica));
            thread::spawn(move || {
                let send = |record| block_on(replica.observe(rows(&log, client, record))).ok().map(block_on);
                let answers: Vec<_> = (0..RECORDS).filter_map(send).collect();
                answers.iter().for_each(|answer| assert!(matches!(answer, Ok(Ok(_))), "{answer:?}"));
                answers.len()
            })
        })
        .collect();
    block_on(replica.end());
    let (logged, published) = (store.records().len(), observed(&replica));
    let acknowledged: usize = senders.into_iter().map(|sender| sender.join().expect("no panic")).sum();
    assert_eq!((store.records().len(), observed(&replica)), (logged, published));
    assert_eq!((logged, published), (acknowledged, acknowledged as u64));
}
