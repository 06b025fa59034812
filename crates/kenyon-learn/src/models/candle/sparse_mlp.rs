//! `sparse_mlp` as a candle model.

use super::training_pass::{TrainingPass, dropped};
use super::{CodedModule, TokenBatch, TokenConfig, TokenModule, matrix, no_answers};
use crate::nn::kernels::gather::{Reach, group_ranges};
use crate::nn::layers::k_winners::KWinners;
use crate::nn::layers::sparse_embedding::{SparseEmbedding, SparseInput, has_kernel};
use crate::nn::layers::sparse_linear::SparseLinear;
use candle_core::{DType, Device, Module, Result, Tensor, bail};
use candle_nn::{Init, VarBuilder};
use std::collections::HashMap;
use std::sync::Arc;

/// Sizes, and what is fixed.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Width of a row.
    pub features: usize,
    /// The feature of each weight row, ascending or not; none where every feature has one, in their order.
    pub vocabulary: Option<Vec<u32>>,
    /// Hidden layers, first to last.
    pub hidden: Vec<LayerConfig>,
    /// Classes, or 1.
    pub outputs: usize,
    /// Whether the row also reaches the answers directly. Always so without a hidden layer.
    pub skip: bool,
}

/// A hidden layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerConfig {
    /// Units it has.
    pub units: usize,
    /// Units that win a row in each winner group.
    pub winners: usize,
    /// Groups of equally many units that compete among themselves: in an ensemble one a member.
    pub winner_groups: usize,
    /// Which inputs the units of each of equally many groups have, `[groups][inputs]`; empty where all have all.
    pub connections: Vec<Vec<bool>>,
}

/// A sparse network: k-winners layers and a direct path.
///
/// Weights: `hidden.I.weight` `[inputs, units]` and `hidden.I.bias`, `readout.weight` and `readout.bias` after the last
/// hidden layer, `skip.weight` `[features, outputs]` and `skip.bias`.
#[derive(Clone, Debug)]
pub struct SparseMlp {
    config: Config,
    hidden: Vec<(SparseLinear, KWinners)>,
    readout: Option<SparseLinear>,
    skip: Option<SparseEmbedding>,
    /// The weight row of each feature of the vocabulary.
    rows: Option<HashMap<u32, u32>>,
    plain: bool,
}

impl Config {
    /// Weight rows of the layers that read the row.
    fn rows(&self) -> usize {
        self.vocabulary.as_ref().map_or(self.features, Vec::len)
    }
}

impl TokenConfig for Config {
    fn build(&self, weights: VarBuilder<'_>) -> Result<Box<dyn TokenModule>> {
        Ok(Box::new(SparseMlp::new(self, weights)?))
    }
}

impl LayerConfig {
    /// 1 where a unit has an input, `[inputs, units]`, and the same as the kernels take it; none where all have all.
    fn connected(&self, inputs: usize, device: &Device, dtype: DType) -> Result<Option<(Tensor, Arc<Reach>)>> {
        if self.connections.iter().any(|group| group.len() != inputs) {
            bail!("the connections do not name {inputs} inputs");
        }
        if self.connections.is_empty() {
            return Ok(None);
        }
        let mut mask = vec![0f32; inputs * self.units];
        for (units, connected) in group_ranges(self.units, self.connections.len()).zip(&self.connections) {
            for input in (0..inputs).filter(|&input| connected[input]) {
                mask[input * self.units + units.start..input * self.units + units.end].fill(1.0);
            }
        }
        let mask = Tensor::from_vec(mask, (inputs, self.units), device)?.to_dtype(dtype)?;
        Ok(Some((mask, Arc::new(Reach::of_groups(inputs, self.units, &self.connections)))))
    }
}

impl SparseMlp {
    /// The network with these weights.
    ///
    /// # Errors
    /// Weights that are missing or have another size, and sizes that contradict each other.
    pub fn new(config: &Config, weights: VarBuilder<'_>) -> Result<Self> {
        let mut inputs = config.rows();
        let mut hidden = Vec::with_capacity(config.hidden.len());
        for (index, layer) in config.hidden.iter().enumerate() {
            let (own, units) = (weights.pp(format!("hidden.{index}")), layer.units);
            if layer.winner_groups == 0 || units % layer.winner_groups != 0 {
                bail!("{units} units cannot be parted into {} groups", layer.winner_groups);
            }
            let (mask, reach) = layer.connected(inputs, weights.device(), weights.dtype())?.unzip();
            let linear = SparseLinear {
                weight: matrix(&own, inputs, units, "weight")?,
                mask,
                bias: own.get_with_hints(units, "bias", Init::Const(0.0))?,
                reach,
            };
            hidden.push((linear, KWinners::new(units / layer.winner_groups, layer.winners, 0.0)));
            inputs = units;
        }
        let zeros = |own: &VarBuilder<'_>, inputs: usize| -> Result<(Tensor, Tensor)> {
            let weight = own.get_with_hints((inputs, config.outputs), "weight", Init::Const(0.0))?;
            Ok((weight, own.get_with_hints(config.outputs, "bias", Init::Const(0.0))?))
        };
        let readout = if hidden.is_empty() { None } else { Some(zeros(&weights.pp("readout"), inputs)?) };
        let direct = config.skip || hidden.is_empty();
        let skip = if direct { Some(zeros(&weights.pp("skip"), config.rows())?) } else { None };
        let numbered = |features: &Vec<u32>| features.iter().zip(0..).map(|(&feature, row)| (feature, row)).collect();
        Ok(Self {
            config: config.clone(),
            hidden,
            readout: readout.map(|(weight, bias)| SparseLinear { weight, mask: None, bias, reach: None }),
            skip: skip.map(|(weight, bias)| SparseEmbedding { weight, bias: Some(bias) }),
            rows: config.vocabulary.as_ref().map(numbered),
            plain: false,
        })
    }

    /// The same in plain candle operations, without the kernels: what it is tested against.
    #[must_use]
    pub fn plain(self) -> Self {
        Self { plain: true, ..self }
    }

    /// The entries of rows with weight rows in place of features; features without one are left out.
    fn input(&self, tokens: &TokenBatch) -> Result<SparseInput> {
        let Some(rows) = &self.rows else {
            // The kernels take a number's bins together where no unit has some of them alone.
            return match &tokens.given().bins {
                Some(bins) if self.sums_bins() => SparseInput::compact(tokens.given(), bins, self.config.features),
                _ => tokens.bags(self.config.features),
            };
        };
        let batch = tokens.batch();
        let (mut offsets, mut indices, mut values) = (vec![0], vec![], vec![]);
        for row in 0..batch.rows() {
            let (features, row_values) = batch.entries(row);
            for (feature, &value) in features.iter().zip(row_values) {
                if let Some(&row) = rows.get(feature) {
                    indices.push(row);
                    values.push(value);
                }
            }
            offsets.push(indices.len() as u32);
        }
        SparseInput::new(offsets, indices, values, self.config.rows())
    }

    fn sums_bins(&self) -> bool {
        let first = self.hidden.first().map(|(layer, _)| layer);
        let weight = first.map(|layer| &layer.weight).or(self.skip.as_ref().map(|skip| &skip.weight));
        !self.plain && first.is_none_or(|layer| layer.mask.is_none()) && weight.is_some_and(has_kernel)
    }

    fn embed(&self, layer: &SparseEmbedding, input: &SparseInput) -> Result<Tensor> {
        if self.plain { layer.expression(input) } else { layer.forward(input) }
    }

    /// Answers, and the code of the last hidden layer, from what the layers that read the row give: pre-activations of the
    /// first hidden layer, and answers of the direct path. Without a hidden layer the answers are the code.
    fn above(
        &self,
        first: Option<Tensor>,
        direct: Option<Tensor>,
        mut pass: Option<&mut TrainingPass>,
    ) -> Result<(Tensor, Tensor)> {
        let mut last = None;
        let answers = match (first, &self.readout) {
            (Some(z), Some(readout)) => {
                let mut code = self.winners(0, &z, &mut pass)?;
                for (index, (layer, _)) in self.hidden.iter().enumerate().skip(1) {
                    code = self.winners(index, &self.linear(layer, &code)?, &mut pass)?;
                }
                let answers = self.linear(readout, &code)?;
                last = Some(code);
                Some(answers)
            }
            _ => None,
        };
        let answers = match (answers, direct) {
            (Some(answers), Some(direct)) => (answers + direct)?,
            (Some(answers), None) | (None, Some(answers)) => answers,
            (None, None) => bail!("a network without layers"),
        };
        let code = last.unwrap_or_else(|| answers.clone());
        Ok((answers, code))
    }

    fn linear(&self, layer: &SparseLinear, code: &Tensor) -> Result<Tensor> {
        if self.plain { layer.reference(code) } else { layer.after_winners(code) }
    }

    /// The winners of layer `index`, each group's own: `[rows, units] -> [rows, units]`.
    fn winners(&self, index: usize, z: &Tensor, pass: &mut Option<&mut TrainingPass>) -> Result<Tensor> {
        let ((rows, units), layer) = (z.dims2()?, &self.hidden[index].1);
        let groups = self.config.hidden[index].winner_groups;
        let z = z.reshape((rows * groups, units / groups))?;
        let compete = |layer: &KWinners, boosts: Option<&[f32]>| {
            if self.plain { layer.reference_counted(&z, boosts) } else { layer.counted(&z, boosts) }
        };
        let competition = pass.as_mut().and_then(|pass| pass.competitions.get_mut(index));
        let won = match competition {
            Some(own) => {
                let boosts = Some(own.boosts.as_slice()).filter(|boosts| !boosts.is_empty());
                let (won, wins) = compete(&KWinners::new(units / groups, own.winners, 0.0), boosts)?;
                own.wins = wins;
                won
            }
            None => compete(layer, None)?.0,
        };
        dropped(pass, won.reshape((rows, units))?)
    }

    fn forward_input(&self, input: &SparseInput, pass: Option<&mut TrainingPass>) -> Result<(Tensor, Tensor)> {
        let first = match self.hidden.first() {
            Some((layer, _)) if self.plain => {
                let embedding = SparseEmbedding { weight: layer.masked()?, bias: Some(layer.bias.clone()) };
                Some(embedding.expression(input)?)
            }
            Some((layer, _)) => Some(layer.embed(input)?),
            None => None,
        };
        let direct = self.skip.as_ref().map(|skip| self.embed(skip, input)).transpose()?;
        self.above(first, direct, pass)
    }
}

impl TokenModule for SparseMlp {
    fn forward_tokens(&self, tokens: &TokenBatch, _train: bool) -> Result<Tensor> {
        if tokens.rows() == 0 {
            return no_answers(self.config.outputs, tokens);
        }
        Ok(self.forward_input(&self.input(tokens)?, None)?.0)
    }

    fn forward_training(&self, tokens: &TokenBatch, pass: &mut TrainingPass) -> Result<Tensor> {
        Ok(self.forward_input(&self.input(tokens)?, Some(pass))?.0)
    }

    fn coded(&self) -> std::result::Result<&dyn CodedModule, &'static str> {
        Ok(self)
    }
}

impl CodedModule for SparseMlp {
    fn forward_coded(&self, tokens: &TokenBatch) -> Result<(Tensor, Tensor)> {
        self.forward_input(&self.input(tokens)?, None)
    }
}

impl Module for SparseMlp {
    /// Dense rows, `[rows, features] -> [rows, outputs]`, with a gradient for the rows.
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let (_, width) = xs.dims2()?;
        if width != self.config.features {
            bail!("rows of {width} numbers, where there are {} features", self.config.features);
        }
        let xs = match &self.config.vocabulary {
            Some(features) => xs.index_select(&Tensor::new(features.as_slice(), xs.device())?, 1)?,
            None => xs.clone(),
        };
        if !self.plain && xs.device().is_cpu() && xs.dtype() == DType::F32 && !xs.track_op() {
            return Ok(self.forward_input(&SparseInput::dense(&xs)?, None)?.0);
        }
        let through = |layer: &SparseLinear| if self.plain { layer.reference(&xs) } else { layer.forward(&xs) };
        let first = self.hidden.first().map(|(layer, _)| through(layer)).transpose()?;
        let direct = |skip: &SparseEmbedding| match &skip.bias {
            Some(bias) => xs.matmul(&skip.weight)?.broadcast_add(bias),
            None => xs.matmul(&skip.weight),
        };
        Ok(self.above(first, self.skip.as_ref().map(direct).transpose()?, None)?.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Batch, BinRanges};
    use crate::random::Random;
    use candle_core::Var;

    #[test]
    fn compact_rows_have_the_answers_and_gradients_of_plain_ones() {
        let hidden = LayerConfig { units: 32, winners: 5, winner_groups: 1, connections: Vec::new() };
        let config = Config { features: 12, vocabulary: None, hidden: vec![hidden], outputs: 3, skip: true };
        let mut compact = Batch { bins: Some(Arc::new(BinRanges::new([2..6, 6..9]))), ..Batch::new() };
        let mut random = Random::new(5);
        for row in 0..20 {
            compact.push_entry(row % 2, 1.0);
            compact.push_entry(2 + row % 4, random.uniform());
            compact.push_entry(6 + row % 3, random.uniform());
            compact.push_entry(9 + row % 3, random.normal());
            compact.end_bag();
        }
        let mut var = |rows: usize, units: usize| {
            let values = Tensor::from_vec(random.normals(rows * units, 1.0), (rows, units), &Device::Cpu).unwrap();
            Var::from_tensor(&if rows == 1 { values.squeeze(0).unwrap() } else { values }).unwrap()
        };
        let vars: Vec<(&str, Var)> = vec![
            ("hidden.0.weight", var(12, 32)),
            ("hidden.0.bias", var(1, 32)),
            ("readout.weight", var(32, 3)),
            ("readout.bias", var(1, 3)),
            ("skip.weight", var(12, 3)),
            ("skip.bias", var(1, 3)),
        ];
        let tensors = vars.iter().map(|(name, var)| ((*name).to_owned(), var.as_tensor().clone())).collect();
        let weights = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        let net = SparseMlp::new(&config, weights).unwrap();
        let numbers = |batch: &Batch| {
            let answers = net.forward_tokens(&TokenBatch::new(batch, &Device::Cpu), true).unwrap();
            let gradients = answers.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            let mut found = vec![answers];
            found.extend(vars.iter().map(|(_, var)| gradients.get(var).unwrap().clone()));
            found.iter().map(|t| t.flatten_all().unwrap().to_vec1::<f32>().unwrap()).collect::<Vec<_>>()
        };
        let plain = compact.expanded();
        assert!(plain.indices.len() > compact.indices.len());
        for (own, expected) in numbers(&compact).iter().zip(numbers(&plain)) {
            let largest = expected.iter().fold(1f32, |most, v| most.max(v.abs()));
            assert!(own.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5 * largest), "{own:?} {expected:?}");
        }
    }
}
