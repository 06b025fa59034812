//! What lasts: SQL and objects. Nothing here has seen a tensor.
