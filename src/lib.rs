//! Kenyon, a learning server: rows go in over HTTP, trained models answer.
//!
//! Imports go down only; `tests/tidy.rs` holds the floors.

pub mod app;
pub mod cli;
pub mod config;
pub mod error;
pub mod http;
pub mod jobs;
pub mod oip;
pub mod serving;
pub mod store;
pub mod telemetry;

pub use error::{Detail, Error, Kind, Result};
