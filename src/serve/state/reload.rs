//! Reload of versions: a new catalog or new profiles are opened and checked beside the
//! old ones, on a thread of low priority, and then replace them at once.
//!
//! A call holds what it began with, and the old versions leave memory with the last of
//! these calls. Versions that cannot be served are refused, and the old ones stay.
//!
//! Published versions are followed until an operator chooses others. Those are pinned:
//! what is published waits until published versions are followed again.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::{counter, gauge};
use rayon::{ThreadPool, ThreadPoolBuildError};
use tokio::sync::{Mutex, oneshot};

use crate::metrics as names;
use crate::model::Timestamp;
use crate::serve::overload::{background_thread, catch_panic};
use crate::serve::state::durable_state::InitialPin;
use crate::serve::state::live::Live;
use crate::serve::state::loaded::{LoadError, Loaded};
use crate::serve::state::pinned_versions::{Persistence, PinFile, PinnedVersions};
use crate::serve::state::snapshot_source::{PublishedState, ServingSource, VersionPair};
use crate::serve::state::version_details::AvailableVersions;
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
    /// Keeps pinned versions; set when the server has opened its data.
    pin_file: OnceLock<PinFile>,
}

/// A change that an operator asks for.
#[derive(Debug)]
pub(crate) enum VersionChange {
    /// Serve these versions and pin them; none keeps the one that is served.
    Load {
        catalog: Option<String>,
        profiles: Option<String>,
    },
    /// Serve what was served before the last change, and pin it.
    RollBack,
    /// Serve what is published, now and from now on.
    Follow,
}

/// What is served after a change.
#[derive(Debug)]
pub(crate) struct ServedVersions {
    pub(crate) versions: VersionPair,
    /// How long the change stays.
    pub(crate) persistence: Persistence,
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
            background: background_thread("versions")?,
            published_at_start: source.scan(),
            live,
            source,
            clock,
            changing: Mutex::default(),
            history: VersionHistory::new(clock()),
            pin_file: OnceLock::new(),
        })
    }

    /// Goes on from what was pinned when the server started. To be called once, before
    /// anything is served.
    pub(crate) fn start_with(&self, pin: InitialPin) {
        let InitialPin {
            file,
            pinned,
            refused,
        } = pin;
        let set = self.pin_file.set(file);
        debug_assert!(set.is_ok(), "a server starts once");
        if let Some(pinned) = &pinned {
            let VersionPair { catalog, profiles } = &pinned.versions;
            let since = pinned.since;
            tracing::info!(catalog, profiles, %since, "serving pinned versions");
        }
        self.record_pinned(pinned, Persistence::Kept);
        if let Some(refusal) = refused {
            counter!(names::VERSION_CHANGES, "result" => "refused").increment(1);
            self.history.record_refusal(refusal);
        }
    }

    /// What became of versions so far.
    pub(crate) fn report(&self) -> VersionReport {
        self.history.report()
    }

    /// All versions that exist, with what is known of each.
    pub(crate) fn available(&self) -> Result<AvailableVersions, ChangeError> {
        let failed = |e: SnapshotError| ChangeError::Refused(e.to_string());
        let available = AvailableVersions::read(&self.source).map_err(failed)?;
        available.ok_or(ChangeError::SingleVersion)
    }

    /// Whether there are no other versions to change to.
    pub(crate) fn has_single_version(&self) -> bool {
        self.source.has_single_version()
    }

    /// The published versions; none where they cannot be read, or where the server serves
    /// a single version.
    pub(crate) fn published(&self) -> Option<VersionPair> {
        self.source.published().ok().flatten()
    }

    /// Makes `change`, also when the caller stops waiting for it: who gives up waiting
    /// wants the change all the same.
    pub(crate) async fn make(
        self: Arc<Self>,
        change: VersionChange,
    ) -> Result<ServedVersions, ChangeError> {
        let making = tokio::spawn(async move {
            let _change = self.changing.lock().await;
            match change {
                VersionChange::Load { catalog, profiles } => self.load(catalog, profiles).await,
                VersionChange::RollBack => self.roll_back().await,
                VersionChange::Follow => self.follow().await,
            }
        });
        let defect = |_| ChangeError::Refused(LoadError::Defect.to_string());
        making.await.map_err(defect)?
    }

    /// Serves these versions and pins them. The caller holds `changing`, as for the two
    /// below.
    async fn load(
        &self,
        catalog: Option<String>,
        profiles: Option<String>,
    ) -> Result<ServedVersions, ChangeError> {
        let served = self.loaded()?.versions();
        let target = VersionPair {
            catalog: catalog.unwrap_or(served.catalog),
            profiles: profiles.unwrap_or(served.profiles),
        };
        let versions = self.change_to(target).await?;
        Ok(self.pin(versions).await)
    }

    async fn roll_back(&self) -> Result<ServedVersions, ChangeError> {
        let previous = self.history.previous();
        let previous = previous.ok_or(ChangeError::NoPrevious)?;
        let versions = self.change_to(previous).await?;
        Ok(self.pin(versions).await)
    }

    /// Serves what is published from now on. Where that cannot be served, what is pinned
    /// stays so.
    async fn follow(&self) -> Result<ServedVersions, ChangeError> {
        let published = self.source.published();
        let published = published.map_err(|e| ChangeError::Refused(e.to_string()))?;
        let mut versions = published.ok_or(ChangeError::SingleVersion)?;
        if !self.is_serving(&versions) {
            versions = self.change_to(versions).await?;
        }
        let persistence = self.keep_pinned(None).await;
        tracing::info!("following published versions");
        Ok(ServedVersions {
            versions,
            persistence,
        })
    }

    /// Pins `versions`, which are served.
    async fn pin(&self, versions: VersionPair) -> ServedVersions {
        let pinned = PinnedVersions {
            versions: versions.clone(),
            since: (self.clock)(),
        };
        ServedVersions {
            versions,
            persistence: self.keep_pinned(Some(pinned)).await,
        }
    }

    /// Writes down which versions are pinned, if any.
    async fn keep_pinned(&self, pinned: Option<PinnedVersions>) -> Persistence {
        let file = self.pin_file.get().cloned().unwrap_or_default();
        let written = pinned.clone();
        let written = tokio::task::spawn_blocking(move || file.replace(written.as_ref())).await;
        // A panic is in the log already.
        let persistence = written.unwrap_or(Persistence::UntilRestart);
        self.record_pinned(pinned, persistence);
        persistence
    }

    fn record_pinned(&self, pinned: Option<PinnedVersions>, persistence: Persistence) {
        gauge!(names::VERSIONS_PINNED).set(f64::from(u8::from(pinned.is_some())));
        self.history.record_pinned(pinned, persistence);
    }

    /// Looks for what was published at every `interval`, and serves it unless other
    /// versions are pinned. Never ends.
    ///
    /// A state is taken over when two scans in a row find it: a catalog and the profiles
    /// made from it are not published at the same moment.
    pub(crate) async fn watch(&self, interval: Duration) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut taken_over = self.published_at_start.clone();
        let mut last_scan = None;
        let mut waiting = None;
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
                self.take_over(&scanned.versions).await;
                taken_over = Some(scanned.clone());
            }
            self.report_waiting(&mut waiting, &scanned.versions);
            last_scan = Some(scanned);
        }
    }

    /// Serves the published `versions`, unless others are pinned.
    async fn take_over(&self, versions: &VersionPair) {
        let _change = self.changing.lock().await;
        // Pinned versions get new neighbor lists like any others.
        if !self.history.is_pinned() || self.is_serving(versions) {
            // A refusal is in the history and in the log.
            let _ = self.change_to(versions.clone()).await;
        }
    }

    /// Reports whether the `published` versions wait because others are pinned. `waiting`
    /// are those that were reported last.
    fn report_waiting(&self, waiting: &mut Option<VersionPair>, published: &VersionPair) {
        let is_waiting = self.history.is_pinned() && !self.is_serving(published);
        gauge!(names::VERSIONS_WAITING).set(f64::from(u8::from(is_waiting)));
        if !is_waiting {
            *waiting = None;
        } else if waiting.as_ref() != Some(published) {
            let VersionPair { catalog, profiles } = published;
            tracing::warn!(
                catalog,
                profiles,
                "published versions wait: others are pinned"
            );
            *waiting = Some(published.clone());
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
            let opened = catch_panic(open).unwrap_or_else(|_| Err(LoadError::Defect));
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
        self.live.warn_of_forgotten_actions(&loaded, (self.clock)());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::state::test_world::TestWorld;

    /// Longest time that a test waits for a change.
    const MAX_WAIT: Duration = Duration::from_secs(60);

    fn clock() -> Timestamp {
        Timestamp::from_micros(5)
    }

    /// A manager that serves what `source` has.
    fn manager(source: ServingSource) -> Arc<VersionManager> {
        let live = Arc::new(Live::default());
        live.serve(Arc::new(Loaded::open(&source).expect("a good source")));
        let manager = VersionManager::new(live, source, clock).expect("a thread");
        Arc::new(manager)
    }

    fn served(manager: &VersionManager) -> VersionPair {
        manager.loaded().expect("something is served").versions()
    }

    fn load(versions: &VersionPair) -> VersionChange {
        VersionChange::Load {
            catalog: Some(versions.catalog.clone()),
            profiles: Some(versions.profiles.clone()),
        }
    }

    #[tokio::test]
    async fn versions_are_loaded_by_name_and_rolled_back_by_one() {
        let world = TestWorld::new();
        let manager = manager(world.source());
        let first = served(&manager);
        let nothing = manager.clone().make(VersionChange::RollBack).await;
        assert!(matches!(nothing, Err(ChangeError::NoPrevious)));

        let second = world.publish(0..30);
        let changed = manager.clone().make(load(&second)).await;
        assert_eq!(changed.expect("a change").versions, second);
        assert_eq!(served(&manager), second);
        assert_eq!(manager.report().previous, Some(first.clone()));
        assert_eq!(manager.report().since, clock());

        let back = manager.clone().make(VersionChange::RollBack).await;
        assert_eq!(back.expect("a rollback").versions, first);
        assert_eq!(served(&manager), first);
        assert_eq!(manager.report().previous, Some(second.clone()));

        let available = manager.available().expect("directories of versions");
        assert_eq!(available.published, second);
        assert_eq!(available.catalogs.len(), 2);
        assert_eq!(available.profiles.len(), 2);
    }

    #[tokio::test]
    async fn a_version_that_is_not_named_stays() {
        let world = TestWorld::new();
        let manager = manager(world.source());
        let first = served(&manager);
        let second = world.publish(0..30);
        let change = VersionChange::Load {
            catalog: Some(second.catalog.clone()),
            profiles: None,
        };
        let changed = manager
            .clone()
            .make(change)
            .await
            .expect("a change")
            .versions;
        assert_eq!(changed.catalog, second.catalog);
        assert_eq!(changed.profiles, first.profiles);
    }

    #[tokio::test]
    async fn what_cannot_be_served_is_refused_and_the_old_versions_stay() {
        let world = TestWorld::new();
        let manager = manager(world.source());
        let first = served(&manager);
        let misfit = VersionPair {
            catalog: first.catalog.clone(),
            profiles: world.publish_profiles_of_another_model(),
        };
        let refused = manager.clone().make(load(&misfit)).await;
        let Err(ChangeError::Refused(reason)) = refused else {
            panic!("{refused:?}");
        };
        assert!(reason.contains("model-2"), "{reason}");
        assert_eq!(served(&manager), first);
        let report = manager.report();
        let refusal = report.refused.expect("a refusal");
        assert_eq!((refusal.versions, refusal.reason), (misfit, reason));
        assert_eq!(report.previous, None);

        let missing = VersionPair {
            catalog: "0123456789abcdef".to_owned(),
            ..first.clone()
        };
        let unknown = manager.clone().make(load(&missing)).await;
        let Err(ChangeError::NoSuchVersion(named)) = unknown else {
            panic!("{unknown:?}");
        };
        assert_eq!(named, missing);
        assert_eq!(served(&manager), first);
    }

    #[tokio::test]
    async fn a_damaged_version_is_refused_though_its_files_are_only_mapped() {
        let world = TestWorld::new();
        let manager = manager(world.source());
        let first = served(&manager);
        let second = world.publish(0..30);
        let titles = world
            .path("catalog")
            .join(&second.catalog)
            .join("titles.bin");
        let mut bytes = std::fs::read(&titles).expect("titles");
        bytes[0] ^= 1;
        std::fs::write(&titles, bytes).expect("a written file");
        let refused = manager.clone().make(load(&second)).await;
        assert!(matches!(refused, Err(ChangeError::Refused(_))));
        assert_eq!(served(&manager), first);
    }

    #[tokio::test]
    async fn a_single_version_has_no_other_and_nothing_changes_before_it_is_loaded() {
        let world = TestWorld::new();
        let versions = world.source().published().expect("a source");
        let versions = versions.expect("directories of versions");
        let single = manager(world.source().at(&versions));
        let refused = single.clone().make(load(&versions)).await;
        assert!(matches!(refused, Err(ChangeError::SingleVersion)));
        assert!(matches!(
            single.available(),
            Err(ChangeError::SingleVersion)
        ));

        let live = Arc::new(Live::default());
        let empty = VersionManager::new(live, world.source(), clock).expect("a thread");
        let refused = Arc::new(empty).make(load(&versions)).await;
        assert!(matches!(refused, Err(ChangeError::NotLoaded)));
    }

    /// Watches until `versions` are served and the change is recorded.
    async fn watch_until(manager: &VersionManager, versions: &VersionPair) {
        let is_served = async {
            // The change is recorded a moment after it is served. Watching must go on until
            // then, because the record is lost with the task.
            while served(manager) != *versions || manager.report().previous.is_none() {
                tokio::task::yield_now().await;
            }
        };
        let watching = manager.watch(Duration::from_millis(1));
        let watched = tokio::time::timeout(MAX_WAIT, async {
            tokio::select! {
                () = watching => panic!("watching never ends"),
                () = is_served => {}
            }
        });
        watched.await.expect("the published versions in time");
    }

    #[tokio::test]
    async fn what_is_published_is_taken_over() {
        let world = TestWorld::new();
        let manager = manager(world.source());
        let first = served(&manager);
        let second = world.publish(0..30);
        watch_until(&manager, &second).await;
        assert_eq!(manager.report().previous, Some(first));
    }

    /// A manager that serves what `source` has, and keeps pinned versions in `data`.
    fn manager_with_data(source: ServingSource, file: PinFile) -> Arc<VersionManager> {
        let manager = manager(source);
        let pin = InitialPin {
            file,
            ..InitialPin::default()
        };
        manager.start_with(pin);
        manager
    }

    #[tokio::test]
    async fn a_rollback_stays_until_published_versions_are_followed_again() {
        let world = TestWorld::new();
        let file = PinFile::in_directory(&world.path("catalog"));
        let manager = manager_with_data(world.source(), file.clone());
        let first = served(&manager);
        let second = world.publish(0..30);
        watch_until(&manager, &second).await;
        let back = manager.clone().make(VersionChange::RollBack).await;
        let back = back.expect("a rollback");
        assert_eq!(
            (&back.versions, back.persistence),
            (&first, Persistence::Kept)
        );
        let pinned = manager.report().pinned.expect("pinned versions");
        assert_eq!((&pinned.versions, pinned.since), (&first, clock()));
        assert_eq!(file.read().expect("a file"), Some(pinned));

        let third = world.publish(0..40);
        manager.take_over(&third).await;
        assert_eq!(served(&manager), first);
        let followed = manager.clone().make(VersionChange::Follow).await;
        assert_eq!(followed.expect("a change").versions, third);
        assert_eq!(served(&manager), third);
        assert_eq!(manager.report().pinned, None);
        assert_eq!(file.read().expect("no file"), None);
        let fourth = world.publish(0..50);
        watch_until(&manager, &fourth).await;
    }

    #[tokio::test]
    async fn what_cannot_be_followed_leaves_the_pinned_versions() {
        let world = TestWorld::new();
        let manager = manager(world.source());
        let first = served(&manager);
        let loaded = manager.clone().make(load(&first)).await;
        let loaded = loaded.expect("a change");
        assert_eq!(loaded.persistence, Persistence::UntilRestart);
        world.publish_profiles_of_another_model();
        let refused = manager.clone().make(VersionChange::Follow).await;
        assert!(matches!(refused, Err(ChangeError::Refused(_))));
        let pinned = manager.report().pinned.expect("pinned versions");
        assert_eq!(pinned.versions, first);
    }

    #[tokio::test]
    async fn new_neighbor_lists_alone_do_not_undo_a_rollback() {
        let world = TestWorld::new();
        let manager = manager(world.source());
        let first = served(&manager);
        let second = world.publish(0..30);
        manager.take_over(&second).await;
        let back = manager.clone().make(VersionChange::RollBack).await;
        assert_eq!(back.expect("a rollback").versions, first);
        manager.take_over(&second).await;
        assert_eq!(served(&manager), first);
        // Those of the pinned versions are taken over.
        manager.take_over(&first).await;
        assert_eq!(served(&manager), first);
    }
}
