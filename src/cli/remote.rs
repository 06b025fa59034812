//! The client commands.

use super::client::{Client, read_input};
use super::train::Train;
use super::{Connection, files, local_bundle, name_of, show};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use std::path::PathBuf;

/// The server, and the output format.
#[derive(Clone, Debug)]
pub(super) struct Context {
    /// The server's address, and the key.
    pub(super) connection: Connection,
    /// Print JSON.
    pub(super) json: bool,
}

impl Context {
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        Client::new(&self.connection)
    }

    /// Sends a request and prints its answer.
    pub(super) async fn show(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<()> {
        let answer = self.client()?.json(method, path, body).await?;
        show::answer(&answer, self.json);
        Ok(())
    }
}

impl Train {
    pub(super) async fn run(self, at: Context) -> anyhow::Result<()> {
        let name = self.model.clone().unwrap_or_else(|| name_of(&self.file));
        let Some(client) = Client::if_running(&at.connection).await? else {
            return files::train(&self, &local_bundle(&name), at.json);
        };
        client.send_file(Method::PUT, &format!("/api/v1/datasets/{name}"), &self.file, at.json).await?;
        let mut request = self.request();
        request.insert("dataset".into(), name.clone().into());
        let path = format!("/api/v1/models/{name}/train");
        let job = client.json(Method::POST, &path, Some(&request.into())).await?;
        let job = client.follow(job["id"].as_str().unwrap_or_default(), at.json).await?;
        if at.json {
            print_line!("{job}");
        } else {
            print_line!("{name} version {}: {}", job["version"], show::metrics(&job["metrics"]));
            for warning in job["warnings"].as_array().into_iter().flatten() {
                print_line!("warning: {}", warning["detail"].as_str().unwrap_or_default());
            }
            if job["served"] == false {
                print_line!("it is not served: {}", job["served_reason"].as_str().unwrap_or_default());
            }
            print_line!("predict with: kenyon predict {name} FILE; dashboard: {}/#/models/{name}", client.base());
        }
        Ok(())
    }
}

/// Arguments of `kenyon predict`.
#[derive(Debug, Args)]
pub(super) struct Predict {
    /// A model of the server, or a bundle's file.
    model: String,
    /// File with the rows to predict, or `-` for standard input.
    file: PathBuf,
    /// Coverage of the sets or intervals, in (0, 1).
    #[arg(long)]
    coverage: Option<f64>,
    /// Print CSV with a line of names: the answer, the probability of each class, novelty.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Explain each answer by the contributions of its columns.
    #[arg(long)]
    explain: bool,
}

impl Predict {
    pub(super) async fn run(self, at: Context) -> anyhow::Result<()> {
        // A file is read more than once.
        let input = if self.file.as_os_str() == "-" { Some(files::spooled()?) } else { None };
        let file = input.as_ref().map_or(self.file.as_path(), |input| input.path());
        if let Some(bundle) = files::find_bundle(&self.model, &at.connection).await? {
            return match self.csv {
                true => files::predict_csv(&bundle, file, (self.coverage, self.explain)),
                false => files::predict(&bundle, file, (self.coverage, self.explain), at.json),
            };
        }
        let client = at.client()?;
        if self.csv {
            return self.csv(&client, file).await;
        }
        let model = client.json(Method::GET, &format!("/api/v1/models/{}", self.model), None).await?;
        let mut rows = files::PlannedRows::open(file, files::plans(&model, false)?)?;
        let path = format!("/api/v1/models/{}/predict", self.model);
        while let Some(chunk) = rows.next()? {
            let mut body = json!({"rows": chunk});
            if let Some(coverage) = self.coverage {
                body["coverage"] = coverage.into();
            }
            if self.explain {
                body["explain"] = true.into();
            }
            let answer = client.json(Method::POST, &path, Some(&body)).await?;
            for prediction in answer["predictions"].as_array().into_iter().flatten() {
                files::print_prediction(prediction, at.json);
            }
        }
        Ok(())
    }
}

impl Predict {
    /// Sends the file as it is and prints the server's lines.
    async fn csv(&self, client: &Client, file: &std::path::Path) -> anyhow::Result<()> {
        let mut query = vec![("top_k", files::EVERY_CLASS.to_string())];
        query.extend(self.coverage.map(|coverage| ("coverage", coverage.to_string())));
        query.extend(self.explain.then(|| ("explain", "true".to_owned())));
        let mut request = client
            .request(Method::POST, &format!("/api/v1/models/{}/predict", self.model))
            .query(&query)
            .header("accept", "text/csv")
            .body(read_input(file).await?);
        if let Some(kind) = files::media_type(file)? {
            request = request.header("content-type", kind);
        }
        let mut answer = client.checked(request).await?.bytes_stream();
        while let Some(chunk) = answer.next().await {
            show::bytes(&chunk?);
        }
        Ok(())
    }
}

/// Arguments of `kenyon observe`.
#[derive(Debug, Args)]
pub(super) struct Observe {
    /// A model of the server.
    model: String,
    /// NDJSON rows with their target, or `-` for standard input; other formats are converted.
    file: PathBuf,
}

impl Observe {
    pub(super) async fn run(self, at: Context) -> anyhow::Result<()> {
        let client = at.client()?;
        let path = format!("/api/v1/models/{}/observe", self.model);
        if self.file.as_os_str() == "-" || files::is_ndjson(&self.file)? {
            let request = client
                .request(Method::POST, &path)
                .header("content-type", "application/x-ndjson")
                .header("accept", "application/x-ndjson")
                .body(read_input(&self.file).await?);
            let mut answer = client.checked(request).await?.bytes_stream();
            let (mut text, mut last) = (String::new(), Value::Null);
            while let Some(chunk) = answer.next().await {
                text.push_str(&String::from_utf8_lossy(&chunk?));
                while let Some(end) = text.find('\n') {
                    let line: String = text.drain(..=end).collect();
                    last = serde_json::from_str(&line).unwrap_or(last);
                }
            }
            let last = serde_json::from_str(&text).unwrap_or(last);
            show::answer(&last, at.json);
            return Ok(());
        }
        let mut last = Value::Null;
        let model = client.json(Method::GET, &format!("/api/v1/models/{}", self.model), None).await?;
        let mut rows = files::PlannedRows::open(&self.file, files::plans(&model, true)?)?;
        while let Some(chunk) = rows.next()? {
            last = client.json(Method::POST, &path, Some(&json!({"rows": chunk}))).await?;
        }
        show::answer(&last, at.json);
        Ok(())
    }
}

/// Arguments of `kenyon evaluate`.
#[derive(Debug, Args)]
pub(super) struct Evaluate {
    /// A model of the server, or a bundle's file.
    model: String,
    /// Rows with their target.
    file: PathBuf,
}

impl Evaluate {
    pub(super) async fn run(self, at: Context) -> anyhow::Result<()> {
        if let Some(bundle) = files::find_bundle(&self.model, &at.connection).await? {
            return files::evaluate(&bundle, &self.file, at.json);
        }
        let client = at.client()?;
        let dataset = format!("{}-evaluate", name_of(&self.file));
        let at_dataset = format!("/api/v1/datasets/{dataset}");
        client.send_file(Method::PUT, &at_dataset, &self.file, at.json).await?;
        let path = format!("/api/v1/models/{}/evaluate", self.model);
        let answer = client.json(Method::POST, &path, Some(&json!({"dataset": dataset}))).await;
        client.json(Method::DELETE, &at_dataset, None).await?;
        let answer = answer?;
        if at.json {
            print_line!("{answer}");
        } else {
            print_line!("{} rows: {}", answer["rows"], show::metrics(&answer["metrics"]));
        }
        Ok(())
    }
}

/// Subcommands of `kenyon models`.
#[derive(Debug, Subcommand)]
pub(super) enum Models {
    /// List all models.
    List,
    /// Show one model with its versions.
    Show { model: String },
    /// List a model's versions.
    Versions { model: String },
    /// Serve another version.
    Promote { model: String, version: u64 },
    /// Serve the previous version.
    Rollback { model: String },
    /// Delete a model.
    Delete { model: String },
}

impl Models {
    pub(super) async fn run(self, at: Context) -> anyhow::Result<()> {
        let base = "/api/v1/models";
        match self {
            Self::List => at.show(Method::GET, base, None).await,
            Self::Show { model } => at.show(Method::GET, &format!("{base}/{model}"), None).await,
            Self::Versions { model } => {
                at.show(Method::GET, &format!("{base}/{model}/versions?detail=true"), None).await
            }
            Self::Promote { model, version } => {
                at.show(Method::POST, &format!("{base}/{model}/versions/{version}/promote"), None).await
            }
            Self::Rollback { model } => at.show(Method::POST, &format!("{base}/{model}/rollback"), None).await,
            Self::Delete { model } => at.show(Method::DELETE, &format!("{base}/{model}"), None).await,
        }
    }
}

/// Subcommands of `kenyon jobs`.
#[derive(Debug, Subcommand)]
pub(super) enum Jobs {
    /// List the latest jobs.
    List {
        /// `queued`, `running`, `succeeded`, `failed` or `canceled`.
        #[arg(long)]
        status: Option<String>,
    },
    /// Show one job.
    Show { id: String },
    /// Follow a job to its end.
    Follow { id: String },
    /// Cancel a job.
    Cancel { id: String },
    /// Queue a failed or cancelled job again.
    Retry { id: String },
}

impl Jobs {
    pub(super) async fn run(self, at: Context) -> anyhow::Result<()> {
        let base = "/api/v1/jobs";
        match self {
            Self::List { status } => {
                let query = status.map(|s| format!("?status={s}")).unwrap_or_default();
                at.show(Method::GET, &format!("{base}{query}"), None).await
            }
            Self::Show { id } => at.show(Method::GET, &format!("{base}/{id}"), None).await,
            Self::Cancel { id } => at.show(Method::POST, &format!("{base}/{id}/cancel"), None).await,
            Self::Retry { id } => at.show(Method::POST, &format!("{base}/{id}/retry"), None).await,
            Self::Follow { id } => {
                let job = at.client()?.follow(&id, at.json).await?;
                show::answer(&job, at.json);
                Ok(())
            }
        }
    }
}

/// Subcommands of `kenyon datasets`.
#[derive(Debug, Subcommand)]
pub(super) enum Datasets {
    /// List all datasets.
    List,
    /// Show one dataset with its columns.
    Show { name: String },
    /// Upload a file.
    Put {
        file: PathBuf,
        /// Derived from the file's name when missing.
        #[arg(long)]
        name: Option<String>,
    },
    /// Append a file's rows.
    Append { name: String, file: PathBuf },
    /// Delete a dataset.
    Delete { name: String },
}

impl Datasets {
    pub(super) async fn run(self, at: Context) -> anyhow::Result<()> {
        let base = "/api/v1/datasets";
        match self {
            Self::List => at.show(Method::GET, base, None).await,
            Self::Show { name } => at.show(Method::GET, &format!("{base}/{name}"), None).await,
            Self::Delete { name } => at.show(Method::DELETE, &format!("{base}/{name}"), None).await,
            Self::Put { file, name } => {
                let name = name.unwrap_or_else(|| name_of(&file));
                let path = format!("{base}/{name}");
                show::answer(&at.client()?.send_file(Method::PUT, &path, &file, at.json).await?, at.json);
                Ok(())
            }
            Self::Append { name, file } => {
                let path = format!("{base}/{name}/rows");
                show::answer(&at.client()?.send_file(Method::POST, &path, &file, at.json).await?, at.json);
                Ok(())
            }
        }
    }
}

/// Arguments of `kenyon export`.
#[derive(Debug, Args)]
pub(super) struct Export {
    /// A model of the server.
    model: String,
    /// Its version; the served one when missing.
    #[arg(long)]
    version: Option<u64>,
    /// `bundle`, `safetensors` or `onnx`.
    #[arg(long, default_value = "bundle")]
    format: String,
    /// What an `onnx` file takes: `columns` or `features`.
    #[arg(long, default_value = "columns")]
    inputs: String,
    /// Leaves out the pretrained encoders that the model uses.
    #[arg(long)]
    without_encoders: bool,
    /// Output file; derived from the model's name when missing.
    #[arg(long, short)]
    out: Option<PathBuf>,
}

impl Export {
    pub(super) async fn run(self, at: Context) -> anyhow::Result<()> {
        let client = at.client()?;
        let version = match self.version {
            Some(version) => version,
            None => {
                let model = client.json(Method::GET, &format!("/api/v1/models/{}", self.model), None).await?;
                model["version"].as_u64().context("the model serves no version yet")?
            }
        };
        let encoder = (!self.without_encoders).to_string();
        let query = [("format", &self.format), ("inputs", &self.inputs), ("encoder", &encoder)];
        let path = format!("/api/v1/models/{}/versions/{version}/export", self.model);
        let bytes = client.checked(client.request(Method::GET, &path).query(&query)).await?.bytes().await?;
        let ending = if self.format == "bundle" { "kenyon" } else { &self.format };
        let out = self.out.unwrap_or_else(|| PathBuf::from(format!("{}.{ending}", self.model)));
        tokio::fs::write(&out, &bytes).await.with_context(|| format!("cannot write {}", out.display()))?;
        show::answer(&json!({"file": out, "bytes": bytes.len(), "version": version}), at.json);
        Ok(())
    }
}

/// Arguments of `kenyon import`.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// A bundle's file.
    file: PathBuf,
    /// Name of the model; derived from the file's name when missing.
    #[arg(long)]
    model: Option<String>,
}

impl Import {
    pub(super) async fn run(self, at: Context) -> anyhow::Result<()> {
        let name = self.model.unwrap_or_else(|| name_of(&self.file));
        let path = format!("/api/v1/models/{name}/import");
        show::answer(&at.client()?.send_file(Method::POST, &path, &self.file, at.json).await?, at.json);
        Ok(())
    }
}

/// Runs `kenyon snapshot`.
pub(super) async fn snapshot(at: Context) -> anyhow::Result<()> {
    at.show(Method::POST, "/api/v1/snapshots", None).await
}

/// Subcommands of `kenyon keys`.
#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Create a key; its secret is shown once.
    Create {
        name: String,
        /// `predict`, `observe`, `train`, `datasets`, `admin` or `read`; may be repeated.
        #[arg(long = "scope", required = true)]
        scopes: Vec<String>,
        /// Models the key may use; all when missing.
        #[arg(long = "model")]
        models: Vec<String>,
        /// Expiry time, RFC 3339.
        #[arg(long)]
        expires_at: Option<String>,
    },
    /// List all keys.
    List,
    /// Revoke a key at once.
    Revoke { id: String },
}

impl Keys {
    pub(super) async fn run(self, at: Context) -> anyhow::Result<()> {
        let base = "/api/v1/keys";
        match self {
            Self::List => at.show(Method::GET, base, None).await,
            Self::Revoke { id } => at.show(Method::DELETE, &format!("{base}/{id}"), None).await,
            Self::Create { name, scopes, models, expires_at } => {
                let models = if models.is_empty() { vec!["*".to_owned()] } else { models };
                let mut body = json!({"name": name, "scopes": scopes, "models": models});
                if let Some(expires_at) = expires_at {
                    body["expires_at"] = expires_at.into();
                }
                at.show(Method::POST, base, Some(&body)).await
            }
        }
    }
}
