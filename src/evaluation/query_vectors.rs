//! Retrieval for what is no pin: vectors and rankings stand behind ids that the
//! catalog does not have, so that every model is served by the same code.

use std::borrow::Cow;

use super::popularity::Ranking;
use crate::index::{PinTable, RetrieveByVector};
use crate::kernel;
use crate::model::{Neighbor, PinId};
use crate::recommend::{Retrieve, Retrieved, SearchParams};

/// What an id stands for.
#[derive(Clone, Debug)]
pub(super) enum QueryVector<'a> {
    /// A unit vector: the pins nearest to it.
    Vector(Vec<f32>),
    /// These pins, in their order.
    Ranking(Cow<'a, Ranking>),
}

/// The `count` greatest ids that no pin of `pins` has, ascending.
pub(super) fn free_ids(pins: &PinTable, count: usize) -> Vec<PinId> {
    let mut taken = pins.ids().iter().rev().peekable();
    let ids = (0..=u64::MAX).rev().map(PinId);
    let free = ids.filter(|id| taken.next_if(|taken| *taken == id).is_none());
    let mut free: Vec<PinId> = free.take(count).collect();
    free.reverse();
    free
}

/// An index with stand-ins beside its pins.
#[derive(Clone, Copy)]
pub(super) struct WithQueryVectors<'a> {
    pub(super) index: &'a dyn RetrieveByVector,
    pub(super) pins: &'a PinTable,
    /// Ascending; the first ones are those of the stand-ins.
    pub(super) ids: &'a [PinId],
    pub(super) stand_ins: &'a [QueryVector<'a>],
}

impl WithQueryVectors<'_> {
    fn stand_in(&self, pin: PinId) -> Option<&QueryVector<'_>> {
        self.stand_ins.get(self.ids.binary_search(&pin).ok()?)
    }

    /// The score of the pin at each of `places`, as one of the neighbors of `pin`.
    pub(super) fn scores(&self, pin: PinId, places: &[u32], out: &mut Vec<f32>) {
        let vectors = self.pins.vectors();
        let rows = places
            .iter()
            .map(|&place| vectors.row(self.pins.node(place as usize)));
        match self.stand_in(pin) {
            Some(QueryVector::Vector(vector)) => kernel::dot_rows(vector, rows, out),
            Some(QueryVector::Ranking(ranking)) => {
                out.clear();
                out.extend(places.iter().map(|&place| ranking.scores[place as usize]));
            }
            None => {
                let vector = self.pins.vector(pin).unwrap_or_default();
                kernel::dot_rows(vector, rows, out);
            }
        }
    }
}

impl Retrieve for WithQueryVectors<'_> {
    fn contains(&self, pin: PinId) -> bool {
        self.stand_in(pin).is_some() || self.index.contains(pin)
    }

    fn neighbors(
        &self,
        pin: PinId,
        wanted: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        match self.stand_in(pin) {
            Some(QueryVector::Vector(vector)) => self.index.nearest_to_vector(vector, wanted, out),
            Some(QueryVector::Ranking(ranking)) => {
                let ranked = ranking.places.iter().map(|&place| Neighbor {
                    pin: self.pins.ids()[place as usize],
                    score: ranking.scores[place as usize],
                });
                out.clear();
                let eligible = ranked.filter(|neighbor| (wanted.eligible)(neighbor.pin));
                out.extend(eligible.take(wanted.k));
                wanted.completed()
            }
            None => self.index.neighbors(pin, wanted, out),
        }
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
    fn a_stand_in_is_asked_like_a_pin_and_others_are_pins() {
        let pins = table(&[10, 20, 30]);
        let exact = Exact(&pins);
        let ids = free_ids(&pins, 5);
        let stand_ins = [
            QueryVector::Vector(vec![1.0, 0.0]),
            QueryVector::Ranking(Cow::Owned(Ranking::by(vec![0.0, 0.3, 0.9]))),
        ];
        let beside = WithQueryVectors {
            index: &exact,
            pins: &pins,
            ids: &ids,
            stand_ins: &stand_ins,
        };
        let found = |pin| -> Vec<u64> {
            let found = beside.neighbors_of(pin, 2, &|pin| pin != PinId(20));
            found.iter().map(|neighbor| neighbor.pin.0).collect()
        };
        assert_eq!(found(ids[0]), [10, 30]);
        assert_eq!(found(ids[1]), [30]);
        assert_eq!(found(PinId(30)), [30, 10]);
        let known = [ids[0], ids[1], ids[2], PinId(20), PinId(21)];
        let known = known.map(|pin| beside.contains(pin));
        assert_eq!(known, [true, true, false, true, false]);
        let mut scores = Vec::new();
        beside.scores(ids[1], &[1, 0], &mut scores);
        assert_eq!(scores, [0.3, 0.0]);
        beside.scores(PinId(10), &[0], &mut scores);
        assert_eq!(scores, [1.0]);
    }
}
