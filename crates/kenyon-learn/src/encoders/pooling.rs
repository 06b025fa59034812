//! From the vectors of a text's tokens to the vector of the text, as `modules.json` and its folders define it.

use super::folder::Folder;
use super::refused;
use super::weights::Weights;
use crate::Result;
use crate::nn::kernels::packed::{PackedMatrix, Stride};
use crate::nn::kernels::transformer::tanh_all;
use serde::Deserialize;

/// One entry of `modules.json`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Module {
    #[serde(default)]
    pub(super) path: String,
    #[serde(rename = "type")]
    pub(super) class: String,
}

impl Module {
    /// The last part of its type: `Pooling` of `sentence_transformers.models.Pooling`.
    pub(super) fn name(&self) -> &str {
        self.class.rsplit('.').next().unwrap_or_default()
    }
}

/// How token vectors become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Pool {
    /// Their mean.
    #[default]
    Mean,
    /// Their sum over the root of how many they are.
    MeanRoot,
    /// The largest of each element.
    Largest,
    /// The first.
    First,
    /// The last.
    Last,
}

/// `1_Pooling/config.json`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PoolSettings {
    pooling_mode: Option<String>,
    pooling_mode_cls_token: bool,
    pooling_mode_mean_tokens: bool,
    pooling_mode_max_tokens: bool,
    pooling_mode_mean_sqrt_len_tokens: bool,
    pooling_mode_weightedmean_tokens: bool,
    pooling_mode_lasttoken: bool,
}

impl PoolSettings {
    fn pool(&self) -> Result<Pool> {
        if let Some(mode) = &self.pooling_mode {
            return match mode.as_str() {
                "mean" => Ok(Pool::Mean),
                "mean_sqrt_len_tokens" => Ok(Pool::MeanRoot),
                "max" => Ok(Pool::Largest),
                "cls" => Ok(Pool::First),
                "lasttoken" => Ok(Pool::Last),
                other => Err(refused(format!("pooling {other:?} is not supported"))),
            };
        }
        let modes = [
            (self.pooling_mode_mean_tokens, Some(Pool::Mean)),
            (self.pooling_mode_mean_sqrt_len_tokens, Some(Pool::MeanRoot)),
            (self.pooling_mode_max_tokens, Some(Pool::Largest)),
            (self.pooling_mode_cls_token, Some(Pool::First)),
            (self.pooling_mode_lasttoken, Some(Pool::Last)),
            (self.pooling_mode_weightedmean_tokens, None),
        ];
        let mut chosen = modes.into_iter().filter(|(on, _)| *on).map(|(_, pool)| pool);
        match (chosen.next(), chosen.next()) {
            (Some(Some(pool)), None) => Ok(pool),
            (None, _) => Ok(Pool::Mean),
            _ => Err(refused("its pooling (several at once, or a weighted mean) is not supported")),
        }
    }
}

/// `2_Dense/config.json`.
#[derive(Clone, Debug, Deserialize)]
struct DenseSettings {
    in_features: usize,
    out_features: usize,
    #[serde(default)]
    bias: bool,
    #[serde(default)]
    activation_function: String,
}

/// A step after pooling.
enum Step {
    /// A product, and whether a hyperbolic tangent follows.
    Dense(PackedMatrix, bool),
    /// To length 1.
    Normalise,
}

/// Pooling and what follows it.
pub(super) struct Pooling {
    pool: Pool,
    steps: Vec<Step>,
    width: usize,
}

impl Pooling {
    /// Follows `modules`, the transformer's first; the mean of the tokens where there are none.
    pub(super) fn open(folder: &Folder, modules: &[Module], hidden: usize) -> Result<Self> {
        let mut it = Self { pool: Pool::Mean, steps: Vec::new(), width: hidden };
        for module in modules {
            let inside = folder.module_or_root(&module.path)?;
            match module.name() {
                "Transformer" => {}
                "Pooling" => it.pool = inside.settings::<PoolSettings>("config.json")?.pool()?,
                "Normalize" => it.steps.push(Step::Normalise),
                "Dense" => {
                    let settings: DenseSettings = inside.settings("config.json")?;
                    let step = dense(&inside, &settings, it.width)?;
                    it.width = settings.out_features;
                    it.steps.push(step);
                }
                other => return Err(refused(format!("modules.json has a step {other:?} that is not supported"))),
            }
        }
        Ok(it)
    }

    /// Length of the text's vector.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// The vector of a text from those of its tokens, `[tokens, hidden]`, none of which is missing.
    pub(super) fn of(&self, tokens: &[f32], hidden: usize, out: &mut [f32]) {
        let mut pooled = vec![0.0; hidden];
        let rows = tokens.chunks_exact(hidden);
        let count = rows.len().max(1) as f32;
        match self.pool {
            Pool::First => pooled.copy_from_slice(&tokens[..hidden]),
            Pool::Last => pooled.copy_from_slice(&tokens[tokens.len() - hidden..]),
            Pool::Largest => {
                pooled.fill(f32::NEG_INFINITY);
                rows.for_each(|row| pooled.iter_mut().zip(row).for_each(|(p, x)| *p = p.max(*x)));
            }
            Pool::Mean | Pool::MeanRoot => {
                rows.for_each(|row| pooled.iter_mut().zip(row).for_each(|(p, x)| *p += x));
                let by = if self.pool == Pool::Mean { count } else { count.sqrt() };
                pooled.iter_mut().for_each(|p| *p /= by);
            }
        }
        for step in &self.steps {
            match step {
                Step::Normalise => normalise(&mut pooled),
                Step::Dense(matrix, tanh) => {
                    let mut next = vec![0.0; matrix.outputs()];
                    let strides = (Stride::dense(pooled.len()), Stride::dense(next.len()));
                    matrix.product(1, (&pooled, strides.0), (&mut next, strides.1));
                    if *tanh {
                        tanh_all(&mut next);
                    }
                    pooled = next;
                }
            }
        }
        out.copy_from_slice(&pooled);
    }
}

/// To length 1; a vector of zeros stays.
pub(super) fn normalise(vector: &mut [f32]) {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 1e-12 {
        vector.iter_mut().for_each(|x| *x /= length);
    }
}

fn dense(folder: &Folder, settings: &DenseSettings, width: usize) -> Result<Step> {
    let tanh = match settings.activation_function.rsplit('.').next().unwrap_or_default() {
        "Tanh" => true,
        "Identity" => false,
        other => return Err(refused(format!("a dense step with the activation {other:?} is not supported"))),
    };
    let (inputs, outputs) = (settings.in_features, settings.out_features);
    if inputs != width || outputs == 0 {
        return Err(refused(format!("a dense step reads {inputs} numbers where there are {width}")));
    }
    let mut weights = Weights::open(&folder.weights()?)?;
    let matrix = weights.take("linear.weight", &[outputs, inputs])?;
    let bias = if settings.bias { weights.take("linear.bias", &[outputs])? } else { Vec::new() };
    Ok(Step::Dense(PackedMatrix::new(&matrix, &bias, inputs), tanh))
}
