//! Simulated studies in which a null hypothesis holds, to see how often the tests reject it.

use super::matrices::Matrices;
use super::prepared::{ceiling, mean_fits};
use super::sample::Sample;
use super::{Bootstrap, Comparison, Distance, Over, Rdm, Responses, Shrinkage, assess, dissimilarities};
use crate::Result;
use crate::nn::kernels::parallel;
use crate::random::Random;

/// Channels of the simulated responses.
const CHANNELS: usize = 6;

/// Halvings of the interval in which a system reaches the ceiling.
const STEPS: usize = 6;

/// Size of the simulated studies.
#[derive(Clone, Copy, Debug)]
pub struct Study {
    /// Stimuli of each study.
    pub stimuli: usize,
    /// Subjects of each study.
    pub subjects: usize,
    /// Bootstrap samples of each study.
    pub samples: usize,
    /// How matrices are compared.
    pub comparison: Comparison,
    /// What the tests generalise to.
    pub over: Over,
}

/// Share of studies in which each test has p ≤ 0.05 though its null hypothesis holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ErrorRates {
    /// Of the test against zero, for a system unrelated to the recordings; by cosine, for recordings without a signal.
    pub zero: f64,
    /// Of the test between two systems that are as good on average.
    pub between: f64,
    /// Of the test against the ceiling, for a system that reaches it on average.
    pub ceiling: f64,
}

/// Features of the stimuli, `[stimuli, CHANNELS]`.
type Features = Vec<f64>;

impl Study {
    fn features(&self, random: &mut Random) -> Features {
        random.normals(self.stimuli * CHANNELS, 1.0).into_iter().map(f64::from).collect()
    }

    fn noisy(&self, truth: &[f64], noise: f64, random: &mut Random) -> Features {
        truth.iter().map(|v| v + noise * f64::from(random.normal())).collect()
    }

    fn rdm(&self, features: &[f64]) -> Result<Rdm> {
        let names: Vec<String> = (0..self.stimuli).map(|i| i.to_string()).collect();
        let responses = Responses::patterns(features.to_vec(), CHANNELS, &names)?;
        dissimilarities(&responses, Distance::Euclidean, Shrinkage::default())
    }

    /// The matrix of recordings with noise. Cosines compare with zero, so they need distances whose mean is zero without
    /// a signal: products of the differences in two recordings (crossnobis without a noise model).
    fn recorded(&self, features: &[f64], random: &mut Random) -> Result<Rdm> {
        let first = self.noisy(features, 1.0, random);
        let mut rdm = self.rdm(&first)?;
        if self.comparison == Comparison::RhoA {
            return Ok(rdm);
        }
        let second = self.noisy(features, 1.0, random);
        let difference = |of: &Features, a: usize, b: usize, c: usize| of[a * CHANNELS + c] - of[b * CHANNELS + c];
        let pairs = (0..self.stimuli).flat_map(|a| (a + 1..self.stimuli).map(move |b| (a, b)));
        for (value, (a, b)) in rdm.values.iter_mut().zip(pairs) {
            let sum: f64 = (0..CHANNELS).map(|c| difference(&first, a, b, c) * difference(&second, a, b, c)).sum();
            *value = sum as f32;
        }
        Ok(rdm)
    }

    /// Subjects that see the same features, each with other weights of the channels and noise.
    fn subjects(&self, truth: &[f64], random: &mut Random) -> Result<Vec<(String, Rdm)>> {
        let one = |s: usize, random: &mut Random| {
            // Where stimuli alone are sampled, the subjects are the same in each study: the test is about these.
            let mut same = Random::stream(5, "subject", s as u64);
            let own = if self.over == Over::Stimuli { &mut same } else { &mut *random };
            let gain: Vec<f64> = (0..CHANNELS).map(|_| f64::from(0.5 * own.normal()).exp()).collect();
            let seen: Features = truth.iter().enumerate().map(|(at, v)| v * gain[at % CHANNELS]).collect();
            Ok((format!("subject {s}"), self.recorded(&seen, random)?))
        };
        (0..self.subjects).map(|s| one(s, random)).collect()
    }

    /// The noise with which a system reaches the lower ceiling on average: over subjects with the stimuli and
    /// the system's noise of `fixed`, or over stimuli and subjects; the average is that of `studies`.
    fn ceiling_noise(&self, fixed: Option<(&[f64], &[f64])>, studies: usize) -> Result<f64> {
        let gap = |noise: f64| -> Result<f64> {
            let mut sum = 0.0;
            for study in 0..studies as u64 {
                let mut random = Random::stream(7, "ceiling", study);
                let (truth, error) = match fixed {
                    Some((truth, error)) => (truth.to_vec(), error.to_vec()),
                    None => (self.features(&mut random), self.features(&mut random)),
                };
                let system: Features = truth.iter().zip(error).map(|(t, e)| t + noise * e).collect();
                let mut values = vec![self.rdm(&system)?.values];
                values.extend(self.subjects(&truth, &mut random)?.into_iter().map(|(_, rdm)| rdm.values));
                let matrices = Matrices::new(values, 1, self.stimuli, self.comparison)?;
                let prepared = matrices.prepare(&Sample::all(self.stimuli))?;
                let once = vec![1.0; self.subjects];
                sum += mean_fits(&prepared.fits(), &once)[0] - ceiling(prepared.as_ref(), &once).0;
            }
            Ok(sum)
        };
        let (mut low, mut high) = ((0.0, gap(0.0)?), (2.0, gap(2.0)?));
        for _ in 0..STEPS {
            let middle = 0.5 * (low.0 + high.0);
            let found = (middle, gap(middle)?);
            if found.1 > 0.0 { low = found } else { high = found }
        }
        // The gap is nearly a straight line between so close ends.
        Ok((low.0 * high.1 - high.0 * low.1) / (high.1 - low.1))
    }

    fn assess(&self, systems: Vec<Features>, subjects: Vec<(String, Rdm)>, seed: u64) -> Result<super::Assessment> {
        let systems = systems.iter().enumerate().map(|(at, f)| Ok((format!("system {at}"), self.rdm(f)?)));
        let bootstrap = Bootstrap { samples: self.samples, over: self.over, seed, threads: 1 };
        assess(systems.collect::<Result<_>>()?, subjects, self.comparison, bootstrap, &|_, _| true)
    }

    /// The p of the three tests in one study with new stimuli.
    fn other_stimuli(&self, noise: f64, study: u64) -> Result<[f64; 3]> {
        let mut random = Random::stream(1, "study", study);
        let truth = self.features(&mut random);
        let subjects = self.subjects(&truth, &mut random)?;
        let unrelated = self.features(&mut random);
        let similar = [0, 1].map(|_| self.noisy(&truth, 1.0, &mut random));
        let reaching = self.noisy(&truth, noise, &mut random);
        let [a, b] = similar;
        let found = self.assess(vec![unrelated, a, b, reaching], subjects, study)?;
        let between = found.pairwise.iter().find(|d| d.a == "system 1" && d.b == "system 2");
        let zero = match self.comparison {
            Comparison::RhoA => found.systems[0].p_zero,
            // Distances of any two systems have a cosine above zero: here there is nothing in the recordings.
            _ => {
                let silent = self.subjects(&vec![0.0; truth.len()], &mut random)?;
                self.assess(vec![truth], silent, study)?.systems[0].p_zero
            }
        };
        Ok([zero, between.map_or(1.0, |d| d.p), found.systems[3].p_ceiling.unwrap_or(1.0)])
    }

    /// The p of the three tests in one study where stimuli and systems stay the same.
    fn same_stimuli(&self, noise: f64, fixed: (&[f64], &[f64]), study: u64) -> Result<[f64; 3]> {
        let mut random = Random::stream(2, "study", study);
        let (truth, error) = fixed;
        // Subjects without anything in common, or recordings with nothing in them: no system is similar on average.
        let unrelated = match self.comparison {
            Comparison::RhoA => (0..self.subjects)
                .map(|s| Ok((format!("subject {s}"), self.rdm(&self.features(&mut random))?)))
                .collect::<Result<Vec<_>>>()?,
            _ => self.subjects(&vec![0.0; truth.len()], &mut random)?,
        };
        let zero = self.assess(vec![truth.to_vec()], unrelated, study)?.systems[0].p_zero;
        // Neighbouring stimuli swapped give a system that differs from the other by names only; each subject
        // is a mixture of both in which either may prevail.
        let swap = |at: usize| truth[((at / CHANNELS) ^ 1) * CHANNELS + at % CHANNELS];
        let swapped: Features = (0..truth.len()).map(swap).collect();
        let mixed = |s: usize, random: &mut Random| {
            let share = f64::from(random.uniform());
            let values: Features =
                truth.iter().zip(&swapped).map(|(a, b)| share.sqrt() * a + (1.0 - share).sqrt() * b).collect();
            Ok((format!("subject {s}"), self.recorded(&values, random)?))
        };
        let mixtures = (0..self.subjects).map(|s| mixed(s, &mut random)).collect::<Result<Vec<_>>>()?;
        let between = self.assess(vec![truth.to_vec(), swapped], mixtures, study)?.pairwise[0].p;
        let system: Features = truth.iter().zip(error).map(|(t, e)| t + noise * e).collect();
        let reaching = self.assess(vec![system], self.subjects(truth, &mut random)?, study)?;
        Ok([zero, between, reaching.systems[0].p_ceiling.unwrap_or(1.0)])
    }

    /// Rejection rates of the tests over `studies` simulated studies. The number of stimuli must be even.
    pub fn error_rates(&self, studies: usize, threads: usize) -> Result<ErrorRates> {
        let mut random = Random::new(5);
        let (truth, error) = (self.features(&mut random), self.features(&mut random));
        let fixed = (self.over == Over::Subjects).then_some((&truth[..], &error[..]));
        // Known more exactly than the rates.
        let noise = self.ceiling_noise(fixed, 4 * studies)?;
        let mut outcomes: Vec<Result<[f64; 3]>> = (0..studies).map(|_| Ok([1.0; 3])).collect();
        parallel::each(&mut outcomes, threads, |study, outcome| {
            *outcome = match fixed {
                Some(fixed) => self.same_stimuli(noise, fixed, study as u64),
                None => self.other_stimuli(noise, study as u64),
            };
        });
        let mut counts = [0usize; 3];
        for p in outcomes {
            counts.iter_mut().zip(p?).for_each(|(count, p)| *count += usize::from(p <= 0.05));
        }
        let [zero, between, ceiling] = counts.map(|count| count as f64 / studies as f64);
        Ok(ErrorRates { zero, between, ceiling })
    }
}
