//! Linear readouts in closed form: no gradient steps, one symmetric system each.
//!
//! All of them are the same two steps. An estimate from data is shrunk towards a prior, and a symmetric positive
//! system is solved by Cholesky ([`crate::nn::linalg::cholesky`]); [`shrinkage`] holds both. With codes `φ`, classes
//! `c` of `n_c` rows and mean `μ_c`, the mean of all rows `m`, the covariance within classes `Σ` and width `d`:
//!
//! | readout | solves | shrunk towards | source |
//! | --- | --- | --- | --- |
//! | [`discriminant`] | `w_c = Σ_λ⁻¹ (μ_c − m)`, `b_c = ln p_c − ½ (μ_c − m)ᵀ w_c − mᵀ w_c` | `Σ_λ = (1 − λ) Σ + λ (tr Σ / d) I` | Ledoit & Wolf 2004; Hayes & Kanan 2020 |
//! | [`discriminant`], for numbers | `w = Σ_λ⁻¹ cov(φ, y)`, `b = mean(y) − mᵀ w` | the same, which is ridge regression | Hoerl & Kennard 1970 |
//! | [`ridge`] | `(K + R) α = Y`, `w = Φᵀ α` with `K = Φ Φᵀ`: as many equations as rows | weights of zero: `R` is a share of the mean of `K`'s diagonal | Saunders, Gammerman & Vovk 1998; Allen 1974 |
//! | [`few_shot`] | as the discriminant, for a class of few rows | `μ = P x̄ + s / (s + r / n) (x̄ − P x̄)`, `P` the projection onto the differences of known classes | Ioffe 2006 |
//! | [`semi_supervised`] | as ridge, where labels are few | as ridge | |
//! | [`label_propagation`] | `F = (1 − α) Y + α S F` over a graph of nearest neighbours, by iteration | the labels `Y` | Zhou et al. 2004 |
//!
//! Which rows are used, and when a readout is solved again, is decided by the learners.

pub(crate) mod discriminant;
pub(crate) mod few_shot;
pub(crate) mod label_propagation;
mod readout;
pub(crate) mod ridge;
pub(crate) mod semi_supervised;
pub(crate) mod shrinkage;

pub(crate) use readout::Readout;
