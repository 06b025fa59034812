//! What comes in: formats, schema, encoder, splits, batches. Nothing here learns weights.

pub mod batch;
pub mod encoder;
pub mod plan;
pub mod schema;
pub mod table;

pub use batch::Batch;
pub use schema::{ColumnInfo, ColumnKind, FeatureSpec};
pub use table::{Column, Table};
