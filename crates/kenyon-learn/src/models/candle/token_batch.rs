//! A batch of sparse tokens for candle models.

use crate::data::Batch;
use crate::nn::layers::sparse_embedding::SparseInput;
use candle_core::{DType, Device, Result, Tensor, bail};
use std::sync::OnceLock;

/// Rows of tokens, tokens of (index, value) entries; see [`Batch`] for the meaning of the parts.
#[derive(Clone, Debug)]
pub struct TokenBatch {
    given: Batch,
    /// The same with an entry for each bin, once it was needed.
    expanded: OnceLock<Batch>,
    device: Device,
}

impl TokenBatch {
    /// The rows of `batch`, for a model on `device`.
    pub fn new(batch: &Batch, device: &Device) -> Self {
        Self { given: batch.clone(), expanded: OnceLock::new(), device: device.clone() }
    }

    /// From tensors of whole numbers `row_offsets` `[rows + 1]` (in tokens), `token_offsets` `[tokens + 1]` (in entries)
    /// and `indices` `[entries]`, from `values` `[entries]`, and from the field of each token, `[tokens]`, which bags do
    /// not have.
    ///
    /// # Errors
    /// Offsets that do not rise or do not fit.
    pub fn from_tensors(
        row_offsets: &Tensor,
        token_offsets: &Tensor,
        indices: &Tensor,
        values: &Tensor,
        fields: Option<&Tensor>,
    ) -> Result<Self> {
        let whole = |tensor: &Tensor| tensor.to_dtype(DType::U32)?.to_vec1::<u32>();
        let fields = fields.map(whole).transpose()?.unwrap_or_default();
        let batch = Batch {
            row_offsets: whole(row_offsets)?,
            token_offsets: whole(token_offsets)?,
            indices: whole(indices)?,
            values: values.to_dtype(DType::F32)?.to_vec1()?,
            fields: fields.iter().map(|&field| field as u16).collect(),
            ..Batch::default()
        };
        let rising = |offsets: &[u32], end: usize| {
            offsets.first() == Some(&0) && offsets.is_sorted() && offsets.last() == Some(&(end as u32))
        };
        let whole = rising(&batch.row_offsets, batch.tokens())
            && rising(&batch.token_offsets, batch.indices.len())
            && batch.indices.len() == batch.values.len()
            && (batch.fields.is_empty() || batch.fields.len() == batch.tokens());
        if !whole {
            bail!("the parts of the batch do not fit together");
        }
        Ok(Self::new(&batch, values.device()))
    }

    /// One bag a row: the non-zero numbers of a dense `[rows, width]` tensor.
    pub fn from_dense(dense: &Tensor) -> Result<Self> {
        let all = 0..dense.dims2()?.1;
        Self::from_dense_fields(dense, std::slice::from_ref(&all))
    }

    /// A token a field: the non-zero numbers of each range of the columns of a dense `[rows, width]` tensor.
    pub fn from_dense_fields(dense: &Tensor, fields: &[std::ops::Range<usize>]) -> Result<Self> {
        let mut batch = Batch::new();
        for row in dense.to_dtype(DType::F32)?.to_vec2::<f32>()? {
            for (number, field) in fields.iter().enumerate() {
                let Some(values) = row.get(field.clone()) else { bail!("rows of {} have no {field:?}", row.len()) };
                let present = field.clone().zip(values).filter(|(_, value)| **value != 0.0);
                present.for_each(|(index, &value)| batch.push_entry(index as u32, value));
                batch.end_token(number as u16);
            }
            batch.end_row();
        }
        Ok(Self::new(&batch, dense.device()))
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.given.rows()
    }

    /// The device of the model it is for.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The rows, with an entry for each bin that is not empty.
    pub fn batch(&self) -> &Batch {
        if self.given.bins.is_none() {
            return &self.given;
        }
        self.expanded.get_or_init(|| self.given.expanded().into_owned())
    }

    /// The rows as they were given, which may be compact.
    pub(super) fn given(&self) -> &Batch {
        &self.given
    }

    /// Each row's entries together, in a feature space of `width`.
    pub fn bags(&self, width: usize) -> Result<SparseInput> {
        SparseInput::bags(self.batch(), width)
    }

    /// Each token's entries, in a feature space of `width`.
    pub fn tokens(&self, width: usize) -> Result<SparseInput> {
        SparseInput::tokens(self.batch(), width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_and_dense_rows_become_batches() {
        let (cpu, u32s) = (&Device::Cpu, |values: &[u32]| Tensor::new(values, &Device::Cpu).unwrap());
        let values = Tensor::new(&[1f32, 2., 3.], cpu).unwrap();
        let from = |rows: &[u32], tokens: &[u32]| {
            TokenBatch::from_tensors(&u32s(rows), &u32s(tokens), &u32s(&[4, 0, 2]), &values, None)
        };
        let batch = from(&[0, 1, 1, 2], &[0, 2, 3]).unwrap();
        assert_eq!((batch.rows(), batch.batch().entries(2)), (3, (&[2u32][..], &[3f32][..])));
        for (rows, tokens) in [(&[0, 3][..], &[0, 2, 3][..]), (&[0, 2], &[0, 2, 4]), (&[1, 2], &[0, 2, 3]), (&[], &[0])]
        {
            assert!(from(rows, tokens).is_err(), "{rows:?} {tokens:?}");
        }
        let dense = Tensor::new(&[[0f32, 5., 6.], [7., 0., 0.]], cpu).unwrap();
        let bags = TokenBatch::from_dense(&dense).unwrap();
        assert_eq!(bags.batch().entries(0), (&[1u32, 2][..], &[5f32, 6.][..]));
        let fields = TokenBatch::from_dense_fields(&dense, &[0..1, 1..3]).unwrap();
        assert_eq!((fields.batch().token_offsets.as_slice(), fields.batch().tokens()), (&[0u32, 0, 2, 3, 3][..], 4));
    }
}
