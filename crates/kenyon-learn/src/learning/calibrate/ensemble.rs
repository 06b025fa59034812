//! Calibration of the mean of a cross-fitted ensemble. No row is new to all of its members, but each is new to one or
//! two: to the member that is evaluated by it, and to the one that stops by it.
//!
//! Members err partly in common and partly each by itself. The second part shrinks with their number m, so a figure of
//! the mean of m members is about a + b / m: one and two members give a and b, and so the figure of all of them.

use super::fit_temperature;

/// A figure changes at most by this factor from two members to all.
const MOST: f32 = 2.0;

/// Answers to held-out rows by members that have not learned them.
#[derive(Clone, Copy, Debug)]
pub struct Unseen<'a> {
    /// Each by one member, `[rows, outputs]`.
    pub one: &'a [f32],
    /// Each by the mean of two members; none where a row is new to one only, and figures are those of one.
    pub two: Option<&'a [f32]>,
    /// Members that answer new rows together.
    pub members: usize,
    /// Whether rows are drawn as often as they weigh: one that is as the one before is a copy of it.
    pub drawn: bool,
}

impl Unseen<'_> {
    /// A figure of all members from that of one and that of the mean of two.
    fn of_all(&self, one: f32, two: f32) -> f32 {
        let inverse = 1.0 / self.members.max(2) as f32;
        let found = two + (two - one) * (1.0 - 2.0 * inverse);
        if two > 0.0 { found.clamp(two / MOST, two * MOST) } else { found.clamp(two * MOST, two / MOST) }
    }

    /// The ascending scores of all members from those of one and of two.
    pub(super) fn scores(&self, mut one: Vec<f32>, two: Option<Vec<f32>>) -> Vec<f32> {
        one.sort_by(f32::total_cmp);
        let Some(mut two) = two.filter(|two| two.len() == one.len()) else { return one };
        two.sort_by(f32::total_cmp);
        let mut all: Vec<f32> = one.iter().zip(&two).map(|(&one, &two)| self.of_all(one, two)).collect();
        all.sort_by(f32::total_cmp);
        all
    }

    /// The temperature of all members.
    pub(super) fn temperature(&self, classes: usize, truths: &[u32]) -> f32 {
        let one = fit_temperature(self.one, classes, truths);
        self.two.map_or(one, |two| self.of_all(one, fit_temperature(two, classes, truths)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learning::calibrate::{Calibration, ErrorModel, SetOptions};
    use crate::nn::probability::softmax_with_temperature;
    use crate::random::Random;

    const MEMBERS: usize = 8;

    /// Logits of two classes by `count` members that err by themselves around what the truth is drawn from.
    fn drawn(rows: usize, count: usize, seed: u64) -> (Vec<Vec<f32>>, Vec<u32>) {
        let mut random = Random::new(seed);
        let (mut members, mut truths) = (vec![Vec::new(); count], Vec::new());
        for _ in 0..rows {
            let logit = 2.0 * random.normal();
            truths.push(u32::from(random.uniform() < 1.0 / (1.0 + (-logit).exp())));
            members.iter_mut().for_each(|own| own.extend([0.0, 1.3 * logit + 2.0 * random.normal()]));
        }
        (members, truths)
    }

    fn mean(members: &[Vec<f32>]) -> Vec<f32> {
        let sum = |at: usize| members.iter().map(|own| own[at]).sum::<f32>() / members.len() as f32;
        (0..members[0].len()).map(sum).collect()
    }

    #[test]
    fn the_mean_of_all_is_calibrated_by_one_and_two() {
        let (two, truths) = drawn(4_000, 2, 1);
        let unseen = Unseen { one: &two[0], two: Some(&mean(&two)), members: MEMBERS, drawn: false };
        let calibration = Calibration::of_ensemble(unseen, 2, &truths);
        let alone = Calibration::classification(&two[0], 2, &truths);
        let (all, truths) = drawn(6_000, MEMBERS, 2);
        let all = mean(&all);
        let best = fit_temperature(&all, 2, &truths);
        assert!((calibration.temperature / best - 1.0).abs() < 0.15, "{} {best}", calibration.temperature);
        assert!(alone.temperature > 1.3 * best, "{} {best}", alone.temperature);
        for (calibration, exact) in [(&calibration, true), (&alone, false)] {
            let options = SetOptions { allow_empty: true, ..SetOptions::of(0.9) };
            let held = all.chunks_exact(2).zip(&truths).filter(|(row, truth)| {
                let mut p = row.to_vec();
                softmax_with_temperature(&mut p, calibration.temperature);
                calibration.set(&p, options).contains(&(**truth as usize))
            });
            let off = (held.count() as f64 / truths.len() as f64 - 0.9).abs();
            assert!(if exact { off < 0.025 } else { off > 0.03 }, "{exact}: {off}");
        }
    }

    #[test]
    fn errors_of_numbers_are_about_those_of_all_members() {
        let mut random = Random::new(5);
        let mut rows = |count: usize, members: usize| {
            let (mut answers, mut truths) = (vec![Vec::new(); members], Vec::new());
            for _ in 0..count {
                let value = random.normal();
                truths.push(value + 0.5 * random.normal());
                answers.iter_mut().for_each(|own| own.push(value + 0.7 * random.normal()));
            }
            (answers, truths)
        };
        let (two, truths) = rows(3_000, 2);
        let unseen = Unseen { one: &two[0], two: Some(&mean(&two)), members: MEMBERS, drawn: false };
        let sketches = vec![0.0; truths.len() * crate::learning::novelty::SKETCH];
        let model = ErrorModel::of_ensemble(unseen, &truths, &sketches, 7).unwrap().0;
        let (all, truths) = rows(6_000, MEMBERS);
        let [low, high] = model.reach(0.9).unwrap();
        let held = mean(&all).into_iter().zip(&truths).filter(|(answer, truth)| {
            let size = model.size(*answer, &sketches[..crate::learning::novelty::SKETCH]);
            (low * size..=high * size).contains(&(*truth - *answer))
        });
        let share = held.count() as f64 / truths.len() as f64;
        assert!((share - 0.9).abs() < 0.035, "{share}");
    }
}
