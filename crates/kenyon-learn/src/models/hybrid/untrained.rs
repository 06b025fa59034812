//! A model that has learned nothing yet.

use super::Spec;
use crate::data::Batch;
use crate::models::{Activity, Explanation, Family, Network, Recalled};
use crate::nn::Tensors;
use crate::{Error, Result};

/// The network of a model that learns only by observing, until its stream exists.
#[derive(Debug)]
pub(super) struct UntrainedHybrid {
    /// Classes, or 1 for a number.
    pub(super) outputs: usize,
}

fn nothing<T>() -> Result<T> {
    let detail = "the model has not learned anything yet: observe labelled rows first";
    Err(Error::conflict("nothing_learned", detail))
}

impl Network for UntrainedHybrid {
    fn family(&self) -> Family {
        Family::new(&Spec)
    }

    fn outputs(&self) -> usize {
        self.outputs
    }

    fn forward(&self, _batch: &Batch) -> Result<Vec<f32>> {
        nothing()
    }

    fn feature_width(&self) -> usize {
        1
    }

    fn features(&self, _batch: &Batch) -> Result<Vec<f32>> {
        nothing()
    }

    fn explain(&self, _batch: &Batch, _row: usize, _output: usize) -> Result<Explanation> {
        nothing()
    }

    fn nearest(&self, _batch: &Batch, _k: usize) -> Result<Option<Vec<Vec<Recalled>>>> {
        nothing()
    }

    fn activity(&self, _batch: &Batch) -> Result<Activity> {
        Ok(Activity::default())
    }

    fn save(&self) -> Result<Tensors> {
        Ok(Tensors::new())
    }
}
