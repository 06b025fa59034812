use super::*;
use crate::data::bundled::{BREAST_CANCER, DIGITS};
use crate::data::encoder::{Encoder, Layout};
use crate::data::plan::{read_table, resolve};
use crate::data::target::{TargetEncoder, Task};
use crate::data::{Column, ColumnKind};
use serde_json::Value;

#[test]
fn digits_are_read_as_images_of_eight_by_eight() {
    let (_file, part) = file(DIGITS, None).unwrap();
    let summary = infer(&part, &Limits::default()).unwrap();
    assert_eq!((summary.rows, summary.columns.len()), (1797, 2));
    let pixels = &summary.columns[0];
    assert_eq!(
        (pixels.name.as_str(), pixels.kind, pixels.shape.clone()),
        ("pixel", ColumnKind::Vector, Some(vec![8, 8]))
    );
    let plan = resolve(&summary, &Default::default(), "target", None).unwrap();
    assert_eq!(plan.task, Task::Classification);
    let table = read_table(&[part], &plan.all(), &Limits::default()).unwrap();
    let target = TargetEncoder::fit("target", table.column("target").unwrap(), plan.task, false).unwrap();
    assert_eq!(target, TargetEncoder::Classes((0..10).map(Value::from).collect()));
    let rows: Vec<usize> = (0..table.rows).collect();
    let encoder = Encoder::fit(&table, &rows, &plan.inputs, Layout::Bag).unwrap();
    let batch = encoder.encode(&table).unwrap();
    assert_eq!(batch.rows(), 1797);
    assert!(batch.values.iter().all(|v| *v > 0.0 && *v <= 1.0));
}

#[test]
fn breast_cancer_is_a_table_of_numbers() {
    let (_file, part) = file(BREAST_CANCER, None).unwrap();
    let summary = infer(&part, &Limits::default()).unwrap();
    assert_eq!((summary.rows, summary.columns.len()), (569, 31));
    let plan = resolve(&summary, &Default::default(), "target", None).unwrap();
    assert_eq!((plan.task, plan.inputs.len()), (Task::Classification, 30));
    let table = read_table(&[part], &plan.all(), &Limits::default()).unwrap();
    let Some(Column::Number(radius)) = table.column("mean_radius") else { panic!("a column of numbers") };
    assert_eq!(radius[0], 17.99);
}
