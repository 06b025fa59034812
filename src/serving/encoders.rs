//! Stored encoders, open: from an archive into the store, and from the store to vectors.

use super::zip;
use crate::store::{EncoderName, MAX_NAME, Store, StoredEncoder, WeakStore};
use crate::{Error, Kind, Result};
use kenyon_learn::data::vectors::{self, CellVectors, ColumnEncoder};
use kenyon_learn::encoders::{self, Pretrained};
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::runtime::Handle;

/// Bytes that an archive may unpack to: those of the largest weights that are read, and the rest.
const MAX_UNPACKED: u64 = 5 << 30;
/// Entries an archive may have.
const MAX_ENTRIES: usize = 1000;

/// Lets models of this process open the encoders of `store`, with at most `threads` threads each.
pub fn provide(store: &Store, threads: usize) {
    let (store, runtime) = (store.weak(), Handle::current());
    vectors::provide(move |digest| open(&store, &runtime, digest, threads));
}

/// Opens an encoder from a thread that may belong to the runtime, which must not be waited on there.
fn open(
    store: &WeakStore,
    runtime: &Handle,
    digest: &str,
    threads: usize,
) -> kenyon_learn::Result<Option<Arc<dyn CellVectors>>> {
    let Some(store) = store.open() else { return Ok(None) };
    let folder = std::thread::scope(|scope| {
        let asking = scope.spawn(|| runtime.block_on(store.encoder_folder(digest)));
        asking.join().map_err(|_| kenyon_learn::Error::internal("a thread that asks for an encoder panicked"))
    })?;
    let Some(folder) = folder.map_err(kenyon_learn::Error::internal)? else { return Ok(None) };
    Ok(Some(encoders::open(digest, &folder, threads)?))
}

/// Stores the encoder of a tar or zip archive, once it was opened and has encoded a sentence.
pub async fn add(store: &Store, name: &EncoderName, archive: PathBuf, threads: usize) -> Result<(StoredEncoder, bool)> {
    let unpacked = scratch(store)?;
    let root = unpacked.path().to_owned();
    let (root, info) = blocking(move || {
        unpack(&archive, &root)?;
        let root = inner_folder(root)?;
        let info = tried(&root, threads)?;
        Ok((root, info))
    })
    .await?;
    store.put_encoder(name, &root, &info).await
}

/// Stores the encoders that came with a model, in folders of `root` named by their digest, unless they are stored already. Returns the
/// names they have got: that of the server they come from, or one with a part of the digest where another encoder has that one.
pub(super) async fn add_bundled(
    store: &Store,
    root: &Path,
    used: &[ColumnEncoder],
    threads: usize,
) -> Result<Vec<EncoderName>> {
    let bad = |detail: String| Error::unprocessable("bad_bundle", format!("not a bundle: {detail}"));
    let mut added = Vec::new();
    for folder in std::fs::read_dir(root)? {
        let folder = folder?.path();
        let digest = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let Some(known) = used.iter().find(|encoder| encoder.digest == digest) else {
            return Err(bad(format!("it holds the encoder {digest}, which the model does not use")));
        };
        if store.encoder_folder(&digest).await?.is_some() {
            continue;
        }
        let root = folder.clone();
        let info = blocking(move || tried(&root, threads)).await?;
        if info["digest"] != digest.as_str() {
            return Err(bad(format!(
                "the files of the encoder {} are not those that the model was made with",
                known.name
            )));
        }
        let name: EncoderName = known.name.parse()?;
        let free = matches!(store.encoder(&name).await, Err(error) if error.kind == Kind::NotFound);
        let (short, part) = (&known.name[..known.name.len().min(MAX_NAME - 13)], &digest[..12]);
        let name = if free { name } else { format!("{short}-{part}").parse()? };
        store.put_encoder(&name, &folder, &info).await?;
        added.push(name);
    }
    Ok(added)
}

/// A folder to unpack to, removed when it goes out of scope.
pub(super) fn scratch(store: &Store) -> Result<TempDir> {
    Ok(tempfile::Builder::new().prefix(".encoder").tempdir_in(store.data_dir())?)
}

/// What is known of the encoder in `root`, which has encoded a sentence.
fn tried(root: &Path, threads: usize) -> Result<Value> {
    let encoder = Pretrained::open(root, threads)?;
    let mut info = serde_json::to_value(encoder.info()).map_err(Error::internal)?;
    info["rows_per_second"] = encoder.rows_per_second()?.into();
    Ok(info)
}

/// The vectors of some texts, and how long each is.
pub async fn embed(store: &Store, name: &EncoderName, texts: Vec<String>, threads: usize) -> Result<(usize, Vec<f32>)> {
    let digest = store.encoder(name).await?.digest;
    let missing = || Error::not_found("encoder_not_found", format!("there is no encoder {name}"));
    let folder = store.encoder_folder(&digest).await?.ok_or_else(missing)?;
    blocking(move || {
        let encoder = encoders::open(&digest, &folder, threads)?;
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        Ok((encoder.info().width, encoder.embed(&texts)?))
    })
    .await
}

fn bad(detail: &str) -> Error {
    Error::unprocessable("bad_encoder", format!("the archive is refused: {detail}"))
}

/// Unpacks plain files only, each inside `root`, within the bounds.
fn unpack(archive: &Path, root: &Path) -> Result<()> {
    let mut archive = File::open(archive)?;
    let mut start = Vec::new();
    archive.by_ref().take(zip::START.len() as u64).read_to_end(&mut start)?;
    archive.rewind()?;
    if start == zip::START { unpack_zip(archive, root) } else { unpack_tar(archive, root) }
}

fn unpack_zip(mut archive: File, root: &Path) -> Result<()> {
    let mut left = MAX_UNPACKED;
    for entry in zip::entries(&mut archive, MAX_ENTRIES)? {
        left = left.checked_sub(entry.size).ok_or_else(|| bad("it has more than 5 GiB"))?;
        let path = Path::new(&entry.path);
        if path.components().any(|part| !matches!(part, Component::Normal(_))) {
            return Err(bad("a path leads out of it"));
        }
        let target = root.join(path);
        std::fs::create_dir_all(target.parent().unwrap_or(root))?;
        let written =
            std::io::copy(&mut zip::open(&mut archive, &entry)?.take(entry.size), &mut File::create(&target)?);
        if written.map_err(|_| bad("it is damaged"))? != entry.size {
            return Err(bad("it is cut short"));
        }
    }
    Ok(())
}

fn unpack_tar(archive: File, root: &Path) -> Result<()> {
    let mut archive = tar::Archive::new(archive);
    let mut left = MAX_UNPACKED;
    for (count, entry) in archive.entries().map_err(|_| bad("it is neither a tar nor a zip archive"))?.enumerate() {
        let mut entry = entry.map_err(|_| bad("it is neither a tar nor a zip archive, or it is damaged"))?;
        let kind = entry.header().entry_type();
        let path = entry.path().map_err(|_| bad("a path cannot be read"))?.into_owned();
        let path: PathBuf = path.components().filter(|part| *part != Component::CurDir).collect();
        if path.components().any(|part| !matches!(part, Component::Normal(_))) {
            return Err(bad("a path leads out of it"));
        }
        if kind.is_dir() || kind.is_pax_global_extensions() {
            continue;
        }
        let size = entry.header().size().map_err(|_| bad("it is damaged"))?;
        if !kind.is_file() || size > left || count >= MAX_ENTRIES {
            return Err(bad("it has links, more than 1000 files, or more than 5 GiB"));
        }
        left -= size;
        let target = root.join(&path);
        std::fs::create_dir_all(target.parent().unwrap_or(root))?;
        let written = std::io::copy(&mut entry.by_ref().take(size), &mut File::create(&target)?)?;
        if written != size {
            return Err(bad("it is cut short"));
        }
    }
    Ok(())
}

/// The folder itself where the archive holds it with its name.
fn inner_folder(root: PathBuf) -> Result<PathBuf> {
    let entries: Vec<PathBuf> = std::fs::read_dir(&root)?.map(|e| Ok(e?.path())).collect::<std::io::Result<_>>()?;
    match &entries[..] {
        [only] if only.is_dir() => Ok(only.clone()),
        _ => Ok(root),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)?
}
