//! The bootstrap: samples of stimuli, of subjects and of both, each compared and with its noise ceiling.

use super::matrices::Matrices;
use super::prepared::{Prepared, ceiling, mean_fits};
use super::rdm::MIN_CONDITIONS;
use super::sample::{Sample, draw_counts};
use super::statistics::pairs_counted_twice_by;
use crate::random::Random;
use crate::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Between which similarities the best possible system lies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoiseCeiling {
    /// Each subject against the average of the others.
    pub lower: f64,
    /// Each subject against the average of all.
    pub upper: f64,
}

/// What is drawn with replacement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    /// Stimuli: the result holds for other stimuli of the kind, and these subjects.
    Stimuli,
    /// Subjects: it holds for other subjects, and these stimuli.
    Subjects,
    /// Both: it holds for other subjects and other stimuli.
    #[default]
    Both,
}

/// Settings of the bootstrap.
#[derive(Clone, Copy, Debug)]
pub struct Bootstrap {
    /// Number of samples.
    pub samples: usize,
    /// What is drawn; subjects are not drawn where there is only one.
    pub over: Over,
    /// The samples follow from it.
    pub seed: u64,
    /// Threads; the result does not depend on their number.
    pub threads: usize,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { samples: 1000, over: Over::Both, seed: 0, threads: 1 }
    }
}

/// The comparison of all stimuli and subjects.
pub(crate) struct Point {
    pub(crate) fits: Vec<f64>,
    pub(crate) means: Vec<f64>,
    pub(crate) ceiling: Option<NoiseCeiling>,
    /// What follows where each subject weighs [`LESS`] less; empty with fewer than three.
    pub(crate) lighter: Vec<Lighter>,
}

/// The comparison where one subject weighs less.
pub(crate) struct Lighter {
    /// The mean fits, then the ceiling's lower end.
    pub(crate) means: Vec<f64>,
    /// Similarity of each subject to the average of the others.
    pub(crate) to_others: Vec<f64>,
}

/// How much less a subject weighs to see what depends on it.
pub(crate) const LESS: f64 = 0.125;

/// For each sample drawn over both, over subjects and over stimuli: the mean fits, then the ceiling's two ends. At last, of
/// each sample of stimuli where both are drawn, what [`within`] finds.
pub(crate) type Draws = [Vec<Vec<f64>>; 4];

/// A bootstrap of some matrices.
pub(crate) struct Run<'a> {
    matrices: &'a Matrices,
    bootstrap: Bootstrap,
    progress: &'a (dyn Fn(usize, usize) -> bool + Sync),
    done: AtomicUsize,
    /// What is drawn, given how many subjects there are.
    pub(crate) over: Over,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        matrices: &'a Matrices,
        bootstrap: Bootstrap,
        progress: &'a (dyn Fn(usize, usize) -> bool + Sync),
    ) -> Result<Self> {
        if bootstrap.samples < 2 {
            return Err(Error::unprocessable("too_few_samples", "a bootstrap needs at least two samples"));
        }
        let over = match bootstrap.over {
            Over::Both if matrices.subjects < 2 => Over::Stimuli,
            Over::Subjects if matrices.subjects < 2 => {
                let message = "there is one subject; a bootstrap over subjects needs two";
                return Err(Error::unprocessable("one_subject", message));
            }
            over => over,
        };
        Ok(Self { matrices, bootstrap, progress, done: AtomicUsize::new(0), over })
    }

    /// Compares everything once, then every sample.
    pub(crate) fn all(&self) -> Result<(Point, Draws)> {
        let (over, matrices) = (self.over, self.matrices);
        let count = matrices.subjects;
        let once = vec![1.0; count];
        let full = matrices.prepare(&Sample::all(matrices.conditions))?;
        let fits = full.fits();
        let ends = (count > 1).then(|| ceiling(full.as_ref(), &once));
        let point = Point {
            means: mean_fits(&fits, &once),
            ceiling: ends.map(|(lower, upper)| NoiseCeiling { lower, upper }),
            lighter: (0..if count > 2 && over != Over::Stimuli { count } else { 0 })
                .map(|lighter| {
                    // Whole numbers, because ranks are summed exactly.
                    let mut weights = vec![1.0 / LESS; count];
                    weights[lighter] -= 1.0;
                    let to_others = full.without_each(&weights, &Vec::from_iter(0..count));
                    let mut means = mean_fits(&fits, &weights);
                    means.extend(mean_fits(&to_others, &weights));
                    Lighter { means, to_others }
                })
                .collect(),
            fits,
        };
        let by_subject = match over {
            Over::Stimuli => Vec::new(),
            _ => self.samples(1, |b| Ok(vec![draw(full.as_ref(), &self.subject_counts(b))]))?,
        };
        drop(full);
        let by_stimulus = match over {
            Over::Subjects => Vec::new(),
            _ => self.samples(if over == Over::Both { 6 } else { 1 }, |b| {
                let mut random = Random::stream(self.bootstrap.seed, "bootstrap stimuli", b as u64);
                let sample = Sample::draw(matrices.conditions, &mut random);
                if sample.drawn.len() < MIN_CONDITIONS {
                    return Ok(Vec::new());
                }
                let prepared = matrices.prepare(&sample)?;
                let mut drawn = vec![draw(prepared.as_ref(), &once)];
                if over == Over::Both {
                    drawn.push(draw(prepared.as_ref(), &self.subject_counts(b)));
                    if count > 2 {
                        let mut random = Random::stream(self.bootstrap.seed, "bootstrap weights", b as u64);
                        drawn.push(within(prepared.as_ref(), &drawn[0], &once, &mut random));
                    }
                }
                Ok(drawn)
            })?,
        };
        let (mut draws, finite) = (Draws::default(), |d: &Vec<f64>| d.iter().all(|v| v.is_finite()));
        draws[1] = by_subject.into_iter().flatten().filter(finite).collect();
        for mut sample in by_stimulus {
            if !sample.is_empty() && sample.iter().all(finite) {
                draws[3].extend((sample.len() > 2).then(|| sample.remove(2)));
                draws[0].extend((sample.len() > 1).then(|| sample.remove(1)));
                draws[2].append(&mut sample);
            }
        }
        if over != Over::Subjects && draws[2].len() < 2 {
            let message = "hardly a bootstrap sample has three different stimuli: there are too few of them";
            return Err(Error::unprocessable("too_few_conditions", message));
        }
        Ok((point, draws))
    }

    fn subject_counts(&self, b: usize) -> Vec<f64> {
        let mut random = Random::stream(self.bootstrap.seed, "bootstrap subjects", b as u64);
        draw_counts(self.matrices.subjects, &mut random)
    }

    /// Runs `work` for every sample on the threads; the order of the results is that of the samples.
    fn samples(&self, cost: usize, work: impl Fn(usize) -> Result<Vec<Vec<f64>>> + Sync) -> Result<Vec<Vec<Vec<f64>>>> {
        let total = self.bootstrap.samples;
        let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(total)));
        let whole = total * if self.over == Over::Both { 7 } else { 1 };
        let one = |b: usize| {
            let result = work(b)?;
            let done = self.done.fetch_add(cost, Ordering::Relaxed) + cost;
            if !(self.progress)(done, whole) {
                return Err(Error::new(Kind::Canceled, "canceled", "the comparison was canceled"));
            }
            Ok(result)
        };
        std::thread::scope(|scope| {
            for _ in 0..self.bootstrap.threads.clamp(1, total) {
                scope.spawn(|| {
                    loop {
                        let b = next.fetch_add(1, Ordering::Relaxed);
                        if b >= total {
                            return;
                        }
                        let result = one(b);
                        if result.is_err() {
                            next.store(total, Ordering::Relaxed);
                        }
                        results.lock().unwrap_or_else(PoisonError::into_inner).push((b, result));
                    }
                });
            }
        });
        let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        results.sort_by_key(|(b, _)| *b);
        results.into_iter().map(|(_, result)| result).collect()
    }
}

/// Mean fits with the subjects taken `counts` times, then the ends of the ceiling.
fn draw(prepared: &dyn Prepared, counts: &[f64]) -> Vec<f64> {
    let mut drawn = mean_fits(&prepared.fits(), counts);
    if counts.len() > 1 {
        let (lower, upper) = ceiling(prepared, counts);
        drawn.extend([lower, upper]);
    }
    drawn
}

/// For each system, an estimate of the variance over subjects of its distance from the lower ceiling in this sample of
/// stimuli, where `drawn` has each subject once: half of the subjects weigh [`LESS`] more and the others less. At last, what
/// these estimates count twice. They have a single degree of freedom; their means over samples are what is used.
fn within(prepared: &dyn Prepared, drawn: &[f64], once: &[f64], random: &mut Random) -> Vec<f64> {
    let n = once.len();
    let mut order = Vec::from_iter(0..n);
    random.shuffle(&mut order);
    let mut weights = vec![1.0 / LESS; n];
    order[..n / 2].iter().for_each(|&s| weights[s] += 1.0);
    order[n - n / 2..].iter().for_each(|&s| weights[s] -= 1.0);
    let changed = LESS * LESS * (n / 2 * 2) as f64;
    let present = Vec::from_iter(0..n);
    let others = [once, &weights].map(|weights| prepared.without_each(weights, &present));
    let moved: Vec<f64> = others[1].iter().zip(&others[0]).map(|(after, before)| after - before).collect();
    let lower = mean_fits(&others[1], &weights)[0];
    let systems = drawn.len() - 2;
    let twice = pairs_counted_twice_by(&moved, changed);
    mean_fits(&prepared.fits(), &weights)
        .iter()
        .zip(&drawn[..systems])
        .map(|(fit, before)| ((fit - lower) - (before - drawn[systems])).powi(2) * n as f64 / changed)
        .chain([twice])
        .collect()
}
