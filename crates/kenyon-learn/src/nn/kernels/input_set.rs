//! Sets of inputs of some units, and sparse rows restricted to those. The kernels
//! run on restricted rows as on any others, over weights that have a line only for inputs of the set.

use super::rows::SparseRows;

/// The line of an input outside of the set.
const UNSEEN: u32 = u32::MAX;

/// The inputs of some units, among all inputs of their layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InputSet {
    /// The inputs in the set, ascending; line `i` of the weights belongs to `seen[i]`.
    seen: Vec<u32>,
    /// The line of each input, or [`UNSEEN`].
    lines: Vec<u32>,
}

impl InputSet {
    /// Of `inputs` inputs those for which `has` holds.
    pub(crate) fn new(inputs: usize, has: impl Fn(usize) -> bool) -> Self {
        let mut field = Self { seen: Vec::new(), lines: vec![UNSEEN; inputs] };
        for input in (0..inputs).filter(|&input| has(input)) {
            field.lines[input] = field.seen.len() as u32;
            field.seen.push(input as u32);
        }
        field
    }

    /// The inputs in the set, ascending.
    pub(crate) fn seen(&self) -> &[u32] {
        &self.seen
    }

    /// The line of `input`, if it is in the set.
    pub(crate) fn line(&self, input: usize) -> Option<usize> {
        self.lines.get(input).filter(|&&line| line != UNSEEN).map(|&line| line as usize)
    }
}

/// The inverse index: which sets an input is in. Narrowing by this costs the entries of the narrowed rows, not
/// the active inputs times the number of sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InputIndex {
    /// `[inputs + 1]`, into `views`.
    starts: Vec<u32>,
    /// Field, and the input's line in it.
    views: Vec<(u32, u32)>,
    /// How many inputs each set has.
    bounds: Vec<usize>,
}

impl InputIndex {
    /// Of `inputs` inputs, for `fields` in this order.
    pub(crate) fn new<'a>(inputs: usize, fields: impl Iterator<Item = &'a InputSet> + Clone) -> Self {
        let mut index = Self { bounds: fields.clone().map(|field| field.seen.len()).collect(), ..Self::default() };
        index.starts.push(0);
        for input in 0..inputs {
            let seen =
                fields.clone().enumerate().filter_map(|(at, field)| Some((at as u32, field.line(input)? as u32)));
            index.views.extend(seen);
            index.starts.push(index.views.len() as u32);
        }
        index
    }

    /// Writes the entries of `rows` in each set to `out`, with lines in the place of inputs, and the position that
    /// each entry comes from if `origins`.
    pub(crate) fn narrow(&self, rows: &SparseRows<'_>, origins: bool, out: &mut NarrowedRows) {
        let (fields, stride) = (self.bounds.len(), rows.entries());
        out.bounds.clone_from(&self.bounds);
        out.stride = stride;
        out.offsets.clear();
        out.offsets.resize(fields * (rows.len() + 1), 0);
        out.ends.clear();
        out.ends.extend((0..fields).map(|field| field * stride));
        let size = fields * stride;
        out.indices.resize(size.max(out.indices.len()), 0);
        out.values.resize(size.max(out.values.len()), 0.0);
        out.origins.resize(if origins { size.max(out.origins.len()) } else { 0 }, 0);
        for row in 0..rows.len() {
            let (indices, values) = rows.row(row);
            for ((&index, &value), origin) in indices.iter().zip(values).zip(rows.range(row)) {
                let views = self.starts[index as usize] as usize..self.starts[index as usize + 1] as usize;
                for &(field, line) in &self.views[views] {
                    let end = &mut out.ends[field as usize];
                    out.indices[*end] = line;
                    out.values[*end] = value;
                    if origins {
                        out.origins[*end] = origin as u32;
                    }
                    *end += 1;
                }
            }
            for (field, end) in out.ends.iter().enumerate() {
                out.offsets[field * (rows.len() + 1) + row + 1] = (end - field * stride) as u32;
            }
        }
    }
}

/// Rows narrowed to each of some sets; the buffers are kept from mini-batch to mini-batch.
#[derive(Clone, Debug, Default)]
pub(crate) struct NarrowedRows {
    bounds: Vec<usize>,
    /// Capacity of each set, in entries.
    stride: usize,
    /// `[fields, rows + 1]`.
    offsets: Vec<u32>,
    indices: Vec<u32>,
    values: Vec<f32>,
    origins: Vec<u32>,
    /// Position of the next entry of each set.
    ends: Vec<usize>,
}

impl NarrowedRows {
    /// The rows narrowed to set `field`, with indices below its number of inputs.
    /// [`InputIndex::narrow`] must have run.
    pub(crate) fn rows(&self, field: usize) -> SparseRows<'_> {
        let (width, entries) = (self.offsets.len() / self.bounds.len(), self.entries(field));
        SparseRows {
            offsets: &self.offsets[field * width..(field + 1) * width],
            indices: &self.indices[entries.clone()],
            values: &self.values[entries],
            bound: self.bounds[field],
        }
    }

    /// The position of each entry of set `field` in the rows it was taken from.
    pub(crate) fn origins(&self, field: usize) -> &[u32] {
        &self.origins[self.entries(field)]
    }

    fn entries(&self, field: usize) -> std::ops::Range<usize> {
        field * self.stride..self.ends[field]
    }
}
