//! The same networks in candle's operations, for a device: texts are padded to the longest of a pass.

use super::numbers::{Config, Linear, Norm, Numbers};
use crate::Result;
use crate::encoders::weights::Weights;
use candle_core::{D, Device, Tensor};
use candle_nn::ops::{layer_norm, softmax_last_dim};

/// A matrix `[inputs, outputs]` and its bias.
struct DeviceLinear {
    weight: Tensor,
    bias: Tensor,
}

struct DeviceNorm {
    gain: Tensor,
    bias: Tensor,
}

struct DeviceLayer {
    qkv: DeviceLinear,
    output: DeviceLinear,
    attention_norm: DeviceNorm,
    up: DeviceLinear,
    down: DeviceLinear,
    output_norm: DeviceNorm,
}

/// A transformer on a device that only predicts.
pub(in crate::encoders) struct DeviceTransformer {
    device: Device,
    hidden: usize,
    heads: usize,
    epsilon: f32,
    tanh: bool,
    words: Tensor,
    positions: Tensor,
    norm: DeviceNorm,
    layers: Vec<DeviceLayer>,
    /// As those of the CPU, on the CPU.
    distances: Vec<f32>,
}

type Done<T> = candle_core::Result<T>;

impl DeviceLinear {
    fn new((matrix, bias): &Linear, device: &Device) -> Done<Self> {
        let outputs = bias.len();
        let weight = Tensor::from_slice(matrix, (outputs, matrix.len() / outputs.max(1)), device)?;
        Ok(Self { weight: weight.t()?.contiguous()?, bias: Tensor::from_slice(bias, outputs, device)? })
    }

    fn forward(&self, x: &Tensor) -> Done<Tensor> {
        x.matmul(&self.weight)?.broadcast_add(&self.bias)
    }
}

impl DeviceNorm {
    fn new(norm: &Norm, device: &Device) -> Done<Self> {
        let there = |values: &[f32]| Tensor::from_slice(values, values.len(), device);
        Ok(Self { gain: there(&norm.gain)?, bias: there(&norm.bias)? })
    }

    fn forward(&self, x: &Tensor, epsilon: f32) -> Done<Tensor> {
        layer_norm(&x.contiguous()?, &self.gain, &self.bias, epsilon)
    }
}

impl DeviceTransformer {
    /// Reads the network that `config` describes, for texts of at most `longest` tokens.
    pub(in crate::encoders) fn open(
        config: &Config,
        weights: &mut Weights,
        longest: usize,
        device: &Device,
    ) -> Result<Self> {
        let numbers = Numbers::open(config, weights, longest)?;
        let mut layers = Vec::with_capacity(numbers.layers);
        for at in 0..numbers.layers {
            let layer = numbers.layer(config, at, weights)?;
            let linear = |own: &Linear| DeviceLinear::new(own, device);
            layers.push(DeviceLayer {
                qkv: linear(&layer.qkv)?,
                output: linear(&layer.output)?,
                attention_norm: DeviceNorm::new(&layer.attention_norm, device)?,
                up: linear(&layer.up)?,
                down: linear(&layer.down)?,
                output_norm: DeviceNorm::new(&layer.output_norm, device)?,
            });
        }
        let hidden = numbers.hidden;
        let table = |values: &[f32]| Tensor::from_slice(values, (values.len() / hidden, hidden), device);
        Ok(Self {
            words: table(&numbers.words)?,
            positions: table(&numbers.positions)?,
            norm: DeviceNorm::new(&numbers.norm, device)?,
            device: device.clone(),
            hidden,
            heads: numbers.heads,
            epsilon: numbers.epsilon,
            tanh: numbers.tanh,
            distances: numbers.distances,
            layers,
        })
    }

    /// The vectors of all tokens of some texts, none of them empty, text after text, `[tokens, hidden]`.
    pub(in crate::encoders) fn forward(&self, texts: &[&[u32]]) -> Result<Vec<f32>> {
        let (rows, longest) = (texts.len(), texts.iter().map(|text| text.len()).max().unwrap_or(0));
        let padded = self.padded(texts, longest)?.flatten_all()?.to_vec1::<f32>()?;
        let mut out = Vec::with_capacity(texts.iter().map(|text| text.len()).sum::<usize>() * self.hidden);
        debug_assert_eq!(padded.len(), rows * longest * self.hidden);
        for (text, vectors) in texts.iter().zip(padded.chunks_exact((longest * self.hidden).max(1))) {
            out.extend_from_slice(&vectors[..text.len() * self.hidden]);
        }
        Ok(out)
    }

    fn padded(&self, texts: &[&[u32]], longest: usize) -> Done<Tensor> {
        let (rows, hidden, device) = (texts.len(), self.hidden, &self.device);
        let (mut ids, mut mask) = (vec![0u32; rows * longest], vec![f32::MIN; rows * longest]);
        for (row, text) in texts.iter().enumerate() {
            let at = row * longest..row * longest + text.len();
            ids[at.clone()].copy_from_slice(text);
            mask[at].fill(0.0);
        }
        let words = self.words.index_select(&Tensor::from_vec(ids, rows * longest, device)?, 0)?;
        let words = words.reshape((rows, longest, hidden))?;
        let x = words.broadcast_add(&self.positions.narrow(0, 0, longest)?)?.reshape((rows * longest, hidden))?;
        let mut x = self.norm.forward(&x, self.epsilon)?;
        let mut added = Tensor::from_vec(mask, (rows, 1, 1, longest), device)?;
        if let Some(distances) = self.distances(longest)? {
            added = added.broadcast_add(&distances)?;
        }
        for layer in &self.layers {
            let mixed = self.attend(&layer.qkv.forward(&x)?, &added, (rows, longest))?;
            x = layer.attention_norm.forward(&(&x + layer.output.forward(&mixed)?)?, self.epsilon)?;
            let inner = layer.up.forward(&x)?;
            let inner = if self.tanh { inner.gelu()? } else { inner.gelu_erf()? };
            x = layer.output_norm.forward(&(&x + layer.down.forward(&inner)?)?, self.epsilon)?;
        }
        Ok(x)
    }

    /// Attention within each text: `[rows · longest, 3 hidden] -> [rows · longest, hidden]`. Queries are scaled already.
    fn attend(&self, qkv: &Tensor, added: &Tensor, (rows, longest): (usize, usize)) -> Done<Tensor> {
        let size = self.hidden / self.heads;
        let qkv = qkv.reshape((rows, longest, 3, self.heads, size))?;
        let part = |which: usize| qkv.narrow(2, which, 1)?.squeeze(2)?.transpose(1, 2)?.contiguous();
        let scores = part(0)?.matmul(&part(1)?.transpose(2, 3)?.contiguous()?)?.broadcast_add(added)?;
        let mixed = softmax_last_dim(&scores)?.matmul(&part(2)?)?;
        mixed.transpose(1, 2)?.contiguous()?.reshape((rows * longest, self.hidden))
    }

    /// The bias by distance, `[1, heads, longest, longest]`, where the architecture has one.
    fn distances(&self, longest: usize) -> Done<Option<Tensor>> {
        if self.distances.is_empty() {
            return Ok(None);
        }
        let most = self.positions.dim(D::Minus2)?;
        let mut bias = Vec::with_capacity(self.heads * longest * longest);
        for table in self.distances.chunks_exact(2 * most - 1) {
            for query in 0..longest {
                bias.extend_from_slice(&table[most - 1 - query..][..longest]);
            }
        }
        Tensor::from_vec(bias, (1, self.heads, longest, longest), &self.device).map(Some)
    }
}
