//! Numbered columns: pictures, series and tables distinguished by their values.

use super::*;
use crate::data::schema::ColumnKind;

/// Numbers in [0, 1) from a seed and an index.
fn noise(seed: u64, place: usize) -> f64 {
    crate::data::cell::mix(seed.wrapping_mul(1_000_003) ^ (place as u64 + 7)) as f64 / u64::MAX as f64
}

fn table(stem: &str, n: usize, rows: u64, value: impl Fn(u64) -> Vec<f64>) -> Summary {
    let header: Vec<String> = (0..n).map(|i| format!("{stem}{i}")).collect();
    let mut text = format!("{},y\n", header.join(","));
    for row in 0..rows {
        let values: Vec<String> = value(row).iter().map(|x| format!("{x:.3}")).collect();
        text += &format!("{},{}\n", values.join(","), ["a", "b"][(row % 2) as usize]);
    }
    summary(text.as_bytes()).unwrap()
}

/// A random walk with small steps.
fn walk(n: usize, row: u64) -> Vec<f64> {
    let mut at = 0.0;
    (0..n)
        .map(|i| {
            at += noise(row, i) - 0.5;
            at
        })
        .collect()
}

/// A bright spot somewhere.
fn spot(side: usize, row: u64) -> Vec<f64> {
    let (x, y) = (noise(row, 1) * side as f64, noise(row, 2) * side as f64);
    let at = |i: usize| {
        let (dx, dy) = ((i % side) as f64 - x, (i / side) as f64 - y);
        255.0 * (-(dx * dx + dy * dy) / 6.0).exp()
    };
    (0..side * side).map(at).collect()
}

#[test]
fn a_table_whose_columns_carry_numbers_stays_a_table() {
    for n in [16, 20, 25, 28] {
        let mixed = table("v", n, 300, |row| {
            (0..n)
                .map(|i| [18.0 + 70.0 * noise(row, i), (8.0 + 4.0 * noise(row, i)).exp(), noise(row, i), 3.0][i % 4])
                .collect()
        });
        assert_eq!(mixed.columns.len(), n + 1, "columns of different scales");
        let alike = table("v", n, 300, |row| (0..n).map(|i| noise(row, i)).collect());
        assert_eq!(alike.columns.len(), n + 1, "independent columns of one scale");
        let factor = table("q", n, 300, |row| (0..n).map(|i| noise(row, i) + 2.0 * noise(row, 99)).collect());
        assert_eq!(factor.columns.len(), n + 1, "columns that all agree, neighbours no more than others");
    }
}

#[test]
fn a_series_is_a_series_also_where_its_length_is_a_square() {
    for n in [24, 96, 144] {
        for rows in [20, 300] {
            let found = table("t", n, rows, |row| walk(n, row));
            let series = &found.columns[0];
            assert_eq!(
                (series.name.as_str(), series.kind, series.series),
                ("t", ColumnKind::Vector, true),
                "{n} {rows}"
            );
            assert_eq!(series.shape, Some(vec![n]));
        }
    }
    let wave = |row: u64| {
        (0..144)
            .map(|i| (i as f64 / 1.91 + std::f64::consts::TAU * noise(row, 0)).sin() + 0.1 * noise(row, i))
            .collect()
    };
    assert!(table("t", 144, 200, wave).columns[0].series, "a period of one line makes no picture");
    let plan =
        crate::data::plan::resolve(&table("t", 96, 50, |r| walk(96, r)), &Default::default(), "y", None).unwrap();
    assert_eq!((plan.inputs[0].kind, plan.inputs[0].channels), (ColumnKind::Sequence, Some(1)));
}

#[test]
fn a_picture_is_a_picture() {
    for side in [8, 12, 28] {
        let found = table("p", side * side, 200, |row| spot(side, row));
        let picture = &found.columns[0];
        assert_eq!((picture.shape.clone(), picture.series), (Some(vec![side, side]), false), "{side}");
    }
}

#[test]
fn a_label_before_or_after_the_members_is_none_of_them() {
    let mut text = String::new();
    for row in 0..60 {
        let values: Vec<String> = spot(8, row).iter().map(|x| format!("{x:.2}")).collect();
        text += &format!("{},{}\n", row % 3, values.join(","));
    }
    let found = summary(text.as_bytes()).unwrap();
    let seen: Vec<_> = found.columns.iter().map(|c| (c.name.as_str(), c.shape.clone())).collect();
    assert_eq!(seen, [("column_1", None), ("column", Some(vec![8, 8]))]);
}
