//! Shapley values by antithetic paths between pairs of ends.

use crate::Result;
use crate::random::Random;

/// A point of a path.
#[derive(Clone, Debug)]
pub(super) struct Point {
    /// The end it began at.
    pub(super) from: usize,
    /// Which players are those of the row itself.
    pub(super) kept: Vec<bool>,
}

/// The result of all paths.
#[derive(Clone, Debug, Default)]
pub(super) struct Shares {
    /// Mean over the beginnings.
    pub(super) baseline: f64,
    /// The answer for the row itself.
    pub(super) output: f64,
    /// What each player adds: together `output − baseline`.
    pub(super) weights: Vec<f64>,
}

/// Paths from each of `ends` beginnings to the row itself, adding one of `players` at a time, in an order and in its
/// reverse. `answers` gives the answers at some points. The orders are the same for every row.
pub(super) fn shapley(players: usize, ends: usize, answers: impl Fn(&[Point]) -> Result<Vec<f64>>) -> Result<Shares> {
    let mut points = vec![Point { from: 0, kept: vec![true; players] }];
    let mut orders = Vec::with_capacity(ends);
    for from in 0..ends {
        points.push(Point { from, kept: vec![false; players] });
        let mut order: Vec<usize> = (0..players).collect();
        Random::stream(0, "shapley", from as u64).shuffle(&mut order);
        for backwards in [false, true] {
            let mut kept = vec![false; players];
            for step in 0..players.saturating_sub(1) {
                kept[if backwards { order[players - 1 - step] } else { order[step] }] = true;
                points.push(Point { from, kept: kept.clone() });
            }
        }
        orders.push(order);
    }
    let found = answers(&points)?;
    let output = found[0];
    let mut weights = vec![0.0; players];
    let (mut at, mut baseline) = (1, 0.0);
    for order in &orders {
        let begin = found[at];
        baseline += begin / ends as f64;
        at += 1;
        for backwards in [false, true] {
            let mut before = begin;
            for step in 0..players {
                let after = if step + 1 == players { output } else { found[at + step] };
                let player = if backwards { order[players - 1 - step] } else { order[step] };
                weights[player] += (after - before) / (2 * ends) as f64;
                before = after;
            }
            at += players.saturating_sub(1);
        }
    }
    Ok(Shares { baseline, output, weights })
}

/// Brings weights to the sum `total`: each by its size as long as none changes its sign, then all alike.
pub(super) fn settle(weights: &mut [f64], total: f64) {
    let lacking = total - weights.iter().sum::<f64>();
    let size: f64 = weights.iter().map(|w| w.abs()).sum();
    let by_size = lacking.clamp(-0.9 * size, 0.9 * size);
    let alike = (lacking - by_size) / weights.len().max(1) as f64;
    let factor = if size > 0.0 { by_size / size } else { 0.0 };
    weights.iter_mut().for_each(|w| *w += factor * w.abs() + alike);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_interactions_of_two_are_exact() {
        // Two ends; the answer is 3·a + 2·b·c + d with the beginning's own numbers where a player is not kept.
        let own = [1.0, 2.0, -1.0, 4.0];
        let ends = [[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]];
        let answer = |p: &Point| {
            let v: Vec<f64> = (0..4).map(|i| if p.kept[i] { own[i] } else { ends[p.from][i] }).collect();
            3.0 * v[0] + 2.0 * v[1] * v[2] + v[3]
        };
        let found = shapley(4, 2, |points| Ok(points.iter().map(answer).collect())).unwrap();
        assert!((found.weights.iter().sum::<f64>() - (found.output - found.baseline)).abs() < 1e-12);
        // By hand: a: (3 + 0) / 2, d: 4; b and c share 2bc: −4 from the first end; from the second b: (2 − 2)/2 …
        assert!((found.weights[0] - 1.5).abs() < 1e-12 && (found.weights[3] - 4.0).abs() < 1e-12);
        let pair = |b: f64, c: f64| -> [f64; 2] {
            let v = |x: f64, y: f64| 2.0 * x * y;
            [
                0.5 * (v(2.0, c) - v(b, c)) + 0.5 * (v(2.0, -1.0) - v(b, -1.0)),
                0.5 * (v(b, -1.0) - v(b, c)) + 0.5 * (v(2.0, -1.0) - v(2.0, c)),
            ]
        };
        let (first, second) = (pair(0.0, 0.0), pair(1.0, 1.0));
        assert!((found.weights[1] - (first[0] + second[0]) / 2.0).abs() < 1e-12);
        assert!((found.weights[2] - (first[1] + second[1]) / 2.0).abs() < 1e-12);
    }
}
