//! Temperature scaling (Guo et al. 2017, "On calibration of modern neural networks").

/// The temperature with the smallest log loss, by golden-section search over its logarithm.
///
/// A few dozen rows that are all answered right would lead to a temperature near 0 and probabilities of 0 and
/// 1, so each call includes a prior with the weight of one row: ln T is normal around 0.
pub fn fit_temperature(logits: &[f32], classes: usize, truths: &[u32]) -> f32 {
    if truths.is_empty() || classes < 2 {
        return 1.0;
    }
    let belief = 1.0 / truths.len() as f64;
    let loss = |log_t: f64| log_loss(logits, classes, truths, log_t.exp() as f32) + belief * log_t * log_t;
    let ratio = (5.0f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = ((0.05f64).ln(), (100.0f64).ln());
    let (mut left, mut right) = (high - ratio * (high - low), low + ratio * (high - low));
    let (mut at_left, mut at_right) = (loss(left), loss(right));
    for _ in 0..30 {
        if at_left <= at_right {
            (high, right, at_right) = (right, left, at_left);
            left = high - ratio * (high - low);
            at_left = loss(left);
        } else {
            (low, left, at_left) = (left, right, at_right);
            right = low + ratio * (high - low);
            at_right = loss(right);
        }
    }
    f64::midpoint(low, high).exp() as f32
}

/// Mean log loss of `logits` `[rows, classes]` at a temperature.
pub fn log_loss(logits: &[f32], classes: usize, truths: &[u32], temperature: f32) -> f64 {
    let scale = 1.0 / temperature;
    let mut sum = 0.0;
    for (row, &truth) in logits.chunks_exact(classes).zip(truths) {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total: f32 = row.iter().map(|l| ((l - largest) * scale).exp()).sum();
        sum += f64::from(total.ln() - (row[truth as usize] - largest) * scale);
    }
    sum / truths.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::super::tests::drawn;
    use super::*;

    #[test]
    fn temperature_is_found_again() {
        let (logits, truths) = drawn(20_000, 5, 2.5, 1);
        let t = fit_temperature(&logits, 5, &truths);
        assert!((t - 2.5).abs() < 0.1, "{t}");
    }

    #[test]
    fn a_few_right_answers_do_not_end_all_uncertainty() {
        let logits: Vec<f32> = (0..24).flat_map(|row| if row % 2 == 0 { [1.0, 0.0] } else { [0.0, 1.0] }).collect();
        let truths: Vec<u32> = (0..24).map(|row| row % 2).collect();
        let t = fit_temperature(&logits, 2, &truths);
        assert!((0.1..0.5).contains(&t), "{t}");
    }
}
