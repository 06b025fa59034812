//! Rank comparisons of a sample: Spearman, rho-a (the expectation of Spearman's correlation when ties are
//! broken at random, computed exactly) and Kendall's tau-a.

use super::prepared::Prepared;
use super::products::inner_products;
use super::rdm::pairs;
use super::sample::Sample;

/// Which coefficient is computed from the ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coefficient {
    Spearman,
    RhoA,
    TauA,
}

/// The order of one matrix's values, sorted once for all samples.
#[derive(Debug)]
pub(crate) struct Order {
    /// The two conditions of each pair, from the smallest value to the largest.
    pairs: Vec<(u16, u16)>,
    /// Bit `k` is set if the value at index `k` differs from the one before it.
    differs: Vec<u64>,
}

impl Order {
    /// The order of the values of `n` conditions; `n` is below 65,536.
    pub(crate) fn new(values: &[f32], n: usize) -> Self {
        let mut at: Vec<u32> = (0..values.len() as u32).collect();
        at.sort_unstable_by(|&a, &b| values[a as usize].total_cmp(&values[b as usize]));
        let mut of = Vec::with_capacity(pairs(n));
        for i in 0..n {
            of.extend((i + 1..n).map(|j| (i as u16, j as u16)));
        }
        let mut differs = vec![0u64; values.len().div_ceil(64)];
        for k in 1..at.len() {
            if values[at[k] as usize] != values[at[k - 1] as usize] {
                differs[k / 64] |= 1 << (k % 64);
            }
        }
        Self { pairs: at.iter().map(|&a| of[a as usize]).collect(), differs }
    }

    /// Twice the mean rank of each pair of the sample, ties sharing their mean, from 2 on.
    fn ranks(&self, sample: &Sample) -> Vec<u32> {
        let m = sample.drawn.len();
        // Position among the drawn conditions and count of each condition; a count of 0 is not drawn.
        let mut place = vec![(0u32, 0u32); sample.conditions];
        for (at, (&i, &count)) in sample.drawn.iter().zip(&sample.counts).enumerate() {
            place[i] = (at as u32, count as u32);
        }
        let start: Vec<usize> = (0..m).map(|i| super::rdm::row_start(m, i)).collect();
        let mut ranks = vec![0u32; pairs(m)];
        let (mut before, mut tied) = (0u32, 0u32);
        let mut group: Vec<usize> = Vec::new();
        let mut close = |group: &mut Vec<usize>, before: &mut u32, tied: &mut u32| {
            let rank = 2 * *before + *tied + 1;
            group.drain(..).for_each(|at| ranks[at] = rank);
            *before += *tied;
            *tied = 0;
        };
        for (k, &(i, j)) in self.pairs.iter().enumerate() {
            if self.differs[k / 64] >> (k % 64) & 1 == 1 && tied > 0 {
                close(&mut group, &mut before, &mut tied);
            }
            let ((a, wa), (b, wb)) = (place[i as usize], place[j as usize]);
            if wa * wb > 0 {
                group.push(start[a as usize].wrapping_add(b as usize));
                tied += wa * wb;
            }
        }
        close(&mut group, &mut before, &mut tied);
        ranks
    }
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
        let ranks: Vec<Vec<u32>> = orders.iter().map(|order| order.ranks(sample)).collect();
        let mut weights = Vec::with_capacity(sample.pairs());
        sample.for_blocks(|block| weights.extend(block.weight.iter().map(|&w| w as f32)));
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
        let subjects = &self.ranks[self.systems..];
        let pairs = self.weights.len();
        // Exact integers; for very many subjects the lowest bits go, which only joins near ties.
        let largest = 2.0 * (self.total + 1.0) * counts.iter().sum::<f64>();
        let shift = (largest.log2().floor() as u32 + 1).saturating_sub(32);
        let mut keys = vec![0u64; pairs];
        for (ranks, &count) in subjects.iter().zip(counts).filter(|(_, count)| **count > 0.0) {
            keys.iter_mut().zip(ranks).for_each(|(key, &rank)| *key += count as u64 * u64::from(rank));
        }
        let keys: Vec<u32> = keys.into_iter().map(|key| (key >> shift) as u32).collect();
        let order = sorted(&keys);
        let mut ranks = vec![0u32; pairs];
        let (mut before, mut start) = (0u32, 0);
        while start < order.len() {
            let first = keys[order[start] as usize];
            let end = start + order[start..].iter().take_while(|&&p| keys[p as usize] == first).count();
            let tied: u32 = order[start..end].iter().map(|&p| self.weights[p as usize] as u32).sum();
            order[start..end].iter().for_each(|&p| ranks[p as usize] = 2 * before + tied + 1);
            before += tied;
            start = end;
        }
        targets.iter().map(|&s| self.compare(&ranks, &subjects[s])).collect()
    }
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
