//! A model as one file: a tar archive of the bundle's three files and of the pretrained encoders that it uses, to be moved to
//! another server.
//!
//! An archive is untrusted: only the three names, that of the card and files of encoders are accepted, as plain files, once each,
//! within a size that the caller sets; the card is for people and is not kept. Contents are checked by
//! [`kenyon_learn::learning::Bundle::load`], encoders by their digest.

use super::model_card::CARD;
use crate::{Error, Result};
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// The files of a bundle, in the order they are written.
pub const FILES: [&str; 3] = ["config.json", "encoder.json", "weights.safetensors"];

/// The folder of encoders in an archive; in it each has a folder named by its digest.
const ENCODERS: &str = "encoders";

/// Files that an encoder may have.
const MAX_ENCODER_FILES: usize = 1000;

/// Packs a bundle's files, and those of the encoders that it uses: digest, path, and where it is.
pub fn pack<'a>(
    files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    encoders: &[(String, String, PathBuf)],
) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut append = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, bytes)
    };
    for (name, bytes) in files {
        append(name, bytes)?;
    }
    for (digest, path, at) in encoders {
        append(&format!("{ENCODERS}/{digest}/{path}"), &std::fs::read(at)?)?;
    }
    Ok(archive.into_inner()?)
}

/// Unpacks a bundle's files, and those of encoders into folders of `encoders` that are named by their digest; `limit` bytes in all at
/// most.
///
/// # Errors
/// `bad_bundle` for anything that is not exactly such an archive.
pub fn unpack(bytes: &[u8], limit: u64, encoders: &Path) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let bad = |detail: &str| Error::unprocessable("bad_bundle", format!("not a bundle: {detail}"));
    let mut files: Vec<(&'static str, Vec<u8>)> = Vec::new();
    let (mut left, mut of_encoders) = (limit, 0);
    let mut archive = tar::Archive::new(bytes);
    for entry in archive.entries().map_err(|_| bad("it is not a tar archive"))? {
        let entry = entry.map_err(|_| bad("the archive is damaged or cut short"))?;
        if !entry.header().entry_type().is_file() {
            return Err(bad("it holds something that is not a plain file"));
        }
        let path = entry.path_bytes().into_owned();
        if path == CARD.as_bytes() {
            let size = entry.header().size().map_err(|_| bad("the archive is damaged"))?;
            left = left.checked_sub(size).ok_or_else(|| bad("its card is larger than the limit"))?;
            continue;
        }
        if let Some(path) = of_encoder(&path) {
            let target = encoders.join(path);
            let size = entry.header().size().map_err(|_| bad("the archive is damaged"))?;
            left = left.checked_sub(size).ok_or_else(|| bad("its encoders are larger than the limit"))?;
            of_encoders += 1;
            if target.exists() || of_encoders > MAX_ENCODER_FILES {
                return Err(bad("it contains a file of an encoder twice, or more than 1000 of them"));
            }
            std::fs::create_dir_all(target.parent().unwrap_or(encoders))?;
            if std::io::copy(&mut entry.take(size), &mut File::create(target)?)? != size {
                return Err(bad("the archive is cut short"));
            }
            continue;
        }
        let name = FILES
            .into_iter()
            .find(|name| name.as_bytes() == path)
            .ok_or_else(|| bad("it holds a file that no bundle has"))?;
        if files.iter().any(|(known, _)| *known == name) {
            return Err(bad(&format!("it contains {name} twice")));
        }
        let size = entry.header().size().map_err(|_| bad("the archive is damaged"))?;
        if size > left {
            return Err(bad(&format!("{name} is larger than the limit")));
        }
        left -= size;
        let mut content = Vec::new();
        entry.take(size).read_to_end(&mut content).map_err(|_| bad("the archive is cut short"))?;
        if content.len() as u64 != size {
            return Err(bad("the archive is cut short"));
        }
        files.push((name, content));
    }
    match FILES.iter().find(|name| !files.iter().any(|(known, _)| known == *name)) {
        Some(missing) => Err(bad(&format!("{missing} is missing"))),
        None => Ok(files),
    }
}

/// The path within the folder of encoders, where `path` is that of an encoder's file: a digest, and names.
fn of_encoder(path: &[u8]) -> Option<&Path> {
    let path = Path::new(std::str::from_utf8(path).ok()?).strip_prefix(ENCODERS).ok()?;
    let mut parts = path.components();
    let digest = parts.next()?.as_os_str().to_str()?;
    let is_digest = digest.len() == 64 && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let is_name = |part: Component<'_>| matches!(part, Component::Normal(_));
    (is_digest && parts.clone().next().is_some() && parts.all(is_name)).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
        pack(files, &[]).unwrap()
    }

    fn whole() -> Vec<u8> {
        packed(FILES.iter().map(|name| (*name, name.as_bytes())))
    }

    #[test]
    fn what_is_packed_comes_back() {
        let with_card = FILES.iter().map(|name| (*name, name.as_bytes())).chain([(CARD, b"# A model".as_slice())]);
        let folder = tempfile::tempdir().unwrap();
        for archive in [whole(), packed(with_card)] {
            let files = unpack(&archive, 1000, folder.path()).unwrap();
            assert!(files.iter().all(|(name, bytes)| name.as_bytes() == bytes));
            assert_eq!(files.len(), 3);
        }
    }

    #[test]
    fn encoders_are_unpacked_beside_the_files() {
        let (from, to, digest) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), "0a".repeat(32));
        let file = from.path().join("weights");
        std::fs::write(&file, b"numbers").unwrap();
        let files = FILES.iter().map(|name| (*name, name.as_bytes()));
        let archive = pack(files, &[(digest.clone(), "1_Pooling/config.json".to_owned(), file)]).unwrap();
        assert_eq!(unpack(&archive, 1000, to.path()).unwrap().len(), 3);
        assert_eq!(std::fs::read(to.path().join(&digest).join("1_Pooling/config.json")).unwrap(), b"numbers");
        assert_eq!(unpack(&archive, 1000, to.path()).unwrap_err().code, "bad_bundle", "there is one already");
        assert_eq!(unpack(&archive, 45, &to.path().join("other")).unwrap_err().code, "bad_bundle", "too large");
        let name = |rest: &str| format!("{ENCODERS}/{rest}").into_bytes();
        assert!(of_encoder(&name(&format!("{digest}/a"))).is_some());
        for refused in ["a/b", &digest, &format!("{digest}/../a"), "../a", &format!("{}/a", "0A".repeat(32))] {
            assert_eq!(of_encoder(&name(refused)), None, "{refused}");
        }
    }

    #[test]
    fn untrusted_archives_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refuse = |bytes: &[u8], limit| unpack(bytes, limit, folder.path()).unwrap_err().code;
        assert_eq!(refuse(b"nothing of the kind", 1000), "bad_bundle");
        assert_eq!(refuse(&[], 1000), "bad_bundle");
        assert_eq!(refuse(&whole(), 20), "bad_bundle");
        assert_eq!(refuse(&packed([("config.json", b"{}".as_slice())]), 1000), "bad_bundle");
        assert_eq!(refuse(&packed([("evil.sh", b"x".as_slice())]), 1000), "bad_bundle");
        let twice = [("config.json", b"1".as_slice()), ("config.json", b"2".as_slice())];
        assert_eq!(refuse(&packed(twice), 1000), "bad_bundle");
        for cut in [100, 600, 1100] {
            assert_eq!(refuse(&whole()[..cut], 1000), "bad_bundle");
        }
    }
}
