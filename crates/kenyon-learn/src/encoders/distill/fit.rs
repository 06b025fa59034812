//! The vectors of tokens: weighted by rarity, fitted so that the mean over a text's tokens is near the transformer's vector of
//! the text, and reduced to principal components.
//!
//! The fit is two ridge regressions. The first finds one linear map for all tokens, so that those which occur in no text are
//! mapped as well. The second moves the tokens that occur; how far is chosen by texts that are held out.

use super::sentences::Sentences;
use crate::Result;
use crate::nn::kernels::matrix::{MatrixShape, product};
use crate::nn::linalg::cholesky::Factor;
use crate::nn::linalg::eigen::{Eigen, eigen};

/// Where a token's weight is one half, as a share of all tokens (`a` of Arora et al. 2017).
const HALF_WEIGHT: f64 = 1e-3;
/// Occurrences that the ranks of the vocabulary count as beside those of the texts.
const RANKED: f64 = 10_000.0;
/// Ridge of the linear map, as a share of the mean variance.
const MAP_RIDGE: f64 = 1e-2;
/// Ridges of the tokens' own vectors that are tried.
const RIDGES: [f32; 4] = [0.3, 0.1, 0.03, 0.01];
/// Steps of conjugate gradients.
const STEPS: usize = 24;
/// Every so many-th text is held out to choose by.
const HELD_OUT: usize = 10;

/// What the vectors are fitted to.
pub(super) struct Fit<'a> {
    /// Of all tokens, as the transformer reads each alone, `[tokens, width]`.
    pub(super) vectors: Vec<f32>,
    /// Of the texts, `[texts, width]`.
    pub(super) targets: Vec<f32>,
    pub(super) width: usize,
    pub(super) sentences: &'a Sentences,
    pub(super) threads: usize,
}

/// The vectors of all tokens.
pub(super) struct Fitted {
    /// `[tokens, width]`.
    pub(super) table: Vec<f32>,
    pub(super) width: usize,
    /// On held-out texts.
    pub(super) cosine: f64,
    pub(super) cosine_unfitted: f64,
    /// Share of the variance over the texts that the kept components have.
    pub(super) variance: f64,
}

impl Fit<'_> {
    /// Fits, and keeps `kept` components. `go_on` is called between steps.
    pub(super) fn run(mut self, kept: usize, go_on: &dyn Fn() -> Result<()>) -> Result<Fitted> {
        let width = self.width;
        center(&mut self.targets, width, |_| true);
        self.weigh();
        let held = |text: usize| text.is_multiple_of(HELD_OUT);
        let known = self.sentences.select(|text| !held(text));
        let other = self.sentences.select(held);
        let [known_targets, other_targets] = [false, true].map(|wanted| {
            let rows = self.targets.chunks_exact(width).enumerate().filter(|(text, _)| held(*text) == wanted);
            rows.flat_map(|(_, row)| row).copied().collect::<Vec<f32>>()
        });
        let similarity =
            |rows: &[f32]| cosine(&other.by_text.product(rows, width, self.threads), &other_targets, width);
        let start = self.occurring(&self.vectors);
        let cosine_unfitted = similarity(&start);
        go_on()?;
        let map = self.map(&known, &known_targets, &start)?;
        let mapped = self.mapped(&start, &map);
        let mut best = (similarity(&mapped), None);
        for ridge in RIDGES {
            go_on()?;
            let moved = self.moved(&known, &known_targets, &mapped, ridge, go_on)?;
            let found = similarity(&moved);
            if found > best.0 {
                best = (found, Some(ridge));
            }
        }
        // Once more with all texts.
        let map = self.map(self.sentences, &self.targets, &start)?;
        let mut table = self.mapped(&self.vectors, &map);
        let mut rows = self.occurring(&table);
        if let Some(ridge) = best.1 {
            rows = self.moved(self.sentences, &self.targets, &rows, ridge, go_on)?;
            for (&token, row) in self.sentences.occurring.iter().zip(rows.chunks_exact(width)) {
                table[token as usize * width..][..width].copy_from_slice(row);
            }
        }
        let (table, variance) = self.components(&table, &rows, kept)?;
        Ok(Fitted { table, width: kept, cosine: best.0, cosine_unfitted, variance })
    }

    /// Centres the vectors and weights each by how rare its token is. Tokens of a vocabulary are mostly in the order of how
    /// frequent they are, so ranks stand in for those that the texts do not have (Zipf's law).
    fn weigh(&mut self) {
        let width = self.width;
        let counts = &self.sentences.counts;
        let marks: Vec<bool> = self.vectors.chunks_exact(width).map(|row| row.iter().all(|x| *x == 0.0)).collect();
        center(&mut self.vectors, width, |token| !marks[token]);
        let harmonic: f64 = (1..=counts.len()).map(|rank| 1.0 / rank as f64).sum();
        let total = counts.iter().map(|&count| f64::from(count)).sum::<f64>() + RANKED;
        for (rank, row) in self.vectors.chunks_exact_mut(width).enumerate() {
            let ranked = RANKED / (harmonic * (rank + 1) as f64);
            let share = (f64::from(counts[rank]) + ranked) / total;
            let weight = (HALF_WEIGHT / (HALF_WEIGHT + share)) as f32;
            row.iter_mut().for_each(|x| *x *= weight);
        }
    }

    /// The rows of tokens that occur.
    fn occurring(&self, table: &[f32]) -> Vec<f32> {
        let row = |&token: &u32| &table[token as usize * self.width..][..self.width];
        self.sentences.occurring.iter().flat_map(row).copied().collect()
    }

    /// The linear map `[width, width]` of token vectors under which texts are nearest to their targets.
    fn map(&self, sentences: &Sentences, targets: &[f32], rows: &[f32]) -> Result<Vec<f32>> {
        let width = self.width;
        let means = sentences.by_text.product(rows, width, self.threads);
        let mut gram = moments(&means, &means, width);
        let trace: f64 = (0..width).map(|i| gram[i * width + i]).sum();
        (0..width).for_each(|i| gram[i * width + i] += MAP_RIDGE * trace / width as f64 + 1e-9);
        // Row by row of the transposed: what each element of the target is made of.
        let mut map = moments(targets, &means, width);
        Factor::new(gram, width, self.threads)?.solve(&mut map);
        Ok(map.into_iter().map(|x| x as f32).collect())
    }

    /// `rows · mapᵀ`.
    fn mapped(&self, rows: &[f32], map: &[f32]) -> Vec<f32> {
        let width = self.width;
        let mut out = vec![0.0; rows.len()];
        let shape = MatrixShape::new(rows.len() / width, width);
        product((&mut out, shape), (rows, shape), (map, MatrixShape::new(width, width).transposed()), None, 1.0);
        out
    }

    /// `rows` moved towards what their texts lack, by conjugate gradients on the normal equations; every element of a
    /// vector is a system of its own with the same matrix.
    fn moved(
        &self,
        sentences: &Sentences,
        targets: &[f32],
        rows: &[f32],
        ridge: f32,
        go_on: &dyn Fn() -> Result<()>,
    ) -> Result<Vec<f32>> {
        let width = self.width;
        let mut lacking = sentences.by_text.product(rows, width, self.threads);
        lacking.iter_mut().zip(targets).for_each(|(mean, target)| *mean = target - *mean);
        let mut residual = sentences.by_token.product(&lacking, width, self.threads);
        let mut direction = residual.clone();
        let mut moved = rows.to_vec();
        let mut squares = column_products(&residual, &residual, width);
        for _ in 0..STEPS {
            go_on()?;
            let through = sentences.by_text.product(&direction, width, self.threads);
            let mut image = sentences.by_token.product(&through, width, self.threads);
            image.iter_mut().zip(&direction).for_each(|(y, x)| *y += ridge * x);
            let curvature = column_products(&direction, &image, width);
            let step: Vec<f32> = squares.iter().zip(&curvature).map(|(s, c)| ratio(*s, *c)).collect();
            add_scaled(&mut moved, &step, &direction, 1.0);
            add_scaled(&mut residual, &step, &image, -1.0);
            let next = column_products(&residual, &residual, width);
            let factor: Vec<f32> = next.iter().zip(&squares).map(|(n, s)| ratio(*n, *s)).collect();
            for (direction, residual) in direction.chunks_exact_mut(width).zip(residual.chunks_exact(width)) {
                for ((d, r), f) in direction.iter_mut().zip(residual).zip(&factor) {
                    *d = r + f * *d;
                }
            }
            squares = next;
        }
        Ok(moved)
    }

    /// The `kept` principal components, over the texts, of all vectors, and their share of the variance.
    fn components(&self, table: &[f32], rows: &[f32], kept: usize) -> Result<(Vec<f32>, f64)> {
        let width = self.width;
        let means = self.sentences.by_text.product(rows, width, self.threads);
        let Eigen { values, vectors } = eigen(&moments(&means, &means, width), width)?;
        let basis: Vec<f32> = vectors[..kept * width].iter().map(|x| *x as f32).collect();
        let mut out = vec![0.0; table.len() / width * kept];
        let tokens = table.len() / width;
        product(
            (&mut out, MatrixShape::new(tokens, kept)),
            (table, MatrixShape::new(tokens, width)),
            (&basis, MatrixShape::new(kept, width).transposed()),
            None,
            1.0,
        );
        Ok((out, values[..kept].iter().sum::<f64>() / values.iter().sum::<f64>().max(f64::MIN_POSITIVE)))
    }
}

/// Subtracts the mean of the rows that are `meant` from them.
fn center(rows: &mut [f32], width: usize, meant: impl Fn(usize) -> bool) {
    let mut mean = vec![0.0f64; width];
    let mut count = 0.0;
    for (_, row) in rows.chunks_exact(width).enumerate().filter(|(at, _)| meant(*at)) {
        mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += f64::from(*x));
        count += 1.0;
    }
    for (_, row) in rows.chunks_exact_mut(width).enumerate().filter(|(at, _)| meant(*at)) {
        row.iter_mut().zip(&mean).for_each(|(x, mean)| *x -= (mean / count) as f32);
    }
}

/// `aᵀ · b` in double precision, `[width, width]`.
fn moments(a: &[f32], b: &[f32], width: usize) -> Vec<f64> {
    let mut out = vec![0.0; width * width];
    for (a, b) in a.chunks(512 * width).zip(b.chunks(512 * width)) {
        let [a, b]: [Vec<f64>; 2] = [a, b].map(|part| part.iter().map(|x| f64::from(*x)).collect());
        let shape = MatrixShape::new(a.len() / width, width);
        product((&mut out, MatrixShape::new(width, width)), (&a, shape.transposed()), (&b, shape), Some(1.0), 1.0);
    }
    out
}

/// The dot product of every column of `a` with that of `b`.
fn column_products(a: &[f32], b: &[f32], width: usize) -> Vec<f64> {
    let mut sums = vec![0.0; width];
    for (a, b) in a.chunks_exact(width).zip(b.chunks_exact(width)) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += f64::from(a * b);
        }
    }
    sums
}

fn add_scaled(to: &mut [f32], factors: &[f32], from: &[f32], sign: f32) {
    for (to, from) in to.chunks_exact_mut(factors.len()).zip(from.chunks_exact(factors.len())) {
        for ((to, factor), from) in to.iter_mut().zip(factors).zip(from) {
            *to += sign * factor * from;
        }
    }
}

/// A column that is solved has nothing left to divide by.
fn ratio(a: f64, b: f64) -> f32 {
    if b > 1e-20 { (a / b) as f32 } else { 0.0 }
}

/// Mean cosine of corresponding rows; zero for rows without length.
fn cosine(a: &[f32], b: &[f32], width: usize) -> f64 {
    let sums = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(x * y)).sum::<f64>();
    let each = a.chunks_exact(width).zip(b.chunks_exact(width)).map(|(a, b)| {
        let length = (sums(a, a) * sums(b, b)).sqrt();
        if length > 0.0 { sums(a, b) / length } else { 0.0 }
    });
    each.sum::<f64>() / (a.len() / width).max(1) as f64
}
