//! The learning core of Kenyon: data comes in, a model is trained, it predicts and learns on from a
//! stream. Synchronous, without a server, a database or a network connection.

pub mod data;
pub mod error;
pub mod learning;
pub mod models;
pub mod nn;
pub mod random;

pub use error::{Detail, Error, Kind, Result};
