//! Which models may have changed since a copy of their rows was made: a counter for readers of copies.
//!
//! A commit that changes a model marks it before and after, so a reader that compares the counter never
//! answers from a copy that is older than a commit which is already visible.

use super::ModelName;
use crate::sync::atomic::AtomicU64;
use crate::sync::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use tokio::sync::Notify;

/// Number of models that are tracked; beyond this all count as changed once.
const MAX_MODELS: usize = 10_000;

/// The changes of this process. Cheap to share.
#[derive(Debug, Default)]
pub struct ModelChanges {
    counter: AtomicU64,
    state: Mutex<State>,
    ended: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The counter after the last change of each model.
    last: HashMap<ModelName, u64>,
    /// Commits in progress.
    writing: HashMap<ModelName, usize>,
    /// The value for a model that is not in `last`.
    floor: u64,
}

impl ModelChanges {
    /// Changes with every change of any model.
    pub fn counter(&self) -> u64 {
        self.counter.load(Ordering::SeqCst)
    }

    /// The counter after the last change of `model`, once no commit that changes it is in progress.
    pub async fn settled(&self, model: &ModelName) -> u64 {
        loop {
            let ended = self.ended.notified();
            {
                let state = self.state();
                if !state.writing.contains_key(model) {
                    return state.last.get(model).copied().unwrap_or(state.floor);
                }
            }
            ended.await;
        }
    }

    /// Marks models whose change is about to be committed, until the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>, models: Vec<ModelName>) -> Option<Writing> {
        if models.is_empty() {
            return None;
        }
        let mut state = self.state();
        for model in &models {
            *state.writing.entry(model.clone()).or_default() += 1;
        }
        self.counter.fetch_add(1, Ordering::SeqCst);
        drop(state);
        Some(Writing { changes: Arc::clone(self), models })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A commit in progress.
pub(super) struct Writing {
    changes: Arc<ModelChanges>,
    models: Vec<ModelName>,
}

impl Drop for Writing {
    fn drop(&mut self) {
        let mut state = self.changes.state();
        let now = self.changes.counter.fetch_add(1, Ordering::SeqCst) + 1;
        for model in self.models.drain(..) {
            if let Some(count) = state.writing.get_mut(&model) {
                *count -= 1;
                if *count == 0 {
                    state.writing.remove(&model);
                }
            }
            state.last.insert(model, now);
        }
        if state.last.len() > MAX_MODELS {
            state.last.clear();
            state.floor = now;
        }
        drop(state);
        self.changes.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn a_commit_under_way_is_waited_for_and_moves_the_counter_twice() {
        let changes = Arc::new(ModelChanges::default());
        let (a, b): (ModelName, ModelName) = ("a".parse().unwrap(), "b".parse().unwrap());
        assert_eq!(changes.settled(&a).now_or_never(), Some(0));
        let first = changes.begin(vec![a.clone()]).unwrap();
        let second = changes.begin(vec![a.clone()]).unwrap();
        assert_eq!((changes.counter(), changes.settled(&a).now_or_never()), (2, None));
        drop(first);
        assert_eq!(changes.settled(&a).now_or_never(), None);
        drop(second);
        assert_eq!((changes.counter(), changes.settled(&a).now_or_never()), (4, Some(4)));
        assert_eq!(changes.settled(&b).now_or_never(), Some(0));
        assert!(changes.begin(Vec::new()).is_none());
    }
}
