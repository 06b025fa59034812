//! The engine over a library in memory, with real small networks.

use super::engine::{Caller, Engine};
use super::library::{Canary, Files, Library, Traffic};
use super::settings::Settings;
use crate::{Error, Kind, Result};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use kenyon_learn::data::plan::{ColumnPlan, Resolved};
use kenyon_learn::data::schema::ColumnKind;
use kenyon_learn::data::target::Task;
use kenyon_learn::data::{Column, Table};
use kenyon_learn::learning::fit::{Silent, fit};
use kenyon_learn::learning::{FitSpec, Validation};
use kenyon_learn::models::Family;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

/// Versions of a model that separates small numbers from large ones; 2 has the names swapped, 3 names `large` also where
/// it is unlikely.
static VERSIONS: LazyLock<[Files; 3]> = LazyLock::new(|| {
    let first = toy("small", "large");
    let favouring = favouring(first.clone());
    [first, toy("large", "small"), favouring]
});

/// The model with a decision as that of the objective `balanced`: the classes are `large` and `small`.
fn favouring(mut files: Files) -> Files {
    let (_, bytes) = files.iter_mut().find(|(name, _)| *name == "config.json").unwrap();
    let mut config: Value = serde_json::from_slice(bytes).unwrap();
    config["decision"] = json!([1e6, 1e-6]);
    *bytes = config.to_string().into_bytes().into();
    files
}

fn toy(low: &str, high: &str) -> Files {
    let plan = |name: &str, kind| ColumnPlan::new(name, kind);
    let x: Vec<f64> = (0..200).map(|i| f64::from(i) / 200.0).collect();
    let label = |x: &f64| Some(if *x < 0.5 { low.into() } else { high.into() });
    let labels = x.iter().map(label).collect();
    let table =
        Table { rows: 200, columns: vec![("size".into(), Column::Category(labels)), ("x".into(), Column::Number(x))] };
    let resolved = Resolved {
        target: plan("size", ColumnKind::Category),
        task: Task::Classification,
        inputs: vec![plan("x", ColumnKind::Number)],
        ignored: vec!["id".into()],
    };
    let config = json!({ "epochs": 30, "hidden": [16], "learning_rate": 0.02 });
    let spec = FitSpec {
        target: "size".into(),
        family: Family::named("sparse_mlp"),
        task: None,
        validation: Validation::Share(0.3),
        seed: 1,
        config: config.as_object().unwrap().clone(),
        ..FitSpec::default()
    };
    let fitted = fit(&table, &resolved, &spec, 1, None, &Silent).unwrap();
    fitted.bundle.files().unwrap().into_iter().map(|(name, bytes)| (name.to_owned(), bytes.into())).collect()
}

/// A library with one model, `m`.
#[derive(Default)]
struct MemoryLibrary {
    traffic: Mutex<Traffic>,
    loads: AtomicUsize,
    gone: AtomicBool,
}

impl Library for MemoryLibrary {
    fn traffic<'a>(&'a self, model: &'a str) -> BoxFuture<'a, Result<Traffic>> {
        let known = model == "m" && !self.gone.load(Ordering::Relaxed);
        let traffic = self.traffic.lock().unwrap().clone();
        let none = || Error::not_found("model_not_found", "there is no such model");
        async move { known.then_some(traffic).ok_or_else(none) }.boxed()
    }

    fn files<'a>(&'a self, _: &'a str, _: uuid::Uuid, version: u64) -> BoxFuture<'a, Result<Files>> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        let none = || Error::not_found("version_not_found", "there is no such version");
        async move { VERSIONS.get(version as usize - 1).cloned().ok_or_else(none) }.boxed()
    }
}

fn engine(traffic: Traffic) -> (Arc<MemoryLibrary>, Engine) {
    let library = Arc::new(MemoryLibrary { traffic: Mutex::new(traffic), ..MemoryLibrary::default() });
    (Arc::clone(&library), Engine::new(library, Settings::default()))
}

fn stable(version: u64) -> Traffic {
    Traffic { stable: Some(version), ..Traffic::default() }
}

async fn predict(engine: &Engine, id: &str, body: Value) -> Result<Value> {
    let body = Bytes::from(body.to_string());
    let reply = engine.predict_json("m", &body, Caller { request_id: id, deadline: None }).await?;
    Ok(serde_json::from_slice(&reply.body).unwrap())
}

#[tokio::test]
async fn an_answer_has_everything_that_was_requested() {
    let (library, engine) = engine(stable(1));
    let body = json!({ "rows": [{ "x": 0.1 }, { "x": 0.95, "id": 7 }], "coverage": 0.9, "explain": true });
    let answer = predict(&engine, "", body).await.unwrap();
    assert_eq!((&answer["model"], &answer["version"]), (&json!("m"), &json!(1)));
    let [first, second] = &answer["predictions"].as_array().unwrap()[..] else { panic!("{answer}") };
    assert_eq!((&first["label"], &second["label"]), (&json!("small"), &json!("large")));
    for p in [first, second] {
        let label = p["label"].as_str().unwrap();
        assert_eq!(p["probabilities"][label], p["probability"]);
        assert!(
            (p["probabilities"].as_object().unwrap().values().map(|v| v.as_f64().unwrap()).sum::<f64>() - 1.0).abs()
                < 1e-5
        );
        assert!(p["set"].as_array().unwrap().contains(&p["label"]));
        assert!(p["novelty"].is_number() && p["abstained"].is_boolean());
        assert_eq!(p["explanation"]["features"][0]["name"], "x");
    }
    assert_ne!(first["prediction_id"], second["prediction_id"]);
    let top = predict(&engine, "", json!({ "rows": [{ "x": 0.1 }], "top_k": 1 })).await.unwrap();
    assert_eq!(top["predictions"][0]["probabilities"].as_object().unwrap().len(), 1);
    let none = predict(&engine, "", json!({ "rows": [] })).await.unwrap();
    assert_eq!(none["predictions"], json!([]));
    assert_eq!(library.loads.load(Ordering::Relaxed), 1);
    let mut metrics = String::new();
    engine.write_metrics(&mut metrics);
    assert!(metrics.contains("kenyon_predict_total_duration_seconds_count{model=\"m\",version=\"1\"} 3"), "{metrics}");
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_its_place() {
    let (_, engine) = engine(stable(1));
    for (body, code, kind) in [
        (json!({ "rows": [{ "x": 1 }], "topk": 3 }), "unknown_field", Kind::Malformed),
        (json!({ "rows": [{ "x": 1 }], "coverage": 1.0 }), "invalid_coverage", Kind::Malformed),
        (json!({ "rows": [{ "x": 1 }], "top_k": 0 }), "invalid_top_k", Kind::Malformed),
        (json!({}), "invalid_request", Kind::Malformed),
        (json!({ "rows": [{ "x": 1 }], "version": 9 }), "version_not_found", Kind::NotFound),
    ] {
        let error = predict(&engine, "", body.clone()).await.unwrap_err();
        assert_eq!((error.code, error.kind), (code, kind), "{body}");
    }
    let error = predict(&engine, "", json!({ "rows": [{ "x": 1 }, { "x": "one" }] })).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unprocessable);
    assert_eq!((error.details[0].row, error.details[0].column.as_deref()), (Some(1), Some("x")));
    let caller = Caller { request_id: "", deadline: None };
    let error = engine.predict_json("other", &Bytes::from_static(b"{\"rows\":[]}"), caller).await.unwrap_err();
    assert_eq!(error.code, "model_not_found");
    let error = engine.predict_json("m", &Bytes::from_static(b"{\"rows\":["), caller).await.unwrap_err();
    assert_eq!(error.code, "malformed_json");
}

#[tokio::test]
async fn without_a_version_the_model_is_not_available_yet() {
    let (library, engine) = engine(Traffic::default());
    assert_eq!(predict(&engine, "", json!({ "rows": [] })).await.unwrap_err().kind, Kind::Unavailable);
    *library.traffic.lock().unwrap() = stable(2);
    engine.refresh("m").await.unwrap();
    assert_eq!(predict(&engine, "", json!({ "rows": [{ "x": 0 }] })).await.unwrap()["version"], 2);
    library.gone.store(true, Ordering::Relaxed);
    engine.refresh("m").await.unwrap();
    assert_eq!(predict(&engine, "", json!({ "rows": [] })).await.unwrap_err().code, "model_not_found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_switch_under_load_without_a_failed_or_mixed_answer() {
    let (library, engine) = engine(stable(1));
    let done = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (engine, done) = (engine.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                let mut answered = 0;
                while !done.load(Ordering::Relaxed) {
                    let answer = predict(&engine, "", json!({ "rows": [{ "x": 0.05 }] })).await.unwrap();
                    let expected = if answer["version"] == 1 { "small" } else { "large" };
                    assert_eq!(answer["predictions"][0]["label"], expected);
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    for turn in 0..20 {
        *library.traffic.lock().unwrap() = stable(turn % 2 + 1);
        engine.refresh("m").await.unwrap();
        tokio::task::yield_now().await;
    }
    done.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let answer = predict(&engine, "", json!({ "rows": [{ "x": 0.05 }], "version": 1 })).await.unwrap();
    assert_eq!((&answer["version"], &answer["predictions"][0]["label"]), (&json!(1), &json!("small")));
}

/// A version that cannot be loaded does not take over, and the call that changed the traffic fails.
#[tokio::test]
async fn a_version_that_cannot_be_loaded_leaves_the_one_before_and_is_no_success() {
    let (library, engine) = engine(stable(1));
    assert_eq!(predict(&engine, "", json!({ "rows": [{ "x": 0 }] })).await.unwrap()["version"], 1);
    *library.traffic.lock().unwrap() = stable(9);
    assert_eq!(engine.refresh("m").await.unwrap_err().code, "version_not_found");
    assert_eq!(predict(&engine, "", json!({ "rows": [{ "x": 0 }] })).await.unwrap()["version"], 1);
    *library.traffic.lock().unwrap() = stable(2);
    engine.refresh("m").await.unwrap();
    assert_eq!(predict(&engine, "", json!({ "rows": [{ "x": 0 }] })).await.unwrap()["version"], 2);
}

/// A version whose stream cannot be read would answer as if nothing had been learned.
#[tokio::test]
async fn a_version_does_not_answer_without_what_was_learned() {
    let (library, engine) = engine(stable(1));
    let readable = Arc::new(AtomicBool::new(false));
    let hook = Arc::clone(&readable);
    engine.on_load(Arc::new(move |_| {
        let away = || Error::new(Kind::Unavailable, "database_unavailable", "away");
        let read = hook.load(Ordering::Relaxed).then_some(()).ok_or_else(away);
        Box::pin(std::future::ready(read))
    }));
    for _ in 0..2 {
        let error = predict(&engine, "", json!({ "rows": [{ "x": 0 }] })).await.unwrap_err();
        assert_eq!((error.kind, error.code), (Kind::Unavailable, "database_unavailable"));
    }
    readable.store(true, Ordering::Relaxed);
    assert_eq!(predict(&engine, "", json!({ "rows": [{ "x": 0 }] })).await.unwrap()["version"], 1);
    assert_eq!(library.loads.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn the_verdict_and_the_explanation_are_of_the_class_that_is_named() {
    let (_, engine) = engine(stable(1));
    for (version, named, verdict) in [(1, "small", "sure"), (3, "large", "unsure")] {
        let body = json!({ "rows": [{ "x": 0.1 }], "coverage": 0.5, "explain": true, "version": version });
        let answer = predict(&engine, "", body).await.unwrap();
        let p = &answer["predictions"][0];
        // The set is made around the likeliest class.
        assert_eq!((&p["label"], &p["set"], &p["verdict"]), (&json!(named), &json!(["small"]), &json!(verdict)), "{p}");
        let (probability, output) = (p["probability"].as_f64().unwrap(), p["explanation"]["output"].as_f64().unwrap());
        assert_eq!(output > 0.0, probability > 0.5, "the log-odds of the class that is named: {p}");
    }
}

#[tokio::test]
async fn a_canary_and_a_shadow_see_their_requests() {
    let canary = Some(Canary { version: 2, weight: 0.5 });
    let (library, engine) = engine(Traffic { canary, ..stable(1) });
    let mut by_version = [0, 0];
    for id in 0..40 {
        let id = format!("id-{id}");
        let first = predict(&engine, &id, json!({ "rows": [{ "x": 0 }] })).await.unwrap()["version"].as_u64().unwrap();
        let again = predict(&engine, &id, json!({ "rows": [{ "x": 0 }] })).await.unwrap()["version"].as_u64().unwrap();
        assert_eq!(first, again);
        by_version[first as usize - 1] += 1;
    }
    assert!(by_version.iter().all(|&n| n > 8), "{by_version:?}");
    *library.traffic.lock().unwrap() = Traffic { shadow: Some(2), ..stable(1) };
    engine.refresh("m").await.unwrap();
    for _ in 0..5 {
        assert_eq!(predict(&engine, "", json!({ "rows": [{ "x": 0.1 }] })).await.unwrap()["version"], 1);
    }
    while engine.shadow_figures("m").unwrap().rows < 5 {
        tokio::task::yield_now().await;
    }
    let figures = engine.shadow_figures("m").unwrap();
    // Version 2 calls small what is large.
    assert_eq!((figures.version, figures.rows, figures.disagreed, figures.skipped), (2, 5, 5, 0));
}
