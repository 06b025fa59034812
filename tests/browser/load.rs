//! Large lists: 500 models and 10,000 jobs, and twenty dashboards that are open while a job trains.
//! Always checked: the lists come in pages and the figures can be read. `KENYON_MEASURE=1` also holds
//! the measurements to their limits and runs longer, on an otherwise idle machine.

use super::support::{Browser, Server, points};
use serde_json::json;
use sqlx::Connection;
use std::path::Path;
use std::time::Duration;

const MODELS: usize = 500;
const JOBS: usize = 10_000;
const DASHBOARDS: usize = 20;

fn strict() -> bool {
    std::env::var_os("KENYON_MEASURE").is_some()
}

/// Copies the one model and its job until there are many of both.
async fn multiply(database: &Path) {
    let mut db = sqlx::SqliteConnection::connect(&format!("sqlite://{}", database.display())).await.unwrap();
    let columns = async |db: &mut sqlx::SqliteConnection, table: &str| -> Vec<String> {
        let list = format!("SELECT name FROM pragma_table_info('{table}')");
        sqlx::query_scalar(sqlx::AssertSqlSafe(list)).fetch_all(db).await.unwrap()
    };
    // Column → expression over the copied row and `n`, the number of the copy.
    let copies: [(&str, usize, &[(&str, &str)]); 3] = [
        ("models", MODELS, &[("name", "printf('model-%03d', n)"), ("id", "printf('%08x', n) || substr(id, 9)")]),
        ("versions", MODELS, &[("model_id", "printf('%08x', n) || substr(model_id, 9)")]),
        (
            "jobs",
            JOBS,
            &[
                ("id", "printf('%08x', n) || substr(id, 9)"),
                ("model", "printf('model-%03d', n % 500)"),
                ("model_id", "printf('%08x', n % 500) || substr(model_id, 9)"),
                ("status", "CASE n % 5 WHEN 0 THEN 'failed' WHEN 1 THEN 'canceled' ELSE status END"),
            ],
        ),
    ];
    for (table, count, changed) in copies {
        let names = columns(&mut db, table).await;
        let value = |name: &String| changed.iter().find(|c| c.0 == name).map_or(name.clone(), |c| c.1.to_owned());
        let values: Vec<_> = names.iter().map(value).collect();
        let copy = format!(
            "WITH RECURSIVE count(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < {}) \
             INSERT INTO {table} ({}) SELECT {} FROM (SELECT * FROM {table} LIMIT 1), count",
            count - 1,
            names.join(", "),
            values.join(", ")
        );
        sqlx::query(sqlx::AssertSqlSafe(copy)).execute(&mut db).await.unwrap();
    }
    db.close().await.unwrap();
}

/// A server with 500 models and 10,000 jobs.
async fn crowded() -> Server {
    let server = Server::start(None).await;
    server.upload("points", points(200)).await;
    let quick = json!({"dataset": "points", "target": "side", "family": "sparse_mlp", "config": {"epochs": 3}});
    server.train("points", quick).await;
    server.again(multiply).await
}

/// Milliseconds until the first paint, and of the longest task since the measurement began.
const PAINT: &str = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0";
const WATCH: &str = "window.tasks = []; new PerformanceObserver((list) => tasks.push(...list.getEntries().map((e) => e.duration)))\
    .observe({type: 'longtask', buffered: true})";
const LONGEST: &str = "return Math.max(0, ...tasks)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_models_and_jobs_do_not_stutter() {
    let server = crowded().await;
    let Some(browser) = Browser::open(&server).await else { return };
    // The first page of all warms the browser, not the server.
    browser.go("/").await;
    for (route, label) in [("/", "Models"), ("/models", "Models"), ("/jobs", "Jobs")] {
        let rows = format!("document.querySelectorAll('[aria-label={label}] tbody tr').length");
        let (mut paints, mut longest) = (Vec::new(), 0.0f64);
        for _ in 0..if strict() { 7 } else { 1 } {
            browser.go(route).await;
            browser.reload().await;
            browser.script(WATCH).await;
            browser.until(&format!("{rows} > 5")).await;
            paints.push(browser.script(PAINT).await.as_f64().unwrap());
            if route != "/" {
                assert_eq!(browser.script(&format!("return {rows}")).await, json!(50), "{route} comes in pages");
                for page in 2..if strict() { 10 } else { 4 } {
                    browser.press("Next").await;
                    browser.shows(&format!("Page {page}")).await;
                    browser.script("scrollTo(0, document.body.scrollHeight)").await;
                }
            }
            longest = longest.max(browser.script(LONGEST).await.as_f64().unwrap());
        }
        paints.sort_by(f64::total_cmp);
        println!("{route}: first paint {:.0} ms (median), longest task {longest:.0} ms", paints[paints.len() / 2]);
        assert!(!strict() || (paints[paints.len() / 2] < 200.0 && longest < 50.0), "{route} is slow");
    }
    browser.close().await;
}

/// Seconds of processor time of the server's threads that do not train (those are named `job-…` and
/// `kenyon-kernel-…`): all that answers, streams and queries the database.
fn serving_seconds(pid: u32) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let ticks = tasks.filter_map(|task| {
        let stat = std::fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
        let (name, rest) = (stat.split_once('(')?.1, stat.rsplit_once(')')?.1);
        let fields: Vec<_> = rest.split_whitespace().collect();
        let training = name.starts_with("job-") || name.starts_with("kenyon-kernel");
        (!training).then(|| fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap())
    });
    ticks.sum::<f64>() / 100.0
}

/// The share of one core that serving takes for a while.
async fn share(server: &Server, length: Duration) -> f64 {
    let before = serving_seconds(server.pid());
    // A share of time is measured over time.
    tokio::time::sleep(length).await;
    (serving_seconds(server.pid()) - before) / length.as_secs_f64()
}

/// The requests that the overview repeats while a job trains, in addition to the job's events.
const PATHS: [&str; 4] =
    ["/api/v1/system", "/api/v1/jobs?status=running&limit=8", "/api/v1/jobs?status=queued&limit=8", "/metrics"];

/// Sends the overview's requests until it is dropped.
async fn dashboard(url: String, job: String, delay: Duration) {
    let client = reqwest::Client::new();
    let events = async {
        let mut events = client.get(format!("{url}/api/v1/jobs/{job}/events")).send().await.unwrap();
        while let Ok(Some(_)) = events.chunk().await {}
    };
    let lists = async {
        tokio::time::sleep(delay).await;
        loop {
            for path in PATHS {
                client.get(format!("{url}{path}")).send().await.unwrap().bytes().await.unwrap();
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    };
    tokio::join!(events, lists);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_dashboards_cost_little() {
    if !Path::new("/proc/self/task").exists() {
        crate::skip::skip("no /proc here");
        return;
    }
    let server = crowded().await;
    server.upload("points", points(12_000)).await;
    let endless = json!({"dataset": "points", "target": "side", "family": "sparse_mlp",
        "config": {"epochs": 1000, "early_stopping": 1000, "batch_size": 16}});
    let job = server.call("POST", "/models/points/train", Some(endless)).await["id"].as_str().unwrap().to_owned();
    let length = Duration::from_secs(if strict() { 30 } else { 1 });
    let running = async || server.call("GET", &format!("/jobs/{job}"), None).await["status"] == "running";
    while !running().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    if let Some(browser) = Browser::open(&server).await {
        browser.go("/").await;
        browser.until("document.querySelector('.jobcard .chip.live')").await;
        for path in PATHS {
            browser.until(&format!("performance.getEntriesByName(location.origin + {}).length", json!(path))).await;
        }
        browser.close().await;
    }
    let alone = share(&server, length).await;
    let mut dashboards = tokio::task::JoinSet::new();
    for i in 0..DASHBOARDS {
        dashboards.spawn(dashboard(server.url.clone(), job.clone(), Duration::from_millis(250 * i as u64)));
    }
    let watched = share(&server, length).await;
    assert!(dashboards.try_join_next().is_none() && running().await, "all are open to the end");
    println!(
        "serving takes {:.2} % of a core beside a training, {:.2} % with {DASHBOARDS} dashboards",
        alone * 100.0,
        watched * 100.0
    );
    assert!(!strict() || watched - alone < 0.05, "twenty dashboards cost too much");
}
