//! The last time at which the log was used, kept in it: by that a clock is judged.

use super::error::LogError;
use super::log::Log;
use super::store::CLOCK;
use crate::model::Timestamp;

impl Log {
    /// The last time that was kept. In a log that never kept one, that of the newest
    /// action; none in an empty one.
    pub fn kept_time(&self) -> Result<Option<Timestamp>, LogError> {
        let store = self.store()?;
        if let Some(micros) = store.number(CLOCK)? {
            return Ok(Some(Timestamp::from_micros(micros.cast_signed())));
        }
        let mut newest = None;
        self.for_each(|action| newest = newest.max(Some(action.time)))?;
        Ok(newest)
    }

    /// Keeps `time`. The write is not synced: after a crash the time before is there.
    pub fn keep_time(&self, time: Timestamp) -> Result<(), LogError> {
        let store = self.writable_store()?;
        let kept = store.meta.insert(CLOCK, time.micros().to_le_bytes());
        kept.map_err(|e| self.fail(&store, e))
    }
}
