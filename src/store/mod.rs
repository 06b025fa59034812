//! Persistence: SQL and objects. Nothing here has tensors, and nothing above has SQL.
//!
//! A [`Store`] is cheap to clone. Embedded, it uses SQLite (write-ahead log, every acknowledged write
//! synced) and a folder; for several replicas, Postgres and an object store. One folder of migrations and one
//! SQL text serve both. Reading order:
//!
//! | module | what | main calls |
//! | --- | --- | --- |
//! | [`datasets`] | ordered parts + schema, replaced and appended atomically | [`Store::stage`], [`Store::put_dataset`], [`Store::append_dataset`], [`Store::dataset`], [`Store::datasets`], [`Store::delete_dataset`], [`Store::part_path`] |
//! | [`models`] | models, and which version gets how much traffic | [`Store::create_model`], [`Store::model`], [`Store::models`], [`Store::delete_model`], [`Store::promote`], [`Store::rollback`], [`Store::set_traffic`] |
//! | [`versions`] | finished versions of models | [`Store::versions`], [`Store::version`], [`Store::create_model_with`], [`Store::publish_version`], [`Store::version_files`] |
//! | [`encoders`] | pretrained encoders | [`Store::put_encoder`], [`Store::encoder`], [`Store::encoders`], [`Store::delete_encoder`], [`Store::encoder_folder`] |
//! | [`jobs`] | the queue | [`Store::submit_job`], [`Store::job`], [`Store::jobs`], [`Store::cancel_job`], [`Store::retry_job`], [`Store::queue_depth`]; for workers [`Store::claim_job`] and what takes a [`jobs::Claim`] |
//! | [`events`] | a job's events and curves | [`Store::job_events`], [`Store::job_curve`] |
//! | [`observations`] | a model's ordered log | [`Store::append_observations`], [`Store::read_observations`], [`Store::save_log_snapshot`], [`Store::take_over_log`], [`Store::log_snapshot`] |
//! | [`log_history`] | what stays of a log behind its snapshot | [`Store::read_log_history`], [`Store::log_checkpoint`] |
//! | [`predictions`] | rows of recent predictions, kept in memory for `feedback` | [`predictions::Predictions`] |
//! | [`keys`] | API keys | [`Store::create_key`], [`Store::authenticate`], [`Store::keys`], [`Store::delete_key`] |
//! | [`access`] | authorisation for HTTP and gRPC | [`Access::caller`] |
//! | [`idempotency`] | a retried request is answered as before | [`Store::begin_idempotent`], [`Store::finish_idempotent`], [`Store::abandon_idempotent`] |
//! | `outputs` | what jobs write for their callers | [`Store::put_output`], [`Store::output`] |
//! | `vectors` | vectors that jobs made with encoders, for the next ones | [`Store::put_vectors`], [`Store::vector_files`] |
//! | [`snapshot`] | a consistent copy of everything in one file | [`Store::write_snapshot`], [`snapshot::restore`] |
//!
//! Notifications: [`Store::changes`] reports what changed on any replica (LISTEN/NOTIFY on Postgres, in
//! process on SQLite). A message may be lost, never invented: subscribe, then query, and poll at a slow rate.

pub mod access;
mod api_key;
mod audit;
mod change;
mod clock;
pub mod counts;
pub mod datasets;
mod db;
pub mod encoders;
pub mod events;
mod garbage;
pub mod idempotency;
mod idempotency_key;
pub mod inspect;
pub mod jobs;
mod key_cache;
pub mod keys;
pub mod log_history;
mod log_records;
mod log_writer;
mod model_changes;
mod model_rows;
pub mod models;
pub mod names;
pub mod objects;
pub mod observations;
pub mod open;
mod outputs;
mod postgres;
pub mod predictions;
mod scratch;
pub mod snapshot;
#[cfg(test)]
pub(crate) mod tests;
mod vectors;
pub mod versions;
mod walk;

pub use access::{Access, Caller};
pub use api_key::{ApiKey, NewKey, Scope};
pub use audit::{AuditEntry, AuditId, NewAuditEntry};
pub use change::Change;
pub use datasets::{Dataset, JobInput, NewPart, Staged, StoredPart};
pub use encoders::{StoredEncoder, WeakStore};
pub use events::JobEvent;
pub use idempotency::Begun;
pub use idempotency_key::IdempotencyKey;
pub use jobs::{Job, JobFilter, JobKind, JobStatus, NewJob};
pub use log_history::{LogKeep, LogLine};
pub use log_records::{Appended, LogSnapshot, NewRecord, Record};
pub use model_changes::ModelChanges;
pub use model_rows::NewModel;
pub use models::{Canary, Model, Traffic};
pub use names::{DatasetName, EncoderName, JobId, MAX_NAME, ModelName};
pub use objects::Objects;
pub use open::{Store, StoreOptions};
pub use predictions::Predictions;
pub use versions::{NewVersion, Version, VersionState};

use serde::{Deserialize, Serialize};

/// One page of a list, in the form the interface answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Where the next page starts; none after the last.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// Makes a page from `limit + 1` fetched entries; `cursor` names the last one that is kept.
    fn from_fetched(mut items: Vec<T>, limit: usize, cursor: impl Fn(&T) -> String) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = if more { items.last().map(cursor) } else { None };
        Self { items, next_cursor }
    }
}
