//! How what a stream has learned reaches the versions that answer: at each publication, and when a version is loaded.

use crate::serving::loaded_version::LoadedVersion;
use crate::sync::{ArcSwap, Mutex, MutexGuard};
use kenyon_learn::learning::bundle::Bundle;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, Weak};
use uuid::Uuid;

/// The loaded versions, by the stream that they answer with.
#[derive(Default)]
pub(super) struct Answering {
    versions: Mutex<Versions>,
}

#[derive(Default)]
struct Versions {
    /// By the model's id, each with the version its stream began with.
    of: HashMap<Uuid, Vec<(u64, Weak<LoadedVersion>)>>,
    /// The number of models at which those without versions are removed.
    tidy_at: usize,
}

impl Answering {
    /// From now on `version` gets what is published of the stream that began with version `root` of its model. Called before
    /// the stream is searched: one that is not found then publishes to this version itself.
    pub(super) fn add(&self, root: u64, version: &Arc<LoadedVersion>) {
        let mut versions = self.versions();
        let there = |(_, version): &(u64, Weak<LoadedVersion>)| version.strong_count() > 0;
        if versions.of.len() >= versions.tidy_at {
            versions.of.retain(|_, versions| versions.iter().any(there));
            versions.tidy_at = 2 * versions.of.len() + 64;
        }
        let of = versions.of.entry(version.model_id).or_default();
        of.retain(there);
        of.push((root, Arc::downgrade(version)));
    }

    fn of(&self, model: Uuid, root: u64) -> Vec<Arc<LoadedVersion>> {
        let versions = self.versions();
        let of = versions.of.get(&model).into_iter().flatten().filter(|(began, _)| *began == root);
        of.filter_map(|(_, version)| version.upgrade()).collect()
    }

    fn versions(&self) -> MutexGuard<'_, Versions> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a stream has published last.
pub(super) struct Publication<P> {
    published: ArcSwap<P>,
}

impl<P: AsRef<Arc<Bundle>>> Publication<P> {
    pub(super) fn new(first: P) -> Self {
        Self { published: ArcSwap::from_pointee(first) }
    }

    pub(super) fn get(&self) -> Arc<P> {
        self.published.load_full()
    }

    /// Replaces it. The versions of the stream that began with version `root` of `model` answer with it after that.
    pub(super) fn replace(&self, new: P, answering: &Answering, (model, root): (Uuid, u64)) {
        self.published.store(Arc::new(new));
        self.show(answering, (model, root));
    }

    /// Has the versions of a stream answer with what is published.
    pub(super) fn show(&self, answering: &Answering, (model, root): (Uuid, u64)) {
        let published = self.get();
        answering.of(model, root).iter().for_each(|version| version.publish(Arc::clone((*published).as_ref())));
    }

    /// Has a version answer with what is published, which was added before and has not answered yet.
    pub(super) fn show_to(&self, version: &LoadedVersion) {
        loop {
            let published = self.get();
            version.publish(Arc::clone((*published).as_ref()));
            // What was published meanwhile may have reached the version before.
            if Arc::ptr_eq(&published, &self.get()) {
                return;
            }
        }
    }
}
