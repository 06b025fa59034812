//! Reads tensors of safetensors files one by one, so that a large file is never in memory twice. Every size that a
//! header names is checked against the file before anything is allocated.

use super::refused;
use crate::{Error, Result};
use half::{bf16, f16};
use serde::Deserialize;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The longest header that is read; one of a network with ten thousand tensors takes about 1 MiB.
const MAX_HEADER: u64 = 16 << 20;

/// A tensor as its header describes it.
#[derive(Clone, Debug, Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

/// A tensor and where its bytes are.
#[derive(Clone, Debug)]
struct Place {
    file: usize,
    start: u64,
    entry: Entry,
}

/// The tensors of some safetensors files.
pub(super) struct Weights {
    files: Vec<File>,
    places: HashMap<String, Place>,
}

impl Weights {
    /// Reads the headers of `paths`.
    ///
    /// # Errors
    /// A header that does not fit its file.
    pub(super) fn open(paths: &[PathBuf]) -> Result<Self> {
        let mut it = Self { files: Vec::new(), places: HashMap::new() };
        for path in paths {
            it.add(path).map_err(|error| match error.kind {
                crate::Kind::Unprocessable => refused(format!("{}: {}", shown(path), error.detail)),
                _ => error,
            })?;
        }
        Ok(it)
    }

    fn add(&mut self, path: &Path) -> Result<()> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut size = [0; 8];
        file.read_exact(&mut size).map_err(|_| refused("the file is too short for a header"))?;
        let header = u64::from_le_bytes(size);
        if header > MAX_HEADER || header > length.saturating_sub(8) {
            return Err(refused(format!("its header claims {header} bytes, the file has {length}")));
        }
        let mut bytes = vec![0; header as usize];
        file.read_exact(&mut bytes)?;
        let entries: HashMap<String, serde_json::Value> =
            serde_json::from_slice(&bytes).map_err(|e| refused(format!("its header cannot be read: {e}")))?;
        let (first, mut end) = (8 + header, 0);
        for (name, value) in entries.into_iter().filter(|(name, _)| name != "__metadata__") {
            let entry: Entry =
                serde_json::from_value(value).map_err(|e| refused(format!("tensor {name} cannot be read: {e}")))?;
            let [from, to] = entry.data_offsets;
            let elements = entry.shape.iter().try_fold(1u64, |n, side| n.checked_mul(*side as u64));
            let bytes = elements.and_then(|n| n.checked_mul(element_bytes(&entry.dtype)?));
            if to < from || bytes != Some(to - from) {
                return Err(refused(format!("the header has tensor {name} as {:?} in {from}..{to}", entry.shape)));
            }
            end = end.max(to);
            self.places.insert(name, Place { file: self.files.len(), start: first + from, entry });
        }
        if first.checked_add(end).is_none_or(|end| end > length) {
            return Err(refused(format!(
                "the file is truncated: its tensors need {end} bytes, it has {}",
                length - first
            )));
        }
        self.files.push(file);
        Ok(())
    }

    /// The names that end in `suffix`, without it.
    pub(super) fn prefix_of(&self, suffix: &str) -> Option<String> {
        let mut found: Vec<&str> = self.places.keys().filter_map(|name| name.strip_suffix(suffix)).collect();
        found.sort_unstable();
        found.first().map(|prefix| (*prefix).to_owned())
    }

    /// The shape of a tensor, where there is one.
    pub(super) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.places.get(name).map(|place| &place.entry.shape[..])
    }

    /// Numbers of the tensor `name`, whose shape must be `shape`.
    ///
    /// # Errors
    /// It is missing or has another shape, or a number is not finite.
    pub(super) fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let (dtype, bytes) = self.bytes(name, shape)?;
        let numbers: Vec<f32> = match dtype.as_str() {
            "F32" => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            "F16" => bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
            "BF16" => bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
            "F64" => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
            "I8" => bytes.iter().map(|b| f32::from(*b as i8)).collect(),
            other => return Err(refused(format!("tensor {name} has numbers of type {other}"))),
        };
        match numbers.iter().all(|x| x.is_finite()) {
            true => Ok(numbers),
            false => Err(refused(format!("tensor {name} has a number that is not finite"))),
        }
    }

    /// Whole numbers of the tensor `name`, none negative.
    pub(super) fn take_indices(&mut self, name: &str, shape: &[usize]) -> Result<Vec<u32>> {
        let (dtype, bytes) = self.bytes(name, shape)?;
        let wide: Vec<i64> = match dtype.as_str() {
            "I64" => bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect(),
            "I32" => bytes.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b).into()).collect(),
            other => return Err(refused(format!("tensor {name} has numbers of type {other}"))),
        };
        let narrow = wide.into_iter().map(u32::try_from).collect::<std::result::Result<_, _>>();
        narrow.map_err(|_| refused(format!("tensor {name} has an index out of range")))
    }

    fn bytes(&mut self, name: &str, shape: &[usize]) -> Result<(String, Vec<u8>)> {
        let Some(place) = self.places.get(name) else { return Err(refused(format!("tensor {name} is missing"))) };
        let Place { file, start, entry } = place.clone();
        if entry.shape != shape {
            return Err(refused(format!("tensor {name} has shape {:?}, config.json has {shape:?}", entry.shape)));
        }
        let [from, to] = entry.data_offsets;
        let mut bytes = vec![0; (to - from) as usize];
        self.files[file].seek(SeekFrom::Start(start))?;
        self.files[file].read_exact(&mut bytes).map_err(Error::from)?;
        Ok((entry.dtype, bytes))
    }
}

fn shown(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Bytes of one element; none for types that no published encoder has.
fn element_bytes(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "BOOL" | "U8" | "I8" => 1,
        "F16" | "BF16" | "I16" | "U16" => 2,
        "F32" | "I32" | "U32" => 4,
        "F64" | "I64" | "U64" => 8,
        _ => return None,
    })
}
