//! The inner loops: sparse-input forward, winner-only backward and update, exact top-k, threads.
//! All `unsafe` of the crate lives here. What a network is made of does not; see [`super::sparse_net`].
//!
//! Weights are tiled by [`Lane`]: a block of 16 units is a list of one 64-byte line an input, so an
//! active input of a block costs one cache line, and a whole mini-batch meets a block while it lies
//! in the first or second cache.
//!
//! Every kernel is one safe body, compiled three times: for AVX-512, for AVX2 with FMA, and for any
//! machine. [`Isa`] is found out once and chooses. The bodies sum in a fixed order, so the bits do
//! not depend on the number of threads; across instruction sets results differ by rounding only.
#![allow(unsafe_code)]

mod blocks;
pub mod dense;
mod field;
pub mod filters;
pub mod gated_scan;
mod isa;
mod lines;
pub mod matrix;
pub mod parallel;
mod pool;
pub mod reads;
mod rows;
mod top_k;
mod vectors;

pub use blocks::{Adam, adam, back_dense, back_sparse, forward, update, update_dense};
pub use field::{Field, Narrowed, Viewers};
pub use isa::Isa;
pub use lines::{PAIR, Pair, forward_lines, forward_pairs};
pub use pool::Pool;
pub use rows::{Rows, Winners};
pub use top_k::{TopK, top_k};
pub use vectors::{axpy, dot, products, squared_norm};

/// Units of a block, one 64-byte line: a cache line, an AVX-512 register or two AVX registers.
pub const LANE: usize = 16;

/// Sixteen values of a block, one a unit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C, align(64))]
pub struct Lane(pub [f32; LANE]);

impl Lane {
    /// All zeros.
    pub const ZERO: Self = Self([0.0; LANE]);

    /// The lanes one after the other as plain numbers.
    pub fn flat(lanes: &[Self]) -> &[f32] {
        lanes.as_flattened_lanes()
    }
}

/// Views of lanes as plain numbers.
trait Flatten {
    fn as_flattened_lanes(&self) -> &[f32];
}

impl Flatten for [Lane] {
    fn as_flattened_lanes(&self) -> &[f32] {
        // SAFETY: `Lane` is `repr(C)` with the single field `[f32; 16]`, whose 64 bytes equal the
        // alignment, so a slice of n lanes is n * 16 consecutive, initialised `f32`.
        unsafe { std::slice::from_raw_parts(self.as_ptr().cast::<f32>(), self.len() * LANE) }
    }
}

/// `a * b + c`, fused where the instruction set has it (a library call elsewhere would be slow).
#[inline(always)]
pub(super) fn fused<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Compiles a body for each instruction set and makes the function that chooses among them.
macro_rules! dispatch {
    ($(#[$meta:meta])* pub fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:ident) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        pub fn $name(isa: $crate::nn::kernels::Isa, $($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx2($($arg: $ty),*) $(-> $ret)? { $body::<true>($($arg),*) }
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx512($($arg: $ty),*) $(-> $ret)? { $body::<true>($($arg),*) }
                // SAFETY: the only needs of these functions are the features they are compiled for,
                // and an `Isa` of that level is made only after the processor reported all of them.
                if isa.is_avx512() { return unsafe { avx512($($arg),*) } }
                // SAFETY: as above.
                if isa.is_avx2() { return unsafe { avx2($($arg),*) } }
            }
            let _ = isa;
            $body::<{ cfg!(target_arch = "aarch64") }>($($arg),*)
        }
    };
}
use dispatch;

#[cfg(test)]
mod tests;
