//! Dissimilarity matrices: one value for each pair of conditions, named, and aligned by name before they are compared.

use crate::{Detail, Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Fewest conditions that a comparison needs: with two there is one pair, and nothing to compare.
pub const MIN_CONDITIONS: usize = 3;

/// Most conditions a matrix may have.
pub const MAX_CONDITIONS: usize = 20_000;

/// A condition that a matrix lacks, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Name of the condition.
    pub condition: String,
    /// Why it is left out, one sentence.
    pub reason: String,
}

/// A representational dissimilarity matrix, without the diagonal and the lower half.
///
/// The pairs are in the order (0,1), (0,2), …, (1,2), …. Every value is finite: a condition without
/// a defined distance is not in the matrix but in `dropped`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rdm {
    /// Names of the conditions.
    pub conditions: Vec<String>,
    /// The dissimilarities of all pairs.
    pub values: Vec<f32>,
    /// Conditions of the data that have no dissimilarities.
    #[serde(default)]
    pub dropped: Vec<Dropped>,
}

/// Pairs of `n` conditions.
pub fn pairs(n: usize) -> usize {
    n * n.saturating_sub(1) / 2
}

/// Where the pairs of condition `i` start: the pair (i, j), `i < j`, is at `row_start(n, i) + j`.
/// Wraps below zero for the first row, so it is added with wrapping.
pub(crate) fn row_start(n: usize, i: usize) -> usize {
    (i * n).wrapping_sub(i * (i + 1) / 2 + i + 1)
}

/// Position of the pair of two different conditions.
pub(crate) fn pair_index(n: usize, i: usize, j: usize) -> usize {
    let (i, j) = (i.min(j), i.max(j));
    row_start(n, i).wrapping_add(j)
}

impl Rdm {
    /// A matrix of `values` in the order of the pairs.
    pub fn new(conditions: Vec<String>, values: Vec<f32>) -> Result<Self> {
        check_names(&conditions)?;
        if values.len() != pairs(conditions.len()) {
            let detail = format!(
                "{} conditions have {} pairs, but {} dissimilarities are given",
                conditions.len(),
                pairs(conditions.len()),
                values.len()
            );
            return Err(Error::unprocessable("rdm_size", detail));
        }
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return Err(Error::unprocessable("rdm_value", format!("dissimilarity {at} is not a finite number")));
        }
        Ok(Self { conditions, values, dropped: Vec::new() })
    }

    /// A matrix from rows `(i, j, value)` as they are published; the order of `i` and `j` is free.
    ///
    /// A condition with no pair at all, or only with missing values, is dropped. Where a condition has
    /// some pairs and lacks others the matrix is refused, because no comparison can fill them in.
    pub fn from_pairs(rows: &[(String, String, f64)]) -> Result<Self> {
        let mut index: HashMap<&str, usize> = HashMap::new();
        let mut names: Vec<&str> = Vec::new();
        for (i, j, _) in rows {
            for name in [i, j] {
                index.entry(name).or_insert_with(|| {
                    names.push(name);
                    names.len() - 1
                });
            }
        }
        let n = names.len();
        limit(n)?;
        let mut values = vec![f32::NAN; pairs(n)];
        for (row, (i, j, value)) in rows.iter().enumerate() {
            let (a, b) = (index[i.as_str()], index[j.as_str()]);
            let row = row as u64 + 1;
            if a == b {
                if *value != 0.0 && value.is_finite() {
                    let detail = Detail::row(row, format!("the dissimilarity of `{i}` to itself must be 0"));
                    let message = "a condition is dissimilar to itself";
                    return Err(Error::unprocessable("rdm_diagonal", message).with_details([detail]));
                }
                continue;
            }
            let slot = &mut values[pair_index(n, a, b)];
            let value = *value as f32;
            if slot.is_finite() && *slot != value {
                let detail = Detail::row(row, format!("`{i}` and `{j}` were given another value before"));
                let message = "a pair has two different dissimilarities";
                return Err(Error::unprocessable("rdm_duplicate", message).with_details([detail]));
            }
            *slot = value;
        }
        let known = |i: usize| (0..n).filter(|&j| j != i && values[pair_index(n, i, j)].is_finite()).count();
        let kept: Vec<usize> = (0..n).filter(|&i| known(i) > 0).collect();
        let missing = |&i: &usize| Dropped { condition: names[i].to_owned(), reason: "no dissimilarities".into() };
        let dropped = (0..n).filter(|i| !kept.contains(i)).map(|i| missing(&i)).collect();
        let mut gaps = Vec::new();
        for (at, &i) in kept.iter().enumerate() {
            for &j in &kept[at + 1..] {
                if !values[pair_index(n, i, j)].is_finite() {
                    gaps.push(Detail { reason: format!("`{}` and `{}`", names[i], names[j]), ..Detail::default() });
                }
            }
        }
        if !gaps.is_empty() {
            let message = format!("{} pairs of conditions have no dissimilarity", gaps.len());
            return Err(Error::unprocessable("rdm_incomplete", message).with_details(gaps));
        }
        let mut rdm = Self { conditions: names.into_iter().map(str::to_owned).collect(), values, dropped };
        if kept.len() < n {
            let (conditions, values) = (rdm.names_at(&kept), rdm.values_at(&kept));
            (rdm.conditions, rdm.values) = (conditions, values);
        }
        Ok(rdm)
    }

    /// Number of conditions.
    pub fn len(&self) -> usize {
        self.conditions.len()
    }

    /// Whether it has no conditions.
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// The dissimilarity of two conditions, 0 for a condition and itself.
    pub fn get(&self, i: usize, j: usize) -> f32 {
        if i == j { 0.0 } else { self.values[pair_index(self.len(), i, j)] }
    }

    fn names_at(&self, kept: &[usize]) -> Vec<String> {
        kept.iter().map(|&i| self.conditions[i].clone()).collect()
    }

    fn values_at(&self, kept: &[usize]) -> Vec<f32> {
        let mut values = Vec::with_capacity(pairs(kept.len()));
        for (at, &i) in kept.iter().enumerate() {
            values.extend(kept[at + 1..].iter().map(|&j| self.get(i, j)));
        }
        values
    }
}

pub(crate) fn limit(n: usize) -> Result<()> {
    if n > MAX_CONDITIONS {
        let message = format!("{n} conditions; at most {MAX_CONDITIONS} can be compared");
        return Err(Error::new(crate::Kind::TooLarge, "too_many_conditions", message));
    }
    Ok(())
}

fn check_names(names: &[String]) -> Result<()> {
    limit(names.len())?;
    let mut seen = std::collections::HashSet::new();
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        Some(twice) => {
            Err(Error::unprocessable("duplicate_condition", format!("the condition `{twice}` occurs twice")))
        }
        None => Ok(()),
    }
}

/// Matrices over the same conditions in the same order, and what had to be left out for that.
#[derive(Clone, Debug, PartialEq)]
pub struct Aligned {
    /// The shared conditions, in the order of the first matrix.
    pub conditions: Vec<String>,
    /// The values of each matrix over them.
    pub values: Vec<Vec<f32>>,
    /// Conditions that not all matrices have.
    pub dropped: Vec<Dropped>,
}

/// Restricts named matrices to the conditions they share, matched by name.
pub fn align(rdms: Vec<(&str, Rdm)>) -> Result<Aligned> {
    let Some((_, first)) = rdms.first() else {
        return Err(Error::unprocessable("nothing_to_compare", "no dissimilarity matrix is given"));
    };
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for (_, rdm) in &rdms {
        check_names(&rdm.conditions)?;
        for name in &rdm.conditions {
            *counts.entry(name).or_default() += 1;
        }
    }
    let shared: Vec<String> =
        first.conditions.iter().filter(|name| counts[name.as_str()] == rdms.len()).cloned().collect();
    if shared.len() < MIN_CONDITIONS {
        let example = |rdm: &Rdm| rdm.conditions.first().cloned().unwrap_or_default();
        let details = rdms.iter().map(|(system, rdm)| Detail {
            reason: format!("`{system}` has {} conditions, such as `{}`", rdm.len(), example(rdm)),
            ..Detail::default()
        });
        let message = format!(
            "only {} conditions have the same name in everything that is compared; {MIN_CONDITIONS} are needed",
            shared.len()
        );
        return Err(Error::unprocessable("conditions_do_not_match", message).with_details(details));
    }
    let mut dropped = Vec::new();
    let mut named = std::collections::HashSet::new();
    for (system, rdm) in &rdms {
        for lost in &rdm.dropped {
            if named.insert(lost.condition.clone()) {
                let reason = format!("`{system}`: {}", lost.reason);
                dropped.push(Dropped { condition: lost.condition.clone(), reason });
            }
        }
    }
    for (_, rdm) in &rdms {
        for name in rdm.conditions.iter().filter(|name| counts[name.as_str()] < rdms.len()) {
            if named.insert(name.clone()) {
                let without: Vec<&str> =
                    rdms.iter().filter(|(_, r)| !r.conditions.contains(name)).map(|(system, _)| *system).collect();
                let reason = format!("not in `{}`", without.join("`, `"));
                dropped.push(Dropped { condition: name.clone(), reason });
            }
        }
    }
    let mut values = Vec::with_capacity(rdms.len());
    for (_, rdm) in rdms {
        if rdm.conditions == shared {
            values.push(rdm.values);
            continue;
        }
        let at: HashMap<&str, usize> = rdm.conditions.iter().enumerate().map(|(i, name)| (name.as_str(), i)).collect();
        let kept: Vec<usize> = shared.iter().map(|name| at[name.as_str()]).collect();
        values.push(rdm.values_at(&kept));
    }
    Ok(Aligned { conditions: shared, values, dropped })
}
