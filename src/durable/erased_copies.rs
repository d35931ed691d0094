//! Removes actions of erased users. One of which a copy was recorded after the erasure stays, at
//! that copy: so what is there does not depend on which of them was read first.

use std::sync::PoisonError;

use super::copies;
use super::erasures::{Erasure, UserDigest};
use super::error::LogError;
use super::log::Log;
use super::places;
use super::records::decode_action;
use crate::model::{ActionId, Timestamp};

/// Actions that are looked at while nobody else writes.
const BATCH: usize = 1_000;

impl Log {
    /// Removes the actions that `erasures` erase, which are by ascending digest, and returns
    /// their number. They are in the files of the store until these are written anew.
    pub fn remove_erased(&self, erasures: &[(UserDigest, Erasure)]) -> Result<u64, LogError> {
        if erasures.is_empty() {
            return Ok(0);
        }
        let mut erased = Vec::new();
        self.try_for_each(|action, facts| {
            let erasure = self.erasure_of(&action, erasures);
            if erasure.is_some_and(|erasure| erasure.erases(action.time, facts.place)) {
                erased.push(action.id);
            }
            Ok(())
        })?;
        // Not above: who opens the store again waits for its readers, and lets nobody write.
        let batches = erased.chunks(BATCH);
        let removed = batches.map(|batch| self.remove_or_move(batch, erasures));
        removed.sum()
    }

    /// Ends the erasures that are begun: removes their actions from the files of the log, and
    /// returns their number. `empty_journals` empties its journals while nobody writes.
    pub fn end_erasures(
        &self,
        empty_journals: impl FnOnce() -> Result<(), LogError>,
    ) -> Result<u64, LogError> {
        let begun = self.unfinished_erasures()?;
        if begun.is_empty() {
            return Ok(0);
        }
        let actions = self.remove_erased(&begun)?;
        self.compact()?;
        empty_journals()?;
        self.finish_erasures(&begun)?;
        Ok(actions)
    }

    /// Moves the actions of `user` that an erasure at `erased_at` erases to the first of their
    /// copies that it does not erase, where there is one.
    pub fn move_to_later_copies(
        &self,
        user: UserDigest,
        erased_at: Timestamp,
    ) -> Result<(), LogError> {
        let ids = copies::recorded_after(&*self.store()?, erased_at)?;
        let erasure = [(user, Erasure::by_time(erased_at))];
        self.remove_or_move(&ids, &erasure).map(drop)
    }

    /// Removes the action `id`, which an erasure erases where it stands.
    pub fn remove_erased_action(&self, id: ActionId) -> Result<(), LogError> {
        self.remove_or_move(&[id], &self.erasures()?).map(drop)
    }

    /// Removes those of the actions `ids` that `erasures` erase, or moves them to a copy.
    /// Returns how many are removed.
    fn remove_or_move(
        &self,
        ids: &[ActionId],
        erasures: &[(UserDigest, Erasure)],
    ) -> Result<u64, LogError> {
        // An action that comes again meanwhile must not be taken for the one that was there.
        let _guard = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let store = self.writable_store()?;
        let mut batch = store.database.batch();
        let mut removed = 0;
        for &id in ids {
            let Some(value) = store.actions.get(id.0).map_err(|e| store.error(e))? else {
                continue;
            };
            let damaged = || store.damaged_record("action", &id.0);
            let (action, facts) = decode_action(&id.0, &value).ok_or_else(damaged)?;
            let erasure = self.erasure_of(&action, erasures);
            let erasure = erasure.filter(|erasure| erasure.erases(action.time, facts.place));
            let Some(erasure) = erasure else {
                continue;
            };
            let (erased, left): (Vec<_>, Vec<_>) = copies::of(&store, id)?
                .into_iter()
                .partition(|&copy| erasure.erases(action.time, Some(copy)));
            let Some(first) = left.into_iter().min_by_key(|copy| copy.sequence) else {
                removed += 1;
                places::remove(&store, &mut batch, id, facts.place)?;
                continue;
            };
            for copy in erased.into_iter().chain([first]) {
                copies::remove_one(&store, &mut batch, id, copy);
            }
            places::relocate(&store, &mut batch, &action, facts, first);
        }
        batch.commit().map_err(|e| self.fail(&store, e))?;
        Ok(removed)
    }
}
