//! The neighbor list of one target, a sampled medoid or a seed, as far as it was retrieved.

use super::merge_params::{MergeParams, MergeStrategy};
use super::popularity_prior::{self, RankScratch};
use super::retrieve::Retrieved;
use crate::model::Neighbor;

/// The neighbors of one target, as far as they were retrieved.
#[derive(Clone, Debug, Default)]
pub(super) struct NeighborList {
    /// By [`popularity_prior::by_descending_rank`].
    pub(super) neighbors: Vec<Neighbor>,
    pub(super) end: ListEnd,
    /// Number of candidates that the list may bring to an interleaved merge.
    pub(super) quota: usize,
    /// Buffer of the next retrieval, which may fail and must not harm `neighbors`.
    next: Vec<Neighbor>,
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
            ended @ (ListEnd::Exhausted | ListEnd::CutEmpty | ListEnd::CutShort) => ended,
        };
    }

    /// Number of neighbors to retrieve next.
    pub(super) fn next_depth(&self, params: &MergeParams<'_>) -> usize {
        match (params.strategy, self.neighbors.len()) {
            (MergeStrategy::GlobalTop, _) => params.limit,
            // Some of a list's pins come from other lists as well; an eighth
            // more than the quota spares most answers a second retrieval.
            (MergeStrategy::Interleave, 0) => self.quota + self.quota / 8 + 1,
            (MergeStrategy::Interleave, retrieved) => retrieved * 2,
        }
    }

    /// Replaces the neighbors by the first `depth` of those that `retrieve` writes.
    /// `retrieve` gets the number of neighbors that it may write, at least `depth`. When
    /// it fails, the list stays as it was.
    pub(super) fn fill(
        &mut self,
        depth: usize,
        params: &MergeParams<'_>,
        retrieve: impl FnOnce(usize, &mut Vec<Neighbor>) -> Retrieved,
    ) -> Retrieved {
        let MergeParams {
            strategy, prior, ..
        } = *params;
        // Lists that compete for every candidate are deep enough as they are.
        let needs_more_to_rank = prior.is_some() && strategy == MergeStrategy::Interleave;
        let k = if needs_more_to_rank {
            depth * popularity_prior::DEPTH_FACTOR
        } else {
            depth
        };
        let retrieved = retrieve(k, &mut self.next);
        if retrieved.has_neighbors() {
            std::mem::swap(&mut self.neighbors, &mut self.next);
            self.end = if self.neighbors.len() < depth {
                ListEnd::Exhausted
            } else {
                ListEnd::More
            };
            if let Some(prior) = prior {
                prior.rank(&mut self.neighbors, depth, &mut self.ranking);
            }
        }
        retrieved
    }
}
