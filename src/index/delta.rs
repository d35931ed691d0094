//! Pins upserted or deleted since the catalog was built: a small table beside it
//! that is scanned as a whole, and hides what it replaces.

use super::PinTable;
use crate::kernel;
use crate::model::{Embeddings, Filter, Neighbor, PinAttributes, PinId};
use crate::recommend::{PinVectors, Retrieve, Retrieved, SearchParams};

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
    /// In the order of the ids.
    attributes: Vec<PinAttributes>,
    /// Ascending.
    deleted: Vec<PinId>,
}

/// What a pin that was upserted has beside its vector.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpsertedPin {
    /// A title for people; may be empty.
    pub title: String,
    /// What the caller calls it; none where that is the id.
    pub key: Option<String>,
    /// What filters go by.
    pub attributes: PinAttributes,
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
            attributes: Vec::new(),
            deleted: Vec::new(),
        }
    }

    /// Appends a pin that is new or changed. Pins must come by ascending id, each with a
    /// unit vector.
    pub fn push(&mut self, id: PinId, vector: &[f32], pin: UpsertedPin) {
        debug_assert!(self.ids.last().is_none_or(|&last| last < id));
        // The vector was checked when it was upserted; one of another length is left out.
        if self.vectors.push(vector).is_ok() {
            let UpsertedPin {
                title,
                key,
                attributes,
            } = pin;
            self.ids.push(id);
            self.titles.push(title);
            self.keys.push(key);
            self.attributes.push(attributes);
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

    /// Whether `filter` selects the upserted pin `pin`.
    fn is_selected(&self, pin: PinId, filter: &Filter) -> bool {
        let position = self.position(pin);
        position.is_some_and(|position| filter.selects(&self.attributes[position]))
    }

    /// Adds the upserted pins that are eligible, and that `filter` selects where there is
    /// one, to `out`, the neighbors that the catalog has, and keeps the best `k` of both.
    fn add_neighbors(
        &self,
        target: &[f32],
        filter: Option<&Filter>,
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) {
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
        let is_selected = |pin| filter.is_none_or(|filter| self.is_selected(pin, filter));
        out.extend(near.filter(|found| eligible(found.pin) && is_selected(found.pin)));
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

    /// The attributes of `pin`, where it was upserted.
    pub(super) fn upserted_attributes(&self, pin: PinId) -> Option<&'a PinAttributes> {
        let position = self.delta.position(pin)?;
        Some(&self.delta.attributes[position])
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
    pub fn retriever<'b, R: Retrieve>(&'b self, base: &'b R) -> DeltaRetriever<'b, R> {
        DeltaRetriever {
            view: *self,
            base,
            filter: None,
        }
    }

    /// The same, of the pins that `filter` selects, as `base` does.
    pub fn filtered_retriever<'b, R: Retrieve>(
        &'b self,
        base: &'b R,
        filter: &'b Filter,
    ) -> DeltaRetriever<'b, R> {
        DeltaRetriever {
            filter: Some(filter),
            ..self.retriever(base)
        }
    }
}

impl PinVectors for DeltaView<'_> {
    fn vector(&self, pin: PinId) -> Option<&[f32]> {
        self.vector(pin)
    }
}

/// Retrieval over a catalog with a delta: see [`DeltaView::retriever`].
#[derive(Clone, Copy, Debug)]
pub struct DeltaRetriever<'a, R> {
    view: DeltaView<'a>,
    base: &'a R,
    /// What selects among the upserted pins; none selects all.
    filter: Option<&'a Filter>,
}

impl<R: Retrieve> Retrieve for DeltaRetriever<'_, R> {
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
        if delta.is_replaced(pin) {
            return self.nearest_to_vector(target, params, out);
        }
        self.with_upserted(target, params, out, |params, out| {
            self.base.neighbors(pin, params, out)
        })
    }

    fn nearest_to_vector(
        &self,
        target: &[f32],
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        if self.view.delta.is_empty() {
            return self.base.nearest_to_vector(target, params, out);
        }
        self.with_upserted(target, params, out, |params, out| {
            self.base.nearest_to_vector(target, params, out)
        })
    }
}

impl<R: Retrieve> DeltaRetriever<'_, R> {
    /// What `of_base` retrieves over the catalog, without the pins that changed, and the
    /// upserted pins near `target`.
    fn with_upserted(
        &self,
        target: &[f32],
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
        of_base: impl FnOnce(&SearchParams<'_>, &mut Vec<Neighbor>) -> Retrieved,
    ) -> Retrieved {
        let DeltaView { delta, .. } = self.view;
        let is_current = |pin: PinId| !delta.is_replaced(pin) && (params.eligible)(pin);
        let base_params = SearchParams {
            eligible: &is_current,
            ..*params
        };
        let retrieved = of_base(&base_params, out);
        if retrieved.has_neighbors() {
            delta.add_neighbors(target, self.filter, params, out);
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
            (k, target) in (1usize..40, vector()),
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
                        let upserted = UpsertedPin {
                            title,
                            ..UpsertedPin::default()
                        };
                        delta.push(PinId(pin), unit.vectors().row(0), upserted);
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
            let target = table(&[(0, target)]);
            let nearest = |index: &dyn Retrieve| {
                let mut found = Vec::new();
                let params = SearchParams::unbounded(k, &eligible);
                let retrieved = index.nearest_to_vector(target.vectors().row(0), &params, &mut found);
                (retrieved, found)
            };
            prop_assert_eq!(nearest(&retriever), nearest(&expected));
        }
    }
}
