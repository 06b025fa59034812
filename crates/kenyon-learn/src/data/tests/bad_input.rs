use super::*;
use crate::{Error, Kind};

fn error(content: &[u8], content_type: Option<&str>) -> Error {
    match file(content, content_type) {
        Err(error) => error,
        Ok((_file, part)) => infer(&part, &Limits::default()).unwrap_err(),
    }
}

/// Content, type, code, and the row and column of the first detail.
type Case<'a> = (&'a [u8], Option<&'a str>, &'a str, Option<u64>, Option<&'a str>);

#[test]
fn every_kind_of_broken_file_has_its_own_code_and_place() {
    let csv = Some("text/csv");
    let json = Some("application/json");
    let lines = Some("application/x-ndjson");
    let cases: &[Case<'_>] = &[
        (b"", csv, "empty_file", None, None),
        (b"", None, "empty_file", None, None),
        (b"  \n ", None, "empty_file", None, None),
        (b"a,b\n", csv, "no_rows", None, None),
        (b"a,b\n1,2\n3\n4,5,6\n", csv, "ragged_rows", Some(2), None),
        (b"a,b\n1,2\n3,\"x\n5,6\n", csv, "unclosed_quote", Some(2), None),
        (b"a,\"b\n1,2\n", csv, "unclosed_quote", Some(0), None),
        (b"a,b\n1,2\n3,\xe9 \xc3\xa9\xc3\xa9\xc3\xa9\n", csv, "not_utf8", Some(2), None),
        (b"a,b\n1,\"x\"y\n", csv, "broken_quote", Some(1), None),
        (b"\xff\xfea\0,\0b\0\n\0", csv, "no_rows", None, None),
        (b"\0\x01\x02\x03\x04\xff\x05\x06\x07", csv, "not_text", None, None),
        (b"{\"a\":1}\n{\"a\":NaN}\n", lines, "not_finite", Some(2), Some("a")),
        (b"{\"a\":1}\n{\"a\":[1,-Infinity]}\n", lines, "not_finite", Some(2), Some("a")),
        (b"{\"a\":1}\n{\"a\":2,\"a\":3}\n", lines, "duplicate_field", Some(2), Some("a")),
        (b"{\"a\":1}\n[1,2]\n", lines, "not_an_object", Some(2), None),
        (b"{\"a\":1}\n{\"a\":\n", lines, "invalid_json", Some(2), None),
        (b"[]", json, "no_rows", None, None),
        (b"{\"a\":{\"0\":1,\"1\":2},\"b\":{\"0\":3,\"1\":4}}", None, "no_rows", None, None),
        (b"{\"columns\":[\"a\"],\"index\":[0,1],\"data\":[[1],[2]]}", json, "no_rows", None, None),
        (b"{\n \"schema\": {\"fields\":[]},\n \"data\": [{\"a\":1},{\"a\":2}]}", json, "no_rows", None, None),
        (b"{\"a\":[1,2,3],\"b\":[4,5,6]}", None, "no_rows", None, None),
        (b"a\0\0\0,\0\0\0b\0\0\0\n\0\0\0", csv, "unknown_encoding", None, None),
        (b"[{\"a\":1},", json, "invalid_json", Some(2), None),
        (b"[{\"a\":1}", json, "invalid_json", Some(2), None),
        (b"[{\"a\":1} {\"a\":2}]", json, "invalid_json", Some(2), None),
        (b"[{\"a\":1},{\"a\":2},]", json, "invalid_json", Some(3), None),
        (b"[1,2]", json, "invalid_json", Some(1), None),
        (b"[{\"a\":1},{\"a\":tru}]", json, "invalid_json", Some(2), None),
        (b"PAR1 and nothing more", None, "invalid_parquet", None, None),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x01\x02", None, "damaged_compression", None, None),
        (b"1 A sentence.\nno number\n", Some("text/x-babi"), "invalid_babi", Some(1), None),
    ];
    for (content, content_type, code, row, column) in cases {
        let error = error(content, *content_type);
        let shown = String::from_utf8_lossy(content);
        assert_eq!(error.code, *code, "{shown:?}: {error:?}");
        assert!(matches!(error.kind, Kind::Malformed | Kind::Unprocessable), "{shown:?}: {error:?}");
        let first = error.details.first().cloned().unwrap_or_default();
        assert_eq!((first.row, first.column.as_deref()), (*row, *column), "{shown:?}: {error:?}");
    }
}

#[test]
fn a_bomb_ends_at_the_limit_and_a_foreign_type_is_refused() {
    let bomb = gzip(&[b"a,b\n".as_slice(), &b"1,2\n".repeat(1 << 20)].concat());
    let (_file, part) = file(&bomb, None).unwrap();
    let limits = Limits { decompressed: 1 << 20, ..Limits::default() };
    let error = infer(&part, &limits).unwrap_err();
    assert_eq!((error.kind, error.code), (Kind::TooLarge, "too_large"));
    let cut = &bomb[..bomb.len() / 2];
    let (_file, part) = file(cut, None).unwrap();
    assert_eq!(infer(&part, &Limits::default()).unwrap_err().code, "damaged_compression");
    assert_eq!(file(b"x", Some("image/png")).unwrap_err().kind, Kind::Unsupported);
}

#[test]
fn wide_files_are_read_up_to_the_limit() {
    let names: Vec<String> = (0..10_001).map(|i| format!("c{i}x")).collect();
    let wide = |n: usize| format!("{}\n{}\n", names[..n].join(","), vec!["1"; n].join(","));
    assert_eq!(summary(wide(10_000).as_bytes()).unwrap().columns.len(), 10_000);
    assert_eq!(summary(wide(10_001).as_bytes()).unwrap_err().code, "too_many_columns");
}

#[test]
fn at_most_twenty_details_come_back() {
    let rows = "1,2,3\n".repeat(100);
    assert_eq!(error(format!("a,b\n{rows}").as_bytes(), None).details.len(), 20);
}

#[test]
fn an_append_must_fit() {
    let known = summary(b"n,c,b,t\n1,x,true,2024-01-01\n2,y,false,2024-01-02\n").unwrap();
    let append = |content: &[u8]| {
        let (_file, part) = file(content, None).unwrap();
        crate::data::schema::infer_append(&part, &known, &Limits::default())
    };
    let (all, added) = append(b"c,n,t,b\nz,3,2024-01-03,true\n7,,2024-01-04,\n").unwrap();
    assert_eq!((all.rows, added), (4, 2));
    let of = |name: &str| all.columns.iter().find(|c| c.name == name).unwrap();
    assert_eq!((of("n").max, of("n").missing, of("c").distinct, of("b").missing), (Some(3.0), 1, 4, 1));
    assert_eq!(of("c").histogram.len(), 4);
    for (content, code, row, column) in [
        (b"n,c,b,t\nx,x,true,2024-01-01\n3,x,maybe,2024-01-01\n".as_slice(), "bad_cell", Some(1), Some("n")),
        (b"n,c,b,t\n4,x,true,yesterday\n", "bad_cell", Some(1), Some("t")),
        (b"n,c,b\n4,x,true\n", "missing_column", None, Some("t")),
        (b"n,c,b,t,q\n4,x,true,2024-01-01,1\n", "unknown_column", None, Some("q")),
    ] {
        let error = append(content).unwrap_err();
        assert_eq!(error.code, code, "{error:?}");
        assert_eq!((error.details[0].row, error.details[0].column.as_deref()), (row, column));
    }
    assert_eq!(append(b"n,c,b,t\nx,x,true,2024-01-01\n3,x,maybe,2024-01-01\n").unwrap_err().details.len(), 2);
}
