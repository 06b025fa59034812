//! The readout for few labels among many rows without. The covariance of all rows is well estimated then and the
//! means of classes are not, so a discriminant would mostly follow their noise. Ridge regression is used instead, from
//! the labelled rows and from those that labels are propagated to ([`super::label_propagation`]).

use crate::nn::probability::argmax;
use crate::nn::readouts::Readout;
use crate::nn::readouts::discriminant::Sums;
use crate::nn::readouts::label_propagation::{Graph, UnlabelledPool};
use crate::nn::readouts::ridge::{few_rows, one_hot};

/// Labels are few where there are so many times more rows without.
const FEW: f64 = 4.0;
/// With more labelled rows than this the equations, which grow with their square, would take too long.
pub(crate) const MOST_LABELS: usize = 1_000;
/// With more classes than this labels are not spread: that would take seconds.
const MOST_CLASSES: usize = 100;
/// Parts of the labelled rows that are held out in turn to test whether spreading helps.
const FOLDS: usize = 5;

/// Whether the rows in `sums` have so few labels.
pub(crate) fn are_few(sums: &Sums) -> bool {
    sums.rows() >= 1.0 && sums.unlabelled() >= FEW * sums.rows()
}

/// A readout of `classes` from labelled codes of length 1, `[rows, width]`, whose class ids are `labels`, and from
/// the pool; none where that is empty, there are no labels or too many, or the
/// rows do not differ.
pub(crate) fn read(
    mut rows: Vec<f32>,
    labels: &[u32],
    classes: usize,
    pool: &UnlabelledPool,
    sums: &Sums,
    threads: usize,
) -> Option<Readout> {
    if pool.is_empty() || !(1..=MOST_LABELS).contains(&labels.len()) {
        return None;
    }
    let (centre, known) = (sums.mean_of_all(), rows.len());
    if classes <= MOST_CLASSES {
        rows.extend(pool.codes());
        let graph = Graph::new(&rows, &centre, threads);
        if spreads(&graph, &rows[..known], labels, classes, &centre, threads) {
            let labels: Vec<Option<u32>> = labels.iter().copied().map(Some).collect();
            return few_rows(&rows, &graph.spread(&labels, classes), classes, &centre, threads).ok();
        }
    }
    few_rows(&rows[..known], &one_hot(labels, classes), classes, &centre, threads).ok()
}

/// Whether the graph predicts held-out labels, and not clearly worse than the labelled rows alone do. Assumed where
/// there are too few to hold any out.
fn spreads(graph: &Graph, rows: &[f32], labels: &[u32], classes: usize, centre: &[f64], threads: usize) -> bool {
    if labels.len() < 3 * classes {
        return true;
    }
    let width = centre.len();
    let (mut by_graph, mut alone) = (0usize, 0usize);
    for fold in 0..FOLDS {
        let held = |row: usize| row % FOLDS == fold;
        let kept: Vec<Option<u32>> =
            labels.iter().enumerate().map(|(row, &label)| (!held(row)).then_some(label)).collect();
        let spread = graph.spread(&kept, classes);
        let code = |row: usize| &rows[row * width..(row + 1) * width];
        let training_codes: Vec<f32> = (0..labels.len()).filter(|&r| !held(r)).flat_map(|r| code(r).to_vec()).collect();
        let wanted = one_hot(&kept.iter().flatten().copied().collect::<Vec<_>>(), classes);
        let Ok(readout) = few_rows(&training_codes, &wanted, classes, centre, threads) else { return true };
        for row in (0..labels.len()).filter(|&r| held(r)) {
            let right = |answer: &[f32]| usize::from(argmax(&answer[..classes]) == labels[row] as usize);
            by_graph += right(&spread[row * classes..(row + 1) * classes]);
            alone += right(&readout.forward(code(row)));
        }
    }
    // One standard deviation of the difference, were a tenth of the answers different.
    by_graph as f64 + (0.1 * labels.len() as f64).sqrt() >= alone as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Rows in clouds; in `mixed` ones the clouds are not related to the class, only one direction is.
    fn right(mixed: bool, labelled: usize) -> f64 {
        let (mut random, width, clouds) = (Random::new(7), 32, 6);
        let means: Vec<f32> = random.normals(clouds * width, 0.5);
        let mut draw = || {
            let cloud = random.below(clouds);
            let label = if mixed { random.below(2) } else { cloud % 2 } as u32;
            let mut row: Vec<f32> = (0..width).map(|i| means[cloud * width + i] + 0.1 * random.normal()).collect();
            row[0] += if mixed { label as f32 - 0.5 } else { 0.0 };
            let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
            (row.into_iter().map(|v| v / length).collect::<Vec<f32>>(), label)
        };
        let (mut sums, mut pool) = (Sums::new(width, 2, false), UnlabelledPool::default());
        let (mut rows, mut labels) = (Vec::new(), Vec::new());
        for _ in 0..labelled {
            let (row, label) = draw();
            sums.add(&row, label as usize, 1.0, 1);
            rows.extend(row);
            labels.push(label);
        }
        for _ in 0..800 {
            let row = draw().0;
            sums.add_unlabelled(&row, 1);
            pool.add(&row);
        }
        assert!(are_few(&sums));
        let readout = read(rows, &labels, 2, &pool, &sums, 2).unwrap();
        let hits = (0..400).filter(|_| {
            let (row, label) = draw();
            let answer = readout.forward(&row);
            (answer[1] > answer[0]) == (label == 1)
        });
        hits.count() as f64 / 400.0
    }

    #[test]
    fn rows_without_a_label_help_where_they_lie_in_clouds_and_do_no_harm_elsewhere() {
        assert!(right(false, 14) > 0.97, "{}", right(false, 14));
        assert!(right(true, 150) > 0.9, "{}", right(true, 150));
    }
}
