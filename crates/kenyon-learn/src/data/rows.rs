//! JSON rows into a table by plan: what predict, observe and feedback read.
//!
//! [`RowsBuilder::seed`] parses the array of `rows` directly from the request's bytes into columns,
//! without a tree of values between. A request type embeds it in its own map visitor:
//!
//! ```text
//! let mut builder = reader.builder();
//! // in `Visitor::visit_map`, on the key "rows":
//! map.next_value_seed(builder.seed())?;
//! // after the whole body was read; bad cells are returned here, all of them at once:
//! let table = builder.finish()?;
//! ```

mod chunks;
mod quick;

pub use chunks::{Chunk, ChunkPlan, read_chunks};

use super::Table;
use super::builder::{Compiled, Slot, TableBuilder};
use super::formats::json::{CellSeed, KeySeed};
use super::plan::ColumnPlan;
use crate::{Detail, Error, Result};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;
use std::sync::Arc;

/// A compiled plan; make it once a model and share it. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct RowsReader {
    compiled: Arc<Compiled>,
}

impl RowsReader {
    /// Reads the columns of `plans`; `ignored` names may appear in rows and are skipped; any other
    /// name is an error. A row without its scalar fields has missing values; vectors must be there,
    /// as one list or as all their columns.
    pub fn new(plans: &[ColumnPlan], ignored: &[String]) -> Self {
        Self { compiled: Compiled::new(plans, ignored) }
    }

    /// How the rows are read.
    pub fn plans(&self) -> &[ColumnPlan] {
        &self.compiled.plans
    }

    /// Whether a row may have a field of this name.
    pub fn has_field(&self, name: &str) -> bool {
        self.compiled.find(name, 0).is_some()
    }

    /// An empty builder to parse rows into.
    pub fn builder(&self) -> RowsBuilder {
        RowsBuilder { inner: TableBuilder::new(&self.compiled, true), rows: 0 }
    }

    /// Rows that are JSON objects already.
    pub fn from_values(&self, rows: &[Map<String, Value>]) -> Result<Table> {
        let mut builder = self.builder();
        for row in rows {
            builder.push(row);
        }
        builder.finish()
    }

    /// Rows from the bytes of a JSON array of objects, `[{…},{…}]`.
    pub fn from_json(&self, bytes: &[u8]) -> Result<Table> {
        let mut builder = self.builder();
        if quick::read(bytes, &mut builder).is_some() {
            return builder.finish();
        }
        let mut builder = self.builder();
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let read = builder.seed().deserialize(&mut deserializer).and_then(|()| deserializer.end());
        read.map_err(|e| Error::malformed("invalid_json", format!("the rows cannot be read: {e}")))?;
        builder.finish()
    }

    /// Rows from the bytes of NDJSON lines.
    pub fn from_ndjson(&self, bytes: &[u8]) -> Result<Table> {
        let mut builder = self.builder();
        for line in bytes.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
            builder.push_line(line)?;
        }
        builder.finish()
    }
}

/// Rows under construction.
#[derive(Debug)]
pub struct RowsBuilder {
    inner: TableBuilder,
    rows: usize,
}

impl RowsBuilder {
    /// Rows read so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Parses a JSON array of row objects when deserialised.
    pub fn seed(&mut self) -> RowsSeed<'_> {
        RowsSeed(self)
    }

    /// Parses one row object when deserialised.
    pub fn row_seed(&mut self) -> RowSeed<'_> {
        RowSeed(self)
    }

    /// Appends a row that is a JSON object already.
    pub fn push(&mut self, row: &Map<String, Value>) {
        let mut hint = 0;
        for (key, value) in row {
            let slot = self.slot(key, &mut hint);
            // A tree of values deserialises without errors.
            let _ = self.read(slot, value);
        }
        self.close();
    }

    /// Appends the row object in `line`.
    pub fn push_line(&mut self, line: &[u8]) -> Result<()> {
        let row = self.rows as u64;
        let mut deserializer = serde_json::Deserializer::from_slice(line);
        let read = self.row_seed().deserialize(&mut deserializer).and_then(|()| deserializer.end());
        read.map_err(|e| {
            let reason = if e.is_data() { "a row must be a JSON object".to_owned() } else { e.to_string() };
            Error::malformed("invalid_json", format!("row {row} cannot be read as a JSON object"))
                .with_details([Detail::row(row, reason)])
        })
    }

    /// The rows as a table, or the errors in them.
    pub fn finish(self) -> Result<Table> {
        self.inner.finish()
    }

    fn slot(&mut self, key: &str, hint: &mut usize) -> Slot {
        match self.inner.compiled.find(key, *hint) {
            Some(i) => {
                *hint = i + 1;
                self.inner.compiled.names[i].1
            }
            None => {
                self.inner.unknown(key);
                Slot::Skip
            }
        }
    }

    fn read<'de, D: Deserializer<'de>>(&mut self, slot: Slot, value: D) -> Result<(), D::Error> {
        // The list moves out while the builder takes the cell that borrows it.
        let mut list = std::mem::take(&mut self.inner.list);
        let read = CellSeed { list: &mut list, take: |cell: super::cell::Cell<'_>| self.inner.put(slot, cell) };
        let result = read.deserialize(value);
        self.inner.list = list;
        result
    }

    fn close(&mut self) {
        self.inner.close_row();
        self.rows += 1;
    }
}

/// Deserialises an array of row objects into a [`RowsBuilder`].
pub struct RowsSeed<'b>(&'b mut RowsBuilder);

impl<'de> DeserializeSeed<'de> for RowsSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for RowsSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(RowSeed(&mut *self.0))?.is_some() {}
        Ok(())
    }
}

/// Deserialises one row object into a [`RowsBuilder`].
pub struct RowSeed<'b>(&'b mut RowsBuilder);

impl<'de> DeserializeSeed<'de> for RowSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RowSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row as a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let builder = self.0;
        let mut hint = 0;
        while let Some(slot) = map.next_key_seed(KeySeed(|key: &str| builder.slot(key, &mut hint)))? {
            map.next_value_seed(ValueSeed { builder: &mut *builder, slot })?;
        }
        builder.close();
        Ok(())
    }
}

struct ValueSeed<'b> {
    builder: &'b mut RowsBuilder,
    slot: Slot,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.builder.read(self.slot, deserializer)
    }
}
