//! Where the streams that are open here are found, and how one takes the place of another.

use super::Streams;
use super::command::StreamHandle;
use crate::store::ModelName;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::OnceCell;
use uuid::Uuid;

/// Where a stream's handle is once it is open.
#[derive(Default)]
pub(super) struct Place {
    pub(super) stream: OnceCell<Arc<StreamHandle>>,
    /// The stream that was here before. Its task ends before another reads the log, so that what it has acknowledged is in
    /// the state of the other.
    before: Mutex<Option<Arc<StreamHandle>>>,
}

impl Place {
    fn after(stream: &Arc<StreamHandle>) -> Self {
        Self { before: Mutex::new(Some(Arc::clone(stream))), ..Self::default() }
    }

    fn before(&self) -> MutexGuard<'_, Option<Arc<StreamHandle>>> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the task of the stream before has ended.
    pub(super) async fn free(&self) {
        let before = self.before().clone();
        if let Some(before) = before {
            before.end().await;
            self.before().take();
        }
    }
}

impl Streams {
    fn places(&self) -> MutexGuard<'_, HashMap<ModelName, Arc<Place>>> {
        self.inner.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of a model's stream.
    pub(super) fn place(&self, name: &ModelName, id: Uuid) -> Arc<Place> {
        let mut places = self.places();
        // A task that has ended, because learning panicked, is replaced: the state is read from the log. So is one of
        // an earlier model of the same name.
        let stale = |stream: &&Arc<StreamHandle>| stream.is_closed() || stream.log.model.id != id;
        if let Some(stream) = places.get(name).and_then(|place| place.stream.get()).filter(stale) {
            let next = Arc::new(Place::after(stream));
            places.insert(name.clone(), next);
        }
        Arc::clone(places.entry(name.clone()).or_default())
    }

    /// Removes a place whose stream is not open, unless another request is opening it.
    pub(super) fn give_up(&self, name: &ModelName, place: &Arc<Place>) {
        let mut places = self.places();
        let unused = |there: &Arc<Place>| Arc::ptr_eq(there, place) && Arc::strong_count(there) <= 2;
        if places.get(name).is_some_and(|there| unused(there) && !there.stream.initialized()) {
            places.remove(name);
        }
    }

    /// Ends a stream, whose place another may take after that.
    pub(super) async fn close(&self, stream: &Arc<StreamHandle>) {
        let name = &stream.log.model.name;
        let next = Arc::new(Place::after(stream));
        {
            let mut places = self.places();
            let there = places.get(name).and_then(|place| place.stream.get());
            if there.is_none_or(|there| !Arc::ptr_eq(there, stream)) {
                return;
            }
            places.insert(name.clone(), Arc::clone(&next));
        }
        next.free().await;
        self.give_up(name, &next);
    }

    pub(super) fn opened(&self, name: &ModelName) -> Option<Arc<StreamHandle>> {
        self.places().get(name)?.stream.get().filter(|stream| !stream.is_closed()).cloned()
    }

    pub(super) fn all_open(&self) -> Vec<Arc<StreamHandle>> {
        self.places().values().filter_map(|place| place.stream.get().cloned()).collect()
    }
}
