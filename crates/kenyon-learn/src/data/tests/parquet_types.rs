//! Every Parquet type that a cell can hold is read; the others do not block a file.

use super::*;
use crate::data::plan::read_rows;
use crate::data::schema::Unused;
use arrow_array::types::{Float16Type, Int8Type};
use arrow_array::*;
use arrow_schema::{DataType, Field};
use parquet::arrow::ArrowWriter;
use parquet::basic::{BrotliLevel, Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde_json::json;
use std::sync::Arc;

fn written(columns: Vec<(&str, ArrayRef)>, compression: Compression) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).unwrap();
    let properties = WriterProperties::builder().set_compression(compression).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn columns_of_every_type() {
    let half = [Some(half::f16::from_f32(0.5)), None, Some(half::f16::from_f32(-2.0))];
    let keys = Int8Array::from(vec![Some(1), None, Some(0)]);
    let numbers = DictionaryArray::<Int8Type>::new(keys.clone(), Arc::new(Int64Array::from(vec![7, i64::MAX])));
    let words = DictionaryArray::<Int8Type>::new(keys, Arc::new(LargeStringArray::from(vec!["red", "blue"])));
    let nested = StructArray::from(vec![(
        Arc::new(Field::new("b", DataType::Int32, true)),
        Arc::new(Int32Array::from(vec![1, 2, 3])) as ArrayRef,
    )]);
    let bytes = FixedSizeBinaryArray::try_from_iter([[1u8, 255], [2, 0], [3, 4]].iter()).unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("half", Arc::new(half.into_iter().collect::<PrimitiveArray<Float16Type>>())),
        ("numbers", Arc::new(numbers)),
        ("words", Arc::new(words)),
        (
            "price",
            Arc::new(Decimal128Array::from(vec![Some(1050), None, Some(-25)]).with_precision_and_scale(9, 2).unwrap()),
        ),
        ("big", Arc::new(UInt64Array::from(vec![u64::MAX, 1, 2]))),
        ("time", Arc::new(Time64MicrosecondArray::from(vec![1_500_000, 2_000_000, 0]))),
        ("zoned", Arc::new(TimestampSecondArray::from(vec![0, 86_400, 1]).with_timezone("+02:00"))),
        ("text", Arc::new(BinaryArray::from_vec(vec![b"abc", b"de", b"abc"]))),
        ("fixed", Arc::new(bytes)),
        ("nested", Arc::new(nested)),
        ("binary", Arc::new(BinaryArray::from_vec(vec![b"\xff\0\x01", b"\xfe\xff", b"\0\0"]))),
        (
            "list",
            Arc::new(ListArray::from_iter_primitive::<types::Int32Type, _, _>(vec![
                Some(vec![Some(1), Some(2)]),
                Some(vec![Some(3), None]),
                Some(vec![Some(5), Some(6)]),
            ])),
        ),
    ];
    for compression in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::LZ4_RAW,
        Compression::LZ4,
        Compression::BROTLI(BrotliLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
    ] {
        let content = written(columns.clone(), compression);
        let (_file, part, summary) = upload(&content, &ReadOptions::default()).unwrap();
        let unused: Vec<_> = summary.columns.iter().filter(|c| c.unused == Some(Unused::Unreadable)).collect();
        assert_eq!(unused.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["nested", "binary"]);
        let rows = read_rows(&[part], &summary.columns, 0, 9, &Limits::default()).unwrap();
        let shown = serde_json::to_value(&rows[0]).unwrap();
        let expected = json!({"half": 0.5, "numbers": i64::MAX, "words": "blue", "price": 10.5, "big": u64::MAX,
            "text": "abc", "fixed": "01ff", "list": [1, 2]});
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&shown[name], value, "{name} under {compression:?}");
        }
        assert!(shown["zoned"].as_str().unwrap().starts_with("1970-01-01T00:00:00"));
        assert_eq!((&rows[1]["words"], &rows[1]["price"]), (&json!(null), &json!(null)));
    }
}

#[test]
fn names_that_are_missing_or_stand_twice_are_made_up() {
    let ones: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    let schema = arrow_schema::Schema::new(vec![
        Field::new("", DataType::Int32, true),
        Field::new("a", DataType::Int32, true),
        Field::new("a", DataType::Int32, true),
    ]);
    let batch = RecordBatch::try_new(Arc::new(schema), vec![ones.clone(), ones.clone(), ones]).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    let (_file, _, summary) = upload(&writer.into_inner().unwrap(), &ReadOptions::default()).unwrap();
    assert_eq!(summary.columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["index", "a", "a_2"]);
}
