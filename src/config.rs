//! Configuration by flag, environment (`KENYON_*`) and `kenyon.toml`, in this order of precedence.
//!
//! One list (the `settings!` below) makes the flags, the environment variables, the file's keys and
//! the resolved [`Config`], so that none of them can lag behind.

use crate::{Error, Result};
use kenyon_learn::device::DeviceName;
use serde::Deserialize;
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Human-readable on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// Human-readable.
    Human,
    /// One JSON object a line.
    Json,
}

macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $name:ident : $type:ty = $default:expr, $env:literal $(, $arg:meta)*;)+) => {
        /// Settings as flags, environment or file give them; what is missing has its default.
        #[derive(Clone, Debug, Default, clap::Args, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Flags {
            /// File with settings, named as the flags with `_` for `-`; `kenyon.toml` where it exists.
            #[arg(long, env = "KENYON_CONFIG", value_name = "FILE")]
            #[serde(skip)]
            pub config: Option<PathBuf>,
            $($(#[doc = $doc])+
            #[arg(long, env = $env, hide_env_values = true $(, $arg)*)]
            #[serde(default)]
            pub $name: Option<$type>,)+
        }

        /// The server's settings, resolved.
        #[derive(Clone, Debug)]
        pub struct Config {
            $($(#[doc = $doc])+ pub $name: $type,)+
            /// The program that trainings run in, as `PROGRAM job`, each in a process of its own; without one they run
            /// on threads of this process.
            pub program: Option<PathBuf>,
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $($name: $default,)+ program: None }
            }
        }

        impl Flags {
            /// These, with missing values from the weaker ones.
            fn or(self, weaker: Self) -> Self {
                Self { config: self.config.or(weaker.config), $($name: self.$name.or(weaker.$name),)+ }
            }

            fn resolve(self) -> Config {
                let defaults = Config::default();
                Config { $($name: self.$name.unwrap_or(defaults.$name),)+ program: defaults.program }
            }
        }
    };
}

settings! {
    /// Address of the HTTP interface. [default: 127.0.0.1:8080]
    listen: String = "127.0.0.1:8080".into(), "KENYON_LISTEN";
    /// Address of the gRPC interface, or `off`. [default: 127.0.0.1:8081]
    grpc_listen: String = "127.0.0.1:8081".into(), "KENYON_GRPC_LISTEN";
    /// Address of probes and metrics alone, in plain HTTP and without keys, for servers and workers; `off` serves them
    /// with the HTTP interface only. [default: off]
    metrics_listen: String = "off".into(), "KENYON_METRICS_LISTEN";
    /// Folder for the database and the objects. [default: ./kenyon-data]
    data_dir: PathBuf = "kenyon-data".into(), "KENYON_DATA_DIR";
    /// `sqlite://…` or `postgres://…`; empty is SQLite in the data folder.
    database_url: String = String::new(), "KENYON_DATABASE_URL", hide_default_value = true;
    /// `file://…` or `s3://…`; empty is a folder in the data folder.
    objects: String = String::new(), "KENYON_OBJECTS", hide_default_value = true;
    /// Jobs trained at the same time; 0 only serves. [default: half the cores, at least 1]
    workers: usize = (cores() / 2).max(1), "KENYON_WORKERS";
    /// Threads each job may use. [default: cores / workers]
    job_threads: usize = 0, "KENYON_JOB_THREADS";
    /// Key with every permission; without one only loopback addresses are served.
    master_key: Secret = Secret(String::new()), "KENYON_MASTER_KEY";
    /// Serve other addresses than loopback without a master key.
    insecure: bool = false, "KENYON_INSECURE", num_args = 0..=1, default_missing_value = "true", require_equals = true;
    /// Certificate chain (PEM) for TLS; read again when the file changes.
    tls_cert: PathBuf = PathBuf::new(), "KENYON_TLS_CERT";
    /// Private key (PEM) for TLS.
    tls_key: PathBuf = PathBuf::new(), "KENYON_TLS_KEY";
    /// Origins whose pages may call the server (`https://a.example,https://b.example`), or `*`. [default: none]
    cors_origins: String = String::new(), "KENYON_CORS_ORIGINS";
    /// Bytes of a JSON request body at most. [default: 64 MiB]
    max_body_bytes: u64 = 64 << 20, "KENYON_MAX_BODY_BYTES";
    /// Bytes of a dataset upload at most. [default: 8 GiB]
    max_upload_bytes: u64 = 8 << 30, "KENYON_MAX_UPLOAD_BYTES";
    /// Bytes of an upload at most once decompressed. [default: 16 GiB]
    max_decompressed_bytes: u64 = 16 << 30, "KENYON_MAX_DECOMPRESSED_BYTES";
    /// Columns of a dataset at most. [default: 10000]
    max_columns: usize = 10_000, "KENYON_MAX_COLUMNS";
    /// Models at most. [default: 1000]
    max_models: u64 = 1000, "KENYON_MAX_MODELS";
    /// Datasets at most. [default: 1000]
    max_datasets: u64 = 1000, "KENYON_MAX_DATASETS";
    /// Bytes all datasets together may take; 0 is without limit. [default: 0]
    max_dataset_bytes: u64 = 0, "KENYON_MAX_DATASET_BYTES";
    /// Jobs that may wait in the queue. [default: 10000]
    max_queued_jobs: u64 = 10_000, "KENYON_MAX_QUEUED_JOBS";
    /// Requests answered at the same time. [default: 1024]
    max_requests: usize = 1024, "KENYON_MAX_REQUESTS";
    /// Connections at the same time. [default: 4096]
    max_connections: usize = 4096, "KENYON_MAX_CONNECTIONS";
    /// Serve the Model Context Protocol at `/mcp`: the calls of the interface as tools for language models.
    mcp: bool = false, "KENYON_MCP", num_args = 0..=1, default_missing_value = "true", require_equals = true;
    /// Requests a second of each key; 0 is without limit. [default: 0]
    rate_limit: u32 = 0, "KENYON_RATE_LIMIT";
    /// Rows a minute that each model learns from each key, and at least 1,000 at once; 0 is without limit. [default: 0]
    key_rows_limit: u32 = 0, "KENYON_KEY_ROWS_LIMIT";
    /// Requests a second of each address without a key; 0 is without limit. [default: 0]
    rate_limit_address: u32 = 0, "KENYON_RATE_LIMIT_ADDRESS";
    /// Requests a second with a wrong key of each address, after which the answer is 429 instead of 401; 0 is without
    /// limit. [default: 10]
    wrong_key_limit: u32 = 10, "KENYON_WRONG_KEY_LIMIT";
    /// Seconds until a request is aborted (504). [default: 30]
    request_timeout: f64 = 30.0, "KENYON_REQUEST_TIMEOUT";
    /// Seconds a client may take for the head of a request, or between two pieces of its body (408). [default: 15]
    client_timeout: f64 = 15.0, "KENYON_CLIENT_TIMEOUT";
    /// Seconds that running requests get when the server stops. [default: 25]
    drain_timeout: f64 = 25.0, "KENYON_DRAIN_TIMEOUT";
    /// Rows in one forward pass at most. [default: 256]
    max_batch_rows: usize = 256, "KENYON_MAX_BATCH_ROWS";
    /// Rows that may wait for a model; also the largest call. [default: 8192]
    max_queue_rows: usize = 8192, "KENYON_MAX_QUEUE_ROWS";
    /// Microseconds a batch waits for further rows while requests keep coming. [default: 0]
    max_batch_delay_us: u64 = 0, "KENYON_MAX_BATCH_DELAY_US";
    /// Microseconds for which a worker polls for the next request after an answer before its thread blocks, while no more
    /// connections are open than half the cores; 0 blocks at once. [default: 200]
    busy_poll_us: u64 = 200, "KENYON_BUSY_POLL_US";
    /// Bytes of loaded models that are kept. [default: 2 GiB]
    model_cache_bytes: u64 = 2 << 30, "KENYON_MODEL_CACHE_BYTES";
    /// Bytes of a stream's rows that are kept to forget some of them exactly, at least half of it; 0 keeps none that are in
    /// its state. [default: 256 MiB]
    stream_history_bytes: u64 = 256 << 20, "KENYON_STREAM_HISTORY_BYTES";
    /// Bytes of memory a training may take; one that needs more fails. [default: a quarter of what there is]
    train_memory: u64 = 0, "KENYON_TRAIN_MEMORY", hide_default_value = true;
    /// Where trainings run: `cpu`, `cuda`, `cuda:N`, `metal`, or `auto` for a GPU where this build and machine have one.
    /// [default: cpu]
    device: DeviceName = DeviceName::Cpu, "KENYON_DEVICE", value_name = "NAME";
    /// Seconds between two checkpoints of a job. [default: 10]
    checkpoint_seconds: f64 = 10.0, "KENYON_CHECKPOINT_SECONDS";
    /// Days that finished jobs are kept. [default: 30]
    job_retention_days: f64 = 30.0, "KENYON_JOB_RETENTION_DAYS";
    /// Address that receives webhooks: finished jobs and changes in streams.
    webhook_url: String = String::new(), "KENYON_WEBHOOK_URL";
    /// Secret that signs webhooks as Standard Webhooks specifies (`whsec_…` is read as base64).
    webhook_secret: Secret = Secret(String::new()), "KENYON_WEBHOOK_SECRET";
    /// Allow a webhook to a private or loopback address.
    webhook_allow_private: bool = false, "KENYON_WEBHOOK_ALLOW_PRIVATE", num_args = 0..=1, default_missing_value = "true", require_equals = true;
    /// `auto`, `human` or `json`. [default: auto]
    log_format: LogFormat = LogFormat::Auto, "KENYON_LOG_FORMAT", value_enum;
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `kenyon=debug`. [default: info]
    log: String = "info".into(), "KENYON_LOG";
}

/// Processor cores this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Config {
    /// Merges flags (with the environment in them, as clap reads it), file and defaults.
    pub fn load(flags: Flags) -> Result<Self> {
        let file = match &flags.config {
            Some(path) => Flags::read(path)?,
            None if Path::new("kenyon.toml").is_file() => Flags::read(Path::new("kenyon.toml"))?,
            None => Flags::default(),
        };
        let config = Self { program: own_program(), ..flags.or(file).resolve() };
        config.check()?;
        Ok(config)
    }

    /// The master key, where there is one.
    pub fn master_key(&self) -> Option<&str> {
        Some(self.master_key.reveal()).filter(|k| !k.is_empty())
    }

    /// The HTTP address.
    pub fn http_address(&self) -> Result<SocketAddr> {
        address("listen", &self.listen)
    }

    /// The gRPC address; none when it is off.
    pub fn grpc_address(&self) -> Result<Option<SocketAddr>> {
        optional("grpc-listen", &self.grpc_listen)
    }

    /// The address of probes and metrics alone; none when it is off.
    pub fn metrics_address(&self) -> Result<Option<SocketAddr>> {
        optional("metrics-listen", &self.metrics_listen)
    }

    /// Certificate and key files, where TLS is on.
    pub fn tls(&self) -> Option<(&Path, &Path)> {
        let set = !self.tls_cert.as_os_str().is_empty();
        set.then_some((self.tls_cert.as_path(), self.tls_key.as_path()))
    }

    /// The database, where it is not SQLite in the data folder.
    pub fn database_url(&self) -> Option<&str> {
        Some(self.database_url.as_str()).filter(|u| !u.is_empty())
    }

    /// The object store, where it is not a folder in the data folder.
    pub fn objects(&self) -> Option<&str> {
        Some(self.objects.as_str()).filter(|u| !u.is_empty())
    }

    /// Threads each job may use.
    pub fn job_threads(&self) -> usize {
        match self.job_threads {
            0 => (cores() / self.workers.max(1)).max(1),
            threads => threads,
        }
    }

    /// Bytes of memory a training may take, where they were given.
    pub fn train_memory(&self) -> Option<u64> {
        Some(self.train_memory).filter(|&bytes| bytes > 0)
    }

    /// [`Config::request_timeout`] as a duration.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.request_timeout)
    }

    /// [`Config::client_timeout`] as a duration.
    pub fn client_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.client_timeout)
    }

    /// [`Config::drain_timeout`] as a duration.
    pub fn drain_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.drain_timeout)
    }

    /// Refuses settings that contradict each other, naming the setting.
    pub fn check(&self) -> Result<()> {
        let seconds = [
            ("request-timeout", self.request_timeout),
            ("client-timeout", self.client_timeout),
            ("drain-timeout", self.drain_timeout),
            ("checkpoint-seconds", self.checkpoint_seconds),
        ];
        for (name, value) in seconds {
            if !(value > 0.0 && value <= 1e9) {
                return Err(wrong(name, "is to be a number of seconds above 0"));
            }
        }
        if self.tls_cert.as_os_str().is_empty() != self.tls_key.as_os_str().is_empty() {
            return Err(wrong("tls-cert", "and --tls-key are to be given together"));
        }
        if self.master_key().is_some_and(|k| k.len() < 16) {
            return Err(wrong("master-key", "is to have at least 16 characters"));
        }
        for (name, at) in [("listen", Some(self.http_address()?)), ("grpc-listen", self.grpc_address()?)] {
            let open = at.is_some_and(|a| !a.ip().is_loopback());
            if open && self.master_key().is_none() && !self.insecure {
                let why =
                    "is not a loopback address: give --master-key, or --insecure to allow every request everything";
                return Err(wrong(name, why));
            }
        }
        Ok(())
    }
}

impl Flags {
    fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::malformed("bad_configuration", format!("{} cannot be read: {error}", path.display()))
        })?;
        toml::from_str(&text).map_err(|error| {
            Error::malformed("bad_configuration", format!("{}: {}", path.display(), error.to_string().trim()))
        })
    }
}

/// This very program, also once its file was replaced by another version.
fn own_program() -> Option<PathBuf> {
    let linked = PathBuf::from("/proc/self/exe");
    if linked.exists() { Some(linked) } else { std::env::current_exe().ok() }
}

fn optional(name: &str, text: &str) -> Result<Option<SocketAddr>> {
    if matches!(text, "" | "off") { Ok(None) } else { address(name, text).map(Some) }
}

fn address(name: &str, text: &str) -> Result<SocketAddr> {
    let found = text.to_socket_addrs().ok().and_then(|mut found| found.next());
    found.ok_or_else(|| wrong(name, &format!("'{text}' is not an address such as 127.0.0.1:8080")))
}

fn wrong(name: &str, why: &str) -> Error {
    Error::malformed("bad_configuration", format!("--{name} {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        flags: Flags,
    }

    fn config(arguments: &[&str], file: &str) -> Result<Config> {
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), file).unwrap();
        let name = path.path().to_string_lossy().into_owned();
        let all = ["kenyon", "--config", &name].into_iter().chain(arguments.iter().copied());
        Config::load(Cli::try_parse_from(all).unwrap().flags)
    }

    #[test]
    fn a_flag_beats_the_file_and_the_file_beats_the_default() {
        let config = config(&["--workers", "3"], "workers = 5\nmax_columns = 7").unwrap();
        assert_eq!((config.workers, config.max_columns, config.max_models), (3, 7, 1000));
    }

    #[test]
    fn an_unknown_key_in_the_file_is_refused_by_name() {
        let error = config(&[], "wrokers = 5").unwrap_err();
        assert!(error.detail.contains("wrokers"), "{}", error.detail);
    }

    #[test]
    fn only_loopback_without_a_master_key() {
        assert!(config(&["--listen", "0.0.0.0:8080"], "").is_err());
        assert!(config(&["--listen", "0.0.0.0:8080", "--insecure"], "").is_ok());
        assert!(config(&["--listen", "0.0.0.0:8080"], "master_key = \"0123456789abcdef\"").is_ok());
        assert!(config(&[], "master_key = \"short\"").is_err());
    }

    #[test]
    fn secrets_are_not_printed() {
        let config = config(&["--master-key", "0123456789abcdef"], "").unwrap();
        assert!(!format!("{config:?}").contains("0123456789abcdef"));
    }
}
