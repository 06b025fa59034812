//! The slow part of a stream: the code rows are read by, and the streaming discriminant over it.

use super::model::Model;
use crate::data::Batch;
use crate::data::encoder::Encoder;
use crate::models::hybrid;
use crate::nn::cholesky::Factor;
use crate::nn::discriminant::{Readout, Sums};
use crate::nn::few_labels;
use crate::nn::local_groups::LocalGroups;
use crate::nn::propagation::Pool;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Labelled or unlabelled rows after which the code learns from what it has seen, and then stays.
const EVENTS: [usize; 2] = [500, 4_000];

/// Where the code of a row comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "a stream has one of these")]
pub(super) enum Code {
    /// There is none: experts read the columns.
    None,
    /// The frozen network's.
    Base,
    /// Local groups of the stream's own.
    Own {
        /// What they are; none before the first row.
        groups: Option<LocalGroups>,
        /// Rows they will learn from.
        waiting: Batch,
        /// Labels of these.
        labels: Vec<f32>,
        /// The rows as JSON.
        texts: Vec<Option<Box<str>>>,
        /// How often they have learned.
        events: usize,
    },
}

impl Code {
    /// A code of the stream's own.
    pub(super) fn own() -> Self {
        Self::Own { groups: None, waiting: Batch::new(), labels: Vec::new(), texts: Vec::new(), events: 0 }
    }

    /// Makes the first, random code when the first rows are there.
    pub(super) fn ready(
        &mut self,
        encoder: &Encoder,
        config: &Map<String, Value>,
        seed: u64,
        batch: &Batch,
        model: &mut Model,
    ) {
        if let Self::Own { groups: groups @ None, .. } = self {
            let made = hybrid::groups(encoder, config, seed, batch, false);
            model.rekey(made.width());
            *groups = Some(made);
        }
    }

    /// The groups, if they are the stream's own.
    pub(super) fn groups(&self) -> Option<&LocalGroups> {
        match self {
            Self::Own { groups, .. } => groups.as_ref(),
            _ => None,
        }
    }

    /// Codes of rows; none where the code is not the stream's own.
    pub(super) fn of(&self, batch: &Batch, threads: usize) -> Option<Vec<f32>> {
        self.groups().map(|groups| groups.code(batch, threads))
    }

    /// Keeps rows until there are enough to learn from; whether the code has just changed.
    pub(super) fn learn(
        &mut self,
        encoder: &Encoder,
        config: &Map<String, Value>,
        seed: u64,
        batch: &Batch,
        now: &[f32],
        now_texts: &[&str],
    ) -> bool {
        let Self::Own { groups, waiting, labels, texts, events } = self else { return false };
        let Some(&wanted) = EVENTS.get(*events) else { return false };
        // Only filters learn; a code without them is final at once.
        if groups.as_ref().is_none_or(|g| !g.learns()) {
            *events = EVENTS.len();
            return false;
        }
        waiting.append(batch);
        labels.extend_from_slice(now);
        texts.extend((0..now.len()).map(|r| now_texts.get(r).map(|t| Box::from(*t))));
        if labels.len() < wanted {
            return false;
        }
        *groups = Some(hybrid::groups(encoder, config, seed, waiting, true));
        *events += 1;
        true
    }

    /// The rows that wait.
    pub(super) fn waiting(&self) -> Option<(&Batch, &[f32], &[Option<Box<str>>])> {
        match self {
            Self::Own { waiting, labels, texts, .. } => Some((waiting, labels, texts)),
            _ => None,
        }
    }

    /// Rows for which `goes` holds wait no longer.
    pub(super) fn forget(&mut self, goes: impl Fn(f32, Option<&str>) -> bool) {
        if let Self::Own { waiting, labels, texts, .. } = self {
            let kept: Vec<usize> = (0..labels.len()).filter(|&r| !goes(labels[r], texts[r].as_deref())).collect();
            if kept.len() < labels.len() {
                *waiting = waiting.select(&kept);
                *labels = kept.iter().map(|&r| labels[r]).collect();
                *texts = kept.iter().map(|&r| texts[r].take()).collect();
            }
        }
    }

    /// After the last change nothing needs to wait.
    pub(super) fn settled(&mut self) {
        if let Self::Own { waiting, labels, texts, events, .. } = self
            && *events >= EVENTS.len()
        {
            *waiting = Batch::new();
            *labels = Vec::new();
            *texts = Vec::new();
        }
    }
}

/// The streaming discriminant: sums of every row, solved now and then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Slow {
    on: bool,
    sums: Option<Sums>,
    factor: Option<Factor>,
    /// The mean that all discriminants of the last solution are taken from.
    centre: Vec<f64>,
    /// Rows at which it is solved again.
    next: u64,
    seen: u64,
    /// Whether what came before some row counts less, so that a row's own share is not known any more.
    faded: bool,
    /// What a class of 1, 2, 5 … rows is due: (rows, bias).
    biases: Vec<(f32, f32)>,
    /// Rows that labels spread to while these are few. In a snapshot it comes after everything else.
    #[serde(skip)]
    pub(super) pool: Pool,
}

impl Slow {
    pub(super) fn new(on: bool) -> Self {
        Self {
            on,
            sums: None,
            factor: None,
            centre: Vec::new(),
            next: 32,
            seen: 0,
            faded: false,
            biases: Vec::new(),
            pool: Pool::default(),
        }
    }

    /// Goes on from sums of a training.
    pub(super) fn go_on(&mut self, sums: Sums) {
        self.seen = sums.rows() as u64;
        self.sums = Some(sums);
    }

    /// Solves what was gone on from.
    pub(super) fn start(&mut self, model: &mut Model, threads: usize) {
        if let Some(sums) = &self.sums {
            for (count, &rows) in model.counts.iter_mut().zip(sums.counts()) {
                *count = rows as u64;
            }
            self.solve(model, threads);
        }
    }

    /// Forgets everything, for a code that has changed.
    pub(super) fn restart(&mut self) {
        *self = Self::new(self.on);
    }

    /// What came before counts a tenth.
    pub(super) fn fade(&mut self, threads: usize) {
        if let Some(sums) = &mut self.sums {
            sums.decay(0.1, threads);
            self.faded = true;
            self.next = self.seen + 100;
        }
    }

    /// Takes a row in, and solves when it is time.
    pub(super) fn add(&mut self, code: &[f32], label: Option<f32>, model: &mut Model, threads: usize) {
        if !self.on || code.is_empty() {
            return;
        }
        let regression = model.regression;
        let sums = self.sums.get_or_insert_with(|| Sums::new(code.len(), usize::from(regression), regression));
        match label {
            None => {
                sums.add_unlabelled(code, threads);
                self.pool.add(code);
            }
            Some(value) if regression => sums.add_value(code, value, threads),
            Some(class) => sums.add(code, class as usize, 1.0, threads),
        }
        self.seen += 1;
        if label.is_some() && !regression && self.factor.is_none() && model.readout.is_some() {
            // Solved for few labels: some more change much.
            self.next = self.next.min(self.seen + (sums.rows() as u64 / 4).max(8));
        }
        if self.seen >= self.next {
            self.solve(model, threads);
        } else if let Some(class) = label.filter(|_| !regression) {
            self.refresh(class as usize, model);
        }
    }

    /// Takes rows out that were added before, and answers without them at once. What has faded stays:
    /// it can only be summed anew.
    pub(super) fn take(&mut self, codes: &[f32], labels: &[f32], model: &mut Model, threads: usize) {
        let Some(sums) = &mut self.sums else { return };
        let width = sums.width().max(1);
        let rows = || codes.chunks_exact(width).zip(labels);
        // The pool holds rows and not sums: they go whether or not the sums have faded.
        rows().filter(|(_, label)| label.is_nan()).for_each(|(code, _)| self.pool.take(code));
        if self.faded {
            return;
        }
        for (code, &label) in rows() {
            match (label.is_nan(), model.regression) {
                (true, _) => sums.take_unlabelled(code),
                (false, true) => sums.take_value(code, label),
                (false, false) => sums.take(code, label as usize),
            }
        }
        sums.scatter_rows(codes, -1.0, threads);
        self.seen = self.seen.saturating_sub(labels.len() as u64);
        self.solve(model, threads);
    }

    /// Whether there are sums that have faded, so that rows could not be taken out of them.
    pub(super) fn is_faded(&self) -> bool {
        self.faded
    }

    /// Solves for all classes.
    pub(super) fn solve(&mut self, model: &mut Model, threads: usize) {
        self.next = self.seen + (self.seen / 4).max(32);
        let Some(sums) = &mut self.sums else { return };
        let (width, rows) = (sums.width() as f64, self.seen as f64);
        let shrink = (0.01 + 0.5 * width / (width + 20.0 * rows)).min(0.5);
        if model.regression {
            let Ok(factor) = sums.factor(shrink, (0, 1.0), threads) else { return };
            model.readout = Some(sums.read_values(&factor));
            return;
        }
        if let Some(readout) = few(sums, &self.pool, model, threads) {
            model.readout = Some(readout);
            self.factor = None;
            model.gate.iter_mut().for_each(|gate| *gate = 0.0);
            return;
        }
        sums.grow(model.classes);
        let Ok(factor) = sums.factor(shrink, (0, 1.0), threads) else { return };
        self.centre = sums.centre();
        model.readout = Some(sums.read(&factor, 0.0));
        self.factor = Some(factor);
        self.learn_biases(model);
        for class in 0..model.classes {
            self.set_gate(class, model);
        }
    }

    /// Keeps a class of few rows up to date between solutions.
    fn refresh(&mut self, class: usize, model: &mut Model) {
        let rows = model.counts.get(class).copied().unwrap_or(0);
        let due = rows <= 8 || (rows <= 200 && rows.is_multiple_of(rows / 6));
        let (true, Some(factor), Some(sums), Some(readout)) = (due, &self.factor, &self.sums, &mut model.readout)
        else {
            return;
        };
        let (weights, bias) = sums.discriminant(factor, &self.centre, class);
        grow(readout, class + 1);
        readout.bias[class] = bias;
        readout.weights[class * readout.width..(class + 1) * readout.width].copy_from_slice(&weights);
        self.set_gate(class, model);
    }

    fn set_gate(&self, class: usize, model: &mut Model) {
        let rows = model.counts.get(class).copied().unwrap_or(0) as f32;
        if let Some(gate) = model.gate.get_mut(class) {
            *gate = bias_of(&self.biases, rows);
        }
    }

    /// Learns what bias a class of few rows is due, by pretending that stored classes are new: a
    /// mean of n rows is further from everything by its own noise. The bias is as large as it can
    /// be while one in two hundred rows of other classes is lost to the new one.
    fn learn_biases(&mut self, model: &Model) {
        let (Some(factor), Some(readout)) = (&self.factor, &model.readout) else { return };
        let entries = model.memory.entries();
        let of = |class: usize| -> Vec<usize> {
            (0..entries.len()).filter(|&e| entries[e].label as usize == class).take(60).collect()
        };
        let classes: Vec<usize> = (0..model.classes).filter(|&c| model.counts[c] >= 100 && of(c).len() >= 40).collect();
        if classes.len() < 3 {
            return;
        }
        let codes: Vec<Vec<f32>> = (0..entries.len()).map(|e| model.memory.code(e)).collect();
        let outputs = readout.bias.len();
        let logits: Vec<Vec<f32>> = codes.iter().map(|code| readout.forward(code)).collect();
        let pretended = classes.len().min(5);
        let step = classes.len() / pretended;
        self.biases.clear();
        for few in [1usize, 2, 5, 10, 20, 40] {
            let mut sum = 0.0;
            for &class in classes.iter().step_by(step).take(pretended) {
                let members = of(class);
                let mut mean = vec![0.0f64; readout.width];
                for &e in &members[members.len() - few.min(members.len())..] {
                    mean.iter_mut().zip(&codes[e]).for_each(|(m, c)| *m += f64::from(*c) / few as f64);
                }
                let (weights, bias) = discriminant_of(&mean, factor, &self.centre);
                let mut lost: Vec<f32> = classes
                    .iter()
                    .filter(|&&c| c != class)
                    .flat_map(|&c| of(c))
                    .map(|e| {
                        let new: f32 = weights.iter().zip(&codes[e]).map(|(w, c)| w * c).sum::<f32>() + bias;
                        let others = (0..outputs).filter(|&o| o != class).map(|o| logits[e][o]);
                        new - others.fold(f32::NEG_INFINITY, f32::max)
                    })
                    .collect();
                lost.sort_by(|a, b| b.total_cmp(a));
                sum -= lost[lost.len() / 200];
            }
            self.biases.push((few as f32, sum / pretended as f32));
        }
    }
}

/// The readout of few labels; none where they are not few, or the memory holds too little of their rows.
fn few(sums: &Sums, pool: &Pool, model: &Model, threads: usize) -> Option<Readout> {
    let entries = model.memory.entries();
    if !few_labels::are_few(sums) || (entries.len() as f64) < sums.rows() / 2.0 {
        return None;
    }
    let rows: Vec<f32> = (0..entries.len()).flat_map(|e| model.memory.code(e)).collect();
    let labels: Vec<u32> = entries.iter().map(|entry| entry.label).collect();
    few_labels::read(rows, &labels, model.classes, pool, sums, threads)
}

/// Piecewise linear in the logarithm of rows; nothing from 200 rows on.
fn bias_of(biases: &[(f32, f32)], rows: f32) -> f32 {
    let (Some(first), Some(last)) = (biases.first(), biases.last()) else { return 0.0 };
    if rows >= 200.0 {
        return 0.0;
    }
    if rows <= first.0 {
        return first.1;
    }
    let between = |a: (f32, f32), b: (f32, f32)| {
        let t = (rows / a.0).ln() / (b.0 / a.0).ln();
        a.1 + t * (b.1 - a.1)
    };
    match biases.windows(2).find(|pair| rows <= pair[1].0) {
        Some(pair) => between(pair[0], pair[1]),
        None => between(*last, (200.0, 0.0)),
    }
}

fn discriminant_of(mean: &[f64], factor: &Factor, centre: &[f64]) -> (Vec<f32>, f32) {
    let shifted: Vec<f64> = mean.iter().zip(centre).map(|(m, c)| m - c).collect();
    let mut weights = shifted.clone();
    factor.solve(&mut weights);
    let half: f64 = weights.iter().zip(&shifted).map(|(w, m)| w * m).sum::<f64>() * 0.5;
    let offset: f64 = weights.iter().zip(centre).map(|(w, c)| w * c).sum();
    (weights.into_iter().map(|w| w as f32).collect(), (-half - offset) as f32)
}

fn grow(readout: &mut Readout, outputs: usize) {
    if readout.bias.len() < outputs {
        readout.bias.resize(outputs, -1e9);
        readout.weights.resize(outputs * readout.width, 0.0);
    }
}

trait Discriminant {
    fn discriminant(&self, factor: &Factor, centre: &[f64], class: usize) -> (Vec<f32>, f32);
}

impl Discriminant for Sums {
    fn discriminant(&self, factor: &Factor, centre: &[f64], class: usize) -> (Vec<f32>, f32) {
        discriminant_of(&self.mean(class), factor, centre)
    }
}
