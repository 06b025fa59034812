//! Training by candle's autograd is the training of the kernels: step by step without noise, and by what is learned with
//! it. The device is the CPU; others run the plain expressions, which `conformance::candle` compares with the kernels.

use super::candle::{distance, words};
use super::*;
use crate::models::autograd::DeviceLearner;
use candle_core::Device;

/// Cases whose networks can be trained by candle.
fn trainable() -> Vec<Case> {
    let mut cases: Vec<Case> =
        Case::with_candle().into_iter().filter(|case| case.learner(1, 1).autograd().is_ok()).collect();
    let (table, plans, classes, _) = mixed(240);
    let mut case = Case::new("members", named("sparse_mlp"), &table, &plans, classes, vec![]);
    case.set("members", 3);
    cases.push(case);
    // 2^18 features, of which a mini-batch has some.
    let mut case = words(120, "attention");
    case.set("epochs", 6);
    cases.push(case);
    cases
}

impl Case {
    fn by_candle(&self, seed: u64) -> Box<dyn Learner> {
        Box::new(DeviceLearner::new(self.learner(seed, 1), Device::Cpu).unwrap())
    }
}

#[test]
fn a_family_without_gradients_says_so() {
    for case in Case::with_candle() {
        let name = case.family.name();
        let solved = name == "hybrid" || case.name.contains("series");
        assert_eq!(case.learner(1, 1).autograd().is_err(), solved, "{}", case.name);
    }
}

#[test]
fn steps_without_noise_are_those_of_the_kernels() {
    for mut case in trainable() {
        for name in ["dropout", "time_noise", "boost"] {
            if case.family.settings().iter().any(|setting| setting.name == name) {
                case.set(name, 0.0);
            }
        }
        let (mut kernels, mut candle) = (case.learner(3, 1), case.by_candle(3));
        for steps in [0..1, 1..6, 6..20] {
            case.train(&mut *kernels, 3, steps.clone());
            case.train(&mut *candle, 3, steps.clone());
            let (own, expected) = (candle.forward(&case.batch).unwrap(), kernels.forward(&case.batch).unwrap());
            let far = distance(&own, &expected);
            assert!(far < 1e-5, "{}: {far} after {} steps", case.name, steps.end);
        }
        let (own, expected) = (candle.weights().unwrap(), kernels.weights().unwrap());
        let dims =
            |tensors: &Tensors| -> Vec<_> { tensors.iter().map(|(n, t)| (n.clone(), t.dims().to_vec())).collect() };
        assert_eq!(dims(&own), dims(&expected), "{}", case.name);
    }
}

#[test]
fn a_step_moves_every_weight_and_leaves_no_graph_behind() {
    for case in trainable() {
        let mut learner = DeviceLearner::new(case.learner(3, 1), Device::Cpu).unwrap();
        case.train(&mut learner, 3, 0..1);
        let before = Learner::weights(&learner).unwrap();
        case.train(&mut learner, 3, 1..8);
        let after = Learner::weights(&learner).unwrap();
        // `linear` is the form that a network has.
        let numbers =
            |(name, _): &(String, Vec<String>)| before[name].dtype() == candle_core::DType::F32 && name != "linear";
        for (old, new) in bits(&before).iter().zip(&bits(&after)).filter(|(old, _)| numbers(old)) {
            assert_ne!(old, new, "{}: it never moved", case.name);
        }
        assert_eq!(learner.recorded(), Vec::<String>::new(), "{}", case.name);
    }
}

#[test]
fn candle_learns_what_the_kernels_learn() {
    for case in trainable() {
        let mut learner = case.by_candle(7);
        case.train(&mut *learner, 7, 0..u64::MAX);
        let network = learner.finish(None).unwrap();
        let score = case.score(&network.forward(&case.batch).unwrap());
        assert!(score > 0.85, "{}: score {score}", case.name);
    }
}

#[test]
fn a_checkpoint_continues_the_same_by_candle_and_as_well_on_the_kernels() {
    for case in trainable() {
        let mut through = case.by_candle(3);
        case.train(&mut *through, 3, 0..40);
        let mut first = case.by_candle(3);
        case.train(&mut *first, 3, 0..17);
        let (state, answers) = (first.state().unwrap(), first.forward(&case.batch).unwrap());

        let mut second = case.by_candle(3);
        second.restore(&state).unwrap();
        case.train(&mut *second, 3, 17..40);
        assert_eq!(bits(&second.weights().unwrap()), bits(&through.weights().unwrap()), "{}", case.name);
        assert_eq!(bits(&second.state().unwrap()), bits(&through.state().unwrap()), "{}: state", case.name);

        let mut kernels = case.learner(3, 1);
        kernels.restore(&state).unwrap();
        let far = distance(&kernels.forward(&case.batch).unwrap(), &answers);
        assert!(far < 1e-3, "{}: the kernels answer otherwise by {far}", case.name);
        case.train(&mut *kernels, 3, 17..u64::MAX);
        let score = case.score(&kernels.forward(&case.batch).unwrap());
        assert!(score > 0.85, "{}: score {score} after going on with the kernels", case.name);
    }
}
