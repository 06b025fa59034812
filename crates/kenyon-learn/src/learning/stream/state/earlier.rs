//! Snapshots of version 0.1, layouts 2 and 3: experts were saved by position.
//!
//! Parts added in layout 3, the pool of rows without a label and the forest, come after everything older.

use super::{Exact, MixtureState, Read, State};
use crate::Result;
use crate::data::Batch;
use crate::learning::stream::broken;
use crate::learning::stream::code::Code;
use crate::learning::stream::experts::StreamExpert;
use crate::learning::stream::experts::forest::Forest;
use crate::learning::stream::experts::least_squares::{LeastSquares, Squares};
use crate::learning::stream::experts::linear::{Linear, Logistic};
use crate::learning::stream::experts::readout::{ReadoutExpert, Solver};
use crate::learning::stream::figures::Figures;
use crate::learning::stream::hedge::{Hedge, Mixing};
use crate::learning::stream::inputs::{Inputs, ReceptiveField};
use crate::nn::memory::episodic::Episodic;
use crate::nn::readouts::Readout;
use crate::nn::readouts::label_propagation::UnlabelledPool;
use serde::Deserialize;

#[derive(Deserialize)]
struct Earlier {
    layout: u32,
    described: Exact,
    regression: bool,
    running: bool,
    over: bool,
    seed: u64,
    model: Model,
    code: Code,
    solver: Solver,
    figures: Figures,
    rows: u64,
    newest_class: u64,
    recent: Batch,
    recent_labels: Vec<f32>,
    recent_texts: Vec<Option<Box<str>>>,
    scores: Vec<f32>,
    forgotten: u64,
    novelty: Option<(u64, Vec<f32>, usize, f32)>,
    consolidations: Vec<u8>,
}

#[derive(Deserialize)]
struct Model {
    _regression: bool,
    classes: usize,
    mixing: Mixing,
    base: bool,
    inputs: Option<Inputs>,
    dense: Vec<(ReceptiveField, Logistic)>,
    squares: Vec<(ReceptiveField, Squares)>,
    sparse: Vec<Logistic>,
    readout: Option<Readout>,
    class_bias: Vec<f32>,
    log_temperature: f32,
    counts: Vec<u64>,
    memory: Episodic,
    hedge: Hedge,
    mean: f32,
}

/// Reads a snapshot of layout 2 or 3.
pub(super) fn read(bytes: &[u8], layout: u32) -> Result<Read> {
    if !matches!(layout, 2 | 3) {
        return Err(broken("it was written by another version"));
    }
    let (mut state, newer) = postcard::take_from_bytes::<Earlier>(bytes).map_err(broken)?;
    let mut forest = None;
    if state.layout == 3 {
        (state.solver.pool, forest) =
            postcard::from_bytes::<(UnlabelledPool, Option<Forest>)>(newer).map_err(broken)?;
    }
    Ok(State {
        layout: state.layout,
        described: state.described,
        regression: state.regression,
        running: state.running,
        over: state.over,
        seed: state.seed,
        mixture: mixture(state.model, state.solver, forest)?,
        code: state.code,
        figures: state.figures,
        rows: state.rows,
        newest_class: state.newest_class,
        recent: state.recent,
        recent_labels: state.recent_labels,
        recent_texts: state.recent_texts,
        scores: state.scores,
        forgotten: state.forgotten,
        novelty: state.novelty,
        consolidations: state.consolidations,
    })
}

/// The experts in the order of their weights.
fn mixture(model: Model, solver: Solver, forest: Option<Forest>) -> Result<MixtureState> {
    let mut experts = Vec::new();
    if model.base {
        experts.push(("network".to_owned(), Vec::new()));
    }
    let mut push = |expert: &dyn StreamExpert| -> Result<()> {
        experts.push((expert.name().to_owned(), expert.save()?));
        Ok(())
    };
    for (field, logistic) in model.dense {
        push(&Linear { field: Some(field), logistic })?;
    }
    for (field, squares) in model.squares {
        push(&LeastSquares { field, squares })?;
    }
    for logistic in model.sparse {
        push(&Linear { field: None, logistic })?;
    }
    if let Some(forest) = forest {
        push(&forest)?;
    }
    push(&ReadoutExpert {
        solver,
        readout: model.readout.map(Into::into),
        class_bias: model.class_bias,
        log_temperature: model.log_temperature,
        rebuilding: false,
    })?;
    experts.push(("memory".to_owned(), Vec::new()));
    Ok(MixtureState {
        classes: model.classes,
        counts: model.counts,
        mean: model.mean,
        memory: model.memory.into(),
        base: model.base,
        mixing: model.mixing,
        inputs: model.inputs,
        hedge: model.hedge,
        experts,
    })
}
