//! Submitting jobs: a request is checked against what is stored, then queued.

use super::comparer::CompareRequest;
use super::distiller::{DistillRequest, Distillation};
use super::dry_run::{self, DryRun, DryRuns};
use super::inputs::{evaluation_columns, summary};
use super::predictor::BatchRequest;
use super::schema_guard;
use super::train_request::{HeldOut, TrainRequest, TrainingPlan};
use super::trainer::Trainer;
use crate::store::{DatasetName, EncoderName, IdempotencyKey, Job, JobId, JobKind, ModelName, NewJob, NewModel, Store};
use crate::{Error, Result};
use kenyon_learn::data::plan::ColumnPlan;
use serde::Deserialize;
use serde_json::{Value, json};

/// Where jobs are submitted. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Queue {
    store: Store,
    max_queued: u64,
    dry_runs: DryRuns,
}

impl Queue {
    /// The queue of `store`; 429 `queue_full` when `max_queued` jobs wait already.
    pub fn new(store: Store, max_queued: u64) -> Self {
        Self { store, max_queued, dry_runs: DryRuns::default() }
    }

    /// Queues a training, which makes the model if there is none; `false` when the idempotency key
    /// named one that was submitted before.
    pub async fn train(
        &self,
        model: &ModelName,
        request: &TrainRequest,
        key: Option<&IdempotencyKey>,
    ) -> Result<(Job, bool)> {
        self.checked(model, request).await?;
        let create = NewModel {
            name: model.clone(),
            family: request.family.map(|f| f.name().to_owned()),
            task: None,
            target: request.target.clone(),
            info: json!({}),
        };
        let new = NewJob {
            kind: JobKind::Train,
            model: Some(model.clone()),
            dataset: Some(request.dataset.clone()),
            spec: serde_json::to_value(request).map_err(Error::internal)?,
            priority: request.priority,
            create: Some(create),
        };
        self.store.submit_job(new, self.max_queued, key).await
    }

    /// What a training by `trainer` on some threads would do, determined by reading the data and training on them for a
    /// moment. It is refused where the training would be; 429 `queue_full` when too many requests wait for that.
    pub async fn dry_run(
        &self,
        model: &ModelName,
        request: &TrainRequest,
        trainer: &Trainer,
        threads: usize,
    ) -> Result<DryRun> {
        let plan = self.checked(model, request).await?;
        let turn = self.dry_runs.turn().await?;
        dry_run::run(&self.store, request, plan, (trainer, threads), turn).await
    }

    /// The plan of a request, so that errors are returned before the job is queued; 409 `schema_change` where it differs from that of
    /// the served version and the request does not allow it.
    async fn checked(&self, model: &ModelName, request: &TrainRequest) -> Result<TrainingPlan> {
        let dataset = self.store.dataset(&request.dataset).await?;
        let mut plan = request.check(&summary(&dataset.columns)?)?;
        self.store.find_encoders(&mut plan.resolved.inputs).await?;
        if let Some(HeldOut::Dataset(name)) = &request.validation {
            let other = self.store.dataset(name).await?;
            request.check_held_out(&plan, name, &summary(&other.columns)?)?;
        }
        if !request.schema_change
            && let Some(changes) = schema_guard::changes(&self.store, model, &plan.resolved, &[]).await?
        {
            return Err(changes.refused());
        }
        Ok(plan)
    }

    /// Queues a consolidation of what the model has observed.
    pub async fn consolidate(
        &self,
        model: &ModelName,
        spec: Value,
        key: Option<&IdempotencyKey>,
    ) -> Result<(Job, bool)> {
        let kind = JobKind::Consolidate;
        let new = NewJob { kind, model: Some(model.clone()), dataset: None, spec, priority: 0, create: None };
        self.store.submit_job(new, self.max_queued, key).await
    }

    /// Queues an evaluation of the version that is served now; 503 `no_version` when there is none, and 422 where the dataset lacks
    /// what it takes.
    pub async fn evaluate(
        &self,
        model: &ModelName,
        dataset: &DatasetName,
        key: Option<&IdempotencyKey>,
    ) -> Result<(Job, bool)> {
        let missing = || {
            let error = Error::new(crate::Kind::Unavailable, "no_version", "the model has no version yet");
            error.with_retry_after(1)
        };
        let version = self.store.model(model).await?.traffic.stable.ok_or_else(missing)?;
        let info = self.store.version(model, version).await?.info;
        let columns = self.store.dataset(dataset).await?.columns;
        // Of a version whose columns are described in another form it is found when its files are read.
        if let (Ok(target), Ok(inputs)) =
            (ColumnPlan::deserialize(&info["target"]), Vec::<ColumnPlan>::deserialize(&info["features"]))
        {
            evaluation_columns(&target, &inputs, info["weight"].as_str(), &summary(&columns)?)?;
        }
        let new = NewJob {
            kind: JobKind::Evaluate,
            model: Some(model.clone()),
            dataset: Some(dataset.clone()),
            spec: json!({ "version": version }),
            // A request waits for the answer.
            priority: 100,
            create: None,
        };
        self.store.submit_job(new, self.max_queued, key).await
    }

    /// Queues answers to a whole dataset by one version, which is chosen now; 503 `no_version` when there is none.
    pub async fn predict(
        &self,
        model: &ModelName,
        mut request: BatchRequest,
        key: Option<&IdempotencyKey>,
    ) -> Result<(Job, bool)> {
        request.check()?;
        let stable = self.store.model(model).await?.traffic.stable;
        let missing = || {
            let error = Error::new(crate::Kind::Unavailable, "no_version", "the model has no version yet");
            error.with_retry_after(1)
        };
        let version = request.version.or(stable).ok_or_else(missing)?;
        self.store.version(model, version).await?;
        request.version = Some(version);
        let new = NewJob {
            kind: JobKind::Predict,
            model: Some(model.clone()),
            dataset: Some(request.dataset.clone()),
            spec: serde_json::to_value(&request).map_err(Error::internal)?,
            priority: 0,
            create: None,
        };
        self.store.submit_job(new, self.max_queued, key).await
    }

    /// Queues a comparison; the versions of its models are chosen now, and 503 `no_version` where a model has none.
    pub async fn compare(&self, mut request: CompareRequest, key: Option<&IdempotencyKey>) -> Result<(Job, bool)> {
        request.check()?;
        for system in &mut request.systems {
            if let Some(model) = &system.model {
                let stable = self.store.model(model).await?.traffic.stable;
                let missing = || {
                    let error =
                        Error::new(crate::Kind::Unavailable, "no_version", format!("{model} has no version yet"));
                    error.with_retry_after(1)
                };
                let version = system.version.or(stable).ok_or_else(missing)?;
                self.store.version(model, version).await?;
                system.version = Some(version);
            }
            if let Some(encoder) = &system.encoder {
                self.store.encoder(encoder).await?;
            }
            for dataset in system.dataset.iter().chain(&system.rdm) {
                self.store.dataset(dataset).await?;
            }
        }
        let new = NewJob {
            kind: JobKind::Compare,
            model: None,
            dataset: request.main_dataset().cloned(),
            spec: serde_json::to_value(&request).map_err(Error::internal)?,
            priority: 0,
            create: None,
        };
        self.store.submit_job(new, self.max_queued, key).await
    }

    /// Queues the making of a static encoder from the transformer `encoder`; 409 `encoder_exists` where the new name is
    /// taken.
    pub async fn distill(
        &self,
        encoder: &EncoderName,
        request: DistillRequest,
        key: Option<&IdempotencyKey>,
    ) -> Result<(Job, bool)> {
        let found = self.store.encoder(encoder).await?;
        if found.info["architecture"] == "static" || found.info["reads"] == "image" {
            let detail = format!("{encoder} is no transformer of texts, and only those can be distilled");
            return Err(Error::unprocessable("bad_encoder", detail));
        }
        request.check(&self.store.dataset(&request.dataset).await?.columns)?;
        if self.store.encoder(&request.into).await.is_ok() {
            let detail = format!("there is an encoder {}: choose another name, or delete it first", request.into);
            return Err(Error::conflict("encoder_exists", detail));
        }
        let dataset = Some(request.dataset.clone());
        let spec = Distillation { request, encoder: encoder.clone(), digest: found.digest };
        let new = NewJob {
            kind: JobKind::Distill,
            model: None,
            dataset,
            spec: serde_json::to_value(&spec).map_err(Error::internal)?,
            priority: 0,
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
