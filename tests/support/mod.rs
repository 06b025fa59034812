//! What tests and measuring programs share that run Kenyon as a user does: the built program as a
//! process, and a private Postgres server.
#![allow(dead_code, clippy::unwrap_used)]

#[path = "../../src/store/tests/postgres.rs"]
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod random;
