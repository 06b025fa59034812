use super::*;
use crate::data::formats::{Compression, Format};
use crate::data::plan::{ColumnPlan, read_rows, read_table};
use crate::data::schema::ColumnKind;
use crate::data::{Column, Table};
use arrow_array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Rows of a number, a name with every awkward character, and a boolean; any may be missing.
type Row = (Option<f64>, Option<String>, Option<bool>);

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let number =
        prop::option::of(prop_oneof![-1e9..1e9, (-1000i32..1000).prop_map(f64::from), Just(1e300), Just(-1e-300)]);
    let name = prop::option::of("[a-c,;\"' \n\té東-]{0,8}x");
    prop::collection::vec((number, name, prop::option::of(any::<bool>())), 1..40)
}

fn csv_of(rows: &[Row], delimiter: u8) -> Vec<u8> {
    let mut writer = ::csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
    writer.write_record(["n", "name", "b"]).unwrap();
    for (n, name, b) in rows {
        let n = n.map(|n| n.to_string()).unwrap_or_default();
        let b = b.map(|b| b.to_string()).unwrap_or_default();
        writer.write_record([n, name.clone().unwrap_or_default(), b]).unwrap();
    }
    writer.into_inner().unwrap()
}

fn objects(rows: &[Row]) -> Vec<Value> {
    rows.iter().map(|(n, name, b)| json!({"n": n, "name": name, "b": b})).collect()
}

fn parquet_of(rows: &[Row]) -> Vec<u8> {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("n", Arc::new(rows.iter().map(|r| r.0).collect::<Float64Array>())),
        ("name", Arc::new(rows.iter().map(|r| r.1.clone()).collect::<StringArray>())),
        ("b", Arc::new(rows.iter().map(|r| r.2).collect::<BooleanArray>())),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).unwrap();
    let mut writer = ::parquet::arrow::ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn table(content: &[u8], content_type: &str) -> Table {
    let (_file, part) = file(content, Some(content_type)).unwrap();
    let plans = [
        ColumnPlan::new("n", ColumnKind::Number),
        ColumnPlan::new("name", ColumnKind::Category),
        ColumnPlan::new("b", ColumnKind::Boolean),
    ];
    read_table(&[part], &plans, &Limits::default()).unwrap()
}

fn same(a: &Table, b: &Table) -> bool {
    a.rows == b.rows
        && a.columns.iter().zip(&b.columns).all(|pair| match pair {
            ((n, Column::Number(x)), (m, Column::Number(y))) => {
                n == m
                    && x.iter().zip(y).all(|(x, y)| {
                        // The JSON reader may be off by the last bit.
                        (x - y).abs() <= x.abs() * 1e-15 || (x.is_nan() && y.is_nan())
                    })
            }
            (a, b) => a == b,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn every_format_gives_the_same_table(rows in rows()) {
        let trimmed: Vec<Row> =
            rows.into_iter().map(|(n, name, b)| (n, name.map(|x| x.trim().to_owned()), b)).collect();
        let lines: String = objects(&trimmed).iter().map(|o| format!("{o}\n")).collect();
        let array = serde_json::to_vec(&objects(&trimmed)).unwrap();
        let expected = table(lines.as_bytes(), "application/x-ndjson");
        prop_assert!(same(&expected, &table(&array, "application/json")));
        prop_assert!(same(&expected, &table(&parquet_of(&trimmed), "application/vnd.apache.parquet")));
        prop_assert!(same(&expected, &table(&csv_of(&trimmed, b'\t'), "text/tab-separated-values")));
        let csv = csv_of(&trimmed, b',');
        prop_assert!(same(&expected, &table(&csv, "text/csv")), "{}", String::from_utf8_lossy(&csv));
        prop_assert!(same(&expected, &table(&gzip(&csv), "text/csv")));
        prop_assert!(same(&expected, &table(&zstd::bulk::compress(&csv, 1).unwrap(), "text/csv")));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[a\",{}\\[\\]:1\n]{0,80}") {
        for content_type in ["text/csv", "application/json", "application/x-ndjson", "text/x-babi", "application/vnd.apache.parquet"] {
            for content in [bytes.as_slice(), text.as_bytes()] {
                if let Ok((_file, part)) = file(content, Some(content_type)) {
                    let _ = infer(&part, &Limits::default());
                }
            }
        }
    }
}

#[test]
fn formats_are_recognised_by_their_content() {
    let parquet = parquet_of(&[(Some(1.0), None, None)]);
    for (content, format, compression) in [
        (b"a,b\n1,2\n".to_vec(), Format::Csv, Compression::None),
        (b"\xef\xbb\xbfa,b\n1,2\n".to_vec(), Format::Csv, Compression::None),
        (b"a\tb\n1\t2\n".to_vec(), Format::Tsv, Compression::None),
        (b"{\"a\":1}\n{\"a\":2}\n".to_vec(), Format::Ndjson, Compression::None),
        (b" [\n{\"a\":1}]".to_vec(), Format::Json, Compression::None),
        (b"{\n\"a\":1\n}\n{\n\"a\":2\n}".to_vec(), Format::Json, Compression::None),
        (b"1 Mary is here.\n2 Where is Mary?\there\t1\n".to_vec(), Format::Babi, Compression::None),
        (gzip(b"a,b\n1,2\n"), Format::Csv, Compression::Gzip),
        (zstd::bulk::compress(b"{\"a\":1}\n", 1).unwrap(), Format::Ndjson, Compression::Zstd),
        (parquet.clone(), Format::Parquet, Compression::None),
        (gzip(&parquet), Format::Parquet, Compression::Gzip),
    ] {
        let (_file, part) = file(&content, None).unwrap();
        assert_eq!((part.format, part.compression), (format, compression), "{}", String::from_utf8_lossy(&content));
        assert!(infer(&part, &Limits::default()).unwrap().rows >= 1);
    }
}

#[test]
fn a_byte_order_mark_and_other_delimiters_do_not_disturb() {
    for content in ["\u{feff}a,b\r\n1,x\r\n2,y\r\n", "a;b\n1;x\n2;y\n", "a|b\n 1 |x\n2|y", "a\tb\n1\tx\n2\ty\n"] {
        let found = summary(content.as_bytes()).unwrap();
        let kinds: Vec<_> = found.columns.iter().map(|c| (c.name.as_str(), c.kind)).collect();
        assert_eq!(kinds, [("a", ColumnKind::Number), ("b", ColumnKind::Category)], "{content:?}");
    }
}

#[test]
fn kinds_and_statistics_are_found() {
    let found = summary(
        b"id,zip,flag,when,note,many\n\
          1,01234,true,2024-01-01,the first of several long notes,NA\n\
          2,04567,false,2024-01-02T10:00:00Z,another note about something,2\n\
          3,,true,2024-01-03 11:30,and one more of these notes,4\n",
    )
    .unwrap();
    let kinds: Vec<_> = found.columns.iter().map(|c| c.kind).collect();
    use ColumnKind::*;
    assert_eq!(kinds, [Number, Category, Boolean, Timestamp, Text, Number]);
    let many = &found.columns[5];
    assert_eq!((many.missing, many.distinct, many.min, many.max, many.mean), (1, 2, Some(2.0), Some(4.0), Some(3.0)));
    assert_eq!(many.histogram.iter().map(|(_, n)| n).sum::<u64>(), 2);
    assert_eq!(found.columns[1].missing, 1);
    assert_eq!(found.columns[1].examples[0], json!("01234"));
    assert_eq!(found.columns[2].histogram, [("true".to_owned(), 2), ("false".to_owned(), 1)]);
}

#[test]
fn lists_are_vectors_or_sequences() {
    let found = summary(
        b"{\"v\":[1,2,3],\"s\":[1,2],\"m\":[[1,2],[3,4]],\"t\":[\"a b\",\"c\"],\"c\":1}\n\
          {\"v\":[1,null,5],\"s\":[1],\"m\":[[5,6]],\"t\":[],\"c\":2}\n",
    )
    .unwrap();
    let of: Vec<_> = found.columns.iter().map(|c| (c.kind, c.shape.clone())).collect();
    use ColumnKind::*;
    assert_eq!(
        of,
        [
            (Vector, Some(vec![3])),
            (Sequence, Some(vec![1])),
            (Sequence, Some(vec![2])),
            (Sequence, Some(vec![0])),
            (Number, None)
        ]
    );
    let csv = summary(b"v,y\n\"[1, 2]\",a\n\"[3, 4]\",b\n").unwrap();
    assert_eq!(csv.columns[0].kind, Vector);
}

#[test]
fn numbered_columns_become_one_vector() {
    let header: Vec<String> = (1..=16).map(|i| format!("p{i}")).collect();
    let content =
        format!("y,{},z\na,{},1\nb,{},2\n", header.join(","), vec!["1"; 16].join(","), vec!["7"; 16].join(","));
    let found = summary(content.as_bytes()).unwrap();
    let group = &found.columns[1];
    assert_eq!((group.name.as_str(), group.kind, group.shape.clone()), ("p", ColumnKind::Vector, Some(vec![4, 4])));
    assert_eq!(group.members.as_ref().unwrap(), &header);
    assert_eq!((group.min, group.max, group.mean), (Some(1.0), Some(7.0), Some(4.0)));
    assert_eq!(found.columns.len(), 3);
    // Fifteen are too few, and a gap ends a run.
    let few = summary(format!("{}\n{}\n", header[..15].join(","), vec!["1"; 15].join(",")).as_bytes()).unwrap();
    assert_eq!(few.columns.len(), 15);
}

#[test]
fn stories_are_rows_of_context_question_and_answer() {
    let text = b"1 Mary went home.\n2 John ran.\n3 Where is Mary? \thome\t1\n4 Mary left.\n5 Where is John?\tout\t2\n\
                 1 Sandra sat.\n2 Who sat?\tSandra\t1\n";
    let (_file, part) = file(text, Some("text/x-babi")).unwrap();
    let found = infer(&part, &Limits::default()).unwrap();
    let kinds: Vec<_> = found.columns.iter().map(|c| (c.name.as_str(), c.kind)).collect();
    use ColumnKind::*;
    assert_eq!(kinds, [("context", Sequence), ("question", Text), ("answer", Category)]);
    let rows = read_rows(&[part], &found.columns, 1, 5, &Limits::default()).unwrap();
    let expected: Vec<Map<String, Value>> = vec![
        json!({"context": ["Mary went home.", "John ran.", "Mary left."], "question": "Where is John?", "answer": "out"}),
        json!({"context": ["Sandra sat."], "question": "Who sat?", "answer": "Sandra"}),
    ]
    .into_iter()
    .map(|v| v.as_object().unwrap().clone())
    .collect();
    assert_eq!(rows, expected);
}

#[test]
fn previews_give_rows_back_with_their_types() {
    let (_a, first) = file(b"n,c,b,d\n1,x,true,2024-01-01\n2.5,,false,\n", None).unwrap();
    let (_b, second) = file(b"d,n,c,b\n2024-01-02,7,y,true\n", None).unwrap();
    let columns = infer(&first, &Limits::default()).unwrap().columns;
    let rows = read_rows(&[first, second], &columns, 1, 10, &Limits::default()).unwrap();
    let rows: Vec<Value> = rows.into_iter().map(Value::Object).collect();
    assert_eq!(
        rows,
        [json!({"n": 2.5, "c": null, "b": false, "d": null}), json!({"d": "2024-01-02", "n": 7, "c": "y", "b": true})]
    );
}
