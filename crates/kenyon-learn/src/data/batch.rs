//! A batch of rows as sparse tokens, the only input format of networks.

use super::BinRanges;
use std::borrow::Cow;
use std::sync::Arc;

/// Rows as tokens, tokens as (feature index, value) pairs, in compressed form.
///
/// Row `r` owns tokens `row_offsets[r]..row_offsets[r + 1]`; token `t` owns entries
/// `token_offsets[t]..token_offsets[t + 1]` of `indices` and `values`. In a bag every row has
/// exactly one token. Entries of a bag are sorted by index and unique; entries of a text token in
/// a sequence are in reading order and may repeat.
///
/// A batch with `bins` is compact: an entry at a bin of a number represents all bins of that number below it as well,
/// which are 1. So a number takes one entry for its bins, however many they are. Code that reads entries one by one
/// and does not support this takes [`Batch::expanded`].
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Batch {
    /// `[rows + 1]`, in tokens; starts with 0.
    pub row_offsets: Vec<u32>,
    /// `[tokens + 1]`, in entries; starts with 0.
    pub token_offsets: Vec<u32>,
    /// Feature indices, each below the encoder's width.
    pub indices: Vec<u32>,
    /// Values, as many as `indices`; always finite.
    pub values: Vec<f32>,
    /// The field (position in the encoder's `fields`) each token comes from; empty for bags.
    pub fields: Vec<u16>,
    /// Rows (ascending) with a number far beyond the range the encoder was fitted on, and how far, in
    /// `(0, 1]`: encoded values are clipped, so the entries do not show it. Not used for learning, and not saved.
    #[serde(skip)]
    pub out_of_range: Vec<(u32, f32)>,
    /// The bins of numbers, in a compact batch. Not saved: what is saved must be expanded before.
    #[serde(skip)]
    pub bins: Option<Arc<BinRanges>>,
    /// How unusual the inputs of each row are, [`INPUT_SCORES`] numbers a row (`learning::novelty`); empty where they
    /// were not computed. Of no use for learning, and not saved.
    #[serde(skip)]
    pub input_scores: Vec<f32>,
}

/// Numbers a row in [`Batch::input_scores`].
pub const INPUT_SCORES: usize = 6;

impl Batch {
    /// An empty batch to push tokens and rows to.
    pub fn new() -> Self {
        Self { row_offsets: vec![0], token_offsets: vec![0], ..Self::default() }
    }

    /// How many rows it holds.
    pub fn rows(&self) -> usize {
        self.row_offsets.len().saturating_sub(1)
    }

    /// Approximate bytes in memory.
    pub fn bytes(&self) -> u64 {
        let offsets = (self.row_offsets.len() + self.token_offsets.len()) * 4 + self.fields.len() * 2;
        (offsets + self.indices.len() * 8) as u64
    }

    /// How many tokens it holds in all.
    pub fn tokens(&self) -> usize {
        self.token_offsets.len().saturating_sub(1)
    }

    /// The tokens of row `row`.
    pub fn row(&self, row: usize) -> std::ops::Range<usize> {
        self.row_offsets[row] as usize..self.row_offsets[row + 1] as usize
    }

    /// Entries (indices, values) of token `token`.
    pub fn token(&self, token: usize) -> (&[u32], &[f32]) {
        let entries = self.token_offsets[token] as usize..self.token_offsets[token + 1] as usize;
        (&self.indices[entries.clone()], &self.values[entries])
    }

    /// Entries of all tokens of row `row`; for a bag, the row itself.
    pub fn entries(&self, row: usize) -> (&[u32], &[f32]) {
        let tokens = self.row(row);
        let entries = self.token_offsets[tokens.start] as usize..self.token_offsets[tokens.end] as usize;
        (&self.indices[entries.clone()], &self.values[entries])
    }

    /// The plain entries that an entry of this batch represents, in ascending order: itself, after the full bins below
    /// it where the batch is compact.
    pub fn plain(&self, index: u32, value: f32) -> impl Iterator<Item = (u32, f32)> + use<> {
        let first = self.bins.as_ref().and_then(|bins| bins.first(index)).unwrap_or(index);
        (first..index).map(|full| (full, 1.0)).chain(std::iter::once((index, value)))
    }

    /// The same rows with an entry for each bin that is not empty.
    pub fn expanded(&self) -> Cow<'_, Self> {
        if self.bins.is_none() {
            return Cow::Borrowed(self);
        }
        let mut out = Self {
            row_offsets: self.row_offsets.clone(),
            token_offsets: vec![0],
            fields: self.fields.clone(),
            out_of_range: self.out_of_range.clone(),
            input_scores: self.input_scores.clone(),
            ..Self::default()
        };
        for token in 0..self.tokens() {
            let (indices, values) = self.token(token);
            for (&index, &value) in indices.iter().zip(values) {
                self.plain(index, value).for_each(|(index, value)| out.push_entry(index, value));
            }
            out.token_offsets.push(out.indices.len() as u32);
        }
        Cow::Owned(out)
    }

    /// Lets entries of `other` be appended: an empty batch becomes compact as `other` is, and where one is compact
    /// and the other is not, both are expanded.
    fn agree<'o>(&mut self, other: &'o Self) -> Cow<'o, Self> {
        if self.rows() == 0 && self.indices.is_empty() {
            self.bins.clone_from(&other.bins);
        }
        if self.bins == other.bins {
            return Cow::Borrowed(other);
        }
        if self.bins.is_some() {
            *self = self.expanded().into_owned();
        }
        other.expanded()
    }

    /// How far beyond any range the numbers of row `row` lie, in `[0, 1]`.
    pub fn far(&self, row: usize) -> f32 {
        let found = self.out_of_range.binary_search_by_key(&(row as u32), |(row, _)| *row);
        found.map_or(0.0, |at| self.out_of_range[at].1)
    }

    /// How unusual the inputs of row `row` are, where they were computed.
    pub fn input_scores(&self, row: usize) -> Option<&[f32]> {
        self.input_scores.get(row * INPUT_SCORES..(row + 1) * INPUT_SCORES)
    }

    /// Appends the scores of the rows `rows` of `other` to those of the `before` rows that are there.
    fn append_scores(&mut self, before: usize, other: &Self, rows: std::ops::Range<usize>) {
        if let Some(scores) = other.input_scores.get(rows.start * INPUT_SCORES..rows.end * INPUT_SCORES)
            && !scores.is_empty()
        {
            self.input_scores.resize(before * INPUT_SCORES, f32::NAN);
            self.input_scores.extend_from_slice(scores);
        }
    }

    /// Appends an entry to the token under construction.
    pub fn push_entry(&mut self, index: u32, value: f32) {
        self.indices.push(index);
        self.values.push(value);
    }

    /// Closes the token under construction, which came from `field`.
    pub fn end_token(&mut self, field: u16) {
        self.token_offsets.push(self.indices.len() as u32);
        self.fields.push(field);
    }

    /// Closes a bag's row: one token holding all entries pushed since the last row.
    pub fn end_bag(&mut self) {
        self.token_offsets.push(self.indices.len() as u32);
        self.end_row();
    }

    /// Closes the row under construction.
    pub fn end_row(&mut self) {
        self.row_offsets.push(self.tokens() as u32);
    }

    /// The given rows, in the given order, as a batch of their own.
    pub fn select(&self, rows: &[usize]) -> Self {
        let mut out = Self::new();
        out.select_into(self, rows);
        out
    }

    /// Replaces the contents by the given rows of `source`, reusing the allocations.
    pub fn select_into(&mut self, source: &Self, rows: &[usize]) {
        self.clear();
        self.bins.clone_from(&source.bins);
        for (at, &row) in rows.iter().enumerate() {
            if let Ok(found) = source.out_of_range.binary_search_by_key(&(row as u32), |(row, _)| *row) {
                self.out_of_range.push((at as u32, source.out_of_range[found].1));
            }
            self.append_scores(at, source, row..row + 1);
            for token in source.row(row) {
                let (indices, values) = source.token(token);
                self.indices.extend_from_slice(indices);
                self.values.extend_from_slice(values);
                self.token_offsets.push(self.indices.len() as u32);
                if !source.fields.is_empty() {
                    self.fields.push(source.fields[token]);
                }
            }
            self.end_row();
        }
    }

    /// Appends all rows of `other`.
    pub fn append(&mut self, other: &Self) {
        let other = &*self.agree(other);
        let (tokens, entries) = (self.tokens() as u32, self.indices.len() as u32);
        let rows = self.rows() as u32;
        self.append_scores(rows as usize, other, 0..other.rows());
        self.out_of_range.extend(other.out_of_range.iter().map(|&(row, far)| (row + rows, far)));
        self.row_offsets.extend(other.row_offsets.iter().skip(1).map(|o| o + tokens));
        self.token_offsets.extend(other.token_offsets.iter().skip(1).map(|o| o + entries));
        self.indices.extend_from_slice(&other.indices);
        self.values.extend_from_slice(&other.values);
        self.fields.extend_from_slice(&other.fields);
    }

    /// Appends the rows `rows` of `other`, copying whole ranges.
    pub fn append_rows(&mut self, other: &Self, rows: std::ops::Range<usize>) {
        let other = &*self.agree(other);
        let tokens = other.row_offsets[rows.start] as usize..other.row_offsets[rows.end] as usize;
        let entries = other.token_offsets[tokens.start] as usize..other.token_offsets[tokens.end] as usize;
        let token_shift = (self.tokens() as u32).wrapping_sub(tokens.start as u32);
        let entry_shift = (self.indices.len() as u32).wrapping_sub(entries.start as u32);
        let before = self.rows() as u32;
        self.append_scores(before as usize, other, rows.clone());
        let out_of_range = other.out_of_range.iter().filter(|(row, _)| rows.contains(&(*row as usize)));
        self.out_of_range.extend(out_of_range.map(|&(row, far)| (before + row - rows.start as u32, far)));
        let ends = &other.row_offsets[rows.start + 1..=rows.end];
        self.row_offsets.extend(ends.iter().map(|o| o.wrapping_add(token_shift)));
        let ends = &other.token_offsets[tokens.start + 1..=tokens.end];
        self.token_offsets.extend(ends.iter().map(|o| o.wrapping_add(entry_shift)));
        self.indices.extend_from_slice(&other.indices[entries.clone()]);
        self.values.extend_from_slice(&other.values[entries]);
        if !other.fields.is_empty() {
            self.fields.extend_from_slice(&other.fields[tokens]);
        }
    }

    /// Empties it, keeping the allocations.
    pub fn clear(&mut self) {
        self.row_offsets.clear();
        self.row_offsets.push(0);
        self.token_offsets.clear();
        self.token_offsets.push(0);
        self.indices.clear();
        self.values.clear();
        self.fields.clear();
        self.out_of_range.clear();
        self.bins = None;
        self.input_scores.clear();
    }
}
