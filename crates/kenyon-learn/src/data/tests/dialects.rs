//! Delimiters, quotes, headers, preambles and encodings, detected or given.

use super::*;
use crate::Kind;
use crate::data::formats::{Format, Header, Quote};
use crate::data::warning::WarningCode;

fn names(summary: &Summary) -> Vec<&str> {
    summary.columns.iter().map(|c| c.name.as_str()).collect()
}

#[test]
fn the_dialect_is_the_one_under_which_most_records_agree() {
    let cases: &[(&str, &[&str], u64)] = &[
        (
            "\"Price (EUR, net, w/o VAT)\";\"Qty\";\"y\"\n1.5;2;p\n2.5;3;q\n",
            &["Price (EUR, net, w/o VAT)", "Qty", "y"],
            2,
        ),
        ("\"Price\n(EUR)\";\"Qty\";\"y\"\n1.5;2;p\n2.5;3;q\n", &["Price\n(EUR)", "Qty", "y"], 2),
        ("sep=;\na;b;y\n1;2;p\n3;4;q\n", &["a", "b", "y"], 2),
        ("\"sep=\t\"\r\na\tb\r\n1\tx\r\n2\ty\r\n", &["a", "b"], 2),
        ("a;b;y\n1,5;2,25;p\n3,5;4,75;q\n", &["a", "b", "y"], 2),
        ("id|text\n1|one, two\n2|three; four\n", &["id", "text"], 2),
        ("id\ttext\n1\tsaid \"hi\n2\t\"quoted\" word\n3\tplain\n", &["id", "text"], 3),
        ("a,b\n'x, y',1\n'z',2\n", &["a", "b"], 2),
        ("n,name,b\n,\"',x\",\n", &["n", "name", "b"], 1),
        ("a,b,y,\n1,2,p,\n3,4,q,\n", &["a", "b", "y"], 2),
        ("a,b,y\n1,2,p,\n3,4,q,\n", &["a", "b", "y"], 2),
        ("a,b\r1,2\r3,4\r", &["a", "b"], 2),
        ("a,b\r\r\n1,2\r\r\n3,4\r\r\n", &["a", "b"], 2),
        ("Report of 2024\n\na,b,c\n1,2,3\n4,5,6\n", &["a", "b", "c"], 2),
        ("Report;;\n;;\na;b;c\n1;2;3\n4;5;6\n", &["a", "b", "c"], 2),
        ("# made by x, y\n# more\na,b\n1,2\n3,4\n", &["a", "b"], 2),
        ("#id,b\n1,2\n3,4\n", &["#id", "b"], 2),
        ("a,b\n\"say \\\"hi\\\", ok\",1\n\"x\",2\n", &["a", "b"], 2),
        ("a, b\n1, \"x, y\"\n2, \"z\"\n", &["a", "b"], 2),
        ("a  b c\n1 2   3\n4 5 6\n", &["a", "b", "c"], 2),
        ("\"a\" \"b\"\n\"1\" 1.5 2\n\"2\" 2.5 3\n\"3\" 3 4\n", &["index", "a", "b"], 3),
        (",a,y\n0,1.5,p\n1,2.5,q\n", &["index", "a", "y"], 2),
        ("\"\",\"a\",\"y\"\n\"1\",1.5,\"p\"\n\"2\",2.5,\"q\"\n", &["index", "a", "y"], 2),
        ("a,a,a_2,\n1,2,3,4\n5,6,7,8\n", &["a", "a_3", "a_2", "column_4"], 2),
        ("text\nhello, you\nI am here, or not, so what\nyes\n", &["text"], 3),
        ("a\n1\n\n3\n\n\n", &["a"], 3),
        ("x,when\n1,12:30\n2,13:45\n", &["x", "when"], 2),
        ("a,b\n\n1,2\n   \n3,4\n", &["a", "b"], 2),
        ("a,b\r\n1,2\r\n3,4\r\n\x1a", &["a", "b"], 2),
    ];
    for (content, expected, rows) in cases {
        let (_file, part, summary) =
            upload(content.as_bytes(), &ReadOptions::default()).unwrap_or_else(|e| panic!("{content:?}: {e:?}"));
        assert_eq!((names(&summary).as_slice(), summary.rows), (*expected, *rows), "{content:?}: {:?}", part.read_as);
    }
}

#[test]
fn a_first_record_of_data_is_a_row() {
    let iris = "5.1,3.5,1.4,0.2,setosa\n4.9,3.0,1.4,0.2,setosa\n6.3,3.3,6.0,2.5,virginica\n";
    let (_file, part, summary) = upload(iris.as_bytes(), &ReadOptions::default()).unwrap();
    assert_eq!((part.read_as.header, summary.rows, names(&summary)[4]), (Some(Header::Absent), 3, "column_5"));
    assert_eq!(summary.warnings[0].code, WarningCode::HeaderLikeData);
    for named in ["country,1990,1991,1992\nx,1,2,3\ny,4,5,6\n", "0,1,2\n5.5,1,x\n6.5,2,y\n", "name,2020\nx,5\ny,6\n"] {
        let (_file, part, summary) = upload(named.as_bytes(), &ReadOptions::default()).unwrap();
        assert_eq!((part.read_as.header, summary.rows), (Some(Header::Present), 2), "{named}");
    }
    let letters = "p,x\ne,y\n".repeat(10);
    let (_file, _, summary) = upload(letters.as_bytes(), &ReadOptions::default()).unwrap();
    assert_eq!(summary.rows, 20, "values that recur are no names");
}

#[test]
fn what_is_said_is_done() {
    let absent = ReadOptions { header: Some(Header::Absent), ..ReadOptions::default() };
    assert_eq!(upload(b"a,b\n1,2\n", &absent).unwrap().2.rows, 2);
    let present = ReadOptions { header: Some(Header::Present), ..ReadOptions::default() };
    assert_eq!(names(&upload(b"1.5,2\n3.5,4\n", &present).unwrap().2), ["1.5", "2"]);
    let bar = ReadOptions { delimiter: Some('!'), quote: Some(Quote::None), ..ReadOptions::default() };
    assert_eq!(names(&upload(b"a,b!\"c\n1!2\n", &bar).unwrap().2), ["a,b", "\"c"]);
    let unknown = ReadOptions { encoding: Some("klingon".into()), ..ReadOptions::default() };
    assert_eq!(upload(b"a\n1\n", &unknown).unwrap_err().code, "unknown_encoding");
    let known = ReadOptions { names: Some(vec!["n".into(), "c".into()]), ..ReadOptions::default() };
    assert_eq!(names(&upload(b"1.5,x\n2.5,y\n", &known).unwrap().2), ["n", "c"], "rows to append without a header");
    assert_eq!(names(&upload(b"c,n\nx,1.5\ny,2.5\n", &known).unwrap().2), ["c", "n"]);
}

#[test]
fn text_in_other_encodings_is_decoded() {
    let text = "name,x\nJosé Muñoz,1\nBjörk Ærø,2\nFrançois,3\n";
    let wide = |order: fn(u16) -> [u8; 2], mark: bool| -> Vec<u8> {
        mark.then_some(0xfeff).into_iter().chain(text.encode_utf16()).flat_map(order).collect()
    };
    let latin: Vec<u8> = text.chars().map(|c| c as u8).collect();
    let late = [b"name,x\n".as_slice(), &b"plain,1\n".repeat(20_000), &latin[7..]].concat();
    for (content, encoding) in [
        (text.as_bytes().to_vec(), "utf-8"),
        (wide(u16::to_le_bytes, true), "utf-16le"),
        (wide(u16::to_be_bytes, true), "utf-16be"),
        (wide(u16::to_le_bytes, false), "utf-16le"),
        (latin, "windows-1252"),
        (late, "windows-1252"),
    ] {
        let (_file, part, summary) = upload(&content, &ReadOptions::default()).unwrap();
        assert_eq!((part.read_as.encoding.as_deref(), names(&summary)), (Some(encoding), vec!["name", "x"]));
        let seen: Vec<&str> = summary.columns[0].histogram.iter().map(|(name, _)| name.as_str()).collect();
        assert!(seen.contains(&"José Muñoz") && seen.contains(&"Björk Ærø"), "{encoding}: {seen:?}");
    }
    let lines = "{\"a\":\"é\"}\n".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    assert_eq!(upload(&lines, &ReadOptions::default()).unwrap().1.format, Format::Ndjson);
    let damaged = "name\né\nü\nö\n".bytes().chain(*b"caf\xe9\n").collect::<Vec<u8>>();
    let error = upload(&damaged, &ReadOptions::default()).unwrap_err();
    assert_eq!((error.code, error.details[0].row), ("not_utf8", Some(4)), "damage is not another encoding");
}

#[test]
fn files_in_other_formats_are_refused_by_name() {
    for (content, word) in [
        (b"PK\x03\x04\x14\0".as_slice(), "Excel"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"ARROW1\0\0", "Arrow"),
        (b"%PDF-1.4\n\0", "PDF"),
        (b"SQLite format 3\0", "SQLite"),
    ] {
        let error = upload(content, &ReadOptions::default()).unwrap_err();
        assert_eq!((error.kind, error.code), (Kind::Unsupported, "unsupported_media_type"));
        assert!(error.detail.contains(word), "{error:?}");
    }
    assert!(upload(b"ORCHARD,y\n1,a\n2,b\n", &ReadOptions::default()).is_ok());
}
