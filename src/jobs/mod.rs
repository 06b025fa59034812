//! Background jobs: claim, lease, heartbeat, cancel, resume; progress.
//!
//! [`Queue`] checks requests and submits them. [`Workers`] do the jobs: every process that has some
//! claims them from the same table. A job has a thread of its own ([`Runner`]), which supervises the process that
//! trains or evaluates ([`Trainer`]); its monitor keeps
//! the progress in memory, the worker writes it to the database once a second, and checkpoints let
//! another attempt continue. [`follow`] streams the events of a job, on any replica.
//!
//! A training that makes a version loads it again before it is published ([`kenyon_learn::learning::verify`]).
//! The version is served once the job can be seen as succeeded, unless the request, the schema
//! (`schema_guard`), a canary or a newer version withholds it.
//!
//! Of one model's trainings and consolidations one at a time runs; others wait in the queue's order,
//! and each makes the version whose number it was given when it was submitted. Evaluations run in
//! parallel. A worker that crashes loses its lease; the job is queued again and continues from its
//! checkpoint. Three attempts in a row that got no further fail the job; one that died before its
//! first heartbeat counts a third of that, because the job does not cause a power cut.

mod child;
mod comparer;
mod compute;
mod control;
mod device_lock;
mod distiller;
mod dry_run;
mod follow;
mod inputs;
mod measured;
mod memory;
mod messages;
mod predictor;
mod probe;
mod queue;
mod reporter;
mod runner;
mod schema_guard;
mod schemas;
mod search;
mod supervise;
#[cfg(test)]
mod tests;
mod threads;
mod train_request;
mod trainer;
mod worker;

pub use child::main as compute_for_supervisor;
pub use comparer::{CompareRequest, Findings, ListedRdm};
pub use distiller::DistillRequest;
pub use dry_run::{DryRun, PlannedColumn, PlannedSplit};
pub use follow::follow;
pub use inputs::{evaluation_columns, local_parts, summary};
pub use predictor::BatchRequest;
pub use queue::Queue;
pub use runner::{Outcome, Runner, Work};
pub use schemas::Conditional;
pub use search::SearchRequest;
pub use threads::restart_with;
pub use train_request::{BalancedWord, DivideBy, HeldOut, TrainRequest, Weights};
pub use trainer::Trainer;
pub use worker::{WorkerConfig, Workers};
