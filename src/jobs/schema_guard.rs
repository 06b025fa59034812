//! Whether a training would make a version that needs other rows than the served one, or predicts something else:
//! clients of the model would get unexpected errors or answers.

use crate::store::{ModelName, Store};
use crate::{Detail, Error, Result};
use kenyon_learn::data::encoder::DroppedColumn;
use kenyon_learn::data::plan::{ColumnPlan, Resolved};
use serde_json::Value;

/// What differs from the served version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SchemaChanges {
    version: u64,
    changes: Vec<String>,
}

impl SchemaChanges {
    /// The refusal of a request.
    pub(super) fn refused(&self) -> Error {
        let detail = format!("{}; \"schema_change\":true allows it", self.reason());
        Error::conflict("schema_change", detail)
            .with_details(self.changes.iter().map(|change| Detail::path("schema_change", change)))
    }

    /// One sentence.
    pub(super) fn reason(&self) -> String {
        format!(
            "the schema differs from that of version {}, which is served: {}",
            self.version,
            self.changes.join("; ")
        )
    }
}

/// How a training by `plan`, whose columns `dropped` are not used, differs from the served version of `model`. An
/// added input is no change: rows may omit it.
pub(super) async fn changes(
    store: &Store,
    model: &ModelName,
    plan: &Resolved,
    dropped: &[DroppedColumn],
) -> Result<Option<SchemaChanges>> {
    let found = match store.model(model).await {
        Ok(found) => found,
        Err(error) if error.code == "model_not_found" => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(version) = found.traffic.stable else { return Ok(None) };
    let served = store.version(model, version).await?;
    let mut changes = between(&served.info, plan, dropped);
    let task = kenyon_learn::learning::fit::task_name(plan.task);
    let before = served.info["task"].as_str().or(found.task.as_deref());
    if let Some(before) = before.filter(|before| *before != task) {
        changes.push(format!("the task is {task}, not {before}"));
    }
    Ok((!changes.is_empty()).then_some(SchemaChanges { version, changes }))
}

/// The differences between a version's `info` and a plan.
fn between(info: &Value, plan: &Resolved, dropped: &[DroppedColumn]) -> Vec<String> {
    let read = |value: &Value| serde_json::from_value::<ColumnPlan>(value.clone()).ok();
    let mut changes = Vec::new();
    if let Some(target) = read(&info["target"]).filter(|target| target.name != plan.target.name) {
        changes.push(format!("the target is '{}', not '{}'", plan.target.name, target.name));
    }
    let unused: Vec<&str> =
        info["left_out"].as_array().into_iter().flatten().filter_map(|c| c["name"].as_str()).collect();
    for before in info["features"].as_array().into_iter().flatten().filter_map(read) {
        if unused.contains(&before.name.as_str()) {
            continue;
        }
        let name = &before.name;
        match plan.inputs.iter().find(|input| input.name == *name) {
            None => changes.push(format!("the input '{name}' is missing")),
            Some(now) if now.kind != before.kind => {
                changes.push(format!("the input '{name}' is a {}, not a {}", now.kind.name(), before.kind.name()));
            }
            Some(_) if dropped.iter().any(|column| column.name == *name) => {
                changes.push(format!("the input '{name}' is no longer used"));
            }
            Some(now) => {
                let members = |plan: &ColumnPlan| plan.members.clone().unwrap_or_default();
                let now = members(now);
                if let Some(gone) = members(&before).iter().find(|member| !now.is_empty() && !now.contains(member)) {
                    changes.push(format!("the column '{gone}' of the input '{name}' is missing"));
                }
            }
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use kenyon_learn::data::schema::ColumnKind;
    use kenyon_learn::models::Task;
    use serde_json::json;

    #[test]
    fn an_added_input_is_no_change_and_others_are_named() {
        let plan = |inputs: &[(&str, ColumnKind)]| Resolved {
            target: ColumnPlan::new("y", ColumnKind::Category),
            task: Task::Classification,
            inputs: inputs.iter().map(|(name, kind)| ColumnPlan::new(*name, *kind)).collect(),
            ignored: Vec::new(),
        };
        let (number, category) = (ColumnKind::Number, ColumnKind::Category);
        let info = json!({
            "target": ColumnPlan::new("y", category),
            "features": [ColumnPlan::new("a", number), ColumnPlan::new("id", category)],
            "left_out": [{"name": "id", "reason": "identifier"}],
        });
        assert!(between(&info, &plan(&[("a", number), ("b", number)]), &[]).is_empty());
        assert_eq!(between(&info, &plan(&[("b", number)]), &[]), ["the input 'a' is missing"]);
        assert_eq!(between(&info, &plan(&[("a", category)]), &[]), ["the input 'a' is a category, not a number"]);
        let dropped = [DroppedColumn { name: "a".into(), reason: "constant".into() }];
        assert_eq!(between(&info, &plan(&[("a", number)]), &dropped), ["the input 'a' is no longer used"]);
    }
}
