//! An encoder of texts or of pictures, whichever its folder has.

use super::cache::Cache;
use super::folder::Folder;
use super::{EncoderInfo, ImageEncoder, Reads, TextEncoder, VectorFiles, images};
use crate::Result;
use crate::data::ColumnKind;
use crate::data::vectors::CellVectors;
use crate::device::DeviceName;
use std::path::Path;
use std::time::{Duration, Instant};

/// A sentence of usual length and a white picture, to measure with, and for how long.
const SENTENCE: &str = "The quick brown fox jumps over the lazy dog near the river.";
const PICTURE: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAEElEQVR42mP8zwABTAwUMQBJQQEPkWFcdwAAAABJRU5ErkJggg==";
const MEASURED: Duration = Duration::from_millis(50);

/// A pretrained encoder.
#[derive(Debug)]
pub enum Pretrained {
    /// Of texts.
    Text(Box<TextEncoder>),
    /// Of pictures.
    Image(Box<ImageEncoder>),
}

impl Pretrained {
    /// Reads the folder `root`. Passes use at most `threads` threads; the vectors do not depend on it.
    ///
    /// # Errors
    /// `bad_encoder` with the reason why the folder is refused.
    pub fn open(root: &Path, threads: usize) -> Result<Self> {
        Self::open_on(root, threads, DeviceName::Cpu)
    }

    /// As [`Self::open`]; a transformer of texts runs on `device` where it is there.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_on(root: &Path, threads: usize, device: DeviceName) -> Result<Self> {
        if images::is_here(&Folder::at(root)) {
            return ImageEncoder::open(root, threads).map(|encoder| Self::Image(Box::new(encoder)));
        }
        let device = device.open().ok().filter(|device| !device.is_cpu());
        let there = device.as_ref().and_then(|device| TextEncoder::open_on(root, threads, Some(device)).ok());
        let encoder = there.map_or_else(|| TextEncoder::open(root, threads), Ok)?;
        Ok(Self::Text(Box::new(encoder)))
    }

    /// What is known about it.
    pub fn info(&self) -> &EncoderInfo {
        match self {
            Self::Text(encoder) => encoder.info(),
            Self::Image(encoder) => encoder.info(),
        }
    }

    /// The vectors of some texts, or of pictures in base64, `[inputs, width]`.
    ///
    /// # Errors
    /// `bad_inputs` where a picture cannot be decoded.
    pub fn embed(&self, inputs: &[&str]) -> Result<Vec<f32>> {
        match self {
            Self::Text(encoder) => encoder.embed(inputs),
            Self::Image(encoder) => encoder.embed(inputs),
        }
    }

    /// Texts of usual length, or pictures, that it encodes a second, measured for a moment.
    pub fn rows_per_second(&self) -> Result<f64> {
        let inputs = match self {
            Self::Text(_) => [SENTENCE; 32],
            Self::Image(_) => [PICTURE; 32],
        };
        let inputs = if matches!(self, Self::Image(_)) { &inputs[..4] } else { &inputs[..] };
        let begun = Instant::now();
        let mut rows = 0;
        while rows == 0 || begun.elapsed() < MEASURED {
            self.embed(inputs)?;
            rows += inputs.len();
        }
        Ok((rows as f64 / begun.elapsed().as_secs_f64().max(1e-6)).round())
    }
}

impl Pretrained {
    fn cache(&self) -> &Cache {
        match self {
            Self::Text(encoder) => &encoder.cache,
            Self::Image(encoder) => &encoder.cache,
        }
    }

    /// Keeps the vectors of cells in files from now on, unless they are made faster than they are read.
    pub(super) fn store_in(&self, files: &VectorFiles) -> Result<()> {
        match self {
            Self::Text(encoder) if encoder.is_static() => Ok(()),
            _ => self.cache().store_in(files),
        }
    }
}

impl CellVectors for Pretrained {
    fn kind(&self) -> ColumnKind {
        match self.info().reads {
            Reads::Text => ColumnKind::Text,
            Reads::Image => ColumnKind::Image,
        }
    }

    fn width(&self) -> usize {
        self.info().width
    }

    fn of_cells(&self, cells: &[&str]) -> Result<Vec<f32>> {
        self.cache().through(cells, |missing| self.embed(missing))
    }
}
