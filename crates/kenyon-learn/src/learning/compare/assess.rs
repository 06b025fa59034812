//! How well systems explain recordings: similarity to the subjects, intervals, noise ceiling and tests.

use super::bootstrap::{Bootstrap, LESS, NoiseCeiling, Over, Run};
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
    let (over, (point, draws)) = (run.over, run.all()?);
    let count = matrices.subjects;
    let freedom = match over {
        Over::Both => count.min(stimuli) - 1,
        Over::Subjects => count - 1,
        Over::Stimuli => stimuli - 1,
    };
    let spread = |of: &dyn Fn(&[f64]) -> f64| {
        let drawn = |kind: usize| variance(draws[kind].iter().map(|draw| of(draw)));
        let (by_subject, by_stimulus) = (|| Spread::single(drawn(1), count), || Spread::single(drawn(2), stimuli));
        match over {
            Over::Both => Spread::dual(drawn(0), by_subject(), by_stimulus()),
            Over::Subjects => by_subject(),
            Over::Stimuli => by_stimulus(),
        }
    };
    let m = names.len();
    // In a bootstrap the lower ceiling also varies with how many different subjects a sample has, which makes its
    // test reject hardly ever. Letting subjects weigh a little less one by one has no such effect.
    let terms: Vec<&[f64]> = point.lighter.iter().map(|lighter| &lighter.to_others[..]).collect();
    let twice = pairs_counted_twice(&terms, LESS);
    let p_ceiling = |at: usize, lower: f64| {
        let (gap, value) = (|d: &[f64]| d[at] - d[m], point.means[at] - lower);
        if over == Over::Stimuli {
            return spread(&gap).p_different_skewed(value, skewness(draws[2].iter().map(|d| gap(d))));
        }
        if point.lighter.is_empty() {
            return spread(&gap).p_different(value);
        }
        let by_subject = jackknife_variance(point.lighter.iter().map(|lighter| gap(&lighter.means)), LESS);
        // What is counted twice is half of it at most.
        let counted_once = |all: f64, twice: f64| (all - twice).max(0.5 * all);
        let by_subject = Spread { variance: counted_once(by_subject, twice), freedom: count as f64 - 1.0 };
        if over == Over::Subjects {
            return by_subject.p_different(value);
        }
        let by_stimulus = Spread::single(variance(draws[2].iter().map(|d| gap(d))), stimuli);
        let mean = |at: usize| draws[3].iter().map(|found| found[at]).sum::<f64>() / draws[3].len() as f64;
        Spread::crossed(by_subject, by_stimulus, counted_once(mean(at), mean(m))).p_different(value)
    };
    let mut fits: Vec<SystemFit> = Vec::with_capacity(m);
    for (at, name) in names.iter().enumerate() {
        let (value, spread) = (point.means[at], spread(&|draw| draw[at]));
        let p_ceiling = point.ceiling.map(|c| p_ceiling(at, c.lower));
        fits.push(SystemFit {
            name: name.clone(),
            value,
            per_subject: point.fits[at * count..(at + 1) * count].to_vec(),
            standard_error: spread.error(),
            interval: [value - spread.margin(), value + spread.margin()],
            p_zero: spread.p_above_zero(value),
            q_zero: 1.0,
            p_ceiling,
            q_ceiling: None,
        });
    }
    let adjusted = false_discovery(&fits.iter().map(|f| f.p_zero).collect::<Vec<_>>());
    fits.iter_mut().zip(adjusted).for_each(|(fit, q)| fit.q_zero = q);
    let p_ceilings: Vec<f64> = fits.iter().filter_map(|f| f.p_ceiling).collect();
    if p_ceilings.len() == m {
        fits.iter_mut().zip(false_discovery(&p_ceilings)).for_each(|(fit, q)| fit.q_ceiling = Some(q));
    }
    let mut pairwise = Vec::new();
    for a in 0..m {
        for b in a + 1..m {
            let (difference, spread) = (point.means[a] - point.means[b], spread(&|d| d[a] - d[b]));
            let p = spread.p_different(difference);
            let (a, b) = (names[a].clone(), names[b].clone());
            pairwise.push(Difference { a, b, difference, standard_error: spread.error(), p, q: 1.0 });
        }
    }
    let adjusted = false_discovery(&pairwise.iter().map(|d| d.p).collect::<Vec<_>>());
    pairwise.iter_mut().zip(adjusted).for_each(|(pair, q)| pair.q = q);
    Ok(Assessment {
        conditions: aligned.conditions,
        dropped: aligned.dropped,
        systems: fits,
        noise_ceiling: point.ceiling,
        pairwise,
        degrees_of_freedom: freedom,
        samples: draws.iter().map(Vec::len).max().unwrap_or(0),
    })
}
