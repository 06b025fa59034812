//! Ridge regression on a random expansion of a pretrained encoder's vectors (McDonnell et al. 2023, "RanPAC"): `φ = relu(R x)`
//! with a fixed random `R`, and the words of the same texts, hashed, beside it. It is solved from sums, so the order of rows
//! does not matter: classes that come one after the other are learned as well as together, and a forgotten row is subtracted.

use super::{ExpertKind, ExpertRow, LEAD, Lesson, Pass, Shared, StreamExpert, Truth, from_bytes, to_bytes};
use crate::Result;
use crate::data::Batch;
use crate::learning::stream::copy_on_write::CopyOnWrite;
use crate::learning::stream::shape::StreamRow;
use crate::models::memory::{TextPlaces, Texts, WORDS};
use crate::nn::kernels::matrix::{MatrixShape, product};
use crate::nn::probability::softmax;
use crate::nn::readouts::Readout;
use crate::nn::readouts::discriminant::Sums;
use crate::random::Random;
use serde::{Deserialize, Serialize};

/// Width of the expansion, words among it.
const UNITS: usize = 2_048;
/// Sums of words in it: hashes of [`Texts`] that fall together. What they are multiplied by hardly matters from .1 to .4.
const WORD_SUMS: usize = 256;
const WORD_SHARE: f32 = 0.2;
/// Fewer rows are answered by other experts.
const FEWEST: u64 = 1_000;
/// Rows between two solutions are an eighth of those there are, this many at least; beyond so many an eighth of that. Classes of
/// later rows are not in a solution, so that waiting longer costs those that come last (benches, few texts).
const FEW_BETWEEN: u64 = 32;
const MANY_BETWEEN: u64 = 250;
/// The ridge for one row, as a share of the mean squared length of an expansion.
const RIDGE: f64 = 0.1;
/// The first logarithm of the temperature: outputs are between 0 and 1.
const INITIAL_LOG_TEMPERATURE: f32 = -2.3;

pub(super) const KIND: ExpertKind = ExpertKind {
    name: "expansion",
    make: |shape| match shape.reads_vectors() && !shape.regression {
        true => vec![Box::new(Expansion::new(&shape.texts, shape.seed))],
        false => Vec::new(),
    },
    load: |bytes| {
        let mut it = from_bytes::<Expansion>(bytes)?;
        it.weights = weights(&it.places, it.seed).into();
        Ok(Box::new(it))
    },
};

/// The sums and the last solution.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Expansion {
    places: TextPlaces,
    seed: u64,
    /// `R`, `[units of vectors, width]`: it follows from the seed.
    #[serde(skip)]
    weights: CopyOnWrite<Vec<f32>>,
    sums: Option<Sums>,
    /// Classes whose names are in the sums: those up to the first that has none.
    named: usize,
    rows: u64,
    next: u64,
    readout: Option<CopyOnWrite<Readout>>,
    log_temperature: f32,
}

/// Units that read vectors.
fn units(places: &TextPlaces) -> usize {
    if places.words.is_empty() { UNITS } else { UNITS - WORD_SUMS }
}

fn weights(places: &TextPlaces, seed: u64) -> Vec<f32> {
    let (mut random, scale) = (Random::new(seed ^ 0x5ea1), (2.0 / UNITS as f32).sqrt());
    (0..units(places) * places.width()).map(|_| random.normal() * scale).collect()
}

impl Expansion {
    fn new(places: &TextPlaces, seed: u64) -> Self {
        Self {
            places: places.clone(),
            seed,
            weights: weights(places, seed).into(),
            sums: None,
            named: 0,
            rows: 0,
            next: FEWEST,
            readout: None,
            log_temperature: INITIAL_LOG_TEMPERATURE,
        }
    }

    /// The expansion of each text: `[texts, UNITS]`.
    fn expand(&self, texts: &Texts) -> Vec<f32> {
        let (width, units) = (self.places.width(), units(&self.places));
        let count = texts.vectors.len() / width.max(1);
        let mut of_vectors = vec![0.0; count * units];
        product(
            (&mut of_vectors, MatrixShape::new(count, units)),
            (&texts.vectors, MatrixShape::new(count, width)),
            (&self.weights, MatrixShape::new(units, width).transposed()),
            None,
            1.0,
        );
        let mut out = vec![0.0; count * UNITS];
        for (row, of_vector) in out.chunks_exact_mut(UNITS).zip(of_vectors.chunks_exact(units)) {
            row.iter_mut().zip(of_vector).for_each(|(out, v)| *out = v.max(0.0));
        }
        if units < UNITS {
            for (row, words) in out.chunks_exact_mut(UNITS).zip(texts.words.chunks_exact(WORDS)) {
                for part in words.chunks_exact(WORD_SUMS) {
                    row[units..].iter_mut().zip(part).for_each(|(out, sum)| *out += WORD_SHARE * sum);
                }
            }
        }
        out
    }

    /// None for a row that is no such text.
    fn expand_row(&self, row: &ExpertRow<'_>) -> Option<Vec<f32>> {
        let StreamRow { indices, values, code, .. } = row.row;
        (code.len() == self.places.width()).then(|| self.expand(&self.places.text(code, indices, values)))
    }

    fn sums(&mut self) -> &mut Sums {
        self.sums.get_or_insert_with(|| Sums::new(UNITS, 0, false))
    }

    fn solve(&mut self, shared: &Shared) {
        let between = (self.rows / 8).clamp(FEW_BETWEEN, MANY_BETWEEN).max(self.rows / 64);
        self.next = (self.rows + between).max(FEWEST);
        let Some(sums) = self.sums.as_mut().filter(|_| self.rows >= FEWEST) else { return };
        sums.grow(shared.classes);
        let ridge = RIDGE * UNITS as f64 / sums.rows().max(1.0);
        if let Ok(factor) = sums.factor_of_all(ridge / (1.0 + ridge), shared.threads) {
            self.readout = Some(sums.read_shares(&factor).into());
        }
    }
}

impl StreamExpert for Expansion {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn is_ready(&self) -> bool {
        self.readout.is_some()
    }

    fn lead(&self) -> f32 {
        if self.readout.is_some() { LEAD } else { 0.0 }
    }

    fn predict_one(&self, row: &ExpertRow<'_>, _buffer: &mut Vec<f32>, out: &mut [f32]) {
        let Some((readout, expanded)) = self.readout.as_ref().zip(self.expand_row(row)) else {
            return out.fill(1.0 / out.len().max(1) as f32);
        };
        let cool = (-self.log_temperature).exp();
        let logits = logits(readout, &expanded, out.len());
        out.iter_mut().zip(logits).for_each(|(o, logit)| *o = logit * cool);
        softmax(out);
    }

    fn learn_one(&mut self, row: &ExpertRow<'_>, lesson: &Lesson<'_>) {
        let (Truth::Class(class), Pass::Stream) = (lesson.truth, lesson.pass) else { return };
        let Some(expanded) = self.expand_row(row) else { return };
        if let Some(readout) = &self.readout {
            // One step of temperature: dL/d ln T = (z_truth − E z) / T.
            let logits = logits(readout, &expanded, row.shared.classes);
            let expected: f32 = logits.iter().zip(lesson.predicted).map(|(z, p)| z * p).sum();
            let slope = (logits[class] - expected) * (-self.log_temperature).exp();
            self.log_temperature = (self.log_temperature - 0.01 * slope.clamp(-1.0, 1.0)).clamp(-6.0, 2.0);
        }
        self.sums().add(&expanded, class, 1.0, row.shared.threads);
        self.rows += 1;
        if self.rows >= self.next {
            self.solve(row.shared);
        }
    }

    fn name_classes(&mut self, first: usize, names: &Texts) {
        if self.named != first {
            return;
        }
        for name in self.expand(names).chunks_exact(UNITS) {
            let class = self.named;
            self.sums().add(name, class, 1.0, 1);
            self.named += 1;
        }
    }

    fn settle(&mut self, shared: &Shared) {
        self.solve(shared);
    }

    fn forget(&mut self, rows: &Batch, _codes: &[f32], labels: &[f32], shared: &Shared) {
        let labelled: Vec<usize> = (0..labels.len()).filter(|&row| !labels[row].is_nan()).collect();
        let expanded = self.expand(&self.places.texts(&rows.select(&labelled)));
        let labels: Vec<usize> = labelled.into_iter().map(|row| labels[row] as usize).collect();
        let Some(sums) = &mut self.sums else { return };
        expanded.chunks_exact(UNITS).zip(&labels).for_each(|(row, &class)| sums.take(row, class));
        sums.scatter_rows(&expanded, -1.0, shared.threads);
        self.rows = self.rows.saturating_sub(labels.len() as u64);
        self.readout = None;
        self.solve(shared);
    }

    fn bytes(&self) -> u64 {
        let readout = self.readout.as_ref().map_or(0, |readout| readout.weights.len());
        ((self.weights.len() + readout) * 4) as u64
    }

    fn save(&self) -> Result<Vec<u8>> {
        to_bytes(self)
    }

    fn fork(&self) -> Box<dyn StreamExpert> {
        Box::new(self.clone())
    }

    fn published(&self) -> Box<dyn StreamExpert> {
        Box::new(Self {
            weights: self.weights.clone(),
            sums: None,
            readout: self.readout.clone(),
            places: self.places.clone(),
            seed: self.seed,
            named: 0,
            rows: self.rows,
            next: self.next,
            log_temperature: self.log_temperature,
        })
    }
}

fn logits(readout: &Readout, expanded: &[f32], classes: usize) -> Vec<f32> {
    let mut logits = readout.forward(expanded);
    logits.resize(classes, 0.0);
    logits
}
