//! What is served: one catalog and one set of profiles that fit together.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

use crate::actions::{ActionParams, Actions};
use crate::durable::{Log, LogError};
use crate::index::{Catalog, CatalogManifest, Delta, Index, NeighborLists, NeighborParams};
use crate::model::{Timestamp, UserId};
use crate::pool::Pool;
use crate::recommend::{
    self, Interests, PopularityPrior, Recommendation, Request, Retrieve, Unwatched, Watch,
};
use crate::serve::middleware::version_headers::VersionHeaders;
use crate::serve::state::changed_pins::{ChangedPins, Serving};
use crate::serve::state::user_context::{FoldInCache, UserContext};
use crate::snapshot::{Reader, SnapshotError};
use crate::store::{Popularity, ProfileStore};

/// Users for whom candidates are computed before the first call is answered, so
/// that it does not pay for cold memory.
const WARMING_USERS: u64 = 64;

/// Where a catalog and profiles lie, and how they are searched.
#[derive(Clone, Debug)]
pub struct Source {
    /// The catalog.
    pub catalog: PathBuf,
    /// The profiles.
    pub profiles: PathBuf,
    /// Nodes of the graph that a search finds at least.
    pub ef_search: usize,
    /// Lists that answer without a search.
    pub neighbors: NeighborParams,
    /// What the popularity of a pin is worth beside its nearness, as a difference of
    /// cosines; 0 for nearness alone.
    pub popularity: f32,
}

/// What is served.
#[derive(Debug)]
pub struct Parts {
    /// A catalog and profiles.
    pub loaded: Loaded,
    /// What is kept; none on a server that keeps nothing.
    pub(crate) kept: Option<(Actions, ChangedPins)>,
}

/// What a server keeps, and where.
#[derive(Clone, Debug)]
pub struct DataParams {
    /// The directory, which is made where it is missing.
    pub directory: PathBuf,
    /// Recorded actions.
    pub actions: ActionParams,
    /// Pins that may change beside a catalog.
    pub max_changed_pins: usize,
}

impl Parts {
    /// Opens what is in `source`, and what is kept in `data`.
    pub fn open(
        source: &Source,
        data: Option<DataParams>,
        now: Timestamp,
    ) -> Result<Self, LoadError> {
        let loaded = Loaded::open(source)?;
        let kept = data.map(|data| Self::open_data(data, now)).transpose()?;
        Ok(Self { loaded, kept })
    }

    fn open_data(data: DataParams, now: Timestamp) -> Result<(Actions, ChangedPins), LogError> {
        let (log, torn) = Log::open(&data.directory)?;
        for (journal, bytes) in &torn {
            let journal = journal.display();
            tracing::warn!(%journal, bytes, "cut the torn end off, which nobody was told of");
        }
        let log = Arc::new(log);
        let pins = ChangedPins::open(log.clone(), data.max_changed_pins)?;
        let (actions, found) = Actions::open(log, data.actions, now)?;
        tracing::info!(
            recorded = found.actions,
            forgotten = found.forgotten,
            users = actions.users(),
            "recorded actions"
        );
        Ok((actions, pins))
    }
}

/// A catalog and profiles of one embedding version, loaded and checked. A call
/// holds one of these from its beginning to its end.
#[derive(Debug)]
pub struct Loaded {
    index: Index,
    profiles: ProfileStore,
    /// Whether the catalog has all medoids, so that calls need not look.
    all_in_catalog: bool,
    /// Empty where it is worth nothing.
    popularity: Popularity,
    popularity_weight: f32,
    fold_in_cache: FoldInCache,
    scratches: Pool<recommend::Scratch>,
    stamp: VersionHeaders,
}

/// What cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Catalog or profiles could not be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The recorded actions could not be read.
    #[error(transparent)]
    Actions(#[from] LogError),
    /// Opening them failed by a defect of ours; the log has its cause.
    #[error("opening them failed")]
    Defect,
    /// Their vectors come from different models.
    #[error(
        "the catalog has embedding version {catalog:?}, the profiles have {profiles:?}: \
         build the profiles from this catalog, or serve the one they were built from"
    )]
    EmbeddingVersion {
        /// That of the catalog.
        catalog: String,
        /// That of the profiles.
        profiles: String,
    },
}

/// The versions of a catalog and of profiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VersionPair {
    pub(crate) catalog: String,
    pub(crate) profiles: String,
}

impl Source {
    /// These versions of what lies here.
    pub(crate) fn at(&self, versions: &VersionPair) -> Self {
        Self {
            catalog: self.catalog.join(&versions.catalog),
            profiles: self.profiles.join(&versions.profiles),
            ef_search: self.ef_search,
            neighbors: self.neighbors,
            popularity: self.popularity,
        }
    }
}

impl Loaded {
    /// Reads, checks and warms the catalog and the profiles.
    pub fn open(source: &Source) -> Result<Self, LoadError> {
        Self::of(Arc::new(Catalog::open(&source.catalog)?), source, None)
    }

    /// The same beside `old`, whose catalog is used again if it is the same.
    pub(crate) fn open_beside(source: &Source, old: &Self) -> Result<Self, LoadError> {
        let reader = Reader::<CatalogManifest>::open(&source.catalog)?;
        let catalog = match reader.manifest() == old.catalog().manifest() {
            true => old.index.catalog().clone(),
            false => Arc::new(Catalog::open(&source.catalog)?),
        };
        Self::of(catalog, source, Some(old))
    }

    fn of(catalog: Arc<Catalog>, source: &Source, old: Option<&Self>) -> Result<Self, LoadError> {
        let path = &source.catalog;
        let mut profiles = ProfileStore::open(&source.profiles)?;
        let of_catalog = &catalog.manifest().facts.embedding_version;
        let of_profiles = &profiles.manifest().facts.embedding_version;
        if of_catalog != of_profiles {
            return Err(LoadError::EmbeddingVersion {
                catalog: of_catalog.clone(),
                profiles: of_profiles.clone(),
            });
        }
        let version = &catalog.manifest().version;
        let lists = NeighborLists::open(&NeighborLists::directory(path, version), version)?;
        let stamp = VersionHeaders::new(version, &profiles.manifest().version);
        let index = Index::new(catalog, lists, source.ef_search, source.neighbors);
        let index = match old {
            Some(old) => index.with_counters_of(&old.index),
            None => index,
        };
        let all_in_catalog = profiles
            .medoids()
            .all(|medoid| index.catalog().pins.place(medoid.pin).is_some());
        let acted_on = profiles.take_acted_on();
        let popularity = match source.popularity > 0.0 {
            true => Popularity::of(&acted_on),
            false => Popularity::default(),
        };
        let loaded = Self {
            popularity,
            popularity_weight: source.popularity,
            stamp,
            index,
            profiles,
            all_in_catalog,
            fold_in_cache: FoldInCache::new(),
            scratches: Pool::default(),
        };
        loaded.warm();
        Ok(loaded)
    }

    /// The catalog.
    pub fn catalog(&self) -> &Catalog {
        self.index.catalog()
    }

    /// Their versions.
    pub(crate) fn versions(&self) -> VersionPair {
        VersionPair {
            catalog: self.catalog().manifest().version.clone(),
            profiles: self.profiles.manifest().version.clone(),
        }
    }

    /// The profiles.
    pub fn profiles(&self) -> &ProfileStore {
        &self.profiles
    }

    /// The index.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// What says that an answer is made from these.
    pub(crate) fn version_headers(&self) -> &VersionHeaders {
        &self.stamp
    }

    /// What folds recent actions into these profiles.
    pub(crate) fn fold_in_cache(&self) -> &FoldInCache {
        &self.fold_in_cache
    }

    /// What the popularity of a pin is worth beside its nearness.
    pub(crate) fn popularity_weight(&self) -> f32 {
        self.popularity_weight
    }

    /// Whether it is known that the catalog has all medoids.
    fn has_all_medoids(&self, delta: &Delta) -> bool {
        self.all_in_catalog && !delta.has_deleted()
    }

    /// Answers a request for `user` from `index`, which reflects `delta`, with the
    /// numbers that follow from `seed`.
    pub(crate) fn recommend(
        &self,
        user: &UserContext<'_>,
        request: &Request<'_>,
        (index, delta): (&dyn Retrieve, &Delta),
        seed: u64,
        watch: &impl Watch,
    ) -> Recommendation {
        let popularity = |pin| self.popularity.get(pin);
        let interests = Interests {
            own: user.medoids(),
            popular: self.profiles.popular(),
            factors: user.factors(),
            prior: PopularityPrior::weighing(self.popularity_weight, &popularity),
            all_in_catalog: self.has_all_medoids(delta),
        };
        let bars = |pin| user.bars(pin);
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        self.scratches.with(|scratch| {
            recommend::recommend(interests, &bars, request, index, rng, watch, scratch)
        })
    }

    /// Checks the files that are only mapped, by reading all of them.
    pub(crate) fn check_mapped(&self) -> Result<(), SnapshotError> {
        self.catalog().check_mapped()?;
        self.index.lists().check_mapped()
    }

    fn warm(&self) {
        let request = Request {
            limit: crate::serve::DEFAULT_LIMIT,
            medoids: crate::serve::DEFAULT_MEDOIDS,
            top: 0,
            strategy: recommend::MergeStrategy::Interleave,
            excluded: &[],
            effort: 1.0,
        };
        let as_of = self.profiles.manifest().facts.as_of;
        let unchanged = Delta::new(self.catalog().pins.vectors());
        for seed in 0..WARMING_USERS {
            let user = UserContext::of_profile(&self.profiles, UserId(seed), as_of);
            self.recommend(&user, &request, (&self.index, &unchanged), seed, &Unwatched);
        }
    }
}

/// What is served now; nothing until it is loaded.
#[derive(Debug, Default)]
pub(crate) struct Live {
    serving: ArcSwapOption<Serving>,
    kept: OnceLock<DurableState>,
}

/// What a server keeps under its `--data`.
#[derive(Debug)]
struct DurableState {
    actions: Arc<Actions>,
    changed_pins: Arc<ChangedPins>,
}

impl Live {
    pub(crate) fn get(&self) -> Option<Arc<Serving>> {
        self.serving.load_full()
    }

    /// Recorded actions; none before they are opened, and on a server that takes none.
    pub(crate) fn actions(&self) -> Option<&Arc<Actions>> {
        self.kept.get().map(|kept| &kept.actions)
    }

    /// Pins that changed; none in the same cases.
    pub(crate) fn changed_pins(&self) -> Option<&Arc<ChangedPins>> {
        self.kept.get().map(|kept| &kept.changed_pins)
    }

    pub(crate) fn keep(&self, actions: Arc<Actions>, changed_pins: Arc<ChangedPins>) {
        // The cell is filled once, by the only caller.
        let _ = self.kept.set(DurableState {
            actions,
            changed_pins,
        });
    }

    pub(crate) fn set(&self, serving: Arc<Serving>) {
        self.serving.store(Some(serving));
    }

    /// Serves `loaded`, with the pins that changed.
    pub(crate) fn serve(&self, loaded: Arc<Loaded>) {
        match self.changed_pins() {
            Some(changed) => {
                if let Err(error) = changed.serve(&loaded, self) {
                    // They are there at the next start, and given up then.
                    tracing::warn!(%error, "settled changes of pins stay in the log");
                }
            }
            None => self.set(Arc::new(Serving::unchanged(loaded))),
        }
    }
}
