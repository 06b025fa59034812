//! Few pictures: deformed copies of each, and readouts that leave parts of the rows out.

use super::*;

const SIDE: usize = 12;
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A drawing of its class: three lines that its class has, moved by a pixel or two at random.
fn drawing(class: usize, random: &mut Random) -> Vec<f32> {
    let mut lines = Random::stream(3, "drawings", class as u64);
    let (down, across) = (random.below(3), random.below(3));
    let mut out = vec![0.0; SIDE * SIDE];
    for _ in 0..3 {
        let [y, x, dy, dx] = [0, 1, 2, 3].map(|_| lines.below(8));
        for step in 0..8 {
            let (y, x) = (y + (dy * step) / 12 + down, x + (dx * step) / 12 + across);
            out[y.min(SIDE - 1) * SIDE + x.min(SIDE - 1)] = 255.0;
        }
    }
    out
}

/// So many drawings of each class.
fn drawings(each: usize, seed: u64) -> Sample {
    let mut random = Random::new(seed);
    let rows = each * NAMES.len();
    let values = (0..rows).flat_map(|row| drawing(row % NAMES.len(), &mut random)).collect();
    let shape = Some(vec![SIDE, SIDE]);
    let mut sample = sample(
        words(rows, |row| Some(NAMES[row % NAMES.len()])),
        vec![Column::Vector { width: SIDE * SIDE, shape: shape.clone(), values }],
    );
    sample.plan.inputs = vec![ColumnPlan { shape, ..ColumnPlan::new("x0", ColumnKind::Vector) }];
    sample
}

/// The request: the defaults of the family that pictures are learned by, with fewer filters.
fn requested(config: Value) -> FitSpec {
    let mut spec = FitSpec { family: None, ..spec(config) };
    spec.config.extend([("units".to_owned(), json!(16)), ("winners".to_owned(), json!(3))]);
    spec
}

fn accuracy(fitted: &Fitted, test: &Sample) -> f64 {
    evaluate::evaluate(&fitted.bundle, &test.table).unwrap().metrics["accuracy"].as_f64().unwrap()
}

#[test]
fn classes_of_one_picture_each_are_learned() {
    let (training, test) = (drawings(1, 1), drawings(40, 2));
    let fitted = trained(&training, &requested(json!({})));
    let config = &fitted.bundle.config;
    assert_eq!((config.family.name(), &config.config["cross_fit"]), ("hybrid", &json!(true)));
    assert!(config.config["deformed_copies"].as_u64().unwrap() >= 2);
    assert_eq!(fitted.measured.members, config.folds);
    verified_files(&fitted, &training.table).unwrap();
    let right = accuracy(&fitted, &test);
    assert!(right > 0.8, "{right}");
}

#[test]
fn rows_that_are_held_out_by_the_request_are_in_no_fold() {
    let training = drawings(4, 1);
    let validation = Validation::Share(0.25);
    let fitted = trained(&training, &FitSpec { validation, ..requested(json!({ "deformed_copies": 3 })) });
    assert_eq!((fitted.measured.rows.len(), fitted.measured.members.len()), (5, 0));
    assert_eq!(fitted.bundle.config.config["cross_fit"], false);
    verified_files(&fitted, &training.table).unwrap();
}

#[test]
fn an_interrupted_training_with_copies_ends_with_the_same_bits() {
    let training = drawings(4, 1);
    let spec = requested(json!({ "deformed_copies": 2, "batch_size": 6 }));
    let whole = trained(&training, &spec);
    // The pass has four steps.
    for after in [1, 3] {
        let monitor = Interrupted { after, kept: Mutex::default() };
        let stopped = fit(&training.table, &training.plan, &spec, 1, None, &monitor);
        assert_eq!(stopped.unwrap_err().code, "canceled");
        let checkpoint = monitor.kept.into_inner().unwrap().unwrap();
        let resumed = fit(&training.table, &training.plan, &spec, 2, Some(&checkpoint), &Silent).unwrap();
        assert_eq!(resumed.measured, whole.measured);
        assert_eq!(resumed.bundle.files().unwrap(), whole.bundle.files().unwrap());
    }
}
