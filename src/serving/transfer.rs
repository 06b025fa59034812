//! Import and export of models: a bundle as one archive, with the encoders it uses, its weights alone, or ONNX.

use super::encoders;
use super::exchange::{pack, unpack};
use super::library::Files;
use super::model_card::{CARD, model_card};
use crate::store::{ModelName, NewModel, NewVersion, Store, Version};
use crate::{Error, Kind, Result};
use bytes::Bytes;
use kenyon_learn::data::encoder::Encoder;
use kenyon_learn::data::vectors::ColumnEncoder;
use kenyon_learn::learning::bundle::{Bundle, BundleConfig};
use kenyon_learn::learning::onnx;
use kenyon_learn::models::{Task, settings};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

/// Size limit of an unpacked bundle.
const MAX_BYTES: u64 = 4 << 30;

/// Settings that the server writes into a version, and that are true of it under its own number in its own model alone:
/// `stream_root` is the version whose stream it continues.
const INTERNAL: [&str; 1] = ["stream_root"];

/// The export formats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// All files, as a tar archive that can be imported.
    #[default]
    Bundle,
    /// The weights alone.
    Safetensors,
    /// The network as ONNX.
    Onnx,
}

/// A file to send.
#[derive(Clone, Debug)]
pub struct Exported {
    /// A name to save it under.
    pub name: String,
    /// Its media type.
    pub content_type: &'static str,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// What is exported, and how.
#[derive(Clone, Copy, Debug)]
pub struct ExportOptions {
    /// The format.
    pub format: Format,
    /// The inputs of an ONNX file.
    pub inputs: onnx::Inputs,
    /// Whether a bundle contains the pretrained encoders that the version reads columns with.
    pub encoders: bool,
}

/// A version of a model as a file; 404 `model_not_found` or `version_not_found`.
pub async fn export(store: &Store, model: &ModelName, version: u64, options: ExportOptions) -> Result<Exported> {
    let ExportOptions { format, inputs, encoders } = options;
    let found = store.version(model, version).await?;
    let files = store.version_files(&found).await?;
    let carried = if encoders && format == Format::Bundle { encoders_of(store, &found).await? } else { Vec::new() };
    let (ending, content_type) = match format {
        Format::Bundle => ("tar", "application/x-tar"),
        Format::Safetensors => ("safetensors", "application/octet-stream"),
        Format::Onnx => ("onnx", "application/octet-stream"),
    };
    let card = model_card(model, &found);
    let work = move || match format {
        Format::Bundle => {
            let files = files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..]));
            pack(files.chain([(CARD, card.as_bytes())]), &carried)
        }
        Format::Safetensors => file(&files, "weights.safetensors").map(<[u8]>::to_vec),
        Format::Onnx => onnx::export(&load(&files)?, inputs).map_err(Error::from),
    };
    let bytes = tokio::task::spawn_blocking(work).await.map_err(Error::internal)??;
    Ok(Exported { name: format!("{model}-{version}.{ending}"), content_type, bytes })
}

/// The files of the encoders that a version uses: digest, path, and where each is.
async fn encoders_of(store: &Store, version: &Version) -> Result<Vec<(String, String, PathBuf)>> {
    let columns = version.info["features"].as_array().into_iter().flatten();
    let digests: BTreeSet<&str> = columns.filter_map(|column| column["encoder"]["digest"].as_str()).collect();
    let mut found = Vec::new();
    for digest in digests {
        let files = store.encoder_files(digest).await?;
        found.extend(files.into_iter().map(|(file, path)| (digest.to_owned(), file, path)));
    }
    Ok(found)
}

/// Imports a bundle: stores the encoders in it, creates the model if there is none of this name, else its next version, and
/// serves it. 422 `bad_bundle` when anything about the archive is wrong; 409 `other_target` when the
/// model predicts another column, `encoder_missing` when an encoder is neither in the bundle nor stored.
pub async fn import(store: &Store, model: &ModelName, archive: Bytes, threads: usize) -> Result<Version> {
    let folder = encoders::scratch(store)?;
    let root = folder.path().to_owned();
    let work = move || {
        let files = unpack(&plain(&archive)?, MAX_BYTES, &root)?;
        let used = encoders_in(&files)?;
        Ok::<_, Error>((files, used))
    };
    let (files, used) = tokio::task::spawn_blocking(work).await.map_err(Error::internal)??;
    // A bundle can be opened once its encoders are there.
    let added = encoders::add_bundled(store, folder.path(), &used, threads).await?;
    let published = publish(store, model, files).await;
    if published.is_err() {
        for name in added {
            store.delete_encoder(&name).await?;
        }
    }
    published
}

/// The encoders that an untrusted bundle names.
fn encoders_in(files: &[(&'static str, Vec<u8>)]) -> Result<Vec<ColumnEncoder>> {
    let bad = |detail: String| Error::unprocessable("bad_bundle", format!("not a bundle: {detail}"));
    let file = file_of(files, "encoder.json").ok_or_else(|| bad("encoder.json is missing".into()))?;
    let encoder: Encoder =
        serde_json::from_slice(file).map_err(|error| bad(format!("encoder.json cannot be read: {error}")))?;
    Ok(encoder.inputs.into_iter().filter_map(|column| column.encoder).collect())
}

/// Makes a version of a bundle that has answered.
async fn publish(store: &Store, model: &ModelName, mut files: Vec<(&'static str, Vec<u8>)>) -> Result<Version> {
    let work = move || {
        remove_internal(&mut files)?;
        let bundle = guarded(|| Ok(Bundle::load(|name| file_of(&files, name))?))?;
        check_settings(&bundle.config)?;
        tried(&bundle)?;
        Ok::<_, Error>((files, bundle.describe(), bundle.config))
    };
    let (files, info, config) = tokio::task::spawn_blocking(work).await.map_err(Error::internal)??;
    let task = match config.task {
        Task::Classification => "classification",
        Task::Regression => "regression",
    };
    match store.model(model).await {
        Ok(known) if known.target != config.target.name => {
            let detail = format!("model {model} predicts {}, the bundle {}", known.target, config.target.name);
            return Err(Error::conflict("other_target", detail));
        }
        Ok(_) => {}
        Err(error) if error.kind == Kind::NotFound => {
            let new = NewModel {
                name: model.clone(),
                family: Some(config.family.name().to_owned()),
                task: Some(task.to_owned()),
                target: config.target.name.clone(),
                info: info.clone(),
            };
            store.create_model(&new).await?;
        }
        Err(error) => return Err(error),
    }
    let new = NewVersion {
        family: config.family.name().to_owned(),
        task: Some(task.to_owned()),
        metrics: config.metrics.into(),
        info,
        files: files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect(),
        withheld: None,
    };
    store.publish_version(model, new).await
}

/// Removes what an imported version must not claim: it would answer with what another version has learned. All
/// other bundles stay as they are, byte for byte.
fn remove_internal(files: &mut [(&'static str, Vec<u8>)]) -> Result<()> {
    let Some((_, content)) = files.iter_mut().find(|(name, _)| *name == "config.json") else { return Ok(()) };
    // One that cannot be read is refused by the bundle, with the reason.
    let Ok(mut config) = serde_json::from_slice::<Value>(content) else { return Ok(()) };
    let Some(settings) = config.get_mut("config").and_then(Value::as_object_mut) else { return Ok(()) };
    let before = settings.len();
    settings.retain(|name, _| !INTERNAL.contains(&name.as_str()));
    if settings.len() < before {
        *content = serde_json::to_vec(&config).map_err(Error::internal)?;
    }
    Ok(())
}

/// Refuses settings of the family that no request could have: a stream of the version would be made by them. Others are
/// those of an earlier release, which nothing reads.
fn check_settings(config: &BundleConfig) -> Result<()> {
    let known = config.family.settings();
    let known = config.config.iter().filter(|(name, _)| known.iter().any(|setting| setting.name == name.as_str()));
    let known: Map<String, Value> = known.map(|(name, value)| (name.clone(), value.clone())).collect();
    let bad = |error: kenyon_learn::Error| {
        Error::unprocessable("bad_bundle", format!("not a bundle: config.json: {}", error.detail))
    };
    settings::complete(config.family, &known).map(drop).map_err(bad)
}

/// Predicts two rows with an untrusted bundle: what is wrong with it is found here instead of by the first request.
fn tried(bundle: &Bundle) -> Result<()> {
    guarded(|| {
        // A row with all values missing, where the columns allow it.
        if let Ok(table) = bundle.reader().from_json(b"[{},{}]") {
            bundle.run(&bundle.encode(&table)?)?;
        }
        Ok(())
    })
}

/// What `attempt` does with an untrusted bundle; a panic that its own checks did not prevent is an error of the bundle.
fn guarded<T>(attempt: impl FnOnce() -> Result<T>) -> Result<T> {
    let unfit = || Error::unprocessable("bad_bundle", "not a bundle: its parts do not fit together");
    match catch_unwind(AssertUnwindSafe(attempt)) {
        // Tensors whose shapes differ from the settings are an internal error anywhere else.
        Ok(Err(error)) if error.kind == Kind::Internal => Err(unfit()),
        Ok(outcome) => outcome,
        Err(_) => Err(unfit()),
    }
}

fn file_of<'a>(files: &'a [(&'static str, Vec<u8>)], name: &str) -> Option<&'a [u8]> {
    files.iter().find(|(known, _)| *known == name).map(|(_, bytes)| &bytes[..])
}

fn load(files: &Files) -> Result<Bundle> {
    Ok(Bundle::load(|name| files.iter().find(|(n, _)| n == name).map(|(_, bytes)| &bytes[..]))?)
}

fn file<'a>(files: &'a Files, name: &str) -> Result<&'a [u8]> {
    let found = files.iter().find(|(n, _)| n == name);
    found.map(|(_, bytes)| &bytes[..]).ok_or_else(|| Error::internal(format!("a stored bundle lacks {name}")))
}

/// The archive itself, also of a gzipped one.
fn plain(archive: &[u8]) -> Result<Cow<'_, [u8]>> {
    if !archive.starts_with(&[0x1f, 0x8b]) {
        return Ok(archive.into());
    }
    let mut bytes = Vec::new();
    let bounded = flate2::read::MultiGzDecoder::new(archive).take(MAX_BYTES);
    let broken = |_| Error::unprocessable("bad_bundle", "the archive is damaged or cut short");
    { bounded }.read_to_end(&mut bytes).map_err(broken)?;
    Ok(bytes.into())
}
