//! What a comparison finds, in the form the interface returns.

use super::request::Drawn;
use kenyon_learn::learning::compare::{Assessment, Distance, Dropped, Encoded, Weighting};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a comparison found, without its matrices.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Findings {
    /// The systems, in the order of the request.
    pub systems: Vec<ComparedSystem>,
    /// How similar each system is to the reference, then every other two systems to each other.
    pub similarity: Vec<Similarity>,
    /// Between which similarities the best possible system lies; none where the reference has one subject.
    #[schema(required)]
    pub noise_ceiling: Option<Ceiling>,
    /// Which of two systems fits the reference better.
    pub pairwise: Vec<PairOfSystems>,
    /// The best mixture of systems.
    #[schema(required)]
    pub weighting: Option<MixtureOfSystems>,
    /// How much of the reference's responses each system predicts, where it was requested.
    pub encoding: Vec<EncodingFit>,
    /// Stimuli that all systems have, in the order of the matrices.
    pub conditions: Vec<String>,
    /// Stimuli that were left out.
    pub dropped: Vec<DroppedCondition>,
    /// What the bootstrap drew; none where nothing was drawn.
    #[schema(required)]
    pub bootstrap: Option<BootstrapDone>,
    /// Matrices that are not in `rdms`, because all would be too many numbers.
    pub rdms_left_out: usize,
}

/// A system as it was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ComparedSystem {
    /// Its name.
    pub name: String,
    /// Version of its model.
    #[schema(required)]
    pub version: Option<u64>,
    /// Layer of its model.
    #[schema(required)]
    pub layer: Option<String>,
    /// Channels or units; none for dissimilarities.
    #[schema(required)]
    pub channels: Option<usize>,
    /// The distance that was used; none for dissimilarities.
    #[schema(required)]
    pub distance: Option<Distance>,
    /// Stimuli that it has.
    pub conditions: usize,
    /// Its subjects; empty where there is one without a name.
    pub subjects: Vec<String>,
    /// How its data were handled, where there was a choice.
    pub notes: Vec<String>,
}

/// How similar two systems are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Similarity {
    /// One system.
    pub a: String,
    /// The other one; the reference where there is one.
    pub b: String,
    /// Their similarity; of a reference with subjects the mean over them.
    pub value: f64,
    /// Similarity to each subject of the reference.
    pub per_subject: Vec<f64>,
    /// Standard error.
    #[schema(required)]
    pub standard_error: Option<f64>,
    /// 95 % confidence interval.
    #[schema(required)]
    pub interval: Option<[f64; 2]>,
    /// One-sided p of a similarity above 0, a single test.
    #[schema(required)]
    pub p_zero: Option<f64>,
    /// The same, adjusted for the number of systems (Benjamini and Hochberg).
    #[schema(required)]
    pub q_zero: Option<f64>,
    /// Two-sided p of a difference from the lower end of the noise ceiling, a single test.
    #[schema(required)]
    pub p_ceiling: Option<f64>,
    /// The same, adjusted for the number of systems.
    #[schema(required)]
    pub q_ceiling: Option<f64>,
}

/// Between which similarities the best possible system lies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = SimilarityCeiling)]
pub struct Ceiling {
    /// Each subject against the average of the others.
    pub lower: f64,
    /// Each subject against the average of all.
    pub upper: f64,
}

/// Which of two systems fits the reference better.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PairOfSystems {
    /// One system.
    pub a: String,
    /// The other.
    pub b: String,
    /// Similarity of `a` minus that of `b`.
    pub difference: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Two-sided p, a single test.
    pub p: f64,
    /// The same, adjusted for the number of pairs.
    pub q: f64,
}

/// The best non-negative mixture of some systems' matrices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MixtureOfSystems {
    /// The systems.
    pub systems: Vec<String>,
    /// Their weights, fitted to everything; their squares sum to 1.
    pub weights: Vec<f64>,
    /// Mean similarity of mixtures to subjects and stimuli that they were not fitted to.
    pub value: f64,
    /// The same for each subject.
    pub per_subject: Vec<f64>,
    /// Standard error over subjects.
    #[schema(required)]
    pub standard_error: Option<f64>,
    /// Folds of the stimuli.
    pub folds: usize,
}

/// How much of recorded responses a system predicts: ridge regression, evaluated on stimuli that it was not fitted to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EncodingFit {
    /// The system.
    pub system: String,
    /// Share of the variance of responses that it predicts, mean over channels and subjects; below 0 where the mean
    /// response predicts better.
    pub explained: f64,
    /// Share that could be predicted, from repetitions; none without.
    #[schema(required)]
    pub explainable: Option<f64>,
    /// `explained` for each subject.
    pub per_subject: Vec<f64>,
    /// Standard error over subjects; none with one.
    #[schema(required)]
    pub standard_error: Option<f64>,
    /// Channels of all subjects that vary between stimuli.
    pub channels: usize,
}

/// A stimulus that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DroppedCondition {
    /// Its name.
    pub condition: String,
    /// Why.
    pub reason: String,
}

/// What the bootstrap drew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BootstrapDone {
    /// Samples that had enough different stimuli.
    pub samples: usize,
    /// What was drawn.
    pub over: Vec<Drawn>,
    /// The seed.
    pub seed: u64,
    /// Degrees of freedom of the tests; over stimuli and subjects the least that each of them has.
    pub degrees_of_freedom: usize,
}

/// A dissimilarity matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ListedRdm {
    /// Its system.
    pub system: String,
    /// The subject; none for a system's only matrix, and for the mean over its subjects.
    #[schema(required)]
    pub subject: Option<String>,
    /// Dissimilarities of the pairs of `conditions`: (0,1), (0,2), …, (1,2), ….
    pub values: Vec<f32>,
}

impl Findings {
    /// Takes over how well systems fit the reference `b`.
    pub(super) fn add(&mut self, found: &Assessment, b: &str) {
        let ceiling = |c: kenyon_learn::learning::compare::NoiseCeiling| Ceiling { lower: c.lower, upper: c.upper };
        self.noise_ceiling = found.noise_ceiling.map(ceiling);
        self.similarity.extend(found.systems.iter().map(|fit| Similarity {
            a: fit.name.clone(),
            b: b.to_owned(),
            value: fit.value,
            per_subject: fit.per_subject.clone(),
            standard_error: Some(fit.standard_error),
            interval: Some(fit.interval),
            p_zero: Some(fit.p_zero),
            q_zero: Some(fit.q_zero),
            p_ceiling: fit.p_ceiling,
            q_ceiling: fit.q_ceiling,
        }));
    }

    /// Takes over which of two systems fits better.
    pub(super) fn add_pairs(&mut self, found: Assessment) {
        self.pairwise.extend(found.pairwise.into_iter().map(|d| PairOfSystems {
            a: d.a,
            b: d.b,
            difference: d.difference,
            standard_error: d.standard_error,
            p: d.p,
            q: d.q,
        }));
    }
}

impl Similarity {
    /// Of two systems, without statistics.
    pub(super) fn plain(a: &str, b: &str, value: f64) -> Self {
        let (a, b) = (a.to_owned(), b.to_owned());
        let none = None;
        Self {
            a,
            b,
            value,
            per_subject: Vec::new(),
            standard_error: none,
            interval: None,
            p_zero: none,
            q_zero: none,
            p_ceiling: none,
            q_ceiling: none,
        }
    }
}

impl EncodingFit {
    /// The mean over subjects.
    pub(super) fn new(system: &str, found: &[Encoded]) -> Self {
        let count = found.len().max(1) as f64;
        let per_subject: Vec<f64> = found.iter().map(|one| one.explained).collect();
        let explained = per_subject.iter().sum::<f64>() / count;
        let spread = per_subject.iter().map(|v| (v - explained).powi(2)).sum::<f64>() / (count - 1.0);
        let explainable: Option<Vec<f64>> = found.iter().map(|one| one.explainable).collect();
        Self {
            system: system.to_owned(),
            explained,
            explainable: explainable.map(|shares| shares.iter().sum::<f64>() / count),
            standard_error: (found.len() > 1).then(|| (spread / count).sqrt()),
            per_subject,
            channels: found.iter().map(|one| one.channels).sum(),
        }
    }
}

impl From<Weighting> for MixtureOfSystems {
    fn from(found: Weighting) -> Self {
        let Weighting { layers: systems, weights, value, per_subject, standard_error, folds, .. } = found;
        Self { systems, weights, value, per_subject, standard_error, folds }
    }
}

impl From<Dropped> for DroppedCondition {
    fn from(dropped: Dropped) -> Self {
        Self { condition: dropped.condition, reason: dropped.reason }
    }
}
