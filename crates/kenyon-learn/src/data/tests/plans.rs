use super::*;
use crate::data::plan::{ColumnPlan, Resolved, declare, read_table, read_table_noting, resolve};
use crate::data::schema::Features;
use crate::data::{Column, ColumnKind, Task};
use serde_json::{Value, json};

fn signals() -> Summary {
    let header: Vec<String> = (0..18).map(|i| format!("t{i}")).collect();
    let rows: String =
        (0..30).map(|r| format!("{},{},{}\n", r % 3, ["a", "b"][r % 2], vec!["1.5"; 18].join(","))).collect();
    summary(format!("y,c,{}\n{rows}", header.join(",")).as_bytes()).unwrap()
}

fn resolved(features: Value, target: &str, task: Option<Task>) -> crate::Result<Resolved> {
    let features: Features = serde_json::from_value(features).unwrap();
    resolve(&signals(), &features, target, task)
}

fn shown(plan: &Resolved) -> Vec<(&str, ColumnKind, usize)> {
    plan.inputs.iter().map(|p| (p.name.as_str(), p.kind, p.members.as_ref().map_or(0, Vec::len))).collect()
}

#[test]
fn a_request_changes_how_columns_are_read() {
    use ColumnKind::*;
    let plan = resolved(json!({}), "y", None).unwrap();
    assert_eq!(plan.task, Task::Classification);
    assert_eq!(shown(&plan), [("c", Category, 0), ("t", Vector, 18)]);
    assert_eq!(plan.ignored, ["y"]);

    let plan =
        resolved(json!({"c": "ignore", "s": {"kind": "sequence", "columns": "t*", "channels": 3}}), "y", None).unwrap();
    assert_eq!(shown(&plan), [("s", Sequence, 18)]);
    assert_eq!(plan.inputs[0].channels, Some(3));
    assert_eq!(plan.ignored, ["y", "c"]);

    let plan = resolved(json!({"t": {"kind": "vector", "shape": [3, 6]}}), "y", None).unwrap();
    assert_eq!(plan.inputs[1].shape, Some(vec![3, 6]));

    let plan = resolved(json!({"t3": "ignore", "t4": "category"}), "c", None).unwrap();
    assert_eq!(shown(&plan), [("y", Number, 0), ("t4", Category, 0), ("t", Vector, 16)]);

    let plan = resolved(json!({}), "t0", None).unwrap();
    assert_eq!(plan.task, Task::Regression);
    assert_eq!(shown(&plan)[2], ("t", Vector, 17));

    assert_eq!(resolved(json!({}), "y", Some(Task::Regression)).unwrap().task, Task::Regression);
    assert_eq!(resolved(json!({"y": "category"}), "y", None).unwrap().target.kind, Category);
}

#[test]
fn errors_name_the_field() {
    for (features, target, task, code, path) in [
        (json!({}), "nope", None, "unknown_target", "target"),
        (json!({"t": "ignore"}), "t", None, "bad_target", "target"),
        (json!({"y": "ignore"}), "y", None, "bad_target", "target"),
        (json!({}), "c", Some(Task::Regression), "bad_task", "task"),
        (json!({"nope": "number"}), "y", None, "bad_feature", "features.nope"),
        (json!({"c": "number"}), "y", None, "bad_feature", "features.c"),
        (json!({"c": "image"}), "y", None, "bad_feature", "features.c"),
        (json!({"s": {"kind": "sequence", "columns": "q*"}}), "y", None, "bad_feature", "features.s.columns"),
        (
            json!({"s": {"kind": "sequence", "columns": "t*", "channels": 5}}),
            "y",
            None,
            "bad_feature",
            "features.s.channels",
        ),
        (json!({"t": {"kind": "vector", "shape": [4, 4]}}), "y", None, "bad_feature", "features.t.shape"),
        (json!({"t": "ignore", "c": "ignore"}), "y", None, "no_features", "features"),
        (
            json!({"a": {"kind": "vector", "columns": "t*"}, "b": {"kind": "vector", "columns": ["t1"]}}),
            "y",
            None,
            "bad_feature",
            "features.b",
        ),
    ] {
        let error = resolved(features.clone(), target, task).unwrap_err();
        assert_eq!((error.code, error.details[0].path.as_deref()), (code, Some(path)), "{features}: {error:?}");
    }
}

#[test]
fn constant_and_missing_targets_are_refused() {
    let constant = summary(b"a,y\n1,x\n2,x\n").unwrap();
    assert_eq!(resolve(&constant, &Features::new(), "y", None).unwrap_err().code, "target_constant");
    let missing = summary(b"a,y\n1,\n2,NA\n").unwrap();
    assert_eq!(resolve(&missing, &Features::new(), "y", None).unwrap_err().code, "target_missing");
}

#[test]
fn the_task_follows_the_target() {
    let mut rows = String::from("a,whole,few,real,name\n");
    for i in 0..100 {
        rows += &format!("{i},{},{},{},{}\n", i * 3, i % 7, f64::from(i) / 7.0, ["x", "y"][i as usize % 2]);
    }
    let found = summary(rows.as_bytes()).unwrap();
    for (target, task) in [
        ("whole", Task::Regression),
        ("few", Task::Classification),
        ("real", Task::Regression),
        ("name", Task::Classification),
    ] {
        assert_eq!(resolve(&found, &Features::new(), target, None).unwrap().task, task, "{target}");
    }
}

#[test]
fn series_in_columns_lose_their_empty_end() {
    let (_file, part) = file(b"t0,t1,t2,t3\n1,2,3,4\n5,6,,\n,,,\n", None).unwrap();
    let members = Some((0..4).map(|i| format!("t{i}")).collect());
    let plan = ColumnPlan { members, channels: Some(2), ..ColumnPlan::new("s", ColumnKind::Sequence) };
    let table = read_table(&[part], &[plan], &Limits::default()).unwrap();
    let expected = Column::Series { channels: 2, offsets: vec![0, 2, 3, 3], values: vec![1., 2., 3., 4., 5., 6.] };
    assert_eq!(table.columns[0].1, expected);
}

#[test]
fn bad_cells_of_a_file_are_named_with_their_rows() {
    let (_file, part) = file(b"z,y\n01,1\nxx,2\n03,3\n", None).unwrap();
    let plans = [ColumnPlan::new("z", ColumnKind::Number)];
    let (table, warnings) = read_table_noting(&[part], &plans, &Limits::default()).unwrap();
    assert!(matches!(&table.columns[0].1, Column::Number(z) if z[1].is_nan() && z[2] == 3.0));
    assert_eq!((warnings[0].column.as_deref(), warnings[0].rows, warnings[0].examples[0].row), (Some("z"), 1, 2));
    let lines = "{\"z\":1}\n".repeat(30) + "{\"z\":{\"a\":1}}\n";
    let (_file, part) = file(lines.as_bytes(), None).unwrap();
    assert_eq!(read_table(&[part], &plans, &Limits::default()).unwrap().rows, 31, "one in thirty is missing");
    let (_file, part) = file(b"{\"z\":1}\n{\"z\":[1]}\n", None).unwrap();
    let error = read_table(&[part], &plans, &Limits::default()).unwrap_err();
    assert_eq!((error.details[0].row, error.details[0].column.as_deref()), (Some(2), Some("z")));
}

#[test]
fn a_model_can_be_declared_without_data() {
    let features: Features =
        serde_json::from_value(json!({"a": "number", "v": {"kind": "vector", "shape": [2, 2]}, "id": "ignore"}))
            .unwrap();
    let plan = declare(&features, "y", None).unwrap();
    assert_eq!((plan.inputs.len(), plan.task, plan.target.kind), (2, Task::Classification, ColumnKind::Category));
    assert_eq!(plan.with_classes(&[json!(1), json!(2)]).target.kind, ColumnKind::Number);
    assert_eq!(declare(&Features::new(), "y", None).unwrap_err().code, "no_features");
}
