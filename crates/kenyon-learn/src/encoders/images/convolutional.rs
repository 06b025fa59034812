//! Convolutional networks that only predict: convolutions with their normalisation folded in, residual blocks, and the mean
//! over all positions. Which tensors make which network is in [`super::resnet`] and [`super::efficientnet`].

use crate::Result;
use crate::encoders::refused;
use crate::encoders::weights::Weights;
use crate::nn::kernels::convolution::{Window, clamped, depthwise, largest, silu, windows};
use crate::nn::kernels::packed::{PackedMatrix, Stride};
use crate::nn::kernels::transformer::gelu;

/// Channels of a layer.
pub(super) const MOST_CHANNELS: usize = 1 << 14;
/// Layers of a network.
pub(super) const MOST_BLOCKS: usize = 256;

/// What follows a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activation {
    None,
    Relu,
    Relu6,
    Silu,
    Gelu,
}

impl Activation {
    /// By its name in `config.json`.
    pub(super) fn of(name: &str) -> Result<Self> {
        Ok(match name {
            "relu" => Self::Relu,
            "relu6" => Self::Relu6,
            "silu" | "swish" => Self::Silu,
            "gelu" => Self::Gelu,
            other => return Err(refused(format!("config.json: the activation {other:?} is not supported"))),
        })
    }

    fn apply(self, values: &mut [f32]) {
        match self {
            Self::None => {}
            Self::Relu => clamped(values, f32::INFINITY),
            Self::Relu6 => clamped(values, 6.0),
            Self::Silu => silu(values),
            Self::Gelu => gelu(values),
        }
    }
}

/// Zeros around an image.
#[derive(Clone, Copy, Debug)]
pub(super) enum Padding {
    /// So many before and after.
    Fixed(usize, usize),
    /// As TensorFlow's "same": as many outputs as strides fit, the odd zero after.
    Same,
}

impl Padding {
    /// Zeros before, and the number of outputs.
    fn of(self, side: usize, kernel: usize, stride: usize) -> (usize, usize) {
        match self {
            Self::Fixed(before, after) => (before, ((side + before + after).saturating_sub(kernel)) / stride + 1),
            Self::Same => {
                let out = side.div_ceil(stride);
                (((out - 1) * stride + kernel).saturating_sub(side) / 2, out)
            }
        }
    }
}

/// An image inside the network, `[height, width, channels]`.
#[derive(Clone, Debug, Default)]
pub(super) struct Map {
    pub(super) side: [usize; 2],
    pub(super) channels: usize,
    pub(super) values: Vec<f32>,
}

/// A convolution, or a step between two.
pub(super) enum Step {
    /// Every output from all inputs of a window.
    Dense { matrix: PackedMatrix, kernel: usize, stride: usize, padding: Padding, then: Activation },
    /// Every channel by itself, `[kernel², channels]`.
    Depthwise { weights: Vec<f32>, bias: Vec<f32>, kernel: usize, stride: usize, padding: Padding, then: Activation },
    /// The largest of each window.
    Largest { kernel: usize, stride: usize, padding: Padding },
    /// Channels scaled by what a small network makes of their means (Hu et al. 2018).
    Excite { reduce: PackedMatrix, expand: PackedMatrix, then: Activation },
}

/// Where the input of a block joins its output again.
pub(super) enum Shortcut {
    None,
    Identity,
    Convolution(Step),
}

/// Some steps, what is added to their result, and what follows.
pub(super) struct Block {
    pub(super) steps: Vec<Step>,
    pub(super) shortcut: Shortcut,
    pub(super) then: Activation,
}

/// A network without its classifier.
pub(super) struct Convolutional {
    pub(super) blocks: Vec<Block>,
    pub(super) width: usize,
}

/// The tensors of a convolution: where it is, and the normalisation after it.
pub(super) struct Named<'a> {
    pub(super) convolution: &'a str,
    pub(super) norm: &'a str,
    pub(super) epsilon: f32,
}

/// What moves over the image.
#[derive(Clone, Copy)]
pub(super) struct Moves {
    pub(super) stride: usize,
    pub(super) padding: Padding,
    pub(super) then: Activation,
}

/// A dense convolution of `named` from `inputs` channels; its outputs and kernel are those of the tensor.
pub(super) fn dense(weights: &mut Weights, named: &Named<'_>, inputs: usize, moves: Moves) -> Result<Step> {
    let name = format!("{}.weight", named.convolution);
    let [outputs, found, kernel, _] = shape(weights, &name)?;
    if found != inputs {
        return Err(refused(format!("tensor {name} reads {found} channels, the layer before has {inputs}")));
    }
    let raw = weights.take(&name, &[outputs, inputs, kernel, kernel])?;
    let (factors, bias) = folded(weights, named, outputs)?;
    let mut matrix = Vec::with_capacity(raw.len());
    for (output, factor) in raw.chunks_exact(inputs * kernel * kernel).zip(&factors) {
        for place in 0..kernel * kernel {
            matrix.extend((0..inputs).map(|input| factor * output[input * kernel * kernel + place]));
        }
    }
    let matrix = PackedMatrix::new(&matrix, &bias, inputs * kernel * kernel);
    let Moves { stride, padding, then } = moves;
    Ok(Step::Dense { matrix, kernel, stride, padding, then })
}

/// A convolution of every channel by itself.
pub(super) fn by_channel(weights: &mut Weights, named: &Named<'_>, channels: usize, moves: Moves) -> Result<Step> {
    let name = format!("{}.weight", named.convolution);
    let [_, _, kernel, _] = shape(weights, &name)?;
    let raw = weights.take(&name, &[channels, 1, kernel, kernel])?;
    let (factors, bias) = folded(weights, named, channels)?;
    let size = kernel * kernel;
    let place = |at: usize| raw[at % channels * size + at / channels] * factors[at % channels];
    let Moves { stride, padding, then } = moves;
    let weights = (0..size * channels).map(place).collect();
    Ok(Step::Depthwise { weights, bias, kernel, stride, padding, then })
}

/// The two small layers that scale channels, both with a bias.
pub(super) fn excite(
    weights: &mut Weights,
    [reduce, expand]: [&str; 2],
    channels: usize,
    then: Activation,
) -> Result<Step> {
    let [inner, ..] = shape(weights, &format!("{reduce}.weight"))?;
    let mut linear = |name: &str, inputs: usize, outputs: usize| -> Result<PackedMatrix> {
        let matrix = weights.take(&format!("{name}.weight"), &[outputs, inputs, 1, 1])?;
        let bias = weights.take(&format!("{name}.bias"), &[outputs])?;
        Ok(PackedMatrix::new(&matrix, &bias, inputs))
    };
    Ok(Step::Excite { reduce: linear(reduce, channels, inner)?, expand: linear(expand, inner, channels)?, then })
}

/// The four sides of a convolution's tensor, within bounds.
pub(super) fn shape(weights: &Weights, name: &str) -> Result<[usize; 4]> {
    let found = weights.shape(name).ok_or_else(|| refused(format!("tensor {name} is missing")))?;
    let &[outputs, inputs, height, width] = found else {
        return Err(refused(format!("tensor {name} has shape {found:?}, a convolution has four sides")));
    };
    let sane = (1..=MOST_CHANNELS).contains(&outputs) && (1..=MOST_CHANNELS).contains(&inputs);
    if !sane || height != width || !(1..=31).contains(&height) {
        return Err(refused(format!("tensor {name} has shape {found:?}, which no supported network has")));
    }
    Ok([outputs, inputs, height, width])
}

/// The factor and bias that a normalisation by fixed statistics is.
fn folded(weights: &mut Weights, named: &Named<'_>, outputs: usize) -> Result<(Vec<f32>, Vec<f32>)> {
    let mut part = |name: &str| weights.take(&format!("{}.{name}", named.norm), &[outputs]);
    let (gain, bias) = (part("weight")?, part("bias")?);
    let (mean, variance) = (part("running_mean")?, part("running_var")?);
    if variance.iter().any(|v| *v < 0.0) {
        return Err(refused(format!("tensor {}.running_var has a negative number", named.norm)));
    }
    let factors: Vec<f32> = gain.iter().zip(&variance).map(|(g, v)| g / (v + named.epsilon).sqrt()).collect();
    let bias = bias.iter().zip(&mean).zip(&factors).map(|((b, m), f)| b - m * f).collect();
    Ok((factors, bias))
}

impl Step {
    /// Outputs of the step where they differ from its inputs.
    pub(super) fn outputs(&self) -> Option<usize> {
        match self {
            Self::Dense { matrix, .. } => Some(matrix.outputs()),
            _ => None,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Dense { matrix, .. } => matrix.bytes(),
            Self::Depthwise { weights, bias, .. } => (weights.len() + bias.len()) * 4,
            Self::Largest { .. } => 0,
            Self::Excite { reduce, expand, .. } => reduce.bytes() + expand.bytes(),
        }
    }

    fn run(&self, x: &Map) -> Map {
        match self {
            Self::Dense { matrix, kernel, stride, padding, then } => {
                let window = window(x, *kernel, *stride, *padding);
                let mut out = Map::of(window.out, matrix.outputs());
                let [down, across] = window.out;
                if *kernel == 1 && *stride == 1 {
                    let positions = down * across;
                    let rows = (&x.values[..], Stride::dense(x.channels));
                    matrix.product(positions, rows, (&mut out.values, Stride::dense(matrix.outputs())));
                } else {
                    let inputs = kernel * kernel * x.channels;
                    let mut read = vec![0.0; across * inputs];
                    for (y, out) in out.values.chunks_exact_mut(across * matrix.outputs()).enumerate() {
                        windows(window, &x.values, y, &mut read);
                        matrix.product(across, (&read, Stride::dense(inputs)), (out, Stride::dense(matrix.outputs())));
                    }
                }
                then.apply(&mut out.values);
                out
            }
            Self::Depthwise { weights, bias, kernel, stride, padding, then } => {
                let window = window(x, *kernel, *stride, *padding);
                let mut out = Map::of(window.out, x.channels);
                depthwise(window, &x.values, weights, bias, &mut out.values);
                then.apply(&mut out.values);
                out
            }
            Self::Largest { kernel, stride, padding } => {
                let window = window(x, *kernel, *stride, *padding);
                let mut out = Map::of(window.out, x.channels);
                largest(window, &x.values, &mut out.values);
                out
            }
            Self::Excite { reduce, expand, then } => {
                let means = x.mean();
                let (mut inner, mut gates) = (vec![0.0; reduce.outputs()], vec![0.0; x.channels]);
                reduce.product(1, (&means, Stride::dense(means.len())), (&mut inner, Stride::dense(reduce.outputs())));
                then.apply(&mut inner);
                expand.product(1, (&inner, Stride::dense(inner.len())), (&mut gates, Stride::dense(x.channels)));
                gates.iter_mut().for_each(|gate| *gate = 1.0 / (1.0 + (-*gate).exp()));
                let mut out = x.clone();
                for row in out.values.chunks_exact_mut(x.channels) {
                    row.iter_mut().zip(&gates).for_each(|(x, gate)| *x *= gate);
                }
                out
            }
        }
    }
}

fn window(x: &Map, kernel: usize, stride: usize, padding: Padding) -> Window {
    let sides = x.side.map(|side| padding.of(side, kernel, stride));
    let (before, out) = (sides.map(|(before, _)| before), sides.map(|(_, out)| out));
    Window { side: x.side, channels: x.channels, kernel, stride, before, out }
}

impl Map {
    fn of(side: [usize; 2], channels: usize) -> Self {
        Self { side, channels, values: vec![0.0; side[0] * side[1] * channels] }
    }

    /// The mean over all positions, `[channels]`.
    fn mean(&self) -> Vec<f32> {
        let mut sums = vec![0.0f32; self.channels];
        for row in self.values.chunks_exact(self.channels) {
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
        let positions = (self.side[0] * self.side[1]) as f32;
        sums.into_iter().map(|sum| sum / positions).collect()
    }
}

impl Block {
    /// Steps without a way around them.
    pub(super) fn plain(steps: Vec<Step>) -> Self {
        Self { steps, shortcut: Shortcut::None, then: Activation::None }
    }

    fn run(&self, x: Map) -> Map {
        let mut steps = self.steps.iter();
        let Some(first) = steps.next() else { return x };
        let mut out = first.run(&x);
        for step in steps {
            out = step.run(&out);
        }
        let around = match &self.shortcut {
            Shortcut::None => None,
            Shortcut::Identity => Some(x),
            Shortcut::Convolution(step) => Some(step.run(&x)),
        };
        if let Some(around) = around {
            out.values.iter_mut().zip(&around.values).for_each(|(o, x)| *o += x);
        }
        self.then.apply(&mut out.values);
        out
    }

    fn bytes(&self) -> usize {
        let around = match &self.shortcut {
            Shortcut::Convolution(step) => step.bytes(),
            _ => 0,
        };
        self.steps.iter().map(Step::bytes).sum::<usize>() + around
    }
}

impl Convolutional {
    /// The mean over positions of what comes last, `[width]`.
    pub(super) fn forward(&self, image: Map) -> Vec<f32> {
        self.blocks.iter().fold(image, |x, block| block.run(x)).mean()
    }

    pub(super) fn bytes(&self) -> usize {
        self.blocks.iter().map(Block::bytes).sum()
    }
}
