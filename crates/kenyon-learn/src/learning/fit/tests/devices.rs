//! Trainings by candle, and devices that are not there or fail.

use super::super::run::Weights;
use super::*;
use crate::models::{Learner, Next, Position, Schedule, Targets};
use crate::nn::Tensors;

fn quick(engine: &str, device: DeviceName) -> FitSpec {
    let config = json!({ "members": 3, "cross_fit": true, "hidden": [16], "epochs": 6, "engine": engine });
    FitSpec { device, ..spec(config) }
}

fn accuracy(fitted: &Fitted) -> f64 {
    fitted.metrics["accuracy"].as_f64().unwrap()
}

fn fallback(fitted: &Fitted) -> Option<&str> {
    let found = fitted.warnings.iter().find(|warning| warning.code == WarningCode::DeviceFallback);
    found.map(|warning| warning.detail.as_str())
}

#[test]
fn candle_trains_what_the_kernels_train_and_nothing_after_it_differs() {
    let sample = overlapping(400);
    let kernels = trained(&sample, &quick("auto", DeviceName::Cpu));
    let candle = trained(&sample, &quick("candle", DeviceName::Cpu));
    assert_eq!(fallback(&candle), None);
    assert!((accuracy(&kernels) - accuracy(&candle)).abs() < 0.03, "{} {}", accuracy(&kernels), accuracy(&candle));
    assert_ne!(kernels.measured.outputs, candle.measured.outputs, "it was another engine");
    assert_eq!(kernels.measured.members, candle.measured.members);
    let names = |fitted: &Fitted| fitted.bundle.network.save().unwrap().into_keys().collect::<Vec<_>>();
    assert_eq!(names(&kernels), names(&candle));
    verified_files(&candle, &sample.table).unwrap();
}

#[test]
fn a_training_by_candle_that_was_interrupted_ends_with_the_same_bits_and_goes_on_by_kernels() {
    let sample = overlapping(120);
    let spec = quick("candle", DeviceName::Cpu);
    let whole = trained(&sample, &spec);
    let monitor = Interrupted { after: 7, kept: Mutex::default() };
    assert_eq!(fit(&sample.table, &sample.plan, &spec, 1, None, &monitor).unwrap_err().code, "canceled");
    let checkpoint = monitor.kept.into_inner().unwrap().unwrap();
    let resumed = fit(&sample.table, &sample.plan, &spec, 2, Some(&checkpoint), &Silent).unwrap();
    assert_eq!(resumed.bundle.files().unwrap(), whole.bundle.files().unwrap());
    let kernels = FitSpec { config: quick("kernels", DeviceName::Cpu).config, ..spec };
    let other = fit(&sample.table, &sample.plan, &kernels, 2, Some(&checkpoint), &Silent).unwrap();
    assert!((accuracy(&other) - accuracy(&whole)).abs() < 0.05, "{} {}", accuracy(&other), accuracy(&whole));
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_device_that_is_not_there_is_a_warning_and_the_same_model() {
    let sample = overlapping(120);
    let there = trained(&sample, &quick("auto", DeviceName::Cpu));
    let absent = trained(&sample, &quick("auto", DeviceName::Cuda(1)));
    assert!(fallback(&absent).unwrap().contains("not on cuda:1"), "{:?}", absent.warnings);
    assert_eq!(absent.measured, there.measured);
    // The kernels are on the CPU, whatever the device.
    assert_eq!(fallback(&trained(&sample, &quick("kernels", DeviceName::Cuda(1)))), None);
    let auto = trained(&sample, &quick("auto", DeviceName::Auto));
    assert_eq!((fallback(&auto), &auto.measured), (None, &there.measured));
}

#[test]
fn a_family_that_candle_cannot_train_refuses_it() {
    let sample = overlapping(120);
    let spec = FitSpec { family: Family::named("hybrid"), config: Map::new(), ..quick("auto", DeviceName::Cpu) };
    let config = json!({ "engine": "candle" }).as_object().unwrap().clone();
    let refused = fit(&sample.table, &sample.plan, &FitSpec { config, ..spec }, 1, None, &Silent).unwrap_err();
    assert_eq!((refused.code, refused.details[0].path.as_deref()), ("bad_setting", Some("config.engine")));
}

/// A learner on a device that fails after some steps.
struct Failing {
    inner: Box<dyn Learner>,
    steps: u64,
}

impl Learner for Failing {
    fn schedule(&self) -> Schedule {
        self.inner.schedule()
    }

    fn step(&mut self, batch: &crate::data::Batch, targets: Targets<'_>, position: Position) -> Result<f32> {
        if position.step >= self.steps {
            return Err(Error { code: DEVICE_FAILED, ..Error::internal("out of memory") });
        }
        self.inner.step(batch, targets, position)
    }

    fn forward(&self, batch: &crate::data::Batch) -> Result<Vec<f32>> {
        self.inner.forward(batch)
    }

    fn end_epoch(&mut self, position: Position, train_loss: f32, validation_loss: f32) -> Result<Next> {
        self.inner.end_epoch(position, train_loss, validation_loss)
    }

    fn weights(&self) -> Result<Tensors> {
        self.inner.weights()
    }

    fn state(&self) -> Result<Tensors> {
        self.inner.state()
    }

    fn restore(&mut self, state: &Tensors) -> Result<()> {
        self.inner.restore(state)
    }

    fn finish(self: Box<Self>, weights: Option<Tensors>) -> Result<Box<dyn Network>> {
        self.inner.finish(weights)
    }
}

#[test]
fn a_device_that_fails_in_the_middle_leaves_the_training_to_the_cpu() {
    let sample = overlapping(200);
    let spec = spec(json!({ "hidden": [16], "epochs": 4, "members": 1, "cross_fit": false }));
    let ready = Ready::new(&sample.table, None, &sample.plan, &spec).unwrap();
    let data = ready.data(None);
    let names = ready.target.names();
    let new = || {
        let spec = LearnerSpec {
            names: &names,
            encoder: &ready.encoder,
            task: ready.task,
            outputs: data.outputs,
            rows: data.training_rows(),
            config: &ready.config,
            seed: spec.seed,
            threads: 1,
        };
        ready.family.learner(&spec).unwrap()
    };
    let begin = |learner: Box<dyn Learner>, device| {
        Run::new(learner, data, Weights::default(), spec.seed, (&Silent as &dyn Monitor, device))
    };
    let network = |run: Run<'_>| run.finish().unwrap().0.save().unwrap();
    let failing = begin(Box::new(Failing { inner: new(), steps: 9 }), DeviceName::Cuda(0));
    let again = || Ok(begin(new(), DeviceName::Cpu));
    let (run, warning) = run_to_end(failing, again, None, &Silent).unwrap();
    assert!(warning.unwrap().detail.contains("not on cuda:0: out of memory"));
    assert_eq!(run.device(), DeviceName::Cpu);
    let (plain, none) = run_to_end(begin(new(), DeviceName::Cpu), again, None, &Silent).unwrap();
    assert_eq!(none, None);
    let bits = |tensors: Tensors| crate::learning::bundle::tensors_to_bytes(&tensors).unwrap();
    assert_eq!(bits(network(run)), bits(network(plain)));
}
