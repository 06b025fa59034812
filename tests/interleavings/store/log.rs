//! A store in memory with one log: what a stream's task uses of the server's, in as many steps as others can come between.

use super::{Appended, LogKeep, LogSnapshot, Model, ModelName, NewRecord, Record};
use crate::Result;
use crate::sync::{Mutex, MutexGuard, point};
use jiff::Timestamp;
use std::sync::Arc;
use uuid::Uuid;

/// Cheap to clone; replicas share it.
#[derive(Clone)]
pub(crate) struct Store {
    model: Model,
    log: Arc<Mutex<Log>>,
}

#[derive(Default)]
struct Log {
    /// Also those that a snapshot has taken the place of.
    records: Vec<Record>,
    next: u64,
    snapshot: Option<LogSnapshot>,
    /// Numbers of records that were appended with a key.
    keys: Vec<(String, Appended)>,
}

impl Store {
    pub(crate) fn new(model: Model) -> Self {
        Self { model, log: Arc::default() }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().expect("no panic")
    }

    /// Every record that was appended.
    pub(crate) fn records(&self) -> Vec<Record> {
        self.log().records.clone()
    }

    pub(crate) async fn model(&self, _: &ModelName) -> Result<Model> {
        point();
        Ok(self.model.clone())
    }

    pub(crate) async fn append_observations(
        &self,
        _: &ModelName,
        _: Uuid,
        new: Vec<NewRecord>,
    ) -> Result<Vec<Appended>> {
        let mut log = self.log();
        let appended = new.into_iter().map(|record| log.append(record)).collect();
        drop(log);
        // What was appended is visible before it is acknowledged.
        point();
        Ok(appended)
    }

    pub(crate) async fn read_observations(&self, _: Uuid, from: u64, limit: usize) -> Result<Vec<Record>> {
        let log = self.log();
        let least = log.snapshot.as_ref().map_or(0, |snapshot| snapshot.seq).max(from);
        Ok(log.records.iter().filter(|record| record.seq >= least).take(limit).cloned().collect())
    }

    pub(crate) async fn log_head(&self, _: Uuid) -> Result<u64> {
        Ok(self.log().next)
    }

    pub(crate) async fn log_snapshot(&self, _: Uuid) -> Result<Option<LogSnapshot>> {
        Ok(self.log().snapshot.clone())
    }

    pub(crate) async fn save_log_snapshot(&self, _: &ModelName, _: Uuid, new: LogSnapshot, _: &LogKeep) -> Result<()> {
        point();
        let mut log = self.log();
        if log.snapshot.as_ref().is_none_or(|kept| kept.seq <= new.seq) {
            log.snapshot = Some(new);
        }
        Ok(())
    }

    pub(crate) async fn take_over_log(&self, _: &ModelName, _: Uuid, new: LogSnapshot, _: &LogKeep) -> Result<bool> {
        point();
        let mut log = self.log();
        if log.next != new.seq {
            return Ok(false);
        }
        log.next += 1;
        log.snapshot = Some(LogSnapshot { seq: log.next, ..new });
        Ok(true)
    }
}

impl Log {
    fn append(&mut self, new: NewRecord) -> Appended {
        let known = new.idempotency.as_ref().and_then(|key| self.keys.iter().find(|(known, _)| *known == key.key));
        if let Some((_, appended)) = known {
            return Appended { replayed: true, ..*appended };
        }
        let (seq, at) = (self.next, Timestamp::UNIX_EPOCH);
        self.next += new.rows.max(1);
        let appended = Appended { seq, next: self.next, replayed: false, at };
        self.keys.extend(new.idempotency.map(|key| (key.key, appended)));
        let NewRecord { kind, rows, payload, source, .. } = new;
        self.records.push(Record { seq, next: self.next, kind, rows, payload, at, source });
        appended
    }
}
