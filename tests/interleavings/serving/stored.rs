//! A library in memory: one model, whose changes are marked as the store marks them.

use super::library::{Files, Library, Traffic};
use crate::store::model_changes::ModelChanges;
use crate::store::{change, model};
use crate::sync::Mutex;
use crate::{Error, Result};
use bytes::Bytes;
use futures::future::BoxFuture;
use kenyon_learn::data::plan::ColumnPlan;
use kenyon_learn::data::schema::ColumnKind;
use kenyon_learn::learning::bundle::Bundle;
use kenyon_learn::learning::stream::{StreamModel, StreamSpec};
use kenyon_learn::models::Task;
use serde_json::Map;
use std::sync::{Arc, LazyLock};
use uuid::Uuid;

pub(super) struct Stored {
    changes: Arc<ModelChanges>,
    traffic: Mutex<Option<Traffic>>,
}

impl Stored {
    pub(super) fn new(id: Uuid, version: u64) -> Self {
        Self { changes: Arc::default(), traffic: Mutex::new(served(id, version)) }
    }

    /// Commits another state of the model.
    pub(super) fn commit(&self, traffic: Option<Traffic>) {
        change(&self.changes, &model(), || *self.traffic.lock().expect("no panic") = traffic);
    }
}

pub(super) fn served(id: Uuid, version: u64) -> Option<Traffic> {
    Some(Traffic { id, stable: Some(version), ..Traffic::default() })
}

fn no_model() -> Error {
    Error::not_found("model_not_found", "there is no model m")
}

impl Library for Stored {
    fn traffic<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Traffic>> {
        Box::pin(async { self.traffic.lock().expect("no panic").clone().ok_or_else(no_model) })
    }

    fn files<'a>(&'a self, _: &'a str, id: Uuid, _: u64) -> BoxFuture<'a, Result<Files>> {
        let there = self.traffic.lock().expect("no panic").as_ref().is_some_and(|traffic| traffic.id == id);
        Box::pin(async move { if there { Ok(FILES.clone()) } else { Err(no_model()) } })
    }

    fn counter(&self) -> u64 {
        self.changes.counter()
    }

    fn settled<'a>(&'a self, _: &'a str) -> BoxFuture<'a, u64> {
        Box::pin(async { self.changes.settled(&model()).await })
    }
}

/// The files of a small stream's first version. All versions have them.
static FILES: LazyLock<Files> = LazyLock::new(|| {
    let spec = StreamSpec {
        task: Task::Classification,
        target: ColumnPlan::new("y", ColumnKind::Category),
        classes: vec!["a".into(), "b".into()],
        inputs: vec![ColumnPlan::new("x", ColumnKind::Number)],
        config: Map::from_iter([("stream".to_owned(), true.into())]),
        seed: 1,
    };
    let files = StreamModel::new(&spec).expect("a stream").publish().files().expect("files");
    files.into_iter().map(|(name, bytes)| (name.to_owned(), Bytes::from(bytes))).collect()
});

/// A file of it.
pub(super) fn file(name: &str) -> Option<&'static [u8]> {
    FILES.iter().find(|(file, _)| file == name).map(|(_, bytes)| &bytes[..])
}

/// States of the stream; so many that some are published while a version is loaded.
pub(super) static STATES: LazyLock<[Arc<Bundle>; 8]> =
    LazyLock::new(|| std::array::from_fn(|_| Arc::new(Bundle::load(file).expect("a bundle"))));
