//! A Kenyon model in a plain candle program: loaded from a bundle, and trained further by candle's own optimiser.

use anyhow::{Context, Result};
use candle_core::{D, DType, Device, Tensor};
use candle_nn::{AdamW, Optimizer, VarBuilder, VarMap, loss, ops};
use kenyon_learn::learning::Bundle;
use kenyon_learn::learning::calibrate::Calibration;
use kenyon_learn::models::candle::TokenBatch;
use std::collections::BTreeMap;
use std::io::Read;

/// The files of a bundle by name.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// The files in an exported bundle, which is a tar archive.
pub(crate) fn unpacked(archive: &[u8]) -> Result<Files> {
    let mut files = Files::new();
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        files.insert(name, content);
    }
    Ok(files)
}

/// The probabilities of the classes for rows in JSON, `[rows][classes]`, in the order of the bundle's classes.
pub(crate) fn probabilities(files: &Files, rows: &[u8]) -> Result<Vec<Vec<f32>>> {
    let bundle = Bundle::load(|name| files.get(name).map(Vec::as_slice))?;
    let weights = files.get("weights.safetensors").context("a bundle has weights")?.clone();
    let weights = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)?;
    let model = bundle.candle()?.build(weights.pp("network"))?;

    let batch = bundle.encode(&bundle.reader().from_json(rows)?)?;
    let logits = model.forward_tokens(&TokenBatch::new(&batch, &Device::Cpu), false)?;
    let temperature = f64::from(bundle.config.calibration.temperature);
    Ok(ops::softmax(&(logits / temperature)?, D::Minus1)?.to_vec2()?)
}

/// A model after more training.
pub(crate) struct Trained {
    /// An archive to import.
    pub(crate) archive: Vec<u8>,
    /// Mean loss of the rows it learned from, before and after.
    pub(crate) losses: [f32; 2],
}

/// Trains the model of a bundle for some more steps on rows in JSON and their classes, by AdamW. One row in three is not
/// learned from: the new weights are calibrated on those.
pub(crate) fn trained_further(files: &Files, rows: &[u8], classes: &[u32], steps: usize) -> Result<Trained> {
    let mut bundle = Bundle::load(|name| files.get(name).map(Vec::as_slice))?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("weights.safetensors");
    std::fs::write(&path, files.get("weights.safetensors").context("a bundle has weights")?)?;
    let mut vars = VarMap::new();
    let model = bundle.candle()?.build(VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu).pp("network"))?;
    vars.load(&path)?;

    let batch = bundle.encode(&bundle.reader().from_json(rows)?)?;
    let (held, learned): (Vec<usize>, Vec<usize>) = (0..classes.len()).partition(|row| row % 3 == 0);
    let part = |rows: &[usize]| TokenBatch::new(&batch.select(rows), &Device::Cpu);
    let truths = |rows: &[usize]| rows.iter().map(|&row| classes[row]).collect::<Vec<u32>>();
    let (tokens, targets) = (part(&learned), Tensor::new(truths(&learned), &Device::Cpu)?);
    let cost = || loss::cross_entropy(&model.forward_tokens(&tokens, true)?, &targets);
    let mut adam = AdamW::new_lr(vars.all_vars(), 0.002)?;
    let before = cost()?.to_scalar()?;
    for _ in 0..steps {
        adam.backward_step(&cost()?)?;
    }
    let after = cost()?.to_scalar()?;

    let logits: Vec<f32> = model.forward_tokens(&part(&held), false)?.flatten_all()?.to_vec1()?;
    bundle.config.calibration = Calibration::classification(&logits, bundle.classes().len(), &truths(&held));
    let weights = vars.data().lock().map_err(|e| anyhow::anyhow!("{e}"))?.clone();
    let bundle = bundle.with_weights(weights.into_iter().map(|(name, var)| (name, var.as_detached_tensor())))?;
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in bundle.files()? {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, content.as_slice())?;
    }
    Ok(Trained { archive: archive.into_inner()?, losses: [before, after] })
}
