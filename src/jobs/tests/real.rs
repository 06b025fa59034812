//! The runner of a real server on real data: resumed trainings end with the same bits.

use super::*;
use crate::store::{DatasetName, JobKind, NewPart};
use kenyon_learn::data::formats::{self, Limits};
use kenyon_learn::data::schema::infer;
use kenyon_learn::device::DeviceName;

async fn upload(store: &Store) -> DatasetName {
    let text = kenyon_learn::data::bundled::BREAST_CANCER;
    let chunks = futures::stream::iter([Ok::<_, crate::Error>(bytes::Bytes::from_static(text))]);
    let file = store.stage(chunks, 1 << 20).await.unwrap();
    let part = formats::detect(file.path(), None, None).unwrap();
    let summary = infer(&part, &Limits::default()).unwrap();
    let name: DatasetName = "cancer".parse().unwrap();
    let new = NewPart {
        file,
        format: "csv".to_owned(),
        compression: "none".to_owned(),
        rows: summary.rows,
        read_as: serde_json::Value::Null,
    };
    store.put_dataset(&name, vec![new], &serde_json::to_value(&summary).unwrap()).await.unwrap();
    name
}

fn request(more: Value) -> TrainRequest {
    let mut request = json!({
        "dataset": "cancer", "target": "target", "family": "sparse_mlp", "seed": 5,
        "config": { "epochs": 12, "hidden": [32], "early_stopping": 0 },
    });
    for (name, value) in more.as_object().unwrap() {
        request[name] = value.clone();
    }
    serde_json::from_value(request).unwrap()
}

fn workers(store: &Store, memory: Option<u64>) -> Workers {
    let trainer = Trainer { limits: Limits::default(), memory, program: None, device: DeviceName::Cpu };
    let config = WorkerConfig { checkpoint_every: Duration::from_millis(1), ..WorkerConfig::default() };
    Workers::new(store.clone(), Arc::new(trainer), config)
}

async fn run(store: &Store, model: &str, request: &TrainRequest, interruptions: usize) -> (Job, Vec<Vec<u8>>) {
    let queue = Queue::new(store.clone(), 10);
    let (job, new) = queue.train(&model.parse().unwrap(), request, None).await.unwrap();
    assert!(new);
    let mut left = interruptions;
    let mut job = job;
    while !job.status.is_final() {
        let w = workers(store, None);
        assert!(w.tick().await.unwrap());
        if left > 0 {
            left -= 1;
            // Stopped as soon as there is a checkpoint to continue from.
            w.drain().await;
        }
        w.idle().await;
        job = store.job(job.id).await.unwrap();
    }
    assert_eq!(job.status, JobStatus::Succeeded, "{job:?}");
    let version = store.version(job.model().unwrap(), 1).await.unwrap();
    let files = store.version_files(&version).await.unwrap();
    (job, files.into_iter().map(|(_, bytes)| bytes.to_vec()).collect())
}

#[tokio::test]
async fn a_training_that_was_interrupted_ends_with_the_same_bits() {
    let store = Store::open_temporary().await.unwrap();
    upload(&store).await;
    let (job, undisturbed) = run(&store, "a", &request(json!({})), 0).await;
    assert_eq!(job.attempt, 1);
    assert!(job.metrics["accuracy"].as_f64().unwrap() > 0.9, "{}", job.metrics);
    let (job, resumed) = run(&store, "b", &request(json!({})), 3).await;
    assert!(job.attempt > 1 && job.resumed_from_step > 0, "{job:?}");
    assert!(undisturbed == resumed, "the files differ");
}

#[tokio::test]
async fn a_search_ends_in_a_version_and_shows_its_trials() {
    let store = Store::open_temporary().await.unwrap();
    upload(&store).await;
    let space = json!({ "hidden": [[8], [16]], "learning_rate": { "min": 0.001, "max": 0.01, "log": true } });
    let request = request(json!({ "search": { "trials": 4, "space": space }, "config": { "epochs": 3 } }));
    let (job, _) = run(&store, "a", &request, 1).await;
    let version = store.version(job.model().unwrap(), 1).await.unwrap();
    let tried = version.info["search"].as_array().unwrap();
    assert_eq!(tried.len(), 4 + 2, "{tried:?}");
    assert!(tried.iter().all(|t| t["score"].is_f64()));
    let lines = store.job_events(job.id, 0, 1000).await.unwrap();
    assert!(lines.iter().any(|e| e.kind == "log" && e.data["line"].as_str().unwrap().starts_with("trial 3")));
}

#[tokio::test]
async fn what_cannot_work_is_said_early() {
    let store = Store::open_temporary().await.unwrap();
    let queue = Queue::new(store.clone(), 10);
    let model: crate::store::ModelName = "m".parse().unwrap();
    let refusal = async |more: Value| queue.train(&model, &request(more), None).await.map(|_| ()).unwrap_err().code;
    assert_eq!(refusal(json!({})).await, "dataset_not_found");
    upload(&store).await;
    assert_eq!(refusal(json!({ "validation": 0.0 })).await, "invalid_training");
    assert_eq!(refusal(json!({ "target": "nope" })).await, "unknown_target");
    assert_eq!(refusal(json!({ "config": { "nope": 1 } })).await, "unknown_field");
    assert_eq!(refusal(json!({ "config": { "epochs": 0 } })).await, "bad_setting");
    assert_eq!(refusal(json!({ "search": { "trials": 0 } })).await, "invalid_search");
    assert!(store.models(10, None).await.unwrap().items.is_empty(), "nothing was made");
    let evaluate = queue.evaluate(&model, &"cancer".parse().unwrap(), None).await.unwrap_err();
    assert_eq!(evaluate.code, "model_not_found");

    // With too little memory it fails before it starts, with the figures.
    let (job, _) = queue.train(&model, &request(json!({})), None).await.unwrap();
    let w = workers(&store, Some(1000));
    assert!(w.tick().await.unwrap());
    w.idle().await;
    let job = store.job(job.id).await.unwrap();
    assert_eq!(job.error.unwrap()["code"], "not_enough_memory");
}

#[tokio::test]
async fn a_version_is_evaluated_beside_its_models_trainings() {
    let store = Store::open_temporary().await.unwrap();
    let data = upload(&store).await;
    run(&store, "a", &request(json!({})), 0).await;
    run(&store, "a", &request(json!({ "promote": false })), 0).await;
    let queue = Queue::new(store.clone(), 10);
    let model: crate::store::ModelName = "a".parse().unwrap();
    let (job, _) = queue.evaluate(&model, &data, None).await.unwrap();
    assert_eq!((job.kind, job.version), (JobKind::Evaluate, Some(1)));
    // It stays with the version that was served when it was submitted.
    let traffic = store.model(&model).await.unwrap().traffic;
    store.set_traffic(&model, &crate::store::Traffic { stable: Some(2), ..traffic }).await.unwrap();
    let w = workers(&store, None);
    assert!(w.tick().await.unwrap());
    let job = queue.wait(job.id).await.unwrap();
    let result = job.result.unwrap();
    assert!(result["metrics"]["accuracy"].as_f64().unwrap() > 0.9, "{result}");
    assert_eq!(result["version"], 1);
}
