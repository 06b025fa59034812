//! Processes that are killed at random: every job is done once, with the result of an uninterrupted run.

use super::*;
use crate::store::tests::{Fixture, postgres};
use crate::store::{JobFilter, StoreOptions};
use std::process::{Child, Command, Stdio};

const OPTIONS: &str = "KENYON_TEST_CRASH_WORKER";
const STEPS: u64 = 300;

/// Not a test of its own: what the killed processes run.
#[test]
fn crash_worker() {
    let Ok(text) = std::env::var(OPTIONS) else { return };
    let options: Value = serde_json::from_str(&text).unwrap();
    let options = StoreOptions {
        data_dir: options["data_dir"].as_str().unwrap().into(),
        database_url: options["database_url"].as_str().map(str::to_owned),
        objects_url: options["objects_url"].as_str().map(str::to_owned),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let config = WorkerConfig {
            workers: 2,
            lease: Duration::from_millis(1500),
            heartbeat: Duration::from_millis(300),
            poll: Duration::from_millis(200),
            checkpoint_every: Duration::from_millis(50),
            ..WorkerConfig::default()
        };
        let store = Store::open(&options).await.unwrap();
        Workers::new(store, Arc::new(Toy), config).run(CancellationToken::new()).await;
    });
}

fn start(options: &StoreOptions) -> Child {
    let text = json!({
        "data_dir": options.data_dir, "database_url": options.database_url, "objects_url": options.objects_url,
    });
    Command::new(std::env::current_exe().unwrap())
        .args(["jobs::tests::crash::crash_worker", "--exact"])
        .env(OPTIONS, text.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

async fn submit_all(store: &Store, jobs: u64) {
    for i in 0..jobs {
        let spec = json!({ "steps": STEPS, "epoch": 30, "pause_us": 1000, "seed": i });
        submit(store, &format!("m{}", i % 7), spec).await;
    }
}

async fn unfinished(store: &Store) -> usize {
    let mut left = 0;
    for status in [JobStatus::Queued, JobStatus::Running] {
        let filter = JobFilter { status: Some(status), ..JobFilter::default() };
        left += store.jobs(&filter, 1000, None).await.unwrap().items.len();
    }
    left
}

/// Every job once, with the weights of an uninterrupted run, and nothing left over.
async fn check(store: &Store, jobs: u64) -> u64 {
    let all = store.jobs(&JobFilter::default(), 1000, None).await.unwrap().items;
    assert_eq!(all.len() as u64, jobs);
    let (mut versions, mut attempts) = (0, 0);
    for job in &all {
        assert_eq!(job.status, JobStatus::Succeeded, "{job:?}");
        let seed = store.job(job.id).await.unwrap().spec["seed"].as_u64().unwrap();
        assert_eq!(weights(store, job).await, expected(seed, STEPS));
        attempts += job.attempt;
    }
    for model in store.models(100, None).await.unwrap().items {
        versions += store.versions(&model.name).await.unwrap().len() as u64;
    }
    assert_eq!(versions, jobs, "a version a job");
    assert!(store.objects().list("checkpoints").await.unwrap().is_empty());
    let files = store.objects().list("models").await.unwrap();
    if store.backend() == "sqlite" {
        assert_eq!(files.len() as u64, jobs, "a file a version");
    }
    attempts
}

/// Kills after pseudo-random pauses; `KENYON_CRASH_KILLS` makes a longer run.
fn pause(n: u64) -> Duration {
    let random = (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    Duration::from_millis(20 + random % 400)
}

fn kills(default: u64) -> u64 {
    std::env::var("KENYON_CRASH_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_on_sqlite() {
    let mut fixture = Fixture::new(None).await;
    let (jobs, mut done) = ((kills(6) / 2).clamp(6, 50), 0);
    submit_all(&fixture.store, jobs).await;
    loop {
        // One process at a time may have the folder: the test closes it while the worker runs.
        fixture = fixture
            .away(|options| async move {
                let mut worker = start(&options);
                // A kill comes at a random time, whatever the worker does then.
                tokio::time::sleep(pause(done) + Duration::from_millis(150)).await;
                worker.kill().unwrap();
                worker.wait().unwrap();
            })
            .await;
        done += 1;
        if unfinished(&fixture.store).await == 0 {
            break;
        }
        assert!(done < 100 + 10 * jobs, "no progress");
    }
    let attempts = check(&fixture.store, jobs).await;
    println!("SQLite: {jobs} jobs, {done} kills, {attempts} attempts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_on_postgres_with_three_workers() {
    let Some(server) = postgres::server() else { return };
    let fixture = Fixture::new(Some(server.database().await)).await;
    let (kills, jobs) = (kills(6), 12.max(kills(6) / 2).min(50));
    submit_all(&fixture.store, jobs).await;
    let mut workers: Vec<Child> = (0..3).map(|_| start(&fixture.options)).collect();
    for n in 0..kills {
        // A kill comes at a random time, whatever the worker does then.
        tokio::time::sleep(pause(n) + Duration::from_millis(100)).await;
        let worker = &mut workers[n as usize % 3];
        worker.kill().unwrap();
        worker.wait().unwrap();
        *worker = start(&fixture.options);
    }
    let begun = Instant::now();
    while unfinished(&fixture.store).await > 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "no progress");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for mut worker in workers {
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
    // The next start removes what a process left that was killed between a job's end and its clean-up.
    let attempts = check(&fixture.replica().await, jobs).await;
    println!("Postgres: {jobs} jobs, {kills} kills, {attempts} attempts");
}
