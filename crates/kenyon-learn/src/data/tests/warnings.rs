//! Warnings of an upload.

use super::*;
use crate::data::schema::Unused;
use crate::data::warning::WarningCode::{self, *};

fn warned(content: &[u8]) -> (Summary, Vec<(WarningCode, Option<String>, u64)>) {
    let (_file, _, summary) = upload(content, &ReadOptions::default()).unwrap();
    let warnings = summary.warnings.iter().map(|w| (w.code, w.column.clone(), w.rows)).collect();
    (summary, warnings)
}

#[test]
fn columns_without_use_and_rows_that_repeat_are_named() {
    let mut text = String::from("user_id,one,empty,x,y\n");
    for i in 0..100 {
        let x = if i == 40 { 999_999.0 } else { f64::from(i % 50) / 4.0 };
        text += &format!("{},same,,{x},{}\n", 1000 + i * 7, ["a", "b"][i as usize % 2]);
    }
    text += "1000,same,,0,a\n";
    let (_, warnings) = warned(text.as_bytes());
    let has = |code, column: Option<&str>| {
        warnings.iter().find(|(c, n, _)| *c == code && n.as_deref() == column).map(|w| w.2)
    };
    assert!(has(Identifier, Some("user_id")).is_some(), "{warnings:?}");
    assert!(has(Constant, Some("one")).is_some() && has(Constant, Some("empty")).is_some(), "{warnings:?}");
    assert_eq!((has(ExtremeValues, Some("x")), has(DuplicateRows, None)), (Some(1), Some(1)), "{warnings:?}");
    let (summary, _) = warned(text.as_bytes());
    let extreme = summary.warnings.iter().find(|w| w.code == ExtremeValues).unwrap();
    assert_eq!((extreme.examples[0].row, extreme.examples[0].value.as_f64()), (41, Some(999_999.0)));
    assert!(warned(b"only\nx\ny\n").1.iter().any(|w| w.0 == OneColumn));
}

#[test]
fn a_bystander_does_not_block_a_file() {
    let lines = b"{\"a\":1,\"n\":{\"b\":2},\"l\":[1,\"x\"],\"y\":\"p\"}\n{\"a\":2,\"n\":{\"b\":3},\"l\":[[1],[2,3]],\"y\":\"q\"}\n";
    let (summary, warnings) = warned(lines);
    let unused: Vec<_> = summary.columns.iter().map(|c| (c.name.as_str(), c.unused)).collect();
    let unreadable = Some(Unused::Unreadable);
    assert_eq!(unused, [("a", None), ("n", unreadable), ("l", unreadable), ("y", None)]);
    assert_eq!(warnings.iter().filter(|w| w.0 == UnreadableColumn).count(), 2, "{warnings:?}");
    let plan = crate::data::plan::resolve(&summary, &Default::default(), "y", None).unwrap();
    assert_eq!((plan.inputs.len(), plan.ignored.len()), (1, 3));
    let stated = serde_json::from_str("{\"n\":\"category\"}").unwrap();
    assert_eq!(crate::data::plan::resolve(&summary, &stated, "y", None).unwrap_err().code, "bad_feature");
    assert_eq!(crate::data::plan::resolve(&summary, &Default::default(), "n", None).unwrap_err().code, "bad_target");
}

#[test]
fn an_index_is_left_out_unless_it_is_requested() {
    let (summary, warnings) = warned(b",a,y\n0,1.5,p\n1,2.5,q\n2,2.5,p\n");
    assert_eq!(summary.columns[0].unused, Some(Unused::Index));
    assert!(
        warnings.iter().any(|w| w.0 == UnnamedColumn) && warnings.iter().any(|w| w.0 == Identifier),
        "{warnings:?}"
    );
    let inputs = |features: &str| {
        let features = serde_json::from_str(features).unwrap();
        crate::data::plan::resolve(&summary, &features, "y", None).unwrap().inputs.len()
    };
    assert_eq!((inputs("{}"), inputs("{\"index\":\"number\"}")), (1, 2));
}

#[test]
fn a_column_with_a_name_is_used_whatever_the_name_is() {
    for names in ["id,a,y", "index,index,y", "column_1,column_2,y", "Unnamed: 0,Unnamed: 1,y"] {
        let (summary, _) = warned(format!("{names}\n0,5,p\n1,6,q\n2,7,p\n").as_bytes());
        assert!(summary.columns.iter().all(|column| column.unused.is_none()), "{names}");
    }
}

#[test]
fn warnings_are_kept_and_added_to_by_an_append() {
    let (_file, _, known) = upload(b"a,y\n1,p\n2,q\n1,p\n", &ReadOptions::default()).unwrap();
    let (_more, part) = file(b"a,y\n5,p\n5,p\n", None).unwrap();
    let (all, _) = crate::data::schema::infer_append(&part, &known, &Limits::default()).unwrap();
    let repeated = all.warnings.iter().find(|w| w.code == DuplicateRows).unwrap();
    let rows: Vec<u64> = repeated.examples.iter().map(|e| e.row).collect();
    assert_eq!((repeated.rows, rows), (2, vec![3, 5]));
}
