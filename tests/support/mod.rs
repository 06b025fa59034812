//! Shared by tests and benchmark programs that run Kenyon as a user does: the built program as a
//! process, and a private Postgres server.
#![allow(clippy::unwrap_used)]
#![allow(dead_code, reason = "each test program uses its own part")]

pub(crate) mod contract;
#[path = "../../src/store/tests/postgres.rs"]
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod random;
pub(crate) mod skip;

/// A small table that can be learned: two clouds of points and a column without information.
pub(crate) fn clouds(rows: usize) -> String {
    let mut csv = String::from("x,y,colour,label\n");
    for i in 0..rows {
        let side = if i % 2 == 0 { 1.0 } else { -1.0 };
        let noise = |k: usize| ((i * k) % 17) as f64 / 17.0 - 0.5;
        let colour = ["red", "green", "blue"][i % 3];
        let label = if side > 0.0 { "right" } else { "left" };
        csv += &format!("{:.3},{:.3},{colour},{label}\n", side * 2.0 + noise(7), noise(11));
    }
    csv
}
