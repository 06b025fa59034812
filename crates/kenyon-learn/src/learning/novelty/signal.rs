//! Statistics of pictures and series that distinguish kinds of signals: level, contrast, roughness, shape.

/// Points that a series is resampled to, a channel.
const POINTS: usize = 16;
/// Elements of a list that are compared one by one; longer ones are averaged to this many.
pub(super) const MAX_ELEMENTS: usize = 1_024;
/// Statistics of one signal.
const STATISTICS: usize = 6;

/// Mean, deviation, least, largest, how much neighbours differ, how many are zero; NaN where there is no value.
fn statistics(values: impl Iterator<Item = f32> + Clone, difference: f64, out: &mut Vec<f64>) {
    let (mut count, mut sum, mut squares, mut zeros) = (0.0f64, 0.0f64, 0.0f64, 0.0f64);
    let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
    for value in values.filter(|v| v.is_finite()).map(f64::from) {
        count += 1.0;
        sum += value;
        squares += value * value;
        zeros += f64::from(u8::from(value == 0.0));
        (least, most) = (least.min(value), most.max(value));
    }
    if count == 0.0 {
        out.extend([f64::NAN; STATISTICS]);
        return;
    }
    let mean = sum / count;
    let deviation = (squares / count - mean * mean).max(0.0).sqrt();
    let roughness = if deviation > 0.0 { difference / deviation } else { 0.0 };
    out.extend([mean, deviation, least, most, roughness, zeros / count]);
}

/// Mean absolute difference of values `step` apart, of those that both are there.
fn mean_difference(values: &[f32], step: usize, same_line: impl Fn(usize) -> bool) -> f64 {
    let (mut sum, mut count) = (0.0f64, 0.0f64);
    for at in step..values.len() {
        let difference = values[at] - values[at - step];
        if difference.is_finite() && same_line(at) {
            sum += f64::from(difference.abs());
            count += 1.0;
        }
    }
    sum / count.max(1.0)
}

/// Statistics of a list or picture.
pub(super) fn of_list(values: &[f32], shape: Option<&[usize]>, out: &mut Vec<f64>) {
    let channels = shape.and_then(|s| s.get(2)).copied().unwrap_or(1).max(1);
    let line = shape.filter(|s| s.len() > 1).map_or(values.len(), |s| s[1] * channels).max(1);
    let across = mean_difference(values, channels, |at| at % line >= channels);
    let difference =
        if line < values.len() { f64::midpoint(across, mean_difference(values, line, |_| true)) } else { across };
    statistics(values.iter().copied(), difference, out);
}

/// A list's elements, neighbours averaged where there are very many.
pub(super) fn elements(values: &[f32], out: &mut Vec<f32>) {
    let each = values.len().div_ceil(MAX_ELEMENTS).max(1);
    out.extend(values.chunks(each).map(|part| {
        let known = part.iter().filter(|v| v.is_finite());
        let (sum, count) = known.fold((0.0f32, 0.0f32), |(sum, count), v| (sum + v, count + 1.0));
        if count > 0.0 { sum / count } else { f32::NAN }
    }));
}

/// Statistics of a series: its length, then those of each channel.
pub(super) fn of_series(values: &[f32], channels: usize, out: &mut Vec<f64>) {
    let steps = values.len() / channels.max(1);
    out.push(if steps > 0 { (steps as f64).ln() } else { f64::NAN });
    for channel in 0..channels {
        let own: Vec<f32> = values.iter().skip(channel).step_by(channels).copied().collect();
        let difference = mean_difference(&own, 1, |_| true);
        statistics(own.iter().copied(), difference, out);
    }
}

/// [`POINTS`] values a channel, means of equal parts of the series; NaN for an empty one.
pub(super) fn points(values: &[f32], channels: usize, out: &mut Vec<f32>) {
    let steps = values.len() / channels.max(1);
    for channel in 0..channels {
        for point in 0..POINTS {
            let (from, to) = (point * steps / POINTS, ((point + 1) * steps).div_ceil(POINTS));
            let part = (from..to).map(|step| values[step * channels + channel]).filter(|v| v.is_finite());
            let (sum, count) = part.fold((0.0f32, 0.0f32), |(sum, count), v| (sum + v, count + 1.0));
            out.push(if count > 0.0 { sum / count } else { f32::NAN });
        }
    }
}
