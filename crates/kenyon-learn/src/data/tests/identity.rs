//! Any cell, written by any writer and read by any reader, is the same value.
use super::*;
use crate::data::plan::{ColumnPlan, read_table};
use crate::data::rows::RowsReader;
use crate::data::{Column, ColumnKind, Table};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// A cell as JSON, and as the text of a CSV file.
fn cells() -> impl Strategy<Value = Vec<(Value, String)>> {
    let whole = any::<i64>().prop_map(|x| (json!(x), x.to_string()));
    let unsigned = any::<u64>().prop_map(|x| (json!(x), x.to_string()));
    let small = (-20i64..20).prop_map(|x| (json!(x), format!("{x}.0")));
    let float = (-1e6..1e6f64).prop_map(|x| {
        let x = (x * 1000.0).round() / 1000.0;
        (json!(x), x.to_string())
    });
    let truth = any::<bool>().prop_map(|b| (json!(b), if b { "True".into() } else { "False".into() }));
    let word = "[a-z]{1,6}( [a-z]{1,4})?x".prop_map(|w| (json!(w), format!(" {w} ")));
    let zeros = "0[0-9]{1,5}".prop_map(|w| (json!(w), w));
    let kind = prop_oneof![whole, unsigned, small, float, truth, word, zeros];
    prop::collection::vec(kind, 1..20)
}

fn of(table: &Table) -> Column {
    table.column("c").unwrap().clone()
}

fn read(content: &str, content_type: &str, plan: &ColumnPlan) -> Table {
    let (_file, part) = file(content.as_bytes(), Some(content_type)).unwrap();
    read_table(&[part], std::slice::from_ref(plan), &Limits::default()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn a_name_is_the_same_in_every_format(cells in cells()) {
        let plan = ColumnPlan { spelling: Some(Default::default()), ..ColumnPlan::new("c", ColumnKind::Category) };
        let csv: String = cells.iter().fold("c,d\n".into(), |csv, (_, text)| csv + text + ",1\n");
        let quoted: String = cells.iter().fold("c,d\n".into(), |csv, (_, text)| csv + "\"" + text + "\",1\n");
        let lines: String = cells.iter().map(|(value, _)| json!({"c": value, "d": 1}).to_string() + "\n").collect();
        let strings: String = cells.iter().map(|(_, text)| json!({"c": text, "d": 1}).to_string() + "\n").collect();
        let expected = read(&csv, "text/csv", &plan);
        prop_assert!(matches!(of(&expected), Column::Category(names) if names.iter().all(Option::is_some)));
        for (content, content_type) in [
            (&quoted, "text/csv"),
            (&lines, "application/x-ndjson"),
            (&strings, "application/x-ndjson"),
        ] {
            prop_assert_eq!(of(&read(content, content_type, &plan)), of(&expected), "{}", content);
        }
        let reader = RowsReader::new(std::slice::from_ref(&plan), &["d".to_owned()]);
        let array = format!("[{}]", lines.trim().replace('\n', ","));
        prop_assert_eq!(of(&reader.from_json(array.as_bytes()).unwrap()), of(&expected));
        prop_assert_eq!(of(&reader.from_ndjson(strings.as_bytes()).unwrap()), of(&expected));
        let maps: Vec<Map<String, Value>> =
            cells.iter().map(|(value, _)| Map::from_iter([("c".to_owned(), value.clone())])).collect();
        prop_assert_eq!(of(&reader.from_values(&maps).unwrap()), of(&expected));
        for (value, text) in &cells {
            prop_assert!(ColumnKind::Category.same(value, &json!(text)));
        }
    }

    #[test]
    fn a_number_is_the_same_in_every_spelling(numbers in prop::collection::vec(-1e9..1e9f64, 30..60)) {
        let numbers: Vec<f64> = numbers.iter().map(|x| (x * 100.0).round() / 100.0).collect();
        let grouped = |x: f64, comma: bool| {
            let text = format!("{:.2}", x.abs());
            let (whole, fraction) = text.split_once('.').unwrap();
            let mut out = String::new();
            for (i, digit) in whole.chars().enumerate() {
                if i > 0 && (whole.len() - i) % 3 == 0 {
                    out.push(if comma { '.' } else { ',' });
                }
                out.push(digit);
            }
            format!("{}{out}{}{fraction}", if x < 0.0 { "-" } else { "" }, if comma { ',' } else { '.' })
        };
        type Writer<'w> = &'w dyn Fn(f64) -> String;
        let writers: [Writer<'_>; 5] = [
            &|x| x.to_string(),
            &|x| grouped(x, false),
            &|x| grouped(x, true),
            &|x| format!("${x:.2}"),
            &|x| if x < 0.0 { format!("({:.2})", -x) } else { format!("{x:.2}") },
        ];
        for write in writers {
            let csv: String = numbers.iter().fold("c;d\n".into(), |csv, x| csv + &write(*x) + ";a\n");
            let (_file, part) = file(csv.as_bytes(), None).unwrap();
            let found = infer(&part, &Limits::default()).unwrap();
            prop_assert_eq!(found.columns[0].kind, ColumnKind::Number, "{}", csv);
            let plan = ColumnPlan { spelling: found.columns[0].spelling.clone(), ..ColumnPlan::new("c", ColumnKind::Number) };
            let table = read_table(&[part], std::slice::from_ref(&plan), &Limits::default()).unwrap();
            prop_assert_eq!(of(&table), Column::Number(numbers.clone()), "{}", csv);
            let reader = RowsReader::new(std::slice::from_ref(&plan), &[]);
            let rows: Vec<Map<String, Value>> =
                numbers.iter().map(|x| Map::from_iter([("c".to_owned(), json!(write(*x)))])).collect();
            prop_assert_eq!(of(&reader.from_values(&rows).unwrap()), Column::Number(numbers.clone()));
        }
    }
}
