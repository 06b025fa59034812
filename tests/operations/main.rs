//! Operations: the built program as processes that are killed, starved, disconnected and replaced.
//! `cargo test --release --test operations -- --nocapture` prints figures; environment variables select
//! the long runs (see `benches/README.md`).
#![allow(clippy::unwrap_used, missing_docs)]

mod client;
mod command_line;
mod crash;
mod fuzz;
mod fuzz_grpc;
mod latency;
mod load;
mod many_models;
mod processes;
mod rolling;
mod s3;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod trouble;
mod webhook;
