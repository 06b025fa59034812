//! An inference, independent of the transport: which outputs, from which version, by when.

use super::codec;
use super::outputs::{self, Output, OutputKind, RequestedOutput};
use super::tensor::{Datatype, Tensor};
use crate::http::embed::MAX_ROWS;
use crate::serving::engine::{EncodedRequest, RoutedModel, ShadowEncode};
use crate::serving::stats::Rejected;
use crate::serving::{Answer, Caller, Engine, PredictOptions};
use crate::{Error, Kind, Result};
use kenyon_learn::data::Batch;
use kenyon_learn::learning::bundle::Bundle;
use kenyon_learn::models::{LayerCode, layer_code};
use std::sync::Arc;
use std::time::Instant;

/// Tensors with more elements than this together are encoded or written on a thread for blocking work.
pub(super) const LARGE: usize = 1 << 18;

/// Verdicts of more rows than this are made on such a thread: each sorts the classes.
const LARGE_ROWS: usize = 256;

/// Encodes the tensors, runs the selected version, and makes the requested outputs.
pub(super) async fn run(
    engine: &Engine,
    routed: &RoutedModel,
    inputs: Vec<Tensor>,
    requested: Vec<RequestedOutput>,
    caller: Caller<'_>,
) -> Result<(Answer, Vec<Tensor>)> {
    let bundle = routed.loaded.bundle();
    let wanted = outputs::resolve(&bundle, requested)?;
    let embedding = wanted.iter().find(|output| output.kind == OutputKind::Embedding);
    if embedding.is_some() && codec::rows(&inputs)? > MAX_ROWS {
        routed.loaded.stats.rejected(Rejected::TooLarge);
        let detail = format!("an embedding is answered for at most {MAX_ROWS} rows a call");
        return Err(Error::new(Kind::TooLarge, "too_many_rows", detail));
    }
    let shadow_encode = routed.has_shadow().then(|| {
        let inputs = inputs.clone();
        Box::new(move |bundle: &Bundle| codec::encode(bundle, inputs)) as ShadowEncode
    });
    let batch = encode(bundle, inputs).await.inspect_err(|_| routed.loaded.stats.rejected(Rejected::Rows))?;
    let embedded = embedding.map(|output| (output, batch.clone()));
    let options = &PredictOptions::default();
    let novelty = wanted.iter().any(|output| output.kind.needs_novelty());
    let encoded = EncodedRequest { batch, options, novelty, deadline: caller.deadline, shadow_encode, table: None };
    let mut answer = engine.answer(routed, encoded).await?;
    let mut code = None;
    if let Some((output, batch)) = embedded {
        let begun = Instant::now();
        code = Some(embed(&answer, batch, output).await?);
        answer.timing.total += begun.elapsed();
    }
    let sorts = answer.rows() > LARGE_ROWS && wanted.iter().any(|output| output.kind == OutputKind::Verdict);
    let tensors = move || {
        let tensors = wanted.iter().map(|output| outputs::tensor(&answer, code.as_ref(), output)).collect();
        (answer, tensors)
    };
    if sorts { tokio::task::spawn_blocking(tensors).await.map_err(Error::internal) } else { Ok(tensors()) }
}

/// The rows of the tensors for the model; what takes long on a thread of its own.
async fn encode(bundle: Arc<Bundle>, inputs: Vec<Tensor>) -> Result<Batch> {
    let elements: usize = inputs.iter().map(|t| t.values.len()).sum();
    let plain = inputs.iter().all(|t| t.datatype != Datatype::Bytes);
    if bundle.encoder.is_slow() || elements > LARGE || (!plain && elements > LARGE / 256) {
        let work = move || codec::encode(&bundle, inputs);
        return tokio::task::spawn_blocking(work).await.map_err(Error::internal)?;
    }
    codec::encode(&bundle, inputs)
}

/// The code of the rows in the layer that `output` names, from the state of the model that answered.
async fn embed(answer: &Answer, batch: Batch, output: &Output) -> Result<LayerCode> {
    let (snapshot, layer) = (Arc::clone(&answer.snapshot), output.layer.clone());
    let work = move || layer_code(&*snapshot.bundle.network, &batch, layer.as_deref());
    Ok(tokio::task::spawn_blocking(work).await.map_err(Error::internal)??)
}
