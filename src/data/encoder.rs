// NOTE FROM LEAD (19:46): I am writing encoder.rs, target.rs and split.rs myself in main to take load off you; land formats, schema, plan (resolve/read_table/read_rows), rows FIRST. Take my versions of these three files when you rebase (git checkout --theirs/main); extend afterwards (tests, speed).
//! From a table to sparse tokens. Fitted once on training rows, saved with the model as JSON.

use super::plan::ColumnPlan;
use super::schema::ColumnKind;
use super::{Batch, Table};
use crate::Result;
use serde::{Deserialize, Serialize};

/// Which form of batch a family wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// One token a row, entries sorted by index and unique.
    Bag,
    /// A token a number, category, word, patch or window; see DESIGN's table.
    Tokens,
}

/// Choices of the encoder that are not the data's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EncoderOptions {
    /// Quantile bins of the piecewise-linear number encoding (bags only); 0 gives one standardised
    /// entry a number instead. Gorishniy et al. 2022, "On Embeddings for Numerical Features".
    pub bins: usize,
    /// Binary logarithm of the number of indices text is hashed into.
    pub text_bits: u32,
    /// Free category slots kept for names that turn up after fitting (streams).
    pub reserve: usize,
    /// Steps a window token of a series covers.
    pub window: usize,
    /// Steps between two window tokens.
    pub stride: usize,
}

impl Default for EncoderOptions {
    fn default() -> Self {
        Self { bins: 0, text_bits: 18, reserve: 0, window: 7, stride: 3 }
    }
}

/// One column as the network sees it: a range of the feature space.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Field {
    /// Name of the feature.
    pub name: String,
    /// Its kind.
    pub kind: ColumnKind,
    /// First feature index.
    pub start: u32,
    /// Number of feature indices.
    pub width: u32,
    /// Shape of a vector or image whose entry `start + i` is element `i`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Vec<usize>>,
}

/// A column the encoder left out, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Name of the column.
    pub name: String,
    /// The reason in plain words.
    pub reason: String,
}

/// The fitted encoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Encoder {
    /// Bag or tokens.
    pub layout: Layout,
    /// How input rows are read, the target not among them.
    pub inputs: Vec<ColumnPlan>,
    /// The feature space, field after field.
    pub fields: Vec<Field>,
    /// Size of the feature space.
    pub width: u32,
    /// Columns without information.
    pub left_out: Vec<LeftOut>,
}

impl Encoder {
    /// Fits vocabularies, means and scales on `rows` of `table` (the training rows only).
    pub fn fit(table: &Table, rows: &[usize], inputs: &[ColumnPlan], layout: Layout) -> Result<Self> {
        Self::fit_with(table, rows, inputs, layout, EncoderOptions::default())
    }

    /// [`Encoder::fit`] with options.
    pub fn fit_with(
        table: &Table,
        rows: &[usize],
        inputs: &[ColumnPlan],
        layout: Layout,
        options: EncoderOptions,
    ) -> Result<Self> {
        let _ = (table, rows, inputs, layout, options);
        Err(crate::Error::unprocessable("not_yet", "not yet"))
    }

    /// An encoder that has seen nothing, for a model that learns only by [`Encoder::observe`]. Every
    /// category has `options.reserve` free slots (64 when 0), so the width never changes.
    pub fn empty(inputs: &[ColumnPlan], layout: Layout, options: EncoderOptions) -> Result<Self> {
        let _ = (inputs, layout, options);
        Err(crate::Error::unprocessable("not_yet", "not yet"))
    }

    /// Takes running statistics on: means and scales, new categories into free slots.
    pub fn observe(&mut self, table: &Table) -> Result<()> {
        let _ = table;
        Err(crate::Error::unprocessable("not_yet", "not yet"))
    }

    /// Encodes all rows of `table`, whose columns are those of `inputs` (others are not looked at).
    pub fn encode(&self, table: &Table) -> Result<Batch> {
        let mut batch = Batch::new();
        self.encode_into(table, &mut batch)?;
        Ok(batch)
    }

    /// [`Encoder::encode`] into a batch whose allocations are reused.
    pub fn encode_into(&self, table: &Table, batch: &mut Batch) -> Result<()> {
        batch.clear();
        let _ = table;
        Err(crate::Error::unprocessable("not_yet", "not yet"))
    }
}
