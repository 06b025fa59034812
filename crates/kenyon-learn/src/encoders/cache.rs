//! The vectors of cells that were encoded before: a training encodes the same cells several times, and a retrained model those
//! of the last one. Some are in memory; a job's are in files as well ([`VectorFiles`]), which another job is given.

use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Bytes of vectors that are kept in memory.
const MOST: usize = 96 << 20;
/// Bytes of the files of vectors, all together.
pub const STORED_BYTES: u64 = 1 << 30;
/// A file's first bytes: its kind, then the length of a vector.
const MAGIC: &[u8; 8] = b"vectors1";
const HEADER: u64 = 16;

/// A cell's contents: the beginning of their SHA-256.
type Key = [u8; 16];

/// Files of vectors by the contents that they are of. They hold what an encoder with one digest made.
#[derive(Clone, Debug, Default)]
pub struct VectorFiles {
    /// Those of earlier jobs, which are only read. One that cannot be read is left out.
    pub known: Vec<PathBuf>,
    /// The file that new vectors are written to.
    pub fresh: PathBuf,
}

/// Vectors by the contents of their cells.
pub(super) struct Cache {
    width: usize,
    /// The newer half and the older half: when the newer one is full, the older one is dropped.
    kept: Mutex<[HashMap<Key, Box<[f32]>>; 2]>,
    stored: OnceLock<Mutex<Stored>>,
    /// Held while files are opened, which empties the fresh one.
    opening: Mutex<()>,
}

/// Open files, and where each vector is.
struct Stored {
    files: Vec<File>,
    places: HashMap<Key, (u32, u64)>,
    /// Where the next vector of the fresh file goes, which is the last of the files.
    end: u64,
    /// Bytes that may still be written.
    free: u64,
}

impl Cache {
    pub(super) fn new(width: usize) -> Self {
        Self { width, kept: Mutex::default(), stored: OnceLock::new(), opening: Mutex::default() }
    }

    /// Reads from and writes to `files` from now on, unless it does so with others already.
    ///
    /// # Errors
    /// The fresh file cannot be made.
    pub(super) fn store_in(&self, files: &VectorFiles) -> Result<()> {
        let _opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if self.stored.get().is_none() {
            let _ = self.stored.set(Mutex::new(Stored::open(files, self.width)?));
        }
        Ok(())
    }

    /// The vectors of `cells`, `[cells, width]`: those that are kept, and those that `encode` makes of the others.
    pub(super) fn through(&self, cells: &[&str], encode: impl Fn(&[&str]) -> Result<Vec<f32>>) -> Result<Vec<f32>> {
        let width = self.width;
        let keys: Vec<Key> = cells.iter().map(|cell| key(cell)).collect();
        let mut vectors = vec![0.0; cells.len() * width];
        // The first place of each cell that is not kept, and the others with the same contents.
        let mut missing: Vec<usize> = Vec::new();
        let mut repeats: Vec<(usize, usize)> = Vec::new();
        {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let stored = self.stored.get().map(|stored| stored.lock().unwrap_or_else(PoisonError::into_inner));
            let mut first: HashMap<Key, usize> = HashMap::new();
            for (at, key) in keys.iter().enumerate() {
                let out = &mut vectors[at * width..][..width];
                if let Some(vector) = kept[0].get(key).or_else(|| kept[1].get(key)) {
                    out.copy_from_slice(vector);
                } else if !stored.as_ref().is_some_and(|stored| stored.read(key, out)) {
                    match first.get(key) {
                        Some(&same) => repeats.push((at, same)),
                        None => {
                            first.insert(*key, at);
                            missing.push(at);
                        }
                    }
                }
            }
        }
        for part in missing.chunks(PORTION) {
            let wanted: Vec<&str> = part.iter().map(|&at| cells[at]).collect();
            let made = encode(&wanted)?;
            self.keep(part.iter().map(|&at| keys[at]).zip(made.chunks_exact(width)));
            for (&at, vector) in part.iter().zip(made.chunks_exact(width)) {
                vectors[at * width..][..width].copy_from_slice(vector);
            }
        }
        for (at, same) in repeats {
            vectors.copy_within(same * width..(same + 1) * width, at * width);
        }
        Ok(vectors)
    }

    /// Keeps new vectors, in a file where there is one.
    fn keep<'v>(&self, made: impl Iterator<Item = (Key, &'v [f32])>) {
        if let Some(stored) = self.stored.get() {
            let mut stored = stored.lock().unwrap_or_else(PoisonError::into_inner);
            return made.for_each(|(key, vector)| stored.write(key, vector));
        }
        let half = (MOST / 2 / (self.width * 4 + 48).max(1)).max(1);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, vector) in made {
            if kept[0].len() >= half {
                kept.swap(0, 1);
                kept[0].clear();
            }
            kept[0].insert(key, vector.into());
        }
    }
}

/// Cells that are encoded before their vectors are kept: what is lost when a job is stopped.
const PORTION: usize = 256;

fn key(cell: &str) -> Key {
    let mut key = Key::default();
    key.copy_from_slice(&Sha256::digest(cell.as_bytes())[..16]);
    key
}

impl Stored {
    fn open(files: &VectorFiles, width: usize) -> Result<Self> {
        let mut it = Self { files: Vec::new(), places: HashMap::new(), end: HEADER, free: STORED_BYTES };
        for path in &files.known {
            // Vectors that cannot be read are made again.
            let _ = it.add(path, width);
        }
        let fresh = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&files.fresh)?;
        let mut header = [0; HEADER as usize];
        header[..8].copy_from_slice(MAGIC);
        header[8..].copy_from_slice(&(width as u64).to_le_bytes());
        fresh.write_all_at(&header, 0)?;
        it.files.push(fresh);
        Ok(it)
    }

    fn add(&mut self, path: &PathBuf, width: usize) -> Result<()> {
        let file = File::open(path)?;
        let mut header = [0; HEADER as usize];
        file.read_exact_at(&mut header, 0)?;
        if header[..8] != *MAGIC || header[8..] != (width as u64).to_le_bytes() {
            return Err(Error::internal("a file of vectors of another kind"));
        }
        let (step, length) = (record(width), file.metadata()?.len());
        let number = self.files.len() as u32;
        let mut key = Key::default();
        // A record at the end that was cut short is not read.
        for at in (HEADER..).step_by(step as usize).take_while(|at| at + step <= length) {
            file.read_exact_at(&mut key, at)?;
            // What was never written reads as zeros.
            if key != Key::default() {
                self.places.entry(key).or_insert((number, at));
            }
        }
        self.free = self.free.saturating_sub(length);
        self.files.push(file);
        Ok(())
    }

    /// Reads the vector of a key; whether there is one.
    fn read(&self, key: &Key, out: &mut [f32]) -> bool {
        let Some(&(file, at)) = self.places.get(key) else { return false };
        let mut bytes = vec![0; out.len() * 4];
        if self.files[file as usize].read_exact_at(&mut bytes, at + 16).is_err() {
            return false;
        }
        out.iter_mut().zip(bytes.as_chunks().0).for_each(|(x, bytes)| *x = f32::from_le_bytes(*bytes));
        out.iter().all(|x| x.is_finite())
    }

    /// Writes a vector as long as there is space. One that cannot be written is made again when it is needed.
    fn write(&mut self, key: Key, vector: &[f32]) {
        let step = record(vector.len());
        let Some(fresh) = self.files.last().filter(|_| self.free >= step) else { return };
        let numbers = vector.iter().flat_map(|x| x.to_le_bytes());
        let bytes: Vec<u8> = key.into_iter().chain(numbers).collect();
        if fresh.write_all_at(&bytes, self.end).is_ok() {
            self.places.insert(key, (self.files.len() as u32 - 1, self.end));
            self.end += step;
            self.free -= step;
        }
    }
}

/// Bytes of a key and its vector.
fn record(width: usize) -> u64 {
    16 + width as u64 * 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Encodes a text as its length and one, and counts.
    fn encode<'c>(encoded: &'c Cell<usize>) -> impl Fn(&[&str]) -> Result<Vec<f32>> + 'c {
        |texts| {
            encoded.set(encoded.get() + texts.len());
            Ok(texts.iter().flat_map(|text| [text.len() as f32, 1.0]).collect())
        }
    }

    #[test]
    fn a_text_is_encoded_once() {
        let (cache, encoded) = (Cache::new(2), Cell::new(0));
        let vectors = cache.through(&["a", "bcd", "a"], encode(&encoded)).unwrap();
        assert_eq!(vectors, [1.0, 1.0, 3.0, 1.0, 1.0, 1.0]);
        assert_eq!(cache.through(&["bcd", "ef"], encode(&encoded)).unwrap(), [3.0, 1.0, 2.0, 1.0]);
        assert_eq!(encoded.get(), 3);
    }

    #[test]
    fn another_process_finds_what_was_encoded() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
        let (first, encoded) = (Cache::new(2), Cell::new(0));
        first.store_in(&VectorFiles { known: Vec::new(), fresh: one.clone() }).unwrap();
        let vectors = first.through(&["a", "bcd", "a"], encode(&encoded)).unwrap();
        // Every column that the encoder reads needs the files.
        first.store_in(&VectorFiles { known: Vec::new(), fresh: one.clone() }).unwrap();
        assert_eq!(first.through(&["bcd"], encode(&encoded)).unwrap(), vectors[2..4]);
        assert_eq!((vectors, encoded.get()), (vec![1.0, 1.0, 3.0, 1.0, 1.0, 1.0], 2));

        // What was cut short, is of another width or is gone is made again.
        let whole = std::fs::read(&one).unwrap();
        let (cut, gone) = (folder.path().join("cut"), folder.path().join("gone"));
        std::fs::write(&cut, &whole[..whole.len() - 1]).unwrap();
        for (known, width, again) in [(vec![one], 2, 1), (vec![cut, gone], 2, 2)] {
            let (cache, encoded) = (Cache::new(width), Cell::new(0));
            cache.store_in(&VectorFiles { known, fresh: two.clone() }).unwrap();
            let vectors = cache.through(&["a", "bcd", "ef"], encode(&encoded)).unwrap();
            assert_eq!((vectors, encoded.get()), (vec![1.0, 1.0, 3.0, 1.0, 2.0, 1.0], again));
        }
        let other = Cache::new(3);
        other.store_in(&VectorFiles { known: vec![two], fresh: folder.path().join("three") }).unwrap();
        assert_eq!(other.through(&["a"], |_| Ok(vec![5.0; 3])).unwrap(), [5.0; 3]);
    }
}
