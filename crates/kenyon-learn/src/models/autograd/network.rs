//! The weights of one network on a device, and its steps.

use super::{AutogradLearner, Rule, TrainedWeight};
use crate::data::Batch;
use crate::models::candle::{TokenBatch, TokenModule, TrainingPass};
use crate::nn::kernels::AdamStep;
use crate::nn::layers::descent::{Reached, TensorMoments, WeightPart, adam_step, gradient_step, put_rows};
use candle_core::{DType, Device, Result, Tensor, Var, bail};
use candle_nn::VarBuilder;

/// Tables of which a mini-batch has less than one row in this many are trained by the rows it has.
const SPARSE: usize = 4;

/// A weight on the device.
struct DeviceWeight {
    /// Its name and what it is; the tensors in it are those of the beginning.
    like: TrainedWeight,
    value: Var,
    moments: Option<TensorMoments>,
}

/// A network on a device.
pub(super) struct DeviceNetwork {
    device: Device,
    weights: Vec<DeviceWeight>,
    /// The candle form over all weights, made when it is needed.
    form: Option<Box<dyn TokenModule>>,
}

/// Some rows with the derivatives of their loss.
pub(super) struct Learned<'a> {
    pub(super) batch: &'a Batch,
    pub(super) slopes: &'a dyn Fn(&mut [f32]) -> f32,
    pub(super) rule: &'a dyn Fn(f64) -> Rule,
    pub(super) clips: bool,
    pub(super) reached: &'a dyn Fn(&TrainedWeight, &TrainingPass) -> Reached,
}

impl DeviceNetwork {
    pub(super) fn new(weights: Vec<TrainedWeight>, device: &Device) -> Result<Self> {
        let there = |like: TrainedWeight| {
            let copy = |tensor: &Tensor| tensor.to_device(device)?.copy();
            Ok(DeviceWeight {
                value: Var::from_tensor(&like.value.to_device(device)?)?,
                moments: like
                    .moments
                    .as_ref()
                    .map(|[m, v]| Ok::<_, candle_core::Error>([copy(m)?, copy(v)?]))
                    .transpose()?,
                like,
            })
        };
        let weights = weights.into_iter().map(there).collect::<Result<_>>()?;
        Ok(Self { device: device.clone(), weights, form: None })
    }

    /// The weights as they are now, on the CPU.
    pub(super) fn weights(&self) -> Result<Vec<TrainedWeight>> {
        let here = |tensor: &Tensor| tensor.detach().to_device(&Device::Cpu);
        let weight = |weight: &DeviceWeight| {
            let moments = weight.moments.as_ref().map(|[m, v]| Ok::<_, candle_core::Error>([here(m)?, here(v)?]));
            Ok(TrainedWeight { value: here(&weight.value)?, moments: moments.transpose()?, ..weight.like.clone() })
        };
        self.weights.iter().map(weight).collect()
    }

    /// See `DeviceLearner::recorded`.
    #[cfg(test)]
    pub(super) fn recorded(&self) -> Vec<String> {
        let is_recorded = |weight: &&DeviceWeight| weight.moments.iter().flatten().any(Tensor::track_op);
        self.weights.iter().filter(is_recorded).map(|weight| weight.like.name.clone()).collect()
    }

    /// Forgets the candle form: its configuration has changed.
    pub(super) fn reform(&mut self) {
        self.form = None;
    }

    fn form(&mut self, learner: &dyn AutogradLearner) -> crate::Result<&dyn TokenModule> {
        if self.form.is_none() {
            let tensors = self.weights.iter().map(|w| (w.like.name.clone(), w.value.as_tensor().clone())).collect();
            let weights = VarBuilder::from_tensors(tensors, DType::F32, &self.device);
            self.form = Some(learner.form(None)?.build(weights)?);
        }
        Ok(&**self.form.as_ref().ok_or_else(|| crate::Error::internal("no candle form"))?)
    }

    /// The outputs for rows of [`AutogradLearner::rows`].
    pub(super) fn outputs(&mut self, learner: &dyn AutogradLearner, rows: &Batch) -> crate::Result<Vec<f32>> {
        let tokens = TokenBatch::new(rows, &self.device);
        Ok(self.form(learner)?.forward_tokens(&tokens, false)?.detach().flatten_all()?.to_vec1()?)
    }

    /// One step; returns the loss before it.
    pub(super) fn step(
        &mut self,
        learner: &dyn AutogradLearner,
        learned: &Learned<'_>,
        pass: &mut TrainingPass,
    ) -> crate::Result<f32> {
        let tables = self.weights.iter().filter(|weight| weight.like.is_table);
        let table_rows = tables.map(|weight| weight.like.value.dims()[0]).max().unwrap_or(0);
        // A compact batch does not name all features that it has.
        let features = if learned.batch.bins.is_some() { Vec::new() } else { touched(learned.batch) };
        if features.is_empty() || features.len() * SPARSE > table_rows {
            let tokens = TokenBatch::new(learned.batch, &self.device);
            let outputs = self.form(learner)?.forward_training(&tokens, pass)?;
            let all: Vec<_> = self.weights.iter().map(DeviceWeight::whole).collect();
            return Ok(descend(&outputs, &all, learned, pass)?);
        }
        // The rows of the tables that the mini-batch has, as weights of their own; afterwards they are put back.
        let mut rows = learned.batch.clone();
        for index in &mut rows.indices {
            *index = features.binary_search(index).map_or(0, |at| at as u32);
        }
        let count = features.len();
        let of_tables = Tensor::from_slice(&features, count, &self.device)?;
        let parts = self.weights.iter().map(|weight| weight.part(&of_tables)).collect::<Result<Vec<_>>>()?;
        let tensors = parts.iter().map(|part| (part.like.name.clone(), part.value.as_tensor().clone())).collect();
        let weights = VarBuilder::from_tensors(tensors, DType::F32, &self.device);
        let form = learner.form(Some(count))?.build(weights)?;
        let outputs = form.forward_training(&TokenBatch::new(&rows, &self.device), pass)?;
        let loss = descend(&outputs, &parts, learned, pass)?;
        for (weight, part) in self.weights.iter().zip(&parts).filter(|(weight, _)| weight.like.is_table) {
            weight.put_back(part, &features)?;
        }
        Ok(loss)
    }
}

/// A weight, or some rows of it, in a step.
struct WeightSlice<'a> {
    like: &'a TrainedWeight,
    value: Var,
    moments: Option<TensorMoments>,
    /// Whether it holds rows of a table, all of which the mini-batch has.
    is_partial: bool,
}

impl DeviceWeight {
    fn whole(&self) -> WeightSlice<'_> {
        WeightSlice { like: &self.like, value: self.value.clone(), moments: self.moments.clone(), is_partial: false }
    }

    /// The rows `features` of a table; all of any other weight.
    fn part(&self, features: &Tensor) -> Result<WeightSlice<'_>> {
        if !self.like.is_table {
            return Ok(self.whole());
        }
        let rows = |tensor: &Tensor| tensor.detach().index_select(features, 0);
        let moments = self.moments.as_ref().map(|[m, v]| Ok::<_, candle_core::Error>([rows(m)?, rows(v)?]));
        let value = Var::from_tensor(&rows(&self.value)?)?;
        Ok(WeightSlice { value, moments: moments.transpose()?, is_partial: true, ..self.whole() })
    }

    fn put_back(&self, part: &WeightSlice<'_>, features: &[u32]) -> Result<()> {
        put_rows(&self.value, &part.value, features)?;
        for (whole, rows) in self.moments.iter().flatten().zip(part.moments.iter().flatten()) {
            put_rows(whole, rows, features)?;
        }
        Ok(())
    }
}

/// The features that some row of `batch` has, ascending.
fn touched(batch: &Batch) -> Vec<u32> {
    let mut features = batch.indices.clone();
    features.sort_unstable();
    features.dedup();
    features
}

/// Moves `weights` by the loss of `outputs`; returns it. The derivatives by the outputs are the family's own, so that the
/// loss is the same as that of its kernels.
fn descend(outputs: &Tensor, weights: &[WeightSlice<'_>], learned: &Learned<'_>, pass: &TrainingPass) -> Result<f32> {
    let mut slopes = outputs.detach().flatten_all()?.to_vec1::<f32>()?;
    let loss = (learned.slopes)(&mut slopes);
    let slopes = Tensor::from_vec(slopes, outputs.shape(), outputs.device())?;
    let store = (outputs * slopes)?.sum_all()?.backward()?;
    let (mut gradients, mut squares) = (Vec::with_capacity(weights.len()), Vec::new());
    for part in weights {
        // A weight that no gradient reaches would silently never learn.
        let Some(gradient) = store.get(&part.value) else { bail!("`{}` has no gradient", part.like.name) };
        if learned.clips {
            squares.push(gradient.sqr()?.sum_all()?);
        }
        gradients.push(gradient);
    }
    let squares = if squares.is_empty() {
        0.0
    } else {
        Tensor::stack(&squares, 0)?.to_vec1::<f32>()?.iter().map(|&sum| f64::from(sum)).sum()
    };
    let rule = (learned.rule)(squares);
    for (part, gradient) in weights.iter().zip(gradients) {
        match (rule, &part.moments) {
            (Rule::Adam(step), Some(moments)) => {
                let decay = if part.like.decays { step.decay } else { 0.0 };
                let reached = match (learned.reached)(part.like, pass) {
                    Reached::Part(reached) if part.is_partial => Reached::Part(WeightPart { rows: None, ..reached }),
                    reached => reached,
                };
                adam_step(&part.value, moments, gradient, AdamStep { decay, ..step }, &reached)?;
            }
            (Rule::Plain(rate), _) => gradient_step(&part.value, gradient, rate)?,
            (Rule::Adam(_), None) => bail!("`{}` has no moments", part.like.name),
        }
    }
    Ok(loss)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn a_weight_that_no_gradient_reaches_is_an_error() {
        let like = |name: &str| TrainedWeight {
            name: name.to_owned(),
            value: Tensor::ones((2, 3), DType::F32, &Device::Cpu).unwrap(),
            moments: None,
            decays: false,
            lazy: false,
            is_table: false,
            reach: None,
        };
        let (used, unused) = (like("used"), like("unused"));
        let part = |like| WeightSlice {
            like,
            value: Var::from_tensor(&like.value).unwrap(),
            moments: None,
            is_partial: false,
        };
        let (used, unused) = (part(&used), part(&unused));
        let outputs = used.value.sqr().unwrap();
        let learned = Learned {
            batch: &Batch::new(),
            slopes: &|slopes| slopes.iter().sum(),
            rule: &|_| Rule::Plain(0.5),
            clips: true,
            reached: &|_, _| Reached::All,
        };
        let pass = TrainingPass::new(0.0, Random::new(1));
        let refused = descend(&outputs, &[unused], &learned, &pass).unwrap_err();
        assert!(refused.to_string().contains("`unused` has no gradient"), "{refused}");
        // 1 - 0.5 * the derivative of w² · w², its square as slope.
        assert_eq!(descend(&outputs, std::slice::from_ref(&used), &learned, &pass).unwrap(), 6.0);
        assert_eq!(used.value.flatten_all().unwrap().to_vec1::<f32>().unwrap(), [0.0; 6]);
    }
}
