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
    fn the_first_of_equals_is_the_largest() {
        assert_eq!(argmax(&[0.5, 2.0, 2.0, f32::NAN]), 1);
        assert_eq!(argmax(&[]), 0);
    }
}
