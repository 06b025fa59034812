//! The store as the engine's library.

use super::library::{Canary, Files, Library, Traffic};
use crate::store::{ModelName, Store};
use crate::{Error, Result};
use futures::future::{BoxFuture, FutureExt};
use uuid::Uuid;

/// Models of the store.
#[derive(Clone, Debug)]
pub struct StoredModels(pub Store);

impl Library for StoredModels {
    fn traffic<'a>(&'a self, model: &'a str) -> BoxFuture<'a, Result<Traffic>> {
        async move {
            let found = self.0.model(&name(model)?).await?;
            let traffic = found.traffic;
            let canary = traffic.canary.map(|c| Canary { version: c.version, weight: c.weight });
            Ok(Traffic { id: found.id, stable: traffic.stable, canary, shadow: traffic.shadow })
        }
        .boxed()
    }

    fn files<'a>(&'a self, model: &'a str, id: Uuid, version: u64) -> BoxFuture<'a, Result<Files>> {
        async move { self.0.files_of(&name(model)?, id, version).await }.boxed()
    }

    fn counter(&self) -> u64 {
        self.0.model_changes().counter()
    }

    fn settled<'a>(&'a self, model: &'a str) -> BoxFuture<'a, u64> {
        async move {
            match name(model) {
                Ok(name) => self.0.model_changes().settled(&name).await,
                Err(_) => 0,
            }
        }
        .boxed()
    }
}

/// What is not a name cannot be a model's.
fn name(model: &str) -> Result<ModelName> {
    model.parse().map_err(|_| Error::not_found("model_not_found", "there is no such model"))
}
