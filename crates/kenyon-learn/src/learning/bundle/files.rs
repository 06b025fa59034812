//! The files of a bundle, written and read: an untrusted one that is inconsistent is refused.

use super::{Bundle, BundleConfig, FORMAT};
use crate::data::encoder::Encoder;
use crate::data::target::TargetEncoder;
use crate::learning::background::Background;
use crate::learning::novelty::{KnownCodes, MAX_KEYS, Novelty, SKETCH};
use crate::models::Task;
use crate::nn::Tensors;
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use serde_json::Value;
use std::sync::Arc;

impl Bundle {
    /// The files of the bundle.
    pub fn files(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let mut tensors: Tensors =
            self.network.save()?.into_iter().map(|(name, t)| (format!("network.{name}"), t)).collect();
        for (name, keys) in [("novelty.keys", self.novelty.codes.keys()), ("novelty.inputs", self.novelty.input_keys())]
        {
            if !keys.is_empty() {
                let shape = (keys.len() / SKETCH, SKETCH);
                let keys = Tensor::from_vec(keys, shape, &Device::Cpu)?;
                tensors.insert(name.to_owned(), keys);
            }
        }
        if let Some(background) = &self.background {
            let bytes = background.to_bytes()?;
            tensors.insert("background".to_owned(), Tensor::from_slice(&bytes, bytes.len(), &Device::Cpu)?);
        }
        let config = BundleConfig { novelty: self.novelty.saved(), ..self.config.clone() };
        Ok(vec![
            ("config.json", serde_json::to_vec(&config).map_err(Error::internal)?),
            ("encoder.json", serde_json::to_vec(&*self.encoder).map_err(Error::internal)?),
            ("weights.safetensors", tensors_to_bytes(&tensors)?),
        ])
    }

    /// Reads the files of an untrusted bundle.
    pub fn load<'a>(file: impl Fn(&str) -> Option<&'a [u8]>) -> Result<Self> {
        let need = |name: &str| file(name).ok_or_else(|| bad(format!("{name} is missing")));
        let mut config: BundleConfig = serde_json::from_slice(need("config.json")?)
            .map_err(|e| bad(format!("config.json cannot be read: {e}")))?;
        if config.format > FORMAT {
            return Err(bad(format!("bundle format {} is newer than {FORMAT}", config.format)));
        }
        let encoder: Encoder = serde_json::from_slice(need("encoder.json")?)
            .map_err(|e| bad(format!("encoder.json cannot be read: {e}")))?;
        encoder.check().map_err(|e| bad(format!("encoder.json: {e}")))?;
        encoder.open()?;
        check_config(&config)?;
        let tensors = tensors_from_bytes(need("weights.safetensors")?)?;
        if let Some((name, _)) = tensors.iter().find(|(_, tensor)| !is_finite(tensor)) {
            return Err(bad(format!("weights.safetensors: {name} holds a value that is not finite")));
        }
        let network_tensors: Tensors = tensors
            .iter()
            .filter_map(|(name, t)| Some((name.strip_prefix("network.")?.to_owned(), t.clone())))
            .collect();
        let outputs = config.target_encoder.outputs();
        let network = config
            .family
            .load(&config.saved(&encoder, &network_tensors))
            .map_err(|e| bad(format!("weights.safetensors does not fit the configuration: {e}")))?;
        if network.outputs() != outputs {
            return Err(bad(format!("the network has {} outputs, the target {outputs}", network.outputs())));
        }
        let codes = KnownCodes::new(&novelty_keys(&tensors, "novelty.keys", MAX_KEYS)?, network.feature_width());
        let novelty = match config.novelty.take() {
            Some(saved) => {
                let columns: Vec<&str> = encoder.inputs.iter().map(|input| input.name.as_str()).collect();
                let keys = novelty_keys(&tensors, "novelty.inputs", 2 * MAX_KEYS)?;
                Novelty::load(codes, saved, keys, &columns)
                    .ok_or_else(|| bad("config.json: what novelty is ranked by does not fit"))?
            }
            None => Novelty::distance_alone(codes, config.novelty_threshold),
        };
        let background = match tensors.get("background") {
            Some(tensor) => {
                let bytes = tensor.flatten_all().and_then(|t| t.to_vec1::<u8>()).map_err(|e| bad(e.to_string()))?;
                let found = Background::from_bytes(&bytes, &encoder);
                Some(Arc::new(found.ok_or_else(|| bad("the background rows do not fit the columns"))?))
            }
            None => None,
        };
        let text_bytes =
            ["config.json", "encoder.json"].iter().filter_map(|name| file(name)).map(|text| text.len() as u64);
        let text_bytes = text_bytes.sum();
        Ok(Self { text_bytes, ..Self::new(config, encoder, network, novelty).with_background(background) })
    }
}

/// Keys `[_, SKETCH]`, `most` at most; none where they are missing.
fn novelty_keys(tensors: &Tensors, name: &str, most: usize) -> Result<Vec<f32>> {
    match tensors.get(name) {
        Some(t) if t.dims().len() == 2 && t.dims()[1] == SKETCH && t.dims()[0] <= most => {
            t.flatten_all().and_then(|t| t.to_vec1::<f32>()).map_err(|e| bad(e.to_string()))
        }
        Some(_) => Err(bad(format!("{name} has the wrong shape"))),
        None => Ok(Vec::new()),
    }
}

/// Tensors as safetensors bytes.
pub fn tensors_to_bytes(tensors: &Tensors) -> Result<Vec<u8>> {
    safetensors::serialize(tensors.iter().map(|(n, t)| (n.as_str(), t)), None).map_err(Error::internal)
}

/// Tensors from safetensors bytes; the format's own checks bound every size by the bytes given.
pub fn tensors_from_bytes(bytes: &[u8]) -> Result<Tensors> {
    let tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu)
        .map_err(|e| bad(format!("weights.safetensors cannot be read: {e}")))?;
    Ok(tensors.into_iter().collect())
}

pub(in crate::learning) fn bad(detail: impl Into<String>) -> Error {
    Error::unprocessable("bad_bundle", detail)
}

pub(in crate::learning) fn is_finite(tensor: &Tensor) -> bool {
    if !tensor.dtype().is_float() {
        return true;
    }
    let Ok(values) = tensor.flatten_all().and_then(|t| t.to_dtype(candle_core::DType::F32)) else { return false };
    values.to_vec1::<f32>().is_ok_and(|v| v.iter().all(|x| x.is_finite()))
}

fn check_config(config: &BundleConfig) -> Result<()> {
    let c = &config.calibration;
    if !(c.temperature.is_finite() && c.temperature > 0.0) {
        return Err(bad("config.json: the temperature must be above 0"));
    }
    if c.rows > 0 && (c.scores.is_empty() || c.scores.len() > c.rows || !c.scores.is_sorted()) {
        return Err(bad("config.json: the calibration scores do not fit"));
    }
    if c.class_scores.len() != c.class_rows.len()
        || c.class_scores.iter().any(|scores| !scores.is_sorted())
        || c.likeliest_scores.len() > c.rows
        || !c.likeliest_scores.is_sorted()
        || c.errors.as_ref().is_some_and(|errors| !errors.is_consistent())
    {
        return Err(bad("config.json: the scores of classes or the sizes of errors do not fit"));
    }
    if !c.adapted.iter().flatten().all(|share| (0.0..=1.0).contains(share)) || !c.adapted.is_sorted() {
        return Err(bad("config.json: the coverages of the calibration do not fit"));
    }
    if !config.decision.iter().all(|factor| factor.is_finite() && *factor > 0.0) {
        return Err(bad("config.json: the factors of the classes must be above 0"));
    }
    match &config.target_encoder {
        // A model that learns only by observing starts without classes.
        TargetEncoder::Classes(classes)
            if (classes.len() < 2 && config.config.get("stream") != Some(&Value::Bool(true)))
                || classes.len() > 100_000 =>
        {
            Err(bad("config.json: there must be 2 to 100,000 classes"))
        }
        TargetEncoder::Number { mean, std } if !mean.is_finite() || !std.is_finite() || *std <= 0.0 => {
            Err(bad("config.json: mean and deviation of the target must be finite"))
        }
        TargetEncoder::Classes(_) if config.task == Task::Regression => Err(bad("config.json: task and target differ")),
        _ => Ok(()),
    }
}
