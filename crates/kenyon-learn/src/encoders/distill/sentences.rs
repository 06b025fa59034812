//! Texts as the tokens of the static encoder: a sparse matrix `[texts, tokens]` whose rows are the shares of tokens.

use crate::Result;
use crate::encoders::tokens::Tokens;
use crate::nn::kernels::parallel;

/// Rows that a thread takes at a time.
const BLOCK: usize = 256;

/// A sparse matrix by rows.
#[derive(Default)]
pub(super) struct Sparse {
    offsets: Vec<usize>,
    entries: Vec<(u32, f32)>,
}

/// The matrix and its transposed, over tokens that occur.
pub(super) struct Sentences {
    /// `[texts, occurring]`.
    pub(super) by_text: Sparse,
    /// `[occurring, texts]`.
    pub(super) by_token: Sparse,
    /// The tokens that occur, in ascending order.
    pub(super) occurring: Vec<u32>,
    /// How often each of all tokens occurs.
    pub(super) counts: Vec<u32>,
}

impl Sentences {
    /// Tokenises `texts`; there are `tokens` tokens.
    pub(super) fn of(student: &Tokens, texts: &[&str], tokens: usize) -> Result<Self> {
        let mut counts = vec![0u32; tokens];
        let mut ids = Vec::with_capacity(texts.len());
        for text in texts {
            let found = student.ids(text)?;
            found.iter().for_each(|&id| counts[id as usize] += 1);
            ids.push(found);
        }
        let occurring: Vec<u32> = (0..tokens as u32).filter(|&id| counts[id as usize] > 0).collect();
        let mut place = vec![0u32; tokens];
        occurring.iter().enumerate().for_each(|(at, &id)| place[id as usize] = at as u32);
        let mut by_text = Sparse { offsets: vec![0], entries: Vec::new() };
        for found in &mut ids {
            let share = 1.0 / found.len().max(1) as f32;
            found.sort_unstable();
            for run in found.chunk_by(|a, b| a == b) {
                by_text.entries.push((place[run[0] as usize], run.len() as f32 * share));
            }
            by_text.offsets.push(by_text.entries.len());
        }
        let by_token = by_text.transposed(occurring.len());
        Ok(Self { by_text, by_token, occurring, counts })
    }

    /// Those texts for which `keep` holds, over the same tokens.
    pub(super) fn select(&self, keep: impl Fn(usize) -> bool) -> Self {
        let mut by_text = Sparse { offsets: vec![0], entries: Vec::new() };
        for text in (0..self.by_text.rows()).filter(|&text| keep(text)) {
            by_text.entries.extend_from_slice(self.by_text.row(text));
            by_text.offsets.push(by_text.entries.len());
        }
        let by_token = by_text.transposed(self.occurring.len());
        Self { by_text, by_token, occurring: self.occurring.clone(), counts: self.counts.clone() }
    }
}

impl Sparse {
    pub(super) fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    fn row(&self, row: usize) -> &[(u32, f32)] {
        &self.entries[self.offsets[row]..self.offsets[row + 1]]
    }

    fn transposed(&self, columns: usize) -> Self {
        let mut offsets = vec![0; columns + 1];
        self.entries.iter().for_each(|(column, _)| offsets[*column as usize + 1] += 1);
        (0..columns).for_each(|column| offsets[column + 1] += offsets[column]);
        let mut next = offsets.clone();
        let mut entries = vec![(0, 0.0); self.entries.len()];
        for row in 0..self.rows() {
            for &(column, value) in self.row(row) {
                entries[next[column as usize]] = (row as u32, value);
                next[column as usize] += 1;
            }
        }
        Self { offsets, entries }
    }

    /// The product with `dense` `[columns, width]`, `[rows, width]`.
    pub(super) fn product(&self, dense: &[f32], width: usize, threads: usize) -> Vec<f32> {
        let mut out = vec![0.0; self.rows() * width];
        let mut blocks: Vec<&mut [f32]> = out.chunks_mut(BLOCK * width).collect();
        parallel::each(&mut blocks, threads, |block, out| {
            for (row, out) in out.chunks_exact_mut(width).enumerate() {
                for &(column, value) in self.row(block * BLOCK + row) {
                    let from = &dense[column as usize * width..][..width];
                    out.iter_mut().zip(from).for_each(|(o, x)| *o += value * x);
                }
            }
        });
        out
    }
}
