//! Sixteen values side by side, the unit of the sparse kernels.

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
    pub(crate) fn flat(lanes: &[Self]) -> &[f32] {
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
