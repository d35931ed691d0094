//! Retrieval for queries that are no pins. Vectors and rankings take ids that the catalog
//! does not have, so that the same code serves every model.

use std::borrow::Cow;

use super::popularity::Ranking;
use crate::index::{PinTable, Selection};
use crate::kernel;
use crate::model::{Neighbor, PinId};
use crate::recommend::{Retrieve, Retrieved, SearchParams};

/// The query behind an id that no pin has.
#[derive(Clone, Debug)]
pub(crate) enum QueryVector<'a> {
    /// A unit vector, answered by the pins nearest to it.
    Vector(Vec<f32>),
    /// A ranking, answered by its pins in their order.
    Ranking(Cow<'a, Ranking>),
}

/// The `count` greatest ids that no pin of `pins` has, ascending.
pub(crate) fn free_ids(pins: &PinTable, count: usize) -> Vec<PinId> {
    let mut taken = pins.ids().iter().rev().peekable();
    let ids = (0..=u64::MAX).rev().map(PinId);
    let free = ids.filter(|id| taken.next_if(|taken| *taken == id).is_none());
    let mut free: Vec<PinId> = free.take(count).collect();
    free.reverse();
    free
}

/// An index that answers query vectors as well as pins.
#[derive(Clone, Copy)]
pub(crate) struct IndexWithQueries<'a> {
    /// Retrieves selected pins only, where there is a selection.
    pub(crate) index: &'a dyn Retrieve,
    /// The pins of rankings that may be in an answer; none for all.
    pub(crate) selection: Option<&'a Selection>,
    pub(crate) pins: &'a PinTable,
    /// Ids that no pin has, ascending. The first ones are those of the queries.
    pub(crate) ids: &'a [PinId],
    pub(crate) queries: &'a [QueryVector<'a>],
}

impl IndexWithQueries<'_> {
    fn query(&self, pin: PinId) -> Option<&QueryVector<'_>> {
        self.queries.get(self.ids.binary_search(&pin).ok()?)
    }

    fn is_selected(&self, pin: PinId) -> bool {
        self.selection
            .is_none_or(|selection| selection.selects(pin, self.pins))
    }

    /// The score of the pin in each of `slots`, as a neighbor of `pin`.
    pub(crate) fn scores(&self, pin: PinId, slots: &[u32], out: &mut Vec<f32>) {
        let vectors = self.pins.vectors();
        let rows = slots
            .iter()
            .map(|&slot| vectors.row(self.pins.node(slot as usize)));
        match self.query(pin) {
            Some(QueryVector::Vector(vector)) => kernel::dot_rows(vector, rows, out),
            Some(QueryVector::Ranking(ranking)) => {
                out.clear();
                out.extend(slots.iter().map(|&slot| ranking.scores[slot as usize]));
            }
            None => {
                let vector = self.pins.vector(pin).unwrap_or_default();
                kernel::dot_rows(vector, rows, out);
            }
        }
    }
}

impl Retrieve for IndexWithQueries<'_> {
    fn contains(&self, pin: PinId) -> bool {
        self.query(pin).is_some() || self.index.contains(pin)
    }

    fn neighbors(
        &self,
        pin: PinId,
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        match self.query(pin) {
            Some(QueryVector::Vector(vector)) => self.index.nearest_to_vector(vector, params, out),
            Some(QueryVector::Ranking(ranking)) => {
                let ranked = ranking.slots.iter().map(|&slot| Neighbor {
                    pin: self.pins.ids()[slot as usize],
                    score: ranking.scores[slot as usize],
                });
                out.clear();
                let selected = ranked.filter(|found| self.is_selected(found.pin));
                let eligible = selected.filter(|found| (params.eligible)(found.pin));
                out.extend(eligible.take(params.k));
                params.completed()
            }
            None => self.index.neighbors(pin, params, out),
        }
    }

    fn nearest_to_vector(
        &self,
        target: &[f32],
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        self.index.nearest_to_vector(target, params, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{Exact, Pin};
    use crate::model::Embeddings;

    fn table(ids: &[u64]) -> PinTable {
        let mut vectors = Embeddings::new(2).expect("a dimension");
        let mut pins = Vec::new();
        for (node, &id) in ids.iter().enumerate() {
            vectors.push(&[1.0, node as f32]).expect("a vector");
            pins.push(Pin {
                id: PinId(id),
                node: node as u32,
                title: String::new(),
                key: None,
            });
        }
        PinTable::new(&pins, vectors)
    }

    #[test]
    fn free_ids_are_those_of_no_pin() {
        let last = u64::MAX;
        let free = |ids: &[u64]| free_ids(&table(ids), 3);
        assert_eq!(free(&[1, 2]), [last - 2, last - 1, last].map(PinId));
        let taken = [5, last - 3, last - 1, last];
        assert_eq!(free(&taken), [last - 5, last - 4, last - 2].map(PinId));
    }

    #[test]
    fn a_query_is_answered_like_a_pin_and_other_ids_are_pins() {
        let pins = table(&[10, 20, 30]);
        let exact = Exact(&pins);
        let ids = free_ids(&pins, 5);
        let queries = [
            QueryVector::Vector(vec![1.0, 0.0]),
            QueryVector::Ranking(Cow::Owned(Ranking::from_scores(vec![0.0, 0.3, 0.9]))),
        ];
        let index_with_queries = IndexWithQueries {
            index: &exact,
            selection: None,
            pins: &pins,
            ids: &ids,
            queries: &queries,
        };
        let found = |pin| -> Vec<u64> {
            let found = index_with_queries.neighbors_of(pin, 2, &|pin| pin != PinId(20));
            found.iter().map(|neighbor| neighbor.pin.0).collect()
        };
        assert_eq!(found(ids[0]), [10, 30]);
        assert_eq!(found(ids[1]), [30]);
        assert_eq!(found(PinId(30)), [30, 10]);
        let known = [ids[0], ids[1], ids[2], PinId(20), PinId(21)];
        let known = known.map(|pin| index_with_queries.contains(pin));
        assert_eq!(known, [true, true, false, true, false]);
        let mut scores = Vec::new();
        index_with_queries.scores(ids[1], &[1, 0], &mut scores);
        assert_eq!(scores, [0.3, 0.0]);
        index_with_queries.scores(PinId(10), &[0], &mut scores);
        assert_eq!(scores, [1.0]);
    }
}
