//! What is served: one catalogue and one set of profiles that fit together.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

use super::user::{Folder, Known, RecentParams};
use crate::actions::{ActionParams, Actions, LogError};
use crate::index::{Catalog, CatalogFacts, Index, IndexParams, NeighborLists};
use crate::model::{Timestamp, UserId};
use crate::pool::Pool;
use crate::recommend::{self, Interests, Recommendation, Request, Retrieve, Watch};
use crate::snapshot::{Reader, SnapshotError};
use crate::store::ProfileStore;

/// Users for whom candidates are computed before the first call is answered, so
/// that it does not pay for cold memory.
const WARMING_USERS: u64 = 64;

/// Where a catalogue and profiles lie, and how they are searched.
#[derive(Clone, Debug)]
pub struct Source {
    /// The catalogue.
    pub catalog: PathBuf,
    /// The profiles.
    pub profiles: PathBuf,
    /// How neighbours are looked up.
    pub index: IndexParams,
}

/// What is served.
#[derive(Debug)]
pub struct Parts {
    /// A catalogue and profiles.
    pub loaded: Loaded,
    /// Where actions are recorded; none on a server that takes none.
    pub actions: Option<Actions>,
}

impl Parts {
    /// Opens what is in `source`, and the actions recorded in the directory `data`.
    pub fn open(
        source: &Source,
        data: Option<(PathBuf, ActionParams)>,
        now: Timestamp,
    ) -> Result<Self, LoadError> {
        let loaded = Loaded::open(source)?;
        let actions = data.map(|(directory, params)| {
            let (actions, recovered) = Actions::open(&directory, params, now)?;
            for (journal, bytes) in &recovered.torn {
                let journal = journal.display();
                tracing::warn!(%journal, bytes, "cut the torn end off, which nobody was told of");
            }
            let users = actions.users();
            tracing::info!(
                recorded = recovered.actions,
                forgotten = recovered.forgotten,
                users,
                "recorded actions"
            );
            Ok::<_, LogError>(actions)
        });
        Ok(Self {
            loaded,
            actions: actions.transpose()?,
        })
    }
}

/// A catalogue and profiles of one embedding version, loaded and checked. A call
/// holds one of these from its beginning to its end.
#[derive(Debug)]
pub struct Loaded {
    index: Index,
    profiles: ProfileStore,
    /// Whether the catalogue has all medoids, so that calls need not look.
    all_in_catalog: bool,
    folder: Folder,
    scratches: Pool<recommend::Scratch>,
}

/// What cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Catalogue or profiles could not be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The recorded actions could not be read.
    #[error(transparent)]
    Actions(#[from] LogError),
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

/// The versions of a catalogue and of profiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) catalog: String,
    pub(super) profiles: String,
}

impl Source {
    /// These versions of what lies here.
    pub(super) fn at(&self, versions: &Pair) -> Self {
        Self {
            catalog: self.catalog.join(&versions.catalog),
            profiles: self.profiles.join(&versions.profiles),
            index: self.index,
        }
    }
}

impl Loaded {
    /// Reads, checks and warms the catalogue and the profiles.
    pub fn open(source: &Source) -> Result<Self, LoadError> {
        Self::of(Arc::new(Catalog::open(&source.catalog)?), source, None)
    }

    /// The same beside `old`, whose catalogue is used again if it is the same.
    pub(super) fn open_beside(source: &Source, old: &Self) -> Result<Self, LoadError> {
        let reader = Reader::<CatalogFacts>::open(&source.catalog)?;
        let catalog = match reader.manifest() == old.catalog().manifest() {
            true => old.index.catalog().clone(),
            false => Arc::new(Catalog::open(&source.catalog)?),
        };
        Self::of(catalog, source, Some(old))
    }

    fn of(catalog: Arc<Catalog>, source: &Source, old: Option<&Self>) -> Result<Self, LoadError> {
        let path = &source.catalog;
        let profiles = ProfileStore::open(&source.profiles)?;
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
        let index = Index::new(catalog, lists, source.index);
        let index = match old {
            Some(old) => index.counting_on(&old.index),
            None => index,
        };
        let all_in_catalog = profiles
            .medoids()
            .all(|medoid| index.catalog().pins.place(medoid.pin).is_some());
        let loaded = Self {
            index,
            profiles,
            all_in_catalog,
            folder: Folder::new(),
            scratches: Pool::default(),
        };
        loaded.warm();
        Ok(loaded)
    }

    /// The catalogue.
    pub fn catalog(&self) -> &Catalog {
        self.index.catalog()
    }

    /// Their versions.
    pub(super) fn versions(&self) -> Pair {
        Pair {
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

    /// What is known of `user` from the profiles and from `actions`.
    pub(super) fn know(
        &self,
        user: UserId,
        actions: Option<&Actions>,
        params: RecentParams,
        now: Timestamp,
    ) -> Known<'_> {
        let state = actions.and_then(|actions| actions.state(user));
        let average = actions.map(Actions::engagement).unwrap_or_default();
        let stored = (&self.profiles, &self.catalog().pins);
        self.folder
            .know(user, (state, average), stored, params, now)
    }

    /// Answers a request for `user` from `index`, with the numbers that follow from
    /// `seed`.
    pub(super) fn recommend(
        &self,
        user: &Known<'_>,
        request: &Request<'_>,
        index: &dyn Retrieve,
        seed: u64,
        watch: &impl Watch,
    ) -> Recommendation {
        let interests = Interests {
            own: user.medoids(),
            popular: self.profiles.popular(),
            factors: user.factors(),
            all_in_catalog: self.all_in_catalog,
        };
        let bars = |pin| user.bars(pin);
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        self.scratches.lend(|scratch| {
            recommend::recommend(interests, &bars, request, index, rng, watch, scratch)
        })
    }

    /// Checks the files that are only mapped, by reading all of them.
    pub(super) fn check_mapped(&self) -> Result<(), SnapshotError> {
        self.catalog().check_mapped()?;
        self.index.lists().check_mapped()
    }

    fn warm(&self) {
        let request = Request {
            limit: super::DEFAULT_LIMIT,
            medoids: super::DEFAULT_MEDOIDS,
            strategy: recommend::MergeStrategy::Interleave,
            excluded: &[],
        };
        let as_of = self.profiles.manifest().facts.as_of;
        for seed in 0..WARMING_USERS {
            let user = Known::of_profile(&self.profiles, UserId(seed), as_of);
            self.recommend(&user, &request, &self.index, seed, &Unwatched);
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
pub(super) struct Live {
    loaded: ArcSwapOption<Loaded>,
    actions: OnceLock<Arc<Actions>>,
}

impl Live {
    pub(super) fn get(&self) -> Option<Arc<Loaded>> {
        self.loaded.load_full()
    }

    /// Recorded actions; none before they are opened, and on a server that takes none.
    pub(super) fn actions(&self) -> Option<&Arc<Actions>> {
        self.actions.get()
    }

    pub(super) fn take_actions(&self, actions: Arc<Actions>) {
        // The cell is filled once, by the only caller.
        let _ = self.actions.set(actions);
    }

    pub(super) fn set(&self, loaded: Arc<Loaded>) {
        self.loaded.store(Some(loaded));
    }
}
