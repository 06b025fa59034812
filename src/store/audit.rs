//! The audit log: who changed what, when. Entries are added and never changed or removed.

use super::clock::now;
use super::db::{Row, sql};
use super::{Page, Store};
use crate::Result;
use jiff::Timestamp;
use serde::Serialize;
use std::str::FromStr;
use utoipa::ToSchema;

/// A change that was made through the interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(examples(json!({
    "id": "019a22514a2f7d3e8a61c0c5d0a7b9e1", "at": "2026-01-05T10:00:00Z", "caller": "0199f0a3c47a", "caller_name": "shop",
    "method": "POST", "path": "/api/v1/models/iris/versions/2/promote", "status": 200,
    "request_id": "611c088f2eadf7e90000000000000b8b"
})))]
pub struct AuditEntry {
    /// Its id; later entries have later ones.
    pub id: String,
    /// When the call was answered.
    pub at: Timestamp,
    /// The id of the key, `master`, or nothing for a server without keys.
    pub caller: String,
    /// The name of the key.
    pub caller_name: Option<String>,
    /// The method of the request.
    pub method: String,
    /// The path of the request.
    pub path: String,
    /// The status of the answer.
    pub status: u16,
    /// The id of the request, which the log and the answer have too.
    pub request_id: String,
}

/// The id of an entry, as a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditId(String);

impl FromStr for AuditId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> std::result::Result<Self, uuid::Error> {
        text.parse::<uuid::Uuid>().map(|id| Self(id.simple().to_string()))
    }
}

/// A change to enter.
#[derive(Clone, Copy, Debug)]
pub struct NewAuditEntry<'a> {
    /// As in [`AuditEntry`].
    pub caller: &'a str,
    /// As in [`AuditEntry`].
    pub caller_name: Option<&'a str>,
    /// As in [`AuditEntry`].
    pub method: &'a str,
    /// As in [`AuditEntry`].
    pub path: &'a str,
    /// As in [`AuditEntry`].
    pub status: u16,
    /// As in [`AuditEntry`].
    pub request_id: &'a str,
}

impl Store {
    /// Enters a change.
    pub async fn audit(&self, entry: &NewAuditEntry<'_>) -> Result<()> {
        let insert = "INSERT INTO audit (id, at, caller, caller_name, method, path, status, request_id)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        let insert = sql(insert).bind(uuid::Uuid::now_v7().simple().to_string()).bind(now());
        let insert = insert.bind(entry.caller).bind(entry.caller_name).bind(entry.method);
        let insert = insert.bind(entry.path).bind(i64::from(entry.status)).bind(entry.request_id);
        self.inner.db.exec(insert).await.map(|_| ())
    }

    /// Entries from `since` (milliseconds) on, the oldest first, behind the one that `after` names.
    pub async fn audit_entries(&self, since: i64, after: Option<&AuditId>, limit: usize) -> Result<Page<AuditEntry>> {
        let select = "SELECT * FROM audit WHERE at >= $1 AND id > $2 ORDER BY id LIMIT $3";
        let select = sql(select).bind(since).bind(after.map_or("", |id| &id.0)).bind(limit + 1);
        let rows = self.inner.db.all(select).await?;
        let items = rows.iter().map(from_row).collect::<Result<_>>()?;
        Ok(Page::from_fetched(items, limit, |entry: &AuditEntry| entry.id.clone()))
    }
}

fn from_row(row: &Row) -> Result<AuditEntry> {
    Ok(AuditEntry {
        id: row.get("id")?,
        at: row.time("at")?,
        caller: row.get("caller")?,
        caller_name: row.get("caller_name")?,
        method: row.get("method")?,
        path: row.get("path")?,
        status: u16::try_from(row.u64("status")?).unwrap_or_default(),
        request_id: row.get("request_id")?,
    })
}
