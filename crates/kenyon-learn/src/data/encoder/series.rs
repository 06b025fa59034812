//! Series and pictures as tokens, and a series' statistics for bags.

use super::scale::Scale;
use crate::data::Batch;
use serde::{Deserialize, Serialize};

/// Window tokens of a typical series at most; longer series get longer strides.
const TOKENS: usize = 96;

/// Steps of a series up to which a window begins at each.
const SHORT: usize = 64;

/// Overlapping windows of a series, standardised by channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Windows {
    channels: usize,
    window: usize,
    stride: usize,
    scales: Vec<Scale>,
}

impl Windows {
    /// Scales from the training rows; window and stride grow with the length of the series, and
    /// shrink for short ones.
    pub(super) fn fit(
        values: &[f32],
        offsets: &[usize],
        channels: usize,
        rows: &[usize],
        window: usize,
        stride: usize,
    ) -> Self {
        let channels = channels.max(1);
        let mut scales = vec![Scale::default(); channels];
        let mut lengths: Vec<usize> = Vec::with_capacity(rows.len());
        for &row in rows {
            lengths.push(offsets[row + 1] - offsets[row]);
            for step in values[offsets[row] * channels..offsets[row + 1] * channels].chunks_exact(channels) {
                for (scale, &value) in scales.iter_mut().zip(step) {
                    scale.push(f64::from(value));
                }
            }
        }
        lengths.sort_unstable();
        let long = lengths.get(lengths.len() * 9 / 10).copied().unwrap_or(0);
        let stride = if long <= SHORT { 1 } else { stride.max(long.div_ceil(TOKENS)) };
        let window = window.max(2 * stride + 1).min(long.max(1));
        Self { channels, window, stride, scales }
    }

    pub(super) fn width(&self) -> usize {
        // The last entry means that the series is empty.
        self.window * self.channels + 1
    }

    /// Channels, steps a window, steps between two windows.
    pub(super) fn cut(&self) -> (usize, usize, usize) {
        (self.channels, self.window, self.stride)
    }

    /// A scale a channel.
    pub(super) fn scales(&self) -> &[Scale] {
        &self.scales
    }

    /// How far beyond the fitted range a step lies, in `[0, 1]`.
    pub(super) fn out_of_range(&self, values: &[f32]) -> f32 {
        let one = |(i, value): (usize, &f32)| self.scales[i % self.channels].out_of_range(f64::from(*value));
        values.iter().enumerate().map(one).fold(0.0, f32::max)
    }

    /// One token a window; a series shorter than a window is one token.
    pub(super) fn push(&self, values: &[f32], start: u32, field: u16, batch: &mut Batch) {
        let steps = values.len() / self.channels;
        if steps == 0 {
            batch.push_entry(start + self.width() as u32 - 1, 1.0);
            batch.end_token(field);
            return;
        }
        let mut from = 0;
        loop {
            let to = (from + self.window).min(steps);
            for (i, &value) in values[from * self.channels..to * self.channels].iter().enumerate() {
                let standard = self.scales[i % self.channels].apply(f64::from(value));
                if standard != 0.0 && value.is_finite() {
                    batch.push_entry(start + i as u32, standard);
                }
            }
            batch.end_token(field);
            if to == steps {
                return;
            }
            from += self.stride;
        }
    }
}

/// The patches of a picture, each a token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Patches {
    height: usize,
    width: usize,
    channels: usize,
    side: usize,
    largest: f32,
}

impl Patches {
    /// Patches of 4×4, or smaller ones for small pictures.
    pub(super) fn new(shape: &[usize], largest: f32) -> Self {
        let side = if shape[0].min(shape[1]) <= 12 { 2 } else { 4 };
        Self { height: shape[0], width: shape[1], channels: shape.get(2).copied().unwrap_or(1), side, largest }
    }

    pub(super) fn width(&self) -> usize {
        self.side * self.side * self.channels
    }

    /// The largest element of the training rows.
    pub(super) fn largest(&self) -> f32 {
        self.largest
    }

    pub(super) fn push(&self, values: &[f32], start: u32, field: u16, batch: &mut Batch) {
        let factor = if self.largest > 0.0 { 1.0 / self.largest } else { 1.0 };
        for top in (0..self.height).step_by(self.side) {
            for left in (0..self.width).step_by(self.side) {
                for y in top..(top + self.side).min(self.height) {
                    for x in left..(left + self.side).min(self.width) {
                        for channel in 0..self.channels {
                            let value = values[(y * self.width + x) * self.channels + channel];
                            if value != 0.0 && value.is_finite() {
                                let at = ((y - top) * self.side + x - left) * self.channels + channel;
                                batch.push_entry(start + at as u32, (value * factor).clamp(-8.0, 8.0));
                            }
                        }
                    }
                }
                batch.end_token(field);
            }
        }
    }
}

/// Statistics of a series: of the whole and of its thirds, a channel each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Pooled {
    channels: usize,
    scales: Vec<Scale>,
}

/// Mean, deviation, least, largest of whole and thirds; first, last, mean step.
pub(super) const STATISTICS: usize = 4 * 4 + 3;

impl Pooled {
    pub(super) fn fit(values: &[f32], offsets: &[usize], channels: usize, rows: &[usize]) -> Self {
        let channels = channels.max(1);
        let mut scales = vec![Scale::default(); channels * STATISTICS];
        for &row in rows {
            let steps = &values[offsets[row] * channels..offsets[row + 1] * channels];
            if !steps.is_empty() {
                for (scale, value) in scales.iter_mut().zip(statistics(steps, channels)) {
                    scale.push(value);
                }
            }
        }
        Self { channels, scales }
    }

    pub(super) fn width(&self) -> usize {
        // The last entry means that the series is empty.
        self.channels * STATISTICS + 1
    }

    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    /// A scale a statistic.
    pub(super) fn scales(&self) -> &[Scale] {
        &self.scales
    }

    /// How far beyond the fitted range one of its statistics lies, in `[0, 1]`.
    pub(super) fn out_of_range(&self, steps: &[f32]) -> f32 {
        if steps.is_empty() {
            return 0.0;
        }
        let all = statistics(steps, self.channels);
        self.scales.iter().zip(all).map(|(scale, value)| scale.out_of_range(value)).fold(0.0, f32::max)
    }

    pub(super) fn push(&self, steps: &[f32], start: u32, batch: &mut Batch) {
        if steps.is_empty() {
            batch.push_entry(start + self.width() as u32 - 1, 1.0);
            return;
        }
        for (i, value) in statistics(steps, self.channels).into_iter().enumerate() {
            let standard = self.scales[i].apply(value);
            if standard != 0.0 {
                batch.push_entry(start + i as u32, standard);
            }
        }
    }
}

fn statistics(steps: &[f32], channels: usize) -> Vec<f64> {
    let count = steps.len() / channels;
    let mut out = Vec::with_capacity(channels * STATISTICS);
    for channel in 0..channels {
        let at = |step: usize| f64::from(steps[step * channels + channel]);
        let third = count.div_ceil(3);
        let parts = [0..count, 0..third, third.min(count - 1)..(2 * third).clamp(1, count), (count - third)..count];
        for part in parts {
            let part = if part.is_empty() { count - 1..count } else { part };
            let n = part.len() as f64;
            let mean = part.clone().map(at).sum::<f64>() / n;
            let variance = part.clone().map(|s| (at(s) - mean).powi(2)).sum::<f64>() / n;
            let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
            for step in part {
                low = low.min(at(step));
                high = high.max(at(step));
            }
            out.extend([mean, variance.sqrt(), low, high]);
        }
        let moved: f64 = (1..count).map(|s| (at(s) - at(s - 1)).abs()).sum();
        out.extend([at(0), at(count - 1), moved / (count - 1).max(1) as f64]);
    }
    out
}
