//! The readout on blobs: order of rows, shrinking, few rows.
use super::*;
use crate::random::Random;

fn blobs(rows: usize, width: usize, seed: u64) -> (Vec<f32>, Vec<usize>) {
    let mut random = Random::new(seed);
    let centres: Vec<f32> = random.normals(3 * width, 1.0);
    let labels: Vec<usize> = (0..rows).map(|_| random.below(3)).collect();
    let x = labels
        .iter()
        .flat_map(|&c| (0..width).map(|i| centres[c * width + i] + random.normal()).collect::<Vec<_>>())
        .collect();
    (x, labels)
}

fn solved(sums: &mut Sums, threads: usize) -> Readout {
    let factor = sums.factor(0.1, (0, 1.0), threads).unwrap();
    sums.read(&factor, 1.0)
}

#[test]
fn order_of_rows_changes_nothing() {
    let (x, y) = blobs(1_500, 40, 1);
    let mut order: Vec<usize> = (0..y.len()).collect();
    order.sort_by_key(|&i| y[i]);
    let (mut a, mut b) = (Sums::new(40, 0, false), Sums::new(40, 0, false));
    for (i, &class) in y.iter().enumerate() {
        a.add(&x[i * 40..(i + 1) * 40], class, 1.0, 1);
    }
    for i in order {
        b.add(&x[i * 40..(i + 1) * 40], y[i], 1.0, 2);
    }
    let (a, b) = (solved(&mut a, 1).forward(&x), solved(&mut b, 2).forward(&x));
    assert!(a.iter().zip(&b).all(|(p, q)| (p - q).abs() < 1e-4));
    let right = a.chunks(3).zip(&y).filter(|(l, y)| (0..3).all(|c| l[c] <= l[**y])).count();
    assert!(right > 1_450, "{right}");
}

#[test]
fn a_row_taken_out_was_never_there() {
    let (x, y) = blobs(200, 10, 2);
    let (mut a, mut b) = (Sums::new(10, 3, false), Sums::new(10, 3, false));
    for i in 0..200 {
        a.add(&x[i * 10..(i + 1) * 10], y[i], 1.0, 1);
        if i >= 50 {
            b.add(&x[i * 10..(i + 1) * 10], y[i], 1.0, 1);
        }
    }
    for i in 0..50 {
        a.add(&x[i * 10..(i + 1) * 10], y[i], -1.0, 1);
    }
    let (a, b) = (solved(&mut a, 1), solved(&mut b, 1));
    assert!(a.weights.iter().zip(&b.weights).all(|(p, q)| (p - q).abs() < 1e-3));
}

#[test]
fn sums_without_a_part_are_those_of_the_other_rows() {
    let (x, y) = blobs(200, 10, 2);
    let new = || Sums::new(10, 3, false);
    let (mut all, mut part, mut rest) = (new(), new(), new());
    for (i, row) in x.chunks(10).enumerate() {
        // A class that is in the part alone, and weights that are no sums of powers of two.
        let class = if i % 4 == 0 { y[i] } else { y[i] % 2 };
        all.add(row, class, 0.1, 1);
        if i % 4 == 0 { &mut part } else { &mut rest }.add(row, class, 0.1, 1);
    }
    let mut without = all.without(&part, 1);
    assert_eq!(without.counts()[2], 0.0);
    let (a, b) = (solved(&mut without, 1), solved(&mut rest, 1));
    assert!(a.weights.iter().zip(&b.weights).all(|(p, q)| (p - q).abs() < 1e-3));
    assert!(a.bias.iter().zip(&b.bias).all(|(p, q)| (p - q).abs() < 1e-2));
}

#[test]
fn ridge_finds_the_line() {
    let (x, _) = blobs(500, 5, 3);
    let mut sums = Sums::new(5, 1, true);
    for row in x.chunks(5) {
        sums.add_value(row, 2.0 * row[0] - row[3] + 0.5, 1.0, 1);
    }
    let factor = sums.factor(1e-4, (0, 1.0), 1).unwrap();
    let readout = sums.read_values(&factor);
    assert!((readout.weights[0] - 2.0).abs() < 0.02 && (readout.bias[0] - 0.5).abs() < 0.02);
}
