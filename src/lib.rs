//! Kenyon, a learning server: rows are uploaded over HTTP, models are trained on them and predict new rows.
//!
//! Imports go down only; `tests/tidy` checks the layers.

pub mod app;
pub mod cli;
pub mod config;
pub mod error;
pub mod http;
pub mod jobs;
pub mod oip;
pub mod serving;
pub mod store;
mod sync;
pub mod telemetry;

pub use error::{Detail, Error, Kind, Result};
