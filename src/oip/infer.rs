//! An inference, independent of the transport: which outputs, from which version, by when.

use super::codec;
use super::tensor::{Datatype, Tensor};
use crate::Result;
use crate::serving::engine::{EncodedRequest, RoutedModel, ShadowEncode};
use crate::serving::stats::Rejected;
use crate::serving::{Answer, Caller, Engine, PredictOptions};
use kenyon_learn::learning::bundle::Bundle;
use std::borrow::Cow;

/// Requests with more elements than this are encoded on a thread for blocking work.
const LARGE: usize = 1 << 18;

/// A requested output.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Output {
    pub(super) name: Cow<'static, str>,
    /// This many classes as text instead of the tensor itself.
    pub(super) classes: Option<usize>,
}

/// Encodes the tensors, runs the selected version, and makes the requested outputs.
pub(super) async fn run(
    engine: &Engine,
    routed: &RoutedModel,
    inputs: Vec<Tensor>,
    wanted: &mut Vec<Output>,
    caller: Caller<'_>,
) -> Result<(Answer, Vec<Tensor>)> {
    let bundle = routed.loaded.bundle();
    codec::check_wanted(&bundle, wanted.iter().map(|w| &*w.name))?;
    if wanted.is_empty() {
        let all: &[&str] = if bundle.classes().is_empty() { &["value"] } else { &["label", "probabilities"] };
        wanted.extend(all.iter().map(|&name| Output { name: name.into(), classes: None }));
    }
    let shadow_encode = routed.has_shadow().then(|| {
        let inputs = inputs.clone();
        Box::new(move |bundle: &Bundle| codec::encode(bundle, inputs)) as ShadowEncode
    });
    let elements: usize = inputs.iter().map(|t| t.values.len()).sum();
    let plain = inputs.iter().all(|t| t.datatype != Datatype::Bytes);
    let batch = if bundle.encoder.is_slow() || elements > LARGE || (!plain && elements > LARGE / 256) {
        let work = move || codec::encode(&bundle, inputs);
        tokio::task::spawn_blocking(work).await.map_err(crate::Error::internal)?
    } else {
        codec::encode(&bundle, inputs)
    };
    let batch = batch.inspect_err(|_| routed.loaded.stats.rejected(Rejected::Rows))?;
    let options = &PredictOptions::default();
    let encoded =
        EncodedRequest { batch, options, novelty: false, deadline: caller.deadline, shadow_encode, table: None };
    let answer = engine.answer(routed, encoded).await?;
    let output = |wanted: &Output| match wanted.classes {
        Some(count) if wanted.name != "value" => codec::classification(&answer, &wanted.name, count),
        _ => codec::output(&answer, &wanted.name),
    };
    let outputs = wanted.iter().map(output).collect();
    Ok((answer, outputs))
}
