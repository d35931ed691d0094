//! Retrieval of the pins that a filter selects.
//!
//! Three ways lead to them, and the number of selected pins says which:
//!
//! 1. A neighbor list that holds enough of them. Lists that were made ahead of time are always
//!    looked up. Whether a list is in the cache is chance, so those count only where a list
//!    is expected to hold enough, and then one that is missing is computed.
//! 2. A search of the graph with the filter inside: nodes without a selected pin lead on like
//!    any other.
//! 3. A scan of the codes of all selected pins, where that takes less time, and where the
//!    search comes upon too few.

use super::Exact;
use super::approximate::{Approximate, FILTERED_EFFORT};
use super::lists_only::ListsOnly;
use super::neighbor_cache::Index;
use super::selection::Selection;
use crate::model::{Neighbor, PinId};
use crate::recommend::{Retrieve, Retrieved, SearchParams};

impl Approximate {
    /// The `k` selected pins nearest to the pin at `position`, itself among them if it is
    /// selected, by falling score, as far as a search that expands the best `ef` nodes with
    /// selected pins finds them, or the scan that takes its place.
    pub fn nearest_selected(
        &self,
        position: usize,
        selection: &Selection,
        k: usize,
        ef: usize,
    ) -> Vec<Neighbor> {
        let params = SearchParams {
            effort: (ef as f32 / (FILTERED_EFFORT * self.ef(k) as f32)).min(1.0),
            ..SearchParams::unbounded(k, &|_| true)
        };
        let mut found = Vec::new();
        // Without a deadline a search completes.
        let _ = self.selected_neighbors(position, selection, &params, &mut found);
        found
    }
}

/// Retrieval of those pins of `index` that are in a selection.
#[derive(Clone, Copy, Debug)]
pub struct Filtered<'a, I> {
    /// Answers retrievals.
    pub index: &'a I,
    /// The pins that may be in an answer.
    pub selection: &'a Selection,
}

impl Retrieve for Filtered<'_, Index> {
    fn contains(&self, pin: PinId) -> bool {
        self.index.contains(pin)
    }

    fn neighbors(
        &self,
        pin: PinId,
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        self.index
            .selected_neighbors(pin, self.selection, params, out)
    }

    fn nearest_to_vector(
        &self,
        target: &[f32],
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        self.index
            .selected_nearest(target, self.selection, params, out)
    }
}

impl Retrieve for Filtered<'_, ListsOnly<'_>> {
    fn contains(&self, pin: PinId) -> bool {
        self.index.contains(pin)
    }

    fn neighbors(
        &self,
        pin: PinId,
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        self.index
            .selected_neighbors(pin, self.selection, params, out)
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

/// Without lists: by a search or a scan.
impl Retrieve for Filtered<'_, Approximate> {
    fn contains(&self, pin: PinId) -> bool {
        self.index.contains(pin)
    }

    fn neighbors(
        &self,
        pin: PinId,
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        out.clear();
        match self.index.catalog().pins.position(pin) {
            Some(position) => self
                .index
                .selected_neighbors(position, self.selection, params, out),
            None => Retrieved::Complete,
        }
    }

    fn nearest_to_vector(
        &self,
        target: &[f32],
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        self.index
            .selected_nearest(target, self.selection, params, out)
    }
}

/// By a look at the vectors of all pins.
impl Retrieve for Filtered<'_, Exact<'_>> {
    fn contains(&self, pin: PinId) -> bool {
        self.index.contains(pin)
    }

    fn neighbors(
        &self,
        pin: PinId,
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        let Exact(pins) = self.index;
        let eligible = |pin| self.selection.selects(pin, pins) && (params.eligible)(pin);
        let params = SearchParams {
            eligible: &eligible,
            ..*params
        };
        self.index.neighbors(pin, &params, out)
    }

    fn nearest_to_vector(
        &self,
        target: &[f32],
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        let Exact(pins) = self.index;
        let eligible = |pin| self.selection.selects(pin, pins) && (params.eligible)(pin);
        let params = SearchParams {
            eligible: &eligible,
            ..*params
        };
        self.index.nearest_to_vector(target, &params, out)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use bytesize::ByteSize;
    use rand::rngs::ChaCha8Rng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::index::{
        AttributeBuilder, Catalog, CatalogManifest, CatalogParts, Exact, FilterParams, GraphParams,
        NeighborLists, NeighborParams, Pin, PinTable, QuantizedVectors, build_graph,
    };
    use crate::model::{AttributeValue, Condition, Embeddings, Filter, Range, Test};
    use crate::progress::Progress;
    use crate::recommend::Deadline;

    const PINS: usize = 1_500;
    /// Enough for sketches.
    const DIMENSION: usize = 96;

    /// Pins in a few clusters; `share` is a random number in [0, 1), and `side` goes with the
    /// vector. Each tenth pin has the vector of the pin before.
    fn catalog(directory: &Path) -> Arc<Catalog> {
        let rng = &mut ChaCha8Rng::seed_from_u64(3);
        let mut vector = |spread: f32| -> Vec<f32> {
            (0..DIMENSION)
                .map(|_| rng.random_range(-spread..spread))
                .collect()
        };
        let centers: Vec<Vec<f32>> = (0..8).map(|_| vector(1.0)).collect();
        let mut vectors = Embeddings::new(DIMENSION).expect("a dimension");
        let definitions = ["share:float", "side:float"].map(|text| text.parse().expect("one"));
        let mut attributes = AttributeBuilder::new(definitions.to_vec());
        let mut pins = Vec::new();
        for pin in 0..PINS {
            if pin % 10 != 9 {
                let noise = vector(0.5);
                let near = centers[pin % 8].iter().zip(noise).map(|(c, n)| c + n);
                vectors.push(&near.collect::<Vec<_>>()).expect("a vector");
            }
            let node = vectors.len() - 1;
            let share = (pin * 7_919 % PINS) as f64 / PINS as f64;
            let side = f64::from(vectors.row(node)[0]);
            attributes.push(&[share, side].map(|value| Some(AttributeValue::Number(value))));
            pins.push(Pin {
                id: PinId(3 * pin as u64),
                node: node as u32,
                title: String::new(),
                key: None,
            });
        }
        let pins = PinTable::new(&pins, vectors);
        let graph = GraphParams {
            ef_construction: 60,
            seed: 1,
        };
        let codes = QuantizedVectors::new(pins.vectors()).expect("memory");
        let stage = Progress::Silent.stage("", 0);
        let attributes = attributes.finish(&(0..PINS).collect::<Vec<_>>());
        let facts = CatalogManifest {
            attributes: attributes.facts(),
            ..CatalogManifest::of_table(&pins, "test", graph)
        };
        let parts = CatalogParts {
            pins: &pins,
            codes: &codes,
            graph: &build_graph(&codes, graph, &stage).expect("memory"),
            attributes: &attributes,
        };
        Catalog::write(directory, parts, facts).expect("a catalog");
        Arc::new(Catalog::open(directory).expect("a catalog"))
    }

    fn index(directory: &Path) -> Index {
        let lists = NeighborLists::open(Path::new("/nowhere"), "v").expect("no lists");
        let params = NeighborParams {
            depth: 100,
            budget: ByteSize::b(0),
            cache: ByteSize::kib(64),
        };
        let filters = FilterParams {
            cache: ByteSize::kib(64),
        };
        Index::new(catalog(directory), lists, 20, params, filters)
    }

    fn below(attribute: &str, bound: f64) -> Filter {
        let range = Range {
            lt: Some(bound),
            ..Range::default()
        };
        Filter {
            must: vec![Condition {
                attribute: attribute.to_owned(),
                test: Test::Range(range),
            }],
            must_not: Vec::new(),
        }
    }

    #[test]
    fn selected_neighbors_are_those_of_a_look_at_every_pin() {
        let directory = tempfile::tempdir().expect("a directory");
        let index = index(directory.path());
        let Catalog {
            pins, attributes, ..
        } = &**index.catalog();
        let sides = [-0.2, -0.05, 0.0, 0.2].map(|bound| below("side", bound));
        let shares = [0.0, 0.002, 0.02, 0.3, 0.75, 0.97, 1.0].map(|bound| below("share", bound));
        let (mut found, mut expected) = (0, 0);
        for filter in shares.iter().chain(&sides) {
            let selection = index.select(filter).expect("an intact catalog");
            for place in (0..PINS).step_by(97) {
                let eligible = |pin: PinId| !pin.0.is_multiple_of(7);
                let is_selected = |pin: PinId| {
                    let position = pins.position(pin).expect("a pin");
                    filter.selects(&attributes.of_pin(position)) && eligible(pin)
                };
                let (pin, filtered) = (
                    pins.ids()[place],
                    Filtered {
                        index: &index,
                        selection: &selection,
                    },
                );
                let all = Exact(pins).neighbors_of(pin, 30, &is_selected);
                let own = filtered.neighbors_of(pin, 30, &eligible);
                assert_eq!(own.len(), all.len(), "{filter:?}");
                assert!(own.iter().all(|neighbor| is_selected(neighbor.pin)));
                assert!(own.is_sorted_by(|a, b| Neighbor::by_descending_score(a, b).is_le()));
                if all.len() < 30 {
                    assert_eq!(own, all, "all there are");
                }
                found += own.iter().filter(|neighbor| all.contains(neighbor)).count();
                expected += all.len();
                let again = filtered.neighbors_of(pin, 30, &eligible);
                assert_eq!(own, again);
            }
        }
        assert!(
            found as f64 >= 0.98 * expected as f64,
            "{found} of {expected}"
        );
    }

    /// Exclusions, pins that were seen, and earlier pages block the very nearest.
    #[test]
    fn as_many_are_found_as_there_are_when_the_nearest_are_blocked() {
        let directory = tempfile::tempdir().expect("a directory");
        let index = index(directory.path());
        let pins = &index.catalog().pins;
        let all = index
            .select(&below("share", 2.0))
            .expect("an intact catalog");
        let half = index
            .select(&below("share", 0.5))
            .expect("an intact catalog");
        let filtered = |selection| Filtered {
            index: &index,
            selection,
        };
        for place in [0, 700, 1_400] {
            let pin = pins.ids()[place];
            let nearest = Exact(pins).neighbors_of(pin, PINS, &|_| true);
            for blocked in [400, 1_200, PINS - 5] {
                let mut blocked: Vec<PinId> = nearest[..blocked].iter().map(|n| n.pin).collect();
                blocked.sort_unstable();
                let eligible = |pin: PinId| blocked.binary_search(&pin).is_err();
                for k in [1, 20, 400] {
                    let left = nearest.iter().filter(|next| eligible(next.pin));
                    let count = left.clone().count().min(k);
                    assert_eq!(index.neighbors_of(pin, k, &eligible).len(), count);
                    let found = filtered(&all).neighbors_of(pin, k, &eligible);
                    assert_eq!(found.len(), count);
                    let selected = left.filter(|next| half.selects(next.pin, pins));
                    let found = filtered(&half).neighbors_of(pin, k, &eligible);
                    assert_eq!(found.len(), selected.count().min(k));
                }
            }
        }
    }

    #[test]
    fn each_way_is_taken_and_finds_the_same() {
        let directory = tempfile::tempdir().expect("a directory");
        let index = index(directory.path());
        let pins = &index.catalog().pins;
        let approximate = crate::index::Approximate::new(index.catalog().clone(), 20);
        let few = index
            .select(&below("share", 0.3))
            .expect("an intact catalog");
        let most = index
            .select(&below("share", 0.99))
            .expect("an intact catalog");
        assert!(approximate.is_scanned(&few, 10));
        assert!(!approximate.is_scanned(&most, 10));
        for selection in [&few, &most] {
            let eligible = |pin: PinId| selection.selects(pin, pins);
            let params = SearchParams::unbounded(10, &eligible);
            let mut out = Vec::new();
            let retrieved = approximate.selected_neighbors(5, selection, &params, &mut out);
            assert_eq!(retrieved, Retrieved::Complete);
            let (pin, exact) = (pins.ids()[5], Exact(pins));
            let all = exact.neighbors_of(pin, 10, &eligible);
            assert_eq!(out, all);
            let ways: [&dyn Retrieve; 2] = [
                &Filtered {
                    index: &exact,
                    selection,
                },
                &Filtered {
                    index: &approximate,
                    selection,
                },
            ];
            let params = SearchParams::unbounded(10, &|_| true);
            for way in ways {
                assert_eq!(way.neighbors_of(pin, 10, &|_| true), all);
                let target = pins.vector(pin).expect("a pin");
                let retrieved = way.nearest_to_vector(target, &params, &mut out);
                assert_eq!((retrieved, &out), (Retrieved::Complete, &all));
                assert!(way.contains(pin) && !way.contains(PinId(1)));
            }
        }
    }

    #[test]
    fn a_scan_ends_at_its_deadline_and_takes_no_less_effort() {
        let directory = tempfile::tempdir().expect("a directory");
        let index = index(directory.path());
        let selection = index
            .select(&below("share", 0.1))
            .expect("an intact catalog");
        let filtered = Filtered {
            index: &index,
            selection: &selection,
        };
        let has_passed = || true;
        let params = SearchParams {
            deadline: Deadline::new(&has_passed),
            ..SearchParams::unbounded(10, &|_| true)
        };
        let pin = index.catalog().pins.ids()[4];
        let retrieved = filtered.neighbors(pin, &params, &mut Vec::new());
        assert_eq!(retrieved, Retrieved::DeadlinePassed);
        let params = SearchParams {
            effort: 0.25,
            ..SearchParams::unbounded(10, &|_| true)
        };
        let retrieved = filtered.neighbors(pin, &params, &mut Vec::new());
        assert_eq!(retrieved, Retrieved::Complete);
    }
}
