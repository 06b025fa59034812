//! Training rows beyond the table: encoded into a file once, and learned from in groups of blocks. Which rows are
//! learned in which order depends on the rows and the seed alone.

use crate::data::encoder::Encoder;
use crate::data::row_cache::{BLOCK, RowCache, RowCacheWriter};
use crate::data::target::{Encoded, TargetEncoder};
use crate::data::{Batch, Table};
use crate::models::{Family, UNLABELLED};
use crate::random::Random;
use crate::{Error, Result};
use std::path::Path;

/// Bytes of encoded rows that are held at a time, about.
const GROUP_BYTES: u64 = 16 << 20;
/// Blocks that are held at a time at least, so that rows from different places are learned together.
const GROUP_BLOCKS: usize = 8;

/// Calls back with some rows at a time, until there are none left.
pub type ReadRows<'a> = dyn Fn(&mut dyn FnMut(&Table) -> Result<()>) -> Result<()> + 'a;

/// Further training rows, beyond a table that is a sample of all. They are read once and are never all in memory.
pub struct MoreRows<'a> {
    /// How many there are.
    pub rows: usize,
    /// Reads them, as the table was read.
    pub read: &'a ReadRows<'a>,
    /// The file that holds their encoded form; replaced where it exists.
    pub cache: &'a Path,
}

/// The encoded rows and their targets.
pub(super) struct Rest {
    cache: RowCache,
    targets: Encoded,
}

/// Rows to take mini-batches from.
pub(super) struct Group {
    pub(super) batch: Batch,
    pub(super) targets: Encoded,
    pub(super) weights: Option<Vec<f32>>,
}

impl Rest {
    /// Encodes the rows that the family can learn from.
    pub(super) fn encode(
        more: &MoreRows<'_>,
        family: Family,
        encoder: &Encoder,
        (name, target): (&str, &TargetEncoder),
    ) -> Result<Self> {
        let mut writer = RowCacheWriter::create(more.cache)?;
        let mut targets = match target {
            TargetEncoder::Classes(_) => Encoded::Classes(Vec::new()),
            TargetEncoder::Number { .. } => Encoded::Values(Vec::new()),
        };
        (more.read)(&mut |table| {
            let column = table.column(name).ok_or_else(|| Error::internal("the target was not read"))?;
            let batch = family.encode(encoder, table)?;
            let learned: Vec<usize> = match (target.encode(column)?, &mut targets) {
                (Encoded::Classes(ids), Encoded::Classes(all)) => {
                    let rows = (0..ids.len()).filter(|&row| family.learns_unlabelled() || ids[row] != UNLABELLED);
                    rows.inspect(|&row| all.push(ids[row])).collect()
                }
                (Encoded::Values(values), Encoded::Values(all)) => {
                    let rows = (0..values.len()).filter(|&row| values[row].is_finite());
                    rows.inspect(|&row| all.push(values[row])).collect()
                }
                _ => return Err(Error::internal("targets of two kinds")),
            };
            if learned.len() == table.rows { writer.push(&batch) } else { writer.push(&batch.select(&learned)) }
        })?;
        Ok(Self { cache: writer.finish()?, targets })
    }

    /// How many there are.
    pub(super) fn rows(&self) -> usize {
        self.targets.len()
    }

    /// Adds the rows of each class to `sums`, each as much as its class weighs.
    pub(super) fn add_classes(&self, sums: &mut [f64], weights: Option<&[f32]>) {
        let Encoded::Classes(ids) = &self.targets else { return };
        for &id in ids {
            if let Some(sum) = sums.get_mut(id as usize) {
                *sum += weights.and_then(|weights| weights.get(id as usize)).map_or(1.0, |&weight| f64::from(weight));
            }
        }
    }

    /// The blocks of each group of a pass.
    pub(super) fn groups(&self, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
        let mut blocks: Vec<usize> = (0..self.cache.blocks()).collect();
        Random::stream(seed, "blocks", epoch).shuffle(&mut blocks);
        let size = self.cache.bytes() / self.cache.blocks().max(1) as u64;
        let count = ((GROUP_BYTES / size.max(1)) as usize).max(GROUP_BLOCKS);
        blocks.chunks(count).map(<[usize]>::to_vec).collect()
    }

    /// The rows of some blocks, after those of another group and the rows `own` of the table, which is encoded as `batch`.
    pub(super) fn load(
        &self,
        mut group: Group,
        (batch, targets): (&Batch, &Encoded),
        own: &[usize],
        blocks: &[usize],
        (row_weights, class_weights): (Option<&[f32]>, Option<&[f32]>),
    ) -> Result<Group> {
        group.batch.append(&batch.select(own));
        let weights = row_weights.map(|weights| own.iter().map(move |&row| weights[row]));
        group.extend(targets, own.iter().copied(), weights);
        for &block in blocks {
            group.batch.append(&self.cache.read(block)?);
            let first = block * BLOCK;
            let rows = first..first + self.cache.rows_of(block);
            let weight = |row: usize| match (&self.targets, class_weights) {
                (Encoded::Classes(ids), Some(weights)) => weights.get(ids[row] as usize).copied().unwrap_or(1.0),
                _ => 1.0,
            };
            group.extend(&self.targets, rows.clone(), row_weights.map(|_| rows.map(weight)));
        }
        Ok(group)
    }
}

impl Group {
    /// Without rows, for targets like `targets`.
    pub(super) fn empty(targets: &Encoded, weighted: bool) -> Self {
        let targets = match targets {
            Encoded::Classes(_) => Encoded::Classes(Vec::new()),
            Encoded::Values(_) => Encoded::Values(Vec::new()),
        };
        Self { batch: Batch::new(), targets, weights: weighted.then(Vec::new) }
    }

    /// Some of its rows.
    pub(super) fn select(&self, rows: &[usize]) -> Self {
        let mut selected = Self::empty(&self.targets, self.weights.is_some());
        selected.batch = self.batch.select(rows);
        let weights = self.weights.as_ref().map(|weights| rows.iter().map(move |&row| weights[row]));
        selected.extend(&self.targets, rows.iter().copied(), weights);
        selected
    }

    fn extend(
        &mut self,
        from: &Encoded,
        rows: impl Iterator<Item = usize>,
        weights: Option<impl Iterator<Item = f32>>,
    ) {
        match (&mut self.targets, from) {
            (Encoded::Classes(own), Encoded::Classes(ids)) => own.extend(rows.map(|row| ids[row])),
            (Encoded::Values(own), Encoded::Values(values)) => own.extend(rows.map(|row| values[row])),
            _ => {}
        }
        if let (Some(own), Some(weights)) = (&mut self.weights, weights) {
            own.extend(weights);
        }
    }
}
