//! The fixed features of series and their readout as ONNX operators.
//!
//! Products and sums are in the order of the kernels: where a series is flat the last bit of an output decides, and a
//! convolution adds up in an order of its own.

use crate::data::encoder::onnx::{SeriesGraph, positions};
use crate::models::onnx::reshape;
use crate::nn::kernels::filters::{GROUP_KERNELS, TAPS};
use crate::nn::layers::competing::CompetingKernels;
use crate::nn::layers::filter_branch::FilterBranch;
use crate::nn::layers::filters::FilterBank;
use crate::nn::layers::series_features::{Bank, SeriesFeatures};
use crate::onnx::{FLOAT, Graph, Node, integer, list};
use crate::{Error, Result};

/// Filters, standardised, and their readout; returns the logits.
pub(in crate::models::attention) fn network(
    graph: &mut Graph,
    branch: &FilterBranch,
    series: &[SeriesGraph],
) -> Result<Node> {
    graph.name("SeriesFilters");
    let (plan, mut at, mut parts) = (&branch.plan, branch.plan.levels.start, Vec::new());
    for column in &branch.columns {
        let own = series.iter().find(|one| one.field == usize::from(column.field));
        let own = own.ok_or_else(|| Error::internal("filters of a column that is no series"))?;
        let levels = &branch.numbers[at..at + column.bank.len()];
        features(graph, &column.bank, levels, own, &mut parts);
        at += levels.len();
    }
    let (width, outputs) = (plan.features as i64, plan.outputs as i64);
    let pooled = concat(graph, &parts, 1);
    let mut numbers = |dims: &[i64], range: &std::ops::Range<usize>| graph.floats(dims, &branch.numbers[range.clone()]);
    let (mean, inverse) = (numbers(&[1, width], &plan.mean), numbers(&[1, width], &plan.inverse));
    let (readout, bias) = (numbers(&[width, outputs], &plan.readout), numbers(&[outputs], &plan.bias));
    let centred = graph.op("Sub", &[&pooled, &mean], vec![]);
    let standard = graph.op("Mul", &[&centred, &inverse], vec![]);
    let product = graph.op("MatMul", &[&standard, &readout], vec![]);
    Ok(graph.op("Add", &[&product, &bias], vec![]))
}

/// A series, or its differences.
struct Steps {
    /// `[batch, channels, steps]`, zero from the end of a row on.
    values: Node,
    /// Whether a row has the step, `[batch, 1, steps]`.
    valid: Node,
    /// One by the number of steps, `[batch, 1, 1]`.
    scale: Node,
}

impl Steps {
    fn new(graph: &mut Graph, values: Node, length: &Node) -> Self {
        let (place, one) = (positions(graph, &values, FLOAT), graph.floats(&[], &[1.0]));
        let valid = graph.op("LessOrEqual", &[&place, length], vec![]);
        let count = graph.op("Max", &[length, &one], vec![]);
        Self { values, valid, scale: graph.op("Div", &[&one, &count], vec![]) }
    }

    /// As `Series::differences`.
    fn differences(graph: &mut Graph, series: &SeriesGraph) -> Self {
        let before = slice(graph, &series.values, 0, -1);
        let after = slice(graph, &series.values, 1, i64::MAX);
        let change = graph.op("Sub", &[&after, &before], vec![]);
        let (zero, one) = (graph.floats(&[], &[0.0]), graph.floats(&[], &[1.0]));
        let length = graph.op("Sub", &[&series.length, &one], vec![]);
        let steps = Self::new(graph, change, &length);
        Self { values: graph.op("Where", &[&steps.valid, &steps.values, &zero], vec![]), ..steps }
    }

    /// The series at the taps of filters that each sum some channels, `[batch, filters or 1, steps]`.
    fn taps(&self, graph: &mut Graph, dilation: i64, channels_of: &[Vec<usize>]) -> Vec<Node> {
        let summed = sum_channels(graph, &self.values, channels_of);
        let reach = 4 * dilation;
        let pads = graph.integers(&[6], &[0, 0, reach, 0, 0, reach]);
        let padded = graph.op("Pad", &[&summed, &pads], vec![]);
        let tap = |tap: i64| match TAPS as i64 - 1 - tap {
            0 => slice(graph, &padded, tap * dilation, i64::MAX),
            behind => slice(graph, &padded, tap * dilation, -behind * dilation),
        };
        (0..TAPS as i64).map(tap).collect()
    }
}

/// The features of a series, `[batch, features]` in all, as [`SeriesFeatures::pool`] has them.
fn features(graph: &mut Graph, bank: &SeriesFeatures, levels: &[f32], series: &SeriesGraph, parts: &mut Vec<Node>) {
    let whole = Steps::new(graph, series.values.clone(), &series.length);
    let between = bank.parts.iter().any(|part| part.differences).then(|| Steps::differences(graph, series));
    let mut at = 0;
    for part in &bank.parts {
        let steps = between.as_ref().filter(|_| part.differences).unwrap_or(&whole);
        match &part.bank {
            Bank::Filters(bank) => shares_above(graph, bank, &levels[at..at + part.len()], steps, parts),
            Bank::Competing(kernels) => wins(graph, kernels, steps, parts),
        }
        at += part.len();
    }
}

/// As [`FilterBank::pool`].
fn shares_above(graph: &mut Graph, bank: &FilterBank, levels: &[f32], steps: &Steps, parts: &mut Vec<Node>) {
    let patterns = bank.strong.len();
    let (three, nothing, axis) =
        (graph.floats(&[], &[3.0]), graph.floats(&[], &[f32::NEG_INFINITY]), graph.integers(&[1], &[2]));
    let each = bank.dilations.iter().zip(bank.channels_of.chunks(patterns)).zip(levels.chunks(patterns * bank.levels));
    for ((&dilation, channels_of), levels) in each {
        let taps = steps.taps(graph, dilation as i64, channels_of);
        let all = concat(graph, &taps, 1);
        let sum = add_up(graph, taps);
        // A tap has one line for all patterns, or one a pattern.
        let lines = if is_one_line(channels_of) { 1 } else { patterns };
        let strong = (0..3).map(|which| {
            let of = |(pattern, taps): (usize, &[usize; 3])| (taps[which] * lines + pattern % lines) as i64;
            let lines = graph.integers(&[patterns as i64], &bank.strong.iter().enumerate().map(of).collect::<Vec<_>>());
            graph.op("Gather", &[&all, &lines], vec![integer("axis", 1)])
        });
        let strong: Vec<Node> = strong.collect();
        let strong = add_up(graph, strong);
        let strong = graph.op("Mul", &[&strong, &three], vec![]);
        let output = graph.op("Sub", &[&strong, &sum], vec![]);
        let output = graph.op("Where", &[&steps.valid, &output, &nothing], vec![]);
        let above = (0..bank.levels).map(|level| {
            let of_level: Vec<f32> = levels.iter().skip(level).step_by(bank.levels).copied().collect();
            let of_level = graph.floats(&[patterns as i64, 1], &of_level);
            let above = graph.op("Greater", &[&output, &of_level], vec![]);
            let above = graph.op("Cast", &[&above], vec![integer("to", i64::from(FLOAT))]);
            graph.op("ReduceSum", &[&above, &axis], vec![integer("keepdims", 1)])
        });
        let above: Vec<Node> = above.collect();
        let counts = concat(graph, &above, 2);
        let shares = graph.op("Mul", &[&counts, &steps.scale], vec![]);
        parts.push(reshape(graph, &shares, &[-1, (patterns * bank.levels) as i64]));
    }
}

/// As [`CompetingKernels::pool`].
fn wins(graph: &mut Graph, bank: &CompetingKernels, steps: &Steps, parts: &mut Vec<Node>) {
    let (groups, kernels) = (bank.groups, GROUP_KERNELS as i64);
    let (middle, last, zero) = (graph.integers(&[1], &[2]), graph.integers(&[1], &[3]), graph.floats(&[], &[0.0]));
    let numbers = graph.integers(&[kernels, 1], &(0..kernels).collect::<Vec<_>>());
    let valid = graph.op("Unsqueeze", &[&steps.valid, &middle], vec![]);
    let valid = graph.op("Cast", &[&valid], vec![integer("to", i64::from(FLOAT))]);
    let each = bank.kernels.chunks(groups * GROUP_KERNELS * TAPS).zip(bank.channels_of.chunks(groups));
    for (power, (weights, channels_of)) in each.enumerate() {
        let products = steps.taps(graph, 1 << power, channels_of).into_iter().enumerate().map(|(tap, values)| {
            let weights: Vec<f32> = weights.iter().skip(tap).step_by(TAPS).copied().collect();
            let weights = graph.floats(&[groups as i64, kernels, 1], &weights);
            let values = graph.op("Unsqueeze", &[&values, &middle], vec![]);
            graph.op("Mul", &[&values, &weights], vec![])
        });
        let products: Vec<Node> = products.collect();
        // `[batch, groups, kernels, steps]`.
        let outputs = add_up(graph, products);
        let high = graph.op("ReduceMax", &[&outputs], vec![list("axes", &[2]), integer("keepdims", 1)]);
        let high = graph.op("Mul", &[&high, &valid], vec![]);
        let mut sums = |arg: &str, value: &Node| {
            let which = graph.op(arg, &[&outputs], vec![integer("axis", 2), integer("keepdims", 1)]);
            let is_this = graph.op("Equal", &[&which, &numbers], vec![]);
            let value = graph.op("Where", &[&is_this, value, &zero], vec![]);
            graph.op("ReduceSum", &[&value, &last], vec![integer("keepdims", 0)])
        };
        let sums = [sums("ArgMax", &high), sums("ArgMin", &valid)];
        let sums = concat(graph, &sums, 2);
        let sums = graph.op("Max", &[&sums, &zero], vec![]);
        let means = graph.op("Mul", &[&sums, &steps.scale], vec![]);
        let roots = graph.op("Sqrt", &[&means], vec![]);
        parts.push(reshape(graph, &roots, &[-1, 2 * kernels * groups as i64]));
    }
}

fn is_one_line(channels_of: &[Vec<usize>]) -> bool {
    channels_of.windows(2).all(|pair| pair[0] == pair[1])
}

/// The sum of each set of channels, `[batch, sets, steps]`; once where all are the same.
fn sum_channels(graph: &mut Graph, values: &Node, channels_of: &[Vec<usize>]) -> Node {
    let sets = if is_one_line(channels_of) { channels_of.get(..1).unwrap_or_default() } else { channels_of };
    let most = sets.iter().map(Vec::len).max().unwrap_or(0);
    // A channel of zeros for sets that have fewer: the last, counted from the end.
    let pads = graph.integers(&[6], &[0, 0, 0, 0, 1, 0]);
    let all = graph.op("Pad", &[values, &pads], vec![]);
    let terms = (0..most).map(|term| {
        let channels: Vec<i64> = sets.iter().map(|set| set.get(term).map_or(-1, |&channel| channel as i64)).collect();
        let channels = graph.integers(&[sets.len() as i64], &channels);
        graph.op("Gather", &[&all, &channels], vec![integer("axis", 1)])
    });
    let terms: Vec<Node> = terms.collect();
    add_up(graph, terms)
}

/// The sum, from the first on.
fn add_up(graph: &mut Graph, terms: Vec<Node>) -> Node {
    let sum = terms.into_iter().reduce(|sum, term| graph.op("Add", &[&sum, &term], vec![]));
    sum.unwrap_or_else(|| graph.floats(&[], &[0.0]))
}

fn concat(graph: &mut Graph, parts: &[Node], axis: i64) -> Node {
    graph.op("Concat", &parts.iter().collect::<Vec<_>>(), vec![integer("axis", axis)])
}

/// The steps `from..to`.
fn slice(graph: &mut Graph, value: &Node, from: i64, to: i64) -> Node {
    super::slice(graph, value, 2, from, to)
}
