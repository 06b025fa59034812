//! Cosine and whitened cosine of a sample: everything follows from the inner products of the matrices.

use super::prepared::Prepared;
use super::sample::{Block, Sample};
use crate::nn::kernels::matrix::{MatrixShape, product};

/// Inner products of all matrices with those from `first` on, over the weighted pairs of a sample:
/// `[matrices, matrices - first]`. `fill` writes a matrix's values for a block of pairs.
pub(crate) fn inner_products(
    sample: &Sample,
    matrices: usize,
    first: usize,
    fill: impl Fn(usize, &Block, &mut [f64]),
    mut each: impl FnMut(&Block, &[f64]),
) -> Vec<f64> {
    let columns = matrices - first;
    let (mut sums, mut part) = (vec![0.0; matrices * columns], vec![0.0; matrices * columns]);
    let (mut plain, mut weighted) = (Vec::new(), Vec::new());
    sample.for_blocks(|block| {
        let k = block.index.len();
        plain.resize(matrices * k, 0.0);
        for (m, row) in plain.chunks_exact_mut(k).enumerate() {
            fill(m, block, row);
        }
        weighted.clear();
        for row in plain[first * k..].chunks_exact(k) {
            weighted.extend(row.iter().zip(&block.weight).map(|(v, w)| v * w));
        }
        product(
            (&mut part, MatrixShape::new(matrices, columns)),
            (&plain, MatrixShape::new(matrices, k)),
            (&weighted, MatrixShape::new(columns, k).transposed()),
            None,
            1.0,
        );
        sums.iter_mut().zip(&part).for_each(|(s, p)| *s += p);
        each(block, &plain);
    });
    sums
}

/// Inner products of the matrices in a sample, plain and in the metric of the comparison.
pub(crate) struct Products {
    systems: usize,
    subjects: usize,
    /// Squared length of each system in the metric.
    own: Vec<f64>,
    /// Products of all matrices with the subjects in the metric, `[systems + subjects, subjects]`.
    metric: Vec<f64>,
    /// Length of each subject without the metric; subjects are scaled by it before they are averaged.
    length: Vec<f64>,
}

impl Products {
    /// Of `values`, the first `systems` of which are systems, the others subjects.
    pub(crate) fn new(values: &[Vec<f32>], systems: usize, whitened: bool, sample: &Sample) -> Self {
        let (all, subjects) = (values.len(), values.len() - systems);
        let drawn = sample.drawn.len();
        let mut own = vec![0.0; systems];
        // Sums over each condition's pairs, `[matrices, drawn]`, which double centring needs.
        let mut sums = vec![0.0; if whitened { all * drawn } else { 0 }];
        let fill = |m: usize, block: &Block, row: &mut [f64]| {
            let from = &values[m];
            row.iter_mut().zip(&block.index).for_each(|(v, &at)| *v = f64::from(from[at]));
        };
        let mut metric = inner_products(sample, all, systems, fill, |block, plain| {
            let k = block.index.len();
            for (own, row) in own.iter_mut().zip(plain.chunks_exact(k)) {
                *own += row.iter().zip(&block.weight).map(|(v, w)| v * v * w).sum::<f64>();
            }
            if whitened {
                for (sums, row) in sums.chunks_exact_mut(drawn).zip(plain.chunks_exact(k)) {
                    for (t, v) in row.iter().enumerate() {
                        let (a, b) = (block.first[t] as usize, block.second[t] as usize);
                        sums[a] += sample.counts[b] * v;
                        sums[b] += sample.counts[a] * v;
                    }
                }
            }
        });
        let length = (0..subjects).map(|s| metric[(systems + s) * subjects + s].sqrt()).collect();
        if whitened {
            let effects: Vec<Vec<f64>> = sums.chunks_exact(drawn).map(|b| effects(b, sample)).collect();
            let centre = |u: usize, v: usize| -> f64 {
                let b = &sums[v * drawn..(v + 1) * drawn];
                2.0 * effects[u].iter().zip(b).zip(&sample.counts).map(|((a, b), w)| a * b * w).sum::<f64>()
            };
            // With second moments g = −d/2: twice the pairs minus what row and column effects explain.
            for u in 0..all {
                for s in 0..subjects {
                    let at = &mut metric[u * subjects + s];
                    *at = (2.0 * *at - centre(u, systems + s)) / 4.0;
                }
            }
            own.iter_mut().enumerate().for_each(|(u, own)| *own = (2.0 * *own - centre(u, u)) / 4.0);
        }
        Self { systems, subjects, own, metric, length }
    }

    fn between(&self, matrix: usize, subject: usize) -> f64 {
        self.metric[matrix * self.subjects + subject]
    }
}

/// The condition effects `a` whose sums `a_i + a_j` fit a sample's values best, the diagonal's zeros among them, from
/// each condition's weighted sum `b` of its values. Solves
/// `(N − w_i + 2) a_i + Σ_{j≠i} w_j a_j = b_i`, which without repetitions is double centring.
fn effects(b: &[f64], sample: &Sample) -> Vec<f64> {
    let (n, w) = (sample.size(), &sample.counts);
    let d: Vec<f64> = w.iter().map(|w| n - 2.0 * w + 2.0).collect();
    // A condition that makes up half of the sample; at most one can.
    let half = d.iter().position(|&d| d == 0.0);
    let total = match half {
        Some(i) => b[i],
        None => {
            let (mut up, mut down) = (0.0, 1.0);
            for i in 0..b.len() {
                up += w[i] * b[i] / d[i];
                down += w[i] / d[i];
            }
            up / down
        }
    };
    let mut a: Vec<f64> = (0..b.len()).map(|i| if d[i] == 0.0 { 0.0 } else { (b[i] - total) / d[i] }).collect();
    if let Some(i) = half {
        a[i] = (total - a.iter().zip(w).map(|(a, w)| a * w).sum::<f64>()) / w[i];
    }
    a
}

fn cosine(product: f64, a: f64, b: f64) -> f64 {
    // A product of lengths that is lost in rounding is the cosine of nothing; rsatoolbox gives 0 as well.
    if a > 0.0 && b > 0.0 { product / (a * b).sqrt() } else { 0.0 }
}

impl Prepared for Products {
    fn fits(&self) -> Vec<f64> {
        let squares = |s: usize| self.between(self.systems + s, s);
        (0..self.systems)
            .flat_map(|m| (0..self.subjects).map(move |s| cosine(self.between(m, s), self.own[m], squares(s))))
            .collect()
    }

    fn pooled(&self, counts: &[f64], targets: &[usize]) -> Vec<f64> {
        let weight: Vec<f64> =
            counts.iter().zip(&self.length).map(|(c, l)| if *l > 0.0 { c / l } else { 0.0 }).collect();
        let with =
            |s: usize| -> f64 { (0..self.subjects).map(|t| weight[t] * self.between(self.systems + t, s)).sum() };
        let own: f64 = (0..self.subjects).filter(|&s| weight[s] > 0.0).map(|s| weight[s] * with(s)).sum();
        targets.iter().map(|&s| cosine(with(s), own, self.between(self.systems + s, s))).collect()
    }
}
