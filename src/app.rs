//! Wiring: build the server from its configuration, serve, drain.
