//! Where the engine gets versions and traffic from: the store in a server, memory in tests.

use crate::Result;
use bytes::Bytes;
use futures::future::BoxFuture;

/// Name and content of each file of a bundle.
pub type Files = Vec<(String, Bytes)>;

/// Which versions of a model answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Traffic {
    /// Distinguishes the model from an earlier one of the same name.
    pub id: uuid::Uuid,
    /// The version that is served; none before the first is ready.
    pub stable: Option<u64>,
    /// A version that gets a share of the requests.
    pub canary: Option<Canary>,
    /// A version that predicts without being answered from, for comparison.
    pub shadow: Option<u64>,
}

/// A version that gets a share of the requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Canary {
    /// Which.
    pub version: u64,
    /// Share of the requests, in `[0, 1]`.
    pub weight: f64,
}

/// Stored models, as far as serving needs them. Called off the hot path only.
pub trait Library: Send + Sync + 'static {
    /// The traffic of `model`; `model_not_found` when there is no such model.
    fn traffic<'a>(&'a self, model: &'a str) -> BoxFuture<'a, Result<Traffic>>;

    /// The files of a version of the model with this id; `version_not_found` when there is none, and where
    /// another model has taken the name.
    fn files<'a>(&'a self, model: &'a str, id: uuid::Uuid, version: u64) -> BoxFuture<'a, Result<Files>>;

    /// Changes whenever this process changes any model, before the change becomes visible.
    fn counter(&self) -> u64 {
        0
    }

    /// [`Library::counter`] after the last change of `model`, once no change of it is in progress.
    fn settled<'a>(&'a self, _model: &'a str) -> BoxFuture<'a, u64> {
        Box::pin(std::future::ready(0))
    }
}
