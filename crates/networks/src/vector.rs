//! Runs a loop with the widest vector instructions that the CPU has.
//!
//! The workspace is compiled for the oldest CPU of each kind. Here a closure is compiled once for each newer generation
//! and the choice is made when it runs. The compiler never fuses a multiplication with an addition by itself, so all
//! variants give the same bits.

#[cfg(target_arch = "x86_64")]
use pulp::x86::{V3, V4};

/// What `work` returns. It and all that it calls must be `#[inline(always)]`, else nothing is gained.
#[inline(always)]
pub(crate) fn vectorized<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(avx512) = V4::try_new() {
            return avx512.vectorize(work);
        }
        if let Some(avx2) = V3::try_new() {
            return avx2.vectorize(work);
        }
    }
    work()
}
