//! Pretrained encoders: networks that turn a text or a picture into a vector, read from a folder as it was published. They
//! are never trained here, and nothing is ever downloaded.
//!
//! | architecture | read from |
//! | --- | --- |
//! | static (model2vec, sentence-transformers' `StaticEmbedding`) | `config.json`, `tokenizer.json`, `model.safetensors` |
//! | BERT, RoBERTa, XLM-RoBERTa, DistilBERT, MPNet | the same, and `modules.json` with its folders for pooling |
//! | ViT, DINOv2, ResNet, EfficientNet (`transformers`) | `config.json`, `preprocessor_config.json`, `model.safetensors` |
//! | EfficientNet, EfficientNet-Lite, MobileNetV2 (timm) | `config.json`, `model.safetensors` |
//!
//! A folder is untrusted: sizes are checked against the files before anything is allocated, weights are safetensors
//! and never pickled, and a tokenizer must fit the table of its weights.

mod cache;
mod distill;
mod folder;
mod images;
mod open;
mod pooling;
mod pretrained;
mod static_table;
mod tokens;
mod transformer;
mod weights;

use crate::nn::kernels::parallel;
use crate::{Error, Result};
pub use cache::{STORED_BYTES, VectorFiles};
use candle_core::Device;
pub use distill::{Distilled, distill};
pub use images::ImageEncoder;
pub use open::{open, open_with};
pub use pretrained::Pretrained;

use cache::Cache;
use folder::Folder;
use pooling::{Module, Pooling};
use serde::{Deserialize, Serialize};
use static_table::{StaticTable, TABLES};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tokens::Tokens;
use transformer::{Config, DeviceTransformer, Scratch, Transformer};
use weights::Weights;

/// What an encoder reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Reads {
    /// Texts.
    #[default]
    Text,
    /// Pictures, PNG or JPEG in base64.
    Image,
}

/// What is known about an encoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EncoderInfo {
    /// `static`, `bert`, `distilbert` …
    pub architecture: String,
    /// What it reads.
    #[serde(default)]
    pub reads: Reads,
    /// Length of a vector.
    pub width: usize,
    /// Tokens of a text that are read; 0 for one of pictures.
    pub max_tokens: usize,
    /// Height and width that a picture is brought to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_size: Option<[usize; 2]>,
    /// SHA-256 over its files.
    pub digest: String,
    /// Bytes in memory, about.
    pub bytes: u64,
    /// The file of its licence, where the folder has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// The files that it is read from.
    pub files: Vec<String>,
}

/// Tokens of a text that a static encoder reads.
const STATIC_TOKENS: usize = 512;
/// Tokens of a pass: as many as have their activations in the second cache.
const PASS: usize = 192;

/// Tokens of a pass on a device, with padding: enough to fill it.
const DEVICE_PASS: usize = 16_384;

enum Network {
    Static(StaticTable),
    Transformer(Box<Transformer>, Pooling),
    /// A transformer on a device.
    Device(Box<DeviceTransformer>, Pooling),
}

/// A pretrained encoder of texts.
pub struct TextEncoder {
    info: EncoderInfo,
    tokens: Tokens,
    network: Network,
    cache: Cache,
    threads: usize,
    root: PathBuf,
    /// The same on the CPU, once a device has failed.
    on_cpu: OnceLock<Box<TextEncoder>>,
}

impl std::fmt::Debug for TextEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextEncoder").field("info", &self.info).finish_non_exhaustive()
    }
}

/// `sentence_bert_config.json`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct SentenceSettings {
    max_seq_length: Option<usize>,
}

/// `tokenizer_config.json`; very large where there is no limit.
#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenizerSettings {
    model_max_length: Option<f64>,
}

/// `config.json` of a static encoder.
#[derive(Default, Deserialize)]
#[serde(default)]
struct StaticSettings {
    normalize: Option<bool>,
}

impl TextEncoder {
    /// Reads the folder `root`. Passes use at most `threads` threads; the vectors do not depend on it.
    ///
    /// # Errors
    /// `bad_encoder` with the reason why the folder is refused.
    pub fn open(root: &Path, threads: usize) -> Result<Self> {
        Self::open_on(root, threads, None)
    }

    /// As [`Self::open`]; a transformer runs on `device` where there is one, padded, so that the last bits of a vector may
    /// differ from those of the CPU.
    pub(super) fn open_on(root: &Path, threads: usize, device: Option<&Device>) -> Result<Self> {
        let folder = Folder::at(root);
        let modules: Vec<Module> = folder.optional("modules.json")?.unwrap_or_default();
        let paths: Vec<String> = modules.iter().map(|module| module.path.clone()).collect();
        let first = modules.first().map_or("", |module| module.path.as_str());
        let inside = folder.module_or_root(first)?;
        let mut weights = Weights::open(&inside.weights()?)?;
        let table = TABLES.into_iter().find(|name| weights.shape(name).is_some());
        let (architecture, max_tokens, tokens, network) = match table {
            Some(table) => {
                let settings: StaticSettings = folder.optional("config.json")?.unwrap_or_default();
                let normalised = modules.iter().any(|module| module.name() == "Normalize");
                let unit_length = settings.normalize.unwrap_or(normalised);
                let table = StaticTable::open(&mut weights, table, unit_length)?;
                let tokens = Tokens::open(&inside, STATIC_TOKENS, table.tokens(), false)?;
                ("static".to_owned(), STATIC_TOKENS, tokens, Network::Static(table))
            }
            None => {
                let config: Config = inside.settings("config.json")?;
                let sentence: SentenceSettings = folder.optional("sentence_bert_config.json")?.unwrap_or_default();
                let tokenizer: TokenizerSettings = inside.optional("tokenizer_config.json")?.unwrap_or_default();
                let stated = [sentence.max_seq_length, tokenizer.model_max_length.map(|most| most as usize)];
                let longest = stated.into_iter().flatten().fold(config.longest()?, usize::min);
                if longest < 4 {
                    return Err(refused(format!("texts of {longest} tokens are too short")));
                }
                let tokens = Tokens::open(&inside, longest, config.vocab_size, true)?;
                let pooling = Pooling::open(&folder, &modules, config.hidden_size)?;
                let network = match device {
                    Some(device) => {
                        let network = DeviceTransformer::open(&config, &mut weights, longest, device)?;
                        Network::Device(network.into(), pooling)
                    }
                    None => Network::Transformer(Transformer::open(&config, &mut weights, longest)?.into(), pooling),
                };
                (config.model_type, longest, tokens, network)
            }
        };
        let files = folder::files(root, &paths)?;
        let info = EncoderInfo {
            architecture,
            reads: Reads::Text,
            width: network.width(),
            max_tokens,
            image_size: None,
            digest: folder::digest(root, &files)?,
            bytes: network.bytes() as u64,
            license: folder.licence(),
            files,
        };
        let cache = Cache::new(info.width);
        let (root, on_cpu) = (root.to_owned(), OnceLock::new());
        Ok(Self { info, tokens, network, cache, threads: threads.max(1), root, on_cpu })
    }

    /// What is known about it.
    pub fn info(&self) -> &EncoderInfo {
        &self.info
    }

    /// The vectors of some texts, `[texts, width]`.
    pub fn embed(&self, texts: &[&str]) -> Result<Vec<f32>> {
        self.vectors_of(&self.tokenized(texts)?)
    }

    /// The vectors of some sequences of tokens, `[sequences, width]`; zeros for an empty one.
    fn vectors_of(&self, ids: &[Vec<u32>]) -> Result<Vec<f32>> {
        let width = self.info.width;
        let mut vectors = vec![0.0; ids.len() * width];
        match &self.network {
            Network::Static(table) => {
                ids.iter().zip(vectors.chunks_exact_mut(width)).for_each(|(ids, out)| table.of(ids, out));
            }
            Network::Transformer(network, pooling) => {
                let mut passes = passes(ids, PASS, false);
                let run = |scratch: &mut Scratch, _: usize, pass: &mut Pass| {
                    let texts: Vec<&[u32]> = pass.texts.iter().map(|&text| &ids[text][..]).collect();
                    pass.pool(&texts, network.forward(&texts, scratch), pooling, width);
                };
                parallel::each_with(&mut passes, self.threads, Scratch::default, run);
                put(&passes, &mut vectors, width);
            }
            Network::Device(network, pooling) => {
                let mut passes = passes(ids, DEVICE_PASS, true);
                for pass in &mut passes {
                    let texts: Vec<&[u32]> = pass.texts.iter().map(|&text| &ids[text][..]).collect();
                    match network.forward(&texts) {
                        Ok(tokens) => pass.pool(&texts, &tokens, pooling, width),
                        // Its memory is full, or it is gone: the CPU reads these and all others.
                        Err(_) => return self.on_cpu()?.vectors_of(ids),
                    }
                }
                put(&passes, &mut vectors, width);
            }
        }
        Ok(vectors)
    }

    fn on_cpu(&self) -> Result<&Self> {
        if let Some(encoder) = self.on_cpu.get() {
            return Ok(encoder);
        }
        let encoder = Self::open(&self.root, self.threads)?;
        Ok(self.on_cpu.get_or_init(|| Box::new(encoder)))
    }

    fn is_static(&self) -> bool {
        matches!(self.network, Network::Static(_))
    }

    fn tokenized(&self, texts: &[&str]) -> Result<Vec<Vec<u32>>> {
        let mut ids: Vec<Result<Vec<u32>>> = texts.iter().map(|_| Ok(Vec::new())).collect();
        let mut parts: Vec<_> = ids.chunks_mut(32).zip(texts.chunks(32)).collect();
        parallel::each(&mut parts, self.threads, |_, (ids, texts)| {
            ids.iter_mut().zip(*texts).for_each(|(ids, text)| *ids = self.tokens.ids(text));
        });
        ids.into_iter().collect()
    }
}

/// Groups of texts of at most `most` tokens, the longest first so that threads end together. With `padded` a text counts as
/// many tokens as the longest of its group.
fn passes(ids: &[Vec<u32>], most: usize, padded: bool) -> Vec<Pass> {
    let mut order: Vec<usize> = (0..ids.len()).filter(|&text| !ids[text].is_empty()).collect();
    order.sort_by_key(|&text| std::cmp::Reverse(ids[text].len()));
    let mut passes: Vec<Pass> = Vec::new();
    let (mut left, mut longest) = (0, 0);
    for text in order {
        let own = ids[text].len();
        let length = if padded { longest } else { own };
        match passes.last_mut() {
            Some(pass) if length <= left => {
                pass.texts.push(text);
                left -= length;
            }
            _ => {
                passes.push(Pass { texts: vec![text], vectors: Vec::new() });
                longest = own;
                left = most.max(own) - own;
            }
        }
    }
    passes
}

/// Puts the vectors of `passes` where their texts are.
fn put(passes: &[Pass], vectors: &mut [f32], width: usize) {
    for pass in passes {
        for (text, vector) in pass.texts.iter().zip(pass.vectors.chunks_exact(width)) {
            vectors[text * width..][..width].copy_from_slice(vector);
        }
    }
}

/// Texts that are passed side by side, and their vectors.
struct Pass {
    texts: Vec<usize>,
    vectors: Vec<f32>,
}

impl Pass {
    /// Makes a vector of each text from those of its tokens, text after text.
    fn pool(&mut self, texts: &[&[u32]], tokens: &[f32], pooling: &Pooling, width: usize) {
        self.vectors.resize(texts.len() * width, 0.0);
        let hidden = tokens.len() / texts.iter().map(|text| text.len()).sum::<usize>().max(1);
        let mut first = 0;
        for (text, out) in texts.iter().zip(self.vectors.chunks_exact_mut(width)) {
            let end = first + text.len() * hidden;
            pooling.of(&tokens[first..end], hidden, out);
            first = end;
        }
    }
}

impl Network {
    fn width(&self) -> usize {
        match self {
            Self::Static(table) => table.width(),
            Self::Transformer(_, pooling) | Self::Device(_, pooling) => pooling.width(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Static(table) => table.bytes(),
            Self::Transformer(network, _) => network.bytes(),
            // They are in the memory of the device.
            Self::Device(..) => 0,
        }
    }
}

/// A folder that is not taken, and why.
fn refused(reason: impl std::fmt::Display) -> Error {
    Error::unprocessable("bad_encoder", format!("the encoder is refused: {reason}"))
}

#[cfg(test)]
mod tests;
