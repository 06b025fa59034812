//! Whether a pretrained encoder reads a text column for which the request names none: ridge regression on the vectors and
//! words of some rows against one on the words alone, each row answered by the solution without it.

use super::hold_out::hold_out;
use crate::Result;
use crate::data::encoder::{Encoder, Layout};
use crate::data::plan::{ColumnPlan, Resolved};
use crate::data::target::{Encoded, TargetEncoder};
use crate::data::vectors::ColumnEncoder;
use crate::data::{Batch, Column, ColumnKind, Table};
use crate::learning::{FitSpec, Validation};
use crate::models::Task;
use crate::nn::kernels::matrix::{MatrixShape, product};
use crate::nn::readouts::ridge::{RidgeRows, leave_one_out_losses};
use crate::nn::readouts::shrinkage::mean_diagonal;
use crate::random::Random;

/// Rows that are compared on, at most and at least: the equations grow with their square, and fewer are too noisy.
const ROWS: (usize, usize) = (1_000, 20);
/// Bytes of text in a column beyond which no encoder is tried: to encode them would take minutes.
const MOST_TEXT: usize = 20_000_000;
/// How many standard errors the losses must fall by.
const MIN_STANDARD_ERRORS: f64 = 2.0;

/// What was decided about a column.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderChoice {
    /// The column.
    pub column: String,
    /// The encoder that reads it; none where its words alone are read.
    pub encoder: Option<ColumnEncoder>,
    /// What was found, as a sentence.
    pub note: String,
}

/// Chooses for each of `columns` (texts that no encoder reads by the plan) one of `candidates`, or none. It depends on
/// the data and the seed alone. Rows that the request holds out are not used.
///
/// # Errors
/// As [`fit()`](super::fit()), and where an encoder cannot be opened.
pub fn choose_encoders(
    table: &Table,
    plan: &Resolved,
    (columns, candidates): (&[String], &[ColumnEncoder]),
    spec: &FitSpec,
    threads: usize,
) -> Result<Vec<EncoderChoice>> {
    let inputs = plan.inputs.iter().filter(|input| input.kind == ColumnKind::Text && input.encoder.is_none());
    let inputs: Vec<&ColumnPlan> = inputs.filter(|input| columns.contains(&input.name)).collect();
    let (Some(target), false) = (table.column(&plan.target.name), inputs.is_empty() || candidates.is_empty()) else {
        return Ok(Vec::new());
    };
    let encoder = TargetEncoder::fit(&plan.target.name, target, plan.task, spec.task.is_some())?;
    let targets = encoder.encode(target)?;
    let rows = match &spec.validation {
        Validation::Auto => crate::data::split::labelled(&targets),
        _ => hold_out(table, &targets, spec, super::OF_SAMPLE, false)?.training,
    };
    let outputs = if plan.task == Task::Regression { 1 } else { encoder.outputs() };
    let compared = ChoiceRows { table, targets: &targets, outputs, rows, seed: spec.seed, threads };
    inputs.into_iter().map(|input| compared.choose(input, candidates)).collect()
}

/// The rows to compare on.
struct ChoiceRows<'a> {
    table: &'a Table,
    targets: &'a Encoded,
    outputs: usize,
    rows: Vec<usize>,
    seed: u64,
    threads: usize,
}

impl ChoiceRows<'_> {
    fn choose(&self, input: &ColumnPlan, candidates: &[ColumnEncoder]) -> Result<EncoderChoice> {
        let choice = |encoder: Option<&ColumnEncoder>, note: String| EncoderChoice {
            column: input.name.clone(),
            encoder: encoder.cloned(),
            note: format!("{}: {note}", input.name),
        };
        let Some(Column::Text(texts)) = self.table.column(&input.name) else {
            return Ok(choice(None, "words alone are read".into()));
        };
        if texts.iter().flatten().map(|text| text.len()).sum::<usize>() > MOST_TEXT {
            let note = "words alone are read: encoding so much text takes minutes, name an encoder to have it";
            return Ok(choice(None, note.into()));
        }
        let mut rows: Vec<usize> = self.rows.iter().copied().filter(|&row| self.labelled(texts, row)).collect();
        Random::stream(self.seed, "encoder choice", 0).shuffle(&mut rows);
        rows.truncate(ROWS.0);
        if rows.len() < ROWS.1 {
            let note =
                format!("words alone are read: {} rows are too few to measure whether an encoder helps", rows.len());
            return Ok(choice(None, note));
        }
        let Some(words) = words_of(self.table, input, &rows)? else {
            return Ok(choice(None, "words alone are read".into()));
        };
        let alone = self.losses(&words, &rows)?;
        let mut best: Option<(f64, f64, &ColumnEncoder)> = None;
        for encoder in candidates {
            let texts: Vec<&str> = rows.iter().map(|&row| texts[row].as_deref().unwrap_or_default()).collect();
            let losses = self.losses(&beside(&words, &encoder.vectors()?.of_cells(&texts)?, rows.len()), &rows)?;
            let gains: Vec<f64> = alone.iter().zip(&losses).map(|(alone, with)| alone - with).collect();
            let (gain, squares) = (gains.iter().sum::<f64>(), gains.iter().map(|gain| gain * gain).sum::<f64>());
            let sureness = if squares > 0.0 { gain / squares.sqrt() } else { 0.0 };
            if best.is_none_or(|best| gain > best.0) {
                best = Some((gain, sureness, encoder));
            }
        }
        let Some((gain, sureness, encoder)) = best else { return Ok(choice(None, "words alone are read".into())) };
        let loss = alone.iter().sum::<f64>() / alone.len() as f64;
        let (by_words, by_both) = (self.figure(loss), self.figure(loss - gain / rows.len() as f64));
        let found = format!(
            "{by_both} on {} left-out rows with the vectors of {} and words, {by_words} with words alone",
            rows.len(),
            encoder.name
        );
        Ok(match sureness > MIN_STANDARD_ERRORS {
            true => choice(Some(encoder), format!("read by the encoder {}: {found}", encoder.name)),
            false => choice(None, format!("words alone are read: {found}")),
        })
    }

    fn labelled(&self, texts: &[Option<Box<str>>], row: usize) -> bool {
        let known = match self.targets {
            Encoded::Classes(ids) => (ids[row] as usize) < self.outputs,
            Encoded::Values(values) => values[row].is_finite(),
        };
        known && texts[row].as_deref().is_some_and(|text| !text.trim().is_empty())
    }

    /// The loss of each row by the others, whose products are given.
    fn losses(&self, products: &[f64], rows: &[usize]) -> Result<Vec<f64>> {
        let targets = match self.targets {
            Encoded::Classes(ids) => rows.iter().map(|&row| ids[row] as f32).collect(),
            Encoded::Values(values) => rows.iter().map(|&row| values[row]).collect(),
        };
        let from = RidgeRows { rows: Vec::new(), weights: vec![1.0; rows.len()], targets, folds: Vec::new() };
        leave_one_out_losses(products, &from, self.outputs, self.threads)
    }

    fn figure(&self, loss: f64) -> String {
        if self.outputs > 1 {
            return format!("accuracy {:.3}", 1.0 - loss);
        }
        // Targets have a variance of 1.
        format!("R² {:.3}", 1.0 - loss)
    }
}

/// The products of all pairs of rows by their words, `[rows, rows]`; none where the texts have none in common.
fn words_of(table: &Table, input: &ColumnPlan, rows: &[usize]) -> Result<Option<Vec<f64>>> {
    let fitted = Encoder::fit(table, rows, std::slice::from_ref(input), Layout::Bag)?;
    if fitted.width == 0 {
        return Ok(None);
    }
    let batch = fitted.encode(&table.select(rows))?;
    let mut dense = vec![0.0f32; fitted.width as usize];
    let mut products = vec![0.0; rows.len() * rows.len()];
    for a in 0..rows.len() {
        let set = |dense: &mut Vec<f32>, batch: &Batch, on: f32| {
            let (indices, values) = batch.entries(a);
            indices.iter().zip(values).for_each(|(&index, value)| dense[index as usize] = value * on);
        };
        set(&mut dense, &batch, 1.0);
        for b in a..rows.len() {
            let (indices, values) = batch.entries(b);
            let sum: f32 = indices.iter().zip(values).map(|(&index, value)| dense[index as usize] * value).sum();
            products[a * rows.len() + b] = f64::from(sum);
            products[b * rows.len() + a] = f64::from(sum);
        }
        set(&mut dense, &batch, 0.0);
    }
    Ok(Some(products))
}

/// The products by words and by vectors `[rows, width]` together, both of the same weight.
fn beside(words: &[f64], vectors: &[f32], count: usize) -> Vec<f64> {
    let width = vectors.len() / count.max(1);
    let mut products = vec![0.0f32; count * count];
    let shape = MatrixShape::new(count, width);
    product(
        (&mut products, MatrixShape::new(count, count)),
        (vectors, shape),
        (vectors, shape.transposed()),
        None,
        1.0,
    );
    let products: Vec<f64> = products.into_iter().map(f64::from).collect();
    let scale = mean_diagonal(words, count) / mean_diagonal(&products, count).max(f64::MIN_POSITIVE);
    words.iter().zip(products).map(|(words, product)| words + scale * product).collect()
}
