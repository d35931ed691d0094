//! The actions of a claim on the archive, the same on each replica that has read the log far
//! enough: those of which the first copy stands in it.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use super::archive_claim::ArchiveClaim;
use super::copies;
use super::erasures::{Erasure, UserDigest};
use super::error::LogError;
use super::log::Log;
use super::message_place::{MAX_MESSAGE, message, numbers, ranges};
use super::places::{self, PlacedAction};
use super::positions::Positions;
use super::records::{Place, decode_action};
use super::store::Store;
use crate::model::{ActionId, Timestamp};

/// The actions of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedActions {
    /// By ascending number, without those of users who were erased by then.
    pub actions: Vec<PlacedAction>,
    /// When the last of these erasures was; none where nobody was erased.
    pub erased_through: Option<Timestamp>,
}

/// What waits behind some messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Number of actions, at most as many as were asked for.
    pub actions: usize,
    /// When the first of them was recorded, or one of the first.
    pub oldest: Option<Timestamp>,
}

impl Log {
    /// Where each of these actions stands in this checkpoint; none for those that are not there.
    pub fn places_of(&self, ids: &[ActionId]) -> Result<Vec<Option<Place>>, LogError> {
        // In this order: what is written meanwhile is found in the store.
        let mut places = self.unwritten.places(ids);
        let store = self.store()?;
        for (id, place) in ids.iter().zip(&mut places) {
            if place.is_none()
                && let Some(value) = store.actions.get(id.0).map_err(|e| store.error(e))?
            {
                let found = decode_action(&id.0, &value).and_then(|(_, facts)| facts.place);
                let damaged = || store.damaged_record("action", &id.0);
                *place = Some(found.ok_or_else(damaged)?);
            }
        }
        Ok(places)
    }

    /// The actions of which the first copy stands in the messages of `claim`, all of which
    /// must have been read.
    pub fn claimed_actions(&self, claim: &ArchiveClaim) -> Result<ClaimedActions, LogError> {
        // First: users who are erased later are in the actions, and whoever writes them looks
        // again.
        let erasures = self.erasures()?;
        let store = self.store()?;
        let mut ids = HashSet::new();
        for (_, numbers) in claim.numbers() {
            for entry in store.sequences.range(keys(&numbers)) {
                let (key, id) = entry.into_inner().map_err(|e| store.error(e))?;
                let id = id.as_ref().try_into();
                let id = id.map_err(|_| store.damaged_record("sequence", &key));
                ids.insert(ActionId(id?));
            }
            ids.extend(copies::numbered(&store, &numbers)?);
        }
        let mut actions = Vec::new();
        for id in ids {
            actions.extend(self.claimed(&store, claim, &erasures, id)?);
        }
        actions.sort_unstable_by_key(|placed| placed.place.sequence);
        Ok(ClaimedActions {
            actions,
            erased_through: erasures.iter().map(|(_, erasure)| erasure.erased_at).max(),
        })
    }

    /// The action `id` at its first copy; none if that is not in the messages of `claim`.
    fn claimed(
        &self,
        store: &Store,
        claim: &ArchiveClaim,
        erasures: &[(UserDigest, Erasure)],
        id: ActionId,
    ) -> Result<Option<PlacedAction>, LogError> {
        let Some(value) = store.actions.get(id.0).map_err(|e| store.error(e))? else {
            return Ok(None);
        };
        let found = decode_action(&id.0, &value);
        let found = found.and_then(|(action, facts)| Some((action, facts.place?)));
        let (action, place) = found.ok_or_else(|| store.damaged_record("action", &id.0))?;
        let mut places = copies::of(store, id)?;
        places.push(place);
        let erasure = self.erasure_of(&action, erasures);
        places.retain(|&place| !erasure.is_some_and(|e| e.erases(action.time, Some(place))));
        if places.iter().any(|place| claim.from.have(place.message())) {
            return Ok(None);
        }
        places.retain(|place| claim.through.have(place.message()));
        let first = places.into_iter().min_by_key(|place| place.sequence);
        Ok(first.map(|place| PlacedAction { place, action }))
    }

    /// Up to where a claim may go that begins behind `from`: at most to `read`, and in each
    /// stream to about `max` actions, but over a whole message. `from` if no action is there.
    pub fn claimable(
        &self,
        from: &Positions,
        read: &Positions,
        max: usize,
    ) -> Result<Positions, LogError> {
        let store = self.store()?;
        let (mut through, mut is_new) = (read.sequences().to_vec(), false);
        for (stream, numbers) in ranges(from, read) {
            let mut found = store.sequences.range(keys(&numbers)).map(|entry| {
                let (key, _) = entry.into_inner().map_err(|e| store.error(e))?;
                let number = key.as_ref().try_into().map(u64::from_be_bytes);
                let number = number.map_err(|_| store.damaged_record("sequence", &key))?;
                Ok::<u64, LogError>(message(number).sequence)
            });
            let Some(first) = found.next().transpose()? else {
                continue;
            };
            is_new = true;
            if let Some(after) = found.nth(max.saturating_sub(1)).transpose()? {
                through[usize::from(stream)] = first.max(after - 1);
            }
        }
        let through = Positions::new(through).filter(|_| is_new);
        Ok(through.unwrap_or_else(|| from.clone()))
    }

    /// What waits behind `from` in the first `streams` streams; counts at most `max` actions.
    pub fn waiting(&self, from: &Positions, streams: u8, max: usize) -> Result<Waiting, LogError> {
        let store = self.store()?;
        let mut waiting = Waiting::default();
        for stream in 0..streams {
            let numbers = numbers(stream, from.of(stream) + 1, MAX_MESSAGE);
            let found = store.sequences.range(keys(&numbers));
            waiting.actions += found.take(max - waiting.actions).count();
            if let Some(first) = places::read(&store, numbers, 1)?.pop() {
                let recorded_at = first.place.recorded_at;
                let oldest = waiting.oldest.map_or(recorded_at, |o| o.min(recorded_at));
                waiting.oldest = Some(oldest);
            }
        }
        Ok(waiting)
    }
}

/// The keys of these numbers.
fn keys(numbers: &RangeInclusive<u64>) -> RangeInclusive<[u8; 8]> {
    numbers.start().to_be_bytes()..=numbers.end().to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::{Position, ReadAction, ReadEntries};
    use crate::model::{Action, PinId, UserId};

    /// After all that is recorded, as by a clock that is ahead.
    const TIME: Timestamp = Timestamp::from_micros(100);

    fn action(id: u8) -> Action {
        Action {
            id: ActionId([id; 16]),
            user: UserId(u64::from(id)),
            pin: PinId(1),
            name: "save".to_owned(),
            time: TIME,
            medoid: None,
            keys: None,
        }
    }

    fn place((stream, sequence): (u8, u64)) -> Place {
        let position = Position { stream, sequence };
        Place::in_message(position, 2, Timestamp::from_micros(sequence as i64 * 10))
    }

    fn positions(sequences: &[u64]) -> Positions {
        Positions::new(sequences.to_vec()).expect("few streams")
    }

    fn claim(from: [u64; 2], through: [u64; 2]) -> ArchiveClaim {
        ArchiveClaim {
            holder: 1,
            lease_until: Timestamp::from_micros(0),
            from: positions(&from),
            through: positions(&through),
        }
    }

    /// A checkpoint that has actions at these places, each with copies.
    fn checkpoint(directory: &std::path::Path, all: &[&[(u8, u64)]]) -> Log {
        let log = Log::open_checkpoint(directory, || Ok(7)).expect("a checkpoint");
        let actions: Vec<Action> = (1..).zip(all).map(|(id, _)| action(id)).collect();
        let mut read = ReadEntries::default();
        for (action, places) in actions.iter().zip(all) {
            read.actions.push(ReadAction {
                action,
                is_kept: false,
                place: place(places[0]),
            });
            let copies = places[1..].iter().map(|&at| (action.id, place(at)));
            read.copies.extend(copies);
        }
        log.take(&read, &positions(&[9, 9])).expect("a write");
        log.write_out().expect("a write");
        log
    }

    fn claimed(log: &Log, claim: &ArchiveClaim) -> Vec<(u8, u64)> {
        let found = log
            .claimed_actions(claim)
            .expect("a log")
            .actions
            .into_iter();
        found
            .map(|p| (p.action.id.0[0], p.place.sequence))
            .collect()
    }

    #[test]
    fn an_action_is_of_the_claim_of_its_first_copy_at_that_copy() {
        let directory = tempfile::tempdir().expect("a directory");
        let all: [&[(u8, u64)]; 5] = [
            &[(1, 4), (0, 3)],
            &[(0, 2), (1, 5), (1, 2)],
            &[(1, 8), (0, 4)],
            &[(0, 1)],
            &[(0, 5), (1, 7)],
        ];
        let log = checkpoint(directory.path(), &all);
        let expected = |ids: &[(u8, (u8, u64))]| -> Vec<(u8, u64)> {
            ids.iter()
                .map(|&(id, at)| (id, place(at).sequence))
                .collect()
        };
        let first = claimed(&log, &claim([0, 0], [2, 2]));
        assert_eq!(first, expected(&[(4, (0, 1)), (2, (0, 2))]));
        let second = claimed(&log, &claim([2, 2], [4, 5]));
        assert_eq!(second, expected(&[(1, (0, 3)), (3, (0, 4))]));
        let third = claimed(&log, &claim([4, 5], [9, 9]));
        assert_eq!(third, expected(&[(5, (0, 5))]));
    }

    #[test]
    fn copies_have_a_keyspace_in_checkpoints_alone_and_go_with_their_action() {
        let directory = tempfile::tempdir().expect("a directory");
        let records = |log: &Log| {
            let (snapshot, mut count) = (log.snapshot().expect("a snapshot"), 0);
            let visit = |_: &[u8], _: &[u8]| {
                count += 1;
                std::ops::ControlFlow::Continue(())
            };
            snapshot.for_each("copies", visit).expect("records");
            let is_there = snapshot.keyspaces().any(|name| name == "copies");
            is_there.then_some(count)
        };
        let log = checkpoint(directory.path(), &[&[(1, 4)]]);
        assert_eq!(records(&log), None);
        drop(log);
        let log = checkpoint(directory.path(), &[&[(1, 4), (0, 3)], &[(0, 2), (1, 2)]]);
        log.compact().expect("a log");
        drop(log);
        let log = checkpoint(directory.path(), &[]);
        assert_eq!(records(&log), Some(4));
        let ids = [1, 9].map(|id| ActionId([id; 16]));
        let places = log.places_of(&ids).expect("a log");
        assert_eq!(places, [Some(place((1, 4))), None]);
        log.forget_before(Timestamp::from_micros(101))
            .expect("a log");
        assert_eq!(records(&log), Some(0));
    }

    #[test]
    fn a_claim_ends_with_a_message_and_has_few_actions() {
        let directory = tempfile::tempdir().expect("a directory");
        let all: [&[(u8, u64)]; 4] = [&[(0, 1)], &[(0, 3)], &[(0, 4)], &[(1, 6)]];
        let log = checkpoint(directory.path(), &all);
        let claimable = |from: &[u64], max| {
            let through = log.claimable(&positions(from), &positions(&[9, 9]), max);
            through.expect("a log").sequences().to_vec()
        };
        assert_eq!(claimable(&[0, 0], 10), [9, 9]);
        assert_eq!(claimable(&[0, 0], 2), [3, 9]);
        assert_eq!(claimable(&[0, 6], 1), [2, 9]);
        assert_eq!(claimable(&[4, 6], 1), [4, 6], "nothing is new");
        let waiting = log.waiting(&positions(&[1, 0]), 2, 10).expect("a log");
        let oldest = Some(Timestamp::from_micros(30));
        assert_eq!((waiting.actions, waiting.oldest), (3, oldest));
        assert_eq!(
            log.waiting(&positions(&[1]), 2, 2).expect("a log").actions,
            2
        );
    }

    #[test]
    fn a_copy_that_is_erased_does_not_count() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = checkpoint(directory.path(), &[&[(0, 6), (1, 2)], &[(0, 7)]]);
        let both = claim([0, 2], [9, 9]);
        assert_eq!(claimed(&log, &both), [(2, place((0, 7)).sequence)]);
        let [first, second] = [1, 2].map(|user| log.digest(UserId(user)));
        let at = Timestamp::from_micros;
        // Between the two copies of the first action, and after the second.
        let erasures = vec![(first, at(40)), (second, at(80))];
        let read = ReadEntries {
            erasures,
            ..ReadEntries::default()
        };
        log.take(&read, &positions(&[9, 9])).expect("a write");
        assert_eq!(claimed(&log, &both), [(1, place((0, 6)).sequence)]);
        let found = log.claimed_actions(&both).expect("a log");
        assert_eq!(found.erased_through, Some(at(80)));
    }
}
