//! The index that is served: neighbor lists made ahead of time, else lists that were
//! computed for earlier calls and cached, else a search.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quick_cache::sync::{Cache, GuardResult};

use super::lookups::{FilterPlan, ListSource, LookupCounters, Lookups};
use super::params::{FilterParams, NeighborParams};
use super::selection::{Selection, SelectionCache};
use super::{Approximate, Catalog, DamagedAttribute, NeighborLists};
use crate::model::{Filter, Neighbor, PinId};
use crate::recommend::{Deadline, Retrieve, Retrieved, SearchParams};

/// Time between two looks at the deadline while another call computes the list.
const DEADLINE_CHECK_INTERVAL: Duration = Duration::from_millis(1);
/// Of this many searches with less than the usual effort, one computes a list.
const REDUCED_SEARCHES_PER_LIST: u64 = 8;
/// A cached list is used for selected pins where it is expected to hold this many times as
/// many as are needed.
const LIST_MARGIN: f64 = 1.25;

/// Retrieval over one catalog.
///
/// A list that is missing is computed by a search and cached; while it is computed,
/// other calls that need it wait for it. When a list does not hold enough eligible pins,
/// a search of its own, with the filter inside, answers instead.
#[derive(Debug)]
pub struct Index {
    approximate: Approximate,
    lists: NeighborLists,
    cache: Cache<PinId, Arc<[Neighbor]>>,
    depth: usize,
    selections: SelectionCache,
    /// Number of searches with less than the usual effort that found no list.
    reduced_searches: AtomicU64,
    counters: Arc<LookupCounters>,
}

/// Outcome of a lookup among the lists.
pub(super) enum ListLookup {
    /// The list holds enough eligible pins.
    Found(ListSource),
    /// The list does not hold enough eligible pins.
    TooShort,
    /// There is no list.
    Missing,
}

impl Index {
    /// Retrieval over `catalog` with its `lists`. A search finds at least `ef_search`
    /// nodes; lists that are computed on demand have the depth of `params`; what filters
    /// select is kept as `filters` says.
    pub fn new(
        catalog: Arc<Catalog>,
        lists: NeighborLists,
        ef_search: usize,
        params: NeighborParams,
        filters: FilterParams,
    ) -> Self {
        let bytes_of_list = (params.depth * size_of::<Neighbor>()).max(1) as u64;
        let capacity = usize::try_from(params.cache.as_u64() / bytes_of_list).unwrap_or(usize::MAX);
        Self {
            approximate: Approximate::new(catalog, ef_search),
            lists,
            cache: Cache::new(capacity),
            depth: params.depth,
            selections: SelectionCache::new(filters.cache.as_u64()),
            reduced_searches: AtomicU64::new(0),
            counters: Arc::default(),
        }
    }

    /// The same index, with the counters of `other`, which count on.
    #[must_use]
    pub fn with_counters_of(self, other: &Self) -> Self {
        Self {
            counters: other.counters.clone(),
            ..self
        }
    }

    /// The catalog.
    pub fn catalog(&self) -> &Arc<Catalog> {
        self.approximate.catalog()
    }

    /// The lists made ahead of time.
    pub fn lists(&self) -> &NeighborLists {
        &self.lists
    }

    /// Bytes of the cached lists.
    pub fn cached_bytes(&self) -> u64 {
        let depth = self.depth.min(self.catalog().pins.ids().len());
        (self.cache.len() * depth * size_of::<Neighbor>()) as u64
    }

    /// Number of lookups by outcome, warming included.
    pub fn lookups(&self) -> Lookups {
        self.counters.read()
    }

    pub(super) fn counters(&self) -> &LookupCounters {
        &self.counters
    }

    /// Looks `pin` up among the lists, those in the cache only if they may be used. `out`
    /// is the answer if one is found.
    pub(super) fn look_up(
        &self,
        pin: PinId,
        use_cache: bool,
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> ListLookup {
        let (is_enough, source) = if let Some(list) = self.lists.get(pin) {
            (self.take_eligible(list, params, out), ListSource::Ahead)
        } else if let Some(list) = use_cache.then(|| self.cache.get(&pin)).flatten() {
            let list = list.iter().copied();
            (self.take_eligible(list, params, out), ListSource::Cache)
        } else {
            return ListLookup::Missing;
        };
        if is_enough {
            ListLookup::Found(source)
        } else {
            ListLookup::TooShort
        }
    }

    /// Makes `out` the first eligible neighbors of `list`, up to `k`. False when there
    /// are fewer than `min_k` and the catalog has pins beyond the list.
    fn take_eligible(
        &self,
        list: impl ExactSizeIterator<Item = Neighbor>,
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> bool {
        let SearchParams {
            k, min_k, eligible, ..
        } = *params;
        let has_whole_catalog = list.len() >= self.catalog().pins.ids().len();
        out.clear();
        out.reserve(k.min(list.len()));
        out.extend(list.filter(|neighbor| eligible(neighbor.pin)).take(k));
        out.len() >= min_k || has_whole_catalog
    }

    /// Answers for `pin`, which has no list, from a list that is computed and cached.
    fn compute_and_take(
        &self,
        pin: PinId,
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> ComputedList {
        match self.compute(pin, params.deadline) {
            None => ComputedList::DeadlinePassed,
            Some(list) if self.take_eligible(list.iter().copied(), params, out) => {
                ComputedList::Enough
            }
            Some(_) => ComputedList::TooShort,
        }
    }

    /// Computes and caches the list of `pin`, or waits for another call that does; none
    /// when the deadline passes first.
    fn compute(&self, pin: PinId, deadline: Deadline<'_>) -> Option<Arc<[Neighbor]>> {
        loop {
            let interval = Some(DEADLINE_CHECK_INTERVAL);
            match self.cache.get_value_or_guard(&pin, interval) {
                GuardResult::Value(list) => return Some(list),
                GuardResult::Guard(guard) => {
                    let list: Arc<[Neighbor]> = self.search_list(pin, deadline)?.into();
                    // Fails only where the cache holds nothing.
                    let _ = guard.insert(list.clone());
                    return Some(list);
                }
                // Another call computes it.
                GuardResult::Timeout if deadline.has_passed() => return None,
                GuardResult::Timeout => {}
            }
        }
    }

    /// The list of `pin`, by a search; empty when the catalog does not have the pin.
    fn search_list(&self, pin: PinId, deadline: Deadline<'_>) -> Option<Vec<Neighbor>> {
        let pins = &self.catalog().pins;
        let Some(place) = pins.position(pin) else {
            return Some(Vec::new());
        };
        let depth = self.depth.min(pins.ids().len());
        let effort = self.approximate.ef(depth);
        self.approximate
            .nearest_in_time(place, depth, effort, deadline)
    }

    /// Whether to compute the missing list instead of a search for `params` alone. A list
    /// costs several times as much, and serves the calls that follow. With less than
    /// the usual effort only one search in a few computes a list: without any, the load
    /// that reduces the effort would never end.
    fn is_worth_a_list(&self, params: &SearchParams<'_>) -> bool {
        let is_turn = || {
            let searches = self.reduced_searches.fetch_add(1, Ordering::Relaxed);
            searches.is_multiple_of(REDUCED_SEARCHES_PER_LIST)
        };
        params.min_k <= self.depth && (params.effort >= 1.0 || is_turn())
    }
}

/// Outcome of computing a missing list.
enum ComputedList {
    Enough,
    TooShort,
    DeadlinePassed,
}

impl Index {
    /// The answer of a list; where there is none that holds enough, that of `search`.
    fn neighbors_or(
        &self,
        pin: PinId,
        use_cache: bool,
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
        search: impl FnOnce(&mut Vec<Neighbor>) -> Retrieved,
    ) -> Retrieved {
        match self.look_up(pin, use_cache, params, out) {
            ListLookup::Found(source) => {
                self.counters.add_hits(source, 1);
                return Retrieved::Complete;
            }
            ListLookup::TooShort => self.counters.add_too_short(),
            ListLookup::Missing => {
                self.counters.add_missing();
                if use_cache && self.is_worth_a_list(params) {
                    match self.compute_and_take(pin, params, out) {
                        ComputedList::Enough => return Retrieved::Complete,
                        ComputedList::DeadlinePassed => return Retrieved::DeadlinePassed,
                        ComputedList::TooShort => {}
                    }
                }
            }
        }
        search(out)
    }

    /// The pins that `filter` selects; found once and kept, within the bytes for that.
    ///
    /// # Errors
    ///
    /// The files of an attribute are damaged.
    pub fn select(&self, filter: &Filter) -> Result<Arc<Selection>, DamagedAttribute> {
        let Catalog {
            pins, attributes, ..
        } = &**self.catalog();
        self.selections.get_or_select(filter, attributes, pins)
    }

    /// The pins that `filter` selects, if they were found before.
    pub fn known_selection(&self, filter: &Filter) -> Option<Arc<Selection>> {
        self.selections.get(filter)
    }

    /// [`Retrieve::neighbors`] among the selected pins.
    pub(super) fn selected_neighbors(
        &self,
        pin: PinId,
        selection: &Selection,
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        let pins = &self.catalog().pins;
        let eligible = |pin: PinId| selection.selects(pin, pins) && (params.eligible)(pin);
        let of_list = SearchParams {
            eligible: &eligible,
            ..*params
        };
        let use_cache = self.has_list_enough(selection, params);
        let mut plan = FilterPlan::List;
        let retrieved = self.neighbors_or(pin, use_cache, &of_list, out, |out| {
            out.clear();
            plan = self.plan_beside_lists(selection, params.k);
            match pins.position(pin) {
                Some(position) => {
                    let approximate = &self.approximate;
                    approximate.selected_neighbors(position, selection, params, out)
                }
                None => Retrieved::Complete,
            }
        });
        self.counters.add_filtered(plan, 1);
        retrieved
    }

    /// How selected pins are found where no list holds enough.
    fn plan_beside_lists(&self, selection: &Selection, k: usize) -> FilterPlan {
        match self.approximate.is_scanned(selection, k) {
            true => FilterPlan::Scan,
            false => FilterPlan::Search,
        }
    }

    /// Looks `pin` up among the lists, for selected pins only.
    pub(super) fn look_up_selected(
        &self,
        pin: PinId,
        selection: &Selection,
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> ListLookup {
        let pins = &self.catalog().pins;
        let eligible = |pin: PinId| selection.selects(pin, pins) && (params.eligible)(pin);
        let params = SearchParams {
            eligible: &eligible,
            ..*params
        };
        let use_cache = self.has_list_enough(selection, &params);
        self.look_up(pin, use_cache, &params, out)
    }

    /// [`Retrieve::nearest_to_vector`] among the selected pins.
    pub(super) fn selected_nearest(
        &self,
        target: &[f32],
        selection: &Selection,
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        let plan = self.plan_beside_lists(selection, params.k);
        self.counters.add_filtered(plan, 1);
        let approximate = &self.approximate;
        approximate.selected_nearest(target, selection, params, out)
    }

    /// Whether a list is expected to hold enough selected pins.
    fn has_list_enough(&self, selection: &Selection, params: &SearchParams<'_>) -> bool {
        self.depth as f64 * selection.selectivity() >= params.min_k as f64 * LIST_MARGIN
    }
}

impl Retrieve for Index {
    fn contains(&self, pin: PinId) -> bool {
        self.approximate.contains(pin)
    }

    fn neighbors(
        &self,
        pin: PinId,
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        self.neighbors_or(pin, true, params, out, |out| {
            self.approximate.neighbors(pin, params, out)
        })
    }

    fn nearest_to_vector(
        &self,
        target: &[f32],
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        self.approximate.nearest_to_vector(target, params, out)
    }
}

#[cfg(test)]
mod tests {
    use bytesize::ByteSize;

    use super::*;
    use crate::index::{
        AttributeTable, CatalogParts, Exact, GraphParams, ListsOnly, PinTable, exact_lists,
    };

    fn catalog(pins: u64) -> (tempfile::TempDir, Arc<Catalog>) {
        let directory = tempfile::tempdir().expect("a directory");
        let mut vectors = crate::model::Embeddings::new(8).expect("a dimension");
        let mut table = Vec::new();
        for pin in 0..pins {
            // Every fifth pin shares the vector of the one before.
            if pin % 5 != 4 {
                let at = |i: u64| ((pin * 2_654_435_761 + i * 40_503) % 1_009) as f32 - 504.0;
                vectors
                    .push(&std::array::from_fn::<f32, 8, _>(|i| at(i as u64)))
                    .expect("a vector");
            }
            table.push(crate::index::Pin {
                id: PinId(pin * 3),
                node: vectors.len() as u32 - 1,
                title: String::new(),
                key: None,
            });
        }
        let table = PinTable::new(&table, vectors);
        let codes = crate::index::QuantizedVectors::new(table.vectors()).expect("memory");
        let params = GraphParams {
            ef_construction: 32,
            seed: 1,
        };
        let stage = crate::progress::Progress::Silent.stage("", 0);
        let graph = crate::index::build_graph(&codes, params, &stage).expect("memory");
        let facts = crate::index::CatalogManifest::of_table(&table, "e", params);
        let parts = CatalogParts {
            pins: &table,
            codes: &codes,
            graph: &graph,
            attributes: &AttributeTable::default(),
        };
        Catalog::write(directory.path(), parts, facts).expect("a catalog");
        let catalog = Arc::new(Catalog::open(directory.path()).expect("a catalog"));
        (directory, catalog)
    }

    fn index(catalog: &Arc<Catalog>, lists: NeighborLists) -> Index {
        let params = NeighborParams {
            depth: 40,
            budget: ByteSize::mib(1),
            cache: ByteSize::mib(1),
        };
        let filters = FilterParams {
            cache: ByteSize::kib(64),
        };
        Index::new(catalog.clone(), lists, 50, params, filters)
    }

    /// The neighbors that lists alone give; none when a search is needed.
    fn from_lists(
        lists: &ListsOnly<'_>,
        pin: PinId,
        k: usize,
        eligible: &dyn Fn(PinId) -> bool,
    ) -> Option<Vec<Neighbor>> {
        let mut found = Vec::new();
        match lists.neighbors(pin, &SearchParams::unbounded(k, eligible), &mut found) {
            Retrieved::Complete => Some(found),
            Retrieved::NotCached => None,
            other @ (Retrieved::WithLessEffort | Retrieved::DeadlinePassed) => {
                panic!("{other:?} of lists")
            }
        }
    }

    #[test]
    fn exact_lists_are_those_of_the_scan() {
        let (_directory, catalog) = catalog(3_000);
        let places: Vec<usize> = (0..100).map(|i| i * 29).collect();
        for depth in [1, 40, 3_000, 5_000] {
            let lists = exact_lists(&catalog, &places, depth);
            for (&place, list) in places.iter().zip(lists) {
                let pin = catalog.pins.ids()[place];
                assert_eq!(
                    list,
                    Exact(&catalog.pins).neighbors_of(pin, depth, &|_| true)
                );
            }
        }
    }

    #[test]
    fn lists_are_kept_in_segments_and_answer_like_the_scan() {
        let (directory, catalog) = catalog(1_000);
        let path = NeighborLists::directory(directory.path(), &catalog.manifest().version);
        for places in [[3, 10, 500], [10, 11, 12]] {
            let pins = places.map(|place: usize| catalog.pins.ids()[place]);
            let lists = exact_lists(&catalog, &places, 40);
            let lists: Vec<_> = pins.into_iter().zip(lists).collect();
            NeighborLists::write(&path, "v", &lists).expect("a segment");
        }
        let lists = NeighborLists::open(&path, "v").expect("lists");
        assert!(
            NeighborLists::open(&path, "w").is_err(),
            "of another catalog"
        );
        lists.check_mapped().expect("whole files");
        assert_eq!(lists.len(), 5);
        assert!(
            lists.has_list(catalog.pins.ids()[12], 40)
                && !lists.has_list(catalog.pins.ids()[12], 41)
        );
        assert!(!lists.has_list(catalog.pins.ids()[13], 1));

        let (index, exact) = (index(&catalog, lists), Exact(&catalog.pins));
        let pin = catalog.pins.ids()[500];
        let eligible = |other: PinId| other != pin && !other.0.is_multiple_of(2);
        let ahead = ListsOnly::new(&index);
        let found = from_lists(&ahead, pin, 15, &eligible).expect("a list");
        assert_eq!(found, exact.neighbors_of(pin, 15, &eligible));
        assert_eq!(index.lookups().ahead, 0, "counted only when it is of use");
        ahead.count_hits();
        assert_eq!(index.lookups().ahead, 1);
        // More than the list holds, or more than is eligible in it, needs a search.
        for (k, eligible) in [(41, &(|_| true) as &dyn Fn(PinId) -> bool), (30, &eligible)] {
            assert_eq!(from_lists(&ListsOnly::new(&index), pin, k, eligible), None);
            assert_eq!(index.neighbors_of(pin, k, eligible).len(), k);
        }
        assert_eq!((index.lookups().ahead, index.lookups().too_short), (1, 2));
    }

    #[test]
    fn a_missing_list_is_computed_once_however_many_ask() {
        let (_directory, catalog) = catalog(1_000);
        let nothing = NeighborLists::open(std::path::Path::new("/nowhere"), "v").expect("no lists");
        let index = index(&catalog, nothing);
        let pin = catalog.pins.ids()[7];
        let from_lists = |k| from_lists(&ListsOnly::new(&index), pin, k, &|_| true);
        assert_eq!(from_lists(5), None);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(index.neighbors_of(pin, 5, &|_| true).len(), 5));
            }
        });
        let Lookups {
            cached, missing, ..
        } = index.lookups();
        assert!(missing >= 1 && missing + cached == 8, "{missing} {cached}");
        assert_eq!(index.cache.len(), 1);
        assert_eq!(index.cached_bytes(), 40 * size_of::<Neighbor>() as u64);
        assert_eq!(from_lists(5), Some(index.neighbors_of(pin, 5, &|_| true)));
    }
}
