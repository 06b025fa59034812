//! Measures of sparse coding on codes whose values are known.

use super::sparsity::{class_means, hoyer, measure, participation_ratio, treves_rolls};
use super::*;
use crate::random::Random;

#[test]
fn extremes_of_sparseness() {
    for measure in [treves_rolls as fn(std::vec::IntoIter<f64>) -> Option<f64>, hoyer] {
        assert_close("one", &[measure(vec![0.0, 5.0, 0.0, 0.0].into_iter()).unwrap()], &[1.0]);
        assert_close("all", &[measure(vec![2.0; 4].into_iter()).unwrap()], &[0.0]);
        assert_eq!(measure(vec![0.0; 4].into_iter()), None);
    }
    // k of n equal: (1 − k/n) / (1 − 1/n), and (√n − √k) / (√n − 1).
    let two = || vec![1.0, 0.0, 1.0, 0.0].into_iter();
    assert_close("two", &[treves_rolls(two()).unwrap(), hoyer(two()).unwrap()], &[2.0 / 3.0, 2.0 - 2f64.sqrt()]);
}

#[test]
fn a_code_with_one_unit_for_each_class() {
    let classes: Vec<usize> = (0..12).map(|s| s % 3).collect();
    let activity: Vec<f32> = classes.iter().flat_map(|&c| (0..4).map(move |u| f32::from(u8::from(u == c)))).collect();
    let found = measure(&activity, 4, Some(&classes)).unwrap();
    assert_eq!((found.silent_units, found.silent_stimuli), (1, 0));
    assert_eq!(found.preferred, [4, 4, 4].map(|_| 1));
    let mean = |summary: &Option<sparsity::Summary>| summary.as_ref().unwrap().mean;
    let means = [mean(&found.selectivity), mean(&found.population), mean(&found.lifetime), found.active_share];
    assert_close("means", &means, &[1.0, 1.0, (2.0 / 3.0) / (11.0 / 12.0), 0.25]);
    // Three points at the corners of a triangle fill two dimensions evenly.
    assert_close("dimensions", &[found.participation_ratio.unwrap()], &[2.0]);
    assert_close("tuning", &class_means(&activity, 4, &classes)[..4], &[1.0, 0.0, 0.0, 0.0]);
    assert_close("curve", &found.tuning_curve[..5], &[1.0, 1.0, 1.0, 1.0, 0.0]);
}

#[test]
fn participation_ratio_does_not_depend_on_which_product_is_formed() {
    let mut random = Random::new(2);
    let (wide, tall) = (random.normals(20 * 700, 1.0), random.normals(700 * 20, 1.0));
    let direct = |x: &[f32], p: usize| {
        let n = x.len() / p;
        let mean: Vec<f64> =
            (0..p).map(|u| x.iter().skip(u).step_by(p).map(|&v| f64::from(v)).sum::<f64>() / n as f64).collect();
        let at = |s: usize, u: usize| f64::from(x[s * p + u]) - mean[u];
        let covariance = |a: usize, b: usize| (0..n).map(|s| at(s, a) * at(s, b)).sum::<f64>();
        let trace: f64 = (0..p).map(|a| covariance(a, a)).sum();
        let squares: f64 = (0..p * p).map(|ab| covariance(ab / p, ab % p).powi(2)).sum();
        trace * trace / squares
    };
    assert_close("tall", &[participation_ratio(&tall, 20).unwrap()], &[direct(&tall, 20)]);
    assert_close("wide", &[participation_ratio(&wide, 700).unwrap()], &[direct(&wide, 700)]);
    assert_eq!(participation_ratio(&[1.0; 8], 2), None);
    assert!(measure(&[1.0, f32::NAN], 1, None).is_err());
    assert!(measure(&[1.0], 1, None).is_err());
}
