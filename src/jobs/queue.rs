//! Asking for jobs: a request is checked against what is stored, then queued.

use super::search::{self, SearchRequest};
use crate::store::{DatasetName, IdempotencyKey, Job, JobId, JobKind, ModelName, NewJob, NewModel, Store};
use crate::{Detail, Error, Result};
use kenyon_learn::data::schema::{Features, Summary};
use kenyon_learn::learning::FitSpec;
use kenyon_learn::models::{Family, Task};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A training call, as the interface takes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainRequest {
    /// What to learn from.
    pub dataset: DatasetName,
    /// Column to predict.
    pub target: String,
    /// Chosen from the data when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// Inferred from the target when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,
    /// How columns are to be read.
    #[serde(default, skip_serializing_if = "Features::is_empty")]
    pub features: Features,
    /// Share of the rows held out; chosen from their number when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<f32>,
    /// Everything random follows from it.
    #[serde(default)]
    pub seed: u64,
    /// Higher runs first.
    #[serde(default)]
    pub priority: i64,
    /// Settings of the family and of training itself.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub config: Map<String, Value>,
    /// Tries several configurations and trains the best in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<SearchRequest>,
}

impl TrainRequest {
    /// What the training is told.
    pub fn fit_spec(&self, validation: f32) -> FitSpec {
        FitSpec {
            target: self.target.clone(),
            family: self.family,
            task: self.task,
            validation,
            seed: self.seed,
            config: self.config.clone(),
        }
    }
}

/// Where jobs are submitted. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Queue {
    store: Store,
    max_queued: u64,
}

impl Queue {
    /// The queue of `store`; 429 `queue_full` when `max_queued` jobs wait already.
    pub fn new(store: Store, max_queued: u64) -> Self {
        Self { store, max_queued }
    }

    /// Queues a training, which makes the model if there is none; `false` when the idempotency key
    /// named one that was submitted before.
    pub async fn train(
        &self,
        model: &ModelName,
        request: &TrainRequest,
        key: Option<&IdempotencyKey>,
    ) -> Result<(Job, bool)> {
        let dataset = self.store.dataset(&request.dataset).await?;
        check(request, &summary(&dataset.columns)?)?;
        let create = NewModel {
            name: model.clone(),
            family: request.family.map(|f| f.name().to_owned()),
            task: None,
            target: request.target.clone(),
            info: json!({}),
        };
        let new = NewJob {
            kind: JobKind::Train,
            model: model.clone(),
            dataset: Some(request.dataset.clone()),
            spec: serde_json::to_value(request).map_err(Error::internal)?,
            priority: request.priority,
            create: Some(create),
        };
        self.store.submit_job(new, self.max_queued, key).await
    }

    /// Queues a consolidation of what the model has observed.
    pub async fn consolidate(
        &self,
        model: &ModelName,
        spec: Value,
        key: Option<&IdempotencyKey>,
    ) -> Result<(Job, bool)> {
        let kind = JobKind::Consolidate;
        let new = NewJob { kind, model: model.clone(), dataset: None, spec, priority: 0, create: None };
        self.store.submit_job(new, self.max_queued, key).await
    }

    /// Queues an evaluation of the served version; 503 `no_version` when there is none.
    pub async fn evaluate(
        &self,
        model: &ModelName,
        dataset: &DatasetName,
        key: Option<&IdempotencyKey>,
    ) -> Result<(Job, bool)> {
        if self.store.model(model).await?.traffic.stable.is_none() {
            let error = Error::new(crate::Kind::Unavailable, "no_version", "the model has no version yet");
            return Err(error.with_retry_after(1));
        }
        let new = NewJob {
            kind: JobKind::Evaluate,
            model: model.clone(),
            dataset: Some(dataset.clone()),
            spec: json!({}),
            // Somebody waits for the answer.
            priority: 100,
            create: None,
        };
        self.store.submit_job(new, self.max_queued, key).await
    }

    /// Waits until a job has ended.
    pub async fn wait(&self, id: JobId) -> Result<Job> {
        use futures::{StreamExt, pin_mut};
        let events = super::follow(self.store.clone(), id, 0);
        pin_mut!(events);
        while let Some(event) = events.next().await {
            event?;
        }
        self.store.job(id).await
    }
}

/// The schema as it was stored with the dataset.
pub(super) fn summary(columns: &Value) -> Result<Summary> {
    serde_json::from_value(columns.clone()).map_err(Error::internal)
}

/// What can be refused before the job waits: the caller is still there to hear it.
fn check(request: &TrainRequest, summary: &Summary) -> Result<()> {
    let wrong = |path: &str, reason: String| {
        let detail = format!("{path}: {reason}");
        Err(Error::unprocessable("invalid_training", detail).with_details([Detail::path(path, reason)]))
    };
    if request.validation.is_some_and(|v| !(v > 0.0 && v <= 0.9)) {
        return wrong("validation", "the share held out is above 0 and at most 0.9".to_owned());
    }
    kenyon_learn::data::plan::resolve(summary, &request.features, &request.target, request.task)?;
    if let Some(family) = request.family {
        kenyon_learn::learning::settings::complete(family, &request.config)?;
    }
    if let Some(search) = &request.search {
        search::check(search, request.family)?;
    }
    Ok(())
}
