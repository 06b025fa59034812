//! Rows of different lengths as one tensor: rows are padded to the longest, and a mask has what is there.

use candle_core::{Device, Result, Tensor};

/// How concatenated items of rows are padded, and back.
#[derive(Clone, Debug)]
pub struct Padding {
    rows: usize,
    longest: usize,
    /// `[rows * longest]`: the item at each place, or one beyond the last.
    items: Tensor,
    /// `[items]`: the place of each item.
    places: Tensor,
    /// `[rows, longest]`: 1 where an item is, else 0.
    mask: Tensor,
}

impl Padding {
    /// For rows whose items are `offsets[row]..offsets[row + 1]`; `offsets` `[rows + 1]` rise from 0.
    pub fn new(offsets: &[usize], device: &Device) -> Result<Self> {
        let (rows, count) = (offsets.len().saturating_sub(1), offsets.last().copied().unwrap_or(0));
        let longest = offsets.windows(2).map(|row| row[1] - row[0]).max().unwrap_or(0).max(1);
        let mut items = vec![count as u32; rows * longest];
        let mut mask = vec![0f32; rows * longest];
        let mut places = Vec::with_capacity(count);
        for (row, range) in offsets.windows(2).enumerate() {
            for (at, item) in (range[0]..range[1]).enumerate() {
                let place = row * longest + at;
                (items[place], mask[place]) = (item as u32, 1.0);
                places.push(place as u32);
            }
        }
        Ok(Self {
            rows,
            longest,
            items: Tensor::from_vec(items, rows * longest, device)?,
            places: Tensor::from_vec(places, count, device)?,
            mask: Tensor::from_vec(mask, (rows, longest), device)?,
        })
    }

    /// Items of the longest row, at least 1.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// `[rows, longest]`: 1 where an item is, else 0.
    pub fn mask(&self) -> &Tensor {
        &self.mask
    }

    /// `[items, width] -> [rows, longest, width]`, 0 where there is no item.
    pub fn pad(&self, items: &Tensor) -> Result<Tensor> {
        let (_, width) = items.dims2()?;
        let zero = Tensor::zeros((1, width), items.dtype(), items.device())?;
        Tensor::cat(&[items, &zero], 0)?.index_select(&self.items, 0)?.reshape((self.rows, self.longest, width))
    }

    /// `[rows, longest, width] -> [items, width]`.
    pub fn unpad(&self, padded: &Tensor) -> Result<Tensor> {
        let (rows, longest, width) = padded.dims3()?;
        padded.contiguous()?.reshape((rows * longest, width))?.index_select(&self.places, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_padded_and_come_back() {
        let padding = Padding::new(&[0, 2, 2, 3], &Device::Cpu).unwrap();
        let items = Tensor::from_vec(vec![1f32, 2., 3., 4., 5., 6.], (3, 2), &Device::Cpu).unwrap();
        let padded = padding.pad(&items).unwrap();
        let zeros = vec![0f32, 0.];
        let expected =
            vec![vec![vec![1., 2.], vec![3., 4.]], vec![zeros.clone(), zeros.clone()], vec![vec![5., 6.], zeros]];
        assert_eq!(padded.to_vec3::<f32>().unwrap(), expected);
        assert_eq!(padding.mask().to_vec2::<f32>().unwrap(), [[1., 1.], [0., 0.], [1., 0.]]);
        assert_eq!(padding.unpad(&padded).unwrap().to_vec2::<f32>().unwrap(), items.to_vec2::<f32>().unwrap());
    }
}
