//! A catalog and profiles of one embedding version: opened, checked and warmed.

use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

use crate::durable::LogError;
use crate::index::{Catalog, CatalogManifest, Delta, DeltaView, Index, NeighborLists};
use crate::model::{PinId, UserId};
use crate::pool::Pool;
use crate::recommend::{
    Deadline, MedoidSources, MergeStrategy, NotCached, RecommendScratch, Recommendation,
    Recommender, Request, Rerank, Retrieve, Seeds, StageObserver, Unobserved, User, UserFeatures,
};
use crate::serve::middleware::VersionHeaders;
use crate::serve::request_limits::{DEFAULT_LIMIT, DEFAULT_MEDOIDS};
use crate::serve::state::snapshot_source::{ServingSource, VersionPair};
use crate::serve::state::user_context::UserContext;
use crate::snapshot::{Reader, SnapshotError};
use crate::store::{Popularity, ProfileStore};

/// Number of users for whom candidates are computed before the first call is answered,
/// so that it does not pay for cold memory.
const WARMING_USERS: u64 = 64;

/// A catalog and profiles of one embedding version, loaded and checked.
#[derive(Debug)]
pub struct Loaded {
    index: Index,
    profiles: ProfileStore,
    /// Whether the catalog has all medoids, so that calls need not look them up.
    all_medoids_in_catalog: bool,
    popularity: Popularity,
    popularity_weight: f32,
    scratches: Pool<RecommendScratch>,
    version_headers: VersionHeaders,
}

/// An index over a catalog, and the changed pins that it reflects.
#[derive(Clone, Copy)]
pub(crate) struct LayeredIndex<'a> {
    pub(crate) index: &'a dyn Retrieve,
    pub(crate) delta: &'a Delta,
}

/// The random numbers of one answer.
#[derive(Clone, Copy)]
pub(crate) struct RandomStream {
    /// That of all pages of a session.
    pub(crate) seed: u64,
    /// Number of the page, from 0.
    pub(crate) page: u64,
}

impl RandomStream {
    fn rng(self) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(self.page);
        rng
    }
}

/// Why a catalog and profiles cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Catalog or profiles could not be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The recorded actions could not be read.
    #[error(transparent)]
    Actions(#[from] LogError),
    /// A defect of ours; the log has its cause.
    #[error("opening them failed")]
    Defect,
    /// Their vectors come from different models.
    #[error(
        "the catalog has embedding version {catalog:?}, the profiles have {profiles:?}: \
         build the profiles from this catalog, or serve the one they were built from"
    )]
    EmbeddingVersion {
        /// Embedding version of the catalog.
        catalog: String,
        /// Embedding version of the profiles.
        profiles: String,
    },
}

impl Loaded {
    /// Reads, checks and warms the catalog and the profiles.
    pub fn open(source: &ServingSource) -> Result<Self, LoadError> {
        let catalog = Arc::new(Catalog::open(&source.catalog)?);
        let profiles = open_profiles(&catalog, source)?;
        let index = open_index(catalog, source)?;
        Ok(Self::assemble(index, profiles, source.popularity))
    }

    /// The same beside `old`, whose catalog is shared if it is the same version.
    pub(crate) fn open_beside(source: &ServingSource, old: &Self) -> Result<Self, LoadError> {
        let reader = Reader::<CatalogManifest>::open(&source.catalog)?;
        let catalog = if reader.manifest() == old.catalog().manifest() {
            old.index.catalog().clone()
        } else {
            Arc::new(Catalog::open(&source.catalog)?)
        };
        let profiles = open_profiles(&catalog, source)?;
        let index = open_index(catalog, source)?.with_counters_of(&old.index);
        Ok(Self::assemble(index, profiles, source.popularity))
    }

    /// Puts both together and warms them.
    fn assemble(index: Index, mut profiles: ProfileStore, popularity_weight: f32) -> Self {
        let pins = &index.catalog().pins;
        let all_medoids_in_catalog = profiles
            .medoids()
            .all(|medoid| pins.position(medoid.pin).is_some());
        let acted_on = profiles.take_pin_actions();
        let catalog_version = &index.catalog().manifest().version;
        let loaded = Self {
            version_headers: VersionHeaders::new(catalog_version, &profiles.manifest().version),
            popularity: Popularity::from_actions(&acted_on),
            popularity_weight,
            index,
            profiles,
            all_medoids_in_catalog,
            scratches: Pool::default(),
        };
        loaded.warm();
        loaded
    }

    /// The catalog.
    pub fn catalog(&self) -> &Catalog {
        self.index.catalog()
    }

    /// The versions of both.
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

    /// Metadata of answers that are made from these versions.
    pub(crate) fn version_headers(&self) -> &VersionHeaders {
        &self.version_headers
    }

    /// The popularity of `pin`, in [0, 1].
    pub(crate) fn popularity(&self, pin: PinId) -> f32 {
        self.popularity.get(pin)
    }

    /// What the popularity of a pin is worth beside its nearness, where a request does not
    /// say.
    pub(crate) fn popularity_weight(&self) -> f32 {
        self.popularity_weight
    }

    /// Answers `request` for `user` with the numbers of `stream`.
    pub(crate) fn recommend(
        &self,
        user: &UserContext<'_>,
        request: &Request<'_>,
        layers: LayeredIndex<'_>,
        stream: RandomStream,
        observer: &impl StageObserver,
    ) -> Result<Recommendation, NotCached> {
        let LayeredIndex { index, delta } = layers;
        let user = User {
            sources: MedoidSources {
                user_medoids: user.medoids(),
                popular_medoids: self.profiles.popular(),
                sampling_factors: user.engagement_factors(),
                all_in_catalog: self.all_medoids_in_catalog && !delta.has_deleted(),
            },
            is_blocked: |pin| user.is_blocked(pin),
        };
        let recommender = Recommender { index, observer };
        let rng = &mut stream.rng();
        self.scratches
            .with(|scratch| recommender.recommend(&user, request, rng, scratch))
    }

    /// The medoids of `user` that could be sampled, with their vectors from `pins`.
    pub(crate) fn user_features<'a>(
        &self,
        user: &UserContext<'_>,
        pins: DeltaView<'a>,
    ) -> UserFeatures<'a> {
        let sources = MedoidSources {
            user_medoids: user.medoids(),
            popular_medoids: self.profiles.popular(),
            sampling_factors: &[],
            // Each is looked up for its vector.
            all_in_catalog: false,
        };
        UserFeatures::new(sources, |pin| pins.vector(pin))
    }

    /// Checks the files that are only mapped, by reading all of them.
    pub(crate) fn check_mapped(&self) -> Result<(), SnapshotError> {
        self.catalog().check_mapped()?;
        self.index.lists().check_mapped()
    }

    /// Answers requests of a few users, so that memory and caches are filled.
    fn warm(&self) {
        let request = Request {
            limit: DEFAULT_LIMIT,
            medoids: DEFAULT_MEDOIDS,
            top: 0,
            strategy: MergeStrategy::Interleave,
            seeds: Seeds::NONE,
            context: None,
            excluded: &[],
            rerank: Rerank::NONE,
            drawn: &[],
            effort: 1.0,
            deadline: Deadline::never(),
        };
        let as_of = self.profiles.manifest().facts.as_of;
        let layers = LayeredIndex {
            index: &self.index,
            delta: &Delta::new(self.catalog().pins.vectors()),
        };
        for seed in 0..WARMING_USERS {
            let user = UserContext::from_profile(&self.profiles, UserId(seed), as_of);
            // An index that searches answers for every list.
            let stream = RandomStream { seed, page: 0 };
            let _ = self.recommend(&user, &request, layers, stream, &Unobserved);
        }
    }
}

/// The index over `catalog`, with the neighbor lists that lie in `source`.
fn open_index(catalog: Arc<Catalog>, source: &ServingSource) -> Result<Index, SnapshotError> {
    let version = &catalog.manifest().version;
    let lists = NeighborLists::directory(&source.catalog, version);
    let lists = NeighborLists::open(&lists, version)?;
    Ok(Index::new(
        catalog,
        lists,
        source.ef_search,
        source.neighbors,
        source.filters,
    ))
}

/// The profiles of `source`, whose vectors must be of the model of `catalog`.
fn open_profiles(catalog: &Catalog, source: &ServingSource) -> Result<ProfileStore, LoadError> {
    let profiles = ProfileStore::open(&source.profiles)?;
    let of_catalog = &catalog.manifest().facts.embedding_version;
    let of_profiles = &profiles.manifest().facts.embedding_version;
    if of_catalog != of_profiles {
        return Err(LoadError::EmbeddingVersion {
            catalog: of_catalog.clone(),
            profiles: of_profiles.clone(),
        });
    }
    Ok(profiles)
}
