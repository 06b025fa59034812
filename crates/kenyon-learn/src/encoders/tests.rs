//! Encoders against the vectors that other programs give, and folders that are refused.

use super::*;
use crate::data::vectors::CellVectors;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

/// The tiny random encoders; `make.py` there makes them.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/encoders").join(name)
}

const FIXTURES: [&str; 5] = ["bert", "distilbert", "mpnet", "xlm-roberta", "static"];

fn expected(name: &str) -> (Vec<String>, Vec<Vec<f32>>) {
    let read: Value = serde_json::from_slice(&fs::read(fixture(name).join("expected.json")).unwrap()).unwrap();
    let part = |name: &str| read[name].clone();
    (serde_json::from_value(part("texts")).unwrap(), serde_json::from_value(part("vectors")).unwrap())
}

#[test]
fn vectors_are_those_of_the_programs_that_made_the_encoders() {
    for name in FIXTURES {
        let encoder = TextEncoder::open(&fixture(name), 2).unwrap();
        assert_eq!(encoder.info().architecture, name);
        // In candle's operations as well, as on a device.
        let padded = TextEncoder::open_on(&fixture(name), 2, Some(&Device::Cpu)).unwrap();
        assert_eq!(matches!(padded.network, Network::Device(..)), name != "static");
        let (texts, vectors) = expected(name);
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        for encoder in [encoder, padded] {
            let found = encoder.embed(&texts).unwrap();
            assert_eq!(found.len(), texts.len() * encoder.info().width);
            for ((text, expected), found) in texts.iter().zip(&vectors).zip(found.chunks_exact(encoder.info().width)) {
                for (expected, found) in expected.iter().zip(found) {
                    assert!((expected - found).abs() < 1e-4, "{name}: {text:?}: {expected} {found}");
                }
            }
        }
    }
}

#[test]
fn a_text_has_the_same_bits_alone_and_in_a_batch_with_any_number_of_threads() {
    for name in FIXTURES {
        let (texts, _) = expected(name);
        let texts: Vec<&str> = texts.iter().map(String::as_str).cycle().take(40).collect();
        let [one, three] = [1, 3].map(|threads| TextEncoder::open(&fixture(name), threads).unwrap());
        let together = three.embed(&texts).unwrap();
        assert_eq!(one.embed(&texts).unwrap(), together);
        assert_eq!(Pretrained::open(&fixture(name), 2).unwrap().of_cells(&texts).unwrap(), together);
        for (text, vector) in texts.iter().zip(together.chunks_exact(one.info().width)) {
            assert_eq!(one.embed(&[text]).unwrap(), vector, "{name}: {text:?}");
        }
    }
}

/// A copy of a fixture in which a file is replaced; and what its opening is refused with.
fn refusal(name: &str, file: &str, content: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let root = fixture(name);
    for file in TextEncoder::open(&root, 1).unwrap().info().files.iter() {
        let target = folder.path().join(file);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(root.join(file), target).unwrap();
    }
    fs::write(folder.path().join(file), content).unwrap();
    let error = TextEncoder::open(folder.path(), 1).unwrap_err();
    assert_eq!(error.code, "bad_encoder", "{error}");
    error.detail
}

#[test]
fn folders_that_are_wrong_are_refused_with_the_reason() {
    let weights = fs::read(fixture("bert").join("model.safetensors")).unwrap();
    let config = |name: &str, value: Value| {
        let mut read: Value = serde_json::from_slice(&fs::read(fixture("bert").join("config.json")).unwrap()).unwrap();
        read[name] = value;
        serde_json::to_vec(&read).unwrap()
    };
    let header = |text: String| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let huge = |bytes: u64| {
        header(json!({ "x": { "dtype": "F32", "shape": [bytes / 4], "data_offsets": [0, bytes] } }).to_string())
    };
    let cases: [(&str, Vec<u8>, &str); 14] = [
        ("model.safetensors", weights[..weights.len() - 1].to_vec(), "truncated"),
        ("model.safetensors", weights[..200].to_vec(), "header"),
        ("model.safetensors", Vec::new(), "too short"),
        ("model.safetensors", (20u64 << 30).to_le_bytes().to_vec(), "claims"),
        ("model.safetensors", huge(20 << 30), "truncated"),
        ("model.safetensors", header("{}".into()), "word_embeddings"),
        ("model.safetensors", b"\x80\x04pickled".repeat(10), "claims"),
        ("config.json", config("model_type", json!("gpt2")), "gpt2"),
        ("config.json", config("hidden_size", json!(1u64 << 40)), "hidden_size"),
        ("config.json", config("num_hidden_layers", json!(3)), "layer.2"),
        ("config.json", config("vocab_size", json!(5000)), "tokenizer"),
        ("config.json", b"{".to_vec(), "config.json"),
        ("tokenizer.json", b"{}".to_vec(), "tokenizer.json"),
        ("modules.json", br#"[{"path":"../..","type":"x.Pooling"}]"#.to_vec(), "modules.json"),
    ];
    for (file, content, reason) in cases {
        let message = refusal("bert", file, &content);
        assert!(message.contains(reason), "{file}: {message}");
    }
    let other = fs::read(fixture("static").join("tokenizer.json")).unwrap();
    let fewer = String::from_utf8(other).unwrap().replace("\".\": 24", "\".\": 99");
    assert!(refusal("static", "tokenizer.json", fewer.as_bytes()).contains("tokens"));
    let pickled = tempfile::tempdir().unwrap();
    fs::write(pickled.path().join("pytorch_model.bin"), b"\x80\x04").unwrap();
    assert!(TextEncoder::open(pickled.path(), 1).unwrap_err().detail.contains("pickled"));
}

#[test]
fn the_digest_is_of_the_files_that_are_read() {
    let root = fixture("bert");
    let info = TextEncoder::open(&root, 1).unwrap().info().clone();
    assert!(
        !info.files.contains(&"expected.json".to_owned()) && info.files.contains(&"1_Pooling/config.json".to_owned())
    );
    assert_eq!(open(&info.digest, &root, 1).unwrap().info(), &info);
    assert_eq!(open("another", &root, 1).unwrap_err().code, "bad_encoder");
}
