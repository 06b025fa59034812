//! Tests that need what a machine may lack.

/// Prints why a test does nothing; with `KENYON_REQUIRE_ALL` set, as in CI, that is a failure.
pub(crate) fn skip(reason: &str) {
    println!("skipped: {reason}");
    assert!(std::env::var_os("KENYON_REQUIRE_ALL").is_none(), "{reason}");
}
