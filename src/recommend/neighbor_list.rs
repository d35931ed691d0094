//! The neighbor list of one target, a sampled medoid or a seed, as far as it was retrieved.
//!
//! A list is retrieved in steps, whose depths follow from its quota alone. A deeper retrieval
//! appends what it found beyond the one before. So the head of a list is the same however
//! many candidates are asked for, even where a deeper search finds other pins.

use super::bonus::{self, RankScratch};
use super::merge_params::{MergeParams, MergeStrategy};
use super::pin_set::PinSet;
use super::quota::ROUND;
use super::retrieve::Retrieved;
use crate::model::Neighbor;

/// The neighbors of one target, as far as they were retrieved.
#[derive(Clone, Debug, Default)]
pub(super) struct NeighborList {
    /// Step after step; within a step by [`bonus::by_descending_rank`].
    pub(super) neighbors: Vec<Neighbor>,
    pub(super) end: ListEnd,
    /// Number of candidates that the list may bring to a round of an interleaved merge.
    pub(super) quota: usize,
    /// Depth of the last retrieval; 0 before the first.
    depth: usize,
    /// Number of retrievals.
    steps: usize,
    /// Buffer of the next retrieval, which may fail and must not harm `neighbors`.
    next: Vec<Neighbor>,
    /// The pins of `neighbors`, while more are appended.
    known: PinSet,
    ranking: RankScratch,
}

/// What follows the last neighbor of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ListEnd {
    /// Nothing was retrieved yet.
    #[default]
    NotRetrieved,
    /// More neighbors, if they are retrieved.
    More,
    /// Nothing: the index has no further eligible pin.
    Exhausted,
    /// Nothing: further neighbors have lower scores than the request allows.
    TooFar,
    /// Nothing: the deadline passed before any retrieval was done.
    CutEmpty,
    /// Nothing: the deadline passed before more was retrieved.
    CutShort,
}

impl ListEnd {
    /// Whether a further retrieval may bring more.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::NotRetrieved | Self::More)
    }
}

impl NeighborList {
    /// Empties the list for another request.
    pub(super) fn reset(&mut self, quota: usize) {
        self.neighbors.clear();
        self.end = ListEnd::NotRetrieved;
        self.quota = quota;
        self.depth = 0;
        self.steps = 0;
    }

    /// Whether anything was retrieved.
    pub(super) fn is_answered(&self) -> bool {
        !matches!(self.end, ListEnd::NotRetrieved | ListEnd::CutEmpty)
    }

    /// Ends the list here, as the deadline has passed.
    pub(super) fn cut(&mut self) {
        self.end = match self.end {
            ListEnd::NotRetrieved => ListEnd::CutEmpty,
            ListEnd::More => ListEnd::CutShort,
            ended @ (ListEnd::Exhausted
            | ListEnd::TooFar
            | ListEnd::CutEmpty
            | ListEnd::CutShort) => ended,
        };
    }

    /// Number of neighbors with which a merge can begin.
    pub(super) fn wanted(&self, params: &MergeParams<'_>) -> usize {
        match params.strategy {
            MergeStrategy::GlobalTop => params.limit,
            MergeStrategy::Interleave => with_margin((self.quota * params.limit).div_ceil(ROUND)),
        }
    }

    /// Number of neighbors to retrieve next.
    pub(super) fn next_depth(&self, params: &MergeParams<'_>) -> usize {
        match (params.strategy, self.steps) {
            (MergeStrategy::GlobalTop, 0) => ROUND,
            (MergeStrategy::Interleave, 0) => with_margin(self.quota),
            // Twice as many suffice for most lists whose pins other lists brought before. Three
            // times as many are still in a list that was made ahead of time, unless its medoid
            // brings more than others.
            (_, 2) => self.depth / 2 * 3,
            _ => self.depth * 2,
        }
    }

    /// Appends those of the first `depth` neighbors that are not in the list yet. `retrieve`
    /// gets the number of neighbors that it may write, at least `depth`. When it fails, the
    /// list stays as it was.
    pub(super) fn fill(
        &mut self,
        depth: usize,
        params: &MergeParams<'_>,
        retrieve: impl FnOnce(usize, &mut Vec<Neighbor>) -> Retrieved,
    ) -> Retrieved {
        let MergeParams {
            strategy,
            bonus,
            min_score,
            ..
        } = *params;
        // Lists that compete for every candidate are deep enough as they are.
        let needs_more_to_rank = bonus.is_some() && strategy == MergeStrategy::Interleave;
        let k = if needs_more_to_rank {
            depth * bonus::DEPTH_FACTOR
        } else {
            depth
        };
        let retrieved = retrieve(k, &mut self.next);
        if retrieved.has_neighbors() {
            let all = self.next.len();
            if let Some(min_score) = min_score {
                let near = self.next.partition_point(|found| found.score >= min_score);
                self.next.truncate(near);
            }
            self.end = match self.next.len() {
                near if near >= depth => ListEnd::More,
                near if near < all => ListEnd::TooFar,
                _ => ListEnd::Exhausted,
            };
            if let Some(bonus) = bonus {
                bonus.sort(&mut self.next, depth, &mut self.ranking);
            }
            self.append_next();
            self.depth = depth;
            self.steps += 1;
        }
        retrieved
    }

    /// Appends what was retrieved and is new.
    fn append_next(&mut self) {
        if self.neighbors.is_empty() {
            std::mem::swap(&mut self.neighbors, &mut self.next);
            return;
        }
        self.known.reset(self.neighbors.len());
        for neighbor in &self.neighbors {
            self.known.insert(neighbor.pin);
        }
        let known = &self.known;
        let new = self.next.iter().filter(|found| !known.contains(found.pin));
        self.neighbors.extend(new);
    }
}

/// `count`, and an eighth more: some of a list's pins come from other lists as well, and that
/// much spares most answers a second retrieval.
fn with_margin(count: usize) -> usize {
    count + count / 8 + 1
}
