//! Gradients against differences, bits against threads, and invariants.

mod bins;

use super::train::{Labels, NO_LABEL, Optimiser, Step, Trainer};
use super::{Hidden, InferenceNet, Picture, ReceptiveField, Scratch, SparseNet, SparseNetShape};
use crate::data::BinRanges;
use crate::nn::Tensors;
use crate::nn::kernels::{Isa, SparseRows};
use crate::random::Random;
use bins::{binned, thermometers};

struct Data {
    offsets: Vec<u32>,
    indices: Vec<u32>,
    values: Vec<f32>,
    width: usize,
}

impl Data {
    fn random(seed: u64, rows: usize, width: usize) -> Self {
        let mut random = Random::new(seed);
        let mut data = Self { offsets: vec![0], indices: vec![], values: vec![], width };
        for row in 0..rows {
            for index in 0..width {
                // Row 3 is empty, row 5 all zeros.
                if row != 3 && random.uniform() < 0.5 {
                    data.indices.push(index as u32);
                    data.values.push(if row == 5 { 0.0 } else { random.normal() });
                }
            }
            data.offsets.push(data.indices.len() as u32);
        }
        data
    }

    fn rows(&self) -> SparseRows<'_> {
        SparseRows::new(&self.offsets, &self.indices, &self.values, self.width).unwrap()
    }

    fn classes(&self, classes: u32) -> Vec<u32> {
        (0..self.offsets.len() as u32 - 1).map(|row| row % classes).collect()
    }
}

fn shape(inputs: usize, hidden: &[(usize, usize)], outputs: usize) -> SparseNetShape {
    let hidden = hidden.iter().map(|&size| size.into()).collect();
    SparseNetShape { inputs, hidden, outputs, skip: true, bins: BinRanges::default() }
}

/// As [`shape`], but units have a window of the first inputs as a picture of four rows, and of units
/// below those near.
fn local(inputs: usize, hidden: &[(usize, usize)], outputs: usize) -> SparseNetShape {
    let mut shape = shape(inputs, hidden, outputs);
    let picture = Picture { start: 0, height: 4, width: inputs / 4, channels: 1 };
    for (level, layer) in shape.hidden.iter_mut().enumerate() {
        layer.receptive_field =
            if level == 0 { ReceptiveField::Windows(0.5, vec![picture]) } else { ReceptiveField::Near };
    }
    shape
}

fn step(optimiser: Optimiser, rate: f32) -> Step {
    Step { optimiser, rate, decay: 0.0, dropout: 0.0, boost: 0.0, smoothing: 0.0, anneal: 1.0, number: 0 }
}

fn numbers(tensors: &Tensors) -> Vec<(String, Vec<f32>)> {
    let floats = tensors.iter().filter(|(_, tensor)| tensor.dtype() == candle_core::DType::F32);
    floats.map(|(name, t)| (name.clone(), t.flatten_all().unwrap().to_vec1::<f32>().unwrap())).collect()
}

/// Mean cross-entropy in plain f64, from the answers.
fn loss(net: &SparseNet, rows: &SparseRows<'_>, classes: &[u32]) -> f64 {
    let mut scratch = Scratch::default();
    net.infer(Isa::best(), rows, &mut scratch);
    let mut answers = vec![];
    scratch.append_answers(net.shape.outputs, &mut answers);
    let of_row = |(answer, &class): (&[f32], &u32)| {
        let sum: f64 = answer.iter().map(|&a| f64::from(a).exp()).sum();
        sum.ln() - f64::from(answer[class as usize])
    };
    answers.chunks(net.shape.outputs).zip(classes).map(of_row).sum::<f64>() / classes.len() as f64
}

#[test]
fn gradients_equal_differences() {
    let (any, [_, summed]) = (Data::random(1, 12, 20), thermometers(1, 12));
    let classes = any.classes(3);
    let mut shapes: Vec<SparseNetShape> = [&[][..], &[(40, 7)], &[(40, 7), (24, 5)], &[(24, 24), (33, 4), (20, 6)]]
        .map(|hidden| shape(20, hidden, 3))
        .to_vec();
    shapes.push(local(20, &[(150, 19), (64, 12)], 3));
    shapes.push(local(20, &[(64, 20)], 3));
    shapes.extend([&[][..], &[(40, 7)], &[(24, 24), (33, 4)]].map(|hidden| binned(hidden, 3)));
    for shape in shapes {
        let data = if shape.bins.is_empty() { &any } else { &summed };
        let hidden = shape.hidden.clone();
        let mut trainer = Trainer::new(shape, 7, 1);
        // A few steps, so that the readouts are not zero.
        for _ in 0..5 {
            trainer.step(&data.rows(), Labels::Classes(&classes, None), &step(Optimiser::Sgd, 0.05)).unwrap();
        }
        let before = trainer.net.clone();
        // With rate 1/rows, SGD takes off exactly the gradient of the mean loss.
        trainer.step(&data.rows(), Labels::Classes(&classes, None), &step(Optimiser::Sgd, 1.0 / 12.0)).unwrap();
        let (old, new) = (before.save().unwrap(), trainer.net.save().unwrap());
        let mut random = Random::new(3);
        let (mut checked, mut moved) = (0, 0);
        let (old, new) = (numbers(&old), numbers(&new));
        for ((name, old), (_, new)) in old.iter().zip(&new) {
            for _ in 0..25 {
                let at = random.below(old.len());
                let gradient = f64::from(old[at] - new[at]);
                let loss_at = |move_by: f32| {
                    let mut net = before.clone();
                    let mut tensors = net.save().unwrap();
                    let mut values = old.clone();
                    values[at] += move_by;
                    let dims = tensors[name].dims().to_vec();
                    tensors.insert(
                        name.clone(),
                        candle_core::Tensor::from_vec(values, dims, &candle_core::Device::Cpu).unwrap(),
                    );
                    net.load(&tensors).unwrap();
                    loss(&net, &data.rows(), &classes)
                };
                let (step, here) = (1e-3f32, loss_at(0.0));
                let up = (loss_at(step) - here) / f64::from(step);
                let down = (here - loss_at(-step)) / f64::from(step);
                // Where the winners change within the step, there is no slope to compare with.
                if (up - down).abs() > 2e-3 {
                    continue;
                }
                let slope = (up + down) / 2.0;
                checked += 1;
                assert!((gradient - slope).abs() < 2e-3, "{hidden:?} {name}[{at}]: {gradient} {slope}");
            }
            moved += usize::from(old != new);
        }
        assert!(checked > 40, "{hidden:?}: {checked} slopes were checked");
        assert_eq!(moved, old.len(), "{hidden:?}: every tensor has a gradient");
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let data = Data::random(2, 37, 50);
    let classes = data.classes(4);
    for optimiser in [Optimiser::Sgd, Optimiser::Adam] {
        let run = |shape: SparseNetShape, threads: usize| {
            let mut trainer = Trainer::new(shape, 11, threads);
            let mut losses = vec![];
            for number in 0..6 {
                let settings =
                    Step { dropout: 0.2, boost: 0.3, number, anneal: number as f32 / 5.0, ..step(optimiser, 0.01) };
                losses.push(trainer.step(&data.rows(), Labels::Classes(&classes, None), &settings).unwrap());
            }
            (losses, numbers(&trainer.state().unwrap()), trainer.infer(&data.rows()))
        };
        let bins = BinRanges::new([4..20, 30..50]);
        let shapes = [shape(50, &[(90, 9), (70, 5)], 4), local(50, &[(150, 9), (70, 5)], 4)];
        for shape in shapes.clone().into_iter().chain([SparseNetShape { bins, ..shapes[0].clone() }]) {
            let one = run(shape.clone(), 1);
            assert_eq!(one, run(shape.clone(), 2));
            assert_eq!(one, run(shape, 3));
        }
    }
}

#[test]
fn training_resumes_bit_for_bit_and_learns() {
    let data = Data::random(3, 40, 30);
    let classes = data.classes(5);
    let hidden = [(150, 8), (70, 6)];
    let cases = [(Optimiser::Sgd, shape(30, &hidden, 5)), (Optimiser::Adam, shape(30, &hidden, 5))];
    let cases = cases.into_iter().chain([Optimiser::Sgd, Optimiser::Adam].map(|o| (o, local(30, &hidden, 5))));
    let bins = SparseNetShape { bins: BinRanges::new([1..9, 20..30]), ..shape(30, &hidden, 5) };
    let cases = cases.chain([(Optimiser::Adam, bins)]);
    for (optimiser, shape) in cases {
        let settings = |number| Step { dropout: 0.1, boost: 0.1, number, ..step(optimiser, 0.02) };
        let fresh = || Trainer::new(shape.clone(), 5, 2);
        let targets = Labels::Classes(&classes, None);
        let mut through = fresh();
        let losses: Vec<f32> = (0..40).map(|n| through.step(&data.rows(), targets, &settings(n)).unwrap()).collect();
        let mut first = fresh();
        for n in 0..20 {
            first.step(&data.rows(), targets, &settings(n)).unwrap();
        }
        let mut second = Trainer::new(shape.clone(), 999, 1);
        second = Trainer::of(second.net, 5, 1);
        second.restore(&first.state().unwrap()).unwrap();
        let rest: Vec<f32> = (20..40).map(|n| second.step(&data.rows(), targets, &settings(n)).unwrap()).collect();
        assert_eq!(rest, losses[20..]);
        assert_eq!(numbers(&second.state().unwrap()), numbers(&through.state().unwrap()));
        assert!(losses[39] < 0.3 * losses[0], "{optimiser:?} learns: {} to {}", losses[0], losses[39]);
    }
}

#[test]
fn absurd_rows_leave_numbers_behind() {
    for hidden in [vec![], vec![(33, 4)], vec![(1, 1)], vec![(48, 48), (17, 3)]] {
        for optimiser in [Optimiser::Sgd, Optimiser::Adam] {
            let mut data = Data::random(4, 8, 9);
            let mut trainer = Trainer::new(shape(9, &hidden, 2), 1, 2);
            let classes = data.classes(2);
            let values = [1e30, -1e30, 0.5, f32::NAN, 2.0, 1e30, -3.0, 0.0];
            for round in 0..6 {
                data.values.iter_mut().for_each(|v| *v = if round % 2 == 0 { v.signum() * 1e30 } else { v.signum() });
                let targets = Labels::Classes(&classes, None);
                let loss = trainer.step(&data.rows(), targets, &step(optimiser, 0.1)).unwrap();
                assert!(!loss.is_nan());
                let mut numbers_too = Trainer::new(shape(9, &hidden, 1), 1, 1);
                assert!(
                    !numbers_too
                        .step(&data.rows(), Labels::Values(&values, None), &step(optimiser, 0.1))
                        .unwrap()
                        .is_nan()
                );
            }
            assert!(numbers(&trainer.net.save().unwrap()).iter().all(|(_, v)| v.iter().all(|v| v.is_finite())));
            assert!(trainer.infer(&data.rows()).iter().all(|a| !a.is_nan()));
        }
    }
}

#[test]
fn rows_do_not_depend_on_their_neighbours_and_k_win() {
    let data = Data::random(6, 70, 25);
    let classes = data.classes(3);
    let mut trainer = Trainer::new(shape(25, &[(50, 6), (19, 3)], 3), 2, 1);
    for _ in 0..3 {
        trainer.step(&data.rows(), Labels::Classes(&classes, None), &step(Optimiser::Adam, 0.01)).unwrap();
    }
    let all = trainer.infer(&data.rows());
    let mut scratch = Scratch::default();
    for row in 0..70 {
        trainer.net.infer(Isa::best(), &data.rows().slice(row, 1), &mut scratch);
        let mut one = vec![];
        scratch.append_answers(trainer.net.shape.outputs, &mut one);
        assert_eq!(one, all[row * 3..row * 3 + 3], "row {row}");
        assert_eq!(scratch.codes.iter().map(|code| code.units.len()).collect::<Vec<_>>(), [6, 3]);
    }
}

#[test]
fn rows_without_label_teach_nothing() {
    let data = Data::random(7, 6, 10);
    let mut trainer = Trainer::new(shape(10, &[(20, 4)], 2), 2, 1);
    let labelled = Labels::Classes(&[0, 1, 0, 1, 0, 1], None);
    trainer.step(&data.rows(), labelled, &step(Optimiser::Sgd, 0.01)).unwrap();
    let before = numbers(&trainer.net.save().unwrap());
    let loss = trainer.step(&data.rows(), Labels::Classes(&[NO_LABEL; 6], None), &step(Optimiser::Sgd, 0.1)).unwrap();
    assert_eq!(loss, 0.0);
    assert_eq!(before, numbers(&trainer.net.save().unwrap()));
}

#[test]
fn new_inputs_leave_old_answers_alone() {
    let data = Data::random(8, 20, 12);
    let classes = data.classes(2);
    let mut trainer = Trainer::new(shape(12, &[(40, 5)], 2), 2, 1);
    for _ in 0..3 {
        trainer.step(&data.rows(), Labels::Classes(&classes, None), &step(Optimiser::Adam, 0.01)).unwrap();
    }
    let before = trainer.infer(&data.rows());
    trainer.grow(30);
    assert_eq!(before, trainer.infer(&data.rows()));
    let wide = Data::random(9, 20, 30);
    assert!(trainer.step(&wide.rows(), Labels::Classes(&classes, None), &step(Optimiser::Adam, 0.01)).is_ok());
}

#[test]
fn what_is_served_answers_as_what_was_trained() {
    let shapes = [&[(40, 5)][..], &[(64, 7), (33, 4)], &[]].map(|hidden| shape(17, hidden, 3));
    for shape in shapes.into_iter().chain([local(17, &[(150, 7), (70, 9)], 3)]) {
        for rounded in [false, true] {
            let mut net = SparseNet::new(shape.clone(), 4);
            net.assign_receptive_fields(&[0.5; 17]);
            let mut random = Random::new(5);
            for (_, layer) in net.layers_mut() {
                let (weights, bias) =
                    (random.normals(layer.inputs * layer.units, 0.5), random.normals(layer.units, 0.1));
                layer.set_plain(&weights);
                layer.set_plain_bias(&bias);
            }
            assert!(net.hidden.iter().all(|layer| layer.fields().count() == 0 || layer.plain().contains(&0.0)));
            let mut tensors = net.save().unwrap();
            if rounded {
                InferenceNet::round(&net.shape, &mut tensors).unwrap();
                net.load(&tensors).unwrap();
            }
            let served = InferenceNet::load(net.shape.clone(), &tensors).unwrap();
            assert_eq!(numbers(&served.save().unwrap()), numbers(&tensors), "nothing is lost");
            let half =
                served.hidden.iter().map(|l| 2 * l.inputs as u64 * l.units.next_multiple_of(32) as u64).sum::<u64>();
            assert!(!rounded || served.bytes() < half + 2_000, "sixteen bits a weight");
            let data = Data::random(6, 9, 17);
            let (rows, mut one, mut other) = (data.rows(), Scratch::default(), Scratch::default());
            net.infer(Isa::best(), &rows, &mut one);
            served.infer(Isa::best(), &rows, &mut other);
            let (mut a, mut b) = (vec![], vec![]);
            one.append_answers(3, &mut a);
            other.append_answers(3, &mut b);
            assert!(a.len() == 27 && a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-4), "{a:?} {b:?}");
            for (layer, (_, trained)) in served.hidden.iter().zip(net.layers()) {
                assert_eq!((layer.weight(3, 32), layer.bias(32)), (trained.weight(3, 32), trained.bias(32)));
            }
        }
    }
}

#[test]
fn merged_networks_answer_with_the_mean() {
    let data = Data::random(6, 9, 17);
    for shape in [shape(17, &[(48, 5)], 3), shape(17, &[(32, 7), (64, 9), (16, 4)], 3), shape(17, &[], 3)] {
        let mut random = Random::new(8);
        let nets: Vec<SparseNet> = (0..3)
            .map(|seed| {
                let mut net = SparseNet::new(shape.clone(), seed);
                for (_, layer) in net.layers_mut() {
                    layer.set_plain(&random.normals(layer.inputs * layer.units, 0.5));
                    layer.set_plain_bias(&random.normals(layer.units, 0.1));
                }
                net
            })
            .collect();
        let members: Vec<Tensors> = nets.iter().map(|net| net.save().unwrap()).collect();
        let (merged, tensors) = super::merge(&shape, &members).unwrap();
        let served = InferenceNet::load(merged, &tensors).unwrap();
        let (rows, mut scratch) = (data.rows(), Scratch::default());
        let (mut mean, mut one) = (vec![0.0; 27], vec![]);
        for net in &nets {
            net.infer(Isa::best(), &rows, &mut scratch);
            one.clear();
            scratch.append_answers(3, &mut one);
            mean.iter_mut().zip(&one).for_each(|(mean, one)| *mean += one / 3.0);
        }
        served.infer(Isa::best(), &rows, &mut scratch);
        one.clear();
        scratch.append_answers(3, &mut one);
        assert!(mean.iter().zip(&one).all(|(a, b)| (a - b).abs() < 1e-4), "{mean:?} {one:?}");
        let winners = scratch.codes.iter().map(|code| code.units.len()).collect::<Vec<_>>();
        assert_eq!(winners, shape.hidden.iter().map(|layer| 9 * 3 * layer.winners).collect::<Vec<_>>());
    }
}

#[test]
fn units_see_windows_that_cover_what_is_drawn() {
    // Of 12 by 10 pixels with two channels, and five other inputs before them, the middle is drawn on.
    let picture = Picture { start: 5, height: 12, width: 10, channels: 2 };
    let drawn = |input: usize| {
        input.checked_sub(5).is_some_and(|at| (2..10).contains(&(at / 20)) && (1..9).contains(&(at / 2 % 10)))
    };
    let usage: Vec<f32> = (0..245).map(|input| if drawn(input) { 0.25 } else { 0.1 }).collect();
    let mut shape = shape(245, &[(256, 20)], 2);
    shape.hidden[0] = Hidden {
        units: 256,
        winners: 20,
        winner_groups: 1,
        receptive_field: ReceptiveField::Windows(0.25, vec![picture]),
    };
    let mut net = SparseNet::new(shape, 1);
    net.assign_receptive_fields(&usage);
    let seen: Vec<Vec<u32>> = net.hidden[0].fields().map(|field| field.seen().to_vec()).collect();
    assert_eq!(seen.len(), 16);
    // A quarter of eight by eight is four by four, of two channels, plus the five other inputs.
    assert!(seen.iter().all(|seen| seen.len() == 5 + 4 * 4 * 2 && seen[..5] == [0, 1, 2, 3, 4]), "{seen:?}");
    for input in 0..245 {
        let units = (0..256).filter(|&unit| net.hidden[0].weight(input, unit) != 0.0).count();
        assert_eq!(units > 0, drawn(input) || input < 5, "input {input} is seen by {units}");
        assert!(units % 16 == 0 && (input >= 5 || units == 256));
    }
    // Above it, units see those below whose windows are next to each other: at a corner four groups of
    // sixteen units, in the middle nine.
    let mut shape = net.shape.clone();
    shape.hidden.push(Hidden { units: 256, winners: 20, winner_groups: 1, receptive_field: ReceptiveField::Near });
    let mut deep = SparseNet::new(shape, 1);
    deep.assign_receptive_fields(&usage);
    let seen: Vec<&[u32]> = deep.hidden[1].fields().map(|field| field.seen()).collect();
    assert_eq!((seen.len(), seen[0].len(), seen[5].len()), (16, 4 * 16, 9 * 16));
    assert_eq!([seen[0][0], seen[0][16], seen[0][32], seen[15][63]], [0, 16, 64, 255]);
    // Nothing is drawn in the sample: the whole picture counts.
    let mut net = SparseNet::new(net.shape, 1);
    net.assign_receptive_fields(&[0.0; 245]);
    let all: std::collections::BTreeSet<u32> =
        net.hidden[0].fields().flat_map(|field| field.seen().iter().copied()).collect();
    assert_eq!(all.len(), 245);
}
