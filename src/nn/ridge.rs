//! Ridge regression on classes from few rows: as many equations as there are rows, however many
//! features (Saunders, Gammerman & Vovk 1998, "Ridge regression learning algorithm in dual variables").

use super::cholesky::Factor;
use super::discriminant::Readout;
use super::kernels::matrix::{Shape, product};
use crate::Result;

/// What is added to the diagonal of the products, as a share of its mean.
const RIDGE: f64 = 0.1;
/// Answers lie between 0 and 1 and are to be told apart by a softmax.
const SHARPNESS: f32 = 10.0;

/// A readout of `classes` outputs from rows `[rows, width]` less `centre` and what each of them is,
/// `[rows, classes]`, zeros where that is not known. What a class without rows is answered is nothing anybody
/// would take for an answer.
///
/// # Errors
/// `singular` where the rows do not differ from the centre.
pub fn few_rows(rows: &[f32], wanted: &[f32], classes: usize, centre: &[f64], threads: usize) -> Result<Readout> {
    let (count, width) = (wanted.len() / classes.max(1), centre.len());
    let centred: Vec<f32> =
        rows.chunks_exact(width).flat_map(|row| row.iter().zip(centre).map(|(v, c)| v - *c as f32)).collect();
    let shape = Shape::new(count, width);
    let mut products = vec![0.0f32; count * count];
    product((&mut products, Shape::new(count, count)), (&centred, shape), (&centred, shape.transposed()), None, 1.0);
    let mean = (0..count).map(|i| f64::from(products[i * count + i])).sum::<f64>() / count as f64;
    let mut system: Vec<f64> = products.iter().map(|&p| f64::from(p)).collect();
    (0..count).for_each(|i| system[i * count + i] += RIDGE * mean);
    let factor = Factor::new(system, count, threads)?;
    let share = 1.0 / classes as f64;
    let of = |class: usize| wanted[class.min(wanted.len())..].iter().step_by(classes);
    let mut dual: Vec<f64> =
        (0..classes).flat_map(|class| of(class).map(move |&probability| f64::from(probability) - share)).collect();
    factor.solve(&mut dual);
    let dual: Vec<f32> = dual.iter().map(|&d| d as f32 * SHARPNESS).collect();
    let mut weights = vec![0.0; classes * width];
    product(
        (&mut weights, Shape::new(classes, width)),
        (&dual, Shape::new(classes, count)),
        (&centred, shape),
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

/// Class ids as what [`few_rows`] wants of the rows.
pub fn one_hot(labels: &[u32], classes: usize) -> Vec<f32> {
    let mut wanted = vec![0.0; labels.len() * classes];
    labels.iter().enumerate().for_each(|(row, &label)| wanted[row * classes + label as usize] = 1.0);
    wanted
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
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
}
