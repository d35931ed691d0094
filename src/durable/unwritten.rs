//! What a replica has read of a shared log, and not yet written to the files of its checkpoint.
//!
//! The engine has all of it, so it may wait here: many actions that are written together, and
//! sorted, cost a fraction of what they cost one message after the other. After a crash it is
//! read again.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::positions::Positions;
use super::records::{ActionFacts, Place, append_action};
use crate::model::{Action, ActionId};

/// Actions that are worth a write before its time. They take about 60 MB, twice as many may wait,
/// and as many again are written meanwhile.
const MAX_ACTIONS: usize = 500_000;

/// An action that was read.
#[derive(Clone, Copy, Debug)]
pub struct ReadAction<'a> {
    /// The action.
    pub action: &'a Action,
    /// Whether it is never forgotten.
    pub is_kept: bool,
    /// Where it stands.
    pub place: Place,
}

/// An action of a part.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartAction {
    pub(super) id: ActionId,
    /// Where it stands.
    pub(super) place: Place,
    /// Where its record begins and ends.
    record: (usize, usize),
}

/// Messages that are written together.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// The actions, in the order in which they were read.
    pub(super) actions: Vec<PartAction>,
    /// Their encoded records.
    records: Vec<u8>,
    /// Where each of them stands in `actions`.
    by_id: HashMap<ActionId, u32>,
    /// Where further copies of actions stand.
    pub(super) copies: Vec<(ActionId, Place)>,
    /// Up to where the log was read.
    pub(super) positions: Positions,
}

impl Part {
    /// Adds the actions and copies of what was read up to `positions`.
    pub(super) fn add(
        &mut self,
        actions: &[ReadAction<'_>],
        copies: &[(ActionId, Place)],
        positions: &Positions,
    ) {
        for &ReadAction {
            action,
            is_kept,
            place,
        } in actions
        {
            let facts = ActionFacts {
                is_kept,
                place: Some(place),
            };
            let begin = self.records.len();
            append_action(action, facts, &mut self.records);
            let at = u32::try_from(self.actions.len());
            let at = at.expect("a part is written long before");
            self.by_id.insert(action.id, at);
            self.actions.push(PartAction {
                id: action.id,
                place,
                record: (begin, self.records.len()),
            });
        }
        self.copies.extend_from_slice(copies);
        self.positions = positions.clone();
    }

    /// The encoded record of one of its actions.
    pub(super) fn record(&self, action: &PartAction) -> &[u8] {
        let (begin, end) = action.record;
        &self.records[begin..end]
    }

    fn place(&self, id: ActionId) -> Option<Place> {
        let at = *self.by_id.get(&id)?;
        Some(self.actions[at as usize].place)
    }

    /// Number of actions and copies.
    fn len(&self) -> usize {
        self.actions.len() + self.copies.len()
    }

    /// Bytes that tables with all of it take on a disk, and some to spare.
    pub(super) fn bytes_of_tables(&self) -> u64 {
        2 * (self.records.len() + self.actions.len() * size_of::<PartAction>()) as u64
    }

    /// Nothing was read.
    fn is_empty(&self) -> bool {
        self.positions == Positions::default()
    }
}

/// What is not written yet. Empty in an embedded log.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    parts: Mutex<Parts>,
    /// Enough is there, or nothing comes any more.
    is_due: Condvar,
}

#[derive(Debug, Default)]
struct Parts {
    growing: Part,
    /// The part that is written at present, or whose write has failed: it is older.
    writing: Option<Arc<Part>>,
    is_over: bool,
}

impl Unwritten {
    fn lock(&self) -> MutexGuard<'_, Parts> {
        // A panic leaves parts that are read again after a crash.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what was read up to `positions`.
    pub(super) fn add(
        &self,
        actions: &[ReadAction<'_>],
        copies: &[(ActionId, Place)],
        positions: &Positions,
    ) {
        let mut parts = self.lock();
        parts.growing.add(actions, copies, positions);
        if parts.growing.len() >= MAX_ACTIONS {
            self.is_due.notify_all();
        }
    }

    /// Whether so much waits that more must wait.
    pub(super) fn is_full(&self) -> bool {
        self.lock().growing.len() >= 2 * MAX_ACTIONS
    }

    /// Where each of these actions stands; none for those that are not here.
    pub(super) fn places(&self, ids: &[ActionId]) -> Vec<Option<Place>> {
        let parts = self.lock();
        let written = |id| parts.writing.as_ref()?.place(id);
        let place = |&id| parts.growing.place(id).or_else(|| written(id));
        ids.iter().map(place).collect()
    }

    /// Up to where the log was read; none when all of it is written.
    pub(super) fn positions(&self) -> Option<Positions> {
        let parts = self.lock();
        let newest = [Some(&parts.growing), parts.writing.as_deref()];
        let newest = newest.into_iter().flatten().find(|part| !part.is_empty());
        newest.map(|part| part.positions.clone())
    }

    /// The part to be written next; none when nothing is there. It stays here until
    /// [`Self::written`], and is the next one until then.
    pub(super) fn next_part(&self) -> Option<Arc<Part>> {
        let mut parts = self.lock();
        if parts.writing.is_none() && !parts.growing.is_empty() {
            parts.writing = Some(Arc::new(std::mem::take(&mut parts.growing)));
        }
        parts.writing.clone()
    }

    /// Forgets the part that [`Self::next_part`] has told: the files have it.
    pub(super) fn written(&self) {
        let written = self.lock().writing.take();
        // The records are freed here, while nobody waits.
        drop(written);
    }

    /// Waits until much is there, or nothing comes any more, at most for `limit`. Returns
    /// whether more may come.
    pub(super) fn wait(&self, limit: Duration) -> bool {
        let is_early = |parts: &mut Parts| !parts.is_over && parts.growing.len() < MAX_ACTIONS;
        let waited = self.is_due.wait_timeout_while(self.lock(), limit, is_early);
        let (parts, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !parts.is_over
    }

    /// Declares that nothing comes any more.
    pub(super) fn end(&self) {
        self.lock().is_over = true;
        self.is_due.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::durable::{Log, PinRecord, Position, ReadEntries};
    use crate::model::{PinId, Timestamp, UserId};

    /// Action number `id` of a user of its own, which is as long as its number is high.
    fn action(id: u32) -> Action {
        let mut bytes = [7; 16];
        // The order of ids is not that of places.
        bytes[..4].copy_from_slice(&id.wrapping_mul(0x9e37_79b1).to_be_bytes());
        Action {
            id: ActionId(bytes),
            user: UserId(u64::from(id)),
            pin: PinId(1),
            name: "x".repeat(1 + id as usize % 7),
            time: Timestamp::from_micros(i64::from(id)),
            medoid: None,
            keys: None,
        }
    }

    fn place(id: u32) -> Place {
        let position = Position {
            stream: (id % 3) as u8,
            sequence: u64::from(id / 3 + 1),
        };
        Place::in_message(position, 5, Timestamp::from_micros(i64::from(id)))
    }

    /// Takes actions of these numbers, and returns how far it has read.
    fn take(log: &Log, actions: &[Action], last: u32) -> Positions {
        let read = actions.iter().map(|action| ReadAction {
            action,
            is_kept: action.user.0 % 2 == 0,
            place: place(action.user.0 as u32),
        });
        let read = ReadEntries {
            actions: read.collect(),
            ..ReadEntries::default()
        };
        let positions: Positions = (0..=last).map(|id| place(id).message()).collect();
        log.take(&read, &positions).expect("a checkpoint");
        positions
    }

    fn open(directory: &Path) -> Log {
        Log::open_checkpoint(directory, || Ok(7)).expect("a checkpoint")
    }

    /// All that stands in the files.
    fn records(log: &Log) -> Vec<(Vec<u8>, Vec<u8>)> {
        let (snapshot, mut all) = (log.snapshot().expect("a snapshot"), Vec::new());
        for keyspace in ["actions", "sequences"] {
            let visit = |key: &[u8], value: &[u8]| {
                all.push((key.to_vec(), value.to_vec()));
                std::ops::ControlFlow::Continue(())
            };
            snapshot.for_each(keyspace, visit).expect("records");
        }
        all
    }

    #[test]
    fn what_is_taken_is_known_at_once_and_is_in_the_files_once_it_is_written() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = open(directory.path());
        let actions: Vec<Action> = (0..30).map(action).collect();
        let positions = take(&log, &actions, 29);
        let is_known = |log: &Log| {
            let ids: Vec<ActionId> = actions.iter().map(|action| action.id).collect();
            let places = log.places_of(&ids).expect("a checkpoint");
            let expected: Vec<_> = (0..30).map(|id| Some(place(id))).collect();
            let contains = |a: &Action| log.contains(a.id).expect("a checkpoint");
            places == expected && actions.iter().all(contains) && !contains(&action(30))
        };
        assert!(is_known(&log) && records(&log).is_empty());
        assert_eq!(log.taken_positions().expect("a checkpoint"), positions);
        assert_eq!(
            log.positions().expect("a checkpoint"),
            log.accepted_position()
        );
        log.write_out().expect("a checkpoint");
        assert!(is_known(&log) && records(&log).len() == 60);
        assert_eq!(log.positions().expect("a checkpoint"), positions);
        assert_eq!(log.taken_positions().expect("a checkpoint"), positions);
    }

    #[test]
    fn what_was_not_written_is_lost_with_its_positions() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = open(directory.path());
        let actions: Vec<Action> = (0..20).map(action).collect();
        let written = take(&log, &actions[..10], 9);
        log.write_out().expect("a checkpoint");
        take(&log, &actions[10..], 19);
        drop(log);
        let log = open(directory.path());
        assert_eq!(log.positions().expect("a checkpoint"), written);
        assert!(!log.contains(actions[10].id).expect("a checkpoint"));
        assert_eq!(records(&log).len(), 20);
    }

    #[test]
    fn changes_of_pins_come_with_all_that_was_taken_before() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = open(directory.path());
        take(&log, &[action(1)], 1);
        let change = (PinId(3), PinRecord::Deleted);
        let read = ReadEntries {
            pins: vec![&change],
            ..ReadEntries::default()
        };
        let positions: Positions = [place(1), place(9)]
            .map(Place::message)
            .into_iter()
            .collect();
        log.take(&read, &positions).expect("a checkpoint");
        assert_eq!(log.positions().expect("a checkpoint"), positions);
        assert_eq!(
            (records(&log).len(), log.pin_changes().expect("pins")),
            (2, vec![change])
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        /// Many at once go another way into the files than few, and end there as the same.
        #[test]
        fn tables_of_their_own_hold_what_writes_do(
            count in 8_192u32..9_000,
            cuts in prop::collection::vec(0u32..8_000, 2..5),
        ) {
            let directory = tempfile::tempdir().expect("a directory");
            let [once, bit_by_bit] = ["once", "bits"].map(|name| open(&directory.path().join(name)));
            let actions: Vec<Action> = (0..count).map(action).collect();
            take(&once, &actions, count - 1);
            once.write_out().expect("a checkpoint");
            let mut cuts = cuts;
            cuts.extend([0, count]);
            cuts.sort_unstable();
            for cut in cuts.windows(2) {
                let [from, to] = [cut[0], cut[1]].map(|at| at as usize);
                take(&bit_by_bit, &actions[from..to], cut[1].max(1) - 1);
                if to - from < 8_000 {
                    bit_by_bit.write_out().expect("a checkpoint");
                }
            }
            bit_by_bit.write_out().expect("a checkpoint");
            prop_assert_eq!(records(&once).len(), 2 * count as usize);
            prop_assert!(records(&once) == records(&bit_by_bit));
            prop_assert_eq!(once.positions().expect("a log"), bit_by_bit.positions().expect("a log"));
            // Removed ones stay removed, also when the tables are older than the removal.
            let gone = once.forget_before(Timestamp::from_micros(100)).expect("a log");
            prop_assert_eq!(gone, 50);
            drop(once);
            let once = open(&directory.path().join("once"));
            prop_assert_eq!(records(&once).len(), 2 * (count as usize - 50));
        }
    }
}
