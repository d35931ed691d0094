//! The seam between the flow and an index over the pins of one catalog.

use std::fmt;

use super::deadline::Deadline;
use crate::model::{Neighbor, PinId};

/// Retrieval over the pins of one catalog.
pub trait Retrieve {
    /// Whether the catalog has `pin`.
    fn contains(&self, pin: PinId) -> bool;

    /// Replaces the contents of `out` by the eligible pins nearest to `pin`, ordered by
    /// [`Neighbor::by_descending_score`]. `pin` itself is a pin like any other; the
    /// catalog must have it. `out` holds an answer only if
    /// [`Retrieved::has_neighbors`].
    fn neighbors(
        &self,
        pin: PinId,
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved;

    /// The same for `target`, a unit vector of the catalog's dimension, which need be that
    /// of no pin.
    fn nearest_to_vector(
        &self,
        target: &[f32],
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved;

    /// The `k` nearest pins that are `eligible`, at any cost.
    fn neighbors_of(
        &self,
        pin: PinId,
        k: usize,
        eligible: &dyn Fn(PinId) -> bool,
    ) -> Vec<Neighbor> {
        let mut found = Vec::new();
        // Without a deadline a search completes.
        let _ = self.neighbors(pin, &SearchParams::unbounded(k, eligible), &mut found);
        found
    }
}

/// Parameters of one search, and what it may cost.
#[derive(Clone, Copy)]
pub struct SearchParams<'a> {
    /// Number of neighbors. Fewer are found only when the catalog has no more that
    /// are eligible, or a cached list with at least `min_k` of them has no more.
    pub k: usize,
    /// Number of neighbors, at most `k`, with which a cached list is enough of an
    /// answer; with fewer, a search follows.
    pub min_k: usize,
    /// Whether a pin may be among the neighbors.
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
    /// All neighbors were found.
    Complete,
    /// All neighbors were found, by a search with less than the usual effort.
    WithLessEffort,
    /// The deadline passed first; partial results are worth nothing.
    DeadlinePassed,
    /// No cached list is long enough, and the index may not search.
    NotCached,
}

/// An index that answers from cached lists alone has no list that is long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the neighbors are not cached")]
pub struct NotCached;

impl Retrieved {
    /// Whether neighbors were written.
    pub fn has_neighbors(self) -> bool {
        matches!(self, Self::Complete | Self::WithLessEffort)
    }
}

impl<'a> SearchParams<'a> {
    /// The `k` nearest pins that are `eligible`, at any cost.
    pub fn unbounded(k: usize, eligible: &'a dyn Fn(PinId) -> bool) -> Self {
        Self {
            k,
            min_k: k,
            eligible,
            effort: 1.0,
            deadline: Deadline::never(),
        }
    }

    /// The outcome of a search that found all neighbors.
    pub fn completed(&self) -> Retrieved {
        if self.effort < 1.0 {
            Retrieved::WithLessEffort
        } else {
            Retrieved::Complete
        }
    }
}

impl fmt::Debug for SearchParams<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SearchParams")
            .field("k", &self.k)
            .field("min_k", &self.min_k)
            .field("effort", &self.effort)
            .finish_non_exhaustive()
    }
}
