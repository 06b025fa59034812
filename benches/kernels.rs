//! Kernels by instruction set and active share: `cargo bench --bench kernels`.
#![allow(clippy::unwrap_used)]

use divan::{Bencher, black_box};
use kenyon_learn::data::BinRanges;
use kenyon_learn::nn::kernels::{Isa, Lane, SparseRows, TopK, Winners, forward, top_k, update};
use kenyon_learn::nn::layers::sparse_net::{
    Hidden, InferenceNet, Picture, ReceptiveField, Scratch, SparseNet, SparseNetShape,
};
use kenyon_learn::random::Random;

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

    fn rows(&self) -> SparseRows<'_> {
        SparseRows::new(&self.offsets, &self.indices, &self.values, self.width).unwrap()
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

/// A whole answer: 784 inputs (19 % active) → units at 5 % → 10, by units; all units have all inputs.
#[divan::bench(args = [512, 1024, 2048, 4096])]
fn one_row_784_answer(bencher: Bencher, units: usize) {
    answer(bencher, vec![(units, units / 20).into()], 1);
}

/// As above with the same 51 winners for every number of units.
#[divan::bench(args = [1024, 2048, 4096])]
fn one_row_784_answer_51_winners(bencher: Bencher, units: usize) {
    answer(bencher, vec![(units, 51).into()], 1);
}

/// As above, units with windows of the picture, and above them the neighbouring units.
#[divan::bench(args = ["1024", "2048", "2048,2048"])]
fn one_row_784_answer_windows(bencher: Bencher, hidden: &str) {
    windows(bencher, hidden, 1);
}

/// As above, 64 rows at once.
#[divan::bench(args = ["1024", "2048,2048"])]
fn rows_64_784_answer_windows(bencher: Bencher, hidden: &str) {
    windows(bencher, hidden, 64);
}

fn windows(bencher: Bencher, hidden: &str, rows: usize) {
    let picture = Picture { start: 0, height: 28, width: 28, channels: 1 };
    let receptive_field =
        |level: usize| if level == 0 { ReceptiveField::Windows(0.4, vec![picture]) } else { ReceptiveField::Near };
    let sizes = hidden.split(',').map(|units| units.parse::<usize>().unwrap());
    let layer = |(level, units)| Hidden {
        units,
        winners: units / 20,
        winner_groups: 1,
        receptive_field: receptive_field(level),
    };
    answer(bencher, sizes.enumerate().map(layer).collect(), rows);
}

/// 784 → hidden → 10 as it serves after training.
fn answer(bencher: Bencher, hidden: Vec<Hidden>, rows: usize) {
    let sparse = Sparse::new(rows, 784, 0.19);
    let mut net =
        SparseNet::new(SparseNetShape { inputs: 784, hidden, outputs: 10, skip: true, bins: BinRanges::default() }, 1);
    // Digits are drawn on the middle 20 by 20 pixels.
    let drawn = |pixel: usize| [pixel / 28, pixel % 28].iter().all(|at| (4..24).contains(at));
    net.assign_receptive_fields(&(0..784).map(|pixel| if drawn(pixel) { 0.4 } else { 0.0 }).collect::<Vec<_>>());
    let mut tensors = net.save().unwrap();
    InferenceNet::round(&net.shape, &mut tensors).unwrap();
    let net = InferenceNet::load(net.shape, &tensors).unwrap();
    let mut scratch = Scratch::default();
    bencher.bench_local(|| net.infer(Isa::best(), &sparse.rows(), &mut scratch));
}
