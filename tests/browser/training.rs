//! Training from a dataset's page: a plan first, nothing replaced by accident.

use super::support::{Browser, Server, labelled, points};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_training_that_breaks_callers_asks_and_says_what() {
    with_browser!(server, browser);
    server.upload("points", points(200)).await;
    let quick = json!({"dataset": "points", "target": "side", "family": "sparse_mlp", "config": {"epochs": 3}});
    server.train("points", quick).await;
    browser.go("/datasets/points").await;
    // The name is taken, so it is not filled in.
    browser.until("document.querySelector('[name=model]')").await;
    browser.fill("[name=model]", "points").await;
    browser.shows("points exists: it predicts side, version 1 serves").await;
    browser.choose("[name=target]", "y").await;
    browser.press("Show the plan").await;
    // Whether the new version shall serve is a choice without a default.
    assert_eq!(browser.script("return document.querySelector('form').checkValidity()").await, json!(false));
    browser.choose("[name=promote]", "no").await;
    browser.press("Show the plan").await;
    browser.until("document.querySelector('#plan')?.innerText.includes('regression')").await;
    browser.press("Train").await;
    browser.shows("the target is 'y', not 'side'").await;
    browser.shows("the task is regression, not classification").await;
    browser.press("Cancel").await;
    let versions = server.call("GET", "/models/points/versions", None).await;
    assert_eq!(versions["items"].as_array().unwrap().len(), 1, "nothing was trained");

    browser.press("Train").await;
    browser.press("Train all the same").await;
    browser.until("location.hash.startsWith('#/jobs/')").await;
    browser.shows("Version 2 is ready and not served").await;
    browser.press("See the model").await;
    browser.until("location.hash === '#/models/points/versions'").await;
    browser.shows("version 1 serves").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn warnings_come_first_and_the_plan_says_what_it_costs() {
    with_browser!(server, browser);
    let mut csv = String::from("id,x,always,copy,side\n");
    for (i, line) in points(300).lines().skip(1).enumerate() {
        let cells: Vec<&str> = line.split(',').collect();
        csv.push_str(&format!("p-{i},{},same,{},{}\n", cells[0], cells[3].to_uppercase(), cells[3]));
    }
    server.upload("leaky", csv).await;
    browser.go("/datasets/leaky").await;
    browser.until("document.querySelector('.warnings')?.innerText.includes('always')").await;
    let first = "document.querySelector('.warnings').getBoundingClientRect().top \
        < document.querySelector('[name=target]').getBoundingClientRect().top";
    assert_eq!(browser.script(&format!("return {first}")).await, json!(true));
    browser.choose("[name=target]", "side").await;
    browser.press("Show the plan").await;
    browser.until("document.querySelector('#plan')?.innerText.includes('leaks target')").await;
    let plan = browser.script("return document.querySelector('#plan').innerText").await;
    let plan = plan.as_str().unwrap();
    assert!(plan.contains("Time") && plan.contains("Memory") && plan.contains("about"), "{plan}");
    // A plan holds for its request: another kind of a column needs another.
    browser.choose("[name='k:copy']", "ignore").await;
    browser.until("!document.querySelector('#plan')").await;
    browser.press("Show the plan").await;
    browser
        .until("document.querySelector('#plan') && !document.querySelector('#plan').innerText.includes('leaks target')")
        .await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_of_texts_is_read_by_an_encoder() {
    with_browser!(server, browser);
    browser.go("/encoders").await;
    browser.shows("No encoder yet").await;
    server.add_encoder("words").await;
    browser.reload().await;
    browser.until("document.querySelector('[aria-label=Encoders] tbody')?.innerText.includes('static')").await;
    let mut csv = String::from("text,mood\n");
    for i in 0..80 {
        let (word, mood) = if i % 2 == 0 { ("wonderful", "good") } else { ("terrible", "bad") };
        csv.push_str(&format!("the film number {i} was {word} today,{mood}\n"));
    }
    server.upload("films", csv).await;
    browser.go("/datasets/films").await;
    browser.choose("[name=target]", "mood").await;
    browser.choose("[name='k:text']", "text words").await;
    browser.press("Show the plan").await;
    browser.until("document.querySelector('#plan')").await;
    browser.press("Train").await;
    browser.until("location.hash.startsWith('#/jobs/')").await;
    browser.press("See the model").await;
    let features = server.call("GET", "/models/films", None).await["schema"]["features"].clone();
    assert_eq!(features[0]["encoder"]["name"], "words", "{features}");
    // In use, it is not deleted.
    browser.go("/encoders").await;
    browser.press("Delete").await;
    browser.find("dialog[open]").await;
    browser.script("document.querySelector('dialog button').click()").await;
    browser.until("document.querySelector('.toast.fail')").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn learning_is_apart_from_trying_and_confirmed() {
    with_browser!(server, browser);
    server.upload("points", points(200)).await;
    server.train("points", json!({"dataset": "points", "target": "side", "family": "hybrid"})).await;
    browser.go("/models/points/try").await;
    browser.press("Take a row from the dataset").await;
    browser.until("document.querySelector('#learn')").await;
    browser.press("Learn the true value").await;
    assert_eq!(browser.script("return document.querySelector('#learn select').value").await, json!(""));
    browser.choose("#learn select", "0").await;
    browser.press("Learn").await;
    browser.shows("The served model learns at once").await;
    browser.press("Cancel").await;
    let observed = async || server.call("GET", "/models/points/stream", None).await["observed"].as_u64().unwrap();
    assert_eq!(observed().await, 0);
    browser.press("Learn").await;
    browser.find("dialog[open]").await;
    browser.script("document.querySelector('dialog button.main').click()").await;
    browser.shows("Learned.").await;
    assert_eq!(observed().await, 1);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_to_copy_answer_as_they_stand() {
    with_browser!(server, browser);
    server.upload("points", points(200)).await;
    server.train("points", json!({"dataset": "points", "target": "side", "family": "hybrid"})).await;
    browser.go("/models/points/use").await;
    browser.until("document.querySelector('.copy code')?.textContent.startsWith('curl ')").await;
    let code = "return document.querySelector('.copy code').textContent";
    let command = browser.script(code).await.as_str().unwrap().to_owned();
    let run = async |program: &str, args: &[&str]| {
        let output = tokio::process::Command::new(program).args(args).output().await;
        output.ok().map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    if let Some(answer) = run("sh", &["-c", &command]).await.filter(|answer| !answer.is_empty()) {
        assert!(answer.contains("\"probability\""), "{command}\n{answer}");
    }
    browser.choose("[name=call]", "explain").await;
    browser.choose("[name=language]", "Python").await;
    let program = browser.script(code).await.as_str().unwrap().to_owned();
    if let Some(answer) = run("python3", &["-c", &program]).await {
        assert!(answer.contains("'baseline'"), "{program}\n{answer}");
    }
    browser.choose("[name=language]", "TypeScript").await;
    browser.shows("await fetch(").await;
    // With its dataset, its job and its export in reach.
    browser.until("document.querySelector('.origin a[href=\"#/datasets/points\"]')").await;
    browser.until("document.querySelector('.origin a[href^=\"#/jobs/\"]')").await;
    browser.until("[...document.querySelectorAll('button')].some((b) => b.textContent === 'bundle')").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_followed_live_with_drift_by_column() {
    with_browser!(server, browser);
    let empty = json!({"family": "hybrid", "target": "side", "task": "classification",
        "features": {"x": "number", "y": "number", "word": "category"}});
    server.call("PUT", "/models/points", Some(empty)).await;
    let rows = labelled(6_000);
    // Sets are evaluated call by call, as they were served.
    for part in rows[..2_000].chunks(500) {
        server.call("POST", "/models/points/observe", Some(json!({"rows": part}))).await;
    }
    browser.go("/models/points/stream").await;
    browser.shows("2,000 rows").await;
    let mut moved = rows[2_000..].to_vec();
    for row in &mut moved {
        row["x"] = json!(row["x"].as_f64().unwrap() + 3.0);
    }
    for part in moved.chunks(500) {
        server.call("POST", "/models/points/observe", Some(json!({"rows": part}))).await;
    }
    // Without a reload.
    browser.shows("6,000 rows").await;
    let changed = "document.querySelector('[aria-label=\"Drift by column\"] tbody')";
    browser
        .until(&format!("{changed}?.innerText.startsWith('x') && {changed}.querySelectorAll('svg.hist').length >= 2"))
        .await;
    browser.shows("Coverage of the 90 % prediction sets").await;
    browser.choose("[aria-label=Axis]", "time").await;
    browser.until("document.querySelector('figure svg')").await;
    browser.close().await;
}
