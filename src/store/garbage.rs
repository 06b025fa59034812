//! Garbage collection: objects that nothing references any more, and what a crash left behind.

use super::clock::now;
use super::db::sql;
use super::model_rows::files;
use super::walk::Walk;
use super::{JobId, Store};
use crate::Result;
use std::collections::HashSet;
use std::time::Duration;

impl Store {
    /// Deletes objects that nothing references any more; the number deleted.
    pub async fn sweep(&self) -> Result<u64> {
        // Other replicas may be about to open what was just released; a delay lets them finish.
        let grace = if self.inner.db.is_postgres() { 15 * 60_000 } else { 0 };
        let Ok(_alone) = self.inner.copying.try_write() else { return Ok(0) };
        let due = "SELECT object_key FROM garbage WHERE since <= $1
            AND NOT EXISTS (SELECT 1 FROM job_inputs i WHERE i.object_key = garbage.object_key) LIMIT 1000";
        let mut deleted = 0;
        for row in self.inner.db.all(sql(due).bind(now() - grace)).await? {
            let key: String = row.get("object_key")?;
            self.inner.objects.delete(&key).await?;
            self.inner.db.exec(sql("DELETE FROM garbage WHERE object_key = $1").bind(&key)).await?;
            deleted += 1;
        }
        Ok(deleted)
    }

    /// Removes objects that a crash left without an owner.
    pub(super) async fn collect_garbage_at_start(&self) -> Result<()> {
        let alone = !self.inner.db.is_postgres();
        let walk = self.inner.objects.walk(alone).await?;
        self.sweep().await?;
        // An upload of another replica may be running: only objects above an age are surely unused.
        let grace = if alone { 0 } else { 24 * 3_600_000 };
        for key in self.objects_below("datasets", walk.as_ref()).await? {
            let known = "SELECT 1 AS one FROM dataset_parts WHERE object_key = $1
                UNION ALL SELECT 1 FROM job_inputs WHERE object_key = $1";
            if self.inner.db.opt(sql(known).bind(&key)).await?.is_none() {
                self.delete_old(&key, grace).await?;
            }
        }
        self.collect_checkpoints().await?;
        self.collect_outputs().await?;
        self.collect_model_garbage(grace, walk.as_ref()).await
    }

    /// Removes model files, log snapshots and checkpoints that a crash left without an owner.
    async fn collect_model_garbage(&self, grace_ms: i64, walk: Option<&Walk>) -> Result<()> {
        let mut known = HashSet::new();
        for row in self.inner.db.all(sql("SELECT files FROM versions")).await? {
            known.extend(files(&row)?.into_iter().map(|f| f.key));
        }
        // Only one attempt of a version is visible; other files are of attempts that lost their lease.
        let visible: HashSet<_> = known.iter().filter_map(|key| attempt_of(key)).collect();
        let versions: HashSet<_> = visible.iter().map(|(version, _)| *version).collect();
        for folder in walk.iter().flat_map(|walk| &walk.folders) {
            let Some(attempt) = folder.strip_prefix("models/").and(folder.rsplit_once('/')) else { continue };
            if versions.contains(attempt.0) && !visible.contains(&attempt) {
                self.inner.objects.delete_folder(folder).await?;
            }
        }
        let keys = "SELECT snapshot_key AS k FROM logs WHERE snapshot_key IS NOT NULL
            UNION ALL SELECT object_key FROM log_checkpoints WHERE object_key <> ''
            UNION ALL SELECT checkpoint_key FROM jobs WHERE checkpoint_key IS NOT NULL";
        let mut needed: HashSet<String> = HashSet::new();
        for row in self.inner.db.all(sql(keys)).await? {
            needed.insert(row.get("k")?);
        }
        for folder in ["models", "logs", "checkpoints"] {
            for key in self.objects_below(folder, walk).await? {
                let lost = attempt_of(&key).is_some_and(|(version, _)| versions.contains(version));
                if !known.contains(&key) && !needed.contains(&key) {
                    self.delete_old(&key, if lost { 0 } else { grace_ms }).await?;
                }
            }
        }
        Ok(())
    }

    /// Keys of the objects below a folder: from the walk over local files, else as the store lists them.
    async fn objects_below(&self, folder: &str, walk: Option<&Walk>) -> Result<Vec<String>> {
        match walk {
            Some(walk) => Ok(walk.below(folder).cloned().collect()),
            None => Ok(self.inner.objects.list(folder).await?.into_iter().map(|listed| listed.key).collect()),
        }
    }

    /// Deletes an object that nothing references, unless it is younger than `grace_ms`.
    async fn delete_old(&self, key: &str, grace_ms: i64) -> Result<()> {
        if grace_ms > 0 && self.inner.objects.age_ms(key).await?.is_none_or(|age| age < grace_ms) {
            return Ok(());
        }
        self.inner.objects.delete(key).await
    }

    /// Removes jobs that ended more than `age` ago; the number removed. Comparisons that succeeded stay until they are
    /// deleted.
    pub async fn prune_jobs(&self, age: Duration) -> Result<u64> {
        let old = "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE finished_at < $1
            AND NOT (kind = 'compare' AND status = 'succeeded') LIMIT 1000)";
        self.inner.db.exec(sql(old).bind(now() - age.as_millis() as i64)).await
    }

    /// Removes checkpoints of jobs that have ended: whose worker was killed between the job's end and
    /// cleaning up. Their age does not matter: they are never read again.
    pub async fn collect_checkpoints(&self) -> Result<()> {
        for id in self.inner.objects.folders("checkpoints").await? {
            let wanted = "SELECT 1 AS one FROM jobs WHERE id = $1 AND status IN ('queued', 'running')";
            if self.inner.db.opt(sql(wanted).bind(&id)).await?.is_none() {
                self.inner.objects.delete_folder(&format!("checkpoints/{id}")).await?;
            }
        }
        Ok(())
    }

    /// Checkpoints are useless once a job has ended. What is missed here is deleted at the next start.
    pub(super) async fn drop_checkpoints(&self, id: JobId) {
        if let Err(error) = self.inner.objects.delete_folder(&format!("checkpoints/{id}")).await {
            tracing::warn!(%error, "checkpoints could not be removed");
        }
        if let Err(error) = self.sweep().await {
            tracing::warn!(%error, "garbage could not be removed");
        }
    }

    /// Removes what attempts that were lost have written of a version that `attempt` has published.
    pub(super) async fn drop_lost_attempts(&self, version: &str, attempt: &str) {
        let outcome = async {
            for other in self.inner.objects.folders(version).await?.iter().filter(|other| *other != attempt) {
                self.inner.objects.delete_folder(&format!("{version}/{other}")).await?;
            }
            Ok::<_, crate::Error>(())
        };
        if let Err(error) = outcome.await {
            tracing::warn!(%error, "files of a lost attempt could not be removed");
        }
    }
}

/// The version's folder and the attempt in a key such as `models/iris/ID/3/1/weights.safetensors`.
fn attempt_of(key: &str) -> Option<(&str, &str)> {
    let (attempt, _) = key.strip_prefix("models/").and(key.rsplit_once('/'))?;
    attempt.rsplit_once('/')
}
