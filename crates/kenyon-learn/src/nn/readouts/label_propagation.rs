//! Label propagation from few rows to many: along the nearest neighbours a label reaches rows that are similar to
//! none of the labelled ones, but to rows that are (Zhou et al. 2004, "Learning with local and global consistency"). [`UnlabelledPool`] keeps the rows that have no label, [`Graph`] their neighbours.

use crate::nn::kernels::matrix::{MatrixShape, product};
use crate::nn::kernels::{dense, parallel};
use crate::nn::layers::local_groups::strongest;
use serde::{Deserialize, Serialize};

/// Rows a [`UnlabelledPool`] keeps: more improve the result, but the graph grows with their square.
const KEPT: usize = 2_000;
/// Neighbours that each row selects; it also gets those that select it.
const NEIGHBOURS: usize = 6;
/// Share of a row's label that comes from its neighbours in a round.
const SPREAD: f32 = 0.95;
/// Rounds of spreading; what the last one changes is `SPREAD^ROUNDS` of the first.
const ROUNDS: usize = 40;
/// Rows whose similarities are computed at once.
const BLOCK: usize = 128;

/// The newest codes of rows without a label, as bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct UnlabelledPool {
    width: usize,
    /// `[rows, width]`: a code's largest entry is ±127.
    codes: Vec<i8>,
    /// The row that goes next when it is full.
    oldest: usize,
}

impl UnlabelledPool {
    /// Keeps a code, in place of the oldest when there are enough. Codes that are not of length 1 are not kept:
    /// similarity is an angle here, which is not meaningful for them.
    pub(crate) fn add(&mut self, code: &[f32]) {
        if (code.iter().map(|v| v * v).sum::<f32>() - 1.0).abs() > 1e-3 {
            return;
        }
        if code.len() != self.width {
            *self = Self { width: code.len(), ..Self::default() };
        }
        if self.codes.len() < KEPT * self.width {
            self.codes.extend(bytes(code));
            return;
        }
        let slot = &mut self.codes[self.oldest * self.width..(self.oldest + 1) * self.width];
        slot.iter_mut().zip(bytes(code)).for_each(|(kept, byte)| *kept = byte);
        self.oldest = (self.oldest + 1) % KEPT;
    }

    /// Removes one row with this code, if it is still there.
    pub(crate) fn take(&mut self, code: &[f32]) {
        let gone: Vec<i8> = bytes(code).collect();
        let Some(at) = self.codes.chunks_exact(self.width.max(1)).position(|kept| kept == gone) else { return };
        // From here on the oldest row has to be the first.
        self.codes.rotate_left(self.oldest * self.width);
        let rows = self.codes.len() / self.width;
        let at = (at + rows - self.oldest) % rows;
        self.codes.drain(at * self.width..(at + 1) * self.width);
        self.oldest = 0;
    }

    /// The codes, each of length 1, `[rows, width]`.
    pub(crate) fn codes(&self) -> Vec<f32> {
        let mut out: Vec<f32> = self.codes.iter().map(|&byte| f32::from(byte)).collect();
        out.chunks_exact_mut(self.width.max(1)).for_each(to_length_one);
        out
    }

    /// Whether it holds nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }
}

fn bytes(code: &[f32]) -> impl Iterator<Item = i8> {
    let largest = code.iter().fold(0.0f32, |most, v| most.max(v.abs()));
    let scale = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    code.iter().map(move |v| (v * scale).round() as i8)
}

fn to_length_one(row: &mut [f32]) {
    let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
    if length > 0.0 {
        row.iter_mut().for_each(|v| *v /= length);
    }
}

/// The graph of nearest neighbours.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    /// Where each row's neighbours begin, `[rows + 1]`.
    starts: Vec<usize>,
    /// (row, strength): `w / √(d dⁿ)` of the symmetric weights `w = max(0, cosine)⁴` with row sums `d`.
    neighbours: Vec<(u32, f32)>,
}

impl Graph {
    /// The neighbours of `rows` `[rows, width]` by the cosine of what they differ from `centre` by. The result does
    /// not depend on `threads`.
    pub(crate) fn new(rows: &[f32], centre: &[f64], threads: usize) -> Self {
        let width = centre.len().max(1);
        let count = rows.len() / width;
        let mut unit: Vec<f32> =
            rows.chunks_exact(width).flat_map(|row| row.iter().zip(centre).map(|(v, c)| v - *c as f32)).collect();
        unit.chunks_exact_mut(width).for_each(to_length_one);
        let mut chosen: Vec<Vec<(u32, u32, f32)>> = vec![Vec::new(); count.div_ceil(BLOCK)];
        let scratch = || (Vec::new(), Vec::new());
        parallel::each_with(&mut chosen, threads, scratch, |(similarities, nearest), block, edges| {
            let first = block * BLOCK;
            let high = BLOCK.min(count - first);
            dense::reset(similarities, high * count);
            let own = (&unit[first * width..(first + high) * width], MatrixShape::new(high, width));
            let all = (&unit[..], MatrixShape::new(count, width).transposed());
            product((&mut similarities[..], MatrixShape::new(high, count)), own, all, None, 1.0);
            for (r, similarities) in similarities.chunks_exact_mut(count).enumerate() {
                similarities[first + r] = f32::NEG_INFINITY;
                strongest(similarities, NEIGHBOURS, nearest);
                let of = (first + r) as u32;
                let near = nearest.iter().filter(|(similarity, _)| *similarity > 0.0);
                edges.extend(near.flat_map(|&(s, to)| [(of, to, s.powi(4)), (to, of, s.powi(4))]));
            }
        });
        Self::of(count, chosen.concat())
    }

    fn of(count: usize, mut edges: Vec<(u32, u32, f32)>) -> Self {
        // Two rows that select each other are one edge.
        edges.sort_unstable_by_key(|&(from, to, _)| (from, to));
        edges.dedup_by_key(|&mut (from, to, _)| (from, to));
        let mut sums = vec![0.0f32; count];
        edges.iter().for_each(|&(from, _, weight)| sums[from as usize] += weight);
        let strength = |&(from, to, weight): &(u32, u32, f32)| {
            (to, weight / (sums[from as usize] * sums[to as usize]).sqrt().max(f32::MIN_POSITIVE))
        };
        let starts = (0..=count as u32).map(|row| edges.partition_point(|edge| edge.0 < row)).collect();
        Self { starts, neighbours: edges.iter().map(strength).collect() }
    }

    /// Propagates the labels of the first rows to all of them: probabilities `[rows, classes]`, zeros where no label
    /// reaches. A class gets the share of the rows that it has of the labels; those rows keep their labels.
    pub(crate) fn spread(&self, labels: &[Option<u32>], classes: usize) -> Vec<f32> {
        let count = self.starts.len() - 1;
        let mut source = vec![0.0f32; count * classes];
        let mut due = vec![0.0f32; classes];
        let known = || labels.iter().enumerate().filter_map(|(row, label)| Some((row, (*label)? as usize)));
        for (row, class) in known() {
            source[row * classes + class] = 1.0;
            due[class] += 1.0;
        }
        let (mut now, mut next) = (source.clone(), source.clone());
        for _ in 0..ROUNDS {
            for (row, out) in next.chunks_exact_mut(classes).enumerate() {
                let own = &source[row * classes..(row + 1) * classes];
                out.iter_mut().zip(own).for_each(|(o, s)| *o = (1.0 - SPREAD) * s);
                for &(from, strength) in &self.neighbours[self.starts[row]..self.starts[row + 1]] {
                    let neighbour = &now[from as usize * classes..(from as usize + 1) * classes];
                    out.iter_mut().zip(neighbour).for_each(|(o, h)| *o += SPREAD * strength * h);
                }
            }
            std::mem::swap(&mut now, &mut next);
        }
        let mut total = vec![0.0f32; classes];
        now.chunks_exact(classes).for_each(|row| total.iter_mut().zip(row).for_each(|(t, v)| *t += v));
        for row in now.chunks_exact_mut(classes) {
            for (v, (due, total)) in row.iter_mut().zip(due.iter().zip(&total)) {
                *v *= due / total.max(f32::MIN_POSITIVE);
            }
            let sum: f32 = row.iter().sum();
            if sum > 0.0 {
                row.iter_mut().for_each(|v| *v /= sum);
            }
        }
        for (row, class) in known() {
            now[row * classes..(row + 1) * classes].fill(0.0);
            now[row * classes + class] = 1.0;
        }
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Points of two interleaved half circles, which no line separates.
    fn moons(count: usize) -> (Vec<f32>, Vec<u32>) {
        let mut random = Random::new(5);
        let mut rows = Vec::new();
        let labels: Vec<u32> = (0..count as u32).map(|row| row % 2).collect();
        for (row, &label) in labels.iter().enumerate() {
            let angle = std::f32::consts::PI * (row / 2) as f32 / (count / 2) as f32;
            let (x, y) = if label == 0 { (angle.cos(), angle.sin()) } else { (1.0 - angle.cos(), 0.5 - angle.sin()) };
            // Random waves, so that nearness becomes a cosine.
            let (x, y) = (x + 0.05 * random.normal(), y + 0.05 * random.normal());
            let mut waves = Random::new(9);
            rows.extend((0..200).map(|_| {
                let (a, b, c) = (4.0 * waves.normal(), 4.0 * waves.normal(), 6.3 * waves.uniform());
                (a * x + b * y + c).cos()
            }));
        }
        (rows, labels)
    }

    #[test]
    fn labels_follow_the_shape_of_the_data() {
        let (rows, truth) = moons(400);
        let right = |threads: usize| {
            let found = Graph::new(&rows, &[0.0; 200], threads).spread(&[Some(0), Some(1)], 2);
            let right = found.chunks_exact(2).zip(&truth).filter(|(p, t)| (p[1] > p[0]) == (**t == 1)).count();
            (right, found)
        };
        let (count, found) = right(1);
        assert!(count >= 380, "{count} of 400");
        assert_eq!(found, right(3).1);
        let sums = || found.chunks_exact(2).map(|p| p[0] + p[1]);
        assert!(sums().all(|sum| sum == 0.0 || (sum - 1.0).abs() < 1e-5) && sums().sum::<f32>() > 300.0);
    }

    #[test]
    fn rows_that_nothing_reaches_stay_without() {
        let rows = [1.0, 0.0, 1.0, 0.1, -1.0, 0.0, -1.0, 0.1];
        let found = Graph::new(&rows, &[0.0; 2], 1).spread(&[Some(1)], 3);
        assert_eq!(found[..6], [0.0, 1.0, 0.0, 0.0, 1.0, 0.0]);
        assert_eq!(found[6..], [0.0; 6]);
    }

    #[test]
    fn the_pool_keeps_the_newest_and_forgets() {
        let code = |i: usize| {
            let mut code = [1.0, (i % 127) as f32 / 127.0, (i / 127) as f32 / 127.0];
            to_length_one(&mut code);
            code
        };
        let mut pool = UnlabelledPool::default();
        pool.add(&[0.5, 0.5, 0.5]);
        assert!(pool.is_empty());
        (0..KEPT + 5).for_each(|i| pool.add(&code(i)));
        let held = |pool: &UnlabelledPool, i: usize| {
            let wanted: Vec<i8> = bytes(&code(i)).collect();
            pool.codes.chunks_exact(3).any(|kept| kept == wanted)
        };
        assert!(!held(&pool, 4) && held(&pool, 5) && held(&pool, KEPT + 4));
        pool.take(&code(9));
        assert!(!held(&pool, 9) && held(&pool, 5));
        pool.add(&code(KEPT + 5));
        pool.add(&code(KEPT + 6));
        assert!(!held(&pool, 5) && held(&pool, 6) && held(&pool, KEPT + 6));
    }
}
