use super::*;
use crate::data::formats::ReadOptions;
use crate::data::plan::{ColumnPlan, read_rows, read_table_noting, resolve};
use crate::data::rows::RowsReader;
use crate::data::schema::{ColumnInfo, Features, infer_append};
use crate::data::warning::{Warning, WarningCode};
use crate::data::{Column, ColumnKind, TargetEncoder, Task};
use serde_json::{Value, json};

/// A CSV of a column `x` and a counter, every cell as `cell` gives it.
fn column(rows: usize, cell: impl Fn(usize) -> String) -> String {
    (0..rows).fold("x,n\n".to_owned(), |csv, i| csv + &format!("{},{}\n", cell(i), i % 7))
}

fn first(content: &str) -> (ColumnInfo, Vec<Warning>) {
    let found = summary(content.as_bytes()).unwrap();
    (found.columns[0].clone(), found.warnings)
}

/// The values of the first column as a training reads them.
fn values(content: &str) -> Vec<f64> {
    let (_file, part) = file(content.as_bytes(), None).unwrap();
    let found = infer(&part, &Limits::default()).unwrap();
    let plan = resolve(&found, &Features::new(), "n", Some(Task::Regression)).unwrap();
    let (table, _) = read_table_noting(&[part], &plan.inputs, &Limits::default()).unwrap();
    match table.column("x").unwrap() {
        Column::Number(values) | Column::Timestamp(values) => values.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stray_cell_is_missing_and_reported() {
    for odd in ["-", "unknown", "n/a", "NaN", "?", "oops", "\"-\"", "inf", "1e999"] {
        let csv = column(100, |i| if i == 50 { odd.into() } else { format!("{}.5", i * 13) });
        let (info, warnings) = first(&csv);
        assert_eq!((info.kind, info.missing), (ColumnKind::Number, 1), "{odd}");
        let warning = &warnings[0];
        assert!(matches!(warning.code, WarningCode::MixedKind | WarningCode::MissingWords), "{odd}");
        assert_eq!((warning.rows, warning.examples[0].row), (1, 51), "{odd}");
        let read = values(&csv);
        assert!(read[50].is_nan() && read[49] == 637.5 && read[51] == 663.5, "{odd}");
    }
    // More than one in twenty: they are names, and none of them is lost.
    let (info, _) = first(&column(100, |i| if i % 10 == 0 { "low".into() } else { format!("{}", i % 3) }));
    assert_eq!((info.kind, info.missing, info.distinct), (ColumnKind::Category, 0, 4));
}

#[test]
fn exceptions_are_shown_as_they_are_written() {
    let csv = column(100, |i| if i == 2 { "oops".into() } else { format!("{i}.0") });
    let (_file, part) = file(csv.as_bytes(), None).unwrap();
    let found = infer(&part, &Limits::default()).unwrap();
    let rows = read_rows(&[part], &found.columns, 1, 2, &Limits::default()).unwrap();
    assert_eq!((rows[0]["x"].clone(), rows[1]["x"].clone()), (json!(1.0), json!("oops")));
}

#[test]
fn strict_reading_refuses_them() {
    let csv = column(100, |i| if i == 50 { "oops".into() } else { i.to_string() });
    let (_file, mut part) = file(csv.as_bytes(), None).unwrap();
    part.read_as.strict = true;
    let error = infer(&part, &Limits::default()).unwrap_err();
    assert_eq!(
        (error.code, error.details[0].row, error.details[0].column.as_deref()),
        ("bad_cell", Some(51), Some("x"))
    );
    assert_eq!(error.details[0].reason, "expected a number, found the text 'oops'");
}

#[test]
fn numbers_are_read_as_the_column_writes_them() {
    let thousands = |x: usize| format!("{},{:03}", x / 1000, x % 1000);
    for (what, csv, row, value) in [
        ("thousands", column(200, |i| format!("\"{}\"", thousands(1000 + i * 37))), 3, 1111.0),
        ("percent", column(200, |i| format!("{}.25%", i)), 3, 3.25),
        ("dollars", column(200, |i| format!("${}.50", i)), 3, 3.5),
        ("parentheses", column(200, |i| if i % 2 == 0 { format!("({i})") } else { format!("{i}") }), 4, -4.0),
        ("decimal commas", column(200, |i| format!("\"{},{}\"", i, i % 10)), 3, 3.3),
        ("both", column(200, |i| format!("\"1.{:03},5\"", i)), 3, 1003.5),
    ] {
        let (info, warnings) = first(&csv);
        assert_eq!((info.kind, info.missing), (ColumnKind::Number, 0), "{what}");
        assert!(warnings.is_empty(), "{what}: {warnings:?}");
        assert_eq!(values(&csv)[row], value, "{what}");
    }
}

#[test]
fn ambiguous_numbers_follow_the_rest_of_the_file() {
    let csv = |other: &str| (0..50).fold("x;n;z\n".to_owned(), |csv, i| csv + &format!("1,{i:03};{i};{other}\n"));
    assert_eq!(values(&csv("2,5"))[3], 1.003);
    assert_eq!(values(&csv("2.5"))[3], 1003.0);
    let (_file, mut part) = file(csv("2.5").as_bytes(), None).unwrap();
    part.read_as = ReadOptions { decimal: Some(crate::data::formats::DecimalMark::Comma), ..part.read_as };
    let found = infer(&part, &Limits::default()).unwrap();
    assert_eq!(found.columns[0].max, Some(1.049));
}

#[test]
fn predict_rows_are_read_in_the_same_spelling() {
    let csv = column(200, |i| if i == 9 { "NA".into() } else { format!("\"{},{}\"", i, i % 10) });
    let found = summary(csv.as_bytes()).unwrap();
    let plan = resolve(&found, &Features::new(), "n", None).unwrap();
    let reader = RowsReader::new(&plan.inputs, &plan.ignored);
    let read = |cell: Value| {
        let row = json!({ "x": cell });
        reader.from_values(&[row.as_object().unwrap().clone()]).map(|table| match table.column("x") {
            Some(Column::Number(values)) => values[0],
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(read(json!("11,5")).unwrap(), 11.5);
    assert_eq!(read(json!(11.5)).unwrap(), 11.5);
    assert_eq!(read(json!("11.5")).unwrap(), 11.5);
    assert!(read(json!("NA")).unwrap().is_nan() && read(json!(null)).unwrap().is_nan());
    assert_eq!(read(json!("eleven")).unwrap_err().details[0].reason, "expected a number, found the text 'eleven'");
}

#[test]
fn dates_are_read_in_the_order_the_column_shows() {
    const DAY: f64 = 86_400.0;
    let csv = column(40, |i| format!("{:02}/01/1970", 1 + i % 28));
    assert_eq!(first(&csv).0.kind, ColumnKind::Timestamp);
    assert_eq!(values(&csv)[1], DAY);
    let csv = column(40, |i| format!("01/{:02}/1970 06:00 PM", 1 + i % 28));
    assert_eq!(values(&csv)[1], 1.75 * DAY);
    let csv = column(40, |i| format!("{} Jan 1970", 1 + i % 28));
    assert_eq!(values(&csv)[1], DAY);
    let csv = column(40, |i| format!("{}.1.1970", 1 + i % 9));
    assert_eq!(values(&csv)[1], DAY);
}

#[test]
fn durations_and_times_of_day_are_seconds() {
    for (cell, value) in
        [("1h30m", 5400.0), ("01:30:00", 5400.0), ("90 min", 5400.0), ("PT1H30M", 5400.0), ("18:30", 66_600.0)]
    {
        let csv = column(40, |i| if i == 3 { cell.into() } else { format!("{i:02}:15:00") });
        let (info, warnings) = first(&csv);
        assert_eq!((info.kind, info.missing, warnings.len()), (ColumnKind::Duration, 0, 0), "{cell}");
        assert_eq!(values(&csv)[3], value, "{cell}");
    }
}

#[test]
fn words_are_values_among_names_and_none_among_numbers() {
    let (info, _) = first(&column(60, |i| ["none", "mild", "NA"][i % 3].into()));
    assert_eq!((info.kind, info.distinct, info.missing), (ColumnKind::Category, 2, 20));
    let (info, _) = first(&column(60, |i| if i < 30 { "none".into() } else { (i * 7).to_string() }));
    assert_eq!((info.kind, info.missing), (ColumnKind::Number, 30));
}

#[test]
fn a_class_may_be_called_anything() {
    for word in ["none", "NA", "n/a", "null", "?", "None"] {
        let csv = column(60, |i| ["mild", word, "severe"][i % 3].into());
        let (_file, part) = file(csv.as_bytes(), None).unwrap();
        let found = infer(&part, &Limits::default()).unwrap();
        let plan = resolve(&found, &Features::new(), "x", None).unwrap();
        let (table, _) = read_table_noting(&[part], &plan.all(), &Limits::default()).unwrap();
        let target = TargetEncoder::fit("x", table.column("x").unwrap(), plan.task, false).unwrap();
        assert!(target.class_id(&json!(word)).is_some(), "{word}");
        assert_eq!(target.outputs(), 3, "{word}");
    }
}

#[test]
fn classes_keep_their_type_and_spelling() {
    for (cells, classes) in [
        (["1", "2"], json!([1, 2])),
        (["1.0", "2.0"], json!([1.0, 2.0])),
        (["True", "False"], json!([false, true])),
        (["9007199254740993", "9007199254740992"], json!([9_007_199_254_740_992_i64, 9_007_199_254_740_993_i64])),
        (["01", "02"], json!(["01", "02"])),
        (["5%", "7%"], json!(["5%", "7%"])),
        (["a", " b "], json!(["a", "b"])),
    ] {
        let csv = column(60, |i| cells[i % 2].into());
        let (_file, part) = file(csv.as_bytes(), None).unwrap();
        let found = infer(&part, &Limits::default()).unwrap();
        let plan = resolve(&found, &Features::new(), "x", Some(Task::Classification)).unwrap();
        let (table, _) = read_table_noting(&[part], &plan.all(), &Limits::default()).unwrap();
        let target = TargetEncoder::fit("x", table.column("x").unwrap(), plan.task, false).unwrap();
        let found = serde_json::to_value(&target).unwrap()["classes"].to_string();
        assert_eq!(found, classes.to_string(), "{cells:?}");
    }
}

#[test]
fn a_column_without_values_keeps_an_open_kind() {
    let empty = summary(b"x,note\n1,\n2,\n").unwrap();
    for (rows, kind) in [
        ("3,urgent\n4,low\n5,low\n", ColumnKind::Category),
        ("3,7.5\n", ColumnKind::Number),
        ("3,\n", ColumnKind::Category),
    ] {
        let (_file, part) = file(format!("x,note\n{rows}").as_bytes(), None).unwrap();
        let (all, _) = infer_append(&part, &empty, &Limits::default()).unwrap();
        assert_eq!(all.columns[1].kind, kind, "{rows}");
        assert!(all.columns[1].missing >= 2);
    }
    let flags = summary(b"f,y\nTrue,a\nFalse,b\n").unwrap();
    let (_file, part) = file(b"f,y\n1,a\n0,b\n", None).unwrap();
    assert_eq!(infer_append(&part, &flags, &Limits::default()).unwrap().0.columns[0].missing, 0);
}

#[test]
fn overrides_leave_out_what_does_not_fit() {
    let csv = column(40, |i| if i % 4 == 0 { "none such".into() } else { format!("v{}", i % 3) });
    let mixed = column(40, |i| if i % 4 == 0 { "high".into() } else { i.to_string() });
    let features: Features = serde_json::from_value(json!({"x": "number"})).unwrap();
    assert_eq!(resolve(&summary(csv.as_bytes()).unwrap(), &features, "n", None).unwrap_err().code, "bad_feature");
    let (_file, part) = file(mixed.as_bytes(), None).unwrap();
    let found = infer(&part, &Limits::default()).unwrap();
    let plan = resolve(&found, &features, "n", None).unwrap();
    let (table, warnings) = read_table_noting(&[part], &plan.inputs, &Limits::default()).unwrap();
    let Some(Column::Number(values)) = table.column("x") else { panic!() };
    assert_eq!(values.iter().filter(|v| v.is_nan()).count(), 10);
    assert_eq!((warnings[0].code, warnings[0].rows, warnings[0].examples.len()), (WarningCode::MixedKind, 10, 5));
}

#[test]
fn statistics_show_what_is_written_and_do_not_overflow() {
    let (info, _) = first(&column(30, |i| ["1.0", "2.0", "x"][i % 3].into()));
    let mut names: Vec<_> = info.histogram.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    names.sort_unstable();
    assert_eq!(names, [("1.0", 10), ("2.0", 10), ("x", 10)]);
    assert_eq!(info.examples, [json!("1.0"), json!("2.0"), json!("x")]);
    let (info, _) = first(&column(30, |i| ["1.7e308", "-1.7e308", "1.7e308"][i % 3].into()));
    assert!(info.mean.unwrap().is_finite() && info.histogram.iter().map(|(_, n)| n).sum::<u64>() == 30);
    let (info, _) = first("x,n\n9007199254740993,1\n9007199254740992,2\n");
    assert_eq!((info.distinct, info.examples[0].clone()), (2, json!(9_007_199_254_740_993_i64)));
}

#[test]
fn summaries_and_plans_of_before_are_read() {
    let old = json!({"name": "c", "kind": "category", "missing": 1, "distinct": 2, "min": null, "max": null, "mean": null, "examples": ["a"]});
    let info: ColumnInfo = serde_json::from_value(old).unwrap();
    assert!(info.spelling.is_none());
    let plan: ColumnPlan = serde_json::from_value(json!({"name": "c", "kind": "category"})).unwrap();
    let (_file, part) = file(b"c,d\nNA,1\nnone,2\n?,3\nx,4\n", None).unwrap();
    let (table, _) = read_table_noting(&[part], &[plan], &Limits::default()).unwrap();
    assert_eq!(table.column("c"), Some(&Column::Category(vec![None, None, None, Some("x".into())])));
}
