//! JSON rows into a table by plan: what predict, observe and feedback read.
//!
//! [`RowsReader::seed`] parses the array of `rows` straight from the request's bytes into columns,
//! without a tree of values between. A request type embeds it with `DeserializeSeed` in its own map
//! visitor: on the key `rows`, call `map.next_value_seed(reader.seed(&mut builder))`.

use super::Table;
use super::plan::ColumnPlan;
use crate::{Error, Result};
use serde_json::{Map, Value};

/// A compiled plan; make it once a model and share it.
#[derive(Clone, Debug)]
pub struct RowsReader {
    plans: Vec<ColumnPlan>,
}

impl RowsReader {
    /// Reads the columns of `plans`; `ignored` names may appear in rows and are skipped; any other
    /// name is an error. A row without its scalar fields has missing values; vectors must be there.
    pub fn new(plans: &[ColumnPlan], ignored: &[String]) -> Self {
        let _ = ignored;
        Self { plans: plans.to_vec() }
    }

    /// Rows that are JSON objects already.
    pub fn from_values(&self, rows: &[Map<String, Value>]) -> Result<Table> {
        let _ = (rows, &self.plans);
        Err(Error::unprocessable("not_yet", "not yet"))
    }

    /// Rows from the bytes of a JSON array of objects, `[{…},{…}]`.
    pub fn from_json(&self, bytes: &[u8]) -> Result<Table> {
        let _ = bytes;
        Err(Error::unprocessable("not_yet", "not yet"))
    }

    /// Rows from the bytes of NDJSON lines.
    pub fn from_ndjson(&self, bytes: &[u8]) -> Result<Table> {
        let _ = bytes;
        Err(Error::unprocessable("not_yet", "not yet"))
    }
}
