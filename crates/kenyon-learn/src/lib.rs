//! The learning core of Kenyon: reads data, trains models, predicts, and learns incrementally from
//! streams. Synchronous, without a server, a database or a network connection.

pub mod data;
pub mod error;
pub mod learning;
pub mod models;
pub mod nn;
pub mod random;

pub use error::{Detail, Error, Kind, Result};
