//! The object store: a local folder, or S3. Objects become visible whole or not at all.

use super::walk::Walk;
use crate::{Error, Kind, Result};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes a streamed upload is cut into; S3 takes no part under 5 MiB and 10,000 parts at most.
const CHUNK: usize = 8 << 20;

/// How the address of a bucket begins.
const BUCKET: &str = "s3://";

/// Whether an address names a bucket, not a folder.
pub(super) fn is_bucket(url: &str) -> bool {
    url.starts_with(BUCKET)
}

/// Where objects are stored. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    /// The folder itself, where objects are local files.
    root: Option<PathBuf>,
    /// Copies of remote objects that were needed as files.
    cache: PathBuf,
}

/// The result of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its key.
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of the content, hexadecimal.
    pub digest: String,
}

impl Objects {
    /// Opens `file:///folder`, a plain folder, or `s3://bucket/prefix` (credentials and endpoint
    /// from the usual `AWS_…` variables); `cache` is a folder for copies of remote objects.
    pub async fn open(url: &str, cache: PathBuf) -> Result<Self> {
        if let Some(rest) = url.strip_prefix(BUCKET) {
            return Self::open_s3(rest, cache);
        }
        let root = PathBuf::from(url.strip_prefix("file://").unwrap_or(url));
        tokio::fs::create_dir_all(&root).await?;
        let root = tokio::fs::canonicalize(&root).await?;
        let store = LocalFileSystem::new_with_prefix(&root)?.with_fsync(true).with_automatic_cleanup(true);
        Ok(Self { store: Arc::new(store), root: Some(root), cache })
    }

    #[cfg(feature = "s3")]
    fn open_s3(rest: &str, cache: PathBuf) -> Result<Self> {
        use object_store::aws::AmazonS3Builder;
        use object_store::prefix::PrefixStore;
        // The TLS provider is set once for a process; an earlier one is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let http = std::env::var("AWS_ENDPOINT_URL").or_else(|_| std::env::var("AWS_ENDPOINT"));
        let plain = http.is_ok_and(|url| url.starts_with("http://"));
        let s3 = AmazonS3Builder::from_env().with_bucket_name(bucket).with_allow_http(plain).build()?;
        let prefix = prefix.trim_matches('/');
        let store: Arc<dyn ObjectStore> =
            if prefix.is_empty() { Arc::new(s3) } else { Arc::new(PrefixStore::new(s3, prefix)) };
        Ok(Self { store, root: None, cache })
    }

    #[cfg(not(feature = "s3"))]
    fn open_s3(_rest: &str, _cache: PathBuf) -> Result<Self> {
        Err(Error::malformed("objects_unsupported", "this build has no S3 support; use a folder for --objects"))
    }

    /// Whether it answers at all; nothing is written.
    pub async fn answers(&self) -> Result<()> {
        self.store.list_with_delimiter(None).await?;
        Ok(())
    }

    /// Stores a whole object, replacing one of the same key.
    pub async fn put(&self, key: &str, bytes: impl Into<Bytes>) -> Result<Stored> {
        let bytes = bytes.into();
        let stored = Stored { key: key.to_owned(), bytes: bytes.len() as u64, digest: digest(&bytes) };
        self.store.put(&Key::from(key), PutPayload::from_bytes(bytes)).await?;
        Ok(stored)
    }

    /// Stores a stream in constant memory. Past `limit` bytes, or when the stream fails,
    /// nothing is stored.
    pub async fn put_stream<S, E>(&self, key: &str, stream: S, limit: u64) -> Result<Stored>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Into<Error>,
    {
        let upload = self.store.put_multipart(&Key::from(key)).await?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, CHUNK);
        match feed(&mut upload, stream, limit).await {
            Ok((bytes, digest)) => {
                upload.finish().await?;
                Ok(Stored { key: key.to_owned(), bytes, digest })
            }
            Err(error) => {
                let _ = upload.abort().await;
                Err(error)
            }
        }
    }

    /// A whole object.
    pub async fn get(&self, key: &str) -> Result<Bytes> {
        Ok(self.store.get(&Key::from(key)).await?.bytes().await?)
    }

    /// Several whole objects, checked against their digests. Local files are read on one thread, since each change of
    /// thread takes longer than reading a small file.
    pub async fn get_checked(&self, wanted: Vec<(String, String)>) -> Result<Vec<Bytes>> {
        let mut remote = Vec::new();
        if self.root.is_none() {
            for (key, _) in &wanted {
                remote.push(self.get(key).await?);
            }
        }
        let root = self.root.clone();
        let checked = tokio::task::spawn_blocking(move || {
            let mut remote = remote.into_iter();
            let one = |(key, expected): (String, String)| {
                let bytes = match &root {
                    Some(root) => read_file(&root.join(&key))?,
                    None => remote.next().unwrap_or_default(),
                };
                let fits = digest(&bytes) == expected;
                fits.then_some(bytes).ok_or_else(|| Error::internal(format!("{key} does not match its digest")))
            };
            wanted.into_iter().map(one).collect()
        });
        checked.await.map_err(Error::internal)?
    }

    /// The object as a local file: itself in a folder, else a copy in the cache.
    /// Objects never change under one key, so a copy never expires.
    pub async fn path(&self, key: &str) -> Result<PathBuf> {
        if let Some(root) = &self.root {
            let path = root.join(key);
            return match tokio::fs::try_exists(&path).await? {
                true => Ok(path),
                false => Err(missing()),
            };
        }
        let path = self.cache.join(key);
        if tokio::fs::try_exists(&path).await? {
            return Ok(path);
        }
        let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
        tokio::fs::create_dir_all(&folder).await?;
        let temporary = tempfile::Builder::new().prefix(".copy").tempfile_in(&folder)?;
        let mut file = tokio::fs::File::create(temporary.path()).await?;
        let mut stream = self.store.get(&Key::from(key)).await?.into_stream();
        while let Some(chunk) = stream.try_next().await? {
            tokio::io::AsyncWriteExt::write_all(&mut file, &chunk).await?;
        }
        tokio::io::AsyncWriteExt::flush(&mut file).await?;
        temporary.persist(&path).map_err(|e| Error::from(e.error))?;
        Ok(path)
    }

    /// Removes an object; one that is not there is no failure.
    pub async fn delete(&self, key: &str) -> Result<()> {
        if self.root.is_none() {
            let _ = tokio::fs::remove_file(self.cache.join(key)).await;
        }
        match self.store.delete(&Key::from(key)).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Removes everything below a folder, including partial files of a crash.
    pub async fn delete_folder(&self, folder: &str) -> Result<()> {
        for listed in self.list(folder).await? {
            self.delete(&listed.key).await?;
        }
        match &self.root {
            Some(root) => match tokio::fs::remove_dir_all(root.join(folder)).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
                _ => Ok(()),
            },
            None => Ok(()),
        }
    }

    /// The names of the folders directly below a folder.
    pub async fn folders(&self, folder: &str) -> Result<Vec<String>> {
        let found = self.store.list_with_delimiter(Some(&Key::from(folder))).await?;
        Ok(found.common_prefixes.iter().filter_map(|key| key.filename().map(str::to_owned)).collect())
    }

    /// What is in the folder where objects are local files, after half-written ones were removed; nothing elsewhere.
    pub(super) async fn walk(&self, alone: bool) -> Result<Option<Walk>> {
        let Some(root) = self.root.clone() else { return Ok(None) };
        let walked = tokio::task::spawn_blocking(move || Walk::over(&root, alone));
        walked.await.map(Some).map_err(Error::internal)
    }

    /// Milliseconds since an object was written; none where it is gone.
    pub(super) async fn age_ms(&self, key: &str) -> Result<Option<i64>> {
        match self.store.head(&Key::from(key)).await {
            Ok(meta) => Ok(Some(super::clock::now() - meta.last_modified.timestamp_millis())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// All objects below a folder (the whole store when empty), with size.
    pub async fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        let prefix = (!folder.is_empty()).then(|| Key::from(folder));
        let stream = self.store.list(prefix.as_ref()).map(|meta| {
            let meta = meta?;
            Ok(Listed { key: meta.location.to_string(), bytes: meta.size })
        });
        stream.try_collect().await
    }

    /// Whether objects can be written: for readiness and `doctor`.
    pub async fn check(&self) -> Result<()> {
        let key = format!("checks/{}", uuid::Uuid::now_v7());
        self.put(&key, Bytes::from_static(b"ok")).await?;
        self.delete(&key).await
    }
}

/// An object in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// Its size.
    pub bytes: u64,
}

async fn feed<S, E>(upload: &mut WriteMultipart, stream: S, limit: u64) -> Result<(u64, String)>
where
    S: Stream<Item = Result<Bytes, E>> + Send,
    E: Into<Error>,
{
    let mut stream = std::pin::pin!(stream);
    let (mut hash, mut bytes) = (Sha256::new(), 0u64);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(Into::into)?;
        bytes += chunk.len() as u64;
        if bytes > limit {
            let detail = format!("the body is larger than the limit of {limit} bytes");
            return Err(Error::new(Kind::TooLarge, "body_too_large", detail));
        }
        hash.update(&chunk);
        upload.wait_for_capacity(2).await?;
        upload.put(chunk);
    }
    Ok((bytes, hex(&hash.finalize())))
}

/// SHA-256, hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn read_file(path: &Path) -> Result<Bytes> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(bytes.into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(missing()),
        // As the store itself would report it.
        Err(error) => Err(object_store::Error::Generic { store: "folder", source: error.into() }.into()),
    }
}

fn missing() -> Error {
    Error::not_found("object_not_found", "the stored data is no longer there")
}

impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        if matches!(error, object_store::Error::NotFound { .. }) {
            return missing();
        }
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(inner) = cause {
            if let Some(mut converted) = inner.downcast_ref().and_then(Self::of_disk) {
                converted.cause = Some(error.into());
                return converted;
            }
            cause = inner.source();
        }
        let mut mapped = Self::new(Kind::Unavailable, "objects_unavailable", "the object store cannot be reached");
        mapped.retry_after = Some(1);
        mapped.cause = Some(error.into());
        mapped
    }
}
