//! Pins upserted or deleted since the catalog was built: a small table beside it
//! that is scanned as a whole, and hides what it replaces.

use super::{PinTable, RetrieveByVector};
use crate::kernel;
use crate::model::{Embeddings, Neighbor, PinId};
use crate::recommend::{Retrieve, Retrieved, SearchParams};

/// Changes of pins since one catalog was built.
#[derive(Clone, Debug)]
pub struct Delta {
    /// Upserted pins, ascending.
    ids: Vec<PinId>,
    /// One row an upserted pin, in the order of the ids.
    vectors: Embeddings,
    /// In the order of the ids.
    titles: Vec<String>,
    /// In the order of the ids; none for a pin that is called by its number.
    keys: Vec<Option<String>>,
    /// Ascending.
    deleted: Vec<PinId>,
}

/// Number of changes in a [`Delta`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeltaCounts {
    /// Pins that are new or changed.
    pub upserted: usize,
    /// Pins that are gone.
    pub deleted: usize,
}

impl Delta {
    /// No change, beside a catalog of these `vectors`.
    pub fn new(vectors: &Embeddings) -> Self {
        Self {
            ids: Vec::new(),
            vectors: vectors.empty_like(),
            titles: Vec::new(),
            keys: Vec::new(),
            deleted: Vec::new(),
        }
    }

    /// Appends a pin that is new or changed. Pins must come by ascending id, each with a
    /// unit vector. It has no key where it is called by its number.
    pub fn push(&mut self, pin: PinId, vector: &[f32], title: String, key: Option<String>) {
        debug_assert!(self.ids.last().is_none_or(|&last| last < pin));
        // The vector was checked when it was upserted; one of another length is left out.
        if self.vectors.push(vector).is_ok() {
            self.ids.push(pin);
            self.titles.push(title);
            self.keys.push(key);
        }
    }

    /// Appends a pin that is gone. Pins must come by ascending id.
    pub fn push_deleted(&mut self, pin: PinId) {
        debug_assert!(self.deleted.last().is_none_or(|&last| last < pin));
        self.deleted.push(pin);
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.deleted.is_empty()
    }

    /// Number of pins that were upserted and deleted.
    pub fn counts(&self) -> DeltaCounts {
        DeltaCounts {
            upserted: self.ids.len(),
            deleted: self.deleted.len(),
        }
    }

    /// Whether pins of the catalog are gone.
    pub fn has_deleted(&self) -> bool {
        !self.deleted.is_empty()
    }

    /// Whether the catalog's record of `pin` no longer holds.
    fn is_replaced(&self, pin: PinId) -> bool {
        self.position(pin).is_some() || self.deleted.binary_search(&pin).is_ok()
    }

    /// Position of an upserted pin among the ids.
    fn position(&self, pin: PinId) -> Option<usize> {
        self.ids.binary_search(&pin).ok()
    }

    /// Adds the upserted pins to `out`, the neighbors that the catalog has, and keeps the
    /// best `k` of both.
    fn add_neighbors(&self, target: &[f32], params: &SearchParams<'_>, out: &mut Vec<Neighbor>) {
        let SearchParams { k, eligible, .. } = *params;
        // Pins further away than all that was found are not even looked up, unless
        // fewer were found than are needed.
        let worst = out.last().filter(|_| out.len() >= params.min_k);
        let min_score = worst.map_or(f32::NEG_INFINITY, |worst| worst.score);
        let mut cosines = Vec::new();
        let rows = (0..self.ids.len()).map(|position| self.vectors.row(position));
        kernel::dot_rows(target, rows, &mut cosines);
        let upserted = self.ids.iter().zip(cosines);
        let neighbors = upserted.map(|(&pin, cosine)| Neighbor {
            pin,
            score: cosine.clamp(-1.0, 1.0),
        });
        let near = neighbors.filter(|neighbor| neighbor.score >= min_score);
        out.extend(near.filter(|neighbor| eligible(neighbor.pin)));
        Neighbor::keep_best(out, k);
    }
}

/// The pins of a catalog with a delta applied.
#[derive(Clone, Copy, Debug)]
pub struct DeltaView<'a> {
    /// The pins of the catalog.
    pub pins: &'a PinTable,
    /// Changes since the catalog was built.
    pub delta: &'a Delta,
}

impl<'a> DeltaView<'a> {
    /// The unit vector of a pin; none when there is no such pin.
    pub fn vector(&self, pin: PinId) -> Option<&'a [f32]> {
        match self.delta.position(pin) {
            Some(position) => Some(self.delta.vectors.row(position)),
            None if self.delta.is_replaced(pin) => None,
            None => self.pins.vector(pin),
        }
    }

    /// Whether there is such a pin.
    pub fn contains(&self, pin: PinId) -> bool {
        if self.delta.is_replaced(pin) {
            self.delta.position(pin).is_some()
        } else {
            self.pins.position(pin).is_some()
        }
    }

    /// Title of a pin; empty when it has none or is not here.
    pub fn title(&self, pin: PinId) -> &'a str {
        match self.delta.position(pin) {
            Some(position) => &self.delta.titles[position],
            None if self.delta.is_replaced(pin) => "",
            None => self.pins.title(pin),
        }
    }

    /// Key of a pin; none when it has none or is not here.
    pub fn key(&self, pin: PinId) -> Option<&'a str> {
        // Who calls pins by numbers pays for no lookup.
        if !self.pins.has_keys() {
            return None;
        }
        match self.delta.position(pin) {
            Some(position) => self.delta.keys[position].as_deref(),
            None if self.delta.is_replaced(pin) => None,
            None => self.pins.key(pin),
        }
    }

    /// Retrieval over this view, where `base` retrieves over the catalog alone.
    pub fn retriever<'b, R: RetrieveByVector>(&'b self, base: &'b R) -> DeltaRetriever<'b, R> {
        DeltaRetriever { view: *self, base }
    }
}

/// Retrieval over a catalog with a delta: see [`DeltaView::retriever`].
#[derive(Clone, Copy, Debug)]
pub struct DeltaRetriever<'a, R> {
    view: DeltaView<'a>,
    base: &'a R,
}

impl<R: RetrieveByVector> Retrieve for DeltaRetriever<'_, R> {
    fn contains(&self, pin: PinId) -> bool {
        self.view.contains(pin)
    }

    fn neighbors(
        &self,
        pin: PinId,
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        let DeltaView { delta, .. } = self.view;
        if delta.is_empty() {
            return self.base.neighbors(pin, params, out);
        }
        out.clear();
        let Some(target) = self.view.vector(pin) else {
            return Retrieved::Complete;
        };
        let is_current = |pin: PinId| !delta.is_replaced(pin) && (params.eligible)(pin);
        let base_params = SearchParams {
            eligible: &is_current,
            ..*params
        };
        let retrieved = if delta.is_replaced(pin) {
            self.base.nearest_to_vector(target, &base_params, out)
        } else {
            self.base.neighbors(pin, &base_params, out)
        };
        if retrieved.has_neighbors() {
            delta.add_neighbors(target, params, out);
        }
        retrieved
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::index::{Exact, Pin};

    /// A table of these pins, each with a node of its own.
    fn table(pins: &[(u64, [f32; 3])]) -> PinTable {
        let mut vectors = Embeddings::new(3).expect("a dimension");
        let mut rows = Vec::new();
        for (node, (id, vector)) in (0..).zip(pins) {
            vectors.push(vector).expect("a vector");
            rows.push(Pin {
                id: PinId(*id),
                node,
                title: format!("pin {id} of {vector:?}"),
                key: None,
            });
        }
        PinTable::new(&rows, vectors)
    }

    fn vector() -> impl Strategy<Value = [f32; 3]> {
        prop::array::uniform3(0.1f32..1.0)
    }

    proptest! {
        #[test]
        fn catalog_and_delta_answer_as_one_table_would(
            base in prop::collection::btree_map(0u64..30, vector(), 1..30),
            changes in prop::collection::btree_map(0u64..40, prop::option::of(vector()), 0..20),
            k in 1usize..40,
        ) {
            let pins: Vec<(u64, [f32; 3])> = base.clone().into_iter().collect();
            let mut delta = Delta::new(&Embeddings::new(3).expect("a dimension"));
            let mut all = base;
            for (&pin, change) in &changes {
                match change {
                    Some(vector) => {
                        all.insert(pin, *vector);
                        let unit = table(&[(0, *vector)]);
                        let title = format!("pin {pin} of {vector:?}");
                        delta.push(PinId(pin), unit.vectors().row(0), title, None);
                    }
                    None => {
                        all.remove(&pin);
                        delta.push_deleted(PinId(pin));
                    }
                }
            }
            let (pins, all) = (table(&pins), table(&all.into_iter().collect::<Vec<_>>()));
            let view = DeltaView { pins: &pins, delta: &delta };
            let base = Exact(&pins);
            let (retriever, expected) = (view.retriever(&base), Exact(&all));
            let eligible = |pin: PinId| !pin.0.is_multiple_of(5);
            for pin in (0..45).map(PinId) {
                prop_assert_eq!(retriever.contains(pin), expected.contains(pin));
                prop_assert_eq!(view.vector(pin), all.vector(pin));
                prop_assert_eq!(view.title(pin), all.title(pin));
                if expected.contains(pin) {
                    let found = retriever.neighbors_of(pin, k, &eligible);
                    prop_assert_eq!(found, expected.neighbors_of(pin, k, &eligible));
                }
            }
        }
    }
}
