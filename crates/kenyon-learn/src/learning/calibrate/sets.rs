//! Conformal sets of classes: split conformal with the least ambiguous score (Sadinle, Lei & Wasserman 2019), and
//! regularised adaptive sets (RAPS, Angelopoulos et al. 2021) from [`RAPS_FROM`] classes on.

use super::{Calibration, Unseen, rank_of, thin};

/// From this many classes on, sets are RAPS.
pub const RAPS_FROM: usize = 20;

/// Penalty a rank beyond [`RAPS_FREE`] adds to a class's score.
const RAPS_PENALTY: f32 = 0.01;

/// Ranks without a penalty.
const RAPS_FREE: usize = 5;

/// Scores kept of each class.
const MAX_CLASS_SCORES: usize = 512;

/// Classes beyond which no scores are kept by class.
const MAX_CLASSES: usize = 256;

/// Options of a set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SetOptions {
    /// Its coverage.
    pub coverage: f64,
    /// Whether it may be empty where no class is as likely as true ones are on average. Otherwise the likeliest class is
    /// always included, and sets hold the truth at least with the requested coverage.
    pub allow_empty: bool,
    /// Whether the coverage holds for the rows of each true class.
    pub by_class: bool,
}

impl SetOptions {
    /// Sets with this coverage over all rows that are never empty.
    pub fn of(coverage: f64) -> Self {
        Self { coverage, allow_empty: false, by_class: false }
    }
}

impl Calibration {
    /// The classes of a conformal set, most probable first.
    pub fn set(&self, probabilities: &[f32], options: SetOptions) -> Vec<usize> {
        let mut order: Vec<usize> = (0..probabilities.len()).collect();
        order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
        let best = order.first().copied();
        let raps = probabilities.len() >= RAPS_FROM;
        let mut before = 0.0;
        let pooled = if options.allow_empty || options.by_class {
            self.threshold(options.coverage)
        } else {
            self.likeliest_threshold(options.coverage)
        };
        let mut kept = Vec::with_capacity(order.len());
        for (rank, &class) in order.iter().enumerate() {
            let score = if raps {
                before += probabilities[class];
                before + penalty(rank)
            } else {
                others(probabilities, class)
            };
            let by_class = options.by_class && !self.class_scores.is_empty();
            let threshold =
                if by_class { self.class_threshold(class, self.adapted(options.coverage), pooled) } else { pooled };
            if score <= threshold {
                kept.push(class);
            } else if !by_class {
                // Scores grow along the order.
                break;
            }
        }
        if let (true, Some(best)) = (kept.first() != best.as_ref() && !options.allow_empty, best) {
            kept.insert(0, best);
        }
        kept
    }

    /// The score below which a share `coverage` of the rows of a class falls. Where a class has too few rows,
    /// it is no less than that of all rows and no less than its own largest.
    fn class_threshold(&self, class: usize, coverage: f64, pooled: f32) -> f32 {
        let Some(scores) = self.class_scores.get(class).filter(|scores| !scores.is_empty()) else { return pooled };
        let rows = self.class_rows.get(class).copied().unwrap_or(scores.len());
        match rank_of(scores, rows, coverage) {
            Some(at) => scores[at],
            None => pooled.max(scores[scores.len() - 1]),
        }
    }

    /// Keeps the scores of `truths` by class: of one member, and of the mean of two where that is known.
    pub(super) fn keep_by_class(
        &mut self,
        unseen: &Unseen<'_>,
        (one, two): (&[f32], Option<&[f32]>),
        truths: &[u32],
        classes: usize,
    ) {
        if classes > MAX_CLASSES {
            return;
        }
        let by_class = |scores: &[f32]| {
            let mut by_class = vec![Vec::new(); classes];
            scores.iter().zip(truths).for_each(|(&score, &truth)| by_class[truth as usize].push(score));
            by_class
        };
        let one = by_class(one);
        let mut two = two.map(by_class);
        self.class_rows = one.iter().map(Vec::len).collect();
        let of_class = |(class, one): (usize, Vec<f32>)| {
            let two = two.as_mut().map(|two| std::mem::take(&mut two[class]));
            thin(unseen.scores(one, two), MAX_CLASS_SCORES)
        };
        self.class_scores = one.into_iter().enumerate().map(of_class).collect();
    }
}

/// The conformity score of class `class`: the smaller, the more typical.
pub(in crate::learning) fn score(probabilities: &[f32], class: usize) -> f32 {
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
/// so that scores of confident answers stay distinct.
fn others(probabilities: &[f32], class: usize) -> f32 {
    probabilities[..class].iter().sum::<f32>() + probabilities[class + 1..].iter().sum::<f32>()
}

fn penalty(rank: usize) -> f32 {
    RAPS_PENALTY * (rank + 1).saturating_sub(RAPS_FREE) as f32
}

#[cfg(test)]
mod tests {
    use super::super::tests::drawn;
    use super::*;
    use crate::nn::probability::softmax_with_temperature;

    fn exactly(coverage: f64) -> SetOptions {
        SetOptions { allow_empty: true, ..SetOptions::of(coverage) }
    }

    #[test]
    fn sets_cover_as_often_as_requested() {
        for classes in [4, 30] {
            let (logits, truths) = drawn(6_000, classes, 1.0, 2);
            let half = 3_000;
            let calibration = Calibration::classification(&logits[..half * classes], classes, &truths[..half]);
            for coverage in [0.8, 0.9, 0.95] {
                let (mut held, mut never_empty) = (0, 0);
                for row in half..2 * half {
                    let mut p = logits[row * classes..(row + 1) * classes].to_vec();
                    softmax_with_temperature(&mut p, calibration.temperature);
                    let truth = truths[row] as usize;
                    held += usize::from(calibration.set(&p, exactly(coverage)).contains(&truth));
                    let set = calibration.set(&p, SetOptions::of(coverage));
                    never_empty += usize::from(set.contains(&truth));
                    assert!(set[0] == crate::nn::probability::argmax(&p));
                }
                let share = held as f64 / half as f64;
                assert!((share - coverage).abs() < 0.02, "{classes} classes: {share} at {coverage}");
                assert!(never_empty as f64 / half as f64 > coverage - 0.02);
                // From RAPS_FROM classes on, probability that the likeliest class leaves is not filled by others.
                assert!(classes >= RAPS_FROM || never_empty >= held);
            }
        }
    }

    #[test]
    fn sets_by_class_hold_for_each_class() {
        // The second class is rare and hard.
        let mut random = crate::random::Random::new(5);
        let (mut logits, mut truths) = (Vec::new(), Vec::new());
        for _ in 0..12_000 {
            let truth = u32::from(random.uniform() < 0.2);
            let centre = if truth == 0 { 2.0 } else { -0.2 };
            logits.extend([centre + random.normal(), 0.0]);
            truths.push(truth);
        }
        let calibration = Calibration::classification(&logits[..12_000], 2, &truths[..6_000]);
        let coverage = |by_class: bool| -> Vec<f64> {
            let (mut held, mut rows) = ([0.0; 2], [0.0; 2]);
            for (row, &truth) in logits[12_000..].chunks_exact(2).zip(&truths[6_000..]) {
                let mut p = row.to_vec();
                softmax_with_temperature(&mut p, calibration.temperature);
                let set = calibration.set(&p, SetOptions { by_class, ..exactly(0.9) });
                held[truth as usize] += f64::from(u8::from(set.contains(&(truth as usize))));
                rows[truth as usize] += 1.0;
            }
            vec![held[0] / rows[0], held[1] / rows[1]]
        };
        assert!(coverage(false)[1] < 0.8, "{:?}", coverage(false));
        assert!(coverage(true).iter().all(|share| (share - 0.9).abs() < 0.03), "{:?}", coverage(true));
    }

    #[test]
    fn sets_with_the_likeliest_class_are_no_larger_than_needed() {
        let (classes, half) = (30, 3_000);
        let (mut logits, truths) = drawn(2 * half, classes, 1.0, 6);
        for (row, &truth) in logits.chunks_exact_mut(classes).zip(&truths) {
            row[truth as usize] += 3.0;
        }
        let calibration = Calibration::classification(&logits[..half * classes], classes, &truths[..half]);
        let alone = Calibration { likeliest_scores: Vec::new(), ..calibration.clone() };
        let of = |calibration: &Calibration, coverage: f64| {
            let (mut held, mut size) = (0, 0);
            for (row, &truth) in logits.chunks_exact(classes).zip(&truths).skip(half) {
                let mut p = row.to_vec();
                softmax_with_temperature(&mut p, calibration.temperature);
                let set = calibration.set(&p, SetOptions::of(coverage));
                held += usize::from(set.contains(&(truth as usize)));
                size += set.len();
            }
            [held as f64 / half as f64, size as f64 / half as f64]
        };
        for coverage in [0.9, 0.95, 0.99] {
            let ([held, size], [_, larger]) = (of(&calibration, coverage), of(&alone, coverage));
            assert!(held > coverage - 0.02, "{held} at {coverage}");
            assert!(size < larger, "{size} {larger} at {coverage}");
        }
    }

    #[test]
    fn a_network_that_is_nearly_always_right_covers_no_more_than_requested() {
        // Nearly all probabilities round to 1 in single precision; what the others share distinguishes the rows.
        let (mut logits, truths) = drawn(6_000, 3, 1.0, 4);
        for (row, &truth) in logits.chunks_exact_mut(3).zip(&truths) {
            row[truth as usize] += 30.0;
        }
        let probabilities: Vec<Vec<f32>> = logits
            .chunks_exact(3)
            .map(|row| {
                let mut p = row.to_vec();
                softmax_with_temperature(&mut p, 1.0);
                p
            })
            .collect();
        let scores = probabilities[..3_000].iter().zip(&truths).map(|(p, &truth)| score(p, truth as usize));
        let scores = thin(scores.collect(), usize::MAX);
        let calibration = Calibration { temperature: 1.0, rows: scores.len(), scores, ..Calibration::default() };
        let held = probabilities[3_000..]
            .iter()
            .zip(&truths[3_000..])
            .filter(|(p, truth)| calibration.set(p, exactly(0.8)).contains(&(**truth as usize)));
        let share = held.count() as f64 / 3_000.0;
        assert!((share - 0.8).abs() < 0.02, "{share}");
    }
}
