//! Series as ONNX operators: an input `[batch, steps]`, of several channels `[batch, steps, channels]`. The number of steps is
//! free; a shorter row ends in NaN, as a row of a file ends in empty cells.

use super::super::scale::{LARGEST, MOST, Scale};
use super::super::series::{Pooled, STATISTICS, Windows};
use super::{cast, clip, known};
use crate::onnx::{DOUBLE, FLOAT, Graph, Node, integer, list};

/// The steps of a series column, for networks that read them one by one.
#[derive(Debug)]
pub struct SeriesGraph {
    /// Number of the encoder's field.
    pub(crate) field: usize,
    /// Standardised values, zero from the end of a row on, `[batch, channels, steps]`.
    pub(crate) values: Node,
    /// Steps of each row, `[batch, 1, 1]` floats.
    pub(crate) length: Node,
}

/// The positions 1, 2, … of the last axis of `values` `[batch, channels, steps]`, `[steps]`.
pub(crate) fn positions(graph: &mut Graph, values: &Node, element: i32) -> Node {
    let (axis, one) = (graph.integers(&[], &[2]), graph.integers(&[], &[1]));
    let shape = graph.op("Shape", &[values], vec![]);
    let steps = graph.op("Gather", &[&shape, &axis], vec![]);
    let end = graph.op("Add", &[&steps, &one], vec![]);
    let all = graph.op("Range", &[&one, &end, &one], vec![]);
    cast(graph, &all, element)
}

/// The input as doubles `[batch, channels, steps]`, with `more` missing steps at its end.
fn channels_first(graph: &mut Graph, input: &Node, channels: usize, more: usize) -> Node {
    let first = if channels == 1 {
        let axis = graph.integers(&[1], &[1]);
        graph.op("Unsqueeze", &[input, &axis], vec![])
    } else {
        graph.op("Transpose", &[input], vec![list("perm", &[0, 2, 1])])
    };
    let wide = cast(graph, &first, DOUBLE);
    let (pads, missing) = (graph.integers(&[6], &[0, 0, 0, 0, 0, more as i64]), graph.double(f64::NAN));
    graph.op("Pad", &[&wide, &pads, &missing], vec![])
}

/// The largest over channels and steps, `[batch, 1, 1]`.
fn largest(graph: &mut Graph, value: &Node) -> Node {
    graph.op("ReduceMax", &[value], vec![list("axes", &[1, 2]), integer("keepdims", 1)])
}

/// As [`Scale::apply`], by scales along an axis that `dims` has.
fn standardised(graph: &mut Graph, value: &Node, scales: &[Scale], dims: &[i64]) -> Node {
    let deviation = |scale: &Scale| (scale.squares / scale.count.max(1.0)).sqrt();
    let mut constant = |of: &dyn Fn(&Scale) -> f64| graph.doubles(dims, &scales.iter().map(of).collect::<Vec<_>>());
    let mean = constant(&|scale| scale.mean);
    let divisor = constant(&|scale| if deviation(scale) > 0.0 { deviation(scale) } else { 1.0 });
    let most = constant(&|scale| if deviation(scale) > 0.0 { LARGEST } else { 1.0 });
    let value = clip(graph, value, -MOST, MOST);
    let centred = graph.op("Sub", &[&value, &mean], vec![]);
    let standard = graph.op("Div", &[&centred, &divisor], vec![]);
    let least = graph.op("Neg", &[&most], vec![]);
    let standard = graph.op("Min", &[&standard, &most], vec![]);
    graph.op("Max", &[&standard, &least], vec![])
}

/// A series as [`Windows::push`] encodes it, put together again from its windows: it ends after its last value that is
/// not zero.
pub(super) fn steps(graph: &mut Graph, input: &Node, field: usize, windows: &Windows) -> SeriesGraph {
    let (channels, window, _) = windows.cut();
    let zero = graph.double(0.0);
    let wide = channels_first(graph, input, channels, window + 1);
    let [is_known, clean] = known(graph, &wide, &zero);
    let standard = standardised(graph, &clean, windows.scales(), &[channels as i64, 1]);
    let standard = graph.op("Where", &[&is_known, &standard, &zero], vec![]);
    let values = cast(graph, &standard, FLOAT);
    let (zero, place) = (graph.floats(&[], &[0.0]), positions(graph, &values, FLOAT));
    let is_zero = graph.op("Equal", &[&values, &zero], vec![]);
    let ends = graph.op("Where", &[&is_zero, &zero, &place], vec![]);
    let length = largest(graph, &ends);
    // A row without a step has the entry behind a window, which is read as the first channel of the step behind it.
    let all = cast(graph, &is_known, FLOAT);
    let any = largest(graph, &all);
    let empty = graph.op("Equal", &[&any, &zero], vec![]);
    let behind = graph.floats(&[], &[(window + 1) as f32]);
    let at = graph.op("Equal", &[&place, &behind], vec![]);
    let at = cast(graph, &at, FLOAT);
    let first: Vec<f32> = (0..channels).map(|channel| if channel == 0 { 1.0 } else { 0.0 }).collect();
    let first = graph.floats(&[channels as i64, 1], &first);
    let mark = graph.op("Mul", &[&first, &at], vec![]);
    let values = graph.op("Where", &[&empty, &mark, &values], vec![]);
    let length = graph.op("Where", &[&empty, &behind, &length], vec![]);
    SeriesGraph { field, values, length }
}

/// As [`Pooled::push`]: statistics of the whole and of its thirds, and whether the series is empty.
pub(super) fn statistics(graph: &mut Graph, input: &Node, pooled: &Pooled) -> [Node; 2] {
    let (channels, scales) = (pooled.channels(), pooled.scales());
    let values = channels_first(graph, input, channels, 1);
    let (zero, one) = (graph.double(0.0), graph.double(1.0));
    let [is_known, clean] = known(graph, &values, &zero);
    let place = positions(graph, &values, DOUBLE);
    let ends = graph.op("Where", &[&is_known, &place, &zero], vec![]);
    let count = largest(graph, &ends);
    let (two, three) = (graph.double(2.0), graph.double(3.0));
    let third = graph.op("Div", &[&count, &three], vec![]);
    let third = graph.op("Ceil", &[&third], vec![]);
    let twice = graph.op("Mul", &[&third, &two], vec![]);
    let before_last = graph.op("Sub", &[&count, &one], vec![]);
    let middle = graph.op("Min", &[&third, &before_last], vec![]);
    let middle_end = graph.op("Min", &[&twice, &count], vec![]);
    let rest = graph.op("Sub", &[&count, &third], vec![]);
    let series = Statistics { values, clean, is_known, place, zero: zero.clone() };
    let mut parts = Vec::with_capacity(STATISTICS);
    for bounds in [[&zero, &count], [&zero, &third], [&middle, &middle_end], [&rest, &count]] {
        series.part(graph, bounds, &mut parts);
    }
    let [first, last] = [[&zero, &one], [&before_last, &count]].map(|bounds| series.sum(graph, &series.values, bounds));
    let moved = series.moved(graph, &count, &before_last);
    parts.extend([first, last, moved]);
    let all = graph.op("Concat", &parts.iter().collect::<Vec<_>>(), vec![integer("axis", 2)]);
    let shape = graph.integers(&[2], &[-1, (channels * STATISTICS) as i64]);
    let all = graph.op("Reshape", &[&all, &shape], vec![]);
    // One over a missing step is missing, and read as the mean.
    let missing = graph.op("IsNaN", &[&all], vec![]);
    let all = graph.op("Where", &[&missing, &zero, &all], vec![]);
    let standard = standardised(graph, &all, scales, &[1, scales.len() as i64]);
    let standard = graph.op("Where", &[&missing, &zero, &standard], vec![]);
    let shape = graph.integers(&[2], &[-1, 1]);
    let empty = graph.op("Equal", &[&count, &zero], vec![]);
    let empty = graph.op("Reshape", &[&empty, &shape], vec![]);
    let standard = graph.op("Where", &[&empty, &zero, &standard], vec![]);
    [cast(graph, &standard, FLOAT), cast(graph, &empty, FLOAT)]
}

/// What the statistics of a series are made from, each `[batch, channels, steps]`.
struct Statistics {
    values: Node,
    /// Zero where there is no value.
    clean: Node,
    is_known: Node,
    /// 1, 2, …, `[steps]`.
    place: Node,
    zero: Node,
}

impl Statistics {
    /// Which steps lie in `bounds`, `[batch, 1, steps]`.
    fn within(&self, graph: &mut Graph, [from, to]: [&Node; 2]) -> Node {
        let behind = graph.op("Greater", &[&self.place, from], vec![]);
        let before = graph.op("LessOrEqual", &[&self.place, to], vec![]);
        graph.op("And", &[&behind, &before], vec![])
    }

    /// The sum of `values` over the steps in `bounds`, `[batch, channels, 1]`.
    fn sum(&self, graph: &mut Graph, values: &Node, bounds: [&Node; 2]) -> Node {
        let (within, axis) = (self.within(graph, bounds), graph.integers(&[1], &[2]));
        let values = graph.op("Where", &[&within, values, &self.zero], vec![]);
        graph.op("ReduceSum", &[&values, &axis], vec![integer("keepdims", 1)])
    }

    /// Mean, deviation, least and largest of a part.
    fn part(&self, graph: &mut Graph, bounds: [&Node; 2], parts: &mut Vec<Node>) {
        let count = graph.op("Sub", &[bounds[1], bounds[0]], vec![]);
        let sum = self.sum(graph, &self.values, bounds);
        let mean = graph.op("Div", &[&sum, &count], vec![]);
        let centred = graph.op("Sub", &[&self.values, &mean], vec![]);
        let squares = graph.op("Mul", &[&centred, &centred], vec![]);
        let squares = self.sum(graph, &squares, bounds);
        let variance = graph.op("Div", &[&squares, &count], vec![]);
        let deviation = graph.op("Sqrt", &[&variance], vec![]);
        let within = self.within(graph, bounds);
        let within = graph.op("And", &[&within, &self.is_known], vec![]);
        parts.extend([mean, deviation]);
        for (reduce, other) in [("ReduceMin", f64::INFINITY), ("ReduceMax", f64::NEG_INFINITY)] {
            let other = graph.double(other);
            let values = graph.op("Where", &[&within, &self.clean, &other], vec![]);
            parts.push(graph.op(reduce, &[&values], vec![list("axes", &[2]), integer("keepdims", 1)]));
        }
    }

    /// The mean size of a step's change.
    fn moved(&self, graph: &mut Graph, count: &Node, before_last: &Node) -> Node {
        let (from, one, axis) = (graph.integers(&[1], &[0]), graph.integers(&[1], &[1]), graph.integers(&[1], &[2]));
        let (last, end) = (graph.integers(&[1], &[-1]), graph.integers(&[1], &[i64::MAX]));
        let before = graph.op("Slice", &[&self.values, &from, &last, &axis], vec![]);
        let after = graph.op("Slice", &[&self.values, &one, &end, &axis], vec![]);
        let change = graph.op("Sub", &[&after, &before], vec![]);
        let (pads, one) = (graph.integers(&[6], &[0, 0, 1, 0, 0, 0]), graph.double(1.0));
        let change = graph.op("Pad", &[&change, &pads, &self.zero], vec![]);
        let size = graph.op("Abs", &[&change], vec![]);
        let sum = self.sum(graph, &size, [&one, count]);
        let changes = graph.op("Max", &[before_last, &one], vec![]);
        graph.op("Div", &[&sum, &changes], vec![])
    }
}
