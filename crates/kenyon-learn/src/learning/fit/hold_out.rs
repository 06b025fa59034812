//! Which rows of a table are held out, by the request.

use crate::data::split::{self, Split};
use crate::data::target::Encoded;
use crate::data::{Column, Table};
use crate::learning::{FitSpec, Validation};
use crate::{Detail, Error, Result};
use std::collections::HashMap;

/// The rows of each part; `share` are held out where the request leaves it open. Where there are `passes` to choose from, some rows
/// choose one: of those held out, or, where the request names those, of the others by the same rule.
pub(super) fn hold_out(table: &Table, targets: &Encoded, spec: &FitSpec, share: f32, passes: bool) -> Result<Split> {
    // Of a draw of its own: with the same one, the rows would be drawn as the first ones were.
    let inner = spec.seed.wrapping_add(1);
    let at_random = |of: &Encoded, share| split::split(of, share, inner);
    Ok(match &spec.validation {
        Validation::Auto => {
            let outer = split::split(targets, share, spec.seed)?;
            if passes { outer.with_stopping(targets, inner) } else { outer }
        }
        Validation::Share(share) => {
            let outer = split::split(targets, *share, spec.seed)?;
            if passes { outer.with_stopping_by(targets, inner, at_random) } else { outer }
        }
        Validation::Newest { column, share } => {
            let order = moments(table, column)?;
            let newest = |of: &Encoded, share| split::newest(of, &order, share);
            let outer = newest(targets, *share)?;
            if passes { outer.with_stopping_by(targets, inner, newest) } else { outer }
        }
        Validation::Groups { column, share } => {
            let groups = groups(table, column)?;
            let outer = split::groups(targets, &groups, *share, spec.seed)?;
            let whole = |of: &Encoded, share| split::groups(of, &groups, share, inner);
            if passes { outer.with_stopping_by(targets, inner, whole) } else { outer }
        }
        Validation::From(row) => {
            let outer = split::held_out(targets, &(*row..table.rows).collect::<Vec<_>>())?;
            if passes { outer.with_stopping_by(targets, inner, at_random) } else { outer }
        }
    })
}

fn column<'t>(table: &'t Table, name: &str) -> Result<&'t Column> {
    table.column(name).ok_or_else(|| bad(name, "the data has no such column"))
}

fn bad(name: &str, reason: &str) -> Error {
    Error::unprocessable("bad_validation", format!("validation: {name}: {reason}"))
        .with_details([Detail::path("validation.column", reason)])
}

fn moments(table: &Table, name: &str) -> Result<Vec<f64>> {
    match column(table, name)? {
        Column::Number(values) | Column::Timestamp(values) => Ok(values.clone()),
        _ => Err(bad(name, "rows can be ordered by times or numbers only")),
    }
}

/// The group of each row; none where it has no value.
fn groups(table: &Table, name: &str) -> Result<Vec<Option<u64>>> {
    match column(table, name)? {
        Column::Number(values) | Column::Timestamp(values) => {
            Ok(values.iter().map(|v| (!v.is_nan()).then(|| (v + 0.0).to_bits())).collect())
        }
        Column::Boolean(values) => Ok(values.iter().map(|v| v.map(u64::from)).collect()),
        Column::Category(values) | Column::Text(values) => {
            let mut ids: HashMap<&str, u64> = HashMap::new();
            let mut id = |name| {
                let next = ids.len() as u64;
                *ids.entry(name).or_insert(next)
            };
            Ok(values.iter().map(|v| v.as_deref().map(&mut id)).collect())
        }
        _ => Err(bad(name, "lists do not name groups")),
    }
}
