//! Stored datasets as files that `data` can read.

use crate::store::{Dataset, Store};
use crate::{Error, Result};
use kenyon_learn::data::formats::{ReadOptions, RowFile};
use kenyon_learn::data::schema::Summary;
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

/// The schema as it was stored with the dataset.
pub fn summary(columns: &Value) -> Result<Summary> {
    serde_json::from_value(columns.clone()).map_err(Error::internal)
}
