//! Trees that grow with every row: a Mondrian forest whose predictions are aggregated over all prunings of each tree
//! (Mourtada, Gaïffas & Scornet 2021, "AMF: Aggregated Mondrian forests for online learning"). A row extends the
//! box of each node on its path; where it falls outside, a split may be inserted, the sooner the further outside.
//! Every node predicts the classes of its rows, and is weighted by its past log loss.

use super::{ExpertKind, ExpertRow, Lesson, Pass, StreamExpert, Truth, from_bytes, to_bytes};
use crate::Result;
use crate::learning::stream::copy_on_write::CopyOnWrite;
use crate::learning::stream::inputs::ReceptiveField;
use crate::nn::probability::softmax;
use crate::random::Random;
use serde::{Deserialize, Serialize};

/// Trees of a forest.
const TREES: usize = 20;
/// Nodes of a tree: then no more splits are made, and what is kept stays bounded.
const MOST_NODES: usize = 2_000;
/// Prior count of every class in a node, in rows.
const PRIOR: f32 = 0.1;
/// A forest whose predictions have less weight than this after this many rows is paused.
const MIN_WEIGHT: (f32, u64) = (1e-3, 3_000);
/// Learning rate of the sharpness of the predictions.
const SHARPEN: f32 = 0.01;
/// Smallest probability used.
const LEAST: f32 = 1e-6;
/// No node.
const NONE: u32 = u32::MAX;

pub(super) const KIND: ExpertKind = ExpertKind {
    name: "forest",
    make: |shape| {
        let Some(inputs) = shape.inputs().filter(|_| !shape.regression) else { return Vec::new() };
        vec![Box::new(Forest::new(inputs.width(ReceptiveField::Plain) - 1, shape.seed))]
    },
    load: |bytes| Ok(Box::new(from_bytes::<Forest>(bytes)?)),
};

/// Trees over inputs of a fixed width and a growing number of classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::learning::stream) struct Forest {
    width: usize,
    classes: usize,
    seed: u64,
    rows: u64,
    /// Logarithm of the power applied to the predictions: the mean of many trees is underconfident.
    sharpness: f32,
    /// Whether it neither predicts nor learns because its weight is negligible.
    paused: bool,
    trees: CopyOnWrite<Vec<Tree>>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Tree {
    nodes: Vec<Node>,
    /// Least and greatest value of each input in a node, `[nodes, 2, width]`.
    boxes: Vec<f32>,
    /// Rows of each class in a node, `[nodes, classes]`.
    counts: Vec<f32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Node {
    parent: u32,
    /// Where rows with at most the threshold go, and the others; [`NONE`] in a leaf.
    children: [u32; 2],
    feature: u32,
    threshold: f32,
    /// When it was created, in the time of the Mondrian process.
    time: f32,
    /// Logarithm of the weight of its own answers, and of its subtree's.
    weight: f32,
    subtree: f32,
}

impl Node {
    fn new(parent: u32, time: f32) -> Self {
        Self { parent, children: [NONE; 2], feature: 0, threshold: 0.0, time, weight: 0.0, subtree: 0.0 }
    }

    fn is_leaf(&self) -> bool {
        self.children[0] == NONE
    }

    fn side(&self, input: &[f32]) -> usize {
        usize::from(input[self.feature as usize] > self.threshold)
    }
}

impl Forest {
    /// Trees without a node.
    fn new(width: usize, seed: u64) -> Self {
        Self {
            width,
            classes: 0,
            seed,
            rows: 0,
            sharpness: 0.5,
            paused: false,
            trees: vec![Tree::default(); TREES].into(),
        }
    }

    /// Extends the arrays for classes up to `classes`.
    fn extend(&mut self, classes: usize) {
        let before = self.classes;
        for tree in self.trees.iter_mut().filter(|_| classes > before) {
            let old = tree.counts.chunks_exact(before.max(1));
            tree.counts = old.flat_map(|row| row.iter().copied().chain(vec![0.0; classes - row.len()])).collect();
        }
        self.classes = self.classes.max(classes);
    }

    /// Class probabilities, `[classes]`, uniform while it is paused; `buffer` is for one tree.
    fn predict(&self, input: &[f32], buffer: &mut Vec<f32>, out: &mut [f32]) {
        if self.paused {
            return out.fill(1.0 / out.len().max(1) as f32);
        }
        out.fill(0.0);
        buffer.resize(self.classes, 0.0);
        for tree in self.trees.iter() {
            tree.predict(input, self.classes, buffer);
            out.iter_mut().zip(&*buffer).for_each(|(o, p)| *o += p / TREES as f32);
        }
        let power = self.sharpness.exp();
        out.iter_mut().for_each(|o| *o = power * o.max(LEAST).ln());
        softmax(out);
    }

    /// Learns a row whose prediction was `answered`, unless the `weight` of its predictions is so small that it pauses.
    fn learn(&mut self, input: &[f32], class: usize, answered: &[f32], weight: f32) {
        if self.paused {
            return;
        }
        if self.rows >= MIN_WEIGHT.1 && weight < MIN_WEIGHT.0 {
            self.start_over();
            self.paused = true;
            return;
        }
        // One step down the log loss: d ln p(truth) / d ln power = ln p(truth) − E ln p.
        let ln = |p: f32| p.max(LEAST).ln();
        let expected: f32 = answered.iter().map(|&p| p * ln(p)).sum();
        let slope = answered.get(class).map_or(0.0, |&p| ln(p) - expected);
        self.sharpness = (self.sharpness + SHARPEN * slope.clamp(-1.0, 1.0)).clamp(-1.0, 2.0);
        let (seed, rows, classes) = (self.seed, self.rows, self.classes);
        for (number, tree) in self.trees.iter_mut().enumerate() {
            let mut random = Random::stream(seed, "mondrian", rows * TREES as u64 + number as u64);
            tree.learn(input, class, classes, &mut random);
        }
        self.rows += 1;
    }

    /// Forgets everything, for as many classes as before, and continues.
    fn start_over(&mut self) {
        self.trees = vec![Tree::default(); TREES].into();
        (self.rows, self.paused) = (0, false);
    }
}

impl StreamExpert for Forest {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn predict_one(&self, row: &ExpertRow<'_>, buffer: &mut Vec<f32>, out: &mut [f32]) {
        self.predict(row.view.columns(), buffer, out);
    }

    // It counts rows: one that was counted must not be counted again.
    fn learn_one(&mut self, row: &ExpertRow<'_>, lesson: &Lesson<'_>) {
        if let (Truth::Class(class), Pass::Stream | Pass::RebuildFirst) = (lesson.truth, lesson.pass)
            && lesson.credibility > 0.5
        {
            self.learn(row.view.columns(), class, lesson.predicted, lesson.weight);
        }
    }

    fn on_drift(&mut self, _fade: bool, _shared: &super::Shared) {
        self.start_over();
    }

    fn restart(&mut self) {
        self.start_over();
    }

    fn grow(&mut self, classes: usize) {
        self.extend(classes);
    }

    fn bytes(&self) -> u64 {
        let of = |t: &Tree| t.nodes.len() * size_of::<Node>() + 4 * (t.boxes.len() + t.counts.len());
        self.trees.iter().map(of).sum::<usize>() as u64
    }

    fn save(&self) -> Result<Vec<u8>> {
        to_bytes(self)
    }

    fn fork(&self) -> Box<dyn StreamExpert> {
        Box::new(self.clone())
    }

    fn published(&self) -> Box<dyn StreamExpert> {
        Box::new(self.clone())
    }
}

impl Tree {
    fn box_of(&self, node: u32, width: usize) -> (&[f32], &[f32]) {
        self.boxes[node as usize * 2 * width..(node as usize + 1) * 2 * width].split_at(width)
    }

    fn counts_of(&self, node: u32, classes: usize) -> &[f32] {
        &self.counts[node as usize * classes..(node as usize + 1) * classes]
    }

    fn leaf(&self, input: &[f32]) -> u32 {
        let mut at = 0;
        while !self.nodes[at as usize].is_leaf() {
            let node = &self.nodes[at as usize];
            at = node.children[node.side(input)];
        }
        at
    }

    /// The prediction of all prunings by their weights: from the leaf up, each node against those below it.
    fn predict(&self, input: &[f32], classes: usize, out: &mut [f32]) {
        if self.nodes.is_empty() {
            return out.fill(1.0 / classes.max(1) as f32);
        }
        let mut at = self.leaf(input);
        self.answer(at, classes, |class, p| out[class] = p);
        while self.nodes[at as usize].parent != NONE {
            at = self.nodes[at as usize].parent;
            let node = &self.nodes[at as usize];
            let own = 0.5 * (node.weight - node.subtree).exp();
            self.answer(at, classes, |class, p| out[class] += own * (p - out[class]));
        }
    }

    fn answer(&self, node: u32, classes: usize, mut write: impl FnMut(usize, f32)) {
        let counts = self.counts_of(node, classes);
        let total = counts.iter().sum::<f32>() + PRIOR * classes as f32;
        counts.iter().enumerate().for_each(|(class, count)| write(class, (count + PRIOR) / total));
    }

    fn learn(&mut self, input: &[f32], class: usize, classes: usize, random: &mut Random) {
        let mut at = 0;
        if self.nodes.is_empty() {
            self.add(NONE, 0.0, input, classes);
        }
        loop {
            if let Some(time) = self.split_time(at, input, class, classes, random) {
                let leaf = self.split(at, time, input, classes, random);
                self.take(at, input, class, classes);
                self.take(leaf, input, class, classes);
                at = leaf;
                break;
            }
            self.charge(at, class, classes);
            self.take(at, input, class, classes);
            let node = &self.nodes[at as usize];
            if node.is_leaf() {
                break;
            }
            at = node.children[node.side(input)];
        }
        while at != NONE {
            let node = &self.nodes[at as usize];
            let below = node.children.map(|child| self.nodes.get(child as usize).map_or(0.0, |child| child.subtree));
            let subtree = if node.is_leaf() { node.weight } else { mean_of_logs(node.weight, below[0] + below[1]) };
            let node = &mut self.nodes[at as usize];
            node.subtree = subtree;
            at = node.parent;
        }
    }

    fn add(&mut self, parent: u32, time: f32, input: &[f32], classes: usize) -> u32 {
        self.nodes.push(Node::new(parent, time));
        self.boxes.extend(input.iter().chain(input));
        self.counts.resize(self.counts.len() + classes, 0.0);
        self.nodes.len() as u32 - 1
    }

    /// Weights a node that is not new by its log loss.
    fn charge(&mut self, node: u32, class: usize, classes: usize) {
        let mut own = 0.0;
        self.answer(node, classes, |c, p| own = if c == class { p } else { own });
        self.nodes[node as usize].weight += own.ln();
    }

    /// Adds a row to a node's box and counts.
    fn take(&mut self, node: u32, input: &[f32], class: usize, classes: usize) {
        self.counts[node as usize * classes + class] += 1.0;
        let width = input.len();
        let (least, most) = self.boxes[node as usize * 2 * width..(node as usize + 1) * 2 * width].split_at_mut(width);
        for ((least, most), &x) in least.iter_mut().zip(most).zip(input) {
            *least = least.min(x);
            *most = most.max(x);
        }
    }

    /// The time when the box of `node`, as the row extends it, is split; none if that is after its children were created.
    /// A leaf whose rows are all of the row's class is not split.
    fn split_time(&self, node: u32, input: &[f32], class: usize, classes: usize, random: &mut Random) -> Option<f32> {
        if self.nodes.len() + 2 > MOST_NODES {
            return None;
        }
        let counts = self.counts_of(node, classes);
        if counts.iter().enumerate().all(|(c, &count)| count == 0.0 || c == class) {
            return None;
        }
        let (least, most) = self.box_of(node, input.len());
        let outside: f32 = input.iter().zip(least).zip(most).map(|((x, l), m)| (l - x).max(x - m).max(0.0)).sum();
        if outside <= 0.0 {
            return None;
        }
        let node = &self.nodes[node as usize];
        let time = node.time - (1.0 - random.uniform()).max(f32::MIN_POSITIVE).ln() / outside;
        (node.is_leaf() || time < self.nodes[node.children[0] as usize].time).then_some(time)
    }

    /// Splits a node where the row leaves its box: one child gets the contents of the node, the other will have the
    /// row alone.
    fn split(&mut self, node: u32, time: f32, input: &[f32], classes: usize, random: &mut Random) -> u32 {
        let width = input.len();
        let (least, most) = self.box_of(node, width);
        let outside = |i: usize| (least[i] - input[i]).max(input[i] - most[i]).max(0.0);
        let mut rest = random.uniform() * (0..width).map(outside).sum::<f32>();
        let mut feature = (0..width).rfind(|&i| outside(i) > 0.0).unwrap_or(0);
        for i in 0..width {
            rest -= outside(i);
            if rest < 0.0 {
                feature = i;
                break;
            }
        }
        let above = input[feature] > most[feature];
        let edge = if above { most[feature] } else { least[feature] };
        let (low, high) = if above { (edge, input[feature]) } else { (input[feature], edge) };
        // The row itself must go to the new child, whatever the rounding.
        let drawn = low + random.uniform() * (high - low);
        let threshold = if drawn >= high { low } else { drawn };
        let old = self.nodes.len() as u32;
        self.nodes.push(Node { parent: node, time, ..self.nodes[node as usize].clone() });
        self.boxes.extend_from_within(node as usize * 2 * width..(node as usize + 1) * 2 * width);
        self.counts.extend_from_within(node as usize * classes..(node as usize + 1) * classes);
        for child in self.nodes[old as usize].children.into_iter().filter(|child| *child != NONE) {
            self.nodes[child as usize].parent = old;
        }
        let new = self.add(node, time, input, classes);
        let node = &mut self.nodes[node as usize];
        (node.feature, node.threshold) = (feature as u32, threshold);
        node.children = if above { [old, new] } else { [new, old] };
        new
    }
}

/// `ln((eᵃ + eᵇ) / 2)`.
fn mean_of_logs(a: f32, b: f32) -> f32 {
    let (least, most) = if a < b { (a, b) } else { (b, a) };
    most + ((least - most).exp() * 0.5 + 0.5).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A checkerboard of four by four cells and two classes, which no linear model can separate.
    fn field(random: &mut Random) -> ([f32; 2], usize) {
        let (x, y) = (random.uniform(), random.uniform());
        ([x, y], ((4.0 * x) as usize + (4.0 * y) as usize) % 2)
    }

    #[test]
    fn trees_learn_a_checkerboard_and_stay_bounded() {
        let (mut forest, mut random) = (Forest::new(2, 3), Random::new(5));
        let (mut right, mut answer, mut buffer) = (0, vec![0.0; 2], Vec::new());
        forest.grow(1);
        for row in 0..6_000 {
            let (input, class) = field(&mut random);
            if class >= forest.classes {
                forest.grow(class + 1);
            }
            forest.predict(&input, &mut buffer, &mut answer[..forest.classes]);
            assert!((answer[..forest.classes].iter().sum::<f32>() - 1.0).abs() < 1e-4);
            right += usize::from(row >= 5_000 && (answer[1] > answer[0]) == (class == 1));
            forest.learn(&input, class, &answer[..forest.classes], 1.0);
        }
        assert!(right > 940, "{right} of 1,000");
        for tree in forest.trees.iter() {
            assert!(tree.nodes.len() <= MOST_NODES);
            for (at, node) in tree.nodes.iter().enumerate().filter(|(_, node)| !node.is_leaf()) {
                // A branch has the rows of its children, and contains their boxes.
                for class in 0..2 {
                    let [a, b] = node.children.map(|child| tree.counts_of(child, 2)[class]);
                    assert!(tree.counts_of(at as u32, 2)[class] >= a + b);
                }
                for child in node.children {
                    assert!(
                        tree.nodes[child as usize].parent == at as u32 && tree.nodes[child as usize].time > node.time
                    );
                    let ((least, most), (l, m)) = (tree.box_of(at as u32, 2), tree.box_of(child, 2));
                    assert!((0..2).all(|i| least[i] <= l[i] && m[i] <= most[i]));
                }
            }
        }
    }

    #[test]
    fn the_same_rows_give_the_same_trees() {
        let grown = || {
            let (mut forest, mut random) = (Forest::new(2, 3), Random::new(5));
            forest.grow(2);
            (0..300).for_each(|_| {
                let (input, class) = field(&mut random);
                forest.learn(&input, class, &[0.5, 0.5], 1.0);
            });
            forest
        };
        assert_eq!(grown(), grown());
        assert!(grown().bytes() > 10_000);
    }

    #[test]
    fn it_pauses_where_it_weighs_nothing_until_a_change() {
        let (mut forest, mut random) = (Forest::new(2, 3), Random::new(5));
        forest.grow(2);
        let mut learn = |forest: &mut Forest, rows: u64| {
            (0..rows).for_each(|_| {
                let (input, class) = field(&mut random);
                forest.learn(&input, class, &[0.5, 0.5], 0.0);
            });
        };
        learn(&mut forest, MIN_WEIGHT.1);
        assert!(forest.bytes() > 100_000);
        learn(&mut forest, 1);
        assert_eq!(forest.bytes(), 0);
        let mut answer = [0.0; 2];
        forest.predict(&[0.1, 0.1], &mut Vec::new(), &mut answer);
        assert_eq!(answer, [0.5, 0.5]);
        forest.start_over();
        learn(&mut forest, 100);
        assert!(forest.bytes() > 0);
    }
}
