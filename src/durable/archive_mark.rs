//! How far the actions of a log are archived. What is not is not forgotten.

use std::sync::atomic::Ordering;

use super::error::LogError;
use super::log::Log;
use super::records::Place;
use super::store::ARCHIVED;

impl Log {
    /// The place up to which all actions are archived; none where none is.
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
        let forgettable = &self.forgettable_through;
        forgettable.store(place.sequence, Ordering::Release);
        Ok(())
    }

    /// Forgets no action from now on that is not archived.
    pub fn keep_until_archived(&self) -> Result<(), LogError> {
        let through = self.archived()?.map_or(0, |place| place.sequence);
        self.forgettable_through.store(through, Ordering::Release);
        Ok(())
    }

    /// Whether the action at `place` may be forgotten.
    pub(super) fn is_forgettable(&self, place: Option<Place>) -> bool {
        let through = self.forgettable_through.load(Ordering::Acquire);
        place.is_none_or(|place| place.sequence <= through)
    }
}
