//! Makes a static encoder from a transformer: a vector for every token, so that a text is tokenised and its tokens' vectors
//! averaged, without any layer.
//!
//! The transformer reads every token of its vocabulary, and frequent words of the given texts, alone. Their vectors are weighted
//! by how rare the tokens are (Arora et al. 2017) and fitted to the transformer's vectors of the texts ([`fit`]), then their
//! principal components are kept. What comes out is a folder in the format of model2vec.

mod fit;
mod sentences;
mod vocabulary;

use super::folder::Folder;
use super::tokens::Tokens;
use super::{Network, STATIC_TOKENS, TextEncoder, refused};
use crate::{Error, Kind, Result};
use fit::Fit;
use half::f16;
use safetensors::tensor::{Dtype, TensorView};
use sentences::Sentences;
use serde_json::json;
use std::cell::Cell;
use std::path::Path;
use vocabulary::Vocabulary;

/// Length of a vector at most; further components of the usual transformers add little.
const WIDTH: usize = 256;
/// Texts that the transformer encodes.
const MOST_TEXTS: usize = 20_000;
/// Sequences that are passed at a time, between which the work can be stopped.
const PIECE: usize = 64;
/// Fewer texts are too little evidence of the weights of tokens.
const FEWEST_TEXTS: usize = 20;

/// What was made.
#[derive(Clone, Debug)]
pub struct Distilled {
    /// Tokens that have a vector.
    pub tokens: usize,
    /// Words of the texts among them that the transformer reads in pieces.
    pub words: usize,
    /// Texts that the transformer encoded.
    pub texts: usize,
    /// Mean cosine between the vectors of texts that nothing was fitted on and the transformer's, centred ones.
    pub cosine: f64,
    /// The same without the fit.
    pub cosine_unfitted: f64,
    /// Share of the variance over the texts that the kept components have.
    pub variance: f64,
}

/// Writes a static encoder of `texts`, as the transformer in the folder `teacher` reads them, to the folder `out`.
/// `progress` receives the share of the work that is done, and answers whether to continue. The result does not depend on
/// `threads`.
///
/// # Errors
/// `bad_encoder` where the folder has no transformer of texts, `too_few_rows` with fewer than 20 different texts, `canceled`
/// where `progress` returns so.
pub fn distill(
    teacher: &Path,
    texts: &[&str],
    out: &Path,
    threads: usize,
    progress: &dyn Fn(f64) -> bool,
) -> Result<Distilled> {
    let teacher_folder = Folder::at(teacher);
    let teacher = TextEncoder::open(teacher, threads)?;
    let Network::Transformer(network, _) = &teacher.network else {
        return Err(refused("it is static already"));
    };
    let texts = distinct(texts);
    if texts.len() < FEWEST_TEXTS {
        let detail = format!("the column has {} different texts, and at least {FEWEST_TEXTS} are needed", texts.len());
        return Err(Error::unprocessable("too_few_rows", detail));
    }
    let vocabulary = Vocabulary::of(&teacher.tokens, &texts, threads)?;
    let all = vocabulary.sequences.len() + texts.len();
    let done = Cell::new(0);
    let width = teacher.info.width;
    let step = |count: usize| {
        done.set(done.get() + count);
        match progress(0.95 * done.get() as f64 / all as f64) {
            true => Ok(()),
            false => Err(Error::new(Kind::Canceled, "canceled", "the job was canceled")),
        }
    };
    let mut vectors = Vec::with_capacity(vocabulary.sequences.len() * width);
    let longest = teacher.info.max_tokens.min(network.longest());
    for piece in vocabulary.sequences.chunks(PIECE) {
        vectors.extend(teacher.vectors_of(&vocabulary.marked(piece, longest))?);
        step(piece.len())?;
    }
    let mut targets = Vec::with_capacity(texts.len() * width);
    for piece in texts.chunks(PIECE) {
        targets.extend(teacher.embed(piece)?);
        step(piece.len())?;
    }
    std::fs::write(out.join("tokenizer.json"), serde_json::to_vec(&vocabulary.tokenizer).map_err(Error::internal)?)?;
    let rows = vocabulary.sequences.len();
    let student = Tokens::open(&Folder::at(out), STATIC_TOKENS, rows, false)?;
    let sentences = Sentences::of(&student, &texts, rows)?;
    let fit = Fit { vectors, targets, width, sentences: &sentences, threads };
    let found = fit.run(WIDTH.min(width), &|| step(0))?;
    write(out, &found.table, rows, found.width)?;
    if let Some(licence) = teacher_folder.licence() {
        std::fs::write(out.join(&licence), teacher_folder.licence_text(&licence)?)?;
    }
    Ok(Distilled {
        tokens: rows,
        words: vocabulary.words,
        texts: texts.len(),
        cosine: found.cosine,
        cosine_unfitted: found.cosine_unfitted,
        variance: found.variance,
    })
}

/// Different texts that are not empty, at most as many as the transformer encodes, evenly from all.
fn distinct<'t>(texts: &[&'t str]) -> Vec<&'t str> {
    let mut seen = std::collections::HashSet::new();
    let mut kept: Vec<&str> =
        texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty() && seen.insert(*text)).collect();
    if kept.len() > MOST_TEXTS {
        let all = kept.len();
        kept = (0..MOST_TEXTS).map(|at| kept[at * all / MOST_TEXTS]).collect();
    }
    kept
}

/// The table in halves of single precision, and the settings beside it.
fn write(out: &Path, table: &[f32], rows: usize, width: usize) -> Result<()> {
    let halves: Vec<u8> = table.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F16, vec![rows, width], &halves).map_err(Error::internal)?;
    let bytes = safetensors::serialize([("embeddings", view)], None).map_err(Error::internal)?;
    std::fs::write(out.join("model.safetensors"), bytes)?;
    let config = json!({
        "model_type": "model2vec", "architectures": ["StaticModel"], "hidden_dim": width, "normalize": true,
    });
    std::fs::write(out.join("config.json"), serde_json::to_vec_pretty(&config).map_err(Error::internal)?)?;
    Ok(())
}

#[cfg(test)]
mod tests;
