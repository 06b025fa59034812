//! Few texts that a pretrained encoder reads, and the choice of an encoder.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::data::plan::ColumnPlan;
use crate::data::vectors::{self, CellVectors, ColumnEncoder};
use crate::data::{Column, ColumnKind, Table};
use crate::models::Family;
use std::sync::Arc;

/// An encoder of which words are of one colour, and of a number whether its odd digits are odd in number.
struct Colours;

impl CellVectors for Colours {
    fn width(&self) -> usize {
        4
    }

    fn kind(&self) -> ColumnKind {
        ColumnKind::Text
    }

    fn of_cells(&self, texts: &[&str]) -> Result<Vec<f32>> {
        let shades = [["red", "crimson", "scarlet"], ["blue", "navy", "azure"], ["green", "olive", "lime"]];
        let vector = |text: &&str| {
            let has = |shades: &[&str; 3]| text.split(' ').any(|word| shades.contains(&word));
            if let Some(number) = text.strip_prefix("number ") {
                // What words and their parts do not have.
                let odd = number.bytes().filter(|digit| digit % 2 == 1).count() % 2 == 1;
                return vec![f32::from(u8::from(odd)), f32::from(u8::from(!odd)), 0.0, 0.1];
            }
            let mut vector: Vec<f32> = shades.iter().map(|shades| f32::from(u8::from(has(shades)))).collect();
            vector.push(0.1 + text.len() as f32 / 100.0);
            vector
        };
        Ok(texts.iter().flat_map(vector).collect())
    }
}

fn encoder() -> ColumnEncoder {
    vectors::provide(|digest| Ok((digest == "colours").then(|| Arc::new(Colours) as Arc<dyn CellVectors>)));
    ColumnEncoder::new("colours", "colours")
}

fn plan(encoder: Option<ColumnEncoder>) -> Resolved {
    let text = ColumnPlan { encoder, ..ColumnPlan::new("text", ColumnKind::Text) };
    let target = ColumnPlan::target("colour", ColumnKind::Category, Task::Classification);
    Resolved { target, task: Task::Classification, inputs: vec![text], ignored: Vec::new() }
}

fn table(rows: &[(String, &str)]) -> Table {
    let texts = rows.iter().map(|(text, _)| Some(text.as_str().into())).collect();
    let labels = rows.iter().map(|(_, colour)| Some(format!("\"{colour}\"").into())).collect();
    Table {
        rows: rows.len(),
        columns: vec![("text".into(), Column::Text(texts)), ("colour".into(), Column::Labels(labels))],
    }
}

/// Rows with the first words of each colour, `each` of them.
fn rows(each: usize) -> Vec<(String, &'static str)> {
    let shades = [("red", "crimson"), ("blue", "navy"), ("green", "olive")];
    let one = |i: usize| {
        let (colour, shade) = shades[i % 3];
        (format!("the {shade} car {} of {}", i * 7919 % 1000, i * 104_729 % 997), colour)
    };
    (0..3 * each).map(one).collect()
}

#[test]
fn few_encoded_texts_are_stored_and_words_that_were_not_learned_are_answered() {
    let new_texts: Vec<(String, &str)> =
        [("scarlet", "red"), ("azure", "blue"), ("lime", "green")].map(|(w, c)| (format!("a {w} bus"), c)).to_vec();
    for each in [1, 2, 6] {
        let table_of = table(&rows(each));
        let spec = FitSpec { target: "colour".into(), ..FitSpec::default() };
        let fitted = fit(&table_of, &plan(Some(encoder())), &spec, 1, None, &Silent).unwrap();
        assert_eq!(fitted.bundle.config.family, Family::named("memory").unwrap());
        assert_eq!(fitted.bundle.config.config["read"], "kernel");
        assert_eq!(fitted.measured.rows.len(), table_of.rows);
        let new_texts = table(&new_texts);
        let found = crate::learning::evaluate::evaluate(&fitted.bundle, &new_texts).unwrap();
        assert_eq!(found.metrics["accuracy"], 1.0, "{each} a class");
        let batch = fitted.bundle.encode(&new_texts).unwrap();
        let nearest = fitted.bundle.network.nearest(&batch, 1).unwrap().unwrap();
        let classes: Vec<f32> = nearest.iter().map(|row| row[0].outcome).collect();
        assert_eq!(classes, [2.0, 0.0, 1.0], "classes in the order of their names");
        crate::learning::verify::verified_files(&fitted, &table_of).unwrap();
    }
}

#[test]
fn an_encoder_is_chosen_where_it_helps_with_left_out_rows() {
    let columns = ["text".to_owned()];
    let choose = |rows: &[(String, &str)]| {
        let spec = FitSpec { target: "colour".into(), ..FitSpec::default() };
        choose_encoders(&table(rows), &plan(None), (&columns, &[encoder()]), &spec, 1).unwrap().remove(0)
    };
    // The encoder has what words do not have.
    let hidden = |i: usize| {
        let number = format!("{:06}", (i + 1) * 7_919_117 % 999_983);
        let odd = number.bytes().filter(|digit| digit % 2 == 1).count() % 2 == 1;
        (format!("number {number}"), if odd { "red" } else { "blue" })
    };
    let chosen = choose(&(0..60).map(hidden).collect::<Vec<_>>());
    assert_eq!(chosen.encoder.map(|encoder| encoder.name).as_deref(), Some("colours"), "{}", chosen.note);
    // The word that determines the target is known to both.
    let chosen = choose(&rows(20));
    assert!(chosen.encoder.is_none() && chosen.note.contains("words alone"), "{}", chosen.note);
    // Too few rows are no basis for a choice.
    assert!(choose(&rows(3)).note.contains("9 rows are too few"));
}
