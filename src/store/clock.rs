//! This machine's clock.

use jiff::Timestamp;

/// Now, in epoch milliseconds.
pub(super) fn now() -> i64 {
    Timestamp::now().as_millisecond()
}
