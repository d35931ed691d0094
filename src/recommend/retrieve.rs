//! The seam between the flow and an index over the pins of one catalog.

use std::fmt;

use super::deadline::Deadline;
use crate::model::{Neighbor, PinId};

/// Retrieval over the pins of one catalog.
pub trait Retrieve {
    /// Whether the catalog has `pin`.
    fn contains(&self, pin: PinId) -> bool;

    /// Replaces what is in `out` by what is `wanted` of the pins nearest to `pin`, by
    /// [`Neighbor::by_falling_score`]. `pin` itself is a pin like any other; the
    /// catalog must have it.
    fn neighbors(
        &self,
        pin: PinId,
        wanted: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved;

    /// The `k` nearest of which `eligible` holds in a list of their own, whatever it
    /// costs.
    fn neighbors_of(
        &self,
        pin: PinId,
        k: usize,
        eligible: &dyn Fn(PinId) -> bool,
    ) -> Vec<Neighbor> {
        let mut found = Vec::new();
        // With all the time there is, it ends in full.
        let _ = self.neighbors(pin, &SearchParams::in_full(k, eligible), &mut found);
        found
    }
}

/// What is wanted of an index, and what it may cost.
#[derive(Clone, Copy)]
pub struct SearchParams<'a> {
    /// Number of neighbors. Fewer are found only when the catalog has no more that
    /// are eligible.
    pub k: usize,
    /// At most `k`: with so many a list that was made ahead of time will do, for which
    /// more would have to be searched.
    pub least: usize,
    /// Pins that may be among them.
    pub eligible: &'a dyn Fn(PinId) -> bool,
    /// Share of the usual effort of a search, above 0 and at most 1.
    pub effort: f32,
    /// When the search must stop: asked before it, and many times in it.
    pub deadline: Deadline<'a>,
}

/// How a retrieval ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Retrieved {
    /// With all that was wanted.
    InFull,
    /// With all that was wanted, by a search of less than the usual effort.
    WithLessEffort,
    /// Time was up before it was done; what was found so far is worth nothing.
    OutOfTime,
}

impl<'a> SearchParams<'a> {
    /// The `k` nearest of which `eligible` holds, whatever it costs.
    pub fn in_full(k: usize, eligible: &'a dyn Fn(PinId) -> bool) -> Self {
        Self {
            k,
            least: k,
            eligible,
            effort: 1.0,
            deadline: Deadline::never(),
        }
    }

    /// How a search that did all of this ended.
    pub fn done(&self) -> Retrieved {
        match self.effort < 1.0 {
            true => Retrieved::WithLessEffort,
            false => Retrieved::InFull,
        }
    }
}

impl fmt::Debug for SearchParams<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SearchParams")
            .field("k", &self.k)
            .field("least", &self.least)
            .field("effort", &self.effort)
            .finish_non_exhaustive()
    }
}
