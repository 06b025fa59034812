use crate::data::plan::ColumnPlan;
use crate::data::rows::RowsReader;
use crate::data::{Column, ColumnKind};
use base64::Engine;
use serde_json::{Map, Value, json};

fn reader() -> RowsReader {
    let members = Some((0..4).map(|i| format!("p{i}")).collect());
    let plans = [
        ColumnPlan::new("n", ColumnKind::Number),
        ColumnPlan::new("c", ColumnKind::Category),
        ColumnPlan::new("b", ColumnKind::Boolean),
        ColumnPlan::new("t", ColumnKind::Timestamp),
        ColumnPlan { members, shape: Some(vec![2, 2]), ..ColumnPlan::new("p", ColumnKind::Vector) },
        ColumnPlan { channels: Some(0), ..ColumnPlan::new("story", ColumnKind::Sequence) },
    ];
    RowsReader::new(&plans, &["y".to_owned()])
}

fn maps(rows: &Value) -> Vec<Map<String, Value>> {
    rows.as_array().unwrap().iter().map(|r| r.as_object().unwrap().clone()).collect()
}

#[test]
fn rows_come_in_three_ways_to_the_same_table() {
    let rows = json!([
        {"n": 1.5, "c": "x", "b": true, "t": "1970-01-02", "p": [1, 2, 3, 4], "story": ["a b", "c"], "y": "skipped"},
        {"p0": 5, "p1": 6, "p2": null, "p3": 8, "story": [], "c": 7, "n": null},
    ]);
    let values = reader().from_values(&maps(&rows)).unwrap();
    let lines: String = rows.as_array().unwrap().iter().map(|r| format!("{r}\n")).collect();
    for table in [
        values.clone(),
        reader().from_json(rows.to_string().as_bytes()).unwrap(),
        reader().from_ndjson(lines.as_bytes()).unwrap(),
    ] {
        assert_eq!(format!("{table:?}"), format!("{values:?}"));
    }
    assert_eq!(values.rows, 2);
    let Some(Column::Number(n)) = values.column("n") else { panic!() };
    assert!(n[0] == 1.5 && n[1].is_nan());
    assert_eq!(values.column("c"), Some(&Column::Category(vec![Some("x".into()), Some("7".into())])));
    assert_eq!(values.column("b"), Some(&Column::Boolean(vec![Some(true), None])));
    let Some(Column::Vector { width: 4, values: p, .. }) = values.column("p") else { panic!() };
    assert!(p[..6] == [1., 2., 3., 4., 5., 6.] && p[6].is_nan() && p[7] == 8.0);
    let strings = Column::Strings { offsets: vec![0, 2, 2], values: vec!["a b".into(), "c".into()] };
    assert_eq!(values.column("story"), Some(&strings));
}

#[test]
fn the_quick_reader_and_the_general_one_agree() {
    // The last key of each is escaped, which the fast path leaves to the general reader.
    for row in [
        r#"{"n":1.5,"c":"x","b":true,"p":[0.0, 1e-1,null,-0.5],"story":["a","b"],"y":1}"#,
        r#"{"n":-0,"c":null,"p":[0.10588235408067703,0.3294117748737335,1,2],"story":[]}"#,
        r#"{"n":12345678901234567,"p":[[1,2],[3,4]],"story":[]}"#,
        r#"{"n":[1],"p":[1,"a",2,3],"story":[1],"zz":true}"#,
        r#"{"n":1,"n":2,"p0":1,"p":[1,2,3,4],"story":["a"]}"#,
        r#"{ "p" : [ 1 , 2 , 3 , 4 ] , "story" : [ ] }"#,
        r#"{"p0":1,"p1":2,"p2":3,"p3":4,"story":["ü"],"c":7}"#,
    ] {
        let quick = reader().from_json(format!("[{row},{row}]").as_bytes());
        let general = reader().from_json(format!("[{row},{row} ]").replace("\"story\"", "\"st\\u006fry\"").as_bytes());
        match (quick, general) {
            (Ok(a), Ok(b)) => assert_eq!(format!("{a:?}"), format!("{b:?}"), "{row}"),
            (Err(a), Err(b)) => assert_eq!((a.code, a.details), (b.code, b.details), "{row}"),
            other => panic!("{row}: {other:?}"),
        }
    }
    for broken in
        ["", "[", "[{]", "[{}", "[{\"n\":}]", "[{\"n\":1,}]", "[{}]x", "[1]", "[{\"n\" 1}]", "[{\"n\":01}]", "[{},]"]
    {
        assert_eq!(reader().from_json(broken.as_bytes()).unwrap_err().code, "invalid_json", "{broken}");
    }
}

#[test]
fn what_does_not_fit_is_named_by_row_and_column() {
    let good = json!({"n": 1, "p": [1, 2, 3, 4], "story": []});
    for (change, column, reason) in [
        (json!({"n": "one"}), "n", "expected a number, found the text 'one'"),
        (json!({"n": true}), "n", "expected a number, found true"),
        (json!({"n": [1]}), "n", "expected a number, found a list of 1"),
        (json!({"n": {"a": 1}}), "n", "expected a number, found an object"),
        (json!({"c": ["x"]}), "c", "expected a name or text, found a list of 1"),
        (json!({"b": "perhaps"}), "b", "expected true or false, found the text 'perhaps'"),
        (json!({"t": "soon"}), "t", "expected a date or time, found the text 'soon'"),
        (json!({"p": [1, 2, 3]}), "p", "expected a list of 4 numbers, found 3"),
        (json!({"p": ["a", "b", "c", "d"]}), "p", "expected a list of numbers, found strings"),
        (json!({"p": null}), "p", "this vector is missing"),
        (json!({"p": null, "p1": 3}), "p", "3 of its 4 columns are missing"),
        (json!({"story": [1]}), "story", "expected a list of strings, found numbers"),
        (json!({"extra": 1}), "extra", "the model has no such field"),
    ] {
        let mut row = good.as_object().unwrap().clone();
        row.extend(change.as_object().unwrap().clone());
        let error = reader().from_values(&[good.as_object().unwrap().clone(), row]).unwrap_err();
        assert_eq!(error.kind, crate::Kind::Unprocessable);
        let first = &error.details[0];
        let found = (first.row, first.column.as_deref(), first.reason.as_str());
        assert_eq!(found, (Some(1), Some(column), reason), "{change}");
    }
    let broken = reader().from_json(br#"[{"n":1},{"n":NaN}]"#).unwrap_err();
    assert_eq!((broken.kind, broken.code), (crate::Kind::Malformed, "invalid_json"));
    assert_eq!(reader().from_ndjson(b"{\"story\":[],\"p\":[1,2,3,4]}\n7\n").unwrap_err().details[0].row, Some(1));
}

#[test]
fn images_are_decoded_and_scaled() {
    let picture = image::GrayImage::from_fn(4, 2, |x, y| image::Luma([(x * 10 + y) as u8]));
    let mut png = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut png, image::ImageFormat::Png).unwrap();
    let text = base64::engine::general_purpose::STANDARD.encode(png.into_inner());
    let plan = ColumnPlan { shape: Some(vec![2, 4]), ..ColumnPlan::new("i", ColumnKind::Image) };
    let reader = RowsReader::new(&[plan], &[]);
    let row = json!([{"i": text}, {"i": format!("data:image/png;base64,{text}")}]);
    let table = reader.from_values(&maps(&row)).unwrap();
    let Some(Column::Vector { width: 8, values, .. }) = table.column("i") else { panic!() };
    assert_eq!(values[..8], [0., 10., 20., 30., 1., 11., 21., 31.]);
    assert_eq!(values[..8], values[8..]);
    let error = reader.from_values(&maps(&json!([{"i": "bm8="}]))).unwrap_err();
    assert_eq!(error.details[0].reason, "the image is neither PNG nor JPEG");
}
