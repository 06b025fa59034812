//! Sums of bins against the bins themselves.

use super::{Data, numbers, shape, step};
use crate::data::BinRanges;
use crate::nn::kernels::Isa;
use crate::nn::layers::sparse_net::train::{Labels, Optimiser, Step, Trainer};
use crate::nn::layers::sparse_net::{InferenceNet, Scratch, SparseNetShape};
use crate::random::Random;

/// As [`shape`], with inputs 3 to 9, 10 and 12 to 16 as the bins of three numbers.
pub(super) fn binned(hidden: &[(usize, usize)], outputs: usize) -> SparseNetShape {
    SparseNetShape { bins: BinRanges::new([3..10, 10..11, 12..17]), ..shape(20, hidden, outputs) }
}

/// Rows for [`binned`] with every bin that is not empty, and the same rows with sums.
pub(super) fn thermometers(seed: u64, rows: usize) -> [Data; 2] {
    let mut random = Random::new(seed);
    let empty = |width| Data { offsets: vec![0], indices: vec![], values: vec![], width };
    let (mut plain, mut summed) = (empty(20), empty(20 + 6 + 4));
    for _ in 0..rows {
        let mut sums = vec![];
        for index in [0, 1, 2, 11, 17, 18, 19] {
            if random.uniform() < 0.5 {
                let value = random.normal();
                for data in [&mut plain, &mut summed] {
                    data.indices.push(index);
                    data.values.push(value);
                }
            }
        }
        for (first, bins, sum) in [(3, 7, 20), (10, 1, 26), (12, 5, 26)] {
            // None where the number is missing or the least.
            let Some(bin) = random.below(bins + 1).checked_sub(1) else { continue };
            let share = random.uniform();
            plain.indices.extend((0..bin).map(|full| first + full as u32));
            plain.values.resize(plain.indices.len(), 1.0);
            for data in [&mut plain, &mut summed] {
                data.indices.push(first + bin as u32);
                data.values.push(share);
            }
            sums.extend((bin > 0).then(|| sum + bin as u32 - 1));
        }
        summed.values.extend(sums.iter().map(|_| 1.0));
        summed.indices.extend(sums);
        for data in [&mut plain, &mut summed] {
            data.offsets.push(data.indices.len() as u32);
        }
    }
    [plain, summed]
}

#[test]
fn sums_of_bins_learn_and_answer_as_all_bins_do() {
    let ([plain, summed], classes) = (thermometers(5, 60), (0..60).map(|row| row % 3).collect::<Vec<u32>>());
    for optimiser in [Optimiser::Sgd, Optimiser::Adam] {
        for hidden in [&[][..], &[(40, 7)], &[(64, 20), (33, 4)]] {
            let learn = |shape: SparseNetShape, data: &Data| {
                let mut trainer = Trainer::new(shape, 7, 2);
                let mut losses = vec![];
                for number in 0..10 {
                    let settings = Step { decay: 0.01, dropout: 0.1, boost: 0.1, number, ..step(optimiser, 0.01) };
                    losses.push(trainer.step(&data.rows(), Labels::Classes(&classes, None), &settings).unwrap());
                }
                (trainer, losses)
            };
            let (one, losses) = learn(shape(20, hidden, 3), &plain);
            let (other, same_losses) = learn(binned(hidden, 3), &summed);
            let close = |a: &[f32], b: &[f32], by: f32| a.iter().zip(b).all(|(a, b)| (a - b).abs() < by);
            assert!(close(&losses, &same_losses, 1e-4), "{optimiser:?} {hidden:?}: {losses:?} {same_losses:?}");
            let (old, new) = (numbers(&one.state().unwrap()), numbers(&other.state().unwrap()));
            for ((name, old), (_, new)) in old.iter().zip(&new) {
                assert!(old.len() == new.len() && close(old, new, 1e-4), "{optimiser:?} {hidden:?}: {name}");
            }
            // The same network answers rows in either form.
            let answers = other.infer(&summed.rows());
            assert!(close(&answers, &other.infer(&plain.rows()), 1e-5), "{optimiser:?} {hidden:?}");
            for rounded in [false, true] {
                let mut tensors = other.net.save().unwrap();
                if rounded {
                    InferenceNet::round(&other.net.shape, &mut tensors).unwrap();
                }
                let served = InferenceNet::load(other.net.shape.clone(), &tensors).unwrap();
                assert_eq!(numbers(&served.save().unwrap()), numbers(&tensors), "sums are not saved");
                let [all_bins, sums] = [&plain, &summed].map(|data| {
                    let (mut scratch, mut answers) = (Scratch::default(), vec![]);
                    served.infer(Isa::best(), &data.rows(), &mut scratch);
                    scratch.append_answers(3, &mut answers);
                    answers
                });
                assert!(close(&all_bins, &sums, 1e-5), "{optimiser:?} {hidden:?} {rounded}");
                assert!(rounded || close(&answers, &sums, 1e-5), "{optimiser:?} {hidden:?}");
            }
        }
    }
}
