use super::*;
use crate::data::Column;
use crate::random::Random;

#[test]
fn foreign_codes_are_far_and_familiar_ones_near() {
    let mut random = Random::new(3);
    let width = 200;
    let near = |random: &mut Random| -> Vec<f32> {
        (0..width).map(|i| if i < 20 { 1.0 + 0.1 * random.normal() } else { 0.0 }).collect()
    };
    let known: Vec<f32> = (0..300).flat_map(|_| near(&mut random)).collect();
    let codes = KnownCodes::sample(&known, width, 7);
    let foreign: Vec<f32> = (0..width).map(|i| if i >= 150 { 1.0 } else { 0.0 }).collect();
    assert!(codes.distance(&foreign) > 0.3 && codes.distance(&near(&mut random)) < 0.1);
    assert_eq!(KnownCodes::new(&codes.keys(), width), codes);
}

/// Two correlated numbers, a category and a picture of four smooth pixels.
fn table(rows: usize, seed: u64) -> Table {
    let mut random = Random::new(seed);
    let mut columns = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rows {
        let x = random.normal();
        columns.0.push(f64::from(x));
        columns.1.push(f64::from(x + 0.1 * random.normal()));
        columns.2.push(Some(["red", "blue"][random.below(2)].into()));
        let level = random.uniform();
        columns.3.extend((0..16).map(|i| level + 0.02 * i as f32 + 0.01 * random.normal()));
    }
    let list = Column::Vector { width: 16, shape: Some(vec![4, 4]), values: columns.3 };
    let columns = vec![
        ("x".into(), Column::Number(columns.0)),
        ("y".into(), Column::Number(columns.1)),
        ("colour".into(), Column::Category(columns.2)),
        ("picture".into(), list),
    ];
    Table { rows, columns }
}

fn fitted(table: &Table) -> Novelty {
    let half: Vec<usize> = (0..table.rows / 2).collect();
    let rest: Vec<usize> = (table.rows / 2..table.rows).collect();
    let mut batch = Batch::new();
    rest.iter().for_each(|_| batch.end_bag());
    let rows = NoveltyRows {
        table,
        columns: &["x", "y", "colour", "picture"],
        known: &half,
        held_out: &rest,
        batch: &batch,
        sketches: &vec![0.0; rest.len() * SKETCH],
    };
    Novelty::fit(KnownCodes::new(&[], 4), &rows, 7)
}

fn ranks(novelty: &Novelty, table: &Table) -> Vec<f32> {
    let mut batch = Batch::new();
    (0..table.rows).for_each(|_| batch.end_bag());
    batch.input_scores = novelty.of_inputs(table);
    (0..table.rows).map(|row| novelty.rank(novelty.score(&[0.0; SKETCH], &batch, row))).collect()
}

#[test]
fn one_ordinary_row_in_a_hundred_abstains_and_every_kind_of_foreign_one() {
    let novelty = fitted(&table(4_000, 1));
    let ordinary = ranks(&novelty, &table(5_000, 2));
    let share = ordinary.iter().filter(|&&rank| novelty.abstains(rank, None)).count() as f64 / 5_000.0;
    assert!((0.003..0.03).contains(&share), "{share}");
    let middle = ordinary.iter().filter(|&&rank| rank < 0.5).count() as f64 / 5_000.0;
    assert!((middle - 0.5).abs() < 0.05, "{middle}");
    let plain = table(1, 3);
    let foreign = |name: &str, column: Column| {
        let mut table = plain.clone();
        table.columns.iter_mut().find(|(n, _)| n == name).unwrap().1 = column;
        ranks(&novelty, &table)[0]
    };
    let noise =
        Column::Vector { width: 16, shape: Some(vec![4, 4]), values: (0..16).map(|i| (i % 2) as f32).collect() };
    for (what, rank) in [
        ("beyond the range", foreign("x", Column::Number(vec![1e3]))),
        ("never missing", foreign("x", Column::Number(vec![f64::NAN]))),
        ("unseen", foreign("colour", Column::Category(vec![Some("green".into())]))),
        ("noise", foreign("picture", noise)),
    ] {
        assert!(novelty.abstains(rank, None), "{what}: {rank}");
    }
    // Each number is ordinary, the combination is not: they are usually apart by a tenth.
    for (x, y) in [(2.5, -2.5), (1.2, -1.2)] {
        let mut odd = plain.clone();
        odd.columns[0].1 = Column::Number(vec![x]);
        odd.columns[1].1 = Column::Number(vec![y]);
        assert!(ranks(&novelty, &odd)[0] > 0.99, "{:?}", ranks(&novelty, &odd));
    }
    assert!(novelty.abstains(0.6, Some(0.5)) && !novelty.abstains(0.995, Some(0.999)));
}

#[test]
fn of_many_held_out_rows_the_reference_is_evenly_spaced() {
    assert_eq!(evenly_spaced(12, 5), [0, 2, 4, 7, 9]);
    assert_eq!((evenly_spaced(3, 5), evenly_spaced(0, 5)), (vec![0, 1, 2], vec![]));
}

#[test]
fn it_is_saved_whole_and_ranks_among_recent_rows_where_asked() {
    let table = table(400, 1);
    let novelty = fitted(&table);
    let saved = serde_json::to_string(&novelty.saved().unwrap()).unwrap();
    let codes = KnownCodes::new(&[], 4);
    let columns = ["x", "y", "colour", "picture"];
    let again = Novelty::load(codes.clone(), serde_json::from_str(&saved).unwrap(), novelty.input_keys(), &columns);
    assert_eq!(again.as_ref(), Some(&novelty));
    assert!(Novelty::load(codes, serde_json::from_str(&saved).unwrap(), Vec::new(), &columns[1..]).is_none());
    let recent = novelty.among(&vec![5.0; 100]);
    assert!(recent.rank(4.0) < 0.01 && recent.rank(6.0) > 0.98);
    assert_eq!(novelty.among(&[1.0; 5]).rank(9.0), 0.0);
}
