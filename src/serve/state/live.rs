//! The handle of what is served now, which is replaced while calls are answered.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;

use crate::actions::{Actions, ErasedActions};
use crate::archive::{ArchiveError, ErasedFromArchive, LogArchiver};
use crate::durable::{Log, LogError, PinChange};
use crate::model::{Timestamp, UserId};
use crate::serve::state::changed_pins::{ChangePinsError, ChangedPins, LockedChanges};
use crate::serve::state::durable_state::DurableState;
use crate::serve::state::loaded::Loaded;
use crate::serve::state::serving::Serving;

/// What is served now; nothing until it is loaded.
#[derive(Debug, Default)]
pub(crate) struct Live {
    serving: ArcSwapOption<Serving>,
    durable: OnceLock<DurableState>,
    /// Whether this replica has read too little of a shared log to serve.
    is_behind: AtomicBool,
}

/// Number of pins after a change of some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PinChangeCounts {
    /// Pins that differ from the catalog that is served.
    pub(crate) changed: usize,
    /// Pins of this change that were not there before.
    pub(crate) unknown: usize,
}

/// What was erased of a user.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Erased {
    /// Recorded actions.
    pub(crate) recorded: u64,
    /// Nothing of before counts.
    pub(crate) erased_at: Timestamp,
    /// Actions in the archive, and files.
    pub(crate) archived: ErasedFromArchive,
    /// Whether a profile is served that has the user.
    pub(crate) has_profile: bool,
}

impl Live {
    /// What is served now. A call holds it from its beginning to its end.
    pub(crate) fn get(&self) -> Option<Arc<Serving>> {
        self.serving.load_full()
    }

    /// Recorded actions; none before they are opened, and on a server that takes none.
    pub(crate) fn actions(&self) -> Option<&Arc<Actions>> {
        self.durable.get().map(|durable| &durable.actions)
    }

    /// Pins that changed; none in the same cases.
    pub(crate) fn changed_pins(&self) -> Option<&Arc<ChangedPins>> {
        self.durable.get().map(|durable| &durable.changed_pins)
    }

    /// The archiver of recorded actions; none in the same cases, and without an archive.
    pub(crate) fn archiver(&self) -> Option<&Arc<LogArchiver>> {
        self.durable.get()?.archiver.as_ref()
    }

    /// The log of both; none in the same cases.
    pub(crate) fn log(&self) -> Option<&Arc<Log>> {
        self.durable.get().map(|durable| &durable.log)
    }

    /// Whether other replicas share the log.
    pub(crate) fn is_replica(&self) -> bool {
        self.actions().is_some_and(|actions| actions.is_shared())
    }

    /// Whether this replica has read too little of the log that it shares to serve.
    pub(crate) fn is_behind(&self) -> bool {
        self.is_behind.load(Ordering::Acquire)
    }

    /// Declares whether it has.
    pub(crate) fn set_behind(&self, is_behind: bool) {
        self.is_behind.store(is_behind, Ordering::Release);
    }

    /// Gives the server what it keeps. To be called once, before anything is served.
    pub(crate) fn set_durable(&self, durable: DurableState) {
        self.set_behind(durable.actions.is_shared());
        let set = self.durable.set(durable);
        debug_assert!(set.is_ok(), "a server has one durable state");
    }

    /// Warns where `loaded` lacks actions that the log has forgotten at `now`.
    pub(crate) fn warn_of_forgotten_actions(&self, loaded: &Loaded, now: Timestamp) {
        let Some(actions) = self.actions() else {
            return;
        };
        let complete_through = loaded.profiles().manifest().facts.complete_through;
        let lag_days = now.days_since(complete_through);
        let retention_days = actions.params().limits.retention_days();
        if lag_days > retention_days {
            tracing::warn!(
                %complete_through,
                lag_days,
                retention_days,
                "the log has forgotten actions that the profiles lack"
            );
        }
    }

    /// Since when recorded actions count beside the profiles that are served: those of before
    /// are in the profiles, or forgotten at `now`. None while nothing is served.
    pub(crate) fn needs_actions_since(
        &self,
        actions: &Actions,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let serving = self.get()?;
        let complete_through = serving.loaded.profiles().manifest().facts.complete_through;
        let forgotten = now.minus_days(actions.params().limits.retention_days());
        Some(complete_through.max(forgotten))
    }

    /// Serves `loaded` beside the pins that changed, in the place of what is served.
    pub(crate) fn serve(&self, loaded: Arc<Loaded>) {
        match self.changed_pins() {
            Some(changed_pins) => self.serve_with_changes(&loaded, changed_pins),
            None => self.set(Serving::unchanged(loaded)),
        }
    }

    /// Makes `pins` durable and then serves them.
    pub(crate) fn change_pins(
        &self,
        pins: Vec<PinChange>,
    ) -> Result<PinChangeCounts, ChangePinsError> {
        let durable = self.durable.get().ok_or(ChangePinsError::KeepsNothing)?;
        let before = self.get();
        let is_there = |pin| {
            before
                .as_ref()
                .is_some_and(|before| before.pins().contains(pin))
        };
        let unknown = pins.iter().filter(|&&(pin, _)| !is_there(pin)).count();
        // Held until the delta is served: see `LockedChanges`.
        let changes = durable.changed_pins.record(&durable.actions, pins)?;
        let mut changed = 0;
        if let Some(serving) = self.get() {
            let catalog = serving.loaded.catalog();
            changed = changes.unsettled(catalog).count();
            self.serve_delta(&changes);
        }
        Ok(PinChangeCounts { changed, unknown })
    }

    /// Serves the changes of pins that have come from other replicas.
    pub(crate) fn serve_changed_pins(&self) {
        if let Some(changed_pins) = self.changed_pins() {
            // Held until the delta is served: see `LockedChanges`.
            let changes = changed_pins.lock();
            self.serve_delta(&changes);
        }
    }

    /// Opens the log again after a failed write, and serves what is in it. It can be called
    /// again when it fails.
    pub(crate) fn reopen_log(&self) -> Result<(), LogError> {
        if let Some(durable) = self.durable.get() {
            durable.actions.reopen()?;
            // Held until the delta is served: see `LockedChanges`.
            let mut changes = durable.changed_pins.lock();
            changes.read_again()?;
            self.serve_delta(&changes);
        }
        Ok(())
    }

    /// Erases what `actions`, caches and the archive have of `user` up to `now`.
    /// The caller sees to it that one erasure ends before another begins.
    pub(crate) fn erase(
        &self,
        actions: &Actions,
        user: UserId,
        now: Timestamp,
    ) -> Result<Erased, ArchiveError> {
        let ErasedActions { actions, erased_at } = actions.erase(user, now)?;
        let serving = self.get();
        if let Some(serving) = &serving {
            serving.erase(user);
        }
        let archiver = self.archiver();
        let archived = archiver.map(|archiver| archiver.erase(user));
        let is_served = |serving: &Serving| serving.loaded.profiles().get(user).is_some();
        Ok(Erased {
            recorded: actions,
            erased_at,
            archived: archived.transpose()?.unwrap_or_default(),
            has_profile: serving.as_deref().is_some_and(is_served),
        })
    }

    /// Serves `changes` beside the catalog that is served.
    fn serve_delta(&self, changes: &LockedChanges<'_>) {
        if let Some(serving) = self.get() {
            let delta = changes.delta_for(serving.loaded.catalog());
            self.set(serving.with_delta(delta));
        }
    }

    fn serve_with_changes(&self, loaded: &Arc<Loaded>, changed_pins: &ChangedPins) {
        // Held until the delta is served: see `LockedChanges`.
        let changes = changed_pins.lock();
        let before = self.get();
        let delta = changes.delta_for(loaded.catalog());
        self.set(Serving::new(loaded.clone(), delta));
        let version = |loaded: &Loaded| loaded.catalog().manifest().version.clone();
        let before = before.as_ref().map(|before| &before.loaded);
        // New profiles of the same catalog settle nothing.
        if before.is_some_and(|before| version(before) == version(loaded)) {
            return;
        }
        changes.warn_of_other_kind(loaded.catalog());
        let Some(before) = before else {
            return;
        };
        let settled = changes.settled(before.catalog(), loaded.catalog());
        // The tail may want to take others.
        drop(changes);
        // The shared log first: what stays there comes back to replicas that start anew.
        let dropped = match self.actions() {
            Some(actions) => actions.settle_pins(&settled),
            None => Ok(()),
        };
        if let Err(error) = dropped.and_then(|()| changed_pins.drop_settled(&settled)) {
            // They are dropped with the next catalog.
            tracing::warn!(%error, "settled changes of pins stay in the log");
        }
    }

    fn set(&self, serving: Serving) {
        self.serving.store(Some(Arc::new(serving)));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::durable::PinRecord;
    use crate::model::{PinAttributes, PinId};
    use crate::serve::state::test_world::{
        MODEL, TestWorld, durable_state, key_of, title_of, vector_of,
    };

    /// More than any test changes, but for the one that exceeds it.
    const MAX_CHANGES: usize = 30;
    /// A pin that the first catalog does not have.
    const NEW: u64 = 50;
    /// Swaps of two catalogs while pins change.
    const SWAPS: usize = 100;

    /// A server that keeps its changes in `data`.
    fn live(data: &Path) -> Live {
        let live = Live::default();
        live.set_durable(durable_state(data, MAX_CHANGES));
        live
    }

    fn upsert(pin: u64) -> (PinId, PinRecord) {
        (PinId(pin), record(pin, ""))
    }

    fn record(pin: u64, key: &str) -> PinRecord {
        PinRecord::Upserted {
            embedding_version: MODEL.to_owned(),
            vector: vector_of(pin),
            title: title_of(pin),
            key: key.to_owned(),
            attributes: PinAttributes::default(),
        }
    }

    /// The pin of number `pin`, called by its key.
    fn upsert_by_key(pin: u64) -> (PinId, PinRecord) {
        let key = key_of(pin);
        (PinId::of_key(&key), record(pin, &key))
    }

    /// Changes `pins`, and returns how many differ from the catalog then.
    fn change(live: &Live, pins: Vec<(PinId, PinRecord)>) -> Result<usize, ChangePinsError> {
        let changed = live.change_pins(pins);
        changed.map(|counts| counts.changed)
    }

    fn serves(live: &Live, pin: u64) -> bool {
        let serving = live.get().expect("something is served");
        serving.pins().contains(PinId(pin))
    }

    #[test]
    fn a_change_that_was_recorded_but_never_served_is_there_after_a_restart() {
        let world = TestWorld::new();
        let data = world.path("data");
        let before = live(&data);
        before.serve(world.load());
        let changed_pins = before.changed_pins().expect("a durable state");
        // The process ends between the write and the swap.
        let actions = before.actions().expect("a durable state");
        let recorded = changed_pins.record(actions, vec![upsert(NEW)]);
        drop(recorded.expect("a durable change"));
        assert!(!serves(&before, NEW));
        drop(before);
        let after = live(&data);
        after.serve(world.load());
        assert!(serves(&after, NEW));
    }

    #[test]
    fn changes_are_served_at_once_and_one_too_many_changes_nothing() {
        let world = TestWorld::new();
        let data = world.path("data");
        let server = live(&data);
        server.serve(world.load());
        let count = change(&server, vec![upsert(NEW), (PinId(3), PinRecord::Deleted)]);
        assert_eq!(count.expect("a change"), 2);
        assert!(serves(&server, NEW) && !serves(&server, 3) && serves(&server, 4));

        let many = (100..).take(MAX_CHANGES - 1).map(upsert).collect();
        let refused = change(&server, many);
        assert!(matches!(
            refused,
            Err(ChangePinsError::TooMany(MAX_CHANGES))
        ));
        assert!(!serves(&server, 100));
        // A pin that changed already takes no further place.
        let many = (100..).take(MAX_CHANGES - 2).map(upsert);
        let many = many.chain([upsert(3)]).collect();
        // The other one is as the catalog has it again.
        assert_eq!(change(&server, many).expect("a change"), MAX_CHANGES - 1);
        assert!(serves(&server, 3));
    }

    #[test]
    fn a_catalog_of_strings_has_changed_pins_with_keys_alone() {
        let world = TestWorld::with_keys();
        let server = live(&world.path("data"));
        server.serve(world.load());
        // The second is as the catalog has it, and the third is called by its number.
        let pins = vec![upsert_by_key(NEW), upsert_by_key(1), upsert(NEW)];
        assert_eq!(change(&server, pins).expect("a change"), 1);
        let serving = server.get().expect("something is served");
        let new = PinId::of_key(&key_of(NEW));
        assert_eq!(serving.pins().key(new), Some(&*key_of(NEW)));
        assert_eq!(serving.delta.counts().upserted, 1);
        // One that changes its key alone differs from the catalog.
        let renamed = (PinId::of_key(&key_of(1)), record(1, "renamed"));
        assert_eq!(change(&server, vec![renamed]).expect("a change"), 2);

        let numbers = TestWorld::new();
        server.serve(numbers.load());
        assert!(serves(&server, NEW) && !serves(&server, new.0));
    }

    #[test]
    fn pins_of_numbers_are_dropped_once_two_catalogs_in_a_row_have_strings() {
        let (numbers, strings) = (TestWorld::new(), TestWorld::with_keys());
        let server = live(&numbers.path("data"));
        server.serve(numbers.load());
        let many = (100..).take(MAX_CHANGES).map(upsert).collect();
        assert_eq!(change(&server, many).expect("changes"), MAX_CHANGES);
        // One catalog of strings, and back by one.
        server.serve(strings.load());
        assert!(!serves(&server, 100));
        server.serve(numbers.load());
        assert!(serves(&server, 100));
        // Two in a row: they take no place of the pins with keys.
        server.serve(strings.load());
        strings.publish_keys(0..21);
        server.serve(strings.load());
        let count = change(&server, vec![upsert_by_key(NEW)]);
        assert_eq!(count.expect("a change"), 1);
        server.serve(numbers.load());
        assert!(!serves(&server, 100));
    }

    #[test]
    fn a_deletion_of_an_unknown_pin_changes_nothing_but_lasts() {
        let world = TestWorld::new();
        let data = world.path("data");
        let server = live(&data);
        server.serve(world.load());
        let unknown = (PinId(NEW), PinRecord::Deleted);
        let counts = server.change_pins(vec![unknown]);
        let expected = PinChangeCounts {
            changed: 0,
            unknown: 1,
        };
        assert_eq!(counts.expect("a change"), expected);
        // A catalog that was being built when it was deleted does not bring it back.
        world.publish((0..20).chain([NEW]));
        server.serve(world.load());
        assert!(!serves(&server, NEW));
        let count = change(&server, vec![(PinId(3), PinRecord::Deleted)]);
        assert_eq!(count.expect("a change"), 2);
    }

    #[test]
    fn a_change_is_dropped_once_two_catalogs_in_a_row_have_it() {
        let world = TestWorld::new();
        let data = world.path("data");
        let without = world.load();
        world.publish((0..20).chain([NEW]));
        let with = world.load();
        world.publish((0..21).chain([NEW]));
        let also_with = world.load();

        let server = live(&data);
        server.serve(without.clone());
        change(&server, vec![upsert(NEW)]).expect("a change");
        // One catalog that has it, and back by one.
        server.serve(with.clone());
        assert!(server.get().expect("a catalog").delta.is_empty());
        server.serve(without.clone());
        assert!(serves(&server, NEW));
        // Two catalogs in a row that have it: no way back by one needs it.
        server.serve(with);
        server.serve(also_with);
        server.serve(without.clone());
        assert!(!serves(&server, NEW));
        drop(server);
        let after = live(&data);
        after.serve(without);
        assert!(!serves(&after, NEW));
    }

    #[test]
    fn changes_during_swaps_of_catalogs_are_all_served() {
        let world = TestWorld::new();
        let data = world.path("data");
        let first = world.load();
        world.publish(0..21);
        let second = world.load();
        let server = live(&data);
        server.serve(first.clone());
        let changed: Vec<u64> = (100..).take(MAX_CHANGES).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for &pin in &changed {
                    change(&server, vec![upsert(pin)]).expect("a change");
                    // A swap that computed its delta before must not undo it.
                    assert!(serves(&server, pin), "{pin}");
                }
            });
            for _ in 0..SWAPS {
                server.serve(second.clone());
                server.serve(first.clone());
            }
        });
        assert!(changed.iter().all(|&pin| serves(&server, pin)));
        drop(server);
        let after = live(&data);
        after.serve(first);
        assert!(changed.iter().all(|&pin| serves(&after, pin)));
    }
}
