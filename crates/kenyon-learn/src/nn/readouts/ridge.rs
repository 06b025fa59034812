//! Ridge regression from few rows: as many equations as there are rows, however many features
//! (Saunders, Gammerman & Vovk 1998, "Ridge regression learning algorithm in dual variables").

use crate::Result;
use crate::nn::kernels::matrix::{MatrixShape, product};
use crate::nn::probability::log_sum_exp;
use crate::nn::readouts::Readout;
use crate::nn::readouts::shrinkage::{factor_with_ridge, mean_diagonal};

/// What is added to the diagonal of the products, as a share of its mean.
const RIDGE: f64 = 0.1;
/// Factor of answers, which lie between 0 and 1, before a softmax.
const SHARPNESS: f32 = 10.0;

/// A readout of `classes` outputs from rows `[rows, width]` less `centre` and their class probabilities,
/// `[rows, classes]`, zeros where these are not known. A class without rows gets a bias that never wins.
///
/// # Errors
/// `singular` where the rows do not differ from the centre.
pub(crate) fn few_rows(
    rows: &[f32],
    wanted: &[f32],
    classes: usize,
    centre: &[f64],
    threads: usize,
) -> Result<Readout> {
    let (count, width) = (wanted.len() / classes.max(1), centre.len());
    let centred: Vec<f32> =
        rows.chunks_exact(width).flat_map(|row| row.iter().zip(centre).map(|(v, c)| v - *c as f32)).collect();
    let system = products(&centred, count, width);
    let ridge = RIDGE * mean_diagonal(&system, count);
    let factor = factor_with_ridge(system, count, |_| ridge, threads)?;
    let share = 1.0 / classes as f64;
    let of = |class: usize| wanted[class.min(wanted.len())..].iter().step_by(classes);
    let mut dual: Vec<f64> =
        (0..classes).flat_map(|class| of(class).map(move |&probability| f64::from(probability) - share)).collect();
    factor.solve(&mut dual);
    let dual: Vec<f32> = dual.iter().map(|&d| d as f32 * SHARPNESS).collect();
    let mut weights = vec![0.0; classes * width];
    product(
        (&mut weights, MatrixShape::new(classes, width)),
        (&dual, MatrixShape::new(classes, count)),
        (&centred, MatrixShape::new(count, width)),
        None,
        1.0,
    );
    let known = |class: usize| of(class).any(|&probability| probability > 0.0);
    let bias = weights.chunks_exact(width).enumerate().map(|(class, weights)| {
        let offset: f64 = weights.iter().zip(centre).map(|(w, c)| f64::from(*w) * c).sum();
        if known(class) { -offset as f32 } else { -1e9 }
    });
    Ok(Readout { width, bias: bias.collect(), weights })
}

/// Products of all pairs of rows `[count, width]`.
fn products(rows: &[f32], count: usize, width: usize) -> Vec<f64> {
    let mut products = vec![0.0f32; count * count];
    let shape = MatrixShape::new(count, width);
    product((&mut products, MatrixShape::new(count, count)), (rows, shape), (rows, shape.transposed()), None, 1.0);
    products.into_iter().map(f64::from).collect()
}

/// What to learn from: rows of mean zero, the weight of each in the loss and its target.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RidgeRows {
    /// `[rows, width]`.
    pub(crate) rows: Vec<f32>,
    /// `[rows]`, above zero.
    pub(crate) weights: Vec<f32>,
    /// Class ids, or values: `[rows]`.
    pub(crate) targets: Vec<f32>,
    /// The fold of each row, where there are folds.
    pub(crate) folds: Vec<u8>,
}

impl RidgeRows {
    /// Rows of `width` numbers at these positions.
    fn part(&self, at: &[usize], width: usize) -> Self {
        Self {
            rows: at.iter().flat_map(|&at| &self.rows[at * width..(at + 1) * width]).copied().collect(),
            weights: at.iter().map(|&at| self.weights[at]).collect(),
            targets: at.iter().map(|&at| self.targets[at]).collect(),
            folds: Vec::new(),
        }
    }
}

/// Ridges that are tried, as shares of the mean squared length of a row.
const RIDGES: [f64; 8] = [1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0, 3.0];

/// Weights `[width, outputs]` and biases `[outputs]` of a readout.
pub(crate) type Weights = (Vec<f32>, Vec<f32>);

/// The readout from all rows, then of each of `folds` folds that from the other rows. All have the sharpness of the first:
/// each row is compared with others by the answers of its own fold, whose scale must be one, and a scale that is common
/// to all is what the temperature corrects.
pub(crate) fn tuned(
    from: &RidgeRows,
    folds: usize,
    width: usize,
    outputs: usize,
    threads: usize,
) -> Vec<Result<Weights>> {
    let (count, sizes) = (from.targets.len(), (width, outputs));
    let all = products(&from.rows, count, width);
    let (first, sharpness) = match tuned_by(from, &all, sizes, None, threads) {
        Ok((weights, sharpness)) => (Ok(weights), Some(sharpness)),
        Err(error) => (Err(error), None),
    };
    let without = |fold: usize| {
        let at: Vec<usize> =
            (0..count).filter(|&row| from.folds.get(row).is_none_or(|&f| usize::from(f) != fold)).collect();
        let products: Vec<f64> =
            at.iter().flat_map(|&a| at.iter().map(move |&b| (a, b))).map(|(a, b)| all[a * count + b]).collect();
        tuned_by(&from.part(&at, width), &products, sizes, sharpness, threads).map(|(weights, _)| weights)
    };
    std::iter::once(first).chain((0..folds).map(without)).collect()
}

/// A readout of `outputs` classes, or of a value if that is 1, from rows of `width` numbers and the `products` of all pairs
/// of them, and its sharpness. The ridge and, where none is given, the sharpness of the logits are those with the least leave-one-out
/// loss; a row's answer without it follows from the solution with all (Allen 1974, "The relationship between variable selection and data augmentation and a method for
/// prediction").
///
/// # Errors
/// `singular` where the rows do not differ.
fn tuned_by(
    from: &RidgeRows,
    products: &[f64],
    (width, outputs): (usize, usize),
    sharpness: Option<f64>,
    threads: usize,
) -> Result<(Weights, f64)> {
    let search = RidgeSearch { outputs, evaluated: from.targets.len(), ridges: &RIDGES };
    let Some(Solution { dual, means, sharpness: own, .. }) = least_leave_one_out(products, from, search, threads)?
    else {
        return Ok(((vec![0.0; width * outputs], vec![0.0; outputs]), 1.0));
    };
    let sharpness = sharpness.unwrap_or(own);
    let dual: Vec<f32> = dual.iter().map(|&d| (d * sharpness) as f32).collect();
    let mut weights = vec![0.0; width * outputs];
    product(
        (&mut weights, MatrixShape::new(width, outputs)),
        (&from.rows, MatrixShape::new(from.targets.len(), width).transposed()),
        (&dual, MatrixShape::new(outputs, from.targets.len()).transposed()),
        None,
        1.0,
    );
    Ok(((weights, means.iter().map(|&mean| (mean * sharpness) as f32).collect()), sharpness))
}

/// The loss of each row by the answer that it gets from all others: 1 where the class is wrong and else 0, or the
/// squared error of the value. Of the rows their `products` of all pairs are needed, `[rows, rows]`, and not `from.rows`.
///
/// # Errors
/// As [`tuned`].
pub(crate) fn leave_one_out_losses(
    products: &[f64],
    from: &RidgeRows,
    outputs: usize,
    threads: usize,
) -> Result<Vec<f64>> {
    let count = from.targets.len();
    let search = RidgeSearch { outputs, evaluated: count, ridges: &RIDGES };
    let Some(Solution { alone, means, .. }) = least_leave_one_out(products, from, search, threads)? else {
        return Ok(vec![1.0; count]);
    };
    let answer = |row: usize, output: usize| alone[output * count + row] + means[output];
    let loss = |row: usize| match outputs {
        1 => (answer(row, 0) - f64::from(from.targets[row])).powi(2),
        _ => {
            let best = (0..outputs).max_by(|&a, &b| answer(row, a).total_cmp(&answer(row, b)));
            f64::from(best != Some(from.targets[row] as usize))
        }
    };
    Ok((0..count).map(loss).collect())
}

/// What a solution is chosen for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RidgeSearch<'a> {
    /// Classes, or 1 for a value.
    pub(crate) outputs: usize,
    /// So many of the first rows are evaluated by the others.
    pub(crate) evaluated: usize,
    /// Ridges that are tried, as shares of the mean squared length of a row.
    pub(crate) ridges: &'a [f64],
}

/// The solution with the ridge that has the least leave-one-out loss.
#[derive(Clone, Debug)]
pub(crate) struct Solution {
    /// `[outputs, rows]`.
    pub(crate) dual: Vec<f64>,
    /// The answers to each row by all others, less the means, `[outputs, rows]`.
    alone: Vec<f64>,
    /// Of each output.
    pub(crate) means: Vec<f64>,
    /// The factor of answers with the least log loss; 1 for values.
    pub(crate) sharpness: f64,
    /// The ridge.
    pub(crate) ridge: f64,
    /// The loss of the rows that are evaluated, in all.
    pub(crate) loss: f64,
}

/// The weights of rows (`dual`) by the `products` of all pairs; none where there are no rows.
///
/// # Errors
/// As [`tuned`].
pub(crate) fn least_leave_one_out(
    products: &[f64],
    from: &RidgeRows,
    search: RidgeSearch<'_>,
    threads: usize,
) -> Result<Option<Solution>> {
    let RidgeSearch { outputs, evaluated, ridges } = search;
    let (count, total) = (from.targets.len(), from.weights.iter().map(|w| f64::from(*w)).sum::<f64>());
    // `[outputs, rows]`, less the mean of each output.
    let mut wanted: Vec<f64> = if outputs == 1 {
        from.targets.iter().map(|&value| f64::from(value)).collect()
    } else {
        (0..outputs).flat_map(|o| from.targets.iter().map(move |&class| f64::from(class as usize == o))).collect()
    };
    let mut means = vec![0.0; outputs];
    for (mean, wanted) in means.iter_mut().zip(wanted.chunks_exact_mut(count.max(1))) {
        *mean = wanted.iter().zip(&from.weights).map(|(v, w)| v * f64::from(*w)).sum::<f64>() / total;
        wanted.iter_mut().for_each(|v| *v -= *mean);
    }
    let length = mean_diagonal(products, count);
    let mut best: Option<Solution> = None;
    for &ridge in ridges {
        let of_row = |i: usize| ridge * length * total / (count as f64 * f64::from(from.weights[i]));
        let factor = factor_with_ridge(products.to_vec(), count, of_row, threads)?;
        let (mut dual, diagonal) = (wanted.clone(), factor.inverse_diagonal());
        factor.solve(&mut dual);
        let alone: Vec<f64> = (wanted.iter().zip(&dual).enumerate())
            .map(|(at, (wanted, dual))| wanted - dual / diagonal[at % count])
            .collect();
        let (loss, sharpness) = if outputs == 1 {
            let loss = |((a, w), weight): ((&f64, &f64), &f32)| (a - w).powi(2) * f64::from(*weight);
            (alone.iter().zip(&wanted).zip(&from.weights).take(evaluated).map(loss).sum(), 1.0)
        } else {
            sharpest(&alone, &means, from, evaluated)
        };
        if best.as_ref().is_none_or(|best| loss < best.loss) {
            best = Some(Solution { dual, alone, means: means.clone(), sharpness, ridge, loss });
        }
    }
    Ok(best)
}

/// The least log loss of answers `[outputs, rows]` with `means` added, and what to multiply them by for that. One more row,
/// of which any class may be true, keeps uncertainty where all answers are right.
fn sharpest(answers: &[f64], means: &[f64], from: &RidgeRows, evaluated: usize) -> (f64, f64) {
    let count = from.targets.len();
    let loss = |sharpness: f64| -> f64 {
        let one = |row: usize| {
            let logit = |output: usize| (answers[output * count + row] + means[output]) * sharpness;
            let total = log_sum_exp((0..means.len()).map(logit));
            let any = total - (0..means.len()).map(logit).sum::<f64>() / means.len() as f64;
            f64::from(from.weights[row]) * (total - logit(from.targets[row] as usize)) + any / count as f64
        };
        (0..evaluated.min(count)).map(one).sum()
    };
    let all = (2..=12).map(|half| f64::from(half) / 2.0).map(f64::exp2);
    all.map(|sharpness| (loss(sharpness), sharpness)).min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((0.0, 1.0))
}

/// Class ids in the form that [`few_rows`] needs.
pub(crate) fn one_hot(labels: &[u32], classes: usize) -> Vec<f32> {
    let mut wanted = vec![0.0; labels.len() * classes];
    labels.iter().enumerate().for_each(|(row, &label)| wanted[row * classes + label as usize] = 1.0);
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn few_rows_of_many_features_are_told_apart() {
        let mut random = Random::new(3);
        let means: Vec<Vec<f32>> = (0..3).map(|_| (0..200).map(|_| random.normal()).collect()).collect();
        let mut draw = |class: usize| -> Vec<f32> { means[class].iter().map(|m| m + random.normal()).collect() };
        let labels = [0u32, 2, 0, 2, 1];
        let rows: Vec<f32> = labels.iter().flat_map(|&class| draw(class as usize)).collect();
        let readout = few_rows(&rows, &one_hot(&labels, 4), 4, &[0.1; 200], 1).unwrap();
        for class in 0..3 {
            for _ in 0..20 {
                let answer = readout.forward(&draw(class));
                let best = (0..4).max_by(|&a, &b| answer[a].total_cmp(&answer[b])).unwrap();
                assert_eq!(best, class, "{answer:?}");
            }
        }
    }

    #[test]
    fn answers_without_a_row_are_those_of_the_others() {
        let (mut random, count, width) = (Random::new(5), 12, 30);
        let rows: Vec<f32> = random.normals(count * width, 1.0);
        let due: Vec<f32> = rows.chunks_exact(width).map(|row| row[0] - row[1]).collect();
        let solve = |keep: &[usize], ridge: f64| {
            let part: Vec<f32> = keep.iter().flat_map(|&k| rows[k * width..(k + 1) * width].to_vec()).collect();
            let system = products(&part, keep.len(), width);
            let factor = factor_with_ridge(system, keep.len(), |_| ridge, 1).unwrap();
            let mut dual: Vec<f64> = keep.iter().map(|&k| f64::from(due[k])).collect();
            factor.solve(&mut dual);
            (dual, factor.inverse_diagonal(), part)
        };
        let all: Vec<usize> = (0..count).collect();
        let (dual, diagonal, _) = solve(&all, 4.0);
        for gone in 0..count {
            let others: Vec<usize> = all.iter().copied().filter(|&k| k != gone).collect();
            let (dual_of_others, _, part) = solve(&others, 4.0);
            let row = &rows[gone * width..(gone + 1) * width];
            let one =
                |(d, other): (&f64, &[f32])| d * other.iter().zip(row).map(|(a, b)| f64::from(a * b)).sum::<f64>();
            let answer: f64 = dual_of_others.iter().zip(part.chunks_exact(width)).map(one).sum();
            assert!((answer - (f64::from(due[gone]) - dual[gone] / diagonal[gone])).abs() < 1e-4);
        }
    }

    #[test]
    fn a_tuned_readout_tells_noisy_classes_apart_and_follows_values() {
        let (mut random, count, width) = (Random::new(9), 90, 300);
        let means: Vec<f32> = random.normals(3 * width, 0.3);
        let mut from = RidgeRows::default();
        let mut draw =
            |class: usize| -> Vec<f32> { (0..width).map(|i| means[class * width + i] + random.normal()).collect() };
        for row in 0..count {
            from.rows.extend(draw(row % 3));
            from.weights.push(if row % 3 == 0 { 2.0 } else { 1.0 });
            from.targets.push((row % 3) as f32);
        }
        let answer = |(weights, bias): &(Vec<f32>, Vec<f32>), row: &[f32]| -> Vec<f32> {
            let outputs = bias.len();
            let of =
                |o: usize| row.iter().enumerate().map(|(i, v)| v * weights[i * outputs + o]).sum::<f32>() + bias[o];
            (0..outputs).map(of).collect()
        };
        let readout = tuned(&from, 0, width, 3, 1).remove(0).unwrap();
        let right = (0..150).filter(|row| {
            let logits = answer(&readout, &draw(row % 3));
            logits.iter().enumerate().all(|(o, l)| o == row % 3 || *l < logits[row % 3])
        });
        assert!(right.count() > 140);
        from.targets = from.rows.chunks_exact(width).map(|row| 2.0 + row[..100].iter().sum::<f32>()).collect();
        let readout = tuned(&from, 0, width, 1, 1).remove(0).unwrap();
        let error = |row: &[f32]| answer(&readout, row)[0] - 2.0 - row[..100].iter().sum::<f32>();
        let errors: Vec<f32> = (0..150).map(|row| error(&draw(row % 3)).powi(2)).collect();
        assert!(errors.iter().sum::<f32>() / 150.0 < 90.0, "{errors:?}");
    }

    #[test]
    fn a_fold_has_the_readout_of_the_other_rows_in_the_scale_of_all() {
        let (mut random, count, width) = (Random::new(4), 40, 60);
        let mut from =
            RidgeRows { rows: random.normals(count * width, 1.0), weights: vec![1.0; count], ..RidgeRows::default() };
        from.targets = from.rows.chunks_exact(width).map(|row| f32::from(row[0] + 0.3 * row[1] > 0.0)).collect();
        from.folds = (0..count).map(|row| (row % 4) as u8).collect();
        let solved = tuned(&from, 4, width, 2, 1);
        let kept: Vec<usize> = (0..count).filter(|row| row % 4 != 2).collect();
        let part = from.part(&kept, width);
        let own = products(&part.rows, kept.len(), width);
        let sharpness = tuned_by(&from, &products(&from.rows, count, width), (width, 2), None, 1).unwrap().1;
        let alone = tuned_by(&part, &own, (width, 2), Some(sharpness), 1).unwrap().0;
        let of_fold = solved[3].as_ref().unwrap();
        assert!(of_fold.0.iter().zip(&alone.0).all(|(a, b)| (a - b).abs() < 1e-4));
        assert!(of_fold.0 != solved[0].as_ref().unwrap().0);
    }
}
