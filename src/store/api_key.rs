//! An API key and what it allows.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a key allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Use models for predictions.
    Predict,
    /// Let models learn row by row: `observe` and `feedback`.
    Observe,
    /// Train models and manage their versions.
    Train,
    /// Make, change and remove datasets.
    Datasets,
    /// Everything, including keys and snapshots.
    Admin,
    /// Read everything, change nothing.
    Read,
}

/// A key as it is listed; the secret is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiKey {
    /// Its id.
    pub id: String,
    /// The name given by its creator.
    pub name: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// Names of the models it may use, or `*`.
    pub models: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends, if it does.
    pub expires_at: Option<Timestamp>,
}

/// A key to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// The name given by its creator.
    pub name: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// Names of the models it may use, or `*`; all when missing.
    #[serde(default = "all_models")]
    pub models: Vec<String>,
    /// When it ends, if it does.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

fn all_models() -> Vec<String> {
    vec!["*".to_owned()]
}

impl ApiKey {
    /// Whether it may do `scope`: `admin` may do everything.
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }

    /// Whether it may use the model of this name.
    pub fn allows_model(&self, name: &str) -> bool {
        self.models.iter().any(|m| m == "*" || m == name)
    }
}
