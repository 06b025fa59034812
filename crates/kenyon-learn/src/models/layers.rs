//! The codes of a network's layers by name.

use super::Network;
use crate::data::Batch;
use crate::{Detail, Error, Result};

/// Name of the code that is input of the readout, whatever the family calls its last layer.
const FEATURES: &str = "features";

/// The code of a layer for some rows.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerCode {
    /// The layer's name.
    pub layer: String,
    /// Units.
    pub width: usize,
    /// `[rows, width]` row-major.
    pub values: Vec<f32>,
}

/// Names of the layers whose codes [`layer_code`] returns, from the input on; `features` is the input of the readout.
///
/// # Errors
/// The network has not learned anything yet.
pub fn layer_names(network: &dyn Network, batch: &Batch) -> Result<Vec<String>> {
    // Names do not depend on the rows; one is enough.
    let first: Vec<usize> = (0..batch.rows().min(1)).collect();
    let layers = network.activity(&batch.select(&first))?.layers;
    Ok(layers.into_iter().map(|layer| layer.name).chain([FEATURES.to_owned()]).collect())
}

/// The code of the layer `wanted`; of the last one before the readout when it is none. That one has the name of the
/// last layer where its code is the whole input of the readout, else `features`.
///
/// # Errors
/// `unknown_layer`, with the names there are.
pub fn layer_code(network: &dyn Network, batch: &Batch, wanted: Option<&str>) -> Result<LayerCode> {
    if let Some(name) = wanted.filter(|name| *name != FEATURES)
        && let Some(values) = network.layer(batch, name)?
    {
        return Ok(LayerCode { layer: name.to_owned(), width: values.len() / batch.rows().max(1), values });
    }
    let names = layer_names(network, batch)?;
    let last = names.len().checked_sub(2).map_or(FEATURES, |at| &names[at]);
    if wanted.is_some_and(|name| name != last && name != FEATURES) {
        let message = format!("there is no such layer; this network has {}", names.join(", "));
        let detail = Detail::path("layer", "no layer of this network");
        return Err(Error::unprocessable("unknown_layer", message).with_details([detail]));
    }
    let (width, values) = (network.feature_width(), network.features(batch)?);
    let layer = match wanted {
        Some(name) => name,
        None if network.layer(batch, last)?.is_none_or(|own| own == values) => last,
        None => FEATURES,
    };
    Ok(LayerCode { layer: layer.to_owned(), width, values })
}
