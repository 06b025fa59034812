//! Which instruction set the kernels use.

use std::sync::OnceLock;

/// An instruction set that this processor has. Values exist only after the processor was asked,
/// which is what makes it sound for safe code to pass them around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Level);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// What every machine has.
    pub const PORTABLE: Self = Self(Level::Portable);

    /// The best this processor has, found out once.
    pub fn best() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| Self::available().last().copied().unwrap_or(Self::PORTABLE))
    }

    /// All that this processor has, slowest first.
    pub fn available() -> Vec<Self> {
        #[allow(unused_mut)]
        let mut found = vec![Self::PORTABLE];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            found.push(Self(Level::Avx2));
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
            {
                found.push(Self(Level::Avx512));
            }
        }
        found
    }

    /// Its name, for reports.
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => "avx512",
        }
    }

    #[cfg(target_arch = "x86_64")]
    pub(super) fn is_avx512(self) -> bool {
        self.0 == Level::Avx512
    }

    #[cfg(target_arch = "x86_64")]
    pub(super) fn is_avx2(self) -> bool {
        self.0 == Level::Avx2
    }
}
