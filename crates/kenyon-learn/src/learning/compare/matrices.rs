//! The comparisons, and matrices ready to be restricted to samples of stimuli.

use super::geometry::{Configurations, MAX_PROCRUSTES};
use super::prepared::Prepared;
use super::products::Products;
use super::ranks::{Coefficient, Order, Ranks};
use super::rdm::{Rdm, align};
use super::sample::Sample;
use crate::{Error, Kind, Result};
use serde::{Deserialize, Serialize};

/// How two dissimilarity matrices are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = SimilarityMeasure))]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// Spearman's correlation as expected when ties are broken at random.
    #[default]
    #[serde(rename = "rho-a")]
    RhoA,
    /// Spearman's correlation; ties share their mean rank. It favours systems that predict ties.
    Spearman,
    /// Kendall's tau-a.
    Kendall,
    /// Cosine of the two vectors of dissimilarities.
    Cosine,
    /// Cosine that takes the covariance of estimated distances into account (Diedrichsen et al. 2021).
    WhitenedCosine,
    /// Linear CKA; needs squared Euclidean dissimilarities, of which it is the whitened cosine.
    Cka,
    /// Procrustes similarity; needs squared Euclidean dissimilarities.
    Procrustes,
}

impl Comparison {
    /// Whether it compares configurations and so uses the distance `euclidean` in any case.
    pub fn needs_euclidean(self) -> bool {
        matches!(self, Self::Cka | Self::Procrustes)
    }
}

/// Similarity of every two of some matrices, without statistics: `[matrices, matrices]`.
pub fn similarities(rdms: Vec<(String, Rdm)>, comparison: Comparison) -> Result<Vec<f64>> {
    let names: Vec<String> = rdms.iter().map(|(name, _)| name.clone()).collect();
    let aligned = align(names.iter().map(String::as_str).zip(rdms.into_iter().map(|(_, rdm)| rdm)).collect())?;
    for (name, values) in names.iter().zip(&aligned.values) {
        check_varies(name, values, comparison)?;
    }
    let n = aligned.conditions.len();
    let twice: Vec<Vec<f32>> = aligned.values.iter().chain(&aligned.values).cloned().collect();
    let matrices = Matrices::new(twice, names.len(), n, comparison)?;
    Ok(matrices.prepare(&Sample::all(n))?.fits())
}

/// Matrices ready to be restricted to samples of stimuli.
pub(crate) struct Matrices {
    comparison: Comparison,
    pub(crate) conditions: usize,
    pub(crate) systems: usize,
    pub(crate) subjects: usize,
    values: Vec<Vec<f32>>,
    orders: Vec<Order>,
}

impl Matrices {
    /// Of `values`, the first `systems` of which are systems, the others subjects.
    pub(crate) fn new(
        values: Vec<Vec<f32>>,
        systems: usize,
        conditions: usize,
        comparison: Comparison,
    ) -> Result<Self> {
        let subjects = values.len() - systems;
        if comparison == Comparison::Procrustes && conditions > MAX_PROCRUSTES {
            let message = format!("{conditions} conditions; Procrustes compares at most {MAX_PROCRUSTES}, `cka` more");
            return Err(Error::new(Kind::TooLarge, "too_many_conditions", message));
        }
        let mut this = Self { comparison, conditions, systems, subjects, values, orders: Vec::new() };
        if let Some(coefficient) = comparison.coefficient() {
            // Ranks need the order only, so the values are freed.
            let values = std::mem::take(&mut this.values);
            this.orders = values.into_iter().map(|v| Order::new(&v, coefficient)).collect();
        }
        Ok(this)
    }

    pub(crate) fn prepare(&self, sample: &Sample) -> Result<Box<dyn Prepared + '_>> {
        if let Some(coefficient) = self.comparison.coefficient() {
            return Ok(Box::new(Ranks::new(&self.orders, self.systems, coefficient, sample)));
        }
        Ok(match self.comparison {
            Comparison::WhitenedCosine | Comparison::Cka => {
                Box::new(Products::new(&self.values, self.systems, true, sample))
            }
            Comparison::Procrustes => Box::new(Configurations::new(&self.values, self.systems, sample)?),
            _ => Box::new(Products::new(&self.values, self.systems, false, sample)),
        })
    }
}

impl Comparison {
    /// What is computed from the ranks, if the comparison is one of ranks.
    fn coefficient(self) -> Option<Coefficient> {
        match self {
            Comparison::RhoA => Some(Coefficient::RhoA),
            Comparison::Spearman => Some(Coefficient::Spearman),
            Comparison::Kendall => Some(Coefficient::TauA),
            _ => None,
        }
    }
}

/// Refuses matrices without any difference, to which no similarity is defined.
pub(crate) fn check_varies(name: &str, values: &[f32], comparison: Comparison) -> Result<()> {
    let constant = if comparison.coefficient().is_some() { values[0] } else { 0.0 };
    if values.iter().all(|&v| v == constant) {
        let message = format!("all dissimilarities of `{name}` are {constant}: there is no structure to compare");
        return Err(Error::unprocessable("constant_rdm", message));
    }
    Ok(())
}
