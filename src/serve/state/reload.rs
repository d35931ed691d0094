//! Reload of versions: a new catalog or new profiles are opened and checked beside the
//! old ones, on a thread of low priority, and then replace them at once.
//!
//! A call holds what it began with, and the old versions leave memory with the last of
//! these calls. Versions that cannot be served are refused, and the old ones stay.

use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};
use rayon::{ThreadPool, ThreadPoolBuildError};
use tokio::sync::{Mutex, oneshot};

use crate::metrics as names;
use crate::model::Timestamp;
use crate::serve::overload::workers::{self, guarded};
use crate::serve::state::live::Live;
use crate::serve::state::loaded::{LoadError, Loaded};
use crate::serve::state::snapshot_source::{
    AvailableVersions, PublishedState, ServingSource, VersionPair,
};
use crate::serve::state::version_history::{Refusal, VersionHistory, VersionReport};
use crate::snapshot::SnapshotError;

/// Decides which versions are served.
#[derive(Debug)]
pub(crate) struct VersionManager {
    live: Arc<Live>,
    source: ServingSource,
    clock: fn() -> Timestamp,
    background: ThreadPool,
    /// What was published before anything was loaded.
    published_at_start: Option<PublishedState>,
    /// Held by the one change that is made at a time.
    changing: Mutex<()>,
    history: VersionHistory,
}

/// A change that an operator asks for.
#[derive(Debug)]
pub(crate) enum VersionChange {
    /// Serve these versions; none keeps the one that is served.
    Load {
        catalog: Option<String>,
        profiles: Option<String>,
    },
    /// Serve what was served before the last change.
    RollBack,
}

/// Why other versions are not served.
#[derive(Debug)]
pub(crate) enum ChangeError {
    /// Nothing is loaded yet.
    NotLoaded,
    /// There are no such versions.
    NoSuchVersion(VersionPair),
    /// They cannot be served; what is served stays.
    Refused(String),
    /// Nothing was served before.
    NoPrevious,
    /// The server serves a single version, not a directory of them.
    SingleVersion,
}

impl VersionManager {
    /// Manages the versions of `source` that `live` serves.
    pub(crate) fn new(
        live: Arc<Live>,
        source: ServingSource,
        clock: fn() -> Timestamp,
    ) -> Result<Self, ThreadPoolBuildError> {
        Ok(Self {
            background: workers::background("versions")?,
            published_at_start: source.scan(),
            live,
            source,
            clock,
            changing: Mutex::default(),
            history: VersionHistory::new(clock()),
        })
    }

    /// What became of versions so far.
    pub(crate) fn report(&self) -> VersionReport {
        self.history.report()
    }

    /// All versions that exist, and the published ones.
    pub(crate) fn available(&self) -> Result<AvailableVersions, ChangeError> {
        let failed = |e: SnapshotError| ChangeError::Refused(e.to_string());
        let available = self.source.available().map_err(failed)?;
        available.ok_or(ChangeError::SingleVersion)
    }

    /// Makes `change`, also when the caller stops waiting for it: who gives up waiting
    /// wants the change all the same. Returns the versions that are served then.
    pub(crate) async fn make(
        self: Arc<Self>,
        change: VersionChange,
    ) -> Result<VersionPair, ChangeError> {
        let making = tokio::spawn(async move {
            match change {
                VersionChange::Load { catalog, profiles } => self.load(catalog, profiles).await,
                VersionChange::RollBack => self.roll_back().await,
            }
        });
        let defect = |_| ChangeError::Refused(LoadError::Defect.to_string());
        making.await.map_err(defect)?
    }

    async fn load(
        &self,
        catalog: Option<String>,
        profiles: Option<String>,
    ) -> Result<VersionPair, ChangeError> {
        let _change = self.changing.lock().await;
        let served = self.loaded()?.versions();
        let target = VersionPair {
            catalog: catalog.unwrap_or(served.catalog),
            profiles: profiles.unwrap_or(served.profiles),
        };
        self.change_to(target).await
    }

    async fn roll_back(&self) -> Result<VersionPair, ChangeError> {
        let _change = self.changing.lock().await;
        let previous = self.history.previous();
        self.change_to(previous.ok_or(ChangeError::NoPrevious)?)
            .await
    }

    /// Looks for what was published at every `interval`, and serves it. Never ends.
    ///
    /// A state is taken over when two scans in a row find it: a catalog and the profiles
    /// made from it are not published at the same moment.
    pub(crate) async fn watch(&self, interval: Duration) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut taken_over = self.published_at_start.clone();
        let mut last_scan = None;
        loop {
            ticks.tick().await;
            let source = self.source.clone();
            let scanned = tokio::task::spawn_blocking(move || source.scan()).await;
            // A state that cannot be read is no news.
            let Ok(Some(scanned)) = scanned else {
                continue;
            };
            let is_steady = last_scan.as_ref() == Some(&scanned);
            if is_steady && taken_over.as_ref() != Some(&scanned) {
                let before = taken_over.replace(scanned.clone());
                self.take_over(before, &scanned.versions).await;
            }
            last_scan = Some(scanned);
        }
    }

    /// Serves the published `versions`. `before` is the state that was taken over last.
    async fn take_over(&self, before: Option<PublishedState>, versions: &VersionPair) {
        let only_lists_changed = before.is_some_and(|before| before.versions == *versions);
        let _change = self.changing.lock().await;
        // New neighbor lists alone do not undo a rollback.
        if !only_lists_changed || self.is_serving(versions) {
            // A refusal is in the history and in the log.
            let _ = self.change_to(versions.clone()).await;
        }
    }

    fn is_serving(&self, versions: &VersionPair) -> bool {
        self.loaded()
            .is_ok_and(|loaded| loaded.versions() == *versions)
    }

    fn loaded(&self) -> Result<Arc<Loaded>, ChangeError> {
        let serving = self.live.get().ok_or(ChangeError::NotLoaded)?;
        Ok(serving.loaded.clone())
    }

    /// Serves `target`. The caller holds `changing`.
    async fn change_to(&self, target: VersionPair) -> Result<VersionPair, ChangeError> {
        let old = self.loaded()?;
        let before = old.versions();
        let source = self.locate(&target)?;
        match self.open_in_background(source, old).await {
            Ok(loaded) => {
                self.swap(loaded, before, &target).await;
                Ok(target)
            }
            Err(reason) => Err(self.refuse(target, reason)),
        }
    }

    /// Where `target` lies.
    fn locate(&self, target: &VersionPair) -> Result<ServingSource, ChangeError> {
        if self.source.has_single_version() {
            return Err(ChangeError::SingleVersion);
        }
        let source = self.source.at(target);
        if !source.is_single_pair() {
            return Err(ChangeError::NoSuchVersion(target.clone()));
        }
        Ok(source)
    }

    /// Opens and checks all of `source` beside `old`, or says why that failed.
    async fn open_in_background(
        &self,
        source: ServingSource,
        old: Arc<Loaded>,
    ) -> Result<Arc<Loaded>, String> {
        let (give, opened) = oneshot::channel();
        self.background.spawn(move || {
            let open = || -> Result<Loaded, LoadError> {
                let loaded = Loaded::open_beside(&source, &old)?;
                loaded.check_mapped()?;
                Ok(loaded)
            };
            let opened = guarded(open).unwrap_or_else(|_| Err(LoadError::Defect));
            // Nobody is left to take it only when the server stops.
            let _ = give.send(opened.map(Arc::new).map_err(|e| e.to_string()));
        });
        let opened = opened.await;
        opened.unwrap_or_else(|_| Err(LoadError::Defect.to_string()))
    }

    /// Serves `loaded`, which is `target`, in the place of the versions `before`.
    async fn swap(&self, loaded: Arc<Loaded>, before: VersionPair, target: &VersionPair) {
        let VersionPair { catalog, profiles } = target;
        tracing::info!(catalog, profiles, "serving other versions");
        counter!(names::VERSION_CHANGES, "result" => "served").increment(1);
        let live = self.live.clone();
        // Files are read and written where pins have changed. A panic in there is in the
        // log already, and leaves what was served.
        let _ = tokio::task::spawn_blocking(move || live.serve(loaded)).await;
        // The old version stays among the metrics, as one that is not served.
        if before.catalog != target.catalog {
            gauge!(names::CATALOG_INFO, "version" => before.catalog.clone()).set(0.0);
        }
        self.history.record_change(before, target, (self.clock)());
    }

    fn refuse(&self, target: VersionPair, reason: String) -> ChangeError {
        let VersionPair { catalog, profiles } = &target;
        tracing::warn!(catalog, profiles, reason, "versions were refused");
        counter!(names::VERSION_CHANGES, "result" => "refused").increment(1);
        self.history.record_refusal(Refusal {
            versions: target,
            reason: reason.clone(),
            time: (self.clock)(),
        });
        ChangeError::Refused(reason)
    }
}
