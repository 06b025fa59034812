//! From a file to decompressed bytes: with a bound, so that a decompression bomb ends as an error, and with the first
//! bytes available for format detection.

use super::Compression;
use crate::{Error, Kind, Result};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

/// Bytes used to detect a format.
const HEAD: usize = 64 << 10;

/// Decompressed bytes, with the first of them readable ahead of time.
pub(super) struct Source {
    /// The first bytes, up to 64 KiB; returned again by [`Read`].
    head: Vec<u8>,
    /// Whether `head` is the whole file.
    whole: bool,
    taken: usize,
    rest: Box<dyn Read + Send>,
}

/// Marks an [`io::Error`] as one of this crate, so that it passes unchanged through a third-party reader.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Carried(pub(super) Error);

/// Wraps an error to pass through a reader that returns [`io::Error`].
pub(super) fn carry(error: Error) -> io::Error {
    io::Error::other(Carried(error))
}

/// The error behind an [`io::Error`]: of this crate if it carries one, else a damaged stream.
pub(super) fn uncarry(error: io::Error) -> Error {
    if error.get_ref().is_some_and(|inner| inner.is::<Carried>()) {
        if let Some(Ok(carried)) = error.into_inner().map(|inner| inner.downcast::<Carried>()) {
            return carried.0;
        }
        return Error::malformed("damaged_file", "the file cannot be read");
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::InvalidData
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::Other => {
            let mut damaged = Error::malformed("damaged_compression", "the compressed data is damaged or cut short");
            damaged.cause = Some(error.into());
            damaged
        }
        _ => error.into(),
    }
}

struct Bounded {
    inner: Box<dyn Read + Send>,
    left: u64,
    limit: u64,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        match self.left.checked_sub(n as u64) {
            Some(left) => self.left = left,
            None => {
                return Err(carry(Error::new(
                    Kind::TooLarge,
                    "too_large",
                    format!("the data is larger than the limit of {} bytes when decompressed", self.limit),
                )));
            }
        }
        Ok(n)
    }
}

impl Source {
    /// Opens a file of at most `limit` decompressed bytes.
    pub(super) fn open(path: &Path, compression: Compression, limit: u64) -> Result<Self> {
        let file = File::open(path)?;
        let inner: Box<dyn Read + Send> = match compression {
            Compression::None => Box::new(file),
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(HEAD, file))),
            Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(file)?),
        };
        Self::with_head(Box::new(Bounded { inner, left: limit, limit }))
    }

    /// Bytes of which the first are read ahead.
    pub(super) fn with_head(mut rest: Box<dyn Read + Send>) -> Result<Self> {
        let mut head = Vec::with_capacity(HEAD);
        (&mut rest).take(HEAD as u64).read_to_end(&mut head).map_err(uncarry)?;
        Ok(Self { whole: head.len() < HEAD, head, taken: 0, rest })
    }

    /// Skips the next `bytes` of the head.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.taken = (self.taken + bytes).min(self.head.len());
    }

    /// The first bytes, up to 64 KiB.
    pub(super) fn head(&self) -> &[u8] {
        &self.head[self.taken..]
    }

    /// Whether [`Source::head`] is the whole file.
    pub(super) fn whole(&self) -> bool {
        self.whole
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken < self.head.len() {
            let n = buffer.len().min(self.head.len() - self.taken);
            buffer[..n].copy_from_slice(&self.head[self.taken..self.taken + n]);
            self.taken += n;
            return Ok(n);
        }
        self.rest.read(buffer)
    }
}
