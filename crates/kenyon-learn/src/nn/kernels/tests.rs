//! Kernels against plain loops, on every instruction set this machine has.

use super::vectors::dot;
use super::*;
use crate::random::Random;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Random rows, some of them empty, some all zeros.
struct Sparse {
    offsets: Vec<u32>,
    indices: Vec<u32>,
    values: Vec<f32>,
    bound: usize,
}

impl Sparse {
    fn random(random: &mut Random, rows: usize, bound: usize) -> Self {
        let mut made = Self { offsets: vec![0], indices: vec![], values: vec![], bound };
        for row in 0..rows {
            let share = [0.0, 0.1, 0.5, 1.0][row % 4];
            for index in 0..bound {
                if random.uniform() < share {
                    made.indices.push(index as u32);
                    made.values.push(if row % 5 == 3 { 0.0 } else { random.normal() });
                }
            }
            made.offsets.push(made.indices.len() as u32);
        }
        made
    }

    fn rows(&self) -> SparseRows<'_> {
        SparseRows::new(&self.offsets, &self.indices, &self.values, self.bound).unwrap()
    }
}

fn lanes(random: &mut Random, n: usize) -> Vec<Lane> {
    (0..n).map(|_| Lane(std::array::from_fn(|_| random.normal()))).collect()
}

fn close(a: f32, b: f32) -> bool {
    (a - b).abs() <= 1e-4 * (1.0 + a.abs().max(b.abs()))
}

#[test]
fn rows_are_checked_once_and_for_all() {
    assert!(SparseRows::new(&[0, 1], &[3], &[1.0], 4).is_some());
    assert!(SparseRows::new(&[0, 1], &[3], &[1.0], 3).is_none(), "an index at the bound");
    assert!(SparseRows::new(&[0, 2], &[1], &[1.0], 3).is_none(), "offsets beyond the entries");
    assert!(SparseRows::new(&[1, 0], &[1], &[1.0], 3).is_none(), "falling offsets");
    assert!(SparseRows::new(&[0, 1], &[1], &[], 3).is_none(), "an index without a value");
    assert!(SparseRows::new(&[0, 0], &[], &[], 0).is_some(), "an empty row of an empty space");
}

#[test]
fn narrowed_rows_hold_what_the_field_reads() {
    let mut random = Random::new(9);
    let mut narrowed = NarrowedRows::default();
    for (rows, bound, share) in [(9, 40, 0.5), (4, 1, 1.0), (21, 70, 0.1), (8, 30, 0.0), (5, 300, 1.0)] {
        let sparse = Sparse::random(&mut random, rows, bound);
        let fields: Vec<InputSet> = (0..3)
            .map(|_| {
                let read: Vec<bool> = (0..bound).map(|_| random.uniform() < share).collect();
                InputSet::new(bound, |input| read[input])
            })
            .collect();
        // A slice, whose entries do not begin at 0.
        let whole = sparse.rows().slice(1, rows - 1);
        InputIndex::new(bound, fields.iter()).narrow(&whole, true, &mut narrowed);
        for (at, field) in fields.iter().enumerate() {
            let (seen, mut origins) = (narrowed.rows(at), narrowed.origins(at).iter());
            assert_eq!((seen.len(), seen.bound()), (rows - 1, field.seen().len()));
            for row in 0..seen.len() {
                let (lines, values) = seen.row(row);
                let inputs = lines.iter().map(|&line| field.seen()[line as usize]);
                let got: Vec<(u32, f32)> = inputs.zip(values.iter().copied()).collect();
                let (indices, values) = whole.row(row);
                let all = indices.iter().copied().zip(values.iter().copied());
                let wanted: Vec<(u32, f32)> = all.filter(|(index, _)| field.line(*index as usize).is_some()).collect();
                assert_eq!(got, wanted, "row {row}");
                for (index, _) in wanted {
                    assert_eq!(sparse.indices[*origins.next().unwrap() as usize], index);
                }
            }
            assert!(origins.next().is_none());
        }
    }
}

#[test]
fn block_kernels_equal_plain_loops() {
    for isa in Isa::available() {
        for (rows, inputs) in [(1, 1), (3, 5), (9, 33), (32, 100)] {
            let mut random = Random::new(rows as u64 * 1000 + inputs as u64);
            let sparse = Sparse::random(&mut random, rows, inputs);
            let sparse = sparse.rows();
            let weights = lanes(&mut random, inputs);
            let bias = lanes(&mut random, 1)[0];
            let mut out = vec![Lane::ZERO; rows * 2];
            forward(isa, &weights, &bias, &sparse, &mut out, 2, &weights);
            let deltas = lanes(&mut random, rows);
            // Winners: up to 3 lanes a row, in the second of two blocks.
            let (mut starts, mut units, mut moves) = (vec![], vec![], vec![]);
            for row in 0..rows {
                starts.extend([units.len() as u32; 2]);
                for lane in 0..row % 4 {
                    units.push(16 + 5 * lane as u32);
                    moves.push(random.normal());
                }
                starts.push(units.len() as u32);
            }
            let winners = Winners::new(&starts, 2, &units, &moves);
            let (mut updated, mut updated_bias) = (weights.clone(), bias);
            update(isa, &mut updated, &mut updated_bias, &sparse, &winners, 1, &weights);
            let (mut dense, mut dense_bias) = (weights.clone(), bias);
            update_dense(isa, &mut dense, &mut dense_bias, &sparse, &deltas, 1);
            let mut back = vec![0.0; sparse.entries()];
            back_sparse(isa, &weights, &sparse, &winners, 1, &mut back);
            let mut back_all = vec![0.0; sparse.entries()];
            back_dense(isa, &weights, &sparse, &deltas, 1, &mut back_all);

            let (mut want, mut want_dense) = (weights.clone(), weights.clone());
            let (mut want_bias, mut want_dense_bias) = (bias, bias);
            for row in 0..rows {
                let (indices, values) = sparse.row(row);
                let (units, moves) = winners.block(row, 1);
                for l in 0..LANE {
                    let plain: f32 = indices.iter().zip(values).map(|(&i, v)| v * weights[i as usize].0[l]).sum();
                    assert!(close(out[row * 2].0[l], bias.0[l] + plain), "forward {} {rows} {inputs}", isa.name());
                    want_dense_bias.0[l] += deltas[row].0[l];
                }
                units.iter().zip(moves).for_each(|(&u, d)| want_bias.0[u as usize % LANE] += d);
                for (at, (&i, v)) in sparse.range(row).zip(indices.iter().zip(values)) {
                    let line = &weights[i as usize].0;
                    for l in 0..LANE {
                        want_dense[i as usize].0[l] += v * deltas[row].0[l];
                    }
                    units.iter().zip(moves).for_each(|(&u, d)| want[i as usize].0[u as usize % LANE] += v * d);
                    let sparse: f32 = units.iter().zip(moves).map(|(&u, d)| line[u as usize % LANE] * d).sum();
                    let all: f32 = line.iter().zip(&deltas[row].0).map(|(w, d)| w * d).sum();
                    assert!(close(back[at], sparse) && close(back_all[at], all), "backward {}", isa.name());
                }
            }
            let flat = |lanes: &[Lane]| Lane::flat(lanes).to_vec();
            let same = |a: Vec<f32>, b: Vec<f32>| a.iter().zip(&b).all(|(&a, &b)| close(a, b));
            assert!(same(flat(&updated), flat(&want)) && same(flat(&dense), flat(&want_dense)), "{}", isa.name());
            assert!(same(updated_bias.0.to_vec(), want_bias.0.to_vec()));
            assert!(same(dense_bias.0.to_vec(), want_dense_bias.0.to_vec()));
        }
    }
}

#[test]
fn line_kernels_equal_plain_loops() {
    for isa in Isa::available() {
        for (rows, inputs, width) in [(1, 1, 1), (5, 11, 2), (9, 33, 3)] {
            let mut random = Random::new(rows as u64 * 100 + inputs as u64);
            let sparse = Sparse::random(&mut random, rows, inputs);
            let sparse = sparse.rows();
            let coarse = |random: &mut Random| f32::from_bits(random.normal().to_bits() & 0xffff_0000);
            let numbers: Vec<[f32; PAIR]> =
                (0..inputs * width).map(|_| std::array::from_fn(|_| coarse(&mut random))).collect();
            let halves = |n: &[f32; PAIR]| -> [Lane; 2] {
                std::array::from_fn(|h| Lane(std::array::from_fn(|l| n[h * LANE + l])))
            };
            let pairs: Vec<Pair> = numbers.iter().map(|n| Pair::exact(n).unwrap()).collect();
            let lines: Vec<[Lane; 2]> = numbers.iter().map(halves).collect();
            assert!(numbers.iter().zip(&pairs).all(|(n, p)| (0..PAIR).all(|u| p.get(u) == n[u])));
            let bias: Vec<[Lane; 2]> = (0..width).map(|_| halves(&std::array::from_fn(|_| random.normal()))).collect();
            let mut out = vec![[Lane::ZERO; 2]; rows * width];
            forward_pairs(isa, &pairs, &[], &bias, &sparse, &mut out);
            let mut same = vec![[Lane::ZERO; 2]; rows * width];
            forward_lines(isa, &lines, &[], &bias, &sparse, &mut same);
            assert_eq!(out, same, "{}: the same numbers, however they are stored", isa.name());
            let own = inputs / 2 * width;
            forward_pairs(isa, &pairs[..own], &lines[own..], &bias, &sparse, &mut same);
            assert_eq!(out, same, "{}: the last lines may be sums", isa.name());
            for row in 0..rows {
                let (indices, values) = sparse.row(row);
                for unit in 0..width * PAIR {
                    let (at, half, lane) = (unit / PAIR, unit % PAIR / LANE, unit % LANE);
                    let sum = |(&i, v): (&u32, &f32)| v * numbers[i as usize * width + at][unit % PAIR];
                    let plain: f32 = indices.iter().zip(values).map(sum).sum();
                    let got = out[row * width + at][half].0[lane];
                    assert!(close(got, bias[at][half].0[lane] + plain), "{} {rows} {inputs} {unit}", isa.name());
                }
            }
        }
    }
    assert!(Pair::exact(&[0.1; PAIR]).is_none(), "what 16 bits do not hold stays as it is");
}

#[test]
fn adam_moves_only_what_the_mask_and_the_ids_name() {
    for isa in Isa::available() {
        let mut random = Random::new(5);
        let before = lanes(&mut random, 6);
        let gradients = lanes(&mut random, 2);
        let (mut weights, mut first, mut second) = (before.clone(), vec![Lane::ZERO; 6], vec![Lane::ZERO; 6]);
        let mask = Lane(std::array::from_fn(|l| (l % 2) as f32));
        let step = AdamStep {
            rate: 0.1,
            beta1: 0.9,
            beta2: 0.999,
            correction1: 10.0,
            correction2: 1000.0,
            epsilon: 1e-8,
            decay: 0.5,
            scale: 1.0,
        };
        adam_lanes(isa, &mut weights, &mut first, &mut second, &[1, 4], &gradients, &mask, &step);
        for (i, (after, before)) in weights.iter().zip(&before).enumerate() {
            for l in 0..LANE {
                let gradient = [1, 4].iter().position(|&id| id == i).map(|at| gradients[at].0[l]);
                let want = match gradient {
                    // In the first step the corrected moments are the gradient and its square.
                    Some(g) if l % 2 == 1 => before.0[l] - 0.1 * (g.signum() + 0.5 * before.0[l]),
                    _ => before.0[l],
                };
                assert!((after.0[l] - want).abs() < 1e-3, "{} line {i} lane {l}", isa.name());
            }
        }
    }
}

#[test]
fn vectors_equal_plain_loops() {
    for isa in Isa::available() {
        for n in [0, 1, 7, 32, 33, 200] {
            let mut random = Random::new(n as u64);
            let (x, y) = (random.normals(n, 1.0), random.normals(n, 1.0));
            let plain: f32 = x.iter().zip(&y).map(|(a, b)| a * b).sum();
            assert!(close(dot(isa, &x, &y), plain));
            assert!(close(dot(isa, &y, &y), squared_norm(isa, &y)));
        }
    }
}

#[test]
fn products_in_blocks_are_those_of_rows() {
    for isa in Isa::available() {
        let mut random = Random::new(3);
        let (rows, x) = (random.normals(40 * 64, 1.0), random.normals(64, 1.0));
        let mut blocks = [[[0.0; 16]; 64]; 3];
        for (at, row) in rows.chunks_exact(64).enumerate() {
            row.iter().enumerate().for_each(|(number, value)| blocks[at / 16][number][at % 16] = *value);
        }
        let plain: Vec<f32> = rows.chunks_exact(64).map(|row| dot(isa, row, &x)).collect();
        let mut found = [0.0; 40];
        block_products(isa, &blocks, x.first_chunk().unwrap(), &mut found);
        assert_eq!(plain, found, "{}", isa.name());
    }
}

/// The definition: sort by falling score, then by rising index.
fn plain_top_k(scores: &[f32], k: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    let value = |i: u32| {
        let score = scores[i as usize];
        if score.is_nan() { f32::NEG_INFINITY } else { score + 0.0 }
    };
    order.sort_by(|&a, &b| {
        let nan = |i: u32| scores[i as usize].is_nan();
        (nan(a), value(b)).partial_cmp(&(nan(b), value(a))).unwrap().then(a.cmp(&b))
    });
    order.truncate(k);
    order.sort_unstable();
    order
}

#[test]
fn top_k_is_exact_whatever_the_scores() {
    for isa in Isa::available() {
        let mut scratch = TopK::default();
        let mut random = Random::new(9);
        for round in 0..400 {
            let n = 1 + random.below(if round % 10 == 0 { 3000 } else { 100 });
            let k = random.below(n + 2);
            let spread = [1.0, 1e-30, 1e30, 0.0][round % 4];
            let mut scores = random.normals(n, spread);
            match round % 7 {
                // Many ties, at different places.
                1 => scores.iter_mut().for_each(|s| *s = (*s / spread.max(1e-30)).round().clamp(-1.0, 1.0)),
                2 => scores.iter_mut().for_each(|s| *s = 0.0),
                3 => scores.iter_mut().step_by(3).for_each(|s| *s = -0.0),
                4 => scores.iter_mut().step_by(2).for_each(|s| *s = f32::NAN),
                5 => scores.iter_mut().step_by(4).for_each(|s| *s = f32::INFINITY),
                0 if round % 3 == 0 => scores.iter_mut().for_each(|s| *s = f32::NAN),
                6 => scores.iter_mut().step_by(5).for_each(|s| *s = f32::NEG_INFINITY),
                _ => {}
            }
            let mut out = vec![];
            top_k(isa, &scores, k, &mut scratch, &mut out);
            assert_eq!(out.len(), k.min(n), "{} round {round}: exactly k", isa.name());
            assert_eq!(out, plain_top_k(&scores, k), "{} round {round} n {n} k {k}", isa.name());
        }
    }
}

#[test]
fn pool_does_every_item_once_in_its_place() {
    for threads in [1, 2, 3, 5] {
        let pool = ThreadPool::new(threads);
        for n in [0, 1, 2, 3, 7, 100] {
            for _ in 0..20 {
                let mut items = vec![0usize; n];
                pool.each(&mut items, |_| 1, |i, item| *item += i + 1);
                assert!(items.iter().enumerate().all(|(i, &item)| item == i + 1), "{threads} threads, {n} items");
            }
        }
    }
}

#[test]
fn a_panic_of_any_thread_reaches_the_caller_and_the_pool_lives_on() {
    let pool = ThreadPool::new(3);
    for bad in [0, 5, 8] {
        let ended = AtomicUsize::new(0);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pool.each(
                &mut [0; 9],
                |_| 1,
                |i, _| {
                    assert!(i != bad, "item {bad} is bad");
                    ended.fetch_add(1, Ordering::Relaxed);
                },
            );
        }));
        assert!(caught.is_err());
        let mut items = [1; 9];
        pool.each(&mut items, |_| 1, |_, item| *item += 1);
        assert_eq!(items, [2; 9]);
    }
}

#[test]
fn scores_are_boosted_from_the_least() {
    let mut random = Random::new(4);
    for n in [1, 5, 16, 40] {
        let (mut z, boosts) = (random.normals(n, 3.0), random.normals(n, 1.0));
        z[n / 2] = f32::NAN;
        let least = z.iter().fold(f32::INFINITY, |least, &z| least.min(z));
        let mut out = vec![0.0; n];
        boosted(&z, &boosts, &mut out);
        for ((out, z), boost) in out.iter().zip(&z).zip(&boosts) {
            let plain = (z - least) * boost;
            assert!(*out == plain || plain.is_nan() && out.is_nan(), "{out} {plain}");
        }
    }
}
