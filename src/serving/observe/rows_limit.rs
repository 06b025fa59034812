//! A limit on how many rows a minute a model learns from a key.

use crate::{Error, Kind, Result};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use std::num::NonZeroU32;
use uuid::Uuid;

/// Rows that are admitted at once at least, so that a portion of a streamed body is.
const AT_ONCE: u32 = 1_000;

/// Rows a minute of each key for each model; rows without a key and those of the master key are not limited.
pub(super) struct RowsLimit {
    limiter: Option<DefaultKeyedRateLimiter<(String, Uuid)>>,
}

impl RowsLimit {
    /// 0 is without limit.
    pub(super) fn new(rows_a_minute: u32) -> Self {
        let quota = |rate: NonZeroU32| {
            Quota::per_minute(rate).allow_burst(rate.max(NonZeroU32::MIN.saturating_add(AT_ONCE - 1)))
        };
        Self { limiter: NonZeroU32::new(rows_a_minute).map(|rate| RateLimiter::keyed(quota(rate))) }
    }

    /// 429 `learning_limited` where the model has learned too many rows from the key lately.
    pub(super) fn admit(&self, key: &str, model: Uuid, rows: usize) -> Result<()> {
        let (Some(limiter), Some(rows)) = (&self.limiter, u32::try_from(rows).ok().and_then(NonZeroU32::new)) else {
            return Ok(());
        };
        if matches!(key, "" | "master") {
            return Ok(());
        }
        let refused = |detail: &str| Err(Error::new(Kind::Overloaded, "learning_limited", detail));
        match limiter.check_key_n(&(key.to_owned(), model), rows) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(later)) => {
                let wait = later.wait_time_from(DefaultClock::default().now()).as_secs() + 1;
                let error =
                    refused("the model has learned as many rows from this key as it may for now; try again later");
                error.map_err(|error: Error| error.with_retry_after(wait))
            }
            Err(_) => refused("one request has more rows than the model may learn from this key at once; send fewer"),
        }
    }

    /// Removes keys without recent rows, so that memory does not grow.
    pub(super) fn tidy(&self) {
        self.limiter.iter().for_each(|limiter| limiter.retain_recent());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_limited_for_each_model() {
        let limit = RowsLimit::new(2_000);
        let (one, other) = (Uuid::now_v7(), Uuid::now_v7());
        limit.admit("k", one, 1_500).unwrap();
        let refused = limit.admit("k", one, 1_000).unwrap_err();
        assert_eq!((refused.code, refused.retry_after.is_some()), ("learning_limited", true));
        assert!(limit.admit("k", one, 3_000).unwrap_err().retry_after.is_none());
        limit.admit("k", other, 1_500).unwrap();
        limit.admit("l", one, 1_500).unwrap();
        limit.admit("master", one, 9_000).unwrap();
        RowsLimit::new(0).admit("k", one, 9_000).unwrap();
        RowsLimit::new(10).admit("k", one, 1_000).unwrap();
        limit.tidy();
    }
}
