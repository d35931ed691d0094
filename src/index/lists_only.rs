//! Retrieval from neighbor lists alone, without any search.

use std::cell::Cell;

use super::lookups::{FilterPlan, ListSource};
use super::neighbor_cache::{Index, ListLookup};
use super::selection::Selection;
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
    /// Of both, those with a filter.
    hits_filtered: Cell<u64>,
}

impl<'a> ListsOnly<'a> {
    /// Retrieval from the lists of `index`.
    pub fn new(index: &'a Index) -> Self {
        Self {
            index,
            hits_ahead: Cell::new(0),
            hits_cached: Cell::new(0),
            hits_filtered: Cell::new(0),
        }
    }

    /// Adds the hits to the counters of the index. For an answer that needs a search,
    /// do not call this: the index counts them when it is asked for the same lists again.
    pub fn count_hits(self) {
        let counters = self.index.counters();
        counters.add_hits(ListSource::Ahead, self.hits_ahead.get());
        counters.add_hits(ListSource::Cache, self.hits_cached.get());
        counters.add_filtered(FilterPlan::List, self.hits_filtered.get());
    }
}

impl ListsOnly<'_> {
    /// [`Retrieve::neighbors`] among the selected pins.
    pub(super) fn selected_neighbors(
        &self,
        pin: PinId,
        selection: &Selection,
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        let index = self.index;
        let retrieved = self.found(&index.look_up_selected(pin, selection, params, out));
        let hits = u64::from(retrieved.has_neighbors());
        self.hits_filtered.set(self.hits_filtered.get() + hits);
        retrieved
    }

    /// Notes a hit; without one there is no answer.
    fn found(&self, lookup: &ListLookup) -> Retrieved {
        let hits = match lookup {
            ListLookup::Found(ListSource::Ahead) => &self.hits_ahead,
            ListLookup::Found(ListSource::Cache) => &self.hits_cached,
            ListLookup::TooShort | ListLookup::Missing => return Retrieved::NotCached,
        };
        hits.set(hits.get() + 1);
        Retrieved::Complete
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
        self.found(&self.index.look_up(pin, true, params, out))
    }

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
