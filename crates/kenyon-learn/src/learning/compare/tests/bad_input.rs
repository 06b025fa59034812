//! Bad input: a clear error or a stated handling, never a silent NaN.

use super::*;

fn code<T: std::fmt::Debug>(result: crate::Result<T>) -> &'static str {
    result.unwrap_err().code
}

fn strings(labels: &[&str]) -> Vec<String> {
    labels.iter().map(|&l| l.to_owned()).collect()
}

fn distance(values: &[f64], conditions: &[&str], runs: Option<&[&str]>, distance: Distance) -> crate::Result<Rdm> {
    let runs = runs.map(strings);
    let p = values.len() / conditions.len();
    let responses = Responses::new(values.to_vec(), p, &strings(conditions), runs.as_deref())?;
    dissimilarities(&responses, distance, Shrinkage::default())
}

#[test]
fn responses_that_have_no_distance() {
    let euclidean = Distance::Euclidean;
    assert_eq!(code(distance(&[1.0, 2.0], &["a", "a"], None, euclidean)), "one_condition");
    assert_eq!(code(distance(&[1.0, f64::NAN, 2.0, 2.0], &["a", "b"], None, euclidean)), "responses_missing");
    assert_eq!(code(Responses::new(vec![1.0; 3], 2, &strings(&["a", "b"]), None)), "responses_size");
    assert_eq!(code(distance(&[1.0, 2.0], &["a", "b"], None, Distance::Correlation)), "one_channel");
    assert_eq!(code(distance(&[1.0, 2.0, 3.0, 1.0], &["a", "b"], None, Distance::Mahalanobis)), "no_repetitions");
    let same = [1.0, 2.0, 1.0, 2.0, 3.0, 1.0, 3.0, 1.0];
    let twice = ["a", "a", "b", "b"];
    assert_eq!(code(distance(&same, &twice, None, Distance::Mahalanobis)), "no_noise");
    let varied = [1.0, 2.0, 1.5, 2.2, 3.0, 1.0, 3.3, 1.1];
    let one_run = Some(&["r", "r", "r", "r"][..]);
    assert_eq!(code(distance(&varied, &twice, one_run, Distance::Crossnobis)), "one_run");
    let apart = Some(&["r", "r", "s", "s"][..]);
    assert_eq!(code(distance(&varied, &twice, apart, Distance::Crossnobis)), "too_few_conditions");
}

#[test]
fn constant_channels_and_patterns_are_left_out() {
    let values = [1.0, 7.0, 2.0, 1.5, 7.0, 2.9, 3.0, 7.0, 1.0, 3.3, 7.0, 1.8];
    let found = distance(&values, &["a", "a", "b", "b"], None, Distance::Mahalanobis).unwrap();
    let without: Vec<f64> = values.chunks(3).flat_map(|row| [row[0], row[2]]).collect();
    assert_eq!(found, distance(&without, &["a", "a", "b", "b"], None, Distance::Mahalanobis).unwrap());
    let flat = [1.0, 2.0, 4.0, 4.0, 3.0, 1.0];
    let found = distance(&flat, &["a", "b", "c"], None, Distance::Correlation).unwrap();
    assert_eq!((found.conditions.len(), found.dropped[0].condition.as_str()), (2, "b"));
}

#[test]
fn more_channels_than_observations_have_a_distance() {
    let mut random = crate::random::Random::new(3);
    let values: Vec<f64> = random.normals(8 * 50, 1.0).into_iter().map(f64::from).collect();
    let conditions = ["a", "a", "b", "b", "c", "c", "d", "d"];
    let runs = ["1", "2", "1", "2", "1", "2", "1", "2"];
    for kind in [Distance::Mahalanobis, Distance::Crossnobis] {
        assert!(distance(&values, &conditions, Some(&runs), kind).unwrap().values.iter().all(|v| v.is_finite()));
    }
}

#[test]
fn matrices_that_do_not_fit() {
    let row = |i: &str, j: &str, v: f64| (i.to_owned(), j.to_owned(), v);
    let complete = [row("a", "b", 1.0), row("c", "a", 2.0), row("b", "c", 3.0), row("a", "a", 0.0)];
    let found = Rdm::from_pairs(&complete).unwrap();
    assert_eq!((found.get(0, 2), found.get(2, 1), found.get(1, 1)), (2.0, 3.0, 0.0));
    assert_eq!(code(Rdm::from_pairs(&[&complete[..], &[row("a", "d", 1.0)]].concat())), "rdm_incomplete");
    assert_eq!(code(Rdm::from_pairs(&[&complete[..], &[row("b", "a", 4.0)]].concat())), "rdm_duplicate");
    assert_eq!(code(Rdm::from_pairs(&[row("a", "a", 4.0)])), "rdm_diagonal");
    let missing =
        [&complete[..], &[row("d", "a", f64::NAN), row("d", "b", f64::NAN), row("d", "c", f64::NAN)]].concat();
    assert_eq!(Rdm::from_pairs(&missing).unwrap().dropped[0].condition, "d");
    assert_eq!(code(Rdm::new(strings(&["a", "a"]), vec![1.0])), "duplicate_condition");
    assert_eq!(code(Rdm::new(strings(&["a", "b"]), vec![f32::NAN])), "rdm_value");
}

fn fits(a: Rdm, b: Vec<Rdm>, comparison: Comparison, over: Over) -> crate::Result<Assessment> {
    let bootstrap = Bootstrap { samples: 20, over, ..Bootstrap::default() };
    assess(vec![("system".into(), a)], with_names("subject", b), comparison, bootstrap, &proceed)
}

#[test]
fn comparisons_that_are_refused() {
    let whole = |n: usize| rdm(&(0..pairs(n)).map(|i| (i as f64 * 0.7).sin() + 1.5).collect::<Vec<_>>());
    let mut other = whole(8);
    other.conditions.iter_mut().for_each(|name| name.push_str(".png"));
    let refused = fits(whole(8), vec![other], Comparison::RhoA, Over::Both).unwrap_err();
    assert_eq!((refused.code, refused.details.len()), ("conditions_do_not_match", 2));
    let flat = rdm(&vec![2.0; 28]);
    assert_eq!(code(fits(flat, vec![whole(8)], Comparison::RhoA, Over::Both)), "constant_rdm");
    assert_eq!(code(fits(whole(8), vec![whole(8)], Comparison::Cosine, Over::Subjects)), "one_subject");
    assert_eq!(code(fits(whole(2), vec![whole(2)], Comparison::Cosine, Over::Both)), "conditions_do_not_match");
    let stop = |done: usize, _: usize| done < 5;
    let bootstrap = Bootstrap { samples: 20, ..Bootstrap::default() };
    let (a, b) = (vec![("system".into(), whole(8))], with_names("subject", vec![whole(8), whole(8)]));
    assert_eq!(code(assess(a, b, Comparison::RhoA, bootstrap, &stop)), "canceled");
}

#[test]
fn conditions_that_one_matrix_lacks_are_named_and_left_out() {
    let whole = |n: usize| rdm(&(0..pairs(n)).map(|i| (i as f64 * 0.7).sin() + 1.5).collect::<Vec<_>>());
    let mut turned = whole(8);
    turned.conditions.reverse();
    for (_, comparison) in COMPARISONS {
        let found = fits(whole(7), vec![whole(8), turned.clone()], comparison, Over::Both).unwrap();
        assert_eq!((found.conditions.len(), found.dropped.len()), (7, 1));
        assert!(found.dropped[0].reason.contains("not in `system`"));
        let fit = &found.systems[0];
        assert!([fit.value, fit.standard_error, fit.p_zero].iter().all(|v| v.is_finite()), "{fit:?}");
    }
    let found = fits(whole(8), vec![whole(8)], Comparison::RhoA, Over::Both).unwrap();
    assert!(found.noise_ceiling.is_none() && found.systems[0].p_ceiling.is_none());
}
