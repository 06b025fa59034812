//! How good a model is: importance, errors of numbers, evaluation on a dataset, two versions compared.

use super::support::{Browser, Server, points};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_versions_are_compared_on_the_same_rows() {
    with_browser!(server, browser);
    server.upload("points", points(400)).await;
    let request = |epochs: u32, promote: bool| {
        json!({"dataset": "points", "target": "side", "family": "sparse_mlp", "promote": promote,
            "config": {"epochs": epochs, "learning_rate": if epochs == 1 { 0.0001 } else { 0.01 }}})
    };
    server.train("points", request(30, true)).await;
    server.train("points", request(1, false)).await;
    browser.go("/models/points/compare?a=1&b=2&dataset=points").await;
    browser.until("document.querySelector('.diff')?.innerText.includes('accuracy')").await;
    browser.until("document.querySelector('.diff').innerText.includes('version 1 is better')").await;
    browser.shows("Calibration of version 2").await;
    browser.shows("Change of the confusion").await;
    let rows = "document.querySelectorAll('[aria-label=\"Rows they answer differently\"] tbody tr')";
    browser.until(&format!("{rows}.length > 0")).await;
    // A row that they answer differently is right in one of them at most; its link shows it.
    browser.script(&format!("{rows}[0].querySelector('a').click()")).await;
    browser.until("location.hash.startsWith('#/datasets/points?row=')").await;
    browser.until("document.querySelector('[aria-label=Rows] tbody tr')").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_numbers_are_drawn_and_any_dataset_can_be_evaluated() {
    with_browser!(server, browser);
    server.upload("points", points(400)).await;
    server.upload("others", points(90)).await;
    let request = json!({"dataset": "points", "target": "y", "family": "sparse_mlp", "config": {"epochs": 12}});
    server.train("slope", request).await;
    browser.go("/models/slope/quality").await;
    browser.shows("Importance of the features").await;
    browser.shows("Measured on 400 out-of-fold rows, with 95 % intervals.").await;
    browser.shows("Sets and intervals contain the truth about as often as requested.").await;
    browser.until("document.querySelectorAll('circle.dot').length >= 200").await;
    browser.shows("Predicted against actual").await;
    browser.until("document.querySelectorAll('[aria-label=\"Errors by quantile\"] tbody tr').length === 5").await;
    browser.shows("In the 90 % interval").await;
    browser.choose("[aria-label=Dataset]", "others").await;
    browser.press("Evaluate").await;
    browser.shows("Version 1 on 90 rows of others").await;
    browser.shows("Coverage of the prediction intervals").await;
    browser.close().await;
}
