//! Doubt that can be trusted: temperature, conformal sets and intervals, and novelty, all fitted on
//! rows the network has not learned from.
//!
//! Temperature: Guo et al. 2017. Sets: split conformal with the least ambiguous score (Sadinle,
//! Lei & Wasserman 2019), and regularised adaptive sets (RAPS, Angelopoulos et al. 2021) from
//! [`RAPS_FROM`] classes on. They hold the truth as often as asked on exchangeable rows, not after
//! the world has changed.

use crate::nn::kernels::{Isa, products};
use crate::nn::probability::softmax_with_temperature;
use crate::random::Random;
use serde::{Deserialize, Serialize};

/// From this many classes on, sets are RAPS.
pub const RAPS_FROM: usize = 20;

/// Penalty a rank beyond [`RAPS_FREE`] adds to a class's score.
const RAPS_PENALTY: f32 = 0.01;

/// Ranks without a penalty.
const RAPS_FREE: usize = 5;

/// Order statistics kept of the calibration scores; more rows are thinned to this many.
const MAX_SCORES: usize = 4096;

/// What was learned from held-out rows about how far to trust the network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Logits are divided by it; 1 for regression.
    pub temperature: f32,
    /// Conformity scores in ascending order: of the true class, or absolute standardised errors.
    pub scores: Vec<f32>,
    /// Held-out rows the scores came from.
    pub rows: usize,
}

impl Calibration {
    /// Fits on held-out `logits` `[rows, classes]` and their classes.
    pub fn classification(logits: &[f32], classes: usize, truths: &[u32]) -> Self {
        let temperature = fit_temperature(logits, classes, truths);
        let mut scores = Vec::with_capacity(truths.len());
        let mut row = vec![0.0; classes];
        for (l, &truth) in logits.chunks_exact(classes).zip(truths) {
            row.copy_from_slice(l);
            softmax_with_temperature(&mut row, temperature);
            scores.push(score(&row, truth as usize));
        }
        Self { temperature, rows: scores.len(), scores: thin(scores) }
    }

    /// Of a network that no rows can be held against: probabilities as they are, and sets that promise nothing.
    pub fn none() -> Self {
        Self { temperature: 1.0, ..Self::default() }
    }

    /// Fits on held-out standardised answers and truths.
    pub fn regression(answers: &[f32], truths: &[f32]) -> Self {
        let scores: Vec<f32> = answers.iter().zip(truths).map(|(a, t)| (a - t).abs()).collect();
        Self { temperature: 1.0, rows: scores.len(), scores: thin(scores) }
    }

    /// The same from rows that say as much as `rows` of equal weight.
    pub fn of_rows(mut self, rows: usize) -> Self {
        if self.scores.len() > rows {
            let all = self.scores.len();
            self.scores = (1..=rows).map(|i| self.scores[(i * all).div_ceil(rows) - 1]).collect();
        }
        Self { rows, ..self }
    }

    /// The score below which a share `coverage` of unseen truths falls: the ⌈(n+1)·coverage⌉-th
    /// smallest of n; infinite where n is too small to promise that much.
    pub fn threshold(&self, coverage: f64) -> f32 {
        if self.rows == 0 {
            return f32::INFINITY;
        }
        let rank = ((self.rows + 1) as f64 * coverage).ceil();
        if rank > self.rows as f64 {
            return f32::INFINITY;
        }
        // Thinned scores are equally spaced order statistics; rounding up keeps the promise.
        let position = (rank / self.rows as f64 * self.scores.len() as f64).ceil() as usize;
        self.scores[position.clamp(1, self.scores.len()) - 1]
    }

    /// The classes of a conformal set, most probable first. It may be empty: no class is then as likely
    /// as the true ones were in the share `coverage` of the held-out rows. To put the best class in
    /// all the same would hold the truth more often than asked.
    pub fn set(&self, probabilities: &[f32], coverage: f64) -> Vec<usize> {
        let threshold = self.threshold(coverage);
        let mut order: Vec<usize> = (0..probabilities.len()).collect();
        order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
        let size = if probabilities.len() < RAPS_FROM {
            order.iter().take_while(|&&c| others(probabilities, c) <= threshold).count()
        } else {
            let mut sum = 0.0;
            let mut size = 0;
            for (rank, &class) in order.iter().enumerate() {
                sum += probabilities[class];
                if sum + penalty(rank) > threshold {
                    break;
                }
                size += 1;
            }
            size
        };
        order.truncate(size);
        order
    }
}

/// The conformity score of class `class`: the smaller, the less surprising.
fn score(probabilities: &[f32], class: usize) -> f32 {
    if probabilities.len() < RAPS_FROM {
        return others(probabilities, class);
    }
    let own = probabilities[class];
    let (mut before, mut rank) = (0.0, 0);
    for (other, &p) in probabilities.iter().enumerate() {
        if p > own || (p == own && other < class) {
            before += p;
            rank += 1;
        }
    }
    before + own + penalty(rank)
}

/// What the other classes share: 1 less the class's own probability, but exact where that is nearly 1,
/// so that sure answers can still be told apart.
fn others(probabilities: &[f32], class: usize) -> f32 {
    probabilities[..class].iter().sum::<f32>() + probabilities[class + 1..].iter().sum::<f32>()
}

fn penalty(rank: usize) -> f32 {
    RAPS_PENALTY * (rank + 1).saturating_sub(RAPS_FREE) as f32
}

/// Sorts, and keeps at most [`MAX_SCORES`] equally spaced order statistics with the largest.
fn thin(mut scores: Vec<f32>) -> Vec<f32> {
    scores.retain(|s| s.is_finite());
    scores.sort_by(f32::total_cmp);
    let rows = scores.len();
    if rows <= MAX_SCORES {
        return scores;
    }
    (1..=MAX_SCORES).map(|i| scores[(i * rows).div_ceil(MAX_SCORES) - 1]).collect()
}

/// The temperature with the smallest log loss, by golden-section search over its logarithm.
///
/// A few dozen rows that are all answered right would ask for a temperature near 0 and answers without
/// any doubt, so each call starts from a belief worth one row: ln T is normal around 0.
pub fn fit_temperature(logits: &[f32], classes: usize, truths: &[u32]) -> f32 {
    if truths.is_empty() || classes < 2 {
        return 1.0;
    }
    let belief = 1.0 / truths.len() as f64;
    let loss = |log_t: f64| log_loss(logits, classes, truths, log_t.exp() as f32) + belief * log_t * log_t;
    let ratio = (5.0f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = ((0.05f64).ln(), (100.0f64).ln());
    let (mut left, mut right) = (high - ratio * (high - low), low + ratio * (high - low));
    let (mut at_left, mut at_right) = (loss(left), loss(right));
    for _ in 0..30 {
        if at_left <= at_right {
            (high, right, at_right) = (right, left, at_left);
            left = high - ratio * (high - low);
            at_left = loss(left);
        } else {
            (low, left, at_left) = (left, right, at_right);
            right = low + ratio * (high - low);
            at_right = loss(right);
        }
    }
    f64::midpoint(low, high).exp() as f32
}

/// Mean log loss of `logits` `[rows, classes]` at a temperature.
pub fn log_loss(logits: &[f32], classes: usize, truths: &[u32], temperature: f32) -> f64 {
    let scale = 1.0 / temperature;
    let mut sum = 0.0;
    for (row, &truth) in logits.chunks_exact(classes).zip(truths) {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total: f32 = row.iter().map(|l| ((l - largest) * scale).exp()).sum();
        sum += f64::from(total.ln() - (row[truth as usize] - largest) * scale);
    }
    sum / truths.len().max(1) as f64
}

/// How unlike anything seen an input is: the distance of its code to the nearest known codes.
///
/// Codes are projected to [`SKETCH`] directions (Johnson–Lindenstrauss, signs from a fixed stream),
/// normalised, and compared by cosine with a sample of training rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Novelty {
    /// `[keys, SKETCH]` row-major, each of length 1.
    pub keys: Vec<f32>,
    /// `[width, SKETCH]` row-major signs; empty where the code is that small anyway.
    projection: Vec<f32>,
    /// Width of the codes.
    pub width: usize,
    /// Distance beyond which 5 % of the held-out rows lie: an answer abstains there.
    pub threshold: f32,
}

/// Directions a wide code is projected to.
pub const SKETCH: usize = 64;

/// Keys kept at most.
pub const MAX_KEYS: usize = 512;

/// The k of the k-th nearest key.
const NEIGHBOUR: usize = 3;

impl Novelty {
    /// Fits on codes of training rows `[_, width]` (a sample is kept) and of held-out rows.
    pub fn fit(known: &[f32], held_out: &[f32], width: usize, seed: u64) -> Self {
        let mut novelty = Self::with_keys(Vec::new(), width, f32::INFINITY);
        let mut order: Vec<usize> = (0..known.len() / width.max(1)).collect();
        Random::stream(seed, "novelty", 0).shuffle(&mut order);
        for &row in order.iter().take(MAX_KEYS) {
            let key = novelty.sketch(&known[row * width..(row + 1) * width]);
            novelty.keys.extend_from_slice(&key);
        }
        let mut distances: Vec<f32> =
            held_out.chunks_exact(width.max(1)).take(4 * MAX_KEYS).map(|code| novelty.distance(code)).collect();
        distances.sort_by(f32::total_cmp);
        if let Some(&at) = distances.get((distances.len() * 95).div_ceil(100).saturating_sub(1)) {
            novelty.threshold = at;
        }
        novelty
    }

    /// Rebuilt from what is saved.
    pub fn with_keys(keys: Vec<f32>, width: usize, threshold: f32) -> Self {
        let mut random = Random::stream(0, "novelty projection", width as u64);
        let signs = if width > SKETCH { width * SKETCH } else { 0 };
        let projection = (0..signs).map(|_| if random.next_u64() >> 63 == 0 { 1.0 } else { -1.0 }).collect();
        Self { keys, projection, width, threshold }
    }

    /// The distance of a code to its third-nearest key, `1 − cosine` cut to `[0, 1]`.
    pub fn distance(&self, code: &[f32]) -> f32 {
        let query = self.sketch(code);
        let mut similarities = [0.0; MAX_KEYS];
        let known = self.keys.len() / SKETCH;
        let similarities = &mut similarities[..known.min(MAX_KEYS)];
        products(Isa::best(), &self.keys, &query, similarities);
        let mut nearest = [f32::NEG_INFINITY; NEIGHBOUR];
        for &mut mut similarity in similarities {
            for best in &mut nearest {
                if similarity > *best {
                    std::mem::swap(best, &mut similarity);
                }
            }
        }
        let found = nearest.iter().rev().find(|s| s.is_finite()).copied().unwrap_or(1.0);
        (1.0 - found).clamp(0.0, 1.0)
    }

    /// Projected (or padded) and normalised; skips the zeros of a sparse code.
    fn sketch(&self, code: &[f32]) -> [f32; SKETCH] {
        let mut out = [0.0f32; SKETCH];
        if self.projection.is_empty() {
            out[..code.len().min(SKETCH)].copy_from_slice(&code[..code.len().min(SKETCH)]);
        } else {
            for (value, signs) in code.iter().zip(self.projection.chunks_exact(SKETCH)) {
                if *value != 0.0 {
                    for (o, s) in out.iter_mut().zip(signs) {
                        *o += value * s;
                    }
                }
            }
        }
        let length = out.iter().map(|v| v * v).sum::<f32>().sqrt();
        if length > 0.0 && length.is_finite() {
            out.iter_mut().for_each(|v| *v /= length);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logits whose softmax at temperature `t` is the true distribution labels are drawn from.
    fn drawn(rows: usize, classes: usize, t: f32, seed: u64) -> (Vec<f32>, Vec<u32>) {
        let mut random = Random::new(seed);
        let (mut logits, mut truths) = (Vec::new(), Vec::new());
        for _ in 0..rows {
            let row = random.normals(classes, 2.0);
            let mut p = row.clone();
            softmax_with_temperature(&mut p, t);
            let (mut u, mut class) = (random.uniform(), 0);
            while class + 1 < classes && u >= p[class] {
                u -= p[class];
                class += 1;
            }
            logits.extend(row);
            truths.push(class as u32);
        }
        (logits, truths)
    }

    #[test]
    fn temperature_is_found_again() {
        let (logits, truths) = drawn(20_000, 5, 2.5, 1);
        let t = fit_temperature(&logits, 5, &truths);
        assert!((t - 2.5).abs() < 0.1, "{t}");
    }

    #[test]
    fn a_few_right_answers_do_not_end_all_doubt() {
        let logits: Vec<f32> = (0..24).flat_map(|row| if row % 2 == 0 { [1.0, 0.0] } else { [0.0, 1.0] }).collect();
        let truths: Vec<u32> = (0..24).map(|row| row % 2).collect();
        let t = fit_temperature(&logits, 2, &truths);
        assert!((0.1..0.5).contains(&t), "{t}");
    }

    #[test]
    fn sets_cover_as_often_as_asked() {
        for classes in [4, 30] {
            let (logits, truths) = drawn(6_000, classes, 1.0, 2);
            let half = 3_000;
            let calibration = Calibration::classification(&logits[..half * classes], classes, &truths[..half]);
            for coverage in [0.8, 0.9, 0.95] {
                let mut held = 0;
                for row in half..2 * half {
                    let mut p = logits[row * classes..(row + 1) * classes].to_vec();
                    softmax_with_temperature(&mut p, calibration.temperature);
                    held += usize::from(calibration.set(&p, coverage).contains(&(truths[row] as usize)));
                }
                let share = held as f64 / half as f64;
                assert!((share - coverage).abs() < 0.02, "{classes} classes: {share} at {coverage}");
            }
        }
    }

    #[test]
    fn a_network_that_is_nearly_always_right_covers_no_more_than_asked() {
        // Nearly all probabilities are 1 as singles go; what the others share tells rows apart.
        let (mut logits, truths) = drawn(6_000, 3, 1.0, 4);
        for (row, &truth) in logits.chunks_exact_mut(3).zip(&truths) {
            row[truth as usize] += 30.0;
        }
        let calibration =
            Calibration { temperature: 1.0, ..Calibration::classification(&logits[..9_000], 3, &truths[..3_000]) };
        let mut scores: Vec<f32> = Vec::new();
        for (row, &truth) in logits[..9_000].chunks_exact(3).zip(&truths) {
            let mut p = row.to_vec();
            softmax_with_temperature(&mut p, 1.0);
            scores.push(score(&p, truth as usize));
        }
        let calibration = Calibration { scores: thin(scores), ..calibration };
        let held = logits[9_000..].chunks_exact(3).zip(&truths[3_000..]).filter(|(row, truth)| {
            let mut p = row.to_vec();
            softmax_with_temperature(&mut p, 1.0);
            calibration.set(&p, 0.8).contains(&(**truth as usize))
        });
        let share = held.count() as f64 / 3_000.0;
        assert!((share - 0.8).abs() < 0.02, "{share}");
    }

    #[test]
    fn too_few_rows_promise_nothing() {
        let calibration = Calibration::regression(&[0.0; 5], &[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(calibration.threshold(0.95), f32::INFINITY);
        assert_eq!(calibration.threshold(0.5), 3.0);
    }

    #[test]
    fn strangers_are_novel_and_friends_are_not() {
        let mut random = Random::new(3);
        let width = 200;
        let near = |random: &mut Random| -> Vec<f32> {
            (0..width).map(|i| if i < 20 { 1.0 + 0.1 * random.normal() } else { 0.0 }).collect()
        };
        let known: Vec<f32> = (0..300).flat_map(|_| near(&mut random)).collect();
        let held: Vec<f32> = (0..100).flat_map(|_| near(&mut random)).collect();
        let novelty = Novelty::fit(&known, &held, width, 7);
        let stranger: Vec<f32> = (0..width).map(|i| if i >= 150 { 1.0 } else { 0.0 }).collect();
        assert!(novelty.distance(&stranger) > novelty.threshold);
        assert!(novelty.distance(&known[..width]) <= novelty.threshold);
        let again = Novelty::with_keys(novelty.keys.clone(), width, novelty.threshold);
        assert_eq!(again, novelty);
    }
}
