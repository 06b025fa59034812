//! Searches: which trials run, which are kept and which continue.
use super::*;
use std::cell::RefCell;

/// Keeps checkpoints and stops after `left` of them.
struct Cut {
    left: std::sync::Mutex<usize>,
    kept: std::sync::Mutex<Option<Vec<u8>>>,
    step: AtomicU64,
}

impl Cut {
    fn after(left: usize) -> Self {
        Self { left: left.into(), kept: None.into(), step: AtomicU64::new(0) }
    }
}

impl Monitor for Cut {
    fn progress(&self, progress: &Progress, _epoch_ended: bool) {
        assert!((0.0..=1.0).contains(&progress.fraction));
    }
    fn log(&self, _line: &str) {}
    fn canceled(&self) -> bool {
        *self.left.lock().unwrap() == 0
    }
    fn checkpoint_due(&self, _epoch_ended: bool) -> bool {
        true
    }
    fn checkpoint(&self, step: u64, bytes: Vec<u8>) -> kenyon_learn::Result<()> {
        assert!(self.step.swap(step, Relaxed) < step, "a checkpoint that counts as no further");
        *self.left.lock().unwrap() -= 1;
        *self.kept.lock().unwrap() = Some(bytes);
        Ok(())
    }
}

fn memory() -> Family {
    Family::named("memory").unwrap()
}

fn request(trials: usize) -> SearchRequest {
    let space = json!({ "learning_rate": { "min": 0.001, "max": 1.0, "log": true }, "hops": { "min": 1, "max": 9 } });
    SearchRequest { trials, space: space.as_object().cloned().unwrap() }
}

/// Best at a learning rate of 0.1; more passes are better; the trained thing is its configuration.
fn fit(config: &Map<String, Value>, _: Option<&[u8]>, monitor: &dyn Monitor) -> Result<(f64, Map<String, Value>)> {
    if monitor.canceled() {
        return Err(Error::new(crate::Kind::Canceled, "canceled", "x"));
    }
    let rate = config.get("learning_rate").and_then(Value::as_f64).unwrap_or(10.0);
    let epochs = config.get("epochs").and_then(Value::as_f64).unwrap_or(18.0);
    monitor.progress(&Progress { step: 1, ..Progress::default() }, true);
    monitor.checkpoint(1, vec![1])?;
    Ok(((rate.ln() - 0.1f64.ln()).abs() + 1.0 / epochs, config.clone()))
}

#[test]
fn the_best_is_found_with_a_third_of_the_work() {
    let seen = RefCell::new(Vec::new());
    let counted = |config: &Map<String, Value>, resume: Option<&[u8]>, monitor: &dyn Monitor| {
        seen.borrow_mut().push(config.get("epochs").and_then(Value::as_i64).unwrap_or(18));
        fit(config, resume, monitor)
    };
    let monitor = Cut::after(1000);
    let (best, tried) = run(&request(27), memory(), &Map::new(), 7, None, &monitor, &counted).unwrap();
    assert_eq!(tried.len(), 27 + 9 + 3);
    let lowest = tried.iter().filter_map(|t| t.score).fold(f64::INFINITY, f64::min);
    let rate = best["learning_rate"].as_f64().unwrap();
    assert!(best["hops"].is_i64() && (0.05..0.2).contains(&rate), "{best:?} {lowest}");
    assert!(seen.borrow().iter().sum::<i64>() < 27 * 18 / 3 + 60, "{seen:?}");
}

#[test]
fn cut_off_anywhere_it_ends_the_same() {
    let undisturbed = run(&request(9), memory(), &Map::new(), 1, None, &Cut::after(1000), &fit).unwrap();
    let mut resume: Option<Vec<u8>> = None;
    for _ in 0..100 {
        let monitor = Cut::after(2);
        let outcome = run(&request(9), memory(), &Map::new(), 1, resume.as_deref(), &monitor, &fit);
        match outcome {
            Ok(done) => {
                assert_eq!(done, undisturbed);
                return;
            }
            Err(error) => assert_eq!(error.code, "canceled"),
        }
        resume = monitor.kept.into_inner().unwrap().or(resume);
    }
    panic!("it never ended");
}

#[test]
fn requests_are_checked() {
    let with = |space: Value| SearchRequest { trials: 3, space: space.as_object().cloned().unwrap() };
    assert!(check(&request(3), Some(memory())).is_ok());
    assert!(check(&SearchRequest { trials: 0, space: Map::new() }, None).is_err());
    for bad in [
        json!({ "hops": [] }),
        json!({ "hops": 3 }),
        json!({ "hops": { "min": 3, "max": 1 } }),
        json!({ "learning_rate": { "min": 0, "max": 1, "log": true } }),
        json!({ "nonsense": [1] }),
        json!({ "hops": ["many"] }),
    ] {
        assert!(check(&with(bad.clone()), Some(memory())).is_err(), "{bad}");
    }
    for family in Family::all() {
        let default = SearchRequest { trials: 4, space: Map::new() };
        for trial in 0..4 {
            let config = configuration(&default, family, &Map::new(), 5, trial).unwrap();
            kenyon_learn::models::settings::complete(family, &config).unwrap();
        }
    }
}
