//! The interface, tested from outside: a real server on a free port with a data folder of its own,
//! and a client over HTTP. `KENYON_TEST_DATABASE=postgres` (or an address)
//! runs the same tests on Postgres, `KENYON_TEST_BINARY=1` against the built program as a process.
#![allow(clippy::unwrap_used, missing_docs)]

mod attacks;
mod audit;
mod bad_input;
mod bundles;
mod candle;
mod comparisons;
mod datasets;
mod description;
mod earlier;
mod encoders;
mod files;
mod forgetting;
mod inference;
mod jobs;
mod limits;
mod main_job;
mod mcp;
mod server;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod training;
mod uncertainty;
