//! The reader compared with serde_json, and malformed bodies.
#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

fn floats(json: &str) -> Result<Vec<f32>> {
    let mut out = Vec::new();
    let mut reader = Scanner { text: json, bytes: json.as_bytes(), at: 0 };
    reader.floats(&mut out, &mut Vec::new(), 0)?;
    reader.end()?;
    Ok(out)
}

#[test]
fn a_request_with_everything() {
    let json = r#" {"id":"a\n7","parameters":{"binary_data_output":true,"other":[{}]},
        "inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data":[[1,2.5],[-3e-1,0.0]]},
                  {"data":["ü","\"b\""],"name":"t","shape":[2],"datatype":"BYTES"},
                  {"name":"r","shape":[2],"datatype":"INT8","parameters":{"binary_data_size":2}}],
        "outputs":[{"name":"label","parameters":{"binary_data":false,"classification":0}},
                   {"name":"embedding","parameters":{"layer":"hidden_0"}},{"name":"probabilities","parameters":{"layer":null}}]} "#;
    let parsed = parse(json.as_bytes()).unwrap();
    assert_eq!((parsed.id.as_deref(), parsed.binary_output), (Some("a\n7"), true));
    assert_eq!(parsed.inputs[0].data, Data::Here(Values::F32(vec![1.0, 2.5, -0.3, 0.0])));
    assert_eq!(parsed.inputs[1].data, Data::Here(Values::Text(vec!["ü".into(), "\"b\"".into()])));
    assert_eq!(parsed.inputs[2].data, Data::Binary(2));
    assert_eq!(parsed.outputs[0], Wanted { name: "label".into(), binary: Some(false), ..Wanted::default() });
    assert_eq!((parsed.outputs[1].layer.as_deref(), parsed.outputs[2].layer.as_deref()), (Some("hidden_0"), None));
}

#[test]
fn null_is_an_element_without_a_value() {
    for (datatype, data, values) in [
        ("FP32", "[1.5,null]", Values::F32(vec![1.5, f32::NAN])),
        ("FP64", "[[1.5],[null]]", Values::F64(vec![1.5, f64::NAN])),
        ("INT64", "[7,null]", Values::Int(vec![7, 0])),
        ("UINT64", "[7,null]", Values::Uint(vec![7, 0])),
        ("BOOL", "[true,null]", Values::Bool(vec![true, false])),
        ("BYTES", r#"["a",null]"#, Values::Text(vec!["a".into(), "".into()])),
    ] {
        let json = format!(r#"{{"inputs":[{{"name":"x","shape":[2],"datatype":"{datatype}","data":{data}}}]}}"#);
        let parsed = parse(json.as_bytes()).unwrap();
        assert_eq!(parsed.inputs[0].missing, [1], "{datatype}");
        // NaN is no value to compare.
        assert_eq!(format!("{:?}", parsed.inputs[0].data), format!("{:?}", Data::Here(values)));
    }
    let lax = r#"{"inputs":[{"name":"x","shape":[1],"datatype":"BOOL","data":[17]}]}"#;
    assert!(parse(lax.as_bytes()).is_err());
}

#[test]
fn what_is_no_request_is_refused() {
    for json in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"inputs":[{}]}"#,
        r#"{"inputs":[]} x"#,
        r#"{"inputs":[{"name":"x","shape":[-1],"datatype":"FP32","data":[1]}]}"#,
        r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP31","data":[1]}]}"#,
        r#"{"inputs":[{"name":"x","shape":[1],"datatype":"UINT8","data":[256]}]}"#,
        r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1"#,
        r#"{"inputs":[{"name":"x\"#,
    ] {
        assert!(parse(json.as_bytes()).is_err(), "{json}");
    }
    let deep = format!(r#"{{"inputs":{}"#, "[".repeat(100_000));
    assert!(parse(deep.as_bytes()).is_err());
    let deep = format!(r#"{{"inputs":[{{"datatype":"FP32","data":{}"#, "[".repeat(100_000));
    assert!(parse(deep.as_bytes()).is_err());
}

#[test]
fn numbers_that_are_not_json_are_refused() {
    for bad in ["[01]", "[1.]", "[.5]", "[+1]", "[-]", "[1 2]", "[NaN]", "[1e99]", "[--1]", "[1.2.3]", "[1e]", "[0x1]"]
    {
        assert!(floats(bad).is_err(), "{bad}");
    }
    assert_eq!(floats("[ 0.0, 0.0, 0.0 , -0.0,1E2 ]").unwrap(), [0.0, 0.0, 0.0, -0.0, 100.0]);
}

proptest! {
    #[test]
    fn floats_read_back_as_they_were_written(values in proptest::collection::vec(any::<f32>().prop_filter("finite", |v| v.is_finite()), 0..50)) {
        let json = serde_json::to_string(&values).unwrap();
        prop_assert_eq!(floats(&json).unwrap(), values);
    }

    #[test]
    fn doubles_are_rounded_to_the_nearest_single(value in -1.0e6f64..1.0e6) {
        let text = format!("[{value}]");
        let near: f32 = text[1..text.len() - 1].parse().unwrap();
        prop_assert_eq!(floats(&text).unwrap()[0].to_bits(), near.to_bits());
    }

    #[test]
    fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..200) {
        let _ = parse(&bytes);
        let good = r#"{"id":"é","inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[[1.25,2e3]]}]}"#;
        let _ = parse(&good.as_bytes()[..cut.min(good.len())]);
    }
}
