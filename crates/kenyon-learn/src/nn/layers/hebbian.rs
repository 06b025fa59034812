//! Learning without labels: units compete for inputs and the winner moves towards what it won.
//!
//! Hard winner-take-all with a conscience (DeSieno 1988): a unit that wins more than its share is
//! handicapped, so that all units take part. The step `n_win^-0.6` makes it an online k-means on the
//! sphere; one pass is enough. After that the filters are frozen, because statistics and memories
//! keyed by features that move would be wrong.

use crate::random::Random;

/// Units that learn to represent the directions of their inputs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Competition {
    inputs: usize,
    units: usize,
    /// `[inputs, units]`, so that one input's weights lie side by side; every unit has length 1.
    weights: Vec<f32>,
    /// How often each unit won.
    wins: Vec<f32>,
    total: f32,
    scores: Vec<f32>,
}

/// How strongly a unit above its share is handicapped, at least.
const CONSCIENCE: f32 = 0.1;
/// The same for each unit's fair share of the inputs (DeSieno 1988): among few units a unit that has
/// never won must be able to win against one that points in the right direction.
const FAIRNESS: f32 = 10.0;
/// Exponent of the falling step.
const FALL: f32 = -0.6;

impl Competition {
    /// `units` random directions in `inputs` dimensions.
    pub(crate) fn new(inputs: usize, units: usize, random: &mut Random) -> Self {
        let mut it = Self {
            inputs,
            units,
            weights: random.normals(inputs * units, 1.0),
            wins: vec![0.0; units],
            total: 0.0,
            scores: vec![0.0; units],
        };
        for unit in 0..units {
            it.normalise(unit);
        }
        it
    }

    /// Lets the units compete for one input of length 1; the winner moves towards it.
    pub(crate) fn learn(&mut self, input: &[f32]) {
        self.scores.iter_mut().for_each(|s| *s = 0.0);
        for (&x, row) in input.iter().zip(self.weights.chunks_exact(self.units)) {
            if x != 0.0 {
                self.scores.iter_mut().zip(row).for_each(|(s, w)| *s += x * w);
            }
        }
        let share = 1.0 / self.units as f32;
        let conscience = CONSCIENCE.max(FAIRNESS * share);
        let seen = self.total.max(1.0);
        let mut winner = 0;
        let mut best = f32::NEG_INFINITY;
        for (unit, (score, wins)) in self.scores.iter().zip(&self.wins).enumerate() {
            let handicapped = score + conscience * (1.0 - wins / seen / share).max(-10.0);
            if handicapped > best {
                (winner, best) = (unit, handicapped);
            }
        }
        self.wins[winner] += 1.0;
        self.total += 1.0;
        let step = self.wins[winner].powf(FALL);
        for (i, &x) in input.iter().enumerate() {
            let w = &mut self.weights[i * self.units + winner];
            *w += step * (x - *w);
        }
        self.normalise(winner);
    }

    /// The filters, `[inputs, units]`.
    pub(crate) fn into_weights(self) -> Vec<f32> {
        self.weights
    }

    /// Share of the inputs each unit won, `[units]`.
    #[cfg(test)]
    pub(crate) fn shares(&self) -> Vec<f32> {
        self.wins.iter().map(|w| w / self.total.max(1.0)).collect()
    }

    fn normalise(&mut self, unit: usize) {
        let column = || (0..self.inputs).map(|i| i * self.units + unit);
        let length = column().map(|i| self.weights[i] * self.weights[i]).sum::<f32>().sqrt().max(1e-12);
        for i in column() {
            self.weights[i] /= length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_find_the_clusters_and_all_take_part() {
        let mut random = Random::new(3);
        let centres: Vec<Vec<f32>> =
            (0..4).map(|c| (0..8).map(|i| if i / 2 == c { 0.7 } else { 0.0 }).collect()).collect();
        let mut it = Competition::new(8, 4, &mut random);
        for _ in 0..2_000 {
            let mut x: Vec<f32> = centres[random.below(4)].iter().map(|v| v + 0.05 * random.normal()).collect();
            let length = x.iter().map(|v| v * v).sum::<f32>().sqrt();
            x.iter_mut().for_each(|v| *v /= length);
            it.learn(&x);
        }
        assert!(it.shares().iter().all(|s| *s > 0.1), "{:?}", it.shares());
        let weights = it.into_weights();
        for centre in &centres {
            let best = (0..4).map(|u| (0..8).map(|i| weights[i * 4 + u] * centre[i]).sum::<f32>()).fold(0.0, f32::max);
            assert!(best > 0.9, "{best}");
        }
    }
}
