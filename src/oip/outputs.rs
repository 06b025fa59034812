//! Output tensors of a model: which there are, which a request names, and their values from an answer.
//!
//! A request that names none gets `label` and `probabilities`, or `value`. `novelty`, `verdict` and `embedding` cost
//! more and are computed only where they are requested.

use super::codec::{Described, shown};
use super::tensor::{Datatype, Tensor, Values};
use crate::serving::{Answer, PredictOptions};
use crate::{Error, Result};
use kenyon_learn::data::TargetEncoder;
use kenyon_learn::learning::bundle::{Bundle, class_name};
use kenyon_learn::models::LayerCode;
use serde_json::Value;

/// A requested output, as the request names it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RequestedOutput {
    pub(super) name: String,
    /// This many classes as text instead of the tensor itself.
    pub(super) classes: Option<usize>,
    /// The layer of an embedding; the last before the readout when missing.
    pub(super) layer: Option<String>,
}

/// What an output tensor holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutputKind {
    /// The class that is named.
    Label,
    /// Of each class.
    Probabilities,
    /// The number predicted.
    Value,
    /// How unlike the training data a row is.
    Novelty,
    /// The answer in one word.
    Verdict,
    /// The code of a layer.
    Embedding,
}

/// An output to answer, which the model has.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Output {
    pub(super) kind: OutputKind,
    /// As in the request; only of `label` and `probabilities`.
    pub(super) classes: Option<usize>,
    /// As in the request; only of `embedding`.
    pub(super) layer: Option<String>,
}

impl OutputKind {
    /// Those of a model, in the order of its metadata: first the ones that are answered by default.
    fn all(bundle: &Bundle) -> &'static [Self] {
        match &bundle.config.target_encoder {
            TargetEncoder::Classes(_) => {
                &[Self::Label, Self::Probabilities, Self::Novelty, Self::Verdict, Self::Embedding]
            }
            TargetEncoder::Number { .. } => &[Self::Value, Self::Novelty, Self::Verdict, Self::Embedding],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Label => "label",
            Self::Probabilities => "probabilities",
            Self::Value => "value",
            Self::Novelty => "novelty",
            Self::Verdict => "verdict",
            Self::Embedding => "embedding",
        }
    }

    /// Whether a request that names no outputs gets it.
    fn is_default(self) -> bool {
        matches!(self, Self::Label | Self::Probabilities | Self::Value)
    }

    /// Whether it follows from the novelty of the rows.
    pub(super) fn needs_novelty(self) -> bool {
        matches!(self, Self::Novelty | Self::Verdict)
    }

    fn datatype(self, bundle: &Bundle) -> Datatype {
        match self {
            Self::Label => label_type(bundle.classes()),
            Self::Value => Datatype::Fp64,
            Self::Verdict => Datatype::Bytes,
            Self::Probabilities | Self::Novelty | Self::Embedding => Datatype::Fp32,
        }
    }
}

/// The outputs of a model, for its metadata.
pub(super) fn describe(bundle: &Bundle) -> Vec<Described> {
    let one = |&kind: &OutputKind| {
        let width = match kind {
            OutputKind::Probabilities => Some(bundle.classes().len() as i64),
            OutputKind::Embedding => Some(bundle.network.feature_width() as i64),
            _ => None,
        };
        let shape = std::iter::once(-1).chain(width).collect();
        Described { name: kind.name().to_owned(), datatype: kind.datatype(bundle).name(), shape }
    };
    OutputKind::all(bundle).iter().map(one).collect()
}

/// The outputs to answer: those that are named, else the model's usual ones.
pub(super) fn resolve(bundle: &Bundle, requested: Vec<RequestedOutput>) -> Result<Vec<Output>> {
    let all = OutputKind::all(bundle);
    if requested.is_empty() {
        let usual = all.iter().filter(|kind| kind.is_default());
        return Ok(usual.map(|&kind| Output { kind, classes: None, layer: None }).collect());
    }
    let mut outputs: Vec<Output> = Vec::with_capacity(all.len());
    for RequestedOutput { name, classes, layer } in requested {
        let Some(&kind) = all.iter().find(|kind| kind.name() == name) else {
            let known: Vec<&str> = all.iter().map(|kind| kind.name()).collect();
            let detail = format!("there is no output '{}'; this model has {}", shown(&name), known.join(", "));
            return Err(Error::malformed("unknown_output", detail));
        };
        let classes = classes.filter(|_| matches!(kind, OutputKind::Label | OutputKind::Probabilities));
        let layer = layer.filter(|_| kind == OutputKind::Embedding);
        // Each takes memory in the answer, and a request could name one a million times. Classes as text are another
        // tensor.
        if outputs.iter().any(|other| other.kind == kind && other.classes.is_some() == classes.is_some()) {
            return Err(Error::malformed("duplicate_output", format!("output '{name}' is requested twice")));
        }
        outputs.push(Output { kind, classes, layer });
    }
    Ok(outputs)
}

/// The tensor of an output; `code` has the embedding where one is requested.
pub(super) fn tensor(answer: &Answer, code: Option<&LayerCode>, output: &Output) -> Tensor {
    let (rows, width) = (answer.rows(), answer.outputs.width);
    let bundle = &answer.snapshot.bundle;
    let (datatype, shape, values) = match (output.classes, output.kind) {
        (Some(count), _) => {
            let count = count.min(width);
            (Datatype::Bytes, vec![rows, count], likeliest(answer, count))
        }
        (None, OutputKind::Label) => (label_type(bundle.classes()), vec![rows], labels(answer)),
        (None, OutputKind::Probabilities) => {
            (Datatype::Fp32, vec![rows, width], Values::F32(answer.outputs.values.clone()))
        }
        (None, OutputKind::Value) => {
            let values = answer.outputs.values.iter().map(|&v| bundle.value(v)).collect();
            (Datatype::Fp64, vec![rows], Values::F64(values))
        }
        (None, OutputKind::Novelty) => {
            (Datatype::Fp32, vec![rows], Values::F32((0..rows).map(|row| answer.novelty(row)).collect()))
        }
        (None, OutputKind::Verdict) => {
            let options = PredictOptions::default();
            let verdicts = (0..rows).map(|row| answer.verdict(row, &options).into()).collect();
            (Datatype::Bytes, vec![rows], Values::Text(verdicts))
        }
        (None, OutputKind::Embedding) => {
            let (width, values) = code.map_or((0, Vec::new()), |code| (code.width, code.values.clone()));
            (Datatype::Fp32, vec![rows, width], Values::F32(values))
        }
    };
    Tensor { name: output.kind.name().to_owned(), datatype, shape, values, missing: Vec::new() }
}

/// The type that holds every class: integers, floating-point numbers, booleans, or text.
fn label_type(classes: &[Value]) -> Datatype {
    if classes.is_empty() {
        // Of a stream that has not observed a label yet.
        Datatype::Bytes
    } else if classes.iter().all(Value::is_i64) {
        Datatype::Int64
    } else if classes.iter().all(Value::is_u64) {
        Datatype::Uint64
    } else if classes.iter().all(Value::is_number) {
        Datatype::Fp64
    } else if classes.iter().all(Value::is_boolean) {
        Datatype::Bool
    } else {
        Datatype::Bytes
    }
}

/// The class that is named for each row.
fn labels(answer: &Answer) -> Values {
    let bundle = &answer.snapshot.bundle;
    let classes = bundle.classes();
    let rows = answer.outputs.values.chunks_exact(answer.outputs.width.max(1));
    let named = rows.map(|row| &classes[bundle.named(row)]);
    match label_type(classes) {
        Datatype::Int64 => Values::Int(named.map(|c| c.as_i64().unwrap_or_default()).collect()),
        Datatype::Uint64 => Values::Uint(named.map(|c| c.as_u64().unwrap_or_default()).collect()),
        Datatype::Fp64 => Values::F64(named.map(|c| c.as_f64().unwrap_or_default()).collect()),
        Datatype::Bool => Values::Bool(named.map(|c| c.as_bool().unwrap_or_default()).collect()),
        _ => Values::Text(named.map(|c| class_name(c).into()).collect()),
    }
}

/// The `count` most likely classes of each row as `probability:index:label` (Triton's classification extension).
fn likeliest(answer: &Answer, count: usize) -> Values {
    let width = answer.outputs.width;
    let classes = answer.snapshot.bundle.classes();
    let mut texts = Vec::with_capacity(answer.rows() * count);
    for row in answer.outputs.values.chunks_exact(width.max(1)) {
        let mut order: Vec<usize> = (0..width).collect();
        order.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
        for &class in order.iter().take(count) {
            texts.push(format!("{}:{class}:{}", row[class], class_name(&classes[class])).into());
        }
    }
    Values::Text(texts)
}
