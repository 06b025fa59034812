//! Vision transformers as `transformers` publishes them: ViT (`model_type` `vit`) and DINOv2 (`dinov2`). A picture is a
//! sequence of patches behind one token of its own, whose last vector is the picture's.

use super::convolutional::Map;
use crate::Result;
use crate::encoders::refused;
use crate::encoders::transformer::{Heads, Norm, Scratch, attend};
use crate::encoders::weights::Weights;
use crate::nn::kernels::convolution::{Window, windows};
use crate::nn::kernels::packed::{PackedMatrix, Stride};
use crate::nn::kernels::transformer::{add_layer_norm, gelu, gelu_tanh};
use serde::Deserialize;

/// Tokens of a picture at most: those of 1024 pixels in patches of 16.
const MOST_TOKENS: usize = 4096;

/// `config.json`.
#[derive(Deserialize)]
pub(super) struct Config {
    model_type: String,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    #[serde(default)]
    intermediate_size: Option<usize>,
    #[serde(default = "four")]
    mlp_ratio: usize,
    image_size: usize,
    patch_size: usize,
    #[serde(default = "three")]
    num_channels: usize,
    #[serde(default = "epsilon")]
    layer_norm_eps: f32,
    #[serde(default = "gelu_name")]
    hidden_act: String,
    #[serde(default = "yes")]
    qkv_bias: bool,
    #[serde(default)]
    use_swiglu_ffn: bool,
}

fn four() -> usize {
    4
}

fn three() -> usize {
    3
}

fn epsilon() -> f32 {
    1e-6
}

fn gelu_name() -> String {
    "gelu".to_owned()
}

fn yes() -> bool {
    true
}

/// Where the tensors of a layer are.
struct Names {
    before: &'static str,
    after: &'static str,
    up: &'static str,
    down: &'static str,
}

const VIT: Names =
    Names { before: "layernorm_before", after: "layernorm_after", up: "intermediate.dense", down: "output.dense" };
const DINOV2: Names = Names { before: "norm1", after: "norm2", up: "mlp.fc1", down: "mlp.fc2" };

struct Layer {
    before: Norm,
    qkv: PackedMatrix,
    output: PackedMatrix,
    after: Norm,
    up: PackedMatrix,
    down: PackedMatrix,
}

/// A network that only predicts.
pub(super) struct VisionTransformer {
    hidden: usize,
    heads: usize,
    inner: usize,
    epsilon: f32,
    tanh: bool,
    patch: usize,
    patches: PackedMatrix,
    /// The picture's own token with its position, `[hidden]`.
    own: Vec<f32>,
    /// `[down, across, hidden]`.
    positions: Vec<f32>,
    grid: [usize; 2],
    layers: Vec<Layer>,
    last: Norm,
}

impl Config {
    fn check(&self) -> Result<()> {
        let sizes = [
            ("hidden_size", self.hidden_size, 8192),
            ("num_hidden_layers", self.num_hidden_layers, 128),
            ("num_attention_heads", self.num_attention_heads, 256),
            ("mlp_ratio", self.mlp_ratio, 16),
            ("intermediate_size", self.inner(), 1 << 16),
            ("image_size", self.image_size, 1024),
            ("patch_size", self.patch_size, 64),
        ];
        if let Some((name, size, most)) = sizes.into_iter().find(|(_, size, most)| *size == 0 || size > most) {
            return Err(refused(format!("config.json: {name} is {size}, it must be in 1..={most}")));
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return Err(refused("config.json: hidden_size is no multiple of num_attention_heads"));
        }
        if self.num_channels != 3 || self.use_swiglu_ffn {
            return Err(refused("config.json: num_channels other than 3 and use_swiglu_ffn are not supported"));
        }
        if !["gelu", "gelu_new", "gelu_pytorch_tanh"].contains(&self.hidden_act.as_str()) {
            return Err(refused(format!("config.json: the activation {:?} is not supported", self.hidden_act)));
        }
        Ok(())
    }

    fn inner(&self) -> usize {
        self.intermediate_size.unwrap_or(self.hidden_size.saturating_mul(self.mlp_ratio))
    }
}

impl VisionTransformer {
    /// Reads the network, for pictures of `size` pixels.
    pub(super) fn open(config: &Config, weights: &mut Weights, size: [usize; 2]) -> Result<Self> {
        config.check()?;
        let (hidden, patch) = (config.hidden_size, config.patch_size);
        let table = "embeddings.patch_embeddings.projection.weight";
        let Some(prefix) = weights.prefix_of(table) else {
            return Err(refused(format!("the weights have no {table}")));
        };
        let named = |name: &str| format!("{prefix}{name}");
        let learned = config.image_size / patch;
        let grid = size.map(|side| side / patch);
        if learned == 0 || grid.contains(&0) || grid[0] * grid[1] > MOST_TOKENS {
            return Err(refused(format!("pictures of {size:?} pixels do not fit patches of {patch}")));
        }
        let all = weights.take(&named("embeddings.position_embeddings"), &[1, 1 + learned * learned, hidden])?;
        let mut own = weights.take(&named("embeddings.cls_token"), &[1, 1, hidden])?;
        own.iter_mut().zip(&all).for_each(|(own, position)| *own += position);
        let positions = interpolated(&all[hidden..], [learned; 2], grid, hidden);
        let raw = weights.take(&named(table), &[hidden, 3, patch, patch])?;
        let place = |at: usize| {
            let (output, rest) = (at / (3 * patch * patch), at % (3 * patch * patch));
            raw[(output * 3 + rest % 3) * patch * patch + rest / 3]
        };
        let matrix: Vec<f32> = (0..raw.len()).map(place).collect();
        let bias = weights.take(&named("embeddings.patch_embeddings.projection.bias"), &[hidden])?;
        let patches = PackedMatrix::new(&matrix, &bias, 3 * patch * patch);
        let names = if config.model_type == "dinov2" { &DINOV2 } else { &VIT };
        let layers = (0..config.num_hidden_layers)
            .map(|at| Layer::open(config, names, &named(&format!("encoder.layer.{at}")), weights))
            .collect::<Result<_>>()?;
        let last = Norm::open(weights, &named("layernorm"), hidden)?;
        Ok(Self {
            hidden,
            heads: config.num_attention_heads,
            inner: config.inner(),
            epsilon: config.layer_norm_eps,
            tanh: config.hidden_act != "gelu",
            patch,
            patches,
            own,
            positions,
            grid,
            layers,
            last,
        })
    }

    pub(super) fn width(&self) -> usize {
        self.hidden
    }

    pub(super) fn bytes(&self) -> usize {
        let layer = |l: &Layer| l.qkv.bytes() + l.output.bytes() + l.up.bytes() + l.down.bytes();
        self.positions.len() * 4 + self.patches.bytes() + self.layers.iter().map(layer).sum::<usize>()
    }

    /// The vector of a picture, `[hidden]`.
    pub(super) fn forward(&self, image: &Map, scratch: &mut Scratch) -> Vec<f32> {
        let (hidden, inner, dense) = (self.hidden, self.inner, Stride::dense);
        let [down, across] = self.grid;
        let rows = 1 + down * across;
        scratch.x.clear();
        scratch.x.extend_from_slice(&self.own);
        scratch.x.resize(rows * hidden, 0.0);
        let window = Window {
            side: image.side,
            channels: 3,
            kernel: self.patch,
            stride: self.patch,
            before: [0, 0],
            out: self.grid,
        };
        let read = 3 * self.patch * self.patch;
        scratch.inner.resize(across * read, 0.0);
        for y in 0..down {
            windows(window, &image.values, y, &mut scratch.inner);
            let out = &mut scratch.x[(1 + y * across) * hidden..];
            self.patches.product(across, (&scratch.inner, dense(read)), (out, dense(hidden)));
        }
        scratch.x[hidden..].iter_mut().zip(&self.positions).for_each(|(x, position)| *x += position);
        scratch.qkv.resize(rows * 3 * hidden, 0.0);
        scratch.context.resize(rows * hidden, 0.0);
        let mut normed = Vec::new();
        for layer in &self.layers {
            normed.clone_from(&scratch.x);
            add_layer_norm(&mut normed, &[], &layer.before.gain, &layer.before.bias, self.epsilon);
            layer.qkv.product(rows, (&normed, dense(hidden)), (&mut scratch.qkv, dense(3 * hidden)));
            attend(Heads { hidden, heads: self.heads }, 0, rows, scratch, |_, _| ());
            layer.output.product(rows, (&scratch.context, dense(hidden)), (&mut normed, dense(hidden)));
            scratch.x.iter_mut().zip(&normed).for_each(|(x, more)| *x += more);
            normed.clone_from(&scratch.x);
            add_layer_norm(&mut normed, &[], &layer.after.gain, &layer.after.bias, self.epsilon);
            scratch.inner.resize(rows * inner, 0.0);
            layer.up.product(rows, (&normed, dense(hidden)), (&mut scratch.inner, dense(inner)));
            match self.tanh {
                true => gelu_tanh(&mut scratch.inner),
                false => gelu(&mut scratch.inner),
            }
            layer.down.product(rows, (&scratch.inner, dense(inner)), (&mut normed, dense(hidden)));
            scratch.x.iter_mut().zip(&normed).for_each(|(x, more)| *x += more);
        }
        let mut vector = scratch.x[..hidden].to_vec();
        add_layer_norm(&mut vector, &[], &self.last.gain, &self.last.bias, self.epsilon);
        vector
    }
}

impl Layer {
    fn open(config: &Config, names: &Names, at: &str, weights: &mut Weights) -> Result<Self> {
        let (hidden, inner) = (config.hidden_size, config.inner());
        let (mut matrix, mut bias) = (Vec::new(), Vec::new());
        let scale = 1.0 / ((hidden / config.num_attention_heads) as f32).sqrt();
        for (name, factor) in [("query", scale), ("key", 1.0), ("value", 1.0)] {
            let at = format!("{at}.attention.attention.{name}");
            let part = weights.take(&format!("{at}.weight"), &[hidden, hidden])?;
            matrix.extend(part.into_iter().map(|x| x * factor));
            match config.qkv_bias {
                true => {
                    let part = weights.take(&format!("{at}.bias"), &[hidden])?;
                    bias.extend(part.into_iter().map(|x| x * factor));
                }
                false => bias.resize(bias.len() + hidden, 0.0),
            }
        }
        let qkv = PackedMatrix::new(&matrix, &bias, hidden);
        // A scale of what a part adds goes into its last product.
        let mut linear = |name: &str, inputs: usize, outputs: usize, scaled: Option<&str>| -> Result<PackedMatrix> {
            let mut matrix = weights.take(&format!("{at}.{name}.weight"), &[outputs, inputs])?;
            let mut bias = weights.take(&format!("{at}.{name}.bias"), &[outputs])?;
            let scale = scaled.map(|name| format!("{at}.{name}.lambda1")).filter(|name| weights.shape(name).is_some());
            if let Some(name) = scale {
                let scale = weights.take(&name, &[outputs])?;
                matrix.chunks_exact_mut(inputs).zip(&scale).for_each(|(row, s)| row.iter_mut().for_each(|x| *x *= s));
                bias.iter_mut().zip(&scale).for_each(|(x, s)| *x *= s);
            }
            Ok(PackedMatrix::new(&matrix, &bias, inputs))
        };
        let output = linear("attention.output.dense", hidden, hidden, Some("layer_scale1"))?;
        let up = linear(names.up, hidden, inner, None)?;
        let down = linear(names.down, inner, hidden, Some("layer_scale2"))?;
        let before = Norm::open(weights, &format!("{at}.{}", names.before), hidden)?;
        let after = Norm::open(weights, &format!("{at}.{}", names.after), hidden)?;
        Ok(Self { before, qkv, output, after, up, down })
    }
}

/// A table of positions `[from, from, width]` at another size, as PyTorch's bicubic interpolation without antialiasing does it.
fn interpolated(table: &[f32], from: [usize; 2], to: [usize; 2], width: usize) -> Vec<f32> {
    if from == to {
        return table.to_vec();
    }
    // Keys' cubic with a = −3/4.
    let cubic = |x: f64| {
        let (a, x) = (-0.75, x.abs());
        match x {
            _ if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
            _ if x < 2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
            _ => 0.0,
        }
    };
    let taps = |axis: usize, at: usize| -> [(usize, f64); 4] {
        let place = (at as f64 + 0.5) * from[axis] as f64 / to[axis] as f64 - 0.5;
        let first = place.floor();
        std::array::from_fn(|tap| {
            let x = first + tap as f64 - 1.0;
            (x.clamp(0.0, from[axis] as f64 - 1.0) as usize, cubic(place - x))
        })
    };
    let mut out = Vec::with_capacity(to[0] * to[1] * width);
    for y in 0..to[0] {
        for x in 0..to[1] {
            let mut sums = vec![0.0f64; width];
            for (row, down) in taps(0, y) {
                for (column, across) in taps(1, x) {
                    let values = &table[(row * from[1] + column) * width..][..width];
                    sums.iter_mut().zip(values).for_each(|(sum, v)| *sum += down * across * f64::from(*v));
                }
            }
            out.extend(sums.into_iter().map(|sum| sum as f32));
        }
    }
    out
}
