//! What is served: one catalogue and one set of profiles that fit together.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

use crate::index::{Catalog, Index, IndexParams, NeighborLists};
use crate::model::{Timestamp, UserId};
use crate::pool::Pool;
use crate::recommend::{self, Interests, Recommendation, Request, Retrieve, Watch};
use crate::snapshot::SnapshotError;
use crate::store::ProfileStore;

/// Users for whom candidates are computed before the first call is answered, so
/// that it does not pay for cold memory.
const WARMING_USERS: u64 = 64;

/// A catalogue and profiles of one embedding version, loaded and checked. A call
/// holds one of these from its beginning to its end.
#[derive(Debug)]
pub struct Loaded {
    index: Index,
    profiles: ProfileStore,
    /// Whether the catalogue has all medoids, so that calls need not look.
    all_in_catalog: bool,
    scratches: Pool<recommend::Scratch>,
}

/// Catalogue and profiles that cannot be served together, or not at all.
#[derive(Debug, thiserror::Error)]
pub enum MismatchError {
    /// One of them could not be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Their vectors come from different models.
    #[error(
        "the catalogue has embedding version {catalog:?}, the profiles have {profiles:?}: \
         build the profiles from this catalogue, or serve the one they were built from"
    )]
    EmbeddingVersion {
        /// That of the catalogue.
        catalog: String,
        /// That of the profiles.
        profiles: String,
    },
}

impl Loaded {
    /// Reads, checks and warms the catalogue and the profiles.
    pub fn open(
        catalog: &Path,
        profiles: &Path,
        params: IndexParams,
    ) -> Result<Self, MismatchError> {
        let path = catalog;
        let catalog = Catalog::open(path)?;
        let profiles = ProfileStore::open(profiles)?;
        let of_catalog = &catalog.manifest().facts.embedding_version;
        let of_profiles = &profiles.manifest().facts.embedding_version;
        if of_catalog != of_profiles {
            return Err(MismatchError::EmbeddingVersion {
                catalog: of_catalog.clone(),
                profiles: of_profiles.clone(),
            });
        }
        let version = &catalog.manifest().version;
        let lists = NeighborLists::open(&NeighborLists::directory(path, version), version)?;
        let index = Index::new(Arc::new(catalog), lists, params);
        let all_in_catalog = profiles
            .medoids()
            .all(|medoid| index.catalog().pins.place(medoid.pin).is_some());
        let loaded = Self {
            index,
            profiles,
            all_in_catalog,
            scratches: Pool::default(),
        };
        loaded.warm();
        Ok(loaded)
    }

    /// The catalogue.
    pub fn catalog(&self) -> &Catalog {
        self.index.catalog()
    }

    /// The profiles.
    pub fn profiles(&self) -> &ProfileStore {
        &self.profiles
    }

    /// The index.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Answers a request for `user` from `index`, with the numbers that follow from
    /// `seed`.
    pub(super) fn recommend(
        &self,
        user: UserId,
        request: &Request<'_>,
        index: &dyn Retrieve,
        seed: u64,
        watch: &impl Watch,
    ) -> Recommendation {
        let profile = self.profiles.get(user);
        let history = profile.and_then(|profile| profile.history());
        let interests = Interests {
            profile: profile.map(|profile| profile.medoids),
            popular: self.profiles.popular(),
            all_in_catalog: self.all_in_catalog,
        };
        let in_history = |pin| {
            history
                .as_ref()
                .is_some_and(|history| history.contains(pin))
        };
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        self.scratches.lend(|scratch| {
            recommend::recommend(interests, &in_history, request, index, rng, watch, scratch)
        })
    }

    /// Checks the files that are only mapped, by reading all of them.
    pub(super) fn check_mapped(&self) -> Result<(), SnapshotError> {
        self.catalog().check_mapped()?;
        self.index.lists().check_mapped()
    }

    /// Whether `user` has a profile.
    pub(super) fn knows(&self, user: UserId) -> bool {
        self.profiles.get(user).is_some()
    }

    /// Time from the `as_of` of the profiles to `now`, in days.
    pub(super) fn profile_age_days(&self, now: Timestamp) -> f64 {
        now.days_since(self.profiles.manifest().facts.as_of)
    }

    fn warm(&self) {
        let request = Request {
            limit: super::DEFAULT_LIMIT,
            medoids: super::DEFAULT_MEDOIDS,
            strategy: recommend::MergeStrategy::Interleave,
            excluded: &[],
        };
        for seed in 0..WARMING_USERS {
            self.recommend(UserId(seed), &request, &self.index, seed, &Unwatched);
        }
    }
}

/// Times nothing.
struct Unwatched;

impl Watch for Unwatched {
    fn stage<T>(&self, _: recommend::Stage, work: impl FnOnce() -> T) -> T {
        work()
    }
}

/// What is served now; nothing until it is loaded.
#[derive(Debug, Default)]
pub(super) struct Live(OnceLock<Arc<Loaded>>);

impl Live {
    pub(super) fn get(&self) -> Option<&Arc<Loaded>> {
        self.0.get()
    }

    pub(super) fn set(&self, loaded: Arc<Loaded>) {
        // The cell is filled once, by the only caller.
        let _ = self.0.set(loaded);
    }
}
