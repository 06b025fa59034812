//! Groups of units, each with its own inputs and its own few winners, then pooled: the sparse code that the readout
//! of `hybrid` is computed from. Its model is the specialised regions of the brain.
//!
//! Three kinds of segment: patches of an image or windows of a vector (shared filters, pooled over
//! positions), random subsets of a table's columns with the columns themselves, and hashed text
//! (a sparse random projection). The code of a row depends on that row alone.

use crate::data::Batch;
use crate::nn::kernels::matrix::{MatrixShape, product};
use crate::nn::kernels::parallel;
use crate::nn::layers::hebbian::Competition;
use crate::random::Random;
use serde::{Deserialize, Serialize};

/// How patches are cut and pooled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PatchShape {
    /// First feature index of the image.
    pub(crate) start: usize,
    /// Height, width and channels of the image; height 1 for a plain vector.
    pub(crate) image: [usize; 3],
    /// Height and width of a patch.
    pub(crate) patch: [usize; 2],
    /// Distance between patches.
    pub(crate) stride: usize,
    /// Cells the positions are pooled to, down and across.
    pub(crate) pool: [usize; 2],
    /// Filters shared by all positions.
    pub(crate) units: usize,
    /// Filters that win at each position.
    pub(crate) winners: usize,
}

impl PatchShape {
    /// Numbers in a patch.
    pub(crate) fn inputs(&self) -> usize {
        self.patch[0] * self.patch[1] * self.image[2]
    }

    /// Positions down and across.
    pub(crate) fn places(&self) -> [usize; 2] {
        [0, 1].map(|d| (self.image[d].saturating_sub(self.patch[d])) / self.stride + 1)
    }

    /// Width of the pooled code.
    pub(crate) fn width(&self) -> usize {
        self.pool[0] * self.pool[1] * self.units
    }
}

/// Patches of an image with their filters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Patches {
    /// How they are cut.
    pub(crate) shape: PatchShape,
    /// `[inputs, units]`, each unit of length 1.
    pub(crate) filters: Vec<f32>,
    /// Added to a patch's variance before dividing by it, so that noise in uniform patches stays small.
    pub(crate) floor: f32,
}

/// Columns unchanged, and groups of units that each read a few of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Columns {
    /// Feature indices that are passed on unchanged, in order.
    pub(crate) raw: Vec<u32>,
    /// Units in each group.
    pub(crate) units: usize,
    /// Winners in each group.
    pub(crate) winners: usize,
    /// Per group, positions in `raw` it reads.
    #[serde(rename = "sees")]
    pub(crate) inputs: Vec<Vec<u32>>,
    /// Per group, `[inputs + 1, units]`: weights, then biases.
    pub(crate) weights: Vec<Vec<f32>>,
    /// Strength of the units' activity against the columns themselves.
    pub(crate) scale: f32,
}

/// Hashed text, projected by a sparse random matrix that is computed, not stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Hashed {
    /// First feature index.
    pub(crate) start: usize,
    /// Feature indices.
    pub(crate) inputs: usize,
    /// Width of the projection.
    pub(crate) units: usize,
    /// Positions each feature is added to, with a sign each.
    pub(crate) spread: usize,
    /// Seed of the positions.
    pub(crate) seed: u64,
}

/// A segment of the code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum CodeSegment {
    /// See [`Patches`].
    Patches(Patches),
    /// See [`Columns`].
    Columns(Columns),
    /// See [`Hashed`].
    Hashed(Hashed),
}

impl CodeSegment {
    /// Width of its share of the code.
    pub(crate) fn width(&self) -> usize {
        match self {
            Self::Patches(p) => p.shape.width(),
            Self::Columns(c) => c.raw.len() + c.inputs.len() * c.units,
            Self::Hashed(h) => h.units,
        }
    }
}

/// The whole code: its segments one after the other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct LocalGroups {
    /// The parts, in order.
    pub(crate) parts: Vec<CodeSegment>,
}

/// Buffers of one thread.
#[derive(Default)]
struct Scratch {
    image: Vec<f32>,
    patches: Vec<f32>,
    cells: Vec<u32>,
    scores: Vec<f32>,
    top: Vec<(f32, u32)>,
}

impl LocalGroups {
    /// Width of the code.
    pub(crate) fn width(&self) -> usize {
        self.parts.iter().map(CodeSegment::width).sum()
    }

    /// The codes of all rows of a bag, `[rows, width]`, the rows shared between `threads`.
    pub(crate) fn code(&self, batch: &Batch, threads: usize) -> Vec<f32> {
        let (rows, width) = (batch.rows(), self.width());
        let mut out = vec![0.0f32; rows * width];
        if out.is_empty() {
            return out;
        }
        let threads = if rows < 8 { 1 } else { threads };
        let share = rows.div_ceil(threads.clamp(1, rows));
        let mut shares: Vec<&mut [f32]> = out.chunks_mut(share * width).collect();
        parallel::each_with(&mut shares, threads, Scratch::default, |scratch, number, rows| {
            for (r, row) in rows.chunks_exact_mut(width).enumerate() {
                let (indices, values) = batch.entries(number * share + r);
                let mut rest = row;
                for part in &self.parts {
                    let (own, others) = rest.split_at_mut(part.width());
                    part.code(indices, values, own, scratch);
                    rest = others;
                }
            }
        });
        out
    }
}

impl LocalGroups {
    /// The work of segment `number` for all rows: its kind, multiply-accumulates of the dense form, those
    /// with both operands non-zero, and comparisons for the winners.
    pub(crate) fn work(&self, number: usize, batch: &Batch) -> (&'static str, f64, f64, f64) {
        let mut scratch = Scratch::default();
        let rows = 0..batch.rows();
        match &self.parts[number] {
            CodeSegment::Patches(p) => {
                let (one, places) = (p.shape.inputs() * p.shape.units, p.shape.places());
                let cut: usize = rows
                    .map(|r| {
                        p.cut(batch.entries(r).0, batch.entries(r).1, &mut scratch, |_| {});
                        scratch.cells.len()
                    })
                    .sum();
                let dense = (places[0] * places[1] * one * batch.rows()) as f64;
                ("patches", dense, (cut * one) as f64, (cut * p.shape.units) as f64)
            }
            CodeSegment::Columns(c) => {
                let seen: usize = c.inputs.iter().map(Vec::len).sum();
                let dense = (c.raw.len() * c.inputs.len() * c.units * batch.rows()) as f64;
                let mut active = 0;
                for r in rows {
                    let indices = batch.entries(r).0;
                    let on = |&&s: &&u32| indices.binary_search(&c.raw[s as usize]).is_ok();
                    active += c.inputs.iter().map(|inputs| inputs.iter().filter(on).count()).sum::<usize>();
                }
                let compared = (seen.min(1) * c.inputs.len() * c.units * batch.rows()) as f64;
                ("columns", dense, (active * c.units) as f64, compared)
            }
            CodeSegment::Hashed(h) => {
                let mut active = 0;
                for r in rows {
                    let (indices, values) = batch.entries(r);
                    active += within(indices, values, h.start, h.inputs).count();
                }
                ("text", (h.inputs * h.units * batch.rows()) as f64, (active * h.spread) as f64, 0.0)
            }
        }
    }

    /// Whether some segment has filters that learn from inputs.
    pub(crate) fn learns(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, CodeSegment::Patches(_)))
    }

    /// Number of weights.
    pub(crate) fn weights(&self) -> usize {
        self.parts
            .iter()
            .map(|part| match part {
                CodeSegment::Patches(p) => p.filters.len(),
                CodeSegment::Columns(c) => c.weights.iter().map(Vec::len).sum(),
                CodeSegment::Hashed(_) => 0,
            })
            .sum()
    }
}

impl CodeSegment {
    fn code(&self, indices: &[u32], values: &[f32], out: &mut [f32], scratch: &mut Scratch) {
        match self {
            Self::Patches(p) => p.code(indices, values, out, scratch),
            Self::Columns(c) => c.code(indices, values, out, scratch),
            Self::Hashed(h) => h.code(indices, values, out),
        }
    }
}

/// The entries of a row from `start` on, at most `width` indices: (index − start, value).
fn within<'a>(
    indices: &'a [u32],
    values: &'a [f32],
    start: usize,
    width: usize,
) -> impl Iterator<Item = (usize, f32)> + 'a {
    let first = indices.partition_point(|&i| (i as usize) < start);
    let end = first + indices[first..].partition_point(|&i| (i as usize) < start + width);
    indices[first..end].iter().zip(&values[first..end]).map(move |(&i, &v)| (i as usize - start, v))
}

impl Patches {
    /// Learns filters from the rows of a bag in one pass, without labels.
    pub(crate) fn learn(shape: PatchShape, rows: &Batch, most: usize, seed: u64) -> Self {
        let mut scratch = Scratch::default();
        let mut it = Self { shape, filters: Vec::new(), floor: 0.0 };
        let (inputs, places) = (it.shape.inputs(), it.shape.places());
        // The variance floor comes first: a tenth of the mean variance over patches that are not uniform.
        let mut variances = (0.0f64, 0u64);
        let examined = rows.rows().min(500);
        for r in 0..examined {
            it.cut(rows.entries(r).0, rows.entries(r).1, &mut scratch, |variance| {
                variances.0 += f64::from(variance);
                variances.1 += 1;
            });
        }
        it.floor = (0.1 * variances.0 / variances.1.max(1) as f64) as f32;
        let per_row = (most / rows.rows().max(1)).min(places[0] * places[1]);
        let mut random = Random::stream(seed, "hebbian", 0);
        let mut units = Competition::new(inputs, it.shape.units, &mut random);
        let mut unit = vec![0.0; inputs];
        for r in 0..rows.rows() {
            it.cut(rows.entries(r).0, rows.entries(r).1, &mut scratch, |_| {});
            let count = scratch.cells.len();
            if count == 0 {
                continue;
            }
            for _ in 0..per_row {
                let place = random.below(count);
                let patch = &scratch.patches[place * inputs..(place + 1) * inputs];
                let length = patch.iter().map(|v| v * v).sum::<f32>().sqrt();
                if length > 1e-6 {
                    unit.iter_mut().zip(patch).for_each(|(u, p)| *u = p / length);
                    units.learn(&unit);
                }
            }
        }
        it.filters = units.into_weights();
        it
    }

    /// Cuts the patches that are not uniform into `scratch.patches`, centred and scaled, with the cell
    /// each is pooled to.
    fn cut(&self, indices: &[u32], values: &[f32], scratch: &mut Scratch, mut variance_of: impl FnMut(f32)) {
        let [height, width, channels] = self.shape.image;
        let [high, wide] = self.shape.patch;
        let [down, across] = self.shape.places();
        scratch.image.clear();
        scratch.image.resize(height * width * channels, 0.0);
        for (i, v) in within(indices, values, self.shape.start, height * width * channels) {
            scratch.image[i] = v;
        }
        scratch.patches.clear();
        scratch.cells.clear();
        let inputs = self.shape.inputs();
        for y in 0..down {
            for x in 0..across {
                let first = scratch.patches.len();
                for dy in 0..high {
                    let from = ((y * self.shape.stride + dy) * width + x * self.shape.stride) * channels;
                    scratch.patches.extend_from_slice(&scratch.image[from..from + wide * channels]);
                }
                let patch = &mut scratch.patches[first..];
                let mean = patch.iter().sum::<f32>() / inputs as f32;
                let variance = patch.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / inputs as f32;
                if variance <= self.floor * 1e-3 || variance.is_nan() {
                    scratch.patches.truncate(first);
                    continue;
                }
                variance_of(variance);
                let scale = 1.0 / (variance + self.floor).sqrt();
                patch.iter_mut().for_each(|v| *v = (*v - mean) * scale);
                let cell = (y * self.shape.pool[0] / down) * self.shape.pool[1] + x * self.shape.pool[1] / across;
                scratch.cells.push(cell as u32);
            }
        }
    }

    fn code(&self, indices: &[u32], values: &[f32], out: &mut [f32], scratch: &mut Scratch) {
        self.cut(indices, values, scratch, |_| {});
        let (inputs, units, count) = (self.shape.inputs(), self.shape.units, scratch.cells.len());
        scratch.scores.clear();
        scratch.scores.resize(count * units, 0.0);
        product(
            (&mut scratch.scores, MatrixShape::new(count, units)),
            (&scratch.patches, MatrixShape::new(count, inputs)),
            (&self.filters, MatrixShape::new(inputs, units)),
            None,
            1.0,
        );
        for (scores, &cell) in scratch.scores.chunks_exact(units).zip(&scratch.cells) {
            let cell = &mut out[cell as usize * units..(cell as usize + 1) * units];
            strongest(scores, self.shape.winners, &mut scratch.top);
            for &(score, unit) in &scratch.top {
                cell[unit as usize] += score.max(0.0);
            }
        }
        let mut length = 0.0;
        for v in out.iter_mut() {
            length += *v;
            *v = v.sqrt();
        }
        if length > 0.0 {
            let scale = 1.0 / length.sqrt();
            out.iter_mut().for_each(|v| *v *= scale);
        }
    }
}

impl Columns {
    /// Random groups over `fields`, each a list of feature indices that belong together.
    pub(crate) fn random(fields: &[Vec<u32>], groups: usize, units: usize, winners: usize, seed: u64) -> Self {
        let raw: Vec<u32> = fields.iter().flatten().copied().collect();
        let mut starts = vec![0u32];
        for field in fields {
            starts.push(starts[starts.len() - 1] + field.len() as u32);
        }
        let mut random = Random::stream(seed, "columns", 0);
        let mut it = Self { raw, units, winners, inputs: Vec::new(), weights: Vec::new(), scale: 1.0 };
        let mut order: Vec<usize> = (0..fields.len()).collect();
        for _ in 0..groups {
            random.shuffle(&mut order);
            let wanted = (2 + random.below(4)).min(fields.len());
            let mut inputs: Vec<u32> = order[..wanted].iter().flat_map(|&f| starts[f]..starts[f + 1]).collect();
            inputs.sort_unstable();
            let scale = 1.0 / (wanted as f32).sqrt();
            let mut weights = random.normals(inputs.len() * units, scale);
            weights.extend(random.normals(units, 0.7));
            it.inputs.push(inputs);
            it.weights.push(weights);
        }
        it
    }

    fn code(&self, indices: &[u32], values: &[f32], out: &mut [f32], scratch: &mut Scratch) {
        let (raw, groups) = out.split_at_mut(self.raw.len());
        // Both lists are in order: one pass finds every column that is not zero.
        let mut at = 0;
        for (slot, &index) in raw.iter_mut().zip(&self.raw) {
            while at < indices.len() && indices[at] < index {
                at += 1;
            }
            *slot = if at < indices.len() && indices[at] == index { values[at].clamp(-8.0, 8.0) } else { 0.0 };
        }
        let groups = groups.chunks_exact_mut(self.units.max(1));
        for ((own, inputs), weights) in groups.zip(&self.inputs).zip(&self.weights) {
            let (rows, bias) = weights.split_at(inputs.len() * self.units);
            scratch.scores.clear();
            scratch.scores.extend_from_slice(bias);
            for (&seen, row) in inputs.iter().zip(rows.chunks_exact(self.units)) {
                let x = raw[seen as usize];
                if x != 0.0 {
                    scratch.scores.iter_mut().zip(row).for_each(|(s, w)| *s += x * w);
                }
            }
            strongest(&scratch.scores, self.winners, &mut scratch.top);
            for &(score, unit) in &scratch.top {
                own[unit as usize] = score.clamp(0.0, 8.0) * self.scale;
            }
        }
    }
}

impl Hashed {
    /// The positions that feature `index` is added to, each with its sign.
    pub(crate) fn places(&self, index: usize) -> impl Iterator<Item = (usize, f32)> {
        let mut random = Random::stream(self.seed, "hashed", index as u64);
        (0..self.spread).map(move |_| {
            let bits = random.next_u64();
            let unit = ((u128::from(bits) * self.units as u128) >> 64) as usize;
            (unit, if bits & 1 == 0 { 1.0 } else { -1.0 })
        })
    }

    fn code(&self, indices: &[u32], values: &[f32], out: &mut [f32]) {
        let mut length = 0.0;
        for (index, value) in within(indices, values, self.start, self.inputs) {
            length += value * value;
            self.places(index).for_each(|(unit, sign)| out[unit] += sign * value);
        }
        if length > 0.0 {
            let scale = 1.0 / (length * self.spread as f32).sqrt();
            out.iter_mut().for_each(|v| *v *= scale);
        }
    }
}

/// The `k` strongest scores into `top`; of equal ones the earlier wins, so there are never more.
pub(crate) fn strongest(scores: &[f32], k: usize, top: &mut Vec<(f32, u32)>) {
    top.clear();
    let k = k.min(scores.len());
    if k == 0 {
        return;
    }
    let mut least = f32::NEG_INFINITY;
    for (unit, &score) in scores.iter().enumerate() {
        if top.len() == k && (score <= least || score.is_nan()) {
            continue;
        }
        if top.len() == k {
            top.pop();
        }
        let at = top.iter().position(|p| p.0 < score).unwrap_or(top.len());
        top.insert(at, (score, unit as u32));
        if top.len() == k {
            least = top[k - 1].0;
        }
    }
}
