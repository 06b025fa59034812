//! The key of a request that may be sent again.

use super::objects::digest;

/// An `Idempotency-Key` with what it was sent for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    /// Who and where: `{api key id} {method} {path}`.
    pub scope: String,
    /// The header's value.
    pub key: String,
    /// SHA-256 of the body.
    pub body_hash: String,
}

impl IdempotencyKey {
    /// A key for this body.
    pub fn new(scope: impl Into<String>, key: impl Into<String>, body: &[u8]) -> Self {
        Self { scope: scope.into(), key: key.into(), body_hash: digest(body) }
    }
}
