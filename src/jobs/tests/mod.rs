//! The workers, driven step by step with a toy on both databases.

mod crash;
mod real;
pub(crate) mod toy;

use super::*;
use crate::store::tests::{on_both, train};
use crate::store::{Job, JobId, JobStatus, NewJob, Store};
use futures::StreamExt;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use toy::{Toy, expected};

fn workers(store: &Store, workers: usize) -> Workers {
    let config = WorkerConfig { workers, checkpoint_every: Duration::from_millis(20), ..WorkerConfig::default() };
    Workers::new(store.clone(), Arc::new(Toy), config)
}

async fn submit(store: &Store, model: &str, spec: Value) -> JobId {
    let job = NewJob { spec, ..train(model) };
    store.submit_job(job, 1000, None).await.unwrap().0.id
}

async fn weights(store: &Store, job: &Job) -> Vec<u8> {
    let version = store.version(job.model().unwrap(), job.version.unwrap()).await.unwrap();
    assert_eq!(version.job_id, Some(job.id));
    store.version_files(&version).await.unwrap()[0].1.to_vec()
}

#[tokio::test]
async fn a_tick_takes_one_job_and_no_more_than_there_are_workers() {
    on_both(|f| async move {
        let w = workers(&f.store, 2);
        assert!(!w.tick().await.unwrap());
        for model in ["a", "b", "c"] {
            submit(&f.store, model, json!({ "steps": 50, "seed": 3, "epoch": 10 })).await;
        }
        assert!(w.tick().await.unwrap() && w.tick().await.unwrap());
        let third = w.tick().await.unwrap();
        w.idle().await;
        assert!(third || w.tick().await.unwrap());
        w.idle().await;
        for job in f.store.jobs(&crate::store::JobFilter::default(), 10, None).await.unwrap().items {
            assert_eq!(job.status, JobStatus::Succeeded, "{job:?}");
            assert_eq!((job.attempt, &job.progress["step"]), (1, &json!(50)));
            assert_eq!(weights(&f.store, &job).await, expected(3, 50));
            let curve = f.store.job_curve(job.id).await.unwrap();
            assert_eq!(curve.iter().map(|p| p["step"].as_u64().unwrap()).collect::<Vec<_>>(), [10, 20, 30, 40, 50]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_panic_or_an_error_fails_the_job_and_nothing_else() {
    on_both(|f| async move {
        let w = workers(&f.store, 1);
        let panics = submit(&f.store, "a", json!({ "panic_at": 3 })).await;
        let fails = submit(&f.store, "a", json!({ "fail_at": 3 })).await;
        let good = submit(&f.store, "a", json!({})).await;
        while w.tick().await.unwrap() {
            w.idle().await;
        }
        let job = f.store.job(panics).await.unwrap();
        assert_eq!((job.status, &job.error.unwrap()["code"]), (JobStatus::Failed, &json!("job_panicked")));
        let job = f.store.job(fails).await.unwrap();
        assert_eq!(
            (job.status, &job.error.unwrap()["detail"]),
            (JobStatus::Failed, &json!("the toy failed as requested"))
        );
        assert_eq!(f.store.job(good).await.unwrap().status, JobStatus::Succeeded);
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_ends_hands_its_job_on_at_a_checkpoint() {
    on_both(|f| async move {
        let id = submit(&f.store, "a", json!({ "steps": 400, "epoch": 10, "pause_us": 500, "seed": 9 })).await;
        let mut attempts = 0;
        while f.store.job(id).await.unwrap().status != JobStatus::Succeeded {
            let w = workers(&f.store, 1);
            assert!(w.tick().await.unwrap());
            attempts += 1;
            if attempts < 4 {
                // Stopped as soon as there is a checkpoint to continue from.
                w.drain().await;
            } else {
                w.idle().await;
            }
        }
        let job = f.store.job(id).await.unwrap();
        assert_eq!(job.attempt, attempts);
        assert!(attempts == 1 || job.resumed_from_step > 0);
        assert_eq!(weights(&f.store, &job).await, expected(9, 400));
    })
    .await;
}

#[tokio::test]
async fn cancelling_takes_effect_at_once_even_when_the_mathematics_is_deaf() {
    on_both(|f| async move {
        let w = workers(&f.store, 2);
        let stop = CancellationToken::new();
        let running = tokio::spawn({
            let (w, stop) = (w.clone(), stop.clone());
            async move { w.run(stop).await }
        });
        for spec in [json!({ "steps": 1_000_000, "pause_us": 1000 }), json!({ "unresponsive": 2000 })] {
            let id = submit(&f.store, "m", spec).await;
            let events = follow(f.store.clone(), id, 0);
            futures::pin_mut!(events);
            while events.next().await.unwrap().unwrap().data["status"] != "running" {}
            let begun = Instant::now();
            f.store.cancel_job(id).await.unwrap();
            while events.next().await.is_some() {}
            assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
            assert_eq!(f.store.job(id).await.unwrap().status, JobStatus::Canceled);
        }
        stop.cancel();
        running.await.unwrap();
        assert_eq!(w.running(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_lost_lease_stops_the_worker_and_its_result_is_not_seen() {
    on_both(|f| async move {
        let id = submit(&f.store, "a", json!({ "steps": 60, "pause_us": 10_000, "seed": 1 })).await;
        let config = WorkerConfig { lease: Duration::ZERO, ..WorkerConfig::default() };
        let slow = Workers::new(f.store.clone(), Arc::new(Toy), config);
        assert!(slow.tick().await.unwrap());
        let other = workers(&f.replica().await, 1);
        let is_free = async {
            while !other.tick().await.unwrap() {
                other.beat().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(20), is_free).await.expect("the job is free again");
        slow.beat().await.unwrap();
        slow.idle().await;
        other.idle().await;
        let job = f.store.job(id).await.unwrap();
        assert_eq!((job.status, job.attempt), (JobStatus::Succeeded, 2));
        assert_eq!(weights(&f.store, &job).await, expected(1, 60));
        assert_eq!(f.store.versions(job.model().unwrap()).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn events_can_be_followed_from_any_replica_and_resumed() {
    on_both(|f| async move {
        let stop = CancellationToken::new();
        let w = workers(&f.store, 1);
        let running = tokio::spawn({
            let stop = stop.clone();
            async move { w.run(stop).await }
        });
        let other = f.replica().await;
        let id = submit(&other, "a", json!({ "steps": 30, "epoch": 10, "pause_us": 1000 })).await;
        let all: Vec<_> = follow(other.clone(), id, 0).map(|e| e.unwrap()).collect().await;
        assert!(all.windows(2).all(|w| w[0].id < w[1].id));
        let last = all.last().unwrap();
        assert_eq!((last.kind.as_str(), &last.data["status"]), ("status", &json!("succeeded")));
        for kind in ["status", "progress", "metric", "log"] {
            assert!(all.iter().any(|e| e.kind == kind), "no {kind} in {all:?}");
        }
        let rest: Vec<_> = follow(other.clone(), id, all[2].id).map(|e| e.unwrap()).collect().await;
        assert!(all.ends_with(&rest) && rest.len() <= all.len() - 3);
        let unknown: Vec<_> = follow(other, JobId::fresh(), 0).collect().await;
        assert_eq!(unknown[0].as_ref().unwrap_err().code, "job_not_found");
        assert_eq!(unknown.len(), 1);
        stop.cancel();
        running.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn progress_costs_one_write_a_second() {
    let store = Store::open_temporary().await.unwrap();
    let w = workers(&store, 1);
    let id = submit(&store, "a", json!({ "steps": 200_000, "epoch": 100 })).await;
    assert!(w.tick().await.unwrap());
    w.idle().await;
    let events = store.job_events(id, 0, 10_000).await.unwrap();
    let (first, last) = (events[0].id, events.last().unwrap().id);
    let progress = events.iter().filter(|e| e.kind == "progress").count();
    assert_eq!(progress, 1);
    assert!(last - first < 2200, "2,000 epochs and a few lines: {} events", last - first);
}
