//! Numbers of stored items, for limits.

use super::Store;
use super::db::sql;
use crate::Result;

/// How much is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Datasets.
    pub datasets: u64,
    /// Bytes of all datasets as stored.
    pub dataset_bytes: u64,
    /// Models.
    pub models: u64,
    /// Jobs by status: waiting, running, succeeded, failed, canceled.
    pub jobs: [u64; 5],
}

impl Store {
    /// Counts everything.
    pub async fn counts(&self) -> Result<Counts> {
        let all = "SELECT (SELECT COUNT(*) FROM datasets) AS datasets,
            (SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM datasets) AS dataset_bytes,
            (SELECT COUNT(*) FROM models) AS models";
        let mut counts = Counts::default();
        if let Some(row) = self.inner.db.opt(sql(all)).await? {
            counts.datasets = row.u64("datasets")?;
            counts.dataset_bytes = row.u64("dataset_bytes")?;
            counts.models = row.u64("models")?;
        }
        for row in self.inner.db.all(sql("SELECT status, COUNT(*) AS n FROM jobs GROUP BY status")).await? {
            let status: String = row.get("status")?;
            let names = ["queued", "running", "succeeded", "failed", "canceled"];
            if let Some(place) = names.iter().position(|n| *n == status) {
                counts.jobs[place] = row.u64("n")?;
            }
        }
        Ok(counts)
    }
}
