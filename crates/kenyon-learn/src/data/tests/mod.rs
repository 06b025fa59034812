//! From files to tables: every format, and everything that can be wrong with them.
#![allow(clippy::unwrap_used)]

mod bad_input;
mod bundled;
mod formats;
mod identity;
mod majority;
mod plans;
mod requests;

use super::formats::{Limits, Part, detect};
use super::schema::{Summary, infer};
use std::io::Write;
use tempfile::NamedTempFile;

/// A file with this content, and what it was recognised as.
pub(super) fn file(content: &[u8], content_type: Option<&str>) -> crate::Result<(NamedTempFile, Part)> {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    let part = detect(file.path(), content_type, None)?;
    Ok((file, part))
}

/// What inference says about this content.
pub(super) fn summary(content: &[u8]) -> crate::Result<Summary> {
    let (_file, part) = file(content, None)?;
    infer(&part, &Limits::default())
}

/// gzip of some bytes.
pub(super) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}
