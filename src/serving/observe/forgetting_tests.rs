//! Random small histories: after `forget`, a state equals that of a stream that never received the rows.

use super::command::Command;
use super::{EmptyModel, Forgetting, Sender, StreamOptions, Streams};
use crate::serving::{Engine, Settings, StoredModels};
use crate::store::{ModelName, Store, StoreOptions};
use jiff::Timestamp;
use kenyon_learn::data::plan::ColumnPlan;
use kenyon_learn::data::schema::ColumnKind;
use kenyon_learn::learning::stream::{StreamModel, StreamSpec};
use kenyon_learn::models::Task;
use kenyon_learn::random::Random;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Histories in a run of the suite; `KENYON_HISTORIES` gives another number.
const HISTORIES: u64 = 60;
const KEYS: [&str; 3] = ["", "shop", "mallory"];

struct Sent {
    text: String,
    who: String,
    forgotten: bool,
}

enum Event {
    Rows { seq: u64, at: Timestamp, key: &'static str, rows: Vec<Sent> },
    Consolidated,
}

struct History {
    random: Random,
    store: Store,
    streams: Streams,
    name: ModelName,
    id: uuid::Uuid,
    spec: StreamSpec,
    history_bytes: u64,
    events: Vec<Event>,
    /// Rows were forgotten that the log did not hold any more.
    inexact: bool,
    sent: u64,
}

fn streams(store: &Store, history_bytes: u64) -> Streams {
    let engine = Engine::new(Arc::new(StoredModels(store.clone())), Settings::default());
    Streams::new(store.clone(), engine, StreamOptions { threads: 1, history_bytes, key_rows_limit: 0 })
}

impl History {
    async fn start(store: &Store, number: u64) -> Self {
        let random = Random::new(1_000 + number);
        let history_bytes = if number.is_multiple_of(3) { 1_500 } else { 1 << 20 };
        let regression = number % 4 == 1;
        let mut inputs = vec![ColumnPlan::new("who", ColumnKind::Category), ColumnPlan::new("x", ColumnKind::Number)];
        if number % 5 == 2 {
            inputs.push(ColumnPlan::new("note", ColumnKind::Text));
        }
        let (task, kind) = match regression {
            true => (Task::Regression, ColumnKind::Number),
            false => (Task::Classification, ColumnKind::Category),
        };
        let config = Map::from_iter([("memory_per_class".to_owned(), json!(8)), ("stream".to_owned(), json!(true))]);
        let target = ColumnPlan::new("label", kind);
        let spec = StreamSpec { task, target, classes: Vec::new(), inputs, config: config.clone(), seed: number };
        let name: ModelName = format!("h{number}").parse().unwrap();
        let streams = streams(store, history_bytes);
        let empty = EmptyModel {
            name: name.clone(),
            task,
            task_assumed: false,
            inputs: spec.inputs.clone(),
            target: spec.target.clone(),
            classes: Vec::new(),
            config,
            seed: spec.seed,
        };
        let id = streams.create(empty).await.unwrap().id;
        let (store, events) = (store.clone(), Vec::new());
        Self { random, store, streams, name, id, spec, history_bytes, events, inexact: false, sent: 0 }
    }

    fn row(&mut self) -> Sent {
        self.sent += 1;
        // Few persons have several rows, most have one; some rows are the same as an earlier one.
        let who = match self.random.below(3) {
            0 => format!("person-{}", self.random.below(4)),
            _ => format!("person-{}", 100 + self.sent),
        };
        let x = (self.random.uniform() * 40.0).round() / 10.0;
        let label = match self.spec.task {
            Task::Regression => json!(3.0 * x + self.random.normal()),
            Task::Classification => json!(if x > 2.0 { "high" } else { "low" }),
        };
        let mut row = json!({"who": who, "x": x, "label": label});
        if self.spec.inputs.len() > 2 {
            row["note"] = json!(format!("seen {who} in room {}", self.random.below(5)));
        }
        if self.random.below(10) == 0 {
            row.as_object_mut().unwrap().remove("label");
        }
        Sent { text: row.to_string(), who, forgotten: false }
    }

    async fn observe(&mut self) {
        let count = 1 + self.random.below(12);
        let rows: Vec<Sent> = (0..count).map(|_| self.row()).collect();
        let key = KEYS[self.random.below(KEYS.len())];
        let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
        let body = format!("[{}]", texts.join(","));
        let seq = self.store.log_head(self.id).await.unwrap();
        let from = Sender { key: None, source: key.to_owned() };
        self.streams.observe(&self.name, body.as_bytes(), from).await.unwrap();
        let at = self.store.read_log_history(self.id, seq, 1).await.unwrap()[0].at;
        self.events.push(Event::Rows { seq, at, key, rows });
    }

    async fn forget(&mut self) {
        let goes: Box<dyn Fn(&str, &Sent) -> bool>;
        let what = match self.random.below(4) {
            0 => {
                let key = KEYS[1 + self.random.below(KEYS.len() - 1)];
                goes = Box::new(move |by, _| by == key);
                Forgetting::Key(key.to_owned())
            }
            1 => {
                let page = super::MemoryPage { limit: 100, ..Default::default() };
                let page = self.streams.memory(&self.name, &page).await.unwrap();
                let items = page["items"].as_array().unwrap().clone();
                if items.is_empty() {
                    return;
                }
                let entry = &items[self.random.below(items.len())];
                let row = entry["row"].clone();
                goes = Box::new(move |_, sent| serde_json::from_str::<Value>(&sent.text).unwrap() == row);
                Forgetting::Entry(entry["id"].as_str().unwrap().parse().unwrap())
            }
            _ => {
                let last =
                    u64::from(self.random.below(2) == 0) * (100 + self.random.below(1 + self.sent as usize) as u64);
                let who = format!("person-{}", if last > 0 { last } else { self.random.below(4) as u64 });
                let filter = Map::from_iter([("who".to_owned(), json!(who))]);
                goes = Box::new(move |_, sent| sent.who == who);
                Forgetting::Where(filter)
            }
        };
        let kept = self.store.log_checkpoint(self.id, 1).await.unwrap();
        let begins = kept.filter(|kept| !kept.bytes.is_empty()).map_or(0, |kept| kept.seq);
        let (mut rows, mut before) = (0, 0);
        for event in &mut self.events {
            let Event::Rows { seq, key, rows: sent, .. } = event else { continue };
            for sent in sent.iter_mut().filter(|sent| !sent.forgotten && goes(key, sent)) {
                sent.forgotten = true;
                rows += u64::from(*seq >= begins);
                before += u64::from(*seq < begins);
            }
        }
        let answer = self.streams.forget(&self.name, what).await.unwrap();
        assert_eq!(answer["rows"], rows, "{answer}");
        assert!(begins > 0 || answer["exact"] == true, "{answer}");
        assert!(before == 0 || answer["exact"] == false, "{answer}");
        self.inexact |= before > 0;
    }

    async fn consolidate(&mut self) {
        match self.streams.consolidate(&self.name).await {
            Ok(done) if done.result["forgotten"].is_object() => {
                if !self.inexact {
                    assert_eq!(done.result["forgotten"]["state_sha256"], self.never_received(), "{}", done.result);
                }
            }
            Ok(_) => self.events.push(Event::Consolidated),
            Err(error) => assert_eq!(error.code, "nothing_to_consolidate"),
        }
    }

    /// The digest of a stream that received only the rows that are left.
    fn never_received(&self) -> String {
        let mut stream = StreamModel::new(&self.spec).unwrap();
        for event in &self.events {
            match event {
                Event::Rows { at, key, rows, .. } => {
                    let left: Vec<&str> = rows.iter().filter(|r| !r.forgotten).map(|r| r.text.as_str()).collect();
                    if !left.is_empty() {
                        let table = stream.reader().from_ndjson(left.join("\n").as_bytes()).unwrap();
                        stream.set_time(*at);
                        stream.set_source(key);
                        stream.observe(&table, &left).unwrap();
                    }
                }
                Event::Consolidated if stream.rows() > 0 => drop(stream.consolidate().unwrap()),
                Event::Consolidated => {}
            }
        }
        stream.digest().unwrap()
    }

    async fn check(&mut self) {
        self.consolidate().await;
        let copy = self.streams.learning(&self.name).await.unwrap().call(Command::Copy).await.unwrap();
        assert!(copy.past.pending.is_empty() && copy.past.erase.is_empty());
        if !self.inexact {
            let live = StreamModel::restore(&copy.bytes, None).unwrap().digest().unwrap();
            assert_eq!(live, self.never_received());
        }
        // Nothing that is stored names those who are forgotten.
        let mut stored = copy.bytes;
        for record in self.store.read_log_history(self.id, 0, 1000).await.unwrap() {
            stored.extend(record.payload);
        }
        let checkpoint = self.store.log_checkpoint(self.id, 1).await.unwrap();
        for snapshot in [self.store.log_snapshot(self.id).await.unwrap(), checkpoint].into_iter().flatten() {
            stored.extend(&snapshot.bytes);
            stored.extend(snapshot.info.to_string().into_bytes());
        }
        let stored = String::from_utf8_lossy(&stored);
        let rows =
            || self.events.iter().filter_map(|e| if let Event::Rows { rows, .. } = e { Some(rows) } else { None });
        let left = |who: &str| rows().flatten().any(|sent| !sent.forgotten && sent.who == who);
        for sent in rows().flatten().filter(|sent| sent.forgotten && !left(&sent.who) && !self.inexact) {
            assert!(!names(&stored, &sent.who), "{} is still there", sent.who);
        }
    }
}

/// Whether the text has this name, and not as the beginning of a longer one.
fn names(text: &str, who: &str) -> bool {
    text.match_indices(who).any(|(at, _)| !text[at + who.len()..].starts_with(|c: char| c.is_ascii_digit()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgetful_stream_equals_one_that_never_received_the_rows() {
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions { data_dir: folder.path().to_owned(), database_url: None, objects_url: None };
    let store = Store::open(&options).await.unwrap();
    let count = std::env::var("KENYON_HISTORIES").ok().and_then(|n| n.parse().ok()).unwrap_or(HISTORIES);
    let (mut exact, mut operations) = (0, 0);
    for number in 0..count {
        let mut history = History::start(&store, number).await;
        for _ in 0..6 + history.random.below(14) {
            operations += 1;
            match history.random.below(12) {
                0..=5 => history.observe().await,
                6..=7 => history.forget().await,
                8..=9 => history.consolidate().await,
                10 => history.streams = streams(&store, history.history_bytes),
                _ => {
                    let stream = history.streams.learning(&history.name).await.unwrap();
                    stream.call(Command::Snapshot).await.unwrap();
                }
            }
        }
        history.check().await;
        exact += u64::from(!history.inexact);
    }
    println!("{count} histories of {operations} operations: {exact} equal, {} reached behind the log", count - exact);
    assert!(exact * 2 > count);
}
