//! Distances, comparisons, ceilings and resampled matrices equal rsatoolbox's to 1e-6.

use super::super::matrices::Matrices;
use super::super::prepared::{ceiling, mean_fits};
use super::super::sample::Sample;
use super::super::weighting::non_negative;
use super::*;
use crate::random::Random;

fn responses(case: &str) -> (Responses, Value) {
    let all = fixtures()["responses"].clone();
    let (p, values, case) = (10, numbers(&all["values"]), all["cases"][case].clone());
    let rows = indices(&case["rows"]);
    let labels = |of: &str| -> Vec<String> { rows.iter().map(|&r| all[of][r].to_string()).collect() };
    let values = rows.iter().flat_map(|&r| values[r * p..(r + 1) * p].to_vec()).collect();
    (Responses::new(values, p, &labels("condition"), Some(&labels("run"))).unwrap(), case)
}

fn distances(responses: &Responses, distance: Distance, shrinkage: Shrinkage) -> Vec<f64> {
    let rdm = dissimilarities(responses, distance, shrinkage).unwrap();
    rdm.values.iter().map(|&v| f64::from(v)).collect()
}

#[test]
fn distances_and_noise_are_the_same() {
    for case in ["balanced", "few", "unbalanced"] {
        let (responses, theirs) = responses(case);
        for (name, shrinkage) in [("diagonal", Shrinkage::Diagonal), ("identity", Shrinkage::Identity)] {
            let noise = Noise::estimate(&responses, shrinkage).unwrap();
            assert_close(case, &noise.covariance, &numbers(&theirs[format!("covariance_{name}")]));
            let ours = distances(&responses, Distance::Mahalanobis, shrinkage);
            assert_close(case, &ours, &numbers(&theirs[format!("mahalanobis_{name}")]));
            let ours = distances(&responses, Distance::Crossnobis, shrinkage);
            assert_close(case, &ours, &numbers(&theirs[format!("crossnobis_{name}")]));
        }
        let none = Shrinkage::default();
        assert_close(case, &distances(&responses, Distance::Euclidean, none), &numbers(&theirs["euclidean"]));
        assert_close(case, &distances(&responses, Distance::Correlation, none), &numbers(&theirs["correlation"]));
    }
    let (responses, _) = responses("unbalanced");
    let rdm = dissimilarities(&responses, Distance::Crossnobis, Shrinkage::default()).unwrap();
    assert_eq!((rdm.len(), rdm.dropped.len()), (5, 1));
    assert!(rdm.values.iter().all(|v| v.is_finite()));
}

fn matrices() -> (Vec<Vec<f32>>, Value) {
    let all = fixtures()["comparisons"].clone();
    let rows = |of: &str| -> Vec<Vec<f32>> {
        let rows = all[of].as_array().unwrap();
        rows.iter().map(|row| numbers(row).iter().map(|&v| v as f32).collect()).collect()
    };
    ([rows("systems"), rows("subjects")].concat(), all)
}

#[test]
fn comparisons_and_ceilings_are_the_same() {
    let (values, all) = matrices();
    for (name, comparison) in COMPARISONS {
        let matrices = Matrices::new(values.clone(), 3, 10, comparison).unwrap();
        let prepared = matrices.prepare(&Sample::all(10)).unwrap();
        let theirs = &all["all"][name];
        assert_close(name, &prepared.fits(), &numbers(&theirs["fits"]));
        let (lower, upper) = ceiling(prepared.as_ref(), &[1.0; 4]);
        assert_close(name, &[lower, upper], &[theirs["lower"].as_f64().unwrap(), theirs["upper"].as_f64().unwrap()]);
    }
    let matrices = Matrices::new(values, 3, 10, Comparison::Procrustes).unwrap();
    let fits = matrices.prepare(&Sample::all(10)).unwrap().fits();
    assert_close("procrustes", &fits, &numbers(&all["all"]["procrustes"]["fits"]));
}

#[test]
fn resampled_matrices_are_the_same() {
    let (values, all) = matrices();
    for sample in all["samples"].as_array().unwrap() {
        let (patterns, rdms) = (indices(&sample["patterns"]), indices(&sample["rdms"]));
        let count = |of: &[usize], n: usize| -> Vec<f64> {
            (0..n).map(|i| of.iter().filter(|&&x| x == i).count() as f64).collect()
        };
        let counts = count(&patterns, 10);
        let drawn: Vec<usize> = (0..10).filter(|&i| counts[i] > 0.0).collect();
        let counts = drawn.iter().map(|&i| counts[i]).collect();
        let stimuli = Sample { conditions: 10, drawn, counts };
        let subjects = count(&rdms, 4);
        for (name, comparison) in COMPARISONS {
            let matrices = Matrices::new(values.clone(), 3, 10, comparison).unwrap();
            let prepared = matrices.prepare(&stimuli).unwrap();
            let theirs = &sample["figures"][name];
            let expected = mean_fits(&numbers(&theirs["fits"]), &[1.0; 4]);
            assert_close(name, &mean_fits(&prepared.fits(), &subjects), &expected);
            let (lower, upper) = ceiling(prepared.as_ref(), &subjects);
            let expected = [theirs["lower"].as_f64().unwrap(), theirs["upper"].as_f64().unwrap()];
            assert_close(name, &[lower, upper], &expected);
        }
    }
}

#[test]
fn rho_a_is_the_expectation_over_broken_ties() {
    let a = rdm(&[1.0, 1.0, 2.0, 2.0, 2.0, 3.0]);
    let b = rdm(&[1.0, 3.0, 3.0, 2.0, 5.0, 4.0]);
    let exact = similarities(with_names("m", vec![a.clone(), b.clone()]), Comparison::RhoA).unwrap()[1];
    let (mut random, mut sum) = (Random::new(1), 0.0);
    const DRAWS: usize = 40_000;
    for _ in 0..DRAWS {
        let mut jitter = |rdm: &Rdm| -> Rdm {
            let values = rdm.values.iter().map(|v| v + 1e-3 * random.uniform()).collect();
            Rdm::new(rdm.conditions.clone(), values).unwrap()
        };
        let broken = with_names("m", vec![jitter(&a), jitter(&b)]);
        sum += similarities(broken, Comparison::Spearman).unwrap()[1];
    }
    assert!((sum / DRAWS as f64 - exact).abs() < 3e-3, "{} and {exact}", sum / DRAWS as f64);
}

/// More values than levels: neighbours share a rank, which must not show.
#[test]
fn rounded_ranks_of_large_matrices_change_nothing_that_matters() {
    let (n, mut random) = (700, Random::new(3));
    let common = random.normals(pairs(n), 1.0);
    let values: Vec<Vec<f32>> =
        (0..4).map(|_| common.iter().zip(random.normals(pairs(n), 1.0)).map(|(c, own)| c + own).collect()).collect();
    let ranks = |values: &[f64]| -> Vec<f64> {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
        let mut ranks = vec![0.0; values.len()];
        order.iter().enumerate().for_each(|(rank, &at)| ranks[at] = rank as f64);
        ranks
    };
    let exact: Vec<Vec<f64>> =
        values.iter().map(|v| ranks(&v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>())).collect();
    let rho = |a: &[f64], b: &[f64]| {
        let (count, middle) = (a.len() as f64, (a.len() as f64 - 1.0) / 2.0);
        12.0 * a.iter().zip(b).map(|(a, b)| (a - middle) * (b - middle)).sum::<f64>() / (count.powi(3) - count)
    };
    let averaged = |of: &[usize]| -> Vec<f64> {
        ranks(&(0..pairs(n)).map(|p| of.iter().map(|&s| exact[s][p]).sum::<f64>()).collect::<Vec<_>>())
    };
    let all = averaged(&[1, 2, 3]);
    let upper = (1..4).map(|s| rho(&all, &exact[s])).sum::<f64>() / 3.0;
    let others = [(1, [2, 3]), (2, [1, 3]), (3, [1, 2])];
    let lower = others.iter().map(|(s, others)| rho(&averaged(others), &exact[*s])).sum::<f64>() / 3.0;
    let matrices = Matrices::new(values, 1, n, Comparison::RhoA).unwrap();
    let prepared = matrices.prepare(&Sample::all(n)).unwrap();
    let ends = ceiling(prepared.as_ref(), &[1.0; 3]);
    for (ours, exact) in prepared.fits().iter().zip((1..4).map(|s| rho(&exact[0], &exact[s]))) {
        assert!((ours - exact).abs() < 1e-7, "{ours} and {exact}");
    }
    assert!((ends.1 - upper).abs() < 1e-6 && (ends.0 - lower).abs() < 1e-6, "{ends:?}, {lower} and {upper}");
}

#[test]
fn whitened_cosine_of_euclidean_matrices_is_linear_cka() {
    let (n, mut random) = (30, Random::new(5));
    let mut layer = |p: usize| -> Vec<f64> { random.normals(n * p, 1.0).into_iter().map(f64::from).collect() };
    let (x, other) = (layer(7), layer(12));
    let y: Vec<f64> = other.chunks(12).zip(x.chunks(7)).flat_map(|(o, x)| [&o[..5], x].concat()).collect();
    let euclidean = |v: &[f64], p: usize| {
        let responses = Responses::patterns(v.to_vec(), p, &named(n)).unwrap();
        dissimilarities(&responses, Distance::Euclidean, Shrinkage::default()).unwrap()
    };
    let pair = with_names("layer", vec![euclidean(&x, 7), euclidean(&y, 12)]);
    let cka = linear_cka(&x, 7, &y, 12).unwrap();
    assert!(cka > 0.2 && cka < 0.99);
    for comparison in [Comparison::WhitenedCosine, Comparison::Cka] {
        assert_close("cka", &[similarities(pair.clone(), comparison).unwrap()[1]], &[cka]);
    }
}

#[test]
fn procrustes_ignores_rotation_and_scale() {
    let (n, mut random) = (12, Random::new(6));
    let x: Vec<f64> = random.normals(n * 2, 1.0).into_iter().map(f64::from).collect();
    let turned: Vec<f64> =
        x.chunks(2).flat_map(|p| [3.0 * (0.6 * p[0] - 0.8 * p[1]), 3.0 * (0.8 * p[0] + 0.6 * p[1])]).collect();
    let euclidean = |v: Vec<f64>| {
        let responses = Responses::patterns(v, 2, &named(n)).unwrap();
        dissimilarities(&responses, Distance::Euclidean, Shrinkage::default()).unwrap()
    };
    let pair = with_names("layer", vec![euclidean(x), euclidean(turned)]);
    let similarity = similarities(pair, Comparison::Procrustes).unwrap()[1];
    assert!(procrustes_distance(similarity) < 1e-3, "{similarity}");
}

#[test]
fn non_negative_least_squares_stops_at_zero() {
    // The free solution of the first is (2, -1); the best with non-negative weights is (1.5, 0).
    assert_close("nnls", &non_negative(&[2.0, 1.0, 1.0, 2.0], &[3.0, 0.0]), &[1.5, 0.0]);
    assert_close("nnls", &non_negative(&[2.0, 1.0, 1.0, 2.0], &[4.0, 5.0]), &[1.0, 2.0]);
    assert_close("nnls", &non_negative(&[1.0, 1.0, 1.0, 1.0], &[1.0, 1.0]), &[0.0, 1.0]);
}

#[test]
fn a_mixture_of_layers_is_found_and_fits_better_than_each() {
    let (n, mut random) = (30, Random::new(9));
    let mut layer = |p: usize| -> Rdm {
        let values = random.normals(n * p, 1.0).into_iter().map(f64::from).collect();
        let responses = Responses::patterns(values, p, &named(n)).unwrap();
        dissimilarities(&responses, Distance::Euclidean, Shrinkage::default()).unwrap()
    };
    let (a, b, c) = (layer(3), layer(3), layer(3));
    let values = a.values.iter().zip(&b.values).map(|(a, b)| 3.0 * a + b).collect();
    let mixed = Rdm::new(a.conditions.clone(), values).unwrap();
    let layers = vec![("a".into(), a), ("b".into(), b), ("c".into(), c)];
    for (_, comparison) in COMPARISONS {
        let found = fit_weights(layers.clone(), vec![("brain".into(), mixed.clone())], comparison, 1).unwrap();
        assert!(found.value > 0.999, "{comparison:?}: {}", found.value);
        assert_close("weights", &found.weights, &[3.0 / 10f64.sqrt(), 1.0 / 10f64.sqrt(), 0.0]);
    }
}

#[test]
fn student_and_discovery_rates_agree_with_tables() {
    use statistics::{false_discovery, t_above, t_quantile};
    // scipy.stats.t.sf
    assert_close(
        "t",
        &[t_above(2.0, 5.0), t_above(-1.0, 3.0), t_above(4.5, 19.0)],
        &[0.050969739414929, 0.804498904674893, 0.000122733],
    );
    assert_close("t", &[t_quantile(0.025, 1.0), t_quantile(0.025, 10.0)], &[12.706204736, 2.228138852]);
    assert_close("q", &false_discovery(&[0.01, 0.04, 0.03, 0.2]), &[0.04, 0.16 / 3.0, 0.16 / 3.0, 0.2]);
}

#[test]
fn two_bootstraps_add_up_with_their_degrees_of_freedom() {
    use statistics::Spread;
    let of = |variance: f64, freedom: f64| Spread { variance, freedom };
    assert_eq!(of(1.0, 5.0).plus(of(1.0, 5.0)), of(2.0, 10.0));
    // Welch's example of two samples: 4² / (3²/10 + 1²/20).
    assert_close("freedom", &[of(3.0, 10.0).plus(of(1.0, 20.0)).freedom], &[16.0 / 0.95]);
    assert_eq!(of(0.0, 11.0).plus(of(2.0, 39.0)), of(2.0, 39.0));
    assert_eq!(of(0.0, 11.0).plus(of(0.0, 39.0)), of(0.0, 11.0));
    // Without an interaction the three bootstraps differ by the corrections for few subjects and stimuli only.
    let (subjects, stimuli) = (Spread::single(1.0, 12), Spread::single(4.0, 40));
    let dual = Spread::dual(5.0, subjects, stimuli);
    assert_close("dual", &[dual.variance], &[5.0]);
    assert!(dual.freedom > 39.0 && dual.freedom <= 50.0, "{dual:?}");
    // Where the interaction is all there is beyond them, it is taken off once.
    assert_close("dual", &[Spread::dual(8.0, subjects, stimuli).variance], &[4.0 * 40.0 / 39.0]);
}

#[test]
fn what_depends_on_pairs_is_counted_once() {
    use crate::random::Random;
    use statistics::{jackknife_variance, pairs_counted_twice};
    let (n, less, draws) = (10, 0.125, 400);
    let mut random = Random::new(3);
    let (mut once, mut twice, mut jackknifed) = (Vec::new(), 0.0, 0.0);
    for _ in 0..draws {
        // A function of pairs without main effects on average: the mean over all pairs has the variance 2 / (n (n - 1)).
        let mut of = vec![vec![0.0; n]; n];
        for (a, b) in (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b))) {
            of[a][b] = f64::from(random.normal());
            of[b][a] = of[a][b];
        }
        let terms = |weights: &[f64]| -> Vec<f64> {
            let total: f64 = weights.iter().sum();
            let sum = |i: usize| of[i].iter().zip(weights).map(|(h, w)| h * w).sum::<f64>();
            (0..n).map(|i| sum(i) / (total - weights[i])).collect()
        };
        let (mut all, mut means) = (Vec::new(), Vec::new());
        for lighter in 0..n {
            let mut weights = vec![1.0; n];
            weights[lighter] -= less;
            let found = terms(&weights);
            means.push(found.iter().zip(&weights).map(|(t, w)| t * w).sum::<f64>() / weights.iter().sum::<f64>());
            all.push(found);
        }
        once.push(terms(&vec![1.0; n]).iter().sum::<f64>() / n as f64);
        jackknifed += jackknife_variance(means.into_iter(), less) / f64::from(draws);
        twice += pairs_counted_twice(&all.iter().map(Vec::as_slice).collect::<Vec<_>>(), less) / f64::from(draws);
    }
    let truth = 2.0 / (n as f64 * (n as f64 - 1.0));
    assert!((statistics::variance(once.into_iter()) / truth - 1.0).abs() < 0.2);
    assert!((jackknifed / truth - 2.0).abs() < 0.2, "{}", jackknifed / truth);
    assert!((twice / truth - 1.0).abs() < 0.1, "{}", twice / truth);
    // Main effects alone leave nothing.
    let additive: Vec<Vec<f64>> = (0..5).map(|j| (0..5).map(|i| (j * j) as f64 - 3.0 * i as f64).collect()).collect();
    assert!(pairs_counted_twice(&additive.iter().map(Vec::as_slice).collect::<Vec<_>>(), less) < 1e-20);
}

#[test]
fn skewness_is_taken_out_of_a_difference() {
    use statistics::{Spread, skewness};
    let spread = Spread { variance: 1.0, freedom: 39.0 };
    assert_eq!(spread.p_different_skewed(2.2, 0.0), spread.p_different(2.2));
    assert!(spread.p_different_skewed(2.2, -0.3) > 2.0 * spread.p_different(2.2));
    assert!(spread.p_different_skewed(-2.2, -0.3) < 0.6 * spread.p_different(-2.2));
    assert_close(
        "skewness",
        &[skewness([0.0, 0.0, 0.0, 4.0].into_iter()), skewness([1.0; 3].into_iter())],
        &[0.75, 0.0],
    );
}
