//! Every test of the store runs on SQLite and, where its binaries are found, on Postgres.

mod datasets;
mod job_machine;
mod jobs;
mod log;
mod models;
pub(crate) mod postgres;
mod small;

use super::*;
use bytes::Bytes;
use serde_json::{Value, json};
use std::future::Future;
use std::time::Duration;

/// A fresh store, which can be opened a second time: as another replica on Postgres, as a clone on
/// SQLite, where one process is all there is.
pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) options: StoreOptions,
    _folder: std::sync::Arc<tempfile::TempDir>,
}

impl Fixture {
    pub(crate) async fn new(database_url: Option<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().to_owned();
        let options = StoreOptions { data_dir, database_url, objects_url: None };
        Self { store: Store::open(&options).await.unwrap(), options, _folder: folder.into() }
    }

    pub(crate) async fn replica(&self) -> Store {
        if self.options.database_url.is_none() {
            return self.store.clone();
        }
        Store::open(&self.options).await.unwrap()
    }

    /// Closes the store while `other` has it, and opens it again.
    pub(crate) async fn away<F: Future<Output = ()>>(self, other: impl FnOnce(StoreOptions) -> F) -> Self {
        let Self { store, options, _folder } = self;
        store.close().await;
        drop(store);
        other(options.clone()).await;
        Self { store: Store::open(&options).await.unwrap(), options, _folder }
    }

    /// Ends everything that holds the store and opens it again.
    pub(crate) async fn reopen(self) -> Self {
        let Self { store, options, _folder } = self;
        store.close().await;
        drop(store);
        Self { store: Store::open(&options).await.unwrap(), options, _folder }
    }
}

/// Waits until the clocks of this process and of the database, in milliseconds, have moved on: what has no length is over then.
async fn next_millisecond() {
    // One more than a difference, since a database may round.
    let begun = clock::now();
    while clock::now() < begun + 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Runs a test on both databases, one after the other.
pub(crate) async fn on_both<F: Future<Output = ()>>(test: impl Fn(Fixture) -> F) {
    let mut urls = vec![None];
    if let Some(server) = postgres::server() {
        urls.push(Some(server.database().await));
    }
    for url in urls {
        let fixture = Fixture::new(url).await;
        // A test's block takes only the fields that it names; the folder must be dropped after it all the same.
        let _folder = fixture._folder.clone();
        test(fixture).await;
    }
}

pub(crate) fn model(name: &str) -> NewModel {
    NewModel { name: name.parse().unwrap(), family: None, task: None, target: "y".to_owned(), info: json!({}) }
}

pub(crate) fn train(name: &str) -> NewJob {
    NewJob {
        kind: JobKind::Train,
        model: Some(name.parse().unwrap()),
        dataset: None,
        spec: json!({ "seed": 7 }),
        priority: 0,
        create: Some(model(name)),
    }
}

pub(crate) async fn stage(store: &Store, text: &str) -> NewPart {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    let file = store.stage(futures::stream::iter([Ok::<_, crate::Error>(bytes)]), 1 << 20).await.unwrap();
    let rows = text.lines().count() as u64;
    NewPart { file, format: "csv".to_owned(), compression: "none".to_owned(), rows, read_as: Value::Null }
}

pub(crate) async fn put(store: &Store, name: &str, text: &str) -> Dataset {
    let part = stage(store, text).await;
    store.put_dataset(&name.parse().unwrap(), vec![part], &json!(["c"])).await.unwrap().0
}

/// Keys below `folder`, sorted.
pub(crate) async fn keys(store: &Store, folder: &str) -> Vec<String> {
    let mut keys: Vec<_> = store.objects().list(folder).await.unwrap().into_iter().map(|l| l.key).collect();
    keys.sort();
    keys
}

pub(crate) const LEASE: Duration = Duration::from_secs(30);

pub(crate) fn version(weights: &str) -> NewVersion {
    NewVersion {
        family: "sparse_mlp".to_owned(),
        task: Some("classification".to_owned()),
        metrics: json!({ "accuracy": 0.9 }),
        info: Value::Null,
        files: vec![("config.json".to_owned(), b"{}".to_vec()), ("weights".to_owned(), weights.into())],
        withheld: None,
    }
}
