//! Pins that came, changed or went since the catalog was built: a small table
//! beside it that is scanned as a whole, and hides what it replaces.

use super::{PinTable, RetrieveNear};
use crate::kernel;
use crate::model::{Embeddings, Neighbor, PinId};
use crate::recommend::{Retrieve, Retrieved, SearchParams};

/// What changed since one catalog was built.
#[derive(Clone, Debug)]
pub struct Delta {
    /// Ascending; those that are there now.
    ids: Vec<PinId>,
    /// By place among the ids.
    vectors: Embeddings,
    titles: Vec<String>,
    /// Ascending.
    deleted: Vec<PinId>,
}

impl Delta {
    /// No change, beside a catalog of these `vectors`.
    pub fn new(vectors: &Embeddings) -> Self {
        Self {
            ids: Vec::new(),
            vectors: vectors.empty_like(),
            titles: Vec::new(),
            deleted: Vec::new(),
        }
    }

    /// Appends a pin that came or changed: by ascending id, with a unit vector.
    pub fn push(&mut self, pin: PinId, vector: &[f32], title: String) {
        debug_assert!(self.ids.last().is_none_or(|&last| last < pin));
        // It was checked when it came; one of another length is left out.
        if self.vectors.push(vector).is_ok() {
            self.ids.push(pin);
            self.titles.push(title);
        }
    }

    /// Appends a pin that is gone: by ascending id.
    pub fn push_deleted(&mut self, pin: PinId) {
        debug_assert!(self.deleted.last().is_none_or(|&last| last < pin));
        self.deleted.push(pin);
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.deleted.is_empty()
    }

    /// Number of pins that came or changed, and of those that are gone.
    pub fn counts(&self) -> (usize, usize) {
        (self.ids.len(), self.deleted.len())
    }

    /// Whether pins of the catalog are gone.
    pub fn has_deleted(&self) -> bool {
        !self.deleted.is_empty()
    }

    /// Whether what the catalog says of `pin` no longer holds.
    fn replaces(&self, pin: PinId) -> bool {
        self.place(pin).is_some() || self.deleted.binary_search(&pin).is_ok()
    }

    fn place(&self, pin: PinId) -> Option<usize> {
        self.ids.binary_search(&pin).ok()
    }
}

/// A catalog and what changed since.
#[derive(Clone, Copy, Debug)]
pub struct Layered<'a> {
    /// The pins of the catalog.
    pub pins: &'a PinTable,
    /// What changed.
    pub delta: &'a Delta,
}

impl<'a> Layered<'a> {
    /// The unit vector of a pin; none when there is no such pin.
    pub fn vector(&self, pin: PinId) -> Option<&'a [f32]> {
        match self.delta.place(pin) {
            Some(place) => Some(self.delta.vectors.row(place)),
            None if self.delta.replaces(pin) => None,
            None => self.pins.vector(pin),
        }
    }

    /// Whether there is such a pin.
    pub fn contains(&self, pin: PinId) -> bool {
        match self.delta.replaces(pin) {
            true => self.delta.place(pin).is_some(),
            false => self.pins.place(pin).is_some(),
        }
    }

    /// Title of a pin; empty when it has none or is not here.
    pub fn title(&self, pin: PinId) -> &'a str {
        match self.delta.place(pin) {
            Some(place) => &self.delta.titles[place],
            None if self.delta.replaces(pin) => "",
            None => self.pins.title(pin),
        }
    }

    /// Retrieval over both, where `base` retrieves over the catalog.
    pub fn over<'b, R: RetrieveNear>(&'b self, base: &'b R) -> Over<'b, R> {
        Over {
            layers: *self,
            base,
        }
    }
}

/// See [`Layered::over`].
#[derive(Clone, Copy, Debug)]
pub struct Over<'a, R> {
    layers: Layered<'a>,
    base: &'a R,
}

impl<R: RetrieveNear> Retrieve for Over<'_, R> {
    fn contains(&self, pin: PinId) -> bool {
        self.layers.contains(pin)
    }

    fn neighbors(
        &self,
        pin: PinId,
        wanted: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        let Layered { delta, .. } = self.layers;
        if delta.is_empty() {
            return self.base.neighbors(pin, wanted, out);
        }
        out.clear();
        let Some(target) = self.layers.vector(pin) else {
            return Retrieved::Complete;
        };
        let SearchParams { k, eligible, .. } = *wanted;
        let still = |pin: PinId| !delta.replaces(pin) && eligible(pin);
        let of_base = SearchParams {
            eligible: &still,
            ..*wanted
        };
        let retrieved = match delta.replaces(pin) {
            true => self.base.near(target, &of_base, out),
            false => self.base.neighbors(pin, &of_base, out),
        };
        if !retrieved.has_neighbors() {
            return retrieved;
        }
        // What is further away than all that was found is not even looked up, unless
        // that is all there is.
        let worst = out.last().filter(|_| out.len() >= wanted.min_k);
        let least = worst.map_or(f32::NEG_INFINITY, |worst| worst.score);
        let mut cosines = Vec::new();
        let rows = (0..delta.ids.len()).map(|place| delta.vectors.row(place));
        kernel::dot_each(target, rows, &mut cosines);
        let of_delta = delta
            .ids
            .iter()
            .zip(cosines)
            .map(|(&pin, cosine)| Neighbor {
                pin,
                score: cosine.clamp(-1.0, 1.0),
            });
        let near = of_delta.filter(|neighbor| neighbor.score >= least);
        out.extend(near.filter(|neighbor| eligible(neighbor.pin)));
        Neighbor::keep_best(out, k);
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
            });
        }
        PinTable::new(&rows, vectors)
    }

    fn vector() -> impl Strategy<Value = [f32; 3]> {
        prop::array::uniform3(0.1f32..1.0)
    }

    proptest! {
        #[test]
        fn both_layers_answer_as_one_table_would(
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
                        delta.push(PinId(pin), unit.vectors().row(0), title);
                    }
                    None => {
                        all.remove(&pin);
                        delta.push_deleted(PinId(pin));
                    }
                }
            }
            let (pins, all) = (table(&pins), table(&all.into_iter().collect::<Vec<_>>()));
            let layers = Layered { pins: &pins, delta: &delta };
            let base = Exact(&pins);
            let (over, expected) = (layers.over(&base), Exact(&all));
            let eligible = |pin: PinId| !pin.0.is_multiple_of(5);
            for pin in (0..45).map(PinId) {
                prop_assert_eq!(over.contains(pin), expected.contains(pin));
                prop_assert_eq!(layers.vector(pin), all.vector(pin));
                prop_assert_eq!(layers.title(pin), all.title(pin));
                if expected.contains(pin) {
                    let found = over.neighbors_of(pin, k, &eligible);
                    prop_assert_eq!(found, expected.neighbors_of(pin, k, &eligible));
                }
            }
        }
    }
}
