//! Readouts that are solved for rather than trained: discriminant analysis, ridge regression, few labels, few rows of a class.

pub mod discriminant;
pub mod few_shot;
pub mod label_propagation;
pub mod ridge;
pub mod semi_supervised;
