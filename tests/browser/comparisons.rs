//! Comparisons with recordings: their page's size, a new one from the form, and its pictures in both themes and at both ends of
//! the widths.

use super::support::{Browser, Server};
use serde_json::json;
use std::fmt::Write;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The page of comparisons has a limit of its own: it is loaded on first use, and the rest of the dashboard does not
/// need it.
#[test]
fn the_page_of_comparisons_is_small() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("static/comparisons");
    let files = std::fs::read_dir(folder).unwrap();
    let bytes: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes < 24_000, "the page of comparisons has {bytes} bytes");
}

/// Pictures of 8 × 8 pixels in two classes.
fn pictures(rows: usize) -> String {
    let header: Vec<String> = (0..64).map(|i| format!("p{i}")).collect();
    let mut csv = format!("kind,{}\n", header.join(","));
    for row in 0..rows {
        let light = |i: usize| ((i % 8 / 4 + row) % 2) * 160 + (i * 37 + row * 53) % 90;
        let pixels: Vec<String> = (0..64).map(|i| light(i).to_string()).collect();
        writeln!(csv, "{},{}", if row % 2 == 0 { "left" } else { "right" }, pixels.join(",")).unwrap();
    }
    csv
}

/// Dissimilarities of three subjects, smaller within a class.
fn recorded(rows: usize) -> String {
    let mut csv = "i,j,value,subject\n".to_owned();
    for subject in 0..3 {
        for i in 0..rows {
            for j in i + 1..rows {
                let apart = 10 * ((i + j) % 2) + (i * 31 + j * 17 + subject * 71) % 13;
                writeln!(csv, "{i},{j},{:.2},s{subject}", apart as f64 / 23.0).unwrap();
            }
        }
    }
    csv
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn comparisons_are_made_and_drawn() {
    with_browser!(server, browser);
    let wanted = std::env::var_os("KENYON_SCREENSHOTS").map(PathBuf::from);
    let folder = wanted.unwrap_or_else(|| server.folder.path().join("pictures"));
    std::fs::create_dir_all(&folder).unwrap();
    let mut axe = String::new();
    flate2::read::GzDecoder::new(super::pages::AXE).read_to_string(&mut axe).unwrap();
    server.upload("pictures", pictures(24)).await;
    server.upload("brain", recorded(24)).await;
    let config = json!({"hidden": [64, 32], "epochs": 4});
    let train = json!({"dataset": "pictures", "target": "kind", "family": "sparse_mlp", "config": config});
    server.train("eyes", train).await;

    // From the form: a layer against the recordings, which are the reference.
    browser.go("/comparisons").await;
    browser.shows("No comparison yet").await;
    browser.press("Start one").await;
    browser.until("document.querySelectorAll('.system').length === 2").await;
    browser.choose("[name=stimuli]", "pictures").await;
    browser.choose(".system:nth-of-type(2) [name=kind]", "rdm").await;
    browser.choose(".system:nth-of-type(2) [name=source]", "brain").await;
    browser.until("[...document.querySelectorAll('[name=reference] option')].some((o) => o.value === 'brain')").await;
    browser.choose("[name=reference]", "brain").await;
    browser.fill("[name=samples]", "50").await;
    browser.press("Compare").await;
    browser.until("location.hash.match(/comparisons.[0-9a-f-]{36}/)").await;
    browser.until("document.querySelectorAll('svg.figure').length >= 4").await;
    browser.shows("Noise ceiling").await;

    // Several layers, and all with each other.
    let system = |name: &str, layer: &str| json!({"name": name, "model": "eyes", "layer": layer});
    let layers = server.call("GET", "/models/eyes/activity", None).await["layers"].clone();
    let (first, last) = (layers[0]["name"].as_str().unwrap(), layers[1]["name"].as_str().unwrap());
    let systems = json!([
        system("first layer", first), system("last layer", last),
        {"name": "pixels", "dataset": "pictures", "channels": "p*"}, {"name": "brain", "rdm": "brain"},
    ]);
    let samples = json!({"samples": 50});
    let body = json!({"stimuli": "pictures", "systems": systems, "reference": "brain", "bootstrap": samples, "weighting": ["pixels", "last layer"]});
    let job = server.call("POST", "/comparisons", Some(body)).await;
    let found = format!("/comparisons/{}", job["id"].as_str().unwrap());
    let pages = [
        ("comparisons", "/comparisons", "document.querySelectorAll('[aria-label=Comparisons] a').length === 2"),
        ("comparison-new", "/comparisons/new", "document.querySelectorAll('.system').length === 2"),
        (
            "comparison",
            &found,
            "document.querySelectorAll('svg.figure').length >= 7 && document.querySelectorAll('svg.figure image').length >= 24",
        ),
    ];
    for (size, width, height) in [("desktop", 1280, 900), ("narrow", 360, 800)] {
        browser.size(width, height).await;
        for theme in ["light", "dark"] {
            browser.script(&format!("localStorage.setItem('kenyon-theme', '{theme}')")).await;
            for (name, route, drawn) in pages {
                browser.go(route).await;
                browser.reload().await;
                browser.until(drawn).await;
                let faults = "return [...document.querySelectorAll('[role=alert]')].map((e) => e.innerText)";
                assert_eq!(browser.script(faults).await, json!([]), "{name} {theme}");
                let overhang = browser.script("return document.documentElement.scrollWidth - innerWidth").await;
                assert!(overhang.as_i64().unwrap() <= 0, "{name} is {overhang} too wide at {width}");
                browser.script(&axe).await;
                let violations =
                    "axe.run(document).then((r) => r.violations.map((v) => [v.id, v.nodes.map((n) => n.html)]))";
                assert_eq!(browser.promise(violations).await, json!([]), "{name} {theme} {size}");
                browser.picture(&folder.join(format!("{name}-{theme}-{size}.png"))).await;
            }
        }
    }
    // A picture that is saved has the page's colours in itself.
    browser.script("window.saved = []; const make = URL.createObjectURL; URL.createObjectURL = (blob) => { blob.text().then((text) => saved.push(text)); return make(blob); }").await;
    browser.script("document.querySelector('[aria-label^=\"SVG of Similarity\"]').click(); document.querySelector('[aria-label^=\"CSV of Similarity\"]').click()").await;
    browser.until("window.saved.length === 2").await;
    let saved = browser.script("return window.saved.sort()").await;
    let (svg, csv) = (saved[0].as_str().unwrap(), saved[1].as_str().unwrap());
    assert!(svg.starts_with("<svg") && svg.contains("xmlns") && svg.contains("rgb(") && !svg.contains("var("), "{svg}");
    assert!(csv.starts_with("system,reference,similarity") && csv.lines().count() == 4, "{csv}");
    // Deleted, it is gone from the list.
    browser.press("Delete").await;
    browser.find("dialog[open]").await;
    browser.script("document.querySelector('dialog button').click()").await;
    browser.until("document.querySelectorAll('[aria-label=Comparisons] a').length === 1").await;
    browser.close().await;
}
