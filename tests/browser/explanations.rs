//! Explanations as pictures, and the verdict in one place.

use super::support::{Browser, Server, points, strokes};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_explained_from_the_mean_to_the_answer() {
    with_browser!(server, browser);
    server.upload("points", points(400)).await;
    let quick =
        |target: &str| json!({"dataset": "points", "target": target, "family": "sparse_mlp", "config": {"epochs": 20}});
    server.train("points", quick("side")).await;
    server.train("slope", quick("y")).await;

    browser.go("/models/points/try").await;
    browser.press("Take a row from the dataset").await;
    browser.until("document.querySelectorAll('.fall .total').length === 2").await;
    browser.shows("Contributions in log-odds").await;
    // The steps end where the answer is: the last bar but one reaches the place of the total.
    let gap = "(() => { const bars = [...document.querySelectorAll('.fall li')].map((li) => li.querySelector('.track i').getBoundingClientRect()); \
        const [step, end] = bars.slice(-2); return Math.min(Math.abs(step.left - end.left), Math.abs(step.right - end.left)); })()";
    browser.until(&format!("{gap} < 4")).await;
    // One verdict with its reasons, and the set on the bars.
    assert_eq!(browser.script("return document.querySelectorAll('#verdict .chip').length").await, json!(1));
    let reasons = browser.script("return document.querySelector('#verdict').innerText").await;
    let reasons = reasons.as_str().unwrap();
    assert!(reasons.contains("90 % prediction set") && reasons.contains("held-out rows"), "{reasons}");
    let marked = browser
        .script("return [...document.querySelectorAll('.in')].filter((e) => e.textContent.includes('✓')).length")
        .await;
    assert!(marked.as_u64().unwrap() >= 1);

    browser.go("/models/slope/try").await;
    browser.shows("slope").await;
    browser.press("Take a row from the dataset").await;
    browser.until("document.querySelector('rect.band')").await;
    browser.until("document.querySelector('line.truth')").await;
    browser.shows("Contributions in the unit of y").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_are_coloured_where_they_stand() {
    with_browser!(server, browser);
    let mut csv = String::from("text,mood\n");
    for i in 0..120 {
        let (word, mood) = if i % 2 == 0 { ("wonderful", "good") } else { ("terrible", "bad") };
        csv.push_str(&format!("the \u{1f600} film number {i} was {word} today,{mood}\n"));
    }
    server.upload("films", csv).await;
    server
        .train("films", json!({"dataset": "films", "target": "mood", "family": "sparse_mlp", "config": {"epochs": 20}}))
        .await;
    browser.go("/models/films/try").await;
    browser.until("document.querySelector('textarea')").await;
    // An emoji is one code point and two units of JavaScript: words after it are still the right ones.
    browser
        .script("const e = document.querySelector('textarea'); e.value = '\u{1f600}\u{1f600} a wonderful film'; e.dispatchEvent(new Event('input', {bubbles: true}))")
        .await;
    browser.press("Predict").await;
    browser
        .until("[...document.querySelectorAll('.tokens.text span')].some((e) => e.textContent === 'wonderful')")
        .await;
    assert_eq!(
        browser.script("return document.querySelector('.tokens.text').textContent").await,
        json!("\u{1f600}\u{1f600} a wonderful film")
    );
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pixels_and_steps_are_tinted() {
    with_browser!(server, browser);
    server.upload("strokes", strokes(80)).await;
    let request = json!({"dataset": "strokes", "target": "way", "family": "sparse_mlp", "config": {"epochs": 30}});
    server.train("strokes", request).await;
    browser.go("/models/strokes/try").await;
    browser.draw(".pad canvas", (0, -70), (0, 70)).await;
    browser.until("document.querySelector('.answer canvas[aria-label*=contributions]')").await;
    // Grey alone has equal parts of all colours.
    let coloured = "(() => { const c = document.querySelector('.answer canvas[aria-label*=contributions]'); \
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; \
        for (let i = 0; i < d.length; i += 4) if (Math.abs(d[i] - d[i + 2]) > 20) return true; return false; })()";
    browser.until(coloured).await;

    let mut csv = (0..24).map(|t| format!("t{t}")).collect::<Vec<_>>().join(",") + ",shape\n";
    for i in 0..60 {
        let up = i % 2 == 0;
        let wave = |t: usize| (t as f64 / 4.0 + f64::from(i) * 0.01).sin() + if up == (t > 12) { 1.0 } else { 0.0 };
        csv.push_str(&(0..24).map(|t| format!("{:.3}", wave(t))).collect::<Vec<_>>().join(","));
        csv.push_str(if up { ",late\n" } else { ",early\n" });
    }
    server.upload("waves", csv).await;
    let request = json!({"dataset": "waves", "target": "shape", "family": "attention", "config": {"epochs": 5},
        "features": {"t": {"kind": "sequence", "columns": "t*", "channels": 1}}});
    server.train("waves", request).await;
    browser.go("/models/waves/try").await;
    // The page before has such a button, too.
    browser.until("document.querySelector('h1')?.innerText === 'waves'").await;
    browser.press("Take a row from the dataset").await;
    browser.until("document.querySelectorAll('.answer svg rect.for, .answer svg rect.against').length >= 12").await;
    browser.close().await;
}
