//! Two replicas on one store: each continues from what the other consolidates or compacts.

use super::command::Command;
use super::past::Past;
use super::state::State;
use super::{DriftIn, EmptyModel, Forgetting, Sender, StreamOptions, Streams};
use crate::serving::{Caller, Engine, Settings, StoredModels};
use crate::store::{Change, IdempotencyKey, JobFilter, JobKind, ModelName, NewJob, Store, StoreOptions};
use bytes::Bytes;
use jiff::Timestamp;
use kenyon_learn::data::plan::ColumnPlan;
use kenyon_learn::data::schema::ColumnKind;
use kenyon_learn::learning::stream::{StreamModel, StreamSpec};
use kenyon_learn::models::Task;
use kenyon_learn::random::Random;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const OPTIONS: StreamOptions = StreamOptions { threads: 1, history_bytes: 1 << 20, key_rows_limit: 0 };

struct Replicas {
    store: Store,
    all: Vec<(Streams, Engine)>,
    name: ModelName,
    _folder: tempfile::TempDir,
}

fn column(name: &str, kind: ColumnKind) -> ColumnPlan {
    ColumnPlan::new(name, kind)
}

fn rows(range: std::ops::Range<usize>) -> Value {
    let one = |i: usize| {
        let side = if i.is_multiple_of(2) { 1.0 } else { -1.0 };
        json!({"x": side * 2.0 + (i % 7) as f64 / 3.0, "y": (i % 5) as f64, "label": if side > 0.0 { "right" } else { "left" }})
    };
    range.map(one).collect()
}

impl Replicas {
    async fn start(count: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = StoreOptions { data_dir: folder.path().to_owned(), database_url: None, objects_url: None };
        let store = Store::open(&options).await.unwrap();
        let name: ModelName = "s".parse().unwrap();
        let mut it = Self { store, all: Vec::new(), name: name.clone(), _folder: folder };
        (0..count).for_each(|_| it.join());
        let empty = EmptyModel {
            task_assumed: false,
            name,
            task: Task::Classification,
            inputs: vec![column("x", ColumnKind::Number), column("y", ColumnKind::Number)],
            target: column("label", ColumnKind::Category),
            classes: Vec::new(),
            config: Map::new(),
            seed: 1,
        };
        it.all[0].0.create(empty).await.unwrap();
        it
    }

    fn join(&mut self) {
        let engine = Engine::new(Arc::new(StoredModels(self.store.clone())), Settings::default());
        self.all.push((Streams::new(self.store.clone(), engine.clone(), OPTIONS), engine));
    }

    async fn observe(&self, replica: usize, range: std::ops::Range<usize>) {
        let rows = rows(range).to_string();
        self.all[replica].0.observe(&self.name, rows.as_bytes(), Sender::default()).await.unwrap();
    }

    /// Lets a replica process all notifications.
    async fn receive(&self, replica: usize) {
        let (sender, receiver) = tokio::sync::broadcast::channel(8);
        sender.send(Change::Log(self.name.clone())).unwrap();
        sender.send(Change::Model(self.name.clone())).unwrap();
        drop(sender);
        self.all[replica].1.refresh("s").await.unwrap();
        self.all[replica].0.clone().follow(receiver).await;
    }

    async fn state(&self, replica: usize) -> (Value, Vec<u8>, Value) {
        self.receive(replica).await;
        let (streams, engine) = &self.all[replica];
        let figures = streams.stream(&self.name).await.unwrap();
        let bytes = streams.learning(&self.name).await.unwrap().call(Command::Copy).await.unwrap().bytes;
        let body = Bytes::from(r#"{"rows":[{"x":2,"y":1},{"x":-1.5,"y":3},{"x":0.2,"y":0}]}"#);
        let reply = engine.predict_json("s", &body, Caller { request_id: "r", deadline: None }).await.unwrap();
        let mut answers: Value = serde_json::from_slice(&reply.body).unwrap();
        for answer in answers["predictions"].as_array_mut().unwrap() {
            answer.as_object_mut().unwrap().remove("prediction_id");
        }
        (figures, bytes, answers["predictions"].take())
    }

    /// Runs the next consolidation job as a worker does; the version it made.
    async fn consolidate(&self, replica: usize) -> Option<u64> {
        let job = NewJob {
            kind: JobKind::Consolidate,
            model: Some(self.name.clone()),
            dataset: None,
            spec: Value::Null,
            priority: 0,
            create: None,
        };
        self.store.submit_job(job, 10, None).await.unwrap();
        let claim = self.store.claim_job("test", Duration::from_secs(60)).await.unwrap().unwrap();
        let done = self.all[replica].0.consolidate(&self.name).await.unwrap();
        match done.version {
            Some(version) => {
                self.store.publish_job(&claim, version).await.unwrap();
                claim.job.version
            }
            None => {
                self.store.succeed_job(&claim, &json!({}), &done.result).await.unwrap();
                None
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consolidated_state_takes_over_on_every_replica() {
    let mut replicas = Replicas::start(2).await;
    replicas.observe(0, 0..300).await;
    replicas.observe(1, 300..500).await;
    assert_eq!(replicas.state(0).await, replicas.state(1).await);
    // Forgetting makes the next consolidation take over whatever its accuracy.
    let filter = json!({"y": 4});
    let answer =
        replicas.all[0].0.forget(&replicas.name, Forgetting::Where(filter.as_object().unwrap().clone())).await.unwrap();
    assert_eq!(answer["retrained_at"], "next_consolidation");
    let version = replicas.consolidate(1).await.expect("a version");
    // Rows arrive at both before either has processed the notification.
    replicas.observe(0, 500..600).await;
    replicas.observe(1, 600..700).await;
    let (a, b) = (replicas.state(0).await, replicas.state(1).await);
    assert_eq!(a, b);
    assert_eq!((&a.0["version"], &a.0["observed"], &a.0["forgotten_since"]), (&json!(version), &json!(600), &json!(0)));
    assert_eq!(a.0["consolidations"].as_array().unwrap().len(), 1);
    // One that starts now reaches the same state, from the snapshot and the log after it.
    replicas.join();
    assert_eq!(replicas.state(2).await, a);
    // What was forgotten is in no record and in no memory entry.
    let model = replicas.store.model(&replicas.name).await.unwrap();
    let log = replicas.store.read_log_history(model.id, 0, 100).await.unwrap();
    let text: Vec<u8> = log.iter().flat_map(|r| r.payload.clone()).collect();
    assert!(log.iter().all(|r| r.kind == "rows") && String::from_utf8_lossy(&text).matches("\"y\":4").count() == 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lags_behind_a_snapshot_misses_nothing() {
    let replicas = Replicas::start(2).await;
    replicas.observe(1, 0..10).await;
    replicas.observe(0, 10..400).await;
    let learning = replicas.all[0].0.learning(&replicas.name).await.unwrap();
    learning.call(Command::Snapshot).await.unwrap();
    // The second has learned ten rows, and the log begins at 400.
    replicas.observe(1, 400..410).await;
    let (a, b) = (replicas.state(0).await, replicas.state(1).await);
    assert_eq!(a.0["observed"], 410);
    assert_eq!(a, b);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consolidation_is_queued_once_when_enough_rows_came() {
    let replicas = Replicas::start(1).await;
    for _ in 0..5 {
        replicas.observe(0, 0..5_000).await;
    }
    let filter = JobFilter { kind: Some(JobKind::Consolidate), ..JobFilter::default() };
    let jobs = replicas.store.jobs(&filter, 10, None).await.unwrap().items;
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0].spec["because"], "rows");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_stream_is_consolidated_once() {
    let replicas = Replicas::start(1).await;
    let queued = async || {
        let filter = JobFilter { kind: Some(JobKind::Consolidate), ..JobFilter::default() };
        replicas.store.jobs(&filter, 10, None).await.unwrap().items
    };
    let streams = &replicas.all[0].0;
    replicas.observe(0, 0..999).await;
    streams.queue_idle().await;
    streams.queue_idle().await;
    assert!(queued().await.is_empty(), "too few rows");
    replicas.observe(0, 0..1).await;
    streams.queue_idle().await;
    assert!(queued().await.is_empty(), "it has just learned something");
    streams.queue_idle().await;
    assert_eq!(queued().await[0].spec["because"], "idle");
    let claim = replicas.store.claim_job("test", Duration::from_secs(60)).await.unwrap().unwrap();
    let done = streams.consolidate(&replicas.name).await.unwrap();
    replicas.store.succeed_job(&claim, &json!({}), &done.result).await.unwrap();
    streams.queue_idle().await;
    streams.queue_idle().await;
    assert_eq!(queued().await.len(), 1);
    // A start does not count the same rows again.
    let next = Streams::new(replicas.store.clone(), replicas.all[0].1.clone(), OPTIONS);
    next.learning(&replicas.name).await.unwrap();
    next.queue_idle().await;
    next.queue_idle().await;
    assert_eq!(queued().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_takes_the_place_of_another_has_what_that_acknowledged() {
    let replicas = Replicas::start(1).await;
    let streams = &replicas.all[0].0;
    replicas.observe(0, 0..10).await;
    let before = streams.learning(&replicas.name).await.unwrap();
    // One of these is acknowledged by the one or by the other, whatever comes first.
    tokio::join!(replicas.observe(0, 10..20), streams.close(&before), replicas.observe(0, 20..30));
    let after = streams.learning(&replicas.name).await.unwrap();
    assert!(!Arc::ptr_eq(&before, &after) && before.ended.has_changed().is_err(), "its task goes on");
    assert_eq!(after.published().report.stream()["observed"], 30);
    assert_eq!(replicas.state(0).await.0["observed"], 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_acknowledged_when_its_rows_are_learned_here() {
    let replicas = Replicas::start(2).await;
    let body = rows(0..10).to_string();
    for (streams, _) in &replicas.all {
        streams.learning(&replicas.name).await.unwrap();
    }
    for (streams, _) in &replicas.all {
        let key = Some(IdempotencyKey::new("test", "once", body.as_bytes()));
        streams.observe(&replicas.name, body.as_bytes(), Sender { key, source: String::new() }).await.unwrap();
    }
    // The second had opened the stream before the first learned; no notification has reached it.
    assert_eq!(replicas.all[1].0.stream(&replicas.name).await.unwrap()["observed"], 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_learned_by_the_model_that_answers() {
    let replicas = Replicas::start(1).await;
    let streams = &replicas.all[0].0;
    // As with a routing table from before the model was deleted and made again.
    let error = streams.learning_of(&replicas.name, Uuid::nil()).await.map(drop).unwrap_err();
    assert_eq!(error.code, "stream_replaced");
    replicas.observe(0, 0..10).await;
    assert_eq!(replicas.state(0).await.0["observed"], 10);
}

/// Applies rows to a fresh state, `portion` at a time: how many portions changed the error, and the rows of alarms that
/// were reported and that the stream lists.
fn alarms(rows: &[Value], portion: usize) -> (usize, Vec<u64>, Vec<u64>) {
    let spec = StreamSpec {
        task: Task::Classification,
        target: column("label", ColumnKind::Category),
        classes: Vec::new(),
        inputs: vec![column("x", ColumnKind::Number)],
        config: Map::new(),
        seed: 1,
    };
    let mut state = State::new("s", 1, (StreamModel::new(&spec).unwrap(), Past::from(1)), 1);
    let (mut changes, mut reported) = (0, Vec::new());
    for (next, rows) in (2..).zip(rows.chunks(portion)) {
        let payload = rows.iter().map(Value::to_string).collect::<Vec<_>>().join("\n").into_bytes();
        let table = state.online.reader().from_ndjson(&payload).unwrap();
        let applied = state.learn(&table, &payload, (next, Timestamp::UNIX_EPOCH, "")).unwrap();
        changes += usize::from(std::mem::take(&mut state.drift));
        reported.extend(applied.drifts.iter().filter(|(of, ..)| *of == DriftIn::Error).map(|&(_, row, _)| row));
    }
    let listed = serde_json::from_value(state.publish().report.stream()["drift"]["rows"].take()).unwrap();
    (changes, reported, listed)
}

#[test]
fn reported_alarms_are_those_that_the_stream_lists() {
    let mut random = Random::new(1);
    let mut row = |keeps: bool| {
        let x = f64::from(random.normal());
        json!({"x": x, "label": if (x > 0.0) == keeps { "right" } else { "left" }})
    };
    // Labels are exchanged at row 2,000, and follow from nothing from row 2,500 on: too soon for another alarm.
    let mut coins = Random::new(2);
    let mut keeps = |i: usize| if i < 2_500 { i < 2_000 } else { coins.below(2) == 1 };
    let soon: Vec<Value> = (0..2_950).map(|i| row(keeps(i))).collect();
    let (changes, reported, listed) = alarms(&soon, 10);
    assert_eq!((reported.len(), &reported), (1, &listed));
    assert!(changes > 1, "what learns adapts to every change: {changes}");
    // Two changes in one record are two alarms.
    let twice: Vec<Value> = (0..6_000).map(|i| row(!(2_000..4_000).contains(&i))).collect();
    let (_, reported, listed) = alarms(&twice, 6_000);
    assert!(reported == listed && reported.len() >= 2, "{reported:?}, {listed:?}");
}
