//! The card of an exported model, `README.md` in its bundle, in the form that Hugging Face's model repositories read.

use crate::store::{ModelName, Version};
use serde_json::{Value, json};
use std::fmt::Write;

/// Its name in the archive.
pub(super) const CARD: &str = "README.md";

/// Columns that are listed; of more, only how many there are.
const LISTED: usize = 200;

/// What a version predicts, from what, how well, and how it is used.
pub(super) fn model_card(model: &ModelName, version: &Version) -> String {
    let info = &version.info;
    let task = info["task"].as_str().unwrap_or("classification");
    let target = info["target"]["name"].as_str().unwrap_or_default();
    let dataset = info["dataset"]["name"].as_str().unwrap_or("unknown");
    let figures: Vec<(&String, &Value)> =
        version.metrics.as_object().into_iter().flatten().filter(|(_, value)| value.is_number()).collect();
    let metrics: Vec<Value> = figures.iter().map(|(name, value)| json!({ "type": name, "value": value })).collect();
    let result = json!({
        "task": { "type": format!("tabular-{task}") }, "dataset": { "type": dataset, "name": dataset }, "metrics": metrics,
    });
    let index =
        json!([{ "name": model.as_str(), "results": if metrics.is_empty() { json!([]) } else { json!([result]) } }]);
    let (number, family) = (version.version, &version.family);
    let mut text = format!(
        "---\nlibrary_name: kenyon\npipeline_tag: tabular-{task}\ntags: [\"kenyon\", \"tabular-{task}\", \"{family}\"]\n\
         model-index: {index}\n---\n\n# {model}, version {number}\n\n\
         Predicts `{}` ({task}) with the family `{family}`. Made on {} by Kenyon {}",
        cell(target),
        version.created_at.strftime("%Y-%m-%d"),
        env!("CARGO_PKG_VERSION"),
    );
    if let Some(rows) = info["rows"].as_u64() {
        let _ = write!(text, " from {rows} rows of the dataset `{}`", cell(dataset));
    }
    text.push_str(".\n\n## Inputs\n\n| column | kind |\n| --- | --- |\n");
    let features = info["features"].as_array().map_or(&[][..], Vec::as_slice);
    for feature in features.iter().take(LISTED) {
        let word = |name: &str| cell(feature[name].as_str().unwrap_or_default());
        let _ = writeln!(text, "| {} | {} |", word("name"), word("kind"));
    }
    if features.len() > LISTED {
        let _ = writeln!(text, "\nand {} more.", features.len() - LISTED);
    }
    if !figures.is_empty() {
        text.push_str("\n## Figures\n\nMeasured on rows that were held out when the version was made.\n\n| metric | value |\n| --- | --- |\n");
        for (name, value) in figures {
            let _ = writeln!(text, "| {name} | {value} |");
        }
    }
    let _ = write!(
        text,
        "\n## Use\n\nThe archive is imported by a Kenyon server, which then predicts with it:\n\n```sh\n\
         kenyon import {model}-{number}.tar --model {model}\n\
         curl localhost:8080/api/v1/models/{model}/predict --json '{{\"rows\":[{{…}}]}}'\n```\n\n\
         It holds for data like those that it was made from: an answer's `novelty` is how unlike them a row is.\n"
    );
    text
}

/// A name in a table of Markdown.
fn cell(name: &str) -> String {
    name.replace('|', "\\|").replace(|c: char| c.is_control() || c == '`', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::VersionState;

    #[test]
    fn a_card_says_what_is_predicted_from_what_and_how_well() {
        let version = Version {
            version: 3,
            state: VersionState::Served,
            family: "sparse_mlp".to_owned(),
            metrics: json!({ "accuracy": 0.97, "intervals": { "accuracy": [0.9, 1.0] } }),
            info: json!({
                "task": "classification", "target": { "name": "species" }, "rows": 150, "dataset": { "name": "iris" },
                "features": [{ "name": "a|b", "kind": "number" }],
            }),
            bytes: 0,
            files: Vec::new(),
            job_id: None,
            created_at: jiff::Timestamp::UNIX_EPOCH,
        };
        let card = model_card(&"iris".parse().unwrap(), &version);
        let (head, body) = card.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap();
        let index = head.lines().find_map(|line| line.strip_prefix("model-index: ")).unwrap();
        let index: Value = serde_json::from_str(index).unwrap();
        assert_eq!(index[0]["results"][0]["metrics"], json!([{ "type": "accuracy", "value": 0.97 }]));
        assert!(head.contains("pipeline_tag: tabular-classification"), "{head}");
        for part in
            ["# iris, version 3", "Predicts `species`", "from 150 rows", "| a\\|b | number |", "| accuracy | 0.97 |"]
        {
            assert!(body.contains(part), "{part}: {body}");
        }
    }
}
