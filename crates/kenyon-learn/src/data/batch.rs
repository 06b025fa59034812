//! A batch of rows as sparse tokens, the only input format of networks.

/// Rows as tokens, tokens as (feature index, value) pairs, in compressed form.
///
/// Row `r` owns tokens `row_offsets[r]..row_offsets[r + 1]`; token `t` owns entries
/// `token_offsets[t]..token_offsets[t + 1]` of `indices` and `values`. In a bag every row has
/// exactly one token. Entries of a bag are sorted by index and unique; entries of a text token in
/// a sequence are in reading order and may repeat.
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
}

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
        for (at, &row) in rows.iter().enumerate() {
            if let Ok(found) = source.out_of_range.binary_search_by_key(&(row as u32), |(row, _)| *row) {
                self.out_of_range.push((at as u32, source.out_of_range[found].1));
            }
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
        let (tokens, entries) = (self.tokens() as u32, self.indices.len() as u32);
        let rows = self.rows() as u32;
        self.out_of_range.extend(other.out_of_range.iter().map(|&(row, far)| (row + rows, far)));
        self.row_offsets.extend(other.row_offsets.iter().skip(1).map(|o| o + tokens));
        self.token_offsets.extend(other.token_offsets.iter().skip(1).map(|o| o + entries));
        self.indices.extend_from_slice(&other.indices);
        self.values.extend_from_slice(&other.values);
        self.fields.extend_from_slice(&other.fields);
    }

    /// Appends the rows `rows` of `other`, copying whole ranges.
    pub fn append_rows(&mut self, other: &Self, rows: std::ops::Range<usize>) {
        let tokens = other.row_offsets[rows.start] as usize..other.row_offsets[rows.end] as usize;
        let entries = other.token_offsets[tokens.start] as usize..other.token_offsets[tokens.end] as usize;
        let token_shift = (self.tokens() as u32).wrapping_sub(tokens.start as u32);
        let entry_shift = (self.indices.len() as u32).wrapping_sub(entries.start as u32);
        let before = self.rows() as u32;
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
    }
}
