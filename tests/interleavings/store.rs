//! The counter by which readers of copies detect what may have changed, and a log in memory.

mod log;

pub(crate) use kenyon::store::{
    Appended, IdempotencyKey, LogKeep, LogLine, LogSnapshot, Model, ModelName, NewRecord, Record, Traffic,
};
pub(crate) use log::Store;

#[path = "../../src/store/model_changes.rs"]
pub(crate) mod model_changes;

use crate::sync::{Mutex, thread};
use model_changes::ModelChanges;
use shuttle::future::block_on;
use std::sync::Arc;

pub(crate) const CHECKS: &[(&str, fn())] = &[("a_reader_waits_for_commits_and_misses_no_end", a_reader_waits)];

/// Changes a model as a transaction does: `commit` makes the change visible.
pub(crate) fn change(changes: &Arc<ModelChanges>, model: &ModelName, commit: impl FnOnce()) {
    let _writing = changes.begin(vec![model.clone()]);
    commit();
}

pub(crate) fn model() -> ModelName {
    "m".parse().expect("a name")
}

fn a_reader_waits() {
    let changes = Arc::new(ModelChanges::default());
    let visible = Arc::new(Mutex::new(0u64));
    let writers: Vec<_> = (0..2)
        .map(|_| {
            let (changes, visible) = (Arc::clone(&changes), Arc::clone(&visible));
            thread::spawn(move || change(&changes, &model(), || *visible.lock().expect("no panic") += 1))
        })
        .collect();
    // Shuttle reports a reader that waits for ever.
    let before = changes.counter();
    let settled = block_on(changes.settled(&model()));
    let seen = *visible.lock().expect("no panic");
    // A copy made now is as new as `before`, or the counter shows that it may not be.
    let unchanged = changes.counter() == before && settled <= before;
    writers.into_iter().for_each(|writer| writer.join().expect("no panic"));
    let end = *visible.lock().expect("no panic");
    assert!(!unchanged || changes.counter() > before || seen == end, "{seen} of {end} changes seen, counter {before}");
    assert_eq!(block_on(changes.settled(&model())), changes.counter());
}
