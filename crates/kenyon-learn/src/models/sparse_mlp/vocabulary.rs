//! Which features have a row of weights: all of a narrow space, of a wide (hashed) one only those
//! that training rows contain, so that memory grows with the data and not with the 2^20 possible features.

use crate::data::{Batch, BinRanges};
use crate::nn::Tensors;
use crate::nn::kernels::{BinSums, SparseRows};
use crate::{Error, Result};
use candle_core::{Device, Tensor};

/// Feature spaces above this width get weight rows only for features that occur.
const WIDE: usize = 1 << 15;

const ABSENT: u32 = u32::MAX;

/// Whether a space of `width` features gets its weight rows as they occur.
pub(super) fn grows(width: usize) -> bool {
    width > WIDE
}

/// From features to weight rows of the first layer.
#[derive(Clone, Debug)]
pub(super) struct Vocabulary {
    width: usize,
    /// The row of each feature; `None` where row and feature are the same.
    lines: Option<Vec<u32>>,
    /// The feature of each row, in the order they occurred; empty where they are the same.
    features: Vec<u32>,
    /// The bins whose sums the network has.
    bins: BinRanges,
    /// For each bin but a number's first the line that is the sum of those below it, else 0.
    sums: Vec<u32>,
    /// Lines with those sums.
    end: usize,
}

/// Rows of a batch with row numbers in place of features; the buffers of [`Vocabulary::translate`].
#[derive(Clone, Debug, Default)]
pub(super) struct Entries {
    offsets: Vec<u32>,
    indices: Vec<u32>,
    values: Vec<f32>,
}

impl Vocabulary {
    /// For `width` features, none of which has occurred yet, and a network with the sums of `bins`.
    pub(super) fn new(width: usize, bins: BinRanges) -> Self {
        let mut sums = vec![0; if bins.is_empty() { 0 } else { width }];
        let known = BinSums::new(width, &bins);
        for run in known.runs() {
            (1..run.bins).for_each(|bin| sums[(run.first + bin) as usize] = run.sums + bin - 1);
        }
        let lines = grows(width).then(|| vec![ABSENT; width]);
        Self { width, lines, features: Vec::new(), bins, sums, end: width + known.count() }
    }

    /// The same with what was saved.
    pub(super) fn reload(&self, tensors: &Tensors) -> Result<Self> {
        Self::load(self.width, self.bins.clone(), tensors)
    }

    /// Number of weight rows.
    pub(super) fn rows(&self) -> usize {
        if self.lines.is_some() { self.features.len() } else { self.width }
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> u64 {
        let lines = self.lines.as_deref().map_or(0, size_of_val);
        (lines + size_of_val(&self.features[..]) + size_of_val(&self.sums[..])) as u64
    }

    /// The feature of each weight row; none where they are the same.
    pub(super) fn features(&self) -> Option<&[u32]> {
        self.lines.is_some().then_some(self.features.as_slice())
    }

    /// Adds a row for each feature that occurs for the first time.
    pub(super) fn learn(&mut self, batch: &Batch) {
        let Some(lines) = &mut self.lines else { return };
        for &index in &batch.expanded().indices {
            if let Some(line) = lines.get_mut(index as usize)
                && *line == ABSENT
            {
                *line = self.features.len() as u32;
                self.features.push(index);
            }
        }
    }

    /// The rows of a batch, tokens of a row together; features without a weight row are left out.
    pub(super) fn translate<'a>(&self, batch: &'a Batch, entries: &'a mut Entries) -> Result<SparseRows<'a>> {
        let Entries { offsets, indices, values } = entries;
        offsets.clear();
        let rows = match &self.lines {
            None if batch.bins.is_some() => {
                indices.clear();
                values.clear();
                offsets.push(0);
                let summed = batch.bins.as_deref() == Some(&self.bins);
                for row in 0..batch.rows() {
                    let (features, row_values) = batch.entries(row);
                    if summed {
                        indices.extend_from_slice(features);
                        values.extend_from_slice(row_values);
                        let sums = features.iter().filter_map(|&f| self.sums.get(f as usize).filter(|&&sum| sum > 0));
                        indices.extend(sums);
                        values.resize(indices.len(), 1.0);
                    } else {
                        for (feature, value) in features.iter().zip(row_values).flat_map(|(&f, &v)| batch.plain(f, v)) {
                            indices.push(feature);
                            values.push(value);
                        }
                    }
                    offsets.push(indices.len() as u32);
                }
                SparseRows::new(offsets, indices, values, if summed { self.end } else { self.width })
            }
            None => {
                offsets.extend(batch.row_offsets.iter().map(|&token| batch.token_offsets[token as usize]));
                SparseRows::new(offsets, &batch.indices, &batch.values, self.width)
            }
            Some(lines) => {
                indices.clear();
                values.clear();
                offsets.push(0);
                for row in 0..batch.rows() {
                    let (features, row_values) = batch.entries(row);
                    for (feature, value) in features.iter().zip(row_values).flat_map(|(&f, &v)| batch.plain(f, v)) {
                        let line = lines.get(feature as usize).copied().unwrap_or(ABSENT);
                        if line != ABSENT {
                            indices.push(line);
                            values.push(value);
                        }
                    }
                    offsets.push(indices.len() as u32);
                }
                SparseRows::new(offsets, indices, values, self.features.len())
            }
        };
        rows.ok_or_else(|| Error::internal("a batch holds features beyond the encoder's width"))
    }

    /// The rows of a batch with weight rows in place of features; as they are where both are the same.
    pub(super) fn rows_of(&self, batch: &Batch) -> Batch {
        let Some(lines) = &self.lines else { return batch.clone() };
        let batch = batch.expanded();
        let mut rows = Batch::new();
        for row in 0..batch.rows() {
            let (features, values) = batch.entries(row);
            for (&feature, &value) in features.iter().zip(values) {
                if let Some(&line) = lines.get(feature as usize).filter(|&&line| line != ABSENT) {
                    rows.push_entry(line, value);
                }
            }
            rows.end_token(0);
            rows.end_row();
        }
        rows
    }

    /// For each entry of row `row` of a plain batch, whether it has a line.
    pub(super) fn known(&self, batch: &Batch, row: usize) -> Vec<bool> {
        let (features, _) = batch.entries(row);
        let known = |&feature: &u32| {
            self.lines.as_ref().is_none_or(|lines| lines.get(feature as usize).is_some_and(|&line| line != ABSENT))
        };
        features.iter().map(known).collect()
    }

    /// Adds what [`Self::load`] needs.
    pub(super) fn save(&self, tensors: &mut Tensors) -> Result<()> {
        if self.lines.is_some() {
            let features = Tensor::from_vec(self.features.clone(), self.features.len(), &Device::Cpu)?;
            tensors.insert("features".to_owned(), features);
        }
        Ok(())
    }

    /// The vocabulary that was saved.
    pub(super) fn load(width: usize, bins: BinRanges, tensors: &Tensors) -> Result<Self> {
        let mut loaded = Self::new(width, bins);
        if let (Some(lines), Some(features)) = (&mut loaded.lines, tensors.get("features")) {
            loaded.features = features.to_vec1::<u32>()?;
            for (line, &feature) in loaded.features.iter().enumerate() {
                let slot = lines.get_mut(feature as usize);
                *slot.ok_or_else(|| Error::internal("saved features lie beyond the encoder's width"))? = line as u32;
            }
        }
        Ok(loaded)
    }
}
