use super::*;
use proptest::prelude::*;

fn plan(name: &str, kind: ColumnKind) -> ColumnPlan {
    ColumnPlan::new(name, kind)
}

fn names(values: &[&str]) -> Column {
    Column::Category(values.iter().map(|v| (!v.is_empty()).then(|| Box::from(*v))).collect())
}

fn table(columns: Vec<(&str, Column)>) -> Table {
    let rows = columns[0].1.len();
    Table { rows, columns: columns.into_iter().map(|(n, c)| (n.to_owned(), c)).collect() }
}

fn row(batch: &Batch, row: usize) -> Vec<(u32, f32)> {
    let (indices, values) = batch.entries(row);
    indices.iter().copied().zip(values.iter().copied()).collect()
}

#[test]
fn a_table_becomes_a_bag() {
    let t = table(vec![
        ("age", Column::Number(vec![1.0, 3.0, f64::NAN])),
        ("colour", names(&["red", "blue", ""])),
        ("ok", Column::Boolean(vec![Some(true), Some(false), None])),
    ]);
    let inputs =
        [plan("age", ColumnKind::Number), plan("colour", ColumnKind::Category), plan("ok", ColumnKind::Boolean)];
    let encoder = Encoder::fit(&t, &[0, 1, 2], &inputs, Layout::Bag).unwrap();
    assert_eq!(encoder.width, 2 + 4 + 2);
    let batch = encoder.encode(&t).unwrap();
    // Names are sorted: blue 0, red 1, unseen 2, missing 3.
    assert_eq!(row(&batch, 0), [(0, -1.0), (3, 1.0), (6, 1.0)]);
    assert_eq!(row(&batch, 1), [(0, 1.0), (2, 1.0), (6, -1.0)]);
    assert_eq!(row(&batch, 2), [(1, 1.0), (5, 1.0), (7, 1.0)]);
    let other = table(vec![
        ("age", Column::Number(vec![1e30])),
        ("colour", names(&["green"])),
        ("ok", Column::Boolean(vec![None])),
    ]);
    assert_eq!(row(&encoder.encode(&other).unwrap(), 0), [(0, 8.0), (4, 1.0), (7, 1.0)]);
}

#[test]
fn columns_without_information_are_left_out_with_the_reason() {
    let rows: Vec<usize> = (0..30).collect();
    let ids: Vec<String> = rows.iter().map(|r| format!("x{r}")).collect();
    let t = table(vec![
        ("count", Column::Number(rows.iter().map(|&r| r as f64 + 5.0).collect())),
        ("same", Column::Number(vec![2.0; 30])),
        ("gone", Column::Number(vec![f64::NAN; 30])),
        ("id", names(&ids.iter().map(String::as_str).collect::<Vec<_>>())),
        ("good", Column::Number(rows.iter().map(|&r| (r * r % 7) as f64).collect())),
    ]);
    let inputs: Vec<ColumnPlan> = ["count", "same", "gone", "id", "good"]
        .iter()
        .map(|n| plan(n, if *n == "id" { ColumnKind::Category } else { ColumnKind::Number }))
        .collect();
    let encoder = Encoder::fit(&t, &rows, &inputs, Layout::Bag).unwrap();
    let left: Vec<&str> = encoder.dropped.iter().map(|l| l.name.as_str()).collect();
    assert_eq!(left, ["count", "same", "gone", "id"]);
    assert!(encoder.dropped[3].reason.contains("identifier"));
    assert_eq!(encoder.fields.len(), 1);
}

#[test]
fn bins_are_piecewise_linear() {
    let t = table(vec![("x", Column::Number((0..=100).map(|v| f64::from(v) * f64::from(v)).collect()))]);
    let rows: Vec<usize> = (0..=100).collect();
    let options = EncoderOptions { bins: 4, ..EncoderOptions::default() };
    let encoder = Encoder::fit_with(&t, &rows, &[plan("x", ColumnKind::Number)], Layout::Bag, options).unwrap();
    let query = table(vec![("x", Column::Number(vec![625.0 + (2500.0 - 625.0) / 2.0]))]);
    let entries = row(&encoder.encode(&query).unwrap(), 0);
    assert_eq!(&entries[1..], [(1, 1.0), (2, 0.5)]);
}

#[test]
fn a_value_repeated_often_takes_one_bin_and_no_more() {
    // Nine rows of ten are zero, the others all differ.
    let values: Vec<f64> = (0..1000).map(|row| if row < 900 { 0.0 } else { f64::from(row - 899) }).collect();
    let rows: Vec<usize> = (0..1000).collect();
    let options = EncoderOptions { bins: 20, ..EncoderOptions::default() };
    let t = table(vec![("x", Column::Number(values))]);
    let encoder = Encoder::fit_with(&t, &rows, &[plan("x", ColumnKind::Number)], Layout::Bag, options).unwrap();
    let bins_of = |value: f64| {
        let query = table(vec![("x", Column::Number(vec![value]))]);
        row(&encoder.encode(&query).unwrap(), 0).iter().filter(|(index, _)| *index > 0).count()
    };
    assert_eq!((bins_of(0.0), bins_of(100.0)), (0, 19));
    for value in 1..100 {
        let expected = 0.5 + f64::from(value) * 0.19;
        assert!((bins_of(f64::from(value)) as f64 - expected).abs() <= 1.0, "{value}: {}", bins_of(f64::from(value)));
    }
}

#[test]
fn a_pair_has_bins_along_its_diagonals() {
    let number = |f: fn(i32) -> f64| Column::Number((0..400).map(f).collect());
    let columns = |latitude: &'static str, longitude: &'static str| {
        let (north, east) = (number(|i| f64::from(i / 20)), number(|i| f64::from(i % 20)));
        table(vec![(latitude, north), (longitude, east), ("x", number(|i| f64::from(i * i % 17)))])
    };
    let rows: Vec<usize> = (0..400).collect();
    let options = EncoderOptions { bins: 8, ..EncoderOptions::default() };
    let fit = |pairs: &[[String; 2]]| {
        let inputs = ["north", "east", "x"].map(|name| plan(name, ColumnKind::Number));
        Encoder::fit_paired(&columns("north", "east"), &rows, &inputs, Layout::Bag, options, pairs).unwrap()
    };
    let plain = fit(&[]);
    let encoder = fit(&[["north".into(), "east".into()]]);
    // The first of the two has the cells as well, of three bins of each number, the last of which is its largest value;
    // one row has both.
    assert_eq!(encoder.fields[0].width, plain.fields[0].width + 8 + 8);
    assert_eq!(encoder.width, plain.width + 16 + 8);
    encoder.check().unwrap();
    let batch = encoder.encode(&columns("north", "east")).unwrap();
    let filled = |at: usize, field: usize| -> f32 {
        let Field { start, width, .. } = encoder.fields[field];
        let end = start + width - if field == 0 { 8 } else { 0 };
        let diagonal = end - 8..end;
        row(&batch, at).iter().filter(|(index, _)| diagonal.contains(index)).map(|(_, share)| share).sum()
    };
    // South-west, south-east, north-west and north-east: the sum fills up one way, the difference the other.
    let corners = [0, 19, 380, 399].map(|at| (filled(at, 0), filled(at, 1)));
    assert!(corners[0].0 < 0.1 && corners[3].0 > 7.9, "{corners:?}");
    assert!(corners[1].1 < 0.1 && corners[2].1 > 7.9 || corners[2].1 < 0.1 && corners[1].1 > 7.9, "{corners:?}");
    assert!((3.0..5.0).contains(&corners[1].0) && (3.0..5.0).contains(&corners[3].1), "{corners:?}");
}

#[test]
fn a_pair_has_an_entry_for_the_cell_of_its_plane() {
    // Two rows in each of 14 times 14 cells, of which one has no second number.
    let number = |f: fn(i32) -> f64| Column::Number((0..392).map(f).collect());
    let t = table(vec![
        ("a", number(|i| f64::from(i / 28))),
        ("b", number(|i| if i < 2 { f64::NAN } else { f64::from(i / 2 % 14) })),
    ]);
    let rows: Vec<usize> = (0..392).collect();
    let inputs = ["a", "b"].map(|name| plan(name, ColumnKind::Number));
    let options = EncoderOptions { bins: 8, cell_rows: 1, ..EncoderOptions::default() };
    let pairs = [["a".to_owned(), "b".to_owned()]];
    let encoder = Encoder::fit_paired(&t, &rows, &inputs, Layout::Bag, options, &pairs).unwrap();
    let Field { start, width, .. } = encoder.fields[0];
    let cells = start + width - 195..start + width;
    let batch = encoder.encode(&t).unwrap();
    let cell = |at: usize| -> Vec<(u32, f32)> {
        row(&batch, at).into_iter().filter(|(index, _)| cells.contains(index)).collect()
    };
    assert!(cell(0).is_empty() && cell(1).is_empty());
    let expected: Vec<(u32, f32)> = (0..195).flat_map(|at| [(cells.start + at, 1.0); 2]).collect();
    assert_eq!((2..392).flat_map(cell).collect::<Vec<_>>(), expected);
    assert_eq!(*encoder.encode_compact(&t).unwrap().expanded(), batch);
    let text = serde_json::to_string(&encoder).unwrap();
    assert_eq!(serde_json::from_str::<Encoder>(&text).unwrap(), encoder);
    // Models of earlier versions have one reading or none, without cells.
    let earlier = text.replace("\"diagonal\":[{", "\"diagonal\":{").replace("}]}", "}}");
    let earlier: Encoder = serde_json::from_str(&earlier).unwrap();
    assert_eq!(earlier.bin_ranges(), encoder.bin_ranges());
}

#[test]
fn a_compact_batch_has_one_entry_for_the_bins_of_a_number() {
    let number = |f: fn(i32) -> f64| Column::Number((0..400).map(f).collect());
    let t = table(vec![
        ("lat", number(|i| f64::from(i / 20))),
        ("lon", number(|i| f64::from(i % 20))),
        ("x", number(|i| if i % 7 == 0 { f64::NAN } else { f64::from(i) })),
    ]);
    let rows: Vec<usize> = (0..400).collect();
    let inputs = ["lat", "lon", "x"].map(|name| plan(name, ColumnKind::Number));
    let fit = |bins| {
        let options = EncoderOptions { bins, ..EncoderOptions::default() };
        Encoder::fit_with(&t, &rows, &inputs, Layout::Bag, options).unwrap()
    };
    let encoder = fit(16);
    let (plain, compact) = (encoder.encode(&t).unwrap(), encoder.encode_compact(&t).unwrap());
    assert_eq!(*compact.expanded(), plain);
    // Three standardised values and five lists of bins, those of the two diagonals among them.
    assert!((0..400).all(|row| compact.entries(row).0.len() <= 8));
    assert!(compact.bytes() * 3 < plain.bytes(), "{} {}", compact.bytes(), plain.bytes());
    let some = [5, 399, 0, 7];
    assert_eq!(*compact.select(&some).expanded(), plain.select(&some));
    let mut together = compact.select(&some);
    together.append(&compact);
    together.append_rows(&compact, 3..9);
    let mut expected = plain.select(&some);
    expected.append(&plain);
    expected.append_rows(&plain, 3..9);
    assert!(together.bins.is_some());
    assert_eq!(*together.expanded(), expected);
    // A plain batch and one of another encoder join as what they stand for.
    together.append(&plain);
    together.append_rows(&fit(4).encode_compact(&t).unwrap(), 0..9);
    expected.append(&plain);
    expected.append_rows(&fit(4).encode(&t).unwrap(), 0..9);
    assert_eq!(together, expected);
    let without = fit(0);
    assert_eq!(without.encode_compact(&t).unwrap(), without.encode(&t).unwrap());
}

#[test]
fn fitting_reads_only_the_training_rows() {
    let t = table(vec![("x", Column::Number(vec![0.0, 2.0, 1e9])), ("c", names(&["a", "b", "secret"]))]);
    let inputs = [plan("x", ColumnKind::Number), plan("c", ColumnKind::Category)];
    let encoder = Encoder::fit(&t, &[0, 1], &inputs, Layout::Bag).unwrap();
    assert!(!serde_json::to_string(&encoder).unwrap().contains("secret"));
    assert_eq!(row(&encoder.encode(&t).unwrap(), 1)[0], (0, 1.0));
}

#[test]
fn texts_with_the_same_words_are_alike() {
    let texts =
        ["my card was stolen", "the card was stolen today", "exchange rate of euros", "what is the exchange rate"];
    let t = table(vec![("t", Column::Text(texts.iter().map(|v| Some(Box::from(*v))).collect()))]);
    let encoder = Encoder::fit(&t, &[0, 1, 2, 3], &[plan("t", ColumnKind::Text)], Layout::Bag).unwrap();
    let batch = encoder.encode(&t).unwrap();
    let dot = |a: usize, b: usize| -> f32 {
        let other: std::collections::HashMap<u32, f32> = row(&batch, b).into_iter().collect();
        row(&batch, a).iter().map(|(i, v)| v * other.get(i).copied().unwrap_or(0.0)).sum()
    };
    assert!((dot(0, 0) - 1.0).abs() < 1e-5);
    assert!(dot(0, 1) > 0.3 && dot(2, 3) > 0.3 && dot(0, 2) < 0.1);
    let again: Encoder = serde_json::from_str(&serde_json::to_string(&encoder).unwrap()).unwrap();
    assert_eq!(again.encode(&t).unwrap(), batch);
}

#[test]
fn a_story_and_its_question_share_words() {
    let t = table(vec![
        (
            "context",
            Column::Strings {
                offsets: vec![0, 2],
                values: vec!["Mary went to the kitchen.".into(), "John sat.".into()],
            },
        ),
        ("question", Column::Text(vec![Some("Where is Mary?".into())])),
    ]);
    let mut context = plan("context", ColumnKind::Sequence);
    context.channels = Some(0);
    let inputs = [context, plan("question", ColumnKind::Text)];
    let encoder = Encoder::fit(&t, &[0], &inputs, Layout::Tokens).unwrap();
    let batch = encoder.encode(&t).unwrap();
    assert_eq!(batch.tokens(), 3);
    assert_eq!(batch.fields, [0, 0, 1]);
    assert_eq!(batch.token(0).0.len(), 5);
    assert_eq!(batch.token(0).0[0], batch.token(2).0[2], "Mary is Mary in both");
}

#[test]
fn series_and_pictures_become_tokens() {
    let series = Column::Series { channels: 2, offsets: vec![0, 40, 42], values: (0..84).map(|v| v as f32).collect() };
    let picture = Column::Vector { width: 64, shape: Some(vec![8, 8]), values: vec![1.0; 128] };
    let t = table(vec![("s", series), ("p", picture)]);
    let inputs = [plan("s", ColumnKind::Sequence), plan("p", ColumnKind::Vector)];
    let encoder = Encoder::fit(&t, &[0, 1], &inputs, Layout::Tokens).unwrap();
    let batch = encoder.encode(&t).unwrap();
    assert_eq!(batch.row(0).len(), 40 - 7 + 1 + 16, "a window of seven begins at each step");
    assert_eq!(batch.row(1).len(), 1 + 16);
    let bag = Encoder::fit(&t, &[0, 1], &inputs, Layout::Bag).unwrap();
    assert_eq!(bag.encode(&t).unwrap().tokens(), 2);
}

#[test]
fn a_stream_adds_categories_and_moves_scales() {
    let inputs = [plan("x", ColumnKind::Number), plan("c", ColumnKind::Category)];
    let mut encoder = Encoder::empty(&inputs, Layout::Bag, EncoderOptions::default()).unwrap();
    let t = table(vec![("x", Column::Number(vec![10.0, 20.0])), ("c", names(&["new", "newer"]))]);
    let before = encoder.encode(&t).unwrap();
    assert_eq!(row(&before, 0)[1].0, row(&before, 1)[1].0, "both unseen");
    encoder.observe(&t).unwrap();
    let after = encoder.encode(&t).unwrap();
    assert_eq!(row(&after, 0)[0], (0, -1.0));
    assert_ne!(row(&after, 0)[1].0, row(&after, 1)[1].0);
    assert_eq!(encoder.width, before.indices.iter().max().map_or(0, |m| m + 2));
}

proptest! {
    #[test]
    fn bags_are_sorted_finite_and_inside_the_space(
        numbers in prop::collection::vec(prop_oneof![Just(f64::NAN), -1e30f64..1e30, Just(0.0)], 2..40),
        bins in 0usize..20,
        text in "\\PC{0,60}",
    ) {
        let rows: Vec<usize> = (0..numbers.len()).collect();
        let texts = Column::Text(rows.iter().map(|r| (r % 3 > 0).then(|| format!("{text} {r}").into())).collect());
        let t = table(vec![("x", Column::Number(numbers)), ("t", texts)]);
        let inputs = [plan("x", ColumnKind::Number), plan("t", ColumnKind::Text)];
        let options = EncoderOptions { bins, ..EncoderOptions::default() };
        let encoder = Encoder::fit_with(&t, &rows, &inputs, Layout::Bag, options).unwrap();
        let batch = encoder.encode(&t).unwrap();
        prop_assert_eq!(batch.rows(), rows.len());
        for r in 0..batch.rows() {
            let (indices, values) = batch.entries(r);
            prop_assert!(indices.is_sorted_by(|a, b| a < b));
            prop_assert!(indices.iter().all(|&i| i < encoder.width) && values.iter().all(|v| v.is_finite()));
        }
        let compact = encoder.encode_compact(&t).unwrap();
        prop_assert_eq!(&*compact.expanded(), &batch);
        prop_assert!(compact.indices.len() <= batch.indices.len());
    }
}

#[test]
fn numbers_far_beyond_the_known_are_marked_and_stay_with_their_rows() {
    let known: Vec<f64> = (0..40).map(|i| f64::from(i % 10)).collect();
    let series = |value: f32| Column::Series {
        channels: 1,
        offsets: (0..=40).map(|i| 3 * i).collect(),
        values: vec![value; 120],
    };
    let picture = |value: f32| Column::Vector { width: 16, shape: Some(vec![4, 4]), values: vec![value; 640] };
    let mixed = |value: f32| Column::Vector {
        width: 2,
        shape: None,
        values: (0..80).map(|i| value - (i % 7) as f32).collect(),
    };
    for layout in [Layout::Bag, Layout::Tokens] {
        let inputs = [
            plan("n", ColumnKind::Number),
            ColumnPlan { channels: Some(1), ..plan("s", ColumnKind::Sequence) },
            ColumnPlan { shape: Some(vec![4, 4]), ..plan("p", ColumnKind::Vector) },
            plan("v", ColumnKind::Vector),
        ];
        let fine = |n: &[f64]| {
            table(vec![("n", Column::Number(n.to_vec())), ("s", series(3.0)), ("p", picture(1.0)), ("v", mixed(0.0))])
        };
        let rows: Vec<usize> = (0..40).collect();
        let encoder = Encoder::fit(&fine(&known), &rows, &inputs, layout).unwrap();
        assert_eq!(encoder.encode(&fine(&known)).unwrap().out_of_range, []);
        let mut odd = known.clone();
        (odd[3], odd[5], odd[7], odd[9]) = (1e4, 10.0, -40.0, f64::NAN);
        let batch = encoder.encode(&fine(&odd)).unwrap();
        // Half a range beyond is not novel, and a missing value is not far.
        let rows: Vec<u32> = batch.out_of_range.iter().map(|(row, _)| *row).collect();
        assert_eq!(rows, [3, 7], "{layout:?}");
        assert!(batch.out_of_range.iter().all(|(_, far)| *far > 0.95));
        let chosen = batch.select(&[7, 0, 3]);
        assert_eq!(chosen.out_of_range.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [0, 2]);
        let mut together = chosen.clone();
        together.append(&chosen);
        together.append_rows(&batch, 2..8);
        assert_eq!(together.out_of_range.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [0, 2, 3, 5, 7, 11]);
        for (name, column) in [("s", series(1e4)), ("p", picture(-50.0)), ("v", mixed(1e4))] {
            let mut far = fine(&known);
            far.columns.iter_mut().filter(|(n, _)| n == name).for_each(|(_, c)| *c = column.clone());
            let batch = encoder.encode(&far).unwrap();
            assert!(
                batch.out_of_range.len() == 40 && batch.out_of_range.iter().all(|(_, f)| *f > 0.95),
                "{name} {layout:?}"
            );
        }
    }
}

#[test]
fn an_encoder_whose_parts_do_not_fit_is_refused() {
    let columns = ["colour", "shape"].map(|name| (name, names(&["a", "b", "a", "c"])));
    let table = table(columns.to_vec());
    let plans = ["colour", "shape"].map(|name| plan(name, ColumnKind::Category));
    let encoder = Encoder::fit(&table, &[0, 1, 2, 3], &plans, Layout::Bag).unwrap();
    assert_eq!(encoder.check(), Ok(()));
    let json = serde_json::to_value(&encoder).unwrap();
    let changed = |pointer: &str, value: serde_json::Value| {
        let mut json = json.clone();
        *json.pointer_mut(pointer).unwrap() = value;
        serde_json::from_value::<Encoder>(json).unwrap().check()
    };
    for (pointer, value) in [
        ("/fitted", serde_json::json!([])),
        ("/fitted/0/slots", serde_json::json!(1)),
        ("/fields/0/width", serde_json::json!(2)),
        ("/fields/0/name", serde_json::json!("other")),
        ("/fields/1/start", serde_json::json!(3)),
        ("/width", serde_json::json!(1)),
    ] {
        assert!(changed(pointer, value).is_err(), "{pointer}");
    }
}
