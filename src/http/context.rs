//! The current request's id and protocol, for errors and logs.

use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The current request.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// `X-Request-Id`, the client's or ours.
    pub(crate) request_id: Box<str>,
    /// Whether errors take the form of the Open Inference Protocol.
    pub(crate) inference_protocol: bool,
}

tokio::task_local! {
    pub(crate) static CONTEXT: Context;
}

/// The id of the current request; empty outside of one.
pub(crate) fn request_id() -> Box<str> {
    CONTEXT.try_with(|c| c.request_id.clone()).unwrap_or_default()
}

/// Whether the current request uses the Open Inference Protocol.
pub(crate) fn inference_protocol() -> bool {
    CONTEXT.try_with(|c| c.inference_protocol).unwrap_or(false)
}

/// The client's id where it is short and printable, else one of ours.
pub(crate) fn id_from(header: Option<&axum::http::HeaderValue>) -> Box<str> {
    let given = header.and_then(|v| v.to_str().ok()).filter(|v| {
        (1..=128).contains(&v.len()) && v.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&b))
    });
    given.map_or_else(fresh_id, Into::into)
}

/// 32 hexadecimal digits: a random number of this process and a counter. Ids need to be different,
/// not unpredictable, and a random number a request would cost a system call.
fn fresh_id() -> Box<str> {
    static PROCESS: LazyLock<u64> =
        LazyLock::new(|| std::collections::hash_map::RandomState::new().build_hasher().finish());
    static COUNT: AtomicU64 = AtomicU64::new(1);
    format!("{:016x}{:016x}", *PROCESS, COUNT.fetch_add(1, Ordering::Relaxed)).into()
}
