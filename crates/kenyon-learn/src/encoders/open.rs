//! The open encoders of a process: each is read from its folder once, however many models use it.

use super::{Pretrained, VectorFiles};
use crate::Result;
use crate::device::DeviceName;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Encoders by digest. They are closed when the last model that uses them is, but for the one opened last.
static OPEN: Mutex<Option<Open>> = Mutex::new(None);

#[derive(Default)]
struct Open {
    all: HashMap<String, Weak<Pretrained>>,
    last: Option<Arc<Pretrained>>,
}

/// As [`open`], on a device; vectors of cells are read from and written to `files` as well. Those of a static encoder are not: they are
/// made faster than they are read.
///
/// # Errors
/// As [`open`], and where the fresh file cannot be made.
pub fn open_with(
    digest: &str,
    root: &Path,
    (threads, device): (usize, DeviceName),
    files: &VectorFiles,
) -> Result<Arc<Pretrained>> {
    let encoder = opened(digest, root, threads, device)?;
    encoder.store_in(files)?;
    Ok(encoder)
}

/// The encoder with this digest, read from the folder `root` unless it is open.
///
/// # Errors
/// `bad_encoder` where the folder does not hold it.
pub fn open(digest: &str, root: &Path, threads: usize) -> Result<Arc<Pretrained>> {
    opened(digest, root, threads, DeviceName::Cpu)
}

fn opened(digest: &str, root: &Path, threads: usize, device: DeviceName) -> Result<Arc<Pretrained>> {
    // The lock is held while the folder is read: a second caller waits instead of reading it, too.
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    let Open { all, last } = open.get_or_insert_default();
    if let Some(encoder) = all.get(digest).and_then(Weak::upgrade) {
        return Ok(encoder);
    }
    let encoder = Pretrained::open_on(root, threads, device)?;
    if encoder.info().digest != digest {
        return Err(super::refused("its files have changed since it was added"));
    }
    let encoder = Arc::new(encoder);
    *last = Some(Arc::clone(&encoder));
    all.retain(|_, open| open.strong_count() > 0);
    all.insert(digest.to_owned(), Arc::downgrade(&encoder));
    Ok(encoder)
}
