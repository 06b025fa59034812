//! How well systems explain recordings: similarity to the subjects, intervals, noise ceiling and tests.

use super::bootstrap::{Bootstrap, Draws, LESS, NoiseCeiling, Over, Point, Run};
use super::matrices::{Comparison, Matrices, check_varies};
use super::rdm::{Dropped, Rdm, align};
use super::statistics::{Spread, false_discovery, jackknife_variance, pairs_counted_twice, skewness, variance};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// How well one system explains the recordings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SystemFit {
    /// Name of the system.
    pub name: String,
    /// Mean similarity to the subjects.
    pub value: f64,
    /// Similarity to each subject.
    pub per_subject: Vec<f64>,
    /// Standard error from the bootstrap.
    pub standard_error: f64,
    /// 95 % interval.
    pub interval: [f64; 2],
    /// One-sided p of a similarity above 0.
    pub p_zero: f64,
    /// The same, adjusted for the number of systems (Benjamini–Hochberg).
    pub q_zero: f64,
    /// Two-sided p of a difference to the lower noise ceiling.
    pub p_ceiling: Option<f64>,
    /// The same, adjusted for the number of systems.
    pub q_ceiling: Option<f64>,
}

/// Which of two systems explains the recordings better.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// One system.
    pub a: String,
    /// The other.
    pub b: String,
    /// Similarity of `a` minus that of `b`.
    pub difference: f64,
    /// Standard error of the difference.
    pub standard_error: f64,
    /// Two-sided p.
    pub p: f64,
    /// The same, adjusted for the number of pairs.
    pub q: f64,
}

/// The result of [`assess`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    /// The conditions that were compared.
    pub conditions: Vec<String>,
    /// Conditions that were left out, and why.
    pub dropped: Vec<Dropped>,
    /// One for each system.
    pub systems: Vec<SystemFit>,
    /// Missing with a single subject.
    pub noise_ceiling: Option<NoiseCeiling>,
    /// All pairs of systems.
    pub pairwise: Vec<Difference>,
    /// Degrees of freedom of the tests; over stimuli and subjects the least that each of them has.
    pub degrees_of_freedom: usize,
    /// Bootstrap samples that had enough different stimuli to be compared.
    pub samples: usize,
}

/// Compares each system with the subjects' recordings.
///
/// `progress` gets the number of finished samples and returns whether to continue; it is called from
/// several threads. The result depends on the seed only.
pub fn assess(
    systems: Vec<(String, Rdm)>,
    subjects: Vec<(String, Rdm)>,
    comparison: Comparison,
    bootstrap: Bootstrap,
    progress: &(dyn Fn(usize, usize) -> bool + Sync),
) -> Result<Assessment> {
    let (names, subject_names): (Vec<String>, Vec<String>) =
        (systems.iter().map(|(n, _)| n.clone()).collect(), subjects.iter().map(|(n, _)| n.clone()).collect());
    if names.is_empty() || subject_names.is_empty() {
        return Err(Error::unprocessable("nothing_to_compare", "a comparison needs a system and a reference"));
    }
    let all: Vec<&str> = names.iter().chain(&subject_names).map(String::as_str).collect();
    let rdms = systems.into_iter().chain(subjects).map(|(_, rdm)| rdm);
    let aligned = align(all.iter().copied().zip(rdms).collect())?;
    for (name, values) in all.iter().zip(&aligned.values) {
        check_varies(name, values, comparison)?;
    }
    let stimuli = aligned.conditions.len();
    let matrices = Matrices::new(aligned.values, names.len(), stimuli, comparison)?;
    let run = Run::new(&matrices, bootstrap, progress)?;
    let (point, draws) = run.all()?;
    let tests =
        Tests { names: &names, subjects: matrices.subjects, stimuli, over: run.over, point: &point, draws: &draws };
    Ok(Assessment {
        conditions: aligned.conditions,
        dropped: aligned.dropped,
        systems: tests.fits(),
        noise_ceiling: point.ceiling,
        pairwise: tests.differences(),
        degrees_of_freedom: tests.freedom(),
        samples: draws.iter().map(Vec::len).max().unwrap_or(0),
    })
}

/// What the tests are made from.
struct Tests<'a> {
    /// The systems.
    names: &'a [String],
    subjects: usize,
    stimuli: usize,
    over: Over,
    point: &'a Point,
    draws: &'a Draws,
}

impl Tests<'_> {
    fn freedom(&self) -> usize {
        match self.over {
            Over::Both => self.subjects.min(self.stimuli) - 1,
            Over::Subjects => self.subjects - 1,
            Over::Stimuli => self.stimuli - 1,
        }
    }

    /// The spread of a quantity of a draw.
    fn spread(&self, of: &dyn Fn(&[f64]) -> f64) -> Spread {
        let drawn = |kind: usize| variance(self.draws[kind].iter().map(|draw| of(draw)));
        let by_subject = || Spread::single(drawn(1), self.subjects);
        let by_stimulus = || Spread::single(drawn(2), self.stimuli);
        match self.over {
            Over::Both => Spread::dual(drawn(0), by_subject(), by_stimulus()),
            Over::Subjects => by_subject(),
            Over::Stimuli => by_stimulus(),
        }
    }

    /// p of the difference between system `at` and the lower noise ceiling `lower`.
    ///
    /// In a bootstrap the lower ceiling also varies with how many different subjects a sample has, which makes its
    /// test reject hardly ever. Letting subjects weigh a little less one by one has no such effect.
    fn p_ceiling(&self, at: usize, lower: f64) -> f64 {
        let (draws, lighter, ceiling) = (self.draws, &self.point.lighter, self.names.len());
        let (gap, value) = (|d: &[f64]| d[at] - d[ceiling], self.point.means[at] - lower);
        if self.over == Over::Stimuli {
            return self.spread(&gap).p_different_skewed(value, skewness(draws[2].iter().map(|d| gap(d))));
        }
        if lighter.is_empty() {
            return self.spread(&gap).p_different(value);
        }
        let terms: Vec<&[f64]> = lighter.iter().map(|lighter| &lighter.to_others[..]).collect();
        let twice = pairs_counted_twice(&terms, LESS);
        let by_subject = jackknife_variance(lighter.iter().map(|lighter| gap(&lighter.means)), LESS);
        // What is counted twice is half of it at most.
        let counted_once = |all: f64, twice: f64| (all - twice).max(0.5 * all);
        let by_subject = Spread { variance: counted_once(by_subject, twice), freedom: self.subjects as f64 - 1.0 };
        if self.over == Over::Subjects {
            return by_subject.p_different(value);
        }
        let by_stimulus = Spread::single(variance(draws[2].iter().map(|d| gap(d))), self.stimuli);
        let mean = |at: usize| draws[3].iter().map(|found| found[at]).sum::<f64>() / draws[3].len() as f64;
        Spread::crossed(by_subject, by_stimulus, counted_once(mean(at), mean(ceiling))).p_different(value)
    }

    fn fits(&self) -> Vec<SystemFit> {
        let (point, count) = (self.point, self.subjects);
        let fit = |(at, name): (usize, &String)| {
            let (value, spread) = (point.means[at], self.spread(&|draw| draw[at]));
            SystemFit {
                name: name.clone(),
                value,
                per_subject: point.fits[at * count..(at + 1) * count].to_vec(),
                standard_error: spread.error(),
                interval: [value - spread.margin(), value + spread.margin()],
                p_zero: spread.p_above_zero(value),
                q_zero: 1.0,
                p_ceiling: point.ceiling.map(|ceiling| self.p_ceiling(at, ceiling.lower)),
                q_ceiling: None,
            }
        };
        let mut fits: Vec<SystemFit> = self.names.iter().enumerate().map(fit).collect();
        let adjusted = false_discovery(&fits.iter().map(|f| f.p_zero).collect::<Vec<_>>());
        fits.iter_mut().zip(adjusted).for_each(|(fit, q)| fit.q_zero = q);
        let p_ceilings: Vec<f64> = fits.iter().filter_map(|f| f.p_ceiling).collect();
        if p_ceilings.len() == fits.len() {
            fits.iter_mut().zip(false_discovery(&p_ceilings)).for_each(|(fit, q)| fit.q_ceiling = Some(q));
        }
        fits
    }

    /// All pairs of systems.
    fn differences(&self) -> Vec<Difference> {
        let mut pairs = Vec::new();
        for a in 0..self.names.len() {
            for b in a + 1..self.names.len() {
                let difference = self.point.means[a] - self.point.means[b];
                let spread = self.spread(&|d| d[a] - d[b]);
                let p = spread.p_different(difference);
                let (a, b) = (self.names[a].clone(), self.names[b].clone());
                pairs.push(Difference { a, b, difference, standard_error: spread.error(), p, q: 1.0 });
            }
        }
        let adjusted = false_discovery(&pairs.iter().map(|d| d.p).collect::<Vec<_>>());
        pairs.iter_mut().zip(adjusted).for_each(|(pair, q)| pair.q = q);
        pairs
    }
}
