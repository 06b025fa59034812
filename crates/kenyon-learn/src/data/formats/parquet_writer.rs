//! Lines of JSON objects as a Parquet file. The type of a column follows from all its values: numbers, booleans,
//! times and lists stay what they are; values of several types are written as text.

use crate::{Error, Result};
use arrow_array::builder::{Float64Builder, ListBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, Write};
use std::sync::Arc;

/// Rows that are held in memory at once.
const GROUP: usize = 16 << 10;

/// What the values of a column have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Common {
    Nothing,
    Boolean,
    Integer,
    Unsigned,
    Number,
    Time,
    Text,
    Numbers,
    Texts,
}

impl Common {
    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Nothing,
            Value::Bool(_) => Self::Boolean,
            Value::Number(n) if n.is_i64() => Self::Integer,
            Value::Number(n) if n.is_u64() => Self::Unsigned,
            Value::Number(_) => Self::Number,
            Value::String(text) if microseconds(text).is_some() => Self::Time,
            Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_number) => Self::Numbers,
            Value::Array(_) => Self::Texts,
            Value::String(_) | Value::Object(_) => Self::Text,
        }
    }

    /// The type that holds both; `negative` if integers below zero are among them.
    fn with(self, other: Self, negative: bool) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::Nothing, a) | (a, Self::Nothing) => a,
            (Self::Integer, Self::Unsigned) | (Self::Unsigned, Self::Integer) if !negative => Self::Unsigned,
            (Self::Integer, Self::Number) | (Self::Number, Self::Integer) => Self::Number,
            (Self::Numbers, Self::Texts) | (Self::Texts, Self::Numbers) => Self::Texts,
            _ => Self::Text,
        }
    }

    fn data_type(self) -> DataType {
        let list = |item| DataType::List(Arc::new(Field::new("item", item, true)));
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Integer => DataType::Int64,
            Self::Unsigned => DataType::UInt64,
            Self::Number => DataType::Float64,
            Self::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Nothing | Self::Text => DataType::Utf8,
            Self::Numbers => list(DataType::Float64),
            Self::Texts => list(DataType::Utf8),
        }
    }
}

/// A time in RFC 3339, in microseconds; none where they do not hold it exactly.
fn microseconds(text: &str) -> Option<i64> {
    let time = (text.len() >= 20).then(|| text.parse::<jiff::Timestamp>().ok())??;
    (time.subsec_nanosecond() % 1_000 == 0).then(|| time.as_microsecond())
}

/// A value as text: a string itself, all else as JSON.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// The values of some rows of one column.
struct Pending {
    kind: Common,
    values: Vec<Value>,
}

impl Pending {
    fn array(&mut self) -> ArrayRef {
        let values = std::mem::take(&mut self.values);
        match self.kind {
            Common::Boolean => Arc::new(BooleanArray::from_iter(values.iter().map(Value::as_bool))),
            Common::Integer => Arc::new(Int64Array::from_iter(values.iter().map(Value::as_i64))),
            Common::Unsigned => Arc::new(UInt64Array::from_iter(values.iter().map(Value::as_u64))),
            Common::Number => Arc::new(Float64Array::from_iter(values.iter().map(Value::as_f64))),
            Common::Time => {
                let times = values.iter().map(|value| value.as_str().and_then(microseconds));
                Arc::new(TimestampMicrosecondArray::from_iter(times).with_timezone("UTC"))
            }
            Common::Nothing | Common::Text => Arc::new(StringArray::from_iter(values.iter().map(text))),
            Common::Numbers => {
                let mut lists = ListBuilder::new(Float64Builder::new());
                lists.extend(values.iter().map(|value| Some(value.as_array()?.iter().map(Value::as_f64))));
                Arc::new(lists.finish())
            }
            Common::Texts => {
                let mut lists = ListBuilder::new(StringBuilder::new());
                lists.extend(values.iter().map(|value| Some(value.as_array()?.iter().map(text))));
                Arc::new(lists.finish())
            }
        }
    }
}

/// Writes the objects of `lines`, one a line, as Parquet. Memory is bounded by a few thousand rows.
///
/// # Errors
/// A line that is no object ([`Internal`](crate::Kind::Internal): the lines are the program's own), or the error of a file.
pub fn parquet_of_lines(lines: &mut File, out: impl Write + Send) -> Result<()> {
    let mut columns: Vec<(String, Pending)> = Vec::new();
    let mut index: HashMap<String, usize> = HashMap::new();
    let mut negative: Vec<bool> = Vec::new();
    objects(lines, |object| {
        for (name, value) in object {
            let at = *index.entry(name.clone()).or_insert_with(|| {
                columns.push((name.clone(), Pending { kind: Common::Nothing, values: Vec::new() }));
                negative.push(false);
                columns.len() - 1
            });
            negative[at] |= value.as_i64().is_some_and(|x| x < 0);
            let kind = &mut columns[at].1.kind;
            *kind = kind.with(Common::of(&value), negative[at]);
        }
        Ok(())
    })?;
    let fields: Vec<Field> =
        columns.iter().map(|(name, column)| Field::new(name, column.kind.data_type(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let level = ZstdLevel::try_new(1).map_err(Error::internal)?;
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
    let mut writer = ArrowWriter::try_new(out, Arc::clone(&schema), Some(properties)).map_err(Error::internal)?;
    let mut rows = 0;
    let mut group = |columns: &mut Vec<(String, Pending)>| -> Result<()> {
        let arrays = columns.iter_mut().map(|(_, column)| column.array()).collect();
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).map_err(Error::internal)?;
        writer.write(&batch).map_err(Error::internal)?;
        writer.flush().map_err(Error::internal)
    };
    objects(lines, |mut object| {
        for (name, column) in &mut columns {
            column.values.push(object.get_mut(name.as_str()).map_or(Value::Null, Value::take));
        }
        rows += 1;
        if rows % GROUP == 0 { group(&mut columns) } else { Ok(()) }
    })?;
    if rows % GROUP > 0 {
        group(&mut columns)?;
    }
    writer.close().map_err(Error::internal)?;
    Ok(())
}

/// Gives the object of each line to `take`, from the first line on.
fn objects(lines: &mut File, mut take: impl FnMut(Map<String, Value>) -> Result<()>) -> Result<()> {
    lines.rewind()?;
    let mut reader = BufReader::with_capacity(256 << 10, &mut *lines);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        take(serde_json::from_slice(&line).map_err(Error::internal)?)?;
        line.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::formats::{self, Limits};
    use crate::data::{ColumnKind, plan, schema};
    use serde_json::json;

    #[test]
    fn what_is_written_is_read_again_with_its_types() {
        let mut lines = tempfile::tempfile().unwrap();
        for i in 0..40i64 {
            let line = json!({
                "id": (1i64 << 53) + i, "big": u64::MAX - 3, "x": f64::from(i as i32) / 8.0, "yes": i % 2 == 0,
                "at": format!("2024-01-02T03:04:{:02}.000250Z", i), "name": format!("n{}", i % 3),
                "v": [i, 0.5], "set": if i % 2 == 0 { json!(["a", "b"]) } else { json!([]) },
                "mixed": if i == 7 { json!("seven") } else { json!(i) }, "none": null,
            });
            writeln!(lines, "{line}").unwrap();
        }
        writeln!(lines, "{}", json!({ "error": "too late" })).unwrap();
        let mut out = tempfile::NamedTempFile::new().unwrap();
        parquet_of_lines(&mut lines, &mut out).unwrap();
        let part = formats::detect(out.path(), None, None).unwrap();
        let found = schema::infer(&part, &Limits::default()).unwrap();
        let kind = |name: &str| found.columns.iter().find(|c| c.name == name).unwrap().kind;
        assert_eq!((found.rows, kind("at"), kind("yes")), (41, ColumnKind::Timestamp, ColumnKind::Boolean));
        assert_eq!((kind("x"), kind("v"), kind("set")), (ColumnKind::Number, ColumnKind::Vector, ColumnKind::Sequence));
        let rows = plan::read_rows(&[part], &found.columns, 0, 50, &Limits::default()).unwrap();
        assert_eq!((&rows[3]["id"], &rows[3]["big"]), (&json!((1i64 << 53) + 3), &json!(u64::MAX - 3)));
        assert_eq!((&rows[3]["v"], &rows[7]["mixed"]), (&json!([3, 0.5]), &json!("seven")));
        assert_eq!(rows[40]["error"], json!("too late"));
    }
}
