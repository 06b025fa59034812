//! The parts of a picture that a pretrained encoder reads: the contribution of each to the answer, by leaving it out.

use super::shapley::{settle, shapley};
use super::{Contribution, Subject};
use crate::Result;
use crate::data::{Column, image};

/// Parts down and across: each answer runs the encoder.
const GRID: usize = 4;
/// Times that the picture is completed in another order, forwards and backwards.
const ENDS: usize = 4;

/// The shares of a picture's parts in `weight`, as a map of [`GRID`] rows and columns. What is left out has the picture's mean
/// colour.
pub(super) fn of_picture(
    subject: &Subject<'_>,
    at: usize,
    picture: &str,
    weight: f64,
    whole: Contribution,
) -> Result<Vec<Contribution>> {
    let Ok((bytes, side)) = image::unpack(picture).and_then(|bytes| image::colours(&bytes)) else {
        return Ok(vec![whole]);
    };
    let mean: [u8; 3] = std::array::from_fn(|channel| {
        let sum: u64 = bytes.iter().skip(channel).step_by(3).map(|byte| u64::from(*byte)).sum();
        (sum / (bytes.len() as u64 / 3).max(1)) as u8
    });
    let part = |pixel: usize| pixel / side[1] * GRID / side[0] * GRID + pixel % side[1] * GRID / side[1];
    let without = |kept: &[bool]| -> Option<Box<str>> {
        let mut masked = bytes.clone();
        let hidden = masked.chunks_exact_mut(3).enumerate().filter(|(pixel, _)| !kept[part(*pixel)]);
        hidden.for_each(|(_, colour)| colour.copy_from_slice(&mean));
        image::png(masked, side).map(Into::into)
    };
    let mut weights = shapley(GRID * GRID, ENDS, |points| {
        let pictures = points.iter().map(|point| without(&point.kept)).collect();
        subject.answers_with(at, &Column::Picture(pictures), points.len())
    })?
    .weights;
    settle(&mut weights, weight);
    let map = weights.chunks_exact(GRID).map(|row| row.iter().map(|weight| *weight as f32).collect()).collect();
    Ok(vec![Contribution { map: Some(map), ..whole }])
}
