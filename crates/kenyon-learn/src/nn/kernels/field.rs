//! Receptive fields: which inputs some units see, and sparse rows narrowed to those. The kernels then
//! run on narrowed rows as on any others, over weights that have a line only for what is seen.

use super::Rows;

/// The line of an input that is not seen.
const UNSEEN: u32 = u32::MAX;

/// The inputs that some units see, of all inputs of their layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The inputs seen, ascending; line `i` of the weights belongs to `seen[i]`.
    seen: Vec<u32>,
    /// The line of each input, or [`UNSEEN`].
    lines: Vec<u32>,
}

impl Field {
    /// Of `inputs` inputs those that `sees` says yes to.
    pub fn new(inputs: usize, sees: impl Fn(usize) -> bool) -> Self {
        let mut field = Self { seen: Vec::new(), lines: vec![UNSEEN; inputs] };
        for input in (0..inputs).filter(|&input| sees(input)) {
            field.lines[input] = field.seen.len() as u32;
            field.seen.push(input as u32);
        }
        field
    }

    /// The inputs seen, ascending.
    pub fn seen(&self) -> &[u32] {
        &self.seen
    }

    /// The line of `input`, if it is seen.
    pub fn line(&self, input: usize) -> Option<usize> {
        self.lines.get(input).filter(|&&line| line != UNSEEN).map(|&line| line as usize)
    }
}

/// The other way round: who sees an input. Narrowing by this costs what is seen, not what is active
/// times how many look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Viewers {
    /// `[inputs + 1]`, into `views`.
    starts: Vec<u32>,
    /// Field, and the input's line in it.
    views: Vec<(u32, u32)>,
    /// How many inputs each field sees.
    bounds: Vec<usize>,
}

impl Viewers {
    /// Of `inputs` inputs, for `fields` in this order.
    pub fn new<'a>(inputs: usize, fields: impl Iterator<Item = &'a Field> + Clone) -> Self {
        let mut viewers = Self { bounds: fields.clone().map(|field| field.seen.len()).collect(), ..Self::default() };
        viewers.starts.push(0);
        for input in 0..inputs {
            let seen =
                fields.clone().enumerate().filter_map(|(at, field)| Some((at as u32, field.line(input)? as u32)));
            viewers.views.extend(seen);
            viewers.starts.push(viewers.views.len() as u32);
        }
        viewers
    }

    /// Writes what each field sees of `rows` to `out`, with lines in the place of inputs; where each
    /// entry comes from only if `origins` are asked for.
    pub fn narrow(&self, rows: &Rows<'_>, origins: bool, out: &mut Narrowed) {
        let (fields, stride) = (self.bounds.len(), rows.entries());
        out.bounds.clone_from(&self.bounds);
        out.stride = stride;
        out.offsets.clear();
        out.offsets.resize(fields * (rows.len() + 1), 0);
        out.ends.clear();
        out.ends.extend((0..fields).map(|field| field * stride));
        let room = fields * stride;
        out.indices.resize(room.max(out.indices.len()), 0);
        out.values.resize(room.max(out.values.len()), 0.0);
        out.origins.resize(if origins { room.max(out.origins.len()) } else { 0 }, 0);
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

/// Rows as each of some fields sees them; the buffers stay from mini-batch to mini-batch.
#[derive(Clone, Debug, Default)]
pub struct Narrowed {
    bounds: Vec<usize>,
    /// Entries that each field has room for.
    stride: usize,
    /// `[fields, rows + 1]`.
    offsets: Vec<u32>,
    indices: Vec<u32>,
    values: Vec<f32>,
    origins: Vec<u32>,
    /// Where the next entry of each field goes.
    ends: Vec<usize>,
}

impl Narrowed {
    /// The rows as field `field` sees them, with indices below the number of inputs seen.
    /// [`Viewers::narrow`] must have run.
    pub fn rows(&self, field: usize) -> Rows<'_> {
        let (width, entries) = (self.offsets.len() / self.bounds.len(), self.entries(field));
        Rows {
            offsets: &self.offsets[field * width..(field + 1) * width],
            indices: &self.indices[entries.clone()],
            values: &self.values[entries],
            bound: self.bounds[field],
        }
    }

    /// Where each entry of field `field` stood among those of the rows it was taken from.
    pub fn origins(&self, field: usize) -> &[u32] {
        &self.origins[self.entries(field)]
    }

    fn entries(&self, field: usize) -> std::ops::Range<usize> {
        field * self.stride..self.ends[field]
    }
}
