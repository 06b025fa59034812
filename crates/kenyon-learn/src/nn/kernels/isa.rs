//! Which instruction set the kernels use, and the macro that compiles a kernel for each of them.

use std::sync::OnceLock;

/// An instruction set that this processor has. Values are created only after the processor was checked,
/// which makes it sound for safe code to pass them around.
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
    /// The one of every machine.
    pub const PORTABLE: Self = Self(Level::Portable);

    /// The best of this processor, detected once.
    pub fn best() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| Self::available().last().copied().unwrap_or(Self::PORTABLE))
    }

    /// All instruction sets of this processor, slowest first.
    pub fn available() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        let found = {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq");
            let levels = [(true, Level::Portable), (avx2, Level::Avx2), (avx512, Level::Avx512)];
            levels.into_iter().filter_map(|(there, level)| there.then_some(Self(level))).collect()
        };
        #[cfg(not(target_arch = "x86_64"))]
        let found = vec![Self::PORTABLE];
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

/// Compiles a function for AVX-512, for AVX2 with FMA and for any machine, and makes the function that selects one.
///
/// `fn name(…) = body` takes the instruction set as its first argument; `body` is generic over whether
/// `a * b + c` is fused, so results differ between instruction sets by rounding. `fn name(…) { … }` selects by
/// [`Isa::best`] and fuses nothing, so its results have the same bits on every machine.
macro_rules! dispatch {
    (@choose $isa:expr, ($($arg:ident: $ty:ty),*), ($($ret:tt)*), $vector:expr, $portable:expr) => {{
        let isa = $isa;
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $ty),*) $($ret)* { $vector($($arg),*) }
            #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
            fn avx512($($arg: $ty),*) $($ret)* { $vector($($arg),*) }
            // SAFETY: the only requirements of these functions are the features they are compiled for,
            // and an `Isa` of that level is made only after the processor reported all of them.
            if isa.is_avx512() { return unsafe { avx512($($arg),*) } }
            // SAFETY: as above.
            if isa.is_avx2() { return unsafe { avx2($($arg),*) } }
        }
        let _ = isa;
        $portable($($arg),*)
    }};
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:ident) => {
        $(#[$meta])*
        $vis fn $name(isa: $crate::nn::kernels::isa::Isa, $($arg: $ty),*) $(-> $ret)? {
            dispatch!(
                @choose isa, ($($arg: $ty),*), ($(-> $ret)?),
                $body::<true>, $body::<{ cfg!(target_arch = "aarch64") }>
            )
        }
    };
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body($($arg: $ty),*) $(-> $ret)? $body
            dispatch!(@choose $crate::nn::kernels::isa::Isa::best(), ($($arg: $ty),*), ($(-> $ret)?), body, body)
        }
    };
}
pub(super) use dispatch;
