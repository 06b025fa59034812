//! The routing table: requests beside changes of the model.

use super::settings::Settings;
use super::stored::{Stored, served};
use super::table::Table;
use crate::Kind;
use crate::sync::atomic::AtomicU64;
use crate::sync::thread;
use shuttle::future::block_on;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use uuid::Uuid;

const FIRST: Uuid = Uuid::from_u128(1);
const SECOND: Uuid = Uuid::from_u128(2);

/// A request that begins after a version was promoted is answered by it, or by a later one.
pub(super) fn a_change_that_was_acknowledged_is_seen() {
    let stored = Arc::new(Stored::new(FIRST, 1));
    let table = Arc::new(Table::new(Arc::clone(&stored) as _, Settings::default()));
    let acknowledged = Arc::new(AtomicU64::new(1));
    let answers = |table: &Table, acknowledged: &AtomicU64| {
        let least = acknowledged.load(SeqCst);
        let version = block_on(table.select("m", None, "request")).expect("an answer").loaded.version;
        assert!(version >= least, "version {version} answers after version {least} was promoted");
    };
    answers(&table, &acknowledged);
    let reader = {
        let (table, acknowledged) = (Arc::clone(&table), Arc::clone(&acknowledged));
        thread::spawn(move || (0..2).for_each(|_| answers(&table, &acknowledged)))
    };
    let follower = {
        let table = Arc::clone(&table);
        thread::spawn(move || block_on(table.refresh("m")).expect("a table"))
    };
    for version in [2, 3] {
        stored.commit(served(FIRST, version));
        acknowledged.store(version, SeqCst);
        answers(&table, &acknowledged);
    }
    reader.join().expect("no panic");
    follower.join().expect("no panic");
}

/// A request that begins after a model was deleted is not answered by it, also where another has its name by then.
pub(super) fn a_deleted_model_does_not_answer() {
    let stored = Arc::new(Stored::new(FIRST, 1));
    let table = Arc::new(Table::new(Arc::clone(&stored) as _, Settings::default()));
    let others: Vec<_> = [None, Some(1)]
        .into_iter()
        .map(|version| {
            let table = Arc::clone(&table);
            // It may be answered or not, by either model.
            thread::spawn(move || drop(block_on(table.select("m", version, "request"))))
        })
        .collect();
    stored.commit(None);
    for version in [None, Some(1)] {
        let error = block_on(table.select("m", version, "request")).map(|_| ()).expect_err("a deleted model answers");
        assert_eq!(error.kind, Kind::NotFound);
    }
    stored.commit(served(SECOND, 1));
    for version in [None, Some(1)] {
        let loaded = block_on(table.select("m", version, "request")).expect("an answer").loaded;
        assert_eq!(loaded.model_id, SECOND, "a deleted model answers");
    }
    others.into_iter().for_each(|other| other.join().expect("no panic"));
}
