//! Where the vectors of a column's cells come from when a pretrained encoder reads it. The encoders themselves are in
//! [`crate::encoders`]; a model names its encoder by digest, and what can open one is registered here.

use super::ColumnKind;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

/// Turns cells into vectors.
pub trait CellVectors: Send + Sync {
    /// What it reads: texts or pictures.
    fn kind(&self) -> ColumnKind;

    /// Length of a vector.
    fn width(&self) -> usize;

    /// The vectors of some texts, or of pictures in base64, `[cells, width]`. A cell has the same vector alone and among
    /// others.
    fn of_cells(&self, cells: &[&str]) -> Result<Vec<f32>>;
}

/// Opens the encoder with a digest; none where it does not have it.
type Opener = Box<dyn Fn(&str) -> Result<Option<Arc<dyn CellVectors>>> + Send + Sync>;

/// All openers of this process. A digest names contents, so it does not matter which of them is used.
static OPENERS: RwLock<Vec<Opener>> = RwLock::new(Vec::new());

/// Adds a place that encoders are opened from.
pub fn provide(opener: impl Fn(&str) -> Result<Option<Arc<dyn CellVectors>>> + Send + Sync + 'static) {
    OPENERS.write().unwrap_or_else(PoisonError::into_inner).push(Box::new(opener));
}

/// The pretrained encoder that reads a column.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ColumnEncoder {
    /// Its name where the model was made.
    pub name: String,
    /// SHA-256 of its files, which identifies it to the model.
    #[serde(default)]
    pub digest: String,
    #[serde(skip)]
    opened: Opened,
}

/// The opened encoder, shared by copies made afterwards.
#[derive(Clone, Default)]
struct Opened(OnceLock<Arc<dyn CellVectors>>);

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.get().is_some() { "open" } else { "closed" })
    }
}

impl PartialEq for ColumnEncoder {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.digest == other.digest
    }
}

impl ColumnEncoder {
    /// The encoder that has this name and these contents.
    pub fn new(name: impl Into<String>, digest: impl Into<String>) -> Self {
        Self { name: name.into(), digest: digest.into(), opened: Opened::default() }
    }

    /// The encoder itself, opened at the first call.
    ///
    /// # Errors
    /// `encoder_missing` where no place of this process has it.
    pub fn vectors(&self) -> Result<&Arc<dyn CellVectors>> {
        if let Some(open) = self.opened.0.get() {
            return Ok(open);
        }
        let openers = OPENERS.read().unwrap_or_else(PoisonError::into_inner);
        // A place that is out of reach must not hide another one that has it.
        let mut failed = None;
        for opener in openers.iter() {
            match opener(&self.digest) {
                Ok(Some(found)) => return Ok(self.opened.0.get_or_init(|| found)),
                Ok(None) => {}
                Err(error) => drop(failed.get_or_insert(error)),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let detail = format!(
            "the model reads a column with the encoder {} ({}…), which is not there: add it again",
            self.name,
            self.digest.get(..12).unwrap_or(&self.digest)
        );
        Err(Error::conflict("encoder_missing", detail))
    }
}
