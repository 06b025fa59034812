//! Comparing representations with each other and with neural recordings (representational similarity
//! analysis): distances, comparisons, statistics, and measures of sparse coding.
//!
//! Definitions follow rsatoolbox 0.3 (Schütt et al. 2023); tests hold the figures against it. Nothing here
//! depends on models or datasets: callers pass responses or dissimilarity matrices with named conditions.

mod assess;
mod bootstrap;
mod distance;
mod eigen;
mod encoding;
mod geometry;
mod matrices;
mod noise;
mod prepared;
mod products;
mod ranks;
mod rdm;
mod responses;
mod sample;
pub mod simulate;
pub mod sparsity;
pub mod statistics;
#[cfg(test)]
mod tests;
mod weighting;

pub use assess::{Assessment, Difference, SystemFit, assess};
pub use bootstrap::{Bootstrap, NoiseCeiling, Over};
pub use distance::{Distance, dissimilarities};
pub use encoding::{Encoded, MAX_ENCODED, MeanResponses, encode};
pub use geometry::{MAX_PROCRUSTES, linear_cka, procrustes_distance};
pub use matrices::{Comparison, similarities};
pub use noise::{MAX_CHANNELS, Noise, Shrinkage};
pub use rdm::{Aligned, Dropped, MAX_CONDITIONS, MIN_CONDITIONS, Rdm, align, pairs};
pub use responses::Responses;
pub use weighting::{Weighting, fit_weights};
