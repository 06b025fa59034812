//! ResNet as `transformers` publishes it (`model_type` `resnet`).

use super::convolutional::{
    Activation, Block, Convolutional, MOST_BLOCKS, Moves, Named, Padding, Shortcut, Step, dense,
};
use crate::Result;
use crate::encoders::refused;
use crate::encoders::weights::Weights;
use serde::Deserialize;

/// PyTorch's epsilon of batch normalisation, which the configuration does not have.
const EPSILON: f32 = 1e-5;

/// `config.json`.
#[derive(Deserialize)]
pub(super) struct Config {
    depths: Vec<usize>,
    hidden_sizes: Vec<usize>,
    #[serde(default)]
    layer_type: Option<String>,
    #[serde(default = "relu")]
    hidden_act: String,
    #[serde(default)]
    downsample_in_first_stage: bool,
    #[serde(default)]
    downsample_in_bottleneck: bool,
    #[serde(default = "three")]
    num_channels: usize,
}

fn relu() -> String {
    "relu".to_owned()
}

fn three() -> usize {
    3
}

/// Reads the network.
pub(super) fn open(config: &Config, weights: &mut Weights) -> Result<Convolutional> {
    let stem = "embedder.embedder.convolution.weight";
    let Some(prefix) = weights.prefix_of(stem) else { return Err(refused(format!("the weights have no {stem}"))) };
    let then = Activation::of(&config.hidden_act)?;
    let basic = config.layer_type.as_deref() == Some("basic");
    let layers: usize = config.depths.iter().fold(0, |sum, depth| sum.saturating_add(*depth));
    if config.num_channels != 3
        || config.depths.len() != config.hidden_sizes.len()
        || !(1..=MOST_BLOCKS).contains(&layers)
    {
        return Err(refused("config.json: depths, hidden_sizes and num_channels are those of no supported network"));
    }
    let mut around = |at: &str, inputs: usize, stride: usize, then: Activation| -> Result<Step> {
        let convolution = format!("{prefix}{at}.convolution");
        let [_, _, kernel, _] = super::convolutional::shape(weights, &format!("{convolution}.weight"))?;
        let named = Named { convolution: &convolution, norm: &format!("{prefix}{at}.normalization"), epsilon: EPSILON };
        dense(weights, &named, inputs, Moves { stride, padding: Padding::Fixed(kernel / 2, kernel / 2), then })
    };
    let first = around("embedder.embedder", 3, 2, then)?;
    let mut inputs = first.outputs().unwrap_or(0);
    let pool = Step::Largest { kernel: 3, stride: 2, padding: Padding::Fixed(1, 1) };
    let mut blocks = vec![Block::plain(vec![first, pool])];
    for (stage, (&depth, &outputs)) in config.depths.iter().zip(&config.hidden_sizes).enumerate() {
        for layer in 0..depth {
            let reduces = layer == 0 && (stage > 0 || config.downsample_in_first_stage);
            let stride = if reduces { 2 } else { 1 };
            let at = format!("encoder.stages.{stage}.layers.{layer}");
            let strides: &[usize] = match (basic, config.downsample_in_bottleneck) {
                (true, _) => &[stride, 1],
                (false, true) => &[stride, 1, 1],
                (false, false) => &[1, stride, 1],
            };
            let mut steps = Vec::new();
            let mut channels = inputs;
            for (number, &stride) in strides.iter().enumerate() {
                let last = number + 1 == strides.len();
                let after = if last { Activation::None } else { then };
                let step = around(&format!("{at}.layer.{number}"), channels, stride, after)?;
                channels = step.outputs().unwrap_or(0);
                steps.push(step);
            }
            if channels != outputs {
                return Err(refused(format!(
                    "config.json: stage {stage} has {outputs} channels, the weights {channels}"
                )));
            }
            let shortcut = match inputs != outputs || stride != 1 {
                true => Shortcut::Convolution(around(&format!("{at}.shortcut"), inputs, stride, Activation::None)?),
                false => Shortcut::Identity,
            };
            blocks.push(Block { steps, shortcut, then });
            inputs = outputs;
        }
    }
    Ok(Convolutional { blocks, width: inputs })
}
