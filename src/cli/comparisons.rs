//! `kenyon comparisons`: compares models with recordings, lists and removes comparisons.

use super::remote::Context;
use super::show;
use anyhow::Context as _;
use clap::Subcommand;
use reqwest::Method;
use serde_json::Value;
use std::path::PathBuf;

/// Subcommands of `kenyon comparisons`.
#[derive(Debug, Subcommand)]
pub(super) enum Comparisons {
    /// Compare the systems of a request, wait for the end, and show what was found.
    Create {
        /// The request as JSON: systems, distance, comparison, reference.
        file: PathBuf,
        /// Do not wait; print the job.
        #[arg(long)]
        detach: bool,
    },
    /// List all comparisons.
    List,
    /// Show what a comparison found.
    Show {
        id: String,
        /// Also print the matrices; with `--json` only.
        #[arg(long)]
        rdms: bool,
    },
    /// Remove a comparison that has ended.
    Delete { id: String },
}

impl Comparisons {
    pub(super) async fn run(self, at: Context) -> anyhow::Result<()> {
        let base = "/api/v1/comparisons";
        match self {
            Self::List => at.show(Method::GET, base, None).await,
            Self::Delete { id } => at.show(Method::DELETE, &format!("{base}/{id}"), None).await,
            Self::Show { id, rdms } => shown(&at, &id, rdms).await,
            Self::Create { file, detach } => {
                let text = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
                let request: Value = serde_json::from_slice(&text).with_context(|| format!("{}", file.display()))?;
                let client = at.client()?;
                let job = client.json(Method::POST, base, Some(&request)).await?;
                if detach {
                    show::answer(&job, at.json);
                    return Ok(());
                }
                let id = job["id"].as_str().unwrap_or_default().to_owned();
                client.follow(&id, at.json).await?;
                shown(&at, &id, false).await
            }
        }
    }
}

/// Prints what was found: in a terminal, a line for each similarity.
async fn shown(at: &Context, id: &str, rdms: bool) -> anyhow::Result<()> {
    let path = format!("/api/v1/comparisons/{id}?rdms={}", rdms && at.json);
    let found = at.client()?.json(Method::GET, &path, None).await?;
    if at.json {
        show::answer(&found, true);
        return Ok(());
    }
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let number = |value: &Value| value.as_f64().map_or_else(|| "-".to_owned(), |v| format!("{v:.4}"));
    print_line!("{} {} ({})", text(&found["id"]), text(&found["status"]), text(&found["request"]["compare"]));
    if let Some(detail) = found["error"]["detail"].as_str() {
        print_line!("{detail}");
    }
    for one in found["similarity"].as_array().into_iter().flatten() {
        let (low, high) = (number(&one["interval"][0]), number(&one["interval"][1]));
        let (p, q) = (number(&one["p_zero"]), number(&one["q_zero"]));
        print_line!("{} / {}: {} [{low}, {high}] p {p} q {q}", text(&one["a"]), text(&one["b"]), number(&one["value"]));
    }
    if found["noise_ceiling"].is_object() {
        let ceiling = &found["noise_ceiling"];
        print_line!("noise ceiling: {} to {}", number(&ceiling["lower"]), number(&ceiling["upper"]));
    }
    for one in found["dropped"].as_array().into_iter().flatten() {
        print_line!("left out: {}: {}", text(&one["condition"]), text(&one["reason"]));
    }
    Ok(())
}
