//! Counting different values in bounded memory: exact up to a bound, then by adaptive sampling
//! (Wegman; Flajolet 1990, "On adaptive sampling"): only hashes with `level` leading zeros are kept,
//! and `count · 2^level` estimates how many there are, within about 1.2 / √bound.

/// The kept hashes of one column.
#[derive(Clone, Debug)]
pub(super) struct Sketch {
    level: u32,
    bound: usize,
    count: usize,
    /// Open addressing; 0 is free, so a hash of 0 is kept as 1.
    table: Vec<u64>,
}

impl Sketch {
    /// A sketch that is exact up to `bound` values.
    pub(super) fn new(bound: usize) -> Self {
        Self { level: 0, bound, count: 0, table: Vec::new() }
    }

    /// Notes a well-mixed hash.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64) {
        if self.level > 0 && hash >> (64 - self.level) != 0 {
            return;
        }
        let hash = hash.max(1);
        if self.table.is_empty() {
            self.table = vec![0; 16];
        }
        let mask = self.table.len() - 1;
        let mut at = hash as usize & mask;
        while self.table[at] != 0 {
            if self.table[at] == hash {
                return;
            }
            at = (at + 1) & mask;
        }
        self.table[at] = hash;
        self.count += 1;
        if self.count > self.bound {
            self.raise();
        } else if self.count * 2 > self.table.len() {
            let old = std::mem::take(&mut self.table);
            self.rebuild(old, self.count * 4);
        }
    }

    fn raise(&mut self) {
        self.level += 1;
        let old = std::mem::take(&mut self.table);
        let size = old.len();
        self.rebuild(old, size);
    }

    fn rebuild(&mut self, old: Vec<u64>, size: usize) {
        self.table = vec![0; size.next_power_of_two().max(16)];
        self.count = 0;
        for hash in old.into_iter().filter(|h| *h != 0) {
            self.insert(hash);
        }
    }

    /// How many different values were noted, and whether that is exact.
    pub(super) fn estimate(&self) -> (u64, bool) {
        ((self.count as u64) << self.level, self.level == 0)
    }

    /// At most about `bound` hashes to continue from later: the level, then the hashes.
    pub(super) fn save(mut self, bound: usize) -> Vec<u64> {
        while self.count > bound {
            self.raise();
        }
        let mut hashes: Vec<u64> = self.table.iter().copied().filter(|h| *h != 0).collect();
        hashes.sort_unstable();
        let mut saved = vec![u64::from(self.level)];
        saved.append(&mut hashes);
        saved
    }

    /// Adds what [`Sketch::save`] returned.
    pub(super) fn absorb(&mut self, saved: &[u64]) {
        let Some((&level, hashes)) = saved.split_first() else { return };
        while u64::from(self.level) < level.min(63) {
            self.raise();
        }
        hashes.iter().for_each(|h| self.insert(*h));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::cell::mix;

    #[test]
    fn small_counts_are_exact_and_large_ones_near() {
        for n in [0u64, 1, 100, 1000, 50_000, 1_000_000] {
            let mut sketch = Sketch::new(1024);
            for i in 0..n * 2 {
                sketch.insert(mix(i % n.max(1) + 1));
            }
            let (estimate, exact) = sketch.estimate();
            assert_eq!(exact, n <= 1024);
            let error = (estimate as f64 - n as f64).abs() / (n as f64).max(1.0);
            assert!(error < if exact { 1e-9 } else { 0.15 }, "{n} {estimate}");
        }
    }

    #[test]
    fn parts_merge_to_the_whole() {
        let (mut whole, mut half) = (Sketch::new(256), Sketch::new(256));
        for i in 1..5000 {
            whole.insert(mix(i));
            if i < 3000 {
                half.insert(mix(i));
            }
        }
        let mut rest = Sketch::new(256);
        for i in 2500..5000 {
            rest.insert(mix(i));
        }
        rest.absorb(&half.save(256));
        let (a, b) = (whole.estimate().0 as f64, rest.estimate().0 as f64);
        assert!((a - b).abs() < 0.2 * a, "{a} {b}");
    }
}
