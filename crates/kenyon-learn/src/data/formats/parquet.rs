//! Parquet through the `parquet` crate: each column of a batch is matched on its arrow type once, then
//! sent row by row. Columns of types that no cell can hold are not decoded at all.

use super::decode::{Source, uncarry};
use super::{Compression, Limits, RowFile, RowSink, names};
use crate::data::cell::{Cell, List};
use crate::data::schema::ColumnKind;
use crate::{Error, Result};
use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryArray, BinaryViewArray, BooleanArray, FixedSizeBinaryArray,
    Float64Array, Int64Array, LargeBinaryArray, LargeStringArray, PrimitiveArray, StringArray, StringViewArray,
    UInt64Array,
};
use arrow_schema::{DataType, TimeUnit};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::LogicalType;
use std::fs::File;
use std::sync::Arc;

/// Sends all rows to `sink`. A file that was compressed as a whole is unpacked to a nameless temporary
/// file first, because Parquet is read from its end.
pub(super) fn read(part: &RowFile, mut source: Source, limits: &Limits, sink: &mut impl RowSink) -> Result<u64> {
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
    let raw = schema.fields().iter().map(|f| f.name().clone()).collect();
    names::send(raw, limits, sink, |i| kind_of(schema.field(i).data_type()))?;
    let mut readable = Vec::new();
    for (i, field) in schema.fields().iter().enumerate() {
        match element_depth(field.data_type()) {
            Some(_) => readable.push(i),
            None => sink.unreadable(i, &format!("the type {} holds more than one value", field.data_type())),
        }
    }
    let roots = builder.parquet_schema().root_schema().get_fields();
    let uuids: Vec<bool> = readable
        .iter()
        .map(|&i| roots.get(i).is_some_and(|r| r.get_basic_info().logical_type_ref() == Some(&LogicalType::Uuid)))
        .collect();
    let projection = ProjectionMask::roots(builder.parquet_schema(), readable.iter().copied());
    let batch_rows = (200_000 / schema.fields().len().max(1)).clamp(64, 4096);
    let reader = builder.with_projection(projection).with_batch_size(batch_rows).build().map_err(damaged)?;
    let (mut list, mut text) = (List::default(), String::new());
    let mut rows = 0;
    for batch in reader {
        let batch = batch.map_err(damaged)?;
        let columns: Vec<Typed> = batch.columns().iter().zip(&uuids).map(|(a, uuid)| Typed::new(a, *uuid)).collect();
        for row in 0..batch.num_rows() {
            for (&i, column) in readable.iter().zip(&columns) {
                column.send(row, &mut list, &mut text, |cell| sink.cell(i, cell));
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

/// The kind that follows from a type.
fn kind_of(t: &DataType) -> Option<ColumnKind> {
    match t {
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => Some(ColumnKind::Timestamp),
        DataType::Time32(_) | DataType::Time64(_) | DataType::Duration(_) => Some(ColumnKind::Duration),
        DataType::Dictionary(_, value) => kind_of(value),
        _ => None,
    }
}

/// How many levels of lists surround the values of a type; none where it cannot be read.
fn element_depth(t: &DataType) -> Option<usize> {
    let depth = match t {
        DataType::Struct(_) | DataType::Map(..) | DataType::Union(..) | DataType::Interval(_) => return None,
        DataType::RunEndEncoded(..) => return None,
        DataType::Dictionary(_, value) => return element_depth(value).filter(|d| *d == 0),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => 1 + element_depth(item.data_type())?,
        _ => 0,
    };
    (depth <= 2).then_some(depth)
}

/// A column of a batch, or the elements of its lists.
enum Typed {
    Nothing,
    Integer(Int64Array),
    Unsigned(UInt64Array),
    Number(Float64Array),
    Boolean(BooleanArray),
    /// Unix seconds.
    Moment(Float64Array),
    Text(StringArray),
    LargeText(LargeStringArray),
    TextView(StringViewArray),
    Bytes(BinaryArray),
    LargeBytes(LargeBinaryArray),
    BytesView(BinaryViewArray),
    FixedBytes(FixedSizeBinaryArray, bool),
    Dictionary(ArrayRef, Vec<usize>, Box<Typed>),
    /// Where each row's elements lie.
    List(ArrayRef, Vec<(usize, usize)>, Box<Typed>),
}

fn numbers<T: ArrowPrimitiveType>(array: &ArrayRef, f: impl Fn(T::Native) -> f64) -> Float64Array {
    array.as_primitive::<T>().unary(f)
}

fn integers<T: ArrowPrimitiveType>(array: &ArrayRef) -> Typed
where
    T::Native: Into<i64>,
{
    Typed::Integer(array.as_primitive::<T>().unary(Into::into))
}

fn unsigned<T: ArrowPrimitiveType>(array: &ArrayRef) -> Typed
where
    T::Native: Into<u64>,
{
    Typed::Unsigned(array.as_primitive::<T>().unary(Into::into))
}

/// Decimals as the nearest double, whole ones of at most 64 bits exactly.
fn decimals<T: DecimalType>(array: &ArrayRef) -> Typed {
    let decimals: &PrimitiveArray<T> = array.as_primitive();
    let texts = (0..decimals.len()).map(|i| (!decimals.is_null(i)).then(|| decimals.value_as_string(i)));
    if decimals.scale() <= 0 {
        let whole: Option<Vec<Option<i64>>> =
            texts.clone().map(|t| t.map_or(Some(None), |t| t.parse().ok().map(Some))).collect();
        if let Some(whole) = whole {
            return Typed::Integer(whole.into());
        }
    }
    Typed::Number(texts.map(|t| t.and_then(|t| t.parse().ok())).collect())
}

/// Seconds since 1970. Timestamps are exact to a microsecond.
fn timestamps(array: &ArrayRef, unit: TimeUnit) -> Float64Array {
    match unit {
        TimeUnit::Second => numbers::<TimestampSecondType>(array, |t| t as f64),
        TimeUnit::Millisecond => numbers::<TimestampMillisecondType>(array, |t| t as f64 / 1e3),
        TimeUnit::Microsecond => numbers::<TimestampMicrosecondType>(array, |t| t as f64 / 1e6),
        TimeUnit::Nanosecond => numbers::<TimestampNanosecondType>(array, |t| t.div_euclid(1000) as f64 / 1e6),
    }
}

/// Seconds of a time of day or a duration.
fn seconds(array: &ArrayRef) -> Float64Array {
    match array.data_type() {
        DataType::Time32(TimeUnit::Second) => numbers::<Time32SecondType>(array, f64::from),
        DataType::Time32(_) => numbers::<Time32MillisecondType>(array, |t| f64::from(t) / 1e3),
        DataType::Time64(TimeUnit::Microsecond) => numbers::<Time64MicrosecondType>(array, |t| t as f64 / 1e6),
        DataType::Time64(_) => numbers::<Time64NanosecondType>(array, |t| t as f64 / 1e9),
        DataType::Duration(TimeUnit::Second) => numbers::<DurationSecondType>(array, |t| t as f64),
        DataType::Duration(TimeUnit::Millisecond) => numbers::<DurationMillisecondType>(array, |t| t as f64 / 1e3),
        DataType::Duration(TimeUnit::Microsecond) => numbers::<DurationMicrosecondType>(array, |t| t as f64 / 1e6),
        _ => numbers::<DurationNanosecondType>(array, |t| t as f64 / 1e9),
    }
}

impl Typed {
    fn new(array: &ArrayRef, uuid: bool) -> Self {
        match array.data_type() {
            DataType::Boolean => Self::Boolean(array.as_boolean().clone()),
            DataType::Int8 => integers::<Int8Type>(array),
            DataType::Int16 => integers::<Int16Type>(array),
            DataType::Int32 => integers::<Int32Type>(array),
            DataType::Int64 => integers::<Int64Type>(array),
            DataType::UInt8 => unsigned::<UInt8Type>(array),
            DataType::UInt16 => unsigned::<UInt16Type>(array),
            DataType::UInt32 => unsigned::<UInt32Type>(array),
            DataType::UInt64 => unsigned::<UInt64Type>(array),
            DataType::Float16 => Self::Number(numbers::<Float16Type>(array, f64::from)),
            DataType::Float32 => Self::Number(numbers::<Float32Type>(array, f64::from)),
            DataType::Float64 => Self::Number(array.as_primitive().clone()),
            DataType::Decimal32(..) => decimals::<Decimal32Type>(array),
            DataType::Decimal64(..) => decimals::<Decimal64Type>(array),
            DataType::Decimal128(..) => decimals::<Decimal128Type>(array),
            DataType::Decimal256(..) => decimals::<Decimal256Type>(array),
            DataType::Date32 => Self::Moment(numbers::<Date32Type>(array, |d| f64::from(d) * 86_400.0)),
            DataType::Date64 => Self::Moment(numbers::<Date64Type>(array, |ms| ms as f64 / 1e3)),
            DataType::Timestamp(unit, _) => Self::Moment(timestamps(array, *unit)),
            DataType::Time32(_) | DataType::Time64(_) | DataType::Duration(_) => Self::Number(seconds(array)),
            DataType::Utf8 => Self::Text(array.as_string().clone()),
            DataType::LargeUtf8 => Self::LargeText(array.as_string().clone()),
            DataType::Utf8View => Self::TextView(array.as_string_view().clone()),
            DataType::Binary => Self::Bytes(array.as_binary().clone()),
            DataType::LargeBinary => Self::LargeBytes(array.as_binary().clone()),
            DataType::BinaryView => Self::BytesView(array.as_binary_view().clone()),
            DataType::FixedSizeBinary(_) => Self::FixedBytes(array.as_fixed_size_binary().clone(), uuid),
            DataType::Dictionary(..) => {
                let dictionary = array.as_any_dictionary();
                let values = Box::new(Self::new(dictionary.values(), false));
                match dictionary.values().is_empty() {
                    true => Self::Nothing,
                    false => Self::Dictionary(Arc::clone(array), dictionary.normalized_keys(), values),
                }
            }
            _ => Self::lists(array),
        }
    }

    /// Lists, each with where its elements are; nothing where it is no list.
    fn lists(array: &ArrayRef) -> Self {
        let between = |offsets: &mut dyn Iterator<Item = usize>| {
            let offsets: Vec<usize> = offsets.collect();
            offsets.windows(2).map(|w| (w[0], w[1])).collect()
        };
        let (spans, values): (Vec<(usize, usize)>, &ArrayRef) = match array.data_type() {
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                (between(&mut list.value_offsets().iter().map(|o| *o as usize)), list.values())
            }
            DataType::LargeList(_) => {
                let list = array.as_list::<i64>();
                (between(&mut list.value_offsets().iter().map(|o| *o as usize)), list.values())
            }
            DataType::FixedSizeList(_, width) => {
                let (list, width) = (array.as_fixed_size_list(), *width as usize);
                let first = list.value_offset_at(0);
                ((0..list.len()).map(|i| (first + i * width, first + (i + 1) * width)).collect(), list.values())
            }
            DataType::ListView(_) => {
                let list = array.as_list_view::<i32>();
                let spans = list.offsets().iter().zip(list.sizes());
                (spans.map(|(o, n)| (*o as usize, (o + n) as usize)).collect(), list.values())
            }
            DataType::LargeListView(_) => {
                let list = array.as_list_view::<i64>();
                let spans = list.offsets().iter().zip(list.sizes());
                (spans.map(|(o, n)| (*o as usize, (o + n) as usize)).collect(), list.values())
            }
            _ => return Self::Nothing,
        };
        Self::List(Arc::clone(array), spans, Box::new(Self::new(values, false)))
    }

    fn null(&self, i: usize) -> bool {
        match self {
            Self::Nothing => true,
            Self::Integer(a) => a.is_null(i),
            Self::Unsigned(a) => a.is_null(i),
            Self::Number(a) | Self::Moment(a) => a.is_null(i),
            Self::Boolean(a) => a.is_null(i),
            Self::Text(a) => a.is_null(i),
            Self::LargeText(a) => a.is_null(i),
            Self::TextView(a) => a.is_null(i),
            Self::Bytes(a) => a.is_null(i),
            Self::LargeBytes(a) => a.is_null(i),
            Self::BytesView(a) => a.is_null(i),
            Self::FixedBytes(a, _) => a.is_null(i),
            Self::Dictionary(a, keys, values) => a.is_null(i) || values.null(keys[i]),
            Self::List(a, ..) => a.is_null(i),
        }
    }

    /// Sends the value of row `i`; `list` and `text` are buffers.
    #[inline]
    fn send(&self, i: usize, list: &mut List, text: &mut String, take: impl FnOnce(Cell<'_>)) {
        if self.null(i) {
            return take(Cell::Missing);
        }
        match self {
            Self::Nothing => take(Cell::Missing),
            Self::Integer(a) => take(Cell::Integer(a.value(i).into())),
            Self::Unsigned(a) => take(Cell::Integer(a.value(i).into())),
            Self::Number(a) if a.value(i).is_nan() => take(Cell::Missing),
            Self::Number(a) => take(Cell::Number(a.value(i))),
            Self::Boolean(a) => take(Cell::Boolean(a.value(i))),
            Self::Moment(a) => take(Cell::Moment(a.value(i))),
            Self::Text(a) => take(Cell::Text(a.value(i))),
            Self::LargeText(a) => take(Cell::Text(a.value(i))),
            Self::TextView(a) => take(Cell::Text(a.value(i))),
            Self::Bytes(a) => bytes(a.value(i), take),
            Self::LargeBytes(a) => bytes(a.value(i), take),
            Self::BytesView(a) => bytes(a.value(i), take),
            Self::FixedBytes(a, uuid) => {
                hexadecimal(a.value(i), *uuid, text);
                take(Cell::Text(text));
            }
            Self::Dictionary(_, keys, values) => values.send(keys[i], list, text, take),
            Self::List(_, spans, values) => {
                list.clear();
                for element in spans[i].0..spans[i].1 {
                    if let Self::List(_, inner, numbers) = &**values {
                        let (from, to) = if values.null(element) { (0, 0) } else { inner[element] };
                        list.inner.push(to - from);
                        (from..to).for_each(|n| numbers.element(n, text, list));
                    } else {
                        values.element(element, text, list);
                    }
                    list.len += 1;
                }
                take(Cell::List(list));
            }
        }
    }

    /// Appends an element of a list.
    fn element(&self, i: usize, text: &mut String, list: &mut List) {
        if self.null(i) {
            let is_text = matches!(self, Self::Text(_) | Self::LargeText(_) | Self::TextView(_));
            return if is_text { list.push_text("") } else { list.numbers.push(f64::NAN) };
        }
        match self {
            Self::Integer(a) => list.numbers.push(a.value(i) as f64),
            Self::Unsigned(a) => list.numbers.push(a.value(i) as f64),
            Self::Number(a) | Self::Moment(a) => list.numbers.push(a.value(i)),
            Self::Boolean(a) => list.numbers.push(f64::from(u8::from(a.value(i)))),
            Self::Text(a) => list.push_text(a.value(i)),
            Self::LargeText(a) => list.push_text(a.value(i)),
            Self::TextView(a) => list.push_text(a.value(i)),
            Self::FixedBytes(a, uuid) => {
                hexadecimal(a.value(i), *uuid, text);
                list.push_text(text);
            }
            Self::Dictionary(_, keys, values) => values.element(keys[i], text, list),
            Self::Nothing | Self::Bytes(_) | Self::LargeBytes(_) | Self::BytesView(_) | Self::List(..) => {
                list.odd = true;
            }
        }
    }
}

/// Bytes are an image, text without a text annotation, or unreadable.
fn bytes(value: &[u8], take: impl FnOnce(Cell<'_>)) {
    let image = value.starts_with(b"\x89PNG") || value.starts_with(b"\xff\xd8\xff");
    match std::str::from_utf8(value) {
        Ok(text) if !image && !value.contains(&0) => take(Cell::Text(text)),
        _ => take(Cell::Bytes(value)),
    }
}

/// Bytes of a fixed length as hexadecimal digits, with the dashes of a UUID where they are one.
fn hexadecimal(value: &[u8], uuid: bool, text: &mut String) {
    use std::fmt::Write;
    text.clear();
    for (i, byte) in value.iter().enumerate() {
        if uuid && matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
}
