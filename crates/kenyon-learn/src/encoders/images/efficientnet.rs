//! EfficientNet, EfficientNet-Lite and MobileNetV2: as timm publishes them (`architecture` in `config.json`), and EfficientNet as
//! `transformers` does (`model_type` `efficientnet`).

use super::convolutional::{
    Activation, Block, Convolutional, MOST_BLOCKS, Moves, Named, Padding, Shortcut, Step, by_channel, dense, excite,
    shape,
};
use crate::Result;
use crate::encoders::refused;
use crate::encoders::weights::Weights;
use serde::Deserialize;

/// Strides of the seven stages of all of them (Sandler et al. 2018, Tan and Le 2019).
const STRIDES: [usize; 7] = [1, 2, 2, 2, 1, 2, 1];

/// `config.json` of `transformers`.
#[derive(Deserialize)]
pub(super) struct Config {
    strides: Vec<usize>,
    num_block_repeats: Vec<usize>,
    depth_coefficient: f64,
    #[serde(default)]
    depthwise_padding: Vec<usize>,
    #[serde(default = "swish")]
    hidden_act: String,
    #[serde(default = "epsilon")]
    batch_norm_eps: f32,
    #[serde(default)]
    pooling_type: Option<String>,
}

fn swish() -> String {
    "swish".to_owned()
}

fn epsilon() -> f32 {
    1e-3
}

/// What differs between the families that timm has.
struct Family {
    then: Activation,
    epsilon: f32,
    same: bool,
}

fn family(architecture: &str) -> Result<Family> {
    let (same, plain) = match architecture.strip_prefix("tf_") {
        Some(plain) => (true, plain),
        None => (false, architecture),
    };
    let plain = plain.split('.').next().unwrap_or_default();
    let then = match plain {
        _ if plain.starts_with("efficientnet_lite") || plain.starts_with("mobilenetv2_") => Activation::Relu6,
        _ if plain.strip_prefix("efficientnet_b").is_some_and(|rest| rest.len() == 1) => Activation::Silu,
        _ => return Err(refused(format!("the architecture {architecture:?} is not supported"))),
    };
    Ok(Family { then, epsilon: if same { 1e-3 } else { 1e-5 }, same })
}

impl Family {
    fn padding(&self, kernel: usize) -> Padding {
        if self.same { Padding::Same } else { Padding::Fixed(kernel / 2, kernel / 2) }
    }
}

/// Reads a network of timm.
pub(super) fn open_timm(architecture: &str, weights: &mut Weights) -> Result<Convolutional> {
    let family = family(architecture)?;
    let (epsilon, then) = (family.epsilon, family.then);
    let part = |weights: &mut Weights, at: &str, norm: &str, inputs: Option<usize>, stride: usize, then: Activation| {
        let [_, _, kernel, _] = shape(weights, &format!("{at}.weight"))?;
        let named = Named { convolution: at, norm, epsilon };
        let moves = Moves { stride, padding: family.padding(kernel), then };
        match inputs {
            Some(inputs) => dense(weights, &named, inputs, moves),
            None => {
                let [channels, ..] = shape(weights, &format!("{at}.weight"))?;
                by_channel(weights, &named, channels, moves)
            }
        }
    };
    let stem = part(weights, "conv_stem", "bn1", Some(3), 2, then)?;
    let mut inputs = stem.outputs().unwrap_or(0);
    let mut blocks = vec![Block::plain(vec![stem])];
    for (stage, first) in STRIDES.into_iter().enumerate() {
        for layer in 0..MOST_BLOCKS {
            let at = format!("blocks.{stage}.{layer}");
            if weights.shape(&format!("{at}.conv_dw.weight")).is_none() {
                break;
            }
            let stride = if layer == 0 { first } else { 1 };
            let expands = weights.shape(&format!("{at}.conv_pwl.weight")).is_some();
            let named = |part: &str| format!("{at}.{part}");
            let mut steps = Vec::new();
            let mut channels = inputs;
            if expands {
                steps.push(part(weights, &named("conv_pw"), &named("bn1"), Some(inputs), 1, then)?);
                channels = steps[0].outputs().unwrap_or(0);
            }
            let [found, ..] = shape(weights, &named("conv_dw.weight"))?;
            if found != channels {
                return Err(refused(format!("tensor {at}.conv_dw.weight has {found} channels and not {channels}")));
            }
            let norm = named(if expands { "bn2" } else { "bn1" });
            steps.push(part(weights, &named("conv_dw"), &norm, None, stride, then)?);
            if weights.shape(&named("se.conv_reduce.weight")).is_some() {
                let names = [named("se.conv_reduce"), named("se.conv_expand")];
                steps.push(excite(weights, [&names[0], &names[1]], channels, then)?);
            }
            let (last, norm) = if expands { ("conv_pwl", "bn3") } else { ("conv_pw", "bn2") };
            let last = part(weights, &named(last), &named(norm), Some(channels), 1, Activation::None)?;
            let outputs = last.outputs().unwrap_or(0);
            steps.push(last);
            let shortcut = if stride == 1 && inputs == outputs { Shortcut::Identity } else { Shortcut::None };
            blocks.push(Block { steps, shortcut, then: Activation::None });
            inputs = outputs;
        }
    }
    let head = part(weights, "conv_head", "bn2", Some(inputs), 1, then)?;
    let width = head.outputs().unwrap_or(0);
    blocks.push(Block::plain(vec![head]));
    Ok(Convolutional { blocks, width })
}

/// Reads a network of `transformers`.
pub(super) fn open(config: &Config, weights: &mut Weights) -> Result<Convolutional> {
    let stem = "embeddings.convolution.weight";
    let Some(prefix) = weights.prefix_of(stem) else { return Err(refused(format!("the weights have no {stem}"))) };
    let (then, epsilon) = (Activation::of(&config.hidden_act)?, config.batch_norm_eps);
    if config.pooling_type.as_deref().is_some_and(|pooling| pooling != "mean") {
        return Err(refused("config.json: only the mean is supported as pooling_type"));
    }
    let repeats = |n: &usize| (config.depth_coefficient * *n as f64).ceil().clamp(0.0, 1e6) as usize;
    let depths: Vec<usize> = config.num_block_repeats.iter().map(repeats).collect();
    if depths.iter().sum::<usize>() > MOST_BLOCKS || depths.len() != config.strides.len() {
        return Err(refused("config.json: num_block_repeats and strides are those of no supported network"));
    }
    let mut parts = Parts { weights, prefix, then, epsilon, odd: &config.depthwise_padding };
    let moves = Moves { stride: 2, padding: Padding::Fixed(0, 1), then };
    let first = parts.dense("embeddings.convolution", "embeddings.batchnorm", 3, moves)?;
    let mut inputs = first.outputs().unwrap_or(0);
    let mut blocks = vec![Block::plain(vec![first])];
    for (depth, stride) in depths.into_iter().zip(&config.strides) {
        for layer in 0..depth {
            let stride = if layer == 0 { *stride } else { 1 };
            if !(1..=2).contains(&stride) {
                return Err(refused("config.json: a stride is neither 1 nor 2"));
            }
            let steps = parts.block(blocks.len() - 1, inputs, stride)?;
            let outputs = steps.last().and_then(Step::outputs).unwrap_or(0);
            let adds = stride == 1 && layer > 0 && inputs == outputs;
            let shortcut = if adds { Shortcut::Identity } else { Shortcut::None };
            blocks.push(Block { steps, shortcut, then: Activation::None });
            inputs = outputs;
        }
    }
    let head = parts.dense("encoder.top_conv", "encoder.top_bn", inputs, plain(then))?;
    let width = head.outputs().unwrap_or(0);
    blocks.push(Block::plain(vec![head]));
    Ok(Convolutional { blocks, width })
}

fn plain(then: Activation) -> Moves {
    Moves { stride: 1, padding: Padding::Fixed(0, 0), then }
}

/// The weights of a network of `transformers`, and what its parts have in common.
struct Parts<'a> {
    weights: &'a mut Weights,
    prefix: String,
    then: Activation,
    epsilon: f32,
    /// Blocks whose input has an odd side.
    odd: &'a [usize],
}

impl Parts<'_> {
    fn named(&self, at: &str) -> String {
        format!("{}{at}", self.prefix)
    }

    fn dense(&mut self, at: &str, norm: &str, inputs: usize, moves: Moves) -> Result<Step> {
        let (convolution, norm) = (self.named(at), self.named(norm));
        dense(self.weights, &Named { convolution: &convolution, norm: &norm, epsilon: self.epsilon }, inputs, moves)
    }

    /// The steps of block `number`.
    fn block(&mut self, number: usize, inputs: usize, stride: usize) -> Result<Vec<Step>> {
        let at = format!("encoder.blocks.{number}");
        let mut steps = Vec::new();
        let mut channels = inputs;
        let expand = format!("{at}.expansion.expand_conv");
        if self.weights.shape(&self.named(&format!("{expand}.weight"))).is_some() {
            let norm = format!("{at}.expansion.expand_bn");
            steps.push(self.dense(&expand, &norm, inputs, plain(self.then))?);
            channels = steps[0].outputs().unwrap_or(0);
        }
        let convolution = self.named(&format!("{at}.depthwise_conv.depthwise_conv"));
        let [_, _, kernel, _] = shape(self.weights, &format!("{convolution}.weight"))?;
        let half = kernel / 2;
        let padding = match stride {
            1 => Padding::Fixed(half, half),
            // The published padding; blocks of the list are those whose input has an odd side.
            _ if self.odd.contains(&number) => Padding::Fixed(half, half),
            _ => Padding::Fixed(half.saturating_sub(1), half),
        };
        let norm = self.named(&format!("{at}.depthwise_conv.depthwise_norm"));
        let depthwise = Named { convolution: &convolution, norm: &norm, epsilon: self.epsilon };
        steps.push(by_channel(self.weights, &depthwise, channels, Moves { stride, padding, then: self.then })?);
        let names = ["reduce", "expand"].map(|part| self.named(&format!("{at}.squeeze_excite.{part}")));
        steps.push(excite(self.weights, [&names[0], &names[1]], channels, self.then)?);
        let (project, norm) = (format!("{at}.projection.project_conv"), format!("{at}.projection.project_bn"));
        steps.push(self.dense(&project, &norm, channels, plain(Activation::None))?);
        Ok(steps)
    }
}
