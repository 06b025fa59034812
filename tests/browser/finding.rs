//! Finding things: search, sorting and filters that the address keeps, and ways back from errors.

use super::support::{Browser, Server, points};
use serde_json::json;

const NAMES: &str = "[...document.querySelectorAll('[aria-label=Models] tbody th')].map((e) => e.textContent).join()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_are_searched_sorted_and_filtered() {
    with_browser!(server, browser);
    server.upload("points", points(200)).await;
    let quick =
        |target: &str| json!({"dataset": "points", "target": target, "family": "sparse_mlp", "config": {"epochs": 2}});
    for (name, target) in [("alpha", "side"), ("beta", "y"), ("gamma", "side")] {
        server.train(name, quick(target)).await;
    }
    browser.go("/models").await;
    browser.until(&format!("{NAMES} === 'alpha,beta,gamma'")).await;
    browser.press("Model").await;
    browser.press("Model ↑").await;
    browser.until(&format!("{NAMES} === 'gamma,beta,alpha'")).await;
    browser.choose("select[aria-label=Task]", "classification").await;
    browser.until(&format!("{NAMES} === 'gamma,alpha'")).await;
    browser.fill("input[type=search]", "alp").await;
    browser.until(&format!("{NAMES} === 'alpha'")).await;
    // A reload and a link find the same list.
    browser.reload().await;
    browser.until(&format!("{NAMES} === 'alpha'")).await;
    browser.fill("input[type=search]", "nothing of the kind").await;
    browser.shows("Nothing found").await;
    browser.press("Clear them").await;
    browser.until(&format!("{NAMES} === 'gamma,beta,alpha'")).await;

    browser.go("/datasets").await;
    // Datasets are found by the names of their columns, too.
    browser.fill("[aria-label='Search datasets']", "word").await;
    browser.until("document.querySelector('[aria-label=Datasets] tbody th')?.textContent === 'points'").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_has_a_way_back() {
    with_browser!(server, browser);
    for (route, text, back) in [
        ("/models/nobody", "Model not found", "#/models"),
        ("/datasets/nothing", "Dataset not found", "#/datasets"),
        ("/jobs/00000000-0000-7000-8000-000000000000", "Job not found", "#/jobs"),
        ("/nowhere/at/all", "Page not found", "#/"),
    ] {
        browser.go(route).await;
        browser.shows(text).await;
        browser.until(&format!("document.querySelector('main a.button[href={back:?}]')")).await;
    }
    browser.press("Overview").await;
    browser.shows("From nothing to a prediction").await;
    browser.close().await;
}
