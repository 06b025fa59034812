//! Vectors that jobs made with pretrained encoders, so that the next job does not encode the same cells again. A cache: it
//! is in no snapshot, and the oldest files are removed beyond its limit.

use super::Store;
use crate::Result;
use kenyon_learn::encoders::STORED_BYTES;
use std::path::{Path, PathBuf};

/// Files are copied in pieces of this size.
const PIECE: usize = 1 << 20;
const FOLDER: &str = "vectors";

impl Store {
    /// The files with vectors of the encoder `digest` as files of this machine, the newest first.
    pub async fn vector_files(&self, digest: &str) -> Result<Vec<PathBuf>> {
        let objects = &self.inner.objects;
        let mut found = objects.list(&format!("{FOLDER}/{digest}")).await?;
        found.sort_by(|a, b| b.key.cmp(&a.key));
        let mut paths = Vec::with_capacity(found.len());
        for listed in found {
            // Another process may have removed it meanwhile.
            if let Ok(path) = objects.path(&listed.key).await {
                paths.push(path);
            }
        }
        Ok(paths)
    }

    /// Adds a file with vectors of the encoder `digest`, and removes the oldest files of any encoder beyond the limit.
    pub async fn put_vectors(&self, digest: &str, file: &Path) -> Result<()> {
        let objects = &self.inner.objects;
        let stream = tokio_util::io::ReaderStream::with_capacity(tokio::fs::File::open(file).await?, PIECE);
        // Names in the order of time.
        let key = format!("{FOLDER}/{digest}/{}", uuid::Uuid::now_v7().simple());
        objects.put_stream(&key, stream, u64::MAX).await?;
        let mut all = objects.list(FOLDER).await?;
        all.sort_by(|a, b| name(&b.key).cmp(name(&a.key)));
        let mut bytes = 0;
        for listed in all {
            bytes += listed.bytes;
            if bytes > STORED_BYTES {
                objects.delete(&listed.key).await?;
            }
        }
        Ok(())
    }

    /// Removes the vectors of an encoder.
    pub(super) async fn drop_vectors(&self, digest: &str) -> Result<()> {
        self.inner.objects.delete_folder(&format!("{FOLDER}/{digest}")).await
    }
}

fn name(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or_default()
}
