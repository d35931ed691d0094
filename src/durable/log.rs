//! The log: one record an action, by its id, so that a second delivery is found;
//! one record for each pin that changed.
//!
//! A write is acknowledged once its journal is synced. Beside the store stands the
//! number of records acknowledged so far: a store that comes back with fewer has
//! lost some, and opening it fails.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use fjall::{OwnedWriteBatch, PersistMode};

use super::acknowledged::AcknowledgedCount;
use super::error::LogError;
use super::forgettable::Forgettable;
use super::journals::{Journals, TruncatedTail};
use super::places::{self, PlacedAction};
use super::privacy::make_private;
use super::records::{
    ActionFacts, PinChange, PinRecord, Place, decode_action, decode_pin, encode_pin,
};
use super::store::{ACCEPTED, PLACED, Store};
use super::unwritten::Unwritten;
use crate::model::{Action, ActionId, PinId, Timestamp};

/// Name of the directory of the store in that of the log.
pub const STORE: &str = "log";
/// Actions that are forgotten with one write.
const FORGET_BATCH: usize = 10_000;

/// The log of one directory. One thread appends to it; others may read and forget.
pub struct Log {
    pub(super) directory: PathBuf,
    /// The directory of the store.
    pub(super) path: PathBuf,
    /// None while it is opened again: see `reopen.rs`.
    pub(super) store: ArcSwapOption<Store>,
    /// Why nothing is written; none while all is well.
    pub(super) failure: ArcSwapOption<String>,
    store_id: u64,
    pub(super) acknowledged: AcknowledgedCount,
    pub(super) accepted: AtomicU64,
    /// Time of the last place that was given to an action, in microseconds.
    pub(super) recorded_at: AtomicI64,
    /// Which actions may be forgotten: see `archive_mark.rs`.
    pub(super) forgettable: ArcSwap<Forgettable>,
    /// One write at a time, so that the count never falls.
    pub(super) writing: Mutex<()>,
    /// What of a shared log is read, and will be written: see `checkpoint.rs`.
    pub(super) unwritten: Unwritten,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut log = f.debug_struct("Log");
        log.field("path", &self.path()).finish_non_exhaustive()
    }
}

impl Log {
    /// Opens the log in `directory`. Also returns the journals whose unacknowledged tail
    /// the store has truncated.
    pub fn open(directory: &Path) -> Result<(Self, Vec<TruncatedTail>), LogError> {
        Self::open_as(directory, || Ok(rand::random()))
    }

    /// The same, but a new log gets the number of `new_id`.
    pub(super) fn open_as(
        directory: &Path,
        new_id: impl FnOnce() -> Result<u64, LogError>,
    ) -> Result<(Self, Vec<TruncatedTail>), LogError> {
        std::fs::create_dir_all(directory).map_err(LogError::io(directory))?;
        let path = directory.join(STORE);
        // Locked before anything is touched: another server may be at work here.
        let acknowledged = AcknowledgedCount::lock(directory)?;
        make_private(directory)?;
        let journals = Journals::copy_from(&path, directory).map_err(LogError::io(&path))?;
        let store = Store::open(&path, journals.copy_path())?;
        let accepted = store.accepted()?;
        let store_id = store.id()?;
        check_complete(&store, &journals, accepted, &acknowledged)?;
        let recorded_at = places::complete(&store, accepted)?;
        let tails = journals.finish().map_err(LogError::io(&path))?;
        let log = Self {
            store_id: match store_id {
                Some(id) => id,
                None => store.set_id(new_id()?)?,
            },
            directory: directory.to_owned(),
            path,
            store: ArcSwapOption::from_pointee(store),
            failure: ArcSwapOption::empty(),
            acknowledged,
            accepted: AtomicU64::new(accepted),
            recorded_at: AtomicI64::new(recorded_at.micros()),
            forgettable: ArcSwap::from_pointee(Forgettable::All),
            writing: Mutex::default(),
            unwritten: Unwritten::default(),
        };
        Ok((log, tails))
    }

    /// The directory of the store.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The random number that tells this store from others.
    pub fn store_id(&self) -> u64 {
        self.store_id
    }

    /// Records accepted so far, those included that were forgotten since. No action has a
    /// higher number.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Acquire)
    }

    /// When the last action was recorded; none in a log that never had one.
    pub fn last_recorded_at(&self) -> Option<Timestamp> {
        let micros = self.recorded_at.load(Ordering::Acquire);
        (micros != i64::MIN).then(|| Timestamp::from_micros(micros))
    }

    /// The actions that have numbers from `first` on, by ascending number; the first
    /// `max` of them.
    pub fn actions_from(&self, first: u64, max: usize) -> Result<Vec<PlacedAction>, LogError> {
        places::read(&*self.store()?, first..=u64::MAX, max)
    }

    /// Whether an action with this id is there.
    pub fn contains(&self, id: ActionId) -> Result<bool, LogError> {
        // In this order: what is written meanwhile is found in the store.
        if self.unwritten.places(&[id]) != [None] {
            return Ok(true);
        }
        let store = self.store()?;
        let found = store.actions.contains_key(id.0);
        found.map_err(|e| store.error(e))
    }

    /// Appends `actions`, all or none, and returns when they are durable. They were
    /// recorded at `now`, or with the last ones where the clock has fallen since. Those for
    /// which `is_kept` holds are never forgotten.
    pub fn append(
        &self,
        actions: &[&Action],
        now: Timestamp,
        is_kept: impl Fn(&Action) -> bool,
    ) -> Result<(), LogError> {
        self.recorded_at.fetch_max(now.micros(), Ordering::AcqRel);
        self.write(actions.len() as u64, |store, batch, last| {
            let first = last.sequence + 1 - actions.len() as u64;
            for (action, sequence) in actions.iter().zip(first..) {
                let facts = ActionFacts {
                    is_kept: is_kept(action),
                    place: Some(Place { sequence, ..last }),
                };
                places::insert(store, batch, action, facts);
            }
        })
    }

    /// Gives no action a number up to `sequence` from now on.
    pub fn skip_to(&self, sequence: u64) -> Result<(), LogError> {
        self.write(sequence.saturating_sub(self.accepted()), |_, _, _| {})
    }

    /// Records changes of pins, all or none, and returns when they are durable.
    pub fn record_pin_changes(&self, changes: &[(PinId, PinRecord)]) -> Result<(), LogError> {
        self.write(changes.len() as u64, |store, batch, _| {
            for (pin, record) in changes {
                batch.insert(&store.pins, pin.0.to_be_bytes(), encode_pin(record));
            }
        })
    }

    /// Removes those of `changes` that are still the last of their pins, because a catalog has
    /// them.
    pub fn remove_pin_changes(&self, changes: &[PinChange]) -> Result<(), LogError> {
        // A later change must not come between the look and the removal.
        let _guard = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let store = self.writable_store()?;
        let mut batch = store.database.batch();
        for (pin, record) in changes {
            let key = pin.0.to_be_bytes();
            let last = store.pins.get(key).map_err(|e| store.error(e))?;
            if last.is_some_and(|last| *last == encode_pin(record)[..]) {
                batch.remove(&store.pins, key);
            }
        }
        batch.commit().map_err(|e| self.fail(&store, e))
    }

    /// The last change of each pin, by ascending id.
    pub fn pin_changes(&self) -> Result<Vec<(PinId, PinRecord)>, LogError> {
        let store = self.store()?;
        let record = |record: fjall::Guard| {
            let (key, value) = record.into_inner().map_err(|e| store.error(e))?;
            let decoded = decode_pin(&key, &value);
            decoded.ok_or_else(|| store.damaged_record("pin", &key))
        };
        store.pins.iter().map(record).collect()
    }

    /// Passes every action to `visit`, in the order of their ids.
    pub fn for_each(&self, mut visit: impl FnMut(Action)) -> Result<(), LogError> {
        self.try_for_each(|action, _| {
            visit(action);
            Ok(())
        })
    }

    /// Forgets actions before `oldest`, but for those that are kept for good, or still have
    /// to be archived. Returns how many there were.
    pub fn forget_before(&self, oldest: Timestamp) -> Result<u64, LogError> {
        self.remove(|action, facts| {
            let is_old = action.time < oldest && !facts.is_kept;
            is_old && self.forgettable.load().has(facts.place)
        })
    }

    /// Removes the actions for which `is_gone` holds, and returns how many there were.
    pub(super) fn remove(
        &self,
        is_gone: impl Fn(&Action, ActionFacts) -> bool,
    ) -> Result<u64, LogError> {
        let (mut removed, mut gone) = (0, Vec::new());
        self.try_for_each(|action, facts| {
            if is_gone(&action, facts) {
                removed += 1;
                gone.push((action.id, facts.place));
            }
            if gone.len() >= FORGET_BATCH {
                self.remove_actions(&mut gone)?;
            }
            Ok(())
        })?;
        self.remove_actions(&mut gone)?;
        Ok(removed)
    }

    /// Writes `count` records that `fill` puts into a batch, and counts them. `fill` gets
    /// the last place that they may have.
    fn write(
        &self,
        count: u64,
        fill: impl FnOnce(&Store, &mut OwnedWriteBatch, Place),
    ) -> Result<(), LogError> {
        // A poisoned lock is harmless: a panic in here leaves nothing half done.
        let _guard = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let store = self.writable_store()?;
        store.wait_for_room().map_err(|e| self.fail(&store, e))?;
        let accepted = self.accepted() + count;
        let batch = store.database.batch();
        let mut batch = batch.durability(Some(PersistMode::SyncData));
        let last = Place {
            sequence: accepted,
            recorded_at: Timestamp::from_micros(self.recorded_at.load(Ordering::Acquire)),
        };
        fill(&store, &mut batch, last);
        batch.insert(&store.meta, ACCEPTED, accepted.to_le_bytes());
        batch.insert(&store.meta, PLACED, last.to_bytes());
        batch.commit().map_err(|e| self.fail(&store, e))?;
        self.accepted.store(accepted, Ordering::Release);
        // The write is durable by now, so this is no failure of it. The count may stay
        // too low, and then promises less.
        if let Err(error) = self.acknowledged.write(accepted) {
            tracing::warn!(%error, "the count of acknowledged records could not be written");
        }
        Ok(())
    }

    /// Removes the actions of `old` and their places, and empties it. The write is not
    /// synced: actions that come back after a crash are forgotten again.
    fn remove_actions(&self, old: &mut Vec<(ActionId, Option<Place>)>) -> Result<(), LogError> {
        let store = self.writable_store()?;
        let mut batch = store.database.batch();
        for (id, place) in old.drain(..) {
            places::remove(&store, &mut batch, id, place)?;
        }
        batch.commit().map_err(|e| self.fail(&store, e))
    }

    /// Passes every action to `visit`, and what is known of it.
    pub(super) fn try_for_each(
        &self,
        mut visit: impl FnMut(Action, ActionFacts) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        let store = self.store()?;
        for record in store.actions.iter() {
            let (key, value) = record.into_inner().map_err(|e| store.error(e))?;
            let decoded = decode_action(&key, &value);
            let (action, facts) = decoded.ok_or_else(|| store.damaged_record("action", &key))?;
            visit(action, facts)?;
        }
        Ok(())
    }
}

/// Refuses a store that has lost acknowledged records: it counts fewer than were
/// acknowledged, or it has truncated a journal that was closed in order.
fn check_complete(
    store: &Store,
    journals: &Journals,
    accepted: u64,
    acknowledged: &AcknowledgedCount,
) -> Result<(), LogError> {
    let promised = acknowledged.read();
    let path = || PathBuf::from(store.path());
    if accepted < promised {
        return Err(LogError::Lost {
            path: path(),
            found: accepted,
            acknowledged: promised,
            kept: journals.copy_path().display().to_string(),
            marker: acknowledged.path().to_owned(),
        });
    }
    let truncated = journals.truncated_before_last();
    if let Some(journal) = truncated.map_err(LogError::io(store.path()))? {
        let journal = journal.display();
        return Err(LogError::Unreadable {
            path: path(),
            reason: format!("{journal} ends before the next begins"),
            kept: journals.copy_path().display().to_string(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::durable::records::encode_action;
    use crate::model::{PinAttributes, UserId};

    const NOW: Timestamp = Timestamp::from_micros(7_000_000);

    fn action(number: u64, seconds: i64) -> Action {
        Action {
            id: ActionId((u128::from(number)).to_be_bytes()),
            user: UserId(number % 3),
            pin: PinId(number),
            name: "save".to_owned(),
            time: Timestamp::from_micros(seconds * 1_000_000),
            medoid: None,
            keys: None,
        }
    }

    fn open(directory: &Path) -> Log {
        let (log, tails) = Log::open(directory).expect("a log");
        assert_eq!(tails, []);
        log
    }

    fn append(log: &Log, actions: &[Action]) {
        let actions: Vec<&Action> = actions.iter().collect();
        log.append(&actions, NOW, |_| false).expect("a write");
    }

    fn recorded(log: &Log) -> Vec<Action> {
        let mut actions = Vec::new();
        log.for_each(|action| actions.push(action)).expect("a log");
        actions
    }

    fn upserted(title: &str) -> PinRecord {
        PinRecord::Upserted {
            embedding_version: "model-1".to_owned(),
            vector: vec![0.6, 0.8],
            title: title.to_owned(),
            key: String::new(),
            attributes: PinAttributes::default(),
        }
    }

    /// The last journal of the store in `directory`, and what was written to it.
    fn last_journal(directory: &Path) -> (PathBuf, Vec<u8>) {
        let entries = fs::read_dir(directory.join(STORE)).expect("a store");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let journals = paths.filter(|path| path.extension().is_some_and(|end| end == "jnl"));
        let journal = journals.max().expect("a journal");
        let mut bytes = fs::read(&journal).expect("a journal");
        let end = bytes.iter().rposition(|&byte| byte != 0);
        bytes.truncate(end.map_or(0, |last| last + 1));
        (journal, bytes)
    }

    #[test]
    fn actions_are_there_once_by_their_ids_also_after_a_new_start() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = open(directory.path());
        let actions = [action(1, 10), action(2, 20), action(300, 5)];
        assert!(!log.contains(actions[0].id).expect("a log"));
        append(&log, &actions[1..]);
        append(&log, &actions[..1]);
        append(&log, &actions[..1]);
        assert_eq!((recorded(&log), log.accepted()), (actions.to_vec(), 4));
        let id = log.store_id();
        drop(log);

        let log = open(directory.path());
        assert_eq!((recorded(&log), log.accepted()), (actions.to_vec(), 4));
        assert!(log.contains(actions[2].id).expect("a log"));
        assert_eq!(log.store_id(), id);
        let other = tempfile::tempdir().expect("a directory");
        assert_ne!(open(other.path()).store_id(), id);
    }

    #[test]
    fn old_actions_are_forgotten_unless_they_are_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = open(directory.path());
        // One more than is forgotten with one write.
        let old: Vec<Action> = (0..=FORGET_BATCH as u64).map(|n| action(n, 1)).collect();
        append(&log, &old);
        let (kept, new) = (action(1 << 40, 1), action(1 << 41, 2));
        log.append(&[&kept, &new], NOW, |action| action.id == kept.id)
            .expect("a write");
        let oldest = Timestamp::from_micros(2_000_000);
        assert_eq!(log.forget_before(oldest).expect("a log"), old.len() as u64);
        assert_eq!(recorded(&log), [kept, new]);
        assert!(!log.contains(old[0].id).expect("a log"));
        assert_eq!(log.accepted(), old.len() as u64 + 2, "forgotten ones count");
        assert_eq!(log.forget_before(oldest).expect("a log"), 0);
    }

    #[test]
    fn what_is_not_archived_is_not_forgotten() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = open(directory.path());
        append(&log, &[action(1, 1), action(2, 1)]);
        log.keep_until_archived().expect("a log");
        let forget = |log: &Log| log.forget_before(NOW).expect("a log");
        assert_eq!((log.archived().expect("a log"), forget(&log)), (None, 0));
        let first = placed(&log)[0].place;
        log.set_archived(first).expect("a log");
        assert_eq!(forget(&log), 1);
        drop(log);
        let log = open(directory.path());
        assert_eq!(log.archived().expect("a log"), Some(first));
        log.keep_until_archived().expect("a log");
        assert_eq!(forget(&log), 0);
        // Numbers of a store that came back from a backup are not used again.
        log.skip_to(9).expect("a write");
        append(&log, &[action(3, 1)]);
        assert_eq!(placed(&log)[1].place.sequence, 10);
    }

    fn placed(log: &Log) -> Vec<PlacedAction> {
        log.actions_from(0, usize::MAX).expect("a log")
    }

    fn at(sequence: u64, micros: i64, action: Action) -> PlacedAction {
        let recorded_at = Timestamp::from_micros(micros);
        let place = Place {
            sequence,
            recorded_at,
        };
        PlacedAction { place, action }
    }

    #[test]
    fn actions_keep_their_order_and_times_never_fall() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = open(directory.path());
        assert_eq!((log.last_recorded_at(), placed(&log)), (None, Vec::new()));
        let take = |log: &Log, number, now| {
            let now = Timestamp::from_micros(now);
            log.append(&[&action(number, 1)], now, |_| false)
                .expect("a write");
        };
        take(&log, 9, 20);
        log.record_pin_changes(&[(PinId(1), PinRecord::Deleted)])
            .expect("a write");
        take(&log, 8, 10);
        drop(log);
        let log = open(directory.path());
        take(&log, 7, 15);
        let expected = [
            at(1, 20, action(9, 1)),
            at(3, 20, action(8, 1)),
            at(4, 20, action(7, 1)),
        ];
        assert_eq!(placed(&log), expected);
        assert_eq!(log.last_recorded_at(), Some(Timestamp::from_micros(20)));
        assert_eq!(log.actions_from(2, 1).expect("a log"), expected[1..2]);
        log.forget_before(Timestamp::from_micros(i64::MAX))
            .expect("a log");
        assert_eq!(placed(&log), []);
        assert!(
            log.store()
                .expect("a store")
                .sequences
                .is_empty()
                .expect("a store")
        );
        take(&log, 9, 30);
        assert_eq!(placed(&log), [at(5, 30, action(9, 1))]);
    }

    /// Writes `actions` as a server of the format before.
    fn append_without_places(log: &Log, actions: &[Action]) {
        let store = log.store().expect("a store");
        let mut batch = store.database.batch();
        for action in actions {
            let facts = ActionFacts {
                is_kept: false,
                place: None,
            };
            let record = encode_action(action, facts);
            batch.insert(&store.actions, action.id.0, record);
        }
        let accepted = store.accepted().expect("a count") + actions.len() as u64;
        batch.insert(&store.meta, ACCEPTED, accepted.to_le_bytes());
        batch.commit().expect("a write");
    }

    #[test]
    fn a_log_of_the_format_before_is_given_places_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = open(directory.path());
        append_without_places(&log, &[action(1, 5), action(2, 4), action(3, 4)]);
        drop(log);
        let log = open(directory.path());
        let first = [
            at(1, 4_000_000, action(2, 4)),
            at(2, 4_000_000, action(3, 4)),
            at(3, 5_000_000, action(1, 5)),
        ];
        assert_eq!(placed(&log), first);
        append(&log, &[action(4, 9)]);
        drop(log);
        let log = open(directory.path());
        let later = [at(4, 7_000_000, action(4, 9))];
        assert_eq!(placed(&log), [&first[..], &later].concat());
    }

    #[test]
    fn the_last_change_of_a_pin_is_there_until_it_is_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = open(directory.path());
        let changes = [
            (PinId(256), upserted("first")),
            (PinId(2), PinRecord::Deleted),
        ];
        log.record_pin_changes(&changes).expect("a write");
        log.record_pin_changes(&[(PinId(256), upserted("second"))])
            .expect("a write");
        drop(log);
        let log = open(directory.path());
        let expected = [
            (PinId(2), PinRecord::Deleted),
            (PinId(256), upserted("second")),
        ];
        assert_eq!(log.pin_changes().expect("a log"), expected);
        let missing = (PinId(7), PinRecord::Deleted);
        log.remove_pin_changes(&[expected[0].clone(), missing])
            .expect("a write");
        // An older change of a pin than the last.
        let older = (expected[1].0, upserted("older"));
        log.remove_pin_changes(&[older]).expect("a write");
        assert_eq!(log.pin_changes().expect("a log"), expected[1..]);
    }

    #[test]
    fn a_second_log_in_the_same_directory_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = open(directory.path());
        let error = Log::open(directory.path()).expect_err("it is in use");
        assert!(error.to_string().contains("another process uses it"));
        drop(log);
        open(directory.path());
    }

    #[test]
    fn an_unacknowledged_tail_is_truncated_and_reported() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = open(directory.path());
        let actions: Vec<Action> = (0..100).map(|n| action(n, 1)).collect();
        append(&log, &actions);
        drop(log);
        // The power failed while the next write was on its way to the disk.
        let (journal, bytes) = last_journal(directory.path());
        let with_tail = [&bytes[..], &bytes[..bytes.len() / 20]].concat();
        fs::write(&journal, with_tail).expect("a journal");
        let (log, tails) = Log::open(directory.path()).expect("a log");
        assert_eq!(tails.len(), 1);
        assert!(tails[0].journal == journal && tails[0].bytes > 0);
        assert_eq!(recorded(&log), actions);
    }

    #[test]
    fn a_store_with_fewer_records_than_were_acknowledged_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = open(directory.path());
        append(&log, &[action(1, 1)]);
        log.acknowledged.write(2).expect("a count");
        drop(log);
        let error = Log::open(directory.path()).expect_err("a record is lost");
        let LogError::Lost {
            found,
            acknowledged,
            marker,
            ..
        } = &error
        else {
            panic!("{error}");
        };
        assert_eq!((*found, *acknowledged), (1, 2));
        fs::remove_file(marker).expect("the count");
        // Without the count the log goes on with what is left.
        let (log, _) = Log::open(directory.path()).expect("a log");
        assert_eq!(recorded(&log), [action(1, 1)]);
    }
}
