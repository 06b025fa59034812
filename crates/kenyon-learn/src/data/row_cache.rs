//! Encoded rows in a file: written once, a chunk at a time, and read in blocks. Memory holds the places of the blocks
//! and nothing else, so it hardly grows with the rows.

use super::{Batch, BinRanges};
use crate::{Error, Result};
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Rows of a block: few enough that some dozens of blocks from anywhere in the file make a mixed selection, and enough
/// that one is read at once.
pub const BLOCK: usize = 512;

/// Where a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    at: u64,
    bytes: usize,
    rows: usize,
}

/// A cache under construction.
#[derive(Debug)]
pub struct RowCacheWriter {
    file: BufWriter<File>,
    at: u64,
    blocks: Vec<Place>,
    /// Rows that do not fill a block yet.
    pending: Batch,
    bins: Option<Arc<BinRanges>>,
}

/// Encoded rows in a file.
#[derive(Debug)]
pub struct RowCache {
    file: Mutex<File>,
    blocks: Vec<Place>,
    bins: Option<Arc<BinRanges>>,
}

impl RowCacheWriter {
    /// Begins a cache in a new file, or one that is replaced.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(Self { file: BufWriter::new(file), at: 0, blocks: Vec::new(), pending: Batch::new(), bins: None })
    }

    /// Appends the rows of a batch; all batches come from one encoder.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn push(&mut self, batch: &Batch) -> Result<()> {
        self.bins.clone_from(&batch.bins);
        let mut row = 0;
        while row < batch.rows() {
            let end = batch.rows().min(row + BLOCK - self.pending.rows());
            self.pending.append_rows(batch, row..end);
            row = end;
            if self.pending.rows() == BLOCK {
                self.write()?;
            }
        }
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        let bytes = to_bytes(&self.pending);
        self.file.write_all(&bytes)?;
        self.blocks.push(Place { at: self.at, bytes: bytes.len(), rows: self.pending.rows() });
        self.at += bytes.len() as u64;
        self.pending.clear();
        Ok(())
    }

    /// Ends it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self) -> Result<RowCache> {
        if self.pending.rows() > 0 {
            self.write()?;
        }
        let file = self.file.into_inner().map_err(|error| Error::from(error.into_error()))?;
        Ok(RowCache { file: Mutex::new(file), blocks: self.blocks, bins: self.bins })
    }
}

impl RowCache {
    /// How many blocks there are.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Rows of a block; all but the last have [`BLOCK`].
    pub fn rows_of(&self, block: usize) -> usize {
        self.blocks[block].rows
    }

    /// All rows.
    pub fn rows(&self) -> usize {
        self.blocks.iter().map(|block| block.rows).sum()
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.blocks.iter().map(|block| block.bytes as u64).sum()
    }

    /// Reads a block.
    ///
    /// # Errors
    /// The file cannot be read, or does not hold what was written.
    pub fn read(&self, block: usize) -> Result<Batch> {
        let Place { at, bytes, rows } = self.blocks[block];
        let mut buffer = vec![0; bytes];
        {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(at))?;
            file.read_exact(&mut buffer)?;
        }
        let mut batch = from_bytes(&buffer).ok_or_else(|| Error::internal("a block of encoded rows is damaged"))?;
        if batch.rows() != rows {
            return Err(Error::internal("a block of encoded rows has another size"));
        }
        batch.bins.clone_from(&self.bins);
        Ok(batch)
    }
}

/// Lengths, then the arrays, little-endian.
fn to_bytes(batch: &Batch) -> Vec<u8> {
    let Batch { row_offsets, token_offsets, indices, values, fields, .. } = batch;
    let words = 4 + row_offsets.len() + token_offsets.len() + 2 * indices.len();
    let mut bytes = Vec::with_capacity(4 * words + 2 * fields.len());
    for length in [row_offsets.len(), token_offsets.len(), indices.len(), fields.len()] {
        bytes.extend_from_slice(&(length as u32).to_le_bytes());
    }
    for word in row_offsets.iter().chain(token_offsets).chain(indices) {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
    fields.iter().for_each(|field| bytes.extend_from_slice(&field.to_le_bytes()));
    bytes
}

fn from_bytes(mut bytes: &[u8]) -> Option<Batch> {
    let lengths = words(&mut bytes, 4)?;
    let length = |at: usize| lengths[at] as usize;
    let row_offsets = words(&mut bytes, length(0))?;
    let token_offsets = words(&mut bytes, length(1))?;
    let indices = words(&mut bytes, length(2))?;
    let values = words(&mut bytes, length(2))?.into_iter().map(f32::from_bits).collect();
    let fields = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect::<Vec<_>>();
    (fields.len() == length(3)).then_some(())?;
    Some(Batch { row_offsets, token_offsets, indices, values, fields, ..Batch::default() })
}

fn words(bytes: &mut &[u8], count: usize) -> Option<Vec<u32>> {
    let (own, rest) = bytes.split_at_checked(4 * count)?;
    *bytes = rest;
    Some(own.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(from: u32, count: u32) -> Batch {
        let mut batch = Batch::new();
        for row in from..from + count {
            (0..row % 4).for_each(|entry| batch.push_entry(entry * 7 + row, row as f32 / 3.0));
            batch.end_bag();
        }
        batch
    }

    #[test]
    fn rows_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = RowCacheWriter::create(&folder.path().join("rows")).unwrap();
        for (from, count) in [(0, 300), (300, 700), (1000, 1), (1001, 500)] {
            writer.push(&rows(from, count)).unwrap();
        }
        let cache = writer.finish().unwrap();
        assert_eq!((cache.blocks(), cache.rows(), cache.rows_of(2)), (3, 1501, 1501 - 2 * BLOCK));
        let mut all = Batch::new();
        // In any order.
        cache.read(2).unwrap();
        (0..cache.blocks()).for_each(|block| all.append(&cache.read(block).unwrap()));
        assert_eq!(all, rows(0, 1501));
    }

    #[test]
    fn tokens_keep_their_fields() {
        let mut batch = Batch::new();
        for field in 0..5 {
            batch.push_entry(field, 1.0);
            batch.end_token(field as u16);
        }
        batch.end_row();
        assert_eq!(from_bytes(&to_bytes(&batch)), Some(batch.clone()));
        assert_eq!(from_bytes(&to_bytes(&batch)[1..]), None);
    }
}
