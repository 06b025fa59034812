//! Random streams: how reliable their answers are. Outliers stay novel, wrong labels cost little, coverage holds for the way
//! rows arrive, horizons are distinguished, and intervals are compared with the targets observed.

use super::{Observed, StreamModel, StreamSpec};
use crate::data::plan::ColumnPlan;
use crate::data::schema::ColumnKind;
use crate::data::target::Task;
use crate::learning::calibrate::SetOptions;
use crate::random::Random;
use serde_json::{Map, Value, json};

fn stream(task: Task) -> StreamModel {
    let kind = if task == Task::Regression { ColumnKind::Number } else { ColumnKind::Category };
    StreamModel::new(&StreamSpec {
        task,
        target: ColumnPlan::new("label", kind),
        classes: Vec::new(),
        inputs: vec![ColumnPlan::new("x", ColumnKind::Number), ColumnPlan::new("y", ColumnKind::Number)],
        config: Map::new(),
        seed: 7,
    })
    .unwrap()
}

fn observe(stream: &mut StreamModel, rows: &[Value]) -> Observed {
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    let table = stream.reader().from_ndjson(lines.join("\n").as_bytes()).unwrap();
    stream.observe(&table, &[]).unwrap()
}

/// Two numbers in [0, 1] and a class or a value that follows from them.
fn row(random: &mut Random, task: Task) -> Value {
    let (x, y) = (random.uniform(), random.uniform());
    let label = match task {
        Task::Classification => json!(if x + 0.5 * y > 0.75 { "a" } else { "b" }),
        Task::Regression => json!(10.0 * x - 4.0 * y + 0.1 * random.normal()),
    };
    json!({"x": x, "y": y, "label": label})
}

fn novelty(stream: &StreamModel, x: f64) -> f32 {
    let bundle = stream.publish();
    let table = stream.reader().from_ndjson(json!({"x": x, "y": 0.5}).to_string().as_bytes()).unwrap();
    bundle.run(&bundle.encode(&table).unwrap()).unwrap().novelty[0]
}

#[test]
fn one_outlier_makes_neither_itself_nor_other_far_values_familiar() {
    for rows in [60usize, 300, 2_500] {
        for at in [rows / 2, rows - 5] {
            let (mut stream, mut random) = (stream(Task::Classification), Random::new(9));
            for r in 0..rows {
                let mut row = row(&mut random, Task::Classification);
                if r == at {
                    row["x"] = json!(1e6);
                }
                observe(&mut stream, &[row]);
            }
            for far in [20.0, 1e3, 1e6, 1e9, -50.0] {
                let found = novelty(&stream, far);
                assert!(found > 0.99, "{far} after {rows} rows with 1e6 at {at}: {found}");
            }
            let usual: Vec<f32> = (0..9).map(|i| novelty(&stream, 0.1 + 0.1 * f64::from(i))).collect();
            assert!(usual.iter().filter(|n| **n > 0.99).count() <= 1, "{rows}, {at}: {usual:?}");
        }
    }
}

#[test]
fn a_real_change_is_unfamiliar_at_first_and_then_familiar_and_its_return_too() {
    let (mut stream, mut random) = (stream(Task::Classification), Random::new(5));
    let mut part = |stream: &mut StreamModel, rows: usize, shift: f64| {
        for _ in 0..rows / 50 {
            let rows: Vec<Value> = (0..50)
                .map(|_| {
                    let mut row = row(&mut random, Task::Classification);
                    row["x"] = json!(row["x"].as_f64().unwrap() + shift);
                    row
                })
                .collect();
            observe(stream, &rows);
        }
    };
    part(&mut stream, 2_000, 0.0);
    assert!(novelty(&stream, 0.5) < 0.99 && novelty(&stream, 6.5) > 0.99);
    part(&mut stream, 1_500, 6.0);
    assert!(novelty(&stream, 6.5) < 0.99, "{}", novelty(&stream, 6.5));
    assert!(novelty(&stream, 0.5) < 0.995 && novelty(&stream, 30.0) > 0.99);
}

/// Mean error of the 300 rows after row 600, which is `outlier` where something is given.
fn error_after(task: Task, seed: u64, outlier: Option<(f64, f64)>) -> f64 {
    let (mut stream, mut random) = (stream(task), Random::new(seed));
    let (mut sum, mut count) = (0.0, 0.0);
    for r in 0..900 {
        let mut row = row(&mut random, task);
        if let (600, Some((x, value))) = (r, outlier) {
            row["x"] = json!(x);
            row["label"] = match task {
                Task::Classification => json!(if x > 0.5 { "b" } else { "a" }),
                Task::Regression => json!(value),
            };
        }
        let answer = f64::from(observe(&mut stream, std::slice::from_ref(&row)).answers[0]);
        if r > 600 {
            sum += match task {
                Task::Classification => {
                    let name = &stream.classes()[answer as usize];
                    f64::from(u8::from(*name != row["label"]))
                }
                Task::Regression => match stream.target_encoder {
                    super::TargetEncoder::Number { mean, std } => {
                        (answer * std + mean - row["label"].as_f64().unwrap()).abs()
                    }
                    super::TargetEncoder::Classes(_) => 0.0,
                },
            };
            count += 1.0;
        }
    }
    sum / count
}

#[test]
fn one_wrong_label_at_an_extreme_input_costs_little() {
    for (task, slack) in [(Task::Classification, 0.01), (Task::Regression, 0.02)] {
        for (x, value) in [(1e6, -1e4), (4.0, -60.0), (1.0, 60.0), (0.0, 1e5)] {
            let mean = |outlier| (1..=3).map(|seed| error_after(task, seed, outlier)).sum::<f64>() / 3.0;
            let (plain, hit) = (mean(None), mean(Some((x, value))));
            println!("{task:?} x {x} label {value}: error {hit:.4}, {plain:.4} without");
            assert!(hit <= plain + slack, "{task:?} x {x} label {value}: error {hit}, {plain} without");
        }
    }
}

#[test]
fn sets_and_intervals_hold_after_one_large_first_call() {
    let mut random = Random::new(5);
    let mut rows = |count: usize, task: Task| -> Vec<Value> {
        let one = |_| {
            let (x, y) = (random.uniform(), random.uniform());
            let label = match task {
                Task::Classification => json!(if (x > 0.5) ^ (random.uniform() < 0.2) { "a" } else { "b" }),
                Task::Regression => json!(5.0 + 3.0 * x + random.normal()),
            };
            json!({"x": x, "y": y, "label": label})
        };
        (0..count).map(one).collect()
    };
    for task in [Task::Classification, Task::Regression] {
        let mut stream = stream(task);
        observe(&mut stream, &rows(1_000, task));
        let bundle = stream.publish();
        let asked = rows(1_000, task);
        let lines: Vec<String> = asked.iter().map(Value::to_string).collect();
        let table = stream.reader().from_ndjson(lines.join("\n").as_bytes()).unwrap();
        let answers = bundle.run(&bundle.encode(&table).unwrap()).unwrap();
        let options = SetOptions { allow_empty: true, ..SetOptions::of(0.9) };
        let holds = |(answer, row): (&[f32], &Value)| match row["label"].as_f64() {
            Some(truth) => {
                let [low, high] = bundle.interval(bundle.value(answer[0]), None, 0.9).unwrap();
                low <= truth && truth <= high
            }
            None => bundle.set(answer, options).iter().any(|&class| bundle.classes()[class] == row["label"]),
        };
        let held = answers.values.chunks_exact(answers.outputs).zip(&asked).filter(|&row| holds(row)).count();
        assert!((860..=945).contains(&held), "{task:?}: {held} of 1,000");
    }
}

/// The intervals of coverage 0.9 of fresh rows, and how many of them are wide.
fn intervals(stream: &StreamModel, rows: &[Value]) -> (Vec<[f64; 2]>, usize) {
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    let table = stream.reader().from_ndjson(lines.join("\n").as_bytes()).unwrap();
    let bundle = stream.publish();
    let answers = bundle.run(&bundle.encode(&table).unwrap()).unwrap();
    let values = answers.values.iter().map(|&answer| bundle.value(answer));
    let found: Vec<_> = values.map(|value| bundle.interval(value, None, 0.9)).collect();
    let wide = found.iter().filter(|interval| bundle.is_wide(**interval)).count();
    (found.into_iter().flatten().collect(), wide)
}

#[test]
fn which_intervals_are_wide_does_not_depend_on_the_unit_of_the_target() {
    for (signal, wide) in [(1.0, 0), (0.0, 50)] {
        for per_metre in [1.0, 1e3] {
            let (mut stream, mut random) = (stream(Task::Regression), Random::new(8));
            let mut rows = |count: usize| -> Vec<Value> {
                let one = |_| {
                    let (x, y) = (f64::from(random.uniform()), f64::from(random.uniform()));
                    let metres = signal * (x - 0.4 * y) + 0.01 * f64::from(random.normal());
                    json!({"x": x, "y": y, "label": per_metre * metres})
                };
                (0..count).map(one).collect()
            };
            (0..60).for_each(|_| drop(observe(&mut stream, &rows(20))));
            assert_eq!(intervals(&stream, &rows(50)).1, wide, "{per_metre} a metre, signal {signal}");
        }
    }
}

#[test]
fn intervals_of_counts_end_at_zero_until_a_negative_target_was_observed() {
    let mut random = Random::new(6);
    let mut rows = |count: usize| -> Vec<Value> {
        let one = |i: usize| {
            // Of small counts, whose intervals are as wide as those of large ones, and large ones.
            let large = f64::from(u8::from(i % 2 == 1));
            let label = f64::from(random.uniform()) + large * (40.0 + 10.0 * f64::from(random.normal()));
            json!({"x": large, "y": 0, "label": label.max(0.0).round()})
        };
        (0..count).map(one).collect()
    };
    let mut stream = stream(Task::Regression);
    (0..60).for_each(|_| drop(observe(&mut stream, &rows(20))));
    // The sample of targets is part of the state, and a stream over a model begins with the model's span.
    let mut again = StreamModel::restore(&stream.snapshot().unwrap(), None).unwrap();
    let over = StreamModel::over(stream.publish().into());
    for _ in 0..10 {
        let more = rows(20);
        assert_eq!(observe(&mut again, &more), observe(&mut stream, &more));
    }
    assert_eq!(again.snapshot().unwrap(), stream.snapshot().unwrap());
    let asked = rows(50);
    for mut stream in [stream, over] {
        let lowest = |stream: &StreamModel| {
            intervals(stream, &asked).0.iter().map(|interval| interval[0]).fold(f64::INFINITY, f64::min)
        };
        assert_eq!(lowest(&stream), 0.0);
        observe(&mut stream, &[json!({"x": 0.5, "y": 0, "label": -1})]);
        assert!(lowest(&stream) < 0.0, "{}", lowest(&stream));
    }
}

/// Labels that stay the same for a while: answers with the last label at hand are nearly always right.
fn runs(random: &mut Random, last: &mut bool) -> Value {
    if random.uniform() < 0.05 {
        *last = !*last;
    }
    json!({"x": random.uniform(), "y": random.uniform(), "label": if *last { "up" } else { "down" }})
}

#[test]
fn horizons_are_told_apart_and_coverage_holds_for_the_way_rows_arrive() {
    for each in [1usize, 50] {
        let (mut stream, mut random, mut last) = (stream(Task::Classification), Random::new(4), false);
        let (mut held, mut count, mut sure, mut wrong) = (0.0, 0.0, 0.0, 0.0);
        for part in 0..6_000 / each {
            let rows: Vec<Value> = (0..each).map(|_| runs(&mut random, &mut last)).collect();
            if part * each >= 2_000 && (each > 1 || part % 5 == 0) {
                let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
                let table = stream.reader().from_ndjson(lines.join("\n").as_bytes()).unwrap();
                let bundle = stream.publish();
                let answers = bundle.run(&bundle.encode(&table).unwrap()).unwrap();
                for (row, p) in rows.iter().zip(answers.values.chunks_exact(answers.outputs)) {
                    let class = stream.classes().iter().position(|c| *c == row["label"]).unwrap();
                    let set = bundle.set(p, SetOptions { allow_empty: true, ..SetOptions::of(0.9) });
                    held += f64::from(u8::from(set.contains(&class)));
                    sure += f64::from(u8::from(p.iter().any(|p| *p > 0.95)));
                    wrong += f64::from(u8::from(p.iter().any(|p| *p > 0.95) && p[class] < 0.5));
                    count += 1.0;
                }
            }
            observe(&mut stream, &rows);
        }
        assert!((held / count - 0.9).abs() < 0.03, "{each} rows a call: coverage {}", held / count);
        assert!(wrong <= 0.1 * sure + 3.0, "{each} rows a call: {wrong} of {sure} sure answers are wrong");
        let horizon = stream.report().stream()["horizon"].clone();
        let accuracy = |at: usize| horizon[at]["accuracy"].as_f64().unwrap();
        assert_eq!((horizon[0]["rows_since"].as_u64(), horizon[3]["rows_since"].as_u64()), (Some(0), Some(1_000)));
        assert!(accuracy(0) > 0.92 && accuracy(1) < accuracy(0) - 0.1 && accuracy(3) < 0.75, "{horizon}");
        // The copy that is measured is part of the state.
        let mut again = StreamModel::restore(&stream.snapshot().unwrap(), None).unwrap();
        let more: Vec<Value> = (0..1_200).map(|_| runs(&mut random, &mut last)).collect();
        for part in more.chunks(100) {
            assert_eq!(observe(&mut again, part), observe(&mut stream, part));
        }
        assert_eq!(again.snapshot().unwrap(), stream.snapshot().unwrap());
        assert_eq!(again.report().stream()["horizon"], stream.report().stream()["horizon"]);
        let (one, other) = (again.publish(), stream.publish());
        assert_eq!((&one.novelty, &one.config), (&other.novelty, &other.config));
    }
}
