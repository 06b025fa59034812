//! Receptive fields of the units of a layer: all inputs, a window of a picture, or neighbouring units of the layer
//! below. Units of a group share a receptive field, so that work falls with its size.

use crate::nn::kernels::{InputSet, LANE};

/// Groups along one side of the square they are arranged in, where there are units enough.
const SIDE: usize = 4;

/// A window lies where inputs are active in more than this share of the rows.
const BUSY: f32 = 0.2;

/// An input that is active in this share of the rows, or more, starts with weights of full size.
const USUAL: f32 = 0.2;

/// The inputs of the units of a layer.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ReceptiveField {
    /// All inputs.
    #[default]
    All,
    /// A window of each picture, this share of the region that is used at all, and all other inputs.
    Windows(f32, Vec<Picture>),
    /// Neighbouring units of the layer below, both layers laid out as squares: above windows of a
    /// picture, larger windows of it.
    Near,
}

/// The position of a picture among the inputs: row by row, the channels of a pixel together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The first input.
    pub start: usize,
    /// Pixels down.
    pub height: usize,
    /// Pixels across.
    pub width: usize,
    /// Numbers a pixel.
    pub channels: usize,
}

impl ReceptiveField {
    /// The receptive field of each group of units over `usage.len()` inputs, for a layer of `blocks` blocks; `usage` is
    /// the share of rows in which an input is active. None where all units have all inputs.
    pub(super) fn fields(&self, usage: &[f32], blocks: usize) -> Option<Vec<InputSet>> {
        let side = blocks.isqrt().min(SIDE);
        if side < 2 {
            return None;
        }
        match self {
            Self::All => None,
            Self::Windows(share, pictures) => Some(windows(usage, *share, pictures, side)),
            Self::Near => near(usage.len(), side),
        }
    }

    /// The factor of the first weights of each input. A pixel that is hardly ever active has
    /// no strong connections: they would not be learned, and noise would enter through them.
    pub(super) fn strengths(&self, usage: &[f32]) -> Option<Vec<f32>> {
        let Self::Windows(_, pictures) = self else { return None };
        let drawn = |input: usize| pictures.iter().any(|picture| picture.pixel(input).is_some());
        Some(usage.iter().enumerate().map(|(i, u)| if drawn(i) { (u / USUAL).min(1.0) } else { 1.0 }).collect())
    }
}

impl Picture {
    /// Row and column of the pixel of `input`, if it is of this picture.
    fn pixel(&self, input: usize) -> Option<[usize; 2]> {
        let pixel = input.checked_sub(self.start)? / self.channels;
        (pixel < self.height * self.width).then(|| [pixel / self.width, pixel % self.width])
    }

    /// The rows and the columns, first and end, that hold everything that is often active; all of
    /// them where nothing is.
    fn busy(&self, usage: &[f32]) -> [[usize; 2]; 2] {
        let mut bounds = [[usize::MAX, 0]; 2];
        for (input, _) in usage.iter().enumerate().filter(|(_, used)| **used > BUSY) {
            let Some(pixel) = self.pixel(input) else { continue };
            for (bound, at) in bounds.iter_mut().zip(pixel) {
                *bound = [bound[0].min(at), bound[1].max(at + 1)];
            }
        }
        if bounds[0][1] == 0 { [[0, self.height], [0, self.width]] } else { bounds }
    }
}

/// `side` by `side` windows of the pictures, and all other inputs.
fn windows(usage: &[f32], share: f32, pictures: &[Picture], side: usize) -> Vec<InputSet> {
    let boxes: Vec<[[usize; 2]; 2]> = pictures.iter().map(|picture| picture.busy(usage)).collect();
    let window = |group: usize| {
        let at = [group / side, group % side];
        let bounds = boxes.iter().map(|b| [0, 1].map(|d| place(b[d], share, at[d], side)));
        let bounds: Vec<[[usize; 2]; 2]> = bounds.collect();
        InputSet::new(usage.len(), |input| {
            let inside = |(picture, bounds): (&Picture, &[[usize; 2]; 2])| {
                picture.pixel(input).is_none_or(|pixel| (0..2).all(|d| within(bounds[d], pixel[d])))
            };
            pictures.iter().zip(&bounds).all(inside)
        })
    };
    (0..side * side).map(window).collect()
}

/// For `side` by `side` groups, the neighbouring units below; none where those are few.
fn near(units: usize, side: usize) -> Option<Vec<InputSet>> {
    let blocks = units.div_ceil(LANE);
    let below = blocks.isqrt().min(SIDE);
    let firsts: Vec<usize> = (0..below * below).map(|group| group * blocks / (below * below) * LANE).collect();
    // Middles of the groups, in the same measure for both layers.
    let next_to =
        |here: usize, there: usize| ((2 * here + 1) * below).abs_diff((2 * there + 1) * side) <= 2 * side.max(below);
    let field = |group: usize| {
        InputSet::new(units, |unit| {
            let there = firsts.partition_point(|&first| first <= unit) - 1;
            next_to(group / side, there / below) && next_to(group % side, there % below)
        })
    };
    (below > 1).then(|| (0..side * side).map(field).collect())
}

/// First and end of window `at` of `count` along one side of a box, each of the root of `share` of it.
fn place([from, to]: [usize; 2], share: f32, at: usize, count: usize) -> [usize; 2] {
    let length = to - from;
    let window = ((length as f32 * share.sqrt()).round() as usize).clamp(1, length);
    let first = from + ((length - window) * at + (count - 1) / 2) / (count - 1);
    [first, first + window]
}

fn within([from, to]: [usize; 2], at: usize) -> bool {
    (from..to).contains(&at)
}
