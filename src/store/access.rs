//! Authorisation: the master key and the stored keys, for HTTP and gRPC.

use super::Store;
use super::api_key::{ApiKey, Scope};
use super::objects::digest;
use crate::{Error, Kind, Result};
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// Decides what a secret gives access to.
#[derive(Clone, Debug)]
pub struct Access {
    store: Store,
    /// SHA-256 of the master key; without one, every request is allowed everything.
    master: Option<Arc<str>>,
}

/// The sender of a request.
#[derive(Clone, Debug)]
pub enum Caller {
    /// An unauthenticated client of a server without keys.
    Anyone,
    /// The holder of the master key.
    Master,
    /// The holder of a stored key.
    Key(Arc<ApiKey>),
}

impl Access {
    /// Access to `store`, with or without a master key.
    pub fn new(store: Store, master_key: Option<&str>) -> Self {
        Self { store, master: master_key.map(|key| digest(key.as_bytes()).into()) }
    }

    /// Whether requests need a key.
    pub fn closed(&self) -> bool {
        self.master.is_some()
    }

    /// Who holds this secret. On an open server no secret is needed, but one that is given must be
    /// valid, and its limits apply.
    pub async fn caller(&self, secret: Option<&str>) -> Result<Caller> {
        let Some(secret) = secret else {
            return match self.master {
                None => Ok(Caller::Anyone),
                Some(_) => Err(Error::new(
                    Kind::Unauthorized,
                    "key_required",
                    "a key is needed: send Authorization: Bearer KEY, or X-API-Key: KEY",
                )),
            };
        };
        if let Some(master) = &self.master {
            // Digests have one length, and the time to compare them reveals nothing about the key.
            if bool::from(digest(secret.as_bytes()).as_bytes().ct_eq(master.as_bytes())) {
                return Ok(Caller::Master);
            }
        }
        Ok(Caller::Key(Arc::new(self.store.authenticate(secret).await?)))
    }
}

impl Caller {
    /// The key's id, for rate limits and idempotency; empty without a key.
    pub fn id(&self) -> &str {
        match self {
            Self::Anyone => "",
            Self::Master => "master",
            Self::Key(key) => &key.id,
        }
    }

    /// The key's name.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Anyone | Self::Master => None,
            Self::Key(key) => Some(&key.name),
        }
    }

    /// 403 `scope_missing` unless the caller may do `scope`.
    pub fn require(&self, scope: Scope) -> Result<()> {
        match self {
            Self::Key(key) if !key.allows(scope) => {
                let name = serde_json::to_value(scope).ok();
                let name = name.as_ref().and_then(|v| v.as_str()).unwrap_or("needed");
                let detail = format!("this key does not have the scope '{name}'");
                Err(Error::new(Kind::Forbidden, "scope_missing", detail))
            }
            _ => Ok(()),
        }
    }

    /// Whether the caller may use the model of this name.
    pub fn allows_model(&self, name: &str) -> bool {
        match self {
            Self::Key(key) => key.allows_model(name),
            _ => true,
        }
    }

    /// 403 `model_not_allowed` unless the caller may use all of the models.
    pub fn require_models<'a>(&self, mut names: impl Iterator<Item = &'a str>) -> Result<()> {
        names.try_for_each(|name| self.require_model(name))
    }

    /// 403 `model_not_allowed` unless the caller may use the model.
    pub fn require_model(&self, name: &str) -> Result<()> {
        if self.allows_model(name) {
            return Ok(());
        }
        Err(Error::new(Kind::Forbidden, "model_not_allowed", "this key is not for this model"))
    }
}
