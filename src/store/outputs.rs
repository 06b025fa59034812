//! What jobs write for their callers: a file in segments, which is whole once the job has succeeded.
//!
//! A segment is a function of the job and its number, so that another attempt writes the same one again.

use super::db::sql;
use super::{JobId, Store};
use crate::{Error, Result};
use bytes::Bytes;

impl Store {
    /// Writes a segment of a job's output.
    pub async fn put_output(&self, id: JobId, segment: u64, bytes: Vec<u8>) -> Result<()> {
        self.inner.objects.put(&key(id, segment), bytes).await.map(|_| ())
    }

    /// A segment of a job's output; 404 `output_not_found` once it was let go.
    pub async fn output(&self, id: JobId, segment: u64) -> Result<Bytes> {
        let gone = |error: Error| match error.code {
            "object_not_found" => Error::not_found("output_not_found", "the job's output is not kept any more"),
            _ => error,
        };
        self.inner.objects.get(&key(id, segment)).await.map_err(gone)
    }

    /// Removes the output of a job that was removed.
    pub(super) async fn drop_output(&self, id: JobId) -> Result<()> {
        self.inner.objects.delete_folder(&format!("outputs/{id}")).await
    }

    /// Removes outputs of jobs that are gone or did not succeed.
    pub async fn collect_outputs(&self) -> Result<()> {
        for id in self.inner.objects.folders("outputs").await? {
            let wanted = "SELECT 1 AS one FROM jobs WHERE id = $1 AND status IN ('queued', 'running', 'succeeded')";
            if self.inner.db.opt(sql(wanted).bind(&id)).await?.is_none() {
                self.inner.objects.delete_folder(&format!("outputs/{id}")).await?;
            }
        }
        Ok(())
    }
}

fn key(id: JobId, segment: u64) -> String {
    format!("outputs/{id}/{segment:08}")
}
