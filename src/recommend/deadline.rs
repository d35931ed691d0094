//! The deadline of a request, without a clock.

use std::fmt;

/// When a search must stop.
///
/// The core reads no clock: the shell says whether the deadline has passed. Once it
/// has, it stays so.
#[derive(Clone, Copy)]
pub struct Deadline<'a>(&'a dyn Fn() -> bool);

impl<'a> Deadline<'a> {
    /// A deadline that has passed as soon as `has_passed` returns true.
    pub fn new(has_passed: &'a dyn Fn() -> bool) -> Self {
        Self(has_passed)
    }

    /// A deadline that never passes.
    pub fn never() -> Self {
        Self(&|| false)
    }

    /// Whether the search must stop. A long search asks many times.
    #[inline]
    pub fn has_passed(self) -> bool {
        (self.0)()
    }
}

impl fmt::Debug for Deadline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deadline").finish_non_exhaustive()
    }
}
