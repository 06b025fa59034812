//! Stored encoders, open: from an archive into the store, and from the store to vectors.

use crate::store::{EncoderName, MAX_NAME, Store, StoredEncoder, WeakStore};
use crate::{Error, Kind, Result};
use kenyon_learn::data::vectors::{self, CellVectors, ColumnEncoder};
use kenyon_learn::encoders::{self, Pretrained};
use serde_json::Value;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::runtime::Handle;
use zip::ZipArchive;

/// Bytes that an archive may unpack to: those of the largest weights that are read, and the rest.
const MAX_UNPACKED: u64 = 5 << 30;
/// What a zip archive begins with.
const ZIP: [u8; 4] = *b"PK\x03\x04";
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
        let opening = scope.spawn(|| runtime.block_on(store.encoder_folder(digest)));
        opening.join().map_err(|_| kenyon_learn::Error::internal("a thread that opens an encoder panicked"))
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

/// Why an archive is refused that has other entries than plain files, or more than is allowed.
const TOO_MUCH: &str = "it has links, more than 1000 files, or more than 5 GiB";

fn bad(detail: &str) -> Error {
    Error::unprocessable("bad_encoder", format!("the archive is refused: {detail}"))
}

/// Unpacks plain files only, each inside `root`, within the bounds.
fn unpack(archive: &Path, root: &Path) -> Result<()> {
    let mut archive = File::open(archive)?;
    let mut start = Vec::new();
    archive.by_ref().take(ZIP.len() as u64).read_to_end(&mut start)?;
    archive.rewind()?;
    if start == ZIP { unpack_zip(archive, root) } else { unpack_tar(archive, root) }
}

fn unpack_zip(archive: File, root: &Path) -> Result<()> {
    let mut archive = ZipArchive::new(archive).map_err(|_| bad("it is a zip archive that is damaged or cut short"))?;
    let mut left = MAX_UNPACKED;
    for at in 0..archive.len() {
        let entry =
            archive.by_index(at).map_err(|_| bad("a file is encrypted or damaged, or not stored or deflated"))?;
        let path = entry.enclosed_name().ok_or_else(|| bad("a path leads out of it"))?;
        if entry.is_dir() {
            continue;
        }
        let size = entry.size();
        if !entry.is_file() || size > left || at >= MAX_ENTRIES {
            return Err(bad(TOO_MUCH));
        }
        left -= size;
        place(entry, size, &root.join(path))?;
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
            return Err(bad(TOO_MUCH));
        }
        left -= size;
        place(&mut entry, size, &root.join(&path))?;
    }
    Ok(())
}

/// Writes a file of an archive, which has `size` bytes.
fn place(from: impl Read, size: u64, target: &Path) -> Result<()> {
    if let Some(folder) = target.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = File::create(target)?;
    match io::copy(&mut from.take(size), &mut file) {
        Ok(written) if written == size => Ok(()),
        Err(error) if error.raw_os_error().is_some() => Err(error.into()),
        _ => Err(bad("it is damaged or cut short")),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Write};
    use zip::write::{SimpleFileOptions, ZipWriter};
    use zip::{CompressionMethod, DateTime};

    fn zipped(files: &[(&str, &[u8])], link: Option<&str>) -> Vec<u8> {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().last_modified_time(DateTime::default());
        for (number, (path, content)) in files.iter().enumerate() {
            let method = [CompressionMethod::Stored, CompressionMethod::Deflated][number % 2];
            archive.start_file(*path, options.compression_method(method)).unwrap();
            archive.write_all(content).unwrap();
        }
        if let Some(target) = link {
            archive.add_symlink("link", target, options).unwrap();
        }
        archive.finish().unwrap().into_inner()
    }

    fn unpacked(archive: &[u8]) -> Result<TempDir> {
        let folder = tempfile::tempdir().unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(archive).unwrap();
        unpack(file.path(), folder.path()).map(|()| folder)
    }

    #[test]
    fn a_zip_archive_is_unpacked_stored_and_deflated() {
        let long = b"numbers ".repeat(1000);
        let folder = unpacked(&zipped(&[("a/config.json", b"{}"), ("a/weights", &long)], None)).unwrap();
        assert_eq!(std::fs::read(folder.path().join("a/config.json")).unwrap(), b"{}");
        assert_eq!(std::fs::read(folder.path().join("a/weights")).unwrap(), long);
    }

    #[test]
    fn a_zip_archive_with_links_other_paths_or_damage_is_refused() {
        let whole = zipped(&[("a", b"1"), ("b", &[7; 500])], None);
        let refused = |archive: &[u8]| unpacked(archive).unwrap_err().code;
        assert_eq!(refused(&zipped(&[], Some("/etc/passwd"))), "bad_encoder");
        assert_eq!(refused(&zipped(&[("../a", b"1")], None)), "bad_encoder");
        assert_eq!(refused(&whole[..whole.len() - 30]), "bad_encoder");
        // No byte of it makes more than a refusal.
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xff;
            if let Err(error) = unpacked(&damaged) {
                assert!(["bad_encoder", "io"].contains(&error.code), "{at}: {error:?}");
            }
        }
    }
}
