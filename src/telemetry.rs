//! Logs and metrics; nothing here knows what they are about.
