//! Parquet by way of the `parquet` crate: every column is cast to one of few arrow types, then sent
//! row by row.

use super::decode::{Source, uncarry};
use super::{Compression, Limits, Part, RowSink, check_names};
use crate::data::cell::{Cell, List};
use crate::data::schema::ColumnKind;
use crate::{Error, Result};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType, UInt64Type};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, ListArray, StringArray,
    TimestampMicrosecondArray, UInt64Array,
};
use arrow_schema::{DataType, Field, TimeUnit};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::fs::File;
use std::sync::Arc;

/// Sends all rows to `sink`. A file that was compressed as a whole is unpacked to a nameless temporary
/// file first, because Parquet is read from its end.
pub(super) fn read(part: &Part, mut source: Source, limits: &Limits, sink: &mut impl RowSink) -> Result<u64> {
    let file = if part.compression == Compression::None {
        File::open(&part.path)?
    } else {
        let mut unpacked = tempfile::tempfile()?;
        std::io::copy(&mut source, &mut unpacked).map_err(uncarry)?;
        unpacked
    };
    drop(source);
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(damaged)?;
    let schema = Arc::clone(builder.schema());
    check_names(schema.fields().iter().map(|f| f.name().as_str()), limits)?;
    for field in schema.fields() {
        let kind = matches!(field.data_type(), DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
            .then_some(ColumnKind::Timestamp);
        sink.column(field.name(), kind)?;
    }
    let batch_rows = (200_000 / schema.fields().len().max(1)).clamp(64, 4096);
    let mut list = List::default();
    let mut rows = 0;
    for batch in builder.with_batch_size(batch_rows).build().map_err(damaged)? {
        let batch = batch.map_err(damaged)?;
        let columns = batch.columns().iter().map(Typed::new).collect::<Result<Vec<_>>>()?;
        for row in 0..batch.num_rows() {
            for (i, column) in columns.iter().enumerate() {
                column.send(row, &mut list, |cell| sink.cell(i, cell));
            }
            rows += 1;
            if !sink.end_row()? {
                return Ok(rows);
            }
        }
    }
    if rows == 0 {
        return Err(Error::unprocessable("no_rows", "the file holds no rows"));
    }
    Ok(rows)
}

fn damaged(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    let mut damaged = Error::malformed("invalid_parquet", "the Parquet file is damaged, cut short or no Parquet file");
    damaged.cause = Some(error.into());
    damaged
}

/// A column as one of the types that are read.
enum Typed {
    Nothing,
    Integer(Int64Array),
    Unsigned(UInt64Array),
    Number(Float64Array),
    Boolean(BooleanArray),
    Moment(TimestampMicrosecondArray),
    Text(StringArray),
    Bytes(BinaryArray),
    Numbers(ListArray, Float64Array),
    Texts(ListArray, StringArray),
    Steps(ListArray, ListArray, Float64Array),
    Nested,
}

fn list_of(inner: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", inner, true)))
}

impl Typed {
    fn new(array: &ArrayRef) -> Result<Self> {
        let cast = |to: &DataType| arrow_cast::cast(array, to).map_err(damaged);
        Ok(match array.data_type() {
            DataType::Null => Self::Nothing,
            DataType::Boolean => Self::Boolean(array.as_boolean().clone()),
            t if t.is_signed_integer() => Self::Integer(cast(&DataType::Int64)?.as_primitive::<Int64Type>().clone()),
            t if t.is_unsigned_integer() => {
                Self::Unsigned(cast(&DataType::UInt64)?.as_primitive::<UInt64Type>().clone())
            }
            t if is_number(t) => Self::Number(cast(&DataType::Float64)?.as_primitive::<Float64Type>().clone()),
            DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
                let to = DataType::Timestamp(TimeUnit::Microsecond, None);
                Self::Moment(cast(&to)?.as_primitive::<TimestampMicrosecondType>().clone())
            }
            t if is_text(t) => Self::Text(cast(&DataType::Utf8)?.as_string::<i32>().clone()),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                Self::Bytes(cast(&DataType::Binary)?.as_binary::<i32>().clone())
            }
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                match item.data_type() {
                    t if is_number(t) || *t == DataType::Boolean => {
                        let lists = cast(&list_of(DataType::Float64))?.as_list::<i32>().clone();
                        let values = lists.values().as_primitive::<Float64Type>().clone();
                        Self::Numbers(lists, values)
                    }
                    t if is_text(t) => {
                        let lists = cast(&list_of(DataType::Utf8))?.as_list::<i32>().clone();
                        let values = lists.values().as_string::<i32>().clone();
                        Self::Texts(lists, values)
                    }
                    DataType::List(inner) | DataType::LargeList(inner) | DataType::FixedSizeList(inner, _)
                        if is_number(inner.data_type()) =>
                    {
                        let lists = cast(&list_of(list_of(DataType::Float64)))?.as_list::<i32>().clone();
                        let steps = lists.values().as_list::<i32>().clone();
                        let values = steps.values().as_primitive::<Float64Type>().clone();
                        Self::Steps(lists, steps, values)
                    }
                    _ => Self::Nested,
                }
            }
            _ => Self::Nested,
        })
    }

    fn send(&self, row: usize, list: &mut List, take: impl FnOnce(Cell<'_>)) {
        let number = |values: &Float64Array, i: usize| if values.is_null(i) { f64::NAN } else { values.value(i) };
        match self {
            Self::Integer(a) if !a.is_null(row) => take(Cell::Integer(a.value(row).into())),
            Self::Unsigned(a) if !a.is_null(row) => take(Cell::Integer(a.value(row).into())),
            Self::Number(a) if !a.is_null(row) && !a.value(row).is_nan() => take(Cell::Number(a.value(row))),
            Self::Boolean(a) if !a.is_null(row) => take(Cell::Boolean(a.value(row))),
            Self::Moment(a) if !a.is_null(row) => take(Cell::Moment(a.value(row) as f64 / 1e6)),
            Self::Text(a) if !a.is_null(row) => take(Cell::Text(a.value(row))),
            Self::Bytes(a) if !a.is_null(row) => take(Cell::Bytes(a.value(row))),
            Self::Numbers(a, values) if !a.is_null(row) => {
                list.clear();
                let range = span(a, row);
                list.len = range.len();
                list.numbers.extend(range.map(|i| number(values, i)));
                take(Cell::List(list));
            }
            Self::Texts(a, values) if !a.is_null(row) => {
                list.clear();
                for i in span(a, row).filter(|&i| !values.is_null(i)) {
                    list.push_text(values.value(i));
                    list.len += 1;
                }
                take(Cell::List(list));
            }
            Self::Steps(a, steps, values) if !a.is_null(row) => {
                list.clear();
                for step in span(a, row) {
                    let range = span(steps, step);
                    list.len += 1;
                    list.inner.push(range.len());
                    list.numbers.extend(range.map(|i| number(values, i)));
                }
                take(Cell::List(list));
            }
            Self::Nested => take(Cell::Nested),
            _ => take(Cell::Missing),
        }
    }
}

fn span(lists: &ListArray, row: usize) -> std::ops::Range<usize> {
    let offsets = lists.value_offsets();
    offsets[row] as usize..offsets[row + 1] as usize
}

fn is_number(t: &DataType) -> bool {
    t.is_numeric()
}

fn is_text(t: &DataType) -> bool {
    match t {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, value) => is_text(value),
        _ => false,
    }
}
