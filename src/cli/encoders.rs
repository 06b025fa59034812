//! `kenyon encoders`: adds, lists, distils and removes pretrained encoders.

use super::remote::Context;
use super::show;
use anyhow::Context as _;
use clap::Subcommand;
use kenyon_learn::encoders::Pretrained;
use reqwest::Method;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Subcommands of `kenyon encoders`.
#[derive(Debug, Subcommand)]
pub(super) enum Encoders {
    /// Add an encoder from its folder as published.
    Add {
        name: String,
        /// With `config.json`, safetensors files, and `tokenizer.json` or `preprocessor_config.json`.
        folder: PathBuf,
    },
    /// List all encoders.
    List,
    /// Show one encoder.
    Show { name: String },
    /// Remove an encoder that no model uses.
    Remove { name: String },
    /// Make a static encoder, much faster, from a transformer and the texts of a dataset.
    Distill {
        /// The transformer.
        name: String,
        dataset: String,
        /// The dataset's column of texts.
        column: String,
        /// The name of the new encoder.
        into: String,
        /// Do not wait; print the job.
        #[arg(long)]
        detach: bool,
    },
}

impl Encoders {
    pub(super) async fn run(self, at: Context) -> anyhow::Result<()> {
        let base = "/api/v1/encoders";
        match self {
            Self::List => at.show(Method::GET, base, None).await,
            Self::Show { name } => at.show(Method::GET, &format!("{base}/{name}"), None).await,
            Self::Remove { name } => at.show(Method::DELETE, &format!("{base}/{name}"), None).await,
            Self::Distill { name, dataset, column, into, detach } => {
                let client = at.client()?;
                let request = json!({ "dataset": dataset, "column": column, "into": into });
                let job = client.json(Method::POST, &format!("{base}/{name}/distill"), Some(&request)).await?;
                if detach {
                    show::answer(&job, at.json);
                    return Ok(());
                }
                client.follow(job["id"].as_str().unwrap_or_default(), at.json).await?;
                at.show(Method::GET, &format!("{base}/{into}"), None).await
            }
            Self::Add { name, folder } => {
                let archive = packed(&folder)?;
                let path = format!("{base}/{name}");
                let answer = at.client()?.send_file(Method::PUT, &path, archive.path(), at.json).await?;
                show::answer(&answer, at.json);
                Ok(())
            }
        }
    }
}

/// The files of the encoder in a tar archive. A folder that is no encoder is refused here, before anything is sent.
fn packed(folder: &Path) -> anyhow::Result<tempfile::NamedTempFile> {
    let encoder = Pretrained::open(folder, 1).with_context(|| format!("{} is no encoder", folder.display()))?;
    let mut archive = tar::Builder::new(tempfile::NamedTempFile::new()?);
    for file in &encoder.info().files {
        archive.append_path_with_name(folder.join(file), file)?;
    }
    Ok(archive.into_inner()?)
}
