//! Online serving: loaded versions, traffic split, micro-batches.
//!
//! An [`Engine`] is cheap to clone. A prediction goes through it without SQL and without a lock held
//! across work: the routing table of the model is an `ArcSwap`, the version it names is loaded once
//! and shared, and its rows pass a [`batch_queue::BatchQueue`], which batches only concurrent requests.

pub mod activity;
pub mod answer;
pub mod batch_queue;
mod clock;
pub mod encoders;
pub mod energy;
pub mod engine;
pub mod exchange;
mod fair;
pub(crate) mod json;
pub mod library;
pub mod loaded_version;
mod model_card;
pub mod observe;
mod open_models;
pub mod reasons;
mod request;
mod routing;
mod settings;
pub mod stats;
mod stored;
mod table;
pub mod transfer;

pub use answer::{Answer, Explain, PredictOptions, Reply, Timing};
pub use batch_queue::Limits;
pub use engine::{Caller, Engine};
pub use library::{Canary, Files, Library, Traffic};
pub use loaded_version::LoadedVersion;
pub use observe::{Drift, EmptyModel, Forgetting, MemoryPage, Sender, StreamOptions, Streams};
pub(crate) use request::whole_numbers;
pub use routing::ShadowFigures;
pub use settings::Settings;
pub use stored::StoredModels;

#[cfg(test)]
mod tests;
