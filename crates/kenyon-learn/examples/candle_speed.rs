//! The candle form of a model beside its kernels, on one thread of the CPU:
//! `cargo run --release -p kenyon-learn --example candle_speed -- TRAIN TARGET FAMILY [--config '{}'] [--rows 2000]`
//! trains for the configured passes, then prints microseconds a row of a training step, of an answer in batches of 64 and
//! of an answer to one row, each by the kernels, by the candle form, and their ratio.

use candle_core::{DType, Device, Tensor};
use candle_nn::{AdamW, Optimizer, VarBuilder, VarMap, loss};
use kenyon_learn::data::formats::{self, Limits};
use kenyon_learn::data::target::Encoded;
use kenyon_learn::data::{Batch, plan, schema};
use kenyon_learn::learning::fit::Silent;
use kenyon_learn::learning::{Bundle, FitSpec, fit};
use kenyon_learn::models::candle::{TokenBatch, TokenModule};
use kenyon_learn::models::{Family, LearnerSpec, Position, Targets, Task};
use kenyon_learn::{Error, Result};
use serde_json::Value;
use std::path::Path;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Repetitions of each measurement, of which the fastest counts: the machine may be shared.
const TIMES: usize = 5;

fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|a| a != name).nth(1)
}

/// The fewest microseconds a row that `run` takes for `rows` rows.
fn measured(rows: usize, mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..TIMES {
        let start = Instant::now();
        run()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best * 1e6 / rows as f64)
}

fn shown(what: &str, kernels: f64, candle: f64) {
    println!("{what:<28} kernels {kernels:9.1} us   candle {candle:9.1} us   ratio {:5.2}", candle / kernels);
}

/// Rows with their targets, in mini-batches.
struct Data {
    parts: Vec<(Batch, Vec<u32>, Vec<f32>)>,
    rows: usize,
    task: Task,
}

impl Data {
    fn new(bundle: &Bundle, table: &kenyon_learn::data::Table, size: usize) -> Result<Self> {
        let batch = bundle.encode(table)?;
        let column = table.column(&bundle.config.target.name).ok_or_else(|| Error::internal("no target"))?;
        let (classes, values) = match bundle.config.target_encoder.encode(column)? {
            Encoded::Classes(classes) => (classes, Vec::new()),
            Encoded::Values(values) => (Vec::new(), values),
        };
        let rows: Vec<usize> = (0..batch.rows()).collect();
        let part = |rows: &[usize]| {
            let classes = rows.iter().filter_map(|&row| classes.get(row).copied()).collect();
            let values = rows.iter().filter_map(|&row| values.get(row).copied()).collect();
            (batch.select(rows), classes, values)
        };
        Ok(Self { parts: rows.chunks(size).map(part).collect(), rows: rows.len(), task: bundle.config.task })
    }

    fn tokens(&self) -> Vec<TokenBatch> {
        self.parts.iter().map(|(batch, ..)| TokenBatch::new(batch, &Device::Cpu)).collect()
    }
}

/// A pass over the rows by the family's own training.
fn kernel_training(bundle: &Bundle, data: &Data) -> Result<f64> {
    let spec = LearnerSpec {
        encoder: &bundle.encoder,
        task: data.task,
        outputs: bundle.config.target_encoder.outputs(),
        names: &[],
        rows: data.rows,
        config: &bundle.config.config,
        seed: 1,
        threads: 1,
    };
    let mut learner = bundle.config.family.learner(&spec)?;
    let mut step = 0;
    measured(data.rows, || {
        for (batch, classes, values) in &data.parts {
            let targets = match data.task {
                Task::Classification => Targets::Classes(classes, None),
                Task::Regression => Targets::Values(values, None),
            };
            // The second of many passes: what is settled in the first is settled.
            let position = Position { epoch: usize::from(step > 0), epochs: 100, step, steps: 100_000 };
            learner.step(batch, targets, position)?;
            step += 1;
        }
        Ok(())
    })
}

/// A pass over the rows by candle's optimiser.
fn candle_training(bundle: &Bundle, data: &Data) -> Result<f64> {
    let vars = VarMap::new();
    let model = bundle.candle()?.build(VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu))?;
    let mut adam = AdamW::new_lr(vars.all_vars(), 1e-4)?;
    let tokens = data.tokens();
    measured(data.rows, || {
        for (tokens, (_, classes, values)) in tokens.iter().zip(&data.parts) {
            let answers = model.forward_tokens(tokens, true)?;
            let cost = match data.task {
                Task::Classification => loss::cross_entropy(&answers, &Tensor::new(classes.as_slice(), &Device::Cpu)?)?,
                Task::Regression => loss::mse(&answers, &Tensor::from_slice(values, (values.len(), 1), &Device::Cpu)?)?,
            };
            adam.backward_step(&cost)?;
        }
        Ok(())
    })
}

fn serving(bundle: &Bundle, model: &dyn TokenModule, data: &Data, what: &str) -> Result<()> {
    let kernels = measured(data.rows, || {
        data.parts.iter().try_for_each(|(batch, ..)| {
            bundle.network.forward(batch).map(|answers| drop(std::hint::black_box(answers)))
        })
    })?;
    // The batch is made anew for each answer, as a program would.
    let candle = measured(data.rows, || {
        data.parts.iter().try_for_each(|(batch, ..)| {
            let tokens = TokenBatch::new(batch, &Device::Cpu);
            std::hint::black_box(model.forward_tokens(&tokens, false)?);
            Ok(())
        })
    })?;
    shown(what, kernels, candle);
    Ok(())
}

fn main() -> Result<()> {
    let given = |at| std::env::args().nth(at).ok_or_else(|| Error::internal("TRAIN, TARGET and FAMILY are needed"));
    let (file, target, family) = (given(1)?, given(2)?, given(3)?);
    let limits = Limits::default();
    let part = formats::detect(Path::new(&file), None, None)?;
    let plan = plan::resolve(&schema::infer(&part, &limits)?, &Default::default(), &target, None)?;
    let table = plan::read_table(std::slice::from_ref(&part), &plan.all(), &limits)?;
    let rows = argument("--rows").and_then(|rows| rows.parse().ok()).unwrap_or(2000).min(table.rows);
    let table = table.select(&(0..rows).collect::<Vec<_>>());
    let config: Value =
        serde_json::from_str(&argument("--config").unwrap_or_else(|| "{}".into())).map_err(Error::internal)?;
    let config = config.as_object().cloned().unwrap_or_default();
    let spec = FitSpec { target, family: Family::named(&family), seed: 1, config, ..FitSpec::default() };
    let bundle = fit(&table, &plan, &spec, 1, None, &Silent)?.bundle;
    println!("{family}, {rows} rows");
    let size = bundle.config.config.get("batch_size").and_then(Value::as_u64).unwrap_or(32) as usize;
    let data = Data::new(&bundle, &table, size)?;
    if bundle.network.sums().is_none() {
        shown("training, batches", kernel_training(&bundle, &data)?, candle_training(&bundle, &data)?);
    }
    let weights = bundle.network.save()?.into_iter().collect();
    let model = bundle.candle()?.build(VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu))?;
    serving(&bundle, &*model, &Data::new(&bundle, &table, 64)?, "answers, batches of 64")?;
    serving(
        &bundle,
        &*model,
        &Data::new(&bundle, &table.select(&(0..rows.min(500)).collect::<Vec<_>>()), 1)?,
        "answers, one row",
    )
}
