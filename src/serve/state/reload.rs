//! Versions in motion: a new catalog or new profiles are opened and checked
//! beside the old ones, on a thread of low priority, and then put in their place at
//! once. A call holds what it began with; the old versions leave memory with the
//! last of these. What cannot be served is refused, and the old versions stay.

use std::path::{Path, PathBuf};
use std::sync::{self, Arc, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{counter, gauge};
use rayon::{ThreadPool, ThreadPoolBuildError};
use tokio::sync::{Mutex, oneshot};

use crate::index::NeighborLists;
use crate::metrics as names;
use crate::model::Timestamp;
use crate::serve::overload::{background_thread, catch_panic};
use crate::serve::state::live::{Live, LoadError, Loaded, Source, VersionPair};
use crate::snapshot::{self, SnapshotError};

/// Takes care of which versions are served.
pub(crate) struct Versions {
    live: Arc<Live>,
    source: Source,
    clock: fn() -> Timestamp,
    background: ThreadPool,
    /// What was published before anything was loaded.
    first: Option<PublishedState>,
    /// One change at a time.
    changing: Mutex<()>,
    /// Never held for long: a status is told while versions are opened.
    history: sync::Mutex<History>,
}

/// What became of versions, as far as an operator may ask.
#[derive(Clone, Debug)]
pub(crate) struct History {
    /// When the last change was made.
    pub(crate) since: Timestamp,
    /// What was served before it.
    pub(crate) previous: Option<VersionPair>,
    /// What was refused since.
    pub(crate) refused: Option<Refusal>,
}

/// Versions that were refused.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) versions: VersionPair,
    pub(crate) reason: String,
    pub(crate) time: Timestamp,
}

/// A change that an operator wants.
#[derive(Debug)]
pub(crate) enum Change {
    /// Serve these; none stays what it is.
    Load {
        catalog: Option<String>,
        profiles: Option<String>,
    },
    /// Serve what was served before the last change.
    RollBack,
}

/// Why another version is not served.
#[derive(Debug)]
pub(crate) enum ChangeError {
    /// Nothing is loaded yet.
    NotLoaded,
    /// There is no such version.
    NoSuchVersion(VersionPair),
    /// It cannot be served; what is served stays.
    Refused(String),
    /// Nothing was served before.
    NoPrevious,
    /// The server serves a single version, not a directory of them.
    SingleVersion,
}

/// What lies in the directories, as far as a server must know.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PublishedState {
    published: VersionPair,
    /// Neighbor lists of that catalog.
    lists: Vec<PathBuf>,
}

impl Versions {
    pub(crate) fn new(
        live: Arc<Live>,
        source: Source,
        clock: fn() -> Timestamp,
    ) -> Result<Self, ThreadPoolBuildError> {
        Ok(Self {
            background: background_thread("versions")?,
            first: scan(&source),
            live,
            source,
            clock,
            changing: Mutex::default(),
            history: sync::Mutex::new(History {
                since: clock(),
                previous: None,
                refused: None,
            }),
        })
    }

    /// What became of versions so far.
    pub(crate) fn history(&self) -> History {
        self.lock_history().clone()
    }

    fn lock_history(&self) -> MutexGuard<'_, History> {
        // A panic leaves a whole history, there or not.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All versions that lie here, catalogs and profiles, and the published ones.
    pub(crate) fn all(&self) -> Result<(Vec<String>, Vec<String>, VersionPair), ChangeError> {
        let Source {
            catalog, profiles, ..
        } = &self.source;
        let failed = |e: SnapshotError| ChangeError::Refused(e.to_string());
        let published = published(&self.source).map_err(failed)?;
        Ok((
            snapshot::versions(catalog).map_err(failed)?,
            snapshot::versions(profiles).map_err(failed)?,
            published.ok_or(ChangeError::SingleVersion)?,
        ))
    }

    /// Makes `change`, also when nobody waits for it any more: who gives up waiting
    /// wants the change all the same.
    pub(crate) async fn make(self: Arc<Self>, change: Change) -> Result<VersionPair, ChangeError> {
        let making = tokio::spawn(async move {
            match change {
                Change::Load { catalog, profiles } => self.load(catalog, profiles).await,
                Change::RollBack => self.roll_back().await,
            }
        });
        let defect = |_| ChangeError::Refused(LoadError::Defect.to_string());
        making.await.map_err(defect)?
    }

    /// Serves `catalog` and `profiles`; none stays what it is.
    async fn load(
        &self,
        catalog: Option<String>,
        profiles: Option<String>,
    ) -> Result<VersionPair, ChangeError> {
        let _one = self.changing.lock().await;
        let now = self
            .live
            .get()
            .ok_or(ChangeError::NotLoaded)?
            .loaded
            .versions();
        let wanted = VersionPair {
            catalog: catalog.unwrap_or(now.catalog),
            profiles: profiles.unwrap_or(now.profiles),
        };
        self.change(wanted).await
    }

    /// Serves what was served before the last change.
    async fn roll_back(&self) -> Result<VersionPair, ChangeError> {
        let _one = self.changing.lock().await;
        let previous = self.lock_history().previous.clone();
        self.change(previous.ok_or(ChangeError::NoPrevious)?).await
    }

    /// Looks every so often for what was published, and serves it. Never ends.
    ///
    /// What is there must be there at two looks before it is taken over: a catalog
    /// and the profiles made from it are not published at the same moment.
    pub(crate) async fn watch(self: Arc<Self>, every: Duration) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut taken = self.first.clone();
        let mut before = None;
        loop {
            ticks.tick().await;
            let source = self.source.clone();
            let seen = tokio::task::spawn_blocking(move || scan(&source)).await;
            // What cannot be told is no news.
            let Ok(Some(seen)) = seen else {
                continue;
            };
            if before.as_ref() == Some(&seen) && taken.as_ref() != Some(&seen) {
                let same = |taken: &PublishedState| taken.published == seen.published;
                let only_lists = taken.as_ref().is_some_and(same);
                taken = Some(seen.clone());
                let _one = self.changing.lock().await;
                // New lists alone do not undo a rollback.
                if !only_lists || self.is_serving(&seen.published) {
                    // A refusal is in the history and the log.
                    let _ = self.change(seen.published.clone()).await;
                }
            }
            before = Some(seen);
        }
    }

    fn is_serving(&self, versions: &VersionPair) -> bool {
        let serving = self.live.get();
        serving.is_some_and(|serving| serving.loaded.versions() == *versions)
    }

    /// Serves `wanted`. The caller sees to it that nobody else does so meanwhile.
    async fn change(&self, wanted: VersionPair) -> Result<VersionPair, ChangeError> {
        let old = self
            .live
            .get()
            .ok_or(ChangeError::NotLoaded)?
            .loaded
            .clone();
        if is_single(&self.source.catalog) || is_single(&self.source.profiles) {
            return Err(ChangeError::SingleVersion);
        }
        let source = self.source.at(&wanted);
        if !is_single(&source.catalog) || !is_single(&source.profiles) {
            return Err(ChangeError::NoSuchVersion(wanted));
        }
        let was = old.versions();
        let (give, taken) = oneshot::channel();
        self.background.spawn(move || {
            let open = || -> Result<Loaded, LoadError> {
                let loaded = Loaded::open_beside(&source, &old)?;
                loaded.check_mapped()?;
                Ok(loaded)
            };
            let opened = catch_panic(open).unwrap_or_else(|_| Err(LoadError::Defect));
            // Nobody is left to take it only when the server stops.
            let _ = give.send(opened.map(Arc::new).map_err(|e| e.to_string()));
        });
        let opened = taken.await;
        let opened = opened.unwrap_or_else(|_| Err(LoadError::Defect.to_string()));
        let VersionPair { catalog, profiles } = &wanted;
        match opened {
            Ok(loaded) => {
                tracing::info!(catalog, profiles, "serving other versions");
                counter!(names::VERSION_CHANGES, "result" => "served").increment(1);
                let live = self.live.clone();
                // It reads and writes files where pins have changed. A panic in there
                // has said so itself, and leaves what was served.
                let _ = tokio::task::spawn_blocking(move || live.serve(loaded)).await;
                // It stays among the metrics, as one that is not served.
                if was.catalog != wanted.catalog {
                    gauge!(names::CATALOG_INFO, "version" => was.catalog.clone()).set(0.0);
                }
                let mut history = self.lock_history();
                *history = History {
                    since: (self.clock)(),
                    // New lists of the same versions are no change to go back from.
                    previous: match was == wanted {
                        true => history.previous.take(),
                        false => Some(was),
                    },
                    refused: None,
                };
                Ok(wanted)
            }
            Err(reason) => {
                tracing::warn!(catalog, profiles, reason, "versions were refused");
                counter!(names::VERSION_CHANGES, "result" => "refused").increment(1);
                self.lock_history().refused = Some(Refusal {
                    versions: wanted,
                    reason: reason.clone(),
                    time: (self.clock)(),
                });
                Err(ChangeError::Refused(reason))
            }
        }
    }
}

/// What lies in the directories; none when that cannot be told.
fn scan(source: &Source) -> Option<PublishedState> {
    let published = published(source).ok()??;
    let lists = NeighborLists::directory(&source.catalog, &published.catalog);
    let lists = NeighborLists::segments(&lists).ok()?;
    Some(PublishedState { published, lists })
}

/// Whether `path` is one version, not a directory of them.
fn is_single(path: &Path) -> bool {
    matches!(snapshot::current_version(path), Ok(None))
}

/// The published versions; none when one of the directories is itself a version.
fn published(source: &Source) -> Result<Option<VersionPair>, SnapshotError> {
    let catalog = snapshot::current_version(&source.catalog)?;
    let profiles = snapshot::current_version(&source.profiles)?;
    Ok(catalog
        .zip(profiles)
        .map(|(catalog, profiles)| VersionPair { catalog, profiles }))
}
