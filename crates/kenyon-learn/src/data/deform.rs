//! Deformed copies of pictures: shifted, rotated, scaled, sheared and elastically displaced by small amounts, so that
//! few rows show more of the variation within a class (Simard, Steinkraus & Platt 2003, "Best practices for convolutional
//! neural networks applied to visual document analysis"). Brightness and contrast are left as they are: the layer
//! that reads the copies normalises each patch.

use super::Batch;
use crate::random::Random;

/// Points a side of the grid that elastic displacements are drawn at.
const GRID: usize = 5;

/// A picture among the features of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    /// Its first feature index.
    pub(crate) start: usize,
    /// Height, width and channels, channels last.
    pub(crate) shape: [usize; 3],
}

/// How strongly copies differ from their picture at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Deformation {
    /// Rotation in radians.
    pub(crate) rotation: f32,
    /// Logarithm of the scale of each axis.
    pub(crate) scale: f32,
    /// Shear: displacement across by height.
    pub(crate) shear: f32,
    /// Shift along each axis, as a share of the side.
    pub(crate) shift: f32,
    /// Standard deviation of elastic displacements, as a share of the side.
    pub(crate) elastic: f32,
}

impl Deformation {
    /// `strength` times what deforms drawings and photos without changing what they show.
    pub(crate) fn new(strength: f32) -> Self {
        Self {
            rotation: 0.26 * strength,
            scale: 0.15 * strength,
            shear: 0.15 * strength,
            shift: 0.07 * strength,
            elastic: 0.035 * strength,
        }
    }

    /// Appends a copy of row `row` of the bag `rows` to `out`, with each of `pictures` (in the order of their features)
    /// deformed and everything else unchanged.
    pub(crate) fn copy(&self, rows: &Batch, row: usize, pictures: &[Picture], random: &mut Random, out: &mut Batch) {
        let (indices, values) = rows.entries(row);
        let mut from = 0;
        for Picture { start, shape } in pictures {
            let width: usize = shape.iter().product();
            let first = from + indices[from..].partition_point(|&index| (index as usize) < *start);
            let end = first + indices[first..].partition_point(|&index| (index as usize) < start + width);
            (from..first).for_each(|at| out.push_entry(indices[at], values[at]));
            let mut picture = vec![0.0; width];
            (first..end).for_each(|at| picture[indices[at] as usize - start] = values[at]);
            for (at, value) in self.deformed(&picture, *shape, random).into_iter().enumerate() {
                if value != 0.0 {
                    out.push_entry((start + at) as u32, value);
                }
            }
            from = end;
        }
        (from..indices.len()).for_each(|at| out.push_entry(indices[at], values[at]));
        out.end_bag();
    }

    /// A deformed `picture` of `shape`; what lies beyond its edge is as the edge.
    fn deformed(&self, picture: &[f32], shape: [usize; 3], random: &mut Random) -> Vec<f32> {
        let [height, width, channels] = shape;
        let mut within = |most: f32| (2.0 * random.uniform() - 1.0) * most;
        let (sine, cosine) = within(self.rotation).sin_cos();
        let (down, across) = (within(self.scale).exp(), within(self.scale).exp());
        let (shear, shift) = (within(self.shear), [within(self.shift), within(self.shift)]);
        let matrix =
            [[cosine * down, (cosine * shear - sine) * across], [sine * down, (sine * shear + cosine) * across]];
        let sides = [height as f32, width as f32];
        let elastic = sides.map(|side| random.normals(GRID * GRID, self.elastic * side));
        let middle = sides.map(|side| (side - 1.0) / 2.0);
        let mut out = Vec::with_capacity(picture.len());
        for y in 0..height {
            for x in 0..width {
                let (dy, dx) = (y as f32 - middle[0], x as f32 - middle[1]);
                let grid = [y as f32 / (sides[0] - 1.0).max(1.0), x as f32 / (sides[1] - 1.0).max(1.0)];
                let place: [f32; 2] = std::array::from_fn(|axis| {
                    let moved = matrix[axis][0] * dy + matrix[axis][1] * dx + shift[axis] * sides[axis];
                    (moved + middle[axis] + smooth(&elastic[axis], grid)).clamp(0.0, sides[axis] - 1.0)
                });
                let (low, high) = (place.map(f32::floor), place.map(f32::ceil));
                let (down, across) = (place[0] - low[0], place[1] - low[1]);
                let at = |y: f32, x: f32| (y as usize * width + x as usize) * channels;
                let corners = [at(low[0], low[1]), at(low[0], high[1]), at(high[0], low[1]), at(high[0], high[1])];
                for channel in 0..channels {
                    let [a, b, c, d] = corners.map(|corner| picture[corner + channel]);
                    let (above, below) = (a + (b - a) * across, c + (d - c) * across);
                    out.push(above + (below - above) * down);
                }
            }
        }
        out
    }
}

/// The value at `place` (both in `[0, 1]`) of a function that has `values` on a grid, without kinks between them.
fn smooth(values: &[f32], place: [f32; 2]) -> f32 {
    let [(y, down), (x, across)] = place.map(|share| {
        let at = share * (GRID - 1) as f32;
        let low = (at as usize).min(GRID - 2);
        let rest = at - low as f32;
        (low, rest * rest * (3.0 - 2.0 * rest))
    });
    let line = |y: usize| {
        let (left, right) = (values[y * GRID + x], values[y * GRID + x + 1]);
        left + (right - left) * across
    };
    line(y) + (line(y + 1) - line(y)) * down
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row with an entry before, a picture of 8 by 8 with a bar in it, and an entry behind.
    fn row() -> (Batch, Vec<Picture>) {
        let mut rows = Batch::new();
        rows.push_entry(0, 7.0);
        (0..8).for_each(|y| rows.push_entry(1 + y * 8 + 3, 1.0));
        rows.push_entry(70, 9.0);
        rows.end_bag();
        (rows, vec![Picture { start: 1, shape: [8, 8, 1] }])
    }

    #[test]
    fn a_deformation_of_no_strength_is_the_picture_itself() {
        let (rows, pictures) = row();
        let mut out = Batch::new();
        Deformation::new(0.0).copy(&rows, 0, &pictures, &mut Random::new(1), &mut out);
        assert_eq!(out, rows);
    }

    #[test]
    fn copies_differ_stay_near_and_leave_the_rest_of_the_row_alone() {
        let (rows, pictures) = row();
        let mut out = Batch::new();
        let mut random = Random::new(1);
        for _ in 0..50 {
            Deformation::new(1.0).copy(&rows, 0, &pictures, &mut random, &mut out);
        }
        assert_eq!(out.rows(), 50);
        let mut shifted = 0;
        for row in 0..50 {
            let (indices, values) = out.entries(row);
            assert!(indices.is_sorted_by(|a, b| a < b));
            assert_eq!((indices[0], values[0]), (0, 7.0));
            assert_eq!((indices[indices.len() - 1], values[values.len() - 1]), (70, 9.0));
            let ink: f32 = values[1..values.len() - 1].iter().sum();
            assert!((4.0..14.0).contains(&ink), "{ink}");
            shifted += usize::from(out.entries(row) != rows.entries(0));
        }
        assert_eq!(shifted, 50);
    }
}
