//! Scores as probabilities: exact softmax and the largest of several. Training kernels have a faster softmax of
//! their own ([`crate::nn::kernels::dense::softmax`]), whose exponential is rounded differently.

/// Softmax of one row of scores divided by a temperature, in place.
pub(crate) fn softmax_with_temperature(scores: &mut [f32], temperature: f32) {
    let scale = 1.0 / temperature;
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for value in scores.iter_mut() {
        *value = ((*value - largest) * scale).exp();
        sum += *value;
    }
    for value in scores.iter_mut() {
        *value /= sum;
    }
}

/// Softmax of one row of scores, in place.
pub(crate) fn softmax(scores: &mut [f32]) {
    softmax_with_temperature(scores, 1.0);
}

/// `ln Σ exp(score)` of scores in double precision, without overflow.
pub(crate) fn log_sum_exp(scores: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = scores.clone().fold(f64::NEG_INFINITY, f64::max);
    largest + scores.map(|score| (score - largest).exp()).sum::<f64>().ln()
}

/// Position of the largest value; the first of equals, 0 where there is none.
pub(crate) fn argmax(values: &[f32]) -> usize {
    let mut best = 0;
    for (at, &value) in values.iter().enumerate() {
        if value > values[best] {
            best = at;
        }
    }
    best
}

/// The class that is named: the one with the largest probability times its factor. Without factors the most probable
/// one; a class without a factor of its own has the largest.
pub(crate) fn named(probabilities: &[f32], factors: &[f32]) -> usize {
    if factors.is_empty() {
        return argmax(probabilities);
    }
    let largest = factors.iter().copied().fold(0.0, f32::max);
    let weighed = |class: usize| probabilities[class] * factors.get(class).copied().unwrap_or(largest);
    (1..probabilities.len()).fold(0, |best, class| if weighed(class) > weighed(best) { class } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_scores_do_not_overflow() {
        let mut scores = [1000.0, 1001.0];
        softmax(&mut scores);
        assert!((scores[1] - 1.0 / (1.0 + (-1.0f32).exp())).abs() < 1e-6 && (scores[0] + scores[1] - 1.0).abs() < 1e-6);
        assert!((log_sum_exp([1000.0, 1000.0].into_iter()) - 1000.0 - 2.0f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn factors_decide_which_class_is_named() {
        assert_eq!(named(&[0.9, 0.1], &[]), 0);
        assert_eq!(named(&[0.9, 0.1], &[0.5, 10.0]), 1);
        assert_eq!(named(&[0.9, 0.05, 0.05], &[0.5, 10.0]), 1);
        assert_eq!(named(&[0.9, 0.04, 0.06], &[0.5, 10.0]), 2);
    }

    #[test]
    fn the_first_of_equals_is_the_largest() {
        assert_eq!(argmax(&[0.5, 2.0, 2.0, f32::NAN]), 1);
        assert_eq!(argmax(&[]), 0);
    }
}
