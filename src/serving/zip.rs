//! Zip archives, as far as a folder in one needs it: plain files, stored or deflated. An archive is untrusted.

use crate::{Error, Result};
use flate2::read::DeflateDecoder;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// What a zip archive begins with.
pub(super) const START: [u8; 4] = *b"PK\x03\x04";

/// The end of the list of files: its mark, and how long it is without a comment, which is as long as 16 bits can say.
const END: [u8; 4] = *b"PK\x05\x06";
const END_SIZE: usize = 22;
const LONGEST_COMMENT: u64 = 0xffff;

const LISTED: [u8; 4] = *b"PK\x01\x02";
const LISTED_SIZE: usize = 46;
const LOCAL_SIZE: usize = 30;

/// The bits of a file's mode that say what it is, and those of a link.
const KIND: u32 = 0o170_000;
const LINK: u32 = 0o120_000;

/// A file in an archive.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    /// Its path, as written.
    pub(super) path: String,
    /// Its bytes when unpacked.
    pub(super) size: u64,
    packed: u64,
    deflated: bool,
    at: u64,
}

fn bad(detail: &str) -> Error {
    Error::unprocessable("bad_encoder", format!("the archive is refused: {detail}"))
}

fn u16_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 2).map_or(0, |b| u64::from(u16::from_le_bytes([b[0], b[1]])))
}

fn u32_at(bytes: &[u8], at: usize) -> u64 {
    u16_at(bytes, at) | u16_at(bytes, at + 2) << 16
}

/// The files of an archive, at most `most`; folders are left out.
pub(super) fn entries(archive: &mut File, most: usize) -> Result<Vec<Entry>> {
    let length = archive.metadata()?.len();
    let tail_at = length.saturating_sub(END_SIZE as u64 + LONGEST_COMMENT);
    archive.seek(SeekFrom::Start(tail_at))?;
    let mut tail = Vec::new();
    archive.read_to_end(&mut tail)?;
    let end = tail.windows(END_SIZE).rposition(|window| window.starts_with(&END));
    let end = &tail[end.ok_or_else(|| bad("it is no zip archive, or it is cut short"))?..];
    let (count, size, at) = (u16_at(end, 10) as usize, u32_at(end, 12), u32_at(end, 16));
    if count > most || at == u64::from(u32::MAX) || at + size > length {
        return Err(bad("it has too many files, or more than 4 GiB, or it is damaged"));
    }
    archive.seek(SeekFrom::Start(at))?;
    let mut list = vec![0; size as usize];
    archive.read_exact(&mut list)?;
    let (mut found, mut rest) = (Vec::new(), &list[..]);
    for _ in 0..count {
        let sizes = [28, 30, 32].map(|at| u16_at(rest, at) as usize);
        let whole = LISTED_SIZE + sizes.iter().sum::<usize>();
        if !rest.starts_with(&LISTED) || rest.len() < whole {
            return Err(bad("its list of files is damaged"));
        }
        let path = std::str::from_utf8(&rest[LISTED_SIZE..LISTED_SIZE + sizes[0]]);
        let path = path.map_err(|_| bad("a path cannot be read"))?.to_owned();
        let (flags, method, mode) = (u16_at(rest, 8), u16_at(rest, 10), (u32_at(rest, 38) >> 16) as u32);
        if flags & 1 == 1 || !matches!(method, 0 | 8) || mode & KIND == LINK {
            return Err(bad("it has a link, or a file that is encrypted or compressed in a way other than deflate"));
        }
        if !path.ends_with('/') {
            let (packed, size, at) = (u32_at(rest, 20), u32_at(rest, 24), u32_at(rest, 42));
            found.push(Entry { path, size, packed, deflated: method == 8, at });
        }
        rest = &rest[whole..];
    }
    Ok(found)
}

/// The contents of a file.
pub(super) fn open<'a>(archive: &'a mut File, entry: &Entry) -> Result<Box<dyn Read + 'a>> {
    let mut head = [0; LOCAL_SIZE];
    archive.seek(SeekFrom::Start(entry.at))?;
    archive.read_exact(&mut head).map_err(|_| bad("it is cut short"))?;
    if !head.starts_with(&START) {
        return Err(bad("it is damaged"));
    }
    archive.seek(SeekFrom::Current((u16_at(&head, 26) + u16_at(&head, 28)) as i64))?;
    let packed = archive.take(entry.packed);
    Ok(if entry.deflated { Box::new(DeflateDecoder::new(packed)) } else { Box::new(packed) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write;

    /// An archive of files, those with an odd number deflated.
    fn archive(files: &[(&str, &[u8])], mode: u32) -> File {
        let (mut out, mut list) = (Vec::new(), Vec::new());
        for (number, (path, content)) in files.iter().enumerate() {
            let method = if number % 2 == 1 { 8u16 } else { 0 };
            let packed = if method == 8 {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap()
            } else {
                content.to_vec()
            };
            let at = out.len() as u32;
            let mut common = [20u16.to_le_bytes(), [0; 2], method.to_le_bytes()].concat();
            common.extend([0; 8]);
            common.extend((packed.len() as u32).to_le_bytes());
            common.extend((content.len() as u32).to_le_bytes());
            common.extend((path.len() as u16).to_le_bytes());
            common.extend([0; 2]);
            out.extend([&START[..], &common, path.as_bytes(), &packed].concat());
            list.extend([&LISTED[..], &[20, 3], &common, &[0; 6]].concat());
            list.extend((mode << 16).to_le_bytes());
            list.extend(at.to_le_bytes());
            list.extend(path.as_bytes());
        }
        let (at, size, count) = (out.len() as u32, list.len() as u32, files.len() as u16);
        out.extend(list);
        out.extend([&END[..], &[0; 4], &count.to_le_bytes(), &count.to_le_bytes()].concat());
        out.extend([&size.to_le_bytes()[..], &at.to_le_bytes(), &[0; 2]].concat());
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&out).unwrap();
        file
    }

    #[test]
    fn files_come_back_stored_and_deflated() {
        let long = b"numbers ".repeat(1000);
        let mut packed = archive(&[("a/config.json", b"{}"), ("a/weights", &long), ("a/", b"")], 0o100_644);
        let found = entries(&mut packed, 10).unwrap();
        assert_eq!(found.iter().map(|entry| entry.path.as_str()).collect::<Vec<_>>(), ["a/config.json", "a/weights"]);
        for (entry, expected) in found.iter().zip([&b"{}"[..], &long]) {
            let mut content = Vec::new();
            open(&mut packed, entry).unwrap().read_to_end(&mut content).unwrap();
            assert_eq!((content.as_slice(), entry.size), (expected, expected.len() as u64));
        }
    }

    #[test]
    fn links_too_many_files_and_damage_are_refused() {
        let refused = |archive: &mut File, most| entries(archive, most).unwrap_err().code;
        assert_eq!(refused(&mut archive(&[("a", b"/etc/passwd")], 0o120_777), 10), "bad_encoder");
        assert_eq!(refused(&mut archive(&[("a", b"1"), ("b", b"2")], 0), 1), "bad_encoder");
        let mut cut = archive(&[("a", b"1")], 0);
        cut.set_len(40).unwrap();
        assert_eq!(refused(&mut cut, 10), "bad_encoder");
        let mut bytes = Vec::new();
        let mut whole = archive(&[("a", b"1"), ("b", b"2")], 0);
        whole.rewind().unwrap();
        whole.read_to_end(&mut bytes).unwrap();
        // No byte of it makes more than an error.
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0xff;
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&damaged).unwrap();
            for entry in entries(&mut file, 10).unwrap_or_default() {
                let _ = open(&mut file, &entry).and_then(|mut content| Ok(content.read_to_end(&mut Vec::new())?));
            }
        }
    }
}
