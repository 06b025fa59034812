//! Rank comparisons of a sample: Spearman, rho-a (the expectation of Spearman's correlation when ties are
//! broken at random, computed exactly) and Kendall's tau-a.

use super::prepared::Prepared;
use super::products::inner_products;
use super::sample::Sample;

/// Which coefficient is computed from the ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coefficient {
    Spearman,
    RhoA,
    TauA,
}

/// Levels of rank that a comparison by sums of ranks distinguishes. Where a matrix has more different values,
/// neighbours share the mean of their ranks. That changes rho-a and Spearman by some 1e-8 (neighbours have a difference
/// of either sign in the other matrix) and leaves a table of ranks that fits the cache, in place of a sort of every sample.
const LEVELS: u32 = 1 << 17;

/// The order of one matrix's values, sorted once for all samples.
#[derive(Debug)]
pub(crate) struct Order {
    /// For each pair the level of its value from 0 on; equal values are at one level.
    levels: Vec<u32>,
    /// Number of levels.
    count: usize,
}

impl Order {
    /// The order of the values of fewer than 65,536 conditions.
    pub(crate) fn new(values: &[f32], coefficient: Coefficient) -> Self {
        let mut at: Vec<u32> = (0..values.len() as u32).collect();
        at.sort_unstable_by(|&a, &b| values[a as usize].total_cmp(&values[b as usize]));
        let (mut levels, mut level) = (vec![0; values.len()], 0u32);
        for k in 1..at.len() {
            level += u32::from(values[at[k] as usize] != values[at[k - 1] as usize]);
            levels[at[k] as usize] = level;
        }
        let shift = coefficient.rounding(u64::from(level));
        levels.iter_mut().for_each(|l| *l >>= shift);
        Self { levels, count: (level >> shift) as usize + 1 }
    }

    /// Twice the mean rank of each pair of a sample.
    fn ranks(&self, index: &[u32], weights: &[f32]) -> Vec<u32> {
        mean_ranks(self.count, weights, |p| self.levels[index[p] as usize])
    }
}

impl Coefficient {
    /// By how many bits levels up to `largest` are rounded. Tau-a, which counts ties, is exact.
    fn rounding(self, largest: u64) -> u32 {
        let limit = if self == Coefficient::TauA { u32::MAX } else { LEVELS - 1 };
        let bits = |v: u64| u64::BITS - v.leading_zeros();
        bits(largest).saturating_sub(bits(u64::from(limit)))
    }
}

/// Twice the mean rank of each of some weighted pairs, ties sharing their mean, from 2 on.
fn mean_ranks(levels: usize, weights: &[f32], level: impl Fn(usize) -> u32) -> Vec<u32> {
    let mut sums = vec![0u32; levels];
    weights.iter().enumerate().for_each(|(p, &w)| sums[level(p) as usize] += w as u32);
    let mut before = 0;
    for sum in &mut sums {
        let weight = std::mem::replace(sum, 2 * before + *sum + 1);
        before += weight;
    }
    (0..weights.len()).map(|p| sums[level(p) as usize]).collect()
}

/// The ranks of all matrices in a sample.
pub(crate) struct Ranks {
    coefficient: Coefficient,
    systems: usize,
    /// Twice the rank of each pair, for each matrix.
    ranks: Vec<Vec<u32>>,
    /// How often the sample has each pair.
    weights: Vec<f32>,
    /// Number of pairs, repeated ones counted.
    total: f64,
    fits: Vec<f64>,
}

impl Ranks {
    /// Of matrices in these orders, the first `systems` of which are systems, the others subjects.
    pub(crate) fn new(orders: &[Order], systems: usize, coefficient: Coefficient, sample: &Sample) -> Self {
        let (mut index, mut weights) = (Vec::with_capacity(sample.pairs()), Vec::with_capacity(sample.pairs()));
        sample.for_blocks(|block| {
            index.extend(block.index.iter().map(|&at| at as u32));
            weights.extend(block.weight.iter().map(|&w| w as f32));
        });
        let ranks: Vec<Vec<u32>> = orders.iter().map(|order| order.ranks(&index, &weights)).collect();
        let mut this = Self { coefficient, systems, ranks, weights, total: sample.weight(), fits: Vec::new() };
        this.fits = match coefficient {
            Coefficient::TauA => {
                let subjects = this.ranks.len() - systems;
                let mut fits = Vec::with_capacity(systems * subjects);
                for m in 0..systems {
                    let order = sorted(&this.ranks[m]);
                    fits.extend((systems..this.ranks.len()).map(|s| this.tau(&order, &this.ranks[m], &this.ranks[s])));
                }
                fits
            }
            _ => this.correlations(sample),
        };
        this
    }

    fn correlations(&self, sample: &Sample) -> Vec<f64> {
        let (all, middle) = (self.ranks.len(), self.total + 1.0);
        let mut own = vec![0.0; self.systems];
        let products = inner_products(
            sample,
            all,
            self.systems,
            |m, block, row| {
                let from = &self.ranks[m][block.start..block.start + row.len()];
                row.iter_mut().zip(from).for_each(|(v, &r)| *v = f64::from(r) - middle);
            },
            |block, plain| {
                for (own, row) in own.iter_mut().zip(plain.chunks_exact(block.index.len())) {
                    *own += row.iter().zip(&block.weight).map(|(v, w)| v * v * w).sum::<f64>();
                }
            },
        );
        let subjects = all - self.systems;
        let mut fits = Vec::with_capacity(self.systems * subjects);
        for m in 0..self.systems {
            for s in 0..subjects {
                let squares = products[(self.systems + s) * subjects + s];
                fits.push(self.coefficient(products[m * subjects + s], own[m], squares));
            }
        }
        fits
    }

    /// The coefficient from sums over centred doubled ranks.
    fn coefficient(&self, product: f64, a: f64, b: f64) -> f64 {
        if self.coefficient == Coefficient::RhoA {
            return 3.0 * product / (self.total.powi(3) - self.total);
        }
        if a > 0.0 && b > 0.0 { product / (a * b).sqrt() } else { 0.0 }
    }

    fn compare(&self, a: &[u32], b: &[u32]) -> f64 {
        if self.coefficient == Coefficient::TauA {
            return self.tau(&sorted(a), a, b);
        }
        let middle = self.total + 1.0;
        let (mut product, mut own_a, mut own_b) = (0.0, 0.0, 0.0);
        for ((&a, &b), &w) in a.iter().zip(b).zip(&self.weights) {
            let (a, b, w) = (f64::from(a) - middle, f64::from(b) - middle, f64::from(w));
            product += w * a * b;
            own_a += w * a * a;
            own_b += w * b * b;
        }
        self.coefficient(product, own_a, own_b)
    }

    /// Kendall's tau-a: concordant minus discordant pairs, over all of them. `order` sorts `a`.
    fn tau(&self, order: &[u32], a: &[u32], b: &[u32]) -> f64 {
        // Sums of weights by half the doubled rank, which distinguishes tied groups and is at most the total.
        let size = self.total as usize + 1;
        let mut tree = vec![0.0f64; size + 1];
        let below = |tree: &[f64], mut at: usize| {
            let mut sum = 0.0;
            while at > 0 {
                sum += tree[at];
                at &= at - 1;
            }
            sum
        };
        let (mut inserted, mut excess, mut start) = (0.0, 0.0, 0);
        while start < order.len() {
            let first = a[order[start] as usize];
            let end = start + order[start..].iter().take_while(|&&p| a[p as usize] == first).count();
            for &p in &order[start..end] {
                let level = b[p as usize] as usize / 2;
                let (under, to) = (below(&tree, level - 1), below(&tree, level));
                excess += f64::from(self.weights[p as usize]) * (under - (inserted - to));
            }
            for &p in &order[start..end] {
                let weight = f64::from(self.weights[p as usize]);
                let mut at = b[p as usize] as usize / 2;
                while at <= size {
                    tree[at] += weight;
                    at += at & at.wrapping_neg();
                }
                inserted += weight;
            }
            start = end;
        }
        excess / (self.total * (self.total - 1.0) / 2.0)
    }
}

impl Prepared for Ranks {
    fn fits(&self) -> Vec<f64> {
        self.fits.clone()
    }

    /// Subjects are averaged as ranks, also for tau-a, and the average is ranked.
    fn pooled(&self, counts: &[f64], targets: &[usize]) -> Vec<f64> {
        let sums = self.summed(counts);
        let ranks = self.ranked(counts.iter().sum(), |p| sums[p]);
        targets.iter().map(|&s| self.compare(&ranks, &self.subjects()[s])).collect()
    }

    fn without_each(&self, counts: &[f64], present: &[usize]) -> Vec<f64> {
        let (sums, total) = (self.summed(counts), counts.iter().sum::<f64>());
        let without = |&s: &usize| {
            let (own, count) = (&self.subjects()[s], counts[s]);
            let ranks = self.ranked(total - count, |p| sums[p] - count as u64 * u64::from(own[p]));
            self.compare(&ranks, own)
        };
        present.iter().map(without).collect()
    }
}

impl Ranks {
    fn subjects(&self) -> &[Vec<u32>] {
        &self.ranks[self.systems..]
    }

    /// Sum of the subjects' doubled ranks, each taken `counts` times: exact integers.
    fn summed(&self, counts: &[f64]) -> Vec<u64> {
        let mut sums = vec![0u64; self.weights.len()];
        for (ranks, &count) in self.subjects().iter().zip(counts).filter(|(_, count)| **count > 0.0) {
            sums.iter_mut().zip(ranks).for_each(|(sum, &rank)| *sum += count as u64 * u64::from(rank));
        }
        sums
    }

    /// Twice the mean rank of each pair by a sum over `count` subjects.
    fn ranked(&self, count: f64, sum: impl Fn(usize) -> u64) -> Vec<u32> {
        let largest = (2.0 * (self.total + 1.0) * count) as u64;
        let shift = self.coefficient.rounding(largest);
        let mut levels: Vec<u32> = (0..self.weights.len()).map(|p| (sum(p) >> shift) as u32).collect();
        let mut count = (largest >> shift) as usize + 1;
        if count > LEVELS as usize {
            count = make_dense(&mut levels);
        }
        mean_ranks(count, &self.weights, |p| levels[p])
    }
}

/// Numbers the different levels from 0 on in their order, and returns how many there are.
fn make_dense(levels: &mut [u32]) -> usize {
    let order = sorted(levels);
    let (mut last, mut number) = (None, 0);
    for at in order {
        let level = std::mem::replace(&mut levels[at as usize], 0);
        number += u32::from(last.is_some_and(|last| last != level));
        (levels[at as usize], last) = (number, Some(level));
    }
    number as usize + 1
}

/// Positions that sort the keys (radix sort, stable).
fn sorted(keys: &[u32]) -> Vec<u32> {
    const BITS: u32 = 11;
    let largest = keys.iter().copied().max().unwrap_or(0);
    let mut from: Vec<(u32, u32)> = keys.iter().enumerate().map(|(at, &key)| (key, at as u32)).collect();
    let mut to = vec![(0, 0); from.len()];
    let mut shift = 0;
    while shift < 32 && largest >> shift > 0 {
        let mut starts = [0usize; (1 << BITS) + 1];
        let digit = |key: u32| (key >> shift) as usize & ((1 << BITS) - 1);
        from.iter().for_each(|&(key, _)| starts[digit(key) + 1] += 1);
        for d in 0..1 << BITS {
            starts[d + 1] += starts[d];
        }
        for &entry in &from {
            let slot = &mut starts[digit(entry.0)];
            to[*slot] = entry;
            *slot += 1;
        }
        std::mem::swap(&mut from, &mut to);
        shift += BITS;
    }
    from.into_iter().map(|(_, at)| at).collect()
}
