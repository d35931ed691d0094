//! Retrieval from neighbor lists alone, without any search.

use std::cell::Cell;

use super::lookups::ListSource;
use super::neighbor_cache::{Index, ListLookup};
use super::retrieve_by_vector::RetrieveByVector;
use crate::model::{Neighbor, PinId};
use crate::recommend::{Retrieve, Retrieved, SearchParams};

/// An [`Index`] that answers from lists alone: where it would search, it answers
/// [`Retrieved::NotCached`].
#[derive(Debug)]
pub struct ListsOnly<'a> {
    index: &'a Index,
    /// Hits that are not counted yet.
    hits_ahead: Cell<u64>,
    hits_cached: Cell<u64>,
}

impl<'a> ListsOnly<'a> {
    /// Retrieval from the lists of `index`.
    pub fn new(index: &'a Index) -> Self {
        Self {
            index,
            hits_ahead: Cell::new(0),
            hits_cached: Cell::new(0),
        }
    }

    /// Adds the hits to the counters of the index. For an answer that needs a search,
    /// do not call this: the index counts them when it is asked for the same lists again.
    pub fn count_hits(self) {
        let counters = self.index.counters();
        counters.add_hits(ListSource::Ahead, self.hits_ahead.get());
        counters.add_hits(ListSource::Cache, self.hits_cached.get());
    }
}

impl Retrieve for ListsOnly<'_> {
    fn contains(&self, pin: PinId) -> bool {
        self.index.contains(pin)
    }

    fn neighbors(
        &self,
        pin: PinId,
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        let hits = match self.index.look_up(pin, params, out) {
            ListLookup::Found(ListSource::Ahead) => &self.hits_ahead,
            ListLookup::Found(ListSource::Cache) => &self.hits_cached,
            ListLookup::TooShort | ListLookup::Missing => return Retrieved::NotCached,
        };
        hits.set(hits.get() + 1);
        Retrieved::Complete
    }
}

impl RetrieveByVector for ListsOnly<'_> {
    /// No list is kept for a vector.
    fn nearest_to_vector(
        &self,
        _: &[f32],
        _: &SearchParams<'_>,
        _: &mut Vec<Neighbor>,
    ) -> Retrieved {
        Retrieved::NotCached
    }
}
