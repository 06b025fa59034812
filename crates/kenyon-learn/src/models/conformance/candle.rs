//! The candle form of every family equals its kernels, forward and backward, and can be trained by candle alone.

mod kernels;

use super::*;
use crate::models::candle::{self as forms, CodedModule, TokenBatch, TokenConfig, TokenModule};
use crate::models::candle_network::CandleNetwork;
use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{AdamW, Optimizer, VarBuilder, VarMap};
use kernels::{by_attention, by_memory, by_readout, by_sparse_mlp};
use std::any::Any;
use std::collections::BTreeMap;

type Numbers = BTreeMap<String, Vec<f32>>;

const CPU: Device = Device::Cpu;

/// Rows of dense tensors: a hashed text has 2^18 numbers a row.
const DENSE_ROWS: usize = 16;

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn fixed(tensors: &Tensors) -> VarBuilder<'static> {
    VarBuilder::from_tensors(tensors.clone().into_iter().collect(), DType::F32, &CPU)
}

/// Variables with the values of `tensors`, and the model over them.
fn trainable(config: &dyn TokenConfig, tensors: &Tensors, plain: bool) -> (VarMap, Box<dyn TokenModule>) {
    let vars = VarMap::new();
    let model = built(config, VarBuilder::from_varmap(&vars, DType::F32, &CPU), plain);
    for (name, var) in vars.data().lock().unwrap().iter() {
        var.set(tensors.get(name).unwrap_or_else(|| panic!("{name} is not saved"))).unwrap();
    }
    (vars, model)
}

fn of<C: 'static>(config: &dyn TokenConfig) -> Option<&C> {
    (config as &dyn Any).downcast_ref()
}

fn built(config: &dyn TokenConfig, weights: VarBuilder<'_>, plain: bool) -> Box<dyn TokenModule> {
    if !plain {
        config.build(weights).unwrap()
    } else if let Some(config) = of::<forms::sparse_mlp::Config>(config) {
        Box::new(forms::SparseMlp::new(config, weights).unwrap().plain())
    } else if let Some(config) = of::<forms::attention::Config>(config) {
        Box::new(forms::AttentionNet::new(config, weights).unwrap().plain())
    } else if let Some(config) = of::<forms::memory::Config>(config) {
        Box::new(forms::MemoryNet::new(config, weights).unwrap().plain())
    } else {
        config.build(weights).unwrap()
    }
}

/// The model as candle's module over dense rows.
fn dense(config: &dyn TokenConfig, weights: VarBuilder<'_>) -> Box<dyn Module> {
    if let Some(config) = of::<forms::sparse_mlp::Config>(config) {
        Box::new(forms::SparseMlp::new(config, weights).unwrap())
    } else if let Some(config) = of::<forms::attention::Config>(config) {
        Box::new(forms::AttentionNet::new(config, weights).unwrap())
    } else if let Some(config) = of::<forms::memory::Config>(config) {
        Box::new(forms::MemoryNet::new(config, weights).unwrap())
    } else {
        Box::new(forms::Hybrid::new(of(config).unwrap(), weights).unwrap())
    }
}

impl Case {
    fn form(&self, tensors: &Tensors) -> Box<dyn TokenConfig> {
        self.family.candle(&self.saved(tensors)).unwrap()
    }

    /// The first rows as a dense tensor.
    fn dense(&self) -> Tensor {
        let (rows, width) = (DENSE_ROWS, self.encoder.width as usize);
        let mut numbers = vec![0f32; rows * width];
        for row in 0..rows {
            let (indices, values) = self.batch.entries(row);
            indices.iter().zip(values).for_each(|(&i, v)| numbers[row * width + i as usize] += v);
        }
        Tensor::from_vec(numbers, (rows, width), &CPU).unwrap()
    }

    /// Derivatives of the summed loss by the answers.
    fn slopes(&self, answers: &[f32]) -> Vec<f32> {
        let mut slopes = answers.to_vec();
        match self.task {
            Task::Regression => slopes.iter_mut().zip(&self.values).for_each(|(slope, value)| *slope -= value),
            Task::Classification => {
                for (row, &class) in slopes.chunks_exact_mut(self.outputs).zip(&self.classes) {
                    let sum: f32 = row.iter().map(|v| v.exp()).sum();
                    row.iter_mut().for_each(|v| *v = v.exp() / sum);
                    row[class as usize] -= 1.0;
                }
            }
        }
        slopes
    }

    /// Networks of the families but the toy, with pictures for receptive fields and many features for a vocabulary.
    pub(super) fn with_candle() -> Vec<Self> {
        let mut cases: Vec<Self> = cases().into_iter().filter(|case| case.family != named("toy")).collect();
        let mut case = digits(120);
        case.set("members", 1);
        case.set("field", 0.3);
        case.set("hidden", vec![256, 256]);
        case.set("epochs", 4);
        cases.push(case);
        let mut case = words(120, "sparse_mlp");
        case.set("epochs", 4);
        cases.push(case);
        cases
    }
}

/// Pictures of a bright row or column.
fn digits(rows: usize) -> Case {
    let mut random = Random::stream(6, "pictures", 0);
    let (mut values, mut classes) = (Vec::new(), Vec::new());
    for row in 0..rows {
        let (line, across) = (random.below(12), row % 2 == 0);
        let lit = |at: usize| if across { at / 12 == line } else { at % 12 == line };
        values.extend((0..144).map(|at| if lit(at) { 1.0 } else { 0.2 * random.uniform() }));
        classes.push(u32::from(across));
    }
    let table =
        Table { rows, columns: vec![("p".into(), Column::Vector { width: 144, shape: Some(vec![12, 12]), values })] };
    let plans = [ColumnPlan { shape: Some(vec![12, 12]), ..plan("p", ColumnKind::Vector, None) }];
    Case::new("pictures", named("sparse_mlp"), &table, &plans, classes, vec![])
}

/// Sentences, whose words are hashed to more features than get weight rows.
pub(super) fn words(rows: usize, family: &str) -> Case {
    let mut random = Random::stream(7, "words", 0);
    let (mut texts, mut classes) = (Vec::new(), Vec::new());
    for row in 0..rows {
        let key = ["refund", "parcel"][row % 2];
        let filler = ["please", "my", "where", "is", "now", "help"][random.below(6)];
        texts.push(Some(format!("{filler} {key} {}", ["today", "soon", "again"][random.below(3)]).into_boxed_str()));
        classes.push((row % 2) as u32);
    }
    let table = Table { rows, columns: vec![("t".into(), Column::Text(texts))] };
    Case::new("words", named(family), &table, &[plan("t", ColumnKind::Text, None)], classes, vec![])
}

/// Fails where `answers` are not `expected`. Of two units whose activations are equal but for rounding either may win, so
/// one row in a hundred may differ.
fn same_answers(answers: &[f32], expected: &[f32], outputs: usize, what: &str) {
    assert_eq!(answers.len(), expected.len(), "{what}");
    let far = |(a, b): (&f32, &f32)| (a - b).abs() > 1e-4 * (1.0 + b.abs());
    let rows = answers.chunks_exact(outputs).zip(expected.chunks_exact(outputs));
    let wrong: Vec<_> = rows.clone().filter(|(a, b)| a.iter().zip(*b).any(far)).collect();
    assert!(wrong.len() <= rows.len() / 100, "{what}: {} of {} rows, {:?}", wrong.len(), rows.len(), wrong.first());
}

/// The mean difference of answers in units of their mean size.
pub(super) fn distance(answers: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(answers.len(), expected.len());
    let size: f32 = expected.iter().map(|e| e.abs()).sum();
    answers.iter().zip(expected).map(|(a, e)| (a - e).abs()).sum::<f32>() / size.max(1e-6)
}

fn same_gradients(own: &Numbers, kernels: &Numbers, what: &str) {
    assert_eq!(own.keys().collect::<Vec<_>>(), kernels.keys().collect::<Vec<_>>(), "{what}");
    for (name, expected) in kernels {
        let largest = expected.iter().fold(0f32, |most, g| most.max(g.abs()));
        assert!(largest > 0.0, "{what}: the kernels give `{name}` no gradient");
        for (at, (a, b)) in own[name].iter().zip(expected).enumerate() {
            assert!((a - b).abs() <= 1e-3 * largest, "{what}: `{name}`[{at}] is {a} and {b} by the kernels");
        }
    }
}

/// Gradients of `Σ answers · slopes` by candle.
fn by_candle(vars: &VarMap, model: &dyn TokenModule, tokens: &TokenBatch, slopes: &[f32], train: bool) -> Numbers {
    let answers = model.forward_tokens(tokens, train).unwrap();
    let slopes = Tensor::from_slice(slopes, answers.dims(), &CPU).unwrap();
    let gradients = (answers * slopes).unwrap().sum_all().unwrap().backward().unwrap();
    let vars = vars.data().lock().unwrap();
    let of = |var: &candle_core::Var, name: &str| {
        flat(gradients.get(var).unwrap_or_else(|| panic!("`{name}` has no gradient")))
    };
    vars.iter().map(|(name, var)| (name.clone(), of(var, name))).collect()
}

#[test]
fn the_candle_form_answers_as_the_kernels_do() {
    for case in Case::with_candle() {
        let few = |steps| {
            let mut learner = case.learner(3, 1);
            case.train(&mut *learner, 3, 0..steps);
            learner
        };
        for (learner, what) in [(few(1), "random"), (few(u64::MAX), "trained")] {
            let network = learner.finish(None).unwrap();
            let (saved, expected) = (network.save().unwrap(), network.forward(&case.batch).unwrap());
            let config = case.form(&saved);
            let tokens = TokenBatch::new(&case.batch, &CPU);
            for plain in [false, true] {
                let answers = built(&*config, fixed(&saved), plain).forward_tokens(&tokens, false).unwrap();
                let what = format!("{}, {what}, plain: {plain}", case.name);
                assert!(!answers.track_op(), "{what}: fixed weights record a graph");
                assert_eq!(answers.dims(), [case.batch.rows(), case.outputs], "{what}");
                same_answers(&flat(&answers), &expected, case.outputs, &what);
            }
            if let Ok(coded) = built(&*config, fixed(&saved), false).coded() {
                let (answers, codes) = coded.forward_coded(&tokens).unwrap();
                same_answers(&flat(&answers), &expected, case.outputs, &format!("{}, {what}, coded", case.name));
                let expected = network.features(&case.batch).unwrap();
                let width = network.feature_width();
                assert_eq!(codes.dims(), [case.batch.rows(), width], "{}, {what}", case.name);
                same_answers(&flat(&codes), &expected, width, &format!("{}, {what}, codes", case.name));
            }
            let stories = case.name.contains("stories");
            let model = dense(&*config, fixed(&saved));
            if stories {
                assert!(model.forward(&case.dense()).is_err());
            } else if !case.name.contains("series") {
                let answers = model.forward(&case.dense()).unwrap();
                let expected = &expected[..DENSE_ROWS * case.outputs];
                same_answers(&flat(&answers), expected, case.outputs, &format!("{}, {what}, dense", case.name));
            }
            // An empty batch.
            let none = TokenBatch::new(&case.batch.select(&[]), &CPU);
            let answers = built(&*config, fixed(&saved), false).forward_tokens(&none, false).unwrap();
            assert_eq!(answers.dims(), [0, case.outputs], "{}", case.name);
        }
    }
}

/// A model on a device that is out of memory.
struct Failing;

impl TokenModule for Failing {
    fn forward_tokens(&self, _tokens: &TokenBatch, _train: bool) -> candle_core::Result<Tensor> {
        candle_core::bail!("out of memory")
    }

    fn coded(&self) -> std::result::Result<&dyn CodedModule, &'static str> {
        Ok(self)
    }
}

impl CodedModule for Failing {
    fn forward_coded(&self, tokens: &TokenBatch) -> candle_core::Result<(Tensor, Tensor)> {
        self.forward_tokens(tokens, false).map(|answers| (answers.clone(), answers))
    }
}

#[test]
fn a_device_that_fails_leaves_the_answers_to_the_kernels() {
    let case = &Case::with_candle()[0];
    let network = || {
        let mut learner = case.learner(3, 1);
        case.train(&mut *learner, 3, 0..2);
        learner.finish(None).unwrap()
    };
    let expected = network().forward_with_features(&case.batch).unwrap();
    let insisted = CandleNetwork::new(network(), Box::new(Failing), CPU);
    assert!(insisted.forward(&case.batch).is_err());
    let device = CandleNetwork::new(network(), Box::new(Failing), CPU).on_a_device();
    let failure = device.failure();
    assert_eq!(failure.get(), None);
    assert_eq!(device.forward_with_features(&case.batch).unwrap(), expected);
    assert!(failure.get().unwrap().contains("out of memory"));
    assert_eq!(device.forward(&case.batch).unwrap(), expected.0);
}

#[test]
fn answers_of_weights_in_bf16_are_near_those_of_the_kernels() {
    for case in Case::with_candle() {
        let mut learner = case.learner(3, 1);
        case.train(&mut *learner, 3, 0..u64::MAX);
        let network = learner.finish(None).unwrap();
        let (saved, expected) = (network.save().unwrap(), network.forward(&case.batch).unwrap());
        let weights = VarBuilder::from_tensors(saved.clone().into_iter().collect(), DType::BF16, &CPU);
        let model = case.form(&saved).build(weights).unwrap();
        let answers = model.forward_tokens(&TokenBatch::new(&case.batch, &CPU), false).unwrap();
        assert_eq!(answers.dtype(), DType::BF16, "{}", case.name);
        let answers = flat(&answers.to_dtype(DType::F32).unwrap());
        // A number of bf16 has 8 bits; of units whose activations are nearly equal another one may win.
        let far = distance(&answers, &expected);
        assert!(far < 0.05, "{}: {far}", case.name);
        let lost = case.score(&expected) - case.score(&answers);
        assert!(lost < 0.03, "{}: {lost} of the score is lost", case.name);
    }
}

#[test]
fn gradients_are_those_of_the_kernels() {
    for mut case in Case::with_candle() {
        let sparse_mlp = case.family == named("sparse_mlp");
        if sparse_mlp {
            case.set("members", 1);
            // Dead units are none of the gradient's concern.
            case.set("revive", false);
        }
        for steps in [1, u64::MAX] {
            let mut learner = case.learner(3, 1);
            case.train(&mut *learner, 3, 0..steps);
            let (weights, state) = (learner.weights().unwrap(), learner.state().unwrap());
            let saved = if sparse_mlp { weights } else { learner.finish(None).unwrap().save().unwrap() };
            let config = case.form(&saved);
            let tokens = TokenBatch::new(&case.batch, &CPU);
            for plain in [false, true] {
                let (vars, model) = trainable(&*config, &saved, plain);
                let answers = flat(&model.forward_tokens(&tokens, true).unwrap());
                let mut slopes = case.slopes(&answers);
                if case.family == named("hybrid") {
                    // A readout that was solved for can be so certain that the loss has no slope left.
                    slopes.iter_mut().enumerate().for_each(|(at, slope)| *slope = (at % 7) as f32 / 7.0 - 0.2);
                }
                let own = by_candle(&vars, &*model, &tokens, &slopes, true);
                let kernels = if let Some(config) = of::<forms::attention::Config>(&*config) {
                    by_attention(config, &saved, &case.batch, &slopes)
                } else if let Some(config) = of::<forms::memory::Config>(&*config) {
                    by_memory(config, &saved, &case.batch, &slopes)
                } else if sparse_mlp {
                    by_sparse_mlp(&mut case, &state)
                } else {
                    by_readout(of(&*config).unwrap(), &tokens, &slopes)
                };
                same_gradients(&own, &kernels, &format!("{}, {steps} steps, plain: {plain}", case.name));
            }
        }
    }
}

#[test]
fn candles_optimiser_moves_every_parameter_and_lowers_the_loss() {
    for case in Case::with_candle() {
        let mut learner = case.learner(3, 1);
        case.train(&mut *learner, 3, 0..2);
        let mut saved = learner.finish(None).unwrap().save().unwrap();
        let solved = case.family == named("hybrid");
        if solved {
            // A readout that was solved for cannot be improved.
            for name in ["readout.weights", "readout.bias"] {
                saved.insert(name.to_owned(), saved[name].zeros_like().unwrap());
            }
        }
        let config = case.form(&saved);
        let (vars, model) = trainable(&*config, &saved, false);
        let tokens = TokenBatch::new(&case.batch, &CPU);
        let loss = || {
            let answers = model.forward_tokens(&tokens, true).unwrap();
            match case.task {
                Task::Classification => {
                    let classes = Tensor::from_slice(&case.classes, case.classes.len(), &CPU).unwrap();
                    candle_nn::loss::cross_entropy(&answers, &classes).unwrap()
                }
                Task::Regression => {
                    let values = Tensor::from_slice(&case.values, (case.values.len(), 1), &CPU).unwrap();
                    candle_nn::loss::mse(&answers, &values).unwrap()
                }
            }
        };
        let first = loss().to_scalar::<f32>().unwrap();
        let mut adam = AdamW::new_lr(vars.all_vars(), if solved { 0.003 } else { 0.01 }).unwrap();
        for _ in 0..12 {
            adam.backward_step(&loss()).unwrap();
        }
        let last = loss().to_scalar::<f32>().unwrap();
        assert!(last < 0.95 * first, "{}: loss {first} before and {last} after", case.name);
        for (name, var) in vars.data().lock().unwrap().iter() {
            assert!(flat(var) != flat(&saved[name]), "{}: `{name}` never moved", case.name);
        }
    }
}

#[test]
fn a_long_story_can_be_learned_from_on_a_thread_of_two_megabytes() {
    // Backward passes of candle recurse once an operation of a chain: the plain form has a few for each slot.
    let run = || {
        let sizes = forms::memory::StoryConfig {
            words: 5,
            width: 8,
            hops: 3,
            slots: 256,
            outputs: 2,
            story_fields: vec![false, true],
        };
        let config = forms::memory::Config::Ordered { sizes, wide_gates: false };
        let mut batch = Batch::new();
        batch.push_entry(0, 1.0);
        batch.end_token(0);
        for slot in 0..300 {
            batch.push_entry(1 + slot % 4, 1.0);
            batch.end_token(1);
        }
        batch.end_row();
        for plain in [false, true] {
            let vars = VarMap::new();
            let model = built(&config, VarBuilder::from_varmap(&vars, DType::F32, &CPU), plain);
            let tokens = TokenBatch::new(&batch, &CPU);
            let gradients = by_candle(&vars, &*model, &tokens, &[1.0, -1.0], true);
            assert!(gradients.values().all(|gradient| gradient.iter().any(|g| *g != 0.0)), "plain: {plain}");
        }
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
}
