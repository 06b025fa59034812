//! Streaming linear discriminant analysis and ridge regression from running sums.
//!
//! The sums keep `A = Σ φφᵀ`, a mean and a count per class (Hayes & Kanan 2020, "Lifelong machine
//! learning with deep streaming linear discriminant analysis"). A sum does not depend on the order
//! of its terms, so learning class after class gives what learning all at once gives: the readout
//! does not forget. Nothing here selects features; it only reads them out.

use crate::nn::kernels::matrix::{MatrixShape, product};
use crate::nn::kernels::{dense, parallel};
use crate::nn::linalg::cholesky::Factor;
use crate::nn::readouts::Readout;
use crate::nn::readouts::shrinkage::{class_discriminant, factor_shrunk};
use crate::{Error, Result};

/// Rows gathered before they are folded into `A` by one matrix product.
const BLOCK: usize = 512;
/// Columns of `A` updated by one product.
const PANEL: usize = 128;

/// Running sums over features of one width.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(into = "SumsParts", try_from = "SumsParts")]
pub struct Sums {
    width: usize,
    /// `[width, width]`, row-major; only the lower triangle is used.
    scatter: Vec<f64>,
    /// Σφ per class, `[classes, width]`.
    sums: Vec<f64>,
    /// Σφ and number of the rows without a label, which contribute to the covariance only.
    counts: Vec<f64>,
    /// Σφ and number of the rows without a label: they determine the spread of inputs, not their meaning.
    unlabelled: (Vec<f64>, f64),
    /// Rows waiting to be folded into `scatter`, `[waiting, width]`, already scaled by √weight.
    waiting: Vec<f32>,
    /// Σ yφ, Σ y and Σ y² of regression, `[width + 2]`; empty for classes.
    moments: Vec<f64>,
}

/// [`Sums`] as plain numbers; the scatter is its lower triangle, row after row.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct SumsParts {
    /// Width of the features.
    pub(crate) width: usize,
    /// `[width (width + 1) / 2]`.
    pub(crate) scatter: Vec<f64>,
    /// `[classes, width]`.
    pub(crate) sums: Vec<f64>,
    /// `[classes]`.
    pub(crate) counts: Vec<f64>,
    /// `[width + 1]`: the sum over rows without a label, and their number.
    pub(crate) unlabelled: Vec<f64>,
    /// `[waiting, width]`.
    pub(crate) waiting: Vec<f32>,
    /// `[width + 2]`, or nothing for classes.
    pub(crate) moments: Vec<f64>,
}

impl Sums {
    /// Empty sums for features of `width`.
    pub(crate) fn new(width: usize, classes: usize, regression: bool) -> Self {
        Self {
            width,
            scatter: vec![0.0; width * width],
            sums: vec![0.0; classes * width],
            counts: vec![0.0; classes],
            unlabelled: (vec![0.0; width], 0.0),
            waiting: Vec::new(),
            moments: if regression { vec![0.0; width + 2] } else { Vec::new() },
        }
    }

    /// Width of the features.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Weighted rows per class; for regression one entry.
    pub(crate) fn counts(&self) -> &[f64] {
        &self.counts
    }

    /// Weighted rows in all.
    pub(crate) fn rows(&self) -> f64 {
        self.counts.iter().sum()
    }

    /// The mean of class `class`; zeros before its first row.
    pub(crate) fn mean(&self, class: usize) -> Vec<f64> {
        let n = self.counts[class].max(f64::MIN_POSITIVE);
        self.sums[class * self.width..(class + 1) * self.width].iter().map(|s| s / n).collect()
    }

    /// Rows without a label.
    pub(crate) fn unlabelled(&self) -> f64 {
        self.unlabelled.1
    }

    /// The mean over all rows, with a label or without.
    pub(crate) fn mean_of_all(&self) -> Vec<f64> {
        let n = (self.rows() + self.unlabelled.1).max(1.0);
        let labelled = self.sums.chunks_exact(self.width.max(1));
        let mut mean = self.unlabelled.0.clone();
        labelled.for_each(|row| mean.iter_mut().zip(row).for_each(|(m, s)| *m += s));
        mean.iter_mut().for_each(|m| *m /= n);
        mean
    }

    /// Adds empty classes up to `classes`.
    pub(crate) fn grow(&mut self, classes: usize) {
        if classes > self.counts.len() {
            self.counts.resize(classes, 0.0);
            self.sums.resize(classes * self.width, 0.0);
        }
    }

    /// Adds one row of class `class` with a weight (negative takes one out again).
    pub(crate) fn add(&mut self, features: &[f32], class: usize, weight: f64, threads: usize) {
        self.grow(class + 1);
        self.counts[class] += weight;
        for (sum, &f) in self.sums[class * self.width..].iter_mut().zip(features) {
            *sum += weight * f64::from(f);
        }
        self.scatter_row(features, weight, threads);
    }

    /// Adds a row without a label.
    pub(crate) fn add_unlabelled(&mut self, features: &[f32], threads: usize) {
        self.unlabelled.1 += 1.0;
        self.unlabelled.0.iter_mut().zip(features).for_each(|(s, &f)| *s += f64::from(f));
        self.scatter_row(features, 1.0, threads);
    }

    /// Takes a row out of a class's mean; its share of the scatter is removed by [`Sums::scatter_rows`].
    pub(crate) fn take(&mut self, features: &[f32], class: usize) {
        self.counts[class] -= 1.0;
        for (sum, &f) in self.sums[class * self.width..].iter_mut().zip(features) {
            *sum -= f64::from(f);
        }
    }

    /// As [`Sums::take`] for a number.
    pub(crate) fn take_value(&mut self, features: &[f32], value: f32) {
        let value = f64::from(value);
        for (moment, &f) in self.moments.iter_mut().zip(features) {
            *moment -= value * f64::from(f);
        }
        self.moments[self.width] -= value;
        self.moments[self.width + 1] -= value * value;
        self.take(features, 0);
    }

    /// Takes a row without a label out; its share of the scatter is removed by [`Sums::scatter_rows`].
    pub(crate) fn take_unlabelled(&mut self, features: &[f32]) {
        self.unlabelled.1 -= 1.0;
        self.unlabelled.0.iter_mut().zip(features).for_each(|(s, &f)| *s -= f64::from(f));
    }

    /// Adds many rows' share of the scatter at once, `weight` times each.
    pub(crate) fn scatter_rows(&mut self, rows: &[f32], weight: f32, threads: usize) {
        self.fold(threads);
        for rows in rows.chunks(BLOCK * self.width.max(1)) {
            fold_into(&mut self.scatter, self.width, rows, weight, threads);
        }
    }

    fn scatter_row(&mut self, features: &[f32], weight: f64, threads: usize) {
        if weight < 0.0 {
            self.fold(threads);
            self.waiting.extend_from_slice(features);
            fold_into(&mut self.scatter, self.width, &self.waiting, weight as f32, threads);
            self.waiting.clear();
            return;
        }
        if weight == 1.0 {
            self.waiting.extend_from_slice(features);
        } else {
            let root = weight.sqrt() as f32;
            self.waiting.extend(features.iter().map(|f| f * root));
        }
        if self.waiting.len() >= BLOCK * self.width {
            self.fold(threads);
        }
    }

    /// Adds one row with a number as its answer, with a weight.
    pub(crate) fn add_value(&mut self, features: &[f32], value: f32, weight: f64, threads: usize) {
        let weighted = weight * f64::from(value);
        for (moment, &f) in self.moments.iter_mut().zip(features) {
            *moment += weighted * f64::from(f);
        }
        self.moments[self.width] += weighted;
        self.moments[self.width + 1] += weighted * f64::from(value);
        self.add(features, 0, weight, threads);
    }

    /// The sums without what `part` has of them.
    pub(crate) fn without(&self, part: &Self, threads: usize) -> Self {
        let (mut out, mut part) = (self.clone(), part.clone());
        out.fold(threads);
        part.fold(threads);
        out.scatter.iter_mut().zip(&part.scatter).for_each(|(all, own)| *all -= own);
        out.sums.iter_mut().zip(&part.sums).for_each(|(all, own)| *all -= own);
        // Weights of copies do not add up exactly, and a class without rows must have none.
        let rest = |(all, own): (&mut f64, &f64)| *all = if *all - own < 1e-6 { 0.0 } else { *all - own };
        out.counts.iter_mut().zip(&part.counts).for_each(rest);
        out.moments.iter_mut().zip(&part.moments).for_each(|(all, own)| *all -= own);
        out.unlabelled.0.iter_mut().zip(&part.unlabelled.0).for_each(|(all, own)| *all -= own);
        out.unlabelled.1 -= part.unlabelled.1;
        out
    }

    /// Multiplies everything by `factor`, so that earlier rows count less.
    pub(crate) fn decay(&mut self, factor: f64, threads: usize) {
        self.fold(threads);
        let all = self.scatter.iter_mut().chain(&mut self.sums).chain(&mut self.counts).chain(&mut self.moments);
        for v in all.chain(&mut self.unlabelled.0).chain(std::iter::once(&mut self.unlabelled.1)) {
            *v *= factor;
        }
    }

    /// Folds the waiting rows into `A`.
    pub(crate) fn fold(&mut self, threads: usize) {
        fold_into(&mut self.scatter, self.width, &self.waiting, 1.0, threads);
        self.waiting.clear();
    }

    /// `(1 − shrink)·Σ + shrink·(tr Σ / width)·I`, factored; `None` when there are too few rows.
    ///
    /// For classes Σ is the covariance within classes; for regression that of the features. From
    /// feature `soft.0` on the diagonal gets `soft.1` times as much shrinkage.
    pub(crate) fn factor(&mut self, shrink: f64, soft: (usize, f64), threads: usize) -> Result<Factor> {
        let inverse = 1.0 / (self.rows() + self.unlabelled.1).max(1.0);
        let mut means: Vec<(f64, Vec<f64>)> = (0..self.counts.len())
            .filter(|&c| self.counts[c] > 0.0)
            .map(|c| (self.counts[c] * inverse, self.mean(c)))
            .collect();
        if self.unlabelled.1 > 0.0 {
            let (sum, count) = &self.unlabelled;
            means.push((count * inverse, sum.iter().map(|s| s / count).collect()));
        }
        self.factor_around(&means, shrink, soft, threads)
    }

    /// The same for the covariance of all rows, whatever their class.
    pub(crate) fn factor_of_all(&mut self, shrink: f64, threads: usize) -> Result<Factor> {
        let means = [(1.0, self.mean_of_all())];
        self.factor_around(&means, shrink, (self.width, 1.0), threads)
    }

    /// The factor of the covariance around `means`, each with its share of the rows.
    fn factor_around(
        &mut self,
        means: &[(f64, Vec<f64>)],
        shrink: f64,
        soft: (usize, f64),
        threads: usize,
    ) -> Result<Factor> {
        self.fold(threads);
        let (w, inverse) = (self.width, 1.0 / (self.rows() + self.unlabelled.1).max(1.0));
        let mut sigma = self.scatter.clone();
        for (r, row) in sigma.chunks_exact_mut(w).enumerate() {
            for v in &mut row[..=r] {
                *v *= inverse;
            }
            for (share, mean) in means {
                let scale = share * mean[r];
                if scale != 0.0 {
                    for (v, m) in row[..=r].iter_mut().zip(mean) {
                        *v -= scale * m;
                    }
                }
            }
        }
        factor_shrunk(sigma, w, shrink, soft, threads)
    }

    /// The discriminants `W_c = Σ⁻¹μ_c`, `b_c = −½ μ_cᵀW_c + prior · ln(n_c/n)`, from the factor of Σ.
    ///
    /// Classes without rows get a bias no other class has, so that they are never the answer.
    pub(crate) fn read(&self, factor: &Factor, prior: f64) -> Readout {
        let (w, classes, total) = (self.width, self.counts.len(), self.rows().max(1.0));
        let centre = self.centre();
        // Discriminants of the means less the common mean are the same up to a term that all
        // classes share, and lose fewer digits.
        let mut rhs: Vec<f64> = (0..classes).flat_map(|c| self.mean(c)).collect();
        for row in rhs.chunks_exact_mut(w) {
            row.iter_mut().zip(&centre).for_each(|(v, m)| *v -= m);
        }
        let means = rhs.clone();
        factor.solve(&mut rhs);
        let mut out = Readout { width: w, weights: vec![0.0; classes * w], bias: vec![-1e9; classes] };
        for c in (0..classes).filter(|&c| self.counts[c] > 0.0) {
            let class = c * w..(c + 1) * w;
            let log_prior = prior * (self.counts[c] / total).ln();
            let (weights, bias) = class_discriminant(&means[class.clone()], &rhs[class.clone()], &centre, log_prior);
            out.bias[c] = bias;
            out.weights[class].copy_from_slice(&weights);
        }
        out
    }

    /// Ridge regression of 1 for a row's class and 0 for others, from the factor of the covariance of all rows:
    /// `W_c = n_c/n Σ⁻¹(μ_c − μ)`, `b_c = n_c/n − μᵀW_c`.
    pub(crate) fn read_shares(&self, factor: &Factor) -> Readout {
        let (w, classes, total, centre) = (self.width, self.counts.len(), self.rows().max(1.0), self.centre());
        let share = |c: usize| self.counts[c] / total;
        let mut rhs: Vec<f64> = Vec::with_capacity(classes * w);
        for class in 0..classes {
            rhs.extend(self.mean(class).iter().zip(&centre).map(|(m, c)| share(class) * (m - c)));
        }
        factor.solve(&mut rhs);
        let bias = rhs.chunks_exact(w).enumerate().map(|(class, weights)| {
            (share(class) - weights.iter().zip(&centre).map(|(a, b)| a * b).sum::<f64>()) as f32
        });
        Readout { width: w, bias: bias.collect(), weights: rhs.iter().map(|&v| v as f32).collect() }
    }

    /// Ridge regression: `w = Σ⁻¹ cov(φ, y)`, from the factor of Σ.
    pub(crate) fn read_values(&self, factor: &Factor) -> Readout {
        let (w, n) = (self.width, self.rows().max(1.0));
        let (centre, mean) = (self.centre(), self.moments[self.width] / n);
        let mut rhs: Vec<f64> = self.moments[..w].iter().zip(&centre).map(|(s, m)| s / n - m * mean).collect();
        factor.solve(&mut rhs);
        let offset: f64 = rhs.iter().zip(&centre).map(|(a, b)| a * b).sum();
        Readout { width: w, weights: rhs.iter().map(|&v| v as f32).collect(), bias: vec![(mean - offset) as f32] }
    }

    /// The mean over all rows.
    pub(crate) fn centre(&self) -> Vec<f64> {
        let mut centre = vec![0.0; self.width];
        for row in self.sums.chunks_exact(self.width.max(1)) {
            centre.iter_mut().zip(row).for_each(|(c, s)| *c += s);
        }
        let n = self.rows().max(1.0);
        centre.iter_mut().for_each(|c| *c /= n);
        centre
    }

    /// Everything as plain numbers, bit for bit.
    pub(crate) fn to_parts(&self) -> SumsParts {
        let w = self.width;
        let scatter = (0..w).flat_map(|r| self.scatter[r * w..r * w + r + 1].iter().copied()).collect();
        let mut unlabelled = self.unlabelled.0.clone();
        unlabelled.push(self.unlabelled.1);
        SumsParts {
            width: w,
            scatter,
            sums: self.sums.clone(),
            counts: self.counts.clone(),
            unlabelled,
            waiting: self.waiting.clone(),
            moments: self.moments.clone(),
        }
    }

    /// Sums from [`Sums::to_parts`].
    pub(crate) fn from_parts(parts: SumsParts) -> Result<Self> {
        let SumsParts { width: w, scatter: packed, sums, counts, mut unlabelled, waiting, moments } = parts;
        let fits = packed.len() == w * (w + 1) / 2
            && sums.len() == counts.len() * w
            && unlabelled.len() == w + 1
            && waiting.len().is_multiple_of(w.max(1))
            && (moments.is_empty() || moments.len() == w + 2);
        if !fits {
            return Err(Error::unprocessable("bad_model", "the readout's sums do not fit its width"));
        }
        let mut scatter = vec![0.0; w * w];
        let mut from = 0;
        for r in 0..w {
            scatter[r * w..r * w + r + 1].copy_from_slice(&packed[from..from + r + 1]);
            from += r + 1;
        }
        let count = unlabelled.pop().unwrap_or(0.0);
        Ok(Self { width: w, scatter, sums, counts, unlabelled: (unlabelled, count), waiting, moments })
    }
}

impl From<Sums> for SumsParts {
    fn from(sums: Sums) -> Self {
        sums.to_parts()
    }
}

impl TryFrom<SumsParts> for Sums {
    type Error = Error;

    fn try_from(parts: SumsParts) -> Result<Self> {
        Self::from_parts(parts)
    }
}

/// `scatter += scale · rowsᵀ · rows` at and below the diagonal, panel by panel. Which thread takes a
/// panel changes nothing in its sums.
fn fold_into(scatter: &mut [f64], width: usize, rows: &[f32], scale: f32, threads: usize) {
    if rows.is_empty() {
        return;
    }
    let count = rows.len() / width;
    // The widest panels first, so that threads end together.
    let mut panels: Vec<(usize, &mut [f64])> = scatter.chunks_mut(PANEL * width).enumerate().rev().collect();
    let threads = if width * width * count < 4_000_000 { 1 } else { threads };
    parallel::each_with(&mut panels, threads, Vec::new, |products, _, (number, panel)| {
        let first = *number * PANEL;
        let high = PANEL.min(width - first);
        let wide = first + high;
        dense::reset(products, high * wide);
        product(
            (&mut products[..], MatrixShape::new(high, wide)),
            (&rows[first..], MatrixShape::strided(count, high, width).transposed()),
            (rows, MatrixShape::strided(count, wide, width)),
            None,
            scale,
        );
        for (row, products) in panel.chunks_exact_mut(width).zip(products.chunks_exact(wide)) {
            row[..wide].iter_mut().zip(products).for_each(|(t, v)| *t += f64::from(*v));
        }
    });
}

#[cfg(test)]
mod tests;
