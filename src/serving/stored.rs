//! The store as the engine's library.

use super::library::{Canary, Files, Library, Traffic};
use crate::Result;
use crate::store::{ModelName, Store};
use futures::future::{BoxFuture, FutureExt};

/// Models as the store keeps them.
#[derive(Clone, Debug)]
pub struct StoredModels(pub Store);

impl Library for StoredModels {
    fn traffic<'a>(&'a self, model: &'a str) -> BoxFuture<'a, Result<Traffic>> {
        async move {
            let traffic = self.0.model(&model.parse::<ModelName>()?).await?.traffic;
            let canary = traffic.canary.map(|c| Canary { version: c.version, weight: c.weight });
            Ok(Traffic { stable: traffic.stable, canary, shadow: traffic.shadow })
        }
        .boxed()
    }

    fn files<'a>(&'a self, model: &'a str, version: u64) -> BoxFuture<'a, Result<Files>> {
        async move {
            let version = self.0.version(&model.parse::<ModelName>()?, version).await?;
            self.0.version_files(&version).await
        }
        .boxed()
    }
}
