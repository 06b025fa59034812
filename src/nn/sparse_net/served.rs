//! A trained network laid out for answering: hidden weights line by line, in half the room where
//! nothing is lost by it.

use super::infer::{Hidden, Scratch, run};
use super::{Layer, Shape, hidden_name, values};
use crate::nn::Tensors;
use crate::nn::kernels::{self, Isa, LANE, Lane, PAIR, Pair, Rows};
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use half::bf16;

/// A network that answers and does not learn.
#[derive(Clone, Debug)]
pub struct Served {
    /// Sizes.
    pub shape: Shape,
    /// Hidden layers, first to last.
    pub hidden: Vec<Lines>,
    /// From the last hidden code to the answers; none without a hidden layer.
    pub readout: Option<Layer>,
    /// From the row to the answers.
    pub skip: Option<Layer>,
}

/// A hidden layer's weights, all units of an input side by side.
#[derive(Clone, Debug)]
pub struct Lines {
    /// Width of what it reads.
    pub inputs: usize,
    /// Units it has.
    pub units: usize,
    stored: Stored,
    /// 32 units a step, the last part empty.
    bias: Vec<[Lane; 2]>,
}

/// `[inputs, units / 32]`, the units rounded up.
#[derive(Clone, Debug)]
enum Stored {
    Half(Vec<Pair>),
    Full(Vec<[Lane; 2]>),
}

impl Served {
    /// From what [`super::SparseNet::save`] gave; sizes must fit the shape.
    pub fn load(shape: Shape, tensors: &Tensors) -> Result<Self> {
        let layer = |name: &str, inputs: usize, units: usize| -> Result<Layer> {
            let mut layer = Layer::zeros(inputs, units);
            layer.set_plain(&values(tensors, &format!("{name}.weight"), inputs * units)?);
            layer.set_plain_bias(&values(tensors, &format!("{name}.bias"), units)?);
            Ok(layer)
        };
        let mut inputs = shape.inputs;
        let mut hidden = Vec::with_capacity(shape.hidden.len());
        for (index, &(units, _)) in shape.hidden.iter().enumerate() {
            let name = hidden_name(index);
            let weights = values(tensors, &format!("{name}.weight"), inputs * units)?;
            let bias = values(tensors, &format!("{name}.bias"), units)?;
            hidden.push(Lines::new(inputs, units, &weights, &bias));
            inputs = units;
        }
        let readout = if hidden.is_empty() { None } else { Some(layer("readout", inputs, shape.outputs)?) };
        let direct = shape.skip || hidden.is_empty();
        let skip = if direct { Some(layer("skip", shape.inputs, shape.outputs)?) } else { None };
        Ok(Self { shape, hidden, readout, skip })
    }

    /// Rounds the hidden weights in `tensors` to 16 bits (bfloat16, to the nearest): what is saved,
    /// exported and answered with is then the same, and one row reads half as much memory. The
    /// rounding, 1/512 of a weight at most, is far below the noise a weight has from training.
    pub fn round(shape: &Shape, tensors: &mut Tensors) -> Result<()> {
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
    pub fn infer(&self, isa: Isa, rows: &Rows<'_>, scratch: &mut Scratch) {
        run(&self.shape, &self.hidden, self.readout.as_ref(), self.skip.as_ref(), isa, rows, scratch);
    }

    /// As [`super::SparseNet::save`].
    pub fn save(&self) -> Result<Tensors> {
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
        Ok(tensors)
    }

    /// Bytes of its weights.
    pub fn bytes(&self) -> u64 {
        let hidden: usize = self.hidden.iter().map(Lines::bytes).sum();
        let direct: usize =
            [&self.readout, &self.skip].into_iter().flatten().map(|l| 4 * (l.inputs + 1) * l.units).sum();
        (hidden + direct) as u64
    }

    /// Multiply-accumulates of the dense network of the same size, per row.
    pub fn dense_macs(&self) -> f64 {
        let hidden = self.hidden.iter().map(|l| (l.inputs, l.units));
        let direct = [&self.readout, &self.skip].into_iter().flatten().map(|l| (l.inputs, l.units));
        hidden.chain(direct).map(|(inputs, units)| inputs as f64 * units as f64).sum()
    }
}

impl Lines {
    /// From weights `[inputs, units]` and biases `[units]`, as many as the sizes say.
    fn new(inputs: usize, units: usize, weights: &[f32], bias: &[f32]) -> Self {
        let width = units.div_ceil(PAIR);
        let half = || -> Option<Vec<Pair>> {
            let mut pairs = Vec::with_capacity(inputs * width);
            for line in weights.chunks_exact(units.max(1)) {
                for part in line.chunks(PAIR) {
                    pairs.push(Pair::exact(&padded(part))?);
                }
            }
            Some(pairs)
        };
        let full = || -> Vec<[Lane; 2]> {
            weights
                .chunks_exact(units.max(1))
                .flat_map(|line| line.chunks(PAIR).map(|part| two(&padded(part))))
                .collect()
        };
        let stored = half().map_or_else(|| Stored::Full(full()), Stored::Half);
        Self { inputs, units, stored, bias: bias.chunks(PAIR).map(|part| two(&padded(part))).collect() }
    }

    /// The weight from `input` to `unit`.
    pub fn weight(&self, input: usize, unit: usize) -> f32 {
        let at = input * self.bias.len() + unit / PAIR;
        match &self.stored {
            Stored::Half(pairs) => pairs[at].get(unit % PAIR),
            Stored::Full(lines) => lines[at][unit % PAIR / LANE].0[unit % LANE],
        }
    }

    /// The bias of `unit`.
    pub fn bias(&self, unit: usize) -> f32 {
        self.bias[unit / PAIR][unit % PAIR / LANE].0[unit % LANE]
    }

    fn plain(&self) -> Vec<f32> {
        (0..self.inputs).flat_map(|input| (0..self.units).map(move |unit| self.weight(input, unit))).collect()
    }

    fn plain_bias(&self) -> Vec<f32> {
        (0..self.units).map(|unit| self.bias(unit)).collect()
    }

    fn bytes(&self) -> usize {
        let weights = match &self.stored {
            Stored::Half(pairs) => size_of_val(&pairs[..]),
            Stored::Full(lines) => size_of_val(&lines[..]),
        };
        weights + size_of_val(&self.bias[..])
    }
}

impl Hidden for Lines {
    fn inputs(&self) -> usize {
        self.inputs
    }

    fn pre_activations(&self, isa: Isa, rows: &Rows<'_>, z: &mut Vec<Lane>) -> usize {
        let lanes = 2 * self.bias.len();
        // Every lane is written below.
        z.resize(rows.len() * lanes, Lane::ZERO);
        let (out, _) = z.as_chunks_mut::<2>();
        match &self.stored {
            Stored::Half(pairs) => kernels::forward_pairs(isa, pairs, &self.bias, rows, out),
            Stored::Full(lines) => kernels::forward_lines(isa, lines, &self.bias, rows, out),
        }
        lanes
    }
}

fn padded(part: &[f32]) -> [f32; PAIR] {
    let mut all = [0.0; PAIR];
    all[..part.len()].copy_from_slice(part);
    all
}

fn two(all: &[f32; PAIR]) -> [Lane; 2] {
    std::array::from_fn(|half| Lane(std::array::from_fn(|l| all[half * LANE + l])))
}
