//! Input data: formats, schema, encoder, splits, batches. Nothing here learns weights.

pub mod batch;
mod bin_ranges;
mod builder;
pub mod bundled;
pub(crate) mod cell;
pub(crate) mod deform;
pub mod encoder;
pub mod formats;
pub(crate) mod image;
pub mod kinds;
pub mod number;
pub mod plan;
pub mod profile;
pub mod row_cache;
pub mod rows;
pub mod schema;
pub mod split;
pub mod table;
pub mod target;
pub mod vectors;
pub mod warning;
mod written;

pub use batch::Batch;
pub use bin_ranges::BinRanges;
pub use schema::{ColumnInfo, ColumnKind, FeatureSpec};
pub use table::{Column, Table};
pub use target::{TargetEncoder, Task};
pub use warning::{Warning, WarningCode};

#[cfg(test)]
mod tests;
