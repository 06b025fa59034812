//! From files to tables: every format, and errors in them.

mod bad_input;
mod bundled;
mod dialects;
mod formats;
mod identity;
mod majority;
mod numbered;
mod oddities;
#[cfg(feature = "parquet")]
mod parquet_types;
mod plans;
mod requests;
mod spellings;
mod warnings;

use super::formats::{Limits, ReadOptions, RowFile, detect, detect_as};
use super::schema::{Summary, infer, infer_upload};
use std::io::Write;
use tempfile::NamedTempFile;

/// A file with this content, and its detected format.
pub(super) fn file(content: &[u8], content_type: Option<&str>) -> crate::Result<(NamedTempFile, RowFile)> {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    let part = detect(file.path(), content_type, None)?;
    Ok((file, part))
}

/// The inferred schema of this content.
pub(super) fn summary(content: &[u8]) -> crate::Result<Summary> {
    let (_file, part) = file(content, None)?;
    infer(&part, &Limits::default())
}

/// The answer to an upload of this content: how it was read, and its summary with all warnings.
pub(super) fn upload(content: &[u8], options: &ReadOptions) -> crate::Result<(NamedTempFile, RowFile, Summary)> {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    let (part, warnings) = detect_as(file.path(), None, None, options)?;
    let (part, mut summary, _) = infer_upload(part, options, None, &Limits::default())?;
    summary.warnings.splice(0..0, warnings);
    Ok((file, part, summary))
}

/// gzip of some bytes.
pub(super) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}
