//! Resizing pictures bit for bit as Pillow does, which published networks were trained and are described with: a row pass and
//! a column pass with fixed-point weights, each rounded to bytes, with filters that widen when a picture shrinks.

/// How pixels are mixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    Nearest,
    Lanczos,
    Bilinear,
    Bicubic,
    Box,
    Hamming,
}

/// Bits of the fixed-point weights.
const BITS: u32 = 22;

impl Filter {
    /// By Pillow's number.
    pub(super) fn of(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Nearest,
            1 => Self::Lanczos,
            2 => Self::Bilinear,
            3 => Self::Bicubic,
            4 => Self::Box,
            5 => Self::Hamming,
            _ => return None,
        })
    }

    /// How far it reaches at the original size.
    fn support(self) -> f64 {
        match self {
            Self::Nearest | Self::Box => 0.5,
            Self::Bilinear | Self::Hamming => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        let sinc = |x: f64| if x == 0.0 { 1.0 } else { (x * std::f64::consts::PI).sin() / (x * std::f64::consts::PI) };
        let near = x.abs();
        match self {
            Self::Nearest | Self::Box if x > -0.5 && x <= 0.5 => 1.0,
            Self::Bilinear if near < 1.0 => 1.0 - near,
            Self::Hamming if near < 1.0 => sinc(x) * (0.54 + 0.46 * (x * std::f64::consts::PI).cos()),
            // Keys' cubic with a = −1/2.
            Self::Bicubic if near < 1.0 => (1.5 * near - 2.5) * near * near + 1.0,
            Self::Bicubic if near < 2.0 => ((-0.5 * near + 2.5) * near - 4.0) * near + 2.0,
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            _ => 0.0,
        }
    }
}

/// The first pixel that goes into an output, and the weights of it and the following.
type Weights = (usize, Vec<i32>);

fn weights(from: usize, to: usize, filter: Filter) -> Vec<Weights> {
    let scale = from as f64 / to as f64;
    let widened = scale.max(1.0);
    let support = filter.support() * widened;
    let one = |at: usize| {
        let center = (at as f64 + 0.5) * scale;
        let first = (center - support + 0.5).max(0.0) as usize;
        let end = ((center + support + 0.5) as usize).min(from);
        let each = (first..end).map(|x| filter.weight((x as f64 - center + 0.5) / widened));
        let each: Vec<f64> = each.collect();
        let sum: f64 = each.iter().sum();
        let fixed = |w: &f64| {
            let w = if sum == 0.0 { *w } else { w / sum };
            (w * f64::from(1 << BITS) + 0.5f64.copysign(w)) as i32
        };
        (first, each.iter().map(fixed).collect())
    };
    (0..to).map(one).collect()
}

/// A picture of RGB bytes `[height, width, 3]` at another height and width.
pub(super) fn resize(bytes: &[u8], from: [usize; 2], to: [usize; 2], filter: Filter) -> Vec<u8> {
    if filter == Filter::Nearest {
        // The places are added up, as Pillow does it, since they may lie on an edge between two pixels.
        let places = |axis: usize| -> Vec<usize> {
            let step = from[axis] as f64 / to[axis] as f64;
            let sums = std::iter::successors(Some(step * 0.5), |place| Some(place + step));
            sums.take(to[axis]).map(|place| (place as usize).min(from[axis] - 1)).collect()
        };
        let (down, across) = (places(0), places(1));
        let pixel = |y: usize, x: usize| &bytes[(y * from[1] + x) * 3..][..3];
        return down.iter().flat_map(|&y| across.iter().flat_map(move |&x| pixel(y, x))).copied().collect();
    }
    let across = if from[1] == to[1] { bytes.to_vec() } else { rows(bytes, from, to[1], filter) };
    if from[0] == to[0] { across } else { columns(&across, [from[0], to[1]], to[0], filter) }
}

fn rows(bytes: &[u8], [_, from]: [usize; 2], to: usize, filter: Filter) -> Vec<u8> {
    let weights = weights(from, to, filter);
    let mut out = Vec::with_capacity(bytes.len() / from * to);
    for row in bytes.chunks_exact(from * 3) {
        for (first, weights) in &weights {
            let mut sums = [1i32 << (BITS - 1); 3];
            for (pixel, weight) in row[first * 3..].chunks_exact(3).zip(weights) {
                (0..3).for_each(|c| sums[c] += i32::from(pixel[c]) * weight);
            }
            out.extend(sums.map(byte));
        }
    }
    out
}

fn columns(bytes: &[u8], [_, width]: [usize; 2], to: usize, filter: Filter) -> Vec<u8> {
    let line = width * 3;
    let mut out = Vec::with_capacity(to * line);
    for (first, weights) in weights(bytes.len() / line, to, filter) {
        let mut sums = vec![1i32 << (BITS - 1); line];
        for (row, weight) in bytes[first * line..].chunks_exact(line).zip(weights) {
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += i32::from(*x) * weight);
        }
        out.extend(sums.into_iter().map(byte));
    }
    out
}

fn byte(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_keeps_its_values_and_the_ends_do_not_overflow() {
        let ramp: Vec<u8> = (0..16u8).flat_map(|x| [x * 16; 3]).collect();
        for filter in [Filter::Bilinear, Filter::Bicubic, Filter::Lanczos, Filter::Box, Filter::Hamming] {
            let half = resize(&ramp, [1, 16], [1, 8], filter);
            assert!((1..7).all(|x| half[x * 3].abs_diff((x * 32 + 8) as u8) <= 1), "{filter:?} {half:?}");
        }
        let edge: Vec<u8> = (0..8).flat_map(|x| [if x < 4 { 0 } else { 255 }; 3]).collect();
        let wide = resize(&edge, [1, 8], [3, 32], Filter::Bicubic);
        assert_eq!((wide.len(), wide[0], wide[31 * 3]), (3 * 32 * 3, 0, 255));
        assert_eq!(resize(&edge, [1, 8], [2, 4], Filter::Nearest).len(), 24);
    }
}
