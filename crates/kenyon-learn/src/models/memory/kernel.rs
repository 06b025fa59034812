//! Stored vectors of a pretrained encoder that answer by kernel ridge regression (Saunders, Gammerman & Vovk 1998): logits
//! are `b + Σ_i exp(γ (cos(x, r_i) − 1)) w_i` over the stored vectors `r_i`, whose weights `w_i` are solved for.

use super::Spec;
use super::stories::state_layer;
use super::texts::{TextPlaces, Texts, WORDS, cosines, vectors_of};
use crate::data::Batch;
use crate::data::encoder::Encoder;
use crate::models::hybrid::explain_by_steps;
use crate::models::{Activity, Explanation, Family, Network, RECALLED, Recalled, RecalledRow};
use crate::nn::Tensors;
use crate::nn::kernels::matrix::{MatrixShape, product};
use crate::nn::readouts::ridge::Solution;
use crate::{Error, Result};
use candle_core::{Device, Tensor, WithDType};
use serde_json::{Map, Value};

/// Parts of the rows that are left out in turn to calibrate by.
pub(super) const FOLDS: usize = 5;
/// Ridges that are tried.
pub(crate) const RIDGES: [f64; 4] = [0.03, 0.1, 0.3, 1.0];

/// Whether the settings select stored vectors.
pub(super) fn is_selected(config: &Map<String, Value>) -> bool {
    config.get("read").and_then(Value::as_str) == Some("kernel")
}

/// Where the texts are in a row.
pub(super) fn places(encoder: &Encoder) -> Result<TextPlaces> {
    let places = TextPlaces::of(encoder);
    if places.vectors.is_empty() {
        let detail = "\"read\":\"kernel\" needs a column that a pretrained encoder reads";
        return Err(Error::unprocessable("bad_config", detail));
    }
    Ok(places)
}

/// What is stored, and what was solved for.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Stored {
    /// The stored texts.
    pub(super) keys: Texts,
    /// The class id, or the value, of each.
    pub(super) outcomes: Vec<f32>,
    /// The weights from all rows, then those without each fold, `[1 + folds, count, outputs]`.
    pub(super) weights: Vec<f32>,
    /// `[outputs]`.
    pub(super) bias: Vec<f32>,
}

impl Stored {
    /// Keys and outcomes with what was solved for them.
    pub(crate) fn solved(keys: Texts, outcomes: Vec<f32>, solution: &Solution) -> Self {
        let Solution { dual, means, sharpness, .. } = solution;
        let (count, outputs) = (outcomes.len(), means.len());
        let weight = |at: usize| (dual[at % outputs * count + at / outputs] * sharpness) as f32;
        let weights = (0..count * outputs).map(weight).collect();
        Self { keys, outcomes, weights, bias: means.iter().map(|mean| (mean * sharpness) as f32).collect() }
    }

    /// Bytes of what is stored.
    pub(crate) fn bytes(&self) -> u64 {
        let keys = self.keys.vectors.len() + self.keys.words.len();
        4 * (keys + self.outcomes.len() + self.weights.len() + self.bias.len()) as u64
    }

    /// Logits of texts by weights number `solution`: 0 for those from all rows, then those of folds.
    pub(crate) fn answer(&self, texts: &Texts, width: usize, solution: usize) -> Vec<f32> {
        let (rows, count, outputs) = (texts.vectors.len() / width.max(1), self.outcomes.len(), self.bias.len());
        let mut out = self.bias.repeat(rows);
        let size = count * outputs;
        product(
            (&mut out, MatrixShape::new(rows, outputs)),
            (&texts.kernel(&self.keys, width), MatrixShape::new(rows, count)),
            (&self.weights[solution * size..(solution + 1) * size], MatrixShape::new(count, outputs)),
            Some(1.0),
            1.0,
        );
        out
    }

    /// Each text's answer without the fold that `members` names.
    pub(super) fn answer_each(&self, texts: &Texts, width: usize, members: &[u8]) -> Result<Vec<f32>> {
        let solutions = self.weights.len() / (self.outcomes.len() * self.bias.len()).max(1);
        if texts.vectors.len() != members.len() * width || members.iter().any(|&m| usize::from(m) + 1 >= solutions) {
            return Err(Error::internal("this network has no members that answer singly"));
        }
        let each = texts.each(width).zip(members);
        Ok(each.flat_map(|(text, &member)| self.answer(&text, width, usize::from(member) + 1)).collect())
    }

    /// As tensors.
    pub(super) fn save(&self) -> Result<Tensors> {
        let mut out = Tensors::new();
        put(&mut out, "kernel.keys", &self.keys.vectors)?;
        put(&mut out, "kernel.words", &self.keys.words)?;
        put(&mut out, "kernel.outcomes", &self.outcomes)?;
        put(&mut out, "kernel.weights", &self.weights)?;
        put(&mut out, "kernel.bias", &self.bias)?;
        Ok(out)
    }
}

/// Stored vectors as a network.
#[derive(Debug)]
pub(super) struct KernelNet {
    places: TextPlaces,
    width: usize,
    stored: Stored,
}

impl KernelNet {
    /// From what [`Stored::save`] gave; tensors are untrusted.
    pub(super) fn load(encoder: &Encoder, outputs: usize, tensors: &Tensors) -> Result<Self> {
        let places = places(encoder)?;
        let width = places.width();
        let stored = Stored {
            keys: Texts { vectors: get(tensors, "kernel.keys")?, words: get(tensors, "kernel.words")? },
            outcomes: get(tensors, "kernel.outcomes")?,
            weights: get(tensors, "kernel.weights")?,
            bias: get(tensors, "kernel.bias")?,
        };
        let (count, one) = (stored.outcomes.len(), stored.outcomes.len() * outputs);
        let solved = stored.weights.len();
        let whole = count > 0 && (solved == one || solved == one * (FOLDS + 1));
        let words = stored.keys.words.len();
        let keyed = stored.keys.vectors.len() == count * width && (words == 0 || words == count * WORDS);
        if !whole || !keyed || stored.bias.len() != outputs {
            return Err(Error::unprocessable("bad_weights", "the stored vectors do not fit together"));
        }
        Ok(Self { places, width, stored })
    }

    fn recalled(&self, vector: &[f32], k: usize) -> Vec<Recalled> {
        let cosines = cosines(vector, &self.stored.keys.vectors, self.width);
        let mut order: Vec<usize> = (0..cosines.len()).collect();
        order.sort_by(|&a, &b| cosines[b].total_cmp(&cosines[a]).then(a.cmp(&b)));
        let one = |&at: &usize| {
            let (outcome, similarity) = (self.stored.outcomes[at], cosines[at]);
            Recalled { id: at as u64, outcome, similarity, row: RecalledRow::None }
        };
        order.iter().take(k).map(one).collect()
    }
}

impl Network for KernelNet {
    fn family(&self) -> Family {
        Family::new(&Spec)
    }

    fn outputs(&self) -> usize {
        self.stored.bias.len()
    }

    fn forward(&self, batch: &Batch) -> Result<Vec<f32>> {
        Ok(self.stored.answer(&self.places.texts(batch), self.width, 0))
    }

    fn feature_width(&self) -> usize {
        self.width
    }

    fn features(&self, batch: &Batch) -> Result<Vec<f32>> {
        Ok(vectors_of(batch, &self.places.vectors))
    }

    fn forward_members(&self, batch: &Batch, members: &[u8]) -> Result<Vec<f32>> {
        self.stored.answer_each(&self.places.texts(batch), self.width, members)
    }

    fn explain(&self, batch: &Batch, row: usize, output: usize) -> Result<Explanation> {
        let mut explanation = explain_by_steps(batch, row, output, self.outputs(), |kept| self.forward(kept))?;
        explanation.memories = self.recalled(&vectors_of(&batch.select(&[row]), &self.places.vectors), RECALLED);
        Ok(explanation)
    }

    fn nearest(&self, batch: &Batch, k: usize) -> Result<Option<Vec<Vec<Recalled>>>> {
        let vectors = vectors_of(batch, &self.places.vectors);
        Ok(Some(vectors.chunks_exact(self.width).map(|vector| self.recalled(vector, k)).collect()))
    }

    fn activity(&self, batch: &Batch) -> Result<Activity> {
        let (count, outputs) = (self.stored.outcomes.len() as f64, self.outputs() as f64);
        let stored = &self.stored;
        Ok(Activity {
            layers: vec![state_layer(&vectors_of(batch, &self.places.vectors), self.width)],
            dense_macs: count * outputs,
            effective_macs: count * outputs,
            memory_macs: count * self.width as f64,
            bytes: stored.bytes(),
            ..Activity::default()
        })
    }

    fn save(&self) -> Result<Tensors> {
        self.stored.save()
    }
}

/// Adds a list of numbers to `out`.
pub(super) fn put<T: WithDType>(out: &mut Tensors, name: &str, values: &[T]) -> Result<()> {
    if !values.is_empty() {
        out.insert(name.to_owned(), Tensor::from_slice(values, values.len(), &Device::Cpu)?);
    }
    Ok(())
}

/// Reads what [`put`] added; nothing where it is missing.
pub(super) fn get<T: WithDType>(tensors: &Tensors, name: &str) -> Result<Vec<T>> {
    let Some(tensor) = tensors.get(name) else { return Ok(Vec::new()) };
    let broken = |_| Error::unprocessable("bad_weights", "the stored vectors do not fit together");
    tensor.flatten_all().and_then(|tensor| tensor.to_vec1()).map_err(broken)
}
