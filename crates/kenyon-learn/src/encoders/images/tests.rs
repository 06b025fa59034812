//! Encoders of pictures against the vectors that other programs give, and folders that are refused.

use super::*;
use crate::encoders::Pretrained;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

/// The tiny random encoders; `make_images.py` there makes them.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/encoders").join(name)
}

const FIXTURES: [&str; 6] = ["vit", "dinov2", "resnet-basic", "resnet-bottleneck", "efficientnet", "efficientnet-lite"];

fn expected(name: &str) -> (Vec<String>, Vec<Vec<f32>>) {
    let read: Value = serde_json::from_slice(&fs::read(fixture(name).join("expected.json")).unwrap()).unwrap();
    let part = |name: &str| read[name].clone();
    (serde_json::from_value(part("pictures")).unwrap(), serde_json::from_value(part("vectors")).unwrap())
}

#[test]
fn vectors_are_those_of_the_programs_that_made_the_encoders() {
    for name in FIXTURES {
        let encoder = Pretrained::open(&fixture(name), 2).unwrap();
        let info = encoder.info();
        assert_eq!((info.reads, info.max_tokens), (Reads::Image, 0), "{name}");
        let (pictures, vectors) = expected(name);
        let pictures: Vec<&str> = pictures.iter().map(String::as_str).collect();
        let found = encoder.embed(&pictures).unwrap();
        assert_eq!((found.len(), vectors[0].len()), (pictures.len() * info.width, info.width), "{name}");
        for (at, (expected, found)) in vectors.iter().zip(found.chunks_exact(info.width)).enumerate() {
            for (expected, found) in expected.iter().zip(found) {
                assert!((expected - found).abs() < 1e-4 * expected.abs().max(1.0), "{name} {at}: {expected} {found}");
            }
        }
        for (picture, vector) in pictures.iter().zip(found.chunks_exact(info.width)) {
            assert_eq!(encoder.embed(&[picture]).unwrap(), vector, "{name}");
        }
    }
}

/// A copy of a fixture in which a file is replaced; and what its opening is refused with.
fn refusal(name: &str, file: &str, content: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let root = fixture(name);
    for file in Pretrained::open(&root, 1).unwrap().info().files.iter() {
        fs::copy(root.join(file), folder.path().join(file)).unwrap();
    }
    fs::write(folder.path().join(file), content).unwrap();
    let error = Pretrained::open(folder.path(), 1).unwrap_err();
    assert_eq!(error.code, "bad_encoder", "{error}");
    error.detail
}

#[test]
fn folders_that_are_wrong_are_refused_with_the_reason() {
    let changed = |name: &str, file: &str, field: &str, value: Value| {
        let mut read: Value = serde_json::from_slice(&fs::read(fixture(name).join(file)).unwrap()).unwrap();
        read[field] = value;
        (file.to_owned(), serde_json::to_vec(&read).unwrap())
    };
    let cut = |name: &str| {
        let whole = fs::read(fixture(name).join("model.safetensors")).unwrap();
        ("model.safetensors".to_owned(), whole[..whole.len() - 1].to_vec())
    };
    let (config, processor) = ("config.json", "preprocessor_config.json");
    let cases: Vec<(&str, (String, Vec<u8>), &str)> = vec![
        ("vit", cut("vit"), "truncated"),
        ("efficientnet-lite", cut("efficientnet-lite"), "truncated"),
        ("vit", ("model.safetensors".into(), (20u64 << 30).to_le_bytes().to_vec()), "claims"),
        ("vit", changed("vit", config, "model_type", json!("swin")), "swin"),
        ("vit", changed("vit", config, "hidden_size", json!(1u64 << 40)), "hidden_size"),
        ("vit", changed("vit", config, "num_hidden_layers", json!(3)), "layer.2"),
        ("vit", changed("vit", config, "image_size", json!(64)), "position_embeddings"),
        ("vit", changed("vit", processor, "size", json!({"height": 1u32 << 20, "width": 8})), "1024"),
        ("vit", changed("vit", processor, "size", json!({"height": 4, "width": 4})), "patches"),
        ("vit", (processor.into(), b"{".to_vec()), processor),
        ("resnet-basic", changed("resnet-basic", config, "depths", json!([2, 1u64 << 60])), "depths"),
        ("resnet-basic", changed("resnet-basic", config, "hidden_sizes", json!([16, 32])), "stage 1"),
        (
            "efficientnet",
            changed("efficientnet", config, "num_block_repeats", json!([1, 2, 1u64 << 40])),
            "num_block_repeats",
        ),
        ("efficientnet", changed("efficientnet", config, "strides", json!([1, 2, 0])), "stride"),
        ("efficientnet-lite", changed("efficientnet-lite", config, "architecture", json!("resnest")), "resnest"),
        ("efficientnet-lite", changed("efficientnet-lite", config, "pretrained_cfg", Value::Null), "pretrained_cfg"),
    ];
    for (name, (file, content), reason) in cases {
        let message = refusal(name, &file, &content);
        assert!(message.contains(reason), "{name} {file}: {message}");
    }
}

#[test]
fn a_picture_that_is_damaged_is_named() {
    let encoder = Pretrained::open(&fixture("vit"), 1).unwrap();
    let (pictures, _) = expected("vit");
    let error = encoder.embed(&[&pictures[0], &pictures[1][..40]]).unwrap_err();
    assert_eq!(error.code, "bad_inputs");
    assert!(error.detail.starts_with("input 1"), "{error}");
    assert_eq!(encoder.embed(&["no picture"]).unwrap_err().code, "bad_inputs");
}
