//! The state of a training as tensors.

use super::{HybridLearner, Waiting};
use crate::data::Batch;
use crate::models::hybrid::folds::{load_fold_sums, save_fold_sums};
use crate::models::hybrid::tensors::{load_groups, load_sums, save_filters, save_sums};
use crate::models::tensors::{get, put};
use crate::nn::Tensors;
use crate::nn::readouts::label_propagation::UnlabelledPool;
use crate::{Error, Result};
use candle_core::{Device, Tensor};

impl HybridLearner {
    /// The training state as tensors.
    pub(super) fn save_state(&self) -> Result<Tensors> {
        let mut out = Tensors::new();
        let bytes = serde_json::to_vec(&(self.seen as u64)).map_err(Error::internal)?;
        out.insert("seen".into(), Tensor::from_vec(bytes.clone(), bytes.len(), &Device::Cpu)?);
        let Waiting { rows, labels, folds } = &self.waiting;
        put(&mut out, "waiting.rows", &rows.row_offsets)?;
        put(&mut out, "waiting.tokens", &rows.token_offsets)?;
        put(&mut out, "waiting.indices", &rows.indices)?;
        put(&mut out, "waiting.values", &rows.values)?;
        put(&mut out, "waiting.labels", labels)?;
        put(&mut out, "waiting.folds", folds)?;
        put(&mut out, "probes.codes", &self.probes.0)?;
        put(&mut out, "probes.labels", &self.probes.1)?;
        put(&mut out, "labelled.codes", &self.labelled.0)?;
        put(&mut out, "labelled.ids", &self.labelled.1)?;
        put(&mut out, "labelled.folds", &self.labelled_folds)?;
        put(&mut out, "pool", &postcard::to_stdvec(&self.pool).map_err(Error::internal)?)?;
        if let (Some(groups), Some(sums)) = (&self.groups, &self.sums) {
            save_filters(groups, &mut out)?;
            save_sums(sums, &mut out)?;
            save_fold_sums(&self.folds, &mut out)?;
        }
        Ok(out)
    }

    /// Continues from [`Self::save_state`].
    pub(super) fn load_state(&mut self, state: &Tensors) -> Result<()> {
        let seen: Vec<u8> = get(state, "seen")?;
        self.seen = serde_json::from_slice::<u64>(&seen).map_err(Error::internal)? as usize;
        self.waiting.rows = Batch {
            row_offsets: get(state, "waiting.rows")?,
            token_offsets: get(state, "waiting.tokens")?,
            indices: get(state, "waiting.indices")?,
            values: get(state, "waiting.values")?,
            ..Batch::default()
        };
        self.waiting.labels = get(state, "waiting.labels")?;
        self.waiting.folds = get(state, "waiting.folds")?;
        self.probes = (get(state, "probes.codes")?, get(state, "probes.labels")?);
        self.labelled = (get(state, "labelled.codes")?, get(state, "labelled.ids")?);
        self.labelled_folds = get(state, "labelled.folds")?;
        let pool: Vec<u8> = get(state, "pool")?;
        self.pool = if pool.is_empty() {
            UnlabelledPool::default()
        } else {
            postcard::from_bytes(&pool).map_err(Error::internal)?
        };
        self.sums = load_sums(state)?;
        load_fold_sums(&mut self.folds, state)?;
        self.groups = match self.sums {
            Some(_) => Some(load_groups(&self.plans, state)?),
            None => None,
        };
        if let Ok(mut readout) = self.readout.lock() {
            *readout = None;
        }
        Ok(())
    }
}
