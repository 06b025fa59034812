//! Automatic consolidations: queued as jobs.

use super::stream_log::StreamLog;
use crate::Result;
use crate::store::{JobFilter, JobKind, JobStatus, NewJob};
use serde_json::json;

/// Jobs that may wait when a consolidation is queued automatically.
const MAX_QUEUED: u64 = 1_000;

/// Queues an automatic consolidation. If that fails it is queued again later.
pub(super) async fn queue_due(log: &StreamLog, because: &str) {
    if let Err(error) = queue(log, because).await {
        tracing::warn!(model = log.model.name.as_str(), %error, "a consolidation could not be queued");
    }
}

/// Queues a consolidation unless one waits or runs already.
async fn queue(log: &StreamLog, because: &str) -> Result<()> {
    let filter = |status| JobFilter {
        status: Some(status),
        model: Some(log.model.name.clone()),
        kind: Some(JobKind::Consolidate),
    };
    for status in [JobStatus::Queued, JobStatus::Running] {
        if !log.store.jobs(&filter(status), 1, None).await?.items.is_empty() {
            return Ok(());
        }
    }
    let (model, spec) = (log.model.name.clone(), json!({ "because": because }));
    let job = NewJob { kind: JobKind::Consolidate, model: Some(model), dataset: None, spec, priority: 0, create: None };
    log.store.submit_job(job, MAX_QUEUED, None).await.map(|_| ())
}
