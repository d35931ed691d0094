//! The instruction set that the loops run on, chosen once.

use std::sync::LazyLock;

#[cfg(target_arch = "x86_64")]
use pulp::x86::V3;
use pulp::{Arch, WithSimd};

/// The widest instruction set of this processor.
pub(super) static ARCH: LazyLock<Arch> = LazyLock::new(Arch::new);
/// AVX2, for the loops that are spelled out for it; none on processors without it.
#[cfg(target_arch = "x86_64")]
pub(super) static AVX2: LazyLock<Option<V3>> = LazyLock::new(V3::try_new);

/// Runs a loop of another module, compiled for the instruction set of this processor.
///
/// The loop and all that it calls must be `#[inline(always)]`: what is not inlined is
/// compiled for the baseline.
pub fn dispatch<W: WithSimd>(work: W) -> W::Output {
    ARCH.dispatch(work)
}
