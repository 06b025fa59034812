//! The rows that a stream's novelty is fitted on: the newest, and a uniform sample of all before them, so that neither
//! time passing nor the return of something seen long ago is novel.

use crate::data::{Batch, Table};
use crate::learning::novelty::{KnownCodes, Novelty, NoveltyRows, SKETCH};
use crate::random::Random;
use serde::{Deserialize, Serialize};

/// The newest rows, and as many of all before them.
const ROWS: usize = 1_000;
/// Approximate bytes of either; where that is fewer than [`FEWEST`] rows, none are kept.
const BYTES: u64 = 4 << 20;
/// The fewest rows that novelty is fitted on.
const FEWEST: usize = 60;

/// Rows that are familiar, with sketches of their codes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Familiar {
    newest: Sketched,
    sample: Sketched,
    /// Rows that the sample was drawn from.
    sampled_from: u64,
    /// Whether rows are too large to be kept.
    too_large: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sketched {
    table: Table,
    /// `[rows, SKETCH]`.
    sketches: Vec<f32>,
}

impl Sketched {
    fn select(&self, rows: &[usize]) -> Self {
        let sketch = |&row: &usize| &self.sketches[row * SKETCH..(row + 1) * SKETCH];
        Self { table: self.table.select(rows), sketches: rows.iter().flat_map(sketch).copied().collect() }
    }

    fn append(&mut self, other: Self) {
        if self.table.columns.is_empty() {
            *self = other;
        } else if self.table.append(&other.table) {
            self.sketches.extend(other.sketches);
        } else {
            *self = Self::default();
        }
    }
}

impl Familiar {
    /// Whether there are rows enough to fit novelty on.
    pub(super) fn is_enough(&self) -> bool {
        self.newest.table.rows >= FEWEST
    }

    /// Adds the columns `names` of the rows of `table`, whose codes have the sketches `[rows, SKETCH]`.
    pub(super) fn add<'a>(
        &mut self,
        table: &Table,
        names: impl Iterator<Item = &'a str>,
        sketches: Vec<f32>,
        seed: u64,
    ) {
        if self.too_large || table.rows == 0 {
            return;
        }
        let columns: Option<Vec<_>> =
            names.map(|name| table.column(name).map(|column| (name.to_owned(), column.clone()))).collect();
        let Some(columns) = columns else { return };
        self.newest.append(Sketched { table: Table { rows: table.rows, columns }, sketches });
        let rows = self.newest.table.rows;
        if rows < FEWEST {
            return;
        }
        let capacity = (BYTES / (self.newest.table.bytes() / rows as u64).max(1)).min(ROWS as u64) as usize;
        if capacity < FEWEST {
            *self = Self { too_large: true, ..Self::default() };
        } else if rows > capacity + capacity / 2 {
            self.pass_on(rows - capacity, capacity, seed);
        }
    }

    /// Moves the `older` oldest of the newest rows on to the sample of `capacity` rows.
    fn pass_on(&mut self, older: usize, capacity: usize, seed: u64) {
        let rows = self.newest.table.rows;
        let leaving = self.newest.select(&(0..older).collect::<Vec<_>>());
        self.newest = self.newest.select(&(older..rows).collect::<Vec<_>>());
        let all = self.sampled_from + older as u64;
        let mut random = Random::stream(seed, "familiar rows", all);
        let kept = self.sample.table.rows;
        // As many of each as keeps the sample uniform.
        let fresh = if kept + older <= capacity {
            older
        } else {
            let share = capacity as f64 * older as f64 / all as f64;
            ((share + f64::from(random.uniform())) as usize).clamp(1, older)
        };
        let mut pick = |of: usize, count: usize| {
            let mut order: Vec<usize> = (0..of).collect();
            random.shuffle(&mut order);
            order.truncate(count);
            order.sort_unstable();
            order
        };
        let (old, new) = (pick(kept, capacity.saturating_sub(fresh)), pick(older, fresh));
        if old.len() < kept {
            self.sample = self.sample.select(&old);
        }
        self.sample.append(leaving.select(&new));
        self.sampled_from = all;
    }

    /// Novelty fitted on these rows, and the scores of those among them that stand for new ones: the newest third of the
    /// newest rows. `width` is that of the codes.
    pub(super) fn fit(&self, width: usize, seed: u64) -> (Novelty, Vec<f32>) {
        let mut all = self.sample.clone();
        all.append(self.newest.clone());
        let rows = all.table.rows;
        let split = rows - self.newest.table.rows / 3;
        let (known, held_out): (Vec<usize>, Vec<usize>) = ((0..split).collect(), (split..rows).collect());
        let names: Vec<String> = all.table.columns.iter().map(|(name, _)| name.clone()).collect();
        let columns: Vec<&str> = names.iter().map(String::as_str).collect();
        let codes = KnownCodes::of_sketches(&all.sketches[..split * SKETCH], width, seed);
        let mut batch = Batch::new();
        held_out.iter().for_each(|_| batch.end_bag());
        let sketches = &all.sketches[split * SKETCH..];
        let of = NoveltyRows {
            table: &all.table,
            columns: &columns,
            known: &known,
            held_out: &held_out,
            batch: &batch,
            sketches,
        };
        let novelty = Novelty::fit(codes, &of, seed);
        batch.input_scores = novelty.of_inputs(&all.table.select(&held_out));
        let score = |(row, sketch): (usize, &[f32; SKETCH])| novelty.score(sketch, &batch, row);
        let scores = sketches.as_chunks().0.iter().enumerate().map(score).collect();
        (novelty, scores)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Column;

    #[test]
    fn the_newest_rows_and_a_sample_of_all_before_are_kept() {
        let mut familiar = Familiar::default();
        for part in 0..200 {
            let values: Vec<f64> = (0..100).map(|row| f64::from(part * 100 + row)).collect();
            let table = Table { rows: 100, columns: vec![("x".into(), Column::Number(values))] };
            familiar.add(&table, ["x"].into_iter(), vec![0.0; 100 * SKETCH], 7);
        }
        let values = |part: &Sketched| match &part.table.columns[0].1 {
            Column::Number(values) => values.clone(),
            _ => Vec::new(),
        };
        let (newest, sample) = (values(&familiar.newest), values(&familiar.sample));
        assert!((ROWS..=ROWS * 3 / 2).contains(&newest.len()) && newest.last() == Some(&19_999.0));
        assert_eq!((sample.len(), familiar.sample.sketches.len()), (ROWS, ROWS * SKETCH));
        let mean = sample.iter().sum::<f64>() / sample.len() as f64;
        assert!((mean - 9_500.0).abs() < 1_000.0, "{mean}");
        assert!(sample.is_sorted() && sample.windows(2).all(|pair| pair[0] < pair[1]));
        let wide = Table {
            rows: 100,
            columns: vec![("x".into(), Column::Vector { width: 40_000, shape: None, values: vec![0.0; 4_000_000] })],
        };
        let mut familiar = Familiar::default();
        familiar.add(&wide, ["x"].into_iter(), vec![0.0; 100 * SKETCH], 7);
        assert!(!familiar.is_enough() && familiar.newest.table.rows == 0);
    }
}
