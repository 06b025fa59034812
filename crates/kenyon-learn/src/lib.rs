//! The learning core of Kenyon: data comes in, a model is trained, it predicts and learns on from a
//! stream. Synchronous, without a server, a database or a network connection.
//!
//! # Train and predict
//!
//! A program at the edge embeds the core like this. It reads a file, trains on four fifths of its rows, saves the
//! model and predicts a row:
//!
//! ```
//! use kenyon_learn::data::{bundled, formats, plan, schema};
//! use kenyon_learn::learning::{Bundle, FitSpec, fit, fit::Silent, verify};
//!
//! # fn main() -> kenyon_learn::Result<()> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("cancer.csv");
//! std::fs::write(&path, bundled::BREAST_CANCER)?;
//!
//! // What the columns are, and which of them predict `target`.
//! let limits = formats::Limits::default();
//! let part = formats::detect(&path, None, None)?;
//! let plan = plan::resolve(&schema::infer(&part, &limits)?, &Default::default(), "target", None)?;
//! let table = plan::read_table(&[part], &plan.all(), &limits)?;
//!
//! let spec = FitSpec { target: "target".into(), ..FitSpec::default() };
//! let fitted = fit::fit(&table, &plan, &spec, 2, None, &Silent)?;
//! assert!(fitted.metrics["accuracy"].as_f64().is_some_and(|accuracy| accuracy > 0.93));
//!
//! // The files of the bundle, checked to give the measured answers, and the model that they hold.
//! let files = verify::verified_files(&fitted, &table)?;
//! let model = Bundle::load(|name| files.iter().find(|(file, _)| *file == name).map(|(_, bytes)| bytes.as_slice()))?;
//! let rows = model.reader().from_json(br#"[{"mean_radius": 20.6, "worst_area": 2010.0}]"#)?;
//! let answers = model.run(&model.encode(&rows)?)?;
//! println!("{:?} with {:?}", model.label(&answers.values), answers.values);
//! # Ok(())
//! # }
//! ```
//!
//! # Learn from a stream
//!
//! Each row is predicted first and learned then; [`StreamModel::over`](learning::stream::StreamModel::over)
//! continues from a trained model instead.
//!
//! ```
//! use kenyon_learn::data::plan::ColumnPlan;
//! use kenyon_learn::data::{ColumnKind, Task};
//! use kenyon_learn::learning::stream::{StreamModel, StreamSpec};
//!
//! # fn main() -> kenyon_learn::Result<()> {
//! let mut stream = StreamModel::new(&StreamSpec {
//!     task: Task::Classification,
//!     target: ColumnPlan::target("state", ColumnKind::Category, Task::Classification),
//!     classes: Vec::new(),
//!     inputs: vec![ColumnPlan::new("load", ColumnKind::Number), ColumnPlan::new("heat", ColumnKind::Number)],
//!     config: Default::default(),
//!     seed: 0,
//! })?;
//! for row in 0..400 {
//!     let (load, heat) = (row % 20, 30 + row % 7);
//!     let state = if load > 12 { "high" } else { "low" };
//!     let line = format!(r#"{{"load":{load},"heat":{heat},"state":"{state}"}}"#);
//!     let rows = stream.reader().from_ndjson(line.as_bytes())?;
//!     stream.observe(&rows, &[&line])?;
//! }
//! assert!(stream.figures().window() > 0.9, "the share of rows predicted rightly before they were learned");
//!
//! // The state so far as bytes, from which it continues; and a model that predicts.
//! let state = stream.snapshot()?;
//! let model = StreamModel::restore(&state, None)?.publish();
//! let answers = model.run(&model.encode(&model.reader().from_json(br#"[{"load":18,"heat":31}]"#)?)?)?;
//! assert_eq!(model.label(&answers.values), Some(&"high".into()));
//! # Ok(())
//! # }
//! ```

pub mod data;
pub mod device;
pub mod encoders;
pub mod error;
pub mod learning;
pub mod models;
pub mod nn;
pub mod onnx;
pub mod random;

pub use error::{Detail, Error, Kind, Result};
