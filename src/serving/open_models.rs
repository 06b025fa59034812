//! Which models are open here, by name.

use super::routing::Route;
use crate::sync::ArcSwap;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// Parts of the table. A part is copied when a model is added to it, so that readers need no lock; with ten thousand models a
/// copy of all of them for each one that is opened would take seconds in all.
const PARTS: usize = 64;

type RouteMap = HashMap<Arc<str>, Arc<ArcSwap<Route>>>;

/// The routing tables of the open models.
pub(super) struct OpenModels {
    parts: Vec<ArcSwap<RouteMap>>,
    hasher: RandomState,
}

impl OpenModels {
    pub(super) fn new() -> Self {
        Self { parts: (0..PARTS).map(|_| ArcSwap::default()).collect(), hasher: RandomState::new() }
    }

    fn part(&self, model: &str) -> &ArcSwap<RouteMap> {
        &self.parts[self.hasher.hash_one(model) as usize % PARTS]
    }

    pub(super) fn get(&self, model: &str) -> Option<Arc<ArcSwap<Route>>> {
        self.part(model).load().get(model).cloned()
    }

    pub(super) fn insert(&self, model: &str, route: Arc<Route>) {
        let place = Arc::new(ArcSwap::new(route));
        self.part(model).rcu(|models| {
            let mut models = RouteMap::clone(models);
            models.insert(model.into(), Arc::clone(&place));
            models
        });
    }

    pub(super) fn remove(&self, model: &str) {
        self.part(model).rcu(|models| {
            let mut models = RouteMap::clone(models);
            models.remove(model);
            models
        });
    }

    /// Calls `each` with every model.
    pub(super) fn each(&self, mut each: impl FnMut(&Arc<str>, &ArcSwap<Route>)) {
        self.parts.iter().for_each(|part| part.load().iter().for_each(|(model, route)| each(model, route)));
    }
}
