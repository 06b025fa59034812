//! Comparing representations with each other and with neural recordings: reads the systems, compares them, and writes
//! what was found to the job's output.
//!
//! Segment 0 of the output has the findings, each other one a matrix. The result depends on the inputs, which are
//! fixed when the job first starts, and the seed: another attempt computes the same from the start.

mod answer;
mod request;
mod systems;

pub use answer::{Findings, ListedRdm};
pub use request::CompareRequest;

use super::memory;
use super::runner::{Outcome, Work};
use crate::{Error, Kind, Result};
use answer::{BootstrapDone, EncodingFit, Similarity};
use kenyon_learn::data::formats::Limits;
use kenyon_learn::learning::compare::{
    Assessment, Bootstrap, Over, Rdm, align, assess, encode, fit_weights, pairs, similarities,
};
use kenyon_learn::learning::{Monitor, Progress};
use request::Drawn;
use serde_json::{Map, json};
use systems::{Loaded, Reader};

/// Numbers of all matrices that are stored with a comparison; means over subjects come first.
const MAX_LISTED: usize = 16_000_000;
/// Share of the progress that reading takes.
const READING: f64 = 0.2;
/// Bytes of a pair of stimuli in one matrix: its value, its copy in the comparison, its place in the order.
const PAIR: u64 = 16;

/// Does the job.
pub(super) fn run(work: &Work, monitor: &dyn Monitor, limits: Limits, memory: u64) -> Result<Outcome> {
    let request: CompareRequest = serde_json::from_value(work.job.spec.clone()).map_err(Error::internal)?;
    let mut run = Run { work, request: &request, monitor, stages: 1 };
    let mut loaded = run.read(limits, memory)?;
    let encoding = run.encode(&mut loaded)?;
    let (matrices, mut findings) = run.align(loaded)?;
    findings.encoding = encoding;
    let bytes = matrices.iter().map(|system| (system.subjects.len() + 1) as u64).sum::<u64>();
    memory::check(bytes * pairs(findings.conditions.len()) as u64 * PAIR, memory)?;
    match matrices.iter().position(|system| Some(&system.name) == request.reference.as_ref()) {
        Some(reference) => run.explain(&matrices, reference, &mut findings)?,
        None => run.all_pairs(&matrices, &mut findings)?,
    }
    let segments = run.write(&matrices, findings.clone())?;
    let mut metrics: Map<String, _> =
        findings.similarity.iter().filter(|s| s.standard_error.is_some()).map(metric).collect();
    if let Some(ceiling) = findings.noise_ceiling {
        metrics.insert("noise_ceiling_lower".into(), json!(ceiling.lower));
        metrics.insert("noise_ceiling_upper".into(), json!(ceiling.upper));
    }
    let result = json!({ "segments": segments, "conditions": findings.conditions.len() });
    Ok(Outcome::Result { metrics: metrics.into(), result })
}

fn metric(similarity: &Similarity) -> (String, serde_json::Value) {
    (format!("{} / {}", similarity.a, similarity.b), json!(similarity.value))
}

/// A system's matrices over the shared conditions.
struct SystemRdms {
    name: String,
    /// One for each subject; a single one without a name.
    subjects: Vec<(Option<String>, Vec<f32>)>,
}

impl SystemRdms {
    /// Mean over the subjects.
    fn mean(&self) -> Vec<f32> {
        let [(_, first), others @ ..] = &self.subjects[..] else { return Vec::new() };
        if others.is_empty() {
            return first.clone();
        }
        let mut sums: Vec<f64> = first.iter().map(|&v| f64::from(v)).collect();
        for (_, values) in others {
            sums.iter_mut().zip(values).for_each(|(sum, &v)| *sum += f64::from(v));
        }
        sums.into_iter().map(|sum| (sum / self.subjects.len() as f64) as f32).collect()
    }
}

struct Run<'a> {
    work: &'a Work,
    request: &'a CompareRequest,
    monitor: &'a dyn Monitor,
    /// Bootstraps that share the rest of the progress.
    stages: usize,
}

impl Run<'_> {
    fn canceled(&self) -> Result<()> {
        if self.monitor.canceled() {
            return Err(Error::new(Kind::Canceled, "canceled", "the job was canceled"));
        }
        Ok(())
    }

    fn report(&self, fraction: f64) {
        self.monitor.progress(&Progress { epochs: 1, fraction, ..Progress::default() }, false);
    }

    fn read(&self, limits: Limits, memory: u64) -> Result<Vec<Loaded>> {
        let canceled = || self.canceled();
        let reader = Reader { work: self.work, request: self.request, limits, memory, canceled: &canceled };
        let systems = &self.request.systems;
        let mut loaded = Vec::with_capacity(systems.len());
        for (at, system) in systems.iter().enumerate() {
            loaded.push(reader.load(system)?);
            self.report(READING * (at + 1) as f64 / systems.len() as f64);
        }
        Ok(loaded)
    }

    /// How much of the reference's responses each system with responses predicts.
    fn encode(&self, loaded: &mut [Loaded]) -> Result<Vec<EncodingFit>> {
        let named: Vec<(String, Vec<_>)> =
            loaded.iter_mut().map(|system| (system.about.name.clone(), std::mem::take(&mut system.means))).collect();
        let target = named.iter().find(|(name, _)| Some(name) == self.request.reference.as_ref());
        let Some((reference, recorded)) = target.filter(|_| self.request.encoding) else { return Ok(Vec::new()) };
        let mut fits = Vec::new();
        for (name, own) in named.iter().filter(|(name, own)| name != reference && !own.is_empty()) {
            let mut found = Vec::with_capacity(recorded.len());
            for (subject, responses) in recorded {
                self.canceled()?;
                // A system with the same subjects predicts each from its own.
                let same = own.iter().find(|(other, _)| other == subject).unwrap_or(&own[0]);
                found.push(encode(&same.1, responses, self.request.bootstrap.seed)?);
            }
            fits.push(EncodingFit::new(name, &found));
        }
        Ok(fits)
    }

    /// The matrices over the conditions that all systems have.
    fn align(&self, loaded: Vec<Loaded>) -> Result<(Vec<SystemRdms>, Findings)> {
        let (mut names, mut rdms, mut systems) = (Vec::new(), Vec::new(), Vec::new());
        let mut matrices = Vec::new();
        for Loaded { about, rdms: own, .. } in loaded {
            let mut subjects = Vec::with_capacity(own.len());
            for (subject, rdm) in own {
                names.push(subject.as_ref().map_or(about.name.clone(), |s| format!("{}, subject {s}", about.name)));
                rdms.push(rdm);
                subjects.push((subject, Vec::new()));
            }
            matrices.push(SystemRdms { name: about.name.clone(), subjects });
            systems.push(about);
        }
        let aligned = align(names.iter().map(String::as_str).zip(rdms).collect())?;
        let slots = matrices.iter_mut().flat_map(|system| &mut system.subjects);
        slots.zip(aligned.values).for_each(|((_, slot), values)| *slot = values);
        let findings = Findings {
            systems,
            conditions: aligned.conditions,
            dropped: aligned.dropped.into_iter().map(Into::into).collect(),
            ..Findings::default()
        };
        Ok((matrices, findings))
    }

    /// How well the other systems explain the reference, and how similar they are to each other.
    fn explain(&mut self, all: &[SystemRdms], reference: usize, findings: &mut Findings) -> Result<()> {
        let target = &all[reference];
        let others: Vec<&SystemRdms> =
            all.iter().enumerate().filter(|(at, _)| *at != reference).map(|(_, system)| system).collect();
        let subjects: Vec<(String, Vec<f32>)> = target
            .subjects
            .iter()
            .map(|(subject, values)| {
                (format!("{}, {}", target.name, subject.as_deref().unwrap_or("all")), values.clone())
            })
            .collect();
        let conditions = findings.conditions.clone();
        let systems = |wanted: &dyn Fn(&str) -> bool| {
            let chosen = others.iter().filter(|system| wanted(&system.name));
            named(chosen.map(|system| (system.name.clone(), system.mean())), &conditions)
        };
        let found = self.assess(systems(&|_| true)?, named(subjects.clone().into_iter(), &conditions)?, 0)?;
        findings.add(&found, &target.name);
        findings.bootstrap = Some(self.drawn(&found, subjects.len()));
        findings.add_pairs(found);
        if others.len() > 1 {
            let values = similarities(systems(&|_| true)?, self.request.compare)?;
            for (a, first) in others.iter().enumerate() {
                for (b, second) in others.iter().enumerate().skip(a + 1) {
                    let value = values[a * others.len() + b];
                    findings.similarity.push(Similarity::plain(&first.name, &second.name, value));
                }
            }
        }
        if let Some(wanted) = &self.request.weighting {
            let layers = systems(&|name| wanted.iter().any(|w| w == name))?;
            let subjects = named(subjects.into_iter(), &conditions)?;
            let seed = self.request.bootstrap.seed;
            findings.weighting = Some(fit_weights(layers, subjects, self.request.compare, seed)?.into());
        }
        Ok(())
    }

    /// How similar every two systems are, with intervals over stimuli.
    fn all_pairs(&mut self, all: &[SystemRdms], findings: &mut Findings) -> Result<()> {
        self.stages = all.len() - 1;
        let conditions = findings.conditions.clone();
        let one = |system: &SystemRdms| (system.name.clone(), system.mean());
        for at in 1..all.len() {
            let systems = named(all[..at].iter().map(one), &conditions)?;
            let found = self.assess(systems, named(std::iter::once(one(&all[at])), &conditions)?, at - 1)?;
            findings.bootstrap = Some(self.drawn(&found, 1));
            findings.add(&found, &all[at].name);
        }
        Ok(())
    }

    fn assess(&self, systems: Vec<(String, Rdm)>, subjects: Vec<(String, Rdm)>, stage: usize) -> Result<Assessment> {
        let mut bootstrap: Bootstrap = self.request.bootstrap.settings(self.work.threads);
        if subjects.len() < 2 {
            bootstrap.over = Over::Stimuli;
        }
        let progress = |done: usize, of: usize| {
            let share = (stage as f64 + done as f64 / of.max(1) as f64) / self.stages as f64;
            self.report(READING + (1.0 - READING) * share);
            !self.monitor.canceled()
        };
        Ok(assess(systems, subjects, self.request.compare, bootstrap, &progress)?)
    }

    fn drawn(&self, found: &Assessment, subjects: usize) -> BootstrapDone {
        let wanted = &self.request.bootstrap;
        let mut over: Vec<Drawn> = if subjects < 2 { vec![Drawn::Stimuli] } else { wanted.over.clone() };
        over.dedup();
        BootstrapDone { samples: found.samples, over, seed: wanted.seed, degrees_of_freedom: found.degrees_of_freedom }
    }

    /// Writes the output; the number of its segments.
    fn write(&self, all: &[SystemRdms], mut findings: Findings) -> Result<u64> {
        let means = all.iter().map(|system| (&system.name, None, system));
        let several = all.iter().filter(|system| system.subjects.len() > 1);
        let single =
            several.flat_map(|system| (0..system.subjects.len()).map(move |at| (&system.name, Some(at), system)));
        let most = MAX_LISTED / pairs(findings.conditions.len()).max(1);
        let mut segments = 1;
        for (system, subject, rdms) in means.chain(single) {
            self.canceled()?;
            if segments > most {
                findings.rdms_left_out += 1;
                continue;
            }
            let (subject, values) = match subject {
                None => (None, rdms.mean()),
                Some(at) => rdms.subjects[at].clone(),
            };
            let listed = ListedRdm { system: system.clone(), subject, values };
            self.put(segments as u64, &listed)?;
            segments += 1;
        }
        self.put(0, &findings)?;
        Ok(segments as u64)
    }

    fn put(&self, segment: u64, value: &impl serde::Serialize) -> Result<()> {
        let bytes = serde_json::to_vec(value).map_err(Error::internal)?;
        self.work.wait(self.work.store.put_output(self.work.job.id, segment, bytes))
    }
}

fn named(systems: impl Iterator<Item = (String, Vec<f32>)>, conditions: &[String]) -> Result<Vec<(String, Rdm)>> {
    systems.map(|(name, values)| Ok((name, Rdm::new(conditions.to_vec(), values)?))).collect()
}
