use super::*;
use crate::store::events::Report;
use std::collections::HashSet;

async fn submit(s: &Store, name: &str, priority: i64) -> JobId {
    let job = NewJob { priority, ..train(name) };
    s.submit_job(job, 1000, None).await.unwrap().0.id
}

async fn claim(s: &Store, owner: &str) -> Option<crate::store::jobs::Claim> {
    s.claim_job(owner, LEASE).await.unwrap()
}

#[tokio::test]
async fn priority_then_age_and_one_training_a_model() {
    on_both(|f| async move {
        let s = &f.store;
        let first = submit(s, "a", 0).await;
        let second = submit(s, "a", 0).await;
        let other = submit(s, "b", 0).await;
        let urgent = submit(s, "c", 5).await;
        assert_eq!(s.queue_depth().await.unwrap(), 4);
        assert_eq!(claim(s, "w").await.unwrap().job.id, urgent);
        let running = claim(s, "w").await.unwrap();
        assert_eq!(running.job.id, first);
        assert_eq!(claim(s, "w").await.unwrap().job.id, other, "the second of the same model waits");
        assert!(claim(s, "w").await.is_none());
        s.publish_job(&running, version("1")).await.unwrap();
        let running = claim(s, "w").await.unwrap();
        assert_eq!((running.job.id, running.job.version), (second, Some(2)));
        let page = s.jobs(&JobFilter { model: Some("a".parse().unwrap()), ..JobFilter::default() }, 10, None).await;
        let ids: Vec<_> = page.unwrap().items.into_iter().map(|j| j.id).collect();
        assert_eq!(ids, [second, first], "newest first");
        let filter = JobFilter { status: Some(JobStatus::Succeeded), kind: Some(JobKind::Train), model: None };
        assert_eq!(s.jobs(&filter, 10, None).await.unwrap().items.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn many_claimers_never_share_a_job() {
    on_both(|f| async move {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let mut ids = HashSet::new();
        for i in 0..40 {
            ids.insert(submit(&f.store, names[i % names.len()], 0).await);
        }
        let mut workers = Vec::new();
        for w in 0..4 {
            let s = f.replica().await;
            workers.push(tokio::spawn(async move {
                let (owner, mut done) = (format!("w{w}"), Vec::new());
                while let Some(claim) = claim(&s, &owner).await {
                    s.publish_job(&claim, version("x")).await.unwrap();
                    done.push(claim.job.id);
                }
                done
            }));
        }
        let mut seen = Vec::new();
        for worker in workers {
            seen.extend(worker.await.unwrap());
        }
        // A claimer may leave while others hold the models of what still waits.
        while let Some(claim) = claim(&f.store, "last").await {
            f.store.publish_job(&claim, version("x")).await.unwrap();
            seen.push(claim.job.id);
        }
        assert_eq!(seen.len(), ids.len());
        assert_eq!(seen.into_iter().collect::<HashSet<_>>(), ids);
    })
    .await;
}

#[tokio::test]
async fn what_a_lost_worker_writes_changes_nothing() {
    on_both(|f| async move {
        let s = &f.store;
        let id = submit(s, "m", 0).await;
        let lost = s.claim_job("old", Duration::ZERO).await.unwrap().unwrap();
        next_millisecond().await;
        assert_eq!(s.reap_expired().await.unwrap(), 1);
        let held = claim(s, "new").await.unwrap();
        assert_eq!((held.job.id, held.job.attempt), (id, 2));
        let report = Report { lines: vec!["late".to_owned()], ..Report::default() };
        assert_eq!(s.report_job(&lost, &report).await.unwrap_err().code, "lease_lost");
        assert_eq!(s.save_checkpoint(&lost, 9, vec![1]).await.unwrap_err().code, "lease_lost");
        assert_eq!(s.publish_job(&lost, version("zombie")).await.unwrap_err().code, "lease_lost");
        assert_eq!(s.release_job(&lost).await.unwrap_err().code, "lease_lost");
        assert!(s.fail_job(&lost, &crate::Error::internal("x")).await.is_err());
        assert!(s.heartbeat("old", LEASE).await.unwrap().is_empty());
        assert!(s.versions(&"m".parse().unwrap()).await.unwrap().is_empty());
        assert!(keys(s, "checkpoints").await.is_empty());
        s.publish_job(&held, version("good")).await.unwrap();
        let versions = s.versions(&"m".parse().unwrap()).await.unwrap();
        assert_eq!(s.version_files(&versions[0]).await.unwrap()[1].1, "good");
        let events = s.job_events(id, 0, 100).await.unwrap();
        assert!(events.iter().all(|e| e.kind != "log"));
        assert!(keys(s, "models").await.iter().all(|k| k.contains("/2/")), "the lost worker's files are gone");
    })
    .await;
}

#[tokio::test]
async fn three_attempts_without_progress_fail_a_job_and_progress_saves_it() {
    on_both(|f| async move {
        let s = &f.store;
        let lose = async |beats: usize, step: u64| {
            let claim = s.claim_job("w", Duration::ZERO).await.unwrap().unwrap();
            for _ in 0..beats {
                s.heartbeat("w", Duration::ZERO).await.unwrap();
            }
            if step > claim.job.resumed_from_step {
                s.save_checkpoint(&claim, step, vec![step as u8]).await.unwrap();
            }
            next_millisecond().await;
            s.reap_expired().await.unwrap();
            s.job(claim.job.id).await.unwrap()
        };
        submit(s, "m", 0).await;
        for attempt in 1..=5 {
            let job = lose(1, attempt).await;
            assert_eq!((job.status, job.attempt), (JobStatus::Queued, attempt));
        }
        assert_eq!(lose(1, 0).await.resumed_from_step, 5);
        assert_eq!(lose(1, 0).await.status, JobStatus::Queued);
        let job = lose(1, 0).await;
        assert_eq!(job.status, JobStatus::Failed);
        assert_eq!(job.error.unwrap()["code"], "no_progress");
        // One that dies before its first heartbeat counts a third.
        submit(s, "n", 0).await;
        for _ in 0..9 {
            assert_eq!(lose(0, 0).await.status, JobStatus::Queued);
        }
        assert_eq!(lose(0, 0).await.status, JobStatus::Failed);
    })
    .await;
}

#[tokio::test]
async fn a_checkpoint_outlives_its_worker_and_not_its_job() {
    on_both(|f| async move {
        let s = &f.store;
        let id = submit(s, "m", 0).await;
        let c = claim(s, "w").await.unwrap();
        assert!(s.load_checkpoint(id).await.unwrap().is_none());
        s.save_checkpoint(&c, 10, vec![1]).await.unwrap();
        s.save_checkpoint(&c, 20, vec![2]).await.unwrap();
        assert_eq!(keys(s, "checkpoints").await.len(), 1, "only the last is kept");
        s.release_job(&c).await.unwrap();
        let c = claim(s, "v").await.unwrap();
        assert_eq!((c.job.attempt, c.job.resumed_from_step), (2, 20));
        assert_eq!(s.load_checkpoint(id).await.unwrap().unwrap(), (20, Bytes::from_static(&[2])));
        s.publish_job(&c, version("x")).await.unwrap();
        assert!(keys(s, "checkpoints").await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn cancel_and_retry() {
    on_both(|f| async move {
        let s = &f.store;
        let mut changes = s.changes();
        let waiting = submit(s, "a", 0).await;
        assert_eq!(s.cancel_job(waiting).await.unwrap().status, JobStatus::Canceled);
        assert_eq!(s.cancel_job(waiting).await.unwrap().status, JobStatus::Canceled, "twice is once");
        let running = submit(s, "b", 0).await;
        let c = claim(s, "w").await.unwrap();
        assert_eq!(s.retry_job(running).await.unwrap_err().code, "job_not_retryable");
        assert!(s.cancel_job(running).await.unwrap().cancel_requested);
        assert!(s.heartbeat("w", LEASE).await.unwrap()[0].cancel_requested);
        while changes.recv().await.unwrap() != Change::Job(running) {}
        s.fail_job(&c, &crate::Error::new(crate::Kind::Canceled, "canceled", "x")).await.unwrap();
        let job = s.job(running).await.unwrap();
        assert_eq!((job.status, job.error), (JobStatus::Canceled, None));
        let job = s.retry_job(running).await.unwrap();
        assert_eq!((job.status, job.cancel_requested, job.finished_at), (JobStatus::Queued, false, None));
        let c = claim(s, "w").await.unwrap();
        assert_eq!((c.job.id, c.job.attempt), (running, 2));
        // A worker that dies with a cancelled job does not revive it.
        s.cancel_job(running).await.unwrap();
        s.heartbeat("w", Duration::ZERO).await.unwrap();
        next_millisecond().await;
        s.reap_expired().await.unwrap();
        assert_eq!(s.job(running).await.unwrap().status, JobStatus::Canceled);
        s.delete_model(&"b".parse().unwrap()).await.unwrap();
        assert_eq!(s.retry_job(running).await.unwrap_err().code, "model_removed");
    })
    .await;
}

#[tokio::test]
async fn a_full_queue_refuses_submitting_only() {
    on_both(|f| async move {
        let s = &f.store;
        let (job, _) = s.submit_job(train("a"), 1, None).await.unwrap();
        let error = s.submit_job(train("b"), 1, None).await.unwrap_err();
        assert_eq!((error.code, error.retry_after), ("queue_full", Some(5)));
        assert_eq!(s.cancel_job(job.id).await.unwrap().status, JobStatus::Canceled);
        s.submit_job(train("b"), 1, None).await.unwrap();
        assert_eq!(s.retry_job(job.id).await.unwrap().status, JobStatus::Queued);
    })
    .await;
}

#[tokio::test]
async fn the_same_key_submits_once() {
    on_both(|f| async move {
        let key = IdempotencyKey::new("a POST /train", "k", b"body");
        let (s, other) = (f.store.clone(), f.replica().await);
        let (x, y) = tokio::join!(s.submit_job(train("m"), 9, Some(&key)), other.submit_job(train("m"), 9, Some(&key)));
        let ((x, new), (y, newer)) = (x.unwrap(), y.unwrap());
        assert!(x.id == y.id && (new ^ newer));
        assert_eq!(s.queue_depth().await.unwrap(), 1);
        let key = IdempotencyKey::new("a POST /train", "k", b"another");
        assert_eq!(s.submit_job(train("m"), 9, Some(&key)).await.unwrap_err().code, "idempotency_mismatch");
        let key = IdempotencyKey::new("b POST /train", "k", b"another");
        assert!(s.submit_job(train("m"), 9, Some(&key)).await.unwrap().1, "another caller's keys are their own");
    })
    .await;
}

#[tokio::test]
async fn events_are_numbered_and_only_the_last_progress_is_kept() {
    on_both(|f| async move {
        let s = &f.store;
        let id = submit(s, "m", 0).await;
        let c = claim(s, "w").await.unwrap();
        for step in [10, 20, 5, 15] {
            let report = Report {
                progress: Some(json!({ "step": step })),
                metrics: Some(json!({ "loss": 1.0 / f64::from(step) })),
                points: vec![json!({ "step": step, "loss": step })],
                lines: vec![format!("line {step}")],
            };
            s.report_job(&c, &report).await.unwrap();
        }
        let events = s.job_events(id, 0, 100).await.unwrap();
        assert!(events.windows(2).all(|w| w[0].id < w[1].id));
        let kinds: Vec<_> = events.iter().map(|e| e.kind.as_str()).collect();
        assert_eq!(kinds.iter().filter(|k| **k == "progress").count(), 1);
        assert_eq!(kinds.iter().filter(|k| **k == "log").count(), 4);
        assert_eq!(events.last().unwrap().data, json!({ "step": 15 }));
        let after = s.job_events(id, events[3].id, 2).await.unwrap();
        assert_eq!(after, events[4..6]);
        let steps: Vec<_> = s.job_curve(id).await.unwrap().iter().map(|p| p["step"].clone()).collect();
        assert_eq!(steps, [5, 15], "steps that were gone over again count once");
        let job = s.job(id).await.unwrap();
        assert_eq!(job.progress, json!({ "step": 15 }));
        s.succeed_job(&c, &json!({ "accuracy": 1 }), &json!({})).await.unwrap();
        assert_eq!(s.job(id).await.unwrap().metrics, json!({ "accuracy": 1 }));
        assert_eq!(s.prune_jobs(LEASE).await.unwrap(), 0);
        next_millisecond().await;
        assert_eq!(s.prune_jobs(Duration::ZERO).await.unwrap(), 1);
        assert_eq!(s.job(id).await.unwrap_err().code, "job_not_found");
    })
    .await;
}

#[tokio::test]
async fn what_ran_when_the_process_died_is_queued_again_at_once() {
    let f = Fixture::new(None).await;
    let id = submit(&f.store, "m", 0).await;
    let c = claim(&f.store, "w").await.unwrap();
    f.store.save_checkpoint(&c, 3, vec![3]).await.unwrap();
    let f = f.reopen().await;
    let job = f.store.job(id).await.unwrap();
    assert_eq!((job.status, job.worker), (JobStatus::Queued, None));
    let c = claim(&f.store, "w").await.unwrap();
    assert_eq!((c.job.attempt, c.job.resumed_from_step), (2, 3));
    assert_eq!(f.store.load_checkpoint(id).await.unwrap().unwrap().0, 3);
}

#[tokio::test]
async fn a_job_whose_process_is_ended_from_outside_is_tried_again_once() {
    on_both(|f| async move {
        let s = &f.store;
        let id = submit(s, "m", 0).await;
        let error = crate::Error::new(crate::Kind::Internal, "out_of_memory", "the system had too little");
        let first = claim(s, "w").await.unwrap();
        assert_eq!(first.job.kills, 0);
        s.save_checkpoint(&first, 7, vec![1]).await.unwrap();
        s.count_kill(&first, &error).await.unwrap();
        assert_eq!(s.count_kill(&first, &error).await.unwrap_err().code, "lease_lost");
        let event = s.job_events(id, 0, 100).await.unwrap().pop().unwrap().data;
        assert_eq!((&event["code"], &event["from_step"]), (&json!("out_of_memory"), &json!(7)));
        let second = claim(s, "w").await.unwrap();
        assert_eq!((second.job.kills, second.job.attempt, second.job.resumed_from_step), (1, 2, 7));
        s.count_kill(&second, &error).await.unwrap();
        let job = s.job(id).await.unwrap();
        assert_eq!((job.status, job.error.unwrap()["code"].clone()), (JobStatus::Failed, json!("out_of_memory")));
        // A new request for it gets both attempts again.
        s.retry_job(id).await.unwrap();
        assert_eq!(claim(s, "w").await.unwrap().job.kills, 0);
    })
    .await;
}

#[tokio::test]
async fn a_comparison_reads_several_datasets_and_stays_until_it_is_deleted() {
    on_both(|f| async move {
        let s = &f.store;
        put(s, "a", "x\n1\n").await;
        put(s, "b", "x\n2\n").await;
        let new = NewJob {
            kind: JobKind::Compare,
            model: None,
            dataset: Some("a".parse().unwrap()),
            spec: json!({ "systems": [{ "dataset": "a" }, { "rdm": "b" }, { "model": "m" }] }),
            priority: 0,
            create: None,
        };
        let (job, _) = s.submit_job(new, 10, None).await.unwrap();
        assert_eq!((job.model.clone(), job.models().collect::<Vec<_>>()), (None, vec!["m"]));
        assert_eq!(s.delete_comparison(job.id).await.unwrap_err().code, "comparison_running");
        let claim = s.claim_job("w", Duration::from_secs(60)).await.unwrap().unwrap();
        let input = s.job_input(job.id).await.unwrap().unwrap();
        let others: Vec<_> = input.others.iter().map(|d| d.name.as_str()).collect();
        assert_eq!((input.dataset.name.as_str(), others), ("a", vec!["b"]));
        for name in ["a", "b"] {
            let error = s.delete_dataset(&name.parse().unwrap()).await.unwrap_err();
            assert_eq!(error.code, "dataset_in_use", "{name}");
        }
        s.put_output(job.id, 0, b"found".to_vec()).await.unwrap();
        s.succeed_job(&claim, &json!({}), &json!({ "segments": 1 })).await.unwrap();
        next_millisecond().await;
        assert_eq!(s.prune_jobs(Duration::ZERO).await.unwrap(), 0, "it has no age");
        assert_eq!(&s.output(job.id, 0).await.unwrap()[..], b"found");
        s.delete_comparison(job.id).await.unwrap();
        assert_eq!(s.output(job.id, 0).await.unwrap_err().code, "output_not_found");
        assert_eq!(s.job(job.id).await.unwrap_err().code, "job_not_found");
        s.delete_dataset(&"b".parse().unwrap()).await.unwrap();
    })
    .await;
}
