//! Linear algebra: factorisations.

pub mod cholesky;
