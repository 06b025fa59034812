//! Kenyon, a learning server: rows go in over HTTP, trained models answer.
//!
//! Imports go down only; `tests/tidy.rs` holds the floors.

pub mod app;
pub mod cli;
pub mod config;
pub mod data;
pub mod error;
pub mod http;
pub mod jobs;
pub mod learning;
pub mod models;
pub mod nn;
pub mod oip;
pub mod random;
pub mod serving;
pub mod store;
pub mod telemetry;

pub use error::{Detail, Error, Kind, Result};
