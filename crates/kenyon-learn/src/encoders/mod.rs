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
pub use distill::{Distilled, distill};
pub use images::ImageEncoder;
pub use open::{open, open_with};
pub use pretrained::Pretrained;

use cache::Cache;
use folder::Folder;
use pooling::{Module, Pooling};
use serde::{Deserialize, Serialize};
use static_table::{StaticTable, TABLES};
use std::path::Path;
use tokens::Tokens;
use transformer::{Config, Scratch, Transformer};
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

enum Network {
    Static(StaticTable),
    Transformer(Box<Transformer>, Pooling),
}

/// A pretrained encoder of texts.
pub struct TextEncoder {
    info: EncoderInfo,
    tokens: Tokens,
    network: Network,
    cache: Cache,
    threads: usize,
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
                let network = Transformer::open(&config, &mut weights, longest)?;
                let pooling = Pooling::open(&folder, &modules, network.hidden())?;
                (config.model_type, longest, tokens, Network::Transformer(network.into(), pooling))
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
        Ok(Self { info, tokens, network, cache, threads: threads.max(1) })
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
                for pass in self.passes(network, pooling, ids) {
                    for (text, vector) in pass.texts.iter().zip(pass.vectors.chunks_exact(width)) {
                        vectors[text * width..][..width].copy_from_slice(vector);
                    }
                }
            }
        }
        Ok(vectors)
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

    /// Runs all texts, the longest first so that the threads end together.
    fn passes(&self, network: &Transformer, pooling: &Pooling, ids: &[Vec<u32>]) -> Vec<Pass> {
        let width = self.info.width;
        let mut order: Vec<usize> = (0..ids.len()).filter(|&text| !ids[text].is_empty()).collect();
        order.sort_by_key(|&text| std::cmp::Reverse(ids[text].len()));
        let mut passes: Vec<Pass> = Vec::new();
        let mut left = 0;
        for text in order {
            let length = ids[text].len();
            match passes.last_mut() {
                Some(pass) if length <= left => pass.texts.push(text),
                _ => {
                    passes.push(Pass { texts: vec![text], vectors: Vec::new() });
                    left = PASS.max(length);
                }
            }
            left -= length;
        }
        let run = |scratch: &mut Scratch, _: usize, pass: &mut Pass| {
            let texts: Vec<&[u32]> = pass.texts.iter().map(|&text| &ids[text][..]).collect();
            let tokens = network.forward(&texts, scratch);
            pass.vectors.resize(texts.len() * width, 0.0);
            let mut first = 0;
            for (text, out) in texts.iter().zip(pass.vectors.chunks_exact_mut(width)) {
                let end = first + text.len() * network.hidden();
                pooling.of(&tokens[first..end], network.hidden(), out);
                first = end;
            }
        };
        parallel::each_with(&mut passes, self.threads, Scratch::default, run);
        passes
    }
}

/// Texts that are passed side by side, and their vectors.
struct Pass {
    texts: Vec<usize>,
    vectors: Vec<f32>,
}

impl Network {
    fn width(&self) -> usize {
        match self {
            Self::Static(table) => table.width(),
            Self::Transformer(_, pooling) => pooling.width(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Static(table) => table.bytes(),
            Self::Transformer(network, _) => network.bytes(),
        }
    }
}

/// A folder that is not taken, and why.
fn refused(reason: impl std::fmt::Display) -> Error {
    Error::unprocessable("bad_encoder", format!("the encoder is refused: {reason}"))
}

#[cfg(test)]
mod tests;
