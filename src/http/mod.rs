//! The web interface: a file a resource, each with its `router()`. Status codes live in `error.rs` alone.
