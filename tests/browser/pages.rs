//! Every page, in both themes and at both ends of the widths: without an error in the console, without
//! violations found by axe, without scrolling sideways; and its screenshot.

use super::support::{Browser, Server, labelled, points};
use serde_json::json;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Axe-core, see README.md in this folder.
pub(super) static AXE: &[u8] = include_bytes!("axe.min.js.gz");

/// Route, the element that must exist before the page counts as drawn, and what is pressed then.
const PAGES: [(&str, &str, &str, &[&str]); 17] = [
    ("overview", "/", "document.querySelector('.tile') && document.querySelector('[aria-label=Models] a')", &[]),
    ("models", "/models", "document.querySelector('[aria-label=Models] a')", &[]),
    ("try", "/models/points/try", "document.querySelector('form input')", &["Take a row from the dataset"]),
    ("number", "/models/slope/try", "document.querySelector('form input')", &["Take a row from the dataset"]),
    ("use", "/models/points/use", "document.querySelector('.copy code')", &[]),
    ("quality", "/models/slope/quality", "document.querySelectorAll('figure svg').length > 3", &[]),
    ("versions", "/models/points/versions", "document.querySelector('[aria-label=Versions] a')", &[]),
    ("compare", "/models/points/compare?a=1&b=2&dataset=points", "document.querySelector('.diff')", &[]),
    (
        "activity",
        "/models/points/activity",
        "[...document.querySelectorAll('h3')].some((e) => e.textContent === 'Lifetime sparseness')",
        &[],
    ),
    ("stream", "/models/points/stream", "document.querySelector('.tile')", &[]),
    ("memory", "/models/points/memory", "document.querySelector('[aria-label=Memories] button')", &[]),
    ("datasets", "/datasets", "document.querySelector('[aria-label=Datasets] a')", &[]),
    (
        "dataset",
        "/datasets/points",
        "document.querySelector('svg.hist') && document.querySelector('[aria-label=Rows] td')",
        &["Show the plan"],
    ),
    ("encoders", "/encoders", "document.querySelector('[aria-label=Encoders] button.slim')", &[]),
    ("missing", "/models/nobody", "document.querySelector('main a.button[href=\"#/models\"]')", &[]),
    ("jobs", "/jobs", "document.querySelector('[aria-label=Jobs] a')", &[]),
    ("job", "", "document.querySelector('figure svg')", &[]),
];

/// Everything a browser loads of the dashboard, as it lies in the repository and in the binary, without the page of
/// comparisons, which has a limit of its own (`comparisons`).
#[test]
fn the_page_is_small() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("static");
    let files = [root.clone(), root.join("js")].into_iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let sizes = files.map(|file| file.unwrap().metadata().unwrap()).filter(std::fs::Metadata::is_file);
    let bytes: u64 = sizes.map(|file| file.len()).sum();
    assert!(bytes < 160_000, "the page has {bytes} bytes");
}

async fn populate(server: &Server) -> String {
    server.add_encoder("words").await;
    server.upload("points", points(400)).await;
    server.train("points", json!({"dataset": "points", "target": "side", "family": "hybrid"})).await;
    server.train("points", json!({"dataset": "points", "target": "side", "family": "hybrid"})).await;
    let request = json!({"dataset": "points", "target": "y", "family": "sparse_mlp", "config": {"epochs": 12}});
    let job = server.train("slope", request).await;
    server.call("POST", "/models/points/observe", Some(json!({"rows": labelled(120)}))).await;
    server.call("POST", "/models/points/predict", Some(json!({"rows": [{"x": 0.5, "y": 0.2, "word": "high"}]}))).await;
    job["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn screenshots() {
    let server = Server::start(None).await;
    let Some(browser) = Browser::open(&server).await else { return };
    let wanted = std::env::var_os("KENYON_SCREENSHOTS").map(PathBuf::from);
    let folder = wanted.unwrap_or_else(|| server.folder.path().join("pictures"));
    std::fs::create_dir_all(&folder).unwrap();
    let job = populate(&server).await;
    let mut axe = String::new();
    flate2::read::GzDecoder::new(AXE).read_to_string(&mut axe).unwrap();

    for (size, width, height) in [("desktop", 1280, 900), ("phone", 390, 800), ("narrow", 360, 800)] {
        browser.size(width, height).await;
        for theme in ["light", "dark"] {
            browser.go("/").await;
            browser.script(&format!("localStorage.setItem('kenyon-theme', '{theme}')")).await;
            for (name, route, drawn, pressed) in PAGES {
                let route = if name == "job" { format!("/jobs/{job}") } else { route.to_owned() };
                browser.go(&route).await;
                browser.reload().await;
                browser.until(drawn).await;
                if name == "dataset" {
                    browser.choose("[name=target]", "side").await;
                    browser.fill("[name=model]", "another").await;
                }
                for text in pressed {
                    browser.press(text).await;
                    browser.until("document.querySelector('#answer, #plan')").await;
                }
                let faults = browser
                    .script("return [...document.querySelectorAll('[role=alert]')].map((e) => e.innerText)")
                    .await;
                assert_eq!(
                    faults.as_array().unwrap().len(),
                    usize::from(name == "missing"),
                    "{name} {theme}: {faults}"
                );
                let overhang = browser.script("return document.documentElement.scrollWidth - innerWidth").await;
                assert!(overhang.as_i64().unwrap() <= 0, "{name} is {overhang} too wide at {width}");
                if size == "narrow" {
                    continue;
                }
                browser.script(&axe).await;
                let found = browser
                    .promise(
                        "axe.run(document).then((r) => r.violations.map((v) => [v.id, v.nodes.map((n) => n.html)]))",
                    )
                    .await;
                assert_eq!(found, json!([]), "{name} {theme} {size}");
                browser.picture(&folder.join(format!("{name}-{theme}-{size}.png"))).await;
            }
        }
    }
    if std::env::var_os("KENYON_SCREENSHOTS").is_some() {
        digits(&server, &browser, &folder).await;
    }
    browser.close().await;
}

/// An image model: a digit from the data in the drawing pad, and its explanation.
async fn digits(server: &Server, browser: &Browser, folder: &Path) {
    let mut csv = String::new();
    flate2::read::GzDecoder::new(kenyon_learn::data::bundled::DIGITS).read_to_string(&mut csv).unwrap();
    let (_, rows) = csv.split_once('\n').unwrap();
    let header: String = (0..64).map(|i| format!("p{i},")).collect();
    server.upload("digits", format!("{header}digit\n{rows}")).await;
    server
        .train("digits", json!({"dataset": "digits", "target": "digit", "family": "hybrid", "task": "classification"}))
        .await;
    browser.size(1280, 1000).await;
    for theme in ["light", "dark"] {
        browser.script(&format!("localStorage.setItem('kenyon-theme', '{theme}')")).await;
        browser.go("/models/digits/try").await;
        browser.reload().await;
        browser.press("Take a row from the dataset").await;
        browser.until("document.querySelector('#answer')").await;
        browser.picture(&folder.join(format!("digits-{theme}-desktop.png"))).await;
    }
}
