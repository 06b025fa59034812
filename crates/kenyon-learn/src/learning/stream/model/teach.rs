//! How a row changes what answers: every part learns from the row that was just answered.

use super::{Expert, Forest, Model, Row, Scratch, columns_of, see};
use crate::learning::stream::experts::log_loss;

impl Model {
    /// Takes a row's inputs into the running statistics; label or not.
    pub fn look(&mut self, row: Row<'_>) {
        if let Some(inputs) = &mut self.inputs {
            inputs.observe(row.indices, row.values);
        }
    }

    /// Learns the class of the row last answered.
    pub fn learn_class(
        &mut self,
        row: Row<'_>,
        class: usize,
        text: impl FnOnce() -> Option<Box<str>>,
        scratch: &mut Scratch,
    ) {
        let (mut at, parts) = (usize::from(self.base), &scratch.parts);
        self.hedge.charge(parts.iter().map(|p| log_loss(p.get(class).copied().unwrap_or(0.0))));
        for (sees, expert) in &mut self.experts {
            expert.learn(see(*sees, &scratch.view), class, &parts[at]);
            at += 1;
        }
        for expert in &mut self.sparse {
            expert.learn_sparse(row.indices, row.values, class, &parts[at]);
            at += 1;
        }
        if let Some(forest) = &mut self.forest {
            forest.learn(columns_of(&scratch.view), class, &parts[at], scratch.weights[at]);
            at += 1;
        }
        if self.readout.is_some() && class < scratch.logits.len() && self.counts[class] > 5 {
            // One step of temperature: dL/d ln T = (z_truth − E z) / T.
            let cool = (-self.log_temperature).exp();
            let expected: f32 =
                scratch.logits.iter().zip(&parts[at]).map(|(z, p)| if *p > 0.0 { z * p } else { 0.0 }).sum();
            let slope = (scratch.logits[class] - expected) * cool;
            self.log_temperature = (self.log_temperature - 0.01 * slope.clamp(-1.0, 1.0)).clamp(-3.0, 8.0);
        }
        self.counts[class] += 1;
        if let Some((_, nearest)) = self.memory.nearest(&scratch.similarities, 1).first().copied()
            && self.memory.entries()[nearest].label == class as u32
        {
            self.memory.record_hit(nearest);
        }
        self.memory.write(&scratch.key, &scratch.similarities, class as u32, 0.0, text);
        if let Some(inputs) = &mut self.inputs {
            inputs.pass(&scratch.view);
            inputs.label(class as u32);
        }
    }

    /// Learns the value of the row last answered.
    pub fn learn_value(&mut self, value: f32, text: impl FnOnce() -> Option<Box<str>>, scratch: &mut Scratch) {
        // The experts learn the difference from the first value, so this comes after them.
        self.teach_value(value, scratch);
        if self.counts[0] == 0 {
            self.mean = value;
        }
        self.memory.write(&scratch.key, &scratch.similarities, 0, value, text);
        self.counts[0] += 1;
    }

    /// Only the inputs of the row last answered are known.
    pub fn learn_inputs(&mut self, scratch: &Scratch) {
        if let Some(inputs) = &mut self.inputs {
            inputs.pass(&scratch.view);
        }
    }

    /// Learns a remembered row once more: experts alone, nothing that counts rows or keeps time.
    pub fn rehearse(&mut self, row: Row<'_>, label: f32, scratch: &mut Scratch) {
        let mut at = usize::from(self.base);
        if self.regression {
            return;
        }
        for (sees, expert) in &mut self.experts {
            expert.learn(see(*sees, &scratch.view), label as usize, &scratch.parts[at]);
            at += 1;
        }
        for expert in &mut self.sparse {
            expert.learn_sparse(row.indices, row.values, label as usize, &scratch.parts[at]);
            at += 1;
        }
    }

    /// Experts that know nothing, heard as at first.
    pub fn restart_experts(&mut self) {
        self.experts.iter_mut().for_each(|(_, e)| e.restart());
        self.squares.iter_mut().for_each(|(_, s)| s.restart());
        self.sparse.iter_mut().for_each(Expert::restart);
        self.forest.iter_mut().for_each(Forest::restart);
        self.hedge.restart(self.base);
    }

    /// Teaches experts rows of the past in their order, with the past as it then was. Afterwards the
    /// recent past is that of these rows; counts, scales and memory stay. What counts rows learns those that are
    /// taught for the `first` time.
    pub fn teach_experts<'a>(
        &mut self,
        rows: impl Iterator<Item = (Row<'a>, f32)>,
        first: bool,
        scratch: &mut Scratch,
    ) {
        if let Some(inputs) = &mut self.inputs {
            inputs.rewind();
        }
        for (row, label) in rows {
            self.answer(row, scratch);
            if self.regression {
                self.teach_value(label, scratch);
            } else {
                self.teach_class(row, label as usize, first, scratch);
            }
        }
    }

    fn teach_class(&mut self, row: Row<'_>, class: usize, first: bool, scratch: &mut Scratch) {
        self.hedge.charge(scratch.parts.iter().map(|p| log_loss(p.get(class).copied().unwrap_or(0.0))));
        self.rehearse(row, class as f32, scratch);
        let at = usize::from(self.base) + self.experts.len() + self.sparse.len();
        if let Some(forest) = self.forest.as_mut().filter(|_| first) {
            forest.learn(columns_of(&scratch.view), class, &scratch.parts[at], scratch.weights[at]);
        }
        if let Some(inputs) = &mut self.inputs {
            inputs.pass(&scratch.view);
            inputs.label(class as u32);
        }
    }

    fn teach_value(&mut self, value: f32, scratch: &mut Scratch) {
        let parts = &scratch.parts;
        let error = |p: &Vec<f32>| (p[0] - value).powi(2);
        let scale = parts.iter().map(error).fold(f32::INFINITY, f32::min).max(1e-6) + 0.1 * (value - self.mean).powi(2);
        self.hedge.charge(parts.iter().map(|p| (error(p) / scale).min(10.0)));
        let mean = self.mean;
        for (sees, squares) in &mut self.squares {
            squares.learn(see(*sees, &scratch.view), value - mean);
        }
        if let Some(inputs) = &mut self.inputs {
            inputs.pass(&scratch.view);
        }
    }

    /// After a change: experts that follow change take large steps again, trees start anew, and all are heard.
    pub fn wake(&mut self) {
        self.forest.iter_mut().for_each(Forest::restart);
        self.experts.iter_mut().for_each(|(_, e)| e.wake());
        self.sparse.iter_mut().for_each(Expert::wake);
        self.hedge.level();
    }
}
