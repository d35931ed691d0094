//! What a model retrieves from: the graph or all pins, and of those what its filter selects.

use crate::index::{Approximate, Exact, Filtered, Selection};
use crate::model::{Neighbor, PinId};
use crate::recommend::{Retrieve, Retrieved, SearchParams};

/// What all models retrieve from.
#[derive(Debug)]
pub(super) enum SearchedIndex<'a> {
    /// The graph.
    Graph(Approximate),
    /// Every pin.
    Scan(Exact<'a>),
}

/// What one model retrieves from.
#[derive(Clone, Copy, Debug)]
pub(super) struct ModelIndex<'a> {
    pub(super) index: &'a SearchedIndex<'a>,
    /// What the filter selects; none for all pins.
    pub(super) selection: Option<&'a Selection>,
}

impl ModelIndex<'_> {
    fn with<T>(&self, call: impl FnOnce(&dyn Retrieve) -> T) -> T {
        match (self.index, self.selection) {
            (SearchedIndex::Graph(index), None) => call(index),
            (SearchedIndex::Scan(index), None) => call(index),
            (SearchedIndex::Graph(index), Some(selection)) => call(&Filtered { index, selection }),
            (SearchedIndex::Scan(index), Some(selection)) => call(&Filtered { index, selection }),
        }
    }
}

impl Retrieve for ModelIndex<'_> {
    fn contains(&self, pin: PinId) -> bool {
        self.with(|index| index.contains(pin))
    }

    fn neighbors(
        &self,
        pin: PinId,
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        self.with(|index| index.neighbors(pin, params, out))
    }

    fn nearest_to_vector(
        &self,
        target: &[f32],
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        self.with(|index| index.nearest_to_vector(target, params, out))
    }
}
