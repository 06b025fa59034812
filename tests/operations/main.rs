//! Operations: the built program as processes that are killed, starved, cut off and replaced.
//! `cargo test --release --test operations -- --nocapture` prints figures; what is long is asked
//! for by the environment (see `benches/README.md`).
#![allow(clippy::unwrap_used, missing_docs)]

mod client;
mod crash;
mod fuzz;
mod fuzz_grpc;
mod latency;
mod load;
mod rolling;
mod s3;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod trouble;
mod webhook;
