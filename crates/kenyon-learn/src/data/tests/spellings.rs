//! Numbers whose spelling is decided by the column and the file, and columns that are nearly numbers.

use super::*;
use crate::data::plan::{ColumnPlan, read_rows, read_table, resolve};
use crate::data::rows::RowsReader;
use crate::data::schema::{ColumnInfo, Features};
use crate::data::warning::WarningCode;
use crate::data::{Column, ColumnKind, Table, TargetEncoder};
use serde_json::{Map, Value, json};

fn lines(rows: usize, header: &str, line: impl Fn(usize) -> String) -> String {
    (0..rows).fold(format!("{header}\n"), |text, i| text + &line(i) + "\n")
}

/// Kind, values of the first column as they are learned, and the codes of its warnings.
fn read(content: &str, options: &ReadOptions) -> (ColumnInfo, Vec<f64>, Vec<WarningCode>) {
    let (_file, part, found) = upload(content.as_bytes(), options).unwrap();
    let plan = resolve(&found, &Features::new(), &found.columns.last().unwrap().name, None).unwrap();
    let table = read_table(&[part], &plan.inputs, &Limits::default()).unwrap();
    let values = match &table.columns[0].1 {
        Column::Number(values) => values.clone(),
        _ => Vec::new(),
    };
    let info = found.columns[0].clone();
    let codes = found.warnings.iter().filter(|w| w.column.as_ref() == Some(&info.name)).map(|w| w.code).collect();
    (info, values, codes)
}

fn label(i: usize) -> &'static str {
    ["p", "q"][i % 2]
}

#[test]
fn a_comma_after_a_zero_is_a_decimal_one() {
    let (_, values, _) =
        read(&lines(60, "x,y", |i| format!("\"0,{:03}\",{}", i * 7, label(i))), &ReadOptions::default());
    assert_eq!(&values[..3], [0.0, 0.007, 0.014]);
    // One of them decides for the column.
    let mixed = lines(60, "x,y", |i| format!("\"{},{:03}\",{}", i / 30, i * 7, label(i)));
    assert_eq!(read(&mixed, &ReadOptions::default()).1[31], 1.217);
}

#[test]
fn points_separate_thousands_where_something_proves_it() {
    let csv = |last: &str, other: &str| {
        lines(60, "x;z;y", |i| {
            let x = if i == 59 { last.to_owned() } else { format!("{}.191", 200 + i) };
            format!("{x};{other};{}", label(i))
        })
    };
    let first = |csv: String| read(&csv, &ReadOptions::default()).1[0];
    assert_eq!(first(csv("1.234.567", "3")), 200_191.0, "a number with two points");
    assert_eq!(first(csv("216.191", "0,32")), 200_191.0, "decimal commas elsewhere in the file");
    assert_eq!(first(csv("216.191", "0.32")), 200.191, "decimal points elsewhere");
    assert_eq!(first(csv("216.1", "0,32")), 200.191, "a point that separates no thousands");
    assert_eq!(first(csv("12,5", "3")), 200.191, "one stray comma does not make the others thousands");
    let (_file, part, found) = upload(csv("1.234.567", "3").as_bytes(), &ReadOptions::default()).unwrap();
    let rows = read_rows(&[part], &found.columns, 58, 2, &Limits::default()).unwrap();
    assert_eq!((&rows[0]["x"], &rows[1]["x"]), (&json!(258_191), &json!(1_234_567)), "rows show what is learned");
}

#[test]
fn a_point_among_decimal_commas_separates_nothing_unless_others_do() {
    let one = |csv: &str, cell: &str| {
        let (_file, _, found) = upload(csv.as_bytes(), &ReadOptions::default()).unwrap();
        let plan = resolve(&found, &Features::new(), "y", None).unwrap();
        let reader = RowsReader::new(&plan.inputs, &plan.ignored);
        let table = reader.from_values(&[Map::from_iter([("x".to_owned(), json!(cell))])]).unwrap();
        match &table.columns[0].1 {
            Column::Number(values) => values[0],
            other => panic!("{other:?}"),
        }
    };
    let plain = lines(60, "x;y", |i| format!("{},{};{}", i, i % 10, label(i)));
    assert_eq!((one(&plain, "9.876"), one(&plain, "9,876"), one(&plain, "9.87")), (9.876, 9.876, 9.87));
    let grouped = lines(60, "x;y", |i| format!("{}.{:03},{};{}", i + 1, i, i % 10, label(i)));
    assert_eq!((one(&grouped, "9.876"), one(&grouped, "9,876")), (9876.0, 9.876));
}

#[test]
fn numbers_that_are_quoted_are_numbers() {
    // A writer that quotes everything quotes its word for "no value" as well.
    let quoted = lines(100, "x,y", |i| match i % 5 {
        0 => format!("\"NA\",\"{}\"", label(i)),
        _ => format!("\"{}.5\",\"{}\"", i, label(i)),
    });
    let (info, values, codes) = read(&quoted, &ReadOptions::default());
    assert_eq!((info.kind, info.missing), (ColumnKind::Number, 20));
    assert!(values[0].is_nan() && values[1] == 1.5 && codes == [WarningCode::MixedKind], "{codes:?}");
    let text = |cell: &dyn Fn(usize) -> Value| {
        let lines: String = (0..60).map(|i| json!({"x": cell(i), "y": label(i)}).to_string() + "\n").collect();
        let (_file, part) = file(lines.as_bytes(), Some("application/x-ndjson")).unwrap();
        infer(&part, &Limits::default()).unwrap().columns[0].kind
    };
    assert_eq!(text(&|i| json!(format!("{}.25", i))), ColumnKind::Number);
    assert_eq!(text(&|i| if i % 2 == 0 { json!(format!("{i}.5")) } else { json!(i) }), ColumnKind::Number);
    assert_eq!(text(&|i| json!(format!("{}", 10_000 + i % 30))), ColumnKind::Category, "whole ones may be codes");
    assert_eq!(text(&|i| json!(format!("0{}", i % 30))), ColumnKind::Category);
}

#[test]
fn names_that_hold_numbers_are_reported() {
    let odd: [&dyn Fn(usize) -> String; 4] = [
        &|i| if i % 12 == 0 { "<0.5".into() } else { format!("{i}.5") },
        &|i| format!("{i}.5 kg"),
        &|i| format!("~{i}"),
        &|i| if i % 9 == 0 { "bad".into() } else { i.to_string() },
    ];
    for cell in odd {
        let (info, _, codes) =
            read(&lines(120, "x,y", |i| format!("{},{}", cell(i), label(i))), &ReadOptions::default());
        assert_eq!(info.kind, ColumnKind::Category, "{}", cell(1));
        assert!(codes.contains(&WarningCode::MixedKind), "{}: {codes:?}", cell(1));
    }
    let codes =
        read(&lines(120, "x,y", |i| format!("{},{}", ["1", "2", "B"][i % 3], label(i))), &ReadOptions::default()).2;
    assert_eq!(codes, [], "a few codes are names");
}

#[test]
fn a_number_may_be_the_word_for_no_value() {
    let options = ReadOptions { missing: Some(vec!["-999".into(), "99".into()]), ..ReadOptions::default() };
    let csv = lines(40, "x,y", |i| format!("{},{}", if i % 4 == 0 { -999 } else { i as i32 }, label(i)));
    let (info, values, _) = read(&csv, &options);
    assert_eq!((info.kind, info.missing, info.min), (ColumnKind::Number, 10, Some(1.0)));
    assert!(values[0].is_nan() && values[1] == 1.0);
    let plan = ColumnPlan { spelling: info.spelling, ..ColumnPlan::new("x", ColumnKind::Number) };
    let table = RowsReader::new(&[plan], &[]).from_json(br#"[{"x":-999},{"x":"-999"},{"x":-998}]"#).unwrap();
    let Column::Number(values) = table.columns[0].1.clone() else { panic!("{table:?}") };
    assert!(values[0].is_nan() && values[1].is_nan() && values[2] == -998.0);
}

#[test]
fn whole_numbers_of_more_than_64_bits_keep_their_digits() {
    let csv = lines(6, "x,y", |i| format!("8949020000000000000{i},{}", label(i)));
    let (_file, part, found) = upload(csv.as_bytes(), &ReadOptions::default()).unwrap();
    let rows = read_rows(&[part], &found.columns, 1, 1, &Limits::default()).unwrap();
    assert_eq!(rows[0]["x"], json!("89490200000000000001"));
    assert_eq!(found.columns[0].examples[1], json!("89490200000000000001"));
    // As classes they differ.
    let csv = lines(40, "x,y", |i| format!("{i},89490200000000000000{}", i % 2));
    let (_file, part, found) = upload(csv.as_bytes(), &ReadOptions::default()).unwrap();
    assert_eq!((found.columns[1].kind, found.columns[1].distinct), (ColumnKind::Category, 2));
    let plan = resolve(&found, &Features::new(), "y", None).unwrap();
    let table = read_table(&[part], &plan.all(), &Limits::default()).unwrap();
    let target = TargetEncoder::fit("y", table.column("y").unwrap(), plan.task, false).unwrap();
    assert_eq!(target, TargetEncoder::Classes(vec![json!("894902000000000000000"), json!("894902000000000000001")]));
}

#[test]
fn a_group_is_given_once_and_whole() {
    for kind in [ColumnKind::Sequence, ColumnKind::Vector] {
        let members: Vec<String> = (0..4).map(|i| format!("t{i}")).collect();
        let plan = ColumnPlan { members: Some(members), channels: Some(1), ..ColumnPlan::new("t", kind) };
        let reader = RowsReader::new(&[plan], &[]);
        let read = |row: &str| -> Result<Table, String> {
            reader.from_json(row.as_bytes()).map_err(|error| error.details[0].reason.clone())
        };
        assert!(read(r#"[{"t":[1,2,3,4]}]"#).is_ok());
        assert!(read(r#"[{"t0":1,"t1":2,"t2":3,"t3":4}]"#).is_ok());
        assert_eq!(read(r#"[{"t":[1,2]}]"#).unwrap_err(), "expected a list of 4 numbers, found 2");
        assert_eq!(read(r#"[{"t":[1,2,3,4],"t1":1}]"#).unwrap_err(), "the row has 't' as a list already");
        assert!(read(r#"[{"t1":1,"t":[1,2,3,4]}]"#).is_err());
    }
}

#[test]
fn dates_that_do_not_decide_follow_those_of_the_file_that_do() {
    let csv = |other: &str| lines(30, "x,z,y", |i| format!("0{}/02/2020,{other},{}", 1 + i % 9, label(i)));
    let first = |other: &str| {
        let (_file, part, found) = upload(csv(other).as_bytes(), &ReadOptions::default()).unwrap();
        let plan = resolve(&found, &Features::new(), "y", None).unwrap();
        let table = read_table(&[part], &plan.inputs, &Limits::default()).unwrap();
        match &table.columns[0].1 {
            Column::Timestamp(values) => (values[1] - values[0]) / 86_400.0,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(first("28/01/2020"), 1.0, "the day comes first");
    assert_eq!(first("01/28/2020"), 31.0, "the month comes first");
}

#[test]
fn cells_of_a_group_that_do_not_fit_are_reported_for_it() {
    let names: Vec<String> = (0..20).map(|i| format!("t{i}")).collect();
    let csv = lines(60, &format!("{},y", names.join(",")), |i| {
        let cell = |j: usize| if (i, j) == (7, 3) { "abc".to_owned() } else { ((i + j) % 9 + j).to_string() };
        format!("{},{}", (0..20).map(cell).collect::<Vec<_>>().join(","), label(i))
    });
    let (_file, _, found) = upload(csv.as_bytes(), &ReadOptions::default()).unwrap();
    assert_eq!(found.columns[0].members.as_ref().map(Vec::len), Some(20));
    let odd: Vec<_> = found.warnings.iter().filter(|w| w.code == WarningCode::MixedKind).collect();
    assert_eq!((odd.len(), odd[0].column.as_deref(), odd[0].rows, odd[0].examples[0].row), (1, Some("t"), 1, 8));
}

#[test]
fn dates_that_nothing_decides_are_reported() {
    let csv = |line: &dyn Fn(usize) -> String| lines(24, "x,y", |i| format!("{},{}", line(i), label(i)));
    let ambiguous = |csv: String| {
        let (_file, _, found) = upload(csv.as_bytes(), &ReadOptions::default()).unwrap();
        assert_eq!(found.columns[0].kind, ColumnKind::Timestamp, "{:?}", found.columns[0].examples);
        found.warnings.into_iter().find(|w| w.code == WarningCode::AmbiguousDates)
    };
    let either = csv(&|i| format!("{}/{}/2024", i % 12 + 1, i % 11 + 1));
    let warning = ambiguous(either).unwrap();
    assert!(warning.rows == 13 && warning.detail.contains("day_first=true"), "{warning:?}");
    for decided in [
        csv(&|i| format!("{}/{}/2024", i + 1, i % 12 + 1)),
        csv(&|i| format!("{}.{}.2024", i % 12 + 1, i % 11 + 1)),
        csv(&|i| format!("2024-{:02}-{:02}", i % 12 + 1, i % 11 + 1)),
        csv(&|i| format!("{:02}JAN2024:10:00:00", i + 1)),
        csv(&|i| format!("{}-{:02}", 2000 + i / 12, i % 12 + 1)),
    ] {
        assert_eq!(ambiguous(decided), None);
    }
    let stated = ReadOptions { day_first: Some(true), ..ReadOptions::default() };
    let either = csv(&|i| format!("{}/{}/2024", i % 12 + 1, i % 11 + 1));
    let (_file, _, found) = upload(either.as_bytes(), &stated).unwrap();
    assert!(found.warnings.iter().all(|w| w.code != WarningCode::AmbiguousDates));
}

#[test]
fn seasons_are_names_and_exponents_may_be_of_fortran() {
    let seasons = lines(40, "x,y", |i| format!("{}-{:02},{}", 2001 + i % 11, 2 + i % 11, label(i)));
    assert_eq!(read(&seasons, &ReadOptions::default()).0.kind, ColumnKind::Category);
    let powers = lines(40, "x,y", |i| format!("{}.5D+0{},{}", i, i % 3, label(i)));
    assert_eq!(read(&powers, &ReadOptions::default()).1[..3], [0.5, 15.0, 250.0]);
}
