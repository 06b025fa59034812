//! The dashboard under user actions: headless Chromium against a server of its own.
//! Without chromedriver and chromium each test prints what is missing and passes, unless `KENYON_REQUIRE_ALL` is set.
#![allow(clippy::unwrap_used)]

#[path = "../support/skip.rs"]
mod skip;
mod support;

use serde_json::json;
use support::{Browser, Server, labelled, points, strokes};

/// A test with a server and, where there is one, a browser.
macro_rules! with_browser {
    ($server:ident, $browser:ident) => {
        let $server = Server::start(None).await;
        let Some($browser) = Browser::open(&$server).await else { return };
    };
}

mod comparisons;
mod explanations;
mod finding;
mod load;
mod pages;
mod quality;
mod training;

/// The first curve's path, which changes when a point is added.
const CURVE: &str = "document.querySelector('figure path.line')?.getAttribute('d')";

/// A training that lasts until it is cancelled, long enough to be watched.
fn endless() -> serde_json::Value {
    json!({"dataset": "points", "target": "side", "family": "sparse_mlp",
           "config": {"epochs": 1000, "early_stopping": 1000, "batch_size": 16}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_file_to_an_answer() {
    with_browser!(server, browser);
    let file = server.folder.path().join("Some Points (1).csv");
    std::fs::write(&file, points(400)).unwrap();

    browser.go("/").await;
    browser.shows("From nothing to a prediction").await;
    let input = browser.find("input[type=file]").await;
    input.send_keys(file.to_str().unwrap()).await.unwrap();
    browser.until("document.querySelector('#drop form input')?.value === 'some_points_1'").await;
    browser.press("Upload").await;

    browser.until("location.hash === '#/datasets/some_points_1'").await;
    browser.shows("Train a model").await;
    browser.until("document.querySelectorAll('svg.hist').length >= 3").await;
    // Nothing is chosen in advance but the name of a model that does not exist yet.
    browser.until("document.querySelector('[name=model]').value === 'some_points_1'").await;
    assert_eq!(browser.script("return document.querySelector('[name=target]').value").await, json!(""));
    browser.choose("[name=target]", "side").await;
    browser.press("More: family, task, rows held out, seed").await;
    browser.choose("[name=family]", "sparse_mlp").await;
    browser.press("Settings of sparse mlp").await;
    browser.fill("[name='c:epochs']", "60").await;
    browser.fill("[name='c:early_stopping']", "60").await;
    browser.press("Show the plan").await;
    browser.until("document.querySelector('#plan')?.innerText.includes('classification')").await;
    browser.press("Train").await;

    browser.until("location.hash.startsWith('#/jobs/')").await;
    browser.until(CURVE).await;
    browser.until("document.querySelector('[role=progressbar]')?.getAttribute('aria-valuenow') === '100'").await;
    browser.press("See the model").await;

    browser.fill("[name='v:x']", "0.1").await;
    browser.fill("[name='v:y']", "0.9").await;
    browser.fill("[name='v:word']", "low").await;
    browser.press("Predict").await;
    browser.until("document.querySelector('#answer')?.textContent.startsWith('left')").await;
    browser.fill("[name='v:x']", "0.9").await;
    browser.fill("[name='v:y']", "0.1").await;
    browser.fill("[name='v:word']", "high").await;
    browser.press("Predict").await;
    browser.until("document.querySelector('#answer')?.textContent.startsWith('right')").await;
    // What was typed is still there after a reload.
    browser.reload().await;
    browser.until("document.querySelector(\"[name='v:x']\")?.value === '0.9'").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drawing_is_recognised_as_an_image() {
    with_browser!(server, browser);
    server.upload("strokes", strokes(80)).await;
    let columns = server.call("GET", "/datasets/strokes", None).await;
    assert_eq!(columns["columns"][0]["kind"], "image");
    server
        .train(
            "strokes",
            json!({"dataset": "strokes", "target": "way", "family": "sparse_mlp", "config": {"epochs": 30}}),
        )
        .await;
    browser.go("/models/strokes/try").await;
    browser.draw(".pad canvas", (0, -70), (0, 70)).await;
    browser.until("document.querySelector('#answer')?.textContent.startsWith('up')").await;
    browser.press("Clear").await;
    browser.draw(".pad canvas", (-70, 0), (70, 0)).await;
    browser.until("document.querySelector('#answer')?.textContent.startsWith('across')").await;
    // The drawing and its answer are still there after a reload.
    browser.reload().await;
    browser.until("document.querySelector('#answer')?.textContent.startsWith('across')").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_file_is_explained_by_row_and_column() {
    with_browser!(server, browser);
    let file = server.folder.path().join("torn.csv");
    let mut text = points(50);
    text.push_str("0.1,0.2\n");
    std::fs::write(&file, text).unwrap();
    browser.go("/datasets").await;
    browser.find("input[type=file]").await.send_keys(file.to_str().unwrap()).await.unwrap();
    browser.press("Upload").await;
    browser.until("document.querySelector('[role=alert] table tbody tr')").await;
    browser.until("document.querySelector('[role=alert] tbody').innerText.includes('51')").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_curve_moves_survives_a_reload_and_stops() {
    with_browser!(server, browser);
    server.upload("points", points(3000)).await;
    let job = server.call("POST", "/models/points/train", Some(endless())).await;
    let route = format!("/jobs/{}", job["id"].as_str().unwrap());

    browser.go("/").await;
    browser.until("document.querySelector('.jobcard .chip.live')").await;
    browser.go(&route).await;
    browser.until(CURVE).await;
    let before = browser.script(&format!("return {CURVE}")).await;
    browser.until(&format!("{CURVE} !== {before}")).await;

    browser.reload().await;
    browser.until("document.querySelector('.chip.live')").await;
    browser.until(CURVE).await;
    let points = "document.querySelector('figure svg')?.getAttribute('aria-label')";
    let after = browser.script(&format!("return {points}")).await;
    browser.until(&format!("{points} && {points} !== {after}")).await;

    browser.press("Cancel").await;
    browser.until("[...document.querySelectorAll('.chip')].some((chip) => chip.textContent === 'canceled')").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promote_and_roll_back() {
    with_browser!(server, browser);
    server.upload("points", points(200)).await;
    let quick = json!({"dataset": "points", "target": "side", "family": "sparse_mlp", "config": {"epochs": 3}});
    server.train("points", quick.clone()).await;
    server.train("points", quick).await;
    browser.go("/models/points/versions").await;
    browser.shows("version 2 serves").await;
    browser.press("Roll back").await;
    browser.press("Yes, change it").await;
    browser.shows("version 1 serves").await;
    browser.press("Serve").await;
    browser.shows("All requests to points are answered by version 2").await;
    browser.press("Yes, change it").await;
    browser.shows("version 2 serves").await;

    let selects = "[...document.querySelectorAll('.fields select')]";
    browser.until(&format!("{selects}.length === 3")).await;
    browser.script(&format!("{selects}[1].value = '1'; {selects}[1].dispatchEvent(new Event('change'))")).await;
    browser.shows("10 % of the requests go to version 1").await;
    browser.press("Set traffic").await;
    browser.press("Yes, change it").await;
    browser.until("[...document.querySelectorAll('.chip')].some((chip) => chip.textContent === 'canary')").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_memory_and_then_many_are_forgotten() {
    with_browser!(server, browser);
    server.upload("points", points(200)).await;
    server.train("points", json!({"dataset": "points", "target": "side", "family": "hybrid"})).await;
    server.call("POST", "/models/points/observe", Some(json!({"rows": labelled(80)}))).await;
    let rows = "document.querySelectorAll('[aria-label=Memories] tbody tr').length";
    browser.go("/models/points/memory").await;
    browser.until(&format!("{rows} === 25")).await;
    let first = "document.querySelector('[aria-label=Memories] button').getAttribute('aria-label')";
    let gone = browser.script(&format!("return {first}")).await;
    browser.script("document.querySelector('[aria-label=Memories] button').click()").await;
    browser.find("dialog[open]").await;
    browser.script("document.querySelector('dialog button').click()").await;
    browser.shows("Entry deleted.").await;
    browser.until(&format!("{first} !== {gone}")).await;

    browser.fill("input[aria-label=Value]", "left").await;
    browser.script("document.querySelector('form button.danger').click()").await;
    browser.find("dialog[open]").await;
    browser.script("document.querySelector('dialog button').click()").await;
    browser.shows("entries deleted").await;
    browser.until(&format!("{rows} > 0 && ![...document.querySelectorAll('[aria-label=Memories] tbody th')].some((t) => t.textContent === 'left')")).await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_requested_and_kept_in_the_tab() {
    let server = Server::start(Some("open-sesame-0123456789")).await;
    let Some(browser) = Browser::open(&server).await else { return };
    browser.go("/").await;
    browser.fill("dialog input", "not the key").await;
    browser.press("Use this key").await;
    browser.shows("That key was not accepted").await;
    browser.fill("dialog input", "open-sesame-0123456789").await;
    browser.press("Use this key").await;
    browser.shows("No job is running").await;
    browser.until("!document.querySelector('dialog')").await;
    browser.reload().await;
    browser.shows("No job is running").await;
    assert_eq!(
        browser
            .script("return JSON.stringify(localStorage) + document.cookie + location.href")
            .await
            .as_str()
            .unwrap()
            .find("sesame"),
        None
    );

    // Without a stored key it is requested again; a refusal leaves a page with that message.
    browser.script("document.getElementById('key').click()").await;
    browser.go("/jobs").await;
    browser.find("dialog[open]").await;
    browser.press("Cancel").await;
    browser.until("document.querySelector('[role=alert]')").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn markup_in_data_stays_text() {
    with_browser!(server, browser);
    let attack = "<img src=x onerror=window.pwned=1><script>window.pwned=1</script>";
    let mut csv = String::from("x,\"<b onclick=window.pwned=1>bold</b>\",label\n");
    for i in 0..60 {
        csv.push_str(&format!(
            "{i},{attack} {},{}\n",
            i % 7,
            if i < 30 { attack } else { "javascript:window.pwned=1" }
        ));
    }
    server.upload("hostile", csv).await;
    browser.go("/datasets/hostile").await;
    browser.until("document.querySelectorAll('[aria-label=Rows] tbody tr').length === 10").await;
    browser.shows("<img src=x onerror=window.pwned=1>").await;
    browser.shows("<b onclick=window.pwned=1>bold</b>").await;
    server.train("hostile", json!({"dataset": "hostile", "target": "label", "family": "hybrid"})).await;
    for tab in ["try", "use", "quality", "versions", "compare", "memory", "activity", "stream"] {
        browser.go(&format!("/models/hostile/{tab}")).await;
        browser.until("document.querySelector('.tabs ~ div').childElementCount > 0").await;
        if tab == "try" {
            browser.press("Predict").await;
            browser.until("document.querySelector('#answer')").await;
        }
        let planted = "document.querySelectorAll('main img, main b[onclick], main script').length";
        assert_eq!(
            browser.script(&format!("return [window.pwned ?? null, {planted}]")).await,
            json!([null, 0]),
            "{tab}"
        );
    }
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_lists_come_in_pages() {
    with_browser!(server, browser);
    server.upload("points", points(200)).await;
    // The first holds the worker, so that the others wait in the queue.
    for _ in 0..120 {
        server.call("POST", "/models/points/train", Some(endless())).await;
    }
    let rows = "document.querySelectorAll('[aria-label=Jobs] tbody tr').length";
    browser.go("/jobs").await;
    browser.until(&format!("{rows} === 50")).await;
    browser.press("Next").await;
    browser.shows("Page 2").await;
    browser.press("Next").await;
    browser.shows("Page 3").await;
    browser.until(&format!("{rows} === 20")).await;
    // The address contains the page, and the way back is in the history.
    browser.reload().await;
    browser.shows("Page 3").await;
    browser.until(&format!("{rows} === 20")).await;
    browser.press("Previous").await;
    browser.until(&format!("{rows} === 50")).await;
    browser.choose("select[aria-label=Status]", "succeeded").await;
    browser.shows("No matching job").await;
    browser.go("/jobs?status=queued&model=points").await;
    browser.reload().await;
    browser.until(&format!("{rows} === 50")).await;
    browser.until("document.querySelector('select[aria-label=Status]').value === 'queued'").await;
    browser.close().await;
}
