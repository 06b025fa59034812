//! Names of columns, completed: columns without a name, or with a name that
//! another column has, get a generated name, with a warning.

use super::{Limits, RowSink, too_many_columns};
use crate::Result;
use crate::data::schema::ColumnKind;
use crate::data::warning::{Warning, WarningCode};
use std::collections::HashSet;

/// The name of a first column that has none, mostly the row numbers that pandas and R write.
pub(in crate::data) const INDEX: &str = "index";

/// Sends the columns to `sink`, each with the kind given by `kind`.
pub(super) fn send(
    raw: Vec<String>,
    limits: &Limits,
    sink: &mut impl RowSink,
    kind: impl Fn(usize) -> Option<ColumnKind>,
) -> Result<()> {
    if raw.len() > limits.columns {
        return Err(too_many_columns(limits));
    }
    // Names from the file keep their columns; generated ones avoid them.
    let mut taken: HashSet<String> = raw.iter().filter(|n| !n.trim().is_empty()).cloned().collect();
    let mut seen: HashSet<&str> = HashSet::new();
    for (i, name) in raw.iter().enumerate() {
        if name.trim().is_empty() {
            let base = if i == 0 { INDEX.to_owned() } else { format!("column_{}", i + 1) };
            let own = free(&base, &mut taken);
            sink.column(&own, kind(i))?;
            sink.unnamed(i);
            let detail = format!("column {} has no name in the file and is read as '{own}'", i + 1);
            sink.warn(Warning::new(WarningCode::UnnamedColumn, Some(&own), detail));
        } else if !seen.insert(name) {
            let own = free(name, &mut taken);
            sink.column(&own, kind(i))?;
            let detail =
                format!("column {} has the name '{name}', which another column has; it is read as '{own}'", i + 1);
            sink.warn(Warning::new(WarningCode::UnnamedColumn, Some(&own), detail));
        } else {
            sink.column(name, kind(i))?;
        }
    }
    Ok(())
}

/// `base`, or `base` with the first number from 2 that makes it unique.
fn free(base: &str, taken: &mut HashSet<String>) -> String {
    let mut name = base.to_owned();
    let mut n = 2;
    while !taken.insert(name.clone()) {
        name = format!("{base}_{n}");
        n += 1;
    }
    name
}
