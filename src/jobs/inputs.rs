//! Stored datasets as files that `data` can read.

use super::train_request::weight_column;
use crate::store::{Dataset, Store};
use crate::{Detail, Error, Result};
use kenyon_learn::data::formats::{ReadOptions, RowFile};
use kenyon_learn::data::plan::ColumnPlan;
use kenyon_learn::data::schema::{Summary, column_names};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The parts of a dataset as local files, in order.
pub async fn local_parts(store: &Store, dataset: &Dataset) -> Result<Vec<RowFile>> {
    let mut parts = Vec::with_capacity(dataset.parts.len());
    for part in &dataset.parts {
        let path = store.part_path(part).await?;
        let read_as = Option::<ReadOptions>::deserialize(&part.read_as).map_err(Error::internal)?.unwrap_or_default();
        let (format, compression) = (named(&part.format)?, named(&part.compression)?);
        parts.push(RowFile { path, format, compression, read_as });
    }
    Ok(parts)
}

/// The name under which an enum was stored.
fn named<T: DeserializeOwned>(name: &str) -> Result<T> {
    T::deserialize(Value::from(name)).map_err(Error::internal)
}

/// How a dataset is read to evaluate a model that reads `inputs` and predicts `target`: with them the column `weight` that its training
/// had, where the dataset has it.
///
/// # Errors
/// 422 `unknown_column` where a column is missing, and `bad_weight` as for a training.
pub fn evaluation_columns(
    target: &ColumnPlan,
    inputs: &[ColumnPlan],
    weight: Option<&str>,
    summary: &Summary,
) -> Result<Vec<ColumnPlan>> {
    let names = column_names(summary);
    let mut columns = vec![target.clone()];
    columns.extend(inputs.iter().cloned());
    // As files are read: some member of a group is enough.
    let is_there = |column: &&ColumnPlan| {
        let mut own = std::iter::once(&column.name).chain(column.members.iter().flatten());
        own.any(|name| names.contains(name))
    };
    let lacking: Vec<&ColumnPlan> = columns.iter().filter(|column| !is_there(column)).collect();
    if let Some(first) = lacking.first() {
        let detail = format!("the data has no column '{}'", first.name);
        let place = |column: &&ColumnPlan| Detail::column(&column.name, "the data has no such column");
        return Err(Error::unprocessable("unknown_column", detail).with_details(lacking.iter().map(place)));
    }
    let weight = weight.filter(|name| columns.iter().all(|column| column.name != **name));
    if let Some(name) = weight.filter(|name| summary.columns.iter().any(|column| column.name == **name)) {
        columns.push(weight_column(summary, name, &target.name)?);
    }
    Ok(columns)
}

/// The schema as it was stored with the dataset.
pub fn summary(columns: &Value) -> Result<Summary> {
    serde_json::from_value(columns.clone()).map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use kenyon_learn::data::schema::{ColumnInfo, ColumnKind};

    fn summary(columns: &[(&str, ColumnKind)]) -> Summary {
        let column = |(name, kind): &(&str, ColumnKind)| ColumnInfo::empty((*name).to_owned(), *kind);
        Summary { columns: columns.iter().map(column).collect(), ..Summary::default() }
    }

    #[test]
    fn what_an_evaluation_needs_is_named_and_weights_are_read_where_they_are() {
        let (number, category) = (ColumnKind::Number, ColumnKind::Category);
        let target = ColumnPlan::new("y", category);
        let group = ColumnPlan { members: Some(vec!["p0".into(), "p1".into()]), ..ColumnPlan::new("p", number) };
        let inputs = [ColumnPlan::new("x", number), group];
        let read = |columns: &[(&str, ColumnKind)]| {
            let found = evaluation_columns(&target, &inputs, Some("w"), &summary(columns));
            found.map(|plans| plans.into_iter().map(|plan| plan.name).collect::<Vec<_>>())
        };
        let all = [("y", category), ("x", number), ("p1", number)];
        assert_eq!(read(&all).unwrap(), ["y", "x", "p"]);
        assert_eq!(read(&[&all[..], &[("w", number)]].concat()).unwrap(), ["y", "x", "p", "w"]);
        assert_eq!(read(&[&all[..], &[("w", category)]].concat()).unwrap_err().code, "bad_weight");
        let error = read(&all[2..]).unwrap_err();
        assert_eq!((error.code, error.detail.as_str()), ("unknown_column", "the data has no column 'y'"));
        assert_eq!(error.details.len(), 2, "{:?}", error.details);
    }
}
