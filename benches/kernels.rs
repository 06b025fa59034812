//! Kernels by instruction set and active share: `cargo bench --bench kernels`.
#![allow(clippy::unwrap_used)]

use divan::{Bencher, black_box};
use kenyon::nn::kernels::{Isa, Lane, Rows, TopK, Winners, forward, top_k, update};
use kenyon::nn::sparse_net::{Scratch, Served, Shape, SparseNet};
use kenyon::random::Random;

fn main() {
    divan::main();
}

/// `rows` rows with a share `active` of `width` inputs.
struct Sparse {
    offsets: Vec<u32>,
    indices: Vec<u32>,
    values: Vec<f32>,
    width: usize,
}

impl Sparse {
    fn new(rows: usize, width: usize, active: f64) -> Self {
        let mut random = Random::new(1);
        let mut made = Self { offsets: vec![0], indices: vec![], values: vec![], width };
        let mut order: Vec<u32> = (0..width as u32).collect();
        for _ in 0..rows {
            random.shuffle(&mut order);
            let mut row = order[..((width as f64 * active) as usize).max(1)].to_vec();
            row.sort_unstable();
            made.values.extend(row.iter().map(|_| random.uniform()));
            made.indices.extend(row);
            made.offsets.push(made.indices.len() as u32);
        }
        made
    }

    fn rows(&self) -> Rows<'_> {
        Rows::new(&self.offsets, &self.indices, &self.values, self.width).unwrap()
    }
}

fn blocks(count: usize, inputs: usize) -> Vec<Vec<Lane>> {
    let mut random = Random::new(2);
    (0..count).map(|_| (0..inputs).map(|_| Lane(std::array::from_fn(|_| random.normal()))).collect()).collect()
}

/// Instruction sets by name, best last.
fn sets() -> Vec<&'static str> {
    Isa::available().into_iter().map(Isa::name).collect()
}

fn isa(name: &str) -> Isa {
    Isa::available().into_iter().find(|isa| isa.name() == name).unwrap_or(Isa::PORTABLE)
}

/// 32 rows through 2048 → 2048 at 5 %; divide by 32 for a row.
#[divan::bench(args = sets())]
fn forward_32_rows_2048(bencher: Bencher, set: &str) {
    let (sparse, weights) = (Sparse::new(32, 2048, 0.05), blocks(128, 2048));
    let mut z = vec![Lane::ZERO; 32 * 128];
    bencher.bench_local(|| {
        for (block, weights) in weights.iter().enumerate() {
            forward(isa(set), weights, &Lane::ZERO, &sparse.rows(), &mut z[block..], 128, &[]);
        }
    });
}

/// One row through 2048 → 2048, by the percentage of inputs that are active.
#[divan::bench(args = [1, 2, 5, 10, 20, 50, 100])]
fn one_row_2048_by_active_percent(bencher: Bencher, percent: usize) {
    let (sparse, weights) = (Sparse::new(1, 2048, percent as f64 / 100.0), blocks(128, 2048));
    let mut z = vec![Lane::ZERO; 128];
    bencher.bench_local(|| {
        for (block, weights) in weights.iter().enumerate() {
            forward(Isa::best(), weights, &Lane::ZERO, &sparse.rows(), &mut z[block..], 128, &[]);
        }
    });
}

/// Winners × active inputs of 32 rows, 5 % × 5 % of 2048 × 2048.
#[divan::bench(args = sets())]
fn update_32_rows_2048(bencher: Bencher, set: &str) {
    let (sparse, mut weights) = (Sparse::new(32, 2048, 0.05), blocks(128, 2048));
    let code = Sparse::new(32, 2048, 0.05);
    let mut starts = vec![];
    for row in 0..32 {
        let (units, _) = code.rows().row(row);
        let from = code.offsets[row] as usize;
        starts.extend((0..=128).map(|block| (from + units.partition_point(|&u| (u as usize) < 16 * block)) as u32));
    }
    let deltas = vec![1e-9; code.indices.len()];
    let winners = Winners::new(&starts, 128, &code.indices, &deltas);
    let mut bias = Lane::ZERO;
    bencher.bench_local(|| {
        for (block, weights) in weights.iter_mut().enumerate() {
            update(isa(set), weights, &mut bias, &sparse.rows(), &winners, block, &[]);
        }
    });
}

/// The 51 strongest of 1,024 and 102 of 2,048, rows that differ.
#[divan::bench(args = [1024, 2048, 8192])]
fn top_k_5_percent(bencher: Bencher, units: usize) {
    let mut random = Random::new(3);
    let rows: Vec<Vec<f32>> = (0..16).map(|_| random.normals(units, 1.0)).collect();
    let (mut scratch, mut out, mut turn) = (TopK::default(), vec![], 0);
    bencher.bench_local(|| {
        turn += 1;
        out.clear();
        top_k(Isa::best(), black_box(&rows[turn % 16]), units / 20, &mut scratch, &mut out);
    });
}

/// A whole answer: 784 inputs (19 % active) → units at 5 % → 10, by units.
#[divan::bench(args = [512, 1024, 2048, 4096])]
fn one_row_784_answer(bencher: Bencher, units: usize) {
    let net = served(units, units / 20);
    let (sparse, mut scratch) = (Sparse::new(1, 784, 0.19), Scratch::default());
    bencher.bench_local(|| net.infer(Isa::best(), &sparse.rows(), &mut scratch));
}

/// As above with the same 51 winners whatever the number of units.
#[divan::bench(args = [1024, 2048, 4096])]
fn one_row_784_answer_51_winners(bencher: Bencher, units: usize) {
    let net = served(units, 51);
    let (sparse, mut scratch) = (Sparse::new(1, 784, 0.19), Scratch::default());
    bencher.bench_local(|| net.infer(Isa::best(), &sparse.rows(), &mut scratch));
}

/// 784 → units → 10 as it answers after training.
fn served(units: usize, winners: usize) -> Served {
    let net = SparseNet::new(Shape { inputs: 784, hidden: vec![(units, winners)], outputs: 10, skip: true }, 1);
    let mut tensors = net.save().expect("tensors of a network");
    Served::round(&net.shape, &mut tensors).expect("tensors of a network");
    Served::load(net.shape, &tensors).expect("tensors of a network")
}
