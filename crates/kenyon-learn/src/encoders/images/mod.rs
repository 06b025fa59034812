//! Pretrained encoders of pictures: the folder's own file defines how a picture is resized, cropped and scaled, and the vector is
//! what the network has before its classifier.

mod convolutional;
mod efficientnet;
mod preprocess;
mod resample;
mod resnet;
#[cfg(test)]
mod tests;
mod vision_transformer;

use super::cache::Cache;
use super::folder::{self, Folder};
use super::transformer::Scratch;
use super::weights::Weights;
use super::{EncoderInfo, Reads, refused};
use crate::data::image;
use crate::nn::kernels::parallel;
use crate::{Error, Result};
use convolutional::{Convolutional, Map};
use preprocess::{Preprocess, TimmSettings};
use serde::Deserialize;
use std::path::Path;
use vision_transformer::VisionTransformer;

enum Network {
    Convolutional(Convolutional),
    Transformer(Box<VisionTransformer>),
}

/// A pretrained encoder of pictures.
pub struct ImageEncoder {
    info: EncoderInfo,
    preprocess: Preprocess,
    network: Network,
    pub(super) cache: Cache,
    threads: usize,
}

impl std::fmt::Debug for ImageEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageEncoder").field("info", &self.info).finish_non_exhaustive()
    }
}

/// The first part of `config.json`: the architecture in one of two fields.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Kind {
    model_type: Option<String>,
    architecture: Option<String>,
    pretrained_cfg: Option<TimmSettings>,
}

/// Whether the folder has an encoder of pictures, and not of texts.
pub(super) fn is_here(folder: &Folder) -> bool {
    let kind: Kind = folder.optional("config.json").ok().flatten().unwrap_or_default();
    (folder.has("preprocessor_config.json") && !folder.has("tokenizer.json")) || kind.architecture.is_some()
}

impl ImageEncoder {
    /// Reads the folder `root`. A picture is passed by one thread, several by up to `threads`.
    ///
    /// # Errors
    /// `bad_encoder` with the reason why the folder is refused.
    pub fn open(root: &Path, threads: usize) -> Result<Self> {
        let folder = Folder::at(root);
        let kind: Kind = folder.settings("config.json")?;
        let mut weights = Weights::open(&folder.weights()?)?;
        let (architecture, preprocess, network) = match (kind.architecture, kind.model_type) {
            (Some(architecture), _) => {
                let settings = kind.pretrained_cfg.ok_or_else(|| refused("config.json has no pretrained_cfg"))?;
                let network = efficientnet::open_timm(&architecture, &mut weights)?;
                (architecture, Preprocess::timm(&settings)?, Network::Convolutional(network))
            }
            (None, Some(model)) => {
                let preprocess = Preprocess::open(&folder)?;
                let network = match model.as_str() {
                    "resnet" => Network::Convolutional(resnet::open(&folder.settings("config.json")?, &mut weights)?),
                    "efficientnet" => {
                        Network::Convolutional(efficientnet::open(&folder.settings("config.json")?, &mut weights)?)
                    }
                    "vit" | "dinov2" => {
                        let config = folder.settings("config.json")?;
                        let network = VisionTransformer::open(&config, &mut weights, preprocess.size())?;
                        Network::Transformer(network.into())
                    }
                    other => return Err(refused(format!("the architecture {other:?} is not supported"))),
                };
                (model, preprocess, network)
            }
            (None, None) => return Err(refused("config.json names no architecture")),
        };
        let files = folder::files(root, &[])?;
        let info = EncoderInfo {
            architecture,
            reads: Reads::Image,
            width: network.width(),
            max_tokens: 0,
            image_size: Some(preprocess.size()),
            digest: folder::digest(root, &files)?,
            bytes: network.bytes() as u64,
            license: folder.licence(),
            files,
        };
        let cache = Cache::new(info.width);
        Ok(Self { info, preprocess, network, cache, threads: threads.max(1) })
    }

    /// What is known about it.
    pub fn info(&self) -> &EncoderInfo {
        &self.info
    }

    /// The vectors of some pictures, PNG or JPEG in base64, `[pictures, width]`.
    ///
    /// # Errors
    /// `bad_inputs` where one cannot be decoded.
    pub fn embed(&self, pictures: &[&str]) -> Result<Vec<f32>> {
        let mut made: Vec<(&str, Result<Vec<f32>>)> =
            pictures.iter().map(|picture| (*picture, Ok(Vec::new()))).collect();
        parallel::each_with(&mut made, self.threads, Scratch::default, |scratch, _, (picture, out)| {
            *out = self.of(picture, scratch);
        });
        let mut vectors = Vec::with_capacity(pictures.len() * self.info.width);
        for (at, (_, vector)) in made.into_iter().enumerate() {
            vectors.extend(vector.map_err(|error| Error { detail: format!("input {at}: {}", error.detail), ..error })?);
        }
        Ok(vectors)
    }

    fn of(&self, picture: &str, scratch: &mut Scratch) -> Result<Vec<f32>> {
        // A row without a picture.
        if picture.is_empty() {
            return Ok(vec![0.0; self.info.width]);
        }
        let decoded = image::unpack(picture).and_then(|bytes| image::colours(&bytes));
        let (bytes, side) = decoded.map_err(|reason| Error::unprocessable("bad_inputs", reason))?;
        let size = self.preprocess.size();
        let map = Map { side: size, channels: 3, values: self.preprocess.apply(bytes, side) };
        Ok(match &self.network {
            Network::Convolutional(network) => network.forward(map),
            Network::Transformer(network) => network.forward(&map, scratch),
        })
    }
}

impl Network {
    fn width(&self) -> usize {
        match self {
            Self::Convolutional(network) => network.width,
            Self::Transformer(network) => network.width(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Convolutional(network) => network.bytes(),
            Self::Transformer(network) => network.bytes(),
        }
    }
}
