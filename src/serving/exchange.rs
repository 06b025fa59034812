//! A model as one file: a tar archive of the bundle's three files, to be moved to another server.
//!
//! An archive is untrusted: only the three names and that of the card are accepted, as plain files, once each,
//! within a size that the caller sets; the card is for people and is not kept. Their contents are checked by [`kenyon_learn::learning::Bundle::load`].

use super::model_card::CARD;
use crate::{Error, Result};
use std::io::Read;

/// The files of a bundle, in the order they are written.
pub const FILES: [&str; 3] = ["config.json", "encoder.json", "weights.safetensors"];

/// Packs a bundle's files.
pub fn pack<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, bytes)?;
    }
    Ok(archive.into_inner()?)
}

/// Unpacks a bundle's files, `limit` bytes of them at most.
///
/// # Errors
/// `bad_bundle` for anything that is not exactly such an archive.
pub fn unpack(bytes: &[u8], limit: u64) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let bad = |detail: &str| Error::unprocessable("bad_bundle", format!("not a bundle: {detail}"));
    let mut files: Vec<(&'static str, Vec<u8>)> = Vec::new();
    let mut left = limit;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn whole() -> Vec<u8> {
        pack(FILES.iter().map(|name| (*name, name.as_bytes()))).unwrap()
    }

    #[test]
    fn what_is_packed_comes_back() {
        let with_card = FILES.iter().map(|name| (*name, name.as_bytes())).chain([(CARD, b"# A model".as_slice())]);
        for archive in [whole(), pack(with_card).unwrap()] {
            let files = unpack(&archive, 1000).unwrap();
            assert!(files.iter().all(|(name, bytes)| name.as_bytes() == bytes));
            assert_eq!(files.len(), 3);
        }
    }

    #[test]
    fn untrusted_archives_are_refused() {
        let refuse = |bytes: &[u8], limit| unpack(bytes, limit).unwrap_err().code;
        assert_eq!(refuse(b"nothing of the kind", 1000), "bad_bundle");
        assert_eq!(refuse(&[], 1000), "bad_bundle");
        assert_eq!(refuse(&whole(), 20), "bad_bundle");
        assert_eq!(refuse(&pack([("config.json", b"{}".as_slice())]).unwrap(), 1000), "bad_bundle");
        assert_eq!(refuse(&pack([("evil.sh", b"x".as_slice())]).unwrap(), 1000), "bad_bundle");
        let twice = [("config.json", b"1".as_slice()), ("config.json", b"2".as_slice())];
        assert_eq!(refuse(&pack(twice).unwrap(), 1000), "bad_bundle");
        for cut in [100, 600, 1100] {
            assert_eq!(refuse(&whole()[..cut], 1000), "bad_bundle");
        }
    }
}
