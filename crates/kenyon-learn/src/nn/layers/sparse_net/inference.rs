//! A trained network laid out for inference: hidden weights line by line, as bfloat16 where
//! that loses nothing.

use super::forward::{HiddenWeights, InputView, Scratch, run};
use super::layer::Layer;
use super::saved::{load_input_sets, save_input_sets, values};
use super::shape::{SparseNetShape, hidden_name};
use crate::nn::Tensors;
use crate::nn::kernels::{self, BinSums, InputIndex, InputSet, Isa, LANE, Lane, PAIR, Pair, SparseRows};
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use half::bf16;

/// A network for inference only.
#[derive(Clone, Debug)]
pub struct InferenceNet {
    /// Sizes.
    pub(crate) shape: SparseNetShape,
    /// Hidden layers, first to last.
    pub(crate) hidden: Vec<WeightRows>,
    /// From the last hidden code to the answers; none without a hidden layer.
    pub(crate) readout: Option<Layer>,
    /// From the row to the answers.
    pub(crate) skip: Option<Layer>,
}

/// A hidden layer's weights: for units with the same inputs, all weights of an input are contiguous.
#[derive(Clone, Debug)]
pub(crate) struct WeightRows {
    /// Width of what it reads.
    pub(crate) inputs: usize,
    /// Units it has.
    pub(crate) units: usize,
    /// Units with the same inputs, in the order of the units.
    regions: Vec<Region>,
    /// Which regions have an input; none where all have all.
    input_index: Option<InputIndex>,
    /// How many units have each input.
    fan_out: Vec<u32>,
}

/// Neighbouring units with the same inputs.
#[derive(Clone, Debug)]
struct Region {
    first: usize,
    units: usize,
    /// None for all inputs.
    field: Option<InputSet>,
    stored: Stored,
    /// `[sums, units / 32]`; see [`BinSums`]. In full, since sums have more digits than what they sum.
    sums: Vec<[Lane; 2]>,
    /// 32 units a step, the last partly empty.
    bias: Vec<[Lane; 2]>,
}

/// `[inputs seen, units / 32]`, the units rounded up.
#[derive(Clone, Debug)]
enum Stored {
    Half(Vec<Pair>),
    Full(Vec<[Lane; 2]>),
}

impl InferenceNet {
    /// From what [`super::SparseNet::save`] gave; sizes must fit the shape.
    pub fn load(shape: SparseNetShape, tensors: &Tensors) -> Result<Self> {
        let layer = |name: &str, inputs: usize, units: usize, sums: BinSums| -> Result<Layer> {
            let mut layer = Layer::summing(inputs, units, sums);
            layer.set_plain(&values(tensors, &format!("{name}.weight"), inputs * units)?);
            layer.set_plain_bias(&values(tensors, &format!("{name}.bias"), units)?);
            Ok(layer)
        };
        let mut inputs = shape.inputs;
        let mut hidden = Vec::with_capacity(shape.hidden.len());
        for (index, size) in shape.hidden.iter().enumerate() {
            let (name, units) = (hidden_name(index), size.units);
            if size.winner_groups == 0 || units % size.winner_groups != 0 {
                return Err(Error::internal(format!("saved weights: {name} cannot be parted into its winner_groups")));
            }
            let weights = values(tensors, &format!("{name}.weight"), inputs * units)?;
            let bias = values(tensors, &format!("{name}.bias"), units)?;
            let fields = load_input_sets(tensors, &name, inputs, units.div_ceil(LANE))?;
            let sums = if index == 0 { shape.sums() } else { BinSums::default() };
            if fields.is_some() && !sums.is_empty() {
                return Err(Error::internal(format!("saved weights: units of {name} do not have all bins")));
            }
            hidden.push(WeightRows::new((inputs, &sums), units, fields.unwrap_or_default(), &weights, &bias));
            inputs = units;
        }
        let readout =
            if hidden.is_empty() { None } else { Some(layer("readout", inputs, shape.outputs, BinSums::default())?) };
        let direct = shape.skip || hidden.is_empty();
        let skip = if direct { Some(layer("skip", shape.inputs, shape.outputs, shape.sums())?) } else { None };
        Ok(Self { shape, hidden, readout, skip })
    }

    /// Rounds the hidden weights in `tensors` to 16 bits (bfloat16, to the nearest): what is saved,
    /// exported and predicted with is then the same, and one row reads half as much memory. The
    /// rounding, 1/512 of a weight at most, is far below the noise a weight has from training.
    pub fn round(shape: &SparseNetShape, tensors: &mut Tensors) -> Result<()> {
        for index in 0..shape.hidden.len() {
            let name = format!("{}.weight", hidden_name(index));
            let Some(tensor) = tensors.get(&name) else { continue };
            let dims = tensor.dims().to_vec();
            let mut weights = tensor.flatten_all()?.to_vec1::<f32>()?;
            for weight in &mut weights {
                let rounded = bf16::from_f32(*weight).to_f32();
                // The largest singles would round to infinity.
                if rounded.is_finite() {
                    *weight = rounded;
                }
            }
            tensors.insert(name, Tensor::from_vec(weights, dims, &Device::Cpu)?);
        }
        Ok(())
    }

    /// Runs `rows` and leaves the codes and answers in `scratch`. Does not allocate once it has run
    /// as many rows before.
    pub fn infer(&self, isa: Isa, rows: &SparseRows<'_>, scratch: &mut Scratch) {
        run(&self.shape, &self.hidden, self.readout.as_ref(), self.skip.as_ref(), isa, rows, scratch);
    }

    /// As [`super::SparseNet::save`].
    pub(crate) fn save(&self) -> Result<Tensors> {
        let mut tensors = Tensors::new();
        let mut put = |name: &str, inputs: usize, units: usize, weights: Vec<f32>, bias: Vec<f32>| {
            tensors.insert(format!("{name}.weight"), Tensor::from_vec(weights, (inputs, units), &Device::Cpu)?);
            tensors.insert(format!("{name}.bias"), Tensor::from_vec(bias, units, &Device::Cpu)?);
            Ok::<_, Error>(())
        };
        for (index, lines) in self.hidden.iter().enumerate() {
            put(&hidden_name(index), lines.inputs, lines.units, lines.plain(), lines.plain_bias())?;
        }
        for (name, layer) in [("readout", &self.readout), ("skip", &self.skip)] {
            if let Some(layer) = layer {
                put(name, layer.inputs, layer.units, layer.plain(), layer.plain_bias())?;
            }
        }
        for (index, lines) in self.hidden.iter().enumerate() {
            let fields = lines.regions.iter().filter_map(|region| region.field.as_ref());
            save_input_sets(fields, lines.inputs, &hidden_name(index), &mut tensors)?;
        }
        Ok(tensors)
    }

    /// Bytes of its weights.
    pub(crate) fn bytes(&self) -> u64 {
        let hidden: usize = self.hidden.iter().map(WeightRows::bytes).sum();
        let direct: usize =
            [&self.readout, &self.skip].into_iter().flatten().map(|l| 4 * (l.inputs + 1) * l.units).sum();
        (hidden + direct) as u64
    }

    /// Bytes in memory: with what is kept beside the weights.
    pub(crate) fn memory(&self) -> u64 {
        let hidden: usize = self.hidden.iter().map(WeightRows::memory).sum();
        let direct: usize = [&self.readout, &self.skip].into_iter().flatten().map(Layer::bytes).sum();
        (hidden + direct) as u64
    }

    /// Multiply-accumulates of the dense network of the same size, per row.
    pub(crate) fn dense_macs(&self) -> f64 {
        let hidden = self.hidden.iter().map(|l| (l.inputs, l.units));
        let direct = [&self.readout, &self.skip].into_iter().flatten().map(|l| (l.inputs, l.units));
        hidden.chain(direct).map(|(inputs, units)| inputs as f64 * units as f64).sum()
    }
}

impl WeightRows {
    /// From weights `[inputs, units]` and biases `[units]`, as many as the sizes; a region a field.
    fn new(
        (inputs, sums): (usize, &BinSums),
        units: usize,
        fields: Vec<InputSet>,
        weights: &[f32],
        bias: &[f32],
    ) -> Self {
        let summed = kernels::summed_rows(weights, units, sums.runs());
        let (blocks, count) = (units.div_ceil(LANE), fields.len().max(1));
        let input_index = (!fields.is_empty()).then(|| InputIndex::new(inputs, fields.iter()));
        let mut fields = fields.into_iter();
        let regions: Vec<Region> = (0..count)
            .map(|g| {
                let first = (g * blocks / count * LANE).min(units);
                let end = ((g + 1) * blocks / count * LANE).min(units);
                Region::new(first..end, fields.next(), (units, weights, &summed), &bias[first..end])
            })
            .collect();
        let mut fan_out = vec![0; inputs];
        for region in &regions {
            region.inputs(inputs).for_each(|input| fan_out[input] += region.units as u32);
        }
        Self { inputs, units, regions, input_index, fan_out }
    }

    /// How many units have `input`, or a sum after the inputs.
    pub(crate) fn fan_out(&self, input: usize) -> usize {
        self.fan_out.get(input).map_or(self.units, |&units| units as usize)
    }

    /// The weight from `input` to `unit`; 0 where it is not an input of the unit.
    pub(crate) fn weight(&self, input: usize, unit: usize) -> f32 {
        let region = self.region(unit);
        region.line(input).map_or(0.0, |line| region.weight(line, unit - region.first))
    }

    /// The bias of `unit`.
    pub(crate) fn bias(&self, unit: usize) -> f32 {
        let region = self.region(unit);
        let unit = unit - region.first;
        region.bias[unit / PAIR][unit % PAIR / LANE].0[unit % LANE]
    }

    fn region(&self, unit: usize) -> &Region {
        let after = self.regions.partition_point(|region| region.first <= unit);
        &self.regions[after.saturating_sub(1)]
    }

    fn plain(&self) -> Vec<f32> {
        (0..self.inputs).flat_map(|input| (0..self.units).map(move |unit| self.weight(input, unit))).collect()
    }

    fn plain_bias(&self) -> Vec<f32> {
        (0..self.units).map(|unit| self.bias(unit)).collect()
    }

    fn bytes(&self) -> usize {
        self.regions.iter().map(Region::bytes).sum()
    }

    fn memory(&self) -> usize {
        let fields = self.regions.iter().filter_map(|region| region.field.as_ref());
        // Each input set, and the index of all, has a number for each input.
        let fields = fields.map(|field| 4 * (self.inputs + field.seen().len())).sum::<usize>();
        self.bytes() + 2 * fields + size_of_val(&self.fan_out[..])
    }
}

impl Region {
    fn new(
        units: std::ops::Range<usize>,
        field: Option<InputSet>,
        (width, all, summed): (usize, &[f32], &[f32]),
        bias: &[f32],
    ) -> Self {
        let (first, count) = (units.start, units.len());
        let sums = summed.chunks_exact(width.max(1)).flat_map(|row| pairs(&row[units.clone()])).collect();
        let (stored, bias) = (Stored::Full(Vec::new()), pairs(bias).collect());
        let mut region = Self { first, units: count, field, stored, sums, bias };
        let inputs = all.len() / width.max(1);
        let parts = || {
            let lines = region.inputs(inputs).map(|input| &all[input * width..][units.clone()]);
            lines.flat_map(|line| line.chunks(PAIR).map(padded))
        };
        let half: Option<Vec<Pair>> = parts().map(|part| Pair::exact(&part)).collect();
        region.stored = half.map_or_else(|| Stored::Full(parts().map(|part| two(&part)).collect()), Stored::Half);
        region
    }

    /// Its inputs, of `inputs`.
    fn inputs(&self, inputs: usize) -> impl Iterator<Item = usize> {
        let seen = self.field.as_ref().map(InputSet::seen);
        (0..seen.map_or(inputs, <[u32]>::len)).map(move |line| seen.map_or(line, |seen| seen[line] as usize))
    }

    fn line(&self, input: usize) -> Option<usize> {
        self.field.as_ref().map_or(Some(input), |field| field.line(input))
    }

    fn weight(&self, line: usize, unit: usize) -> f32 {
        let at = line * self.bias.len() + unit / PAIR;
        match &self.stored {
            Stored::Half(pairs) => pairs[at].get(unit % PAIR),
            Stored::Full(lines) => lines[at][unit % PAIR / LANE].0[unit % LANE],
        }
    }

    fn bytes(&self) -> usize {
        let weights = match &self.stored {
            Stored::Half(pairs) => size_of_val(&pairs[..]),
            Stored::Full(lines) => size_of_val(&lines[..]),
        };
        weights + size_of_val(&self.bias[..]) + size_of_val(&self.sums[..])
    }

    /// Pre-activations `[rows, units / 32]`.
    fn forward(&self, isa: Isa, rows: &SparseRows<'_>, out: &mut [[Lane; 2]]) {
        match &self.stored {
            Stored::Half(pairs) => kernels::forward_pairs(isa, pairs, &self.sums, &self.bias, rows, out),
            Stored::Full(lines) => kernels::forward_lines(isa, lines, &self.sums, &self.bias, rows, out),
        }
    }
}

impl HiddenWeights for WeightRows {
    fn inputs(&self) -> usize {
        self.inputs
    }

    fn pre_activations(&self, isa: Isa, rows: &SparseRows<'_>, view: &mut InputView, z: &mut Vec<Lane>) -> usize {
        let lanes = self.units.div_ceil(LANE);
        // Every lane is written below.
        z.resize(rows.len() * lanes, Lane::ZERO);
        let InputView { narrowed, z: own } = view;
        if let Some(input_index) = &self.input_index {
            input_index.narrow(rows, false, narrowed);
        }
        for (number, region) in self.regions.iter().enumerate() {
            let rows = if self.input_index.is_some() { narrowed.rows(number) } else { *rows };
            let width = region.bias.len();
            own.resize(rows.len() * width, [Lane::ZERO; 2]);
            region.forward(isa, &rows, own);
            let (first, count) = (region.first / LANE, region.units.div_ceil(LANE));
            for (own, row) in own.chunks_exact(width.max(1)).zip(z.chunks_exact_mut(lanes.max(1))) {
                row[first..first + count].copy_from_slice(&own.as_flattened()[..count]);
            }
        }
        lanes
    }
}

/// Numbers 32 a step, the last partly empty.
fn pairs(numbers: &[f32]) -> impl Iterator<Item = [Lane; 2]> {
    numbers.chunks(PAIR).map(|part| two(&padded(part)))
}

fn padded(part: &[f32]) -> [f32; PAIR] {
    let mut all = [0.0; PAIR];
    all[..part.len()].copy_from_slice(part);
    all
}

fn two(all: &[f32; PAIR]) -> [Lane; 2] {
    std::array::from_fn(|half| Lane(std::array::from_fn(|l| all[half * LANE + l])))
}
