//! A version that is loaded and serves.

use super::batch_queue::{BatchQueue, Forward, Limits, Outputs};
use super::stats::Stats;
use crate::Result;
use crate::sync::ArcSwap;
use arc_swap::Guard;
use kenyon_learn::data::Batch;
use kenyon_learn::learning::bundle::{Answers, Bundle};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

/// A bundle prepared for answering: labels as the JSON they are sent as.
#[derive(Debug)]
pub struct Snapshot {
    /// The model itself.
    pub bundle: Arc<Bundle>,
    /// Each class as a JSON value, in the order of the bundle's classes.
    pub labels: Vec<Box<str>>,
    /// Each class as a JSON object key, escaped and in quotes.
    pub keys: Vec<Box<str>>,
}

impl Snapshot {
    /// Prepares `bundle`.
    pub fn new(bundle: Arc<Bundle>) -> Self {
        let labels = bundle.classes().iter().map(|c| c.to_string().into()).collect();
        let keys = bundle.class_names().iter().map(|n| Value::from(n.as_str()).to_string().into()).collect();
        Self { bundle, labels, keys }
    }
}

/// What the batch queue runs: the bundle that is current when a pass starts.
struct Current(ArcSwap<Snapshot>);

impl Forward for Current {
    fn forward(&self, batch: &Batch, novelty: bool) -> Result<Outputs> {
        let snapshot = self.0.load();
        let bundle = &snapshot.bundle;
        let answers = if novelty { bundle.run(batch)? } else { bundle.run_plain(batch)? };
        let Answers { values, novelty, error_sizes, outputs } = answers;
        Ok(Outputs { values, width: outputs, novelty, error_sizes })
    }
}

/// Which version of which model.
#[derive(Clone, Debug)]
pub(super) struct VersionName {
    pub(super) model: Arc<str>,
    pub(super) model_id: Uuid,
    pub(super) version: u64,
}

/// A loaded version: its bundle, its batch queue and its figures.
pub struct LoadedVersion {
    /// The model's name.
    pub model: Arc<str>,
    /// The model's id: a later model of the same name has another.
    pub model_id: Uuid,
    /// The version's number.
    pub version: u64,
    /// The queue to its network.
    pub queue: BatchQueue,
    /// Counts of its requests.
    pub stats: Arc<Stats>,
    current: Arc<Current>,
    bytes: u64,
    last_used: AtomicU64,
}

impl std::fmt::Debug for LoadedVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadedVersion")
            .field("model", &self.model)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl LoadedVersion {
    /// Serves `bundle` as this version.
    pub(super) fn new(name: VersionName, bundle: Bundle, limits: Limits, stats: Arc<Stats>) -> Self {
        let VersionName { model, model_id, version } = name;
        let bytes = bundle.bytes();
        let current = Arc::new(Current(ArcSwap::from_pointee(Snapshot::new(Arc::new(bundle)))));
        let passes = Arc::clone(&stats);
        let network: Arc<dyn Forward> = Arc::clone(&current) as _;
        let queue = BatchQueue::new(&*model, network, limits, move |rows, _| passes.pass(rows));
        Self { model, model_id, version, queue, stats, current, bytes, last_used: AtomicU64::new(0) }
    }

    /// The current bundle with its labels.
    pub fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.current.0.load()
    }

    /// The current bundle.
    pub fn bundle(&self) -> Arc<Bundle> {
        Arc::clone(&self.current.0.load().bundle)
    }

    /// Replaces the bundle by another state of the same model from the next pass on: for models that learn
    /// while they serve. Classes may be added at the end, and never change their index.
    pub fn publish(&self, bundle: Arc<Bundle>) {
        self.current.0.store(Arc::new(Snapshot::new(bundle)));
    }

    /// Memory it takes, about.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn touch(&self, now: u64) {
        self.last_used.store(now, Ordering::Relaxed);
    }

    pub(super) fn last_used(&self) -> u64 {
        self.last_used.load(Ordering::Relaxed)
    }
}
