//! What trains later: claim, lease, heartbeat, cancel, resume; progress.
