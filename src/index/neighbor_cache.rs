//! The index that is served: lists made ahead of time, else lists that were asked
//! for before, else a walk.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quick_cache::sync::{Cache, GuardResult};

use super::{Approximate, Catalog, NeighborLists, NeighborParams};
use crate::model::{Neighbor, PinId};
use crate::recommend::{Retrieve, Retrieved, SearchParams};

/// How long to wait for a list that another computes before looking at the time.
const PATIENCE: Duration = Duration::from_millis(1);
/// Of so many searches that must save effort one makes a list.
const SAVERS: u64 = 8;

/// Retrieval over one catalog.
///
/// A pin without a list gets one by a walk, and keeps it in a cache; while it is
/// computed, others who ask for it wait for it. A list that does not hold enough
/// eligible pins is passed over for a walk of its own, with the filter inside.
#[derive(Debug)]
pub struct Index {
    walks: Approximate,
    lists: NeighborLists,
    computed: Cache<PinId, Arc<[Neighbor]>>,
    depth: usize,
    /// Searches with less effort that had no list.
    saved: AtomicU64,
    counts: Arc<Counts>,
}

/// How often lists were asked for, since the first index was opened.
#[derive(Debug, Default)]
struct Counts {
    ahead: AtomicU64,
    cached: AtomicU64,
    missing: AtomicU64,
    short: AtomicU64,
}

/// How often lists were asked for, up to one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookups {
    /// Answered from a list made ahead of time.
    pub ahead: u64,
    /// Answered from a list that was computed for an earlier call.
    pub cached: u64,
    /// There was no list: it was computed, or its computation waited for.
    pub missing: u64,
    /// The list did not hold enough eligible pins, so a walk was made.
    pub short: u64,
}

/// Where a list comes from.
#[derive(Clone, Copy, Debug)]
enum Source {
    Ahead,
    Cached,
}

/// What a lookup without a walk comes to: whether the list was long enough.
enum Looked {
    List(bool, Source),
    NoList,
}

impl Index {
    /// Retrieval over `catalog` with its `lists`. A search finds at least `ef_search`
    /// nodes; lists that are computed on demand have the depth of `params`.
    pub fn new(
        catalog: Arc<Catalog>,
        lists: NeighborLists,
        ef_search: usize,
        params: NeighborParams,
    ) -> Self {
        let bytes_of_list = (params.depth * size_of::<Neighbor>()).max(1) as u64;
        let kept = params.cache.as_u64() / bytes_of_list;
        let kept = usize::try_from(kept).unwrap_or(usize::MAX);
        Self {
            walks: Approximate::new(catalog, ef_search),
            lists,
            computed: Cache::new(kept),
            depth: params.depth,
            saved: AtomicU64::new(0),
            counts: Arc::default(),
        }
    }

    /// The same, counting on from where `other` is.
    #[must_use]
    pub fn with_counters_of(self, other: &Self) -> Self {
        Self {
            counts: other.counts.clone(),
            ..self
        }
    }

    /// The catalog.
    pub fn catalog(&self) -> &Arc<Catalog> {
        self.walks.catalog()
    }

    /// The lists made ahead of time.
    pub fn lists(&self) -> &NeighborLists {
        &self.lists
    }

    /// Bytes of the lists that were computed for calls.
    pub fn computed_bytes(&self) -> u64 {
        let depth = self.depth.min(self.catalog().pins.ids().len());
        (self.computed.len() * depth * size_of::<Neighbor>()) as u64
    }

    /// How often which list was asked for, warming included.
    pub fn lookups(&self) -> Lookups {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Lookups {
            ahead: read(&self.counts.ahead),
            cached: read(&self.counts.cached),
            missing: read(&self.counts.missing),
            short: read(&self.counts.short),
        }
    }

    /// The same index, as far as lists answer.
    pub fn lists_only(&self) -> ListsOnly<'_> {
        ListsOnly {
            index: self,
            needs_search: Cell::new(false),
            ahead: Cell::new(0),
            cached: Cell::new(0),
        }
    }

    fn look_up(&self, pin: PinId, wanted: &SearchParams<'_>, out: &mut Vec<Neighbor>) -> Looked {
        if let Some(list) = self.lists.get(pin) {
            return Looked::List(self.first(list, wanted, out), Source::Ahead);
        }
        match self.computed.get(&pin) {
            Some(list) => {
                let first = self.first(list.iter().copied(), wanted, out);
                Looked::List(first, Source::Cached)
            }
            None => Looked::NoList,
        }
    }

    /// Makes `out` the first neighbors of a list that are wanted. False when the list
    /// is too short.
    fn first(
        &self,
        list: impl ExactSizeIterator<Item = Neighbor>,
        wanted: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> bool {
        let SearchParams {
            k, least, eligible, ..
        } = *wanted;
        let whole = list.len() >= self.catalog().pins.ids().len();
        out.clear();
        out.reserve(k.min(list.len()));
        out.extend(list.filter(|neighbor| eligible(neighbor.pin)).take(k));
        out.len() >= least || whole
    }

    /// The list of a pin that has none, which is kept; none when time was up first.
    fn compute(&self, pin: PinId, time_is_up: &dyn Fn() -> bool) -> Option<Arc<[Neighbor]>> {
        loop {
            match self.computed.get_value_or_guard(&pin, Some(PATIENCE)) {
                GuardResult::Value(list) => return Some(list),
                GuardResult::Guard(place) => {
                    let list: Arc<[Neighbor]> = self.list(pin, time_is_up)?.into();
                    // Fails only where nothing is kept.
                    let _ = place.insert(list.clone());
                    return Some(list);
                }
                // Another computes it.
                GuardResult::Timeout if time_is_up() => return None,
                GuardResult::Timeout => {}
            }
        }
    }

    fn list(&self, pin: PinId, time_is_up: &dyn Fn() -> bool) -> Option<Vec<Neighbor>> {
        let pins = &self.catalog().pins;
        let Some(place) = pins.place(pin) else {
            return Some(Vec::new());
        };
        let depth = self.depth.min(pins.ids().len());
        let effort = self.walks.effort(depth);
        self.walks.nearest_in_time(place, depth, effort, time_is_up)
    }

    /// Whether a search for this makes a list. A list costs several times the search
    /// for what is wanted now, and serves the next who ask: who must save leaves it to
    /// one in a few, for without any list being made there would be no end to saving.
    fn makes_list(&self, wanted: &SearchParams<'_>) -> bool {
        let saves = || self.saved.fetch_add(1, Ordering::Relaxed);
        wanted.least <= self.depth && (wanted.effort >= 1.0 || saves().is_multiple_of(SAVERS))
    }
}

/// Retrieval by a vector as well, which may be that of no pin.
pub trait RetrieveNear: Retrieve {
    /// [`Retrieve::neighbors`] of the unit vector `target`.
    fn near(&self, target: &[f32], wanted: &SearchParams<'_>, out: &mut Vec<Neighbor>)
    -> Retrieved;
}

impl RetrieveNear for Index {
    fn near(
        &self,
        target: &[f32],
        wanted: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        self.walks.near(target, wanted, out)
    }
}

impl RetrieveNear for ListsOnly<'_> {
    fn near(&self, _: &[f32], _: &SearchParams<'_>, out: &mut Vec<Neighbor>) -> Retrieved {
        out.clear();
        self.needs_search.set(true);
        Retrieved::InFull
    }
}

impl Retrieve for Index {
    fn contains(&self, pin: PinId) -> bool {
        self.walks.contains(pin)
    }

    fn neighbors(
        &self,
        pin: PinId,
        wanted: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        match self.look_up(pin, wanted, out) {
            Looked::List(true, source) => {
                self.counts.add(source, 1);
                return Retrieved::InFull;
            }
            Looked::List(false, _) => count(&self.counts.short, 1),
            Looked::NoList => {
                count(&self.counts.missing, 1);
                if self.makes_list(wanted) {
                    let Some(list) = self.compute(pin, wanted.time_is_up) else {
                        return Retrieved::OutOfTime;
                    };
                    if self.first(list.iter().copied(), wanted, out) {
                        return Retrieved::InFull;
                    }
                }
            }
        }
        self.walks.neighbors(pin, wanted, out)
    }
}

/// An [`Index`] that answers from lists only, and remembers when one was missing
/// or too short: then the answer is worth nothing, and the index must be asked.
#[derive(Debug)]
pub struct ListsOnly<'a> {
    index: &'a Index,
    needs_search: Cell<bool>,
    ahead: Cell<u64>,
    cached: Cell<u64>,
}

impl ListsOnly<'_> {
    /// Whether something could not be answered.
    pub fn needs_search(&self) -> bool {
        self.needs_search.get()
    }
}

impl Retrieve for ListsOnly<'_> {
    fn contains(&self, pin: PinId) -> bool {
        self.index.contains(pin)
    }

    fn neighbors(
        &self,
        pin: PinId,
        wanted: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        out.clear();
        if self.needs_search.get() {
            return Retrieved::InFull;
        }
        match self.index.look_up(pin, wanted, out) {
            Looked::List(true, Source::Ahead) => self.ahead.set(self.ahead.get() + 1),
            Looked::List(true, Source::Cached) => self.cached.set(self.cached.get() + 1),
            Looked::List(false, _) | Looked::NoList => self.needs_search.set(true),
        }
        Retrieved::InFull
    }
}

impl Drop for ListsOnly<'_> {
    /// Counts the hits, unless the index will be asked for the same again.
    fn drop(&mut self) {
        if !self.needs_search.get() {
            self.index.counts.add(Source::Ahead, self.ahead.get());
            self.index.counts.add(Source::Cached, self.cached.get());
        }
    }
}

impl Counts {
    fn add(&self, source: Source, hits: u64) {
        match source {
            Source::Ahead => count(&self.ahead, hits),
            Source::Cached => count(&self.cached, hits),
        }
    }
}

fn count(counter: &AtomicU64, times: u64) {
    if times > 0 {
        counter.fetch_add(times, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use bytesize::ByteSize;

    use super::*;
    use crate::index::{Exact, GraphParams, PinTable, exact_lists};

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
        let facts = crate::index::CatalogManifest {
            embedding_version: "e".to_owned(),
            dimension: 8,
            read: pins,
            low_quality: 0,
            min_quality: None,
            near_duplicates: 0,
            upserted: 0,
            deleted: 0,
            pins: table.ids().len(),
            nodes: table.vectors().len(),
            graph: params,
        };
        Catalog::write(directory.path(), &table, &codes, &graph, facts).expect("a catalog");
        let catalog = Arc::new(Catalog::open(directory.path()).expect("a catalog"));
        (directory, catalog)
    }

    fn index(catalog: &Arc<Catalog>, lists: NeighborLists) -> Index {
        let params = NeighborParams {
            depth: 40,
            budget: ByteSize::mib(1),
            cache: ByteSize::mib(1),
        };
        Index::new(catalog.clone(), lists, 50, params)
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
        assert!(lists.has(catalog.pins.ids()[12], 40) && !lists.has(catalog.pins.ids()[12], 41));
        assert!(!lists.has(catalog.pins.ids()[13], 1));

        let (index, exact) = (index(&catalog, lists), Exact(&catalog.pins));
        let pin = catalog.pins.ids()[500];
        let eligible = |other: PinId| other != pin && !other.0.is_multiple_of(2);
        let ahead = index.lists_only();
        let found = ahead.neighbors_of(pin, 15, &eligible);
        assert_eq!(found, exact.neighbors_of(pin, 15, &eligible));
        assert!(!ahead.needs_search());
        drop(ahead);
        assert_eq!(index.lookups().ahead, 1);
        // More than the list holds, or more than is eligible in it, needs a walk.
        for (k, eligible) in [(41, &(|_| true) as &dyn Fn(PinId) -> bool), (30, &eligible)] {
            let ahead = index.lists_only();
            ahead.neighbors_of(pin, k, eligible);
            assert!(ahead.needs_search());
            assert_eq!(index.neighbors_of(pin, k, eligible).len(), k);
        }
        assert_eq!((index.lookups().ahead, index.lookups().short), (1, 2));
    }

    #[test]
    fn a_missing_list_is_computed_once_however_many_ask() {
        let (_directory, catalog) = catalog(1_000);
        let nothing = NeighborLists::open(std::path::Path::new("/nowhere"), "v").expect("no lists");
        let index = index(&catalog, nothing);
        let pin = catalog.pins.ids()[7];
        let ahead = index.lists_only();
        ahead.neighbors_of(pin, 5, &|_| true);
        assert!(ahead.needs_search());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(index.neighbors_of(pin, 5, &|_| true).len(), 5));
            }
        });
        let Lookups {
            cached, missing, ..
        } = index.lookups();
        assert!(missing >= 1 && missing + cached == 8, "{missing} {cached}");
        assert_eq!(index.computed.len(), 1);
        assert_eq!(index.computed_bytes(), 40 * size_of::<Neighbor>() as u64);
        let ahead = index.lists_only();
        assert_eq!(
            ahead.neighbors_of(pin, 5, &|_| true),
            index.neighbors_of(pin, 5, &|_| true)
        );
    }
}
