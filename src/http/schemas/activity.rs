//! Work of a network per prediction.

use kenyon_learn::learning::compare::sparsity::Sparsity;
use serde::Serialize;
use utoipa::ToSchema;

/// Counts from a running network, a prediction each.
#[derive(Serialize, ToSchema)]
pub(crate) struct Activity {
    /// The version that was counted.
    version: u64,
    /// Rows it was counted on.
    rows: u64,
    /// The layers, from the input on.
    layers: Vec<LayerActivity>,
    /// The classes of the rows, where they are labelled, in the order of `preferred`.
    classes: Vec<String>,
    /// Measures of sparse coding as they were found in nervous systems.
    known_ranges: Vec<KnownRange>,
    /// Multiply-accumulates.
    macs: Macs,
    /// Energy per prediction.
    energy_joules: Energy,
    /// Bytes of the weights.
    bytes: u64,
}

/// Activity of a layer.
#[derive(Serialize, ToSchema)]
pub(crate) struct LayerActivity {
    /// Its name.
    name: String,
    /// Its units.
    units: u64,
    /// Units that are active for a row.
    winners: f64,
    /// Their share.
    active_share: f64,
    /// Units that were active for no row.
    dead_units: u64,
    /// How often units are active.
    duty_cycle: DutyCycle,
    /// Sparse coding over the rows; null with fewer than two.
    #[schema(required)]
    sparse_coding: Option<Sparsity>,
}

/// A measure of sparse coding as it was found in a nervous system.
#[derive(Serialize, ToSchema)]
pub(crate) struct KnownRange {
    /// The field of `sparse_coding` that it is comparable with.
    measure: String,
    /// The low end.
    low: f64,
    /// The high end.
    high: f64,
    /// What was recorded.
    of: String,
    /// Where it was published.
    source: String,
}

/// How often the units of a layer are active.
#[derive(Serialize, ToSchema)]
pub(crate) struct DutyCycle {
    /// The least active unit.
    min: Option<f64>,
    /// The one in the middle.
    median: Option<f64>,
    /// The most active one.
    max: Option<f64>,
}

/// Multiply-accumulates.
#[derive(Serialize, ToSchema)]
pub(crate) struct Macs {
    /// Of the dense network of the same size.
    dense: f64,
    /// Effective ones.
    effective: f64,
    /// Comparisons that find the winners.
    top_k: f64,
    /// Those of searching the memory.
    memory: f64,
}

/// Energy of a prediction in joules.
#[derive(Serialize, ToSchema)]
pub(crate) struct Energy {
    /// Measured by the machine's counters, where there are some.
    measured: Option<f64>,
    /// From the operations.
    estimated: f64,
    /// The method.
    method: String,
}
