//! The engine: from a model's name and rows to answers.

use super::answer::{Answer, Explain, PredictOptions, Reply, Timing};
use super::clock::{Ids, unix_millis};
use super::library::Library;
use super::loaded_version::LoadedVersion;
use super::reasons::Reasons;
use super::request;
use super::routing::{ShadowFigures, Slot};
use super::settings::Settings;
use super::stats::{self, Figures, Rejected};
use super::table::{Selection, Table};
use crate::store::{Change, Predictions};
use crate::{Error, Kind, Result};
use bytes::Bytes;
use kenyon_learn::data::{self, Batch};
use kenyon_learn::learning::bundle::Bundle;
use kenyon_learn::learning::explain::attribute;
use kenyon_learn::models;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::broadcast;

/// Bodies above this size are parsed on a thread for blocking work: milliseconds of parsing would
/// delay every other request on an async thread.
const LARGE_BODY: usize = 96 << 10;

/// Batches with more rows than this are encoded and rendered on a thread for blocking work.
const LARGE_ROWS: usize = 256;

/// The caller of a request.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// `X-Request-Id`: the same id always gets the same side of a canary split.
    pub request_id: &'a str,
    /// When the answer is no longer useful; the engine's own limit when missing.
    pub deadline: Option<Instant>,
}

/// A version that was selected to answer a request.
#[derive(Clone)]
pub struct RoutedModel {
    /// The version.
    pub loaded: Arc<LoadedVersion>,
    shadow: Option<Arc<Slot>>,
    started: Instant,
}

impl RoutedModel {
    /// Whether a shadow also predicts, for which the rows are encoded once more.
    pub fn has_shadow(&self) -> bool {
        self.shadow.is_some()
    }
}

/// Encodes the rows of a request once more, for a version with another encoder.
pub type ShadowEncode = Box<dyn FnOnce(&Bundle) -> Result<Batch> + Send>;

/// Encoded rows and options of their answers.
pub struct EncodedRequest<'a> {
    /// The rows, encoded for the selected version.
    pub batch: Batch,
    /// Contents of the answers.
    pub options: &'a PredictOptions,
    /// Whether novelty is computed.
    pub novelty: bool,
    /// When the answer is no longer useful; the engine's own limit when missing.
    pub deadline: Option<Instant>,
    /// For the shadow, where there is one ([`RoutedModel::has_shadow`]).
    pub shadow_encode: Option<ShadowEncode>,
    /// The rows before they were encoded, where reasons are wanted.
    pub table: Option<data::Table>,
}

/// Answers requests. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    table: Table,
    settings: Settings,
    ids: Ids,
    answered: Predictions,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine that loads from `library`.
    pub fn new(library: Arc<dyn Library>, settings: Settings) -> Self {
        let inner = Inner {
            table: Table::new(library, settings),
            settings,
            ids: Ids::new(),
            answered: Predictions::new(settings.feedback_bytes, settings.feedback_age),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Calls `hook` with every version right after it was loaded, before it answers a request.
    /// Only the first hook counts.
    pub fn on_load(&self, hook: super::table::LoadHook) {
        self.inner.table.on_load(hook);
    }

    /// Answers a predict request's body, `{"rows":[…],"top_k":…,"coverage":…,"explain":…,"version":…}`,
    /// with the bytes to send.
    pub async fn predict_json(&self, model: &str, body: &Bytes, caller: Caller<'_>) -> Result<Reply> {
        let started = Instant::now();
        let (parsed, rows) = request::parse(body)?;
        let options = parsed.options();
        let mut routed = self.choose(model, parsed.version, caller.request_id).await?;
        routed.started = started;
        let batch = if body.len() > LARGE_BODY || routed.loaded.bundle().encoder.is_slow() {
            let (loaded, rows) = (Arc::clone(&routed.loaded), body.slice_ref(rows));
            blocking(move || read(&loaded, &rows)).await
        } else {
            read(&routed.loaded, rows)
        };
        // Rows that are not JSON make the whole request invalid.
        if batch.as_ref().is_err_and(|error| error.kind == Kind::Malformed) {
            request::check(body)?;
        }
        let (batch, table) = batch.inspect_err(|_| routed.loaded.stats.rejected(Rejected::Rows))?;
        let table = (options.explain != Explain::No).then_some(table);
        let shadow_encode = routed.has_shadow().then(|| {
            let rows = body.slice_ref(rows);
            Box::new(move |bundle: &Bundle| Ok(bundle.encode(&bundle.reader().from_json(&rows)?)?)) as ShadowEncode
        });
        let encoded =
            EncodedRequest { batch, options: &options, novelty: true, deadline: caller.deadline, shadow_encode, table };
        let answer = self.answer(&routed, encoded).await?;
        let ids = self.inner.ids.take(answer.rows());
        self.remember(model, rows, &ids.clone().collect::<Vec<_>>());
        let (version, timing) = (answer.loaded.version, answer.timing);
        let body = if answer.rows() > LARGE_ROWS {
            blocking(move || Ok(answer.to_json(&options, ids))).await?
        } else {
            answer.to_json(&options, ids)
        };
        Ok(Reply { version, body, timing: Timing { total: started.elapsed(), ..timing } })
    }

    /// Selects the version that answers: the one named, or the one from the traffic split. It is loaded
    /// when this returns, and answers even if it is replaced meanwhile.
    pub async fn choose(&self, model: &str, version: Option<u64>, request_id: &str) -> Result<RoutedModel> {
        let Selection { loaded, shadow } = self.inner.table.select(model, version, request_id).await?;
        Ok(RoutedModel { loaded, shadow, started: Instant::now() })
    }

    /// Answers encoded rows with the selected version.
    pub async fn answer(&self, routed: &RoutedModel, encoded: EncodedRequest<'_>) -> Result<Answer> {
        let loaded = &routed.loaded;
        loaded.touch(unix_millis());
        let deadline = encoded.deadline.unwrap_or_else(|| routed.started + self.inner.settings.deadline);
        let input = routed.started.elapsed();
        let rows = encoded.batch.rows();
        let explained = (encoded.options.explain != Explain::No).then(|| encoded.batch.clone());
        let ran = loaded.queue.run(encoded.batch, encoded.novelty, deadline).await;
        let (outputs, spent) = ran.inspect_err(|error| loaded.stats.rejected(reason(error)))?;
        let total = routed.started.elapsed();
        loaded.stats.answered(rows, spent.queue, spent.compute, input, total);
        let snapshot = Arc::clone(&loaded.snapshot());
        let timing = Timing::new(spent, total);
        let mut answer = Answer { loaded: Arc::clone(loaded), snapshot, outputs, reasons: Vec::new(), timing };
        loaded.stats.abstained(answer.abstained(encoded.options) as u64);
        if let (Some(shadow), Some(shadow_encode)) = (&routed.shadow, encoded.shadow_encode) {
            self.shadow(Arc::clone(shadow), &answer, shadow_encode);
        }
        if let Some(batch) = explained {
            answer.reasons = explain(&answer, batch, encoded.table, encoded.options.explain).await?;
        }
        Ok(answer)
    }

    /// Runs the shadow on the same rows, unless it is busy, and compares.
    fn shadow(&self, slot: Arc<Slot>, answer: &Answer, shadow_encode: ShadowEncode) {
        let (engine, ours) = (self.clone(), answer.outputs.clone());
        let (loaded, snapshot) = (Arc::clone(&answer.loaded), Arc::clone(&answer.snapshot));
        tokio::spawn(async move {
            let compared = async {
                let theirs = match slot.ready() {
                    Some(theirs) => theirs,
                    None => engine.inner.table.load(&loaded.model, &slot).await?,
                };
                if theirs.queue.queued_rows() * 2 > engine.inner.settings.limits.max_queue_rows {
                    return Err(Error::new(Kind::Overloaded, "queue_full", "the shadow is busy"));
                }
                let bundle = theirs.bundle();
                let reading = Arc::clone(&bundle);
                let batch = blocking(move || shadow_encode(&reading)).await?;
                let deadline = Instant::now() + engine.inner.settings.deadline;
                let (outputs, _) = theirs.queue.run(batch, false, deadline).await?;
                let places = places(&snapshot.bundle, &bundle);
                let ours_of = &snapshot.bundle;
                let named: [&dyn Fn(&[f32]) -> usize; 2] = [&|p| ours_of.named(p), &|p| bundle.named(p)];
                slot.shadow.compare(&ours, &outputs, named, &places, |a, b| ours_of.value(a) - bundle.value(b));
                Ok(())
            };
            if compared.await.is_err() {
                slot.shadow.skip();
            }
        });
    }

    /// Reads a model's traffic and versions from the library again: after training, promote,
    /// rollback, a traffic change, removal. The version it names is loaded before the switch, so
    /// that requests are answered by either the one or the other, without a gap.
    pub async fn refresh(&self, model: &str) -> Result<()> {
        match self.inner.table.refresh(model).await {
            // A deleted model is no error of the notification's sender; a version whose files are not there is one.
            Err(error) if error.code == "model_not_found" => Ok(()),
            other => other,
        }
    }

    /// Keeps the bundle of a version that is about to be published, where its model is in use here.
    pub fn prepare(&self, model: &str, id: uuid::Uuid, version: u64, bundle: Bundle) {
        self.inner.table.prepare(model, id, version, bundle);
    }

    /// The id of the model that has this name now, and the version it serves; `model_not_found` when there is none.
    pub async fn identity(&self, model: &str) -> Result<(uuid::Uuid, Option<u64>)> {
        self.inner.table.identity(model).await
    }

    /// Follows changes in the store, on this replica or another, until the store closes.
    /// Messages can be lost, so everything that is open is also checked every minute.
    pub async fn follow(self, mut changes: broadcast::Receiver<Change>) {
        let mut regularly = tokio::time::interval(Duration::from_secs(60));
        regularly.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let models = tokio::select! {
                change = changes.recv() => match change {
                    Ok(Change::Model(model)) => vec![model.as_str().into()],
                    Ok(Change::Unknown) | Err(broadcast::error::RecvError::Lagged(_)) => self.inner.table.names(),
                    Ok(_) => continue,
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                _ = regularly.tick() => self.inner.table.names(),
            };
            for model in models {
                if let Err(error) = self.refresh(&model).await {
                    tracing::warn!(model = &*model, %error, "a model's traffic could not be read");
                }
            }
        }
    }

    /// The version if it is loaded already; the stable one when none is named.
    pub fn loaded(&self, model: &str, version: Option<u64>) -> Option<Arc<LoadedVersion>> {
        self.inner.table.peek(model, version)
    }

    /// How the shadow of a model compares with what was sent.
    pub fn shadow_figures(&self, model: &str) -> Option<ShadowFigures> {
        let slot = self.inner.table.shadow(model)?;
        Some(slot.shadow.figures(slot.version))
    }

    /// Counts and times of a model's versions that were requested here, by version.
    pub fn figures(&self, model: &str) -> Vec<(u64, Figures)> {
        let mut figures = Vec::new();
        self.inner.table.each_slot(|name, slot| {
            if **name == *model {
                figures.push((slot.version, slot.stats.figures()));
            }
        });
        figures.sort_by_key(|(version, _)| *version);
        figures
    }

    /// Takes out what was answered under a prediction id: the model and the row as JSON. Rows are kept for a while
    /// and within a bound of bytes.
    pub fn recall(&self, prediction_id: &str) -> Option<(String, Vec<u8>)> {
        let (kept, index) = self.inner.answered.take(prediction_id)?;
        let end = kept.iter().position(|&b| b == b'\n')?;
        let model = String::from_utf8(kept[..end].to_vec()).ok()?;
        let rows = serde_json::from_slice::<Vec<&RawValue>>(&kept[end + 1..]).ok()?;
        Some((model, rows.get(index)?.get().as_bytes().to_vec()))
    }

    /// Keeps the row of a prediction whose label could not be learned.
    pub fn put_back(&self, prediction_id: &str, model: &str, row: &[u8]) {
        let kept = [model.as_bytes(), b"\n[", row, b"]"].concat().into();
        self.inner.answered.insert(std::iter::once(prediction_id.to_owned()), &kept);
    }

    /// Drops recent predictions of a model whose call had a row that `goes`; their number.
    pub fn forget_answers(&self, model: &str, goes: impl Fn(&str) -> bool) -> usize {
        self.inner.answered.remove_calls(|kept| {
            let rows = kept.strip_prefix(model.as_bytes()).and_then(|rest| rest.strip_prefix(b"\n"));
            let rows = rows.and_then(|rows| serde_json::from_slice::<Vec<&RawValue>>(rows).ok());
            rows.is_some_and(|rows| rows.iter().any(|row| goes(row.get())))
        })
    }

    /// Keeps the rows of a request as received: they are parsed when one of them gets its label.
    fn remember(&self, model: &str, rows: &[u8], ids: &[super::clock::Id]) {
        let kept = [model.as_bytes(), b"\n", rows].concat().into();
        self.inner.answered.insert(ids.iter().map(|id| String::from_utf8_lossy(id).into_owned()), &kept);
    }

    /// Appends the `kenyon_predict_*` metrics in the Prometheus text format.
    pub fn write_metrics(&self, out: &mut String) {
        self.inner.table.series(|series, retired| stats::write(out, series, retired));
    }
}

fn read(loaded: &LoadedVersion, rows: &[u8]) -> Result<(Batch, data::Table)> {
    let snapshot = loaded.snapshot();
    let table = snapshot.bundle.reader().from_json(rows)?;
    Ok((snapshot.bundle.encode(&table)?, table))
}

/// For each class of `ours`, its index among the classes of `theirs`; a number has one.
fn places(ours: &Bundle, theirs: &Bundle) -> Vec<Option<usize>> {
    if ours.classes().is_empty() {
        return vec![Some(0)];
    }
    ours.classes().iter().map(|class| theirs.classes().iter().position(|c| c == class)).collect()
}

async fn explain(answer: &Answer, batch: Batch, table: Option<data::Table>, how: Explain) -> Result<Vec<Reasons>> {
    let (snapshot, width) = (Arc::clone(&answer.snapshot), answer.outputs.width);
    let rows = answer.outputs.values.chunks_exact(width.max(1));
    let answered: Vec<usize> = rows.map(|row| snapshot.bundle.named(row)).collect();
    blocking(move || {
        let bundle = &snapshot.bundle;
        let one = |(row, &output): (usize, &usize)| {
            let mut explanation = bundle.network.explain(&batch, row, output)?;
            if how == Explain::LeaveOneOut && !explanation.attention.is_empty() {
                explanation.leave_one_out = models::leave_one_out(&*bundle.network, &batch, row, output)?;
            }
            let attributed = table.as_ref().map(|table| attribute(bundle, table, row, output)).transpose()?;
            let target = &bundle.config.target_encoder;
            Ok(Reasons::new(&explanation, attributed.flatten(), &bundle.encoder, target, (&batch, row)))
        };
        answered.iter().enumerate().map(one).collect()
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)?
}

fn reason(error: &Error) -> Rejected {
    match error.kind {
        Kind::Overloaded => Rejected::Queue,
        Kind::TooLarge => Rejected::TooLarge,
        Kind::Deadline => Rejected::Deadline,
        _ => Rejected::Internal,
    }
}
