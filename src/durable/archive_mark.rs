//! How far the actions of a log are archived. What is not is not forgotten.
//!
//! An embedded log has a mark of its own, the place of the last action that is in a file. In a
//! shared log the last claim on the archive says it to all replicas.

use std::sync::Arc;

use super::archive_claim::ArchiveClaim;
use super::error::LogError;
use super::forgettable::Forgettable;
use super::log::Log;
use super::records::Place;
use super::store::{ARCHIVED, CLAIM};

impl Log {
    /// The place up to which all actions of an embedded log are archived; none where none is.
    pub fn archived(&self) -> Result<Option<Place>, LogError> {
        self.store()?.place(ARCHIVED)
    }

    /// Declares that all actions up to `place` are archived. The write is not synced: after
    /// a crash the names of the files say the same.
    pub fn set_archived(&self, place: Place) -> Result<(), LogError> {
        let store = self.writable_store()?;
        let mut batch = store.database.batch();
        batch.insert(&store.meta, ARCHIVED, place.to_bytes());
        batch.commit().map_err(|e| self.fail(&store, e))?;
        self.set_forgettable(Forgettable::Through(place.sequence));
        Ok(())
    }

    /// Forgets no action of an embedded log from now on that is not archived.
    pub fn keep_until_archived(&self) -> Result<(), LogError> {
        let through = self.archived()?.map_or(0, |place| place.sequence);
        self.set_forgettable(Forgettable::Through(through));
        Ok(())
    }

    /// The last claim on the archive of the shared log that was read, and its number in the
    /// control stream; none where there is none.
    ///
    /// # Errors
    ///
    /// [`LogError::Damaged`] where it cannot be decoded, or a newer server has made it.
    pub fn archive_claim(&self) -> Result<Option<(ArchiveClaim, u64)>, LogError> {
        let store = self.store()?;
        let Some(stored) = store.meta.get(CLAIM).map_err(|e| store.error(e))? else {
            return Ok(None);
        };
        let split = stored.split_first_chunk();
        let number = split.map_or(0, |(number, _)| u64::from_le_bytes(*number));
        let claim = split.and_then(|(_, bytes)| ArchiveClaim::from_bytes(bytes));
        let damaged = || store.damaged_record("archive claim", &number.to_be_bytes());
        claim.ok_or_else(damaged).map(|claim| Some((claim, number)))
    }

    /// Forgets no action of a checkpoint from now on that is not archived: none at all while
    /// the last claim cannot be decoded.
    pub fn keep_until_claimed(&self) -> Result<(), LogError> {
        self.set_forgettable(Forgettable::Within(match self.archive_claim() {
            Ok(claim) => claim.map(|(claim, _)| claim.from).unwrap_or_default(),
            Err(LogError::Damaged { .. }) => Default::default(),
            Err(error) => return Err(error),
        }));
        Ok(())
    }

    /// Declares that this is the last claim, which a checkpoint has.
    pub(super) fn note_claim(&self, claim: &[u8]) {
        let is_kept = matches!(**self.forgettable.load(), Forgettable::Within(_));
        // Whoever archives hears of one that cannot be decoded.
        if let Some(claim) = ArchiveClaim::from_bytes(claim).filter(|_| is_kept) {
            self.set_forgettable(Forgettable::Within(claim.from));
        }
    }

    fn set_forgettable(&self, forgettable: Forgettable) {
        self.forgettable.store(Arc::new(forgettable));
    }
}
