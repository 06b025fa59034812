//! The interface, tested from outside: a real server on a free port with a data folder of its own,
//! and a client that speaks HTTP. `KENYON_TEST_DATABASE_URL=postgres://…` runs the same tests there.
#![allow(clippy::unwrap_used, missing_docs)]

mod attacks;
mod bad_input;
mod datasets;
mod description;
mod doubt;
mod jobs;
mod limits;
mod main_job;
mod server;
mod streams;
