//! Any cell, written by any writer and read by any reader, is the same value.
use super::*;
use crate::data::plan::{ColumnPlan, read_table};
use crate::data::rows::RowsReader;
use crate::data::{Column, ColumnKind, Table};
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, DurationMillisecondArray, Float64Array, Int64Array, LargeStringArray,
    RecordBatch, StringArray, TimestampMicrosecondArray, TimestampMillisecondArray, UInt64Array,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// A cell as JSON, and as the text of a CSV file.
fn cells() -> impl Strategy<Value = Vec<(Value, String)>> {
    let whole = any::<i64>().prop_map(|x| (json!(x), x.to_string()));
    let unsigned = any::<u64>().prop_map(|x| (json!(x), x.to_string()));
    let small = (-20i64..20).prop_map(|x| (json!(x), format!("{x}.0")));
    let float = (-1e6..1e6f64).prop_map(|x| {
        let x = (x * 1000.0).round() / 1000.0;
        (json!(x), x.to_string())
    });
    let truth = any::<bool>().prop_map(|b| (json!(b), if b { "True".into() } else { "False".into() }));
    let word = "[a-z]{1,6}( [a-z]{1,4})?x".prop_map(|w| (json!(w), format!(" {w} ")));
    let zeros = "0[0-9]{1,5}".prop_map(|w| (json!(w), w));
    let kind = prop_oneof![whole, unsigned, small, float, truth, word, zeros];
    prop::collection::vec(kind, 1..20)
}

fn of(table: &Table) -> Column {
    table.column("c").unwrap().clone()
}

/// The column `c` of a Parquet file.
fn from_parquet(column: ArrayRef, plan: &ColumnPlan) -> Column {
    let batch = RecordBatch::try_from_iter_with_nullable([("c", column, true)]).unwrap();
    let mut writer = ::parquet::arrow::ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    let bytes = writer.into_inner().unwrap();
    let (_file, part) = file(&bytes, None).unwrap();
    of(&read_table(&[part], std::slice::from_ref(plan), &Limits::default()).unwrap())
}

fn read(content: &str, content_type: &str, plan: &ColumnPlan) -> Table {
    let (_file, part) = file(content.as_bytes(), Some(content_type)).unwrap();
    read_table(&[part], std::slice::from_ref(plan), &Limits::default()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn a_name_is_the_same_in_every_format(cells in cells()) {
        let plan = ColumnPlan { spelling: Some(Default::default()), ..ColumnPlan::new("c", ColumnKind::Category) };
        let csv: String = cells.iter().fold("c,d\n".into(), |csv, (_, text)| csv + text + ",1\n");
        let quoted: String = cells.iter().fold("c,d\n".into(), |csv, (_, text)| csv + "\"" + text + "\",1\n");
        let lines: String = cells.iter().map(|(value, _)| json!({"c": value, "d": 1}).to_string() + "\n").collect();
        let strings: String = cells.iter().map(|(_, text)| json!({"c": text, "d": 1}).to_string() + "\n").collect();
        let expected = read(&csv, "text/csv", &plan);
        prop_assert!(matches!(of(&expected), Column::Category(names) if names.iter().all(Option::is_some)));
        for (content, content_type) in [
            (&quoted, "text/csv"),
            (&lines, "application/x-ndjson"),
            (&strings, "application/x-ndjson"),
        ] {
            prop_assert_eq!(of(&read(content, content_type, &plan)), of(&expected), "{}", content);
        }
        let reader = RowsReader::new(std::slice::from_ref(&plan), &["d".to_owned()]);
        let array = format!("[{}]", lines.trim().replace('\n', ","));
        prop_assert_eq!(of(&reader.from_json(array.as_bytes()).unwrap()), of(&expected));
        prop_assert_eq!(of(&reader.from_ndjson(strings.as_bytes()).unwrap()), of(&expected));
        let maps: Vec<Map<String, Value>> =
            cells.iter().map(|(value, _)| Map::from_iter([("c".to_owned(), value.clone())])).collect();
        prop_assert_eq!(of(&reader.from_values(&maps).unwrap()), of(&expected));
        for (value, text) in &cells {
            prop_assert!(ColumnKind::Category.same(value, &json!(text)));
        }
    }

    #[test]
    fn a_number_is_the_same_in_every_spelling(numbers in prop::collection::vec(-1e9..1e9f64, 30..60)) {
        let numbers: Vec<f64> = numbers.iter().map(|x| (x * 100.0).round() / 100.0).collect();
        let grouped = |x: f64, comma: bool| {
            let text = format!("{:.2}", x.abs());
            let (whole, fraction) = text.split_once('.').unwrap();
            let mut out = String::new();
            for (i, digit) in whole.chars().enumerate() {
                if i > 0 && (whole.len() - i) % 3 == 0 {
                    out.push(if comma { '.' } else { ',' });
                }
                out.push(digit);
            }
            format!("{}{out}{}{fraction}", if x < 0.0 { "-" } else { "" }, if comma { ',' } else { '.' })
        };
        type Writer<'w> = &'w dyn Fn(f64) -> String;
        let writers: [Writer<'_>; 5] = [
            &|x| x.to_string(),
            &|x| grouped(x, false),
            &|x| grouped(x, true),
            &|x| format!("${x:.2}"),
            &|x| if x < 0.0 { format!("({:.2})", -x) } else { format!("{x:.2}") },
        ];
        for write in writers {
            let csv: String = numbers.iter().fold("c;d\n".into(), |csv, x| csv + &write(*x) + ";a\n");
            let (_file, part) = file(csv.as_bytes(), None).unwrap();
            let found = infer(&part, &Limits::default()).unwrap();
            prop_assert_eq!(found.columns[0].kind, ColumnKind::Number, "{}", csv);
            let plan = ColumnPlan { spelling: found.columns[0].spelling.clone(), ..ColumnPlan::new("c", ColumnKind::Number) };
            let table = read_table(&[part], std::slice::from_ref(&plan), &Limits::default()).unwrap();
            prop_assert_eq!(of(&table), Column::Number(numbers.clone()), "{}", csv);
            let reader = RowsReader::new(std::slice::from_ref(&plan), &[]);
            let rows: Vec<Map<String, Value>> =
                numbers.iter().map(|x| Map::from_iter([("c".to_owned(), json!(write(*x)))])).collect();
            prop_assert_eq!(of(&reader.from_values(&rows).unwrap()), Column::Number(numbers.clone()));
        }
    }
    #[test]
    fn a_name_of_any_parquet_type_is_that_of_its_text(
        whole in prop::collection::vec(any::<i64>(), 1..20),
        unsigned in prop::collection::vec(any::<u64>(), 1..20),
        thousandths in prop::collection::vec(-1_000_000_000i64..1_000_000_000, 1..20),
        truths in prop::collection::vec(any::<bool>(), 1..20),
        words in prop::collection::vec("[a-z]{1,6}|0[0-9]{1,4}|[1-9][0-9]{0,3}(\\.0)?", 1..20),
    ) {
        let plan = ColumnPlan { spelling: Some(Default::default()), ..ColumnPlan::new("c", ColumnKind::Category) };
        let floats: Vec<f64> = thousandths.iter().map(|x| *x as f64 / 1000.0).collect();
        let texts = |cells: Vec<String>| {
            let csv = cells.iter().fold("c,d\n".to_owned(), |csv, text| csv + text + ",1\n");
            of(&read(&csv, "text/csv", &plan))
        };
        let strings = |cells: &[String]| cells.to_vec();
        let cases: [(ArrayRef, Vec<String>); 7] = [
            (Arc::new(Int64Array::from(whole.clone())), whole.iter().map(i64::to_string).collect()),
            (Arc::new(UInt64Array::from(unsigned.clone())), unsigned.iter().map(u64::to_string).collect()),
            (Arc::new(Float64Array::from(floats.clone())), floats.iter().map(f64::to_string).collect()),
            (Arc::new(BooleanArray::from(truths.clone())), truths.iter().map(bool::to_string).collect()),
            (Arc::new(StringArray::from(words.clone())), strings(&words)),
            (Arc::new(LargeStringArray::from(words.clone())), strings(&words)),
            (Arc::new(words.iter().map(String::as_str).collect::<DictionaryArray<Int32Type>>()), strings(&words)),
        ];
        for (column, cells) in cases {
            prop_assert_eq!(from_parquet(column, &plan), texts(cells));
        }
    }

    #[test]
    fn a_moment_and_a_length_of_time_are_the_same_in_every_format(millis in prop::collection::vec(0i64..4_000_000_000_000, 1..20)) {
        let plan = ColumnPlan { spelling: Some(Default::default()), ..ColumnPlan::new("c", ColumnKind::Timestamp) };
        let text = |x: &i64| jiff::Timestamp::from_millisecond(*x).unwrap().to_string();
        let csv: String = millis.iter().fold("c,d\n".into(), |csv, x| csv + &text(x) + ",1\n");
        let expected = of(&read(&csv, "text/csv", &plan));
        prop_assert_eq!(&expected, &Column::Timestamp(millis.iter().map(|x| *x as f64 / 1000.0).collect()));
        let lines: String = millis.iter().map(|x| json!({"c": text(x), "d": 1}).to_string() + "\n").collect();
        prop_assert_eq!(of(&read(&lines, "application/x-ndjson", &plan)), expected.clone());
        // Another zone names the same instant.
        let there = |x: &i64| {
            let moment = jiff::Timestamp::from_millisecond(*x).unwrap();
            moment.display_with_offset(jiff::tz::offset(-5)).to_string()
        };
        let shifted: String = millis.iter().fold("c,d\n".into(), |csv, x| csv + &there(x) + ",1\n");
        prop_assert_eq!(of(&read(&shifted, "text/csv", &plan)), expected.clone());
        prop_assert_eq!(from_parquet(Arc::new(TimestampMillisecondArray::from(millis.clone())), &plan), expected.clone());
        let micros: Vec<i64> = millis.iter().map(|x| x * 1000).collect();
        prop_assert_eq!(from_parquet(Arc::new(TimestampMicrosecondArray::from(micros)), &plan), expected);

        let plan = ColumnPlan { spelling: Some(Default::default()), ..ColumnPlan::new("c", ColumnKind::Duration) };
        let lengths: Vec<i64> = millis.iter().map(|x| x % 360_000_000).collect();
        let clock = |x: &i64| format!("{}:{:02}:{:02}.{:03}", x / 3_600_000, x / 60_000 % 60, x / 1000 % 60, x % 1000);
        let csv: String = lengths.iter().fold("c,d\n".into(), |csv, x| csv + &clock(x) + ",1\n");
        let Column::Number(seconds) = of(&read(&csv, "text/csv", &plan)) else { unreachable!("durations are numbers") };
        let Column::Number(typed) = from_parquet(Arc::new(DurationMillisecondArray::from(lengths.clone())), &plan) else {
            unreachable!("durations are numbers")
        };
        for ((read, typed), millis) in seconds.iter().zip(&typed).zip(&lengths) {
            let exact = *millis as f64 / 1000.0;
            prop_assert!((read - exact).abs() < 1e-6 && (typed - exact).abs() < 1e-6, "{} {} {}", read, typed, exact);
        }
    }
}
