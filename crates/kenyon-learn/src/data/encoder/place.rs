//! Positions: latitude and longitude carry information only together, so a network that reads bins of each gets
//! bins along the two diagonals as well, and can split a map in eight directions instead of four.

use super::bins::{edges, push_bins};
use super::scale::Scale;
use crate::data::plan::ColumnPlan;
use crate::data::{Batch, Column, ColumnKind, Table};
use serde::{Deserialize, Serialize};

/// Names of columns of latitudes and longitudes, after a prefix that distinguishes several positions of a row.
const NAMES: [&[&str]; 2] = [&["latitude", "lat"], &["longitude", "long", "lng", "lon"]];

/// Bins along a diagonal; they belong to one of the two columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Diagonal {
    /// The other column.
    pub(super) with: String,
    /// Mean of either column, and what its distance from that is multiplied by.
    own: (f64, f64),
    other: (f64, f64),
    edges: Vec<f64>,
}

/// The other column of the pair of `plan`, and whether it is the longitude.
fn other<'a>(plan: &ColumnPlan, inputs: &'a [ColumnPlan]) -> Option<(&'a str, bool)> {
    let half = |name: &str| {
        let name = name.to_lowercase();
        let of = |which: usize| NAMES[which].iter().find_map(|end| name.strip_suffix(end)).map(str::to_owned);
        of(0).map(|prefix| (prefix, false)).or_else(|| of(1).map(|prefix| (prefix, true)))
    };
    let (prefix, is_longitude) = half(&plan.name)?;
    // In "flat" or "along" the name is part of a word.
    if prefix.ends_with(char::is_alphanumeric) {
        return None;
    }
    let is_other =
        |p: &&ColumnPlan| p.kind == ColumnKind::Number && half(&p.name) == Some((prefix.clone(), !is_longitude));
    inputs.iter().find(is_other).map(|other| (other.name.as_str(), !is_longitude))
}

impl Diagonal {
    /// At most `bins` bins over `rows`; none where `plan` is not part of a pair, or a column of it does not vary.
    pub(super) fn fit(
        table: &Table,
        plan: &ColumnPlan,
        inputs: &[ColumnPlan],
        rows: &[usize],
        bins: usize,
    ) -> Option<Self> {
        let (with, is_longitude) = other(plan, inputs)?;
        let (Column::Number(own), Column::Number(other)) = (table.column(&plan.name)?, table.column(with)?) else {
            return None;
        };
        let unit = |values: &[f64]| {
            let mut scale = Scale::default();
            rows.iter().for_each(|&row| scale.push(values[row]));
            let deviation = (scale.squares / scale.count).sqrt();
            (deviation > 0.0).then(|| (scale.mean, 1.0 / deviation))
        };
        let (own_unit, (mean, factor)) = (unit(own)?, unit(other)?);
        // Latitudes have the sum, longitudes the difference.
        let factor = if is_longitude { factor } else { -factor };
        let mut found = Self { with: with.into(), own: own_unit, other: (mean, factor), edges: Vec::new() };
        let mut values: Vec<f64> = rows.iter().map(|&row| found.at(own[row], other[row])).collect();
        values.retain(|v| v.is_finite());
        values.sort_by(f64::total_cmp);
        found.edges = edges(&values, bins);
        (found.edges.len() > 2).then_some(found)
    }

    fn at(&self, own: f64, other: f64) -> f64 {
        (own - self.own.0) * self.own.1 + (other - self.other.0) * self.other.1
    }

    /// Number of feature indices.
    pub(super) fn width(&self) -> usize {
        self.edges.len().saturating_sub(1)
    }

    /// Pushes the bins of a row where both columns have a value.
    pub(super) fn push(&self, own: f64, other: f64, start: u32, batch: &mut Batch) {
        let value = self.at(own, other);
        if value.is_finite() {
            push_bins(&self.edges, value, start, batch);
        }
    }
}
