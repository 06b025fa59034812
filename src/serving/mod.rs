//! What answers now: live models, traffic split, micro-batches.
//!
//! An [`Engine`] is cheap to clone. A prediction goes through it without SQL and without a lock held
//! across work: the routing table of the model is an `ArcSwap`, the version it names is loaded once
//! and shared, and its rows pass a [`lane::Lane`], which batches only when there is company.

pub mod answer;
pub mod engine;
mod fair;
pub mod lane;
pub mod library;
mod stored;

pub use answer::{Answer, Reply, Timing};
pub use engine::{Ask, Caller, Engine, Rows, Settings};
pub use lane::Limits;
pub use library::{Canary, Files, Library, Traffic};
pub use stored::StoredModels;
