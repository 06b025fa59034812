//! A trained network whose answers candle computes on a device. Everything else, such as explanations and activity, is that of
//! the kernels.

use super::candle::{TokenBatch, TokenConfig, TokenModule};
use super::{Activity, Explanation, Family, Network, Recalled};
use crate::Result;
use crate::data::Batch;
use crate::data::encoder::Encoder;
use crate::nn::Tensors;
use crate::onnx::{Graph, Node};
use candle_core::{DType, Device};
use candle_nn::VarBuilder;
use std::sync::{Arc, OnceLock};

/// Why a device ended to answer; empty while it does.
pub(crate) type DeviceFailure = Arc<OnceLock<String>>;

/// The candle form that `config` describes, with its weights on `device`; why it is not to answer there.
pub(crate) fn form_on(
    config: &dyn TokenConfig,
    weights: Tensors,
    device: &Device,
) -> Result<Box<dyn TokenModule>, String> {
    let weights = VarBuilder::from_tensors(weights.into_iter().collect(), DType::F32, device);
    let form = config.build(weights).map_err(|error| error.to_string())?;
    form.coded()?;
    Ok(form)
}

/// A network on a device. Where the device fails, the kernels answer instead from then on.
pub(crate) struct CandleNetwork {
    kernels: Box<dyn Network>,
    form: Box<dyn TokenModule>,
    device: Device,
    /// Whether an error is one of a device that the kernels can do without.
    falls_back: bool,
    failure: DeviceFailure,
}

impl CandleNetwork {
    /// The network `kernels` with its candle form, whose weights are on `device`.
    pub(crate) fn new(kernels: Box<dyn Network>, form: Box<dyn TokenModule>, device: Device) -> Self {
        let falls_back = !device.is_cpu();
        Self { kernels, form, device, falls_back, failure: DeviceFailure::default() }
    }

    /// See [`DeviceFailure`].
    pub(crate) fn failure(&self) -> DeviceFailure {
        Arc::clone(&self.failure)
    }

    /// As if the CPU were a device that can fail.
    #[cfg(test)]
    pub(crate) fn on_a_device(self) -> Self {
        Self { falls_back: true, ..self }
    }

    fn by_candle(&self, batch: &Batch) -> Result<(Vec<f32>, Vec<f32>)> {
        let form = self.form.coded().map_err(crate::Error::internal)?;
        let (answers, codes) = form.forward_coded(&TokenBatch::new(batch, &self.device))?;
        Ok((answers.flatten_all()?.to_vec1()?, codes.flatten_all()?.to_vec1()?))
    }

    fn answers(&self, batch: &Batch) -> Result<(Vec<f32>, Vec<f32>)> {
        if batch.rows() == 0 || self.failure.get().is_some() {
            return self.kernels.forward_with_features(batch);
        }
        match self.by_candle(batch) {
            Err(error) if self.falls_back => {
                let _ = self.failure.set(error.cause.map_or(error.detail, |cause| cause.to_string()));
                self.kernels.forward_with_features(batch)
            }
            answers => answers,
        }
    }
}

impl Network for CandleNetwork {
    fn family(&self) -> Family {
        self.kernels.family()
    }

    fn outputs(&self) -> usize {
        self.kernels.outputs()
    }

    fn forward(&self, batch: &Batch) -> Result<Vec<f32>> {
        Ok(self.answers(batch)?.0)
    }

    fn feature_width(&self) -> usize {
        self.kernels.feature_width()
    }

    fn features(&self, batch: &Batch) -> Result<Vec<f32>> {
        Ok(self.answers(batch)?.1)
    }

    fn forward_with_features(&self, batch: &Batch) -> Result<(Vec<f32>, Vec<f32>)> {
        self.answers(batch)
    }

    fn forward_members(&self, batch: &Batch, members: &[u8]) -> Result<Vec<f32>> {
        self.kernels.forward_members(batch, members)
    }

    fn explain(&self, batch: &Batch, row: usize, output: usize) -> Result<Explanation> {
        self.kernels.explain(batch, row, output)
    }

    fn nearest(&self, batch: &Batch, k: usize) -> Result<Option<Vec<Vec<Recalled>>>> {
        self.kernels.nearest(batch, k)
    }

    fn activity(&self, batch: &Batch) -> Result<Activity> {
        self.kernels.activity(batch)
    }

    fn layer(&self, batch: &Batch, name: &str) -> Result<Option<Vec<f32>>> {
        self.kernels.layer(batch, name)
    }

    fn reads_compact(&self) -> bool {
        self.kernels.reads_compact()
    }

    fn sums(&self) -> Option<&crate::nn::readouts::discriminant::Sums> {
        self.kernels.sums()
    }

    fn save(&self) -> Result<Tensors> {
        self.kernels.save()
    }

    fn onnx(&self, graph: &mut Graph, features: &Node, encoder: &Encoder) -> Result<Option<Node>> {
        self.kernels.onnx(graph, features, encoder)
    }
}
