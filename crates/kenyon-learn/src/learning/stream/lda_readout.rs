//! The lda_readout part of a stream: the code rows are read by, and the streaming discriminant over it.

use super::few_shot::{self, Parts};
use super::model::Model;
use crate::data::Batch;
use crate::data::encoder::Encoder;
use crate::models::hybrid;
use crate::nn::layers::local_groups::LocalGroups;
use crate::nn::linalg::cholesky::Factor;
use crate::nn::readouts::Readout;
use crate::nn::readouts::discriminant::Sums;
use crate::nn::readouts::few_shot::ResidualVariances;
use crate::nn::readouts::label_propagation::UnlabelledPool;
use crate::nn::readouts::semi_supervised;
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
pub(super) struct LdaReadout {
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
    /// How far classes and rows lie outside of what known classes differ by; one entry, or none.
    spread: Vec<ResidualVariances>,
    /// Rows that labels spread to while these are few. In a snapshot it comes after everything else.
    #[serde(skip)]
    pub(super) pool: UnlabelledPool,
}

impl LdaReadout {
    pub(super) fn new(on: bool) -> Self {
        Self {
            on,
            sums: None,
            factor: None,
            centre: Vec::new(),
            next: 32,
            seen: 0,
            faded: false,
            spread: Vec::new(),
            pool: UnlabelledPool::default(),
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
            model.class_bias.iter_mut().for_each(|class_bias| *class_bias = 0.0);
            return;
        }
        sums.grow(model.classes);
        let Ok(factor) = sums.factor(shrink, (0, 1.0), threads) else { return };
        self.centre = sums.centre();
        model.readout = Some(sums.read(&factor, 0.0));
        self.factor = Some(factor);
        self.spread = self.parts(model).and_then(|parts| parts.variances()).into_iter().collect();
        model.class_bias.iter_mut().for_each(|class_bias| *class_bias = 0.0);
        if !self.spread.is_empty() {
            let few: Vec<usize> =
                (0..model.classes).filter(|&c| (1..few_shot::MANY).contains(&model.counts[c])).collect();
            few.into_iter().for_each(|class| self.read_anew(class, model));
        }
    }

    /// Keeps a class of few rows up to date between solutions.
    fn refresh(&mut self, class: usize, model: &mut Model) {
        let rows = model.counts.get(class).copied().unwrap_or(0);
        let due = rows <= 8 || (rows <= few_shot::MANY && rows.is_multiple_of(rows / 6));
        if due && self.factor.is_some() {
            self.read_anew(class, model);
        }
    }

    /// Answers class `class` by the rows there are of it now, with the bias due to that few.
    fn read_anew(&self, class: usize, model: &mut Model) {
        let Some(parts) = self.parts(model) else { return };
        // Snapshots from before there was a spread have something of another length in its place.
        let spread = if let [spread] = self.spread[..] { Some(spread) } else { None };
        let (weights, bias) = parts.discriminant(class, spread);
        let class_bias = spread.map_or(0.0, |spread| parts.class_bias(class, (&weights, bias), spread));
        let Some(readout) = &mut model.readout else { return };
        grow(readout, class + 1);
        readout.bias[class] = bias;
        readout.weights[class * readout.width..(class + 1) * readout.width].copy_from_slice(&weights);
        if let Some(slot) = model.class_bias.get_mut(class) {
            *slot = class_bias;
        }
    }

    fn parts<'a>(&'a self, model: &'a Model) -> Option<Parts<'a>> {
        let (Some(factor), Some(sums)) = (&self.factor, &self.sums) else { return None };
        Parts::new(factor, sums, &self.centre, model)
    }
}

/// The readout of few labels; none where they are not few, or the memory holds too little of their rows.
fn few(sums: &Sums, pool: &UnlabelledPool, model: &Model, threads: usize) -> Option<Readout> {
    let entries = model.memory.entries();
    if !semi_supervised::are_few(sums) || (entries.len() as f64) < sums.rows() / 2.0 {
        return None;
    }
    let rows: Vec<f32> = (0..entries.len()).flat_map(|e| model.memory.code(e)).collect();
    let labels: Vec<u32> = entries.iter().map(|entry| entry.label).collect();
    semi_supervised::read(rows, &labels, model.classes, pool, sums, threads)
}

/// Makes room for outputs up to `outputs`.
fn grow(readout: &mut Readout, outputs: usize) {
    if readout.bias.len() < outputs {
        readout.bias.resize(outputs, -1e9);
        readout.weights.resize(outputs * readout.width, 0.0);
    }
}
