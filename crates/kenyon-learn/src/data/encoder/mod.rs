//! From a table to sparse tokens. Fitted once on training rows, saved with the model as JSON.
//!
//! | kind | in a bag | as tokens |
//! | --- | --- | --- |
//! | number, timestamp | standardised value, piecewise-linear bins, missing | one token |
//! | category, boolean | one-hot with unseen and missing | one token |
//! | text | hashed words, word pairs, character 3–5-grams, tf·idf | a token a word |
//! | vector, image | its non-zero elements | a token a window or patch |
//! | sequence of numbers | pooled statistics | a token a window |
//! | sequence of strings | as text | a token a sentence |

mod bins;
pub mod choose;
mod columns;
mod fit;
pub(crate) mod onnx;
mod pairs;
mod peak;
mod running;
mod scale;
mod series;
mod text;

use super::plan::ColumnPlan;
use super::schema::ColumnKind;
use super::vectors::ColumnEncoder;
use super::{Batch, BinRanges, Column, Table};
use crate::{Error, Result};
use columns::Fitted;
use pairs::Paired;
pub(crate) use scale::Scale;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use text::{Lexicon, Words};

/// The layout of a batch, by family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// One token a row, entries sorted by index and unique.
    #[default]
    Bag,
    /// A token a number, category, word, patch or window; see the table above.
    Tokens,
}

/// Options of the encoder that do not come from the data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EncoderOptions {
    /// Quantile bins of the piecewise-linear number encoding; 0 gives one standardised entry a
    /// number instead. Gorishniy et al. 2022, "On Embeddings for Numerical Features".
    pub bins: usize,
    /// Rows of a cell that two numbers make together, on average.
    pub cell_rows: usize,
    /// Binary logarithm of the number of indices text is hashed into.
    pub text_bits: u32,
    /// Free category slots kept for names that turn up after fitting (streams).
    pub reserve: usize,
    /// Steps a window token of a series covers, at least.
    pub window: usize,
    /// Steps between two window tokens, at least.
    pub stride: usize,
}

impl Default for EncoderOptions {
    fn default() -> Self {
        Self { bins: 0, cell_rows: 50, text_bits: 20, reserve: 0, window: 7, stride: 3 }
    }
}

/// One column as input of the network: a range of the feature space. In [`Layout::Tokens`] all text
/// columns share one range, so that a word is the same word in each.
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
    /// Shape of a vector or image whose entry `start + i` is element `i` (bags only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Vec<usize>>,
}

/// A column the encoder left out, and the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DroppedColumn {
    /// Name of the column.
    pub name: String,
    /// The reason, one sentence.
    pub reason: String,
}

/// The fitted encoder; by default one over no columns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Encoder {
    /// Bag or tokens.
    pub layout: Layout,
    /// How input rows are read, without the target.
    pub inputs: Vec<ColumnPlan>,
    /// The feature space, field after field.
    pub fields: Vec<Field>,
    /// Size of the feature space.
    pub width: u32,
    /// Columns without information.
    #[serde(rename = "left_out")]
    pub dropped: Vec<DroppedColumn>,
    /// The fitted state of each field, in the order of `fields`.
    fitted: Vec<Fitted>,
    /// The words of all text columns ([`Layout::Tokens`] only).
    lexicon: Option<Lexicon>,
}

/// A larger feature space is a mistake or an attack.
const MAX_WIDTH: u64 = 1 << 28;

impl Encoder {
    /// Fits with the default options.
    pub fn fit(table: &Table, rows: &[usize], inputs: &[ColumnPlan], layout: Layout) -> Result<Self> {
        Self::fit_with(table, rows, inputs, layout, EncoderOptions::default())
    }

    /// Fits vocabularies, means and scales on `rows` of `table` (the training rows only).
    pub fn fit_with(
        table: &Table,
        rows: &[usize],
        inputs: &[ColumnPlan],
        layout: Layout,
        options: EncoderOptions,
    ) -> Result<Self> {
        Self::fit_paired(table, rows, inputs, layout, options, &[])
    }

    /// The same, where the numbers of each of the `pairs` are read together as well ([`choose::choose`]).
    pub fn fit_paired(
        table: &Table,
        rows: &[usize],
        inputs: &[ColumnPlan],
        layout: Layout,
        options: EncoderOptions,
        pairs: &[[String; 2]],
    ) -> Result<Self> {
        Self { inputs: inputs.to_vec(), ..Self::default() }.open()?;
        let stories = inputs.iter().any(|p| p.kind == ColumnKind::Sequence && p.channels == Some(0));
        let texts: Vec<&Column> = inputs
            .iter()
            .filter(|plan| plan.encoder.is_none())
            .filter_map(|plan| table.column(&plan.name))
            .filter(|column| matches!(column, Column::Text(_) | Column::Strings { .. }))
            .collect();
        let lexicon = (layout == Layout::Tokens && !texts.is_empty()).then(|| Lexicon::fit(&texts, rows, !stories));
        let mut encoder = Self::over(inputs, layout, lexicon);
        for plan in inputs {
            let column = table
                .column(&plan.name)
                .ok_or_else(|| Error::internal(format!("column {} was planned and not read", plan.name)))?;
            match Fitted::fit(column, plan, rows, layout, &options) {
                Ok(mut fitted) => {
                    if let Fitted::Number { edges, pairs: read, .. } = &mut fitted
                        && layout == Layout::Bag
                        && !edges.is_empty()
                    {
                        *read = Paired::fit(table, &plan.name, pairs, rows, &options);
                    }
                    encoder.add(plan, fitted)?;
                }
                Err(reason) => encoder.dropped.push(DroppedColumn { name: plan.name.clone(), reason }),
            }
        }
        Ok(encoder)
    }

    /// An encoder without fitted data: for models that learn only by observing. Numbers get a
    /// running mean and scale, categories `options.reserve` slots, text is hashed without weights.
    ///
    /// # Errors
    /// A vector without a shape, or a sequence: their sizes cannot be learned row by row.
    pub fn empty(inputs: &[ColumnPlan], layout: Layout, options: EncoderOptions) -> Result<Self> {
        let mut encoder = Self::over(inputs, layout, (layout == Layout::Tokens).then(Lexicon::default));
        for plan in inputs {
            let fitted = Fitted::empty(plan, layout, &options)?;
            encoder.add(plan, fitted)?;
        }
        Ok(encoder)
    }

    fn over(inputs: &[ColumnPlan], layout: Layout, lexicon: Option<Lexicon>) -> Self {
        let width = lexicon.as_ref().map_or(0, Lexicon::width);
        let inputs = inputs.to_vec();
        Self { layout, inputs, fields: Vec::new(), width, dropped: Vec::new(), fitted: Vec::new(), lexicon }
    }

    fn add(&mut self, plan: &ColumnPlan, fitted: Fitted) -> Result<()> {
        let shared = matches!(fitted, Fitted::Words);
        let width = if shared { self.lexicon.as_ref().map_or(0, Lexicon::width) } else { fitted.width() };
        let start = if shared { 0 } else { self.width };
        if !shared {
            if u64::from(self.width) + u64::from(width) > MAX_WIDTH {
                return Err(Error::unprocessable("too_many_features", "the columns make too many features"));
            }
            self.width += width;
        }
        let shape = fitted.shape();
        self.fields.push(Field { name: plan.name.clone(), kind: plan.effective_kind(), start, width, shape });
        self.fitted.push(fitted);
        Ok(())
    }

    /// Whether the parts of an untrusted encoder fit each other; the error names what does not.
    ///
    /// # Errors
    /// Why this cannot have been fitted by [`Encoder::fit`].
    pub fn check(&self) -> std::result::Result<(), String> {
        if self.fields.len() != self.fitted.len() {
            return Err(format!("{} fields and {} of what they learned", self.fields.len(), self.fitted.len()));
        }
        let mut free = 0;
        for (field, fitted) in self.fields.iter().zip(&self.fitted) {
            let Field { name, kind, start, width, .. } = field;
            let Some(plan) = self.inputs.iter().find(|plan| plan.name == *name && plan.effective_kind() == *kind)
            else {
                return Err(format!("field {name} is no input of this kind"));
            };
            if start.checked_add(*width).is_none_or(|end| end > self.width) {
                return Err(format!("field {name} lies outside the feature space"));
            }
            let shared = matches!(fitted, Fitted::Words);
            if !shared && *start < free {
                return Err(format!("field {name} begins inside another"));
            }
            free = if shared { free } else { start + width };
            if !fitted.is_consistent(plan) || (!shared && fitted.width() != *width) {
                return Err(format!("field {name} does not fit what it learned"));
            }
        }
        Ok(())
    }

    /// Whether every field is one token of a batch with tokens.
    pub fn has_a_token_a_field(&self) -> bool {
        let many = |fitted: &Fitted| matches!(fitted, Fitted::Words | Fitted::Patches { .. } | Fitted::Windows { .. });
        self.layout == Layout::Tokens && !self.fitted.iter().any(many)
    }

    /// How field `field` is cut into window tokens: channels, steps a window, steps between two.
    pub fn windows(&self, field: usize) -> Option<(usize, usize, usize)> {
        match self.fitted.get(field)? {
            Fitted::Windows { windows } => Some(windows.cut()),
            _ => None,
        }
    }

    /// Learns running statistics and new categories from rows of a stream.
    pub fn observe(&mut self, table: &Table) -> Result<()> {
        for (field, fitted) in self.fields.iter().zip(&mut self.fitted) {
            if let Some(column) = table.column(&field.name) {
                fitted.observe(column);
            }
        }
        Ok(())
    }

    /// The row of these entries, as far as they determine it: numbers (rounded), booleans, categories
    /// and pictures; not times, text and series.
    pub fn decode(&self, entries: &[(u32, f32)]) -> serde_json::Map<String, serde_json::Value> {
        let mut row = serde_json::Map::new();
        for (field, fitted) in self.fields.iter().zip(&self.fitted) {
            let own = entries.iter().filter(|(index, _)| (field.start..field.start + field.width).contains(index));
            let own: Vec<(u32, f32)> = own.map(|&(index, value)| (index - field.start, value)).collect();
            if let Some(value) = fitted.decode(&own) {
                row.insert(field.name.clone(), value);
            }
        }
        row
    }

    /// Which indices are bins of its numbers.
    pub fn bin_ranges(&self) -> BinRanges {
        let fields = self.fields.iter().zip(&self.fitted);
        BinRanges::new(fields.flat_map(|(field, fitted)| fitted.bins(field.start)))
    }

    /// Encodes all rows of `table` into a compact batch: one entry for the bins of a number instead of up to all of
    /// them. For networks that read such batches.
    pub fn encode_compact(&self, table: &Table) -> Result<Batch> {
        let mut batch = Batch::new();
        let bins = self.bin_ranges();
        batch.bins = (!bins.is_empty()).then(|| Arc::new(bins));
        self.push_rows(table, &mut batch)?;
        Ok(batch)
    }

    /// Encodes all rows of `table`, whose columns are those of `inputs`.
    pub fn encode(&self, table: &Table) -> Result<Batch> {
        let mut batch = Batch::new();
        self.encode_into(table, &mut batch)?;
        Ok(batch)
    }

    /// [`Encoder::encode`] into a batch whose allocations are reused.
    pub fn encode_into(&self, table: &Table, batch: &mut Batch) -> Result<()> {
        batch.clear();
        self.push_rows(table, batch)
    }

    /// The vectors of a column that a pretrained encoder reads, `[rows, width]`; nothing for other columns.
    fn vectors(&self, field: usize, column: &Column) -> Result<Vec<f32>> {
        let (Fitted::Encoded { width, .. }, Column::Text(cells) | Column::Picture(cells)) =
            (&self.fitted[field], column)
        else {
            return Ok(Vec::new());
        };
        let name = &self.fields[field].name;
        let plan = self.inputs.iter().find(|plan| plan.name == *name).and_then(|plan| plan.encoder.as_ref());
        let encoder = plan.ok_or_else(|| Error::internal(format!("column {name} has no encoder")))?.vectors()?;
        if encoder.width() != *width {
            return Err(Error::internal(format!("the encoder of column {name} gives {} numbers", encoder.width())));
        }
        let cells: Vec<&str> = cells.iter().map(|cell| cell.as_deref().unwrap_or_default()).collect();
        encoder.of_cells(&cells)
    }

    /// Its columns that a pretrained encoder reads, how long their vectors are, and the encoders.
    pub(crate) fn encoded(&self) -> Vec<(&Field, usize, &ColumnEncoder)> {
        let fields = self.fields.iter().zip(&self.fitted);
        fields
            .filter_map(|(field, fitted)| {
                let Fitted::Encoded { width, .. } = fitted else { return None };
                let plan = self.inputs.iter().find(|plan| plan.name == field.name)?;
                Some((field, *width, plan.encoder.as_ref()?))
            })
            .collect()
    }

    /// Whether a pretrained encoder reads one of its columns: encoding a row then takes milliseconds.
    pub fn is_slow(&self) -> bool {
        self.inputs.iter().any(|plan| plan.encoder.is_some())
    }

    /// Opens the pretrained encoders of its columns.
    ///
    /// # Errors
    /// `encoder_missing` where one is not there.
    pub fn open(&self) -> Result<()> {
        self.inputs.iter().filter_map(|plan| plan.encoder.as_ref()).try_for_each(|encoder| encoder.vectors().map(drop))
    }

    fn push_rows(&self, table: &Table, batch: &mut Batch) -> Result<()> {
        let mut columns = Vec::with_capacity(self.fields.len());
        for (field, fitted) in self.fields.iter().zip(&self.fitted) {
            let column = table
                .column(&field.name)
                .ok_or_else(|| Error::internal(format!("column {} was not read", field.name)))?;
            let others: Vec<_> = fitted.pairs().iter().map(|pair| table.column(&pair.with)).collect();
            columns.push((column, others));
        }
        let vectors: Vec<Vec<f32>> = columns
            .iter()
            .enumerate()
            .map(|(field, (column, _))| self.vectors(field, column))
            .collect::<Result<_>>()?;
        let mut scratch = Words::default();
        for row in 0..table.rows {
            let mut out_of_range = 0.0f32;
            for (index, (field, (column, others))) in self.fields.iter().zip(&columns).enumerate() {
                let fitted = &self.fitted[index];
                if let (Fitted::Encoded { width, .. }, Column::Text(cells) | Column::Picture(cells)) = (fitted, column)
                {
                    let vector = &vectors[index][row * width..(row + 1) * width];
                    fitted.push_encoded((cells[row].as_deref(), vector), field.start, batch, &mut scratch);
                    if self.layout == Layout::Tokens {
                        batch.end_token(index as u16);
                    }
                    continue;
                }
                out_of_range = out_of_range.max(fitted.out_of_range(column, row));
                match self.layout {
                    Layout::Bag => fitted.bag((column, others), row, field.start, batch, &mut scratch),
                    Layout::Tokens => {
                        fitted.tokens(
                            column,
                            row,
                            field.start,
                            index as u16,
                            self.lexicon.as_ref(),
                            batch,
                            &mut scratch,
                        );
                    }
                }
            }
            match self.layout {
                Layout::Bag => batch.end_bag(),
                Layout::Tokens => batch.end_row(),
            }
            if out_of_range > 0.0 {
                batch.out_of_range.push((row as u32, out_of_range));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
