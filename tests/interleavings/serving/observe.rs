//! The task of a stream, and what it publishes while versions of it are loaded.

#[path = "../../../src/serving/observe/actor.rs"]
mod actor;
mod actor_checks;
#[path = "../../../src/serving/observe/answering.rs"]
mod answering;
#[path = "../../../src/serving/observe/apply.rs"]
mod apply;
#[path = "../../../src/serving/observe/command.rs"]
mod command;
#[path = "../../../src/serving/observe/past.rs"]
mod past;
#[path = "../../../src/serving/observe/state.rs"]
mod state;
#[path = "../../../src/serving/observe/stream_log.rs"]
mod stream_log;

/// Consolidations are not queued here.
mod due {
    pub(super) async fn queue_due(_: &super::stream_log::StreamLog, _: &str) {}
}

pub(super) use actor_checks::{
    an_ended_task_acknowledges_nothing, what_was_acknowledged_is_learned_once_by_every_replica,
};
use kenyon::serving::observe::{Drift, DriftIn};

async fn blocking<T>(work: impl FnOnce() -> crate::Result<T>) -> crate::Result<T> {
    work()
}

use super::loaded_version::LoadedVersion;
use super::settings::Settings;
use super::stored::{STATES, Stored};
use super::table::Table;
use crate::sync::atomic::AtomicUsize;
use crate::sync::thread;
use answering::{Answering, Publication};
use futures::future::BoxFuture;
use kenyon_learn::learning::bundle::Bundle;
use shuttle::future::block_on;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use uuid::Uuid;

const MODEL: Uuid = Uuid::from_u128(1);

struct Published(Arc<Bundle>);

impl AsRef<Arc<Bundle>> for Published {
    fn as_ref(&self) -> &Arc<Bundle> {
        &self.0
    }
}

/// A prediction that begins after rows were acknowledged is made with what was learned from them, also by a version that was being
/// loaded meanwhile, named in the request or not.
pub(super) fn a_version_that_is_loaded_answers_with_what_was_learned() {
    let states = &*STATES;
    let answering = Arc::new(Answering::default());
    let publication = Arc::new(Publication::new(Published(Arc::clone(&states[0]))));
    let table = Arc::new(Table::new(Arc::new(Stored::new(MODEL, 1)), Settings::default()));
    {
        let (answering, publication) = (Arc::clone(&answering), Arc::clone(&publication));
        table.on_load(Arc::new(move |version: Arc<LoadedVersion>| -> BoxFuture<'static, crate::Result<()>> {
            answering.add(1, &version);
            publication.show_to(&version);
            Box::pin(std::future::ready(Ok(())))
        }));
    }
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let readers: Vec<_> = [None, Some(1)]
        .into_iter()
        .map(|version| {
            let (table, acknowledged) = (Arc::clone(&table), Arc::clone(&acknowledged));
            thread::spawn(move || {
                for _ in 0..2 {
                    let least = acknowledged.load(SeqCst);
                    let loaded = block_on(table.select("m", version, "request")).expect("an answer").loaded;
                    let bundle = loaded.bundle();
                    let state = states.iter().position(|state| Arc::ptr_eq(state, &bundle));
                    assert!(state >= Some(least), "state {state:?} answers after state {least} was published");
                }
            })
        })
        .collect();
    for state in 1..states.len() {
        publication.replace(Published(Arc::clone(&states[state])), &answering, (MODEL, 1));
        acknowledged.store(state, SeqCst);
    }
    readers.into_iter().for_each(|reader| reader.join().expect("no panic"));
}
